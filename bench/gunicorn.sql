-- A webhook as one SQL function: what stripe-webhook does to the database for money that comes in, decided here.
CREATE OR REPLACE FUNCTION bench_apply_event(
    p_event_id text, p_type text, p_payload jsonb, p_intent_id text, p_amount bigint, p_request_id text
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_claimed jsonb;
    v_payment uuid;
BEGIN
    PERFORM set_config('holdfast.context', jsonb_build_object('actor', 'stripe', 'request_id', p_request_id)::text, true);
    v_claimed := claim_webhook_event(p_event_id, p_type, p_payload, p_request_id, p_intent_id, NULL, NULL);
    IF v_claimed ->> 'status' = 'processed' THEN
        RETURN;
    END IF;
    v_payment := (v_claimed #>> '{payment,id}')::uuid;
    PERFORM record_facts(v_payment, p_intent_id, NULL, p_amount, false, 'succeeded', now(), '7 days');
    PERFORM confirm_hold((v_claimed #>> '{payment,reservation_id}')::uuid, v_payment);
    PERFORM settle_webhook_event(p_event_id, 'processed', NULL, v_payment);
END
$$;
