"""Floods of reports: exact counts, bounded rows, one group, one issue, a cap that nobody passes."""

from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from database.errors import report_error
from functions.deliver_outbox import service as delivering
from functions.deliver_outbox.tracker import Tracker
from tests.concurrency.guards import begin_window, rewrite_function, shows
from tests.concurrency.shop import Shop
from tests.concurrency.till import Till
from tests.support.tracker import REPOSITORY, Fault, TrackerServer, tracking

CALLERS = 30
EACH = 20
CAP = 5


def report(
    shop: Shop, name: str, request_id: str, *, opened_an_hour: int | None = None, issues_an_hour: int = CAP
) -> dict[str, Any]:
    return report_error(
        shop.connection(),
        fingerprint=name,
        severity="error",
        source="frontend",
        title="boom",
        function_name=None,
        stack_trace="at pay",
        context={},
        release=None,
        url=None,
        request_id=request_id,
        times=1,
        opener="somebody",
        opened_an_hour=opened_an_hour,
        issues_an_hour=issues_an_hour,
    )


def flood(shop: Shop, name: str = "same") -> list[Exception]:
    """Six hundred reports of one error by thirty callers at once; what any of them got instead of an answer."""

    def often(caller: int) -> None:
        for number in range(EACH):
            report(shop, name, f"{caller}-{number}")

    return [answer for answer in shop.at_once(CALLERS, often) if isinstance(answer, Exception)]


def test_the_same_error_at_once_is_one_group_exactly_counted(shop: Shop) -> None:
    """New to all of them: one group, its exact count, twenty samples, one row for an issue."""
    assert flood(shop) == []
    assert shop.rows("SELECT fingerprint, occurrence_count, openings FROM error_groups") == [
        ("same", CALLERS * EACH, 1)
    ]
    assert shop.value("SELECT count(*) FROM error_logs") == 20
    assert shop.rows("SELECT kind, dedupe_key FROM outbox") == [("error_issue", "error_issue:same")]
    assert shop.deadlocks() == 0


def test_control_a_count_that_is_read_before_it_is_written_loses_reports(shop: Shop) -> None:
    """Negative control: where the new count is not made from the locked row, reports are lost."""
    rewrite_function(
        shop.owner_url,
        "report_error",
        (
            "occurrence_count = occurrence_count + CASE",
            "occurrence_count = (SELECT e.occurrence_count FROM error_groups e WHERE e.fingerprint = p_fingerprint) + CASE",
        ),
    )

    def race() -> bool:
        name = f"error {uuid4()}"
        flood(shop, name)
        query = "SELECT occurrence_count FROM error_groups WHERE fingerprint = %s"
        return shop.value(query, name) < CALLERS * EACH

    assert shows(race)


def see_again(shop: Shop, name: str = "same") -> None:
    report(shop, name, "first")
    shop.rows("UPDATE outbox SET status = 'delivered'")
    shop.rows("SELECT change_error_group(%s, 'resolve')", name)
    shop.at_once(CALLERS, lambda caller: report(shop, name, str(caller)))


def test_seen_again_at_once_it_opens_once(shop: Shop) -> None:
    """Resolved, and then thirty at once: one more opening, one row due."""
    see_again(shop)
    assert shop.rows("SELECT status, openings, occurrence_count FROM error_groups") == [
        ("open", 2, CALLERS + 1)
    ]
    assert shop.rows("SELECT status, payload ->> 'opening' FROM outbox") == [("pending", "2")]
    assert shop.deadlocks() == 0


def test_control_a_status_that_is_read_before_it_is_written_opens_twice(shop: Shop) -> None:
    """Negative control: where whether it was resolved is not read from the locked row, several open it."""
    rewrite_function(
        shop.owner_url,
        "report_error",
        (
            "openings = openings + CASE WHEN status = 'resolved'",
            "openings = openings + CASE WHEN (SELECT e.status FROM error_groups e, pg_sleep(0.05) WHERE e.fingerprint = p_fingerprint) = 'resolved'",
        ),
    )

    def race() -> bool:
        name = f"error {uuid4()}"
        see_again(shop, name)
        return shop.value("SELECT openings FROM error_groups WHERE fingerprint = %s", name) > 2

    assert shows(race)


def new_errors(shop: Shop, opened_an_hour: int | None) -> Counter[str]:
    """What sixty callers at once are told, each with an error of its own."""
    answers = shop.at_once(
        60,
        lambda caller: report(shop, f"error {uuid4()}", str(caller), opened_an_hour=opened_an_hour)[
            "outcome"
        ],
    )
    return Counter(answer if isinstance(answer, str) else type(answer).__name__ for answer in answers)


def look_without_locking(shop: Shop) -> None:
    """The limits are only looked at before, by everybody at once."""
    rewrite_function(
        shop.owner_url,
        "take_of_hour",
        ("WHERE r.used < p_limit", ""),
        ("INSERT INTO", "PERFORM pg_sleep(0.05); INSERT INTO"),
    )


