"""The emulator as an HTTP server on loopback."""

import asyncio
import ipaddress
import socket
from contextlib import suppress

from aiohttp import web

from local.stripe_emulator import sessions, settlement
from local.stripe_emulator.account import Account
from local.stripe_emulator.api import Api
from local.stripe_emulator.controls import Controls
from local.stripe_emulator.delivery import Courier
from local.stripe_emulator.hosted_page import HostedPages

_CLOCK_INTERVAL_S = 0.25
_SHUTDOWN_S = 1
_LARGEST_BODY = 1024 * 1024


def application(account: Account) -> web.Application:
    """The emulator's routes over one account."""
    app = web.Application(client_max_size=_LARGEST_BODY)
    app.add_routes(Controls(account).routes())
    app.add_routes(HostedPages(account).routes())
    app.router.add_route("*", "/{path:.*}", Api(account).handle)
    return app


def loopback_socket(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 chooses one. ValueError for an address that others could reach."""
    address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    if not address.is_loopback:
        raise ValueError(f"the emulator binds loopback only, not {host}")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((str(address), port))
    return bound


async def serve(account: Account, bound: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; prints `ready <url>` once requests are answered."""
    runner = web.AppRunner(application(account), access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    host, port = bound.getsockname()[:2]
    account.public_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    background = [asyncio.create_task(_follow_the_clock(account))]
    if account.settings.webhook_url is not None:
        courier = Courier(account, account.settings.webhook_url)
        account.events_waiting = courier.wake
        background.append(asyncio.create_task(courier.run()))
    await web.SockSite(runner, bound).start()
    print(f"ready {account.public_url}", flush=True)
    stopped = asyncio.create_task(stop.wait())
    # A background task never ends by itself: if one does, it has failed, and so has the emulator.
    await asyncio.wait([*background, stopped], return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in background if task.done()]
    for task in (*background, stopped):
        task.cancel()
    for task in background:
        if task not in failed:
            with suppress(asyncio.CancelledError):
                await task
    await runner.cleanup()
    for task in failed:
        task.result()


async def _follow_the_clock(account: Account) -> None:
    while True:
        sessions.expire_overdue(account)
        settlement.settle_due(account)
        await asyncio.sleep(_CLOCK_INTERVAL_S)
