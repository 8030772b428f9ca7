"""Every HTTP answer: what is read from a request, and how each way of getting it wrong is answered."""

import base64
import json
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from aws_lambda_powertools.event_handler import Response
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from domain import refusals
from runtime.fields import Form
from runtime.http import HttpFunction, json_response, parsed_id
from runtime.settings import MissingSetting
from tests.support.lambda_events import SOURCE_IP, USER_AGENT, Answer, Context, url_event
from tests.support.logs import Logs


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    units: int = Field(ge=1)
    name: str = "nobody"
    tags: list[str] = []
    colour: Annotated[str, Form(r"#[0-9a-f]{6}", "a colour, such as #c0ffee")] | None = None


class Filter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=10, ge=1, le=20)


app = HttpFunction(max_body_bytes=1000)


@app.post("/orders")
def post_order() -> Response[str]:
    return json_response(201, {"units": app.body_as(Order).units})


@app.get("/orders")
def get_orders() -> Response[str]:
    return json_response(200, {"limit": app.query_as(Filter).limit})


@app.get("/orders/<order_id>")
def get_order(order_id: str) -> Response[str]:
    return json_response(200, {"id": str(parsed_id(order_id, refusals.UnknownSlot)), "name": "Zoë"})


@app.post("/keys")
def post_key() -> Response[str]:
    return json_response(200, {"key": app.idempotency_key()})


@app.post("/long-keys")
def post_long_key() -> Response[str]:
    return json_response(200, {"key": app.idempotency_key(at_least=16)})


@app.put("/versions")
def put_version() -> Response[str]:
    return json_response(200, {"version": app.if_match()})


@app.post("/actor")
def post_actor() -> Response[str]:
    return json_response(200, app.actor("customer", "testing"))


@app.post("/broken")
def post_broken() -> Response[str]:
    raise KeyError("a secret value 4711")


@app.post("/unset")
def post_unset() -> Response[str]:
    raise MissingSetting("DATABASE_URL: Field required")


def call(*args: Any, **kwargs: Any) -> Answer:
    context = Context()
    answered = app.lambda_handler(url_event(*args, **kwargs), context)
    answer = Answer(answered["statusCode"], answered["body"], answered["headers"])
    assert answer.headers["X-Request-Id"] == context.aws_request_id
    if answer.status >= 400:
        assert answer.body["instance"] == context.aws_request_id
        assert answer.body["status"] == answer.status
    return answer


def test_an_answer_is_json_with_its_request_id() -> None:
    """A good call is answered in JSON, as UTF-8, with its request id."""
    answer = call("GET", "/orders/0e7a1b9e-0a53-4cb5-9a51-b1c1b0a3c111")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.text == '{"id":"0e7a1b9e-0a53-4cb5-9a51-b1c1b0a3c111","name":"Zoë"}'


@pytest.mark.parametrize(
    "body", ["{bad", "", "{} {}", b"\xff\xfe", b'{"units": 1, "name": "\xc3"}', "[1", '{"units": 1,}']
)
def test_what_is_no_json_is_400(body: str | bytes) -> None:
    """Malformed JSON and bytes that are no UTF-8 are 400."""
    answer = call("POST", "/orders", body)
    assert (answer.status, answer.problem) == (400, "malformed-request")


def test_base64_that_is_none_is_400() -> None:
    """A body that says it is base64 and is not is 400."""
    event = url_event("POST", "/orders") | {"body": "%%%", "isBase64Encoded": True}
    assert app.lambda_handler(event, Context())["statusCode"] == 400


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/units"]),
        ({"units": 0}, ["/units"]),
        ({"units": "1"}, ["/units"]),
        ({"units": 1.0}, ["/units"]),
        ({"units": True}, ["/units"]),
        ({"units": None}, ["/units"]),
        ({"units": 1, "more": 2}, ["/more"]),
        ({"units": 1, "tags": ["a", 7]}, ["/tags/1"]),
        ({"units": 0, "name": 5}, ["/units", "/name"]),
        ([], [""]),
        (None, [""]),
        ("text", [""]),
        (17, [""]),
    ],
)
def test_what_does_not_fit_is_422_and_says_where(body: object, pointers: list[str]) -> None:
    """A wrong type, a wrong value and an unknown field are 422; `errors` points at each (RFC 6901)."""
    answer = call("POST", "/orders", json.dumps(body))
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert [error["pointer"] for error in answer.body["errors"]] == pointers
    assert all(error["detail"] for error in answer.body["errors"])


