"""Market data of a Binance USD-M exchange: the book with its update numbers, marks, tickers, bars, and the messages that carry them.

The touch is what the venue showed, as its faults left it; the levels behind it are the exchange's own. A touch that no book
could have is shown alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bot.model import event as ev
from bot.model.order import Side
from bot.sim.listing import Listing
from bot.wire.binance_errors import Refused
from bot.wire.binance_ledger import MS
from bot.wire.binance_request import Params
from bot.wire.binance_terms import Symbols, money_text, price_text, qty_text
from bot.wire.world import World

LIMITS = (5, 10, 20, 50, 100, 500, 1_000)
SANE = 1e12
"""Prices beyond this are nobody's."""
FIRST_UPDATE = 5_000_000_000_000
OTHERS = 240
"""Update numbers that other symbols use between two changes of one: only `pu` ties a message to the one before it, not `U`
(recorded BTCUSDT depth, 2024-08-08)."""
Publish = Callable[[str, str, dict[str, Any]], None]
"""Sends (symbol, channel, message) to whoever subscribed to it."""


class Shown(msgspec.Struct):
    """What one symbol shows. bids, asks: size by price, as text. update: number of the last change."""

    bids: dict[str, str] = {}
    asks: dict[str, str] = {}
    update: int = FIRST_UPDATE
    quote: ev.Quote | None = None
    mark: ev.MarkPrice | None = None
    funding: ev.FundingRate | None = None
    funded: list[tuple[int, float, float]] = []
    """(stamp, rate, mark) of stamps that a later rate has followed."""

    def passed(self, now_ns: int) -> list[tuple[int, float, float]]:
        """Return (stamp, rate, mark) of all stamps up to now: a payment can be looked up as soon as it is made."""
        last, mark = self.funding, self.mark.mark if self.mark is not None else 0.0
        if last is None or last.stamp_ns > now_ns or (self.funded and self.funded[-1][0] >= last.stamp_ns):
            return self.funded
        return [*self.funded, (last.stamp_ns, last.rate, mark)]


