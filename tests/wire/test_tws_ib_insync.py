"""The TWS server and ib_insync, unmodified, in one loop: from connecting to executions after a reconnect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tws_client import client, limit, qualified, run
from tws_rig import MBT, Desk, until

from bot.sim.faults import Fault, FaultKind


def test_the_chain_has_every_listed_month_with_its_terms() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        from ib_insync import Future

        chain = await ib.reqContractDetailsAsync(Future("MBT", exchange="CME", currency="USD"))
        assert len(chain) >= 7
        days = [d.contract.lastTradeDateOrContractMonth for d in chain]
        assert days == sorted(days)
        first = chain[0]
        assert (first.contract.localSymbol, first.contract.tradingClass, first.contract.multiplier) == ("MBTX6", "MBT", "0.1")
        assert (first.minTick, first.timeZoneId, days[0]) == (5.0, "US/Central", "20261127")
        assert first.tradingHours.startswith("20261103:0000-20261103:1600;20261103:1602-20261104:0000")
        assert await ib.reqContractDetailsAsync(Future("ES", exchange="CME")) == []

    run(body)


def test_quotes_arrive_as_they_move() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        ticker = ib.reqMktData(await qualified(ib))
        await until(lambda: ticker.bid == 70_000.0 and ticker.ask == 70_010.0 and ticker.askSize == 8.0)
        assert ticker.marketDataType == 1
        desk.to(1.0)
        await until(lambda: ticker.bid == 70_050.0 and ticker.askSize == 3.0)

    run(body, quotes=((0.0, 70_000.0, 70_010.0, 8.0), (1.0, 70_050.0, 70_060.0, 3.0)))


def test_an_order_fills_with_execution_commission_and_position() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        trade = ib.placeOrder(await qualified(ib), limit("BUY", 3, 70_010, orderRef="P00001L00000001"))
        await until(lambda: trade.orderStatus.status == "Filled" and trade.fills and trade.fills[0].commissionReport.execId)
        fill = trade.fills[0]
        assert (fill.execution.shares, fill.execution.price, fill.execution.side) == (3.0, 70_010.0, "BOT")
        assert fill.execution.orderRef == "P00001L00000001"
        assert (fill.commissionReport.commission, fill.commissionReport.currency) == (7.5, "USD")
        assert trade.orderStatus.permId > 0
        assert desk.exchange.positions() == {MBT.id: 3}
        await until(ib.positions)
        assert [(p.position, p.avgCost, p.contract.localSymbol) for p in ib.positions()] == [(3.0, 7001.0, "MBTX6")]

    run(body)


def test_a_resting_order_fills_in_part_and_its_rest_is_cancelled() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        trade = ib.placeOrder(await qualified(ib), limit("BUY", 12, 70_010))
        await until(lambda: trade.orderStatus.filled == 8.0)
        assert trade.orderStatus.status == "Submitted" and trade.orderStatus.remaining == 4.0
        ib.cancelOrder(trade.order)
        await until(lambda: trade.orderStatus.status == "Cancelled")
        assert trade.orderStatus.filled == 8.0
        assert any(entry.errorCode == 202 for entry in trade.log) or trade.isDone()
        assert desk.exchange.positions() == {MBT.id: 8}

    run(body)


def test_a_refused_order_is_201_then_inactive() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        errors: list[int] = []
        states: list[str] = []
        ib.errorEvent += lambda req, code, text, contract: errors.append(code)
        ib.openOrderEvent += lambda trade: states.append(trade.orderStatus.status)
        trade = ib.placeOrder(await qualified(ib), limit("BUY", 400, 70_010))
        await until(lambda: 201 in errors and trade.orderStatus.status == "Inactive")
        assert desk.exchange.positions() == {}

    run(body)


def test_what_if_tells_margin_and_places_nothing() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        state = await ib.whatIfOrderAsync(await qualified(ib), limit("BUY", 2, 70_000))
        assert float(state.initMarginChange) == pytest.approx(2 * 0.1 * 70_005 * 0.40)
        assert float(state.maintMarginChange) == pytest.approx(2 * 0.1 * 70_005 * 0.30)
        assert (state.commission, state.commissionCurrency) == (5.0, "USD")
        assert desk.exchange.orders == {}

    run(body)


def test_the_account_is_the_exchanges() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        trade = ib.placeOrder(await qualified(ib), limit("SELL", 2, 70_000))
        await until(lambda: trade.orderStatus.status == "Filled")
        told = {v.tag: v.value for v in await ib.accountSummaryAsync()}
        account = desk.exchange.account
        assert float(told["NetLiquidation"]) == pytest.approx(account.equity("USD"), abs=0.01)
        assert float(told["MaintMarginReq"]) == pytest.approx(account.maintenance("USD"), abs=0.01)
        assert float(told["TotalCashValue"]) == 600_000 - 5
        assert 0.9 < float(told["Cushion"]) < 1.0
        assert "LookAheadMaintMarginReq" in told
        await until(lambda: any(v.tag == "NetLiquidation" for v in ib.accountValues()))
        await until(lambda: [p.position for p in ib.portfolio()] == [-2.0])

    run(body)


def test_after_a_reconnect_orders_and_executions_are_found_by_reference() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        contract = await qualified(ib)
        done = ib.placeOrder(contract, limit("BUY", 1, 70_010, orderRef="P00001L00000001"))
        rests = ib.placeOrder(contract, limit("BUY", 2, 69_000, orderRef="P00001L00000002"))
        await until(lambda: done.orderStatus.status == "Filled" and rests.orderStatus.status == "Submitted")
        perm = rests.orderStatus.permId
        ib.disconnect()
        again = await client(desk, 1)
        assert [(t.order.orderRef, t.order.permId, t.orderStatus.status) for t in again.openTrades()] == [("P00001L00000002", perm, "Submitted")]
        assert len(await again.reqExecutionsAsync()) == 1
        assert [(f.execution.orderRef, f.commissionReport.commission) for f in again.fills()] == [("P00001L00000001", 2.5)]
        completed = await again.reqCompletedOrdersAsync(False)
        assert [(t.order.orderRef, t.orderStatus.status) for t in completed] == [("P00001L00000001", "Filled")]
        trade = again.placeOrder(contract, limit("BUY", 1, 70_010))
        assert trade.order.orderId > rests.order.orderId
        await until(lambda: trade.orderStatus.status == "Filled")
        again.disconnect()

    run(body)


def test_two_clients_have_their_own_orders_and_the_number_is_taken_once() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        other = await client(desk, 2)
        mine = ib.placeOrder(await qualified(ib), limit("BUY", 1, 69_000))
        theirs = other.placeOrder(await qualified(other), limit("BUY", 1, 69_005))
        await until(lambda: mine.orderStatus.status == theirs.orderStatus.status == "Submitted")
        assert len(await other.reqOpenOrdersAsync()) == 1
        assert len(await other.reqAllOpenOrdersAsync()) == 2
        with pytest.raises((asyncio.TimeoutError, ConnectionError)):
            await asyncio.wait_for(client(desk, 2), 0.5)
        other.disconnect()

    run(body)


def test_depth_shows_the_book() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        ticker = ib.reqMktDepth(await qualified(ib))
        await until(lambda: ticker.domBids and ticker.domAsks)
        assert (ticker.domBids[0].price, ticker.domBids[0].size, ticker.domAsks[0].price) == (70_000.0, 8.0, 70_010.0)
        desk.to(1.0)
        await until(lambda: ticker.domBids[0].price == 70_050.0)

    run(body, quotes=((0.0, 70_000.0, 70_010.0, 8.0), (1.0, 70_050.0, 70_060.0, 3.0)))


def test_a_hundred_open_orders_come_back_on_connecting() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        ib.client.MaxRequests = 0
        contract = await qualified(ib)
        trades = []
        for n in range(100):
            desk.at += 0.05
            trades.append(ib.placeOrder(contract, limit("BUY", 1, 60_000 + 5 * n, orderRef=f"P00001L{n:08d}")))
            await until(lambda trade=trades[-1]: trade.orderStatus.status == "Submitted")
        ib.disconnect()
        again = await client(desk, 1)
        assert sorted(t.order.orderRef for t in again.openTrades()) == [f"P00001L{n:08d}" for n in range(100)]
        again.reqGlobalCancel()
        await until(lambda: not again.openTrades())
        again.disconnect()

    run(body, cash="6000000")


def test_a_fill_that_beats_the_cancel_is_told_as_10148() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        codes: list[int] = []
        ib.errorEvent += lambda req, code, text, contract: codes.append(code)
        trade = ib.placeOrder(await qualified(ib), limit("BUY", 1, 69_000))
        await until(lambda: trade.orderStatus.status == "Submitted")
        ib.cancelOrder(trade.order)
        await until(lambda: 10148 in codes)
        assert trade.fills and desk.exchange.positions() == {MBT.id: 1}

    run(body, faults=(Fault(at_ns=0, venue="cme", kind=FaultKind.CANCEL_RACE),))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"lmtPrice": 70_011.0}, 110), ({"totalQuantity": 0}, 434), ({"totalQuantity": 1.5}, 10318), ({"tif": "GTC"}, 201),
        ({"orderType": "STP"}, 387), ({"account": "U1"}, 321), ({"tif": ""}, 10349),
    ],
)  # fmt: skip
def test_what_the_gateway_itself_refuses_has_its_code(change: dict[str, Any], code: int) -> None:
    async def body(desk: Desk, ib: Any) -> None:
        codes: list[int] = []
        ib.errorEvent += lambda req, code, text, contract: codes.append(code)
        order = limit("BUY", 1, 69_000)
        for name, value in change.items():
            setattr(order, name, value)
        ib.placeOrder(await qualified(ib), order)
        await until(lambda: code in codes)
        await until(lambda: len(desk.exchange.orders) == (1 if code == 10349 else 0))

    run(body)
