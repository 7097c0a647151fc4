"""The indicator window against brute force, and across an encoding in the middle of its life."""

from __future__ import annotations

import random
from math import log, sqrt
from statistics import median

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.basis import PAIRS_MIN, TrailingMedian, WindowStats

S = 1_000_000_000
samples = st.lists(st.tuples(st.integers(0, 400), st.floats(-200, 200)), min_size=1, max_size=300)


def brute(points: list[tuple[int, float]], window: int, bucket: int, hold: int) -> list[tuple[float, float, float]]:
    """Return (weight, mean, mean square) of the buckets a window should hold, by the definition and nothing else."""
    buckets, filling = [], []
    for (t0, x), (t1, _) in zip(points, points[1:], strict=False):
        if t1 > t0:
            filling.append((min(t1 - t0, hold), x))
        if filling and sum(w for w, _ in filling) >= bucket:
            weight = sum(w for w, _ in filling)
            buckets.append((weight, sum(w * v for w, v in filling) / weight, sum(w * v * v for w, v in filling) / weight))
            filling = []
    while buckets and sum(w for w, _, _ in buckets[1:]) >= window:
        buckets.pop(0)
    return buckets


@given(samples, st.integers(1, 5), st.integers(1, 12))
def test_statistics_equal_brute_force(steps: list[tuple[int, float]], bucket_s: int, buckets: int) -> None:
    """Mean, deviation and coverage are those of the samples, each held at most `hold`, of the latest closed buckets."""
    bucket, hold = bucket_s * 60 * S, 120 * S
    window = WindowStats(window_ns=bucket * buckets, bucket_ns=bucket)
    t, points = S, []
    for gap, x in steps:
        t += gap * S
        points.append((t, x))
        window.update(t, x, hold)
    kept = brute(points, bucket * buckets, bucket, hold)
    weight = sum(w for w, _, _ in kept)
    assert window.coverage == pytest.approx(min(1.0, weight / (bucket * buckets)))
    if kept:
        mean = sum(w * m for w, m, _ in kept) / weight
        square = sum(w * q for w, _, q in kept) / weight
        assert window.mean == pytest.approx(mean, abs=1e-7)
        assert window.sd == pytest.approx(sqrt(max(0.0, square - mean * mean)), abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_half_life_equals_regression(seed: int) -> None:
    """The half-life is that of an ordinary regression of the kept bucket means, however often old ones were dropped."""
    rng = random.Random(seed)
    window, minute = WindowStats(window_ns=200 * 60 * S, bucket_ns=60 * S), 60 * S
    means, x, t = [], 0.0, S
    for _ in range(700):
        window.update(t, x, minute)
        means.append(x)
        t += minute
        x = 0.9 * x + rng.random() - 0.5 + 0.05
    means.pop()  # the last sample still fills its bucket
    kept = means[-200:]
    a, b = kept[:-1], kept[1:]
    n = len(a)
    assert window.pairs == n, f"seed {seed}"
    phi = (n * sum(p * q for p, q in zip(a, b, strict=True)) - sum(a) * sum(b)) / (n * sum(p * p for p in a) - sum(a) ** 2)
    assert window.half_life_ns(1, 1 << 60) == pytest.approx(-log(2) / log(phi) * minute, rel=1e-6), f"seed {seed}"


def test_half_life_needs_history() -> None:
    """Fewer than PAIRS_MIN neighbours give no half-life, one more does; it stays inside its clamps."""
    rng = random.Random(3)
    window = WindowStats(window_ns=1_000 * S, bucket_ns=S)
    for i in range(PAIRS_MIN + 1):
        window.update((i + 1) * S, rng.random(), S)
    assert window.pairs == PAIRS_MIN - 1 and window.half_life_ns(1, 9) is None
    window.update((PAIRS_MIN + 2) * S, 0.0, S)
    assert window.half_life_ns(5, 9) in range(5, 10)


def test_closures_add_no_weight() -> None:
    """A sample before a weekend counts for `hold` and not for the weekend."""
    window = WindowStats(window_ns=100 * S, bucket_ns=10 * S)
    for t, x in ((1, 5.0), (11, 5.0), (200_000, 50.0), (200_010, 50.0)):
        window.update(t * S, x, 10 * S)
    assert window.w == 30 * S and window.mean == pytest.approx((5 + 5 + 50) / 3)


@given(samples, st.integers(0, 300))
def test_encoding_changes_nothing(steps: list[tuple[int, float]], cut: int) -> None:
    """Encode, decode, continue ends in the same bytes as never having stopped."""
    window, carries = WindowStats(window_ns=600 * S, bucket_ns=60 * S), TrailingMedian(size=7, every_ns=60 * S)
    other: WindowStats | None = None
    other_carries: TrailingMedian | None = None
    t = S
    for i, (gap, x) in enumerate(steps):
        t += gap * S
        if i == cut:
            other = msgspec.json.decode(msgspec.json.encode(window), type=WindowStats)
            other_carries = msgspec.json.decode(msgspec.json.encode(carries), type=TrailingMedian)
        for w in (window, other):
            if w is not None:
                w.update(t, x, 120 * S)
        for c in (carries, other_carries):
            if c is not None:
                c.update(t, x)
    if other is not None and other_carries is not None:
        assert msgspec.json.encode(other) == msgspec.json.encode(window)
        assert msgspec.json.encode(other_carries) == msgspec.json.encode(carries)


@given(st.lists(st.tuples(st.integers(1, 100), st.floats(-1, 1)), min_size=1, max_size=80))
def test_median_equals_brute_force(steps: list[tuple[int, float]]) -> None:
    """The trailing median is that of the latest samples far enough apart."""
    trailing, kept, last, t = TrailingMedian(size=9, every_ns=50 * S), [], None, S
    for gap, x in steps:
        t += gap * S
        trailing.update(t, x)
        if last is None or t - last >= 50 * S:
            kept.append(x)
            last = t
    assert trailing.median == pytest.approx(median(kept[-9:])) and trailing.last_ns == last
