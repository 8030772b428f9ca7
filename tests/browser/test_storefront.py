"""The page of `make up`: from what is on sale to the booking and its end, and what may come between."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.shop import (
    ASKS_THE_BANK,
    CARD,
    DECLINED,
    expect_view,
    hold,
    left_of,
    on_sale,
    open_sale,
    pay,
    say_who,
)
from tests.emulator_process import eventually
from tests.faults.cloud import Cloud


def test_a_ticket_is_bought_by_the_keyboard_alone_on_a_phone(page: Page, cloud: Cloud) -> None:
    """From the link of the offering to the booking: Tab, the arrows, Enter and what is typed."""
    sale = on_sale(cloud, 4, name="By keyboard")
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/")
    expect_view(page, "What is on")

    def tab_to(name: str) -> None:
        target = page.get_by_role("link", name=name).or_(page.get_by_role("button", name=name))
        target = target.or_(page.get_by_label(name)).first
        for _ in range(60):
            page.keyboard.press("Tab")
            if target.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"the keyboard does not come to {name}")

    tab_to("By keyboard")
    page.keyboard.press("Enter")
    expect_view(page, "By keyboard")
    tab_to("How many tickets")
    page.keyboard.press("ArrowUp")
    tab_to("Drink")
    page.keyboard.press("ArrowUp")
    tab_to("Name")
    page.keyboard.type("Ada Lovelace")
    tab_to("E-mail")
    page.keyboard.type("ada.keyboard@example.com")
    page.keyboard.press("Enter")
    expect_view(page, "Pay")
    tab_to("Pay €45.00")
    page.keyboard.press("Enter")
    expect_view(page, "You are booked")
    expect(page.get_by_role("row", name="Drink 1 €5.00")).to_be_visible()
    assert left_of(cloud, sale) == (0, 2)


def test_what_is_left_is_shown_and_a_full_slot_cannot_be_chosen(page: Page, cloud: Cloud) -> None:
    sale = on_sale(cloud, 3)
    full = cloud.slot(1, offering=sale.slug)
    cloud.hold(full)
    cloud.hold(sale.slot_id)
    open_sale(page, sale)
    expect(page.get_by_role("radio", name="2 left")).to_be_enabled()
    expect(page.get_by_role("radio", name="sold out")).to_be_disabled()


def test_more_times_than_a_page_holds_are_all_to_be_had(page: Page, cloud: Cloud) -> None:
    sale = on_sale(cloud)
    for _ in range(25):
        cloud.slot(1, offering=sale.slug)
    open_sale(page, sale)
    expect(page.get_by_role("radio")).to_have_count(24)
    page.get_by_role("button", name="Later times").click()
    expect(page.get_by_role("radio")).to_have_count(26)
    expect(page.get_by_role("button", name="Later times")).to_be_hidden()


def test_seats_that_went_meanwhile_are_told_and_shown(page: Page, cloud: Cloud) -> None:
    sale = on_sale(cloud, 1)
    open_sale(page, sale)
    say_who(page)
    cloud.hold(sale.slot_id)
    page.get_by_role("button", name="Hold").click()
    expect(page.get_by_role("alert").first).not_to_be_empty()
    expect(page.get_by_role("radio", name="sold out")).to_be_disabled()


def test_a_field_that_the_server_refuses_is_marked_and_gets_the_focus(page: Page, cloud: Cloud) -> None:
    """Without the server's words, which are for programmers."""
    open_sale(page, on_sale(cloud))
    say_who(page)
    page.get_by_label("E-mail").fill("ada@localhost")
    page.get_by_role("button", name="Hold").click()
    email = page.get_by_label("E-mail")
    expect(email).to_have_attribute("aria-invalid", "true")
    expect(email).to_be_focused()
    expect(email).to_have_accessible_description("Please check this.")


def test_a_declined_card_says_why_and_another_one_pays(page: Page, cloud: Cloud) -> None:
    """It is the same payment: Stripe has one intent for the hold."""
    sale = on_sale(cloud)
    email = hold(page, sale)
    pay(page, DECLINED)
    expect(page.get_by_role("alert")).to_have_text("Your card was declined.")
    pay(page, CARD)
    expect_view(page, "You are booked")
    payments = cloud.value(
        """
        SELECT count(*) FROM payment_intents_log p
        JOIN ticket_reservations r ON r.id = p.reservation_id JOIN customers c ON c.id = r.customer_id
        WHERE c.email = %s
        """,
        email,
    )
    assert payments == 1


@pytest.mark.parametrize("agreed", [True, False])
def test_whoever_has_been_at_the_bank_is_back_at_the_checkout(page: Page, cloud: Cloud, agreed: bool) -> None:
    """With what came of it; the client secret that Stripe appends does not stay in the address."""
    hold(page, on_sale(cloud))
    pay(page, ASKS_THE_BANK)
    page.get_by_role("button", name="Complete" if agreed else "Fail").click()
    if not agreed:
        expect(page.get_by_role("alert")).to_contain_text("Your bank did not confirm the payment.")
        assert "secret" not in page.url
        pay(page)
    expect_view(page, "You are booked")
    assert "secret" not in page.url


