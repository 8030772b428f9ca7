"""CloudFormation, which waits for an answer to its request for a migration, is told how it ended."""

from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import psycopg
import pytest

from functions.migrate.handler import lambda_handler
from local.postgres import PostgresServer
from runtime import settings
from tests.support.lambda_events import Context
from tests.support.postgres import MIGRATIONS, database_of_its_own
from tests.support.receiver import Receiver, receiving


@pytest.fixture
def asked() -> Generator[Receiver]:
    """What stands behind the address that CloudFormation wants its answer at."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def empty(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """A database without anything, which migrate is told of."""
    with database_of_its_own(postgres, template="template1") as name:
        monkeypatch.setenv("DATABASE_OWNER_URL", postgres.url(database=name))
        monkeypatch.setenv("MIGRATIONS_DIR", str(MIGRATIONS))
        settings._load.cache_clear()
        yield postgres.url(database=name)
        settings._load.cache_clear()


def request(kind: str, receiver: Receiver) -> dict[str, Any]:
    return {
        "RequestType": kind,
        "ResponseURL": f"{receiver.url}/answer?signature=s",
        "StackId": "arn:aws:cloudformation:eu-central-1:000000000000:stack/holdfast-prod/1",
        "RequestId": "request-1",
        "LogicalResourceId": "Migration",
        "ResourceType": "Custom::Migration",
        "ResourceProperties": {"Migrations": "arn:aws:lambda:eu-central-1:000000000000:layer:migrations:7"},
    }


def tables(url: str) -> int:
    with psycopg.connect(url) as conn:
        (count,) = conn.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() or (
            0,
        )
        return count


def test_a_deploy_goes_on_once_the_database_is_migrated(empty: str, asked: Receiver) -> None:
    """The answer names the request, and comes after the work."""
    lambda_handler(request("Create", asked), Context())
    assert tables(empty) > 0
    (answer,) = asked.received
    assert (answer.path, answer.headers["Content-Type"]) == ("/answer?signature=s", "")
    assert answer.document == {
        "Status": "SUCCESS",
        "Reason": "See the log stream 2026/11/21/[1]under-test",
        "PhysicalResourceId": "migration",
        "StackId": "arn:aws:cloudformation:eu-central-1:000000000000:stack/holdfast-prod/1",
        "RequestId": "request-1",
        "LogicalResourceId": "Migration",
    }


def test_a_deploy_stops_where_a_migration_fails(
    empty: str, asked: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The invocation fails as well, so that it is counted; the answer holds no word of the failure's own."""
    (tmp_path / "0001_wrong.sql").write_text("SELECT secret FROM nowhere;")
    monkeypatch.setenv("MIGRATIONS_DIR", str(tmp_path))
    with pytest.raises(psycopg.errors.UndefinedTable):
        lambda_handler(request("Update", asked), Context())
    (answer,) = asked.received
    assert answer.document["Status"] == "FAILED"
    assert "secret" not in answer.body.decode()


def test_deleting_the_stack_changes_nothing_in_the_database(empty: str, asked: Receiver) -> None:
    """Under the id that the resource had."""
    lambda_handler(request("Delete", asked) | {"PhysicalResourceId": "as it was"}, Context())
    assert tables(empty) == 0
    (answer,) = asked.received
    assert (answer.document["Status"], answer.document["PhysicalResourceId"]) == ("SUCCESS", "as it was")


def test_an_answer_that_cannot_be_given_fails_the_invocation(empty: str, asked: Receiver) -> None:
    """CloudFormation then waits until its own time limit, and the failure is in the log."""
    asked.status = 403
    with pytest.raises(URLError):
        lambda_handler(request("Delete", asked), Context())
    assert empty
