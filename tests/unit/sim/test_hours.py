"""Hours of the week: continuous, neutral for variance, busy in the New York morning and thin at weekends."""

from __future__ import annotations

from datetime import date, time
from itertools import pairwise

import pytest

from bot.market.holidays import chicago_ns
from bot.model.notation import instant_ns
from bot.sim.hours import HOUR_NS, at, middle, widening

MINUTE_NS = 60_000_000_000
WEEK = 7 * 24 * 60


@pytest.mark.parametrize("begin", ["2026-11-02", "2026-10-30", "2026-03-06"])
def test_no_minute_is_a_step(begin: str) -> None:
    """Over a week, the two with a change of clocks included, a minute changes a multiplier by little, and hours' ends are no exception."""
    first = instant_ns(begin)
    rows = [at(first + n * MINUTE_NS) for n in range(WEEK)]
    for a, b in pairwise(rows):
        assert all(x > 0.0 for x in b)
        assert max(abs(y - x) for x, y in zip(a, b, strict=True)) < 0.04
    assert at(first + 30 * MINUTE_NS) == middle(first // HOUR_NS)


def test_the_week_adds_no_variance_and_no_depth() -> None:
    """Mean square of volatility and mean volume of the perpetual over a week are one, within the rounding of the table."""
    first = instant_ns("2026-11-02") // HOUR_NS
    rows = [middle(first + n) for n in range(168)]
    assert sum(x.volatility**2 for x in rows) / 168 == pytest.approx(1.0, abs=0.01)
    assert sum(x.hedge_depth**2 for x in rows) / 168 == pytest.approx(1.0, abs=0.01)


def test_mornings_are_busy_and_weekends_thin() -> None:
    """New York's morning moves most in both clock seasons; the future's book at weekends is a tenth of its usual one, Sunday evening is not."""
    for month in ("2026-07-", "2026-12-"):
        wednesday = {"2026-07-": 15, "2026-12-": 16}[month]
        nine = at(_chicago(f"{month}{wednesday}", 9) + HOUR_NS // 2)
        night = at(_chicago(f"{month}{wednesday}", 4) + HOUR_NS // 2)
        saturday = at(_chicago(f"{month}{wednesday + 3}", 12) + HOUR_NS // 2)
        sunday = at(_chicago(f"{month}{wednesday + 4}", 17) + HOUR_NS // 2)
        assert nine.volatility > 2.0 * night.volatility > 2.0 * saturday.volatility
        assert nine.lead_depth > 1.5 > 0.8 > night.lead_depth > 0.5
        assert saturday.lead_depth < 0.12 < 0.5 < saturday.hedge_depth < 1.0 < sunday.lead_depth
        assert widening(saturday.lead_depth) > 2.8


def _chicago(day: str, hour: int) -> int:
    return chicago_ns(date.fromisoformat(day), time(hour))
