"""The storefront where `.env` names Stripe's test mode: its Payment Element, or its own page where a key is missing."""

import pytest
from playwright.sync_api import Page, Route, expect

from local.settings import Stripe
from local.storefront import Storefront
from tests.browser.shop import expect_view, hold, left_of, on_sale
from tests.faults.cloud import Cloud

PUBLISHABLE_KEY = "pk_test_of_the_tests"
# What the page calls of Stripe.js, https://docs.stripe.com/js: what it was given is kept, and cards are what a test says.
STRIPE_JS = """
window.given = {};
window.Stripe = (key) => ({
    elements: ({ clientSecret }) => {
        Object.assign(window.given, { key, clientSecret });
        return { create: (kind) => ({ mount: (place) => { place.textContent = `${kind} element`; } }) };
    },
    confirmPayment: async ({ confirmParams, redirect }) => {
        Object.assign(window.given, confirmParams, { redirect });
        return window.answer;
    },
});
"""


def served_with(page: Page, stripe: Stripe) -> None:
    """The storefront as a cloud with this Stripe would serve it, in front of the cloud that runs."""
    storefront = Storefront(stripe)

    def answer(route: Route) -> None:
        served = storefront.answer("/" + route.request.url.split("/", 3)[3].split("?")[0].split("#")[0])
        assert served is not None
        assert isinstance(served.body, bytes)
        route.fulfill(body=served.body, headers=dict(served.headers))

    for path in ("/", "/?*", "/page/settings.json"):
        page.route(path, answer)


def in_test_mode(publishable_key: str | None) -> Stripe:
    """What `.env` names."""
    return Stripe(
        "https://api.stripe.com", "sk_test_x", ("whsec_x",), emulated=False, publishable_key=publishable_key
    )


def test_the_payment_element_pays_the_hold_s_payment(page: Page, cloud: Cloud) -> None:
    """Stripe's script is let in, gets the publishable key and the payment's secret, and has its own say of a card."""
    sale = on_sale(cloud)
    served_with(page, in_test_mode(PUBLISHABLE_KEY))
    page.route(
        "https://js.stripe.com/**",
        lambda route: route.fulfill(body=STRIPE_JS, content_type="text/javascript"),
    )
    hold(page, sale)
    page.get_by_role("button", name="Pay by card").click()
    expect(page.get_by_text("payment element")).to_be_visible()
    page.evaluate("window.answer = {error: {message: 'Your card has expired.'}}")
    page.get_by_role("button", name="Pay €20.00").click()
    expect(page.get_by_role("alert")).to_have_text("Your card has expired.")
    given = page.evaluate("window.given")
    assert (given["key"], given["redirect"]) == (PUBLISHABLE_KEY, "if_required")
    assert given["return_url"] == f"{cloud.stack['base_url']}/#/checkout"
    cloud.confirm(given["clientSecret"].partition("_secret_")[0])
    page.evaluate("window.answer = {paymentIntent: {status: 'succeeded'}}")
    page.get_by_role("button", name="Pay €20.00").click()
    expect_view(page, "You are booked")
    assert left_of(cloud, sale) == (0, 1)


def test_a_script_of_stripe_s_that_does_not_come_can_be_asked_for_again(page: Page, cloud: Cloud) -> None:
    served_with(page, in_test_mode(PUBLISHABLE_KEY))
    page.route("https://js.stripe.com/**", lambda route: route.abort())
    hold(page, on_sale(cloud))
    page.get_by_role("button", name="Pay by card").click()
    expect(page.get_by_role("alert")).to_have_text("Stripe does not answer: please try again.")
    page.route(
        "https://js.stripe.com/**",
        lambda route: route.fulfill(body=STRIPE_JS, content_type="text/javascript"),
    )
    page.get_by_role("button", name="Pay by card").click()
    expect(page.get_by_text("payment element")).to_be_visible()


@pytest.mark.parametrize("paid", [True, False])
def test_without_a_publishable_key_the_buyer_pays_on_stripe_s_own_page(
    page: Page, cloud: Cloud, paid: bool
) -> None:
    """And comes back, with the booking or without having paid."""
    sale = on_sale(cloud)
    served_with(page, in_test_mode(None))
    hold(page, sale)
    page.get_by_role("button", name="Pay €20.00").click()
    expect_view(page, "Checkout")
    if paid:
        page.get_by_role("button", name="Pay 20.00 EUR").click()
        expect_view(page, "You are booked")
    else:
        page.get_by_role("link", name="Cancel and go back").click()
        expect(page.get_by_role("alert")).to_contain_text("You came back without paying.")
    assert left_of(cloud, sale) == ((0, 1) if paid else (1, 0))
