"""`make up` brings the whole cloud up, keeps it up, and takes it down again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import jwt
import psycopg
import pytest
import requests

from local.child import birth, free_port

ROOT = Path(__file__).parents[2]
JWT_SECRET = "of whoever starts the cloud, long enough to sign with"
URL_FUNCTIONS = {"reservations", "create-payment-intent", "stripe-webhook", "log-error", "health"}


class Stack:
    """One state folder, by the command line that the Makefile calls."""

    def __init__(self, state: Path, port: int) -> None:
        self.state = state
        self.port = port

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        settings = {
            "STATE": str(self.state),
            "PORT": str(self.port),
            "SCHEDULES": "off",
            "LOCAL_ENVIRONMENTS": "2",
            "HOLD_MINUTES": "7",
            "JWT_SECRET": JWT_SECRET,
            "STRIPE_SECRET_KEY": "sk_live_is_no_business_of_an_emulator",
            "DATABASE_URL": "postgresql://somewhere.else/",
        }
        return subprocess.run(
            [sys.executable, "-m", "local", *arguments],
            cwd=ROOT,
            env=keep | settings,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.command("up", "--detach", "--emulator")

    @property
    def file(self) -> dict[str, Any]:
        return json.loads((self.state / "stack.json").read_text())


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=20).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("cloud") / "a state", free_port())
    up = stack.up()
    assert up.returncode == 0, up.stderr
    yield stack
    stack.command("down")


def test_the_cloud_lives_dies_and_comes_back(stack: Stack) -> None:
    """One story, because each step needs the one before: ready, used, hurt, killed, started again, stopped."""
    file = stack.file
    base = f"http://127.0.0.1:{stack.port}"

    # Ready: stack.json tells where everything is, and everything answers there.
    assert file["base_url"] == base
    assert file["functions"] == {name: f"{base}/{name}" for name in file["functions"]}
    assert file["functions"].keys() >= URL_FUNCTIONS
    assert (stack.state / "stack.json").stat().st_mode & 0o777 == 0o600
    for url in (f"{base}/health/ready", file["notifications_url"], file["github_api_url"] + "/_requests"):
        assert answers(url), url
    claims = jwt.decode(file["admin_token"], file["jwt_secret"], algorithms=["HS256"])
    assert (claims["role"], claims["exp"] - claims["iat"]) == ("admin", 86400)
    assert file["jwt_secret"] == JWT_SECRET
    signed = {"Authorization": f"Bearer {file['admin_token']}"}
    assert requests.get(f"{base}/admin/stats", headers=signed, timeout=20).status_code == 200
    client = boto3.client(
        "sqs",
        "us-east-1",
        endpoint_url=file["aws_endpoint_url"],
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    assert "holdfast-failed-invocations" in str(client.list_queues()["QueueUrls"])
    for role in ("database_url", "database_admin_url"):
        with psycopg.connect(file[role]) as conn:
            assert conn.execute("SELECT count(*) > 0 FROM offerings").fetchone() == (True,)

    # Used: a function is invoked by name, and its answer is all that standard output holds.
    invoked = stack.command("invoke", "reservation-cleanup")
    assert (json.loads(invoked.stdout)["released"], invoked.stderr) == (0, "")
    failed = stack.command("invoke", "no-such-function")
    assert (failed.returncode, failed.stdout) == (1, "")

    # Its settings are those of its environment.
    slots = f"{base}/reservations/slots?offering=autumn-concert&from=&to="
    slot = requests.get(slots, timeout=20).json()["slots"][0]["id"]
    wanted = {"items": [{"slot_id": slot, "units": 1}], "customer": {"email": "a@example.com", "name": "Ada"}}
    hold = requests.post(f"{base}/reservations/reservations", json=wanted, timeout=20).json()
    left = datetime.fromisoformat(hold["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=6) < left <= timedelta(minutes=7)

    # Two clouds cannot share a folder, nor a port.
    second = stack.up()
    assert (second.returncode, second.stdout) == (1, "")
    assert "in use" in second.stderr
    other = Stack(stack.state.with_name("other"), stack.port).up()
    assert (other.returncode, f"port {stack.port}" in other.stderr) == (1, True)
    assert len(other.stderr.strip().splitlines()) == 1

    # Hurt: a service that is killed comes back where it was.
    for service, url in (("postgres", f"{base}/health/ready"), ("stripe_emulator", None), ("aws", None)):
        os.kill(stack.file["pids"][service], signal.SIGKILL)
        eventually(lambda service=service: stack.file["pids"][service] != file["pids"][service])
        if url:
            eventually(lambda url=url: answers(url))
    api = file["stripe"]["api_base"] + "/_emulator/faults"
    eventually(lambda: answers(api))

    # Killed: nothing of it lives on, and nothing is forgotten.
    with psycopg.connect(file["database_admin_url"]) as conn:
        conn.execute("CREATE TABLE remembered ()")
    pids: dict[str, int] = stack.file["pids"]
    os.kill(pids["stack"], signal.SIGKILL)
    eventually(lambda: not any(birth(pid) for pid in pids.values()))
    assert stack.up().returncode == 0
    again = stack.file
    assert {name: again[name] for name in again if name not in ("pids", "admin_token")} == {
        name: file[name] for name in file if name not in ("pids", "admin_token")
    }
    with psycopg.connect(again["database_admin_url"]) as conn:
        assert conn.execute("SELECT count(*) FROM remembered").fetchone() == (0,)

    # Stopped: no process, no stack.json, and the port is free.
    down = stack.command("down")
    assert down.returncode == 0
    assert not any(birth(pid) for pid in again["pids"].values())
    assert not (stack.state / "stack.json").exists()
    socket.create_server(("127.0.0.1", stack.port)).close()


def test_settings_of_the_environment_go_over_those_of_the_file() -> None:
    """What everybody has in theirs for other reasons, and what a cloud makes itself, is not taken from there."""
    from local.settings import OURS, given_settings  # noqa: PLC0415

    dotenv = {"HOLD_MINUTES": "3", "FUNDS_DAYS": "4", "GITHUB_TOKEN": "of the file", "STRIPE_API_BASE": "x"}
    environment = {"HOLD_MINUTES": "5", "STRIPE_SECRET_KEY": "sk_test_x", "SENTRY_DSN": "", "HOME": "/root"}
    others = dict.fromkeys(
        [*OURS, "GITHUB_TOKEN", "GITHUB_REPOSITORY", "GITHUB_API_URL"], "of the environment"
    )
    given = given_settings(dotenv, environment | others, emulated=False)
    assert given == dotenv | {"HOLD_MINUTES": "5", "STRIPE_SECRET_KEY": "sk_test_x", "SENTRY_DSN": ""}
    emulated = given_settings(dotenv, environment | others, emulated=True)
    assert emulated.keys() == {"HOLD_MINUTES", "FUNDS_DAYS", "GITHUB_TOKEN", "SENTRY_DSN"}


def test_a_live_key_is_refused(tmp_path: Path) -> None:
    """Nothing on this machine shall ever move real money."""
    from local.settings import Secrets, SettingsError, choose_stripe  # noqa: PLC0415

    secrets = Secrets.kept_in(tmp_path / "secrets.json")
    for key in ("sk_live_x", "rk_live_x", "nonsense"):
        with pytest.raises(SettingsError, match="no test key"):
            choose_stripe({"STRIPE_SECRET_KEY": key}, secrets, "http://127.0.0.1:1")
    real = choose_stripe({"STRIPE_SECRET_KEY": "sk_test_x"}, secrets, "http://127.0.0.1:1")
    assert (real.api_base, real.emulated) == ("https://api.stripe.com", False)
    assert choose_stripe({}, secrets, "http://127.0.0.1:1").emulated
    # An emulator signs with what the functions verify by, and is where they call, whatever is given.
    emulated = choose_stripe(
        {"STRIPE_WEBHOOK_SECRETS": "whsec_new,whsec_old", "STRIPE_API_BASE": "http://elsewhere"},
        secrets,
        "http://127.0.0.1:1",
    )
    assert emulated.webhook_secrets == ("whsec_new", "whsec_old")
    assert (emulated.emulated, emulated.api_base) == (True, "http://127.0.0.1:1")
