"""Monitors and the picture they judge: nothing unknown becomes zero, and coins, dollars and stablecoins keep their names."""

from __future__ import annotations

import sys
from decimal import Decimal
from math import isnan
from pathlib import Path

import msgspec
import pytest
from table import INVERSE, MBT, NOW, PERP, STABLE, S, Table

from bot.engine import assess
from bot.engine.pair import Execution
from bot.engine.step import Engine
from bot.engine.watch import Watch
from bot.model import event as ev
from bot.model.event import KillLevel
from bot.model.intent import PairIntent
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce
from bot.model.position import Position, apply_fill
from risk.limits import Limits
from risk.verdict import Rule

sys.path.insert(0, str(Path(__file__).parents[2] / "simulation"))
from loopback import World

D = Decimal
LIMITS = Limits()


def desk_of(t: Table) -> assess.Desk:
    """Return the desk's totals on a table, with its opening cash."""
    t.ob.silos["cme"].cash = {"USD": D(600_000)}
    t.ob.silos["perp"].cash = {"BTC": D(6)} if t.hedge is INVERSE else {"USDT": D(400_000)}
    t.ob.day_start_usd = t.ob.peak_usd = 1_000_000.0
    return assess.Desk(t.terms, t.books, {} if t.hedge is INVERSE else {"USDT": STABLE.id})


def entered(t: Table, direction: int = 1) -> Watch:
    """Return an armed watch on a hedged trade of 10 lots entered at the books shown."""
    t.hold(str(10 * direction), str(-direction * (700 if t.hedge is INVERSE else 1)))
    t.pair.intent = t.pair.entry = PairIntent(pair="conv", target_lead=D(10 * direction), reason="test", edge_bp=50.0, excess_bp=direction * 8.0)
    t.pair.entry_lead_mid, t.pair.entry_hedge_mid, t.pair.entry_index = t.window.lead.mid, t.window.hedge.mid, 70_000.0
    t.pair.entered_ns = NOW
    watch = Watch(t.window)
    watch.arm(t.pair, LIMITS)
    return watch


@pytest.mark.parametrize("direction", [1, -1])
def test_spread_stop_takes_three_samples_against_the_direction(direction: int) -> None:
    """100 bp against the direction held, on three quotes in a row: not two, not with a lapse, never for a move in favour."""
    t = Table()
    watch = entered(t, direction)

    def premium_moves(usd: float) -> None:
        t.show(PERP.id, 70_060.0 + usd, 70_061.0 + usd, 50.0)

    premium_moves(-direction * 900.0)
    assert [watch.on_quote(LIMITS) for _ in range(5)] == [None] * 5
    premium_moves(direction * 699.0)
    assert [watch.on_quote(LIMITS) for _ in range(5)] == [None] * 5
    premium_moves(direction * 701.0)
    assert watch.on_quote(LIMITS) is None and watch.on_quote(LIMITS) is None
    premium_moves(0.0)
    assert watch.on_quote(LIMITS) is None
    premium_moves(direction * 701.0)
    assert watch.on_quote(LIMITS) is None and watch.on_quote(LIMITS) is None
    stop = watch.on_quote(LIMITS)
    assert stop is not None and stop.rule is Rule.SPREAD_STOP
    assert stop.observed == pytest.approx(701.0) and stop.limit == pytest.approx(700.0)


