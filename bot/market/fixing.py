"""Expiry against the BRR: the mean of twelve medians, and the delta that melts while it is computed (case G10).

Source: CF Benchmarks BRR methodology, read 2026-11: twelve five-minute volume-weighted medians over 15:00-16:00 London. The
New York variants (BRRNY) do the same over 15:00-16:00 New York, ETHUSD_RR, SOLUSD_RR and XRPUSD_RR as BRR; the hour itself
comes from bot.market.expiry.
"""

from __future__ import annotations

from collections.abc import Sequence

PARTITIONS = 12


def partitions(window: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return the twelve half-open stretches of a fixing hour in order, UTC ns; a perp leg is bought back one slice in each.

    Raises ValueError for a window that twelve does not divide.
    """
    start, end = window
    length, rest = divmod(end - start, PARTITIONS)
    if length <= 0 or rest:
        raise ValueError(f"a fixing window of {end - start} ns does not split into {PARTITIONS} equal partitions")
    return tuple((start + n * length, start + (n + 1) * length) for n in range(PARTITIONS))


def fixing_price(medians: Sequence[float]) -> float:
    """Return the settlement price, the mean of twelve medians rounded to a cent. Raises ValueError otherwise."""
    if len(medians) != PARTITIONS:
        raise ValueError(f"a fixing needs {PARTITIONS} medians, not {len(medians)}")
    return round(sum(medians) / PARTITIONS, 2)


def delta_left(now_ns: int, window: tuple[int, int]) -> float:
    """Return the share of the CME delta still alive: 1 before the window, melting by twelfths, 0 after it."""
    start, end = window
    if now_ns < start:
        return 1.0
    done = (now_ns - start) * PARTITIONS // (end - start)
    return max(0, PARTITIONS - done) / PARTITIONS