@pytest.mark.parametrize("colour", ["red", "", "#c0ffee\n", " #c0ffee", "x#c0ffee"])
def test_what_a_field_should_be_is_said_in_words(colour: str) -> None:
    """And by an expression in the document of the API alone."""
    answer = call("POST", "/orders", {"units": 1, "colour": colour})
    assert answer.status == 422
    assert answer.body["errors"] == [
        {"pointer": "/colour", "detail": "Input should be a colour, such as #c0ffee"}
    ]
    assert call("POST", "/orders", {"units": 1, "colour": "#c0ffee"}).status == 201
    assert Order.model_json_schema()["properties"]["colour"]["anyOf"][0]["pattern"] == "^#[0-9a-f]{6}$"


def test_an_unknown_field_is_not_echoed_unless_it_is_a_plain_name() -> None:
    """A field name that could be anything stays out of the answer."""
    answer = call("POST", "/orders", {"units": 1, "<script>alert(1)</script>": 1})
    assert answer.status == 422
    assert "script" not in answer.text


def test_a_value_is_never_echoed() -> None:
    """What was sent does not come back."""
    answer = call("POST", "/orders", {"units": "4242424242424242", "name": ["me@example.com"]})
    assert answer.status == 422
    assert "4242" not in answer.text
    assert "example" not in answer.text


def test_a_query_is_checked_like_a_body() -> None:
    """Unknown and impossible parameters are 422; an empty one is not there."""
    assert call("GET", "/orders").body == call("GET", "/orders", query="limit=").body == {"limit": 10}
    assert call("GET", "/orders", query="limit=20").body == {"limit": 20}
    for query in ("limit=21", "limit=x", "limit=%20", "other=1"):
        assert call("GET", "/orders", query=query).status == 422, query


@pytest.mark.parametrize("path", ["/", "/order", "/orders/", "/orders/1/2", "/keys/x", "//", "/%00"])
def test_an_unknown_path_is_404(path: str) -> None:
    """What is not there is 404."""
    answer = call("GET", path)
    assert (answer.status, answer.problem) == (404, "not-found"), answer


def test_an_id_that_is_none_is_404() -> None:
    """What is no UUID names nothing."""
    assert call("GET", "/orders/17").problem == "unknown-slot"


def test_a_letter_that_no_path_has_is_404_and_blames_no_method() -> None:
    """Routing takes fewer letters into a name than a path may hold: what it does not take is not there."""
    answer = call("GET", "/orders/\u2603")
    assert (answer.status, answer.problem) == (404, "not-found"), answer


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
def test_a_wrong_method_is_405_and_says_which_are_right(method: str) -> None:
    """A path that is there but not for this method is 405 with Allow."""
    answer = call(method, "/orders")
    assert (answer.status, answer.problem, answer.headers["Allow"]) == (
        405,
        "method-not-allowed",
        "GET, POST",
    )
    assert call(method, "/orders/0e7a1b9e-0a53-4cb5-9a51-b1c1b0a3c111").headers["Allow"] == "GET"


@pytest.mark.parametrize(
    "media_type", ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonx"]
)
def test_another_media_type_is_415(media_type: str) -> None:
    """Only application/json is read."""
    answer = call("POST", "/orders", '{"units": 1}', {"content-type": media_type})
    assert (answer.status, answer.problem) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON; charset=utf-8", "application/json;x=1"]
)
def test_a_media_type_may_have_parameters(media_type: str) -> None:
    """The case and the parameters of the media type make no difference."""
    assert call("POST", "/orders", '{"units": 1}', {"content-type": media_type}).status == 201


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_body_over_the_limit_is_413(*, wrapped: bool) -> None:
    """The limit counts the bytes that the caller sent, however they travel."""
    fits = json.dumps({"units": 1, "name": "x" * 900})
    over = json.dumps({"units": 1, "name": "é" * 600}, ensure_ascii=False)
    assert len(over) < 1000 < len(over.encode())
    assert call("POST", "/orders", fits, wrapped=wrapped).status == 201
    answer = call("POST", "/orders", over, wrapped=wrapped)
    assert (answer.status, answer.problem) == (413, "body-too-large")
    assert call("POST", "/orders", "x" * 5000, wrapped=wrapped).status == 413


