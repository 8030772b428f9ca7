"""The execution environment is killed at a named point; what comes afterwards makes it good.

Each story arms its point, lets somebody die there, and then does only what a buyer, Stripe or a schedule would do.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from local.paths import ROOT
from tests.emulator_process import eventually
from tests.faults.cloud import Cloud, Hold

type Story = Callable[[Cloud], None]


def assert_died(cloud: Cloud, answer: requests.Response) -> None:
    assert cloud.has_died, "nobody came past the kill point"
    assert answer.status_code == 502 or "X-Amz-Function-Error" in answer.headers, answer.text


def intent_of(answer: requests.Response) -> str:
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["payment_intent_id"]


def paid_for(cloud: Cloud) -> tuple[Hold, str]:
    """A hold and its open intent, all events about it delivered."""
    hold = cloud.hold()
    intent_id = intent_of(cloud.pay(hold, "key"))
    cloud.delivered()
    return hold, intent_id


def assert_sold(cloud: Cloud, hold: Hold) -> None:
    assert (cloud.status(hold), cloud.seats(hold)) == ("completed", (0, 1))
    assert [intent.status for intent in cloud.intents(hold)] == ["succeeded"]


def assert_let_go(cloud: Cloud, hold: Hold, status: str = "expired") -> None:
    assert (cloud.status(hold), cloud.seats(hold)) == (status, (0, 0))
    assert [intent.status for intent in cloud.intents(hold)] in ([], ["canceled"])


def die_while_paying(cloud: Cloud, point: str) -> Hold:
    hold = cloud.hold()
    cloud.die_at(point)
    assert_died(cloud, cloud.pay(hold, "key"))
    cloud.delivered()  # a clean-up passes by a payment that an event is at, and leaves it to the next one
    return hold


def paying_goes_on(point: str) -> Story:
    """The buyer tries again under the same key: first 409, and once the dead one's lease is over, one intent."""

    def story(cloud: Cloud) -> None:
        hold = die_while_paying(cloud, point)
        # The dead one has a lease, and whatever time has gone by meanwhile, it is not over.
        assert cloud.rows(
            """
            UPDATE payment_intents_log SET lease_until = lease_until + interval '2 minutes'
            WHERE reservation_id = %s AND lease_until > created_at + interval '10 seconds' RETURNING true
            """,
            hold.id,
        )
        waiting = cloud.pay(hold, "key")
        assert (waiting.status_code, waiting.json()["type"]) == (409, "/problems/request-in-progress")
        cloud.leases_over()
        again = cloud.pay(hold, "key")
        # 200 where Stripe's `created` event has told us of the intent before the buyer came back.
        assert again.status_code in (200, 201)
        replay = cloud.pay(hold, "key")
        assert (replay.content, replay.headers["Idempotent-Replayed"]) == (again.content, "true")
        cloud.confirm(intent_of(again))
        cloud.delivered()
        assert_sold(cloud, hold)

    return story


def paying_is_given_up(point: str) -> Story:
    """The buyer never comes back: the intent is found or made under its key, cancelled, and then the seats go."""

    def story(cloud: Cloud) -> None:
        hold = die_while_paying(cloud, point)
        cloud.expire(hold)
        cloud.leases_over()
        assert cloud.invoke("reservation-cleanup").json()["released"] == 1
        assert_let_go(cloud, hold)
        assert [intent.status for intent in cloud.intents(hold)] == ["canceled"]

    return story


def money_comes_before_our_answer(cloud: Cloud) -> None:
    """The success arrives although we never recorded the intent: our ids in its metadata find the hold."""
    hold = die_while_paying(cloud, "pay.after-stripe")
    (intent,) = cloud.intents(hold)
    cloud.confirm(intent.id)
    cloud.delivered()
    assert_sold(cloud, hold)


def cleanup_dies_after_making_the_intent_again(cloud: Cloud) -> None:
    hold = die_while_paying(cloud, "pay.before-stripe")
    cloud.expire(hold)
    cloud.leases_over()
    die_while_cleaning_up(cloud, "close.after-create")
    assert cloud.status(hold) == "active", "the seats went before the payment was closed"
    cloud.delivered()  # `created` of the intent made again would keep the clean-up from the payment's row
    clean_up_again(cloud)
    assert_let_go(cloud, hold)


