"""The perp adapter, real ccxt and the Binance server: from connecting to fills, answers and funding."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from perp_rig import PERP, START, D, Rig, S, running, until

from bot.model import event as ev
from bot.model.command import Cancel, QueryOrder, QueryVenue
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.book import PERP_DEPTH
from bot.sim.exchange import Rules
from bot.venues.perp import PerpVenue

pytest.importorskip("ccxt", reason="ccxt is not installed here")

LIMIT_S = 15.0
Body = Callable[[Rig], Awaitable[None]]


def run(body: Body, **more: Any) -> None:
    """Let a body have a connected adapter."""

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S), running(**more) as rig:
            await body(rig)

    asyncio.run(whole())


def test_it_connects_and_shows_the_market() -> None:
    async def body(rig: Rig) -> None:
        await until(lambda: rig.of(ev.Quote) and rig.of(ev.MarkPrice) and rig.of(ev.FundingRate), rig)
        quote = rig.of(ev.Quote)[-1]
        assert (quote.instrument, quote.bid, quote.ask, quote.bid_size) == (PERP.id, 70_000.0, 70_010.0, 8.0)
        assert abs(quote.ts - quote.venue_ts) < 5_000_000_000
        rate = rig.of(ev.FundingRate)[-1]
        assert (rate.rate, rate.interval_s, rate.cap) == (0.0001, 28_800, 0.003)
        assert [e.up for e in rig.of(ev.VenueStatus)] == [True]

    run(body)


@pytest.mark.parametrize("order_socket", [True, False], ids=["socket", "rest"])
def test_an_order_fills_with_its_fee(order_socket: bool) -> None:
    async def body(rig: Rig) -> None:
        client_id = rig.order(1)
        await until(lambda: {ev.OrderAccepted, ev.OrderFilled, ev.OrderEnded} <= {type(e) for e in rig.about(client_id)}, rig)
        (fill,) = {e.exec_id: e for e in rig.of(ev.OrderFilled)}.values()
        assert (fill.client_id, fill.side, fill.qty, fill.price) == (client_id, Side.BUY, D("0.5"), D("70010.0"))
        assert (fill.fee, fill.fee_currency, fill.maker) == (D("17.5025"), "USDT", False)
        end = rig.of(ev.OrderEnded)[-1]
        assert (end.outcome, end.cum_qty) == (Outcome.FILLED, D("0.5"))
        assert rig.exchange.positions() == {PERP.id: D("0.5")}

    run(body, order_socket=order_socket)


def test_a_snapshot_repeats_fills_and_tells_positions_and_money() -> None:
    async def body(rig: Rig) -> None:
        client_id = rig.order(1, Side.SELL, "0.25", "69990")
        await until(lambda: rig.of(ev.OrderEnded) and rig.of(ev.OrderFilled), rig)
        rig.heard.clear()
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.VenueSnapshot), rig)
        (snapshot,) = rig.of(ev.VenueSnapshot)
        assert snapshot.positions == {PERP.id: D("-0.25")}
        assert snapshot.cash == {"USDT": rig.exchange.account.cash["USDT"]}
        assert snapshot.maintenance["USDT"] == pytest.approx(rig.exchange.account.maintenance("USDT"), rel=1e-3)
        assert {(f.client_id, f.fee) for f in rig.of(ev.OrderFilled)} == {(client_id, D("8.75"))}

    run(body)


def test_a_resting_order_is_cancelled_and_told_of() -> None:
    async def body(rig: Rig) -> None:
        client_id = rig.order(1, limit="69000", tif=TimeInForce.DAY)
        await until(lambda: [e for e in rig.about(client_id) if isinstance(e, ev.OrderAccepted)], rig)
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.VenueSnapshot), rig)
        assert [w.client_id for w in rig.of(ev.VenueSnapshot)[0].working] == [client_id]
        rig.venue.send(Cancel("perp", PERP.id, client_id), rig.clock())
        await until(lambda: rig.of(ev.OrderEnded), rig)
        assert rig.of(ev.OrderEnded)[0].outcome is Outcome.CANCELLED
        rig.heard.clear()
        rig.venue.send(Cancel("perp", PERP.id, client_id), rig.clock())
        await until(lambda: rig.of(ev.OrderEnded), rig)

    run(body)


def test_an_unknown_order_is_said_to_be_unknown() -> None:
    async def body(rig: Rig) -> None:
        rig.venue.send(QueryOrder("perp", PERP.id, "P00001H00000099"), rig.clock())
        await until(lambda: rig.of(ev.OrderNotFound), rig)
        assert rig.of(ev.QueryFailed) == []

    run(body)


def test_a_refused_order_is_rejected_with_the_reason() -> None:
    async def body(rig: Rig) -> None:
        client_id = rig.order(1, qty="900", limit="70020")
        await until(lambda: rig.about(client_id), rig)
        end = rig.about(client_id)[-1]
        assert isinstance(end, ev.OrderEnded) and end.outcome is Outcome.REJECTED and "-2019" in end.reason
        assert not any("apiKey" in str(x) for x in rig.logged)

    run(body)


def test_the_dead_mans_switch_is_set_before_orders_may_go() -> None:
    async def body(rig: Rig) -> None:
        left = rig.server.orders._countdowns[PERP.id] - rig.clock()
        assert 100e9 < left <= 120e9
        assert [a for a in rig.of(ev.Alert)] == []

    run(body)


def test_an_examination_finds_everything_in_order() -> None:
    async def body(rig: Rig) -> None:
        found = await rig.adapter(leverage=20).examine()
        assert [f.name for f in found] == ["terms", "clock", "key", "account mode", "leverage", "margin brackets"]
        assert [f.name for f in found if not f.ok] in ([], ["leverage"])
        quotes = await rig.venue.history(PERP.id, START - 3_600 * S, START)
        assert quotes and all(q.bid < q.ask and START - 3_600 * S <= q.ts <= START for q in quotes)

    run(body)


def test_funding_is_told_once_for_its_stamp_with_rate_and_mark() -> None:
    stamp = START // (28_800 * S) * 28_800 * S + 28_800 * S

    async def body(rig: Rig) -> None:
        client_id = rig.order(1)
        await until(lambda: rig.about(client_id) and rig.of(ev.OrderFilled), rig)
        await until(lambda: any(isinstance(b, ev.FundingPaid) for b in rig.exchange.account.history), rig)
        rig.exchange.account.book_cash("deposit", D("250"), "USDT", "d1", rig.clock())
        rig.site._reply(rig.clock())
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.VenueSnapshot), rig)
        (paid,) = {(p.instrument, p.stamp_ns): p for p in rig.of(ev.FundingPaid)}.values()
        (theirs,) = [b for b in rig.exchange.account.history if isinstance(b, ev.FundingPaid)]
        assert (paid.stamp_ns, paid.amount, paid.currency, paid.rate) == (stamp, theirs.amount, "USDT", theirs.rate)
        assert (paid.qty, paid.mark) == (D("0.5"), theirs.mark)
        assert rig.of(ev.VenueSnapshot)[-1].cash == rig.exchange.account.cash
        assert [(c.kind, c.amount, c.currency) for c in {c.ref: c for c in rig.of(ev.CashBooked)}.values()] == [("transfer", D("250"), "USDT")]

    run(body, start=stamp - int(1.5 * S))


def test_a_deleveraging_rank_that_comes_first_is_said_once() -> None:
    from bot.venues.perp_session import Session

    said: list[str] = []

    class Told:
        venue = "perp"

        def alert(self, severity: ev.Severity, code: str, text: str) -> None:
            said.append(f"{code} {text}")

    session = Session.__new__(Session)
    session._line = Told()  # type: ignore[assignment]
    ranks: dict[str, int] = {}
    for rank in (1, 4, 4, 2, 4):
        ranks = session._mind_ranks(ranks, {PERP.id: rank})
    assert len(said) == 2 and "rank 4" in said[0]


def test_parts_of_an_order_come_one_by_one_and_add_up() -> None:
    moves = [(0.0, 70_000.0, 70_010.0, 8.0), (1.2, 69_990.0, 69_999.0, 0.2), (1.4, 69_990.0, 69_999.5, 0.3), (1.6, 69_990.0, 69_999.0, 5.0)]

    async def body(rig: Rig) -> None:
        client_id = rig.order(1, Side.BUY, "0.9", "70000", TimeInForce.DAY)
        await until(lambda: rig.of(ev.OrderEnded), rig)
        await until(lambda: sum((f.qty for f in rig.of(ev.OrderFilled)), D(0)) == D("0.9"), rig)
        fills = rig.of(ev.OrderFilled)
        assert len(fills) >= 2 and len({f.exec_id for f in fills}) == len(fills) and {f.client_id for f in fills} == {client_id}
        assert rig.of(ev.OrderEnded)[0].cum_qty == D("0.9")
        assert sum((f.fee for f in fills), D(0)) == D(400_000) - rig.exchange.account.cash["USDT"]
        assert [e.up for e in rig.of(ev.VenueStatus)] == [True]

    run(body, moves=moves)


def test_an_account_in_the_wrong_mode_gets_no_orders() -> None:
    async def body(rig: Rig) -> None:
        other = rig.adapter(leverage=7)
        rig.server.rest._routes["GET", "/fapi/v1/positionSide/dual"] = ("signed", 30, lambda p: {"dualSidePosition": True})
        bad = {f.name: f for f in await other.examine() if not f.ok}
        assert set(bad) == {"account mode", "leverage"} and "one-way" in bad["account mode"].fix and "to 7" in bad["leverage"].fix
        heard: list[ev.Event] = []
        other.start(heard.append)
        await until(lambda: any(isinstance(e, ev.VenueStatus) and not e.up for e in heard), rig)
        assert any(isinstance(e, ev.Alert) and e.severity is ev.Severity.CRIT for e in heard)
        assert not any(isinstance(e, ev.VenueStatus) and e.up for e in heard)
        other.stop()
        await other.closed()

    run(body)


def test_without_a_key_there_is_data_and_nothing_else() -> None:
    async def body(rig: Rig) -> None:
        await until(lambda: rig.of(ev.Quote) and rig.of(ev.MarkPrice), rig)
        client_id = rig.order(1)
        await until(lambda: rig.about(client_id), rig)
        assert rig.about(client_id)[0].outcome is Outcome.DENIED and rig.exchange.orders == {}
        rig.venue.send(QueryVenue("perp"), rig.clock())
        await until(lambda: rig.of(ev.QueryFailed), rig)

    run(body, key="", secret="")


def test_terms_that_do_not_agree_keep_the_venue_down() -> None:
    import msgspec

    async def body(rig: Rig) -> None:
        wrong = msgspec.structs.replace(PERP, unit=D("0.01"))
        other = PerpVenue("perp", {wrong.id: wrong}, rig.endpoint(), clock=rig.clock)
        heard: list[ev.Event] = []
        other.start(heard.append)
        await until(lambda: any(isinstance(e, ev.Alert) and e.code == "perp.terms" and "0.01 here" in e.text for e in heard), rig)
        assert not any(isinstance(e, ev.VenueStatus) and e.up for e in heard)
        other.stop()
        await other.closed()

    run(body)


def test_it_can_be_stopped_at_any_moment() -> None:
    async def body(rig: Rig) -> None:
        for pause in (0.0, 0.02, 0.05, 0.1):
            other, heard = rig.adapter(), list[ev.Event]()
            other.start(heard.append)
            await asyncio.sleep(pause)
            other.stop()
            told = len(heard)
            await other.closed()
            assert len(heard) == told

    run(body)


def test_depth_is_shown_where_it_is_asked_for() -> None:
    async def body(rig: Rig) -> None:
        await until(lambda: rig.of(ev.BookDepth), rig)
        depth = rig.of(ev.BookDepth)[-1]
        assert (depth.instrument, len(depth.bids), len(depth.asks)) == (PERP.id, 3, 3)
        assert depth.bids[0] == (70_000.0, 8.0) and depth.asks[0] == (70_010.0, 8.0)
        assert all(a[0] > b[0] for a, b in pairwise(depth.bids)) and all(a[0] < b[0] for a, b in pairwise(depth.asks))

    run(body, depth_rows=3, rules=Rules(depth=PERP_DEPTH))


def test_without_rows_only_the_touch_is_shown() -> None:
    async def body(rig: Rig) -> None:
        await until(lambda: len(rig.of(ev.Quote)) > 5, rig)
        assert not rig.of(ev.BookDepth)

    run(body)
