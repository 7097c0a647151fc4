"""The warning before margin is short: given once with number, limit and action, by rates as the venue asks for them."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from bot.engine import assess
from bot.engine.step import Engine
from bot.model import event as ev
from bot.model.event import Severity
from risk import margin
from risk.limits import Limits

sys.path.insert(0, str(Path(__file__).parents[2] / "simulation"))
from loopback import S, World, hedged

LISTED = 0.30


@pytest.fixture
def world() -> World:
    """A desk that holds 20 lots against 2 coins: about 140,000 USD of each leg."""
    return hedged()


def snapshot(world: World, rates: float | None, venue: str = "cme", **changed: object) -> ev.VenueSnapshot:
    """Return the venue's answer, asking for `rates` times the listed margin; None: it does not say."""
    held = {i: q for i, q in world.held.items() if world.terms[i].venue == venue and q}
    asked = sum(assess.held_maintenance(world.terms[i], float(q), assess.price_of(world.engine.books[i])) for i, q in held.items())
    maintenance = {} if rates is None else {"USD": asked * rates}
    answer = ev.VenueSnapshot(ts=world.now, venue=venue, positions=held, working=(), cash={}, maintenance=maintenance)
    return msgspec.structs.replace(answer, **changed)


def alerts(world: World) -> list[ev.Alert]:
    """Return what was said of margin so far."""
    return [e for e in world.journal if isinstance(e, ev.Alert) and e.code == "margin.low"]


def strain(engine: Engine, venue: str) -> margin.Strain:
    """Return the strain of a silo, worked out anew."""
    loop = engine.loops[0]
    x = assess.exposure(engine.ob, loop.state, loop.window, engine.desk, best_pnl_usd=0.0, unhedged=0.0, unhedged_since_ns=0, unhedged_usd_s=0.0)
    assert x is not None
    return next(s for s in margin.strains(x, engine.limits) if s.venue == venue)


def test_a_hike_is_warned_of_once_with_number_limit_and_action(world: World) -> None:
    """Nothing at the listed rates; one warning when shocks at the new ones would take more than half; none repeated; eased once."""
    world.process(snapshot(world, 1.0))
    assert not alerts(world) and strain(world.engine, "cme").share < 0.2
    world.process(snapshot(world, 10.0))
    (said,) = alerts(world)
    now = strain(world.engine, "cme")
    assert said.severity is Severity.WARN and now.share > 0.5
    missing = now.need / 0.5 - now.free
    for words in (f"{now.need:,.0f} USD", f"{now.share:.0%}", "warn at 50%", f"add {missing:,.0f} USD", f"cut both legs by {1 - 0.5 / now.share:.0%}"):
        assert words in said.text, words
    world.process(snapshot(world, 10.0))
    world.run(30)
    assert len(alerts(world)) == 1
    world.process(snapshot(world, 1.0))
    assert [a.severity for a in alerts(world)] == [Severity.WARN, Severity.INFO] and "eased" in alerts(world)[1].text


def test_both_remedies_of_the_warning_would_end_it(world: World) -> None:
    """With the money added, or both legs cut by that part, the strain is the limit."""
    world.process(snapshot(world, 10.0))
    x, limit = strain(world.engine, "cme"), world.engine.limits.margin_warn_share
    missing, part = x.need / limit - x.free, 1.0 - limit / x.share
    assert x.need / (x.free + missing) == pytest.approx(limit) and x.need * (1.0 - part) / x.free == pytest.approx(limit)


def test_a_warning_that_stood_is_eased_only_clearly_below_the_limit(world: World) -> None:
    """Hysteresis: a strain just below the limit leaves the warning standing, so that it cannot flutter."""
    def rates_for(share: float) -> float:
        x = strain(world.engine, "cme")
        multiple = world.engine.desk.margin_multiple.get("cme", 1.0)
        unit = (x.need - strain_at_one) / (multiple - 1.0) if multiple > 1.0 else 0.0
        return 1.0 + (share * x.free - strain_at_one) / unit

    strain_at_one = strain(world.engine, "cme").need
    world.process(snapshot(world, 10.0))
    for share, said in ((0.55, 1), (0.47, 1), (0.52, 1), (0.44, 2), (0.47, 2), (0.53, 3)):
        world.process(snapshot(world, rates_for(share)))
        assert strain(world.engine, "cme").share == pytest.approx(share, abs=0.02)
        assert len(alerts(world)) == said, share


def test_rates_are_believed_from_answers_that_can_be_compared(world: World) -> None:
    """Noise of prices is no change, less than listed counts as listed, silence and an unknown contract say nothing, flat keeps what is known."""
    known = world.engine.desk.margin_multiple
    for rates in (None, 1.0, 1.02, 0.5):
        world.process(snapshot(world, rates))
        assert known.get("cme", 1.0) == 1.0, rates
    world.process(snapshot(world, 2.5))
    assert known["cme"] == pytest.approx(2.5, rel=0.01)
    world.process(snapshot(world, 9.0, positions={"MBTX26": Decimal(20), "MCLZ6": Decimal(1)}))
    world.process(snapshot(world, None))
    world.process(snapshot(world, 1.0, positions={}, maintenance={"USD": 0.0}))
    world.process(snapshot(world, 1.0, maintenance={"USD": float("nan")}))
    assert known["cme"] == pytest.approx(2.5, rel=0.01)
    world.process(snapshot(world, 1.0))
    assert known["cme"] == pytest.approx(1.0, rel=0.01)


def test_a_flat_desk_forgets_its_warning_and_warns_again(world: World) -> None:
    """The next trade is another exposure."""
    world.process(snapshot(world, 10.0))
    world.wish.target = Decimal(0)
    world.run(60)
    assert world.engine.ob.pairs["conv"].flat
    world.wish.target = Decimal(20)
    world.engine.limits = msgspec.structs.replace(Limits(), margin_hike_multiple=0.1)  # the gate would refuse the size at these rates
    world.run(60)
    world.engine.limits = Limits()
    world.process(snapshot(world, 11.0))
    assert sum(a.severity is Severity.WARN for a in alerts(world)) == 2 and alerts(world)[-1].severity is Severity.WARN


@pytest.mark.parametrize("limit", [0.125, 0.14])
def test_prices_alone_lead_to_the_warning_no_later_than_the_next_timer(world: World, limit: float) -> None:
    """The level left at the last look is never passed unseen: after every quote and timer the warning stands if a fresh look says so."""
    world.engine.limits = msgspec.structs.replace(Limits(), margin_warn_share=limit)
    world.process(snapshot(world, 1.0))
    watch = world.engine.loops[0].watch
    world.engine._stale_looks = True
    world.run(1)
    seen = set()
    for n in range(80):
        world.price = p = 70_000.0 * (1.0 + 0.002 * (n if n < 50 else 100 - n))
        world.now += S
        for event in (  # no funding estimate: it would ask for a full look by itself
            ev.MarkPrice(world.now, "BTCUSDT", p, p), ev.Quote(world.now, "BTCUSDT", p + 60.0, p + 61.0, 50.0, 50.0, world.now),
            ev.Quote(world.now, "MBTX26", p, p + 5.0, 500.0, 500.0, world.now),
        ):  # fmt: skip
            world.process(event)
        world.now += 250_000_000
        world.process(ev.Timer(world.now))
        for venue in ("cme", "perp"):
            fresh = strain(world.engine, venue)
            if fresh.share > limit:
                assert venue in watch.low, (n, venue, fresh.share)
                seen.add(venue)
    assert seen and len(alerts(world)) >= len(seen)
