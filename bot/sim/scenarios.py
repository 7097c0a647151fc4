"""Scenarios of the seeded market: what is laid over its ordinary days, and which venue faults belong to it.

A scenario is a value; its file is read and checked by the configuration (bot.scenarios). Only the market and the venues are
scripted, never what the desk does about them. An episode pulls the premium to a fixed height whatever the noise does, so
that each seed shows it: the scripted ones open the run, those drawn from the seed come after them, day by day; in between
the market is left to itself.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

import msgspec

from bot.model.ids import VenueId
from bot.sim.faults import Fault, decode_faults

DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000
HOUR_NS = 3_600_000_000_000
STAMP_NS = 8 * HOUR_NS
"""Funding stamps at 00, 08 and 16Z."""
ROLES = ("lead", "hedge")
"""Names a scenario's faults may use for the venue of either leg, whatever the pair is."""


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
        return ramp(1.0 - (self.peak_ns - now_ns) / self.rise_ns)


def ramp(part: float) -> float:
    """Return a smooth rise from 0 (part <= 0) to 1 (part >= 1)."""
    return part * part * (3.0 - 2.0 * part) if 0.0 < part < 1.0 else float(part >= 1.0)


def _within(value: msgspec.Struct, **bounds: tuple[float, float]) -> None:
    """Raise ValueError naming the first field outside its bounds; NaN is outside any."""
    for name, (low, high) in bounds.items():
        found = getattr(value, name)
        if not low <= found <= high:
            raise ValueError(f"{name}: {found} is not within {low:g} and {high:g}")


class Weather(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario's ordinary days. Deviations and jumps in bp, half-lives in the unit they name; a jump has a mean size and either sign.

    Index: vol_year, continuous, of a year; vol_sd and vol_memory_h (forgotten by 1/e) of the short-run part of its logarithm,
    regime of the slow one; moves_day: jumps. Premium: a slow part with jumps, and a noise that grows with volatility. Lead:
    of the future over its fair value, noise and slow swing. Stable: of the stablecoin, with steps off its peg. hours:
    whether volatility, depth and spreads follow the hours of the week (bot.sim.hours). Depths: median displayed value of
    each side, USD; hedge_spread_bp: of the hedge (the lead shows one to three ticks). episodes: whether excursions come,
    drawn from the seed. gap: the index jumps by about this fraction, up or down, while the future is closed.
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
    gap: float = 0.0

    def __post_init__(self) -> None:
        size, rate, life = (0.0, 1e3), (0.0, 1e3), (0.01, 1e4)
        _within(
            self, vol_year=(0.01, 5.0), vol_sd=(0.0, 2.0), vol_memory_h=life, regime_sd=(0.0, 2.0), regime_half_life_d=life, moves_day=rate,
            move_bp=size, premium_mean_bp=(-1e3, 1e3), premium_sd_bp=size, premium_half_life_h=life, jumps_day=rate, jump_bp=size,
            premium_noise_bp=size, premium_noise_half_life_min=life, lead_noise_bp=size, lead_noise_half_life_min=life, lead_swing_bp=size,
            lead_swing_half_life_h=life, stable_sd_bp=size, stable_half_life_h=life, depegs_year=rate, depeg_bp=size, depeg_half_life_h=life,
            lead_depth_usd=(1.0, 1e9), hedge_depth_usd=(1.0, 1e9), hedge_spread_bp=size, gap=(0.0, 0.5),
        )  # fmt: skip


class Excursion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scripted episode. peak_min: minutes after the market's start, negative before it; the rest as in Episode."""

    peak_min: float
    rise_min: float
    half_life_min: float
    height_bp: float

    def __post_init__(self) -> None:
        _within(self, peak_min=(-1e4, 1e6), rise_min=(0.01, 1e5), half_life_min=(0.01, 1e5), height_bp=(-2e3, 2e3))

    def placed(self, start_ns: int) -> Episode:
        """Return the episode in a market that starts at `start_ns`."""
        return Episode(
            peak_ns=start_ns + round(self.peak_min * MINUTE_NS), rise_ns=round(self.rise_min * MINUTE_NS),
            half_life_ns=round(self.half_life_min * MINUTE_NS), height_bp=self.height_bp,
        )  # fmt: skip


class IndexMove(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scripted move of the index by `share` of itself on top of its noise, begun at `at_min` and done `over_min` later."""

    at_min: float
    over_min: float
    share: float

    def __post_init__(self) -> None:
        _within(self, at_min=(-1e4, 1e6), over_min=(0.01, 1e5), share=(-0.5, 1.0))

    def log_done(self, since_start_ns: int) -> float:
        """Return the logarithm of what of the move is done."""
        return math.log1p(self.share) * ramp((since_start_ns / MINUTE_NS - self.at_min) / self.over_min)


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A market's script. Times count from its start.

    quiet_min: drawn episodes of the first day come this much later, so that they leave the script alone.
    faults: rows in the vocabulary of the faults file; `venue` may also be one of ROLES.
    """

    weather: Weather
    about: str = ""
    quiet_min: float = 0.0
    excursions: tuple[Excursion, ...] = ()
    index_moves: tuple[IndexMove, ...] = ()
    faults: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        _within(self, quiet_min=(0.0, 180.0))

    def opening(self, start_ns: int) -> tuple[Episode, ...]:
        """Return the scripted episodes of a market that starts at `start_ns`."""
        return tuple(x.placed(start_ns) for x in self.excursions)


ORDINARY = Scenario(weather=Weather())
"""Drawn episodes and nothing scripted."""


def episodes(weather: Weather, seed: int, start_ns: int, day: int, quiet_min: float = 0.0) -> tuple[Episode, ...]:
    """Return the drawn excursions of one day (24 h from start_ns + day x 24 h, negative in the warm history), in time order.

    The first comes within three hours, the second shortly before a funding stamp, so that a trade holds through it.
    """
    if not weather.episodes:
        return ()
    rng = Random(seed * 1_000_003 + day)
    begin = start_ns + day * DAY_NS
    first = begin + int((1.3 + 1.2 * rng.random()) * HOUR_NS)
    if day == 0:
        first += int(quiet_min * MINUTE_NS)
    stamp = -(-(begin + 6 * HOUR_NS) // STAMP_NS) * STAMP_NS
    second = stamp - int((35.0 + 35.0 * rng.random()) * MINUTE_NS)
    return _drawn(rng, first, 0.7, 1.0), _drawn(rng, second, 1.2, 1.6)


def _drawn(rng: Random, peak_ns: int, low_h: float, high_h: float) -> Episode:
    rise = int((25.0 + 15.0 * rng.random()) * MINUTE_NS)
    half_life = int((low_h + (high_h - low_h) * rng.random()) * HOUR_NS)
    return Episode(peak_ns=peak_ns, rise_ns=rise, half_life_ns=half_life, height_bp=62.0 + 5.0 * rng.random())


def scripted(scenario: Scenario, start_ns: int, lead_venue: VenueId, hedge_venue: VenueId) -> tuple[Fault, ...]:
    """Return the venue faults that belong to a scenario. Raises ConfigError naming the row and key."""
    named = dict(zip(ROLES, (lead_venue, hedge_venue), strict=True))
    rows = [{**row, "venue": named.get(str(row.get("venue")), row.get("venue"))} if "venue" in row else row for row in scenario.faults]
    return tuple(decode_faults((msgspec.json.encode(row).decode() for row in rows), start_ns, (lead_venue, hedge_venue)))
