"""The Binance USD-M server and ccxt.pro, unmodified, in one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from binance_rig import KEY, STAMP, SYMBOL, Desk, S, client, fault, running, until

from bot.sim.faults import FaultKind
from bot.sim.wire import Delays

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


def test_the_market_has_the_terms_of_the_listing() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        market = ex.market(SYMBOL)
        assert (market["id"], market["contractSize"], market["linear"], market["settle"], market["active"]) == ("BTCUSDT", 1, True, "USDT", True)
        assert (market["precision"]["price"], market["precision"]["amount"], market["limits"]["cost"]["min"]) == (0.1, 0.001, 100)
        tiers = (await ex.fetch_leverage_tiers([SYMBOL]))[SYMBOL]
        assert [t["maintenanceMarginRate"] for t in tiers] == [0.004, 0.005, 0.0065]
        assert (tiers[0]["maxLeverage"], tiers[1]["minNotional"]) == (125, 50_000)
        assert await ex.fetch_time() == desk.world.clock() // 1_000_000
        fees = await ex.fetch_trading_fee(SYMBOL)
        assert (fees["maker"], fees["taker"]) == (0.0002, 0.0005)

    run(body)


def test_an_order_that_rests_is_found_by_its_id_and_cancelled() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        watching = asyncio.ensure_future(ex.watch_orders(SYMBOL))
        await until(lambda: any(s.keys for s in desk.server.hub.streams))
        made = await ex.create_order(SYMBOL, "limit", "sell", 0.2, 71_000.0, {"newClientOrderId": "P00001L00000001"})
        assert (made["status"], made["filled"]) == ("open", 0)
        assert (await watching)[0]["status"] == "open"
        by_client = await ex.fetch_order(None, SYMBOL, {"origClientOrderId": "P00001L00000001"})
        assert by_client["id"] == made["id"] == (await ex.fetch_order(made["id"], SYMBOL))["id"]
        assert [o["id"] for o in await ex.fetch_open_orders(SYMBOL)] == [made["id"]]
        done = await ex.cancel_order(None, SYMBOL, {"origClientOrderId": "P00001L00000001"})
        assert done["status"] == "canceled"
        assert await ex.fetch_open_orders(SYMBOL) == []
        assert [o["status"] for o in await ex.fetch_orders(SYMBOL)] == ["canceled"]

    run(body)


def test_orders_go_over_the_order_socket_as_over_rest() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        made = await ex.create_order_ws(SYMBOL, "limit", "buy", 0.2, 69_000.0, {"newClientOrderId": "P00001L00000002"})
        assert (made["status"], made["clientOrderId"]) == ("open", "P00001L00000002")
        assert (await ex.fetch_order_ws(made["id"], SYMBOL))["status"] == "open"
        assert (await ex.cancel_order_ws(made["id"], SYMBOL))["status"] == "canceled"
        filled = await ex.create_order_ws(SYMBOL, "market", "buy", 0.1)
        assert (filled["status"], filled["filled"], filled["average"]) == ("closed", 0.1, 70_000.1)
        assert [p["contracts"] for p in await ex.fetch_positions_ws([SYMBOL])] == [0.1]

    run(body)


def test_a_resting_order_fills_in_parts_and_every_part_is_told() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        seen: list[Any] = []

        async def watch() -> None:
            while True:
                seen.extend(t["amount"] for t in await ex.watch_my_trades(SYMBOL))

        watching = asyncio.ensure_future(watch())
        await until(lambda: any(s.keys for s in desk.server.hub.streams))
        made = await ex.create_order(SYMBOL, "limit", "buy", 0.5, 69_990.0)
        desk.to(1.0)
        desk.quote(69_980.0, 69_990.0, size=0.2)
        await until(lambda: len(seen) == 1)
        assert ((await ex.fetch_order(made["id"], SYMBOL))["filled"], seen) == (0.2, [0.2])
        desk.to(2.0)
        desk.quote(69_980.0, 69_985.0, size=5.0)
        await until(lambda: len(seen) == 2)
        order = await ex.fetch_order(made["id"], SYMBOL)
        assert (order["status"], order["filled"], order["average"]) == ("closed", 0.5, 69_990.0)
        trades = await ex.fetch_my_trades(SYMBOL)
        assert [(t["order"], t["takerOrMaker"], t["amount"]) for t in trades] == [(made["id"], "maker", 0.2), (made["id"], "maker", 0.3)]
        assert trades[0]["fee"]["cost"] == pytest.approx(69_990.0 * 0.2 * 0.0002)
        watching.cancel()

    run(body)


def test_the_book_is_followed_from_its_snapshot() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        watching = asyncio.ensure_future(ex.watch_order_book(SYMBOL))
        await until(lambda: any(s.names for s in desk.server.hub.streams))
        book = await watching
        assert (book["bids"][0], book["asks"][0]) == ([70_000.0, 8.0], [70_000.1, 8.0])
        for n in range(1, 20):
            watching = asyncio.ensure_future(ex.watch_order_book(SYMBOL))
            await asyncio.sleep(0)
            desk.to(n * 0.1)
            desk.quote(70_000.0 + n, 70_001.0 + n, size=float(n))
            book = await watching
            assert (book["bids"][0], book["asks"][0]) == ([70_000.0 + n, float(n)], [70_001.0 + n, float(n)])
        assert len(book["bids"]) == len(book["asks"]) == 1
        rest = await ex.fetch_order_book(SYMBOL)
        assert (rest["nonce"], rest["bids"], rest["asks"]) == (book["nonce"], [list(b) for b in book["bids"]], [list(a) for a in book["asks"]])

    run(body)


def test_touch_mark_and_bars_are_streamed_and_asked_for() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        touch = asyncio.ensure_future(ex.watch_bids_asks([SYMBOL]))
        marks = asyncio.ensure_future(ex.watch_mark_price(SYMBOL))
        bars = asyncio.ensure_future(ex.watch_ohlcv(SYMBOL, "1m"))
        await until(lambda: sum(len(s.names) for s in desk.server.hub.streams) == 3)
        desk.to(61.0)
        desk.mark(70_100.0)
        desk.quote(70_099.0, 70_101.0)
        assert ((await touch)[SYMBOL]["bid"], (await marks)["markPrice"], (await bars)[-1][4]) == (70_099.0, 70_100.0, 70_100.0)
        rate = await ex.fetch_funding_rate(SYMBOL)
        assert (rate["fundingRate"], rate["markPrice"], rate["fundingTimestamp"]) == (0.0001, 70_100.0, STAMP // 1_000_000)
        assert (await ex.fetch_ticker(SYMBOL))["last"] == 70_100.0
        assert [row[4] for row in await ex.fetch_ohlcv(SYMBOL, "1m")] == [70_000.1, 70_100.0]

    run(body)


def test_funding_is_paid_told_and_listed() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        await ex.create_order(SYMBOL, "market", "sell", 1.0)
        watching = asyncio.ensure_future(ex.watch_balance())
        await until(lambda: any(s.keys for s in desk.server.hub.streams))
        before = (await ex.fetch_balance())["USDT"]["total"]
        desk.to(5_401.0)
        desk.funding(0.0002, STAMP + 28_800 * S)
        info = (await watching)["info"]
        assert (info["a"]["m"], float(info["a"]["B"][0]["bc"]), info["a"]["P"]) == ("FUNDING_FEE", 7.0, [])
        assert (await ex.fetch_balance())["USDT"]["total"] == pytest.approx(before + 7.0)
        (paid,) = await ex.fetch_funding_history(SYMBOL)
        assert (paid["amount"], paid["timestamp"]) == (7.0, STAMP // 1_000_000)
        (past,) = await ex.fetch_funding_rate_history(SYMBOL)
        assert (past["fundingRate"], past["timestamp"]) == (0.0001, STAMP // 1_000_000)

    run(body)


def test_positions_are_watched_and_what_the_venue_does_unasked_is_told() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        await ex.create_order(SYMBOL, "market", "buy", 1.0)
        assert {p["contracts"] for p in await ex.watch_positions([SYMBOL])} == {1.0}
        watching = asyncio.ensure_future(ex.watch_positions([SYMBOL]))
        await until(lambda: any(s.keys for s in desk.server.hub.streams))
        orders = asyncio.ensure_future(ex.watch_orders(SYMBOL))
        await asyncio.sleep(0)
        desk.to(11.0)
        assert {p["contracts"] for p in await watching} == {0.5}
        (order,) = await orders
        assert (order["clientOrderId"], order["info"]["x"], order["filled"], order["side"]) == ("adl_autoclose", "CALCULATED", 0.5, "sell")
        assert len(await ex.fetch_my_trades(SYMBOL)) == 2
        (closed,) = await ex.fapiPrivateGetForceOrders({"symbol": "BTCUSDT"})
        assert (closed["clientOrderId"], closed["orderId"]) == ("adl_autoclose", int(order["id"]))

    run(body, faults=[fault(FaultKind.ADL, 10.0)])


REFUSALS: list[tuple[str, tuple[Any, ...], dict[str, Any], str, str]] = [
    ("off the tick", ("limit", "buy", 0.1, 70_000.05), {}, "BadRequest", "-4014"),
    ("off the lot", ("limit", "buy", "0.1005", 70_000.0), {}, "BadRequest", "-1111"),
    ("no quantity", ("limit", "buy", "0", 70_000.0), {}, "BadRequest", "-4003"),
    ("too small", ("limit", "buy", 0.001, 70_000.0), {}, "InvalidOrder", "-4164"),
    ("beyond the band", ("limit", "buy", 0.1, 80_000.0), {}, "BadRequest", "-4016"),
    ("below the band", ("limit", "sell", 0.1, 60_000.0), {}, "BadRequest", "-4024"),
    ("too much for the margin", ("limit", "buy", 900.0, 70_000.0), {}, "InsufficientFunds", "-2019"),
    ("nothing to reduce", ("limit", "buy", 0.1, 70_000.0), {"reduceOnly": True}, "InvalidOrder", "-2022"),
    ("would take", ("limit", "buy", 0.1, 70_001.0), {"timeInForce": "GTX"}, "OrderNotFillable", "-5022"),
    ("cannot fill whole", ("limit", "buy", 9.0, 70_001.0), {"timeInForce": "FOK"}, "OrderNotFillable", "-5021"),
    ("hedge mode", ("limit", "buy", 0.1, 70_000.0), {"positionSide": "LONG"}, "OperationRejected", "-4061"),
    ("a long id", ("limit", "buy", 0.1, 70_000.0), {"newClientOrderId": "x" * 37}, "BadRequest", "-4015"),
]


def test_refusals_have_the_venues_codes() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        ex.price_to_precision = lambda symbol, price: str(price)
        ex.amount_to_precision = lambda symbol, amount: str(amount)
        for told, order, params, error, code in REFUSALS:
            with pytest.raises(getattr(ex_errors(), error)) as caught:
                await ex.create_order(SYMBOL, *order, params)
            assert f'"code":{code},' in str(caught.value).replace(" ", ""), told
        assert await ex.fetch_orders(SYMBOL) == []
        with pytest.raises(ex_errors().OrderNotFound):
            await ex.cancel_order(None, SYMBOL, {"origClientOrderId": "never"})
        with pytest.raises(ex_errors().OrderNotFound):
            await ex.fetch_order(None, SYMBOL, {"origClientOrderId": "never"})

    run(body)


def test_a_client_id_names_one_open_order_at_a_time() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        params = {"newClientOrderId": "P00001L00000003"}
        first = await ex.create_order(SYMBOL, "limit", "buy", 0.1, 69_000.0, params)
        with pytest.raises(ex_errors().InvalidOrder, match="-4116"):
            await ex.create_order(SYMBOL, "limit", "buy", 0.1, 69_000.0, params)
        await ex.cancel_order(first["id"], SYMBOL)
        again = await ex.create_order(SYMBOL, "limit", "buy", 0.1, 69_000.0, params)
        assert again["id"] != first["id"] and again["clientOrderId"] == first["clientOrderId"]
        assert (await ex.fetch_order(None, SYMBOL, {"origClientOrderId": "P00001L00000003"}))["id"] == again["id"]

    run(body)


def test_keys_signatures_and_clocks_are_checked() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        errors = ex_errors()
        good, ex.secret = ex.secret, "wrong"
        with pytest.raises(errors.AuthenticationError, match="-1022"):
            await ex.fetch_balance()
        with pytest.raises(errors.AuthenticationError, match="-1022"):
            await ex.create_order_ws(SYMBOL, "market", "buy", 0.1)
        ex.secret, ex.apiKey = good, "unknown"
        with pytest.raises(errors.AuthenticationError, match="-2015"):
            await ex.fetch_balance()
        ex.apiKey = KEY
        for late in (-11_000, 1_500):
            ex.nonce = lambda late=late: ex.milliseconds() + late
            with pytest.raises(errors.InvalidNonce, match="-1021"):
                await ex.fetch_balance()

    run(body)


def test_the_dead_mans_switch_cancels() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        made = await ex.create_order(SYMBOL, "limit", "buy", 0.1, 69_000.0)
        await ex.fapiPrivatePostCountdownCancelAll({"symbol": "BTCUSDT", "countdownTime": 10_000})
        desk.to(9.0)
        assert (await ex.fetch_order(made["id"], SYMBOL))["status"] == "open"
        desk.to(10.0)
        assert not desk.exchange.listings["BTCUSDT"].resting
        assert (await ex.fetch_order(made["id"], SYMBOL))["status"] == "canceled"

    run(body)


def test_a_venue_with_latency_answers_when_the_exchange_has() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        placing = asyncio.ensure_future(ex.create_order(SYMBOL, "limit", "buy", 0.1, 70_001.0, {"timeInForce": "IOC"}))
        await until(lambda: desk.server.blotter.held)
        desk.to(0.05)
        assert desk.exchange.orders and not placing.done()
        desk.to(0.2)
        assert (await placing)["filled"] == 0.1

    run(body, delays=Delays(request_ns=50_000_000, reply_ns=50_000_000))


def ex_errors() -> Any:
    import ccxt

    return ccxt
