"""The first hour of `paper`: its five moments come in market time whatever the seed is, and the desk does the rest by its own rules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bot import app, config
from bot.desk.feed import Feed, Watcher
from bot.desk.incidents import Incidents
from bot.desk.report_money import Money
from bot.engine.step import Engine
from bot.model import event as ev
from bot.model.event import Severity
from bot.model.notation import instant_ns
from bot.model.order import Outcome
from bot.tally import Tally

HOUR_NS = 3_600_000_000_000
SEEDS = range(1, 1 + int(os.environ.get("STORY_SEEDS", "8")))


class Witness:
    """A screen that shows nothing and keeps what a screen would show."""

    speed = 0.0

    def __init__(self) -> None:
        self.feed = Feed()
        self.events: list[ev.Event] = []

    def watch(self, engine: Engine, tally: Tally) -> Watcher:
        """Listen to the run."""
        self.engine, self.incidents, self.money = engine, Incidents(engine), Money(engine, tally)
        return self

    def stepped(self, event: ev.Event, out: Any) -> None:
        """Keep what happened and what was decided."""
        for watcher in (self.feed, self.incidents, self.money):
            watcher.stepped(event, out)
        self.events += [event, *out.events]

    def marked(self, now_ns: int) -> None:
        """Nothing is valued."""

    def ready(self, shell: Any, **where: str) -> None:
        """Nobody waits."""

    def look(self, take: Any) -> None:
        """Nothing is drawn."""

    def of(self, kind: type) -> list[Any]:
        """Return the events of one type, in order."""
        return [e for e in self.events if type(e) is kind]


def played(tmp_path: Path, seed: int, scenario: str = "story", hours: float = 1.0) -> tuple[Witness, Any]:
    """Run the first hours of a scenario and return what was seen with the result."""
    options = {"market.seed": ("test", seed), "market.scenario": ("test", scenario)}
    settings = config.load("paper", environ={}, options=options).settings
    witness = Witness()
    return witness, app.paper(settings, tmp_path, witness, for_ns=int(hours * HOUR_NS))


def at(clock: str) -> int:
    """Return a time of the first day."""
    return instant_ns(f"2026-11-03T{clock}Z")


@pytest.mark.parametrize("seed", SEEDS)
def test_five_moments_in_an_hour(tmp_path: Path, seed: int) -> None:
    """Entry with its reasons, a stamp paid on what is held, a margin warning while the premium widens, a rejected hedge repaired, an exit with its card."""
    seen, result = played(tmp_path, seed)
    targets = [e for e in seen.of(ev.TargetSet) if e.ts < at("16:45")]
    entry, leave = targets[0], targets[-1]
    assert len(targets) == 2 and entry.target_lead > 0 and leave.target_lead == 0, f"seed {seed}"

    intent, params = entry.intent, config.load("paper", environ={}).settings.strategy
    assert at("15:46") < entry.ts < at("15:53"), f"seed {seed}"
    assert params.z_in <= intent.z < params.z_stop and intent.edge_bp >= params.edge_min_bp, f"seed {seed}"
    assert intent.reason.startswith(f"z {intent.z:+.2f}, edge {intent.edge_bp:.1f} bp = ") and "fees" in intent.reason, f"seed {seed}"

    stamp = next(e for e in seen.of(ev.FundingPaid) if e.stamp_ns == at("16:00"))
    assert stamp.qty * 10 == -entry.target_lead and stamp.amount != 0, f"seed {seed}"

    (warning,) = (e for e in seen.of(ev.Alert) if e.severity is Severity.WARN)
    assert warning.code == "margin.low" and at("16:10") < warning.ts < at("16:20"), f"seed {seed}"
    assert warning in [e for e in seen.events if e.ts < leave.ts] and seen.feed.alerts, f"seed {seed}"

    rejected = [e for e in seen.of(ev.OrderEnded) if e.outcome is Outcome.REJECTED]
    incident = seen.incidents.latest
    assert rejected and all(leave.ts < e.ts < at("16:45") for e in rejected), f"seed {seed}"
    assert incident is not None and incident.failed == len(rejected) and incident.closed_ns, f"seed {seed}"
    assert incident.seconds(incident.closed_ns) <= 5.0, f"seed {seed}: left open for {incident.seconds(incident.closed_ns)} s"

    (trade,) = seen.money.trades
    assert at("16:20") < leave.ts and instant_ns(trade["closed_at"]) < at("16:45"), f"seed {seed}"
    assert abs(trade["residual_usd"]) < 0.01 and trade["stamps" if "stamps" in trade else "funding"] != 0, f"seed {seed}"
    assert (result.pairs_opened, result.pairs_closed, result.invariant_violations, result.unknown_orders) == (1, 1, 0, 0), f"seed {seed}"
    assert abs(result.residual_usd) < 0.01 and not seen.of(ev.StopTripped) and not seen.of(ev.Frozen) and not seen.of(ev.UnwindSet), f"seed {seed}"


def test_the_script_loosens_nothing() -> None:
    """Limits, strategy and execution of a scenario's run are the packaged ones: a script has no say over the desk."""
    plain = config.load("paper", environ={}).settings
    for name in ("calm", "widen", "leg-fail", "exchange-down", "gap"):
        other = config.load("paper", environ={}, options={"market.scenario": ("test", name)}).settings
        assert (other.limits, other.strategy, other.execution, other.cash) == (plain.limits, plain.strategy, plain.execution, plain.cash)


