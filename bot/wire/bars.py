"""One-minute bars of what a world has quoted, its history before the start included: what venues serve as historical data.

A bar is named by its beginning and holds what was quoted after that and up to its end, the end included: the close of a bar
is then the close that the same minute has in the market's own history. Nobody but the account trades in this market, so
prices are middles of bid and ask, and volume is the account's own.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from bot.model.event import OrderFilled, Quote

MINUTE_NS = 60_000_000_000


class Bar(msgspec.Struct, gc=False):
    """Quotes of a span that begins at from_ns, UTC ns. Prices are the quote's; open, high, low, close are of the middle.

    bid, ask: their means over the quotes. bid_low, ask_high: their extremes. quotes: how many. volume, trades: contracts and executions of the account.
    """

    from_ns: int
    open: float
    high: float
    low: float
    close: float
    bid: float
    ask: float
    bid_low: float
    ask_high: float
    quotes: int = 1
    volume: float = 0.0
    trades: int = 0

    def join(self, later: Bar) -> None:
        """Take in a bar that follows this one."""
        self.high, self.low, self.close = max(self.high, later.high), min(self.low, later.low), later.close
        self.bid_low, self.ask_high = min(self.bid_low, later.bid_low), max(self.ask_high, later.ask_high)
        both = self.quotes + later.quotes
        self.bid += (later.bid - self.bid) * later.quotes / both
        self.ask += (later.ask - self.ask) * later.quotes / both
        self.quotes, self.volume, self.trades = both, self.volume + later.volume, self.trades + later.trades


class Minutes:
    """The minutes of one instrument, in order of time; a minute without a quote has none."""

    def __init__(self) -> None:
        self._bars: list[Bar] = []

    def add(self, quote: Quote) -> None:
        """Take in a quote, not before those taken in already; one without two sane sides makes no bar."""
        if not 0.0 < quote.bid <= quote.ask < math.inf:
            return
        mid = 0.5 * (quote.bid + quote.ask)
        bar = Bar(_begin(quote.ts), mid, mid, mid, mid, quote.bid, quote.ask, quote.bid, quote.ask)
        if self._bars and self._bars[-1].from_ns == bar.from_ns:
            self._bars[-1].join(bar)
        else:
            self._bars.append(bar)

    def between(self, from_ns: int, to_ns: int, fills: Iterable[OrderFilled] = (), step_ns: int = MINUTE_NS) -> list[Bar]:
        """Return the bars of `step_ns` (whole minutes, counted from 1970) of the minutes in [from_ns, to_ns), the last as it stands now.

        fills: executions to count.
        """
        first, last = (bisect_left(self._bars, at, key=lambda bar: bar.from_ns) for at in (from_ns, to_ns))
        traded: dict[int, list[float]] = {}
        for fill in fills:
            traded.setdefault(_begin(fill.ts), []).append(float(fill.qty))
        out: list[Bar] = []
        for minute in self._bars[first:last]:
            sizes = traded.get(minute.from_ns, [])
            bar = msgspec.structs.replace(minute, volume=sum(sizes), trades=len(sizes))
            begin = bar.from_ns // step_ns * step_ns
            if out and out[-1].from_ns == begin:
                out[-1].join(bar)
            else:
                bar.from_ns = begin
                out.append(bar)
        return out


def _begin(ts_ns: int) -> int:
    """Return the beginning of the minute that holds an instant; its own end is its last instant."""
    return (ts_ns - 1) // MINUTE_NS * MINUTE_NS
