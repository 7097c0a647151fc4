"""The adapter of Interactive Brokers, with the real client library, against the TWS server: from connecting to a cut line."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from ib_rig import MBT, PACE, QUOTES, START, Rig, S, adapter, play, until

from bot.model import event as ev
from bot.model.errors import VenueError
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.book import FUTURE_DEPTH
from bot.sim.exchange import Rules
from bot.venues.ib import IbEndpoint, IbVenue, Pace

pytest.importorskip("ib_insync", reason="ib_insync is not installed here")

FIRST = "P00001L00000001"


def test_it_connects_finds_its_contract_and_quotes() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        assert [(s.up, s.reason) for s in rig.of(ev.VenueStatus)] == [(True, "connected")]
        quote = rig.of(ev.Quote)[-1]
        assert (quote.instrument, quote.bid, quote.ask, quote.bid_size, quote.ask_size) == (MBT.id, 70_000.0, 70_010.0, 8.0, 8.0)
        assert rig.of(ev.Alert) == []

    play(body)


def test_an_order_fills_once_with_its_fee() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 3, 70_010)
        await until(lambda: rig.of(ev.OrderEnded))
        ended = rig.of(ev.OrderEnded)[0]
        assert (ended.client_id, ended.outcome, ended.cum_qty) == (FIRST, Outcome.FILLED, 3)
        fills = rig.fills()
        assert [(f.client_id, f.instrument, f.side, f.qty, f.price, f.fee, f.fee_currency) for f in fills] == [
            (FIRST, MBT.id, Side.BUY, Decimal(3), Decimal(70_010), Decimal("7.5"), "USD")
        ]  # fmt: skip
        assert [f.exec_id for f in fills] == [f.exec_id for f in rig.desk.exchange.account.history if isinstance(f, ev.OrderFilled)]
        assert not rig.of(ev.CashBooked) and rig.desk.exchange.positions() == {MBT.id: 3}

    play(body)


def test_a_snapshot_has_positions_working_orders_cash_and_margin() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 3, 70_010)
        rig.submit("P00001L00000002", Side.BUY, 2, 69_000)
        await until(lambda: rig.of(ev.OrderEnded) and len(rig.of(ev.OrderAccepted)) >= 1)
        rig.query_venue()
        await until(lambda: rig.of(ev.VenueSnapshot))
        snapshot = rig.of(ev.VenueSnapshot)[0]
        assert snapshot.positions == {MBT.id: 3}
        assert [(w.client_id, w.filled) for w in snapshot.working] == [("P00001L00000002", 0)]
        assert snapshot.working[0].venue_order_id == rig.of(ev.OrderAccepted)[-1].venue_order_id != ""
        assert snapshot.cash == {"USD": Decimal(600_000) - Decimal("7.5")}
        assert snapshot.maintenance["USD"] == pytest.approx(rig.desk.exchange.account.maintenance("USD"), abs=0.01)

    play(body)


def test_after_a_cut_it_comes_back_with_what_happened_meanwhile() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 2, 69_000)
        await until(lambda: rig.of(ev.OrderAccepted))
        for client in list(rig.desk.server.clients.values()):
            client.cut(hard=True)
        await until(lambda: not rig.up)
        rig.desk.world.sites["cme"].observe(ev.Quote(rig.desk.world.clock(), MBT.id, 68_990.0, 68_995.0, 5.0, 5.0, rig.desk.world.clock()))
        await until(lambda: rig.up)
        fills = rig.fills()
        assert [(f.client_id, f.qty) for f in fills] == [(FIRST, 2)]
        rig.query(FIRST)
        await until(lambda: rig.of(ev.OrderEnded))
        assert rig.of(ev.OrderEnded)[0].outcome is Outcome.FILLED
        rig.submit("P00001L00000003", Side.SELL, 2, 68_990, tif=TimeInForce.IOC, opening=False)
        await until(lambda: len(rig.of(ev.OrderFilled)) == 2)
        assert rig.desk.exchange.positions() == {}

    play(body)


def test_history_is_minutes_as_quotes_within_the_brokers_limits() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        to_ns = rig.desk.world.clock()
        quotes = await rig.venue.history(MBT.id, to_ns - 3 * 86_400 * S, to_ns)
        bars = rig.desk.world.bars(MBT.id, to_ns - 3 * 86_400 * S, to_ns)
        ended = [b for b in bars if b.from_ns + 60 * S < to_ns]
        assert len(ended) >= 30
        assert [(q.ts, 0.5 * (q.bid + q.ask)) for q in quotes] == [(b.from_ns + 60 * S, b.close) for b in ended]
        assert all(q.bid < q.ask and q.bid_size > 0.0 and q.ask_size > 0.0 and q.instrument == MBT.id for q in quotes)

    play(body, history_min=31)


def test_history_without_bars_is_empty_and_of_a_stranger_fails() -> None:
    async def body(rig: Rig) -> None:
        assert await rig.venue.history(MBT.id, START - 86_400 * S, START - 43_200 * S) == []
        with pytest.raises(VenueError, match="GBPX26 is not traded here"):
            await rig.venue.history("GBPX26", START - S, START)

    play(body)


def test_an_examination_finds_everything_in_order() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rows = {f.name: f for f in await rig.venue.examine()}
        assert not [f for f in rows.values() if not f.ok], rows
        assert rows["account"].found == "DU7654321, paper"
        assert rows["MBTX26 commission"].found == "2.50 USD a lot, 2.50 here"
        assert rows["MBTX26 depth"].found == "not asked for: clips are sized by the touch"
        assert rows["front month"].found == "MBTX26, rolls from 2026-11-16"
        assert set(rows) >= {"session", "clock", "margin", "MBTX26 contract", "MBTX26 prices", "MBTX26 initial margin"}
        assert not rig.desk.exchange.orders

    play(body)


def test_an_examination_without_a_session_makes_its_own_and_leaves_none() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        endpoint = IbEndpoint(host="127.0.0.1", port=rig.desk.server.port, client_id=9)
        venue = IbVenue("cme", {MBT.id: MBT}, endpoint, clock=rig.desk.world.clock, pace=PACE)
        assert [f.ok for f in await venue.examine()][:3] == [True, True, True]
        await until(lambda: set(rig.desk.server.clients) == {7})
        away = IbVenue("cme", {MBT.id: MBT}, IbEndpoint(host="127.0.0.1", port=1, client_id=9), clock=rig.desk.world.clock, pace=Pace(connect=0.1, answer=0.1))
        (row,) = await away.examine()
        assert not row.ok and row.fix and "refused" in row.found.lower()

    play(body)


def test_other_terms_than_pinned_are_not_traded() -> None:
    async def body(rig: Rig) -> None:
        await until(lambda: rig.up)
        assert "its terms have changed" in rig.alerts("ib.contract")[0].text
        rig.submit(FIRST, Side.BUY, 1, 70_010)
        assert [b.client_id for b in rig.of(ev.SendBlocked)] == [FIRST] and not rig.desk.exchange.orders
        rig.query_venue()
        await until(lambda: rig.of(ev.QueryFailed))
        assert "its terms have changed" in rig.of(ev.QueryFailed)[0].reason and not rig.of(ev.VenueSnapshot)

    play(body, pins={MBT.id: "1:0123456789abcdef"})


def test_a_burst_keeps_to_the_brokers_limit_and_what_waited_too_long_never_leaves() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        names = [f"P00001L{n:08d}" for n in range(80)]
        for n, name in enumerate(names):
            rig.submit(name, Side.BUY, 1, 60_000 + 5 * n)
        assert not rig.of(ev.SendBlocked) and not rig.of(ev.OrderEnded)
        await until(lambda: len(rig.of(ev.OrderEnded)) + len(rig.of(ev.OrderAccepted)) == len(names))
        kept = {e.client_id for e in rig.of(ev.OrderEnded)}
        assert kept and {(e.outcome, e.cum_qty, e.reason) for e in rig.of(ev.OrderEnded)} == {(Outcome.DENIED, 0, "never left: message budget")}
        assert set(rig.desk.exchange.orders) == set(names) - kept
        assert not rig.alerts("ib.too_many_messages")

    play(body)


def test_an_order_of_another_hand_is_in_the_snapshot_and_its_fill_without_an_id() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        async with adapter(rig.desk, client_id=8) as other:
            await other.quoted()
            other.submit("X1", Side.BUY, 1, 69_000)
            await until(lambda: other.of(ev.OrderAccepted))
        rig.query_venue()
        await until(lambda: rig.of(ev.VenueSnapshot))
        assert [w.client_id for w in rig.of(ev.VenueSnapshot)[0].working] == ["X1"]
        rig.desk.exchange.trade_manually(MBT.id, Side.SELL, Decimal(2), rig.desk.world.clock())
        rig.query_venue()
        await until(lambda: len(rig.of(ev.VenueSnapshot)) == 2)
        assert [(f.client_id, f.side, f.qty) for f in rig.fills()] == [("", Side.SELL, 2)]
        assert rig.of(ev.VenueSnapshot)[1].positions == {MBT.id: -2}

    play(body)


def test_what_waits_for_room_can_be_called_back_and_never_takes_another_connection() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        names = [f"P00001L{n:08d}" for n in range(60)]
        for n, name in enumerate(names):
            rig.submit(name, Side.BUY, 1, 60_000 + 5 * n)
        rig.cancel(names[-1])
        assert [(e.client_id, e.outcome, e.reason) for e in rig.of(ev.OrderEnded)] == [(names[-1], Outcome.DENIED, "never left: cancelled")]
        await until(lambda: rig.of(ev.OrderAccepted))
        for client in list(rig.desk.server.clients.values()):
            client.cut(hard=True)
        await until(lambda: not rig.up)
        await until(lambda: rig.up)
        kept = {e.client_id for e in rig.of(ev.OrderEnded)}
        assert {e.reason for e in rig.of(ev.OrderEnded)} == {"never left: cancelled", "never left: connection lost"}
        assert not kept & set(rig.desk.exchange.orders)
        for name in names:
            rig.query(name)
        await until(lambda: {e.client_id for e in (*rig.of(ev.OrderAccepted), *rig.of(ev.OrderNotFound))} >= set(names) - kept)

    play(body, pace=msgspec.structs.replace(PACE, queued=10.0))


def test_answers_repeat_bookings_since_the_instant_that_is_asked_for() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 1, 70_010)
        await until(lambda: rig.of(ev.OrderEnded))
        between = rig.desk.world.clock() + 1
        await until(lambda: rig.desk.world.clock() > between)
        rig.submit("P00001L00000002", Side.BUY, 1, 70_010)
        await until(lambda: len(rig.of(ev.OrderEnded)) == 2)
        asked = ((0, [FIRST, "P00001L00000002"]), (between, ["P00001L00000002"]), (ev.NEVER, []))
        for n, (since_ns, wanted) in enumerate(asked, 1):
            before = len(rig.heard)
            rig.query_venue(since_ns)
            await until(lambda n=n: len(rig.of(ev.VenueSnapshot)) == n)  # type: ignore[misc]
            told = rig.heard[before:]
            assert [e.client_id for e in told if isinstance(e, ev.OrderFilled)] == wanted
            assert isinstance([e for e in told if not isinstance(e, ev.Quote)][-1], ev.VenueSnapshot)
        before = len(rig.heard)
        rig.query(FIRST)
        await until(lambda: len(rig.of(ev.OrderEnded)) == 3)
        assert [type(e) for e in rig.heard[before:] if not isinstance(e, ev.Quote)] == [ev.OrderFilled, ev.OrderEnded]
        assert len(rig.fills()) == 2

    play(body)


def test_depth_is_shown_where_it_is_asked_for() -> None:
    async def body(rig: Rig) -> None:
        await until(lambda: rig.of(ev.BookDepth))
        now, x = rig.desk.world.clock(), rig.desk.exchange.listings[MBT.id]
        await until(lambda: rig.of(ev.BookDepth)[-1].ts > now + S)
        depth, touch = rig.of(ev.BookDepth)[-1], rig.of(ev.Quote)[-1]
        assert len(depth.bids) == len(depth.asks) == 4
        assert (depth.bids[0], depth.asks[0]) == ((touch.bid, touch.bid_size), (touch.ask, touch.ask_size))
        assert [tuple(map(float, level)) for level in x.levels(Side.BUY, rig.desk.world.clock())][:4] == list(depth.asks)

    play(body, depth_rows=4, speed=1.0, quotes=QUOTES, rules=Rules(depth=FUTURE_DEPTH))


def test_depth_comes_again_with_every_session() -> None:
    async def body(rig: Rig) -> None:
        await until(lambda: rig.up and rig.of(ev.BookDepth))
        for client in list(rig.desk.server.clients.values()):
            client.cut(hard=True)
        await until(lambda: not rig.up)
        seen = len(rig.of(ev.BookDepth))
        await until(lambda: len(rig.of(ev.BookDepth)) > seen)
        await until(lambda: rig.up)

    play(body, depth_rows=4, quotes=QUOTES, rules=Rules(depth=FUTURE_DEPTH))


def test_depth_beyond_what_the_login_may_have_is_said_once_and_trading_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        await until(lambda: rig.alerts("ib.depth"))
        rig.submit(FIRST, Side.BUY, 2, 71_000)
        await until(lambda: rig.of(ev.OrderEnded))
        assert len(rig.alerts("ib.depth")) == 1 and not rig.of(ev.BookDepth)
        (depth,) = [f for f in await rig.venue.examine() if f.name == "MBTX26 depth"]
        assert not depth.ok and "broker.depth_rows = 0" in depth.fix

    monkeypatch.setattr("bot.wire.tws_market.DEPTH_MAX", 0)
    play(body, depth_rows=4)
