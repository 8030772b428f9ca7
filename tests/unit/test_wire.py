"""A client's bytes are cut into the batches that PostgreSQL answers one by one."""

import struct

from local.breakage.wire import Batch, Frontend

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
END = message(b"X", b"")


def test_each_statement_and_the_end_of_a_batch_is_a_step() -> None:
    """Statements go by the function they call; what belongs to a statement travels with it, byte for byte."""
    frontend = Frontend(FUNCTIONS)
    tls, startup, transaction, query, end = frontend.read(
        TLS_PLEASE + STARTUP + b"".join(TRANSACTION) + QUERY + END
    )
    assert (tls, startup, end) == (TLS_PLEASE, STARTUP, END)
    assert transaction == Batch(("BEGIN", "reserve_tickets", "COMMIT", "Sync"), tuple(TRANSACTION))
    assert query == Batch(("ROLLBACK",), (QUERY,))


def test_bytes_that_come_one_by_one_are_the_same_batches() -> None:
    """Nothing is passed on before its batch is whole, and nothing is lost."""
    stream = STARTUP + b"".join(TRANSACTION) + QUERY + END
    one_by_one = Frontend(FUNCTIONS)
    read = [message for byte in stream for message in one_by_one.read(bytes([byte]))]
    assert read == list(Frontend(FUNCTIONS).read(stream))


def test_a_statement_that_calls_two_functions_names_both() -> None:
    """Such as the end of an outbox row together with its refund's."""
    statement = "SELECT CASE WHEN settle_outbox($1) THEN record_refund($2) END"
    _, batch = Frontend(FUNCTIONS).read(STARTUP + execute(statement) + SYNC)
    assert isinstance(batch, Batch)
    assert batch.steps == ("settle_outbox record_refund", "Sync")
