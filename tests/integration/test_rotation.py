"""A secret is rotated in Secrets Manager while the functions run: nobody deploys, and nobody is turned away."""

import hashlib
import hmac
import time
from collections.abc import Generator
from pathlib import Path

import jwt
import psycopg
import pytest

from local.postgres import SUPERUSER, PostgresServer
from runtime import secret_store
from runtime.secret_store import KEPT_SECONDS
from tests.emulator_process import SECRET_KEY, eventually
from tests.support.app import TOKEN_SECRET, App
from tests.support.lambda_events import Context
from tests.support.logs import Logs
from tests.support.postgres import end_connections
from tests.support.receiver import receiving
from tests.support.sign_in import SECRET, claims, request
from tests.support.stripe_events import WEBHOOK_SECRET
from tests.support.vault import Vault, vault_of

OLD, NEW, NEWER = (f"{word}-secret-that-is-long-enough-for-hs256" for word in ("an-old", "a-new", "a-newer"))


@pytest.fixture
def vault(app: App, monkeypatch: pytest.MonkeyPatch) -> Generator[Vault]:
    with vault_of(app, monkeypatch) as vault:
        yield vault


@pytest.fixture
def asks_for_passwords(postgres: PostgresServer, database_name: str) -> Generator[None]:
    """The server believes nobody who connects to this test's database without the right password."""
    with psycopg.connect(postgres.url(SUPERUSER, "postgres"), autocommit=True) as owner:
        row = owner.execute("SHOW hba_file").fetchone()
        assert row
        file = Path(row[0])
        before = file.read_text()
        file.write_text(f"host {database_name} app all scram-sha-256\n{before}")
        owner.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            file.write_text(before)
            owner.execute("SELECT pg_reload_conf()")


def with_password(url: str, password: str) -> str:
    return url.replace("://app@", f"://app:{password}@")


