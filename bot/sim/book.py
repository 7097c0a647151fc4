"""The book one instrument shows: what can be had at which price, what of it we have taken, and how that comes back.

Two books with the same four verbs. A `TouchBook` is the displayed touch alone: what is displayed can be had once, until
the next quote. A `DeepBook` adds the levels a `Depth` describes behind it and remembers what we took: the price has
moved for whoever comes next, us included, and comes back as the book refills (the resilience of Obizhaeva and Wang, 2005).
The quotes come from a market that does not know us, so our orders are never part of the sizes here, and we never trade
with ourselves.
"""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec

from bot.model.event import Quote
from bot.model.instrument import Instrument, Rounding, round_price, round_qty, to_decimal
from bot.model.order import Side

ZERO = Decimal(0)
ENDLESS = Decimal("Infinity")
_S = 1e9

Level = tuple[Decimal, Decimal]
"""Price on the grid, and contracts that can be had there (whole lots)."""


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind a displayed touch, and how it lives.

    levels: price levels of a side, the touch included. spacing_ticks: ticks from one level to the next. behind: size of the
    second level as a multiple of the touch; growth: of every further level as a multiple of the one before it.
    refill_half_life_s: time in which half of what we took is there again. turnover: share of the displayed touch that trades
    against it per second. Raises ValueError for what cannot be.
    """

    levels: int
    spacing_ticks: int
    behind: float
    growth: float
    refill_half_life_s: float
    turnover: float

    def __post_init__(self) -> None:
        if self.levels < 1 or self.spacing_ticks < 1:
            raise ValueError(f"depth: {self.levels} levels {self.spacing_ticks} ticks apart; both must be >= 1")
        for name in ("behind", "growth", "refill_half_life_s"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"depth: {name} must be > 0 and finite, not {getattr(self, name)}")
        if not 0.0 <= self.turnover < math.inf:
            raise ValueError(f"depth: turnover must be >= 0 and finite, not {self.turnover}")


PERP_DEPTH = Depth(levels=11, spacing_ticks=10, behind=0.12, growth=1.13, refill_half_life_s=10.0, turnover=0.085)
"""A large BTC perpetual. Shape: Binance BTCUSDT USD-M, recorded depth and trades of 343 s on 2024-08-08: 3.7 BTC at the
touch (time-weighted), 0.5 to 1.9 BTC in each of the ten US dollars behind it. turnover: 0.9 BTC/s on each side (mean of its
hourly volume, 2025-09 to 2026-02) against the 10.6 BTC the seeded market displays. The half-life is an assumption: the
recording shows no clear one after its 56 bursts of 8 BTC and more."""
FUTURE_DEPTH = Depth(levels=10, spacing_ticks=1, behind=1.0, growth=1.0, refill_half_life_s=30.0, turnover=0.006)
"""A micro future on CME. turnover: MBT, 0.45 lots/s on each side in the minutes it trades (one-minute volumes, 2026-01-15 to
02-27) against the 76 lots the seeded market displays. Levels and half-life are assumptions: no recorded book at hand."""


class Place(msgspec.Struct):
    """Where a resting order stands in the queue of its price.

    ahead: contracts of others in front of it. level: contracts of others displayed at its price when last seen at the
    touch, 0.0 away from it. pace: contracts a second that have traded at its price since `since`, UTC ns. turn: contracts
    whose turn has come and that are less than a lot. passive: the market has been on the far side of its price since it
    joined, so that a market beyond it has traded through it; a remainder that just took the touch only meets what refills.
    """

    ahead: float
    level: float
    pace: float
    since: int
    turn: float = 0.0
    passive: bool = False


def touch(q: Quote | None, side: Side) -> tuple[float, float]:
    """Return (price, size) that a taker on `side` is shown, (0.0, 0.0) when that side of the book is empty."""
    if q is None:
        return 0.0, 0.0
    price, size = (q.ask, q.ask_size) if side is Side.BUY else (q.bid, q.bid_size)
    return (price, size) if 0.0 < price < math.inf and size > 0.0 else (0.0, 0.0)


def fill_price(instrument: Instrument, price: float, side: Side) -> Decimal:
    """Return the price a taker on `side` pays at a displayed touch: on the grid, and when the touch is not, against him."""
    exact = to_decimal(price)
    near = round_price(instrument, exact, Rounding.NEAREST)
    if abs(near - exact) * 100 <= instrument.tick:
        return near
    return round_price(instrument, exact, Rounding.UP if side is Side.BUY else Rounding.DOWN)


class TouchBook:
    """A book of one level a side. The size taken from a quote is forgotten with the next one."""

    __slots__ = ("_bought", "_instrument", "_of", "_sold")

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._of: Quote | None = None
        self._bought = self._sold = ZERO

    def best(self, q: Quote | None, side: Side, now_ns: int) -> float:
        """Return the best price a taker on `side` is shown, 0.0 for none."""
        return touch(q, side)[0]

    def levels(self, q: Quote | None, side: Side, now_ns: int) -> list[Level]:
        """Return what a taker on `side` can have, best price first."""
        price, size = touch(q, side)
        if price == 0.0:
            return []
        at = fill_price(self._instrument, price, side)
        if math.isinf(size):
            return [(at, ENDLESS)]
        used = ZERO if self._of is not q else self._bought if side is Side.BUY else self._sold
        left = round_qty(self._instrument, max(ZERO, to_decimal(size) - used), Rounding.DOWN)
        return [(at, left)] if left else []

    def take(self, q: Quote | None, side: Side, qty: Decimal, now_ns: int) -> None:
        """Remove `qty` from what is displayed to a taker on `side`."""
        if self._of is not q:
            self._of, self._bought, self._sold = q, ZERO, ZERO
        if side is Side.BUY:
            self._bought += qty
        else:
            self._sold += qty

    def missing(self, side: Side, now_ns: int) -> int:
        """Return lots that a later quote will still lack: none."""
        return 0

    def shown(self, q: Quote, now_ns: int) -> Quote:
        """Return the quote as everybody sees it: as it is."""
        return q


class DeepBook:
    """A book with levels behind the touch. What we took is missing from the best price on and halves every half-life."""

    __slots__ = ("_instrument", "_taken", "depth")

    def __init__(self, instrument: Instrument, depth: Depth) -> None:
        self._instrument = instrument
        self.depth = depth
        self._taken = {Side.BUY: (0.0, 0), Side.SELL: (0.0, 0)}  # lots as they were at that instant

    def best(self, q: Quote | None, side: Side, now_ns: int) -> float:
        """Return the best price a taker on `side` finds something at, 0.0 for none."""
        if not self.missing(side, now_ns):
            return touch(q, side)[0]
        found = self.levels(q, side, now_ns)
        return float(found[0][0]) if found else 0.0

    def levels(self, q: Quote | None, side: Side, now_ns: int) -> list[Level]:
        """Return what a taker on `side` can have, best price first: the levels less what is missing."""
        price, size = touch(q, side)
        if price == 0.0:
            return []
        at = fill_price(self._instrument, price, side)
        if math.isinf(size):
            return [(at, ENDLESS)]
        lot, missing, found = self._instrument.lot, self.missing(side, now_ns), []
        step = self._instrument.tick * self.depth.spacing_ticks * side.sign
        for lots in self._sizes(size):
            left, missing = max(0, lots - missing), max(0, missing - lots)
            if left and at > 0:
                found.append((at, left * lot))
            at += step
        return found

    def _sizes(self, size: float) -> list[int]:
        """Return lots of each level of a side whose touch shows `size` contracts."""
        first = int(round_qty(self._instrument, to_decimal(size), Rounding.DOWN) / self._instrument.lot)
        sizes, next_size = [first], first * self.depth.behind
        for _ in range(self.depth.levels - 1):
            sizes.append(int(next_size))
            next_size *= self.depth.growth
        return sizes

    def take(self, q: Quote | None, side: Side, qty: Decimal, now_ns: int) -> None:
        """Remove `qty` from what a taker on `side` can have, best price first; an endless touch lacks nothing."""
        if math.isinf(touch(q, side)[1]):
            return
        self._taken[side] = (self._left(side, now_ns) + int(qty / self._instrument.lot), now_ns)

    def missing(self, side: Side, now_ns: int) -> int:
        """Return lots that are missing for a taker on `side`."""
        return int(self._left(side, now_ns) + 0.5)

    def shown(self, q: Quote, now_ns: int) -> Quote:
        """Return the quote as everybody sees it: the same object when nothing of ours is missing from it.

        A side that is used up keeps its price with size 0.0.
        """
        if not (self.missing(Side.BUY, now_ns) or self.missing(Side.SELL, now_ns)):
            return q
        bid, bid_size = self._side_shown(q, Side.SELL, now_ns)
        ask, ask_size = self._side_shown(q, Side.BUY, now_ns)
        return Quote(q.ts, q.instrument, bid, ask, bid_size, ask_size, q.venue_ts)

    def _side_shown(self, q: Quote, side: Side, now_ns: int) -> tuple[float, float]:
        price, size = (q.ask, q.ask_size) if side is Side.BUY else (q.bid, q.bid_size)
        if touch(q, side)[0] == 0.0 or math.isinf(size) or not self.missing(side, now_ns):
            return price, size
        found = self.levels(q, side, now_ns)
        if not found:
            return price, 0.0
        at, left = found[0]
        return price if at == fill_price(self._instrument, price, side) else float(at), float(left)

    def _left(self, side: Side, now_ns: int) -> float:
        lots, since = self._taken[side]
        if lots == 0.0 or now_ns <= since:
            return lots
        return lots * math.exp2(-(now_ns - since) / (_S * self.depth.refill_half_life_s))


Book = TouchBook | DeepBook
