"""What a venue says late, twice or takes back: an old picture moves nothing, a mistake that is undone leaves nothing."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import pytest
from table import MBT, NOW, S, Table

from bot.engine.observations import REPLAY_NS
from bot.model import event as ev
from bot.model.order import Side

sys.path.insert(0, str(Path(__file__).parents[2] / "simulation"))
from loopback import World

D = Decimal


def quote(world: World, bid: float, venue_ts: int, size: float = 50.0) -> None:
    """Show the perp's book at the world's time, as of `venue_ts`."""
    world.process(ev.Quote(world.now, "BTCUSDT", bid, bid + 1.0, size, size, venue_ts))


def test_an_older_picture_moves_nothing() -> None:
    """F10: a replayed or reordered quote leaves price, sizes and age of the book as they were."""
    world = World()
    world.run(5)
    book = world.engine.books["BTCUSDT"]
    quote(world, 70_500.0, world.now)
    quote(world, 69_000.0, world.now - S)
    assert (book.bid, book.venue_ts) == (70_500.0, world.now)
    quote(world, 70_600.0, world.now)
    assert book.bid == 70_600.0, "two changes within one tick of the venue's clock are both real"


@pytest.mark.parametrize(("ahead_ns", "later_ns"), [(0, REPLAY_NS), (30 * S, 0)])
def test_a_clock_that_stepped_is_believed_again(ahead_ns: int, later_ns: int) -> None:
    """A book that has become old, or that came from the future, does not lock out what the venue says now."""
    world = World()
    world.run(5)
    first = world.now + ahead_ns
    quote(world, 70_500.0, first)
    world.now += later_ns
    quote(world, 69_000.0, first - S)
    assert world.engine.books["BTCUSDT"].bid == 69_000.0


def test_one_quote_many_times_is_one_sample() -> None:
    """F15: a burst of copies of a wide quote does not confirm a spread stop; three different ones do."""
    world = World()
    world.run(5)
    world.wish.target = D(10)
    world.run(5)
    assert world.pair.lead.qty == 10
    world.wish.target = None
    for _ in range(20):
        quote(world, 71_500.0, world.now)
    assert not any(isinstance(e, ev.StopTripped) for e in world.journal)
    for n in range(3):
        quote(world, 71_500.0 + n, world.now)
    assert any(isinstance(e, ev.StopTripped) for e in world.journal)


def test_a_manual_trade_that_is_given_back_leaves_nothing_unallocated() -> None:
    """F48: what somebody traded by hand and traded back no longer keeps the venue from being reconciled."""
    t = Table()
    for n, side in enumerate((Side.BUY, Side.SELL)):
        t.tell(ev.OrderFilled(ts=NOW, venue="cme", client_id="", instrument=MBT.id, exec_id=f"m{n}", side=side, qty=D(3), price=D(70_000), fee=D(9),
                              fee_currency="USD", reason="manual"))  # fmt: skip
        assert t.ob.silos["cme"].unallocated == ({MBT.id: D(3)} if side is Side.BUY else {})
    assert t.ob.silos["cme"].positions[MBT.id].qty == 0
