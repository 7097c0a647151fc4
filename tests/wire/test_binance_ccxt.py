"""The Binance USD-M server and ccxt.pro, unmodified, in one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from binance_rig import SYMBOL, Desk, client, running, until

pytest.importorskip("ccxt", reason="ccxt is not installed here")

LIMIT_S = 10.0
Body = Callable[[Desk, Any], Awaitable[None]]


def run(body: Body, **more: Any) -> None:
    """Let a body have a server and a client with its markets loaded."""

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S), running(**more) as desk, client(desk) as exchange:
            await exchange.load_markets()
            await body(desk, exchange)

    asyncio.run(whole())


def test_an_order_fills_and_its_user_stream_and_account_agree() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        watching = asyncio.ensure_future(ex.watch_my_trades(SYMBOL))
        await until(lambda: any(s.keys for s in desk.server.hub.streams))
        order = await ex.create_order(SYMBOL, "limit", "buy", 0.5, 70_001.0, {"newClientOrderId": "P00001H00000001", "timeInForce": "IOC"})
        assert (order["status"], order["filled"], order["clientOrderId"]) == ("closed", 0.5, "P00001H00000001")
        (trade,) = await watching
        assert (trade["amount"], trade["price"], trade["side"], trade["order"]) == (0.5, 70_000.1, "buy", order["id"])
        (position,) = await ex.fetch_positions([SYMBOL])
        assert (position["contracts"], position["side"], position["entryPrice"]) == (0.5, "long", 70_000.1)
        balance = await ex.fetch_balance()
        assert balance["USDT"]["total"] == pytest.approx(400_000 - 70_000.1 * 0.5 * 0.0005 - 0.05)

    run(body)