def cleanup_dies_after_stripe_has_cancelled(cloud: Cloud) -> None:
    hold, _ = paid_for(cloud)
    cloud.faults(deliver=False)
    cloud.expire(hold)
    die_while_cleaning_up(cloud, "close.after-stripe")
    assert cloud.status(hold) == "active"
    clean_up_again(cloud)
    assert_let_go(cloud, hold)
    cloud.faults()


def buyer_cancels_and_it_dies(cloud: Cloud) -> None:
    hold, _ = paid_for(cloud)
    cloud.faults(deliver=False)
    cloud.die_at("close.after-stripe")
    assert_died(cloud, cloud.cancel(hold))
    cloud.leases_over()
    assert cloud.cancel(hold).json() == {"status": "cancelled"}
    assert_let_go(cloud, hold, "cancelled")
    cloud.faults()


def cleanup_dies_while_it_confirms(cloud: Cloud) -> None:
    hold, intent_id = paid_for(cloud)
    cloud.faults(deliver=False)
    cloud.confirm(intent_id)
    cloud.expire(hold)
    die_while_cleaning_up(cloud, "settle.before-commit")
    assert cloud.seats(hold) == (1, 0)
    cloud.leases_over()
    assert cloud.invoke("reservation-cleanup").json()["confirmed"] == 1
    assert_sold(cloud, hold)
    cloud.faults()


def die_while_cleaning_up(cloud: Cloud, point: str) -> None:
    cloud.die_at(point)
    assert_died(cloud, cloud.invoke("reservation-cleanup"))


def clean_up_again(cloud: Cloud) -> None:
    cloud.leases_over()
    assert cloud.invoke("reservation-cleanup").json()["released"] == 1


def webhook_dies(point: str) -> Story:
    """Stripe comes again, and the money is a booking, once."""

    def story(cloud: Cloud) -> None:
        hold, intent_id = paid_for(cloud)
        cloud.die_at(point)
        cloud.confirm(intent_id)
        cloud.delivered()
        assert cloud.has_died
        assert_sold(cloud, hold)
        events = cloud.rows(
            "SELECT status FROM webhook_events_log WHERE event_type = 'payment_intent.succeeded' "
            "AND payload -> 'data' -> 'object' ->> 'id' = %s",
            intent_id,
        )
        assert events == [("processed",)]

    return story


def notification_is_sent_and_it_dies(cloud: Cloud) -> None:
    """The site hears of it again, under the same delivery id."""
    hold, intent_id = paid_for(cloud)
    cloud.confirm(intent_id)
    cloud.delivered()
    cloud.invoke("deliver-outbox")
    hold, intent_id = paid_for(cloud)
    cloud.confirm(intent_id)
    cloud.delivered()
    cloud.die_at("outbox.after-notification")
    assert_died(cloud, cloud.invoke("deliver-outbox"))
    cloud.leases_over()
    assert cloud.invoke("deliver-outbox").json()["delivered"] == 1
    sent = requests.get(f"{cloud.stack['notifications_url']}/_requests", timeout=10).json()
    headers = [
        {name.lower(): value for name, value in one["headers"].items()}
        for one in sent
        if hold.id in str(one["body"])
    ]
    assert len(headers) == 2
    assert len({one["holdfast-delivery"] for one in headers}) == 1


def issue_is_made_and_it_dies(cloud: Cloud) -> None:
    """Looked for again, the tracker has one issue."""
    message = f"broken {uuid4()}"  # in one piece its digits may look like a card
    report = {"message": message, "severity": "error", "fingerprint": [message]}
    assert cloud.call("POST", "/log-error/", report).status_code == 202
    cloud.die_at("outbox.after-issue")
    assert_died(cloud, cloud.invoke("deliver-outbox"))
    cloud.leases_over()
    assert cloud.invoke("deliver-outbox").json()["delivered"] == 1
    url = f"{cloud.stack['github_api_url']}/repos/holdfast/local/issues?state=all&per_page=100"
    assert [message in issue["title"] for issue in requests.get(url, timeout=10).json()].count(True) == 1
    assert cloud.value("SELECT issue_url FROM error_groups WHERE title = %s", message)


