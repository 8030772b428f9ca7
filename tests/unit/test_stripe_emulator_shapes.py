"""Held to Stripe's own words: the SDK's declared types, and Stripe's schema where STRIPE_OPENAPI names it."""

import json
import os
import random
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import stripe

from local.stripe_emulator import buyer, disputes, endpoints, intents, refunds, sessions, settlement
from local.stripe_emulator.account import API_VERSION, Account, Call, Settings
from local.stripe_emulator.errors import StripeError, no_such
from local.stripe_emulator.method_types import OFFERED
from local.stripe_emulator.parameters import Group, Metadata, Parameter, Sequence, TimeRange
from local.stripe_emulator.storage import Storage

type Json = dict[str, Any]

_CLASSES: dict[str, type[stripe.StripeObject]] = {
    "balance_transaction": stripe.BalanceTransaction,
    "charge": stripe.Charge,
    "checkout.session": stripe.checkout.Session,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "item": stripe.LineItem,
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "price": stripe.Price,
    "refund": stripe.Refund,
}

# Fields that Stripe sends only when they say something: Stripe's schema has them optional and not nullable.
_ONLY_WHEN_SET: dict[str, set[str]] = {
    "balance_transaction": set(),
    "charge": {"authorization_code", "level3", "presentment_details", "transfer"},
    "checkout.session": {
        "excluded_payment_method_types",
        "line_items",
        "name_collection",
        "presentment_details",
        "redirect_on_completion",
        "return_url",
        "tax_id_collection",
    },
    "dispute": {"payment_method_details"},
    "event": {"account", "context"},
    "item": {"discounts", "taxes"},
    "payment_intent": {"hooks", "payment_details", "presentment_details"},
    "price": {"currency_options", "deleted", "tiers"},
    "refund": {
        "description",
        "failure_balance_transaction",
        "failure_reason",
        "instructions_email",
        "next_action",
        "pending_reason",
        "presentment_details",
    },
}


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    storage = Storage(tmp_path)
    settings = Settings("sk_test_x", stripe.api_version, "http://127.0.0.1:1/", "whsec_x")
    yield Account(settings, storage, lambda: 1_800_000_000.5, random.Random(1), "http://127.0.0.1:1")
    storage.close()


@pytest.fixture
def everything(account: Account) -> list[Json]:
    """Every kind of object in every state that the emulator gives it, as its events and answers show them."""
    call = Call(account, "req_1", "key_1")
    given = {"amount": 2500, "currency": "eur", "metadata": {"a": "1"}}
    paid = intents.create(call, {**given, "payment_method": "pm_card_visa", "confirm": True}).body
    answers = [paid, intents.create(call, {**given, "payment_method_types": ["card"]}).body]
    cards = (
        "pm_card_visa_chargeDeclined",
        "pm_card_chargeDeclinedExpiredCard",
        "pm_card_authenticationRequired",
    )
    for card in cards:
        made = intents.load(call, intents.create(call, given).body["id"])
        answers.append(intents.confirm(call, made, {"payment_method": card, "return_url": None}).body)
    buyer.authenticate_intent(account, answers[-1]["id"], succeeded=False)
    waiting = intents.load(call, answers[-1]["id"])
    intents.confirm(call, waiting, {"payment_method": cards[-1], "return_url": "http://127.0.0.1:1/"})
    buyer.authenticate_intent(account, answers[-1]["id"], succeeded=True)
    answers.append(intents.cancel(call, intents.load(call, answers[1]["id"]), "abandoned").body)
    answers.append(refunds.create(call, {"payment_intent": paid["id"], "reason": "duplicate"}).body)
    answers += [*_refunds(account, call, given), *_disputes(account, call, given)]
    answers += _delayed_payments(account, call)
    line = {
        "price_data": {"currency": "eur", "unit_amount": 500, "product_data": {"name": "Seat"}},
        "quantity": 2,
    }
    for email in ("ada@example.com", None):
        session = sessions.create(
            call,
            {
                "line_items": [line],
                "success_url": "http://127.0.0.1:1/",
                "customer_email": email,
                "metadata": {},
            },
        )
        answers.append(session.body)
        if email is not None:
            answers.append(buyer.pay_session(account, session.body["id"], "pm_card_visa").body)
        else:
            answers.append(sessions.expire(call, sessions.load(call, session.body["id"])).body)
    rows = account.storage.execute("SELECT body FROM objects").fetchall()
    lines = account.storage.execute(
        "SELECT json_extract(private, '$.line_items[0]') FROM objects WHERE kind = 'checkout.session'"
    ).fetchall()
    return [*answers, *(json.loads(body) for (body,) in rows + lines)]


def _refunds(account: Account, call: Call, given: Json) -> list[Json]:
    """Refunds that were pending, that failed, and that a dispute overtook."""
    answers: list[Json] = []
    for card in ("pm_card_pendingRefund", "pm_card_refundFail"):
        paid = intents.create(call, {**given, "payment_method": card, "confirm": True}).body
        made = refunds.create(call, {"payment_intent": paid["id"], "amount": 100}).body
        answers.append(made)
    settlement.settle_due(account, until=float("inf"))
    return answers


