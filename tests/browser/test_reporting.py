"""What goes wrong in a page: reported once, scrubbed, bounded, and told to the tracker."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from playwright.sync_api import Error, Page, Route

from tests.browser.site import hold, open_site, problem, until, wanted
from tests.faults.cloud import Cloud

REPORTS = "**/log-error/"
CARD = "4242 4242 4242 4242"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"


@pytest.fixture
def site(page: Page) -> Page:
    """A tab with the module in it, which watches for errors."""
    open_site(page, release="2026.11")
    page.evaluate("() => { holdfast.errors.watch(); }")
    return page


@pytest.fixture
def reports(site: Page) -> list[dict[str, Any]]:
    """What the page reports; nothing of it goes on to the cloud."""
    sent: list[dict[str, Any]] = []

    def take(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or ""))
        route.fulfill(status=202, json={})

    site.route(REPORTS, take)
    return sent


def test_an_error_in_the_page_becomes_the_trackers_issue(
    site: Page, cloud: Cloud, uncaught: list[Error]
) -> None:
    """From a throw that nobody catches, through log-error and the outbox, to one issue that says where and what."""
    with site.expect_response(REPORTS) as answered:
        site.evaluate(
            "() => { setTimeout(function paintSeats() { throw new TypeError('no seat is painted'); }); }"
        )
    fingerprint = answered.value.json()["fingerprint"]
    until(site, lambda: uncaught)
    uncaught.clear()

    def issues() -> list[dict[str, Any]]:
        cloud.invoke("deliver-outbox")
        heard = requests.get(f"{cloud.stack['github_api_url']}/_requests", timeout=10).json()
        made = [
            json.loads(one["body"])
            for one in heard
            if (one["method"], one["path"][-7:]) == ("POST", "/issues")
        ]
        return [issue for issue in made if "no seat is painted" in issue["title"]]

    until(site, issues)
    (issue,) = issues()
    assert fingerprint in issue["body"]
    assert "paintSeats" in issue["body"]


def test_a_rejection_is_reported_with_the_call_that_failed(
    site: Page, cloud: Cloud, reports: list[dict[str, Any]], uncaught: list[Error]
) -> None:
    """With the id that the server knows the call by, who saw it, and what was done before."""
    site.evaluate("""() => {
        document.body.innerHTML = '<button id="buy">for <b>ada@example.com</b></button>';
        document.body.querySelector('b').click();
        holdfast.errors.setUser({ id: 'user-1', name: 'Ada Lovelace' });
    }""")
    refused = site.evaluate(
        "request => refusalOf(() => holdfast.reservations.hold(request))", wanted(cloud.slot(), 2)
    )
    site.evaluate("request => { holdfast.reservations.hold(request); }", wanted(cloud.slot(), 2))
    until(site, lambda: reports and uncaught)
    uncaught.clear()
    (report,) = reports
    context = report["context"]
    clicked, first, second = context["breadcrumbs"]
    assert report["message"] == "Problem: There is not enough left"
    assert (report["release"], report["source"], context["user"]) == ("2026.11", "frontend", {"id": "user-1"})
    assert (clicked["category"], clicked["message"]) == ("click", "button#buy")
    assert first["data"] | {"ms": 0} == {"status": 409, "request_id": refused["requestId"], "ms": 0}
    assert second["data"]["request_id"] == context["request_id"] != refused["requestId"]


def test_a_user_who_is_cleared_is_in_no_report(site: Page, reports: list[dict[str, Any]]) -> None:
    site.evaluate("""() => {
        holdfast.errors.setUser({ id: 'user-1' });
        holdfast.errors.clearUser();
        return holdfast.errors.report(new Error('odd'));
    }""")
    assert "user" not in reports[0]["context"]


def test_nothing_secret_leaves_the_page_in_a_report(
    site: Page, cloud: Cloud, reports: list[dict[str, Any]]
) -> None:
    """Neither what can be told by its looks, nor what the page has been told: the buyer, the hold's token, the bearer."""
    request = wanted(cloud.slot())
    seen = hold(site, request)
    secret = site.evaluate("hold.pay()")["client_secret"]
    customer = request["customer"]
    texts = [
        CARD,
        CARD.replace(" ", "."),
        CARD.replace(" ", " /"),
        "6c0a9f31" * 8,
        JWT,
        secret,
        seen["token"],
        "whsec_1234567890",
        "bearer-of-the-page",
        "zoe@example.org",
        *customer.values(),
    ]
    site.evaluate(
        """async ([texts, secret]) => {
            holdfast.errors.breadcrumb('hold', hold.id);
            holdfast.sessions.bearer('bearer-of-the-page');
            history.replaceState(null, '', `?payment_intent_client_secret=${secret}`);
            const error = new Error(texts.join(' and '));
            error.name = texts.at(-1);
            texts.forEach((text) => holdfast.errors.breadcrumb(text, text, { note: text, [text]: 1, password: 'hunter2' }));
            await holdfast.errors.report(error, { function_name: secret, context: { deep: [{ texts, card: 4242424242424242 }] } });
        }""",
        [texts, secret],
    )
    sent = json.dumps(reports[0])
    assert [
        text for text in [*texts, "hunter2", "4242424242424242", "payment_intent_client"] if text in sent
    ] == []
    assert seen["id"] in sent


