"""Settings: read once, from the environment or Secrets Manager, and refused by name."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from runtime import settings
from runtime.settings import DatabaseSettings, MissingSetting, PaymentSettings, StripeSettings, load

KEY = "sk_test_abcdefghijklmnop"


@pytest.fixture(autouse=True)
def read_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DATABASE_URL", "STRIPE_SECRET_KEY", "LIVEMODE", "PAYMENT_METHOD_TYPES", "STRIPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_ARN", raising=False)
    settings._load.cache_clear()
    yield
    settings._load.cache_clear()


def test_a_missing_setting_is_named() -> None:
    """The first setting that is missing is named as the operator knows it."""
    with pytest.raises(MissingSetting, match=r"^DATABASE_URL: "):
        load(DatabaseSettings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STRIPE_SECRET_KEY", "pk_test_publishable"),
        ("LIVEMODE", "perhaps"),
        ("LIVEMODE", "true"),  # with a test key
        ("PAYMENT_METHOD_TYPES", " , "),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """What is wrong is named; the value, which may be a secret, is not repeated."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://app@127.0.0.1/holdfast")
    monkeypatch.setenv("STRIPE_SECRET_KEY", KEY)
    monkeypatch.setenv("CHECKOUT_SUCCESS_URL", "https://shop.example/paid")
    monkeypatch.setenv("CHECKOUT_CANCEL_URL", "https://shop.example/back")
    assert load(PaymentSettings).payment_method_types == ("card",)
    settings._load.cache_clear()
    monkeypatch.setenv(name, value)

    with pytest.raises(MissingSetting) as refused:
        load(PaymentSettings)

    assert str(refused.value).startswith(f"{name}: ")
    assert "publishable" not in str(refused.value)


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first call the environment is not read again."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://one")
    assert load(DatabaseSettings).database_url == "postgresql://one"
    monkeypatch.setenv("DATABASE_URL", "postgresql://two")
    assert load(DatabaseSettings).database_url == "postgresql://one"


def test_a_list_is_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several values stand in one setting, with or without blanks."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://one")
    monkeypatch.setenv("STRIPE_SECRET_KEY", KEY)
    monkeypatch.setenv("CHECKOUT_SUCCESS_URL", "https://shop.example/paid")
    monkeypatch.setenv("CHECKOUT_CANCEL_URL", "https://shop.example/back")
    monkeypatch.setenv("PAYMENT_METHOD_TYPES", "card, link,")
    assert load(PaymentSettings).payment_method_types == ("card", "link")


@pytest.fixture
def secrets_manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The ARN of a secret that holds a Stripe key."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("secretsmanager", region_name="eu-central-1")
        yield client.create_secret(Name="stripe-key", SecretString=f"{KEY}\n")["ARN"]


def test_a_secret_may_stand_in_secrets_manager(monkeypatch: pytest.MonkeyPatch, secrets_manager: str) -> None:
    """`<NAME>_ARN` names the secret; it is read in place of the plain value, without the line end that came with it."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://one")
    monkeypatch.setenv("STRIPE_SECRET_KEY_ARN", secrets_manager)
    assert load(StripeSettings).stripe_secret_key == KEY


def test_a_secret_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, secrets_manager: str) -> None:
    """An ARN that leads nowhere stops the function, and the log line names it."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://one")
    monkeypatch.setenv("STRIPE_SECRET_KEY_ARN", secrets_manager.replace("stripe-key", "no-such"))
    with pytest.raises(MissingSetting, match="STRIPE_SECRET_KEY_ARN"):
        load(StripeSettings)