def _disputes(account: Account, call: Call, given: Json) -> list[Json]:
    """Chargebacks won and lost, an inquiry closed, and one that escalates while a refund is pending."""
    for card, outcomes in (
        ("pm_card_createDispute", ["under_review", "won"]),
        ("pm_card_createDisputeProductNotReceived", ["lost"]),
        ("pm_card_createDisputeInquiry", ["under_review", "warning_closed"]),
        ("pm_card_createDisputeInquiry", ["escalate"]),
    ):
        paid = intents.create(call, {**given, "payment_method": card, "confirm": True}).body
        opened = account.storage.select("dispute", "TRUE", (), limit=1)[0]
        assert opened["payment_intent"] == paid["id"]
        for outcome in outcomes:
            settlement.settle(account, "dispute", opened["id"], outcome)
    stored = disputes.load(call, account.storage.select("dispute", "TRUE", (), limit=1)[0]["id"])
    evidence = {"evidence": {"customer_name": "Ada", "uncategorized_text": "losing_evidence"}}
    return [disputes.update(call, stored, evidence).body]


def _delayed_payments(account: Account, call: Call) -> list[Json]:
    """Debits paid, refunded, disputed, refused, cancelled; vouchers paid, refunded, expired; and their sessions."""
    answers: list[Json] = []
    for currency, tokens in (
        ("eur", ("pm_success_de", "pm_failed_at", "pm_disputed_de")),
        ("usd", ("pm_usBankAccount_success", "pm_usBankAccount_noAccount", "pm_usBankAccount_processing")),
        ("brl", ("pm_boleto",)),
        ("mxn", ("pm_oxxo",)),
        ("jpy", ("pm_konbini",)),
    ):
        types = {"allowed_payment_method_types": list(OFFERED)}
        for token in tokens:
            given = {"amount": 2500, "currency": currency, "payment_method": token, "confirm": True}
            answers.append(intents.create(call, {**given, **types}).body)
            price = {"currency": currency, "unit_amount": 500, "product_data": {"name": "Seat"}}
            lines = {"line_items": [{"price_data": price, "quantity": 2}]}
            session = sessions.create(call, {**lines, **types, "success_url": "http://127.0.0.1:1/"}).body
            answers.append(buyer.pay_session(account, session["id"], token).body)
            if token == "pm_usBankAccount_processing":
                answers.append(intents.cancel(call, intents.load(call, answers[-2]["id"]), None).body)
            if currency in ("brl", "jpy"):
                settlement.settle(account, "payment_intent", answers[-2]["id"], "processing")
                settlement.settle(account, "payment_intent", answers[-2]["id"], "succeeded")
    settlement.settle_due(account, until=float("inf"))
    for answer in list(answers):
        if answer["object"] == "payment_intent":
            intent = intents.load(call, answer["id"])
            charge = account.storage.find("charge", str(intent.body["latest_charge"]))
            if intent.body["status"] == "succeeded" and charge is not None and not charge.body["disputed"]:
                answers.append(refunds.create(call, {"payment_intent": intent.id, "amount": 100}).body)
    settlement.settle_due(account, until=float("inf"))
    return answers


def objects_of(bodies: list[Json]) -> list[Json]:
    """The bodies that are objects, events' subjects too; errors are looked at by themselves."""
    found = [body for body in bodies if "object" in body]
    return found + [event["data"]["object"] for event in found if event["object"] == "event"]


def test_no_object_has_a_field_too_many_or_too_few(everything: list[Json]) -> None:
    """Every object has the fields that the SDK declares for it: none missing, none invented, nested ones too."""
    seen: set[str] = set()
    for body in objects_of(everything):
        kind = body["object"]
        seen.add(kind)
        missing = _CLASSES[kind].__annotations__.keys() - body.keys() - {"OBJECT_NAME"} - _only_when_set(body)
        assert missing == set(), (kind, missing)
        _check_declared(body, _CLASSES[kind], kind)
    assert seen == _CLASSES.keys() - {"price"}


def test_the_emulator_speaks_the_sdks_version() -> None:
    """Events carry the API version of the SDK, unless told otherwise."""
    assert stripe.api_version == API_VERSION


def _only_when_set(body: Json) -> set[str]:
    if body["object"] != "payment_method":
        return _ONLY_WHEN_SET[body["object"]]
    # A payment method has one field for each type there is, and only that of its own type is sent.
    details = {
        name
        for name, annotation in stripe.PaymentMethod.__annotations__.items()
        if _nested_class(annotation) is not None
    }
    return details - {"billing_details", body["type"], "radar_options"}


def _check_declared(body: Json, declaring: type[stripe.StripeObject], where: str) -> None:
    annotations = declaring.__annotations__
    assert body.keys() <= annotations.keys(), (where, body.keys() - annotations.keys())
    for name, annotation in annotations.items():
        if name in body:
            _check_value(body[name], annotation, f"{where}.{name}")
        else:
            optional = type(None) in typing.get_args(annotation) or name == "OBJECT_NAME"
            assert optional, f"{where}.{name} is missing"


