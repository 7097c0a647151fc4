"""The perp adapter while the wire misbehaves: whatever is lost, what the desk is told in the end is what the exchange holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from perp_rig import PERP, D, Rig, fills_of, resolved, running, until

from bot.model import event as ev
from bot.model.command import Cancel, QueryVenue
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.faults import FaultKind as K
from bot.venues import perp_account, perp_client, perp_line, perp_streams

pytest.importorskip("ccxt", reason="ccxt is not installed here")

LIMIT_S = 20.0
Body = Callable[[Rig], Awaitable[None]]
SOCKET = pytest.mark.parametrize("order_socket", [True, False], ids=["socket", "rest"])


def run(body: Body, **more: Any) -> None:
    """Let a body have a connected adapter."""

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S), running(**more) as rig:
            await body(rig)

    asyncio.run(whole())


def truth(rig: Rig, client_id: str) -> Any:
    """What the exchange holds: how much of the order it filled, None when the order never arrived."""
    ticket = rig.exchange.orders.get(client_id)
    return None if ticket is None else ticket.filled


@SOCKET
@pytest.mark.parametrize(
    ("kind", "args", "arrives"),
    [
        (K.LOST_REQUEST, {}, False), (K.LOST_ACK, {}, True), (K.LOST_FILL, {}, True), (K.LOST_REPLY, {}, True), (K.LATE_REPLY, {"delay_s": 0.8}, True),
        (K.RESET, {"after": 1.0}, True), (K.RESET, {"after": 0.0}, False), (K.HTML_5XX, {}, False), (K.UNKNOWN_503, {}, True), (K.GARBAGE_200, {}, True),
        (K.EMPTY_200, {}, True), (K.WS_ABORT, {}, True),
    ],
    ids=lambda v: v.value if isinstance(v, K) else str(v),
)  # fmt: skip
def test_whatever_is_lost_the_order_is_resolved_and_never_doubled(kind: K, args: dict[str, float], arrives: bool, order_socket: bool) -> None:
    async def body(rig: Rig) -> None:
        rig.hurt(kind, **args)
        client_id = rig.order(1)
        how = await resolved(rig, client_id)
        filled = truth(rig, client_id)
        told = sum((f.qty for f in fills_of(rig, client_id)), D(0))
        assert rig.hits(kind) >= 1, "the fault never struck"
        assert (filled is not None) is arrives
        if how == "absent":
            assert filled is None and told == 0
        else:
            assert filled == told == rig.exchange.positions().get(PERP.id, 0)
        assert sum(1 for r in rig.exchange.orders if r == client_id) <= 1

    run(body, order_socket=order_socket)


def test_a_refused_connection_denies_the_order() -> None:
    async def body(rig: Rig) -> None:
        await rig.server.close()
        await until(lambda: any(not e.up for e in rig.of(ev.VenueStatus)), rig)
        client_id = rig.order(1)
        await until(lambda: rig.about(client_id), rig)
        (end,) = rig.about(client_id)
        assert isinstance(end, ev.OrderEnded) and end.outcome is Outcome.DENIED

    run(body)


def test_an_aborted_stream_takes_the_venue_down_and_up_and_nothing_is_missed() -> None:
    async def body(rig: Rig) -> None:
        resting = rig.order(1, Side.BUY, "0.1", "69990", TimeInForce.DAY)
        await until(lambda: rig.about(resting), rig)
        rig.server.lines.cut()
        rig.exchange.fill_resting(resting, rig.clock())
        await until(lambda: [e.up for e in rig.of(ev.VenueStatus)] == [True, False, True], rig)
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.VenueSnapshot), rig)
        assert rig.of(ev.VenueSnapshot)[-1].positions == {PERP.id: D("0.1")}
        assert [f.qty for f in fills_of(rig, resting)] == [D("0.1")]

    run(body)


@pytest.mark.parametrize("kind", [K.SNAPSHOT_FAIL, K.HTML_5XX, K.GARBAGE_200, K.EMPTY_200], ids=lambda k: k.value)
def test_a_broken_answer_is_no_flat_account(kind: K) -> None:
    async def body(rig: Rig) -> None:
        client_id = rig.order(1)
        await until(lambda: fills_of(rig, client_id), rig)
        rig.hurt(kind, count=1_000)
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.QueryFailed), rig)
        assert rig.of(ev.VenueSnapshot) == []

    run(body)


def test_a_fill_that_the_stream_lost_comes_with_the_next_answer() -> None:
    async def body(rig: Rig) -> None:
        rig.hurt(K.LOST_FILL)
        client_id = rig.order(1)
        await until(lambda: rig.of(ev.OrderEnded), rig)
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.VenueSnapshot), rig)
        assert [f.qty for f in fills_of(rig, client_id)] == [D("0.5")]

    run(body)


def test_a_clock_that_jumps_is_followed() -> None:
    async def body(rig: Rig) -> None:
        rig.hurt(K.CLOCK_SKEW, seconds=60.0, ms=20_000.0)
        first = rig.order(1)
        await until(lambda: rig.about(first), rig)
        assert rig.about(first)[-1].outcome is Outcome.REJECTED
        await until(lambda: any(what == "clock" and fields["offset_ms"] > 15_000 for what, fields in rig.logged), rig)
        second = rig.order(2)
        await until(lambda: fills_of(rig, second), rig)

    run(body)


def test_a_ban_is_waited_out() -> None:
    async def body(rig: Rig) -> None:
        rig.hurt(K.RATE_BAN, seconds=1.0)
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.QueryFailed), rig)
        struck = rig.hits(K.RATE_BAN)
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.VenueSnapshot), rig)
        assert rig.hits(K.RATE_BAN) <= struck + 1

    run(body)


def test_a_revoked_key_takes_the_venue_down_until_it_is_back() -> None:
    async def body(rig: Rig) -> None:
        rig.hurt(K.KEY_REVOKED, seconds=0.5)
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: [e.up for e in rig.of(ev.VenueStatus)] == [True, False, True], rig, 10.0)

    run(body)


def test_an_expired_listen_key_is_noticed_and_replaced() -> None:
    async def body(rig: Rig) -> None:
        rig.hurt(K.LISTEN_KEY_EXPIRED)
        await until(lambda: [e.up for e in rig.of(ev.VenueStatus)] == [True, False, True], rig)
        client_id = rig.order(1)
        await until(lambda: fills_of(rig, client_id), rig)

    run(body)


def test_a_key_that_may_withdraw_is_refused() -> None:
    async def body(rig: Rig) -> None:
        rig.hurt(K.WITHDRAW_ENABLED, seconds=30.0)
        await until(lambda: any(not e.up for e in rig.of(ev.VenueStatus)), rig)
        (alert,) = [a for a in rig.of(ev.Alert) if a.code == "perp.account"]
        assert "withdraw" in alert.text
        client_id = rig.order(1)
        await until(lambda: rig.about(client_id), rig)
        assert rig.about(client_id)[-1].outcome is Outcome.DENIED

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S), running(started=False) as rig:
            await body(rig)

    asyncio.run(whole())


def test_a_cancel_that_meets_a_fill_is_answered_with_the_fill() -> None:
    async def body(rig: Rig) -> None:
        client_id = rig.order(1, Side.BUY, "0.1", "69990", TimeInForce.DAY)
        await until(lambda: rig.about(client_id), rig)
        rig.hurt(K.CANCEL_RACE)
        rig.venue.send(Cancel("perp", PERP.id, client_id), rig.clock())
        assert await resolved(rig, client_id) == "ended"
        assert [f.qty for f in fills_of(rig, client_id)] == [D("0.1")]

    run(body)


@pytest.mark.parametrize("kind", [K.ADL, K.LIQUIDATION], ids=lambda k: k.value)
def test_what_the_exchange_does_unasked_is_told_with_its_reason(kind: K) -> None:
    async def body(rig: Rig) -> None:
        client_id = rig.order(1)
        await until(lambda: fills_of(rig, client_id), rig)
        rig.exchange.seize(PERP.id, D("0.5"), kind.value, rig.clock())
        rig.site._reply(rig.clock())
        await until(lambda: fills_of(rig, ""), rig)
        (forced,) = fills_of(rig, "")
        assert (forced.qty, forced.side, forced.reason) == (D("0.25"), Side.SELL, kind.value)
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.VenueSnapshot), rig)
        assert rig.of(ev.VenueSnapshot)[-1].positions == {PERP.id: D("0.25")}
        assert {f.client_id for f in rig.of(ev.OrderFilled) if f.exec_id == forced.exec_id} == {""}

    run(body)


@pytest.mark.parametrize("kind", [K.DROP, K.OUTAGE], ids=lambda k: k.value)
def test_a_line_that_is_cut_comes_back(kind: K) -> None:
    async def body(rig: Rig) -> None:
        rig.hurt(kind, seconds=0.4)
        if kind is K.OUTAGE:
            rig.site._schedule()
        await until(lambda: [e.up for e in rig.of(ev.VenueStatus)] == [True, False, True], rig, 12.0)
        seen = len(rig.of(ev.Quote))
        client_id = rig.order(1)
        await until(lambda: fills_of(rig, client_id) and len(rig.of(ev.Quote)) > seen, rig)

    run(body)


@pytest.mark.parametrize("kind", [K.MUTE, K.HALF_OPEN, K.WS_SILENT], ids=lambda k: k.value)
def test_a_silent_line_is_found_out(kind: K, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perp_streams, "QUIET_S", 0.5)
    monkeypatch.setattr(perp_client, "PING_MS", 200)
    monkeypatch.setattr(perp_line, "READ_S", 0.5)

    async def body(rig: Rig) -> None:
        rig.hurt(kind, seconds=1.0)
        await until(lambda: any(what in ("market_silent", "market_error", "account_down") for what, _ in rig.logged), rig)
        await until(lambda: rig.clock() > rig.server.faults.plan.on(kind, 0).until_ns if rig.server.faults.plan.on(kind, 0) else True, rig)
        seen = len(rig.of(ev.Quote))
        await until(lambda: len(rig.of(ev.Quote)) > seen and rig.of(ev.VenueStatus)[-1].up, rig, 12.0)

    run(body)


def test_a_stream_that_kept_a_fill_to_itself_is_dialled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perp_account, "LATE_NS", 300_000_000)

    async def body(rig: Rig) -> None:
        await until(lambda: rig.of(ev.Quote), rig)
        rig.hurt(K.LOST_FILL)
        rig.order(1)
        await until(lambda: rig.of(ev.OrderEnded), rig)
        ended = rig.clock()
        await until(lambda: rig.clock() > ended + 400_000_000)
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: [e.up for e in rig.of(ev.VenueStatus)] == [True, False, True], rig)
        assert any(what == "fill_missed" for what, _ in rig.logged)

    run(body)


def test_depth_with_a_gap_is_built_anew() -> None:
    async def body(rig: Rig) -> None:
        await until(lambda: rig.of(ev.BookDepth), rig)
        rig.hurt(K.DEPTH_GAP)
        await until(lambda: ("market_error", "book BTCUSDT") in {(what, str(f.get("stream"))) for what, f in rig.logged}, rig)
        seen, now = len(rig.of(ev.BookDepth)), rig.clock()
        await until(lambda: len(rig.of(ev.BookDepth)) > seen, rig)
        depth = rig.of(ev.BookDepth)[-1]
        assert depth.ts > now and (depth.bids[0][0], depth.asks[0][0]) in {(70_000.0 + n, 70_010.0 + n) for n in range(600)}

    run(body, depth_rows=3, moves=[(n / 10.0, 70_000.0 + n, 70_010.0 + n, 8.0) for n in range(600)])


def test_a_position_that_moves_without_its_fill_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks: the account's own position says that something happened."""

    async def body(rig: Rig) -> None:
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.VenueSnapshot), rig)
        push = rig.server.blotter.push
        rig.server.blotter.push = lambda message: push(message) if message.get("o", {}).get("x") != "TRADE" else None  # type: ignore[method-assign]
        client_id = rig.order(1)
        await until(lambda: fills_of(rig, client_id), rig)
        assert [f.qty for f in fills_of(rig, client_id)] == [D("0.5")]
        assert any(what == "position_moved" for what, _ in rig.logged)

    monkeypatch.setattr("bot.venues.perp_positions.GRACE_S", 0.1)
    run(body)


def test_a_position_that_its_fills_explain_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.VenueSnapshot), rig)
        for n, side in enumerate((Side.BUY, Side.SELL, Side.BUY), 1):
            client_id = rig.order(n, side=side, limit="70020" if side is Side.BUY else "69990")
            await until(lambda client_id=client_id: fills_of(rig, client_id), rig)  # type: ignore[misc]
        await asyncio.sleep(0.3)
        assert not any(what == "position_moved" for what, _ in rig.logged)

    monkeypatch.setattr("bot.venues.perp_positions.GRACE_S", 0.05)
    run(body)
