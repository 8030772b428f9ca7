"""The watch that no HTTP request is sent while a transaction is open."""

import threading

import psycopg
import pytest
import requests

from database.connection import Connection, Database
from tests.support.app import App
from tests.support.http_watch import HttpWatch


def test_a_request_inside_a_unit_of_work_fails_the_test(app: App, http_watch: HttpWatch) -> None:
    """The watch bites: a request that a unit of work sends is seen, and fails the test that sent it."""
    database = Database(app.app_url)

    def act(conn: Connection) -> None:
        requests.get(f"{app.emulator.url}/_emulator/faults", timeout=20)

    database.run(act)
    database.close()

    assert http_watch.inside == ["GET /_emulator/faults"]
    with pytest.raises(AssertionError, match="while a transaction was open"):
        http_watch.check()
    http_watch.check()


def test_a_request_of_another_thread_or_afterwards_is_no_concern(app: App, http_watch: HttpWatch) -> None:
    """Only the thread that has the transaction open must not send."""
    database = Database(app.app_url)

    def ask() -> None:
        requests.get(f"{app.emulator.url}/_emulator/faults", timeout=20)

    def act(conn: psycopg.Connection[object]) -> None:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    database.run(act)
    ask()
    database.close()
    assert http_watch.inside == []
