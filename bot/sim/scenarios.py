"""Scenarios of the seeded market: what is laid over its ordinary days, and which venue faults belong to it.

Only the market and the venues are scripted, never what the desk does about them. An episode pulls the premium to a fixed
height whatever the noise does, so that each seed shows it; between episodes the market is left to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from bot.model.ids import VenueId
from bot.sim.faults import Fault, FaultKind

NAMES = ("story", "calm", "widen", "leg-fail", "exchange-down", "gap")
DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000
HOUR_NS = 3_600_000_000_000
STAMP_NS = 8 * HOUR_NS
"""Funding stamps at 00, 08 and 16Z."""


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One excursion of the premium: rises to `height_bp` of the index at `peak_ns`, then halves every `half_life_ns`."""

    peak_ns: int
    rise_ns: int
    half_life_ns: int
    height_bp: float

    def pull(self, now_ns: int) -> float:
        """Return how far the premium is pulled from itself to the height, 0..1."""
        if now_ns >= self.peak_ns:
            age = (now_ns - self.peak_ns) / self.half_life_ns
            return 0.5**age if age < 10.0 else 0.0
        part = 1.0 - (self.peak_ns - now_ns) / self.rise_ns
        return part * part * (3.0 - 2.0 * part) if part > 0.0 else 0.0


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario's ordinary days. Deviations and jumps in bp; half-lives say their unit; jumps of mean size, either sign.

    Index: vol_year, continuous a year; vol_sd and vol_memory_h of the logarithm of its short-run part (forgotten by 1/e);
    regime: of its slow part; moves_day: its jumps. Premium: a slow part with jumps, and a noise that grows with volatility.
    Lead: of the future over its fair value, noise and slow swing. Stable: of the stablecoin, with steps off its peg.
    hours: whether volatility, depth and spreads follow the hours of the week (bot.sim.hours). Depths: median displayed value
    of each side, USD; hedge_spread_bp: of the hedge, the lead shows one to three ticks. episodes: whether excursions come;
    blow_out_bp: height of the one that does not stop in time, 0 for none. gap: the index jumps by this fraction, up or
    down, while the future is closed.
    """

    vol_year: float = 0.50
    vol_sd: float = 0.30
    vol_memory_h: float = 4.0
    regime_sd: float = 0.0
    regime_half_life_d: float = 3.0
    moves_day: float = 0.0
    move_bp: float = 0.0
    premium_mean_bp: float = 2.0
    premium_sd_bp: float = 8.0
    premium_half_life_h: float = 2.0
    jumps_day: float = 1.0
    jump_bp: float = 6.0
    premium_noise_bp: float = 0.0
    premium_noise_half_life_min: float = 45.0
    lead_noise_bp: float = 1.2
    lead_noise_half_life_min: float = 15.0
    lead_swing_bp: float = 0.0
    lead_swing_half_life_h: float = 6.0
    stable_sd_bp: float = 3.0
    stable_half_life_h: float = 24.0
    depegs_year: float = 0.0
    depeg_bp: float = 0.0
    depeg_half_life_h: float = 36.0
    hours: bool = False
    lead_depth_usd: float = 650_000.0
    hedge_depth_usd: float = 900_000.0
    hedge_spread_bp: float = 0.2
    episodes: bool = True
    blow_out_bp: float = 0.0
    gap: float = 0.0


WEATHER: dict[str, Weather] = {
    "story": Weather(),
    "calm": Weather(
        vol_year=0.45, vol_sd=0.35, vol_memory_h=1.45, regime_sd=0.42, regime_half_life_d=3.0, moves_day=0.5, move_bp=25.0,
        premium_mean_bp=-4.5, premium_sd_bp=0.47, premium_half_life_h=72.0, jumps_day=0.0, premium_noise_bp=0.9,
        lead_noise_bp=2.0, lead_noise_half_life_min=4.0, lead_swing_bp=5.5, stable_sd_bp=6.0, stable_half_life_h=96.0,
        depegs_year=1.5, depeg_bp=30.0, hours=True, episodes=False,
    ),
    "widen": Weather(blow_out_bp=190.0),
    "leg-fail": Weather(),
    "exchange-down": Weather(),
    "gap": Weather(gap=0.02),
}  # fmt: skip
"""calm: fitted to market data of 2025 and 2026; what fits and what does not is in docs/calibration.md."""


def episodes(weather: Weather, seed: int, start_ns: int, day: int) -> tuple[Episode, ...]:
    """Return the excursions of one day (24 h from start_ns + day x 24 h, negative in the warm history), in time order.

    The first comes within three hours, the second shortly before a funding stamp, so that a trade holds through it.
    """
    if not weather.episodes:
        return ()
    rng = Random(seed * 1_000_003 + day)
    begin = start_ns + day * DAY_NS
    first = begin + int((1.3 + 1.2 * rng.random()) * HOUR_NS)
    stamp = -(-(begin + 6 * HOUR_NS) // STAMP_NS) * STAMP_NS
    second = stamp - int((35.0 + 35.0 * rng.random()) * MINUTE_NS)
    out = [_drawn(rng, first, 0.7, 1.0), _drawn(rng, second, 1.2, 1.6)]
    if weather.blow_out_bp and day == 0:
        out[0] = Episode(peak_ns=first, rise_ns=30 * MINUTE_NS, half_life_ns=8 * HOUR_NS, height_bp=66.0)
        out[1] = Episode(peak_ns=first + 2 * HOUR_NS, rise_ns=100 * MINUTE_NS, half_life_ns=3 * HOUR_NS, height_bp=weather.blow_out_bp)
    return tuple(out)


def _drawn(rng: Random, peak_ns: int, low_h: float, high_h: float) -> Episode:
    rise = int((25.0 + 15.0 * rng.random()) * MINUTE_NS)
    half_life = int((low_h + (high_h - low_h) * rng.random()) * HOUR_NS)
    return Episode(peak_ns=peak_ns, rise_ns=rise, half_life_ns=half_life, height_bp=62.0 + 5.0 * rng.random())


def scripted(scenario: str, seed: int, start_ns: int, hedge_venue: VenueId) -> Sequence[Fault]:
    """Return the venue faults that belong to a scenario; none for most."""
    weather = WEATHER[scenario]
    first = episodes(weather, seed, start_ns, 0)[0] if weather.episodes else None
    if scenario == "leg-fail":  # the perp refuses the first hedges of the trade and recovers
        return (Fault(at_ns=start_ns, venue=hedge_venue, kind=FaultKind.REJECT, count=3),)
    if scenario == "exchange-down" and first is not None:
        at = first.peak_ns + 15 * MINUTE_NS
        return (Fault(at_ns=at, venue=hedge_venue, kind=FaultKind.OUTAGE, for_ns=20 * MINUTE_NS),)
    return ()
