"""Bars of a world: its history's closes to the digit, then what the market has been since, whatever the feed has shown."""

from __future__ import annotations

import math

from tws_rig import MBT, START, D, S

from bot.composition import desk, exchange, seeded_market
from bot.config import load
from bot.market.calendar import DeskSessions
from bot.model import event as ev
from bot.model.command import Submit
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce
from bot.sim.exchange import Exchange
from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.venues.sim import SimVenue
from bot.wire.bars import MINUTE_NS, Bar, Minutes
from bot.wire.world import World


def quote(at_s: float, bid: float, ask: float) -> ev.Quote:
    """Return a quote so many seconds from START."""
    ts = START + int(at_s * S)
    return ev.Quote(ts, MBT.id, bid, ask, 8.0, 8.0, ts)


def world(quotes: list[ev.Quote], faults: tuple[Fault, ...] = (), until_s: float = 600.0) -> World:
    """Return a world of one future that has lived through `quotes`."""
    site = SimVenue(Exchange("cme", (MBT,), {"USD": D(600_000)}, DeskSessions({MBT.id: MBT}), now_ns=START), plan=FaultPlan("cme", faults), now_ns=START)
    built = World({"cme": site}, iter(quotes), lambda: START + int(until_s * S))
    built.start()
    built.catch_up()
    return built


def test_a_bar_holds_what_was_quoted_after_its_beginning_up_to_its_end() -> None:
    quotes = [quote(1, 100.0, 102.0), quote(30, 104.0, 106.0), quote(60, 99.0, 103.0), quote(60.000001, 110.0, 112.0), quote(200, 1.0, 3.0)]
    first, second, third = world(quotes).bars(MBT.id, START, START + 3_600 * S)
    assert first == Bar(START, 101.0, 105.0, 101.0, 101.0, 101.0, (102.0 + 106.0 + 103.0) / 3, 99.0, 106.0, 3)
    assert (second.from_ns, second.open, second.quotes, third.from_ns) == (START + MINUTE_NS, 111.0, 1, START + 3 * MINUTE_NS)


def test_longer_bars_are_made_of_minutes() -> None:
    quotes = [quote(1, 100.0, 102.0), quote(2, 100.0, 102.0), quote(61, 103.0, 105.0), quote(361, 90.0, 92.0)]
    five, last = world(quotes).bars(MBT.id, START, START + 3_600 * S, 5 * MINUTE_NS)
    assert (five.from_ns, five.open, five.high, five.low, five.close, five.quotes) == (START, 101.0, 104.0, 101.0, 104.0, 3)
    assert math.isclose(five.bid, 101.0) and (five.bid_low, five.ask_high) == (100.0, 105.0)
    assert last.from_ns == START + 5 * MINUTE_NS


def test_volume_is_what_the_account_traded() -> None:
    built = world([quote(1, 100.0, 105.0), quote(601, 100.0, 105.0)], until_s=10.0)
    terms = {"pair": "p", "venue": "cme", "instrument": MBT.id, "tif": TimeInForce.IOC, "purpose": Purpose.LEAD}
    order = OrderSpec(client_id="A1", side=Side.BUY, qty=D(3), limit=D(105), **terms)
    built.send("cme", Submit(order))
    assert [b.volume for b in built.bars(MBT.id, START, START + 3_600 * S)] == [3.0]


def test_bars_are_the_market_and_not_what_a_bad_feed_showed() -> None:
    bad = Fault(at_ns=START, venue="cme", kind=FaultKind.BAD_QUOTE, count=10)
    shock = Fault(at_ns=START, venue="cme", kind=FaultKind.BLOW_OUT, args={"bp": 100.0})
    (bar,) = world([quote(1, 70_000.0, 70_010.0)], (bad, shock)).bars(MBT.id, START, START + MINUTE_NS)
    assert bar.close == 70_705.0


def test_a_book_without_two_sides_makes_no_bar() -> None:
    minutes = Minutes()
    for bid, ask in ((0.0, 1.0), (2.0, 1.0), (1.0, math.inf), (math.nan, 1.0)):
        minutes.add(quote(1, bid, ask))
    assert minutes.between(START - 3_600 * S, START + 3_600 * S) == []


def test_the_bars_of_the_history_close_where_the_markets_minutes_do() -> None:
    settings = load("paper", environ={}).settings
    built = desk(settings)
    market = seeded_market(built)
    history = list(market.history(1.0))
    sites = {v: SimVenue(exchange(built, v, settings.market.start_ns), now_ns=settings.market.start_ns) for v in built.venues}
    served = World(sites, iter(()), lambda: settings.market.start_ns, history)
    for instrument in (built.pair.lead, built.pair.hedge):
        closes = {e.ts: 0.5 * (e.bid + e.ask) for e in history if isinstance(e, ev.Quote) and e.instrument == instrument}
        bars = served.bars(instrument, 0, settings.market.start_ns)
        assert len(bars) == len(closes) > 1_000
        assert {b.from_ns + MINUTE_NS: b.close for b in bars} == closes