def test_a_loop_that_throws_floods_nobody(page: Page, uncaught: list[Error]) -> None:
    """Ten reports a minute; the next one says how many there were besides."""
    page.clock.install()
    open_site(page)
    reports: list[dict[str, Any]] = []
    page.route(
        REPORTS,
        lambda route: (
            reports.append(json.loads(route.request.post_data or "")),
            route.fulfill(status=202, json={}),
        ),
    )
    loop = "times => Promise.all(Array.from({ length: times }, (_, n) => holdfast.errors.report(new Error(`again ${n}`))))"
    page.evaluate(loop, 100)
    assert len(reports) == 10
    page.clock.fast_forward(61_000)
    page.evaluate(loop, 1)
    assert reports[10]["context"]["held_back"] == 90


def test_one_error_is_one_report(site: Page, reports: list[dict[str, Any]]) -> None:
    """Whoever catches it on its way, and however often."""
    site.evaluate("""async () => {
        const error = new Error('once');
        await holdfast.errors.report(error);
        await holdfast.errors.report(error);
    }""")
    assert len(reports) == 1


@pytest.mark.parametrize(
    "failing",
    [lambda route: route.abort("connectionreset"), lambda route: problem(route, 500, "internal-error")],
    ids=["cut", "500"],
)
def test_a_report_that_fails_is_reported_to_nobody(site: Page, failing: Callable[[Route], None]) -> None:
    """Neither thrown, nor sent again, nor told by another report."""
    asked: list[str] = []
    site.route(REPORTS, lambda route: (asked.append("report"), failing(route)))
    site.evaluate("holdfast.errors.report(new Error('odd'))")
    site.evaluate("new Promise((resolve) => setTimeout(resolve))")
    assert asked == ["report"]


def test_breadcrumbs_are_the_last_thirty(site: Page, reports: list[dict[str, Any]]) -> None:
    site.evaluate("""() => {
        for (let n = 0; n < 50; n += 1) holdfast.errors.breadcrumb('step', `step ${n}`);
        return holdfast.errors.report(new Error('odd'));
    }""")
    told = [crumb["message"] for crumb in reports[0]["context"]["breadcrumbs"]]
    assert told == [f"step {n}" for n in range(20, 50)]


def test_what_is_too_long_for_a_report_is_left_out_of_it(site: Page, cloud: Cloud) -> None:
    """log-error takes it, whatever a page has put into it."""
    with site.expect_response(REPORTS) as answered:
        site.evaluate("""() => {
            const long = '\u20ac'.repeat(100_000);
            for (let n = 0; n < 50; n += 1) holdfast.errors.breadcrumb(long, long, { long, longer: [long, long] });
            const error = new Error(long);
            error.stack = long;
            return holdfast.errors.report(error, { context: { long } });
        }""")
    assert answered.value.status == 202


@pytest.mark.parametrize("how", ["", "async "])
def test_a_boundary_shows_its_fallback_and_reports(
    site: Page, reports: list[dict[str, Any]], how: str
) -> None:
    """Whatever fails inside is reported once, answered otherwise, and may be tried again."""
    shown = site.evaluate(
        """async (how) => {
        let broken = true;
        const inner = (name) => { if (broken) throw new Error('no seats'); return `seats for ${name}`; };
        const render = how ? async (name) => inner(name) : inner;
        let again;
        const seats = holdfast.errors.boundary(render, (error, retry) => { again = retry; return error.message; });
        const first = await seats('Ada');
        broken = false;
        return [first, await again()];
    }""",
        how,
    )
    assert shown == ["no seats", "seats for Ada"]
    until(site, lambda: reports)
    assert [report["message"] for report in reports] == ["Error: no seats"]
