"""Takes the pictures of storefront and console that the README shows, in a cloud of their own: docs/screenshots/*.png."""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, sync_playwright

from scripts.png import with_palette
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.shop import DECLINED, expect_view, pay, say_who
from tests.faults.cloud import Cloud

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
PHONE, DESKTOP = (360, 740), (1024, 720)


def main() -> int:
    """Returns the exit status."""
    if not CHROMIUM.exists():
        print("The pictures are taken in Debian's Chromium: apt-get install chromium", file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        cloud = Cloud(Path(folder) / "state")
        cloud.up()
        try:
            _take_all(cloud)
        finally:
            cloud.down()
    return 0


def _take_all(cloud: Cloud) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for device, (width, height), visit in (
            ("desktop", DESKTOP, _concert),
            ("phone", PHONE, _class),
            ("desktop", DESKTOP, partial(_console, cloud)),
        ):
            _take(browser, cloud.stack["base_url"], f"{device}-{{}}.png", (width, height), visit)
        browser.close()


def _take(
    browser: Browser,
    base_url: str,
    name: str,
    size: tuple[int, int],
    visit: Callable[[Page, Callable[[str], None]], None],
) -> None:
    page = browser.new_page(base_url=base_url, viewport={"width": size[0], "height": size[1]})

    def take(view: str) -> None:
        (FOLDER / name.format(view)).write_bytes(with_palette(page.screenshot()))

    visit(page, take)
    page.close()


def _concert(page: Page, take: Callable[[str], None]) -> None:
    page.goto("/")
    expect_view(page, "What is on")
    take("offerings")
    page.get_by_role("link", name="Autumn concert").click()
    expect_view(page, "Autumn concert")
    page.get_by_label("How many tickets").fill("2")
    page.get_by_label("Programme").fill("1")
    take("concert")


def _class(page: Page, take: Callable[[str], None]) -> None:
    page.goto("/")
    page.get_by_role("link", name="Morning yoga").click()
    expect_view(page, "Morning yoga")
    page.get_by_role("radio").nth(2).check()
    take("times")
    say_who(page)
    page.get_by_role("button", name="Hold").click()
    expect_view(page, "Pay")
    pay(page, DECLINED)
    page.get_by_text("Your card was declined.").wait_for()
    take("checkout")
    pay(page)
    expect_view(page, "You are booked")
    take("booking")


def _console(cloud: Cloud, page: Page, take: Callable[[str], None]) -> None:
    """The story of what was bought on the phone."""
    page.goto("/admin/console")
    page.get_by_label("Token of an administrator").fill(cloud.stack["admin_token"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Id of a booking").fill(cloud.value("SELECT id::text FROM bookings"))
    page.get_by_role("button", name="Tell it").click()
    page.get_by_role("cell", name="booked", exact=True).wait_for()
    page.get_by_role("region", name=re.compile("^Reservation ")).evaluate("story => story.scrollIntoView()")
    take("console")


if __name__ == "__main__":
    sys.exit(main())
