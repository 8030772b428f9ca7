"""The module as a site uses it: a purchase, its hardships, the hold's clock, and leaving the page."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from tests.browser.site import EMPTY_PAGE, hold, open_site, problem, status_of, until, wanted
from tests.faults.cloud import Cloud
from tests.support.sign_in import token

HOLD_MS = 15 * 60 * 1000
ANOTHER_SITE = "http://localhost:5173/"
AN_HOUR_FAST = "{ const now = Date.now.bind(Date); Date.now = () => now() + 3_600_000; }"


@pytest.fixture
def site(page: Page) -> Page:
    """A tab with the module in it."""
    open_site(page)
    return page


@pytest.fixture
def older_site(page: Page) -> Page:
    """The same in a browser without a Navigation API."""
    page.add_init_script("delete window.navigation;")
    open_site(page)
    assert page.evaluate("window.navigation === undefined")
    return page


@pytest.fixture(params=["site", "older_site"])
def either_site(request: pytest.FixtureRequest) -> Page:
    """One and then the other."""
    return request.getfixturevalue(request.param)


def test_a_buyer_holds_pays_and_cancels_the_booking(site: Page, cloud: Cloud) -> None:
    """From the seats that are left to the booking that gives its money back, through the real functions."""
    slot = cloud.slot(2, offering="haircut")
    slots = site.evaluate("holdfast.reservations.slots({offering: 'haircut', from: undefined, limit: 200})")
    # The first of the list may begin within the day from which nothing is given back.
    assert slot in [each["id"] for each in slots["slots"]]
    seen = hold(site, wanted(slot))
    payment = site.evaluate("hold.pay()")
    assert payment["amount"] == seen["amount"]
    cloud.confirm(payment["payment_intent_id"])
    settled = site.evaluate("hold.settled()")
    assert settled["status"] == "completed"
    booking = site.evaluate("id => holdfast.bookings.show(id, hold.token)", settled["booking_id"])
    cancelled = site.evaluate("seen => holdfast.bookings.cancel(seen, 'ill', hold.token)", booking)
    assert (cancelled["status"], cancelled["refund"]["amount"]) == ("cancelled", seen["amount"])


def test_a_booking_is_moved_by_the_version_that_was_seen(site: Page, cloud: Cloud) -> None:
    """Who has not seen the last change is told so, by the present version."""
    hold(site, wanted(cloud.slot(offering="morning-yoga")))
    booking = site.evaluate("hold.book('pay_on_arrival')")
    to = {"slot_id": cloud.slot(offering="morning-yoga")}
    move = "([seen, to]) => holdfast.bookings.reschedule(seen, to, hold.token)"
    moved = site.evaluate(move, [booking, to])
    refused = site.evaluate(f"given => refusalOf(() => ({move})(given))", [booking, to])
    assert moved["items"][0]["slot_id"] == to["slot_id"]
    assert (refused["slug"], refused["body"]["version"]) == ("version-conflict", moved["version"])


def test_a_refusal_is_a_problem_that_says_what_is_left(site: Page, cloud: Cloud) -> None:
    slot = cloud.slot()
    refused = site.evaluate(
        "request => refusalOf(() => holdfast.reservations.hold(request))", wanted(slot, 2)
    )
    assert refused["isOurs"]
    assert refused["body"]["left"] == [{"slot_id": slot, "units_left": 1, "bookings_left": 1}]
    assert (refused["name"], refused["status"], refused["slug"]) == ("Problem", 409, "sold-out")
    assert refused["requestId"] == refused["body"]["instance"]


def test_an_answer_that_a_reload_has_lost_is_found_again(site: Page, cloud: Cloud) -> None:
    """The key of an intention outlives the page: what was held before the reload is what is held after it."""
    request, held = wanted(cloud.slot(2)), list[str]()
    site.route("**/reservations/reservations", lambda route: held.append(route.fetch().json()["id"]))
    site.evaluate("request => { holdfast.reservations.hold(request); }", request)
    until(site, lambda: held)
    open_site(site)
    site.unroute_all()
    assert hold(site, request)["id"] == held[0]


def test_a_second_click_is_the_first_and_the_same_again_later_is_not(site: Page, cloud: Cloud) -> None:
    """An intention ends with a definite answer; until then it has one request."""
    twice = """async (request) => {
        const holds = await Promise.all([1, 2].map(() => holdfast.reservations.hold(request)));
        return [...holds, await holdfast.reservations.hold(request)].map(({ id }) => id);
    }"""
    sent: list[str] = []
    site.on("request", lambda request: sent.append(request.url))
    first, second, later = site.evaluate(twice, wanted(cloud.slot(3)))
    assert first == second != later
    assert len(sent) == 2


def test_a_definite_refusal_ends_the_intention(site: Page, cloud: Cloud) -> None:
    """What is asked for again after it goes under another key, so that nothing stays answered for the first."""
    request, keys = wanted(cloud.slot(), 2), list[str | None]()
    site.on("request", lambda sent: keys.append(sent.headers.get("idempotency-key")))
    for _ in range(2):
        site.evaluate("request => refusalOf(() => holdfast.reservations.hold(request))", request)
    assert len(set(keys)) == len(keys) == 2


@pytest.mark.parametrize(
    ("hardship", "pause_ms"),
    [
        (lambda route: problem(route, 409, "request-in-progress", **{"Retry-After": "1"}), 1000),
        (lambda route: problem(route, 503, "payment-provider-unavailable", **{"Retry-After": "1"}), 1000),
        (lambda route: route.fulfill(status=502, json={"Message": "Internal Server Error"}), 0),
        (lambda route: route.fulfill(status=429, json={"Message": "Rate Exceeded."}), 0),
        (lambda route: route.abort("connectionreset"), 0),
    ],
    ids=["in progress", "unavailable", "died", "throttled", "cut"],
)
def test_what_may_be_repeated_is_under_the_same_key(
    site: Page, cloud: Cloud, hardship: Callable[[Route], None], pause_ms: int
) -> None:
    """And no earlier than the answer asks for."""
    hold(site, wanted(cloud.slot()))
    keys: list[str | None] = []

    def first_fails(route: Route) -> None:
        keys.append(route.request.headers.get("idempotency-key"))
        if len(keys) == 1:
            hardship(route)
        else:
            route.continue_()

    site.route("**/create-payment-intent/", first_fails)
    took = site.evaluate(
        "async () => { const t = performance.now(); await hold.pay(); return performance.now() - t; }"
    )
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert keys[0]
    assert took >= pause_ms


@pytest.mark.parametrize(
    ("status", "slug"),
    [(422, "invalid-request"), (429, "too-many-holds"), (409, "already-paid"), (500, "internal-error")],
)
def test_what_is_refused_is_not_asked_again(site: Page, cloud: Cloud, status: int, slug: str) -> None:
    asked: list[str] = []
    hold(site, wanted(cloud.slot()))
    site.route("**/create-payment-intent/", lambda route: (asked.append(slug), problem(route, status, slug)))
    assert site.evaluate("refusalOf(() => hold.pay())")["slug"] == slug
    assert asked == [slug]


def test_a_change_without_a_key_is_not_repeated_where_nobody_knows(site: Page, cloud: Cloud) -> None:
    """A cancelled booking that cannot be cancelled again would look like a failure."""
    asked: list[str] = []
    site.route("**/cancel", lambda route: (asked.append("cancel"), route.abort("connectionreset")))
    seen = {"id": cloud.slot(), "version": 1}
    refused = site.evaluate("seen => refusalOf(() => holdfast.bookings.cancel(seen, 'ill'))", seen)
    assert (refused["name"], refused["timedOut"], asked) == ("Unreachable", False, ["cancel"])


def test_a_call_ends_in_time_whatever_does_not_answer(page: Page) -> None:
    """Ten seconds a try and thirty in all, by a clock that is turned on once the page has done what was due."""
    page.clock.install()
    open_site(page)
    page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))
    page.route("**/reservations/offerings", lambda _: None)
    page.evaluate("""() => {
        Object.assign(window, { asked: 0, ended: 0 });
        const ask = window.fetch;
        window.fetch = (...given) => {
            asked += 1;
            return ask(...given).finally(() => (ended += 1));
        };
        const began = performance.now();
        refusalOf(() => holdfast.reservations.offerings())
            .then((over) => { window.over = { ...over, took: performance.now() - began }; });
    }""")
    for tries in (1, 2, 3):
        page.wait_for_function(f"asked === {tries}")
        page.clock.fast_forward(10_000)
        page.wait_for_function(f"ended === {tries}")
        page.clock.fast_forward(1000)
    page.wait_for_function("window.over")
    over = page.evaluate("over")
    assert (over["timedOut"], page.evaluate("asked")) == (True, 3)
    assert 20_000 <= over["took"] < 40_000


def test_the_countdown_goes_by_the_servers_clock(page: Page, cloud: Cloud) -> None:
    """A browser that is an hour fast shows what the server will keep to, and rather a second less."""
    page.add_init_script(AN_HOUR_FAST)
    open_site(page)
    hold(page, wanted(cloud.slot()))
    left = page.evaluate("new Promise((tell) => hold.countdown(tell))")
    assert HOLD_MS - 15_000 < left <= HOLD_MS


def test_a_page_of_another_site_has_the_servers_clock_too(page: Page, cloud: Cloud) -> None:
    """What CORS shows it: the time of the answer, and a refusal's request id."""
    page.add_init_script(AN_HOUR_FAST)
    page.context.grant_permissions(["local-network-access"], origin=ANOTHER_SITE)
    page.route(ANOTHER_SITE, lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    base = cloud.stack["base_url"]
    page.route(
        f"{ANOTHER_SITE}holdfast.js",
        lambda route: route.fulfill(response=route.fetch(url=f"{base}/browser/holdfast.js")),
    )
    open_site(page, ANOTHER_SITE, module="/holdfast.js", base=base)
    hold(page, wanted(cloud.slot()))
    assert HOLD_MS - 15_000 < page.evaluate("hold.remaining()") <= HOLD_MS
    refused = page.evaluate("refusalOf(() => holdfast.bookings.show('none', hold.token))")
    assert refused["requestId"] == refused["body"]["instance"]


def test_the_countdown_ends_once_when_the_hold_is_over(site: Page, cloud: Cloud) -> None:
    """A tab that is seen again asks the server, whose word ends it."""
    seen = hold(site, wanted(cloud.slot()))
    site.evaluate("() => { window.ticks = []; hold.countdown((left) => ticks.push(left)); }")
    cloud.rows("UPDATE ticket_reservations SET expires_at = now() WHERE id = %s", seen["id"])
    site.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    site.wait_for_function("ticks.at(-1) === 0")
    site.wait_for_function("hold.reservation.status === 'expired'")
    assert site.evaluate("ticks.filter((left) => left === 0).length") == 1
    assert site.evaluate("holdfast.reservations.recall()") is None


def test_a_hold_is_remembered_over_a_reload(site: Page, cloud: Cloud) -> None:
    """With its token, and that paying has begun."""
    seen = hold(site, wanted(cloud.slot()))
    site.evaluate("hold.pay()")
    open_site(site)
    recalled = site.evaluate(
        "(({ id, token, paying }) => ({ id, token, paying }))(holdfast.reservations.recall())"
    )
    assert recalled == {"id": seen["id"], "token": seen["token"], "paying": True}


def close(page: Page, _: Any) -> None:
    page.close()


def go_elsewhere(page: Page, stripe_url: str) -> None:
    page.goto(f"{stripe_url}/_emulator")


def follow_a_link_elsewhere(page: Page, stripe_url: str) -> None:
    page.evaluate("url => { document.body.innerHTML = `<a href=${url}/_emulator>away</a>`; }", stripe_url)
    page.click("a")
    page.wait_for_url(f"{stripe_url}/**")


@pytest.mark.parametrize("leave", [close, go_elsewhere, follow_a_link_elsewhere])
def test_leaving_gives_the_seats_back(
    either_site: Page, context: BrowserContext, cloud: Cloud, leave: Callable[[Page, str], None]
) -> None:
    """Whether the browser says where a page goes, or not."""
    site = either_site
    seen = hold(site, wanted(cloud.slot()))
    site.evaluate("() => { hold.cancelOnLeaving(); }")
    leave(site, cloud.stack["stripe"]["api_base"])
    watching = context.new_page()
    watching.goto(EMPTY_PAGE)
    until(watching, lambda: status_of(cloud, seen["id"]) == "cancelled")


def test_a_hold_that_was_given_back_is_remembered_as_such(site: Page, cloud: Cloud) -> None:
    """The browser's own button for reloading is not told from leaving: the page can hold the same again."""
    request = wanted(cloud.slot(2))
    hold(site, request)
    site.evaluate("() => { hold.cancelOnLeaving(); }")
    site.reload()
    open_site(site)
    assert site.evaluate("holdfast.reservations.recall().reservation.status") == "cancelled"
    assert hold(site, request)["status"] == "active"


def reload_by_keys(page: Page) -> None:
    page.keyboard.press("F5")
    page.reload()


def reload_by_script(page: Page) -> None:
    with page.expect_navigation():
        page.evaluate("() => { location.reload(); }")


def follow_a_link(page: Page) -> None:
    page.evaluate("{ document.body.innerHTML = '<a href=\"/health/live?on\">on</a>'; }")
    page.click("a")
    page.wait_for_url(re.compile("on$"))


def click_what_a_script_follows(page: Page) -> None:
    page.evaluate("""() => {
        document.body.innerHTML = "<button>on</button>";
        document.querySelector("button").onclick = () => { location.href = "/health/live?on"; };
    }""")
    page.click("button")
    page.wait_for_url(re.compile("on$"))


def begin_to_pay_and_leave(page: Page) -> None:
    page.evaluate("hold.pay()")
    page.goto("about:blank")


def pay_what_was_recalled_and_leave(page: Page) -> None:
    page.evaluate("holdfast.reservations.recall().pay()")
    page.goto("about:blank")


@pytest.mark.parametrize(
    "stay",
    [
        reload_by_keys,
        follow_a_link,
        click_what_a_script_follows,
        begin_to_pay_and_leave,
        pay_what_was_recalled_and_leave,
    ],
)
def test_staying_keeps_the_seats(either_site: Page, cloud: Cloud, stay: Callable[[Page], None]) -> None:
    """On the same site, or on the way to the bank: the page does not even ask for it."""
    stay_with_a_hold(either_site, cloud, stay)


def test_a_script_may_reload_where_the_browser_says_so(site: Page, cloud: Cloud) -> None:
    """Without a Navigation API it looks like leaving."""
    stay_with_a_hold(site, cloud, reload_by_script)


def test_a_page_that_an_older_browser_keeps_keeps_the_seats(older_site: Page, cloud: Cloud) -> None:
    """It may come back, and nothing tells where it went."""
    hold(older_site, wanted(cloud.slot()))
    older_site.evaluate("""() => {
        hold.cancelOnLeaving();
        dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
    }""")
    assert older_site.evaluate("hold.reservation.status") == "active"


def stay_with_a_hold(site: Page, cloud: Cloud, stay: Callable[[Page], None]) -> None:
    hold(site, wanted(cloud.slot()))
    site.evaluate("""() => {
        const ask = window.fetch;
        window.fetch = (url, init) => {
            sessionStorage.asked = `${sessionStorage.asked ?? ""} ${init.method}`;
            return ask(url, init);
        };
        hold.cancelOnLeaving();
    }""")
    stay(site)
    site.goto(EMPTY_PAGE)
    assert "DELETE" not in site.evaluate("sessionStorage.asked ?? ''")


def test_a_session_outlives_a_reload_and_ends(site: Page, cloud: Cloud) -> None:
    """The cookie shows the owner's booking without its token; a change has the CSRF token, from before the reload."""
    signed = token(cloud.stack["jwt_secret"], sub="ada")
    site.evaluate("signed => holdfast.sessions.begin(signed)", signed)
    open_site(site)
    hold(site, wanted(cloud.slot(offering="morning-yoga")))
    booking = site.evaluate("hold.book('pay_on_arrival')")
    assert site.evaluate("id => holdfast.bookings.show(id)", booking["id"])["id"] == booking["id"]
    site.evaluate("holdfast.sessions.end()")
    gone = site.evaluate("id => refusalOf(() => holdfast.bookings.show(id))", booking["id"])
    assert gone["slug"] == "unknown-booking"


def test_a_bearer_token_signs_every_call(site: Page, cloud: Cloud) -> None:
    """For pages that no cookie of ours reaches."""
    hold(site, wanted(cloud.slot(offering="morning-yoga")))
    booking = site.evaluate("hold.book('pay_on_arrival')")
    site.evaluate("token => holdfast.sessions.bearer(token)", cloud.stack["admin_token"])
    assert site.evaluate("id => holdfast.bookings.show(id)", booking["id"])["id"] == booking["id"]
