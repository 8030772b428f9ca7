"""What the functions in their containers talk to: PostgreSQL, Stripe's emulator, AWS's stand-in, a notification sink."""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.child import free_port
from local.postgres import PostgresServer
from local.settings import Places, Secrets, Settings, Stripe
from local.template import load_template
from tests.emulator_process import SECRET_KEY, WEBHOOK_SECRET, emulator
from tests.sam_local.engine import host_address, reachable
from tests.sam_local.expected import ROOT
from tests.sam_local.serving import LOOPBACK, serving
from tests.support.receiver import Receiver, receiving

TEMPLATE = ROOT / "template.yaml"


@dataclass(frozen=True)
class Surroundings:
    """Where all that is, as seen from this machine; `environments`, by logical id, as containers see it."""

    postgres: PostgresServer
    gateway_port: int
    stripe_url: str
    notified: Receiver
    environments: Mapping[str, Mapping[str, str]]


@contextmanager
def surroundings(folder: Path) -> Generator[Surroundings]:
    """Everything runs and is reached from containers until the end; the database is empty, the gateway not there."""
    host = host_address()
    gateway_port, aws_port = free_port(), free_port()
    postgres = PostgresServer(folder / "postgres", durable=False)
    postgres.start()
    with ExitStack() as parts:
        parts.callback(postgres.stop)
        parts.enter_context(_python(aws_port, folder / "aws.log", "local.aws"))
        webhook_url = f"http://{LOOPBACK}:{gateway_port}/stripe-webhook/"
        stripe = parts.enter_context(emulator(folder / "stripe", webhook_url=webhook_url))
        notified = parts.enter_context(receiving())
        sink_port = int(notified.url.rpartition(":")[2])
        parts.enter_context(reachable(host, [gateway_port, aws_port, postgres.port, stripe.port, sink_port]))
        places = Places(
            base_url=f"http://{host}:{gateway_port}",
            database_port=postgres.port,
            aws_endpoint_url=f"http://{host}:{aws_port}",
            notifications_url=f"http://{host}:{sink_port}",
            github_api_url=f"http://{host}:{sink_port}",
            host=host,
        )
        emulated = Stripe(f"http://{host}:{stripe.port}", SECRET_KEY, (WEBHOOK_SECRET,), emulated=True)
        template = load_template(TEMPLATE, aws_endpoint_url=places.aws_endpoint_url)
        migrations = Path(template.functions["migrate"].environment["MIGRATIONS_DIR"])
        secrets = Secrets.kept_in(folder / "secrets.json")
        environments = Settings(places, secrets, emulated, migrations, rate_limits=True).environments(
            template
        )
        yield Surroundings(
            postgres,
            gateway_port,
            stripe.url,
            notified,
            {template.functions[name].logical_id: values for name, values in environments.items()},
        )


@contextmanager
def gateway(port: int, lambda_endpoint: str, folder: Path) -> Generator[str]:
    """The gateway of `make up` in front of an Invoke API: every function under one address."""
    command = ["local.gateway", "--lambda-endpoint", lambda_endpoint, "--logs", str(folder / "logs")]
    with _python(port, folder / "gateway.log", *command):
        yield f"http://{LOOPBACK}:{port}"


def _python(port: int, log: Path, *arguments: str) -> AbstractContextManager[None]:
    """One of this repository's servers."""
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "shared"))
    return serving(
        [sys.executable, "-m", *arguments, "--port", str(port), "--template", str(TEMPLATE)],
        port,
        environment=os.environ | {"PYTHONPATH": path},
        folder=ROOT,
        log=log,
    )
