"""The convergence strategy inside the real engine and gate: opened, hedged, closed; stopped, waited out, re-armed."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import loopback
from loopback import MBT, PERP, START, S, World

from bot.engine.obligations import encode
from bot.market.fair import DAY_NS
from bot.model import event as ev
from bot.model.intent import PairIntent
from bot.model.view import View
from strategies.convergence import Convergence, ConvergenceParams, Memory

PARAMS = ConvergenceParams(carry_fixed=0.0, half_life_days=0.5, lots=10)
PRICE = 70_000.0
MINUTE = 60 * S


class Bound:
    """Stands where the loopback desk has its scripted wish: the real strategy with its memory at hand for the test."""

    def __init__(self) -> None:
        past: list[ev.Event] = [ev.MarkPrice(START - 5_000 * MINUTE, "BTCUSDT", PRICE, PRICE), ev.Quote(1, "USDT/USD", 0.9999, 1.0001, 1.0, 1.0, 1)]
        for i in range(4_900):
            t, perp = START - (4_900 - i) * MINUTE, PRICE * (1 + 15e-4 * (-1) ** i)
            past += [ev.Quote(t, "MBTX26", PRICE - 2.5, PRICE + 2.5, 9.0, 9.0, t), ev.Quote(t, "BTCUSDT", perp - 0.5, perp + 0.5, 9.0, 9.0, t)]
        self.strategy = Convergence(loopback.MBT, PERP, "USDT/USD")
        self.memory = self.strategy.start(PARAMS, past)

    def on_event(self, memory: object, view: View, event: ev.Event) -> PairIntent | None:
        """Ask the strategy."""
        return self.strategy.on_event(self.memory, view, event)

    def rearms(self, memory: object, view: View) -> bool:
        """Ask the strategy."""
        return self.strategy.rearms(self.memory, view)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return the loopback desk with this strategy on a contract that has a fixing, warmed at mean 0 and 15 bp."""
    monkeypatch.setattr(loopback, "MBT", msgspec.structs.replace(MBT, expiry_ns=START + 30 * DAY_NS))
    monkeypatch.setattr(loopback, "Wish", Bound)
    return World()


def show(desk: World, excess_bp: float, seconds: int) -> Memory:
    """Let the excess stand at `excess_bp` for a while, quotes and due timers every second."""
    for _ in range(seconds):
        desk.now += S
        if desk.engine.due_ns <= desk.now:
            desk.process(ev.Timer(desk.now))
        desk.quotes(2.0 + excess_bp * 1e-4 * PRICE)
    bound = desk.wish
    assert isinstance(bound, Bound)
    return bound.memory


def test_a_trade_from_signal_to_flat(world: World) -> None:
    """A wide excess is opened and hedged by its fills, held while wide, closed when it is home, and the journal alone refolds."""
    memory = show(world, 5.0, 5)
    assert memory.warm and world.pair.target == 0 and memory.blocked == "z 0.3 < 2"
    show(world, 45.0, 10)
    assert world.pair.lead.qty == 10 and float(world.pair.hedge.qty) == -1.0, world.engine.ob.refusals
    entry = world.pair.entry
    assert entry is not None and entry.edge_bp > 3.0 and entry.z == pytest.approx(3.0, abs=0.05)
    assert show(world, 20.0, 10).block == "in a trade" and world.pair.lead.qty == 10
    show(world, 5.0, 10)
    assert world.pair.flat and world.pair.opened == world.pair.closed == 1
    wishes = [e for e in world.journal if isinstance(e, ev.TargetSet)]
    assert [int(w.target_lead) for w in wishes] == [10, 0], "each wish is asked for once"
    assert world.refold().pairs[world.pair.terms.id].target == 0 and encode(world.refold())


def test_stopped_waited_out_and_rearmed(world: World) -> None:
    """A widening stops the trade at the frozen deviations; it opens again only after z went home and the cool-down passed."""
    show(world, 45.0, 10)
    assert world.pair.lead.qty == 10
    show(world, 75.0, 20)
    assert world.pair.flat and not world.pair.armed
    show(world, 5.0, 5)
    show(world, 45.0, 5)
    assert world.pair.flat and not world.pair.armed, "home, but not yet cooled down"
    for _ in range(125):
        world.now += 29 * S
        show(world, 45.0, 1)
    assert not world.pair.armed, "cooled down, but never home since"
    show(world, 5.0, 3)
    assert world.pair.armed and any(isinstance(e, ev.Rearmed) for e in world.journal)
