"""Builds with SAM, starts what the functions talk to, and invokes each of them with its events, two at a time."""

import os
import signal
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from local import sample_data
from local.template import load_template
from tests.build.artefacts import HERE, Built, built_before, sam_build
from tests.emulator_process import SECRET_KEY, WEBHOOK_SECRET
from tests.faults.cloud import Cloud
from tests.sam_local.engine import containers_over, docker
from tests.sam_local.expected import EVENTS, EXPECTED, function_of
from tests.sam_local.sam import TIMEOUT_S, Sam, read
from tests.sam_local.steps import step
from tests.sam_local.surroundings import TEMPLATE, Surroundings, gateway, surroundings

AT_ONCE = 2
WARMING = (
    "reservations-offerings",
    "create-payment-intent",
    "stripe-webhook-unsigned",
    "reservation-cleanup",
    "reconcile-payments",
    "deliver-outbox",
    "health-live",
)
FUNCTIONS = {name: each.logical_id for name, each in load_template(TEMPLATE).functions.items()}
MIGRATE = "migrate"
# The slot that events/reservations-hold.json asks for.
SLOT = "00000000-0000-4000-8000-000000000000"


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """No dots between the lines of the steps."""
    if report.passed and report.nodeid.startswith("tests/sam_local/"):
        return ("passed" if report.when == "call" else "", "", "")
    return None


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """What `sam build` makes; SAM_BUILT names a folder where tests/build has made it from the same sources."""
    folder = Path(os.environ.get("SAM_BUILT") or tmp_path_factory.mktemp("sam"))
    with step(f"sam build, {HERE}"):
        return built_before(folder) or sam_build(folder, HERE)


@pytest.fixture(scope="session")
def around(tmp_path_factory: pytest.TempPathFactory) -> Generator[Surroundings]:
    with ExitStack() as parts:
        with step("PostgreSQL, Stripe's emulator and AWS's stand-in"):
            running = parts.enter_context(surroundings(tmp_path_factory.mktemp("around")))
        yield running


@pytest.fixture(scope="session")
def sam(built: Built, around: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> Generator[Sam]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end, we still end the containers
    yield Sam(built, around.environments, tmp_path_factory.mktemp("local"))
    left = containers_over(built.folder)
    for container in left:
        docker("rm", "--force", container["Id"])
    assert not left, f"SAM has left {len(left)} containers behind"


@pytest.fixture(scope="session")
def migrated(sam: Sam, around: Surroundings) -> Any:
    """What `migrate` answered: it has made the database, as in a deploy; and now there is something to sell."""
    with step("sam local invoke with events/migrate.json"):
        answer = sam.invoke(FUNCTIONS[MIGRATE], EVENTS / f"{MIGRATE}.json")
    assert EXPECTED[MIGRATE].fits(answer), answer
    url = around.postgres.url()
    sample_data.load(url)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            """
            INSERT INTO slots (id, offering_id, starts_at, ends_at, max_units, max_bookings)
            SELECT %s, id, now() + interval '60 days', now() + interval '61 days', 10, 10
            FROM offerings WHERE slug = 'morning-yoga'
            """,
            [SLOT],
        )
    return answer


@pytest.fixture(scope="session")
def answers(sam: Sam, migrated: Any) -> Generator[Mapping[str, Future[Any]]]:
    """What each event is answered, by the event's name."""

    def answer(event: str, logical_id: str) -> Any:
        with step(f"sam local invoke with events/{event}.json"):
            return sam.invoke(logical_id, EVENTS / f"{event}.json")

    first: Future[Any] = Future()
    first.set_result(migrated)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = {MIGRATE: first}
        for event in sorted(file.stem for file in EVENTS.glob("*.json")):
            function = function_of(event, FUNCTIONS)
            if function is not None and event not in begun:
                begun[event] = pool.submit(answer, event, FUNCTIONS[function])
        try:
            yield begun
        finally:
            pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def cloud(
    sam: Sam, migrated: Any, around: Surroundings, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Cloud]:
    """Every function behind the gateway of `make up`, in its container."""
    folder = tmp_path_factory.mktemp("cloud")
    with sam.serving() as endpoint, gateway(around.gateway_port, endpoint, folder) as base_url:
        running = Cloud(folder)
        running.stack = {
            "base_url": base_url,
            "database_admin_url": around.postgres.url(),
            "stripe": {
                "api_base": around.stripe_url,
                "secret_key": SECRET_KEY,
                "webhook_secrets": [WEBHOOK_SECRET],
            },
        }
        warming = step("sam local start-lambda, and containers for what follows")
        with warming, ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda event: _first_call(base_url, event), WARMING))
        yield running


def _first_call(base_url: str, event: str) -> None:
    """An invocation that may take its time: SAM makes the function's image and container."""
    url = f"{base_url}/2015-03-31/functions/{function_of(event, FUNCTIONS)}/invocations"
    answer = requests.post(url, data=(EVENTS / f"{event}.json").read_bytes(), timeout=TIMEOUT_S)
    assert answer.status_code == 200, answer.text
    assert EXPECTED[event].fits(read(answer.json())), answer.text
