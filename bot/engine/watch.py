"""One pair at run time, and its monitors: the rules run after every fact, and leave levels so that a quote or timer only compares.

After a full look (`look`) every rule has some room left. Until prices have moved by that room, or a time limit is
reached, no rule can have changed its answer, and `stirred` says so with a few multiplications.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Any

from bot.engine import assess
from bot.engine.obligations import Obligations, PairState
from bot.engine.observations import Window
from bot.engine.pair import Action, Execution, plan_hedge, unhedged_coins
from bot.model.event import NEVER, Severity
from bot.model.ports import Strategy
from risk import funding, hedge, margin, stops
from risk.limits import Limits
from risk.request import Exposure
from risk.verdict import Refusal, Rule

S_NS = 1_000_000_000


class Watch:
    """Observation-side memory of the monitors: trip levels, samples beyond them, unhedged time and dollar-seconds.

    Anchors (*_at) are prices of the last full look, weights (*_usd) what a pair loses or wins per USD of them.
    loss_room: USD the pair may lose from there before a money rule can trip; margin_room: the same for the silos and their
    warning. low: venues whose silo has been warned of; warnings: what the last look has to say of them.
    """

    __slots__ = ("active", "awake", "best_pnl", "direction", "entry_premium", "hedge_at", "hedge_usd", "lead_at", "lead_usd", "look_ns",
                 "loss_room", "low", "margin_room", "mark_at", "pnl", "samples", "since_ns", "spread_rule", "spread_usd", "stable_at",
                 "touched_ns", "trailing", "usd_s", "wallet", "warnings", "window")  # fmt: skip

    def __init__(self, window: Window) -> None:
        self.window = window
        self.active = self.awake = False
        self.direction = 0
        self.entry_premium = self.spread_usd = 0.0
        self.spread_rule = Rule.SPREAD_STOP
        self.samples = 0
        self.best_pnl = self.pnl = self.trailing = 0.0
        self.since_ns = self.touched_ns = 0
        self.usd_s = 0.0
        self.look_ns = 0
        self.lead_at = self.hedge_at = self.mark_at = self.stable_at = 0.0
        self.lead_usd = self.hedge_usd = self.wallet = 0.0
        self.loss_room = self.margin_room = 0.0
        self.low: set[str] = set()
        self.warnings: list[tuple[Severity, str]] = []

    def arm(self, pair: PairState, limits: Limits) -> None:
        """Recompute the stop levels from the pair's entry; called after every fact."""
        self.active = not pair.flat
        self.awake = self.active or not pair.armed
        if not self.active:
            self.samples = 0
            self.best_pnl = self.usd_s = 0.0
            self.since_ns = 0
            self.low.clear()
            return
        self.direction = 1 if (pair.lead.qty or -pair.hedge.qty) > 0 else -1
        self.entry_premium = assess.entry_premium_usd(pair)
        intent = pair.entry or pair.intent
        if intent is not None:
            index = pair.entry_index or self.window.index_usd or self.window.lead.mid
            self.spread_usd, self.spread_rule = stops.trip_levels(self.direction, index, intent, limits).first

    def on_quote(self, limits: Limits) -> Refusal | None:
        """Return a spread stop confirmed by enough samples; a stale or halted leg suspends it."""
        window = self.window
        premium = window.hedge.mid * window.stable_usd - window.lead.mid
        adverse = self.direction * (premium - self.entry_premium)
        if adverse < self.spread_usd or self.spread_usd <= 0.0:
            self.samples = 0
            return None
        if not window.fresh or not window.session_open or self._stable_stale(limits):
            return None
        self.samples += 1
        if self.samples < limits.stop_samples:
            return None
        return Refusal(self.spread_rule, adverse, self.spread_usd)

    def _stable_stale(self, limits: Limits) -> bool:
        """Return whether the premium cannot be told in USD: the stablecoin was never seen, or too long ago."""
        stable = self.window.stable
        return stable is not None and (stable.mid <= 0.0 or self.window.now - stable.venue_ts > limits.stable_age_s_max * S_NS)

    def stirred(self, now: int) -> bool:
        """Return whether a rule may answer differently than at the last look; also keeps the best profit seen."""
        window = self.window
        hedge, stable = window.hedge, window.stable_usd
        gain = (window.lead.mid - self.lead_at) * self.lead_usd + (hedge.mid * stable - self.hedge_at) * self.hedge_usd
        pnl = self.pnl + gain
        if pnl > self.best_pnl:
            self.best_pnl = pnl
        drift = abs(stable - self.stable_at) * self.wallet
        if now >= self.look_ns or gain - drift <= -self.loss_room or self.best_pnl - pnl >= self.trailing:
            return True
        moved = abs(window.lead.mid - self.lead_at) * abs(self.lead_usd) + abs(hedge.mark - self.mark_at) * abs(self.hedge_usd)
        return moved + drift >= self.margin_room

    def measure(self, ob: Obligations, pair: PairState, limits: Limits) -> float:
        """Advance the unhedged clock to now and return the unhedged coins."""
        open_coins = float(unhedged_coins(pair, self.window))
        if abs(open_coins) <= limits.unhedged_coins_max:
            self.since_ns = 0
            self.usd_s = 0.0
        elif self.since_ns == 0:
            self.since_ns = ob.now
        else:
            self.usd_s += abs(open_coins) * self.window.lead.mid * (ob.now - self.touched_ns) * 1e-9
        self.touched_ns = ob.now
        return open_coins

    def look(
        self, ob: Obligations, pair: PairState, desk: assess.Desk, limits: Limits, pairs_open: int
    ) -> tuple[Refusal | None, Refusal | None]:
        """Return (reason to end the trade, breach of the unhedged budget) from the rules that need the whole picture.

        Until both legs and their currencies have a price (after a restart) only the unhedged time can be judged: a
        profit at price zero is not a loss.
        """
        self.warnings.clear()
        open_coins = self.measure(ob, pair, limits)
        if self.window.lead.mid <= 0.0 or self.window.hedge.mid <= 0.0 or assess.settle_usd(self.window) <= 0.0:
            self.look_ns = 0
            return None, hedge.over_budget(open_coins, self.since_ns, self.usd_s, ob.now, limits)
        x = assess.exposure(ob, pair, self.window, desk, best_pnl_usd=self.best_pnl, unhedged=open_coins,
                            unhedged_since_ns=self.since_ns, unhedged_usd_s=self.usd_s)  # fmt: skip
        if x is None:  # what a venue did to a pair that never traded has no entry to be judged by, but is open all the same
            self.look_ns = 0
            return None, hedge.over_budget(open_coins, self.since_ns, self.usd_s, ob.now, limits)
        self.pnl = x.pnl_usd
        self.best_pnl = max(self.best_pnl, x.pnl_usd)
        ended = stops.slow_stops(x, limits) or margin.breach(x, limits) or funding.budget(x, limits)
        unhedged = hedge.breach(x, limits)
        strains = margin.strains(x, limits)
        self._warn(strains, limits)
        self._leave_room(pair, x, strains, limits, pairs_open)
        return ended, unhedged

    def _warn(self, strains: tuple[margin.Strain, ...], limits: Limits) -> None:
        """Note each silo that has become strained or eased again, once."""
        for strain in strains:
            venue, warned = strain.venue, strain.venue in self.low
            if margin.low(strain, warned, limits) is warned:
                continue
            self.low ^= {venue}
            state = f"{venue} shocks would take {strain.need:,.0f} {strain.currency}, {strain.share:.0%} of what it has"
            if warned:
                self.warnings.append((Severity.INFO, f"{state}: eased"))
            else:
                missing, part = strain.need / limits.margin_warn_share - strain.free, 1.0 - limits.margin_warn_share / strain.share
                action = f"add {missing:,.0f} {strain.currency} or cut both legs by {part:.0%}"
                self.warnings.append((Severity.WARN, f"{state}, warn at {limits.margin_warn_share:.0%}; {action}"))

    def _leave_room(
        self, pair: PairState, x: Exposure, strains: tuple[margin.Strain, ...], limits: Limits, pairs_open: int
    ) -> None:
        """Note how far prices and time may go before a rule can answer differently."""
        window = self.window
        self.lead_at, self.mark_at, self.stable_at = window.lead.mid, window.hedge.mark, x.stable.usd
        self.hedge_at = window.hedge.mid * window.stable_usd
        self.lead_usd = pair.lead.qty_f * window.lead_unit
        if window.hedge_terms.inverse:
            self.look_ns = x.now  # worth is not linear in the quote here: every timer takes a full look
            return
        self.hedge_usd = pair.hedge.qty_f * window.hedge_unit
        self.wallet = abs(x.hedge_silo.equity) + abs(self.hedge_usd) * window.hedge.mid
        self.trailing = limits.trailing_stop_usd
        desk = x.desk
        rooms = [
            limits.money_stop_usd + x.pnl_usd,
            (desk.nav_usd - (1.0 - limits.drawdown_share) * desk.peak_usd) / pairs_open,
            (desk.nav_usd - (1.0 - limits.daily_loss_share) * desk.day_start_usd) / pairs_open,
        ]
        self.loss_room = max(0.0, min(rooms) - abs(desk.nav_usd) * 1e-9)
        rooms = [margin.warn_room_usd(strain, limits) for strain in strains if strain.venue not in self.low]
        self.margin_room = min(margin.room_usd(x, limits), *rooms, inf) / pairs_open
        self.look_ns = self._deadline(x, limits)

    def _deadline(self, x: Exposure, limits: Limits) -> int:
        """Return when a time limit is reached; now while a delta is open, which has to be measured each time."""
        if self.since_ns:
            return x.now + 1  # at this very instant nothing can have changed but by a fact, and facts look anyway
        due = NEVER
        if x.entered_ns:
            due = x.entered_ns + int(limits.time_stop_s * S_NS)
        if x.expiry_ns:
            due = min(due, x.expiry_ns - int(limits.expiry_stop_s * S_NS))
        return due


class PairLoop:
    """Everything one pair needs at run time: its state, window, strategy and monitors."""

    __slots__ = ("approved_ns", "memory", "on_event", "rearms", "refused_ns", "state", "watch", "window")

    def __init__(self, state: PairState, window: Window, strategy: Strategy, memory: Any):
        self.state = state
        self.window = window
        self.on_event = strategy.on_event
        self.rearms = strategy.rearms
        self.memory = memory
        self.watch = Watch(window)
        self.refused_ns = self.approved_ns = 0


def hedges(ob: Obligations, loops: Iterable[PairLoop], x: Execution) -> Iterator[tuple[PairLoop, Action]]:
    """Yield the hedges that the fills so far leave to be sent, of pairs whose legs need not be planned together."""
    for loop in loops:
        if ob.started_ns and not loop.state.out and not loop.state.unwind:
            loop.window.now = ob.now
            asks: list[Action] = []
            plan_hedge(ob, loop.state, loop.window, x, asks)
            yield from ((loop, ask) for ask in asks)
