"""Secrets and personal data on every way through the functions, and then looked for wherever something is kept or told."""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from functions.migrate.handler import lambda_handler as migrate
from runtime import failures, outbox_kick, sentry
from tests.emulator_process import SECRET_KEY
from tests.support.app import App, Hold, Payment
from tests.support.canaries import IDS, Canaries, Findings, columns, sent_to
from tests.support.lambda_events import Answer, Context, url_event
from tests.support.logs import Logs
from tests.support.queue import Inbox, inbox_of
from tests.support.receiver import Receiver, receiving
from tests.support.sign_in import token
from tests.support.stripe_events import encoded, signature
from tests.support.tracker import REPOSITORY, Fault, TrackerServer, tracking

EMAIL, NAME, PHONE = "canary.grace@example.com", "Grace Canaryhopper", "+43 660 7654321"
CARD = "4242424242424242"
DOTTED_CARD, CARD_IN_COLUMNS = "4000.0566.5566.5556", "5555\t5555\t5555\t4444"
LOST_TOKEN = "6c0a9f31" * 8
JWT_SECRET = "canary-jwt-secret-for-the-hs256-of-tests"
ADMIN, CUSTOMER = token(JWT_SECRET, sub="boss", role="admin"), token(JWT_SECRET, sub="grace")
HOLD_KEY = "canary-key-of-a-hold-0001"
SECRETS = {
    "DATABASE_PASSWORD": "canary-database-password",
    "OWNER_PASSWORD": "canary-owner-password",
    "STRIPE_SECRET_KEY": SECRET_KEY,
    "STRIPE_WEBHOOK_SECRETS": "whsec_canary0123456789abcdef",
    "TOKEN_SECRET": "canary-token-secret",
    "JWT_SECRET": JWT_SECRET,
    "NOTIFICATION_SECRET": "canary-notification-secret",
    "GITHUB_TOKEN": "ghp_Canary0123456789abcdefghij012345",
    "SENTRY_KEY": "canarysentrykey0123456789abcdef0",
    "FRONT_SECRET": "canary-front-secret",
}
# What a report or a reason may have in it, as somebody would paste it. A name in prose is not to be told from a word.
PASTED = (
    f"I am {EMAIL}, call {PHONE}; card {CARD}, {DOTTED_CARD}, {CARD_IN_COLUMNS}; no reservation for token {LOST_TOKEN}, Bearer {ADMIN}, session={CUSTOMER},"
    f" key {SECRET_KEY}, {SECRETS['STRIPE_WEBHOOK_SECRETS']}, {SECRETS['GITHUB_TOKEN']},"
    f" postgresql://app:{SECRETS['DATABASE_PASSWORD']}@db.example/holdfast, pi_1canary_secret_canary2"
)
# The same, where there is less room.
REASON = f"{EMAIL} {PHONE} {CARD} {SECRET_KEY} {SECRETS['STRIPE_WEBHOOK_SECRETS']} password={SECRETS['DATABASE_PASSWORD']}"
PERSON = {"email": EMAIL, "name": NAME, "phone": PHONE}
JOBS = ("reservation-cleanup", "reconcile-payments", "deliver-outbox", "seal-audit", "check-promises")
# What has to have been gone through: what was answered, by what.
WAYS = {
    *(
        f"answer 200 of admin GET {path}"
        for path in ("/stats", "/webhook-events", "/outbox", "/errors", "/trace/*")
    ),
    *(
        f"answer 200 of bookings {way}"
        for way in ("GET /bookings/*", "POST /bookings/*/reschedule", "POST /bookings/*/cancel")
    ),
    *(
        f"answer {status} of create-payment-intent POST"
        for status in (200, 201, 400, 413, 415, 422, 500, 503)
    ),
    *(
        f"answer {status} of reservations POST /reservations"
        for status in (201, 400, 413, 415, 422, 500, 503)
    ),
    *(f"answer {status} of stripe-webhook POST" for status in (200, 400, 500)),
    *(f"answer {status} of log-error POST" for status in (202, 400, 413, 415, 422, 500, 503)),
    *(f"{ended} of {job}" for ended in ("answer", "failure") for job in JOBS),
    "answer 200 of admin GET /bookings/*/audit",
    "answer 201 of admin POST /customers/grace/credits",
    "answer 200 of reservations DELETE /reservations/*",
    "answer 409 of reservations DELETE /reservations/*",
    "answer 412 of bookings POST /bookings/*/reschedule",
    "answer 201 of bookings POST /bookings",
    "answer 202 of bookings POST /bookings/*/refunds",
    "answer 401 of admin PUT /offerings/yoga",
    "answer 403 of bookings POST /bookings",
    "answer 503 of health GET /ready",
    "answer of webhook-inbox",
    "answer of log-error",
    "failure of migrate",
}
# Where something of it is meant to be, and why.
ALLOWED = {
    ("email", "customers.email"): "the customer's own row: who holds, and whom the site writes to",
    ("name", "customers.name"): "as above",
    ("phone", "customers.phone"): "as above",
    ("email", "idempotency_keys.scope"): "an anonymous caller is the address; gone after a day",
    ("idempotency key", "idempotency_keys.key"): "what it is for; without the address it opens nothing",
    ("email", "webhook_events_log.payload"): "what Stripe knows of its payer; `make forget` takes it out",
    ("email", "outbox.payload"): "whom the site shall write to; `make forget` takes it out",
    ("name", "outbox.payload"): "as above",
    ("email", "notifications"): "as above, over the site's own webhook, signed",
    ("name", "notifications"): "as above",
    ("SENTRY_KEY", "sentry"): "the key that a call to Sentry is made with",
    ("token", "answer 201 of reservations POST /reservations"): "the holder's, given once",
    (
        "client secret",
        "answer 201 of create-payment-intent POST",
    ): "the payer's, for Stripe's form in the page",
    ("client secret", "answer 200 of create-payment-intent POST"): "as above, when asked again",
    ("session", "answer 200 of sessions POST"): "the cookie itself",
    ("csrf", "answer 200 of sessions POST"): "what goes with the cookie",
}


