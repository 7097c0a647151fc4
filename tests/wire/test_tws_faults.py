"""What the broker's wire can suffer, each kind once, as ib_insync comes to know of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tws_client import client, limit, qualified, run
from tws_rig import MBT, START, Desk, S, until

from bot.sim.faults import Fault, FaultKind

K = FaultKind
QUOTES = tuple((float(n), 70_000.0 + 10 * n, 70_010.0 + 10 * n, 8.0) for n in range(60))
"""One quote a second, each 10 higher."""


def fault(kind: FaultKind, at_s: float = 4.5, for_s: float = 10.0, **args: float) -> dict[str, Any]:
    """Return a rig's arguments: quotes every second and one fault."""
    return {"quotes": QUOTES, "faults": (Fault(at_ns=START + int(at_s * S), venue="cme", kind=kind, for_ns=int(for_s * S), args=args),)}


def codes(ib: Any) -> list[tuple[int, int]]:
    """Return (request, code) of every error and notice from now on, a list that grows."""
    seen: list[tuple[int, int]] = []
    ib.errorEvent += lambda req, code, text, contract: seen.append((req, code))
    return seen


async def quiet(ib: Any) -> None:
    """Wait until the server has answered a question, and so has sent everything before."""
    await ib.reqCurrentTimeAsync()


def test_drop_cuts_everybody_and_refuses_until_it_ends() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        gone: list[bool] = []
        ib.disconnectedEvent += lambda: gone.append(True)
        trade = ib.placeOrder(await qualified(ib), limit("BUY", 1, 69_000, orderRef="A1"))
        await until(lambda: trade.orderStatus.status == "Submitted")
        desk.to(5.0)
        await until(lambda: gone)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", desk.server.port)
        desk.to(15.0)
        again = await client(desk)
        assert [t.order.orderRef for t in again.openTrades()] == ["A1"]
        again.disconnect()
        assert desk.site.plan.hits == {K.DROP: 1}

    run(body, **fault(K.DROP))


def test_mute_takes_connections_and_answers_nobody() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        contract = await qualified(ib)
        desk.to(5.0)
        ib.placeOrder(contract, limit("BUY", 1, 70_100))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ib.reqCurrentTimeAsync(), 0.1)
        with pytest.raises((TimeoutError, ConnectionError)):
            await asyncio.wait_for(client(desk, 2), 0.2)
        assert ib.isConnected() and desk.exchange.orders == {}
        desk.to(15.0)
        await until(lambda: not ib.isConnected())
        again = await client(desk)
        assert again.isConnected() and not again.openTrades()
        again.disconnect()
        assert desk.site.plan.hits[K.MUTE] == 2  # connections hurt

    run(body, **fault(K.MUTE))


def test_half_open_loses_both_ways_hides_that_a_client_left_and_ends_with_a_reset() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        contract, other = await qualified(ib), await client(desk, 2)
        ticker, theirs = ib.reqMktData(contract), other.reqMktData(contract)
        await until(lambda: ticker.bid == theirs.bid == 70_000.0)
        desk.to(5.0)
        ib.placeOrder(contract, limit("BUY", 1, 70_100))
        desk.to(10.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ib.reqCurrentTimeAsync(), 0.1)
        assert ib.isConnected() and ticker.bid == 70_040.0 and desk.exchange.orders == {}
        other.disconnect()
        from ib_insync import IB

        third, errors = IB(), list[int]()
        third.errorEvent += lambda req, code, text, contract: errors.append(code)
        with pytest.raises((TimeoutError, ConnectionError)):
            await third.connectAsync("127.0.0.1", desk.server.port, clientId=2, timeout=0.2)
        assert errors == [326]  # the server still has the one that left
        fourth = await client(desk, 4)  # a new connection is whole
        fourth.disconnect()
        desk.to(15.0)
        await until(lambda: not ib.isConnected())
        again = await client(desk, 2)
        again.disconnect()
        assert desk.site.plan.hits[K.HALF_OPEN] == 2

    run(body, **fault(K.HALF_OPEN))


def test_a_slow_line_lets_bytes_out_at_its_pace_and_the_rest_when_it_ends() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        ticker = ib.reqMktData(await qualified(ib))
        await until(lambda: ticker.bid == 70_000.0)
        desk.to(5.0)
        asked = asyncio.ensure_future(ib.reqCurrentTimeAsync())
        desk.to(5.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asked), 0.05)
        desk.to(7.0)
        await asked
        assert ticker.bid < 70_070.0
        desk.to(15.0)
        await until(lambda: ticker.bid == 70_150.0)
        assert desk.site.plan.hits[K.BANDWIDTH] >= 1

    run(body, **fault(K.BANDWIDTH, per_s=60.0))


