"""Faults of market, account and line: what the desk is shown, what the exchange holds, and that each ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))
from venue_rig import MBT, MS, PERP, START, D, Rig, S, in_process, of

from bot.model import event as ev
from bot.model.command import QueryVenue, Submit
from bot.model.instrument import Instrument, Kind
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.exchange import Exchange
from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.sim.wire import Delays
from bot.venues.reference import ReferenceVenue, reference_plan
from bot.venues.sim import SimVenue

BUY, SELL, DAY = Side.BUY, Side.SELL, TimeInForce.DAY
K = FaultKind
INSTANT = in_process(Delays())
SLOW_WIRE = in_process(Delays(request_ns=40 * MS, reply_ns=30 * MS, feed_ns=20 * MS))
STABLE = Instrument(id="USDT/USD", venue="ref", kind=Kind.STABLE, base="USDT", unit=D(1), tick=D("0.0001"), lot=D(1), index_quote="USD", settle="USD")


def faulty(kind: FaultKind, at_s: float = 10.0, for_s: float = 60.0, count: int = 1, venue: str = "perp", **args: float) -> Fault:
    """Return one fault, seconds from the start."""
    return Fault(at_ns=START + int(at_s * S), venue=venue, kind=kind, count=count, for_ns=int(for_s * S), args=args)


def rig(*faults: Fault, build: Any = INSTANT, venue: str = "perp", **more: Any) -> Rig:
    """Return a rig with a book at the start and these faults."""
    made: Rig = build(venue, faults=faults, **more)
    show(made, 0.0)
    return made


def show(r: Rig, at_s: float, bid: float = 70_000.0, size: float = 50.0) -> Any:
    """Turn the clock, show a book one tick wide and return what the desk saw of it last, None for nothing."""
    before = len(r.seen)
    r.to(at_s)
    tick, name = (5.0, MBT.id) if r.venue.venue == "cme" else (0.1, PERP.id)
    r.quote(bid, bid + tick, size, instrument=name)
    r.to(at_s + 0.5)
    return r.seen[-1] if len(r.seen) > before else None


def hits(r: Rig) -> dict[FaultKind, int]:
    """Return what struck."""
    return r.venue.plan.hits  # type: ignore[attr-defined, no-any-return]


def held(r: Rig) -> dict[str, Any]:
    """Return the exchange's own positions."""
    return r.venue.exchange.positions()  # type: ignore[attr-defined, no-any-return]


# The market.


@pytest.mark.parametrize("build", [INSTANT, SLOW_WIRE], ids=["instant", "latency"])
def test_a_blow_out_is_real_and_comes_back(build: Any) -> None:
    """The perp trades 1 % away for half of the time, then returns ever slower; the index stays where it was."""
    r = rig(faulty(K.BLOW_OUT, at_s=10, for_s=120, bp=100.0), build=build)
    assert show(r, 5).bid == 70_000.0
    assert (show(r, 20).bid, r.seen[-1].ask) == (70_700.0, 70_700.1)
    assert of(ev.OrderFilled, r.order(BUY, "1", "70800.0"))[0].price == D("70700.1")
    r.mark(70_000.0)
    r.settle()
    assert (r.seen[-1].mark, r.seen[-1].index) == (70_700.0, 70_000.0)
    away = [show(r, t).bid - 70_000.0 for t in (80, 90, 100, 120)]
    assert 700.0 > away[0] > away[1] > away[2] > away[3] > 10.0 and away[1] == pytest.approx(700.0 * 0.5**2, abs=0.1)
    assert show(r, 131).bid == 70_000.0 and r.venue.plan.quote_ns == ev.NEVER  # type: ignore[attr-defined]


