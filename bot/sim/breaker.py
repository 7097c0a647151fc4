"""A dynamic circuit breaker: how far a price may go within a rolling window before trading in it pauses by itself."""

from __future__ import annotations

import math
from collections import deque

from bot.model.event import Quote


class Breaker:
    """The window of one instrument, O(1) a quote.

    CME's dynamic circuit breakers (exchange's own question-and-answer page, read 2026-11): within a rolling look-back of 60
    minutes the lowest price plus a variant bounds the bid and the highest price minus it bounds the ask; beyond, trading
    pauses for two minutes, and the window begins anew when it resumes. Its variant is a percentage of the prior settlement
    (10 % for bitcoin, from secondary sources); here `share` is a fraction of the extreme itself, for want of a settlement.
    """

    __slots__ = ("_highs", "_lows", "_share", "_window_ns", "halt_ns")

    def __init__(self, share: float, window_ns: int, halt_ns: int) -> None:
        self._share = share
        self._window_ns = window_ns
        self.halt_ns = halt_ns
        self._highs: deque[tuple[int, float]] = deque()  # falling prices: the first is the highest of the window
        self._lows: deque[tuple[int, float]] = deque()  # rising prices: the first is the lowest

    def trips(self, q: Quote) -> bool:
        """Take a quote into the window; return whether it lies beyond the bounds of the window before it.

        A quote that is no price (crossed, one-sided, not finite) says nothing. A trip empties the window.
        """
        if not (0.0 < q.bid <= q.ask < math.inf):
            return False
        highs, lows, oldest = self._highs, self._lows, q.ts - self._window_ns
        while highs and highs[0][0] < oldest:
            highs.popleft()
        while lows and lows[0][0] < oldest:
            lows.popleft()
        if highs and (q.ask < highs[0][1] * (1.0 - self._share) or q.bid > lows[0][1] * (1.0 + self._share)):
            highs.clear()
            lows.clear()
            return True
        mid = 0.5 * (q.bid + q.ask)
        while highs and highs[-1][1] <= mid:
            highs.pop()
        while lows and lows[-1][1] >= mid:
            lows.pop()
        highs.append((q.ts, mid))
        lows.append((q.ts, mid))
        return False
