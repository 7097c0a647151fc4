"""Real ccxt clients without a network: one market each, and requests caught before they leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import cache
from typing import Any

from bot.model.instrument import Instrument, Kind
from bot.venues.perp_client import build
from bot.venues.perp_endpoint import PerpEndpoint
from bot.venues.perp_quirks import QUIRKS

D = Decimal
LIVE = tuple(sorted(e for e, q in QUIRKS.items() if q.live))
IDS = {"okx": "BTC-USDT-SWAP", "binancecoinm": "BTCUSD_PERP"}
CLIENT_ID = "L00001H00000001"


class Caught(Exception):
    """A request was caught."""


def instrument(exchange: str) -> Instrument:
    """BTC's perpetual as the exchange lists it in these tests."""
    inverse = exchange == "binancecoinm"
    return Instrument(
        id=IDS.get(exchange, "BTCUSDT"), venue="perp", kind=Kind.PERP, base="BTC", unit=D(100) if inverse else D("0.01") if exchange == "okx" else D(1),
        tick=D("0.1"), lot=D(1) if inverse else D("0.001"), index_quote="USD" if inverse else "USDT", settle="BTC" if inverse else "USDT", inverse=inverse,
        product="BTC", funding_interval_s=28_800, funding_cap=0.003,
    )  # fmt: skip


def market(client: Any, x: Instrument) -> dict[str, Any]:
    """That perpetual as a market of ccxt."""
    found: dict[str, Any] = client.safe_market_structure({
        "id": IDS.get(client.id, "BTCUSDT"), "lowercaseId": "btcusdt", "symbol": f"{x.base}/{x.index_quote}:{x.settle}", "base": x.base, "quote": x.index_quote,
        "settle": x.settle, "baseId": x.base, "quoteId": x.index_quote, "settleId": x.settle, "type": "swap", "spot": False, "swap": True, "future": False,
        "option": False, "contract": True, "linear": not x.inverse, "inverse": x.inverse, "subType": "inverse" if x.inverse else "linear",
        "contractSize": float(x.unit), "active": True, "precision": {"price": float(x.tick), "amount": float(x.lot), "base": 1e-8, "quote": 1e-8},
        "limits": {"amount": {}, "price": {}, "cost": {}, "leverage": {}}, "info": {"orderTypes": ["LIMIT", "MARKET"], "contractType": "PERPETUAL"},
    })  # fmt: skip
    return found


@asynccontextmanager
async def client(exchange: str, **more: Any) -> AsyncIterator[Any]:
    """A client of an exchange that knows one market and catches every request in `caught`: (method, url, body)."""
    made = build(PerpEndpoint(exchange=exchange, key="the-key", secret="the-secret", password="the-phrase", **more), time.time_ns)
    session = made.session
    made.set_markets([market(made, instrument(exchange))], {})
    made.options["enableUnifiedMargin"], made.options["enableUnifiedAccount"] = False, True
    made.caught = []

    async def fetch(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        made.caught.append((method, url, body or "", headers or {}))
        raise Caught

    made.fetch = fetch
    try:
        yield made
    finally:
        made.session = None
        await session.close()


@cache
def still(exchange: str, **more: Any) -> Any:
    """A client that only parses and judges, made once: making one takes a quarter of a second."""

    async def made() -> Any:
        async with client(exchange, **more) as found:
            return found

    return asyncio.run(made())


def on(exchange: str, body: Callable[[Any], Awaitable[None]], **more: Any) -> None:
    """Let a body have a client."""

    async def whole() -> None:
        async with asyncio.timeout(10.0), client(exchange, **more) as made:
            await body(made)

    asyncio.run(whole())