def refund_is_made_and_it_dies(point: str) -> Story:
    """Asked again, Stripe has one refund."""

    def story(cloud: Cloud) -> None:
        hold, intent_id = paid_for(cloud)
        cloud.faults(deliver=False)
        cloud.confirm(intent_id)
        cloud.rows("UPDATE slots SET starts_at = now() - interval '1 minute' WHERE id = %s", hold.slot_id)
        cloud.die_at(point)
        cloud.faults()
        cloud.delivered()
        cloud.invoke("deliver-outbox")
        # It may have been the kick that took the refund up, and nobody waits for a kick.
        eventually(lambda: cloud.has_died, within=20)
        cloud.come_to_rest()
        (refund,) = cloud.stripe_client.v1.refunds.list({"payment_intent": intent_id}).data
        assert cloud.rows(
            "SELECT f.status, f.stripe_refund_id FROM refunds f JOIN payment_intents_log p ON p.id = f.payment_id "
            "WHERE p.payment_intent_id = %s",
            intent_id,
        ) == [("succeeded", refund.id)]
        assert (cloud.status(hold), cloud.seats(hold)) == ("expired", (0, 0))

    return story


def dispute_is_told_and_it_dies(point: str) -> Story:
    """Stripe tells it again: the booking is frozen once, and restored when the dispute is won."""

    def story(cloud: Cloud) -> None:
        hold, intent_id = paid_for(cloud)
        cloud.confirm(intent_id)
        cloud.delivered()
        cloud.die_at(point)
        dispute_id = cloud.at_the_bank("/disputes", payment_intent=intent_id)["id"]
        cloud.delivered()
        assert cloud.has_died
        booking = "SELECT status, payment_status, version FROM bookings WHERE reservation_id = %s"
        assert cloud.rows(booking, hold.id) == [("frozen", "disputed", 2)]
        assert cloud.broken_promises() == []
        cloud.at_the_bank(f"/disputes/{dispute_id}", outcome="won")
        cloud.delivered()
        assert cloud.rows(booking, hold.id) == [("confirmed", "paid", 3)]
        assert_sold(cloud, hold)

    return story


def paid_unheard(cloud: Cloud) -> tuple[Hold, str]:
    """A hold whose payment is captured, and none of whose later events ever comes."""
    hold, intent_id = paid_for(cloud)
    cloud.faults(drop=1.0)
    cloud.confirm(intent_id)
    cloud.faults()
    return hold, intent_id


def die_while_reconciling(cloud: Cloud, point: str) -> None:
    cloud.die_at(point)
    assert_died(cloud, cloud.invoke("reconcile-payments"))
    cloud.leases_over()


def reconciliation_dies_after_a_page(cloud: Cloud) -> None:
    """The page is read again, and its events are found done."""
    hold, _ = paid_unheard(cloud)
    die_while_reconciling(cloud, "reconcile.page-applied")
    assert_sold(cloud, hold)
    assert cloud.invoke("reconcile-payments").json()["applied"] == 0


def missed_event(cloud: Cloud, intent_id: str, status: str) -> str:
    """The success of the intent, kept as one that nothing could be done with; its id."""
    (event,) = (
        event
        for event in cloud.stripe_client.v1.events.list({"type": "payment_intent.succeeded"}).data
        if event.data.object["id"] == intent_id
    )
    cloud.rows(
        "INSERT INTO webhook_events_log (event_id, event_type, status, payload, next_attempt_at)"
        " VALUES (%s, %s, %s, %s, now())",
        event.id,
        event.type,
        status,
        json.dumps(event.to_dict()),
    )
    return event.id


def reconciliation_dies_with_events_in_hand(cloud: Cloud) -> None:
    """They are due again before the next run."""
    hold, intent_id = paid_unheard(cloud)
    missed_event(cloud, intent_id, "failed")
    die_while_reconciling(cloud, "reconcile.events-claimed")
    assert cloud.status(hold) == "active"
    assert cloud.invoke("reconcile-payments").json()["retried"] == 1
    assert_sold(cloud, hold)


def past_the_events(cloud: Cloud) -> None:
    """Stripe's list has come to an end: what is not known by now is asked about."""
    cloud.rows(
        "INSERT INTO job_cursors (job, reached_at) VALUES ('stripe-events', now() + interval '2 hours')"
        " ON CONFLICT (job) DO UPDATE SET reached_at = excluded.reached_at"
    )


def reconciliation_dies_after_asking(cloud: Cloud) -> None:
    """The payment is asked about again."""
    hold, _ = paid_unheard(cloud)
    past_the_events(cloud)
    die_while_reconciling(cloud, "reconcile.asked")
    past_the_events(cloud)
    cloud.invoke("reconcile-payments")
    assert_sold(cloud, hold)


