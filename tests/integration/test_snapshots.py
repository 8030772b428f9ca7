"""What SnapStart's environments share is what a snapshot holds: no connection, no secret, no sequence of chances."""

import http.server
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from database.connection import Database
from local.postgres import PostgresServer
from local.template import load_template
from runtime import settings, snapshot
from runtime.settings import DatabaseSettings, load
from tests.emulator_process import eventually

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = os.pathsep.join(
    str(ROOT / folder) for folder in (".", "shared", "layers/postgres", "layers/stripe")
)
WITH_URL = {
    name: function
    for name, function in load_template(ROOT / "template.yaml").functions.items()
    if function.url_auth is not None
}
# A function that does while it is imported what none should: it connects, reads a secret and draws a number.
CARELESS = """
import random
from functools import cache

from database.connection import Database
from runtime import settings, snapshot
from runtime.http import HttpFunction, json_response
from runtime.settings import DatabaseSettings, load

snapshot.OURS = snapshot.OURS | {"careless"}


@cache
def database():
    return Database(load(DatabaseSettings).database_url)


def backend():
    return database().run(lambda conn: conn.info.backend_pid)


at_import = backend()
random.seed(7)
expected = random.Random(7).random()
app = HttpFunction(limited=False)
lambda_handler = app.lambda_handler


@app.get("/")
def look():
    read = settings._load.cache_info().currsize
    return json_response(200, {"before": at_import, "read": read, "now": backend(), "same": random.random() == expected})
"""


@dataclass
class RuntimeApi:
    """Lambda's side of a function's life: takes its snapshot, restores it, sends it one event."""

    address: str
    event: dict[str, Any]
    asked: list[str] = field(default_factory=list[str])
    answer: Any = None
    restored: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


@contextmanager
def runtime_api(event: dict[str, Any]) -> Generator[RuntimeApi]:
    """https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html, as far as one invocation needs it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.asked.append(self.path)
            if self.path.endswith("/restore/next"):
                api.restored.set()
                api.go_on.wait(60)
                self.reply(200, {})
            elif self.path.endswith("/invocation/next") and not api.answered.is_set():
                self.reply(200, api.event)
            else:
                api.go_on.wait(60)
                self.close_connection = True

        def do_POST(self) -> None:
            api.answer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.asked.append(self.path)
            self.reply(202, {})
            api.answered.set()

        def reply(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            self.send_header("Lambda-Runtime-Aws-Request-Id", "11111111-1111-4111-8111-111111111111")
            self.send_header("Lambda-Runtime-Deadline-Ms", "4102444800000")
            self.send_header(
                "Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:0:function:careless"
            )
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing: the test asks what was asked."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = RuntimeApi(f"127.0.0.1:{server.server_port}", event)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        api.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def connections(postgres: PostgresServer, name: str) -> int:
    with psycopg.connect(postgres.url()) as conn:
        row = conn.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [name]).fetchone()
        return row[0] if row else -1


def test_a_snapshot_holds_no_connection_and_what_it_holds_is_not_used_again(
    postgres: PostgresServer, database_name: str, tmp_path: Path
) -> None:
    """In AWS's own runtime client: the hooks run on both sides of the snapshot."""
    (tmp_path / "careless.py").write_text(CARELESS)
    event = json.loads((ROOT / "events" / "health-live.json").read_text()) | {"rawPath": "/"}
    event["requestContext"]["http"]["path"] = "/"
    with runtime_api(event) as api:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "awslambdaric", "careless.lambda_handler"],
            cwd=tmp_path,
            env={
                "PATH": os.defpath,
                "PYTHONPATH": f"{tmp_path}{os.pathsep}{PACKAGES}",
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
                "AWS_LAMBDA_FUNCTION_NAME": "careless",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
                "AWS_LAMBDA_FUNCTION_VERSION": "1",
                "AWS_LAMBDA_LOG_GROUP_NAME": "",
                "AWS_LAMBDA_LOG_STREAM_NAME": "",
                "AWS_DEFAULT_REGION": "eu-central-1",
                "POWERTOOLS_SERVICE_NAME": "tests",
                "POWERTOOLS_METRICS_NAMESPACE": "Holdfast",
                "DATABASE_URL": postgres.url("app", database_name),
            },
        )
        try:
            assert api.restored.wait(60)
            eventually(lambda: connections(postgres, database_name) == 0)
            api.go_on.set()
            assert api.answered.wait(60)
        finally:
            process.kill()
            process.wait()
    told = json.loads(api.answer["body"])
    assert told["read"] == 0
    assert told["now"] != told["before"]
    assert told["same"] is False


@pytest.mark.parametrize("name", sorted(WITH_URL))
def test_importing_a_function_leaves_nothing_to_forget(name: str) -> None:
    """It neither reads settings nor makes a client: its snapshot holds modules, and those are alike."""
    probe = """
import importlib, sys
importlib.import_module(sys.argv[1])
from runtime import snapshot
values = [(n, k, v) for n, m in sys.modules.items() if n.partition(".")[0] in snapshot.OURS for k, v in vars(m).items()]
caches = {f"{n}.{k}": v.cache_info().currsize for n, k, v in values if hasattr(v, "cache_info")}
assert caches, "no cache was found"
print(*(name for name, size in caches.items() if size))
"""
    module = WITH_URL[name].handler.rpartition(".")[0]
    answer = subprocess.run(
        [sys.executable, "-c", probe, module],
        cwd=ROOT,
        env={
            "PYTHONPATH": PACKAGES,
            "POWERTOOLS_SERVICE_NAME": "tests",
            "POWERTOOLS_METRICS_NAMESPACE": "Holdfast",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stdout.strip()) == (0, ""), answer.stderr


def test_forgetting_closes_the_connection_and_rereads_the_settings(
    postgres: PostgresServer, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that was rolled meanwhile is the one that is used."""
    database = Database(postgres.url("app", database_name))
    assert database.run(lambda conn: conn.info.backend_pid)
    del database
    eventually(lambda: connections(postgres, database_name) == 0)
    monkeypatch.setenv("DATABASE_URL", "postgresql://old")
    settings._load.cache_clear()
    assert load(DatabaseSettings).database_url == "postgresql://old"
    monkeypatch.setenv("DATABASE_URL", "postgresql://new")
    snapshot.forget()
    assert load(DatabaseSettings).database_url == "postgresql://new"
    settings._load.cache_clear()


def test_pauses_are_not_the_same_ones_in_every_environment() -> None:
    """Whatever state the generator was in when the snapshot was taken."""
    state = random.getstate()
    random.seed(1)
    snapshot.forget()
    first = random.random()
    random.seed(1)
    snapshot.forget()
    assert random.random() != first
    random.setstate(state)


def test_without_snapstart_no_hook_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the function starts as ever, even the module may be missing."""
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", None)
    snapshot.forget_around_snapshots()
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    with pytest.raises(ImportError):
        snapshot.forget_around_snapshots()
