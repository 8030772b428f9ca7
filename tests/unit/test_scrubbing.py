"""Secrets and personal data never survive, wherever they stand, and nothing that can be sent breaks it."""

import json
import time
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.scrubbing import (
    MAXIMUM_CONTEXT_TEXT,
    MAXIMUM_DEPTH,
    MAXIMUM_TEXT,
    MAXIMUM_WIDTH,
    scrub,
    scrub_context,
)

any_text = st.text(st.characters(codec=None), max_size=80)
TOKEN = "6c0a9f31" * 8
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=25,
)

# Told by their own shape, so they may stand anywhere at all. Each is paired with what must not be left of it.
SHAPED = {
    "card": ("4242424242424242", "4242424242424242"),
    "card in groups": ("5555 5555 5555 4444", "5555 5555 5555 4444"),
    "card with dashes": ("4000-0025-0000-3155", "4000-0025-0000-3155"),
    "card in a form": ("6011%201111%201111%201117", "6011%201111%201111%201117"),
    "card with dots": ("4242.4242.4242.4242", "4242.4242.4242.4242"),
    "card with slashes": ("4242/4242/4242/4242", "4242/4242/4242/4242"),
    "card with underscores": ("4242_4242_4242_4242", "4242_4242_4242_4242"),
    "card in columns": ("4242\t4242\t4242\t4242", "4242\t4242\t4242\t4242"),
    "card in lines": ("4242\r\n4242\r\n4242\r\n4242", "4242\r\n4242\r\n4242\r\n4242"),
    "card far apart": ("4242  4242- 4242--4242", "4242  4242- 4242--4242"),
    "amex": ("378282246310005", "378282246310005"),
    "thirteen digits": ("4222222222222", "4222222222222"),
    "nineteen digits": ("6205500000000000004", "6205500000000000004"),
    "email": ("maria.silva+tickets@mail.example.pt", "maria.silva"),
    "encoded email": ("maria.silva%40example.pt", "maria.silva"),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.dBjftJeZ4CVP-mB92K27uh", "eyJ"),
    "secret key": ("sk_test_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqLyjWDarjtT1zdp7dc"),
    "restricted key": ("rk_live_51HqLyjWDarjtT1zdp7dc", "51HqLyjWDarjtT1zdp7dc"),
    "signing secret": ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    "client secret": ("pi_3MtwBwLkdIwHu7ix_secret_YrKJUKribcBjcG8H", "YrKJUKribcBjcG8H"),
    "session's client secret": ("cs_test_a1b2c3_secret_fidwbEhqYWAnPydm", "fidwbEhqYWAnPydm"),
    "aws key": ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    "github token": ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "16C7e42F292c6912E7710c838347Ae178B4a"),
    "reservation token": (TOKEN, TOKEN),
    "password in a url": ("postgresql://app:hunter2@db.example/holdfast", "hunter2"),
}

# Told by what stands before them: `{}` is where the secret goes.
NAMED = [
    '{{"password": "{}"}}',
    "{{'api_key': '{}'}}",
    '{{\\"client_secret\\": \\"{}\\"}}',
    "password={}",
    "user[password]={}&next=/",
    "?access_token={}&x=1",
    "X-Reservation-Token: {}",
    "Stripe-Signature: t=1,v1={}",
    "Authorization: Bearer {}",
    "Authorization: Basic {}",
    "Proxy-Authorization: {}",
    "curl -H 'authorization: token {}'",
    "[('cookie', 'session={}; theme=dark')]",
    "Set-Cookie: session={}; HttpOnly",
    "Bearer {}",
    "<password>{}</password>",
    'cvc: "{}"',
    "TOKEN_SECRET => {}",
    "aws_secret_access_key = {}",
    "csrf%3D{}",
]


@pytest.mark.parametrize("name", SHAPED)
@given(any_text, any_text)
def test_a_secret_of_known_shape_never_survives(name: str, before: str, after: str) -> None:
    """Whatever stands right before and after it."""
    secret, gone = SHAPED[name]
    assert gone not in scrub(f"{before} {secret} {after}")
    if name != "password in a url":
        assert gone not in scrub(f"{before}{secret} {after}")


