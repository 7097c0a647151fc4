"""ib_insync, unmodified, as the client of a server that a test runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tws_rig import Desk, running

pytest.importorskip("ib_insync", reason="ib_insync is not installed here")

LIMIT_S = 10.0
Body = Callable[[Desk, Any], Awaitable[None]]


async def client(desk: Desk, number: int = 1) -> Any:
    """Return an ib_insync client that is connected."""
    asyncio.set_event_loop(asyncio.get_running_loop())
    from ib_insync import IB

    ib = IB()
    await ib.connectAsync("127.0.0.1", desk.server.port, clientId=number, timeout=4)
    return ib


def run(body: Body, **more: Any) -> None:
    """Let a body have a server and a connected client."""

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S), running(**more) as desk:
            ib = await client(desk)
            try:
                await body(desk, ib)
            finally:
                ib.disconnect()

    asyncio.run(whole())


def future() -> Any:
    """Return the contract the exchange lists, as a client would ask for it."""
    from ib_insync import Future

    return Future("MBT", "202611", "CME", multiplier="0.1", currency="USD")


async def qualified(ib: Any) -> Any:
    """Return the contract with its number."""
    (found,) = await ib.qualifyContractsAsync(future())
    return found


def limit(side: str, qty: int, price: float, **more: Any) -> Any:
    """Return a limit order with its time in force."""
    from ib_insync import LimitOrder

    return LimitOrder(side, qty, price, **{"tif": "DAY", **more})