BROKEN = ("payment_intents_log", "job_runs", "ticket_reservations", "credit_entries")


@dataclass
class World:
    """Everything that the functions can leave something in."""

    app: App
    logs: Logs
    inbox: Inbox
    tracker: TrackerServer
    site: Receiver
    sentry: Receiver
    own_failures: Receiver
    canaries: Canaries
    answers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    queued: list[str] = field(default_factory=list[str])
    taken: int = 0

    def call(
        self, function: str, method: str, path: str, body: object = None, query: str = "", **headers: str
    ) -> Answer:
        """A request, its whole answer kept under the route it came from."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        cookie = given.pop("cookie", None)
        event = url_event(method, path, body, given, query=query) | ({"cookies": [cookie]} if cookie else {})
        answered = self.app.handler(function)(event, Context())
        route = IDS.sub("*", f"{function} {method} {path}".removesuffix("/").rstrip())
        self.answers.append((f"answer {answered['statusCode']} of {route}", json.dumps(answered)))
        return Answer(answered["statusCode"], answered["body"], answered["headers"])

    def run(self, function: str, event: Mapping[str, Any] | None = None) -> Any:
        """An invocation; what it raises is what Lambda would log and keep."""
        try:
            answer = self.app.invoke(function, event)
        except Exception as failure:  # noqa: BLE001 - whatever is raised is looked through
            self.answers.append((f"failure of {function}", repr(failure)))
            return None
        self.answers.append((f"answer of {function}", json.dumps(answer)))
        return answer

    def webhook(self, event: object, secret: str = SECRETS["STRIPE_WEBHOOK_SECRETS"]) -> Answer:
        payload = event if isinstance(event, bytes) else encoded(event)
        return self.call(
            "stripe-webhook", "POST", "/", payload, stripe_signature=signature(payload, secret=secret)
        )

    def reported(self, **report: object) -> Answer:
        """A report to `log-error`, in the role that it has."""
        self.app.set(DATABASE_URL=with_password(self.app.error_writer_url))
        answer = self.call("log-error", "POST", "/", {"severity": "error", **report})
        self.app.set(DATABASE_URL=with_password(self.app.app_url))
        return answer

    def take_own_failures(self) -> int:
        """What functions have handed over reaches `log-error`."""
        self.app.set(DATABASE_URL=with_password(self.app.error_writer_url))
        handed = self.own_failures.received[self.taken :]
        for failure in handed:
            self.run("log-error", failure.document)
        self.taken += len(handed)
        self.app.set(DATABASE_URL=with_password(self.app.app_url))
        return len(handed)

    def found(self) -> Findings:
        """Every canary that was found, and where."""
        places = [
            ("logs and metrics", self.logs.text),
            ("standard error", self.logs.errors),
            ("sentry", sent_to(self.sentry)),
            ("own failures", sent_to(self.own_failures)),
            ("notifications", sent_to(self.site)),
            ("tracker", json.dumps(self.tracker.asked)),
            ("queue", self.inbox_text),
            ("metadata at Stripe", self.at_stripe()),
            *self.answers,
            *columns(self.app),
        ]
        return set[tuple[str, str]]().union(*(self.canaries.found(place, text) for place, text in places))

    @property
    def inbox_text(self) -> str:
        return "\n".join(self.queued)

    def at_stripe(self) -> str:
        client = self.app.stripe_client.v1
        intents = [i.to_dict() for i in client.payment_intents.list({"limit": 100}).auto_paging_iter()]
        refunds = [r.to_dict() for r in client.refunds.list({"limit": 100}).auto_paging_iter()]
        return json.dumps([[each["metadata"], each.get("description")] for each in intents + refunds])


def with_password(url: str) -> str:
    """The URL as operators give it: whoever is let in without one sends it, too."""
    scheme, at, rest = url.partition("@")
    return f"{scheme}:{SECRETS['DATABASE_PASSWORD']}{at}{rest}"


@pytest.fixture
def world(app: App, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> Generator[World]:
    canaries = Canaries(
        SECRETS
        | {"email": EMAIL, "name": NAME, "phone": PHONE, "card": CARD}
        | {"dotted card": DOTTED_CARD, "card in columns": CARD_IN_COLUMNS, "token in prose": LOST_TOKEN}
        | {"admin's token": ADMIN, "customer's token": CUSTOMER, "idempotency key": HOLD_KEY}
    )
    with (
        inbox_of(app, monkeypatch) as inbox,
        tracking() as tracker,
        receiving() as site,
        receiving() as sentry_server,
        receiving() as own_failures,
    ):
        own_failures.status = 202
        app.set(
            **{name: value for name, value in SECRETS.items() if not name.endswith(("_PASSWORD", "_KEY"))},
            DATABASE_URL=with_password(app.app_url),
            NOTIFICATION_WEBHOOK_URL=site.url,
            GITHUB_REPOSITORY=REPOSITORY,
            GITHUB_API_URL=tracker.url,
            SENTRY_DSN=sentry_server.url.replace("://", f"://{SECRETS['SENTRY_KEY']}@") + "/1",
            LOG_ERROR_FUNCTION="holdfast-log-error:live",
            AWS_ENDPOINT_URL_LAMBDA=own_failures.url,
        )
        for cached in (outbox_kick.lambda_client, failures._breaker, sentry._client):
            cached.cache_clear()
        yield World(app, logs, inbox, tracker, site, sentry_server, own_failures, canaries)
        for cached in (outbox_kick.lambda_client, failures._breaker, sentry._client):
            cached.cache_clear()


# The ways through the functions.


def held(world: World, slot: str, key: str | None = None) -> Hold:
    """A hold of the person whom everything is about."""
    body = {"items": [{"slot_id": slot, "units": 1}], "customer": PERSON}
    headers = {"idempotency_key": key} if key else {}
    answer = world.call("reservations", "POST", "/reservations", body, **headers).body
    world.canaries.learn("token", answer["token"])
    return Hold(answer["id"], answer["token"], answer["amount"], EMAIL)


def paid_for(world: World, hold: Hold, mode: str = "payment_intent", key: str = "pay-1") -> Payment:
    body = {"reservation_id": hold.id, "mode": mode}
    answer = world.call(
        "create-payment-intent", "POST", "/", body, x_reservation_token=hold.token, idempotency_key=key
    ).body
    if secret := answer.get("client_secret"):
        world.canaries.learn("client secret", secret)
    return Payment(
        answer["payment_id"], hold, answer.get("payment_intent_id"), answer.get("checkout_session_id")
    )


def tell_all(world: World, *objects: str | None) -> None:
    """Every event about these, with a card's holder in it as Stripe has one."""
    for object_id in objects:
        for event in world.app.events(object_id):
            world.webhook(event)


