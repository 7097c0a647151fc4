"""Pairs the CME and perp legs at instants where both bars END together, and adds what was known then.

Labels are bar opens: pairing equal labels of one-minute and longer bars compares prices minutes apart and
multiplies the noise of the premium. So two closes belong together only when their ends are the same instant;
a fresh minute is never compared with a held perp bar. A sample is acted on at the next obtainable price:
the bars that open at `ts_ns`. A fill at the very settlement that made a signal is not tradable, so a daily
sample waits for CME to reopen. Nothing here looks past `signal_ns` except the next bars, which are fills.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter

import msgspec

from bot.backtest.contracts import Contracts, Segment, chicago_date, session_open_ns
from bot.backtest.formats import HOUR_NS, Bar, Series, SeriesKind

STABLE_LIFE_NS = 48 * HOUR_NS
"""A daily stablecoin close is usable from the 00:00Z that ends its day, for this long."""


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One decision point: two closes of one instant, the next obtainable bars, and what else was known.

    Prices are in the files' quotes: CME in USD; perp, mark and index in the stablecoin. `index` is the latest known spot
    close, `index_ns` when it was known; None before the first. `mark` is the venue's mark at `signal_ns` where a mark bar
    opens there, else the perp close. `cme_next` and `perp_next` open at `ts_ns`, the first instant one can act.
    """

    ts_ns: int
    signal_ns: int
    contract: str
    cme: Bar
    perp: Bar
    cme_next: Bar | None
    perp_next: Bar | None
    index: float | None
    index_ns: int | None
    mark: float
    stable: float
    stable_ns: int

    @property
    def obtainable(self) -> bool:
        """Return whether both legs have a price at `ts_ns` that somebody acting on this sample could have got."""
        return self.cme_next is not None and self.perp_next is not None


class Alignment(msgspec.Struct, frozen=True):
    """Samples in time order; `unpaired` counts the CME signal bars that gave none, by reason."""

    samples: tuple[Sample, ...]
    unpaired: dict[str, int]


def pair_ends(cme: tuple[Bar, ...], perp: tuple[Bar, ...]) -> list[tuple[Bar, Bar]]:
    """Return (CME bar, perp bar) wherever both end at the same instant, in the order of the CME bars."""
    ends = {bar.end_ns: bar for bar in perp}
    return [(bar, ends[bar.end_ns]) for bar in cme if bar.end_ns in ends]


def align(contracts: Contracts, known: Known) -> Alignment:
    """Return every decision point of every contract.

    A minute bar that ends inside a longer perp bar is no decision point and is not counted; a daily row
    without a perp bar ending at its settlement counts as "no_perp_bar"; a sample whose stablecoin price is
    older than 48 h, or not yet published, counts as "stable_unknown".
    """
    daily = contracts.kind is SeriesKind.CME_DAILY
    samples: list[Sample] = []
    unpaired: Counter[str] = Counter()
    for segment in contracts.segments:
        pairs = pair_ends(segment.bars, known.perp.bars)
        if daily and len(pairs) < len(segment.bars):
            unpaired["no_perp_bar"] += len(segment.bars) - len(pairs)
        starts = [bar.start_ns for bar in segment.opens]
        for cme_bar, perp_bar in pairs:
            rate = known.stable_at(cme_bar.end_ns)
            if rate is None:
                unpaired["stable_unknown"] += 1
                continue
            ts_ns, cme_next = _next_cme(segment, starts, cme_bar.end_ns, daily)
            samples.append(known.sample(segment.contract, cme_bar, perp_bar, ts_ns, cme_next, rate))
    samples.sort(key=lambda sample: sample.signal_ns)
    return Alignment(tuple(samples), dict(sorted(unpaired.items())))