class MarketDesk:
    """Keeps what is shown and publishes it. gap: whether the next change of a symbol's book is left out of its stream."""

    def __init__(self, world: World, symbols: Symbols, publish: Publish, now_ms: Callable[[], int], gap: Callable[[str], bool]) -> None:
        self.world = world
        self.symbols = symbols
        self.shown = {s: Shown() for s in symbols.by_name}
        self._publish = publish
        self._now_ms = now_ms
        self._gap = gap
        for symbol, x in symbols.by_name.items():  # a market that was there before this server
            at = self.shown[symbol]
            at.quote, at.funding = x.quote, x.funding
            if x.quote is not None:
                at.bids, at.asks = self._ladders(x, x.quote)

    # What the venue shows.

    def hear(self, event: Any) -> None:
        """Take an observation the venue shows, and publish what follows from it."""
        kind = type(event)
        if event.instrument not in self.shown:
            return
        if kind is ev.Quote:
            self._quote(event)
        elif kind is ev.MarkPrice:
            self.shown[event.instrument].mark = event
            self._marked(event.instrument)
        elif kind is ev.FundingRate:
            self._funding(event)

    def _quote(self, q: ev.Quote) -> None:
        x, at, i = self.symbols.by_name[q.instrument], self.shown[q.instrument], self.symbols.by_name[q.instrument].instrument
        at.quote = q
        self._change(x, at, *self._ladders(x, q), q.venue_ts // MS)
        self._publish(i.id, "bookTicker", {
            "e": "bookTicker", "u": at.update, "s": i.id, "b": price_text(i, q.bid), "B": qty_text(i, q.bid_size), "a": price_text(i, q.ask),
            "A": qty_text(i, q.ask_size), "T": q.venue_ts // MS, "E": self._now_ms(),
        })  # fmt: skip

    def _ladders(self, x: Listing, q: ev.Quote) -> tuple[dict[str, str], dict[str, str]]:
        """Return (bids, asks) as they are shown with a quote."""
        i, now = x.instrument, self.world.clock()
        sane = 0.0 < q.bid <= q.ask < SANE
        out = []
        for side, price, size in ((Side.SELL, q.bid, q.bid_size), (Side.BUY, q.ask, q.ask_size)):
            levels: dict[str, str] = {}
            if size > 0.0 and 0.0 < price < SANE:
                levels[price_text(i, price)] = qty_text(i, min(size, SANE))
                for behind, offered in x.book.levels(q, side, now) if sane else ():
                    if offered.is_finite() and (float(behind) - price) * side.sign > 0.0:
                        levels.setdefault(price_text(i, behind), qty_text(i, offered))
            out.append(levels)
        return out[0], out[1]

    def _change(self, x: Listing, at: Shown, bids: dict[str, str], asks: dict[str, str], event_ms: int) -> None:
        """Number what changed in the book and publish it; partial books come whole."""
        i = x.instrument
        changed = _changes(at.bids, bids), _changes(at.asks, asks)
        at.bids, at.asks = bids, asks
        if not changed[0] and not changed[1]:
            return
        before, first = at.update, at.update + OTHERS
        at.update = first + len(changed[0]) + len(changed[1]) - 1
        message = {"e": "depthUpdate", "E": self._now_ms(), "T": event_ms, "s": i.id, "U": first, "u": at.update, "pu": before}
        if not self._gap(i.id):
            self._publish(i.id, "depth", {**message, "b": changed[0], "a": changed[1]})
        for n in (5, 10, 20):
            self._publish(i.id, f"depth{n}", {**message, "b": _rows(bids, n, -1), "a": _rows(asks, n, 1)})

    def _funding(self, event: ev.FundingRate) -> None:
        at = self.shown[event.instrument]
        last, at.funding = at.funding, event
        if last is not None and last.stamp_ns < event.stamp_ns and (not at.funded or at.funded[-1][0] < last.stamp_ns):
            at.funded.append((last.stamp_ns, last.rate, at.mark.mark if at.mark is not None else 0.0))
        self._marked(event.instrument)

    def _marked(self, symbol: str) -> None:
        at = self.shown[symbol]
        if at.mark is not None:
            self._publish(symbol, "markPrice", {"e": "markPriceUpdate", "E": self._now_ms(), "s": symbol, **mark_fields(at)})

    # What is asked for.

    def depth(self, p: Params) -> dict[str, Any]:
        """Return a snapshot of the book; its number is that of the last change."""
        at = self.shown[self.symbols.get(p.need("symbol")).instrument.id]
        limit = p.whole("limit", 500)
        if limit not in LIMITS:
            raise Refused(-1130, "limit")
        now = self._now_ms()
        return {
            "lastUpdateId": at.update, "E": now, "T": at.quote.venue_ts // MS if at.quote is not None else now,
            "bids": _rows(at.bids, limit, -1), "asks": _rows(at.asks, limit, 1),
        }  # fmt: skip

    def book_tickers(self, p: Params) -> Any:
        """Return the touch of one symbol or of all."""
        return one(p, [self._book_ticker(x) for x in self.symbols.chosen(p.get("symbol", ""))])

    def _book_ticker(self, x: Listing) -> dict[str, Any]:
        i, q = x.instrument, self.shown[x.instrument.id].quote
        bid, ask, sizes = (q.bid, q.ask, (q.bid_size, q.ask_size)) if q is not None else (0.0, 0.0, (0.0, 0.0))
        return {
            "symbol": i.id, "bidPrice": price_text(i, bid), "bidQty": qty_text(i, sizes[0]), "askPrice": price_text(i, ask), "askQty": qty_text(i, sizes[1]),
            "time": q.venue_ts // MS if q is not None else 0, "lastUpdateId": self.shown[i.id].update,
        }  # fmt: skip


def _changes(old: dict[str, str], new: dict[str, str]) -> list[list[str]]:
    """Return [price, size] of every level that differs, size 0 for one that is gone."""
    gone = [[price, "0.000"] for price in old if price not in new]
    return gone + [[price, size] for price, size in new.items() if old.get(price) != size]


def _rows(levels: dict[str, str], limit: int, sign: int) -> list[list[str]]:
    """Return the best levels of a side. sign: +1 for asks, which rise."""
    return [[price, levels[price]] for price in sorted(levels, key=lambda price: float(price) * sign)[:limit]]


def one(p: Params, rows: list[dict[str, Any]]) -> Any:
    """Return the row of the symbol asked for, or all."""
    return rows[0] if p.get("symbol") else rows


def mark_fields(at: Shown) -> dict[str, Any]:
    """Return mark, index, funding rate and stamp as streams word them; there must be a mark."""
    assert at.mark is not None
    rate, stamp = (f"{at.funding.rate:.8f}", at.funding.stamp_ns // MS) if at.funding is not None else ("", 0)
    mark = money_text(at.mark.mark)
    return {"p": mark, "P": mark, "i": money_text(at.mark.index), "r": rate, "T": stamp}