def _check_value(value: Any, annotation: Any, where: str) -> None:
    """The value is of one of the annotation's types; what the SDK declares by a nested class is looked into."""
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    nested = _nested_class(annotation)
    words = [word for option in options if _is_literal(option) for word in typing.get_args(option)]
    if value is None:
        assert type(None) in options, f"{where} is null"
    elif words:
        assert value in words, f"{where} is {value!r}"
    elif isinstance(value, dict) and nested is not None:
        _check_declared(typing.cast("Json", value), nested, where)
    elif isinstance(value, bool | int | str):
        # A decimal travels as a string, and the SDK reads it.
        known = (type(value), Decimal) if isinstance(value, str) else (type(value),)
        assert any(option in known for option in options), f"{where} is {value!r}"


def _nested_class(annotation: Any) -> type[stripe.StripeObject] | None:
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    for option in options:
        if isinstance(option, type) and issubclass(option, stripe.StripeObject):
            return option
    return None


def _is_literal(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Literal


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


@pytest.fixture(scope="module")
def schema() -> Json:
    path = os.environ.get("STRIPE_OPENAPI")
    if path is None:
        pytest.skip("STRIPE_OPENAPI names no schema")
    document = json.loads(Path(path).read_text())
    _allow_null(document["components"]["schemas"])
    return document


def _allow_null(node: Any) -> None:
    """OpenAPI's `nullable`, said as JSON Schema says it."""
    if isinstance(node, list):
        for item in typing.cast("list[Any]", node):
            _allow_null(item)
    if not isinstance(node, dict):
        return
    entry = typing.cast("Json", node)
    for item in entry.values():
        _allow_null(item)
    if entry.pop("nullable", False) is True:
        inner = dict(entry)
        entry.clear()
        entry["anyOf"] = [inner, {"type": "null"}]


def _validate(schema: Json, name: str, body: Json) -> None:
    validator = jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": schema["components"]}
    )
    problems = [
        f"{'.'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(body)
    ]
    assert problems == [], (name, problems)


def test_every_object_fits_stripes_schema(schema: Json, everything: list[Json]) -> None:
    """Every object validates against Stripe's own description of it."""
    for body in objects_of(everything):
        _validate(schema, body["object"], body)


def test_every_error_fits_stripes_schema(schema: Json, everything: list[Json]) -> None:
    """A decline, with the intent and the payment method in it, and a refusal fit the schema of errors."""
    declines = [body for body in everything if "error" in body]
    assert len(declines) == 2
    refusal: StripeError = no_such("refund", "re_1", param="id")
    for body in (*declines, {"error": refusal.error}):
        _validate(schema, "error", body)


def test_every_parameter_is_one_that_stripe_takes(schema: Json) -> None:
    """No endpoint takes a parameter, at any depth, that Stripe's description of that endpoint does not have."""
    for endpoint in endpoints.ENDPOINTS:
        operation = _operation(schema, endpoint)
        query = {
            p["name"]: p.get("schema", {}) for p in operation.get("parameters", []) if p["in"] == "query"
        }
        body = (
            operation.get("requestBody", {}).get("content", {}).get("application/x-www-form-urlencoded", {})
        )
        described = {"properties": query | body.get("schema", {}).get("properties", {})}
        if endpoint.path == "/v1/checkout/sessions":
            # Came with the version that the SDK speaks; the schema is of the one before.
            described["properties"].setdefault("allowed_payment_method_types", {"type": "array", "items": {}})
        _check_parameters(endpoint.parameters, described, f"{endpoint.method} {endpoint.path}")


def _operation(schema: Json, endpoint: endpoints.Endpoint) -> Json:
    shape = endpoint.path.replace("{id}", "{}")
    for path, operations in schema["paths"].items():
        parts = "/".join("{}" if part.startswith("{") else part for part in path.split("/"))
        if parts == shape:
            return operations[endpoint.method.lower()]
    raise AssertionError(f"Stripe has no {endpoint.path}")


def _check_parameters(accepted: Parameter, described: Json, where: str) -> None:
    options = [described, *described.get("anyOf", [])]
    if isinstance(accepted, Group):
        known: Json = {}
        for option in options:
            known |= option.get("properties", {})
        assert accepted.fields.keys() <= known.keys(), (where, accepted.fields.keys() - known.keys())
        for name, field in accepted.fields.items():
            _check_parameters(field, known[name], f"{where} {name}")
    elif isinstance(accepted, Sequence):
        lists = [option for option in options if option.get("type") == "array"]
        assert lists, f"{where} is no list"
        _check_parameters(accepted.of, lists[0]["items"], f"{where}[]")
    elif isinstance(accepted, Metadata | TimeRange):
        assert any(option.get("type") == "object" for option in options), f"{where} is no mapping"
