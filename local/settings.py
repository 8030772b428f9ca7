"""What the cloud of one state folder is made of: its keys and secrets, and every function's environment."""

import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from local.errors import CannotStart
from local.postgres import DATABASE, OWNER
from local.template import Template

STRIPE_API = "https://api.stripe.com"
ADMIN_TOKEN_LIFE_S = 24 * 3600
# Roles other than `app`, https://www.postgresql.org/docs/current/ddl-priv.html: these functions may do less.
DATABASE_ROLES = {"log-error": "error_writer"}
# Not to be set by anybody: they say where this cloud is.
OURS = {
    "AWS_ENDPOINT_URL",
    "DATABASE_OWNER_URL",
    "DATABASE_URL",
    "ENVIRONMENT",
    "MIGRATIONS_DIR",
    "RATE_LIMITS",
}
# Given by whom it may be, the functions have them as `Stripe` does, and with it the emulator and stack.json.
OF_STRIPE = {"STRIPE_API_BASE", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS"}
# Set by .env or by the environment that the cloud is started in. GITHUB_* only by .env: whoever works at GitHub has theirs
# in the environment, and would have issues opened there.
FROM_ENVIRONMENT = {
    "CANCEL_POLICY",
    "CHECKOUT_CANCEL_URL",
    "CHECKOUT_SUCCESS_URL",
    "FUNDS_DAYS",
    "HOLD_CEILING_MINUTES",
    "HOLD_MINUTES",
    "JWT_AUDIENCE",
    "JWT_ISSUER",
    "JWT_JWKS_URL",
    "JWT_SECRET",
    "LIVEMODE",
    "NOTIFICATION_SECRET",
    "NOTIFICATION_WEBHOOK_URL",
    "PAYMENT_METHOD_TYPES",
    "PAYMENT_WINDOW_MINUTES",
    "SENTRY_DSN",
    "STRIPE_ACCOUNT_ID",
    "STRIPE_API_BASE",
    "STRIPE_PUBLISHABLE_KEY",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRETS",
    "TOKEN_SECRET",
}


class SettingsError(CannotStart):
    """The cloud cannot be started like this; the message says what to change."""


@dataclass(frozen=True)
class Secrets:
    """Made once a state folder, random, readable by their owner only."""

    jwt_secret: str
    admin_csrf: str
    token_secret: str
    notification_secret: str
    stripe_secret_key: str
    stripe_webhook_secret: str

    @classmethod
    def kept_in(cls, file: Path) -> "Secrets":
        """Those of `file`, which is written unless it is there."""
        if file.exists():
            return cls(**json.loads(file.read_text()))
        made = cls(
            jwt_secret=secrets.token_urlsafe(48),
            admin_csrf=secrets.token_urlsafe(24),
            token_secret=secrets.token_urlsafe(48),
            notification_secret=secrets.token_urlsafe(48),
            stripe_secret_key=f"sk_test_{secrets.token_hex(16)}",
            stripe_webhook_secret=f"whsec_{secrets.token_hex(24)}",
        )
        write_private(file, json.dumps(made.__dict__, indent=2))
        return made

    def admin_token(self) -> str:
        """A signed JWT with role admin, valid a day."""
        now = int(time.time())
        claims = {"sub": "admin@local", "role": "admin", "csrf": self.admin_csrf}
        return jwt.encode(
            claims | {"iat": now, "exp": now + ADMIN_TOKEN_LIFE_S}, self.jwt_secret, algorithm="HS256"
        )


@dataclass(frozen=True)
class Stripe:
    """Which Stripe the functions talk to: the emulator, unless a test key is given."""

    api_base: str
    secret_key: str
    webhook_secrets: tuple[str, ...]
    emulated: bool
    publishable_key: str | None = None


@dataclass(frozen=True)
class Places:
    """Where the parts of the cloud listen; `host` is what the functions call this machine."""

    base_url: str
    database_port: int
    aws_endpoint_url: str
    notifications_url: str
    github_api_url: str
    host: str = "127.0.0.1"

    def database_url(self, role: str) -> str:
        """A role's connection string."""
        return f"postgresql://{role}@{self.host}:{self.database_port}/{DATABASE}"


@dataclass(frozen=True)
class Settings:
    """Everything that the functions' environments are made from."""

    places: Places
    secrets: Secrets
    stripe: Stripe
    migrations: Path
    rate_limits: bool
    given: Mapping[str, str] = field(default_factory=dict[str, str])
    added: Mapping[str, str] = field(default_factory=dict[str, str])

    def environments(self, template: Template) -> dict[str, dict[str, str]]:
        """Each function's variables: those that the template gives it, with this machine's values.

        A secret that the template gives as NAME_ARN becomes a plain NAME. What the template does not give is not
        there, so that it is missed here and not only in the cloud.
        """
        environments: dict[str, dict[str, str]] = {}
        for name, function in template.functions.items():
            values = self._values(DATABASE_ROLES.get(name, "app"))
            environment: dict[str, str] = {}
            for variable, value in function.environment.items():
                plain = variable.removesuffix("_ARN")
                if variable in values:
                    environment[variable] = values[variable]
                elif plain in values:
                    environment[plain] = values[plain]
                else:
                    environment[variable] = value
            environment |= {
                "AWS_ENDPOINT_URL": self.places.aws_endpoint_url,
                "AWS_ENDPOINT_URL_LAMBDA": self.places.base_url,
                "ENVIRONMENT": "local",
            }
            if not self.rate_limits:
                environment["RATE_LIMITS"] = "off"
            environments[name] = {**environment, **self.added}
        return environments

    def secret_values(self, template: Template) -> dict[str, str]:
        """What the functions would find in Secrets Manager: a value for each NAME_ARN that the template gives one."""
        values = self._values("app")
        variables = {name for function in template.functions.values() for name in function.environment}
        return {name: value for name, value in values.items() if f"{name}_ARN" in variables}

    def _values(self, role: str) -> dict[str, str]:
        places, stripe = self.places, self.stripe
        values = {
            "AWS_ENDPOINT_URL": places.aws_endpoint_url,
            "CHECKOUT_CANCEL_URL": f"{places.base_url}/?checkout=cancelled",
            "CHECKOUT_SUCCESS_URL": f"{places.base_url}/?checkout=paid",
            "DATABASE_OWNER_URL": places.database_url(OWNER),
            "DATABASE_URL": places.database_url(role),
            "GITHUB_API_URL": places.github_api_url,
            "GITHUB_REPOSITORY": "holdfast/local",
            "GITHUB_TOKEN": "local",
            "JWT_SECRET": self.secrets.jwt_secret,
            "LIVEMODE": "false",
            "MIGRATIONS_DIR": str(self.migrations),
            "NOTIFICATION_SECRET": self.secrets.notification_secret,
            "NOTIFICATION_WEBHOOK_URL": places.notifications_url,
            "STRIPE_API_BASE": stripe.api_base,
            "STRIPE_SECRET_KEY": stripe.secret_key,
            "STRIPE_WEBHOOK_SECRETS": ",".join(stripe.webhook_secrets),
            "TOKEN_SECRET": self.secrets.token_secret,
        }
        return values | {name: value for name, value in self.given.items() if name not in OURS | OF_STRIPE}


def given_settings(
    dotenv: Mapping[str, str], environment: Mapping[str, str], *, emulated: bool
) -> dict[str, str]:
    """The settings of .env, and over them the environment's; none of Stripe's where it is emulated whatever they say."""
    given = {**dotenv, **{name: environment[name] for name in FROM_ENVIRONMENT & environment.keys()}}
    return {name: value for name, value in given.items() if not (emulated and "STRIPE" in name)}


def choose_stripe(given: Mapping[str, str], kept: Secrets, emulator_url: str) -> Stripe:
    """Stripe itself where a test key is given, else the emulator; raises SettingsError for any other key."""
    key = given.get("STRIPE_SECRET_KEY", "")
    webhook_secrets = tuple((given.get("STRIPE_WEBHOOK_SECRETS") or kept.stripe_webhook_secret).split(","))
    if not key:
        return Stripe(
            emulator_url,
            kept.stripe_secret_key,
            webhook_secrets,
            emulated=True,
            publishable_key="pk_test_emulated",
        )
    if not key.startswith(("sk_test_", "rk_test_")):
        raise SettingsError(
            "STRIPE_SECRET_KEY is no test key (sk_test_...): this cloud takes no other, by .env or its environment"
        )
    publishable_key = given.get("STRIPE_PUBLISHABLE_KEY") or None
    if publishable_key and not publishable_key.startswith("pk_test_"):
        raise SettingsError("STRIPE_PUBLISHABLE_KEY is no test key (pk_test_...)")
    base = given.get("STRIPE_API_BASE") or STRIPE_API
    return Stripe(base, key, webhook_secrets, emulated=False, publishable_key=publishable_key)


def read_dotenv(file: Path) -> dict[str, str]:
    """KEY=VALUE lines; `#` begins a comment line, `export` and quotes around the value are allowed."""
    values: dict[str, str] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            value = value.strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            values[name.strip()] = value[1:-1] if quoted else value
    return values


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    unfinished.replace(file)