def reconciliation_dies_after_closing_a_stray(cloud: Cloud) -> None:
    """Stripe says of the second intent that it is cancelled: that is written down then."""
    hold, intent_id = paid_for(cloud)
    first = cloud.stripe_client.v1.payment_intents.retrieve(intent_id)
    stray = cloud.stripe_client.v1.payment_intents.create(
        {"amount": first.amount, "currency": first.currency, "metadata": first.metadata.to_dict()}
    )
    cloud.delivered()
    die_while_reconciling(cloud, "reconcile.stray-closed")
    cloud.delivered()
    cloud.invoke("reconcile-payments")
    status = "SELECT status FROM payment_intents_log WHERE payment_intent_id = %s"
    assert cloud.value(status, stray.id) == "canceled"
    assert cloud.stripe_client.v1.payment_intents.retrieve(stray.id).status == "canceled"
    cloud.confirm(intent_id)
    cloud.delivered()
    assert cloud.status(hold) == "completed"


def replay_dies(cloud: Cloud) -> None:
    """What an administrator asked for is done by reconciliation."""
    hold, intent_id = paid_unheard(cloud)
    event_id = missed_event(cloud, intent_id, "dead")
    cloud.die_at("replay.reopened")
    token = {"Authorization": f"Bearer {cloud.stack['admin_token']}"}
    assert_died(cloud, cloud.call("POST", f"/admin/webhook-events/{event_id}/replay", {}, token))
    assert cloud.status(hold) == "active"
    assert cloud.invoke("reconcile-payments").json()["retried"] == 1
    assert_sold(cloud, hold)


def booking_is_cancelled_and_it_dies(cloud: Cloud) -> None:
    """Its buyer hears that it has changed, and sees how; the schedule sends the money back, once."""
    hold, intent_id = paid_for(cloud)
    cloud.confirm(intent_id)
    cloud.delivered()
    booking_id = cloud.value("SELECT id FROM bookings WHERE reservation_id = %s", hold.id)
    token = {"X-Reservation-Token": hold.token}

    def cancel() -> requests.Response:
        path, version = f"/bookings/bookings/{booking_id}/cancel", token | {"If-Match": "1"}
        return cloud.call("POST", path, {"reason": "ill"}, version)

    cloud.die_at("change.committed")
    assert_died(cloud, cancel())
    again = cancel()
    assert (again.status_code, again.json()["version"]) == (412, 2)
    shown = cloud.call("GET", f"/bookings/bookings/{booking_id}", headers=token).json()
    assert (shown["status"], cloud.seats(hold)) == ("cancelled", (0, 0))
    cloud.invoke("deliver-outbox")
    cloud.delivered()
    (refund,) = cloud.stripe_client.v1.refunds.list({"payment_intent": intent_id}).data
    assert refund.amount == shown["amount"]
    assert cloud.value("SELECT payment_status FROM bookings WHERE id = %s", booking_id) == "refunded"


def book(cloud: Cloud, hold: Hold) -> requests.Response:
    body = {"reservation_id": hold.id, "payment_method": "pay_on_arrival"}
    headers = {"X-Reservation-Token": hold.token, "Idempotency-Key": "book"}
    return cloud.call("POST", "/bookings/bookings", body, headers)


def die_while_booking(cloud: Cloud, point: str) -> Hold:
    """A hold of the class, whose payment is open when its buyer would rather pay on arrival."""
    hold = cloud.hold(cloud.slot(offering="morning-yoga"))
    intent_of(cloud.pay(hold, "key"))
    cloud.die_at(point)
    assert_died(cloud, book(cloud, hold))
    assert (cloud.status(hold), cloud.seats(hold)) == ("active", (1, 0))
    return hold


def booking_goes_on(point: str) -> Story:
    """The buyer tries again under the same key: booked once, and nobody can pay."""

    def story(cloud: Cloud) -> None:
        hold = die_while_booking(cloud, point)
        cloud.leases_over()
        booked = book(cloud, hold)
        assert booked.status_code == 201, booked.text
        assert book(cloud, hold).content == booked.content
        cloud.delivered()
        assert (cloud.status(hold), cloud.seats(hold)) == ("completed", (0, 1))
        assert [intent.status for intent in cloud.intents(hold)] == ["canceled"]

    return story


