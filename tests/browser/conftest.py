"""A browser at a running cloud: one Chromium a module, one cloud for all of them, one tab a test."""

from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from tests.faults.cloud import Cloud

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cloud]:
    """A running cloud; each test takes slots of its own from it."""
    with Cloud.running(tmp_path_factory.mktemp("cloud") / "state") as cloud:
        yield cloud


# Not for the whole session: while Playwright runs, its thread has an event loop, and other tests run their own.
@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Chromium, without a window."""
    if not CHROMIUM.exists():
        pytest.skip("These tests need Debian's Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser, cloud: Cloud) -> Generator[BrowserContext]:
    """A profile of the test's own."""
    context = browser.new_context(base_url=cloud.stack["base_url"])
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def uncaught() -> list[Error]:
    """What the tab of `page` has thrown and nobody caught; a test that wants it takes it out."""
    return []


@pytest.fixture
def page(context: BrowserContext, uncaught: list[Error]) -> Generator[Page]:
    """An empty tab; what nobody caught in it fails the test."""
    page = context.new_page()
    page.on("pageerror", lambda error: uncaught.append(error))  # noqa: PLW0108 - Playwright marks what it is given
    yield page
    assert not uncaught
