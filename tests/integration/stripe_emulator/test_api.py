"""The emulator's API as Stripe's own SDK meets it."""

import re
import time
import urllib.request
from typing import Any

import pytest
import stripe

from tests.emulator_process import SECRET_KEY, Emulator


def new_intent(client: stripe.StripeClient, **more: Any) -> stripe.PaymentIntent:
    parameters: Any = {"amount": 2500, "currency": "eur", "allowed_payment_method_types": ["card"], **more}
    return client.v1.payment_intents.create(parameters)


def new_session(client: stripe.StripeClient, **more: Any) -> stripe.checkout.Session:
    price = {"currency": "eur", "unit_amount": 1250, "product_data": {"name": "Seat"}}
    parameters: Any = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 2}],
        "success_url": "http://127.0.0.1:1/done?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://127.0.0.1:1/cancelled",
        "payment_intent_data": {"metadata": {"order": "7"}},
        **more,
    }
    return client.v1.checkout.sessions.create(parameters)


def pay(running: Emulator, session_id: str, card: str = "pm_card_visa") -> tuple[int, Any]:
    status, body, _ = running.call("POST", f"/_emulator/checkout/{session_id}/pay", {"payment_method": card})
    return status, body


def event_types(client: stripe.StripeClient, object_id: str) -> list[str]:
    listed = client.v1.events.list({"limit": 100}).auto_paging_iter()
    return [event.type for event in listed if event.data.object["id"] == object_id][::-1]


def test_a_card_that_succeeds_makes_one_captured_charge(client: stripe.StripeClient) -> None:
    """Confirming with a good card ends in succeeded, the whole amount received, one charge and three events."""
    intent = new_intent(client, metadata={"order": "1"}, description="Two seats")
    assert intent.status == "requires_payment_method"
    paid = client.v1.payment_intents.confirm(
        intent.id, {"payment_method": "pm_card_visa", "expand": ["latest_charge"]}
    )
    assert (paid.status, paid.amount_received, paid.metadata["order"]) == ("succeeded", 2500, "1")
    charge = paid.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert (charge.status, charge.captured, charge.payment_intent) == ("succeeded", True, intent.id)
    assert [c.id for c in client.v1.charges.list({"payment_intent": intent.id}).data] == [charge.id]
    assert client.v1.charges.retrieve(charge.id).amount == 2500
    assert event_types(client, intent.id) == ["payment_intent.created", "payment_intent.succeeded"]
    assert event_types(client, charge.id) == ["charge.succeeded"]


def test_a_declined_card_leaves_the_intent_open_for_another(client: stripe.StripeClient) -> None:
    """A decline is a 402 with the decline code and the intent inside; the same intent then takes another card."""
    intent = new_intent(client)
    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.confirm(
            intent.id, {"payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds"}
        )
    error = declined.value
    assert (error.http_status, error.code) == (402, "card_declined")
    assert error.error is not None
    assert error.error.decline_code == "insufficient_funds"
    assert error.error.payment_intent is not None
    assert error.error.payment_intent.status == "requires_payment_method"
    failed = client.v1.payment_intents.retrieve(intent.id)
    assert failed.last_payment_error is not None
    assert failed.last_payment_error.decline_code == "insufficient_funds"
    assert failed.payment_method is None
    assert (
        client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status == "succeeded"
    )
    assert event_types(client, intent.id)[1:] == ["payment_intent.payment_failed", "payment_intent.succeeded"]
    charges = client.v1.charges.list({"payment_intent": intent.id}).data
    assert [charge.status for charge in charges] == ["succeeded", "failed"]


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
    ],
)
def test_each_declining_card_says_why(
    client: stripe.StripeClient, card: str, code: str, decline_code: str
) -> None:
    """A test card is declined with the code that Stripe documents for it."""
    with pytest.raises(stripe.CardError) as declined:
        new_intent(client, confirm=True, payment_method=card)
    assert declined.value.code == code
    assert declined.value.error is not None
    assert declined.value.error.decline_code == decline_code


