"""A random hour at the Binance USD-M server: what the user stream told, what REST answers and what the exchange holds agree."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from aiohttp import ClientSession
from binance_rig import BTC, D, Desk, running
from test_binance_socket import Raw

from bot.sim.exchange import ADL
from bot.sim.floor import OFFSHORE_RULES

LIMIT_S = 20.0
STEPS = 60


async def step(desk: Desk, raw: Raw, rng: random.Random, open_ids: list[str], n: int) -> None:
    """Let something happen."""
    x = desk.exchange.listings[BTC.id]
    assert x.quote is not None
    kind = rng.random()
    if kind < 0.35:
        desk.to(desk.at + 60.0 * rng.random())
        bid = round(x.quote.bid + 40.0 * (rng.random() - 0.5), 1)
        desk.quote(bid, round(bid + 0.1 + 2.0 * rng.random(), 1), size=round(0.1 + 5.0 * rng.random(), 3))
        desk.mark(bid)
    elif kind < 0.8:
        side, qty = rng.choice(["BUY", "SELL"]), round(0.002 + 2.0 * rng.random(), 3)
        order = f"symbol=BTCUSDT&side={side}&quantity={qty}&newClientOrderId=n-{n}"
        if rng.random() < 0.5:
            order += "&type=MARKET"
        else:
            order += f"&type=LIMIT&timeInForce={rng.choice(['GTC', 'IOC', 'GTX', 'FOK'])}&price={round(x.quote.bid + 6.0 * (rng.random() - 0.5), 1)}"
        status, answer = await raw.signed("POST", "/fapi/v1/order", order)
        assert status == 200 or answer["code"] in (-5021, -5022, -2019, -4131), answer
        open_ids.append(f"n-{n}")
    elif kind < 0.95 and open_ids:
        status, answer = await raw.signed("DELETE", "/fapi/v1/order", f"symbol=BTCUSDT&origClientOrderId={rng.choice(open_ids)}")
        assert status == 200 or answer["code"] == -2011, answer
    elif x.position.qty:
        desk.exchange.seize(BTC.id, D("0.3"), ADL, desk.world.clock())
        desk.to(desk.at + 1.0)
        desk.quote(x.quote.bid, x.quote.ask)


async def told(socket: Any, until_id: str) -> list[dict[str, Any]]:
    """Return what the user stream said up to an order's end."""
    found: list[dict[str, Any]] = []
    while not found or found[-1].get("o", {}).get("c") != until_id or found[-1]["o"]["X"] != "CANCELED":
        found.append(await socket.receive_json())
    return found


async def _hour(seed: int) -> None:
    rng = random.Random(seed)
    async with asyncio.timeout(LIMIT_S), running(rules=OFFSHORE_RULES) as desk, ClientSession() as session:
        raw = Raw(desk, session)
        socket = await raw.user()
        open_ids: list[str] = []
        for n in range(STEPS):
            await step(desk, raw, rng, open_ids, n)
        bid = desk.exchange.listings[BTC.id].quote.bid  # type: ignore[union-attr]
        last = f"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price={bid - 900:.1f}&newClientOrderId=end"
        assert (await raw.signed("POST", "/fapi/v1/order", last))[0] == 200
        await raw.signed("DELETE", "/fapi/v1/order", "symbol=BTCUSDT&origClientOrderId=end")
        await check(desk, raw, await told(socket, "end"), seed)


async def check(desk: Desk, raw: Raw, events: list[dict[str, Any]], seed: int) -> None:
    """Compare the three."""
    trades = [e["o"] for e in events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["t"]]
    _, rows = await raw.signed("GET", "/fapi/v1/userTrades", "symbol=BTCUSDT&limit=1000")
    assert [(t["t"], t["i"], t["l"], t["L"], t["n"], t["rp"]) for t in trades] == [
        (r["id"], r["orderId"], r["qty"], r["price"], r["commission"], r["realizedPnl"]) for r in rows
    ], seed
    _, orders = await raw.signed("GET", "/fapi/v1/allOrders", "symbol=BTCUSDT&limit=1000")
    last = {e["o"]["i"]: e["o"] for e in events if e["e"] == "ORDER_TRADE_UPDATE" and not e["o"]["c"].startswith("adl")}
    assert {o["orderId"]: (o["status"], o["executedQty"], o["clientOrderId"]) for o in orders} == {i: (o["X"], o["z"], o["c"]) for i, o in last.items()}, seed
    assert {o["status"] for o in orders if o["timeInForce"] == "IOC" or o["type"] == "MARKET"} <= {"FILLED", "EXPIRED"}, seed
    assert not [o for o in orders if o["timeInForce"] in ("GTC", "GTX") and o["type"] == "LIMIT" and o["status"] == "EXPIRED"], seed
    for order in orders:
        _, again = await raw.signed("GET", "/fapi/v1/order", f"symbol=BTCUSDT&orderId={order['orderId']}")
        assert again == order, seed
    done: dict[int, Any] = {}
    for t in trades:
        done[t["i"]] = done.get(t["i"], 0) + D(t["l"])
        assert (D(t["z"]), t["X"] == "FILLED") == (done[t["i"]], done[t["i"]] == D(t["q"])), seed
    _, working = await raw.signed("GET", "/fapi/v1/openOrders")
    assert {o["orderId"] for o in working} == {desk.server.blotter.order_id(c) for c in desk.exchange.listings[BTC.id].resting}, seed
    accounts = [e["a"] for e in events if e["e"] == "ACCOUNT_UPDATE"]
    cash = desk.exchange.account.cash["USDT"]
    _, incomes = await raw.signed("GET", "/fapi/v1/income", "limit=1000")
    assert abs(sum(D(row["income"]) for row in incomes) - (cash - 400_000)) < D("0.00001"), seed
    if accounts:
        assert accounts[-1]["B"][0]["wb"] == f"{cash:.8f}", seed
        assert D(accounts[-1]["P"][0]["pa"]) == desk.exchange.positions().get(BTC.id, D(0)), seed


@pytest.mark.parametrize("seed", range(12))
def test_stream_rest_and_exchange_agree(seed: int) -> None:
    asyncio.run(_hour(seed))