def test_a_depeg_lifts_what_is_quoted_in_the_stablecoin() -> None:
    """3 % below par: the perp's book, mark and index rise by 1 / 0.97, the stablecoin shows 0.97, and both come back together."""
    fault = faulty(K.DEPEG, at_s=10, for_s=100, bp=300.0)
    r = rig(fault)
    ref = ReferenceVenue(STABLE, reference_plan(STABLE, "perp", [fault]))

    def par(at_s: float) -> float:
        at = START + int(at_s * S)
        seen = ref.observe(ev.Quote(at, STABLE.id, 0.9999, 1.0001, 1e6, 1e6, at))
        return 0.5 * float(seen.bid + seen.ask)

    assert par(5) == 1.0 and show(r, 5).bid == 70_000.0
    quote = show(r, 20)
    assert par(20) == pytest.approx(0.97, abs=1e-4)
    assert quote.bid * par(20) == pytest.approx(70_000.0, rel=2e-4), "the coin costs in USD what it did"
    r.mark(70_000.0)
    assert r.seen[-1].mark == r.seen[-1].index == pytest.approx(70_000.0 / 0.97, rel=1e-6)
    assert of(ev.OrderFilled, r.order(SELL, "1", "70100.0"))[0].price == D(repr(quote.bid))
    assert 0.97 < par(80) < par(100) < 0.9999
    assert par(111) == 1.0 and show(r, 111).bid == 70_000.0


def test_a_depeg_moves_neither_dollars_nor_coins() -> None:
    """A future in USD and an inverse perp do not know the stablecoin."""
    r = rig(faulty(K.DEPEG, venue="cme"), venue="cme")
    assert show(r, 20).bid == 70_000.0 and not hits(r)
    r = rig(faulty(K.DEPEG))
    r.to(20)
    r.quote(70_000.0, 70_000.1, 5_000.0, instrument="BTCUSD")
    assert r.seen[-1].bid == 70_000.0 and not hits(r)


def test_the_mark_alone_can_split_off() -> None:
    """Last and book stay, margin goes by the mark: a short that was safe is liquidated at it."""
    r = rig(faulty(K.MARK_SPLIT, at_s=10, for_s=30, bp=2_000.0), cash={"USDT": "100000"})
    r.order(SELL, "10", "69990.0")
    r.mark(70_000.0)
    assert held(r) == {"BTCUSDT": D(-10)}
    assert show(r, 20).bid == 70_000.0
    r.mark(70_000.0)
    assert r.seen[-1].mark == 84_000.0 and r.seen[-1].index == 70_000.0
    assert any(f.reason == "liquidation" for f in of(ev.OrderFilled, r.said))
    show(r, 50)
    r.mark(70_000.0)
    assert r.seen[-1].mark == 70_000.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_at_a_price_limit_one_side_is_empty(sign: float) -> None:
    """Everybody wants the same side: nothing can be bought at the upper limit, nothing sold at the lower, until it opens again."""
    r = rig(faulty(K.PRICE_LIMIT, at_s=10, for_s=60, sign=sign))
    first = show(r, 20, 70_000.0)
    second = show(r, 30, 70_000.0 + sign * 100.0)
    assert second.bid == second.ask == first.bid == (70_000.1 if sign > 0 else 70_000.0)
    assert (second.bid_size, second.ask_size) == ((50.0, 0.0) if sign > 0 else (0.0, 50.0))
    wanted, other = (BUY, SELL) if sign > 0 else (SELL, BUY)
    assert not of(ev.OrderFilled, r.order(wanted, "1", "75000.0" if sign > 0 else "65000.0"))
    assert of(ev.OrderFilled, r.order(other, "1", "69000.0" if sign > 0 else "71000.0"))
    assert show(r, 71, 70_000.0).ask_size == 50.0
    assert of(ev.OrderFilled, r.order(wanted, "1", "75000.0" if sign > 0 else "65000.0"))


def test_a_funding_spike_is_announced_at_the_cap_and_paid() -> None:
    """A short that would have received pays 0.3 %; the next stamp is an ordinary one."""
    r = rig(faulty(K.FUNDING_SPIKE, at_s=10, for_s=600, sign=-1.0))
    r.order(SELL, "2", "69990.0")
    r.to(20)
    r.mark(70_000.0)
    r.rate(0.0001, 300)
    assert r.seen[-1].rate == -0.003
    r.to(301)
    r.to(700)
    r.rate(0.0001, 900)
    assert r.seen[-1].rate == 0.0001
    r.to(901)
    assert [p.amount for p in of(ev.FundingPaid, r.said)] == [D("-420"), D("14")]


