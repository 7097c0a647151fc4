"""Basis indicators: a time-weighted window of the excess, its half-life, and the trailing implied carry.

Samples are weighted by the time they were valid, at most `hold_ns`, so that closures and silence add no weight.
Buckets advance with accumulated weight, not with the clock: a window is made of observed, open market time.
Memory is a msgspec Struct: encode, decode, continue gives the same numbers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from math import log, sqrt

import msgspec

PAIRS_MIN = 30
"""Neighbouring bucket means needed before a half-life is believed."""


class WindowStats(msgspec.Struct, kw_only=True):
    """Time-weighted mean, deviation and half-life over the latest `window_ns` of observed time, O(1) an update.

    The window is a queue of closed buckets of at least `bucket_ns` each; the bucket that is filling does not count
    yet. Sums are of deviations from `origin` (the first sample) and are re-summed each time the queue is compacted.
    ring: (weight ns, weighted sum, weighted sum of squares) from `head` on. l*: sums over neighbouring bucket means.
    """

    window_ns: int
    bucket_ns: int
    ring: list[tuple[float, float, float]] = []
    head: int = 0
    w: float = 0.0
    s: float = 0.0
    ss: float = 0.0
    origin: float = 0.0
    last_ns: int = 0
    last_x: float = 0.0
    bw: float = 0.0
    bs: float = 0.0
    bss: float = 0.0
    lx: float = 0.0
    ly: float = 0.0
    lxx: float = 0.0
    lxy: float = 0.0

    def update(self, now_ns: int, x: float, hold_ns: int) -> bool:
        """Hold the previous sample until now, at most `hold_ns`, then take `x`; return whether a bucket closed."""
        closed = False
        if self.last_ns:
            gap = now_ns - self.last_ns
            if gap > hold_ns:
                gap = hold_ns
            if gap > 0:
                d = self.last_x - self.origin
                wd = gap * d
                weight = self.bw + gap
                self.bw = weight
                self.bs += wd
                self.bss += wd * d
                if weight >= self.bucket_ns:
                    self._close_bucket()
                    closed = True
        else:
            self.origin = x
        self.last_ns = now_ns
        self.last_x = x
        return closed

    def _close_bucket(self) -> None:
        """Queue the filled bucket and drop the oldest ones that lie wholly beyond the window."""
        ring = self.ring
        bucket = (self.bw, self.bs, self.bss)
        if len(ring) > self.head:
            self._neighbours(ring[-1], bucket, 1.0)
        ring.append(bucket)
        self.w += bucket[0]
        self.s += bucket[1]
        self.ss += bucket[2]
        self.bw = self.bs = self.bss = 0.0
        while self.w - ring[self.head][0] >= self.window_ns:
            old = ring[self.head]
            self.head += 1
            self.w -= old[0]
            self.s -= old[1]
            self.ss -= old[2]
            self._neighbours(old, ring[self.head], -1.0)
        if self.head * 2 > len(ring):
            self._compact()

    def _neighbours(self, a: tuple[float, float, float], b: tuple[float, float, float], sign: float) -> None:
        x, y = a[1] / a[0], b[1] / b[0]
        self.lx += sign * x
        self.ly += sign * y
        self.lxx += sign * x * x
        self.lxy += sign * x * y

    def _compact(self) -> None:
        """Forget dropped buckets and sum the kept ones afresh, so that rounding never accumulates."""
        ring = self.ring
        del ring[: self.head]
        self.head = 0
        self.w = self.s = self.ss = self.lx = self.ly = self.lxx = self.lxy = 0.0
        for i, (w, s, ss) in enumerate(ring):
            self.w += w
            self.s += s
            self.ss += ss
            if i:
                self._neighbours(ring[i - 1], ring[i], 1.0)

    @property
    def coverage(self) -> float:
        """Return observed time over the window, 0..1."""
        return min(1.0, self.w / self.window_ns)

    @property
    def mean(self) -> float:
        """Return the time-weighted mean; 0.0 with no weight (look at coverage first)."""
        return self.origin + self.s / self.w if self.w else 0.0

    @property
    def sd(self) -> float:
        """Return the time-weighted population deviation; 0.0 with no weight."""
        if not self.w:
            return 0.0
        m = self.s / self.w
        return sqrt(max(0.0, self.ss / self.w - m * m))

    @property
    def pairs(self) -> int:
        """Return the number of neighbouring bucket means in the window."""
        return max(0, len(self.ring) - self.head - 1)

    def half_life_ns(self, low: int, high: int) -> int | None:
        """Return the half-life of the excess, clamped to low..high; None before PAIRS_MIN neighbours.

        First-order regression of bucket means on their predecessors, with intercept. Noise in the means and the
        small sample bias both shorten it; a shorter horizon counts fewer funding stamps.
        """
        n = self.pairs
        if n < PAIRS_MIN:
            return None
        var = n * self.lxx - self.lx * self.lx
        if var <= 0.0:
            return None
        phi = (n * self.lxy - self.lx * self.ly) / var
        if phi <= 0.0:
            return low
        if phi >= 1.0:
            return high
        step = self.w / (n + 1)
        return int(max(low, min(high, -log(2.0) / log(phi) * step)))


class TrailingMedian(msgspec.Struct, kw_only=True):
    """Median of the last `size` samples taken at least `every_ns` apart, with the time of the latest."""

    size: int
    every_ns: int
    values: list[float] = []
    ordered: list[float] = []
    last_ns: int = 0

    def update(self, now_ns: int, x: float) -> None:
        """Take `x` unless the previous sample is younger than `every_ns`."""
        if self.last_ns and now_ns - self.last_ns < self.every_ns:
            return
        self.last_ns = now_ns
        if len(self.values) == self.size:
            old = self.values.pop(0)
            del self.ordered[bisect_left(self.ordered, old)]
        self.values.append(x)
        insort(self.ordered, x)

    @property
    def median(self) -> float | None:
        """Return the median, None before the first sample."""
        n = len(self.ordered)
        if n == 0:
            return None
        mid = n // 2
        return self.ordered[mid] if n % 2 else 0.5 * (self.ordered[mid - 1] + self.ordered[mid])


def implied_carry_month(annual: float) -> float:
    """Return an annual carry per month of 30 days.

    >>> round(implied_carry_month(0.0730), 4)
    0.006
    """
    return annual * 30.0 / 365.0
