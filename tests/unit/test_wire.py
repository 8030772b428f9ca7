"""A client's bytes are cut into the batches that PostgreSQL answers one by one."""

import struct

from local.chaos.wire import Frontend

STARTUP = struct.pack("!II", 17, 196608) + b"user\0app\0"
TLS_PLEASE = struct.pack("!II", 8, 80877103)
FUNCTIONS = {"reserve_tickets", "settle_outbox", "record_refund"}


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def execute(statement: str) -> bytes:
    parse = message(b"P", b"\0" + statement.encode() + b"\0\0\0")
    return parse + message(b"B", b"\0\0\0\0\0\0\0\0") + message(b"D", b"P\0") + message(b"E", b"\0\0\0\0\0")


SYNC = message(b"S", b"")
TRANSACTION = [execute("BEGIN"), execute("SELECT reserve_tickets($1, now())"), execute("COMMIT"), SYNC]
QUERY = message(b"Q", b"ROLLBACK\0")


def test_each_statement_and_the_end_of_a_batch_is_a_step() -> None:
    """Statements go by the function they call; what belongs to a statement travels with it, byte for byte."""
    frontend = Frontend(FUNCTIONS)
    plain, batches = frontend.read(TLS_PLEASE + STARTUP + b"".join(TRANSACTION) + QUERY)
    assert plain == TLS_PLEASE + STARTUP
    assert [batch.steps for batch in batches] == [
        ("BEGIN", "reserve_tickets", "COMMIT", "Sync"),
        ("ROLLBACK",),
    ]
    assert list(batches[0].parts) == TRANSACTION
    assert [batch.name for batch in batches] == ["reserve_tickets", "ROLLBACK"]


def test_bytes_that_come_one_by_one_are_the_same_batches() -> None:
    """Nothing is passed on before its batch is whole, and nothing is lost."""
    frontend, stream = Frontend(FUNCTIONS), STARTUP + b"".join(TRANSACTION) + QUERY + message(b"X", b"")
    passed: list[bytes] = []
    steps: list[tuple[str, ...]] = []
    for byte in stream:
        plain, batches = frontend.read(bytes([byte]))
        passed += [plain, *(batch.bytes for batch in batches)]
        steps += [batch.steps for batch in batches]
    assert b"".join(passed) == stream
    assert steps == [("BEGIN", "reserve_tickets", "COMMIT", "Sync"), ("ROLLBACK",)]


def test_a_statement_that_calls_two_functions_names_both() -> None:
    """Such as the end of an outbox row together with its refund's."""
    frontend = Frontend(FUNCTIONS)
    frontend.read(STARTUP)
    _, (batch,) = frontend.read(
        execute("SELECT CASE WHEN settle_outbox($1) THEN record_refund($2) END") + SYNC
    )
    assert batch.steps == ("settle_outbox record_refund", "Sync")