def a_purchase_and_what_may_follow(world: World, slot: str, other: str) -> str:
    """Held, shown, paid, told, seen, moved, refunded; a booking's id."""
    app = world.app
    hold = held(world, slot, HOLD_KEY)
    held(world, slot, HOLD_KEY)
    mine = {"x_reservation_token": hold.token}
    world.call("reservations", "GET", f"/reservations/{hold.id}", **mine)
    payment = paid_for(world, hold)
    paid_for(world, hold)
    paid_for(world, hold, key="pay-2")
    app.stripe_client.v1.payment_intents.update(payment.intent_id or "", {"receipt_email": EMAIL})
    app.confirm(payment)
    tell_all(world, payment.intent_id)
    booking = world.call("reservations", "GET", f"/reservations/{hold.id}", **mine).body["booking_id"]
    world.call("bookings", "GET", f"/bookings/{booking}", **mine)
    world.call("bookings", "GET", f"/bookings/{booking}", authorization=f"Bearer {ADMIN}")
    world.call("reservations", "DELETE", f"/reservations/{hold.id}", **mine)
    moved = {"slot_id": other}
    for version in ("7", "1"):
        world.call("bookings", "POST", f"/bookings/{booking}/reschedule", moved, if_match=version, **mine)
    refund = {"amount": 100, "reason": REASON}
    world.call("bookings", "POST", f"/bookings/{booking}/refunds", refund, authorization=f"Bearer {ADMIN}")
    world.run("deliver-outbox")
    version = app.value("SELECT version FROM bookings WHERE id = %s", booking)
    reason = {"reason": REASON}
    world.call("bookings", "POST", f"/bookings/{booking}/cancel", reason, if_match=str(version), **mine)
    world.run("deliver-outbox")
    return booking


