"""Funding indicator: what the perpetual is expected to pay a year against what the future's contango costs."""

from __future__ import annotations

from collections.abc import Sequence

from bot.market.fair import YEAR_NS
from bot.market.funding import HOUR_S, expected_rates, stamps_inside
from bot.model.view import BookView


def forecast(
    book: BookView, now_ns: int, horizon_ns: int, baseline_8h: float, half_life_h: float
) -> list[float] | None:
    """Return the rates expected at the stamps in (now, now + horizon], possibly none; None when nothing is known.

    The venue's own estimate comes first and decays to the neutral baseline (fraction per 8 h, scaled to the venue's
    interval) with `half_life_h` hours, within the venue's cap. > 0: the short receives.
    """
    interval_s = book.funding_interval_s
    if book.funding_ts == 0 or interval_s <= 0:
        return None
    stamps = stamps_inside(now_ns, horizon_ns, interval_s, book.funding_stamp_ns)
    baseline = baseline_8h * interval_s / (8 * HOUR_S)
    half_life = half_life_h * HOUR_S / interval_s
    return expected_rates(len(stamps), book.funding_rate, baseline, half_life, book.funding_cap or None)


def differential(expected_rates: Sequence[float], horizon_ns: int, implied_carry: float) -> float:
    """Return annualised expected funding - annualised implied carry; > 0 favours long CME / short perp.

    >>> round(differential([0.0001] * 3, 86_400_000_000_000, 0.06), 4)
    0.0495
    """
    return sum(expected_rates) * YEAR_NS / horizon_ns - implied_carry