def refuses(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return True
    return False


def until_refused(url: str) -> None:
    """The server reads its rules anew a moment after it was asked to."""
    give_up_at = time.monotonic() + 30
    while not refuses(url):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def connected(app: App) -> set[int]:
    """The connections that functions have."""
    return set(app.value("SELECT coalesce(array_agg(pid), '{}') FROM pg_stat_activity WHERE usename = 'app'"))


def admin_status(app: App, secret: str) -> int:
    """What `admin` answers to an administrator whose token this secret has signed."""
    token = jwt.encode(claims(role="admin"), secret, algorithm="HS256")
    return app.handler("admin")(request("GET", "/errors", bearer=token), Context())["statusCode"]


def test_a_database_password_that_is_refused_is_read_again_at_once(
    app: App, vault: Vault, postgres: PostgresServer, database_name: str, asks_for_passwords: None
) -> None:
    """The call that finds its connection gone and its password refused is answered all the same."""
    app.rows("ALTER ROLE app PASSWORD 'first'")
    until_refused(with_password(app.app_url, "wrong"))
    vault.hold(DATABASE_URL=with_password(app.app_url, "first"))
    assert app.call("reservations", "GET", "/offerings").status == 200

    app.rows("ALTER ROLE app PASSWORD 'second'")
    vault.rotate("DATABASE_URL", with_password(app.app_url, "second"))
    assert app.call("reservations", "GET", "/offerings").status == 200, "the open connection stays good"
    end_connections(postgres, database_name)

    assert app.call("reservations", "GET", "/offerings").status == 200


def test_after_five_minutes_no_call_uses_the_old_address(app: App, vault: Vault) -> None:
    """Not even by a connection that is open and works."""
    vault.hold(DATABASE_URL=app.app_url)
    app.call("reservations", "GET", "/offerings")
    before = connected(app)
    vault.rotate("DATABASE_URL", f"{app.app_url}?sslmode=prefer")
    app.call("reservations", "GET", "/offerings")
    assert connected(app) == before
    vault.wait(KEPT_SECONDS)

    app.call("reservations", "GET", "/offerings")

    eventually(lambda: not connected(app) & before)


def test_a_stripe_key_that_is_refused_is_read_again_at_once(app: App, vault: Vault) -> None:
    """The buyer whose call finds the old key revoked has a payment."""
    vault.hold(STRIPE_SECRET_KEY="sk_test_revoked0123456789")
    hold = app.hold(app.slot())
    app.call("create-payment-intent", "POST", "/", {"reservation_id": hold.id})  # has read the old key by now
    vault.rotate("STRIPE_SECRET_KEY", SECRET_KEY)

    answer = app.pay(hold)

    assert answer.status == 201
    assert len(app.intents(hold)) == 1


def test_an_event_under_a_new_signing_secret_is_believed_at_once(app: App, vault: Vault) -> None:
    """And one under a secret that was taken out is not, though it was the one before."""
    vault.hold(STRIPE_WEBHOOK_SECRETS="whsec_first")
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    assert app.deliver(b"{}", secret="whsec_first").problem == "malformed-event"
    vault.rotate("STRIPE_WEBHOOK_SECRETS", WEBHOOK_SECRET)

    assert app.deliver(event).body["outcome"] == "processed"
    assert app.deliver(event, secret="whsec_first").problem == "invalid-signature"


def test_the_token_of_a_hold_outlasts_one_rotation(app: App, vault: Vault) -> None:
    """What was held before is shown and paid afterwards; a second rotation ends its token."""
    vault.hold(TOKEN_SECRET=TOKEN_SECRET)
    before = app.hold(app.slot())
    vault.rotate("TOKEN_SECRET", NEW)
    vault.wait(KEPT_SECONDS)
    after = app.hold(app.slot())

    assert app.show(before)["id"] == before.id
    assert app.pay(before).status == 201
    assert app.show(after)["id"] == after.id

    vault.rotate("TOKEN_SECRET", NEWER)
    vault.wait(KEPT_SECONDS)
    shown = app.call("reservations", "GET", f"/reservations/{before.id}", headers=before.headers)
    assert (shown.status, shown.problem) == (404, "unknown-reservation")
    assert app.show(after)["id"] == after.id


def test_a_sign_in_under_the_new_secret_is_believed_at_once_and_under_the_old_until_the_next(
    app: App, vault: Vault
) -> None:
    """The identity provider may change over before us or after us."""
    vault.hold(JWT_SECRET=SECRET)
    assert admin_status(app, SECRET) == 200
    vault.rotate("JWT_SECRET", NEW)

    assert [admin_status(app, secret) for secret in (NEW, SECRET)] == [200, 200]

    vault.rotate("JWT_SECRET", NEWER)
    vault.wait(KEPT_SECONDS)
    assert [admin_status(app, secret) for secret in (NEWER, NEW, SECRET)] == [200, 200, 401]


def test_a_session_outlasts_the_rotation_of_what_signed_it(app: App, vault: Vault) -> None:
    """Whoever is signed in by the cookie stays so."""
    vault.hold(JWT_SECRET=SECRET)
    token = jwt.encode(claims(role="admin"), SECRET, algorithm="HS256")
    begun = app.handler("sessions")(request("POST", "/", bearer=token), Context())
    cookie = begun["cookies"][0].split(";")[0].removeprefix("session=")
    vault.rotate("JWT_SECRET", NEW)
    vault.wait(KEPT_SECONDS)

    shown = app.handler("admin")(request("GET", "/errors", cookie=cookie), Context())

    assert shown["statusCode"] == 200


def test_a_secret_too_short_to_hold_never_held(app: App, vault: Vault) -> None:
    """Put by mistake and put right: as the value before, it opens nothing."""
    vault.hold(JWT_SECRET=SECRET)
    vault.rotate("JWT_SECRET", "short")
    vault.rotate("JWT_SECRET", NEW)
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        assert admin_status(app, "short") == 401


def test_what_nobody_refuses_is_read_again_after_five_minutes(app: App, vault: Vault) -> None:
    """A notification is signed with the secret that has taken the old one's place."""
    vault.hold(NOTIFICATION_SECRET=OLD)
    app.booked(app.slot())
    with receiving() as site:
        app.set(NOTIFICATION_WEBHOOK_URL=site.url)
        app.invoke("deliver-outbox")
        vault.rotate("NOTIFICATION_SECRET", NEW)
        app.rows("UPDATE outbox SET status = 'pending', next_attempt_at = now() WHERE kind = 'notification'")
        app.invoke("deliver-outbox")
        vault.wait(KEPT_SECONDS)
        app.rows("UPDATE outbox SET status = 'pending', next_attempt_at = now() WHERE kind = 'notification'")
        app.invoke("deliver-outbox")
        signed_with = [
            signer(received.headers["Holdfast-Signature"], received.body) for received in site.received
        ]
    assert signed_with == [OLD, OLD, NEW]


def test_a_secret_that_cannot_be_read_again_is_kept(app: App, vault: Vault, logs: Logs) -> None:
    """While Secrets Manager is away the sale goes on; it is counted, and asked for again before long."""
    vault.hold(TOKEN_SECRET=TOKEN_SECRET)
    hold = app.hold(app.slot())
    vault.lose("TOKEN_SECRET")
    vault.wait(KEPT_SECONDS)

    assert app.show(hold)["id"] == hold.id
    assert "SecretNotRead" in logs.counted()
    logs.clear()
    app.show(hold)
    assert not logs.lines("WARNING"), "asked again within half a minute"
    vault.wait(31)
    app.show(hold)
    (line,) = logs.lines("WARNING")
    assert line["secret"].startswith("holdfast/TOKEN_SECRET")


def test_a_mistyped_secret_is_not_used(app: App, vault: Vault, logs: Logs) -> None:
    """One line names it, without its value, and the one before goes on."""
    vault.hold(STRIPE_SECRET_KEY=SECRET_KEY)
    hold = app.hold(app.slot())
    vault.rotate("STRIPE_SECRET_KEY", "pk_test_publishable")
    vault.wait(KEPT_SECONDS)

    assert app.cancel(hold).status == 200

    (line,) = {line["message"] for line in logs.lines("CRITICAL")}
    assert "STRIPE_SECRET_KEY" in line
    assert "publishable" not in logs.text
    assert "SecretNotUsable" in logs.counted()


def test_strangers_cannot_have_secrets_manager_asked_at_will(
    app: App, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred calls with tokens that nobody has signed ask it twice: for a newer value and for the one before."""
    vault.hold(TOKEN_SECRET=TOKEN_SECRET)
    hold = app.hold(app.slot())
    asked: list[str] = []
    read = secret_store._read
    monkeypatch.setattr(
        secret_store, "_read", lambda arn, **version: asked.append(arn) or read(arn, **version)
    )
    for number in range(100):
        headers = {"x-reservation-token": f"{number:064x}"}
        assert app.call("reservations", "GET", f"/reservations/{hold.id}", headers=headers).status == 404
    assert len(asked) == 2


def signer(signature: str, body: bytes) -> str:
    """Which of this file's secrets has signed the notification."""
    stamp, given = (part.partition("=")[2] for part in signature.split(","))
    signed = f"{stamp}.".encode() + body
    (found,) = [
        s for s in (OLD, NEW, NEWER) if hmac.new(s.encode(), signed, hashlib.sha256).hexdigest() == given
    ]
    return found
