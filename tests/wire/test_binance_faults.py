"""Every fault of the Binance USD-M wire once: what ccxt raises, and what became of the order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from binance_rig import SYMBOL, Desk, client, fault, running, until

from bot.sim.faults import Fault, FaultKind
from bot.sim.wire import Delays

ccxt = pytest.importorskip("ccxt", reason="ccxt is not installed here")

LIMIT_S = 10.0
ID = "P00001H00000007"
K = FaultKind
Body = Callable[[Desk, Any], Awaitable[None]]


def run(body: Body, faults: Sequence[Fault], **more: Any) -> None:
    """Let a body have a server with faults that begin after ten seconds, and a client with its markets loaded."""

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S), running(faults=faults, **more) as desk, client(desk) as exchange:
            await exchange.load_markets()
            desk.to(10.0)
            await body(desk, exchange)
            for scripted in faults:
                assert desk.site.plan.hits.get(scripted.kind), f"{scripted.kind} never struck"

    asyncio.run(whole())


async def place(ex: Any) -> Any:
    """Place the order that a fault hurts."""
    return await ex.create_order(SYMBOL, "limit", "buy", 0.1, 69_000.0, {"newClientOrderId": ID})


ORDERS: list[tuple[FaultKind, dict[str, float], type[Exception], bool]] = [
    (K.LOST_REPLY, {}, ccxt.RequestTimeout, True),
    (K.LATE_REPLY, {"delay_s": 0.4}, ccxt.RequestTimeout, True),
    (K.RESET, {"after": 1.0}, ccxt.ExchangeNotAvailable, True),
    (K.RESET, {"after": 0.0}, ccxt.ExchangeNotAvailable, False),
    (K.HTML_5XX, {}, ccxt.ExchangeNotAvailable, False),
    (K.UNKNOWN_503, {}, ccxt.OperationFailed, True),
    (K.REJECT, {}, ccxt.OperationFailed, False),
    (K.LOST_ACK, {}, ccxt.RequestTimeout, True),
    (K.LOST_REQUEST, {}, ccxt.RequestTimeout, False),
    (K.RATE_BAN, {}, ccxt.DDoSProtection, False),
    (K.KEY_REVOKED, {}, ccxt.AuthenticationError, False),
]
"""(fault of an order, its arguments, what ccxt raises, whether the order exists)."""


@pytest.mark.parametrize(("kind", "args", "error", "exists"), ORDERS, ids=[f"{k}-{e}" for k, _, _, e in ORDERS])
def test_what_ccxt_raises_for_a_hurt_order(kind: FaultKind, args: dict[str, float], error: type[Exception], exists: bool) -> None:
    async def body(desk: Desk, ex: Any) -> None:
        ex.timeout = 200 if kind in (K.LOST_REPLY, K.LATE_REPLY) else 2_000
        with pytest.raises(error):
            await place(ex)
        await until(lambda: (ID in desk.exchange.orders) or not exists)
        desk.to(200.0)
        if exists:
            assert (await ex.fetch_order(None, SYMBOL, {"origClientOrderId": ID}))["status"] == "open"
        else:
            with pytest.raises(ccxt.OrderNotFound):
                await ex.fetch_order(None, SYMBOL, {"origClientOrderId": ID})

    run(body, [fault(kind, 10.0, **args)])


@pytest.mark.parametrize("kind", [K.GARBAGE_200, K.EMPTY_200])
def test_a_senseless_answer_raises_nothing(kind: FaultKind) -> None:
    async def body(desk: Desk, ex: Any) -> None:
        assert (await place(ex))["id"] is None
        assert ID in desk.exchange.orders

    run(body, [fault(kind, 10.0)])


def test_an_empty_answer_makes_positions_look_flat() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        await ex.load_leverage_brackets()
        desk.to(20.0)
        assert await ex.fetch_positions([SYMBOL]) == []
        assert len(await ex.fetch_positions([SYMBOL])) == 1

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S), running(faults=[fault(K.EMPTY_200, 20.0)]) as desk, client(desk) as ex:
            await ex.create_order(SYMBOL, "market", "buy", 0.1)
            await body(desk, ex)

    asyncio.run(whole())


def test_a_ban_says_429_then_418_with_a_time_to_wait() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        told = []
        for _ in range(5):
            with pytest.raises(ccxt.DDoSProtection) as caught:
                await ex.fetch_time()
            told.append(str(caught.value).split()[1])
            assert ex.last_response_headers["Retry-After"] == "10"
        assert told == ["429", "429", "429", "418", "418"]
        desk.to(20.0)
        await ex.fetch_time()

    run(body, [fault(K.RATE_BAN, 10.0)])


def test_a_clock_ahead_refuses_stamps_until_it_is_asked_for() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        with pytest.raises(ccxt.InvalidNonce, match="-1021"):
            await ex.fetch_balance()
        await ex.load_time_difference()
        ex.nonce = lambda: ex.milliseconds() - ex.options["timeDifference"]
        await ex.fetch_balance()

    run(body, [fault(K.CLOCK_SKEW, 10.0, ms=15_000.0)])


def test_a_gap_in_the_book_is_noticed_and_mended() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        watching = asyncio.ensure_future(ex.watch_order_book(SYMBOL))
        await until(lambda: any(s.names for s in desk.server.hub.streams))
        await watching
        watching = asyncio.ensure_future(ex.watch_order_book(SYMBOL))
        await asyncio.sleep(0)
        desk.quote(70_002.0, 70_003.0)
        desk.to(10.1)
        desk.quote(70_004.0, 70_005.0)
        with pytest.raises(ccxt.ChecksumError):
            await watching
        book = await ex.watch_order_book(SYMBOL)
        assert (book["bids"][0], book["asks"][0]) == ([70_004.0, 8.0], [70_005.0, 8.0])

    run(body, [fault(K.DEPTH_GAP, 10.0)])


def test_streams_are_aborted_and_dialled_again() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        watching = asyncio.ensure_future(ex.watch_bids_asks([SYMBOL]))
        await until(lambda: any(s.names for s in desk.server.hub.streams))
        desk.quote(70_002.0, 70_003.0)
        with pytest.raises(ccxt.NetworkError):
            await watching
        watching = asyncio.ensure_future(ex.watch_bids_asks([SYMBOL]))
        await until(lambda: any(s.names for s in desk.server.hub.streams))
        desk.quote(70_004.0, 70_005.0)
        assert (await watching)[SYMBOL]["bid"] == 70_004.0

    run(body, [fault(K.WS_ABORT, 10.0)])


def test_silent_streams_say_nothing_and_orders_go_on() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        watching = asyncio.ensure_future(ex.watch_my_trades(SYMBOL))
        await until(lambda: any(s.keys for s in desk.server.hub.streams))
        assert (await ex.create_order(SYMBOL, "market", "buy", 0.1))["filled"] == 0.1
        assert len(await ex.fetch_my_trades(SYMBOL)) == 1 and not watching.done()
        desk.to(50.0)
        await ex.create_order(SYMBOL, "market", "buy", 0.2)
        assert [t["amount"] for t in await watching] == [0.2]

    run(body, [fault(K.WS_SILENT, 10.0)])


def test_a_listen_key_that_expired_ends_the_user_stream() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        watching = asyncio.ensure_future(ex.watch_my_trades(SYMBOL))
        await until(lambda: any(s.keys for s in desk.server.hub.streams))
        desk.to(10.1)
        assert not desk.server.hub.listened
        await ex.create_order(SYMBOL, "market", "buy", 0.1)
        assert len(await ex.fetch_my_trades(SYMBOL)) == 1 and not watching.done()
        with pytest.raises(ccxt.BaseError, match="-1125"):
            await ex.fapiPrivatePutListenKey()
        watching.cancel()

    run(body, [fault(K.LISTEN_KEY_EXPIRED, 10.0)])


def test_an_hour_without_care_ends_a_listen_key() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        key = (await ex.fapiPrivatePostListenKey())["listenKey"]
        desk.to(3_000.0)
        assert (await ex.fapiPrivatePutListenKey())["listenKey"] == key
        desk.to(6_000.0)
        await ex.fapiPrivatePutListenKey()
        desk.to(9_700.0)
        with pytest.raises(ccxt.BaseError, match="-1125"):
            await ex.fapiPrivatePutListenKey()
        assert (await ex.fapiPrivatePostListenKey())["listenKey"] != key

    run(body, [])


def test_a_key_that_may_withdraw_is_seen() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        assert (await ex.sapiGetAccountApiRestrictions())["enableWithdrawals"] is True
        desk.to(100.0)
        assert (await ex.sapiGetAccountApiRestrictions())["enableWithdrawals"] is False

    run(body, [fault(K.WITHDRAW_ENABLED, 10.0)])


def test_a_question_that_cannot_be_answered_is_no_flat_account() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        with pytest.raises(ccxt.OperationFailed, match="-1001"):
            await ex.fetch_positions([SYMBOL])

    run(body, [fault(K.SNAPSHOT_FAIL, 10.0)])


@pytest.mark.parametrize("kind", [K.DROP, K.OUTAGE])
def test_a_line_that_is_down_cuts_and_refuses(kind: FaultKind) -> None:
    async def body(desk: Desk, ex: Any) -> None:
        with pytest.raises(ccxt.NetworkError):
            await ex.watch_bids_asks([SYMBOL])
        with pytest.raises(ccxt.NetworkError):
            await place(ex)
        desk.to(100.0)
        while True:
            try:
                await ex.fetch_time()
                break
            except ccxt.NetworkError:
                await asyncio.sleep(0.001)
        assert (await place(ex))["status"] == "open"

    run(body, [fault(kind, 10.0)])


@pytest.mark.parametrize("kind", [K.MUTE, K.HALF_OPEN])
def test_a_line_without_an_end_answers_nothing(kind: FaultKind) -> None:
    async def body(desk: Desk, ex: Any) -> None:
        ex.timeout = 200
        with pytest.raises(ccxt.RequestTimeout):
            await place(ex)
        assert ID not in desk.exchange.orders
        desk.to(100.0)
        assert (await place(ex))["status"] == "open"

    run(body, [fault(kind, 10.0)])


def test_a_thin_line_takes_its_time() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        asking = asyncio.ensure_future(ex.fapiPublicGetExchangeInfo())
        while not asking.done():
            desk.to(desk.at + 0.01)
            await asyncio.sleep(0.001)
        assert asking.result()["symbols"][0]["symbol"] == "BTCUSDT" and desk.at > 12.0

    run(body, [fault(K.BANDWIDTH, 10.0, per_s=500.0)])


def test_a_cancel_that_lost_its_race_says_so_and_the_fill_is_told_once() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        watching = asyncio.ensure_future(ex.watch_my_trades(SYMBOL))
        await until(lambda: any(s.keys for s in desk.server.hub.streams))
        await place(ex)
        with pytest.raises(ccxt.OrderNotFound, match="-2011"):
            await ex.cancel_order(None, SYMBOL, {"origClientOrderId": ID})
        assert [t["amount"] for t in await watching] == [0.1]
        assert (await ex.fetch_order(None, SYMBOL, {"origClientOrderId": ID}))["status"] == "closed"

    run(body, [fault(K.CANCEL_RACE, 10.0)])


def test_a_lost_fill_is_found_among_the_trades() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        watching = asyncio.ensure_future(ex.watch_my_trades(SYMBOL))
        await until(lambda: any(s.keys for s in desk.server.hub.streams))
        await ex.create_order(SYMBOL, "market", "buy", 0.1)
        await ex.create_order(SYMBOL, "market", "buy", 0.2)
        assert [t["amount"] for t in await watching] == [0.2]
        assert [t["amount"] for t in await ex.fetch_my_trades(SYMBOL)] == [0.1, 0.2]

    run(body, [fault(K.LOST_FILL, 10.0)])


def test_too_many_orders_are_refused_with_proof() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        await place(ex)
        with pytest.raises(ccxt.DDoSProtection, match="-1015"):
            await ex.create_order(SYMBOL, "market", "buy", 0.2)
        assert await ex.fetch_my_trades(SYMBOL) == []
        for _ in range(2):
            with pytest.raises(ccxt.DDoSProtection, match="-1003"):
                await ex.fetch_my_trades(SYMBOL)

    run(body, [fault(K.THROTTLED, 10.0)])


def test_a_halt_refuses_orders_and_takes_cancels() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        desk.to(5.0)
        await place(ex)
        desk.to(11.0)
        with pytest.raises(ccxt.BadRequest, match="-4140"):
            await ex.create_order(SYMBOL, "market", "buy", 0.2)
        assert (await ex.cancel_order(None, SYMBOL, {"origClientOrderId": ID}))["status"] == "canceled"

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S), running(faults=[fault(K.HALT, 10.0)]) as desk, client(desk) as ex:
            await body(desk, ex)

    asyncio.run(whole())


def test_absurd_prices_are_shown_as_they_are_and_break_no_book() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        seen: list[Any] = []

        async def watch() -> None:
            while True:
                ticker = (await ex.watch_bids_asks([SYMBOL]))[SYMBOL]
                seen.append((ticker["bid"], ticker["ask"]))

        watching = asyncio.ensure_future(watch())
        await until(lambda: any(s.names for s in desk.server.hub.streams))
        for n in range(6):
            desk.to(10.0 + n)
            desk.quote(70_001.0, 70_002.0)
            await until(lambda n=n: len(seen) == n + 1)
        assert len({str(row) for row in seen}) == 5 and (70_001.0, 70_002.0) not in seen  # a price below the tick is written as none
        desk.to(20.0)
        desk.quote(70_003.0, 70_004.0)
        await until(lambda: len(seen) == 7)
        assert (await ex.fetch_order_book(SYMBOL))["bids"] == [[70_003.0, 8.0]]
        assert (await ex.fetch_ticker(SYMBOL))["last"] == 70_003.5
        watching.cancel()

    run(body, [fault(K.BAD_QUOTE, 10.0, count=6)])


@pytest.mark.parametrize(("kind", "told"), [(K.DUPLICATE, [0.1, 0.1]), (K.OVERFILL, [0.1, 0.02]), (K.PARTIAL_FILL, [0.05])])
def test_fills_come_as_the_venue_reports_them(kind: FaultKind, told: list[float]) -> None:
    async def body(desk: Desk, ex: Any) -> None:
        seen: list[Any] = []

        async def watch() -> None:
            while True:
                trades = await ex.watch_my_trades(SYMBOL)
                seen.append((trades[-1]["amount"], trades[-1]["info"]["z"]))

        watching = asyncio.ensure_future(watch())
        await until(lambda: any(s.keys for s in desk.server.hub.streams))
        await ex.create_order(SYMBOL, "limit", "buy", 0.1, 70_001.0, {"timeInForce": "IOC"})
        if kind is K.OVERFILL:
            await until(lambda: seen and seen[-1] == (0.02, "0.120"))
        else:
            await until(lambda: [amount for amount, _ in seen] in (told, told[:1]))
        assert [t["amount"] for t in await ex.fetch_my_trades(SYMBOL)] == (told if kind is not K.DUPLICATE else told[:1])
        watching.cancel()

    run(body, [fault(kind, 10.0)])


SOCKET: list[tuple[FaultKind, dict[str, float], type[Exception] | None, bool]] = [
    (K.LOST_REPLY, {}, TimeoutError, True),
    (K.RESET, {"after": 1.0}, ccxt.NetworkError, True),
    (K.RESET, {"after": 0.0}, ccxt.NetworkError, False),
    (K.HTML_5XX, {}, ccxt.OperationFailed, False),
    (K.UNKNOWN_503, {}, ccxt.OperationFailed, True),
    (K.EMPTY_200, {}, None, True),
    (K.RATE_BAN, {}, ccxt.BaseError, False),
    (K.KEY_REVOKED, {}, ccxt.AuthenticationError, False),
]
"""(fault of an order over the socket, its arguments, what ccxt raises, whether the order exists)."""


@pytest.mark.parametrize(("kind", "args", "error", "exists"), SOCKET, ids=[f"{k}-{e}" for k, _, _, e in SOCKET])
def test_what_ccxt_raises_for_an_order_over_the_socket(kind: FaultKind, args: dict[str, float], error: type[Exception] | None, exists: bool) -> None:
    async def body(desk: Desk, ex: Any) -> None:
        placing = asyncio.wait_for(ex.create_order_ws(SYMBOL, "limit", "buy", 0.1, 69_000.0, {"newClientOrderId": ID}), 0.3)
        if error is None:
            assert (await placing)["id"] is None
        else:
            with pytest.raises(error):
                await placing
        assert (ID in desk.exchange.orders) is exists
        desk.to(200.0)
        assert (await ex.create_order_ws(SYMBOL, "limit", "buy", 0.1, 69_000.0))["status"] == "open"

    run(body, [fault(kind, 10.0, **args)])


def test_latency_and_a_lost_acknowledgement_end_in_not_knowing() -> None:
    async def body(desk: Desk, ex: Any) -> None:
        placing = asyncio.ensure_future(place(ex))
        await until(lambda: desk.server.blotter.held)
        desk.to(10.5)
        with pytest.raises(ccxt.RequestTimeout, match="-1007"):
            await placing
        assert ID in desk.exchange.orders

    run(body, [fault(K.LOST_ACK, 10.0)], delays=Delays(request_ns=50_000_000, reply_ns=50_000_000))