@pytest.mark.parametrize(
    ("outcome", "status"), [("succeeded", "succeeded"), ("failed", "requires_payment_method")]
)
def test_three_d_secure_waits_for_the_buyer(
    running: Emulator, client: stripe.StripeClient, outcome: str, status: str
) -> None:
    """A card that needs authentication waits in requires_action until the buyer passes or fails the step."""
    intent = new_intent(client)
    waiting = client.v1.payment_intents.confirm(
        intent.id, {"payment_method": "pm_card_authenticationRequired"}
    )
    assert waiting.status == "requires_action"
    assert waiting.next_action is not None
    assert waiting.next_action.type == "use_stripe_sdk"
    path = f"/_emulator/payment_intents/{intent.id}/authenticate"
    assert running.call("POST", path, {"outcome": "perhaps"})[0] == 400
    assert running.call("POST", path, {"outcome": outcome})[0] == 200
    ended = client.v1.payment_intents.retrieve(intent.id)
    assert (ended.status, ended.next_action) == (status, None)
    if outcome == "failed":
        assert ended.last_payment_error is not None
        assert ended.last_payment_error.code == "payment_intent_authentication_failure"
    assert event_types(client, intent.id)[1] == "payment_intent.requires_action"
    assert running.call("POST", path, {"outcome": outcome})[0] == 400


def test_a_redirect_comes_back_with_the_outcome(running: Emulator, client: stripe.StripeClient) -> None:
    """With a return_url the step is a page, and its form sends the buyer back with the intent and the outcome."""
    intent = new_intent(client)
    waiting = client.v1.payment_intents.confirm(
        intent.id,
        {"payment_method": "pm_card_authenticationRequired", "return_url": "http://127.0.0.1:1/back?a=b"},
    )
    assert waiting.next_action is not None
    assert waiting.next_action.redirect_to_url is not None
    page = str(waiting.next_action.redirect_to_url.url)
    assert "25.00 EUR" in str(running.call("GET", page.removeprefix(running.url))[1])
    answer = running.session.post(page, data={"outcome": "succeeded"}, allow_redirects=False, timeout=20)
    assert answer.status_code == 303
    assert answer.headers["Location"] == (
        f"http://127.0.0.1:1/back?a=b&payment_intent={intent.id}"
        f"&payment_intent_client_secret={intent.client_secret}&redirect_status=succeeded"
    )


def test_a_browser_confirms_with_the_client_secret(running: Emulator, client: stripe.StripeClient) -> None:
    """A publishable key and the client secret confirm an intent, show less of it, and can do nothing else."""
    intent = new_intent(client, metadata={"order": "1"})
    browser = "pk_test_browser"
    path = f"/v1/payment_intents/{intent.id}"
    assert running.api("GET", path, secret=browser)[0] == 404
    assert running.api("GET", f"{path}?client_secret={intent.id}_secret_wrong", secret=browser)[0] == 400
    form = f"payment_method=pm_card_visa&client_secret={intent.client_secret}"
    status, body, headers = running.api("POST", f"{path}/confirm", form, secret=browser)
    assert (status, body["status"]) == (200, "succeeded")
    assert "metadata" not in body
    assert headers["Access-Control-Allow-Origin"] == "*"
    status, body, _ = running.api("POST", f"{path}/cancel", secret=browser)
    assert (status, body["error"]["code"]) == (401, "secret_key_required")


def test_cancelling(client: stripe.StripeClient) -> None:
    """An open intent is cancelled with a reason; a final one refuses with its status."""
    intent = new_intent(client)
    cancelled = client.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (cancelled.status, cancelled.cancellation_reason) == ("canceled", "abandoned")
    assert cancelled.canceled_at is not None
    for act in (client.v1.payment_intents.cancel, client.v1.payment_intents.confirm):
        with pytest.raises(stripe.InvalidRequestError, match="status of canceled") as refused:
            act(intent.id)
        assert refused.value.code == "payment_intent_unexpected_state"
        assert refused.value.http_status == 400
    assert event_types(client, intent.id) == ["payment_intent.created", "payment_intent.canceled"]


def test_updating(client: stripe.StripeClient) -> None:
    """Amount and metadata change while the intent is open; metadata merges, and an empty value unsets a name."""
    intent = new_intent(client, metadata={"a": "1", "b": "2"})
    changed = client.v1.payment_intents.update(intent.id, {"amount": 900, "metadata": {"a": "", "c": "3"}})
    assert changed.amount == 900
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}
    client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    with pytest.raises(stripe.InvalidRequestError, match="amount could not be updated"):
        client.v1.payment_intents.update(intent.id, {"amount": 1000})
    assert client.v1.payment_intents.update(intent.id, {"description": "paid"}).description == "paid"