@pytest.mark.parametrize(("code", "resumes"), [(1102, True), (1101, False)])
def test_connectivity_is_1100_and_silence_then_its_code(code: int, resumes: bool) -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        contract = await qualified(ib)
        ticker = ib.reqMktData(contract)
        resting = ib.placeOrder(contract, limit("BUY", 1, 69_990, orderRef="A1"))
        await until(lambda: ticker.bid == 70_000.0 and resting.orderStatus.status == "Submitted")
        desk.to(5.0)
        await until(lambda: (-1, 1100) in seen)
        lost = ib.placeOrder(contract, limit("BUY", 1, 70_100, orderRef="A2"))
        desk.to(10.0)
        await quiet(ib)
        assert ticker.bid == 70_040.0 and lost.orderStatus.status == "PendingSubmit"
        assert list(desk.exchange.orders) == ["A1"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ib.reqExecutionsAsync(), 0.1)
        desk.exchange.fill_resting("A1", START + 11 * S)
        desk.to(14.0)
        await quiet(ib)
        assert resting.orderStatus.status == "Submitted" and not resting.fills
        desk.to(15.0)
        await until(lambda: (-1, code) in seen)
        assert [e.execution.orderRef for e in await ib.reqExecutionsAsync()] == ["A1"]
        desk.to(16.0)
        await quiet(ib)
        assert ticker.bid == (70_160.0 if resumes else 70_040.0)
        if not resumes:
            ib.cancelMktData(contract)
            ticker = ib.reqMktData(contract)
            await until(lambda: ticker.bid == 70_160.0)
        desk.to(30.0)
        assert await ib.reqOpenOrdersAsync() == []  # what was sent into the void is gone from the gateway too

    run(body, **fault(K.CONNECTIVITY, code=float(code)))


def test_an_outage_of_the_venue_is_1100_and_1102_and_nobody_answers_from_behind_it() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        contract = await qualified(ib)
        ticker = ib.reqMktData(contract)
        desk.to(5.0)
        await until(lambda: (-1, 1100) in seen)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ib.reqPositionsAsync(), 0.1)
        desk.to(15.0)
        await until(lambda: (-1, 1102) in seen and ticker.bid == 70_150.0)
        assert await ib.reqPositionsAsync() == []

    run(body, **fault(K.OUTAGE))


def test_a_farm_that_blips_leaves_subscriptions_dead_until_renewed() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        contract = await qualified(ib)
        ticker = ib.reqMktData(contract)
        await until(lambda: ticker.bid == 70_000.0)
        desk.to(5.0)
        await until(lambda: (-1, 2103) in seen)
        desk.to(15.0)
        await until(lambda: (-1, 2104) in seen)
        desk.to(20.0)
        await quiet(ib)
        assert ticker.bid == 70_040.0
        ib.cancelMktData(contract)
        ticker = ib.reqMktData(contract)
        await until(lambda: ticker.bid == 70_200.0)
        assert not [code for _, code in seen if code == 300]

    run(body, **fault(K.FARM_BLIP))


def test_data_that_turn_delayed_say_so_and_are_old() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        contract = await qualified(ib)
        ticker = ib.reqMktData(contract)
        await until(lambda: ticker.bid == 70_000.0)
        desk.to(4.0)
        await until(lambda: ticker.bid == 70_040.0)
        desk.to(5.0)
        await until(lambda: ticker.marketDataType == 3 and ticker.bid == 70_000.0)
        assert [code for _, code in seen if code == 10167] == [10167]
        desk.to(10.0)
        await quiet(ib)
        assert ticker.bid == 70_000.0
        desk.to(15.0)
        await until(lambda: ticker.marketDataType == 1 and ticker.bid == 70_150.0)

    run(body, **fault(K.DATA_TYPE))


def test_a_competing_session_takes_the_data_away() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        ticker = ib.reqMktData(await qualified(ib))
        await until(lambda: ticker.bid == 70_000.0)
        desk.to(5.0)
        await until(lambda: 10197 in [code for _, code in seen])
        desk.to(10.0)
        await quiet(ib)
        assert ticker.bid == 70_040.0
        desk.to(16.0)
        await until(lambda: ticker.bid == 70_160.0)

    run(body, **fault(K.COMPETING_SESSION))


def test_the_nightly_restart_gives_notice_ends_connections_and_keeps_orders() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        trade = ib.placeOrder(await qualified(ib), limit("BUY", 1, 69_000, orderRef="A1"))
        await until(lambda: trade.orderStatus.status == "Submitted")
        desk.to(5.0)
        await until(lambda: (-1, 1100) in seen and not ib.isConnected())
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", desk.server.port)
        desk.to(15.0)
        again = await client(desk)
        assert [(t.order.orderRef, t.order.permId) for t in again.openTrades()] == [("A1", trade.order.permId)]
        again.disconnect()

    run(body, **fault(K.RESTART))


def test_a_length_that_lies_leaves_a_client_waiting_for_good() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        desk.to(5.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ib.reqCurrentTimeAsync(), 0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ib.reqCurrentTimeAsync(), 0.1)
        assert ib.isConnected()

    run(body, **fault(K.BAD_LENGTH))