def test_base64_travels_as_text_does() -> None:
    """A body in base64 is the same body."""
    encoded = base64.b64encode(b'{"units": 3}').decode()
    event = url_event("POST", "/orders") | {"body": encoded, "isBase64Encoded": True}
    assert json.loads(app.lambda_handler(event, Context())["body"]) == {"units": 3}


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"idempotency-key": "abc"}, "abc"),
        ({"x-idempotency-key": "abc"}, "abc"),
        ({"idempotency-key": '"abc"'}, "abc"),
        ({"idempotency-key": " abc "}, "abc"),
        ({"idempotency-key": "abc", "x-idempotency-key": '"abc"'}, "abc"),
        ({"idempotency-key": "~" * 255}, "~" * 255),
        ({"idempotency-key": '"' + "~" * 255 + '"'}, "~" * 255),
        ({"idempotency-key": '"'}, '"'),
    ],
)
def test_a_key_may_be_bare_or_quoted_under_either_name(headers: dict[str, str], key: str | None) -> None:
    """1 to 255 visible ASCII characters, quoted or not, as Idempotency-Key or X-Idempotency-Key."""
    assert call("POST", "/keys", headers=headers).body == {"key": key}


@pytest.mark.parametrize(
    "headers",
    [
        {"idempotency-key": ""},
        {"idempotency-key": '""'},
        {"idempotency-key": "~" * 256},
        {"idempotency-key": "a b"},
        {"idempotency-key": "a\tb"},
        {"idempotency-key": "schlüssel"},
        {"idempotency-key": "a\x7f"},
        {"idempotency-key": "one", "x-idempotency-key": "two"},
    ],
)
def test_any_other_key_is_400(headers: dict[str, str]) -> None:
    """A key that is empty, too long, no visible ASCII, or two keys are 400."""
    assert call("POST", "/keys", headers=headers).problem == "invalid-idempotency-key"


def test_a_key_that_could_be_guessed_is_400() -> None:
    """Where the caller is anonymous a key has at least 16 characters, without its quotes."""
    assert (
        call("POST", "/long-keys", headers={"idempotency-key": "k" * 15}).problem == "invalid-idempotency-key"
    )
    assert call("POST", "/long-keys", headers={"idempotency-key": f'"{"k" * 15}"'}).status == 400
    assert call("POST", "/long-keys", headers={"idempotency-key": "k" * 16}).status == 200


@pytest.mark.parametrize(
    ("header", "version"),
    [("3", 3), ('"3"', 3), (' "3" ', 3), ("999999999", 999999999)]
    + [(text, 0) for text in ("", '""', "*", 'W/"3"', '"1", "3"', "03", "-3", "٣", "1" * 10, "x" * 5000)],
    ids=lambda given: repr(given)[:20],
)
def test_if_match_names_a_version_or_none_that_there_is(header: str, version: int) -> None:
    """Bare or quoted; anything else, a weak tag and a star too, is a version that nothing has."""
    answer = call("PUT", "/versions", {}, {"if-match": header})
    assert (answer.status, answer.body["version"]) == (200, version)


def test_a_change_without_if_match_is_asked_for_one() -> None:
    """RFC 6585, 3: nobody overwrites what they have not seen."""
    answer = call("PUT", "/versions", {})
    assert (answer.status, answer.problem) == (428, "precondition-required")


def test_the_actor_is_who_aws_says() -> None:
    """The address is the connection's, whatever a header claims."""
    answer = call("POST", "/actor", headers={"x-forwarded-for": "6.6.6.6"})
    assert (answer.body["ip_address"], answer.body["user_agent"]) == (SOURCE_IP, USER_AGENT)
    assert answer.body["request_id"] == answer.headers["X-Request-Id"]


def test_a_failure_of_ours_is_500_without_its_stack(logs: Logs) -> None:
    """Whatever breaks is a problem for the caller and a stack for the log."""
    answer = call("POST", "/broken")
    assert (answer.status, answer.problem) == (500, "internal-error")
    assert "KeyError" not in answer.text
    assert "4711" not in answer.text
    assert any("KeyError" in line.get("exception", "") for line in logs.lines("ERROR"))
    assert "UncaughtFailure" in logs.counted()


def test_a_missing_setting_is_one_critical_line(logs: Logs) -> None:
    """A function that cannot start says in one line which setting it lacks, and tells the caller nothing."""
    answer = call("POST", "/unset")
    assert answer.status == 500
    assert "DATABASE_URL" not in answer.text
    (line,) = logs.lines("CRITICAL", "ERROR")
    assert "DATABASE_URL" in line["message"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def _answers(send: Callable[[], Answer]) -> None:
    answer = send()
    assert answer.status in (201, 400, 413, 422)


@given(JSON)
def test_no_json_breaks_it(body: object) -> None:
    """Any JSON is accepted or refused, never a failure of ours."""
    _answers(lambda: call("POST", "/orders", json.dumps(body)))


@given(st.binary(max_size=1200))
def test_no_bytes_break_it(body: bytes) -> None:
    """Any bytes are accepted or refused, never a failure of ours."""
    _answers(lambda: call("POST", "/orders", body))
