"""The storefront as a buyer sees it, and something of a test's own to sell in it."""

from dataclasses import dataclass
from uuid import uuid4

from playwright.sync_api import Page, expect

from tests.faults.cloud import Cloud

CARD, DECLINED, ASKS_THE_BANK = (
    "pm_card_visa",
    "pm_card_visa_chargeDeclined",
    "pm_card_authenticationRequired",
)

expect.set_options(timeout=30_000)  # as everything else that a tab waits for


@dataclass(frozen=True)
class Sale:
    """An offering with one slot."""

    slug: str
    slot_id: str


def on_sale(cloud: Cloud, units: int = 2, **changes: object) -> Sale:
    """A ticket of 20.00 EUR with a drink, unless told otherwise."""
    slug = f"sale-{uuid4().hex[:12]}"
    offering = {
        "name": "A sale",
        "kind": "ticket",
        "unit_amount": 2000,
        "currency": "eur",
        "timezone": "Europe/Vienna",
        "add_ons": [{"name": "Drink", "unit_amount": 500}],
    }
    bearer = {"Authorization": f"Bearer {cloud.stack['admin_token']}"}
    answer = cloud.call("PUT", f"/admin/offerings/{slug}", offering | changes, bearer)
    assert answer.status_code == 201, answer.text
    return Sale(slug, cloud.slot(units, offering=slug))


def expect_view(page: Page, heading: str) -> None:
    """Waits until a view is shown."""
    expect(page.get_by_role("heading", level=1, name=heading, exact=True)).to_be_visible()


def open_sale(page: Page, sale: Sale, heading: str = "A sale") -> None:
    """Goes to the offering, as by a link to it."""
    page.goto(f"/#/o/{sale.slug}")
    expect_view(page, heading)


def say_who(page: Page) -> str:
    """Fills the buyer in; answers the e-mail."""
    email = f"{uuid4().hex}@example.com"
    page.get_by_label("Name").fill("Ada Lovelace")
    page.get_by_label("E-mail").fill(email)
    return email


def hold(page: Page, sale: Sale) -> str:
    """Holds one of it and comes to the checkout; answers the buyer's e-mail."""
    open_sale(page, sale)
    email = say_who(page)
    page.get_by_role("button", name="Hold").click()
    expect_view(page, "Pay")
    return email


def pay(page: Page, card: str = CARD) -> None:
    """Pays with a test card of the emulator's."""
    page.get_by_label("Test card").select_option(card)
    page.get_by_role("button", name="Pay €").click()


def left_of(cloud: Cloud, sale: Sale) -> tuple[int, int]:
    """(held, sold) of the slot."""
    return cloud.rows("SELECT held_units, sold_units FROM slots WHERE id = %s", sale.slot_id)[0]