def test_a_reload_while_paying_ends_in_the_booking(page: Page, cloud: Cloud) -> None:
    """Paid, and the shop has not heard of it: the hold is still there, and paying again pays nothing again."""
    sale = on_sale(cloud)
    cloud.faults(deliver=False)
    try:
        hold(page, sale)
        pay(page)
        expect(page.get_by_role("status").last).to_contain_text("is being confirmed")
        page.reload()
        expect_view(page, "Pay")
        pay(page)
        expect(page.get_by_role("status").last).to_contain_text("is being confirmed")
    finally:
        cloud.faults()
    expect_view(page, "You are booked")
    assert left_of(cloud, sale) == (0, 1)


def test_the_countdown_warns_and_ends(page: Page, cloud: Cloud) -> None:
    """A minute before the end it is said, and at the end that the hold is over."""
    page.clock.install()
    hold(page, on_sale(cloud))
    expect(page.get_by_role("timer")).to_have_text(re.compile(r"Held for you: 1[45]:\d\d"))
    page.clock.fast_forward("14:05")
    expect(page.get_by_role("status").last).to_have_text("Your hold ends in 1 minute.")
    page.clock.fast_forward("01:00")
    expect_view(page, "This hold is over")
    expect(page.get_by_role("timer")).to_be_hidden()


def test_a_hold_that_is_over_at_the_server_is_told_at_once(page: Page, cloud: Cloud) -> None:
    email = hold(page, on_sale(cloud))
    cloud.rows(
        """
        UPDATE ticket_reservations SET expires_at = now() - interval '1 second'
        WHERE customer_id = (SELECT id FROM customers WHERE email = %s)
        """,
        email,
    )
    pay(page)
    expect_view(page, "This hold is over")


def test_what_is_given_back_is_on_sale_again(page: Page, cloud: Cloud) -> None:
    sale = on_sale(cloud)
    hold(page, sale)
    assert left_of(cloud, sale) == (1, 0)
    page.get_by_role("button", name="Give it back").click()
    expect_view(page, "What is on")
    expect(page.get_by_role("status").last).to_contain_text("given back")
    assert left_of(cloud, sale) == (0, 0)


def test_whoever_chooses_anew_does_not_hold_twice(page: Page, cloud: Cloud) -> None:
    first, second = on_sale(cloud), on_sale(cloud)
    hold(page, first)
    hold(page, second)
    assert (left_of(cloud, first), left_of(cloud, second)) == ((0, 0), (1, 0))


@pytest.mark.parametrize(
    ("offered", "button", "said"),
    [
        ({"pay_on_arrival": True}, "Pay on arrival", "To be paid on arrival"),
        ({"unit_amount": 0}, "Book", "Nothing to pay"),
    ],
    ids=["on arrival", "free"],
)
def test_what_needs_no_card_is_booked_without(
    page: Page, cloud: Cloud, offered: dict[str, Any], button: str, said: str
) -> None:
    sale = on_sale(cloud, **offered)
    hold(page, sale)
    page.get_by_role("button", name=button, exact=True).click()
    expect_view(page, "You are booked")
    expect(page.get_by_text(said)).to_be_visible()
    assert left_of(cloud, sale) == (0, 1)


def test_a_booking_is_shown_after_a_reload_and_cancelled(page: Page, cloud: Cloud) -> None:
    """With what goes back; the seats are on sale again."""
    sale = on_sale(cloud)
    hold(page, sale)
    pay(page)
    expect_view(page, "You are booked")
    page.reload()
    expect_view(page, "You are booked")
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_label("Why").fill("Ill")
    page.get_by_role("button", name="Cancel it").click()
    expect_view(page, "Cancelled")
    expect(page.get_by_role("status").last).to_contain_text("€20.00 goes back")
    assert left_of(cloud, sale) == (0, 0)


def test_the_address_of_a_booking_shows_it_to_nobody_else(page: Page, cloud: Cloud) -> None:
    hold(page, on_sale(cloud, pay_on_arrival=True))
    page.get_by_role("button", name="Pay on arrival").click()
    expect_view(page, "You are booked")
    other = page.context.new_page()
    other.goto(page.url)
    expect_view(other, "Not in this tab")


def test_a_booking_that_has_changed_since_is_cancelled_at_the_second_try(page: Page, cloud: Cloud) -> None:
    """The first one is told that somebody else was there."""
    hold(page, on_sale(cloud, pay_on_arrival=True))
    page.get_by_role("button", name="Pay on arrival").click()
    expect_view(page, "You are booked")
    booking_id = page.url.rpartition("/")[2]
    cloud.rows("UPDATE bookings SET version = version + 1 WHERE id = %s", booking_id)
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_label("Why").fill("Ill")
    page.get_by_role("button", name="Cancel it").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).not_to_be_empty()
    page.get_by_role("button", name="Cancel it").click()
    expect_view(page, "Cancelled")


def test_the_seats_of_whoever_leaves_are_given_back(page: Page, cloud: Cloud) -> None:
    sale = on_sale(cloud)
    hold(page, sale)
    page.goto("about:blank")
    eventually(lambda: left_of(cloud, sale) == (0, 0), within=30)