@pytest.mark.parametrize("template", NAMED)
@given(before=any_text, secret=st.from_regex(r"[A-Za-z0-9]{8,24}", fullmatch=True), after=any_text)
def test_a_named_secret_never_survives(template: str, before: str, secret: str, after: str) -> None:
    """In JSON, JSON in JSON, Python, headers, queries, forms and markup."""
    canary = f"canary{secret}7"
    assert canary not in scrub(f"{before}\n{template.format(canary)}\n{after}")


@given(st.lists(st.integers(0, 9), min_size=12, max_size=18), st.sampled_from(["", " ", "-"]), any_text)
def test_every_number_that_could_be_a_card_is_taken_out(body: list[int], separator: str, around: str) -> None:
    """Thirteen to nineteen digits with a right check digit, also right beside other digits."""
    digits = [4, *body[1:]]
    doubled = sum(digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[::-2])
    digits.append(-(doubled + sum(digits[-2::-2])) % 10)
    number = separator.join(map(str, digits))
    assert number not in scrub(f"{around}{number}{around}")
    assert number not in scrub(f"12{number}34")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("card 4242 4242 4242 4242 declined", "card [card] declined"),
        ("mail from john@example.com, twice", "mail from [email], twice"),
        ('{"password":"hun\\"ter2","x":1}', '{"password":"[secret]","x":1}'),
        ("postgresql://app:p@ss@127.0.0.1/holdfast", "postgresql://[secret]@127.0.0.1/holdfast"),
        ("Authorization: Bearer abc.def\nnext line", "Authorization: [secret]\nnext line"),
        ("IBAN GB82 WEST 1234 5698 7654 32 was AND is", "IBAN [iban] was AND is"),
        ("IBAN DE89370400440532013000.", "IBAN [iban]."),
        ("call +49 151 12345678 or 555-123-4567", "call [phone] or [phone]"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nx", "[secret]\nx"),
        ("0003782.822463.10005 and 4242424242424242.0", "000[card] and [card].0"),
        ("\x00 and \ud800", "\ufffd and \ufffd"),
    ],
)
def test_what_stood_there_is_said_and_the_rest_is_kept(text: str, kept: str) -> None:
    """A reader can still tell what happened."""
    assert scrub(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "Unexpected token < in JSON at position 0",
        "TypeError: Cannot read properties of undefined (reading 'slot_id')",
        "pay@https://shop.example.com/assets/app.3f9ab2c1.js:10:5",
        '  File "/var/task/functions/stripe_webhook/handler.py", line 41, in lambda_handler',
        "reservation 0d8c7c9e-6a52-4a8e-9b56-1f1d7e8a9b10 expired at 2026-11-21T04:19:57.123456+00:00",
        "event evt_1NG8Du2eZvKYlo2CUI79vXWy of pi_3MtwBwLkdIwHu7ix28a3tqPa, attempt 3 of 20",
        "amount 1763699997 usd, took 1763699997000 ms",
        "could not rotate_secret_key of task_scheduler_id, basic functionality",
        "react@18.2.0 at node_modules/@scope/package",
        "began 1763699997.123456, took 1234.5999999940395 ms",
        f"group v1-{TOKEN} is issue error-v1-{TOKEN}, of commit {TOKEN[:40]}",
        "GET /1763699997/42424242-4242-4abc-8def-123456789012 at 2026/11/21 04:19:57",
    ],
)
def test_what_is_needed_to_mend_an_error_is_kept(text: str) -> None:
    """Ids, times, paths, versions and frames are no secrets."""
    assert scrub(text) == text


@given(st.uuids(), st.from_regex(r"[0-9]{8}(-[0-9]{4}){3}-[0-9]{12}", fullmatch=True))
def test_ids_are_kept_whatever_their_digits(uuid: UUID, digits: str) -> None:
    """A UUID may look like a card number in places."""
    text = f"reservation {uuid} and payment={digits}."
    assert scrub(text) == text


@given(st.text(st.characters(codec=None), max_size=400))
def test_scrubbing_again_changes_nothing(text: str) -> None:
    """Any text, lone surrogates and NULs included; the answer can be stored and sent."""
    scrubbed = scrub(text)
    assert scrub(scrubbed) == scrubbed
    assert "\x00" not in scrubbed
    assert scrubbed.encode().decode() == scrubbed


