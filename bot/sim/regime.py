"""What changes slowly in a seeded market: the regime of volatility, the richness of the future, the stablecoin's troubles, the hour.

It steps from minute to minute on a stream of random numbers of its own, so that the regime of a seed is the same one
however often its venues quote, and weather without these parts draws nothing here.
"""

from __future__ import annotations

import math
from random import Random

from bot.model.event import NEVER
from bot.sim.hours import EVERY_HOUR, at, widening
from bot.sim.scenarios import Weather

MINUTE_NS = 60_000_000_000
_STREAM = 0x5E61
"""Added to the seed, so that this stream is not the market's."""


def _changes(w: Weather) -> bool:
    """Return whether anything in this weather is slow."""
    return w.hours or any((w.regime_sd, w.moves_day, w.lead_swing_bp, w.depegs_year))


class Regime:
    """The slow state at the last whole minute.

    level: multiplier of volatility, its hour included. swing_bp: of the future over its fair value. depeg_bp: of the
    stablecoin. jump: log move of the index in the last step. hour: the multipliers of its books; lead_wider, hedge_wider:
    of their spreads. due_ns: the next step, NEVER where nothing changes slowly.
    """

    def __init__(self, weather: Weather, seed: int, now_ns: int) -> None:
        self.weather = w = weather
        self._rnd = Random(seed * 1_000_003 + _STREAM).random
        self._spare: float | None = None
        self.level, self.swing_bp, self.depeg_bp, self.jump = 1.0, 0.0, 0.0, 0.0
        self.hour = EVERY_HOUR
        self.lead_wider = self.hedge_wider = 1.0
        self._keep_vol = 0.5 ** (1.0 / (w.regime_half_life_d * 1_440.0))
        self._keep_swing = 0.5 ** (1.0 / (w.lead_swing_half_life_h * 60.0))
        self._keep_depeg = 0.5 ** (1.0 / (w.depeg_half_life_h * 60.0))
        self._push_vol = w.regime_sd * math.sqrt(1.0 - self._keep_vol**2)
        self._push_swing = w.lead_swing_bp * math.sqrt(1.0 - self._keep_swing**2)
        self._log_level = w.regime_sd * self._gauss()
        self.swing_bp = w.lead_swing_bp * self._gauss()
        self.due_ns = now_ns if _changes(w) else NEVER
        if self.due_ns < NEVER:
            self.step()

    def step(self) -> None:
        """Go on by one minute."""
        w = self.weather
        self._log_level = self._log_level * self._keep_vol + self._push_vol * self._gauss()
        self.swing_bp = self.swing_bp * self._keep_swing + self._push_swing * self._gauss()
        self.jump = self._drawn(w.moves_day / 1_440.0) * w.move_bp * 1e-4
        self.depeg_bp = self.depeg_bp * self._keep_depeg + self._drawn(w.depegs_year / 525_600.0) * w.depeg_bp
        if w.hours:
            self.hour = hour = at(self.due_ns)
            self.lead_wider, self.hedge_wider = widening(hour.lead_depth), widening(hour.hedge_depth)
        self.level = math.exp(self._log_level - w.regime_sd * w.regime_sd) * self.hour.volatility
        self.due_ns += MINUTE_NS

    def _drawn(self, chance: float) -> float:
        """Return 0, or with this chance an exponential number of mean 1 of either sign."""
        if self._rnd() >= chance:
            return 0.0
        sign = 1.0 if self._rnd() < 0.5 else -1.0
        return sign * -math.log(1.0 - self._rnd())

    def _gauss(self) -> float:
        """Return a standard normal (Box-Muller, as in bot.sim.market)."""
        if self._spare is not None:
            g, self._spare = self._spare, None
            return g
        r, a = math.sqrt(-2.0 * math.log(1.0 - self._rnd())), 2.0 * math.pi * self._rnd()
        self._spare = r * math.sin(a)
        return r * math.cos(a)
