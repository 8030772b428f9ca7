-- Bookings that need no payment at Stripe: on arrival, with credits, for free.

ALTER TABLE bookings
    -- The `sub` of who was signed in when it was made: they may see and change it without the reservation's token.
    ADD COLUMN user_id text,
    -- What it has cost in credits; its amount is then 0.
    ADD COLUMN credits integer NOT NULL DEFAULT 0;
-- Not validated: what stands there already has no credits and cannot break it, and need not be read under a lock.
ALTER TABLE bookings ADD CONSTRAINT bookings_with_credits_have_spent_some_of_a_users CHECK (
    CASE WHEN payment_method = 'credits' THEN credits > 0 AND user_id IS NOT NULL ELSE credits = 0 END
) NOT VALID;

-- It is made anew with more parameters. Who misses it for that moment is done again.
-- squawk-ignore ban-drop-function
DROP FUNCTION IF EXISTS insert_booking(uuid, uuid, text, text);