def booking_is_given_up(point: str) -> Story:
    """The buyer never comes back: the hold lives as long as any, and then its seats go."""

    def story(cloud: Cloud) -> None:
        hold = die_while_booking(cloud, point)
        cloud.delivered()
        assert (cloud.status(hold), cloud.seats(hold)) == ("active", (1, 0))
        cloud.expire(hold)
        cloud.leases_over()
        assert cloud.invoke("reservation-cleanup").json()["released"] == 1
        assert_let_go(cloud, hold)

    return story


STORIES: dict[str, tuple[str, Story]] = {
    "pay.before-stripe, and the buyer tries again": (
        "pay.before-stripe",
        paying_goes_on("pay.before-stripe"),
    ),
    "pay.after-stripe, and the buyer tries again": ("pay.after-stripe", paying_goes_on("pay.after-stripe")),
    "pay.before-stripe, and nobody comes back": (
        "pay.before-stripe",
        paying_is_given_up("pay.before-stripe"),
    ),
    "pay.after-stripe, and nobody comes back": ("pay.after-stripe", paying_is_given_up("pay.after-stripe")),
    "pay.after-stripe, and the buyer has paid": ("pay.after-stripe", money_comes_before_our_answer),
    "close.after-create": ("close.after-create", cleanup_dies_after_making_the_intent_again),
    "close.after-stripe, in the clean-up": ("close.after-stripe", cleanup_dies_after_stripe_has_cancelled),
    "close.after-stripe, in a cancellation": ("close.after-stripe", buyer_cancels_and_it_dies),
    "settle.before-commit": ("settle.before-commit", cleanup_dies_while_it_confirms),
    "webhook.claimed": ("webhook.claimed", webhook_dies("webhook.claimed")),
    "webhook.before-commit": ("webhook.before-commit", webhook_dies("webhook.before-commit")),
    "webhook.committed": ("webhook.committed", webhook_dies("webhook.committed")),
    "reconcile.page-applied": ("reconcile.page-applied", reconciliation_dies_after_a_page),
    "reconcile.events-claimed": ("reconcile.events-claimed", reconciliation_dies_with_events_in_hand),
    "reconcile.asked": ("reconcile.asked", reconciliation_dies_after_asking),
    "reconcile.stray-closed": ("reconcile.stray-closed", reconciliation_dies_after_closing_a_stray),
    "replay.reopened": ("replay.reopened", replay_dies),
    "outbox.after-notification": ("outbox.after-notification", notification_is_sent_and_it_dies),
    "outbox.after-issue": ("outbox.after-issue", issue_is_made_and_it_dies),
    "outbox.after-refund": ("outbox.after-refund", refund_is_made_and_it_dies("outbox.after-refund")),
    "change.committed": ("change.committed", booking_is_cancelled_and_it_dies),
    "close.after-stripe, in a booking": ("close.after-stripe", booking_goes_on("close.after-stripe")),
    "close.after-stripe, in a booking, and nobody comes back": (
        "close.after-stripe",
        booking_is_given_up("close.after-stripe"),
    ),
    "book.payment-closed": ("book.payment-closed", booking_goes_on("book.payment-closed")),
    "book.payment-closed, and nobody comes back": (
        "book.payment-closed",
        booking_is_given_up("book.payment-closed"),
    ),
    "ledger.before-commit": ("ledger.before-commit", refund_is_made_and_it_dies("ledger.before-commit")),
    "webhook.before-commit, of a dispute": (
        "webhook.before-commit",
        dispute_is_told_and_it_dies("webhook.before-commit"),
    ),
}


@pytest.mark.parametrize("name", list(STORIES))
def test_a_death_at_a_named_point_is_made_good(cloud: Cloud, name: str) -> None:
    """Killed there, and taken up again by the buyer, by Stripe or by a schedule: every promise holds."""
    _, story = STORIES[name]

    story(cloud)

    assert cloud.broken_promises() == []


def test_every_kill_point_has_its_story() -> None:
    """No named point is left out."""
    sources = [*Path(ROOT, "functions").rglob("*.py"), *Path(ROOT, "shared").rglob("*.py")]
    named = {
        point for source in sources for point in re.findall(r'kill_point\("([^"]+)"\)', source.read_text())
    }

    assert {point for point, _ in STORIES.values()} == named