def test_missing_estimates_are_missed_by_the_desk_only() -> None:
    """Nothing is announced to us and the stamp is paid all the same."""
    r = rig(faulty(K.FUNDING_MISSING, at_s=10, for_s=600))
    r.order(SELL, "2", "69990.0")
    r.to(20)
    r.mark(70_000.0)
    seen = len(r.seen)
    r.rate(0.0001, 300)
    assert len(r.seen) == seen
    r.to(301)
    assert of(ev.FundingPaid, r.said)[0].amount == D(14)
    r.to(700)
    r.rate(0.0001, 900)
    assert r.seen[-1].rate == 0.0001


@pytest.mark.parametrize("venue", ["cme", "perp"])
def test_a_halt_stops_trading_and_quotes_and_ends(venue: str) -> None:
    """No quote comes, orders are refused, what rests can be cancelled; at its end everything trades again."""
    r = rig(faulty(K.HALT, at_s=10, for_s=120, venue=venue), venue=venue)
    name = MBT.id if venue == "cme" else PERP.id
    resting = r.order(BUY, "1", "69000", tif=DAY, instrument=name)[0].client_id  # type: ignore[union-attr]
    assert show(r, 20) is None and hits(r) == {K.HALT: 1}
    (refused,) = r.order(BUY, "1", "70100", instrument=name)
    assert refused.outcome is Outcome.REJECTED and "halt" in refused.reason  # type: ignore[union-attr]
    assert of(ev.OrderEnded, r.cancel(resting, name))[0].outcome is Outcome.CANCELLED
    assert show(r, 131) is not None and r.venue.plan.quote_ns == ev.NEVER  # type: ignore[attr-defined]
    assert of(ev.OrderFilled, r.order(BUY, "1", "70100", instrument=name))


def test_margin_rates_rise_for_a_while() -> None:
    """What was affordable is refused, what is held may be liquidated; two hikes are over when the longer one is."""
    r = rig(faulty(K.MARGIN_HIKE, at_s=10, for_s=60, multiple=2.0), faulty(K.MARGIN_HIKE, at_s=20, for_s=100, multiple=3.0), cash={"USDT": "100000"})
    r.mark(70_000.0)
    assert of(ev.OrderFilled, r.order(BUY, "50", "70010.0"))
    r.order(SELL, "50", "69990.0")
    for at_s, fits in ((11, True), (25, False), (75, False), (121, True)):
        show(r, at_s)
        answers = r.order(BUY, "40", "70010.0")
        assert bool(of(ev.OrderFilled, answers)) is fits, f"at {at_s} s: {answers}"
        if fits:
            show(r, at_s + 1)
            r.order(SELL, "40", "69990.0")
    assert hits(r) == {K.MARGIN_HIKE: 2}


# The account.


def test_an_overfill_is_one_more_execution_of_the_order() -> None:
    """20 % more than asked arrives under the order's id, with its own execution id, and is held."""
    r = rig(faulty(K.OVERFILL, at_s=0, for_s=0, share=0.2))
    fills = of(ev.OrderFilled, r.order(BUY, "1", "70010.0"))
    assert [f.qty for f in fills] == [D(1), D("0.2")] and len({f.exec_id for f in fills}) == 2 and len({f.client_id for f in fills}) == 1
    assert held(r) == {"BTCUSDT": D("1.2")} and hits(r) == {K.OVERFILL: 1}
    assert sum(f.qty for f in of(ev.OrderFilled, r.order(BUY, "1", "70010.0"))) == 1


def test_an_overfill_waits_for_an_order_that_fills() -> None:
    """An order that does not fill whole leaves the fault waiting."""
    r = rig(faulty(K.OVERFILL, at_s=0, for_s=0))
    r.order(BUY, "1", "69000.0")
    assert not hits(r)
    r.order(BUY, "1", "70010.0")
    assert hits(r) == {K.OVERFILL: 1}


