"""Monitors of one pair: levels precomputed after every fact, so that a quote costs comparisons only."""

from __future__ import annotations

from bot.engine import assess
from bot.engine.obligations import Obligations, PairState
from bot.engine.observations import Window
from bot.engine.pair import unhedged_coins
from bot.model.event import NEVER
from risk import funding, hedge, margin, stops
from risk.limits import Limits
from risk.request import Exposure
from risk.verdict import Refusal, Rule


class Watch:
    """Observation-side memory of the monitors: trip levels, samples beyond them, unhedged time and dollar-seconds."""

    __slots__ = ("active", "best_pnl", "direction", "entry_premium", "samples", "since_ns", "spread_rule",
                 "spread_usd", "touched_ns", "usd_s")  # fmt: skip

    def __init__(self) -> None:
        self.active = False
        self.direction = 0
        self.entry_premium = self.spread_usd = 0.0
        self.spread_rule = Rule.SPREAD_STOP
        self.samples = 0
        self.best_pnl = 0.0
        self.since_ns = self.touched_ns = 0
        self.usd_s = 0.0

    def arm(self, pair: PairState, window: Window, limits: Limits) -> None:
        """Recompute the levels from the pair's entry; called after every fact that touches the pair."""
        self.active = not pair.flat
        if not self.active:
            self.samples = 0
            self.best_pnl = 0.0
            return
        self.direction = 1 if (pair.lead.qty or -pair.hedge.qty) > 0 else -1
        self.entry_premium = assess.entry_premium_usd(pair)
        intent = pair.entry or pair.intent
        if intent is not None:
            index = pair.entry_index or window.index_usd or window.lead.mid
            self.spread_usd, self.spread_rule = stops.trip_levels(self.direction, index, intent, limits).first

    def on_quote(self, window: Window, limits: Limits) -> Refusal | None:
        """Return a spread stop confirmed by enough samples; a stale or halted leg suspends it."""
        premium = window.hedge.mid * window.stable_usd - window.lead.mid
        adverse = self.direction * (premium - self.entry_premium)
        if adverse < self.spread_usd or self.spread_usd <= 0.0:
            self.samples = 0
            return None
        if not window.fresh or not window.session_open:
            return None
        self.samples += 1
        if self.samples < limits.stop_samples:
            return None
        return Refusal(self.spread_rule, adverse, self.spread_usd)

    def measure(self, ob: Obligations, pair: PairState, window: Window, limits: Limits) -> float:
        """Advance the unhedged clock to now and return the unhedged coins."""
        open_coins = float(unhedged_coins(pair, window))
        if abs(open_coins) <= limits.unhedged_coins_max:
            self.since_ns = 0
            self.usd_s = 0.0
        else:
            if self.since_ns == 0:
                self.since_ns = ob.now
            else:
                self.usd_s += abs(open_coins) * window.lead.mid * (ob.now - self.touched_ns) * 1e-9
        self.touched_ns = ob.now
        return open_coins

    def slow(
        self, ob: Obligations, pair: PairState, window: Window, desk: assess.Desk, limits: Limits
    ) -> tuple[Refusal | None, Refusal | None]:
        """Return (reason to end the trade, breach of the unhedged budget) from the rules that need the whole picture."""
        open_coins = self.measure(ob, pair, window, limits)
        x = assess.exposure(ob, pair, window, desk, best_pnl_usd=self.best_pnl, unhedged=open_coins,
                            unhedged_since_ns=self.since_ns, unhedged_usd_s=self.usd_s)  # fmt: skip
        if x is None:
            return None, None
        self.best_pnl = max(self.best_pnl, x.pnl_usd)
        return self._verdicts(x, limits)

    def _verdicts(self, x: Exposure, limits: Limits) -> tuple[Refusal | None, Refusal | None]:
        ended = stops.slow_stops(x, limits) or margin.breach(x, limits) or funding.budget(x, limits)
        return ended, hedge.breach(x, limits)

    def due_ns(self, now: int, every_ns: int) -> int:
        """Return when the timer must look again."""
        return now + every_ns if self.active else NEVER
