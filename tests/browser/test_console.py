"""The console, as an administrator sees it."""

import json
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.faults.cloud import Cloud

CONSOLE = "/admin/console"
WAIT_MS = 30_000


@pytest.fixture
def console(page: Page, cloud: Cloud) -> Page:
    """The page, signed in."""
    page.goto(CONSOLE)
    sign_in(page, cloud.stack["admin_token"])
    said(page, "Signed in")
    return page


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Token of an administrator").fill(token)
    page.get_by_role("button", name="Sign in").click()


def said(page: Page, words: str) -> None:
    """Waits until the page says so."""
    expect(page.get_by_role("status")).to_contain_text(words, timeout=WAIT_MS)


def paid(cloud: Cloud) -> dict[str, str]:
    """A booking that is paid: its id, and its reservation's."""
    hold = cloud.hold(cloud.slot(2))
    intent = cloud.pay(hold).json()["payment_intent_id"]
    cloud.confirm(intent)
    cloud.delivered()
    booking = cloud.value("SELECT id::text FROM bookings WHERE reservation_id = %s", hold.id)
    return {"booking": booking, "reservation": hold.id, "intent": intent}


def kept_event(cloud: Cloud, status: str) -> str:
    """An event about nothing of ours that was once not applied: done again, it is parked."""
    intent = {"id": f"pi_{uuid4().hex}", "object": "payment_intent", "status": "succeeded", "metadata": {}}
    event = {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": 1795262400,
        "livemode": False,
        "data": {"object": intent},
    }
    cloud.rows(
        """
        INSERT INTO webhook_events_log (event_id, event_type, status, payload, attempts, last_error)
        VALUES (%s, 'payment_intent.succeeded', %s, %s, 3, 'it did not work')
        """,
        event["id"],
        status,
        json.dumps(event),
    )
    return str(event["id"])


def status_of(cloud: Cloud, event_id: str) -> str:
    return cloud.value("SELECT status FROM webhook_events_log WHERE event_id = %s", event_id)


def test_who_is_no_administrator_sees_nothing_and_the_token_is_not_kept(page: Page) -> None:
    page.goto(CONSOLE)
    sign_in(page, "nonsense")
    said(page, "Not done: 401")
    expect(page.get_by_role("heading", name="Figures")).to_be_hidden()
    assert page.evaluate("Object.keys(sessionStorage).length + Object.keys(localStorage).length") == 0


def test_the_token_stays_in_the_tab_and_ends_with_the_session(console: Page) -> None:
    """A reload keeps it, another store never has it, signing out forgets it."""
    console.reload()
    said(console, "Signed in")
    assert console.evaluate("[Object.keys(localStorage).length, document.cookie]") == [0, ""]
    console.get_by_role("button", name="Sign out").click()
    said(console, "Signed out")
    assert console.evaluate("Object.keys(sessionStorage).length") == 0


def test_figures_are_those_of_the_api(console: Page, cloud: Cloud) -> None:
    """Counts by status, and of broken promises."""
    hold = cloud.hold()
    console.get_by_role("button", name="Look again").click()
    expect(console.get_by_role("row", name="invariant violations")).to_be_visible()
    active = cloud.value("SELECT active FROM get_reservation_stats()")
    expect(console.get_by_role("row", name=f"active {active}", exact=True)).to_be_visible(timeout=WAIT_MS)
    cloud.cancel(hold)


def test_events_are_shown_by_their_status_and_replayed_after_a_dry_run(console: Page, cloud: Cloud) -> None:
    """The dry run names them and changes nothing; then it is asked; then it is done."""
    dead = kept_event(cloud, "dead")
    console.get_by_label("Events that are").select_option("dead")
    console.get_by_role("button", name="Show events").click()
    expect(console.get_by_role("cell", name=dead, exact=True)).to_be_visible()

    console.get_by_role("button", name="Replay all of them…").click()
    sure = console.get_by_role("dialog")
    expect(sure).to_contain_text("Dry run: 1 dead")
    expect(sure).to_contain_text(dead)
    assert status_of(cloud, dead) == "dead"
    sure.get_by_role("button", name="Replay 1").click()
    said(console, "Replayed: 1 parked")
    assert status_of(cloud, dead) == "parked"


