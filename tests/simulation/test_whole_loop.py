"""The whole loop against instant venues: hedged by fills, faults survived, journal sufficient."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from loopback import World

from bot.engine.obligations import encode
from bot.model import event as ev


def opened(world: World, lots: int = 10) -> World:
    """Open `lots` and let two seconds pass."""
    world.wish.target = Decimal(lots)
    world.run(20)
    return world


def check_journal(world: World) -> None:
    """Folding the journal alone must give the engine's own record, targets and orders included."""
    mine, theirs = world.refold(), world.engine.ob
    for ob in (mine, theirs):
        ob.now = 0
    assert encode(mine) == encode(theirs)


def test_entry_hedge_exit() -> None:
    """A pair is opened, hedged by its fills, closed again, and the journal alone rebuilds the record."""
    world = opened(World())
    assert world.engine.ob.ready and world.pair.lead.qty == 10 and world.pair.hedge.qty == Decimal("-1.000")
    assert world.engine.ob.refusals == {}
    world.wish.target = Decimal(0)
    world.run(20)
    assert world.pair.flat and world.pair.opened == world.pair.closed == 1
    check_journal(world)


def test_clips() -> None:
    """A larger target is reached in clips, each hedged before the next."""
    world = opened(World(), 25)
    assert [s.qty for s in world.sent if s.venue == "cme"] == [10, 10, 5]
    assert world.pair.hedge.qty == Decimal("-2.500")


def test_hedge_follows_actual_fills() -> None:
    """A lead that fills 4 of 10 is hedged with 0.4, never with what was intended."""
    world = World()
    world.fill_only["cme"] = Decimal(4)
    world.wish.target = Decimal(4 * 3 - 2)
    world.run(1)
    first = next(s for s in world.sent if s.venue == "perp")
    assert first.qty == Decimal("0.400")


@pytest.mark.parametrize("twice", [False, True])
def test_duplicate_reports_change_nothing(twice: bool) -> None:
    """Every report delivered twice books once."""
    world = World()
    world.twice = twice
    opened(world)
    assert world.pair.lead.qty == 10 and world.held == {"MBTX26": Decimal(10), "BTCUSDT": Decimal("-1.000")}


def test_lost_reply_is_unknown_not_rejected() -> None:
    """A silent hedge is asked about, never sent again: the venue ends with one hedge."""
    world = World()
    world.lose_reply.add("perp")
    opened(world)
    assert any(isinstance(e, ev.NoAnswer) for e in world.journal)
    assert world.held["BTCUSDT"] == Decimal("-1.000") == world.pair.hedge.qty
    assert len([s for s in world.sent if s.venue == "perp"]) == 1


def test_lost_request_is_proven_absent_then_hedged() -> None:
    """A hedge that never arrived is sent again under a new id only after repeated proof of absence."""
    world = World()
    world.lose_request.add("perp")
    world.wish.target = Decimal(10)
    world.run(4)
    assert len([s for s in world.sent if s.venue == "perp"]) == 1
    world.lose_request.clear()
    world.run(20)
    assert any(isinstance(e, ev.AbsenceProven) for e in world.journal)
    assert world.pair.hedge.qty == Decimal("-1.000") == world.held["BTCUSDT"]


def test_terminal_report_before_its_fill() -> None:
    """An end that overtakes its fills does not look like an empty one: no second hedge is sent."""
    world = World()
    world.end_first = True
    world.wish.target = Decimal(10)
    world.run(5)
    assert len([s for s in world.sent if s.venue == "cme"]) == 1 and not world.pair.lead.qty
    world.end_first = False
    for fill in world.delayed:
        world.process(fill)
    world.run(10)
    assert world.held == {"MBTX26": Decimal(10), "BTCUSDT": Decimal("-1.000")}


def test_dead_hedge_unwinds_the_lead() -> None:
    """When every hedge is rejected the lead is brought back, the pair is disarmed and someone is told."""
    world = World()
    world.reject.add("perp")
    world.wish.target = Decimal(10)
    world.run(60)
    assert world.pair.lead.qty == 0 and not world.pair.armed
    assert any(isinstance(e, ev.Alert) and e.code == "pair.unhedged" for e in world.journal)
    check_journal(world)


def test_position_mismatch_closes_the_desk() -> None:
    """A position nobody ordered stops openings and names itself."""
    world = World()
    world.run(5)
    world.held["BTCUSDT"] = Decimal("0.5")
    world.run(40)
    assert not world.engine.ob.ready and "BTCUSDT" in world.engine.ob.cause
    opened(world)
    assert world.sent == []


def test_dead_hedge_venue_unwinds_the_lead() -> None:
    """A lead that filled as the hedge's venue died is brought back once the unhedged budget is spent, not held naked."""
    world = World()
    world.run(5)
    world.lose_request.add("perp")
    world.wish.target = Decimal(10)
    world.run(1)
    world.process(ev.VenueStatus(ts=world.now, venue="perp", up=False, reason="test"))
    world.lose_request.clear()
    assert world.pair.lead.qty == 10
    hedge = next(s for s in world.sent if s.venue == "perp")
    world.run(3)
    assert world.pair.lead.qty == 10, "never unwound against a hedge whose fate is unknown"
    for _ in range(4):
        world.process(ev.OrderNotFound(ts=world.now, client_id=hedge.client_id))
        world.run(3)
    assert world.pair.lead.qty == 0 and world.held["MBTX26"] == 0
    assert any(isinstance(e, ev.UnwindSet) and "cannot be traded" in e.reason for e in world.journal)
    check_journal(world)


def test_an_approval_reserves_its_headroom() -> None:
    """What another pair was approved for and has not sent yet counts against the venue's headroom."""
    from bot.engine.assess import still_wanted

    world = opened(World())
    state = world.pair
    state.target = Decimal(25)
    assert still_wanted(state, world.terms["MBTX26"], world.terms) == 15.0
    assert still_wanted(state, world.terms["BTCUSDT"], world.terms) == -1.5
