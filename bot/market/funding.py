"""Funding: rates with their interval, the stamps inside a horizon and what they are expected to pay.

Rate > 0: longs pay and the SHORT RECEIVES. A rate means nothing without its interval, and 0.01 % per 8 h (10.95 % a
year) is the venue's neutral baseline, not profit to be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

HOUR_S = 3_600
YEAR_HOURS = 8_760
BASELINE_8H = 0.0001
"""Interest component of the usual formula, per 8 h (Binance and Bybit funding pages, read 2026-11)."""


def per_hour(rate: float, interval_s: int) -> float:
    """Return a rate per interval as a rate per hour."""
    return rate * HOUR_S / interval_s


def per_year(rate: float, interval_s: int) -> float:
    """Return a rate per interval as a simple rate per year.

    >>> round(per_year(0.0005, 3600), 2), round(per_year(0.0001, 8 * 3600), 4)
    (4.38, 0.1095)
    """
    return per_hour(rate, interval_s) * YEAR_HOURS


def stamps_inside(now_ns: int, horizon_ns: int, interval_s: int, next_stamp_ns: int = 0) -> tuple[int, ...]:
    """Return the stamps in (now, now + horizon], possibly none; aligned to UTC when the next one is not given."""
    step = interval_s * 1_000_000_000
    first = next_stamp_ns if next_stamp_ns > now_ns else (now_ns // step + 1) * step
    return tuple(range(first, now_ns + horizon_ns + 1, step))


def expected_rates(
    count: int, estimate: float, baseline: float, half_life_stamps: float, cap: float | None = None
) -> list[float]:
    """Return the expected rate of the next `count` stamps: the venue's estimate, decaying to the baseline.

    Capped at +-cap where the venue caps it. A half-life of 0 means baseline from the second stamp on.

    >>> [round(r, 6) for r in expected_rates(3, 0.0005, 0.0001, 3.0)]
    [0.0005, 0.000417, 0.000352]
    """
    rates = []
    for k in range(count):
        decay = 0.5 ** (k / half_life_stamps) if half_life_stamps > 0.0 else float(k == 0)
        rate = baseline + (estimate - baseline) * decay
        rates.append(rate if cap is None or cap <= 0.0 else max(-cap, min(cap, rate)))
    return rates


def expected_funding(
    rates: Sequence[float], price_usd: float
) -> float:
    """Return what a short of one coin receives over these stamps, in USD (negative: pays)."""
    return sum(rates) * price_usd


def payment(qty_coins: Decimal, mark: Decimal, rate: Decimal) -> Decimal:
    """Return what a position of signed `qty_coins` receives at one stamp, in its settle currency.

    >>> payment(Decimal("-2.0"), Decimal(71000), Decimal("0.0005"))
    Decimal('71.00000')
    """
    return -qty_coins * mark * rate
