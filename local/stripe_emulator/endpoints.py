"""The API's endpoints: path, parameters and what answers them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from local.stripe_emulator import disputes, events, intents, refunds, sessions
from local.stripe_emulator.account import Answer, Call
from local.stripe_emulator.errors import invalid_parameter, no_such
from local.stripe_emulator.expansion import expand, line_items
from local.stripe_emulator.listing import Conditions, page
from local.stripe_emulator.parameters import (
    EXPAND,
    METADATA,
    PAGING,
    Choice,
    Flag,
    Group,
    Parameter,
    Sequence,
    Text,
    TimeRange,
    Whole,
)
from local.stripe_emulator.request_shapes import (
    CONFIRM_INTENT,
    CREATE_INTENT,
    CREATE_REFUND,
    CREATE_SESSION,
    UPDATE_DISPUTE,
    UPDATE_INTENT,
)
from local.stripe_emulator.search import search_intents

type Json = dict[str, Any]
type Handler = Callable[[Call, Json], Answer]

_CREATED: Mapping[str, Parameter] = {**PAGING, "created": TimeRange()}
_RETRIEVE = Group(EXPAND)


@dataclass(frozen=True)
class Endpoint:
    """One method of one path; `{name}` is a part of it. `publishable`: open to a browser's key."""

    method: str
    path: str
    parameters: Group
    handler: Handler
    publishable: bool = False

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))

    def match(self, path: str) -> dict[str, str] | None:
        """The parts of the path that are named, or None if it is another path."""
        found = self._pattern.fullmatch(path)
        return None if found is None else found.groupdict()


def _create_intent(call: Call, parameters: Json) -> Answer:
    return intents.create(call, parameters)


def _retrieve_intent(call: Call, parameters: Json) -> Answer:
    return Answer(intents.load(call, call.path["id"], secret=parameters.get("client_secret")).body)


def _update_intent(call: Call, parameters: Json) -> Answer:
    return intents.update(call, intents.load(call, call.path["id"]), parameters)


def _confirm_intent(call: Call, parameters: Json) -> Answer:
    stored = intents.load(call, call.path["id"], secret=parameters.get("client_secret"))
    return intents.confirm(call, stored, parameters)


def _cancel_intent(call: Call, parameters: Json) -> Answer:
    stored = intents.load(call, call.path["id"])
    return intents.cancel(call, stored, parameters.get("cancellation_reason"))


def _list_intents(call: Call, parameters: Json) -> Answer:
    return Answer(page(call, "payment_intent", "/v1/payment_intents", parameters, Conditions(parameters)))


def _search_intents(call: Call, parameters: Json) -> Answer:
    offset, limit = parameters.get("page", 0), parameters.get("limit", 10)
    data, has_more = search_intents(call.account, parameters["query"], limit=limit, offset=offset)
    return Answer(
        {
            "object": "search_result",
            "url": "/v1/payment_intents/search",
            "has_more": has_more,
            "data": data,
            "next_page": str(offset + limit) if has_more else None,
        }
    )


def _create_session(call: Call, parameters: Json) -> Answer:
    return sessions.create(call, parameters)


def _retrieve_session(call: Call, _: Json) -> Answer:
    return Answer(sessions.load(call, call.path["id"]).body)


def _list_sessions(call: Call, parameters: Json) -> Answer:
    sessions.expire_overdue(call.account)
    conditions = Conditions(parameters)
    conditions.equal("payment_intent", parameters.get("payment_intent"))
    conditions.equal("status", parameters.get("status"))
    conditions.equal("customer_details.email", parameters.get("customer_details", {}).get("email"))
    return Answer(page(call, "checkout.session", "/v1/checkout/sessions", parameters, conditions))


def _list_line_items(call: Call, parameters: Json) -> Answer:
    stored = sessions.load(call, call.path["id"])
    return Answer(line_items(stored, limit=parameters.get("limit", 10)))


