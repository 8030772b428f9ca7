"""One execution environment: a process that runs `awslambdaric`, and the Runtime API that it talks to.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from aiohttp import web

from local.child import spawn
from local.invocation import PAYLOAD_LIMIT, Outcome, error_payload
from local.journal import Journal
from local.lambda_runtime.blueprint import Blueprint

INIT_PATIENCE_S = 30.0  # AWS gives 10 s and then a second try; here several may start on two cores
NEXT = "/2018-06-01/runtime/invocation/next"
INIT_ERROR = "/2018-06-01/runtime/init/error"
INVOCATION = "/2018-06-01/runtime/invocation/"
PAGE = os.sysconf("SC_PAGE_SIZE")
READ_SIZE = 64 * 1024
TAIL_LINES = 30
STOPPING_S = 0.05  # until all of its threads have stopped
CONNECTION_LIFE_S = 3600.0  # idle while the function works: longer than any may


class InitFailed(Exception):
    """The process never asked for work; `payload` is what its invocations are answered, `log` its last lines."""

    def __init__(self, kind: str, payload: bytes, log: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.payload = payload
        self.log = log


class Owner(Protocol):
    """Whoever hands out the work."""

    def ready(self, environment: "ExecutionEnvironment") -> None:
        """The process has finished what it had and asks for more."""

    def gone(self, environment: "ExecutionEnvironment") -> None:
        """The process is no more."""


@dataclass
class _Invocation:
    """The one that runs now."""

    request_id: str
    payload: bytes
    began: float
    cold: bool
    outcome: asyncio.Future[Outcome]
    cause: tuple[str, str] | None = None  # why we killed it: error type and message


class ExecutionEnvironment:
    """Starts its process, hands it one event at a time, and keeps it frozen in between."""

    def __init__(self, blueprint: Blueprint, name: str, owner: Owner, journal: Journal) -> None:
        self.blueprint = blueprint
        self.name = name
        self.owner = owner
        self.journal = journal
        self.alive = False
        self.process: subprocess.Popen[bytes] | None = None
        self.peak_bytes = 0
        self._is_resting = False  # frozen; one that goes from event to event is not
        self._is_warm = False  # started beforehand, or has served: under load it serves many without a rest
        self._loop = asyncio.get_running_loop()
        self._first_next: asyncio.Future[None] = self._loop.create_future()
        self._waiting: asyncio.Future[_Invocation | None] | None = None
        self._current: _Invocation | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._init_error: bytes | None = None
        self._server: asyncio.Server | None = None
        self._api = web.Server(self._serve, keepalive_timeout=CONNECTION_LIFE_S)
        self._ended = asyncio.Event()
        self._frozen_at = 0.0
        self._pidfd = self._log_end = -1
        self._rest = b""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    @property
    def pid(self) -> int:
        """Of its process, once started."""
        return self.process.pid if self.process else 0

    async def start(self) -> None:
        """Start the process and wait until it asks for its first event; raises InitFailed."""
        self._server = await self._loop.create_server(self._api, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self._log_end, write_end = os.pipe()
        os.set_blocking(self._log_end, False)
        try:
            self.process = spawn(
                self.blueprint.command,
                environment={**self.blueprint.environment, "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}"},
                folder=self.blueprint.task_root,
                output=write_end,
            )
        finally:
            os.close(write_end)
        self.alive = True
        self._pidfd = os.pidfd_open(self.process.pid)
        self._loop.add_reader(self._pidfd, self._exited)
        self._loop.add_reader(self._log_end, self._read_log)
        try:
            async with asyncio.timeout(INIT_PATIENCE_S):
                await asyncio.shield(self._first_next)
        except TimeoutError:
            self._first_next.cancel()
            self.kill()
            message = f"Init timed out after {INIT_PATIENCE_S:.0f} seconds"
            raise self._init_failure("Sandbox.Timedout", message) from None
        except asyncio.CancelledError:
            self._first_next.cancel()
            raise

    def still_lives(self) -> bool:
        """Whether it can take an event: one that was killed while it rested is dying, and no longer stopped."""
        if not self.alive or not self._is_resting or self._loop.time() - self._frozen_at < STOPPING_S:
            return self.alive
        try:
            if os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
        except ChildProcessError:  # it has died and was reaped; the loop is about to hear of it
            return False
        self.kill()  # whatever woke it: it is not used again
        return False

    async def invoke(self, payload: bytes, request_id: str | None = None) -> Outcome:
        """Hand the process one event; it must have asked for it."""
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.done():
            raise RuntimeError(f"{self.name} has not asked for an event")
        cold, self._is_warm = not self._is_warm, True
        request_id = request_id or str(uuid.uuid4())
        current = _Invocation(request_id, payload, time.monotonic(), cold, self._loop.create_future())
        self._current = current
        timeout = self.blueprint.function.timeout_s
        self._deadline = self._loop.call_later(timeout, self._timed_out, current)
        if self._is_resting:
            self._is_resting = False
            self._signal(signal.SIGCONT)
        waiting.set_result(current)
        return await current.outcome

    def freeze(self) -> None:
        """Stop the process where it is until the next event, as Lambda does."""
        self._is_resting = self._is_warm = True
        self._frozen_at = self._loop.time()
        self._signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End the process at once; a stopped one hears no other signal."""
        self._signal(signal.SIGKILL)

    def check_memory(self) -> None:
        """Kill the process if it uses more than its function may."""
        current = self._current
        if current is None or not self.alive:
            return
        try:
            resident = int(Path(f"/proc/{self.pid}/statm").read_bytes().split()[1]) * PAGE
        except OSError:
            return
        self.peak_bytes = max(self.peak_bytes, resident)
        if resident > self.blueprint.function.memory_mb * 1024 * 1024:
            message = f"RequestId: {current.request_id} Error: Runtime exited with error: signal: killed"
            current.cause = ("Runtime.OutOfMemory", message)
            self.kill()

    async def close(self) -> None:
        """Kill the process and wait until nothing is left of it."""
        self.kill()
        if self.alive:
            await self._ended.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.alive and self.process:
            with contextlib.suppress(ProcessLookupError):  # it is ending; _exited will hear of it
                os.killpg(self.process.pid, number)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if request.method == "GET" and path == NEXT:
            return await self._next()
        if request.method == "POST" and path == INIT_ERROR:
            self._init_error = await _body(request)
            return _accepted()
        if request.method == "POST" and path.startswith(INVOCATION):
            request_id, _, kind = path.removeprefix(INVOCATION).partition("/")
            body = await _body(request)
            if self._current is None or self._current.request_id != request_id:
                return web.Response(status=HTTPStatus.BAD_REQUEST, text="no such invocation")
            self._finish(self._current, body, failed=kind == "error")
            return _accepted()
        return web.Response(status=HTTPStatus.NOT_FOUND)

    async def _next(self) -> web.StreamResponse:
        self._read_log()
        self._report("success")
        self._waiting = waiting = self._loop.create_future()
        if not self._first_next.done():
            self._first_next.set_result(None)  # the pool takes it from here
        else:
            self.owner.ready(self)
        current = await waiting
        if current is None:
            return web.Response(status=HTTPStatus.GONE)
        function = self.blueprint.function
        deadline = time.time() * 1000 + function.timeout_s * 1000
        return web.Response(
            body=current.payload,
            headers={
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": current.request_id,
                "Lambda-Runtime-Deadline-Ms": str(int(deadline)),
                "Lambda-Runtime-Invoked-Function-Arn": function.arn,
                "Lambda-Runtime-Trace-Id": _trace_id(),
            },
        )

    def _finish(self, current: _Invocation, payload: bytes, *, failed: bool) -> None:
        error = _error_type(payload) if failed else None
        if len(payload) > PAYLOAD_LIMIT:
            error = "Function.ResponseSizeTooLarge"
            message = f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_LIMIT} bytes)."
            payload = error_payload(error, message)
        self._resolve(current, payload, error)

    def _resolve(self, current: _Invocation, payload: bytes, error: str | None) -> None:
        if not current.outcome.done():
            ms = (time.monotonic() - current.began) * 1000
            current.outcome.set_result(Outcome(payload, error, current.request_id, ms, current.cold))

    def _timed_out(self, current: _Invocation) -> None:
        timeout = self.blueprint.function.timeout_s
        message = f"RequestId: {current.request_id} Error: Task timed out after {timeout:.2f} seconds"
        current.cause = ("Sandbox.Timedout", message)
        self.kill()

    def _exited(self) -> None:
        """The process has ended: whoever waits for it learns so, and nothing of it stays open."""
        if self.process is None or not self.alive:
            return
        code = self.process.poll()
        if code is None:
            return
        self.alive = False
        self._read_log()
        if self._rest:
            self._log_line(self._rest)
        for end in (self._pidfd, self._log_end):
            self._loop.remove_reader(end)
            os.close(end)
        status = f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if not self._first_next.done():
            message = f"Error: Runtime exited with error: {status}"
            self._first_next.set_exception(self._init_failure("Runtime.ExitError", message))
        if current := self._current:
            message = f"RequestId: {current.request_id} Error: Runtime exited with error: {status}"
            kind, message = current.cause or ("Runtime.ExitError", message)
            self._resolve(current, error_payload(kind, message), kind)
            self._report(kind)
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)
        if self._server:
            self._server.close()
        self._ended.set()
        self.owner.gone(self)

    def _init_failure(self, kind: str, message: str) -> InitFailed:
        payload = self._init_error or error_payload(kind, message)
        return InitFailed(_error_type(payload), payload, "\n".join(self._tail))

    def _report(self, status: str) -> None:
        """Close the books on the invocation, as Lambda's REPORT line does."""
        current, self._current = self._current, None
        if current is None:
            return
        if self._deadline:
            self._deadline.cancel()
        ms = (time.monotonic() - current.began) * 1000
        report: dict[str, object] = {
            "type": "platform.report",
            "request_id": current.request_id,
            "status": status,
        }
        report |= {"duration_ms": round(ms, 1), "cold": current.cold, "environment": self.name}
        if self.peak_bytes:
            report["peak_memory_mb"] = round(self.peak_bytes / 1024 / 1024)
        self.journal.log(self.blueprint.function.name, report)

    def _read_log(self) -> None:
        """Take whatever the process has written so far."""
        if self._log_end < 0:
            return
        while True:
            try:
                chunk = os.read(self._log_end, READ_SIZE)
            except (BlockingIOError, OSError):
                return
            if not chunk:
                self._loop.remove_reader(self._log_end)
                return
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._log_line(line)

    def _log_line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            if not self._first_next.done():
                self._tail.append(text)
            self.journal.log(self.blueprint.function.name, text)


async def _body(request: web.BaseRequest) -> bytes:
    """The whole body; a little more than the limit is enough to know that it is too large."""
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        if size <= PAYLOAD_LIMIT:
            parts.append(chunk)
        size += len(chunk)
    return b"".join(parts)


def _accepted() -> web.Response:
    return web.Response(status=HTTPStatus.ACCEPTED)


def _trace_id() -> str:
    return f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Parent={uuid.uuid4().hex[:16]};Sampled=0"


def _error_type(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["errorType"])
    except (ValueError, KeyError, TypeError):
        return "Unhandled"
