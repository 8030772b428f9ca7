"""The one connection of an execution environment, and the one way to do work on it.

A unit of work is a function of a connection. It either makes one call (one round trip, one commit) or opens a
transaction with `transaction()`. `Database.run` retries it whole, so it must be safe to run again: ids are chosen by
the caller, and claims recognise their owner.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from database.limits import COUNT, OVER, Spent
from domain.credential import Credential, credential
from domain.limits import Limits, limits_due
from domain.meter import meter
from domain.refusals import DatabaseUnavailable, LockTimeout

type Connection = psycopg.Connection[tuple[Any, ...]]
type Context = Mapping[str, str | None]

logger = logging.getLogger("database")

# Nothing here waits longer than a caller would: a server that does not answer a connect within 3 s is away, and a peer
# that vanished is noticed by the kernel instead of by the function's deadline.
CONNECT_OPTIONS: Mapping[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 6000,
    "application_name": "holdfast",
}
# Longer than the server's own statement_timeout, which says more: past this it is the server, or the way to it, that is
# away without a word, and no keepalive notices a machine that is only paused.
ANSWER_SECONDS = 5.5
# Three refusals in a row open the breaker; while it is open, callers hear "away" at once.
BREAKER_FAILURES = 3
BREAKER_SECONDS = 5.0
RETRY_SECONDS = 2.5


class _AtWork(threading.local):
    """What this thread is at: whether a unit of work, and what that still has to be counted in."""

    def __init__(self) -> None:
        self.here = False
        self.limits: Limits = {}


_at_work = _AtWork()


def in_unit_of_work() -> bool:
    """Whether this thread is inside a unit of work: it must not be while Stripe, or anybody else, is being asked."""
    return _at_work.here


class _Impatient(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is given up when the server does not answer."""

    def wait[T](self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        try:
            return super().wait(gen, interval, timeout or ANSWER_SECONDS)
        except errors._WaitTimeout:  # pyright: ignore[reportPrivateUsage] # noqa: SLF001 - the only name that it has
            self.close()  # so that nobody asks it to roll back, and waits again
            raise


class Database:
    """The database as one execution environment sees it: opened at first use, reopened when it was lost.

    A `url` that is rotated is the one that the next unit of work uses.
    """

    def __init__(self, url: str | Credential) -> None:
        self._url = credential(url)
        self._connected_by: str | None = None
        self._connection: Connection | None = None
        self._refusals = 0
        self._away_until = 0.0
        self._one_at_a_time = threading.RLock()
        self._spent = Spent()

    def run[T](self, act: Callable[[Connection], T]) -> T:
        """Does the unit of work, one at a time whatever the number of threads, again from the start when the database asks for that or the connection breaks.

        Retried inside 2.5 s: deadlock, serialization failure, lost connection (a COMMIT whose answer was lost included:
        the unit finds its own first run). Raises `LockTimeout` when a lock was not to be had in time, `DatabaseUnavailable`
        when the database cannot be reached.

        The first unit of a request is counted in what limits the request: raises `TooManyRequests`, and the act is not run.
        """
        limits = limits_due()
        self._spent.refuse(limits)
        try:
            result = self._run(act, limits)
        except LockTimeout:
            meter().note_database_call(lock_timeout=True)
            raise
        meter().note_database_call(lock_timeout=False)
        return result

    def _run[T](self, act: Callable[[Connection], T], limits: Limits) -> T:
        give_up_at = time.monotonic() + RETRY_SECONDS
        attempt = 0
        while True:
            attempt += 1
            try:
                with self._one_at_a_time:
                    return self._run_once(act, limits)
            except (errors.DeadlockDetected, errors.SerializationFailure) as failure:
                if time.monotonic() >= give_up_at:
                    raise LockTimeout from failure
            except errors.LockNotAvailable as failure:
                raise LockTimeout from failure
            except errors.QueryCanceled as failure:
                raise DatabaseUnavailable from failure  # slower than anything here ever is: it is in trouble
            except (psycopg.OperationalError, psycopg.InterfaceError) as failure:
                self.close()
                if time.monotonic() >= give_up_at or attempt > BREAKER_FAILURES:
                    raise DatabaseUnavailable from failure
            time.sleep(random.uniform(0.5, 1.5) * min(0.02 * 2**attempt, 0.5))  # noqa: S311 - jitter, not a secret

    def _run_once[T](self, act: Callable[[Connection], T], limits: Limits) -> T:
        if self._connection is not None and self._connected_by != self._url.current():
            self.close()
        connection = self._connection or self._connect()
        started = time.perf_counter()
        _at_work.here, _at_work.limits = True, limits
        try:
            result = act(connection)
        except psycopg.Error as failure:
            if failure.sqlstate == OVER:
                raise self._spent.remember(failure) from None
            # What follows the first line (DETAIL, CONTEXT) repeats the row and its values: no log may have those.
            if failure.diag.message_primary:
                failure.args = (failure.diag.message_primary,)
            raise
        else:
            if _at_work.limits:
                raise RuntimeError("the first unit of work of a request begins with `call`")
            return result
        finally:
            _at_work.here, _at_work.limits = False, {}
            if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
                _roll_back(connection)
            elapsed_ms = round((time.perf_counter() - started) * 1000, 2)
            logger.debug("database call", extra={"act": act.__qualname__, "duration_ms": elapsed_ms})

    def _connect(self) -> Connection:
        if time.monotonic() < self._away_until:
            raise DatabaseUnavailable
        url = self._url.current()
        try:
            self._connection = _Impatient.connect(
                url, autocommit=True, prepare_threshold=None, **CONNECT_OPTIONS
            )
        except psycopg.ProgrammingError:
            raise ValueError("DATABASE_URL is no connection string") from None  # libpq would repeat it
        except psycopg.OperationalError as failure:
            # libpq does not say by any code that it was the password. A server without a word has refused nothing.
            if not isinstance(failure, errors.ConnectionTimeout):
                self._url.renew()
            self._refusals += 1
            if self._refusals >= BREAKER_FAILURES:
                self._away_until = time.monotonic() + BREAKER_SECONDS
                self._refusals = 0
            raise
        self._refusals = 0
        self._connected_by = url
        return self._connection

    def __del__(self) -> None:
        """Whoever lets go of it leaves no connection behind."""
        self.close()

    def close(self) -> None:
        """Drops the connection; the next unit of work opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _roll_back(connection: Connection) -> None:
    try:
        connection.rollback()
    except psycopg.Error:
        connection.close()


SET_CONTEXT = "SELECT set_config('holdfast.context', %s, true)"
IN_CONTEXT = " FROM set_config('holdfast.context', %s, true)"


def only_value(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Any:
    """The first column of the only row of a statement whose batch is over."""
    row = cursor.fetchone()
    return None if row is None else row[0]


def call(
    conn: Connection, query: LiteralString, params: Sequence[object] = (), *, context: Context | None = None
) -> Any:
    """One statement, one round trip, one commit; answers the first column of its row.

    `context` says to the audit who acts and why. It travels in the statement itself, which then has no FROM of its own:
    what FROM calls comes first, and a second statement in a pipeline costs half a millisecond.

    Where the request is still to be counted that second statement comes first, and this one is skipped if it fails.
    """
    if context is not None:
        query, params = query + IN_CONTEXT, [*params, json.dumps(context)]
    limits, _at_work.limits = _at_work.limits, {}
    if not limits:
        return only_value(conn.execute(query, params))
    with conn.pipeline():
        conn.execute(COUNT, [list(limits), list(limits.values())])
        cursor = conn.execute(query, params)
    return only_value(cursor)


class Transaction:
    """The two batches of a transaction; statements inside a batch are sent together and answered together."""

    def __init__(self, conn: Connection, context: Context) -> None:
        self._conn = conn
        self._context = context

    @contextmanager
    def opening(self) -> Generator[None]:
        """The first batch: BEGIN, who acts, and then what the block sends."""
        with self._conn.pipeline():
            self._conn.execute("BEGIN")
            self._conn.execute(SET_CONTEXT, [json.dumps(self._context)])
            yield

    @contextmanager
    def committing(self) -> Generator[None]:
        """The last batch: what the block sends, and COMMIT, which is skipped if any of it fails."""
        with self._conn.pipeline():
            yield
            self._conn.execute("COMMIT")


@contextmanager
def transaction(conn: Connection, context: Context) -> Generator[Transaction]:
    """A transaction of two round trips: BEGIN travels with what is read first, COMMIT with what is written last."""
    unit = Transaction(conn, context)
    try:
        yield unit
    except BaseException:
        if not conn.closed:
            _roll_back(conn)
        raise
