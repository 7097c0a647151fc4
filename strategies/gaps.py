"""Price gaps over the exchange's closures: found, measured, classified, and followed until they are filled.

A gap exists only where the dated calendar had a closure between two sessions of one contract: the five-day week's stops,
weekends and holidays, afterwards two minutes a day and a window on Saturday. A step without a closure is a jump, a step
over two closures is a hole in the data, and a splice of two contracts is no price move at all: it is shown with
`is_roll` and never classified, followed or counted. A session is the trading between two closures.

Close is the last trade or the settlement and the gap says which: 65,000 and 64,940 are two gaps, not one (G11). Filled
has two meanings, kept apart: the prior close was touched; the prior session's range was entered, which may hold at the
open already. Everything a gap says of itself was known at its open, so that it can be traded and not only told.

Kinds, by this module's rules (the words are the chart readers', no source gives numbers). T is the sum of the last
trend_sessions' moves in average true ranges, in the direction of the gap; a driftless walk's deviation is about 2:
exhaustion T >= stretched_atr; continuation T >= trend_atr; breakaway: less than that and the open lies beyond the
extreme of those sessions; common: the rest. With too little history the kind is not known (None).
"""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum

import msgspec

from bot.market.calendar import State, intervals
from bot.market.holidays import ALL_WEEK_DAY, chicago_ns
from bot.market.products import product
from bot.market.settlement import REGULAR_CLOSE

ALL_WEEK_NS = chicago_ns(ALL_WEEK_DAY, REGULAR_CLOSE)
"""End of the five-day week, 2026-05-29 21:00Z (CME rule filing 26-114): what opens later belongs to another regime."""


NEAR_NS = 3_600_000_000_000
"""A last trade longer before its closure, or a first one longer after it, is not the price at the closure."""


class CloseKind(StrEnum):
    """What the prior close is. LAST_MID: of the last quote before the closure, for whoever sees quotes and no trades."""

    LAST_TRADE = "last_trade"
    SETTLEMENT = "settlement"
    LAST_MID = "last_mid"


class Regime(StrEnum):
    """Week under which a gap arose; statistics of two regimes are never pooled."""

    FIVE_DAY = "five_day"
    ALL_WEEK = "all_week"
    SPOT_QUOTED = "spot_quoted"


class GapKind(StrEnum):
    """Where in the market's move a gap lies, by the rules above."""

    EXHAUSTION = "exhaustion"
    CONTINUATION = "continuation"
    BREAKAWAY = "breakaway"
    COMMON = "common"


class GapParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """floor_bp: smallest gap worth a name, bp of the prior close. atr_multiple: significant above that share of the ATR, if larger.

    atr_sessions, trend_sessions: sessions looked back. trend_atr, stretched_atr: a trend and a stretched one, in ATR.
    """

    floor_bp: float = 10.0
    atr_multiple: float = 0.1
    atr_sessions: int = 14
    trend_sessions: int = 10
    trend_atr: float = 2.0
    stretched_atr: float = 4.0

    def __post_init__(self) -> None:
        for name in ("floor_bp", "atr_multiple"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: {getattr(self, name)} must be >= 0")
        for name in ("atr_sessions", "trend_sessions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} must be >= 1")
        if not 0.0 < self.trend_atr <= self.stretched_atr < math.inf:
            raise ValueError(f"trend_atr: 0 < {self.trend_atr} <= stretched_atr {self.stretched_atr} does not hold")


class Closure(msgspec.Struct, frozen=True):
    """A stretch in which one could not trade, UTC ns, half-open. reason: of its longest part."""

    from_ns: int
    to_ns: int
    reason: str


def closures(code: str, from_ns: int, to_ns: int) -> list[Closure]:
    """Return the closures of product `code` that touch [from, to), pre-open and no-cancel included, cut at both ends.

    Raises ValueError for an unknown product.
    """
    found: list[Closure] = []
    longest = 0
    for x in intervals(code, from_ns, to_ns):
        if x.state is State.OPEN:
            continue
        length = x.to_ns - x.from_ns
        if found and found[-1].to_ns == x.from_ns:
            before = found.pop()
            reason = x.reason if length > longest else before.reason
            found.append(Closure(before.from_ns, x.to_ns, reason))
            longest = max(longest, length)
        else:
            found.append(Closure(x.from_ns, x.to_ns, x.reason))
            longest = length
    return found


def between(code: str, close_ns: int, open_ns: int, *, near_ns: int | None = None) -> tuple[str, str]:
    """Return (reason of the one closure between a close and an open, "") or ("", why no gap is looked for there).

    near_ns: how far from the closure both may lie, None for any distance. Raises ValueError for an unknown product.
    """
    shut = closures(code, close_ns, open_ns)
    if len(shut) != 1:
        return "", "session missing between" if shut else "no closure between"
    if near_ns is not None and (shut[0].from_ns - close_ns > near_ns or open_ns - shut[0].to_ns > near_ns):
        return "", "no trade near the closure"
    return shut[0].reason, ""


def regime_of(code: str, open_ns: int) -> Regime:
    """Return the regime of a gap of product `code` that opened at `open_ns`, UTC ns. Raises ValueError for an unknown product.

    >>> regime_of("MBT", ALL_WEEK_NS - 1).value, regime_of("MBT", ALL_WEEK_NS).value, regime_of("QBTC", ALL_WEEK_NS).value
    ('five_day', 'all_week', 'spot_quoted')
    """
    if product(code).spot_quoted:
        return Regime.SPOT_QUOTED
    return Regime.FIVE_DAY if open_ns < ALL_WEEK_NS else Regime.ALL_WEEK


class Session(msgspec.Struct, frozen=True, gc=False):
    """One session of one contract that is over, USD per coin.

    close, close_ns: the close gaps are measured from and its instant; None where there is none (a session without
    settlement). last: the last price known, for ranges and trends.
    """

    contract: str
    open_ns: int
    open: float
    high: float
    low: float
    last: float
    close: float | None
    close_ns: int | None


class Gap(msgspec.Struct, frozen=True, gc=False):
    """One gap as known at its open. Prices USD per coin; atr: average true range before it, as a log return, None if unknown.

    prior_high, prior_low: range of the prior session. significant: None while the ATR is not known.
    """

    contract: str
    close_kind: CloseKind
    regime: Regime
    closure: str
    prior_close_ns: int
    open_ns: int
    prior_close: float
    open: float
    prior_high: float
    prior_low: float
    is_roll: bool
    atr: float | None
    kind: GapKind | None
    significant: bool | None

    @property
    def size(self) -> float:
        """Open less prior close, USD per coin; > 0 is a gap up."""
        return self.open - self.prior_close

    @property
    def bp(self) -> float:
        """Size in bp of the prior close, signed."""
        return (self.open / self.prior_close - 1.0) * 1e4

    @property
    def sign(self) -> int:
        """1 for a gap up, -1 for a gap down."""
        return 1 if self.open > self.prior_close else -1

    @property
    def edge(self) -> float:
        """Near edge of the prior session's range: its high for a gap up, its low for a gap down."""
        return self.prior_high if self.sign > 0 else self.prior_low

    def retraced(self, extreme: float) -> float:
        """Return how much of the gap a later low (gap up) or high (gap down) has filled, 0 to 1."""
        return min(1.0, max(0.0, (self.open - extreme) / self.size))


class _Past(msgspec.Struct, frozen=True, gc=False):
    """One session as log returns on a line without splices."""

    move: float
    high: float
    low: float
    true_range: float


class History:
    """The sessions before a gap: average true range, trend and extremes. O(1) a session.

    A session of another contract than the one before is measured from its own open, so a splice adds nothing.
    """

    def __init__(self, params: GapParams) -> None:
        self.params = params
        self.last: Session | None = None
        self._level = 0.0
        self._past: deque[_Past] = deque(maxlen=max(params.atr_sessions, params.trend_sessions))

    def add(self, s: Session) -> None:
        """Take a session that is over; sessions come in order of time."""
        same = self.last is not None and self.last.contract == s.contract
        base = self.last.last if self.last is not None and same else s.open
        high, low, move = math.log(s.high / base), math.log(s.low / base), math.log(s.last / base)
        self._past.append(_Past(move, self._level + high, self._level + low, max(high, 0.0) - min(low, 0.0)))
        self._level += move
        self.last = s

    @property
    def atr(self) -> float | None:
        """Mean true range of the last atr_sessions as a log return; None before that many."""
        n = self.params.atr_sessions
        if len(self._past) < n:
            return None
        return math.fsum(p.true_range for p in list(self._past)[-n:]) / n

    def kind(self, open_price: float, sign: int) -> GapKind | None:
        """Return the kind of a gap of that sign that opens there in the last session's contract; None with too little history."""
        p, atr = self.params, self.atr
        if self.last is None or atr is None or atr <= 0.0 or len(self._past) < p.trend_sessions:
            return None
        past = list(self._past)[-p.trend_sessions :]
        trend = sign * math.fsum(x.move for x in past) / atr
        if trend >= p.stretched_atr:
            return GapKind.EXHAUSTION
        if trend >= p.trend_atr:
            return GapKind.CONTINUATION
        level = self._level + math.log(open_price / self.last.last)
        beyond = level > max(x.high for x in past) if sign > 0 else level < min(x.low for x in past)
        return GapKind.BREAKAWAY if beyond else GapKind.COMMON


def detect(history: History, contract: str, open_ns: int, open_price: float, close_kind: CloseKind, regime: Regime, closure: str) -> Gap | None:
    """Return the gap between the last session of `history` and an open after one closure; None without a step or a close.

    The caller knows the calendar: exactly one closure lies between the two. Below params.floor_bp a gap is not significant.
    """
    prior = history.last
    if prior is None or prior.close is None or prior.close_ns is None or open_price == prior.close:
        return None
    params, atr = history.params, history.atr
    is_roll = contract != prior.contract
    size_bp = abs(open_price / prior.close - 1.0) * 1e4
    significant: bool | None = None
    if is_roll or size_bp < params.floor_bp:
        significant = False
    elif atr is not None:
        significant = size_bp > max(params.floor_bp, params.atr_multiple * atr * 1e4)
    sign = 1 if open_price > prior.close else -1
    return Gap(
        contract=contract, close_kind=close_kind, regime=regime, closure=closure, prior_close_ns=prior.close_ns, open_ns=open_ns,
        prior_close=prior.close, open=open_price, prior_high=prior.high, prior_low=prior.low, is_roll=is_roll, atr=atr,
        kind=None if is_roll else history.kind(open_price, sign), significant=significant,
    )  # fmt: skip


class Followed(msgspec.Struct):
    """A gap and what has become of it. extreme: deepest price toward the close; sessions: seen to their end since the open.

    ended: its contract is no longer the file's; what happens later is not known. seen_ns: last instant looked at.
    close_after, range_after: sessions that had ended before the fill (0: filled in the opening session).
    """

    gap: Gap
    extreme: float
    seen_ns: int
    sessions: int = 0
    filled_close_ns: int | None = None
    filled_range_ns: int | None = None
    close_after: int | None = None
    range_after: int | None = None
    ended: bool = False

    @property
    def retraced(self) -> float:
        """Largest share of the gap filled so far, 0 to 1."""
        return self.gap.retraced(self.extreme)

    @property
    def age_days(self) -> float:
        """Days from the open to the fill of the close, or to the last instant seen of its contract."""
        until = self.seen_ns if self.filled_close_ns is None else self.filled_close_ns
        return (until - self.gap.open_ns) / 86_400e9


class Register:
    """Gaps not yet filled, each in its own contract's prices. One pass over the open ones per bar."""

    def __init__(self) -> None:
        self.open: list[Followed] = []

    def add(self, gap: Gap) -> Followed:
        """Follow a gap from its open; the range may be entered there already. A roll cannot be followed (ValueError)."""
        if gap.is_roll:
            raise ValueError(f"{gap.contract}: a roll is not a gap")
        found = Followed(gap, gap.open, gap.open_ns)
        if (gap.open - gap.edge) * gap.sign <= 0.0:
            found.filled_range_ns, found.range_after = gap.open_ns, 0
        self.open.append(found)
        return found

    def saw(self, high: float, low: float, at_ns: int) -> None:
        """Take a bar of the contract, known at `at_ns`. A level is reached when it is touched."""
        still = []
        for f in self.open:
            gap = f.gap
            f.seen_ns = at_ns
            up = gap.sign > 0
            f.extreme = min(f.extreme, low) if up else max(f.extreme, high)
            if f.filled_range_ns is None and (f.extreme - gap.edge) * gap.sign <= 0.0:
                f.filled_range_ns, f.range_after = at_ns, f.sessions
            if f.filled_close_ns is None and (f.extreme - gap.prior_close) * gap.sign <= 0.0:
                f.filled_close_ns, f.close_after = at_ns, f.sessions
            if f.filled_close_ns is None or f.filled_range_ns is None:
                still.append(f)
        self.open = still

    def session_over(self) -> None:
        """Count a session that has ended."""
        for f in self.open:
            f.sessions += 1

    def contract_over(self) -> None:
        """Stop following: the next prices are another contract's."""
        for f in self.open:
            f.ended = True
        self.open = []
