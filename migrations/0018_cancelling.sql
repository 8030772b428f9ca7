-- Cancelling a booking and moving it to another slot.

ALTER TABLE bookings
    ADD COLUMN cancelled_at timestamptz,
    -- What share of the price goes back at most. Moving the booking lowers it to what cancelling would have given at that
    -- moment, and cancelling to what it has given.
    ADD COLUMN refundable_percent integer NOT NULL DEFAULT 100,
    -- The call that changed it last: made again after a lost COMMIT, it finds its own first run.
    ADD COLUMN last_change_id uuid;
-- Not validated, here and below: what stands there already cannot break them, and need not be read under a lock.
ALTER TABLE bookings ADD CONSTRAINT bookings_refundable_percent_is_a_share
    CHECK (refundable_percent BETWEEN 0 AND 100) NOT VALID;

-- Credits may come back in part, too.
-- squawk-ignore ban-drop-constraint
ALTER TABLE bookings DROP CONSTRAINT bookings_method_and_payment_status_fit;
ALTER TABLE bookings ADD CONSTRAINT bookings_method_and_payment_status_fit CHECK (
    (payment_method = 'pay_now' AND payment_id IS NOT NULL
        AND payment_status IN ('paid', 'refunded', 'partially_refunded', 'disputed', 'failed'))
    OR (payment_method = 'pay_on_arrival' AND payment_id IS NULL
        AND payment_status IN ('pending', 'paid', 'failed', 'refunded', 'partially_refunded'))
    OR (payment_method = 'credits' AND payment_id IS NULL
        AND payment_status IN ('paid', 'refunded', 'partially_refunded'))
    OR (payment_method = 'free' AND payment_id IS NULL AND payment_status = 'free')
) NOT VALID;

-- It is made anew and takes the refund's id. Who misses it for that moment is done again.
-- squawk-ignore ban-drop-function
DROP FUNCTION IF EXISTS request_refund(uuid, bigint, text);