def test_a_session_makes_its_intent_when_the_buyer_submits(
    running: Emulator, client: stripe.StripeClient
) -> None:
    """No intent before the buyer submits; then one with the session's amount and the metadata meant for it."""
    session = new_session(client, metadata={"order": "9"}, customer_email="ada@example.com")
    assert (session.status, session.payment_intent, session.amount_total) == ("open", None, 2500)
    assert pay(running, session.id)[0] == 200
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent", "line_items"]})
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    intent = done.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert (intent.status, intent.amount, intent.metadata.to_dict()) == ("succeeded", 2500, {"order": "7"})
    assert done.line_items is not None
    assert [line.quantity for line in done.line_items.data] == [2]
    assert client.v1.checkout.sessions.list({"payment_intent": intent.id}).data[0].id == session.id
    assert event_types(client, session.id) == ["checkout.session.completed"]
    assert pay(running, session.id)[0] == 400


def test_the_intent_of_a_session_is_the_sessions(running: Emulator, client: stripe.StripeClient) -> None:
    """An intent that a session made is neither cancelled nor confirmed directly; expiring the session cancels it."""
    session = new_session(client)
    status, body = pay(running, session.id, "pm_card_visa_chargeDeclined")
    assert (status, body["error"]["code"]) == (402, "card_declined")
    declined = client.v1.checkout.sessions.retrieve(session.id)
    assert declined.status == "open"
    intent_id = str(declined.payment_intent)
    for act in (client.v1.payment_intents.cancel, client.v1.payment_intents.confirm):
        with pytest.raises(stripe.InvalidRequestError, match="created by Checkout"):
            act(intent_id)
    assert client.v1.checkout.sessions.expire(session.id).status == "expired"
    assert client.v1.payment_intents.retrieve(intent_id).status == "canceled"
    assert event_types(client, session.id) == ["checkout.session.expired"]
    with pytest.raises(stripe.InvalidRequestError, match="status of `expired`"):
        client.v1.checkout.sessions.expire(session.id)
    assert pay(running, session.id)[0] == 400


def test_a_declined_session_takes_another_card(running: Emulator, client: stripe.StripeClient) -> None:
    """After a decline the session stays open, and the next card pays the same intent."""
    session = new_session(client)
    assert pay(running, session.id, "pm_card_visa_chargeDeclined")[0] == 402
    first = client.v1.checkout.sessions.retrieve(session.id).payment_intent
    assert pay(running, session.id)[1]["payment_intent"] == first


def test_a_session_waits_for_three_d_secure(running: Emulator, client: stripe.StripeClient) -> None:
    """A session stays open while its intent waits for authentication, and completes when that succeeds."""
    session = new_session(client)
    status, body = pay(running, session.id, "pm_card_authenticationRequired")
    assert (status, body["status"], body["payment_status"]) == (200, "open", "unpaid")
    path = f"/_emulator/checkout/{session.id}/authenticate"
    status, body, _ = running.call("POST", path, {"outcome": "succeeded"})
    assert (status, body["status"], body["payment_status"]) == (200, "complete", "paid")


def test_the_hosted_page_takes_a_card(running: Emulator, client: stripe.StripeClient) -> None:
    """The page at the session's url lists what is bought, says why a card was declined, and goes to success_url."""
    session = new_session(client)
    url = str(session.url)
    with urllib.request.urlopen(url) as page:  # noqa: S310 - the emulator's own loopback address
        html = page.read().decode()
    assert re.search(r"<label for=\"card\">.*<select id=\"card\" name=\"payment_method\">", html)
    assert "Seat" in html
    assert "25.00 EUR" in html
    declined = running.session.post(url, data={"payment_method": "pm_card_visa_chargeDeclined"}, timeout=20)
    assert (declined.status_code, "Your card was declined." in declined.text) == (402, True)
    paid = running.session.post(
        url, data={"payment_method": "pm_card_visa"}, allow_redirects=False, timeout=20
    )
    assert paid.headers["Location"] == f"http://127.0.0.1:1/done?session={session.id}"


