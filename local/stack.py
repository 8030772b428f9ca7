"""The whole cloud of one state folder, from its first process to its last."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from local import sample_data
from local.child import adopt_orphans, free_port, reap_orphans, spawn
from local.errors import CannotStart
from local.examples import examples, free_slot
from local.gateway import Gateway
from local.journal import Journal
from local.lambda_runtime.runtime import LambdaRuntime
from local.paths import PACKAGES, ROOT
from local.postgres import OWNER, PostgresServer
from local.queues import run_queue_sources
from local.schedules import run_schedules
from local.settings import Places, Secrets, Settings, choose_stripe, read_dotenv, write_private
from local.sinks import Sink
from local.state import State
from local.storefront import Storefront
from local.supervision import Service, port_answers
from local.template import Template, load_template

HOST = "127.0.0.1"
HOUSEKEEPING_S = 0.05
BEFOREHAND = 2  # processes of each function with a URL
MIGRATE = "migrate"
MIGRATION_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Options:
    """What `make up` was asked for; `given` are settings by name, `added` variables that every function gets on top."""

    state: State
    port: int = 8787
    schedules: bool = True
    rate_limits: bool = True
    environments: int = 8
    template: Path = ROOT / "template.yaml"
    given: Mapping[str, str] = field(default_factory=dict[str, str])
    added: Mapping[str, str] = field(default_factory=dict[str, str])


async def run(options: Options, announce: Callable[[str], None]) -> None:
    """Start everything, `announce` how to reach it, and keep it running until SIGTERM or SIGINT.

    Raises CannotStart, or what a part of the cloud raises, after everything has been ended again.
    """
    state = options.state
    adopt_orphans()
    listening = _listen(options.port)
    state.wait_for_the_dead()
    state.forget()
    journal = Journal(state.folder / "logs")
    _stop_on_signal()
    try:
        async with contextlib.AsyncExitStack() as parts:
            await _Cloud(options, journal, parts, listening).run(announce)
    except asyncio.CancelledError:
        pass  # asked to stop; all parts have been ended on the way here
    finally:
        listening.close()
        state.forget()
        journal.close()


class _Cloud:
    """The parts, in the order in which they need each other; `parts` ends them in the opposite order."""

    def __init__(
        self, options: Options, journal: Journal, parts: contextlib.AsyncExitStack, listening: socket.socket
    ) -> None:
        self.options = options
        self.journal = journal
        self.parts = parts
        self.listening = listening
        self.folder = options.state.folder
        self.logs = self.folder / "logs"
        self.services: list[Service] = []
        self.postgres = PostgresServer(self.folder / "postgres")
        self.ports = _kept_ports(
            self.folder / "ports.json", ("aws", "github", "notifications", "stripe_emulator")
        )
        kept = Secrets.kept_in(self.folder / "secrets.json")
        self.secrets = replace(kept, jwt_secret=options.given.get("JWT_SECRET") or kept.jwt_secret)
        self.stripe = choose_stripe(options.given, self.secrets, self._url("stripe_emulator"))
        self.places = Places(
            base_url=f"http://{HOST}:{listening.getsockname()[1]}",
            database_port=self.postgres.port,
            aws_endpoint_url=self._url("aws"),
            notifications_url=self._url("notifications"),
            github_api_url=self._url("github"),
        )
        self.template: Template = load_template(
            options.template, aws_endpoint_url=self.places.aws_endpoint_url
        )
        self.settings = Settings(
            self.places, self.secrets, self.stripe, ROOT / "migrations",
            rate_limits=options.rate_limits, given=options.given, added=options.added,
        )  # fmt: skip
        self.functions = self.template.functions
        self.runtime = LambdaRuntime(
            self.functions,
            self.settings.environments(self.template),
            folder=self.folder / "lambda",
            journal=journal,
            limit=options.environments,
            beforehand={
                name: BEFOREHAND for name, function in self.functions.items() if function.url_auth is not None
            },
        )

    async def run(self, announce: Callable[[str], None]) -> None:
        self.parts.push_async_callback(self.runtime.close)
        gateway = Gateway(self.functions, self.runtime, self.journal, Storefront(self.stripe))
        await gateway.open(self.listening)
        self.parts.push_async_callback(gateway.close)
        async with asyncio.TaskGroup() as starts:
            starts.create_task(self._start_database())
            starts.create_task(self._start_service("aws", self._aws_command()))
            if self.stripe.emulated:
                starts.create_task(self._start_service("stripe_emulator", self._emulator_command()))
            starts.create_task(self._open_sinks())
            starts.create_task(self.runtime.open())
        polling = asyncio.create_task(
            run_queue_sources(
                self.functions.values(), self.runtime, self.journal, self.places.aws_endpoint_url
            )
        )
        self.parts.callback(polling.cancel)
        if self.options.schedules:
            schedules = asyncio.create_task(run_schedules(self.functions.values(), self.runtime))
            self.parts.callback(schedules.cancel)
        slot = await asyncio.to_thread(free_slot, self.postgres.url())
        # From here on whatever dies is started again: nothing below may need it at this moment.
        housekeeping = asyncio.create_task(self._keep_house(written := self._write_stack()))
        self.parts.callback(housekeeping.cancel)
        announce(self._banner(written, slot))
        await asyncio.Event().wait()

    async def _start_database(self) -> None:
        await asyncio.to_thread(self.postgres.initialise)
        service = Service(
            "postgres",
            spawn=self.postgres.spawn,
            ready=lambda: asyncio.to_thread(self.postgres.answers),
            log=self.postgres.log,
            journal=self.journal,
            stop_signal=signal.SIGINT,
        )
        await self._run_service(service)
        await asyncio.to_thread(self.postgres.ensure_owner)
        outcome = await self.runtime.invoke(self.functions[MIGRATE], b"{}", patience_s=MIGRATION_PATIENCE_S)
        if outcome.error is not None:
            raise CannotStart(f"migrations failed: {outcome.payload.decode(errors='replace')}")
        await asyncio.to_thread(sample_data.load, self.postgres.url())

    async def _open_sinks(self) -> None:
        for name in ("notifications", "github"):
            sink = Sink(self.folder / f"{name}.jsonl", github=name == "github")
            await sink.open(_listen(self.ports[name]))
            self.parts.push_async_callback(sink.close)

    async def _start_service(self, name: str, command: Sequence[str]) -> None:
        log = self.logs / f"{name}.log"
        port = self.ports[name]
        path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))

        def begin() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return spawn(
                    command,
                    environment=os.environ | {"PYTHONPATH": path},
                    folder=ROOT,
                    output=output,
                )

        await self._run_service(
            Service(name, spawn=begin, ready=lambda: port_answers(port), log=log, journal=self.journal)
        )

    async def _run_service(self, service: Service) -> None:
        self.services.append(service)
        self.parts.push_async_callback(service.stop)
        await service.start()

    def _aws_command(self) -> list[str]:
        values = self.folder / "secret_values.json"
        write_private(values, json.dumps(self.settings.secret_values(self.template)))
        command = [sys.executable, "-m", "local.aws", "--port", str(self.ports["aws"])]
        return [*command, "--template", str(self.options.template), "--secrets", str(values)]

    def _emulator_command(self) -> list[str]:
        command = [sys.executable, "-m", "local.stripe_emulator", "--host", HOST]
        command += ["--port", str(self.ports["stripe_emulator"]), "--state", str(self.folder / "stripe")]
        command += ["--webhook-url", f"{self.places.base_url}/stripe-webhook/"]
        return [
            *command,
            "--webhook-secret",
            self.stripe.webhook_secrets[0],
            "--secret-key",
            self.stripe.secret_key,
        ]

    async def _keep_house(self, written: dict[str, Any]) -> None:
        """Keep the pids in stack.json current, and let go of dead processes' children."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            reap_orphans()
            if self._pids() != written["pids"]:
                written = self._write_stack()

    def _pids(self) -> dict[str, int]:
        pids = {"stack": os.getpid()}
        pids |= {service.name: service.process.pid for service in self.services if service.process}
        return pids | {environment.name: environment.pid for environment in self.runtime.environments()}

    def _write_stack(self) -> dict[str, Any]:
        stack: dict[str, Any] = {
            "base_url": self.places.base_url,
            "functions": self._urls(),
            "database_url": self.places.database_url("app"),
            "database_admin_url": self.places.database_url(OWNER),
            "stripe": {
                "api_base": self.stripe.api_base,
                "secret_key": self.stripe.secret_key,
                "webhook_secrets": list(self.stripe.webhook_secrets),
            },
            "aws_endpoint_url": self.places.aws_endpoint_url,
            "webhook_inbox_queue_url": self.functions["webhook-inbox"].environment["WEBHOOK_INBOX_QUEUE_URL"],
            "notifications_url": self.places.notifications_url,
            "github_api_url": self.places.github_api_url,
            "jwt_secret": self.secrets.jwt_secret,
            "admin_token": self.secrets.admin_token(),
            "pids": self._pids(),
        }
        self.options.state.record_processes(list(stack["pids"].values()))
        write_private(self.options.state.stack_file, json.dumps(stack, indent=2))
        return stack

    def _urls(self) -> dict[str, str]:
        names = [name for name, function in self.functions.items() if function.url_auth is not None]
        return {name: f"{self.places.base_url}/{name}" for name in names}

    def _banner(self, stack: dict[str, Any], slot: str) -> str:
        commands = examples(self._urls(), slot, self.stripe.webhook_secrets[0], stack["admin_token"])
        lines = [f"{url}\n  {commands[name]}" for name, url in self._urls().items()]
        lines += [
            "",
            f"storefront     {self.places.base_url}/",
            f"database       {stack['database_url']}",
            f"Stripe         {self.stripe.api_base}{' (emulated)' if self.stripe.emulated else ''}",
            f"AWS            {stack['aws_endpoint_url']}",
            f"notifications  {stack['notifications_url']}/_requests",
            f"issues         {stack['github_api_url']}/_requests",
            f"logs           {self.logs}",
            f"ready: {self.options.state.stack_file}",
        ]
        return "\n".join(lines)

    def _url(self, name: str) -> str:
        return f"http://{HOST}:{self.ports[name]}"


def _stop_on_signal() -> None:
    """Cancel this task at the first signal; another one shall not disturb the end that it brings."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def stop() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        if task:
            task.cancel()

    for number in signals:
        loop.add_signal_handler(number, stop)


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port), backlog=1024)
    except OSError as error:
        raise CannotStart(
            f"port {port} of {HOST} is not to be had ({error.strerror}): choose another PORT"
        ) from None


def _kept_ports(file: Path, names: Sequence[str]) -> dict[str, int]:
    """A port for each name: that of the last start where it is still free."""
    kept: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    ports: dict[str, int] = {}
    for name in names:
        ports[name] = free_port(kept.get(name))
    file.write_text(json.dumps(ports))
    return ports


def dotenv() -> dict[str, str]:
    """The settings of the repository's .env, if there is one."""
    return read_dotenv(ROOT / ".env")
