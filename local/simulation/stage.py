"""The cloud that a simulation has to itself, and everybody's way into it."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from local.breakage.kills import Traps
from local.breakage.proxy import cut_network
from local.own_cloud import OwnCloud, cloud_of_its_own
from local.postgres import DATABASE
from local.sale.hall_operator import Operator
from local.sale.shop import Shop
from local.sale.stage import CALL_TIMEOUT_S
from local.simulation.booking_records import POLICY
from local.simulation.database_side import DatabaseSide
from local.simulation.network import StepNetwork
from local.simulation.stripe_side import StripeSide
from local.simulation.world import World

METHOD_TYPES = "card,sepa_debit,boleto"


@contextmanager
def simulated_cloud(folder: Path, proxy_port: int) -> Generator[OwnCloud]:
    """A cloud in which nothing happens by itself: no schedules, no deliveries, no kicks of the outbox."""
    environment = {
        "DATABASE_URL": f"postgresql://app@127.0.0.1:{proxy_port}/{DATABASE}",
        "KILL_POINT_FILE": str(_traps(folder).file),
        "CLOCK_SHIFT_FILE": str(_clock_file(folder)),
        "PAYMENT_METHOD_TYPES": METHOD_TYPES,
        "CANCEL_POLICY": POLICY,
        "DELIVER_OUTBOX_FUNCTION": "",
    }
    with cloud_of_its_own(folder, environment, schedules=False) as cloud:
        yield cloud


@asynccontextmanager
async def world_of(cloud: OwnCloud, proxy_port: int) -> AsyncGenerator[World]:
    """The world of a cloud, as soon as that is ready."""
    stack = await cloud.ready()
    folder, network = cloud.state.folder, StepNetwork()
    connector, timeout = TCPConnector(limit=0), ClientTimeout(total=CALL_TIMEOUT_S)
    database = DatabaseSide(stack["database_admin_url"], folder / "stripe" / "stripe_emulator.sqlite3")
    async with (
        cut_network(proxy_port, lambda: cloud.stack["database_url"], network),
        ClientSession(connector=connector, timeout=timeout) as http,
    ):
        try:
            yield World(
                shop=Shop(http, stack["functions"], patience_s=0.0),
                stripe=StripeSide(
                    http,
                    stack["stripe"]["api_base"],
                    stack["stripe"]["secret_key"],
                    stack["stripe"]["webhook_secrets"][0],
                    stack["functions"]["stripe-webhook"] + "/",
                ),
                database=database,
                operator=Operator(stack["database_admin_url"], "", ""),
                network=network,
                traps=_traps(folder),
                clock_file=_clock_file(folder),
                base_url=stack["base_url"],
                jwt_secret=stack["jwt_secret"],
                queue_url=stack["webhook_inbox_queue_url"],
                kill=cloud.kill,
            )
        finally:
            await database.close()


def _traps(folder: Path) -> Traps:
    return Traps(folder.resolve() / "kill-points")


def _clock_file(folder: Path) -> Path:
    return folder.resolve() / "clock-shift"