def test_a_bust_takes_back_the_latest_fill() -> None:
    """It waits for one, reverses it at its price with its fee, once, and leaves older ones alone."""
    r = rig(faulty(K.BUST, at_s=10, for_s=0), faulty(K.BUST, at_s=3_000, for_s=3_600))
    before = r.snapshot().cash["USDT"]
    r.to(100)
    assert not hits(r)
    r.order(SELL, "2", "69990.0")
    r.to(200)
    (bust,) = [f for f in of(ev.OrderFilled, r.said) if f.reason == "bust"]
    assert (bust.client_id, bust.side, bust.qty, bust.price) == ("", BUY, D(2), D("70000.0"))
    assert held(r) == {} and r.snapshot().cash["USDT"] == before
    r.order(BUY, "2", "70010.0")
    r.to(7_000)
    assert hits(r) == {K.BUST: 1} and held(r) == {"BTCUSDT": D(2)}, "at 3,000 s the last fill is too old"


@pytest.mark.parametrize("venue", ["cme", "perp"])
@pytest.mark.parametrize("coins", [0.3, -0.3])
def test_a_manual_trade_is_nobodys_order_and_is_given_back(venue: str, coins: float) -> None:
    """Somebody trades by hand beside us and back again two minutes later; our own position is untouched by both."""
    r = rig(faulty(K.MANUAL_TRADE, at_s=10, for_s=120, venue=venue, coins=coins), venue=venue)
    name = MBT.id if venue == "cme" else PERP.id
    r.order(BUY, "1", "70100", instrument=name)
    show(r, 20)
    (fill,) = [f for f in of(ev.OrderFilled, r.said) if not f.client_id]
    assert (fill.reason, fill.side, fill.qty) == ("manual", BUY if coins > 0 else SELL, D(3) if venue == "cme" else D("0.3"))
    assert held(r)[name] == 1 + fill.qty * fill.side.sign
    show(r, 140)
    assert held(r) == {name: D(1)} and hits(r) == {K.MANUAL_TRADE: 1}


def test_a_manual_trade_waits_for_a_session_that_outlasts_it() -> None:
    """Across a closure nobody trades what could not be given back in time; after it there is time enough."""
    r = rig(faulty(K.MANUAL_TRADE, at_s=10, for_s=300, venue="cme"), venue="cme")
    r.hours.closed = [(START + 100 * S, START + 200 * S)]
    show(r, 99)
    assert not held(r)
    show(r, 240)
    show(r, 260)
    assert held(r) == {MBT.id: D(3)}
    show(r, 311)
    assert not held(r)


# The line.


def test_a_flapping_line_goes_down_and_up_and_stays_up() -> None:
    """Two seconds down, three up, for 20 seconds; an outage on top of it keeps it down until both are over."""
    r = rig(faulty(K.FLAP, at_s=10, for_s=20, down_s=2.0, up_s=3.0), faulty(K.OUTAGE, at_s=21, for_s=15))
    r.to(60)
    said = [(e.ts - START, e.up) for e in of(ev.VenueStatus, r.said)[1:]]
    assert said == [(n * S, up) for n, up in ((10, False), (12, True), (15, False), (17, True), (20, False), (36, True))]
    assert hits(r) == {K.FLAP: 4, K.OUTAGE: 1}


def test_an_old_book_is_replayed_behind_the_new_one() -> None:
    """The desk hears the new quote and then the one before it, with the venue time it had; the exchange is not confused."""
    r = rig(faulty(K.DUPLICATE_BOOK, at_s=10, for_s=0))
    show(r, 20, 70_000.0)
    seen = len(r.seen)
    show(r, 30, 70_100.0)
    new, old = r.seen[seen:]
    assert (new.bid, old.bid) == (70_100.0, 70_000.0) and old.venue_ts < new.venue_ts and old.ts == new.ts
    assert of(ev.OrderFilled, r.order(BUY, "1", "70200.0"))[0].price == D("70100.1")
    seen = len(r.seen)
    show(r, 40)
    assert len(r.seen) == seen + 1


