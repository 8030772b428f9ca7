"""What the gateway serves of the storefront, and what a page is told of Stripe."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from yarl import URL

from local.gateway import Gateway
from local.journal import Journal
from local.settings import Secrets, SettingsError, Stripe, choose_stripe
from local.storefront import Storefront
from tests.unit.test_gateway import FakeBackend, a_function

EMULATOR = "http://127.0.0.1:1"


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets.kept_in(tmp_path / "secrets.json")


def text_of(stripe: Stripe, path: str) -> str:
    answer = Storefront(stripe).answer(path)
    assert answer is not None
    assert answer.text is not None
    return answer.text


def answers(folder: Path, stripe: Stripe, *asked: tuple[str, str]) -> list[tuple[int, str]]:
    """Status and media type of each, from a gateway with the storefront and a function called `shop`."""

    async def run() -> list[tuple[int, str]]:
        journal = Journal(folder, (folder / "terminal").open("w"))
        gateway = Gateway({"shop": a_function()}, FakeBackend(), journal, Storefront(stripe))
        listening = socket.create_server(("127.0.0.1", 0))
        found: list[tuple[int, str]] = []
        try:
            await gateway.open(listening)
            async with ClientSession() as session:
                for method, path in asked:
                    url = URL(f"http://127.0.0.1:{listening.getsockname()[1]}{path}", encoded=True)
                    async with session.request(method, url) as response:
                        found.append((response.status, response.content_type))
        finally:
            await gateway.close()
            listening.close()
            journal.close()
            journal._terminal.close()
        return found

    return asyncio.run(run())


def test_the_page_stands_beside_the_functions(tmp_path: Path, secrets: Secrets) -> None:
    """Its files and no others, to be read and no more."""
    asked = {
        ("GET", "/"): (200, "text/html"),
        ("GET", "/?checkout=paid"): (200, "text/html"),
        ("HEAD", "/page/main.js"): (200, "text/javascript"),
        ("GET", "/browser/holdfast.js"): (200, "text/javascript"),
        ("GET", "/page/settings.json"): (200, "application/json"),
        ("GET", "/page/../settings.py"): (404, "application/json"),
        ("GET", "/page/%2e%2e/settings.py"): (404, "application/json"),
        ("POST", "/page/main.js"): (404, "application/json"),
    }
    assert (
        dict(zip(asked, answers(tmp_path, choose_stripe({}, secrets, EMULATOR), *asked), strict=True))
        == asked
    )


@pytest.mark.parametrize(
    ("dotenv", "kind"),
    [
        ({}, "emulator"),
        ({"STRIPE_SECRET_KEY": "sk_test_of_tests"}, "checkout"),
        ({"STRIPE_SECRET_KEY": "sk_test_of_tests", "STRIPE_PUBLISHABLE_KEY": "pk_test_x"}, "elements"),
    ],
)
def test_a_page_is_told_how_it_is_paid_and_no_secret(
    secrets: Secrets, dotenv: dict[str, str], kind: str
) -> None:
    stripe = choose_stripe(dotenv, secrets, EMULATOR)
    told = text_of(stripe, "/page/settings.json")
    settings: dict[str, Any] = json.loads(told)
    assert settings["stripe"]["kind"] == kind
    assert not any(secret in told for secret in (stripe.secret_key, *stripe.webhook_secrets))


def test_a_publishable_key_that_is_live_is_refused(secrets: Secrets) -> None:
    """A buyer's real card would be charged at an account whose secret key is a test key's."""
    dotenv = {"STRIPE_SECRET_KEY": "sk_test_x", "STRIPE_PUBLISHABLE_KEY": "pk_live_x"}
    with pytest.raises(SettingsError, match="STRIPE_PUBLISHABLE_KEY"):
        choose_stripe(dotenv, secrets, EMULATOR)


@pytest.mark.parametrize("publishable_key", [None, "pk_test_x"])
@pytest.mark.parametrize("emulated", [True, False])
def test_the_policy_lets_in_who_the_payment_needs(emulated: bool, publishable_key: str | None) -> None:
    """Nobody else, and no script that stands in the page itself."""
    answer = Storefront(Stripe(EMULATOR, "sk_test_x", (), emulated, publishable_key)).answer("/")
    assert answer is not None
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert (EMULATOR in policy) == emulated
    assert ("https://js.stripe.com" in policy) == (not emulated and publishable_key is not None)