@pytest.mark.parametrize("ahead", [29 * 60, 24 * 3600 + 60])
def test_a_session_expires_within_a_day_and_not_before_half_an_hour(
    client: stripe.StripeClient, ahead: int
) -> None:
    """expires_at is 30 minutes to 24 hours ahead, or the session is refused."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        new_session(client, expires_at=int(time.time()) + ahead)
    assert refused.value.param == "expires_at"
    assert new_session(client, expires_at=int(time.time()) + 1900).status == "open"


def test_refunds_never_exceed_the_charge(client: stripe.StripeClient) -> None:
    """Partial refunds add up to the charge and no further, and the charge tells of each."""
    intent = new_intent(client, confirm=True, payment_method="pm_card_mastercard")
    first = client.v1.refunds.create(
        {
            "payment_intent": intent.id,
            "amount": 1000,
            "reason": "requested_by_customer",
            "metadata": {"refund": "1"},
        }
    )
    assert (first.status, first.payment_intent) == ("succeeded", intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded") as refused:
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 1501})
    assert refused.value.param == "amount"
    second = client.v1.refunds.create({"charge": str(intent.latest_charge)})
    assert second.amount == 1500
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_already_refunded"
    charge = client.v1.charges.retrieve(str(intent.latest_charge), {"expand": ["refunds"]})
    assert (charge.amount_refunded, charge.refunded) == (2500, True)
    assert charge.refunds is not None
    assert [refund.id for refund in charge.refunds.data] == [second.id, first.id]
    listed = client.v1.refunds.list({"payment_intent": intent.id})
    assert [refund.metadata.to_dict() for refund in listed.data if refund.metadata is not None] == [
        {},
        {"refund": "1"},
    ]
    assert client.v1.refunds.retrieve(first.id).amount == 1000
    assert event_types(client, first.id) == [
        "refund.created",
        "refund.updated",
        "charge.refund.updated",
    ]
    assert event_types(client, charge.id) == ["charge.succeeded", "charge.refunded", "charge.refunded"]


def test_what_was_not_paid_is_not_refunded(client: stripe.StripeClient) -> None:
    """An unpaid intent has nothing to refund."""
    intent = new_intent(client)
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        client.v1.refunds.create({"payment_intent": intent.id})


def test_paging_walks_a_list_both_ways(client: stripe.StripeClient) -> None:
    """Lists are newest first; starting_after and ending_before walk them without a gap or a repetition."""
    before = int(time.time())
    made = [new_intent(client).id for _ in range(7)][::-1]
    intents = client.v1.payment_intents
    assert [i.id for i in intents.list({"limit": 3}).data] == made[:3]
    assert [i.id for i in intents.list({"limit": 3, "starting_after": made[2]}).data] == made[3:6]
    back = intents.list({"limit": 3, "ending_before": made[5]})
    assert ([i.id for i in back.data], back.has_more) == (made[2:5], True)
    assert [i.id for i in intents.list({"limit": 2}).auto_paging_iter()][:7] == made
    assert made[0] in [i.id for i in intents.list({"created": {"gte": before}}).data]
    assert intents.list({"created": {"lt": before - 3600}}).data == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        intents.list({"starting_after": "pi_none"})
    assert (refused.value.code, refused.value.param) == ("resource_missing", "starting_after")


def test_the_search_lags(running: Emulator, client: stripe.StripeClient) -> None:
    """Search finds an intent by its metadata, but not before the index has caught up."""
    running.faults(search_lag_s=3600)
    intent = new_intent(client, metadata={"payment": "p-1", "quoted": "it's"})
    query = "metadata['payment']:'p-1' AND status:'requires_payment_method'"
    assert client.v1.payment_intents.search({"query": query}).data == []
    running.faults(search_lag_s=0)
    assert [i.id for i in client.v1.payment_intents.search({"query": query}).data] == [intent.id]
    quoted = 'metadata["quoted"]:"it\'s" AND -amount<1000'
    assert [i.id for i in client.v1.payment_intents.search({"query": quoted}).data] == [intent.id]
    with pytest.raises(stripe.InvalidRequestError, match="unable to parse"):
        client.v1.payment_intents.search({"query": "payment = p-1"})


def test_events_are_listed_by_type_and_time(client: stripe.StripeClient) -> None:
    """Events can be asked for by type, by types, by a wildcard and one by one."""
    intent = new_intent(client, confirm=True, payment_method="pm_card_visa")
    newest = client.v1.events.list({"type": "payment_intent.succeeded", "limit": 1}).data[0]
    assert newest.data.object["id"] == intent.id
    assert newest.api_version == stripe.api_version
    assert newest.request is not None
    assert str(newest.request.id).startswith("req_")
    assert client.v1.events.retrieve(newest.id).id == newest.id
    two = client.v1.events.list({"types": ["charge.succeeded", "payment_intent.created"], "limit": 2}).data
    assert {event.type for event in two} == {"charge.succeeded", "payment_intent.created"}
    assert {event.type for event in client.v1.events.list({"type": "charge.*", "limit": 1}).data} == {
        "charge.succeeded"
    }


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ("currency=eur", "parameter_missing", "amount"),
        ("amount=ten&currency=eur", "parameter_invalid_integer", "amount"),
        ("amount=-5&currency=eur", "parameter_invalid_integer", "amount"),
        ("amount=49&currency=eur", "amount_too_small", "amount"),
        ("amount=100000000&currency=eur", "amount_too_large", "amount"),
        ("amount=1000&currency=xxx", None, "currency"),
        ("amount=1000&currency=eur&colour=red", "parameter_unknown", "colour"),
        ("amount=1000&currency=eur&shipping[planet]=x", "parameter_unknown", "shipping[planet]"),
        ("amount=1000&currency=eur&shipping[name]=x", "parameter_missing", "shipping[address]"),
        ("amount=1000&currency=eur&payment_method=pm_nothing", "resource_missing", "payment_method"),
        ("amount=1000&currency=eur&payment_method=", "parameter_invalid_empty", "payment_method"),
        ("amount=1000&currency=eur&payment_method_types[]=paypal", None, "payment_method_types[0]"),
        (
            "amount=1000&currency=eur&allowed_payment_method_types[]=paypal",
            None,
            "allowed_payment_method_types",
        ),
        ("amount=1000&currency=eur&metadata[a][b]=c", None, "metadata[a]"),
        ("amount=1000&currency=eur&expand[]=customer", None, "expand"),
        ("amount[x=1", None, None),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(
    running: Emulator, form: str, code: str | None, param: str | None
) -> None:
    """A request that Stripe would refuse is refused with 400, its code and the parameter, and makes nothing."""
    status, body, headers = running.api("POST", "/v1/payment_intents", form)
    error = body["error"]
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert (error.get("code"), error.get("param")) == (code, param)
    assert error["request_log_url"].find(headers["Request-Id"]) > 0
    assert (code is None) or error["doc_url"].endswith(code.replace("_", "-"))


@pytest.mark.parametrize(
    "key", ["sk_test_another", "sk_live_0123456789abcdef", "rk_live_0123456789abcdef", "pk_live_0123456789"]
)
def test_another_key_is_refused(running: Emulator, key: str) -> None:
    """A live key and another account's key get Stripe's 401, and the key is not repeated in full."""
    with pytest.raises(stripe.AuthenticationError) as refused:
        running.client(key=key).v1.payment_intents.list()
    assert refused.value.http_status == 401
    assert key not in str(refused.value)


def test_no_key_is_refused_and_basic_authentication_serves(running: Emulator) -> None:
    """Without a key 401; the key as a user name, as curl sends it, is as good as a bearer token."""
    status, body, headers = running.call("GET", "/v1/payment_intents")
    assert (status, body["error"]["type"]) == (401, "invalid_request_error")
    assert headers["Request-Id"].startswith("req_")
    answer = running.session.get(f"{running.url}/v1/payment_intents", auth=(SECRET_KEY, ""), timeout=20)
    assert answer.status_code == 200


def test_what_does_not_exist(running: Emulator, client: stripe.StripeClient) -> None:
    """An unknown id is 404 resource_missing; an unknown address 404; a JSON body 400."""
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.payment_intents.retrieve("pi_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    assert running.api("GET", "/v1/nothing")[0] == 404
    headers = {"Authorization": f"Bearer {SECRET_KEY}"}
    assert running.call("POST", "/v1/payment_intents", {"amount": 1000}, headers)[0] == 400


def test_the_methods_are_chosen_as_the_sdks_version_has_it(
    running: Emulator, client: stripe.StripeClient
) -> None:
    """In the SDK's version payment_method_types is no parameter any more, and allowed_payment_method_types is."""
    assert new_intent(client).allowed_payment_method_types == ["card"]
    assert new_session(client, allowed_payment_method_types=["card", "paypal"]).payment_method_types == [
        "card"
    ]
    old: Any = {"amount": 2500, "currency": "eur", "payment_method_types": ["card"]}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.create(old)
    assert refused.value.code == "payment_method_types_no_longer_supported"
    form = "amount=2500&currency=eur&payment_method_types[]=card"
    assert running.api("POST", "/v1/payment_intents", form)[1]["automatic_payment_methods"] is None
