"""The same error has the same fingerprint whatever its ids, lines and builds; another one has another."""

import re
import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import fingerprint
from domain.scrubbing import scrub

any_text = st.text(st.characters(codec=None), max_size=80)

PYTHON_STACK = """Traceback (most recent call last):
  File "/opt/python/aws_lambda_powertools/event_handler/api_gateway.py", line 2200, in _call_route
    return self._to_proxy_event(route)
           ~~~~~~~~~~~~~~~~~~~~^^^^^^^
  File "/var/task/functions/stripe_webhook/handler.py", line 31, in post_event
    return receive(event)
  File "/var/task/functions/stripe_webhook/service.py", line 77, in receive
    payment = lock_payment(conn, payment_id=payment_id)
  File "/opt/python/database/payments.py", line 120, in lock_payment
    row = conn.execute(query).fetchone()
  File "/opt/python/psycopg/connection.py", line 300, in execute
    raise ex.with_traceback(None)
psycopg.errors.LockNotAvailable: canceling statement due to lock timeout
CONTEXT:  while locking tuple (0,12) in relation "payment_intents_log"
"""

V8_STACK = """TypeError: Cannot read properties of undefined (reading 'slot_id')
    at Basket.hold (https://shop.example/assets/basket.3f9ab2c1.js:10:2311)
    at async pay (https://shop.example/assets/index-B7x9Kq2_.js?v=17:1:5521)
    at new Form (https://js.stripe.com/v3/elements.js:1:99)
    at HTMLButtonElement.<anonymous> (https://shop.example/app.js:7:1)
"""

FIREFOX_STACK = """hold@https://shop.example/assets/basket.3f9ab2c1.js:10:2311
async*pay@https://shop.example/assets/index-B7x9Kq2_.js?v=17:1:5521
Form@https://js.stripe.com/v3/elements.js:1:99
@https://shop.example/app.js:7:1
"""

MESSAGE = "canceling statement due to lock timeout"


def backend(stack: str = PYTHON_STACK, message: str = MESSAGE) -> str:
    """The fingerprint of a failure in a function."""
    return fingerprint("backend", None, message, stack)


def frontend(stack: str = V8_STACK, message: str = "TypeError: x is undefined") -> str:
    """The fingerprint of a failure in a page."""
    return fingerprint("frontend", None, message, stack)


@given(any_text, st.none() | any_text, any_text, st.none() | any_text, st.none() | st.lists(any_text))
def test_a_fingerprint_is_a_versioned_sha_256(
    source: str, kind: str | None, message: str, stack: str | None, client: list[str] | None
) -> None:
    """Of any texts at all, and the same each time."""
    name = fingerprint(source, kind, message, stack, client)
    assert re.fullmatch(r"v1-[0-9a-f]{64}", name)
    assert fingerprint(source, kind, message, stack, client) == name


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**4))
def test_line_and_column_numbers_make_no_difference(line: int, column: int, build: int) -> None:
    """Nor does the cache-busting query of a script."""
    assert backend(re.sub(r"line \d+", f"line {line}", PYTHON_STACK)) == backend()
    for stack in (V8_STACK, FIREFOX_STACK):
        moved = re.sub(r":\d+:\d+", f":{line}:{column}", stack).replace("?v=17", f"?v={build}")
        assert frontend(moved) == frontend(stack)


@pytest.mark.parametrize("stack", [V8_STACK, FIREFOX_STACK])
@given(
    st.from_regex(r"[0-9a-f]{7}[0-9]", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_]{6}[A-Z][0-9]", fullmatch=True),
)
def test_a_new_build_makes_no_difference(stack: str, webpack: str, vite: str) -> None:
    """The hashes that bundlers put into file names change with every release."""
    assert frontend(stack.replace("3f9ab2c1", webpack).replace("B7x9Kq2_", vite)) == frontend(stack)


def test_another_host_or_root_makes_no_difference() -> None:
    """Staging and production, the Lambda and a checkout report the same error."""
    assert frontend(V8_STACK.replace("shop.example", "staging.shop.example:8443")) == frontend()
    checkout = PYTHON_STACK.replace("/var/task/", "/srv/holdfast/")
    checkout = checkout.replace("/opt/python/database", "/srv/holdfast/layers/postgres/database")
    checkout = checkout.replace("/opt/python/", "/srv/holdfast/.venv/lib/python3.13/site-packages/")
    assert backend(checkout) == backend()


