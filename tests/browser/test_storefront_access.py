"""Who reads the storefront otherwise than by eye and mouse, and what must not be in it."""

from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.shop import expect_view, hold, on_sale, open_sale, pay, say_who
from tests.faults.cloud import Cloud

# WCAG 2.2: 1.4.3 (contrast 4.5), 2.5.8 (targets of 24 px), 1.3.1 and 4.1.2 (names), 1.4.10 (no sideways scrolling).
FINDINGS = """() => {
    const found = [];
    const seen = (element) => element.checkVisibility() && !element.closest("[disabled], .skip");
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = (colour) => {
        const [r, g, b] = channels(colour).map((value) => value / 255)
            .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if ((channels(colour)[3] ?? 1) > 0) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    for (const element of document.body.querySelectorAll("*")) {
        const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!seen(element) || !(text || element.matches("input, select, textarea"))) continue;
        const [dark, light] = [getComputedStyle(element).color, behind(element)].map(luminance).sort((a, b) => a - b);
        const ratio = (light + 0.05) / (dark + 0.05);
        if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(1)}: ${element.outerHTML.slice(0, 80)}`);
    }
    for (const element of document.body.querySelectorAll("a, button, input, select, textarea")) {
        if (!seen(element)) continue;
        const { width, height } = (element.closest("label") ?? element).getBoundingClientRect();
        const inText = element.matches("p a");
        if (Math.min(width, height) < 24 && !inText) found.push(`small: ${element.outerHTML.slice(0, 80)}`);
        const named = element.labels?.length || element.textContent.trim();
        if (!named) found.push(`no name: ${element.outerHTML.slice(0, 80)}`);
    }
    if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
    if (document.documentElement.scrollWidth > innerWidth) found.push("scrolls sideways");
    return found;
}"""


def findings(page: Page) -> list[str]:
    """What is wrong with the view for somebody."""
    return page.evaluate(FINDINGS)


def test_no_view_shuts_anybody_out(page: Page, cloud: Cloud) -> None:
    """Contrast, size of what is touched, names and width at 360 px, from the offerings to the cancelled booking."""
    page.set_viewport_size({"width": 360, "height": 740})
    found: dict[str, list[str]] = {}

    def look(view: str) -> None:
        found[view] = findings(page)

    page.goto("/")
    expect_view(page, "What is on")
    look("offerings")
    sale = on_sale(cloud, name="A very longwindedly namedconcertatthenewphilharmonichall")
    cloud.hold(cloud.slot(1, offering=sale.slug))
    open_sale(page, sale, "A very longwindedly namedconcertatthenewphilharmonichall")
    page.get_by_role("button", name="Hold").click()
    look("offering, refused")
    say_who(page)
    page.get_by_role("button", name="Hold").click()
    expect_view(page, "Pay")
    look("checkout")
    pay(page, "pm_card_visa_chargeDeclined")
    expect(page.get_by_role("alert")).not_to_be_empty()
    look("checkout, declined")
    pay(page)
    expect_view(page, "You are booked")
    look("booking")
    page.get_by_role("button", name="Cancel…").click()
    look("dialog")
    page.get_by_label("Why").fill("Ill")
    page.get_by_role("button", name="Cancel it").click()
    expect_view(page, "Cancelled")
    look("cancelled")
    page.goto("/#/over")
    expect_view(page, "This hold is over")
    look("over")
    assert {view: what for view, what in found.items() if what} == {}


def test_what_shuts_somebody_out_is_found(page: Page) -> None:
    """The look itself: of each kind one."""
    page.goto("/")
    expect_view(page, "What is on")
    page.evaluate(
        """() => {
            const pale = document.createElement("p");
            pale.textContent = "pale";
            pale.style.color = "#999";
            const bare = document.createElement("input");
            bare.style.cssText = "width: 2000px; height: 10px; min-height: 0";
            document.querySelector("main").append(pale, bare, document.createElement("h1"));
        }"""
    )
    kinds = {finding.partition(":")[0].partition(" ")[0] for finding in findings(page)}
    assert kinds == {"contrast", "small", "no", "not", "scrolls"}


def test_a_new_view_has_the_focus_on_its_heading_and_its_name_in_the_title(page: Page) -> None:
    """So that whoever does not see the page hears that it is another one; and back is back."""
    page.goto("/")
    expect_view(page, "What is on")
    page.get_by_role("link", name="Autumn concert").click()
    expect(page.get_by_role("heading", level=1, name="Autumn concert")).to_be_focused()
    expect(page).to_have_title("Autumn concert · Holdfast")
    page.go_back()
    expect(page.get_by_role("heading", level=1, name="What is on")).to_be_focused()


def test_a_name_from_the_catalogue_is_text(page: Page, cloud: Cloud) -> None:
    name = "<img src=x onerror=document.body.remove()> & Co"
    sale = on_sale(cloud, name=name, add_ons=[{"name": "<b>Drink</b>", "unit_amount": 500}])
    open_sale(page, sale, name)
    expect(page.get_by_label("<b>Drink</b>, €5.00 each")).to_be_visible()


def test_a_script_that_came_in_otherwise_does_not_run(page: Page) -> None:
    """The page's own policy is the second wall."""
    page.goto("/")
    expect_view(page, "What is on")
    ran = page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            return window.ran ?? false;
        }"""
    )
    assert ran is False


def test_nothing_is_fetched_from_elsewhere(page: Page, cloud: Cloud) -> None:
    """Neither letters nor pictures nor scripts: a buyer's visit is between the buyer and the shop."""
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url.split("/")[2]))
    page.goto("/")
    expect_view(page, "What is on")
    hold(page, on_sale(cloud))
    assert asked == {cloud.stack["base_url"].removeprefix("http://")}


def test_a_view_that_fails_says_so_is_reported_and_can_be_tried_again(page: Page) -> None:
    answers: list[Any] = [{"status": 500, "json": {"type": "/problems/internal-error", "status": 500}}]
    page.route(
        "**/reservations/offerings",
        lambda route: route.fulfill(**answers.pop()) if answers else route.continue_(),
    )
    with page.expect_request("**/log-error/") as reported:
        page.goto("/")
    expect_view(page, "This did not work")
    assert '"source":"frontend"' in (reported.value.post_data or "")
    page.get_by_role("button", name="Try again").click()
    expect_view(page, "What is on")