def _expire_session(call: Call, _: Json) -> Answer:
    return sessions.expire(call, sessions.load(call, call.path["id"]))


def _create_refund(call: Call, parameters: Json) -> Answer:
    return refunds.create(call, parameters)


def _retrieve_refund(call: Call, _: Json) -> Answer:
    return Answer(refunds.load(call, call.path["id"]).body)


def _update_refund(call: Call, parameters: Json) -> Answer:
    return refunds.update(call, refunds.load(call, call.path["id"]), parameters)


def _cancel_refund(call: Call, _: Json) -> Answer:
    return refunds.cancel(call, refunds.load(call, call.path["id"]))


def _list_refunds(call: Call, parameters: Json) -> Answer:
    return Answer(page(call, "refund", _REFUNDS, parameters, _of_payment(parameters)))


def _of_payment(parameters: Json) -> Conditions:
    conditions = Conditions(parameters)
    conditions.equal("payment_intent", parameters.get("payment_intent"))
    conditions.equal("charge", parameters.get("charge"))
    return conditions


def _retrieve_dispute(call: Call, _: Json) -> Answer:
    return Answer(disputes.load(call, call.path["id"]).body)


def _update_dispute(call: Call, parameters: Json) -> Answer:
    return disputes.update(call, disputes.load(call, call.path["id"]), parameters)


def _close_dispute(call: Call, _: Json) -> Answer:
    return disputes.close(call, disputes.load(call, call.path["id"]))


def _list_disputes(call: Call, parameters: Json) -> Answer:
    return Answer(page(call, "dispute", _DISPUTES, parameters, _of_payment(parameters)))


def _retrieve_charge(call: Call, _: Json) -> Answer:
    stored = call.storage.find("charge", call.path["id"])
    if stored is None:
        raise no_such("charge", call.path["id"], param="id")
    return Answer(stored.body)


def _list_charges(call: Call, parameters: Json) -> Answer:
    conditions = Conditions(parameters)
    conditions.equal("payment_intent", parameters.get("payment_intent"))
    return Answer(page(call, "charge", "/v1/charges", parameters, conditions))


def _retrieve_payment_method(call: Call, _: Json) -> Answer:
    stored = call.storage.find("payment_method", call.path["id"])
    if stored is None:
        raise no_such("PaymentMethod", call.path["id"], param="payment_method")
    return Answer(stored.body)


def _retrieve_event(call: Call, _: Json) -> Answer:
    return Answer(events.retrieve(call, call.path["id"]))


def _list_events(call: Call, parameters: Json) -> Answer:
    if "type" in parameters and "types" in parameters:
        raise invalid_parameter(
            "You may only specify one of these parameters: type, types.", code="parameters_exclusive"
        )
    conditions = Conditions(parameters)
    conditions.add("created >= ?", call.account.now() - events.KEPT_S)
    if "type" in parameters:
        conditions.add("json_extract(body, '$.type') GLOB ?", parameters["type"])
    if "types" in parameters:
        places = ", ".join("?" for _ in parameters["types"])
        conditions.add(f"json_extract(body, '$.type') IN ({places})", *parameters["types"])
    if "delivery_success" in parameters:
        conditions.add(
            "EXISTS (SELECT 1 FROM deliveries WHERE event_id = id AND state <> 'delivered') <> ?",
            parameters["delivery_success"],
        )
    answer = page(call, "event", "/v1/events", parameters, conditions)
    answer["data"] = events.with_pending_webhooks(call, answer["data"])
    return Answer(answer)


def _expanding(handler: Handler) -> Handler:
    """The handler, with the objects it answers expanded as the caller asks."""

    def expanded(call: Call, parameters: Json) -> Answer:
        answer = handler(call, parameters)
        paths = parameters.get("expand", [])
        return Answer(expand(call, answer.body, paths), answer.status) if answer.status == 200 else answer

    return expanded


def _get(
    path: str, fields: Mapping[str, Parameter], handler: Handler, *, required: tuple[str, ...] = ()
) -> Endpoint:
    return Endpoint("GET", path, Group(fields, required), _expanding(handler))


