"""The whole account of Bybit and OKX through ccxt's own parsing, from answers of the shape their documentation shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

pytest.importorskip("ccxt", reason="ccxt is not installed here")

from exchanges import CLIENT_ID, D, instrument, on  # noqa: E402

from bot.model import event as ev  # noqa: E402
from bot.model.order import Side  # noqa: E402
from bot.venues.perp_account import Fills  # noqa: E402
from bot.venues.perp_checks import withdraws  # noqa: E402
from bot.venues.perp_line import Line, every, silent  # noqa: E402
from bot.venues.perp_parse import Symbols  # noqa: E402
from bot.venues.perp_quirks import QUIRKS  # noqa: E402
from bot.venues.perp_snapshot import Snapshots  # noqa: E402

NOW = 1_793_716_200 * 10**9
MS = NOW // 10**6
STAMP = MS // 28_800_000 * 28_800_000
Routes = dict[str, Any]


def bybit(position: str = "0.3", used: str = "21.0") -> Routes:
    """Answers of Bybit: a position, an execution of ours, one by auto-deleveraging, a settlement and a transfer."""

    def rows(*found: dict[str, Any]) -> dict[str, Any]:
        return {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": list(found)}, "retExtInfo": {}, "time": MS}

    trade = {"symbol": "BTCUSDT", "orderType": "Limit", "orderLinkId": CLIENT_ID, "side": "Buy", "orderId": "o-1", "leavesQty": "0", "isMaker": False,
             "execTime": str(MS - 9_000), "execFee": "14.0", "feeRate": "0.0005", "execId": "e-1", "execPrice": "70000.1", "orderQty": "0.4",
             "orderPrice": "70000.1", "execValue": "28000.04", "execType": "Trade", "execQty": "0.4", "feeCurrency": "USDT"}  # fmt: skip
    adl = {**trade, "orderLinkId": "", "side": "Sell", "orderId": "x-9", "execId": "e-2", "execFee": "0", "execType": "AdlTrade", "execQty": "0.1"}

    def executions(p: dict[str, str]) -> dict[str, Any]:
        return rows(*(t for t in (trade, adl) if t["execType"] == p["execType"]))

    log = {"symbol": "BTCUSDT", "category": "linear", "side": "Buy", "transactionTime": str(STAMP + 4), "qty": "0.4", "size": "0.4", "currency": "USDT",
           "tradePrice": "70000", "fee": "0", "cashBalance": "1", "orderId": "", "tradeId": ""}  # fmt: skip
    return {
        "/v5/position/list": rows({"positionIdx": 0, "symbol": "BTCUSDT", "side": "Buy" if position != "0" else "", "size": position, "avgPrice": "70000.1",
                                   "positionValue": "21000", "tradeMode": 0, "leverage": "10", "markPrice": "70010", "positionIM": used,
                                   "positionMM": "2", "unrealisedPnl": "1", "createdTime": str(MS), "updatedTime": str(MS)}),  # fmt: skip
        "/v5/account/wallet-balance": rows({"accountType": "UNIFIED", "coin": [
            {"coin": "USDT", "walletBalance": "1234.5", "totalPositionIM": used, "totalPositionMM": "2.5", "equity": "1235", "locked": "0"}]}),
        "/v5/order/realtime": rows(), "/v5/execution/list": executions, "/v5/user/query-api": {**rows(), "result": {"permissions": {"Wallet": ["Withdraw"]}}},
        "/v5/account/transaction-log": rows({**log, "id": "t-1", "type": "SETTLEMENT", "funding": "-2.8", "cashFlow": "0", "change": "-2.8"},
                                            {**log, "id": "t-2", "type": "TRANSFER_IN", "funding": "", "cashFlow": "100", "change": "100", "symbol": ""},
                                            {**log, "id": "t-3", "type": "TRADE", "funding": "", "cashFlow": "-14", "change": "-14"}),  # fmt: skip
        "/v5/market/funding/history": rows({"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": str(STAMP)}),
    }  # fmt: skip


def okx(position: str = "30", used: str = "21000") -> Routes:
    """Answers of OKX: a position of 30 contracts of 0.01 BTC, an execution of ours, a payment and a transfer."""

    def rows(*found: dict[str, Any]) -> dict[str, Any]:
        return {"code": "0", "msg": "", "data": list(found)}

    bill = {"bal": "1", "ccy": "USDT", "instType": "SWAP", "mgnMode": "cross", "notes": "", "ordId": "", "pnl": "0", "fee": "0", "posBalChg": "0", "sz": "0"}
    return {
        "/api/v5/account/positions": rows(*([{"adl": "3", "avgPx": "70000.1", "ccy": "USDT", "imr": "170", "instId": "BTC-USDT-SWAP", "instType": "SWAP",
                                              "last": "70000", "lever": "10", "liqPx": "", "markPx": "70010", "margin": "", "mgnMode": "cross",
                                              "mmr": "1.3", "notionalUsd": "21000", "pos": position, "posId": "1", "posSide": "net", "upl": "0.01",
                                              "uplRatio": "0", "cTime": str(MS), "uTime": str(MS)}] if position != "0" else [])),  # fmt: skip
        "/api/v5/account/balance": rows({"imr": "210", "notionalUsd": used, "totalEq": "1", "uTime": str(MS), "details": [
            {"ccy": "USDT", "cashBal": "1234.5", "mmr": "2.5", "eq": "1235", "availBal": "1000", "frozenBal": "0", "availEq": "1000"}]}),
        "/api/v5/trade/orders-pending": rows(), "/api/v5/account/config": rows({"perm": "read_only,trade", "posMode": "net_mode"}),
        "/api/v5/trade/fills-history": rows({"side": "buy", "fillSz": "30", "fillPx": "70000.1", "fee": "-10.5", "ordId": "77", "instType": "SWAP",
                                             "instId": "BTC-USDT-SWAP", "clOrdId": CLIENT_ID, "posSide": "net", "billId": "b", "tradeId": "t-1", "tag": "",
                                             "execType": "T", "ts": str(MS - 9_000), "feeCcy": "USDT"}),  # fmt: skip
        "/api/v5/account/bills": rows({**bill, "billId": "9", "type": "1", "subType": "11", "balChg": "100", "instId": "", "ts": str(MS - 50)}),
        "/api/v5/account/bills-archive": rows({**bill, "billId": "8", "type": "8", "subType": "173", "balChg": "-2.8", "instId": "BTC-USDT-SWAP",
                                               "ts": str(STAMP + 4)}),
        "/api/v5/public/funding-rate-history": rows({"instId": "BTC-USDT-SWAP", "instType": "SWAP", "fundingRate": "0.0001", "realizedRate": "0.0001",
                                                     "fundingTime": str(STAMP), "method": "current_period"}),
    }  # fmt: skip


def coinm(position: str = "-30") -> Routes:
    """Answers of Binance COIN-M: a short of 30 contracts of 100 USD, its execution, a payment in coins and a transfer."""
    risk = {"symbol": "BTCUSD_PERP", "positionAmt": position, "entryPrice": "70000.1", "markPrice": "70010", "unRealizedProfit": "0", "liquidationPrice": "0",
            "leverage": "10", "maxQty": "100", "marginType": "cross", "isolatedMargin": "0", "isAutoAddMargin": "false", "positionSide": "BOTH",
            "notionalValue": "-0.0428", "isolatedWallet": "0", "updateTime": MS}  # fmt: skip
    income = {"symbol": "BTCUSD_PERP", "incomeType": "FUNDING_FEE", "income": "0.00000429", "asset": "BTC", "time": STAMP, "tranId": 5}

    def trades(p: dict[str, str]) -> list[Any]:
        assert p["symbol"] == "BTCUSD_PERP" and int(p["endTime"]) > int(p["startTime"])
        return [{"symbol": "BTCUSD_PERP", "id": 6, "orderId": 28, "pair": "BTCUSD", "side": "SELL", "price": "70000.1", "qty": "30", "realizedPnl": "0",
                 "marginAsset": "BTC", "baseQty": "0.0428", "commission": "0.0000214", "commissionAsset": "BTC", "time": MS - 9_000, "positionSide": "BOTH",
                 "buyer": False, "maker": False}]  # fmt: skip

    return {
        "/dapi/v2/leverageBracket": [{"symbol": "BTCUSD_PERP", "notionalCoef": 1, "brackets": [
            {"bracket": 1, "initialLeverage": 125, "qtyCap": 5, "qtylFloor": 0, "maintMarginRatio": 0.004, "cum": 0.0}]}],
        "/dapi/v1/positionRisk": [risk], "/dapi/v1/openOrders": [], "/dapi/v1/userTrades": trades,
        "/dapi/v1/account": {"assets": [{"asset": "BTC", "walletBalance": "1.5", "maintMargin": "0.0002", "marginBalance": "1.6", "availableBalance": "1",
                                         "initialMargin": "0.004", "updateTime": MS}],
                             "positions": [{"symbol": "BTCUSD_PERP", "positionAmt": position}, {"symbol": "ETHUSD_PERP", "positionAmt": "0"}]},
        "/dapi/v1/order": {"symbol": "BTCUSD_PERP", "orderId": 28, "clientOrderId": CLIENT_ID, "status": "FILLED", "executedQty": "30", "origQty": "30",
                           "price": "70000.1", "avgPrice": "70000.1", "side": "SELL", "type": "LIMIT", "timeInForce": "IOC", "time": MS, "cumBase": "0.0428"},
        "/dapi/v1/income": [income, {**income, "symbol": "", "incomeType": "TRANSFER", "income": "-0.5", "tranId": 6},
                            {**income, "incomeType": "COMMISSION", "income": "-0.0000214", "tranId": 7}],
        "/dapi/v1/fundingRate": [{"symbol": "BTCUSD_PERP", "fundingTime": STAMP, "fundingRate": "0.0001"}],
    }  # fmt: skip


def asked(exchange: str, routes: Routes, body: Callable[[Line, Snapshots, list[ev.Event]], Any]) -> None:
    """Let a body have a line whose questions are answered from routes."""

    async def whole(client: Any) -> None:
        async def fetch(url: str, method: str = "GET", headers: Any = None, sent: Any = None) -> Any:
            path = urlsplit(url).path
            assert path in routes, f"{method} {url}"
            found = routes[path]
            return found(dict(parse_qsl(urlsplit(url).query))) if callable(found) else found

        client.fetch = fetch
        client.milliseconds = lambda: MS
        x = instrument(exchange)
        symbols = Symbols({x.id: x}, "perp")
        symbols.resolve(client.markets)
        line = Line("perp", client, QUIRKS[exchange], symbols, lambda: NOW, silent)
        line.shown(ev.MarkPrice(NOW, x.id, 70_000.0, 70_000.0))
        heard: list[ev.Event] = []
        line.emit = heard.append
        await body(line, Snapshots(line, Fills(line)), heard)

    on(exchange, whole)


@pytest.mark.parametrize(("exchange", "routes", "held"), [("bybit", bybit(), "0.3"), ("okx", okx(), "30")], ids=["bybit", "okx"])
def test_the_whole_account(exchange: str, routes: Routes, held: str) -> None:
    async def body(line: Line, snapshots: Snapshots, heard: list[ev.Event]) -> None:
        await snapshots.answer(NOW - 12 * 3_600 * 10**9)
        (snapshot,) = [e for e in heard if isinstance(e, ev.VenueSnapshot)] or [heard]
        assert snapshot.positions == {instrument(exchange).id: D(held)}
        assert snapshot.cash == {"USDT": D("1234.5")} and snapshot.maintenance == {"USDT": 2.5}
        fills = {f.exec_id: f for f in heard if isinstance(f, ev.OrderFilled)}
        first = next(f for f in fills.values() if f.client_id == CLIENT_ID)
        assert (first.side, first.price, first.fee_currency) == (Side.BUY, D("70000.1"), "USDT") and first.fee > 0
        (paid,) = {p.stamp_ns: p for p in heard if isinstance(p, ev.FundingPaid)}.values()
        assert (paid.stamp_ns, paid.amount, paid.rate) == (STAMP * 10**6, D("-2.8"), 0.0001)
        assert paid.qty * instrument(exchange).unit == D("0.4")
        assert [c.amount for c in {c.ref: c for c in heard if isinstance(c, ev.CashBooked)}.values()] == [D(100)]
        if exchange == "bybit":
            (forced,) = [f for f in fills.values() if f.client_id == ""]
            assert (forced.reason, forced.side, forced.qty) == ("adl", Side.SELL, D("0.1"))
        assert await withdraws(line) is (exchange == "bybit")

    asked(exchange, routes, body)


@pytest.mark.parametrize(("exchange", "routes"), [("bybit", bybit("0", "21.0")), ("okx", okx("0", "21000"))], ids=["bybit", "okx"])
def test_no_positions_and_margin_in_use_is_no_flat_account(exchange: str, routes: Routes) -> None:
    async def body(line: Line, snapshots: Snapshots, heard: list[ev.Event]) -> None:
        await snapshots.answer(NOW - 12 * 3_600 * 10**9)
        assert not [e for e in heard if isinstance(e, ev.VenueSnapshot)]
        (failed,) = [e for e in heard if isinstance(e, ev.QueryFailed)]
        assert "no positions listed" in failed.reason

    asked(exchange, routes, body)


@pytest.mark.parametrize(("exchange", "routes"), [("bybit", bybit("0", "0")), ("okx", okx("0", "0"))], ids=["bybit", "okx"])
def test_no_positions_and_no_margin_is_flat(exchange: str, routes: Routes) -> None:
    async def body(line: Line, snapshots: Snapshots, heard: list[ev.Event]) -> None:
        await snapshots.answer(NOW - 12 * 3_600 * 10**9)
        assert [e.positions for e in heard if isinstance(e, ev.VenueSnapshot)] == [{}]

    asked(exchange, routes, body)


def test_a_fee_of_okx_has_the_same_sign_from_the_stream_and_from_a_question() -> None:
    async def body(line: Line, snapshots: Snapshots, heard: list[ev.Event]) -> None:
        order = {"instId": "BTC-USDT-SWAP", "ordId": "77", "clOrdId": CLIENT_ID, "side": "buy", "ordType": "ioc", "px": "70000.1", "sz": "30",
                 "state": "filled", "accFillSz": "30", "avgPx": "70000.1", "fee": "-10.5", "feeCcy": "USDT", "fillFee": "-10.5", "fillFeeCcy": "USDT",
                 "fillPx": "70000.1",
                 "fillSz": "30", "fillTime": str(MS), "tradeId": "t-1", "execType": "T", "cTime": str(MS), "uTime": str(MS), "instType": "SWAP"}  # fmt: skip
        trade = line.client.order_to_trade(line.client.parse_order(order))
        streamed = Fills(line).streamed(trade)
        asked_for = await Fills(line).since(trade["symbol"], MS - 60_000)
        assert streamed is not None and (streamed.fee, streamed.exec_id, streamed.qty) == (D("10.5"), asked_for[0][1].exec_id, D(30))
        assert asked_for[0][1].fee == D("10.5")

    asked("okx", okx(), body)


def test_an_inverse_account_is_told_in_contracts_and_coins() -> None:
    async def body(line: Line, snapshots: Snapshots, heard: list[ev.Event]) -> None:
        await snapshots.answer(NOW - 12 * 3_600 * 10**9)
        (snapshot,) = [e for e in heard if isinstance(e, ev.VenueSnapshot)] or [heard]
        x = instrument("binancecoinm")
        assert snapshot.positions == {x.id: D(-30)} and snapshot.cash == {"BTC": D("1.5")} and snapshot.maintenance == {"BTC": 0.0002}
        (fill,) = {f.exec_id: f for f in heard if isinstance(f, ev.OrderFilled)}.values()
        assert (fill.client_id, fill.side, fill.qty, fill.fee, fill.fee_currency) == (CLIENT_ID, Side.SELL, D(30), D("0.0000214"), "BTC")
        (paid,) = {p.stamp_ns: p for p in heard if isinstance(p, ev.FundingPaid)}.values()
        assert (paid.amount, paid.currency, paid.qty) == (D("0.00000429"), "BTC", D(-30))
        assert [(c.kind, c.amount) for c in {c.ref: c for c in heard if isinstance(c, ev.CashBooked)}.values()] == [("transfer", D("-0.5"))]

    asked("binancecoinm", coinm(), body)


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_span_is_told_whole_whichever_end_a_page_begins_at(newest_first: bool) -> None:
    import asyncio

    stamps = [n * 7 % 1_000 for n in range(140)]

    async def ask(a: int, b: int) -> list[int]:
        found = sorted((s for s in stamps if a <= s <= b), reverse=newest_first)
        return found[:10]

    assert sorted(asyncio.run(every(ask, 0, 1_000, 10))) == sorted(stamps)

    async def crowd(a: int, b: int) -> list[int]:
        return [5] * 10 if a <= 5 <= b else []

    with pytest.raises(ValueError, match="within"):
        asyncio.run(every(crowd, 0, 10, 10))
