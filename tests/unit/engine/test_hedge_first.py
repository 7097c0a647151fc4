"""A fill's hedge leaves before the monitors look, and they look at the same instant."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from table import MBT, Table, X

from bot.engine.pair import Action, plan_hedge
from bot.engine.step import Step
from bot.engine.watch import Watch, hedges
from bot.model import event as ev
from bot.model.command import Submit
from bot.model.order import Purpose

sys.path.insert(0, str(Path(__file__).parents[2] / "simulation"))
from loopback import World

D = Decimal


def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[World, list[Any]]:
    """Return a desk at rest, and what happens from now on: steps that send something, and looks of the monitors."""
    world, seen = World(), list[Any]()
    world.run(5)
    look, step = Watch.look, world.engine.step

    def looked(self: Watch, *args: Any) -> Any:
        seen.append("look")
        return look(self, *args)

    def stepped(event: ev.Event) -> Step:
        out = step(event)
        if out.commands:
            seen.append((type(event).__name__, [c.order.purpose for c in out.commands if isinstance(c, Submit)]))
        return out

    monkeypatch.setattr(Watch, "look", looked)
    world.engine.step = stepped  # type: ignore[method-assign]
    return world, seen


def test_the_hedge_of_a_fill_waits_for_no_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    world, seen = watched(monkeypatch)
    world.wish.target = D(10)
    world.run(1)
    hedge = seen.index(("OrderFilled", [Purpose.HEDGE]))
    assert "look" not in seen[:hedge] and "look" in seen[hedge:], seen


def test_the_monitors_are_due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer at the instant of the fill is enough for them: a stop that it calls for is not late."""
    world, seen = watched(monkeypatch)
    step = world.engine.step
    due: list[bool] = []

    def stepped(event: ev.Event) -> Step:
        out = step(event)
        if isinstance(event, ev.OrderFilled) and event.instrument == "MBTX26":
            due.append(world.engine.due_ns <= world.engine.ob.now)
            seen.clear()
            step(ev.Timer(world.engine.ob.now))
            due.append(seen[:1] == ["look"])
        return out

    world.engine.step = stepped  # type: ignore[method-assign]
    world.wish.target = D(10)
    world.run(1)
    assert due == [True, True]


def test_a_fill_that_needs_no_hedge_is_looked_at_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hedge's own fill: nothing is missing after it, so the monitors look in its step."""
    world, seen = watched(monkeypatch)
    step = world.engine.step
    looked: list[bool] = []

    def stepped(event: ev.Event) -> Step:
        seen.clear()
        out = step(event)
        if isinstance(event, ev.OrderFilled) and event.instrument == "BTCUSDT":
            looked.append("look" in seen)
        return out

    world.engine.step = stepped  # type: ignore[method-assign]
    world.wish.target = D(10)
    world.run(1)
    assert looked == [True]


@pytest.mark.parametrize(("unwind", "out", "ahead"), [(False, (), 1), (True, (), 0), (False, ("lead",), 0)])
def test_legs_that_are_planned_together_have_no_hedge_ahead(unwind: bool, out: tuple[str, ...], ahead: int) -> None:
    """While a pair is unwound or a venue left, what comes next depends on both legs, even where a hedge could be asked for."""
    t = Table()
    t.hold("10", "0")
    t.hours.shut.add(MBT.id)  # an unwind that cannot trade its lead hedges instead
    t.pair.unwind, t.pair.out = unwind, out
    asks: list[Action] = []
    plan_hedge(t.ob, t.pair, t.window, X, asks)
    loop: Any = SimpleNamespace(state=t.pair, window=t.window)
    assert len(asks) == 1 and len(list(hedges(t.ob, [loop], X))) == ahead
