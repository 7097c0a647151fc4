"""How often gaps were filled, by what they looked like at the open, beside what chance alone would have filled.

Most fills are what a market without direction does: a level one percent away is touched sooner or later. So every rate
stands beside that of a random walk matched to each gap: same distance, same number of sessions, same volatility
(sessions of the same regime, measured in the ATR before them and rescaled to the ATR before the gap), each session
mirrored by the toss of a coin so that no drift is left. Rates have Wilson intervals, regimes are never pooled, and a
gap counts only if its contract was seen for the whole horizon, whether it was filled early or not: else the early fills
would count and the unfilled would be forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from bot.market.holidays import CHICAGO
from strategies.gaps import Followed, Regime, Session

Z_95 = 1.959963984540054
SMALL = 30
"""Below this many gaps a rate says little, whatever it is."""
SIZES_BP = (25.0, 50.0, 100.0, 200.0, 400.0)
AGES = (0, 1, 2, 3, 5, 10)
"""Sessions ended before the fill: 0 is the opening session itself."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def wilson(hits: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a share; (0, 1) when nothing was seen. Source: E. B. Wilson, JASA 22 (1927).

    >>> [round(x, 4) for x in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if n <= 0:
        return 0.0, 1.0
    share, zz = hits / n, z * z
    middle = (share + zz / (2 * n)) / (1 + zz / n)
    half = z * math.sqrt(share * (1 - share) / n + zz / (4 * n * n)) / (1 + zz / n)
    return (0.0 if hits == 0 else middle - half), (1.0 if hits == n else middle + half)


class Shape(msgspec.Struct, frozen=True, gc=False):
    """One session in units of the ATR before it, as log returns from the last price of the session before."""

    open: float
    high: float
    low: float
    last: float


def shape(prior: Session, s: Session, atr: float) -> Shape | None:
    """Return the shape of a session after `prior` of the same contract; None over a splice or without an ATR."""
    if prior.contract != s.contract or atr <= 0.0:
        return None
    return Shape(*(math.log(price / prior.last) / atr for price in (s.open, s.high, s.low, s.last)))


def walk_fills(
    distance: float, sessions: int, shapes: Sequence[Shape], draw: Callable[[], float], paths: int
) -> list[float]:
    """Return the share of driftless walks that touch a level `distance` ATR away within 0..sessions further sessions.

    distance: log distance over the ATR, > 0. draw: uniform in [0, 1), seeded by the caller. Entry k of the result: filled
    by the end of session k, 0 being the one that opens at the walk's start. Raises ValueError without shapes.
    """
    if not shapes or paths < 1:
        raise ValueError("a walk needs sessions to be made of, and at least one path")
    hits = [0] * (sessions + 1)
    count = len(shapes)
    for _ in range(paths):
        at = 0.0
        for k in range(sessions + 1):
            s = shapes[int(draw() * count)]
            base = s.open if k == 0 else 0.0
            if draw() < 0.5:
                reach, move = s.low - base, s.last - base
            else:
                reach, move = base - s.high, base - s.last
            if at + reach <= -distance:
                hits[k] += 1
                break
            at += move
    total, shares = 0, []
    for n in hits:
        total += n
        shares.append(total / paths)
    return shares


class FillRow(msgspec.Struct, frozen=True, kw_only=True):
    """Fills of one group of gaps of one regime. share, low, high: closes touched within the horizon, with its 95 % interval.

    by, value: the group. benchmark: mean share of the matched random walks, None without any. range_share: the other
    meaning of filled; range_at_open: of these, entered at the open already. small: fewer than 30 gaps.
    """

    regime: Regime
    by: str
    value: str
    gaps: int
    filled: int
    share: float | None
    low: float
    high: float
    benchmark: float | None
    range_share: float | None
    range_at_open: int
    small: bool


class Judged(msgspec.Struct, frozen=True):
    """A gap with its walks' shares by session (see walk_fills); empty when there is no benchmark for it."""

    followed: Followed
    walk: Sequence[float] = ()


def size_band(bp: float) -> str:
    """Return the name of the band that holds |bp|.

    >>> size_band(-30.0), size_band(25.0), size_band(7.0), size_band(900.0)
    ('25-50 bp', '25-50 bp', '0-25 bp', '400+ bp')
    """
    bounds = (0.0, *SIZES_BP)
    at = max(i for i, bound in enumerate(bounds) if abs(bp) >= bound)
    return f"{bounds[at]:g}-{bounds[at + 1]:g} bp" if at + 1 < len(bounds) else f"{bounds[at]:g}+ bp"


def weekday(open_ns: int) -> str:
    """Return the Chicago weekday of an open, UTC ns."""
    return WEEKDAYS[datetime.fromtimestamp(open_ns // 1_000_000_000, UTC).astimezone(CHICAGO).weekday()]




def fill_rows(judged: Sequence[Judged], remaining: Sequence[int], horizon: int) -> list[FillRow]:
    """Return the rows of every regime: all, by size, kind, closure, weekday (at `horizon`), and by age (AGES).

    judged: significant gaps. remaining[i]: whole sessions that gap i's contract was seen from its open on, the opening
    session being the first; a gap counts at horizon h when remaining > h.
    """
    rows: list[FillRow] = []
    for regime in Regime:
        group = [(j, left) for j, left in zip(judged, remaining, strict=True) if j.followed.gap.regime is regime]
        if not group:
            continue
        at_horizon = [j for j, left in group if left > horizon]
        rows.append(_row(regime, "all", f"within {horizon + 1} sessions", at_horizon, horizon))
        for by, name in _GROUPS.items():
            values: dict[str, list[Judged]] = {}
            for j in at_horizon:
                values.setdefault(name(j.followed), []).append(j)
            rows += [_row(regime, by, value, values[value], horizon) for value in sorted(values, key=_order)]
        for age in AGES:
            rows.append(_row(regime, "age", f"within {age + 1} session{'s' if age else ''}", [j for j, left in group if left > age], age))
    return rows


def _kind(f: Followed) -> str:
    return f.gap.kind.value if f.gap.kind is not None else "unknown"


_GROUPS: dict[str, Callable[[Followed], str]] = {
    "size": lambda f: size_band(f.gap.bp),
    "kind": _kind,
    "direction": lambda f: "up" if f.gap.sign > 0 else "down",
    "closure": lambda f: f.gap.closure.partition(":")[0],
    "weekday": lambda f: weekday(f.gap.open_ns),
}


def _order(value: str) -> tuple[int, float, str]:
    """Sort bands by size and weekdays by the week, the rest by name."""
    if value in WEEKDAYS:
        return WEEKDAYS.index(value), 0.0, value
    head = value.partition("-")[0].partition("+")[0]
    return 0, float(head) if head.isdecimal() else 0.0, value


def _row(regime: Regime, by: str, value: str, group: Sequence[Judged], horizon: int) -> FillRow:
    """Count one group: a fill counts when at most `horizon` sessions had ended before it."""
    n = len(group)
    filled = sum(f.close_after is not None and f.close_after <= horizon for f in (j.followed for j in group))
    ranged = sum(f.range_after is not None and f.range_after <= horizon for f in (j.followed for j in group))
    at_open = sum(j.followed.filled_range_ns == j.followed.gap.open_ns for j in group)
    walks = [j.walk[horizon] for j in group if len(j.walk) > horizon]
    low, high = wilson(filled, n)
    return FillRow(
        regime=regime, by=by, value=value, gaps=n, filled=filled, share=filled / n if n else None, low=low, high=high,
        benchmark=math.fsum(walks) / len(walks) if walks else None, range_share=ranged / n if n else None, range_at_open=at_open, small=n < SMALL,
    )  # fmt: skip