@pytest.mark.parametrize("build", [INSTANT, SLOW_WIRE], ids=["instant", "latency"])
def test_a_burst_is_one_quote_many_times(build: Any) -> None:
    """Twenty copies in order, then one each again."""
    r = rig(faulty(K.BURST, at_s=10, for_s=0, copies=20.0), build=build)
    seen = len(r.seen)
    show(r, 20, 70_100.0)
    assert [q.bid for q in r.seen[seen:]] == [70_100.0] * 20
    show(r, 30)
    assert len(r.seen) == seen + 21


def test_a_slow_feed_does_not_reorder_quotes() -> None:
    """Quotes sent while the venue is slow come late, and the first quick one not before them."""
    r = rig(faulty(K.SLOW, at_s=10, for_s=5, delay_s=3.0))
    for at in (13.0, 14.0, 15.5):
        r.to(at)
        r.quote(70_000.0 + at, 70_000.1 + at)
    r.to(30)
    late = r.seen[1:]
    assert [(q.bid - 70_000.0, (q.ts - START) / S) for q in late] == [(13.0, 16.0), (14.0, 17.0), (15.5, 17.0)]
    assert show(r, 31).ts == START + 31 * S


# Beginning in the middle.


def test_a_process_that_begins_in_the_middle_meets_what_still_lasts() -> None:
    """Of faults that began before it, lasting ones go on and end; counted and single ones are over; a manual trade is only given back."""
    faults = [
        faulty(K.OUTAGE, at_s=90, for_s=30), faulty(K.REJECT, at_s=50, for_s=0), faulty(K.ADL, at_s=50, for_s=0),
        faulty(K.MANUAL_TRADE, at_s=80, for_s=60), faulty(K.FLAP, at_s=0, for_s=50),
    ]  # fmt: skip
    hours = INSTANT().hours
    exchange = Exchange("perp", (PERP,), {"USDT": D(400_000)}, hours, now_ns=START)
    exchange.quote(ev.Quote(START, PERP.id, 70_000.0, 70_000.1, 50.0, 50.0, START))
    exchange.trade_manually(PERP.id, BUY, D("0.3"), START + 80 * S)
    now = START + 100 * S
    r = Rig(SimVenue(exchange, plan=FaultPlan("perp", faults, now), now_ns=now), (PERP,), hours)
    r.now = now
    assert [e.up for e in of(ev.VenueStatus, r.said)] == [False]
    r.to(125)
    assert [e.up for e in of(ev.VenueStatus, r.said)] == [False, True] and exchange.positions() == {PERP.id: D("0.3")}
    r.to(150)
    assert exchange.positions() == {}
    show(r, 200)
    assert of(ev.OrderFilled, r.order(SELL, "1", "69000.0"))
    assert r.snapshot().positions == {PERP.id: D(-1)}


# The road of a benchmark.


class Untouched:
    """A feed that must not be asked."""

    def real(self, event: Any, now: int = 0) -> Any:
        """Fail."""
        raise AssertionError("a quiet quote was looked at for faults")

    shown = real


def test_a_quiet_quote_meets_no_fault_no_wire_and_no_feed() -> None:
    """Without latency, and before the first fault of a plan, the same object comes back and nothing is asked or queued."""
    r = rig(faulty(K.SILENT, at_s=100))
    venue: Any = r.venue
    venue._feed = Untouched()
    venue._observe = venue._feed.real
    for n in range(5):
        r.to(10 + n)
        quote = ev.Quote(r.now, "BTCUSDT", 70_000.0, 70_000.1, 1.0, 1.0, r.now)
        assert venue.observe(quote) is quote
    assert r.send(QueryVenue("perp"), settle=False) and r.send(Submit(r.spec(BUY, "1", "70010.0")), settle=False)
    r.to(101)
    with pytest.raises(AssertionError, match="quiet quote"):
        r.quote(70_000.0, 70_000.1)
