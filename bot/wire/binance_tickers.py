"""Tickers, marks, funding and bars of a Binance USD-M exchange, as they are asked for: read from what is shown and from the world's bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from bot.model.instrument import Instrument
from bot.sim.listing import Listing
from bot.wire.bars import MINUTE_NS, Bar
from bot.wire.binance_errors import Refused
from bot.wire.binance_ledger import MS
from bot.wire.binance_market import Shown, mark_fields, one
from bot.wire.binance_request import Params
from bot.wire.binance_terms import Symbols, money_text, price_text, qty_text
from bot.wire.world import World

DAY_NS = 86_400_000_000_000
INTERVALS = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "8h": 480, "12h": 720, "1d": 1_440}
"""Bars by name, in minutes."""
FUNDING_CAP, EIGHT_HOURS_S = 0.02, 28_800
"""Cap and interval of funding where a contract's terms name none (alts at the exchange: 2 to 3 %)."""


class TickerDesk:
    """Answers questions about prices, and words what streams say of bars. shown: by symbol, as the market desk keeps it."""

    def __init__(self, world: World, symbols: Symbols, shown: Mapping[str, Shown], now_ms: Callable[[], int]) -> None:
        self.symbols = symbols
        self.shown = shown
        self._world = world
        self._now_ms = now_ms

    def prices(self, p: Params) -> Any:
        """Return the last price of one symbol or of all."""
        chosen, now = self.symbols.chosen(p.get("symbol", "")), self._now_ms()
        return one(p, [{"symbol": x.instrument.id, "price": price_text(x.instrument, self._last(x)), "time": now} for x in chosen])

    def day(self, p: Params) -> Any:
        """Return the change of 24 hours of one symbol or of all."""
        return one(p, [self._day(x) for x in self.symbols.chosen(p.get("symbol", ""))])

    def premium(self, p: Params) -> Any:
        """Return mark, index and the funding rate of the next stamp."""
        rows = []
        for x in self.symbols.chosen(p.get("symbol", "")):
            at = self.shown[x.instrument.id]
            found = mark_fields(at) if at.mark is not None else {"p": "0", "P": "0", "i": "0", "r": "", "T": 0}
            rows.append({
                "symbol": x.instrument.id, "markPrice": found["p"], "indexPrice": found["i"], "estimatedSettlePrice": found["P"],
                "lastFundingRate": found["r"], "interestRate": "0.00010000", "nextFundingTime": found["T"], "time": self._now_ms(),
            })  # fmt: skip
        return one(p, rows)

    def funding_rates(self, p: Params) -> list[dict[str, Any]]:
        """Return the rates of stamps that have passed since the server began."""
        start, end, limit = p.whole("startTime", 0), p.whole("endTime", 1 << 60), min(p.whole("limit", 100), 1_000)
        chosen = [x.instrument.id for x in self.symbols.chosen(p.get("symbol", ""))]
        now = self._world.clock()
        passed = sorted((stamp // MS, s, rate, mark) for s in chosen for stamp, rate, mark in self.shown[s].passed(now) if start <= stamp // MS <= end)
        rows = [{"symbol": s, "fundingTime": at, "fundingRate": f"{rate:.8f}", "markPrice": money_text(mark)} for at, s, rate, mark in passed]
        return rows[:limit] if start else rows[-limit:]

    def funding_info(self, p: Params) -> list[dict[str, Any]]:
        """Return interval and cap of every symbol."""
        rows = []
        for s, x in self.symbols.by_name.items():
            cap, hours = x.instrument.funding_cap or FUNDING_CAP, (x.instrument.funding_interval_s or EIGHT_HOURS_S) // 3_600
            rows.append({"symbol": s, "adjustedFundingRateCap": f"{cap:.8f}", "adjustedFundingRateFloor": f"{-cap:.8f}",
                         "fundingIntervalHours": hours, "disclaimer": False})  # fmt: skip
        return rows

    def klines(self, p: Params) -> list[list[Any]]:
        """Return bars of the middle of the book; volume is what the account itself traded."""
        i, interval = self.symbols.get(p.need("symbol")).instrument, p.need("interval")
        if interval not in INTERVALS:
            raise Refused(-1120)
        step, now = INTERVALS[interval] * MINUTE_NS, self._world.clock()
        limit = p.whole("limit", 500)
        if not 0 < limit <= 1_500:
            raise Refused(-1130, "limit")
        start, end = p.whole("startTime", 0) * MS, min(p.whole("endTime", now // MS) * MS, now)
        if not start:
            start = max(0, end // step * step - (limit - 1) * step)
        start = -(-start // step) * step
        bars = self._world.bars(i.id, start, min(end + 1, start + limit * step), step)
        return [list(_fields(i, bar, step)) for bar in bars][:limit]

    # For streams.

    def kline(self, x: Listing) -> dict[str, Any] | None:
        """Return the message of the bar of this minute, None when it has none yet."""
        i, now = x.instrument, self._world.clock()
        found = self._world.bars(i.id, (now - 1) // MINUTE_NS * MINUTE_NS, now)
        return {"e": "kline", "E": self._now_ms(), "s": i.id, "k": _kline(i, found[-1], now)} if found else None

    def mini(self, x: Listing) -> dict[str, Any]:
        """Return the short ticker of a stream."""
        day = self._day(x)
        return {"e": "24hrMiniTicker", "E": self._now_ms(), "s": day["symbol"], "c": day["lastPrice"], "o": day["openPrice"], "h": day["highPrice"],
                "l": day["lowPrice"], "v": day["volume"], "q": day["quoteVolume"]}  # fmt: skip

    # Inside.

    def _last(self, x: Listing) -> float:
        q = self.shown[x.instrument.id].quote
        return 0.5 * (q.bid + q.ask) if q is not None and math.isfinite(q.bid + q.ask) else x.price()

    def _extremes(self, x: Listing) -> tuple[float, float, float, float]:
        """Return (open, high, low, own volume) of 24 hours."""
        now = self._world.clock()
        bars = self._world.bars(x.instrument.id, now - DAY_NS, now, MINUTE_NS)
        last = self._last(x)
        if not bars:
            return last, last, last, 0.0
        return bars[0].open, max(b.high for b in bars), min(b.low for b in bars), sum(b.volume for b in bars)

    def _day(self, x: Listing) -> dict[str, Any]:
        """Return the change of 24 hours; there are no trades but the account's own, so none are counted."""
        i, now, last = x.instrument, self._now_ms(), self._last(x)
        first, high, low, volume = self._extremes(x)
        return {
            "symbol": i.id, "priceChange": price_text(i, last - first), "priceChangePercent": f"{(last / first - 1.0) * 100.0 if first else 0.0:.3f}",
            "weightedAvgPrice": price_text(i, last), "lastPrice": price_text(i, last), "lastQty": "0", "openPrice": price_text(i, first),
            "highPrice": price_text(i, high), "lowPrice": price_text(i, low), "volume": qty_text(i, volume), "quoteVolume": f"{volume * last:.2f}",
            "openTime": now - DAY_NS // MS, "closeTime": now, "firstId": -1, "lastId": -1, "count": 0,
        }  # fmt: skip


def _fields(i: Instrument, bar: Bar, step: int) -> tuple[Any, ...]:
    volume, middle = bar.volume, 0.5 * (bar.high + bar.low)
    return (
        bar.from_ns // MS, price_text(i, bar.open), price_text(i, bar.high), price_text(i, bar.low), price_text(i, bar.close), qty_text(i, volume),
        (bar.from_ns + step) // MS - 1, f"{volume * middle:.2f}", bar.quotes, "0", "0", "0",
    )  # fmt: skip


def _kline(i: Instrument, bar: Bar, now_ns: int) -> dict[str, Any]:
    t, o, h, low, c, v, end, q, n, *_ = _fields(i, bar, MINUTE_NS)
    return {"t": t, "T": end, "s": i.id, "i": "1m", "f": -1, "L": -1, "o": o, "c": c, "h": h, "l": low, "v": v, "n": n,
            "x": now_ns > bar.from_ns + MINUTE_NS, "q": q, "V": "0", "Q": "0", "B": "0"}  # fmt: skip