def _next_cme(segment: Segment, starts: list[int], end_ns: int, daily: bool) -> tuple[int, Bar | None]:
    """Return when one can act on CME and the bar that opens then, if this contract has it."""
    at = bisect_left(starts, end_ns)
    following = segment.opens[at] if at < len(starts) else None
    if not daily:
        return end_ns, following if following is not None and following.start_ns == end_ns else None
    if following is None:
        return session_open_ns(chicago_date(end_ns)), None
    return following.start_ns, following


class Known:
    """What the other files said at an instant, each by binary search over its own stamps.

    marks: open of the mark bar by its stamp. Exactly one of `stable` and `stable_fixed` (USD) is given.
    """

    def __init__(
        self, perp: Series, *, spot: Series | None = None, mark: Series | None = None, stable: Series | None = None,
        stable_fixed: float | None = None,
    ) -> None:  # fmt: skip
        if (stable is None) == (stable_fixed is None):
            raise ValueError("give either a stablecoin series or a fixed stablecoin price")
        self.perp = perp
        self.marks = {bar.start_ns: bar.open for bar in mark.bars} if mark is not None else {}
        self._perp_starts = [bar.start_ns for bar in perp.bars]
        self._spot = spot.bars if spot is not None else ()
        self._spot_ends = [bar.end_ns for bar in self._spot]
        self._stable = stable.bars if stable is not None else ()
        self._stable_ends = [bar.end_ns for bar in self._stable]
        self._fixed = stable_fixed

    def stable_at(self, ts_ns: int) -> tuple[float, int] | None:
        """Return (USD per stablecoin, its stamp), or None where no close is usable."""
        if self._fixed is not None:
            return self._fixed, ts_ns
        at = bisect_right(self._stable_ends, ts_ns) - 1
        if at < 0 or ts_ns >= self._stable_ends[at] + STABLE_LIFE_NS:
            return None
        return self._stable[at].close, self._stable_ends[at]

    @property
    def has_spot(self) -> bool:
        """Return whether a spot file was given."""
        return bool(self._spot)

    def mark_at(self, ts_ns: int) -> float | None:
        """Return the mark at an instant: the open of the mark bar there, else the close of the perp bar that ended last."""
        mark = self.marks.get(ts_ns)
        if mark is not None:
            return mark
        at = bisect_right(self._perp_starts, ts_ns - self.perp.bar_ns) - 1
        return self.perp.bars[at].close if at >= 0 else None

    def perp_between(self, from_ns: int, to_ns: int) -> tuple[Bar, ...]:
        """Return the perp bars that end in [from, to)."""
        first = bisect_left(self._perp_starts, from_ns - self.perp.bar_ns)
        return self.perp.bars[first : bisect_left(self._perp_starts, to_ns - self.perp.bar_ns)]

    def spot_at(self, ts_ns: int) -> Bar | None:
        """Return the latest spot bar that had ended by `ts_ns`."""
        at = bisect_right(self._spot_ends, ts_ns) - 1
        return self._spot[at] if at >= 0 else None

    def _next_perp(self, ts_ns: int) -> Bar | None:
        """Return the first perp bar opening at `ts_ns` or less than one bar later."""
        at = bisect_left(self._perp_starts, ts_ns)
        if at == len(self._perp_starts) or self._perp_starts[at] >= ts_ns + self.perp.bar_ns:
            return None
        return self.perp.bars[at]

    def sample(
        self, contract: str, cme: Bar, perp: Bar, ts_ns: int, cme_next: Bar | None, rate: tuple[float, int]
    ) -> Sample:
        """Build the sample of one pair of closes."""
        spot = self.spot_at(cme.end_ns)
        return Sample(
            ts_ns=ts_ns,
            signal_ns=cme.end_ns,
            contract=contract,
            cme=cme,
            perp=perp,
            cme_next=cme_next,
            perp_next=self._next_perp(ts_ns),
            index=spot.close if spot is not None else None,
            index_ns=spot.end_ns if spot is not None else None,
            mark=self.marks.get(cme.end_ns, perp.close),
            stable=rate[0],
            stable_ns=rate[1],
        )