def a_hosted_session(world: World, slot: str) -> None:
    payment = paid_for(world, held(world, slot), "checkout_session")
    world.app.confirm(payment)
    tell_all(world, payment.session_id)


def bookings_by_other_means(world: World, slot: str) -> None:
    """On arrival; with credits, by the session's cookie and its CSRF token; and a session's end."""
    app = world.app
    app.grant("grace", 9)
    begun = app.handler("sessions")(
        url_event("POST", "/", headers={"authorization": f"Bearer {CUSTOMER}"}), Context()
    )
    world.answers.append(("answer 200 of sessions POST", json.dumps(begun)))
    cookie = begun["cookies"][0].split(";")[0]
    world.canaries.learn("session", cookie.removeprefix("session="))
    csrf = world.canaries.learn("csrf", json.loads(begun["body"])["csrf"])
    for method in ("credits", "pay_on_arrival"):
        hold = held(world, slot)
        body = {"reservation_id": hold.id, "payment_method": method}
        signed = {"x_reservation_token": hold.token, "cookie": cookie}
        world.call("bookings", "POST", "/bookings", body, x_csrf_token="wrong", **signed)
        world.call("bookings", "POST", "/bookings", body, x_csrf_token=csrf, **signed)
    world.call("sessions", "DELETE", "/", cookie=cookie, x_csrf_token=csrf)
    cancelled = held(world, slot)
    world.call("reservations", "DELETE", f"/reservations/{cancelled.id}", x_reservation_token=cancelled.token)


def what_operators_look_at(world: World, offering: str, booking: str) -> None:
    boss = {"authorization": f"Bearer {ADMIN}"}
    for path in (
        "/stats",
        "/webhook-events",
        "/outbox",
        "/errors",
        f"/bookings/{booking}/audit",
        f"/trace/{booking}",
        f"/offerings/{offering}",
        "/customers/grace/credits",
    ):
        assert world.call("admin", "GET", path, **boss).status == 200, path
    world.call("bookings", "GET", "/bookings", **boss)
    granted = {"delta": 1, "reason": REASON}
    world.call("admin", "POST", "/customers/grace/credits", granted, **boss)
    replay = {"status": "failed", "dry_run": False}
    world.call("admin", "POST", "/webhook-events/replay", replay, **boss)
    world.call("admin", "GET", "/console")
    for path in ("/live", "/ready"):
        world.call("health", "GET", path)