def test_frames_of_others_make_no_difference() -> None:
    """A new version of a library goes another way through itself."""
    assert backend(PYTHON_STACK.replace("connection.py", "_connection_base.py")) == backend()
    assert (
        frontend(V8_STACK.replace("elements.js", "controller.js").replace("new Form", "Other.start"))
        == frontend()
    )


def test_how_deep_a_recursion_went_makes_no_difference() -> None:
    """A stack overflow breaks off anywhere."""
    frame = '  File "/var/task/functions/reservations/service.py", line 9, in walk\n    walk(node)\n'
    once, often = (f"Traceback:\n{frame * depth}RecursionError: maximum depth" for depth in (3, 400))
    assert backend(once) == backend(often)


@given(
    uuid=st.uuids(),
    number=st.integers(0, 10**18),
    token=st.from_regex(r"[A-Za-z0-9]{24}", fullmatch=True).filter(
        lambda text: "eyJ" not in text
    ),  # begins a JWT
    digest=st.from_regex(r"[0-9a-f]{40}", fullmatch=True),
    email=st.from_regex(r"[a-z][a-z0-9.+!#$*~-]{0,9}@[a-z]{2,9}\.example", fullmatch=True),
    value=st.from_regex(r"[a-z ]{0,20}", fullmatch=True),
)
def test_ids_and_values_in_the_message_make_no_difference(
    *, uuid: UUID, number: int, token: str, digest: str, email: str, value: str
) -> None:
    """Numbers, UUIDs, Stripe's ids, digests, addresses, URLs and what stands in quotes."""

    def message(*values: object) -> str:
        return (
            "reservation {} of pi_{} costs {}, hash {}, mail {} at https://shop.example/r/{}?page={} "
            "for {!r}, not found"
        ).format(*values)

    digest_of_abc = "a9993e364706816aba3e25717850c26c9cd0d89d"
    first = message(UUID(int=7), "3MtwBwLkdIwHu7ix28a3tqPa", 12, digest_of_abc, "a@example.com", 1, 2, "a")
    other = message(uuid, token, number, digest, email, uuid, number, value)
    assert backend(message=other) == backend(message=first)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("slot 9 is full", "slot 1000 is full"),
        ("order12 failed", "order12345678 failed"),
        ("4242424242424242 is no id", "4242424242424241 is no id"),
        ("mail a@example.com bounced", "mail someone.else@mail.example.pt bounced"),
        ("took 1.5 s", "took 12 s"),
        ("Uncaught TypeError: x is undefined", "TypeError: x is undefined"),
        ("TypeError: x is undefined", "x is undefined"),
        ("no  such\nslot", "no such slot"),
        ("at 0x7f8b1c", "at 0x7f8b1c2d3e4f"),
        ("key 'abc' missing", "key 'something else' missing"),
    ],
)
def test_the_same_said_otherwise_is_the_same(one: str, other: str) -> None:
    """Message by message."""
    assert fingerprint("frontend", "TypeError", one, None) == fingerprint(
        "frontend", "TypeError", other, None
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("backend", "ValueError", "x", None), ("frontend", "ValueError", "x", None)),
        (("backend", "ValueError", "x", None), ("backend", "KeyError", "x", None)),
        (("backend", "ValueError", "no slot", None), ("backend", "ValueError", "no seat", None)),
        (("backend", "", "x", None), ("backend", "x", "", None)),
        (("backend", None, "x", PYTHON_STACK), ("backend", None, "x", None)),
        (
            ("backend", None, "x", PYTHON_STACK),
            ("backend", None, "x", PYTHON_STACK.replace("lock_payment", "lock_reservation")),
        ),
        (
            ("backend", None, "x", PYTHON_STACK),
            ("backend", None, "x", PYTHON_STACK.replace("database/payments.py", "database/slots.py")),
        ),
        (
            ("backend", None, "x", PYTHON_STACK),
            ("backend", None, "x", PYTHON_STACK.replace("LockNotAvailable", "DeadlockDetected")),
        ),
        (
            ("frontend", None, "x", V8_STACK),
            ("frontend", None, "x", V8_STACK.replace("Basket.hold", "Basket.release")),
        ),
        (
            ("frontend", None, "x", FIREFOX_STACK),
            ("frontend", None, "x", FIREFOX_STACK.replace("basket.", "checkout.")),
        ),
        (
            ("frontend", None, "x", V8_STACK),
            ("frontend", None, "x", V8_STACK.replace("TypeError", "RangeError")),
        ),
    ],
)
def test_different_errors_have_different_fingerprints(
    one: tuple[str, str | None, str, str | None], other: tuple[str, str | None, str, str | None]
) -> None:
    """Another side, type, sentence, function or file."""
    assert fingerprint(*one) != fingerprint(*other)


