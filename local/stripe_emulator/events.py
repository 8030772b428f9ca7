"""Events: each change of an object as Stripe tells of it, kept, and queued for the webhook endpoint."""

from collections.abc import Sequence
from typing import Any

from local.stripe_emulator.account import Account, Call
from local.stripe_emulator.errors import no_such
from local.stripe_emulator.identifiers import new_id
from local.stripe_emulator.storage import Stored

type Json = dict[str, Any]

# https://docs.stripe.com/api/events: they can be listed for 30 days, and are delivered for up to three.
KEPT_S = 30 * 86_400
_DELIVERED_FOR_S = 3 * 86_400


def emit(call: Call, kind: str, subject: Json, *, previous: Json | None = None) -> None:
    """Record that `subject` is now as it is, as an event of type `kind`, and queue its delivery.

    `previous` holds the former values of what an update changed.
    """
    account = call.account
    data: Json = {"object": subject}
    if previous is not None:
        data["previous_attributes"] = previous
    event: Json = {
        "id": new_id("evt"),
        "object": "event",
        "api_version": account.settings.api_version,
        "created": account.now(),
        "data": data,
        "livemode": False,
        "pending_webhooks": 0 if account.settings.webhook_url is None else 1,
        "request": {"id": call.request_id, "idempotency_key": call.idempotency_key},
        "type": kind,
    }
    account.storage.insert(Stored(event))
    if account.settings.webhook_url is None:
        return
    if account.faults.deliver:
        _queue(account, event["id"], kind)
    else:
        _add_delivery(account, event["id"], kind, state="held", delay=0)


def release_held(account: Account) -> None:
    """Queue what was held back, under the faults that are in force now."""
    held = account.storage.execute(
        "DELETE FROM deliveries WHERE state = 'held' RETURNING seq, event_id, type"
    ).fetchall()
    for _, event_id, kind in sorted(held):
        _queue(account, event_id, kind)


def _queue(account: Account, event_id: str, kind: str) -> None:
    faults = account.faults
    if faults.drop and account.chance.random() < faults.drop:
        _add_delivery(account, event_id, kind, state="dropped", delay=0)
        return
    for _ in range(faults.duplicate):
        delay = account.chance.uniform(0, faults.shuffle_ms / 1000) if faults.shuffle_ms else 0
        _add_delivery(account, event_id, kind, state="waiting", delay=delay)
    account.events_waiting()


def _add_delivery(account: Account, event_id: str, kind: str, *, state: str, delay: float) -> None:
    now = account.clock()
    account.storage.execute(
        "INSERT INTO deliveries (event_id, type, state, next_at, give_up_at) VALUES (?, ?, ?, ?, ?)",
        (event_id, kind, state, now + delay, now + _DELIVERED_FOR_S),
    )


def retrieve(call: Call, event_id: str) -> Json:
    """The event, with the number of endpoints that have not taken it yet; StripeError after 30 days."""
    stored = call.storage.find("event", event_id)
    if stored is None or stored.body["created"] < call.account.now() - KEPT_S:
        raise no_such("event", event_id, param="id")
    return with_pending_webhooks(call, [stored.body])[0]


def with_pending_webhooks(call: Call, events: Sequence[Json]) -> list[Json]:
    """The events as they stand now: `pending_webhooks` falls to 0 once every copy has been taken."""
    for event in events:
        row = call.storage.execute(
            "SELECT count(*) FROM deliveries WHERE event_id = ? AND state <> 'delivered'", (event["id"],)
        ).fetchone()
        event["pending_webhooks"] = min(row[0], 1)
    return list(events)


def deliveries(account: Account) -> list[Json]:
    """One entry an event, oldest first: attempts over all copies, and how the last of them ended.

    `last_status` is 2xx once every copy has been taken; until then that of a refused copy, or null.
    `pending` counts the copies that are still to be delivered. A dropped event is no delivery.
    """
    rows = account.storage.execute(
        """
        SELECT event_id, type, sum(attempts),
               CASE WHEN count(*) FILTER (WHERE state <> 'delivered') = 0 THEN max(last_status)
                    ELSE max(last_status) FILTER (WHERE state <> 'delivered') END,
               count(*) FILTER (WHERE state IN ('waiting', 'held')),
               max(last_error)
        FROM deliveries WHERE state <> 'dropped' GROUP BY event_id ORDER BY min(seq)
        """
    )
    return [
        {
            "event_id": event_id,
            "type": kind,
            "attempts": attempts,
            "last_status": last_status,
            "pending": pending,
            "last_error": last_error,
        }
        for event_id, kind, attempts, last_status, pending, last_error in rows
    ]
