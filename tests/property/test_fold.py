"""The fold: a checkpoint and the tail are the whole, copies change nothing, and every venue net is accounted for."""

from __future__ import annotations

import random
import sys
from decimal import Decimal
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "simulation"))
from loopback import PAIR, S, World

from bot.engine.fold import apply
from bot.engine.obligations import Obligations, decode, encode
from bot.model import event as ev
from bot.model.order import Side

SEEDS = range(36)
TWICE_SAFE = (ev.OrderFilled, ev.OrderAccepted, ev.OrderEnded, ev.FundingPaid, ev.CashBooked, ev.VenueStatus)
"""What venues may deliver again at any time."""


def eventful(seed: int) -> World:
    """Return a desk after minutes of random wishes, faults, funding, forced trades and kill levels."""
    draw = random.Random(seed)
    world = World()
    for turn in range(draw.randrange(6, 14)):
        act = draw.randrange(11)
        venue = draw.choice(("cme", "perp"))
        if act <= 2:
            world.wish.target = Decimal(draw.choice((0, 0, 5, 10, 17, -8)))
        elif act == 3:
            world.lose_reply ^= {venue}
        elif act == 4:
            world.lose_request ^= {venue}
        elif act == 5:
            world.reject ^= {venue}
        elif act == 6:
            world.fill_only = {} if world.fill_only else {"cme": Decimal(draw.randrange(1, 9)), "perp": Decimal("0.3")}
        elif act == 7:
            held = world.held.get("BTCUSDT", Decimal(0))
            world.process(ev.FundingPaid(ts=world.now, venue="perp", instrument="BTCUSDT", stamp_ns=world.now, rate=0.0001, mark=world.price, qty=held,
                                         amount=-held * 7, currency="USDT"))  # fmt: skip
        elif act == 8 and draw.random() < 0.4:
            forced(world, draw, turn)
        elif act == 9 and draw.random() < 0.6:
            level = draw.choice((ev.KillLevel.PAUSE, ev.KillLevel.FLATTEN, ev.KillLevel.NONE))
            world.process(ev.KillSet(ts=world.now, level=level, kill_id=f"k{turn}", reason="test"))
        else:
            world.twice = not world.twice
        world.price += draw.choice((-150.0, 0.0, 150.0))
        world.run(draw.choice((1, 4, 12)))
    return world


def forced(world: World, draw: random.Random, turn: int) -> None:
    """Let the perp venue trade on its own: a liquidation that is allocated, or a hand's trade that stays unallocated."""
    qty = Decimal(draw.choice(("0.2", "1")))
    side = draw.choice((Side.BUY, Side.SELL))
    world.held["BTCUSDT"] = world.held.get("BTCUSDT", Decimal(0)) + side.sign * qty
    world.process(ev.OrderFilled(ts=world.now, venue="perp", client_id="", instrument="BTCUSDT", exec_id=f"forced{turn}", side=side, qty=qty,
                                 price=Decimal(70_000), fee=Decimal(1), fee_currency="USDT", reason=draw.choice(("adl", "liquidation", ""))))  # fmt: skip


def same(left: Obligations, right: Obligations) -> bool:
    """Return whether two records are one, the clock of observations aside."""
    left.now = right.now = 0
    return encode(left) == encode(right)


def accounted(ob: Obligations) -> None:
    """Every venue net is the sum of the pairs' legs and what is unallocated, to the contract."""
    for silo in ob.silos.values():
        for instrument, position in silo.positions.items():
            legs = sum((p.lead.qty for p in ob.pairs.values() if p.terms.lead == instrument), Decimal(0))
            legs += sum((p.hedge.qty for p in ob.pairs.values() if p.terms.hedge == instrument), Decimal(0))
            assert position.qty == legs + silo.unallocated.get(instrument, Decimal(0)), instrument


@pytest.mark.parametrize("seed", SEEDS)
def test_checkpoint_and_tail_are_the_whole(seed: int) -> None:
    """Cut the journal anywhere, encode, decode and fold the rest: the engine's own record, and net = pairs + unallocated at each event."""
    world = eventful(seed)
    cuts = {random.Random(seed + 1).randrange(len(world.journal)) for _ in range(6)}
    ob = world.new_obligations()
    for number, e in enumerate(world.journal):
        if number in cuts:
            raw = encode(ob)
            ob = decode(raw)
            assert encode(ob) == raw, f"seed {seed}: a checkpoint is not its own encoding"
        apply(ob, world.terms, e)
        accounted(ob)
    assert same(ob, world.engine.ob), f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_copies_change_nothing(seed: int) -> None:
    """Deliver every report of the journal twice, at once and again at the end: the record is the same to the byte."""
    world = eventful(seed)
    once, twice = world.refold(), world.new_obligations()
    for e in world.journal:
        apply(twice, world.terms, e)
        if isinstance(e, TWICE_SAFE):
            apply(twice, world.terms, e)
    for e in world.journal:
        if isinstance(e, ev.OrderFilled | ev.OrderEnded | ev.FundingPaid | ev.CashBooked):
            apply(twice, world.terms, e)
    assert same(once, twice), f"seed {seed}"


def test_the_stories_are_eventful() -> None:
    """The seeds between them fill, lose, reject, unwind, allocate and kill, or the tests above prove little."""
    told = [e for seed in SEEDS for e in eventful(seed).journal]
    kinds = {type(e) for e in told}
    assert {ev.OrderFilled, ev.NoAnswer, ev.OrderNotFound, ev.AbsenceProven, ev.UnwindSet, ev.FundingPaid, ev.Allocated, ev.KillSet, ev.Frozen} <= kinds
    assert sum(isinstance(e, ev.OrderFilled) for e in told) > 120
    assert PAIR and S