def test_the_type_is_found_where_it_is_not_given() -> None:
    """Python names it behind the last frame, V8 before the first, Firefox in the message alone."""
    assert backend() == fingerprint("backend", "psycopg.errors.LockNotAvailable", MESSAGE, PYTHON_STACK)
    assert frontend(V8_STACK, "boom") == fingerprint("frontend", "TypeError", "boom", V8_STACK)
    named = fingerprint("frontend", "TypeError", "boom", FIREFOX_STACK)
    assert frontend(FIREFOX_STACK, "Uncaught (in promise) TypeError: boom") == named


def test_chrome_and_firefox_name_the_same_frames() -> None:
    """Decoration of a function's name is no difference."""
    plain = V8_STACK.replace(
        "HTMLButtonElement.<anonymous> (https://shop.example/app.js:7:1)", "https://shop.example/a"
    )
    others = FIREFOX_STACK.replace("@https://shop.example/app.js:7:1", "@https://shop.example/a")
    assert fingerprint("frontend", "TypeError", "x", plain) == fingerprint(
        "frontend", "TypeError", "x", others
    )


def test_the_client_may_name_the_group_itself() -> None:
    """Its list decides, and with it the source alone."""
    name = fingerprint("frontend", "TypeError", "x", V8_STACK, ["checkout", "3ds"])
    assert name == fingerprint("frontend", None, "quite another", None, ["checkout", "3ds"])
    assert name != fingerprint("backend", "TypeError", "x", V8_STACK, ["checkout", "3ds"])
    assert name != fingerprint("frontend", "TypeError", "x", V8_STACK, ["checkout3ds"])
    assert name != fingerprint("frontend", "TypeError", "x", V8_STACK, ["3ds", "checkout"])
    assert fingerprint("frontend", "TypeError", "x", V8_STACK, []) == fingerprint(
        "frontend", "TypeError", "x", V8_STACK
    )


@given(any_text, any_text)
def test_a_scrubbed_report_has_the_fingerprint_of_the_report(message: str, stack: str) -> None:
    """It does not matter on which side of the scrubbing the fingerprint is taken."""
    text = f"{message} password=hunter2 john@example.com 4242 4242 4242 4242"
    scrubbed = fingerprint("backend", None, scrub(text), scrub(PYTHON_STACK + stack))
    assert scrubbed == fingerprint("backend", None, text, PYTHON_STACK + stack)


@pytest.mark.parametrize(
    "hostile",
    [
        "'" * 65_536,
        "'a" * 32_768,
        '"' + "a" * 65_535,
        "a1B-" * 16_384,
        "aA1" * 21_845,
        "pi_" * 21_845,
        "deadbeef" * 8_192,
        "1 2 3 " * 10_922,
        "http://" * 9_362,
        "a." * 32_768,
        "at a (" * 10_922,
        "at x (http://h/a-b.c-d.e:1:1)\n" * 2_100,
        '  File "a", line 1, in b\n' * 2_600,
        'File "' * 10_922,
        "A" * 65_536,
        "A\n" * 32_768,
        "x@http://h/" + "-A" * 32_000,
        "/" + "a1/" * 21_000,
    ],
)
def test_a_hostile_report_takes_no_longer_than_its_length(hostile: str) -> None:
    """64 KiB as message and as stack: seconds, where 0.3 is usual and a bad expression takes hours."""
    began = time.thread_time()
    fingerprint("frontend", None, hostile, hostile)
    assert time.thread_time() - began < 5