def test_a_frame_without_sense_is_lost_and_the_next_is_read() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        desk.to(5.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ib.reqCurrentTimeAsync(), 0.1)
        assert await asyncio.wait_for(ib.reqCurrentTimeAsync(), 1.0)

    run(body, **fault(K.BAD_FRAME))


@pytest.mark.parametrize("code", [161, 10148])
def test_a_cancel_that_is_refused_leaves_the_order_to_its_fill(code: int) -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        trade = ib.placeOrder(await qualified(ib), limit("BUY", 2, 69_000, orderRef="A1"))
        await until(lambda: trade.orderStatus.status == "Submitted")
        for _ in range(0 if code == 161 else 1):
            desk.site.plan.hit(K.CANCEL_REFUSED)  # the codes take turns
        desk.to(5.0)
        ib.cancelOrder(trade.order)
        await until(lambda: trade.fills)
        assert [c for _, c in seen if c in (161, 10148, 202)] == [code]
        await until(lambda: trade.orderStatus.status == "Filled")
        assert desk.exchange.positions() == {MBT.id: 2}

    run(body, **fault(K.CANCEL_REFUSED))


def test_a_fill_after_202_is_told_and_makes_the_order_filled() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        trade = ib.placeOrder(await qualified(ib), limit("BUY", 2, 69_000, orderRef="A1"))
        await until(lambda: trade.orderStatus.status == "Submitted")
        desk.to(5.0)
        ib.cancelOrder(trade.order)
        await until(lambda: 202 in [c for _, c in seen] and trade.orderStatus.status == "Cancelled")
        assert not trade.fills and await ib.reqOpenOrdersAsync() == []
        desk.to(6.0)
        await until(lambda: trade.fills and trade.orderStatus.status == "Filled")
        assert desk.exchange.positions() == {MBT.id: 2}
        (completed,) = await ib.reqCompletedOrdersAsync(False)
        assert completed.orderStatus.status == "Filled"

    run(body, **fault(K.FILL_AFTER_CANCEL))


def test_fills_after_202_that_come_together_all_come() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        contract = await qualified(ib)
        trades = [ib.placeOrder(contract, limit("BUY", 2, 69_000 - 5 * n)) for n in range(3)]
        await until(lambda: all(t.orderStatus.status == "Submitted" for t in trades))
        for trade in trades:
            ib.cancelOrder(trade.order)
        await until(lambda: all(t.orderStatus.status == "Cancelled" for t in trades))
        desk.at = 5.0
        desk.world.catch_up()
        await until(lambda: all(t.orderStatus.status == "Filled" for t in trades))
        assert desk.exchange.positions() == {MBT.id: 6}

    run(body, quotes=QUOTES[:1], faults=(Fault(at_ns=START, venue="cme", kind=K.FILL_AFTER_CANCEL, count=3),))


@pytest.mark.parametrize("after", [0.0, 1.0])
def test_a_connection_reset_at_an_order_says_nothing_of_it(after: float) -> None:
    async def body(desk: Desk, ib: Any) -> None:
        contract = await qualified(ib)
        desk.to(5.0)
        trade = ib.placeOrder(contract, limit("BUY", 2, 70_060, orderRef="A1"))
        await until(lambda: not ib.isConnected())
        assert trade.orderStatus.status == "PendingSubmit" and not trade.fills
        again = await client(desk)
        found = [e.execution.orderRef for e in await again.reqExecutionsAsync()]
        assert found == (["A1"] if after else []) and desk.exchange.positions() == ({MBT.id: 2} if after else {})
        again.disconnect()

    run(body, **fault(K.RESET, after=after))


def test_a_cancel_that_got_lost_can_be_sent_again() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        trade = ib.placeOrder(await qualified(ib), limit("BUY", 2, 69_000, orderRef="A1"))
        await until(lambda: trade.orderStatus.status == "Submitted")
        desk.to(5.0)
        ib.cancelOrder(trade.order)
        await until(lambda: desk.site.plan.hits.get(K.LOST_REQUEST))
        ib.client.cancelOrder(trade.order.orderId)
        await until(lambda: trade.orderStatus.status == "Cancelled" and desk.exchange.orders["A1"].outcome is not None)

    run(body, **fault(K.LOST_REQUEST))


def test_an_order_that_never_arrived_is_not_found_when_it_is_cancelled() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        contract = await qualified(ib)
        desk.to(5.0)
        trade = ib.placeOrder(contract, limit("BUY", 2, 69_000, orderRef="A1"))
        await until(lambda: desk.site.plan.hits.get(K.LOST_REQUEST))
        ib.cancelOrder(trade.order)
        await until(lambda: 10147 in [c for _, c in seen])
        assert await ib.reqOpenOrdersAsync() == [] and desk.exchange.orders == {}

    run(body, **fault(K.LOST_REQUEST))