@pytest.mark.parametrize("how", ["lead old", "hedge shut", "one-sided", "stable old", "stable unknown"])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_leg_that_cannot_be_seen_suspends_the_spread_stop(how: str, direction: int) -> None:
    """Stale, halted or one-sided legs and an unknown stablecoin stop nothing; the stop counts on when they are back."""
    t = Table()
    watch = entered(t, direction)
    t.show(PERP.id, 70_060.0 + direction * 900.0, 70_061.0 + direction * 900.0, 50.0)
    if how == "lead old":
        t.books[MBT.id].venue_ts -= 46 * S
    elif how == "hedge shut":
        t.hours.shut.add(PERP.id)
    elif how == "one-sided":
        t.books[PERP.id].bid_size = 0.0
    elif how == "stable old":
        t.books[STABLE.id].venue_ts -= 601 * S
    else:
        t.books[STABLE.id].mid = 0.0
    assert [watch.on_quote(LIMITS) for _ in range(5)] == [None] * 5
    if how != "stable unknown":
        t.hours.shut.clear()
        for book in t.books.values():
            book.venue_ts, book.bid_size = NOW, 50.0
        assert [watch.on_quote(LIMITS) is None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("hedge", [PERP, INVERSE], ids=["linear", "inverse"])
def test_without_prices_only_unhedged_time_is_judged(hedge: object) -> None:
    """A restarted desk whose books are empty has lost nothing yet, but its open delta goes on counting."""
    t = Table(hedge)  # type: ignore[arg-type]
    desk = desk_of(t)
    watch = entered(t)
    for book in t.books.values():
        book.mid = book.mark = book.bid = book.ask = 0.0
    assert watch.look(t.ob, t.pair, desk, LIMITS, 1) == (None, None)
    t.hold("5", "0")
    watch.measure(t.ob, t.pair, LIMITS)
    t.ob.now += 6 * S
    ended, unhedged = watch.look(t.ob, t.pair, desk, LIMITS, 1)
    assert ended is None and unhedged is not None and unhedged.rule is Rule.UNHEDGED_TIME


def test_nav_of_what_has_no_price_is_unknown() -> None:
    """A silo whose currency was never priced makes the NAV unknown for the gate, never smaller."""
    t = Table()
    desk = desk_of(t)
    assert assess.desk_state(t.ob, t.pair, desk, 1).nav_usd == pytest.approx(1_000_000.0)
    t.books[STABLE.id].mid = 0.0
    assert isnan(assess.desk_state(t.ob, t.pair, desk, 1).nav_usd)


def test_opening_carries_unknowns_as_unknown() -> None:
    """No mark, no index: the request says never, whatever the mid is."""
    t = Table()
    desk = desk_of(t)
    book = t.books[PERP.id]
    book.mark = book.index = 0.0
    x = assess.opening(t.ob, t.pair, t.window, desk, PairIntent(pair="conv", target_lead=D(10), reason="test"))
    assert x.hedge.mark_ts == 0 and x.hedge.index == 0.0 and x.index_usd == 0.0


def test_worst_case_counts_live_orders_in_the_direction_and_whose_they_are() -> None:
    """Live and unknown leaves in the opening's direction are in the worst net; this pair's share of them is told apart."""
    t = Table()
    desk = desk_of(t)
    t.hold("5", "-0.5")
    sent = t.send(MBT, Side.BUY, "4", "70015")
    t.tell(ev.NoAnswer(ts=NOW, client_id=sent, reason="test"))
    t.send(MBT, Side.SELL, "3", "70000")
    foreign = OrderSpec(client_id="S00001L00000099", pair="other", venue="cme", instrument=MBT.id, side=Side.BUY, qty=D(7), limit=D(70_015),
                        tif=TimeInForce.IOC, purpose=Purpose.LEAD)  # fmt: skip
    t.ob.orders[foreign.client_id] = msgspec.structs.replace(t.ob.orders[sent], spec=foreign)
    t.ob.live[foreign.client_id] = None
    x = assess.opening(t.ob, t.pair, t.window, desk, PairIntent(pair="conv", target_lead=D(10), reason="test"))
    assert (x.lead.net_qty, x.lead.worst_qty, x.lead.own_pending, x.lead.pair_coins) == (5.0, 16.0, 4.0, 0.5)
    assert x.desk.aggregate_coins == pytest.approx(0.5 + 0.7)


def test_position_limit_aggregates_futures_of_one_coin() -> None:
    """Perps that settle in dollars and futures of another coin are not CME positions in this one."""
    t = Table()
    desk = desk_of(t)
    ether = msgspec.structs.replace(MBT, id="METX26", base="ETH")
    big = msgspec.structs.replace(MBT, id="BTCX26", unit=D(5))
    perp = msgspec.structs.replace(PERP, id="USDPERP", venue="cme", settle="USD")
    for terms, qty in ((ether, 500), (big, 2), (perp, -40)):
        desk.terms[terms.id] = terms
        apply_fill(terms, t.ob.silos["cme"].positions.setdefault(terms.id, Position()), D(qty), D(70_000))
    t.hold("5", "-0.5")
    assert assess._futures_coins(t.ob, t.pair, desk, 1) == pytest.approx(10.5)


def test_inverse_money_is_coins_at_their_price() -> None:
    """Equity, profit and funding of a coin-margined hedge are worth their coins' price, never one dollar a coin."""
    t = Table(INVERSE)
    desk = desk_of(t)
    t.hold("10", "-700")
    assert desk.usd("BTC") == 70_000.0
    assert assess.nav_usd(t.ob, desk, at_mid=False) == pytest.approx(600_000 + 6 * 70_000 + 2.5 * 0, rel=1e-4)
    t.show(INVERSE.id, 79_999.5, 80_000.5, 1e5)
    t.books[INVERSE.id].mark = 80_000.0
    lead = 1.0 * (70_002.5 - 70_000)
    coins = -70_000 * (1 / 70_000 - 1 / 80_000)
    assert assess.pair_pnl_usd(t.pair, t.window) == pytest.approx(lead + coins * 80_000)
    t.pair.funding = D("-0.01")
    x = assess.opening(t.ob, t.pair, t.window, desk, PairIntent(pair="conv", target_lead=D(20), reason="test"))
    assert x.funding_spent_usd == pytest.approx(800.0) and x.hedge_silo.usd == 80_000.0 and x.hedge.pair_coins == pytest.approx(-1.0)


def test_inverse_results_are_booked_in_dollars() -> None:
    """Realised coins, coin fees and coin funding reach a pair's result at their price (edge decay reads it)."""
    t = Table(INVERSE)
    t.want(10)
    sell = t.send(INVERSE, Side.SELL, "700", "70000")
    t.tell(ev.OrderFilled(ts=NOW, venue="perp", client_id=sell, instrument=INVERSE.id, exec_id="a", side=Side.SELL, qty=D(700), price=D(70_000),
                          fee=D("0.0005"), fee_currency="BTC"))  # fmt: skip
    assert t.pair.result_usd == -35
    t.tell(ev.FundingPaid(ts=NOW, venue="perp", instrument=INVERSE.id, stamp_ns=NOW, rate=0.0001, mark=70_000.0, qty=D(-700), amount=D("0.0001"),
                          currency="BTC"))  # fmt: skip
    assert t.pair.result_usd == -28 and t.pair.funding == D("0.0001")


def test_a_resume_ends_the_edge_decay_brake() -> None:
    """What paused for poor results goes on when a person has typed a reason, and only then."""
    t = Table()
    t.ob.edge_gaps_bp.extend([-9.0] * 20)
    t.tell(ev.KillSet(ts=NOW, level=KillLevel.PAUSE, kill_id="k", reason="test"))
    assert len(t.ob.edge_gaps_bp) == 20
    t.tell(ev.KillSet(ts=NOW, level=KillLevel.NONE, kill_id="k", reason="looked at it"))
    assert t.ob.edge_gaps_bp == []


def test_a_restart_with_a_position_stops_nothing() -> None:
    """Recovered with empty books, the desk waits for prices: no stop, no breach, and the trade goes on."""
    world = World()
    world.wish.target = D(10)
    world.run(20)
    assert world.pair.lead.qty == 10
    ob = world.refold()
    engine = Engine(ob, world.terms, world.engine.sessions, {"wish": (world.wish, None)}, LIMITS, Execution(), {"USDT": "USDT/USD"})
    world.engine = engine
    world.now += S
    told = len(world.journal)
    world.process(ev.RunStarted(ts=world.now, run=2, mode="S", cash={}))
    for venue in ("cme", "perp"):
        world.process(ev.VenueStatus(ts=world.now, venue=venue, up=True, reason="start"))
    world.process(ev.Timer(world.now + S // 2))
    world.run(10)
    assert not [e for e in world.journal[told:] if isinstance(e, ev.StopTripped | ev.Refused)]
    assert world.engine.ob.ready and world.pair.lead.qty == 10 and world.pair.target == 10


def test_a_funding_estimate_makes_the_monitor_look() -> None:
    """A rate that would eat the budget by the next stamp ends the trade at the next timer, with both numbers."""
    world = World()
    world.wish.target = D(20)
    world.run(30)
    assert world.pair.lead.qty == 20
    world.wish.target = None
    world.process(ev.FundingRate(world.now, "BTCUSDT", -0.003, 28_800, world.now + 3_600 * S, 0.003))
    world.process(ev.Timer(world.now + S // 4))
    stops = [e for e in world.journal if isinstance(e, ev.StopTripped)]
    assert [e.rule for e in stops] == [Rule.FUNDING_BUDGET] and stops[0].observed > stops[0].limit
    world.run(30)
    assert world.pair.flat and not world.pair.armed