def test_one_event_is_replayed_only_once_it_was_asked(console: Page, cloud: Cloud) -> None:
    event = kept_event(cloud, "quarantined")
    console.get_by_label("Events that are").select_option("quarantined")
    console.get_by_role("button", name="Show events").click()
    replay = console.get_by_role("button", name=f"Replay {event}")
    replay.click()
    console.get_by_role("button", name="Leave it").click()
    said(console, "Left as it is")
    assert status_of(cloud, event) == "quarantined"
    replay.click()
    console.get_by_role("button", name="Replay", exact=True).click()
    said(console, f"{event}: parked")
    assert status_of(cloud, event) == "parked"


def test_an_error_is_resolved_and_what_it_says_is_only_text(console: Page, cloud: Cloud) -> None:
    """Anybody can report an error: nothing of it becomes a part of the page."""
    title = f"<img src=x onerror=alert(1)> {uuid4()}"
    report = {"message": title, "severity": "error", "source": "frontend"}
    assert cloud.call("POST", "/log-error/", report).status_code == 202
    console.get_by_role("button", name="Show errors").click()
    row = console.get_by_role("row").filter(has_text="<img src=x onerror=alert(1)>").first
    expect(row).to_be_visible(timeout=WAIT_MS)
    assert console.locator("main img").count() == 0
    row.get_by_role("button", name="resolve").click()
    said(console, ": resolved")


def test_a_booking_is_shown_with_its_story_and_refunded(console: Page, cloud: Cloud) -> None:
    """By any id of it; the refund is asked about, sent once, and in the story."""
    sold = paid(cloud)
    console.get_by_label("Id of a booking").fill(sold["intent"])
    console.get_by_role("button", name="Tell it").click()
    expect(console.get_by_role("cell", name="seats held")).to_be_visible(timeout=WAIT_MS)
    expect(console.get_by_role("cell", name=sold["booking"], exact=True)).to_be_visible()

    console.get_by_label("Refund in minor units").fill("1000")
    console.get_by_label("Reason").fill("rain")
    console.get_by_role("button", name="Refund…").click()
    expect(console.get_by_role("dialog")).to_contain_text("Refund 1000 eur?")
    console.get_by_role("button", name="Refund", exact=True).click()
    said(console, "1000 eur pending")
    expect(console.get_by_role("cell", name="refund asked for")).to_be_visible()
    assert cloud.rows(
        "SELECT f.amount FROM refunds f JOIN bookings b ON b.payment_id = f.payment_id WHERE b.id = %s",
        sold["booking"],
    ) == [(1000,)]


def test_its_policy_keeps_out_what_is_not_its_own(console: Page) -> None:
    """A script that somebody has brought into the page does not run, and nothing is sent elsewhere."""
    assert console.evaluate(
        """async () => {
            const script = document.createElement("script");
            try { script.textContent = "window.theirs = true"; document.body.append(script); } catch {}
            const sent = await fetch("http://127.0.0.1:1/", { mode: "no-cors" }).then(() => true, () => false);
            return [window.theirs ?? false, sent];
        }"""
    ) == [False, False]


def test_it_can_be_used_on_a_phone_and_every_control_has_a_name(console: Page) -> None:
    console.set_viewport_size({"width": 360, "height": 740})
    console.get_by_role("button", name="Show events").click()
    said(console, "events")
    assert console.evaluate("document.documentElement.scrollWidth") <= 360
    assert console.evaluate(
        """[...document.querySelectorAll("input, select, button")]
            .filter((control) => !(control.labels?.length || control.ariaLabel || control.textContent.trim()))
            .map((control) => control.outerHTML)"""
    ) == ['<button class="act" id="sure-yes" value="yes"></button>']
