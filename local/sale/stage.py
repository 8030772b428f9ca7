"""What a sale needs before the doors open: a shop with a hall, buyers' browsers, a weather, and a network that can be cut."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from local.breakage.cuts import CutPlan
from local.breakage.kills import Kills
from local.breakage.proxy import DatabaseProxy, cut_network
from local.own_cloud import OwnCloud
from local.postgres import DATABASE
from local.sale.browser import Browser
from local.sale.buyers import Buyer, Catalogue, Crowd
from local.sale.hall_operator import Operator
from local.sale.programme import Programme
from local.sale.sale import Sale
from local.sale.script import Script
from local.sale.shop import Shop
from local.sale.studio import CLASS, Studio
from local.sale.weather import Weather

CALL_TIMEOUT_S = 60


@dataclass(frozen=True)
class Stage:
    """A running cloud, a sale in it, and what breaks both."""

    cloud: OwnCloud
    sale: Sale
    kills: Kills
    cuts: CutPlan
    network: DatabaseProxy


def through_proxy(port: int) -> dict[str, str]:
    """The functions' environment where the database stands behind a proxy of ours."""
    return {"DATABASE_URL": f"postgresql://app@127.0.0.1:{port}/{DATABASE}"}


@asynccontextmanager
async def on_stage(
    cloud: OwnCloud,
    proxy_port: int,
    programme: Programme,
    *,
    seed: str,
    seats: int,
    scripts: Sequence[Script] = (),
    sabotage: str | None = None,
) -> AsyncGenerator[Stage]:
    """Everything in place, as soon as the cloud is up; `sabotage` is SQL that switches a guard off first."""
    stack = await cloud.ready()
    stripe = stack["stripe"]
    cuts = CutPlan(Random(f"{seed}:cuts"))
    connector, timeout = TCPConnector(limit=0), ClientTimeout(total=CALL_TIMEOUT_S)
    async with (
        cut_network(proxy_port, lambda: cloud.stack["database_url"], cuts) as network,
        ClientSession(connector=connector, timeout=timeout) as http,
    ):
        shop = Shop(http, stack["functions"])
        offerings = {offering["slug"]: offering for offering in await shop.offerings()}
        catalogue = await _catalogue(shop, offerings)
        operator = Operator(stack["database_admin_url"], catalogue.concert_id, catalogue.chair_id)
        await operator.open_hall(seats)
        if sabotage:
            programme.say("A guard is switched off: this should be found.")
            await operator.sabotage(sabotage)
        crowd = Crowd(shop, Browser(http, stripe["api_base"], stripe["secret_key"]), catalogue, seed)
        sale = Sale(
            http=http,
            base_url=stack["base_url"],
            buyers=[Buyer(script, crowd) for script in scripts],
            crowd=crowd,
            studio=Studio(
                shop,
                stack["admin_token"],
                stack["jwt_secret"],
                unit_amount=offerings[CLASS]["unit_amount"],
                credits_price=offerings[CLASS]["credits_price"],
            ),
            operator=operator,
            weather=Weather(http, stripe["api_base"], Random(f"{seed}:weather")),
            programme=programme,
            random=Random(f"{seed}:waiting list"),
        )
        yield Stage(cloud, sale, Kills(cloud, Random(f"{seed}:kills")), cuts, network)


async def _catalogue(shop: Shop, offerings: Mapping[str, Any]) -> Catalogue:
    concert, haircut = offerings["autumn-concert"], offerings["haircut"]
    return Catalogue(
        concert_id=(await shop.slots("autumn-concert"))[0]["id"],
        chair_id=(await shop.slots("haircut"))[0]["id"],
        seat_amount=concert["unit_amount"],
        chair_amount=haircut["unit_amount"],
        add_ons=[(add_on["id"], add_on["unit_amount"]) for add_on in concert["add_ons"]],
        currency=concert["currency"],
    )
