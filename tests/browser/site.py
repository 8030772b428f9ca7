"""A site that has copied the module: an empty page, in which tests call Holdfast as the site's own code would."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from playwright.sync_api import Page, Route

from tests.faults.cloud import Cloud

# Served by the cloud itself, without a policy of what scripts may do.
EMPTY_PAGE = "/health/live"
# https://developer.mozilla.org/en-US/docs/Web/JavaScript/Guide/Modules: imported once a page, whoever asks.
_LOAD = """async ([options, module]) => {
    const { createHoldfast, Problem, Unreachable } = await import(module);
    window.holdfast = createHoldfast(options);
    window.refusalOf = (act) => act().then(
        () => { throw new Error("it was not refused"); },
        (failure) => ({
            ...failure,
            name: failure.name,
            isOurs: failure instanceof Problem || failure instanceof Unreachable,
        }),
    );
}"""


def open_site(
    page: Page, url: str = EMPTY_PAGE, *, module: str = "/browser/holdfast.js", **options: object
) -> None:
    """Goes to the page, and makes `holdfast` and `refusalOf` there."""
    page.goto(url)
    page.evaluate(_LOAD, [options, module])


def wanted(slot_id: str, units: int = 1) -> dict[str, Any]:
    """What `hold` of reservations is given, for a customer who holds nothing yet."""
    customer = {"email": f"{uuid4().hex}@example.com", "name": "Ada Lovelace", "phone": "+43 660 1234567"}
    return {"items": [{"slot_id": slot_id, "units": units}], "customer": customer}


def hold(page: Page, request: dict[str, Any]) -> dict[str, Any]:
    """Holds in the page, as `window.hold`; answers the reservation and its token."""
    return page.evaluate(
        """async (request) => {
            window.hold = await holdfast.reservations.hold(request);
            return { ...hold.reservation, token: hold.token };
        }""",
        request,
    )


def status_of(cloud: Cloud, reservation_id: str) -> str:
    """What the tables say of a hold."""
    return cloud.value("SELECT status FROM ticket_reservations WHERE id = %s", reservation_id)


def until(page: Page, condition: Callable[[], object], seconds: float = 30) -> None:
    """Lets the browser go on until something holds; fails if it does not in time."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at
        page.wait_for_timeout(20)


def problem(route: Route, status: int, slug: str, **headers: str) -> None:
    """Answers in the server's place."""
    body = {"type": f"/problems/{slug}", "title": slug, "status": status, "detail": slug}
    route.fulfill(status=status, json=body, headers={"Content-Type": "application/problem+json", **headers})
