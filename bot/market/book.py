"""Walking a book: what a size would really pay."""

from __future__ import annotations

from collections.abc import Iterable


def walk(levels: Iterable[tuple[float, float]], qty: float) -> float | None:
    """Return the average price of `qty` contracts through `levels`, None when the depth shown is too thin.

    >>> walk([(70505.0, 12.0), (70510.0, 8.0)], 20.0)
    70507.0
    """
    left, cost = qty, 0.0
    for price, size in levels:
        take = min(left, size)
        cost += price * take
        left -= take
        if left <= 0.0:
            return cost / qty
    return None
