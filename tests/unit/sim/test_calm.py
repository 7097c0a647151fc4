"""Ordinary days: hours, regime, jumps, the stablecoin's troubles, and figures that stay where docs/calibration.md found them."""

from __future__ import annotations

import math
from datetime import datetime
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bot import config
from bot.backtest.calibration import seeded
from bot.backtest.shape import GROUPS, figures
from bot.model.event import NEVER, Quote
from bot.sim.regime import Regime
from bot.sim.scenarios import HOUR_NS, MINUTE_NS, Scenario, Weather
from tests.unit.sim.test_market import MBT, PERP, START, USDT, S, market, shipped

DAY_NS = 24 * HOUR_NS
NINE_ON_WEDNESDAY = START + 23 * HOUR_NS + 15 * MINUTE_NS
NOON_ON_SATURDAY = START + 4 * DAY_NS + 2 * HOUR_NS + 15 * MINUTE_NS
CHICAGO = ZoneInfo("America/Chicago")


def test_ordinary_weather_has_no_regime() -> None:
    """Without slow parts nothing steps and nothing is drawn; with any of them it does, and one seed is one regime."""
    assert Regime(Weather(), 1, START).due_ns == NEVER
    for name in ("regime_sd", "moves_day", "lead_swing_bp", "depegs_year"):
        assert Regime(Weather(**{name: 1.0}), 1, START).due_ns == START + MINUTE_NS, name
    a, b, other = (Regime(shipped("calm").weather, seed, START) for seed in (3, 3, 4))
    for regime in (a, b, other):
        for _ in range(3_000):
            regime.step()
    assert (a.level, a.swing_bp, a.depeg_bp) == (b.level, b.swing_bp, b.depeg_bp) != (other.level, other.swing_bp, other.depeg_bp)


def test_the_regime_does_not_depend_on_how_often_venues_quote() -> None:
    """With nothing but a swing of the future, quotes every 3 s and every 30 s show it at the same height at the same time."""
    still = Weather(premium_sd_bp=0.0, jumps_day=0.0, premium_mean_bp=0.0, lead_noise_bp=0.0, lead_swing_bp=40.0, lead_swing_half_life_h=2.0, vol_year=0.01,
                    stable_sd_bp=0.0, episodes=False)  # fmt: skip
    shown = []
    for interval_s in (3.0, 30.0):
        mids = {MBT.id: 0.0, PERP.id: 0.0}
        for e in market(2, Scenario(weather=still), days=1.0, interval_s=interval_s).events(START + 6 * HOUR_NS):
            if type(e) is Quote and e.instrument in mids:
                mids[e.instrument] = 0.5 * (e.bid + e.ask)
        shown.append(math.log(mids[MBT.id] / mids[PERP.id]) * 1e4)
    assert abs(shown[0] - shown[1]) < 3.0, shown  # ticks of either leg
    assert abs(shown[0] - 0.06 * 23.75 / 365 * 1e4) > 8.0, f"{shown}: no swing to be seen"


def test_thin_hours_show_in_the_books() -> None:
    """Saturday noon shows a fraction of Wednesday morning's sizes and wider spreads; a market without hours shows no difference."""
    plain = Scenario(weather=Weather(episodes=False))
    for scenario, thin in ((shipped("calm"), True), (plain, False)):
        live = [e for e in market(4, scenario, days=1.0).events(NOON_ON_SATURDAY + HOUR_NS) if type(e) is Quote]
        busy, quiet = ([e for e in live if from_ns <= e.ts < from_ns + HOUR_NS] for from_ns in (NINE_ON_WEDNESDAY, NOON_ON_SATURDAY))
        for name, most in ((MBT.id, 0.1), (PERP.id, 0.45)):
            sizes, widths = [], []
            for part in (busy, quiet):
                mine = [q for q in part if q.instrument == name]
                sizes.append(median(q.bid_size for q in mine))
                widths.append(sum(q.ask - q.bid for q in mine) / len(mine))
            if thin:
                assert 0.0 < sizes[1] / sizes[0] < most and widths[1] > 1.3 * widths[0], f"{name}: {sizes} {widths}"
            else:
                assert 0.8 < sizes[1] / sizes[0] < 1.25 and 0.8 < widths[1] / widths[0] < 1.25, f"{name}: {sizes} {widths}"


