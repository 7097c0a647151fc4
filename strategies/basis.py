"""Basis indicators: a time-weighted window of the excess, its half-life, and the trailing implied carry.

Samples are weighted by the time they were valid, at most `hold_ns`, so that closures and silence add no weight.
Buckets advance with accumulated weight, not with the clock: a window is made of observed, open market time.
Memory is a msgspec Struct: encode, decode, continue gives the same numbers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from math import log, sqrt

import msgspec


class WindowStats(msgspec.Struct, kw_only=True):
    """Time-weighted mean and deviation over `slots` buckets of `bucket_ns`, O(1) an update.

    Sums are of deviations from `origin` (the first sample), re-summed exactly each time the ring wraps.
    """

    bucket_ns: int
    slots: int
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
    prev_mean: float | None = None
    sxy: float = 0.0
    sxx: float = 0.0
    pairs: int = 0

    def update(self, now_ns: int, x: float, hold_ns: int) -> None:
        """Hold the previous sample until now, at most `hold_ns`, then take `x` as the current one."""
        if self.last_ns == 0:
            self.origin = x
        else:
            gap = now_ns - self.last_ns
            if gap > hold_ns:
                gap = hold_ns
            if gap > 0:
                d = self.last_x - self.origin
                wd = gap * d
                self.bw += gap
                self.bs += wd
                self.bss += wd * d
                if self.bw >= self.bucket_ns:
                    self._close_bucket()
        self.last_ns = now_ns
        self.last_x = x

    def _close_bucket(self) -> None:
        """Move the current bucket into the ring and drop the oldest beyond the window."""
        bucket = (self.bw, self.bs, self.bss)
        mean = self.bs / self.bw
        if self.prev_mean is not None:
            base = self.mean - self.origin if self.w else 0.0
            a, b = self.prev_mean - base, mean - base
            self.sxy += a * b
            self.sxx += a * a
            self.pairs += 1
        self.prev_mean = mean
        self.bw = self.bs = self.bss = 0.0
        if len(self.ring) < self.slots:
            self.ring.append(bucket)
        else:
            old = self.ring[self.head]
            self.ring[self.head] = bucket
            self.head += 1
            self.w -= old[0]
            self.s -= old[1]
            self.ss -= old[2]
            if self.head == self.slots:
                self.head = 0
                self.w = sum(b[0] for b in self.ring) - bucket[0]
                self.s = sum(b[1] for b in self.ring) - bucket[1]
                self.ss = sum(b[2] for b in self.ring) - bucket[2]
        self.w += bucket[0]
        self.s += bucket[1]
        self.ss += bucket[2]

    @property
    def coverage(self) -> float:
        """Return observed time over the window, 0..1."""
        return min(1.0, self.w / (self.bucket_ns * self.slots))

    @property
    def mean(self) -> float:
        """Return the time-weighted mean; 0.0 with no weight (look at coverage first)."""
        return self.origin + self.s / self.w if self.w else 0.0

    @property
    def sd(self) -> float:
        """Return the time-weighted population deviation."""
        if not self.w:
            return 0.0
        m = self.s / self.w
        return sqrt(max(0.0, self.ss / self.w - m * m))

    def half_life_ns(self, low: int, high: int) -> int | None:
        """Return the half-life of the excess from bucket-to-bucket regression, clamped; None before 30 pairs."""
        if self.pairs < 30 or self.sxx <= 0.0:
            return None
        phi = self.sxy / self.sxx
        if phi <= 0.0:
            return low
        if phi >= 1.0:
            return high
        return int(max(low, min(high, -log(2.0) / log(phi) * self.bucket_ns)))


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
    """Return an annual carry per month of 30 days."""
    return annual * 30.0 / 365.0
