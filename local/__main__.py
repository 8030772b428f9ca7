"""The command line of the machine-sized cloud; `make up`, `make down` and `make invoke` call it."""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from local.errors import CannotStart
from local.state import State

INVOKE_PATIENCE_S = 60
INVOKE_TIMEOUT_S = INVOKE_PATIENCE_S + 900  # and as long as a function may take at most
READY, FAILED = b"+", b"-"


def main() -> int:
    """Returns the exit status."""
    arguments = _parser().parse_args()
    state = State(Path(arguments.state))
    match arguments.command:
        case "up" if arguments.detach:
            return _up_detached(state)
        case "up":
            return _up(arguments, state)
        case "down":
            found = state.stop()
            print(f"{state.folder}: {'stopped' if found else 'nothing was running'}")
            return 0
        case _:
            return _invoke(arguments, state)


def _parser() -> argparse.ArgumentParser:
    environment = os.environ
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the cloud")
    up.add_argument("--port", type=int, default=environment.get("PORT") or 8787, help="of the gateway (PORT)")
    up.add_argument(
        "--detach",
        action=argparse.BooleanOptionalAction,
        default=environment.get("DETACH", "") not in {"", "0"},
        help="return once all is ready (DETACH=1)",
    )
    up.add_argument(
        "--schedules", choices=["on", "off"], default=environment.get("SCHEDULES") or "on", help="(SCHEDULES)"
    )
    up.add_argument(
        "--rate-limits",
        choices=["on", "off"],
        default=environment.get("RATE_LIMITS") or "on",
        help="(RATE_LIMITS)",
    )
    up.add_argument(
        "--environments",
        type=int,
        default=environment.get("LOCAL_ENVIRONMENTS") or 8,
        help="processes a function at most (LOCAL_ENVIRONMENTS)",
    )
    up.add_argument("--emulator", action="store_true", help="emulate Stripe, whatever the settings say")
    up.add_argument(
        "--function-env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable for every function",
    )
    up.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    down = commands.add_parser("down", help="stop it, and whatever a killed one left behind")
    invoke = commands.add_parser(
        "invoke", help="invoke a function of the running cloud once, and print its answer"
    )
    invoke.add_argument("function")
    invoke.add_argument("--event", type=Path, help="a file of JSON; without it an empty object is sent")
    for command in (up, down, invoke):
        default = environment.get("STATE") or ".local"
        command.add_argument("--state", default=default, help="the cloud's folder (STATE, else .local)")
    return parser


def _up(arguments: argparse.Namespace, state: State) -> int:
    """Run in the foreground until told to stop."""
    # A second's import, for this command alone.
    from local.settings import given_settings  # noqa: PLC0415
    from local.stack import Options, dotenv, run  # noqa: PLC0415

    def announce(text: str) -> None:
        print(text, flush=True)
        _tell(arguments.ready_fd, READY + text.encode())

    problems: list[str] = []
    try:
        state.take()
        options = Options(
            state=state,
            port=arguments.port,
            schedules=arguments.schedules == "on",
            rate_limits=arguments.rate_limits == "on",
            environments=arguments.environments,
            given=given_settings(dotenv(), os.environ, emulated=arguments.emulator),
            added=dict(pair.split("=", 1) for pair in arguments.function_env),
        )
        asyncio.run(run(options, announce))
    except* CannotStart as group:
        problems = [str(problem) for problem in _leaves(group)]
    if problems:
        text = "\n".join(problems)
        print(text, file=sys.stderr, flush=True)
        _tell(arguments.ready_fd, FAILED + text.encode())
    return 1 if problems else 0


def _leaves(group: BaseExceptionGroup[CannotStart]) -> list[CannotStart]:
    found: list[CannotStart] = []
    for problem in group.exceptions:
        found += _leaves(problem) if isinstance(problem, BaseExceptionGroup) else [problem]
    return found


def _tell(ready_fd: int | None, message: bytes) -> None:
    """Say to the waiting `up --detach` how it went, once."""
    if ready_fd is not None:
        with os.fdopen(ready_fd, "wb") as pipe:
            pipe.write(message)


def _up_detached(state: State) -> int:
    """Start the cloud in a session of its own, and wait until it says that it is ready."""
    log = state.folder / "logs" / "stack.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    state.folder.chmod(0o700)
    reading, writing = os.pipe()
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    with log.open("ab") as output:
        began = output.tell()
        cloud = subprocess.Popen(
            [sys.executable, "-m", "local", *arguments, "--no-detach", "--ready-fd", str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            start_new_session=True,
        )
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
    except KeyboardInterrupt:
        cloud.send_signal(signal.SIGTERM)
        cloud.wait()
        return 130
    if told.startswith(READY):
        print(told[1:].decode())
        return 0
    said = told[1:].decode() or log.read_bytes()[began:].decode(errors="replace").strip() or "it says nothing"
    print(said, file=sys.stderr)
    cloud.wait()
    return 1


def _invoke(arguments: argparse.Namespace, state: State) -> int:
    """Print the function's answer; anything else goes to standard error."""
    stack = state.stack()
    if stack is None or state.holder() is None:
        return _refuse(f"no cloud is running in {state.folder}: make up")
    try:
        payload = arguments.event.read_bytes() if arguments.event else b"{}"
    except OSError as error:
        return _refuse(f"{arguments.event}: {error.strerror}")
    name = urllib.parse.quote(arguments.function, safe="")
    request = urllib.request.Request(  # noqa: S310 - the address is this cloud's own
        f"{stack['base_url']}/2015-03-31/functions/{name}/invocations",
        data=payload,
        headers={"Content-Type": "application/json", "X-Local-Patience-Seconds": str(INVOKE_PATIENCE_S)},
    )
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # a proxy knows nothing of this machine
    try:
        with opener.open(request, timeout=INVOKE_TIMEOUT_S) as response:
            answer = response.read().decode()
            failed = response.headers.get("X-Amz-Function-Error") is not None
    except urllib.error.HTTPError as error:
        return _refuse(f"{arguments.function}: {json.loads(error.read()).get('Message', error.reason)}")
    except OSError as error:
        return _refuse(f"{stack['base_url']}: {error}")
    if failed:
        return _refuse(answer)
    print(answer)
    return 0


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
