"""The exchange itself: money that adds up, margin that trips in time, time that acts in order, a log that restores it."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pytest
from exchange_rig import drained, exchange, quote, spec, wander
from venue_rig import INVERSE, MBT, PERP, START, D, Hours, S, of

from bot.model import event as ev
from bot.model.instrument import FeeSchedule, Instrument, Kind
from bot.model.order import Outcome, Side, TimeInForce
from bot.model.position import pnl
from bot.sim.account import held_maintenance
from bot.sim.exchange import ADL, DUPLICATE, Exchange, Rules
from bot.sim.listing import Listing, Ticket
from bot.sim.orders import OrderReceived


@pytest.mark.parametrize("seed", range(40))
def test_money_adds_up(seed: int) -> None:
    """Cash is opening + realised profit - fees + funding + insurance, recomputed from the reports alone; positions too."""
    x, said = wander(seed)
    booked = {e.exec_id: e for e in of(ev.OrderFilled, said)}
    cash = {"USDT": D(30_000), "BTC": D(1)}
    held: dict[str, Decimal] = {}
    for terms in (PERP, INVERSE):
        flows = [f for f in booked.values() if f.instrument == terms.id]
        held[terms.id] = sum((f.qty * f.side.sign for f in flows), D(0))
        last = flows[-1].price if flows else D(1)
        # Whatever the average cost: realised + unrealised at any price is the sum of each fill marked to that price.
        total = sum((pnl(terms, f.qty * f.side.sign, f.price, last) for f in flows), D(0))
        position = x.listings[terms.id].position
        assert position.qty == held[terms.id], f"seed {seed}"
        unrealised = pnl(terms, position.qty, position.avg, last) if position.qty else D(0)
        cash[terms.settle] += total - unrealised - sum((f.fee for f in flows), D(0))
    cash["USDT"] += sum((e.amount for e in said if isinstance(e, ev.FundingPaid | ev.CashBooked) and e.currency == "USDT"), D(0))
    cash["BTC"] += sum((e.amount for e in said if isinstance(e, ev.FundingPaid | ev.CashBooked) and e.currency == "BTC"), D(0))
    for currency, expected in cash.items():
        assert abs(x.account.cash[currency] - expected) < D("1e-12"), f"seed {seed} {currency}"


@pytest.mark.parametrize("seed", range(40))
def test_orders_end_with_what_their_fills_say(seed: int) -> None:
    """Every order is reported ended at most once of its own accord, with the sum of its fills, never beyond its size."""
    x, said = wander(seed)
    for cid, ticket in x.orders.items():
        filled = sum((f.qty for f in {e.exec_id: e for e in of(ev.OrderFilled, said) if e.client_id == cid}.values()), D(0))
        assert filled == ticket.filled <= ticket.spec.qty, f"seed {seed} {cid}"
        ends = {(e.outcome, e.cum_qty) for e in of(ev.OrderEnded, said) if e.client_id == cid}
        assert ends == ({(ticket.outcome, filled)} if ticket.outcome else set()), f"seed {seed} {cid}"


def story(x: Exchange) -> list[tuple[str, Decimal, Outcome | None, str]]:
    """Return what an exchange knows of each order."""

    def row(t: Ticket) -> tuple[str, Decimal, Outcome | None, str]:
        return t.spec.client_id, t.filled, t.outcome, t.venue_order_id

    return [row(t) for t in x.orders.values()]


@pytest.mark.parametrize("seed", range(40))
def test_records_restore_the_exchange(seed: int) -> None:
    """A fresh exchange fed the records holds the same cash, positions and orders, and mints ids that are still free."""
    x, _ = wander(seed)
    y = exchange({"USDT": D(30_000), "BTC": D(1)})
    y.restore(x.records, x.now)
    assert y.account.cash == x.account.cash and y.account.positions() == x.account.positions(), f"seed {seed}"
    assert story(y) == story(x), f"seed {seed}"
    assert [list(z.resting) for z in y.listings.values()] == [list(z.resting) for z in x.listings.values()]
    y.quote(quote(70_000.0, 70_000.1, x.now + S))
    y.submit(spec(10**6, Side.BUY, "0.01", "70100.0"), x.now + S)
    old = {e.exec_id for e in x.account.history if isinstance(e, ev.OrderFilled)}
    assert not old & {e.exec_id for e in of(ev.OrderFilled, drained(y))}, f"seed {seed}"


@pytest.mark.parametrize("seed", range(60))
def test_margin_trips_are_never_late(seed: int) -> None:
    """After every step: equity covers maintenance, or a liquidation was tried and found nobody to trade with."""
    rng = Random(seed)
    x = exchange({"USDT": D(12_000), "BTC": D("0.2")})
    price, now = 70_000.0, START
    marks = rng.random() < 0.5
    for n in range(120):
        now += S
        price *= 1.0 + 0.012 * (rng.random() - 0.5)
        bid = round(price, 1)
        for name, size in (("BTCUSDT", 100.0), ("BTCUSD", 1e6)):
            x.quote(quote(bid, round(bid + 0.1, 1), now, size, name))
            if marks:
                x.mark(ev.MarkPrice(now, name, bid, bid))
        if n % 10 == 0:
            side = Side.BUY if rng.random() < 0.5 else Side.SELL
            name, qty = ("BTCUSDT", D(1 + int(8 * rng.random()))) if rng.random() < 0.5 else ("BTCUSD", D(1 + int(3_000 * rng.random())))
            x.submit(spec(n, side, qty, D(repr(round(price * (1 + 0.001 * side.sign), 1))), instrument=name), now)
        for currency in ("USDT", "BTC"):
            if any(z.position.qty for z in x.account.pool(currency)):
                assert x.account.equity(currency) >= x.account.maintenance(currency) - 1e-9, f"seed {seed} step {n}"
        drained(x)


def test_a_quiet_quote_computes_nothing() -> None:
    """With a position far from its trip a quote is one assignment: no margin, no match, nothing said."""
    x = exchange()
    x.quote(quote(70_000.0, 70_000.1))
    x.submit(spec(1, Side.SELL, "1", "69990.0"), START)
    drained(x)
    calls = []
    x.account.watch = lambda currency: calls.append(currency) or 0.0  # type: ignore[method-assign,func-returns-value]
    q = quote(70_500.0, 70_500.1, START + S)
    assert x.quote(q) is False
    assert x.listings["BTCUSDT"].quote is q and calls == []


def test_liquidation_goes_on_at_the_next_quote_when_nobody_is_there() -> None:
    """An empty book stops it; the first quote with size continues, even though margin goes by marks."""
    x = exchange({"USDT": D(60_000)})
    x.quote(quote(70_000.0, 70_000.1))
    x.submit(spec(1, Side.SELL, "8", "70000.0"), START)
    x.mark(ev.MarkPrice(START + S, "BTCUSDT", 70_000.0, 70_000.0))
    drained(x)
    x.quote(quote(80_000.0, 80_000.1, START + 2 * S, size=0.0))
    x.mark(ev.MarkPrice(START + 2 * S, "BTCUSDT", 80_000.0, 80_000.0))
    assert drained(x) == []
    x.quote(quote(80_000.0, 80_000.1, START + 3 * S))
    assert of(ev.OrderFilled, drained(x))[0].reason == "liquidation"


def test_liquidation_stops_when_maintenance_is_covered() -> None:
    """Slices are sold one after another and no more than needed: the rest of the position stays."""
    x = exchange({"USDT": D(60_000)})
    x.quote(quote(70_000.0, 70_000.1))
    x.submit(spec(1, Side.SELL, "8", "70000.0"), START)
    drained(x)
    x.quote(quote(77_150.0, 77_150.1, START + S))
    fills = of(ev.OrderFilled, drained(x))
    assert len(fills) >= 1 and -8 < x.account.positions()["BTCUSDT"] < 0
    assert x.account.equity("USDT") >= x.account.maintenance("USDT")


def test_deleveraging_closes_at_mark_without_a_fee() -> None:
    """ADL takes a share at the mark, costs nothing and names itself; no order of ours explains it."""
    x = exchange()
    x.quote(quote(70_000.0, 70_000.1))
    x.submit(spec(1, Side.SELL, "2", "70000.0"), START)
    x.mark(ev.MarkPrice(START, "BTCUSDT", 71_000.0, 71_000.0))
    drained(x)
    assert x.seize("BTCUSDT", D("0.5"), ADL, START + S)
    (fill,) = of(ev.OrderFilled, drained(x))
    assert (fill.client_id, fill.reason, fill.side, fill.qty, fill.price, fill.fee) == ("", "adl", Side.BUY, D(1), D(71_000), D(0))
    assert not x.seize("BTCUSD", D(1), ADL, START + S)


def test_a_reduction_passes_without_initial_margin() -> None:
    """When equity no longer covers initial margin, getting smaller is still possible and growing is not."""
    x = exchange({"USDT": D(5_000)}, Rules())
    x.quote(quote(70_000.0, 70_000.1))
    x.submit(spec(1, Side.SELL, "5", "70000.0"), START)
    x.quote(quote(70_300.0, 70_300.1, START + S))
    drained(x)
    assert x.submit(spec(2, Side.SELL, "1", "70300.0"), START + S) == "insufficient margin"
    assert x.submit(spec(3, Side.BUY, "1", "70310.0"), START + S) == ""


def test_working_orders_count_for_margin() -> None:
    """Two resting orders that could only together exceed the money: the second is refused."""
    x = exchange({"USDT": D(5_000)})
    x.quote(quote(70_000.0, 70_000.1))
    assert x.submit(spec(1, Side.BUY, "4", "69000.0", TimeInForce.DAY), START) == ""
    assert x.submit(spec(2, Side.BUY, "4", "69000.0", TimeInForce.DAY), START) == "insufficient margin"


def test_a_duplicate_is_refused_by_name() -> None:
    """The return value tells a front why, and the first order stands."""
    x = exchange()
    x.quote(quote(70_000.0, 70_000.1))
    x.submit(spec(1, Side.BUY, "1", "69000.0", TimeInForce.DAY), START)
    assert x.submit(spec(1, Side.BUY, "1", "69000.0", TimeInForce.DAY), START) == DUPLICATE
    assert len(x.orders) == 1


def test_time_acts_in_order() -> None:
    """Two stamps and a session end that fell due together happen in order of their own instants."""
    hours = Hours()
    hours.closed = [(START + 50 * S, START + 80 * S)]
    x = exchange(hours=hours)
    for name, size in (("BTCUSDT", 50.0), ("BTCUSD", 500.0)):
        x.quote(quote(70_000.0, 70_000.1, START, size, name))
    x.submit(spec(1, Side.SELL, "1", "70000.0"), START)
    x.submit(spec(2, Side.SELL, "100", "70000.0", instrument="BTCUSD"), START)
    x.submit(spec(3, Side.BUY, "1", "60000.0", TimeInForce.DAY), START)
    x.funding(ev.FundingRate(START, "BTCUSDT", 0.0001, 28_800, START + 90 * S, 0.003))
    x.funding(ev.FundingRate(START, "BTCUSD", 0.0001, 28_800, START + 10 * S, 0.003))
    drained(x)
    x.advance(START + 100 * S)
    assert [(type(e), (e.ts - START) // S) for e in drained(x)] == [(ev.FundingPaid, 10), (ev.OrderEnded, 50), (ev.FundingPaid, 90)]


def test_a_stamp_is_paid_before_the_quote_of_its_instant() -> None:
    """Nobody else turning the clock: the quote at the stamp first pays the position that was held, by the mid before it."""
    x = exchange()
    x.quote(quote(70_000.0, 70_000.2))
    x.submit(spec(1, Side.SELL, "2", "70000.0"), START)
    x.submit(spec(2, Side.BUY, "2", "69000.0", TimeInForce.DAY), START)
    x.funding(ev.FundingRate(START, "BTCUSDT", 0.0005, 28_800, START + 10 * S, 0.003))
    drained(x)
    x.quote(quote(68_000.0, 68_000.1, START + 10 * S))
    paid, fill, _ = drained(x)
    assert (paid.qty, paid.mark, fill.qty) == (D(-2), 70_000.1, D(2))  # type: ignore[union-attr]


def test_a_mark_that_is_no_price_is_ignored() -> None:
    """NaN, infinity, zero and negative marks leave margin where it was."""
    x = exchange()
    x.quote(quote(70_000.0, 70_000.1))
    x.submit(spec(1, Side.SELL, "1", "70000.0"), START)
    drained(x)
    for bad in (float("nan"), float("inf"), 0.0, -5.0):
        x.mark(ev.MarkPrice(START + S, "BTCUSDT", bad, 70_000.0))
    x.funding(ev.FundingRate(START, "BTCUSDT", float("nan"), 28_800, START + 90 * S, 0.003))
    assert x.listings["BTCUSDT"].mark == 0.0 and x.listings["BTCUSDT"].funding is None and drained(x) == []


def test_fill_off_the_grid_goes_against_the_taker() -> None:
    """A touch between ticks (a made-up spread of a backtest) is rounded so that nobody gains by it."""
    x = exchange()
    x.quote(quote(69_999.96, 70_000.04))
    x.submit(spec(1, Side.BUY, "1", "70010.0"), START)
    x.submit(spec(2, Side.SELL, "1", "69990.0"), START)
    assert [f.price for f in of(ev.OrderFilled, drained(x))] == [D("70000.1"), D("69999.9")]


def test_a_day_order_cut_off_by_a_closed_session_expires_at_restore() -> None:
    """After a restart in a closure nothing rests; an IOC whose end is missing in the log ends with what it filled."""
    hours = Hours()
    x = exchange(hours=hours)
    x.quote(quote(70_000.0, 70_000.1, size=1.0))
    x.submit(spec(1, Side.BUY, "1", "60000.0", TimeInForce.DAY), START)
    x.submit(spec(2, Side.BUY, "2", "70010.0"), START)
    torn = [r for r in x.records if not isinstance(r, ev.OrderEnded)]
    assert [type(r) for r in torn] == [OrderReceived, OrderReceived, ev.OrderFilled]
    hours.closed = [(START, START + 100 * S)]
    y = exchange(hours=hours)
    y.restore(torn, START + S)
    assert [(t.outcome, t.filled) for t in y.orders.values()] == [(Outcome.EXPIRED, D(0)), (Outcome.CANCELLED, D(1))]
    assert [type(r) for r in y.records] == [ev.OrderEnded, ev.OrderEnded]


def test_margin_of_an_instrument_without_tiers_is_an_error_not_zero() -> None:
    """A position in something nobody gave brackets for cannot be called safe."""
    bare = Instrument(id="X", venue="perp", kind=Kind.PERP, base="X", unit=D(1), tick=D(1), lot=D(1), index_quote="USD", settle="USD", fees=FeeSchedule())
    listing = Listing(bare)
    listing.position.qty, listing.position.qty_f, listing.last_mid = D(1), 1.0, 10.0
    with pytest.raises(LookupError, match="no margin tiers"):
        held_maintenance(listing)


def test_futures_and_perps_share_one_core() -> None:
    """The same class is the broker: a future fills at its tick and pays per lot."""
    x = Exchange("cme", (MBT,), {"USD": D(600_000)}, Hours(), now_ns=START)
    x.quote(ev.Quote(START, MBT.id, 70_500.0, 70_505.0, 100.0, 100.0, START))
    x.submit(spec(1, Side.BUY, "20", "70510", instrument=MBT.id), START)
    assert x.account.cash["USD"] == D(600_000) - 60
