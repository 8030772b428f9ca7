"""Execution environments live, freeze and die as they do in Lambda."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from local.child import birth
from local.lambda_runtime.environment import STOPPING_S
from tests.integration.local_cloud import Cloud, eventually, state_of, within


def test_one_process_serves_one_event_after_another(tmp_path: Path) -> None:
    """A warm environment is used again rather than a new one started."""

    async def scenario(cloud: Cloud) -> None:
        first = json.loads((await cloud.get("/obedient/whoami"))[1])
        await eventually(lambda: state_of(first["pid"]) == "T")
        second = json.loads((await cloud.get("/obedient/whoami"))[1])
        assert (second["pid"], second["served"]) == (first["pid"], 2)
        assert first["words"] == "from the layer"

    within(tmp_path, scenario)


def test_an_environment_is_frozen_between_events(tmp_path: Path) -> None:
    """Nothing runs in a function's process while it has no event: it is stopped, and goes on with the next."""

    async def scenario(cloud: Cloud) -> None:
        await cloud.get("/obedient/x")
        pid = cloud.only("obedient").pid
        await eventually(lambda: state_of(pid) == "T")
        assert json.loads((await cloud.get("/obedient/whoami"))[1])["pid"] == pid
        await eventually(lambda: state_of(pid) == "T")

    within(tmp_path, scenario)


def test_environments_started_beforehand_answer_warm(tmp_path: Path) -> None:
    """An environment that was there before the event is warm, one that the event had to wait for is cold."""

    async def scenario(cloud: Cloud) -> None:
        await eventually(lambda: state_of(cloud.only("obedient").pid) == "T")
        await cloud.get("/obedient/x")
        await cloud.get("/narrow/x")
        await eventually(lambda: cloud.terminal().count("\n") == 2)
        obedient, narrow = sorted(cloud.terminal().splitlines(), key=lambda line: "narrow" in line)
        assert " warm" in obedient
        assert " cold" in narrow

    within(tmp_path, scenario, obedient=1)


def test_only_the_first_event_of_a_busy_environment_is_cold(tmp_path: Path) -> None:
    """One that goes from event to event without a rest between them is warm all the same."""

    async def scenario(cloud: Cloud) -> None:
        await asyncio.gather(*(cloud.get("/narrow/x") for _ in range(4)))
        await eventually(lambda: cloud.terminal().count("\n") == 4)
        assert 1 <= cloud.terminal().count(" cold") <= len(cloud.pool("narrow").environments) < 4

    within(tmp_path, scenario)


def test_an_environment_that_has_rested_serves_a_line_of_events(tmp_path: Path) -> None:
    """It goes from one event to the next without a rest, and is not taken for one that was woken by somebody else."""

    async def scenario(cloud: Cloud) -> None:
        await cloud.get("/narrow/x")
        pid = cloud.only("narrow").pid
        await eventually(lambda: state_of(pid) == "T")
        await asyncio.sleep(2 * STOPPING_S)
        await asyncio.gather(*(cloud.get("/narrow/x") for _ in range(12)))
        assert pid in {environment.pid for environment in cloud.pool("narrow").environments}

    within(tmp_path, scenario)


def test_a_function_past_its_deadline_is_killed(tmp_path: Path) -> None:
    """At the template's timeout the process gets SIGKILL, the caller an error, and the next event a new process."""

    async def scenario(cloud: Cloud) -> None:
        assert (await cloud.get("/misbehaving/well"))[0] == 200
        overdue = cloud.only("misbehaving").pid
        _, answer, error = await cloud.invoke("misbehaving", {"rawPath": "/sleep"})
        assert (answer["errorType"], error) == ("Sandbox.Timedout", "Unhandled")
        assert "Task timed out after 4.00 seconds" in answer["errorMessage"]
        await eventually(lambda: birth(overdue) is None)
        status, body = await cloud.get("/misbehaving/well")
        assert status == 200
        assert int(body) != overdue

    within(tmp_path, scenario)


@pytest.mark.parametrize(("sin", "status"), [("exit", "exit status 3"), ("killed", "signal: SIGKILL")])
def test_a_function_that_dies_is_replaced(tmp_path: Path, sin: str, status: str) -> None:
    """The event that it died of is answered 502, the next one is served."""

    async def scenario(cloud: Cloud) -> None:
        assert (await cloud.get(f"/misbehaving/{sin}"))[0] == 502
        _, answer, _ = await cloud.invoke("misbehaving", {"rawPath": f"/{sin}"})
        assert answer["errorType"] == "Runtime.ExitError"
        assert status in answer["errorMessage"]
        assert (await cloud.get("/misbehaving/well"))[0] == 200

    within(tmp_path, scenario)


def test_an_environment_killed_from_outside_is_replaced(tmp_path: Path) -> None:
    """Those started beforehand are kept at their number, and no event meets a dead one."""

    async def scenario(cloud: Cloud) -> None:
        killed = cloud.only("obedient").pid
        await eventually(lambda: state_of(killed) == "T")
        await asyncio.sleep(STOPPING_S)
        os.kill(killed, signal.SIGKILL)
        assert (await cloud.get("/obedient/x"))[0] == 200
        await eventually(lambda: len(cloud.pool("obedient").environments) == 1)
        assert cloud.only("obedient").pid != killed

    within(tmp_path, scenario, obedient=1)