_INTENTS, _SESSIONS = "/v1/payment_intents", "/v1/checkout/sessions"
_REFUNDS, _DISPUTES = "/v1/refunds", "/v1/disputes"

ENDPOINTS = (
    Endpoint("POST", _INTENTS, CREATE_INTENT, _expanding(_create_intent)),
    _get(_INTENTS, _CREATED, _list_intents),
    _get(
        f"{_INTENTS}/search",
        {**EXPAND, "query": Text(), "limit": Whole(1, 100), "page": Whole(0)},
        _search_intents,
        required=("query",),
    ),
    Endpoint(
        "GET",
        _INTENTS + "/{id}",
        Group({**EXPAND, "client_secret": Text()}),
        _expanding(_retrieve_intent),
        publishable=True,
    ),
    Endpoint("POST", _INTENTS + "/{id}", UPDATE_INTENT, _expanding(_update_intent)),
    Endpoint(
        "POST", _INTENTS + "/{id}/confirm", CONFIRM_INTENT, _expanding(_confirm_intent), publishable=True
    ),
    Endpoint(
        "POST",
        _INTENTS + "/{id}/cancel",
        Group(
            {
                **EXPAND,
                "cancellation_reason": Choice(
                    ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
                ),
            }
        ),
        _expanding(_cancel_intent),
    ),
    Endpoint("POST", _SESSIONS, CREATE_SESSION, _expanding(_create_session)),
    _get(
        _SESSIONS,
        {
            **_CREATED,
            "payment_intent": Text(),
            "status": Choice(("complete", "expired", "open")),
            "customer_details": Group({"email": Text()}, required=("email",)),
        },
        _list_sessions,
    ),
    _get(_SESSIONS + "/{id}", EXPAND, _retrieve_session),
    _get(_SESSIONS + "/{id}/line_items", {**EXPAND, "limit": Whole(1, 100)}, _list_line_items),
    Endpoint("POST", _SESSIONS + "/{id}/expire", _RETRIEVE, _expanding(_expire_session)),
    Endpoint("POST", _REFUNDS, CREATE_REFUND, _expanding(_create_refund)),
    _get(_REFUNDS, {**_CREATED, "payment_intent": Text(), "charge": Text()}, _list_refunds),
    _get(_REFUNDS + "/{id}", EXPAND, _retrieve_refund),
    Endpoint("POST", _REFUNDS + "/{id}", Group({**EXPAND, "metadata": METADATA}), _expanding(_update_refund)),
    Endpoint("POST", _REFUNDS + "/{id}/cancel", _RETRIEVE, _expanding(_cancel_refund)),
    _get(_DISPUTES, {**_CREATED, "payment_intent": Text(), "charge": Text()}, _list_disputes),
    _get(_DISPUTES + "/{id}", EXPAND, _retrieve_dispute),
    Endpoint("POST", _DISPUTES + "/{id}", UPDATE_DISPUTE, _expanding(_update_dispute)),
    Endpoint("POST", _DISPUTES + "/{id}/close", _RETRIEVE, _expanding(_close_dispute)),
    _get("/v1/charges", {**_CREATED, "payment_intent": Text()}, _list_charges),
    _get("/v1/charges/{id}", EXPAND, _retrieve_charge),
    _get("/v1/payment_methods/{id}", EXPAND, _retrieve_payment_method),
    _get(
        "/v1/events",
        {**_CREATED, "type": Text(), "types": Sequence(Text(), most=20), "delivery_success": Flag()},
        _list_events,
    ),
    _get("/v1/events/{id}", EXPAND, _retrieve_event),
)


def find_endpoint(method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
    """The endpoint of a request and the named parts of its path."""
    for endpoint in ENDPOINTS:
        if endpoint.method == method:
            parts = endpoint.match(path)
            if parts is not None:
                return endpoint, parts
    return None
