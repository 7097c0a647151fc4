"""Funding indicator: what the perpetual is expected to pay a year against what the future's contango costs."""

from __future__ import annotations

from collections.abc import Sequence

from bot.market.fair import YEAR_NS


def differential(expected_rates: Sequence[float], horizon_ns: int, implied_carry: float) -> float:
    """Return annualised expected funding - annualised implied carry; > 0 favours long CME / short perp.

    >>> round(differential([0.0001] * 3, 86_400_000_000_000, 0.06), 4)
    0.0495
    """
    return sum(expected_rates) * YEAR_NS / horizon_ns - implied_carry