@pytest.mark.parametrize("seed", [1, 2])
def test_widen_is_stopped(tmp_path: Path, seed: int) -> None:
    """The premium goes on beyond the stop; both legs are closed."""
    seen, result = played(tmp_path, seed, "widen")
    (stop,) = seen.of(ev.StopTripped)
    assert stop.rule in ("sigma_stop", "spread_stop") and result.pairs_closed == 1 and result.pnl_usd < 0.0, f"seed {seed}"


@pytest.mark.parametrize("seed", [1, 2])
def test_leg_fail_hedges_the_entry_in_the_end(tmp_path: Path, seed: int) -> None:
    """Three rejected hedges of the first clip, then hedged within the budget, and the trade goes on."""
    seen, result = played(tmp_path, seed, "leg-fail")
    entry = seen.of(ev.TargetSet)[0]
    assert seen.incidents.latest is not None and seen.incidents.latest.failed == 3 and seen.incidents.latest.opened_ns - entry.ts < 10**9, f"seed {seed}"
    assert result.rejects == 3 and not seen.of(ev.UnwindSet) and result.pairs_closed == 1, f"seed {seed}"


@pytest.mark.parametrize("seed", [1, 2])
def test_exchange_down_holds_both_legs_until_it_answers(tmp_path: Path, seed: int) -> None:
    """Nothing is sent while the perp is unreachable though the premium has come back; afterwards the trade is closed at once."""
    seen, result = played(tmp_path, seed, "exchange-down")
    down = [e for e in seen.of(ev.VenueStatus) if e.venue == "perp" and at("16:00") < e.ts]
    assert [e.up for e in down] == [False, True], f"seed {seed}"
    assert not [e for e in seen.of(ev.OrderIntended) if down[0].ts < e.ts < down[1].ts], f"seed {seed}"
    leave = seen.of(ev.TargetSet)[-1]
    assert leave.target_lead == 0 and 0 <= leave.ts - down[1].ts < 60 * 10**9 and result.pairs_closed == 1, f"seed {seed}"


def test_calm_does_not_trade(tmp_path: Path) -> None:
    """A quiet market pays no round trip: the desk says so and stays flat."""
    _, result = played(tmp_path, 1, "calm", hours=6.0)
    assert result.pairs_opened == 0 and result.fills == 0
