"""Fill statistics: intervals, chance, and which gaps count at which horizon."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import pytest

from bot.model.notation import instant_ns
from strategies.gap_stats import FillRow, Judged, Shape, fill_rows, shape, walk_fills, weekday, wilson
from strategies.gaps import CloseKind, Followed, Gap, GapKind, Regime, Session

OPEN = instant_ns("2026-01-11T23:00Z")  # a Sunday in Chicago
LATE = instant_ns("2026-06-08T21:02Z")
SEED = 20261125


def followed(bp: float = 60.0, close_after: int | None = None, *, regime: Regime = Regime.FIVE_DAY, kind: GapKind | None = GapKind.COMMON) -> Followed:
    """Return a significant gap whose close was touched after that many sessions."""
    open_ns = OPEN if regime is Regime.FIVE_DAY else LATE
    gap = Gap(
        contract="BTCF26", close_kind=CloseKind.SETTLEMENT, regime=regime, closure="weekend", prior_close_ns=open_ns - 1, open_ns=open_ns,
        prior_close=50_000.0, open=50_000.0 * (1 + bp * 1e-4), prior_high=50_100.0, prior_low=49_000.0, is_roll=False, atr=0.03, kind=kind,
        significant=True,
    )  # fmt: skip
    return Followed(gap, gap.open, open_ns, close_after=close_after, range_after=close_after)


def only(rows: list[FillRow], by: str, value: str | None = None) -> FillRow:
    """Return the one row of a group."""
    (found,) = [r for r in rows if r.by == by and value in (None, r.value)]
    return found


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (77, 82, 0.8651, 0.9737), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_intervals(hits: int, n: int, low: float, high: float) -> None:
    """Tabled values; with nothing seen nothing is excluded."""
    assert [round(x, 4) for x in wilson(hits, n)] == [low, high]
    assert wilson(0, 0) == (0.0, 1.0)


def gaussian_shapes(count: int, steps: int, draw: random.Random) -> list[Shape]:
    """Return sessions of a walk with deviation 1 a session, no gap at the open."""
    made = []
    for _ in range(count):
        at = high = low = 0.0
        for _ in range(steps):
            at += (2.0 if draw.random() < 0.5 else -2.0) * 0.5 / math.sqrt(steps)
            high, low = max(high, at), min(low, at)
        made.append(Shape(0.0, high, low, at))
    return made


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_walks_fill_as_the_reflection_principle_says(distance: float) -> None:
    """Against sessions of a fine random walk the share filled is 2 (1 - Phi(d / sqrt(sessions))), at every horizon."""
    rng = random.Random(SEED)
    shapes = gaussian_shapes(400, 400, rng)
    shares = walk_fills(distance, 4, shapes, rng.random, 4_000)
    for k, share in enumerate(shares):
        expected = 2.0 * (1.0 - NormalDist().cdf(distance / math.sqrt(k + 1)))
        assert share == pytest.approx(expected, abs=0.05), f"seed {SEED}, session {k}"


def test_walks_have_no_drift() -> None:
    """Sessions that only rise are mirrored by a coin: a level below is reached as often as one above."""
    rng = random.Random(SEED)
    rising = [Shape(0.0, 1.0, 0.0, 1.0)]
    assert walk_fills(0.9, 0, rising, rng.random, 4_000)[0] == pytest.approx(0.5, abs=0.03), f"seed {SEED}"


def test_walks_are_seeded_and_need_sessions() -> None:
    """The same seed gives the same shares; without sessions there is no benchmark rather than a zero."""
    shapes = gaussian_shapes(20, 20, random.Random(1))
    one, two = (walk_fills(1.0, 3, shapes, random.Random(SEED).random, 50) for _ in range(2))
    assert one == two and one == sorted(one)
    with pytest.raises(ValueError, match="sessions"):
        walk_fills(1.0, 3, [], random.random, 50)


def test_the_opening_session_has_no_second_gap() -> None:
    """The walk starts at the open: a session's own opening step counts only from the second session on."""
    stepping = [Shape(-1.0, -1.0, -1.0, -1.0)]
    mirrored_half = walk_fills(0.5, 1, stepping, random.Random(SEED).random, 2_000)
    assert mirrored_half[0] == 0.0 and mirrored_half[1] == pytest.approx(0.5, abs=0.05), f"seed {SEED}"


def test_shapes_are_of_one_contract() -> None:
    """A session over a splice, or without a range before it, is no shape."""
    a, b = (Session(c, 0, 100.0, 110.0, 90.0, 100.0, None, None) for c in ("A", "B"))
    assert shape(a, b, 0.1) is None and shape(a, a, 0.0) is None
    made = shape(a, a, 0.1)
    assert made is not None and made.high == pytest.approx(math.log(1.1) / 0.1)


def test_regimes_are_never_pooled() -> None:
    """Every row is of one regime, and each regime has its own total."""
    judged = [Judged(followed(close_after=0)), Judged(followed(close_after=None, regime=Regime.ALL_WEEK))]
    rows = fill_rows(judged, [10, 10], 4)
    totals = {r.regime: (r.gaps, r.filled) for r in rows if r.by == "all"}
    assert totals == {Regime.FIVE_DAY: (1, 1), Regime.ALL_WEEK: (1, 0)}
    assert all(r.gaps <= 1 for r in rows)


def test_only_gaps_seen_for_the_whole_horizon_count() -> None:
    """A contract seen for four sessions says nothing about five, even if the gap was filled in the first: else early fills alone count."""
    judged = [Judged(followed(close_after=0)), Judged(followed(close_after=None)), Judged(followed(close_after=4)), Judged(followed(close_after=5))]
    rows = fill_rows(judged, [4, 4, 8, 8], 4)
    whole = only(rows, "all")
    assert (whole.gaps, whole.filled) == (2, 1), "one filled within five sessions, one after"
    first = only(rows, "age", "within 1 session")
    assert (first.gaps, first.filled) == (4, 1)
    assert only(rows, "age", "within 6 sessions").filled == 2


def test_groups_and_small_samples() -> None:
    """Size, kind, direction, closure and weekday are told apart; fewer than thirty are marked; chance is the mean of the walks."""
    judged = [Judged(followed(60.0 if n % 2 else -300.0, 0, kind=None if n else GapKind.BREAKAWAY), [0.2, 0.2, 0.2, 0.2, n / 39]) for n in range(40)]
    rows = fill_rows(judged, [9] * 40, 4)
    assert (only(rows, "size", "50-100 bp").gaps, only(rows, "size", "200-400 bp").gaps) == (20, 20)
    assert (only(rows, "kind", "breakaway").gaps, only(rows, "kind", "unknown").gaps, only(rows, "direction", "up").gaps) == (1, 39, 20)
    assert only(rows, "weekday").value == "Sunday" and only(rows, "closure").value == "weekend"
    whole = only(rows, "all")
    assert not whole.small and only(rows, "kind", "breakaway").small
    assert whole.benchmark == pytest.approx(0.5) and whole.low < 1.0 == whole.share
    assert [r.value for r in rows if r.by == "size"] == ["50-100 bp", "200-400 bp"]


def test_weekdays_are_chicagos() -> None:
    """Sunday 17:00 in Chicago is Sunday, in summer time too."""
    assert weekday(OPEN) == "Sunday" and weekday(instant_ns("2026-05-31T22:00Z")) == "Sunday"