def what_is_refused(world: World, hold: Hold) -> None:
    """Every function, with what is wrong in body, path, query and headers."""
    routes = [
        ("reservations", "POST", "/reservations"),
        ("create-payment-intent", "POST", "/"),
        ("bookings", "POST", "/bookings"),
        ("bookings", "POST", f"/bookings/{hold.id}/cancel"),
        ("log-error", "POST", "/"),
        ("admin", "PUT", "/offerings/yoga"),
        ("admin", "POST", "/customers/grace/credits"),
    ]
    signed = {"authorization": f"Bearer {ADMIN}", "x_reservation_token": hold.token, "if_match": PASTED}
    for function, method, path in routes:
        world.call(function, method, path, PASTED, **signed)
        world.call(function, method, path, {PASTED: PASTED, "customer": PASTED, "items": PASTED}, **signed)
        world.call(function, method, path, PASTED * 2000, **signed)
        world.call(function, method, path, PASTED, content_type=PASTED, **signed)
        world.call(function, "PATCH", path, PASTED, **signed)
        world.call(function, method, path, {}, idempotency_key=PASTED, authorization=f"Bearer {CUSTOMER}x")
    for function in ("reservations", "bookings", "admin", "health", "stripe-webhook", "sessions"):
        world.call(function, "GET", f"/{EMAIL}/{CARD}", query=f"token={hold.token}&email={EMAIL}", **signed)
    world.call("reservations", "GET", "/slots", query=f"offering={EMAIL}&{PHONE}={CARD}")
    world.call("admin", "GET", "/trace/" + EMAIL, **signed)
    world.call("admin", "GET", "/webhook-events", query=f"cursor={EMAIL}", **signed)
    world.webhook({"object": "event", "email": EMAIL}, secret="whsec_wrong")
    world.webhook({"object": "event", "email": EMAIL})
    world.webhook(PASTED.encode())


def due_again(app: App) -> None:
    """Whatever was delivered is to be delivered once more."""
    app.rows(
        "UPDATE outbox SET status = 'pending', attempts = 0, next_attempt_at = now(), lease_until = now()"
    )


def what_fails_in_postgresql(world: World, slot: str, payment: Payment) -> None:
    """A constraint's DETAIL repeats the row; an exception says whatever it likes."""
    app = world.app
    app.rows("ALTER TABLE customers ADD CONSTRAINT nobody_comes_in CHECK (false) NOT VALID")
    app.rows("ALTER TABLE bookings ADD CONSTRAINT nothing_is_sold CHECK (false) NOT VALID")
    body = {"items": [{"slot_id": slot, "units": 1}], "customer": PERSON}
    assert world.call("reservations", "POST", "/reservations", body).status == 500
    assert world.webhook(app.event(payment.intent_id, "payment_intent.succeeded")).status == 500
    app.rows("ALTER TABLE customers DROP CONSTRAINT nobody_comes_in")
    app.rows("ALTER TABLE bookings DROP CONSTRAINT nothing_is_sold")
    app.rows(
        f"""
        CREATE FUNCTION tell_all() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION '{PASTED}' USING DETAIL = '{NAME}'; END $$
        """
    )
    for table in BROKEN:
        app.rows(f"CREATE TRIGGER tell_all BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION tell_all()")
    boss = {"authorization": f"Bearer {ADMIN}"}
    world.call("reservations", "POST", "/reservations", body)
    world.call(
        "create-payment-intent",
        "POST",
        "/",
        {"reservation_id": payment.hold.id},
        x_reservation_token=payment.hold.token,
    )
    world.call("admin", "POST", "/customers/grace/credits", {"delta": 1, "reason": "x"}, **boss)
    world.webhook(app.event(payment.intent_id, "payment_intent.created"))
    app.rows(
        """
        CREATE TRIGGER tell_all BEFORE UPDATE ON outbox
        FOR EACH ROW WHEN (NEW.status = 'delivered') EXECUTE FUNCTION tell_all()
        """
    )
    due_again(app)
    for function in JOBS:
        world.run(function)
    for table in (*BROKEN, "outbox"):
        app.rows(f"DROP TRIGGER tell_all ON {table}")


def what_fails_at_stripe(world: World, slot: str) -> None:
    """Not answered, refused, and with an error whose text repeats what it likes."""
    app = world.app

    def pays() -> Hold:
        hold = held(world, slot)
        body = {"reservation_id": hold.id}
        world.call("create-payment-intent", "POST", "/", body, x_reservation_token=hold.token)
        return hold

    for fault in ({"status": 500}, {"timeout_after": True}, {"status": 402}):
        app.faults({"method": "POST", "path": "/v1/payment_intents", "times": 3, **fault})
        app.rows("UPDATE ticket_reservations SET status = 'cancelled' WHERE id = %s", pays().id)
    app.faults()
    app.set(STRIPE_SECRET_KEY=world.canaries.learn("a refused Stripe key", "sk_test_canaryrefused0123"))
    hold = pays()
    app.leases_over()
    app.expire(hold)
    for function in ("reservation-cleanup", "reconcile-payments"):
        world.run(function)
    app.set(STRIPE_SECRET_KEY=SECRET_KEY)


def what_receivers_refuse(world: World) -> None:
    """Whoever is told answers 500."""
    for status in (500, 401):
        world.site.status = status
        world.tracker.faults.extend(Fault(status) for _ in range(3))
        due_again(world.app)
        world.run("deliver-outbox")