def test_nobody_opens_more_groups_than_an_hour_allows(shop: Shop) -> None:
    """Sixty new errors at once from one address: ten groups, the others refused."""
    begin_window(shop.owner_url, "take_of_hour")
    assert new_errors(shop, 10) == {"counted": 10, "too-many-requests": 50}
    assert shop.value("SELECT count(*) FROM error_groups") == 10
    assert shop.deadlocks() == 0


def test_an_hour_has_no_more_issues_than_its_cap(shop: Shop) -> None:
    """Sixty new errors at once, of sixty addresses: all are counted, five become issues."""
    begin_window(shop.owner_url, "take_of_hour")
    assert new_errors(shop, None) == {"counted": 60}
    assert shop.value("SELECT count(*) FROM outbox") == CAP
    assert shop.deadlocks() == 0


def test_control_limits_that_are_only_looked_at_are_passed(shop: Shop) -> None:
    """Negative control: where taking one and the limit are not one act, those who look at once all get in."""
    look_without_locking(shop)

    def race() -> bool:
        shop.rows("DELETE FROM rate_limits")
        return new_errors(shop, 10)["counted"] > 10

    assert shows(race)


def test_control_a_cap_that_is_only_looked_at_is_passed(shop: Shop) -> None:
    """Negative control: the same of issues."""
    look_without_locking(shop)

    def race() -> bool:
        shop.rows("DELETE FROM rate_limits")
        shop.rows("DELETE FROM outbox")
        new_errors(shop, None)
        return shop.value("SELECT count(*) FROM outbox") > CAP

    assert shows(race)


def deliver_at_once(shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch) -> TrackerServer:
    """The tracker after four deliverers at once have told it of five errors."""
    for number in range(CAP):
        report(shop, f"error {uuid4()}", str(number), issues_an_hour=1000)
    with tracking() as server:
        # Whoever has looked takes a while to make what is not there.
        server.faults = [Fault(200, delay_s=0.5, works=True, method="GET")] * 40
        tracker = Tracker(server.url, REPOSITORY, None)
        monkeypatch.setattr(delivering, "_tracker", lambda: tracker)
        results = shop.at_once(4, lambda _: till.deliver())
    assert not [result for result in results if isinstance(result, Exception)], results
    return server


def test_deliverers_at_once_make_one_issue_a_fingerprint(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = deliver_at_once(shop, till, monkeypatch)
    labels = Counter(
        label for issue in server.issues for label in issue["labels"] if label != "holdfast-error"
    )
    assert (len(labels), set(labels.values())) == (CAP, {1})
    assert shop.rows("SELECT DISTINCT status FROM outbox") == [("delivered",)]
    assert shop.deadlocks() == 0


def test_control_without_lease_and_lock_an_error_has_two_issues(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: several deliverers of one row all look before any of them has made the issue."""
    rewrite_function(
        shop.owner_url,
        "claim_outbox",
        ("AND lease_until <= now()", ""),
        ("FOR NO KEY UPDATE SKIP LOCKED", ""),
    )
    assert shows(lambda: len(deliver_at_once(shop, till, monkeypatch).issues) > CAP)


def report_and_close(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Exception], TrackerServer]:
    """Ten errors, seen, resolved, closed there and delivered at the same time, again and again; who failed."""
    names = [f"error {number}" for number in range(10)]
    with tracking() as server:
        tracker = Tracker(server.url, REPOSITORY, None)
        monkeypatch.setattr(delivering, "_tracker", lambda: tracker)

        def act(caller: int) -> None:
            for number in range(10):
                name = names[(caller + number) % 10]
                if caller % 5 == 4:
                    till.deliver(5)
                elif caller % 5 == 3:
                    shop.rows("SELECT change_error_group(%s, 'resolve')", name)
                    for issue in list(server.issues):
                        server.close(issue["number"])
                else:
                    report(shop, name, f"{caller}-{number}", issues_an_hour=1000)

        failed = [answer for answer in shop.at_once(15, act) if isinstance(answer, Exception)]
    return failed, server


def test_reports_and_closings_at_once_deadlock_nobody(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they meet, every report is counted, and an error has one issue."""
    failed, server = report_and_close(shop, till, monkeypatch)
    assert failed == []
    assert shop.value("SELECT sum(occurrence_count) FROM error_groups") == 9 * 10
    assert len(server.issues) == len({issue["labels"][1] for issue in server.issues})
    assert shop.deadlocks() == 0


def test_control_a_row_that_is_locked_before_its_group_deadlocks(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: who settles an issue with the row first meets a report that has the group."""
    group_first = "PERFORM 1 FROM error_groups"
    row_first = "PERFORM 1 FROM outbox WHERE id = p_outbox_id FOR NO KEY UPDATE; PERFORM pg_sleep(0.05);"
    rewrite_function(shop.owner_url, "settle_issue", (group_first, f"{row_first} {group_first}"))

    def race() -> bool:
        report_and_close(shop, till, monkeypatch)
        return shop.deadlocks() > 0

    assert shows(race)
