-- no-transaction
-- What counts in a customer's limit besides their holds: booked, and to be paid on arrival.
CREATE INDEX CONCURRENTLY IF NOT EXISTS bookings_on_arrival_of_a_customer ON bookings (customer_id)
WHERE payment_method = 'pay_on_arrival' AND payment_status = 'pending' AND status = 'confirmed';