def what_happens_without_a_database(world: World, slot: str, payment: Payment) -> None:
    """Away, or at an address that is none; events go to the queue."""
    app, password = world.app, SECRETS["DATABASE_PASSWORD"]
    away = f"postgresql://app:{password}@127.0.0.1:9/holdfast"
    for url in (
        away,
        f"postgresql://app:{password}@[/holdfast",
        f"host=127.0.0.1 password={password} x",
        f"postgresql//app:{password}",
    ):
        app.set(DATABASE_URL=url)
        body = {"items": [{"slot_id": slot, "units": 1}], "customer": PERSON}
        world.call("reservations", "POST", "/reservations", body)
        world.webhook(app.event(payment.intent_id, "payment_intent.succeeded"))
        world.call("log-error", "POST", "/", {"message": PASTED, "severity": "critical"})
        world.call("health", "GET", "/ready")
        world.run("deliver-outbox")
        if url != away:
            continue
        records = world.inbox.receive()
        world.queued += [record["body"] for record in records]
        world.run("webhook-inbox", {"Records": records})
    app.set(
        DATABASE_URL=with_password(app.app_url),
        DATABASE_OWNER_URL=f"postgresql://o:{SECRETS['OWNER_PASSWORD']}@127.0.0.1:9/x",
        MIGRATIONS_DIR="migrations",
    )
    with pytest.raises(psycopg.OperationalError) as failure:
        migrate({}, Context())
    world.answers.append(("failure of migrate", repr(failure.value)))
    world.run("webhook-inbox", {"Records": [*records, {**records[0], "messageId": "2", "body": PASTED}]})


def what_is_set_wrong(world: World) -> None:
    """A setting that is a secret, and is wrong: it is named, and not repeated."""
    app = world.app
    for function, name, value in (
        ("reservations", "STRIPE_SECRET_KEY", "pk_live_canarymistyped"),
        ("reservations", "TOKEN_SECRET", "canarymistyped"),
        ("admin", "JWT_SECRET", "-----BEGIN canarymistyped and then some more of a key-----"),
    ):
        app.set(**{name: value})
        world.canaries.learn(f"mistyped {name}", "canarymistyped")
        world.call(
            function,
            "GET",
            "/stats" if function == "admin" else "/reservations/00000000-0000-0000-0000-000000000000",
            authorization=f"Bearer {ADMIN}",
            x_reservation_token="x",
        )
        app.set(**{name: SECRETS[name]})


REPORT = {
    "message": PASTED,
    "stack": f"Error: {PASTED}\n    at pay (https://shop.example/?q={EMAIL}:1:2)",
    "url": f"https://shop.example/?email={EMAIL}&token={ADMIN}",
    "function_name": EMAIL,
    "release": EMAIL,
    "context": {PASTED: PASTED, "email": EMAIL, "user": {"name": NAME, "phone": PHONE}},
    "fingerprint": [EMAIL],
}


def test_nothing_secret_or_personal_is_where_it_is_not_meant_to_be(world: World) -> None:
    """On every way through every function, errors too: it is in the places that are listed with their reasons, and in no other.

    Each of these it was found in, which shows that whatever is looked through is looked through.
    """
    app = world.app
    offering = app.offering(credits_price=1, pay_on_arrival=True)
    slot, other = app.slot(offering, units=99), app.slot(offering, units=99)
    found: Findings = set()

    booking = a_purchase_and_what_may_follow(world, slot, other)
    a_hosted_session(world, slot)
    bookings_by_other_means(world, slot)
    open_payment = paid_for(world, held(world, slot))
    app.confirm(open_payment)
    found |= world.found()
    what_fails_in_postgresql(world, slot, open_payment)
    found |= world.found()
    what_fails_at_stripe(world, other)
    assert world.reported(**REPORT).status == 202
    what_is_refused(world, open_payment.hold)
    what_is_set_wrong(world)
    assert world.take_own_failures() > 3
    what_receivers_refuse(world)
    found |= world.found()
    what_happens_without_a_database(world, slot, open_payment)
    for function in JOBS:
        world.run(function)
    world.take_own_failures()
    what_operators_look_at(world, offering, booking)
    found |= world.found()

    assert WAYS - {place for place, _ in world.answers} == set()
    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set()
    for where in (
        world.logs.text,
        world.inbox_text,
        *map(sent_to, (world.sentry, world.site, world.own_failures)),
    ):
        assert where
