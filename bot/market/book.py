"""Reading a book: what a size would really pay, and how much of what is shown can be had at a price that may be paid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf


def inside(levels: Iterable[tuple[float, float]], mid: float, collar_bp: float) -> tuple[tuple[float, float], ...]:
    """Return the levels no further than `collar_bp` from `mid`, on either side of it: no order may reach beyond.

    >>> inside([(70505.0, 12.0), (70510.0, 8.0), (70650.0, 90.0)], 70500.0, 18.0)
    ((70505.0, 12.0), (70510.0, 8.0))
    """
    reach = mid * collar_bp * 1e-4
    return tuple(level for level in levels if abs(level[0] - mid) <= reach)


def sound(bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]]) -> bool:
    """Return whether both sides lead away from each other and every price and size is a finite number > 0.

    >>> sound([(99.0, 1.0), (98.0, 2.0)], [(100.0, 1.0)]), sound([(100.0, 1.0)], [(100.0, 1.0)])
    (True, False)
    """
    prices = [price for price, _ in (*reversed(bids), *asks)]
    return all(a < b for a, b in pairwise(prices)) and all(0.0 < n < inf for level in (*bids, *asks) for n in level)


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