@given(
    st.lists(
        st.sampled_from(
            [
                *(secret for secret, _ in SHAPED.values()),
                *(named.format("hunter22") for named in NAMED),
                *(
                    "\n",
                    " ",
                    '"',
                    "'",
                    "\\",
                    "=",
                    ":",
                    "@",
                    "[secret]",
                    "[email]",
                    "4",
                    "secret",
                    "_secret_",
                    "+",
                ),
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_scrubbing_a_heap_of_secrets_again_changes_nothing(text: str) -> None:
    """What one rule leaves must not be what another looks for the next time."""
    assert scrub(scrub(text)) == scrub(text)


def test_a_long_text_is_cut_and_half_a_secret_is_not_left() -> None:
    """The cut may go through a card number: then its first half goes as well."""
    for shift in range(20):
        text = "x" * (MAXIMUM_TEXT - 10 - shift) + " 4242 4242 4242 4242 " + "y" * 100
        scrubbed = scrub(text)
        assert len(scrubbed) <= MAXIMUM_TEXT
        assert scrubbed.endswith("[cut]")
        assert "4242" not in scrubbed
        assert scrub(scrubbed) == scrubbed


HOSTILE = {
    "digits": "4" * MAXIMUM_TEXT,
    "digits far apart": "4./" * (MAXIMUM_TEXT // 3),
    "almost tokens": ("a" * 63 + "g") * (MAXIMUM_TEXT // 64),
    "spaced digits": "4 " * (MAXIMUM_TEXT // 2),
    "almost cards": "4111111111112 a" * (MAXIMUM_TEXT // 15),
    "at signs": "a@" * (MAXIMUM_TEXT // 2),
    "endless domain": "x@" + "a." * (MAXIMUM_TEXT // 2),
    "one word": "a" * MAXIMUM_TEXT,
    "word with digits": "a1" * (MAXIMUM_TEXT // 2),
    "opening quotes": 'token="' * (MAXIMUM_TEXT // 7),
    "mixed quotes": "token=\\\"'" * (MAXIMUM_TEXT // 9),
    "names": "token" * (MAXIMUM_TEXT // 5),
    "almost client secrets": "1_secre_" * (MAXIMUM_TEXT // 8),
    "endless authority": "://" + "a" * MAXIMUM_TEXT,
    "authorities": "://" * (MAXIMUM_TEXT // 3),
    "ibans": "AA11 A A A A A " * (MAXIMUM_TEXT // 15),
    "keys without an end": "-----BEGIN PRIVATE KEY-----" * (MAXIMUM_TEXT // 27),
    "tokens without an end": "eyJaaaaaaaa." * (MAXIMUM_TEXT // 12),
    "plus signs": "+1 ./()-" * (MAXIMUM_TEXT // 8),
    "backslashes": "token" + "\\" * MAXIMUM_TEXT,
    "blanks": "token:" + " " * MAXIMUM_TEXT,
    "surrogates": "\ud800" * MAXIMUM_TEXT,
    "very long": "pwd=x a@b.co " * 400_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_takes_no_longer_than_its_length(name: str) -> None:
    """64 KiB made to send an expression back and forth: 0.3 seconds is usual, a bad one takes hours."""
    began = time.thread_time()
    scrubbed = scrub(HOSTILE[name])
    assert time.thread_time() - began < 5
    assert len(scrubbed) <= MAXIMUM_TEXT
    assert scrub(scrubbed) == scrubbed


@given(st.dictionaries(any_text, json_values, max_size=5))
@example({"ada@example.com": 5})
@example({"4242424242424242": [5]})
def test_any_json_object_can_be_scrubbed_stored_and_scrubbed_again(context: dict[str, object]) -> None:
    """No exception, no value that jsonb refuses, no change the second time."""
    scrubbed = scrub_context(context)
    stored = json.dumps(scrubbed, allow_nan=False, ensure_ascii=False)
    assert stored.encode()
    assert "\\u0000" not in stored
    assert scrub_context(scrubbed) == scrubbed
    assert json.loads(stored) == scrubbed


@pytest.mark.parametrize("name", SHAPED)
@given(json_values, st.sampled_from(["list", "object", "key", "text"]))
def test_a_secret_in_a_context_never_survives(name: str, beside: object, where: str) -> None:
    """As a value at any level, in a longer text, or as a key."""
    secret, gone = SHAPED[name]
    contexts: dict[str, dict[str, object]] = {
        "list": {"a": [beside, [secret]]},
        "object": {"a": {"b": {"c": secret}, "d": beside}},
        "key": {"a": {secret: beside}},
        "text": {"a": f"it said {secret} then"},
    }
    assert gone not in json.dumps(scrub_context(contexts[where]), ensure_ascii=False)


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "newPassword",
        "TOKEN_SECRET",
        "client_secret",
        "X-Reservation-Token",
        "authorization",
        "Cookie",
        "set-cookie",
        "card",
        "cardNumber",
        "cvc",
        "CVV",
        "customer_email",
        "phone",
        "firstName",
        "apiKey",
        "sessionId",
        "STRIPE_WEBHOOK_SECRETS",
        "sentry_dsn",
        "ip_address",
    ],
)
@given(
    value=st.text(min_size=1) | st.integers() | st.lists(st.text()) | st.dictionaries(st.text(), st.text())
)
def test_the_value_of_a_secret_key_goes_whatever_it_is(key: str, value: object) -> None:
    """Text, number, list or object alike."""
    assert scrub_context({key: value}) == {key: "[secret]"}


@pytest.mark.parametrize(
    "key", ["discarded", "spinner", "company", "status", "name", "wildcard", "author", "slot"]
)
def test_harmless_keys_keep_their_values(key: str) -> None:
    """Words that only have a secret one's letters in them."""
    assert scrub_context({key: "open"}) == {key: "open"}


def test_a_name_goes_where_it_is_a_persons() -> None:
    """That of an error or a file says what broke."""
    context = {
        "user": {"id": 7, "name": "Ada", "displayName": "Ada L."},
        "error": {"name": "TypeError"},
        "name": "x",
    }
    assert scrub_context(context) == {
        "user": {"id": 7, "name": "[secret]", "displayName": "[secret]"},
        "error": {"name": "TypeError"},
        "name": "x",
    }


def test_whether_a_secret_was_there_may_be_known() -> None:
    """A missing one is often the error."""
    assert scrub_context({"token": None, "card": False}) == {"token": None, "card": False}


def test_a_card_number_sent_as_a_number_goes() -> None:
    """As an integer or a float; a number too large for anything is not kept either."""
    context = {
        "a": 4242424242424242,
        "b": [4242424242424242.0],
        "n": 10**5000,
        "x": 12.5,
        "inf": float("inf"),
    }
    assert scrub_context(context) == {
        "a": "[card]",
        "b": ["[card].0"],
        "n": "[number]",
        "x": 12.5,
        "inf": "inf",
    }


def test_a_context_stays_within_its_bounds() -> None:
    """Depth, width and the sum of all texts."""
    deep: dict[str, object] = {"end": 1}
    for _ in range(50):
        deep = {"deeper": deep}
    text = json.dumps(scrub_context({"deep": deep}))
    assert text.count("deeper") == MAXIMUM_DEPTH - 1
    assert "[cut]" in text

    wide = scrub_context({"list": list(range(1000)), "object": {f"key {n} x": n for n in range(1000)}})
    assert json.dumps(wide["list"]).count(",") == MAXIMUM_WIDTH - 1
    assert json.dumps(wide["object"]).count(":") == MAXIMUM_WIDTH

    huge = scrub_context({f"{n} part": ["lorem ipsum " * 200] * 20 for n in range(90)})
    assert len(json.dumps(huge)) < MAXIMUM_CONTEXT_TEXT * 2
    assert scrub_context(huge) == huge


def test_what_is_not_json_is_named_by_its_type_alone() -> None:
    """Its own text could hold anything, or raise."""

    class Unprintable:
        def __str__(self) -> str:
            raise AssertionError

        def __repr__(self) -> str:
            raise AssertionError

    assert scrub_context({"a": Unprintable(), "b": b"x"}) == {"a": "[Unprintable]", "b": "[bytes]"}