def test_the_future_is_thinner_around_its_closures() -> None:
    """In the two minutes before and after the stop of 16:00 Chicago the book is about half of what it is a quarter of an hour away."""
    before: dict[str, list[float]] = {"at": [], "away": []}
    after: dict[str, list[float]] = {"at": [], "away": []}
    for e in market(1, "calm", days=60.0).history():
        if type(e) is Quote and e.instrument == MBT.id:
            local = datetime.fromtimestamp(e.ts // S, CHICAGO)
            if local.weekday() < 4 and local.hour in (15, 16):
                if local.hour == 15 and local.minute >= 40 and not 48 <= local.minute < 58:
                    before["at" if local.minute >= 58 else "away"].append(e.bid_size)
                elif local.hour == 16 and (2 <= local.minute < 4 or 13 <= local.minute < 23):
                    after["at" if local.minute < 4 else "away"].append(e.bid_size)
    for sizes in (before, after):
        assert 0.45 < median(sizes["at"]) / median(sizes["away"]) < 0.7


def test_the_stablecoin_forgets_at_its_pace_in_the_history_too() -> None:
    """Quoted every five minutes there and every minute later, it halves a deviation in the same time: memory of a half at one half-life."""
    weather = Weather(stable_sd_bp=20.0, stable_half_life_h=6.0, episodes=False)
    off = [(e.ts, e.bid - 0.99995) for e in market(6, Scenario(weather=weather), days=120.0).history() if type(e) is Quote and e.instrument == USDT.id]
    values = [x for _, x in off]
    mean = sum(values) / len(values)
    lag = 6 * 12
    product = sum((a - mean) * (b - mean) for a, b in zip(values, values[lag:], strict=False)) / (len(values) - lag)
    assert product / (sum((x - mean) ** 2 for x in values) / len(values)) == pytest.approx(0.5, abs=0.1)


def test_troubles_of_the_stablecoin_come_and_go() -> None:
    """Steps off the peg, of either sign, that halve in their half-life; none without them."""
    def worst(**more: Any) -> tuple[float, float]:
        weather = Weather(stable_sd_bp=0.0, episodes=False, depeg_bp=80.0, depeg_half_life_h=12.0, **more)
        seen = [q.bid - 1.0 for q in market(2, Scenario(weather=weather), days=30.0).history() if type(q) is Quote and q.instrument == USDT.id]
        return min(seen), max(seen)

    low, high = worst(depegs_year=120.0)
    assert low < -50e-4 and high > 50e-4
    assert worst() == (0.0, 0.0)


RANGES = {  # the real figure, and what the median of five seeds with 60 days each may make of it
    "1 min returns: deviation": (4.9, 3.8, 7.5), "1 min returns: kurtosis": (12.1, 7.0, 25.0), "1 min returns: memory of size at 1 min": (0.29, 0.2, 0.45),
    "15 min returns: deviation": (24.9, 16.0, 32.0), "15 min returns: kurtosis": (19.3, 7.0, 35.0), "15 min returns: memory of size at 1 d": (0.16, 0.05, 0.3),
    "1 h returns: deviation": (48.8, 33.0, 65.0), "1 d returns: deviation": (238.0, 150.0, 340.0),
    "hours: move of 08-12 Chicago over other weekday hours": (1.77, 1.4, 2.3), "hours: move at weekends over other weekday hours": (0.69, 0.5, 0.9),
    "premium: mean": (-4.37, -5.2, -3.7), "premium: deviation": (1.18, 0.7, 1.7), "premium: memory at 1 h": (0.62, 0.4, 0.8),
    "funding: 50 % quantile, % a year": (4.9, 0.5, 10.95), "funding: deviation, % a year": (4.7, 3.0, 8.5), "funding: share at 0.01 %": (0.15, 0.03, 0.45),
    "funding: share negative": (0.15, 0.02, 0.4), "basis: deviation within a contract": (6.5, 4.5, 9.0),
    "basis: deviation of its change over 15 min": (3.8, 2.9, 4.2), "basis: deviation of its change over 6 h": (6.4, 4.8, 8.0),
    "stablecoin: memory at 1 d": (0.83, 0.4, 0.95),
}  # fmt: skip


def test_sixty_days_have_the_shape_of_real_ones() -> None:
    """Spread, tails, clustering, hours, premium, funding, basis and stablecoin stay near the real figures. One seed is one regime, so five are asked."""
    found: dict[str, list[float]] = {}
    for seed in range(1, 6):
        made = seeded(config.load("paper", environ={}, sets=("market.scenario=calm", f"market.seed={seed}")).settings, 60)
        for x in (x for group in GROUPS for x in figures(group, made)):
            found.setdefault(x.name, []).append(round(x.value, 3))
    wrong = {name: found[name] for name, (_, low, high) in RANGES.items() if not low <= median(found[name]) <= high}
    assert not wrong, wrong


@pytest.mark.parametrize(("name", "value"), [("vol_year", math.nan), ("regime_sd", -0.1), ("depeg_half_life_h", 0.0), ("lead_depth_usd", 0.0)])
def test_weather_that_cannot_be_is_refused(name: str, value: float) -> None:
    """Named at once, before a market is made of it."""
    with pytest.raises(ValueError, match=name):
        Weather(**{name: value})
