"""`make replay`: what failed is done again from the command line, over HTTP, in the running cloud."""

import subprocess

from tests.faults.cloud import Cloud, Hold
from tests.support.commands import run


def replay(cloud: Cloud, **settings: str) -> subprocess.CompletedProcess[str]:
    """What `make replay` runs, with what it is given."""
    return run("scripts.replay", settings={"STATE": str(cloud.state), **settings})


def dead(cloud: Cloud) -> tuple[Hold, str]:
    """A paid hold and the event of its success, which nothing could be done with until it was given up."""
    hold = cloud.hold()
    intent_id = cloud.pay(hold).json()["payment_intent_id"]
    cloud.delivered()
    cloud.faults(drop=1.0)
    cloud.confirm(intent_id)
    cloud.faults()
    cloud.rows("ALTER TABLE bookings ADD CONSTRAINT poison CHECK (created_at < '2000-01-01') NOT VALID")
    assert cloud.invoke("reconcile-payments").status_code == 200
    cloud.rows("ALTER TABLE bookings DROP CONSTRAINT poison")
    event = "payload -> 'data' -> 'object' ->> 'id' = %s AND event_type = 'payment_intent.succeeded'"
    cloud.rows(
        f"UPDATE webhook_events_log SET status = 'dead', attempts = 12, next_attempt_at = NULL WHERE {event}",
        intent_id,
    )
    # Asking would find the money, too; here it is the event that has to.
    cloud.rows("UPDATE payment_intents_log SET next_reconcile_at = now() + interval '1 hour'")
    return hold, cloud.value(f"SELECT event_id FROM webhook_events_log WHERE {event}", intent_id)


def test_one_is_replayed_by_its_id(cloud: Cloud) -> None:
    """Its outcome is printed; once more, it is a duplicate; one that never came is an error."""
    hold, event_id = dead(cloud)
    assert cloud.status(hold) == "active"
    done = replay(cloud, EVENT=event_id)
    assert (done.returncode, done.stdout) == (0, f"{event_id} processed\n"), done.stderr
    assert cloud.status(hold) == "completed"
    assert replay(cloud, EVENT=event_id).stdout == f"{event_id} duplicate\n"
    unknown = replay(cloud, EVENT="evt_unknown")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("404 ")
    assert cloud.broken_promises() == []


def test_a_filter_is_tried_dry_first_and_then_done(cloud: Cloud) -> None:
    """DRY_RUN=1 names the events and does nothing; without it they are done."""
    hold, event_id = dead(cloud)
    line = f"{event_id} payment_intent.succeeded dead"
    dry = replay(cloud, STATUS="dead", TYPE="payment_intent.succeeded", DRY_RUN="1")
    assert (dry.returncode, dry.stdout) == (0, f"{line}\n"), dry.stderr
    assert cloud.status(hold) == "active"
    done = replay(cloud, STATUS="dead", TYPE="payment_intent.succeeded", SINCE="2020-01-01T00:00:00Z")
    assert (done.returncode, done.stdout) == (0, f"{line} processed\n"), done.stderr
    assert cloud.status(hold) == "completed"
    assert replay(cloud, STATUS="dead").stdout == ""
    assert cloud.broken_promises() == []


def test_what_fails_again_and_what_is_wrong_is_told_by_the_exit_status(cloud: Cloud) -> None:
    """1 where an event has failed again or the call is refused, 2 for what says nothing."""
    _, event_id = dead(cloud)
    cloud.rows("ALTER TABLE bookings ADD CONSTRAINT poison CHECK (created_at < '2000-01-01') NOT VALID")
    try:
        again = replay(cloud, EVENT=event_id)
    finally:
        cloud.rows("ALTER TABLE bookings DROP CONSTRAINT poison")
    assert (again.returncode, again.stdout) == (1, f"{event_id} failed\n"), again.stderr
    refused = replay(cloud, STATUS="processed")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("422 ")
    stranger = replay(cloud, STATUS="dead", ADMIN_URL=cloud.stack["functions"]["admin"], ADMIN_TOKEN="a.b.c")
    assert (stranger.returncode, stranger.stderr[:4]) == (1, "401 ")
    for settings in ({}, {"EVENT": event_id, "STATUS": "dead"}, {"EVENT": event_id, "DRY_RUN": "1"}):
        assert replay(cloud, **settings).returncode == 2
    assert replay(cloud, EVENT=event_id).stdout == f"{event_id} processed\n"
    assert cloud.broken_promises() == []
