"""Command line: `python -m local.stripe_emulator --state DIR --secret-key sk_test_... ...`."""

import argparse
import asyncio
import random
import signal
import socket
import sys
import time
from pathlib import Path

from local.stripe_emulator.account import API_VERSION, Account, Settings
from local.stripe_emulator.authentication import is_live
from local.stripe_emulator.faults import load_faults
from local.stripe_emulator.server import loopback_socket, serve
from local.stripe_emulator.storage import Storage


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.stripe_emulator",
        description="Emulates the payments part of Stripe's API; prints 'ready URL' once it listens.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to bind (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to bind; 0, the default, chooses one")
    parser.add_argument("--state", type=Path, required=True, help="directory that holds the state")
    parser.add_argument("--secret-key", required=True, help="the account's key, sk_test_...")
    parser.add_argument("--webhook-url", help="where events are delivered; without it none are")
    parser.add_argument("--webhook-secret", default="", help="signs the events, whsec_...")
    parser.add_argument(
        "--api-version", default=API_VERSION, help="API version that events carry (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, help="repeats what is left to chance: drops, shuffles, probabilities"
    )
    return parser.parse_args()


def main() -> int:
    """Run until interrupted or terminated; exit status 2 for arguments that are refused."""
    arguments = _arguments()
    if is_live(arguments.secret_key) or not arguments.secret_key.startswith("sk_test_"):
        return _refuse("--secret-key must be a test key, sk_test_...: the emulator never takes a live one")
    if arguments.webhook_url is not None and not arguments.webhook_secret:
        return _refuse("--webhook-url needs --webhook-secret")
    try:
        bound = loopback_socket(arguments.host, arguments.port)
    except (ValueError, OSError) as error:
        return _refuse(f"--host {arguments.host} --port {arguments.port}: {error}")
    settings = Settings(
        arguments.secret_key, arguments.api_version, arguments.webhook_url, arguments.webhook_secret
    )
    storage = Storage(arguments.state)
    chance = random.Random(arguments.seed)
    account = Account(settings, storage, time.time, chance, faults=load_faults(storage))
    asyncio.run(_serve_until_signalled(account, bound))
    storage.close()
    return 0


async def _serve_until_signalled(account: Account, bound: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(account, bound, stop)


def _refuse(message: str) -> int:
    print(f"stripe emulator: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