def test_an_exception_reaches_the_caller_as_502_without_its_text(tmp_path: Path) -> None:
    """A function URL tells nobody what went wrong inside; the Invoke API tells its caller."""

    async def scenario(cloud: Cloud) -> None:
        assert await cloud.get("/misbehaving/raise") == (502, '{"Message": "Internal Server Error"}')
        _, answer, error = await cloud.invoke("misbehaving", {"rawPath": "/raise"})
        assert (answer["errorType"], answer["errorMessage"], error) == (
            "ValueError",
            "secret detail",
            "Unhandled",
        )

    within(tmp_path, scenario)


def test_a_function_over_its_memory_is_killed(tmp_path: Path) -> None:
    """More than the template's MemorySize is Runtime.OutOfMemory."""

    async def scenario(cloud: Cloud) -> None:
        _, answer, _ = await cloud.invoke("greedy", {"rawPath": "/hoard"})
        assert answer["errorType"] == "Runtime.OutOfMemory"

    within(tmp_path, scenario)


def test_a_function_that_cannot_start_says_why_once(tmp_path: Path) -> None:
    """Its events are answered 502 without a storm of starts; the terminal shows its last words, once."""

    async def scenario(cloud: Cloud) -> None:
        answers = await asyncio.gather(*(cloud.get("/broken/") for _ in range(12)))
        assert {status for status, _ in answers} == {502}
        assert cloud.pool("broken")._started <= 4
        _, answer, _ = await cloud.invoke("broken", {})
        assert answer["errorType"] == "Runtime.ImportModuleError"
        await eventually(lambda: "about to import what is not there" in cloud.terminal())
        assert cloud.terminal().count("broken cannot start") == 1

    within(tmp_path, scenario)


def test_concurrency_is_capped_and_the_rest_wait_in_line(tmp_path: Path) -> None:
    """No more processes than the reserved concurrency; who comes later waits, and is served."""

    async def scenario(cloud: Cloud) -> None:
        answers = await asyncio.gather(*(cloud.get("/narrow/?seconds=0.2") for _ in range(6)))
        assert {status for status, _ in answers} == {200}
        await eventually(lambda: len(cloud.pool("narrow").environments) == 2)

    within(tmp_path, scenario)


def test_who_waits_too_long_is_throttled(tmp_path: Path) -> None:
    """429 once no place came free in time; those who hold the places are not disturbed."""

    async def scenario(cloud: Cloud) -> None:
        await eventually(lambda: len(cloud.pool("narrow").environments) == 2)
        busy = [asyncio.create_task(cloud.get("/narrow/?seconds=6")) for _ in range(2)]
        await eventually(lambda: not cloud.pool("narrow")._idle)
        status, answer, _ = await cloud.invoke("narrow", {}, patience_s=0.1)
        assert (status, answer["Message"]) == (429, "Rate Exceeded.")
        assert {(await task)[0] for task in busy} == {200}

    within(tmp_path, scenario, narrow=2)


def test_a_process_sees_the_variables_of_its_function_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the template or Lambda gives is there; what happens to be set on this machine is not."""
    monkeypatch.setenv("A_SECRET_OF_THIS_MACHINE", "x")

    async def scenario(cloud: Cloud) -> None:
        environment = json.loads((await cloud.get("/obedient/whoami"))[1])["environment"]
        assert environment["GREETING"] == "hello"
        assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "holdfast-obedient"
        assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
        assert environment["AWS_DEFAULT_REGION"] == "us-east-1"
        assert environment["TZ"] == ":UTC"
        assert not {"A_SECRET_OF_THIS_MACHINE", "HOME", "STATE"} & environment.keys()

    within(tmp_path, scenario)


def test_a_process_can_import_what_its_layers_carry_and_nothing_else(tmp_path: Path) -> None:
    """A package that no layer of the function requires is missing, though it is installed on this machine."""

    async def scenario(cloud: Cloud) -> None:
        for name in ("boto3", "plain_words"):
            assert (await cloud.get(f"/obedient/import?name={name}"))[0] == 200
        for name in ("psycopg", "aiohttp", "local", "tests", "functions", "domain", "misbehaving"):
            _, answer, _ = await cloud.invoke(
                "obedient", {"rawPath": "/import", "queryStringParameters": {"name": name}}
            )
            assert answer["errorType"] == "ModuleNotFoundError", name

    within(tmp_path, scenario)


def test_what_a_function_writes_is_kept_as_json_lines(tmp_path: Path) -> None:
    """JSON stays as it is, plain text is wrapped, and each event's report follows; the terminal has a line of it."""

    async def scenario(cloud: Cloud) -> None:
        await cloud.get("/obedient/print?x=1")
        await cloud.invoke("transient", {"file": str(tmp_path / "trace")})
        await eventually(lambda: "ran=1" in cloud.terminal())
        assert "GET /print" in cloud.terminal()

    within(tmp_path, scenario)
    lines = [json.loads(line) for line in (tmp_path / "logs/obedient.jsonl").read_text().splitlines()]
    assert [line.get("message") for line in lines] == ["a plain line", "a JSON line", None]
    assert (lines[2]["type"], lines[2]["cold"]) == ("platform.report", True)


def test_an_asynchronous_event_is_taken_at_once_and_tried_as_often_as_the_template_says(
    tmp_path: Path,
) -> None:
    """With no retries granted, an event whose function fails has run once."""
    trace = tmp_path / "trace"

    async def scenario(cloud: Cloud) -> None:
        url = f"{cloud.url}/2015-03-31/functions/holdfast-transient/invocations"
        event = json.dumps({"file": str(trace), "fail": True})
        async with cloud.session.post(
            url, data=event, headers={"X-Amz-Invocation-Type": "Event"}
        ) as response:
            assert response.status == 202
        await eventually(lambda: "RuntimeError" in cloud.terminal())
        assert trace.read_text() == "ran\n"

    within(tmp_path, scenario)
