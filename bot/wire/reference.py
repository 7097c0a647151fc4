"""The reference price on the wire: what the stablecoin costs in USD, in the public form of Kraken's REST API.

`GET /0/public/Ticker?pair=USDTUSD` and `GET /0/public/OHLC?pair=USDTUSD&interval=15` (Kraken REST documentation, from memory,
unverified, 2026-11). Any pair asked for is answered with the one price there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bot.model.event import Quote
from bot.model.ids import InstrumentId

if TYPE_CHECKING:
    from aiohttp import web

MINUTE_S = 60
ROWS = 720
"""Rows of an OHLC answer."""
S = 1_000_000_000


class Prices:
    """Quotes of one instrument, seen on their way into the world. shows: what a feed makes of a quote, None when it shows nothing."""

    def __init__(self, instrument: InstrumentId, history: Iterable[Any], shows: Callable[[Any], Any]) -> None:
        self.instrument = instrument
        self._shows = shows
        self._quotes = [e for e in history if type(e) is Quote and e.instrument == instrument]

    def tap(self, source: Iterator[Any]) -> Iterator[Any]:
        """Yield the source, keeping what it says of the price."""
        for event in source:
            if type(event) is Quote and event.instrument == self.instrument:
                seen = self._shows(event)
                if seen is not None:
                    self._quotes.append(seen)
            yield event

    def until(self, now_ns: int) -> list[Quote]:
        """Return every quote up to and including an instant, oldest first: a source is read a little ahead of its time."""
        end = len(self._quotes)
        while end and self._quotes[end - 1].ts > now_ns:
            end -= 1
        return self._quotes[:end]


class Server:
    """Answers with the price as it stands at the world's time."""

    def __init__(self, prices: Prices, clock: Callable[[], int]) -> None:
        self.port = 0
        self._prices = prices
        self._clock = clock
        self._runner: web.AppRunner | None = None

    async def open(self, host: str, port: int) -> None:
        """Listen on host and port; port 0 lets the system choose."""
        from aiohttp import web

        app = web.Application()
        app.router.add_get("/0/public/Ticker", self._ticker)
        app.router.add_get("/0/public/OHLC", self._bars)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _ticker(self, request: web.Request) -> web.Response:
        return self._answer(request, ticker(self._prices.until(self._clock())))

    async def _bars(self, request: web.Request) -> web.Response:
        interval = request.query.get("interval", "1")
        minutes = int(interval) if interval.isdecimal() and int(interval) > 0 else 1
        return self._answer(request, bars(self._prices.until(self._clock()), minutes))

    def _answer(self, request: web.Request, value: Any) -> web.Response:
        from aiohttp import web

        if not value:
            return web.json_response({"error": ["EService:Unavailable"]})
        return web.json_response({"error": [], "result": {request.query.get("pair", ""): value}})


def ticker(quotes: list[Quote]) -> dict[str, Any]:
    """Return Kraken's ticker of the latest quote: price, whole lot volume, lot volume of ask and bid; empty without one."""
    if not quotes:
        return {}
    q = quotes[-1]
    return {side: [f"{price:.5f}", f"{size:.0f}", f"{size:.3f}"] for side, price, size in (("a", q.ask, q.ask_size), ("b", q.bid, q.bid_size))}


def bars(quotes: list[Quote], minutes: int) -> list[list[Any]]:
    """Return Kraken's OHLC rows: begin in s, open, high, low, close, vwap, volume, count; the newest ROWS of them, the last still open."""
    span = minutes * MINUTE_S * S
    rows: dict[int, list[float]] = {}
    for q in quotes:
        rows.setdefault(q.ts // span * span, []).append(0.5 * (q.bid + q.ask))
    return [
        [begin // S, *(f"{x:.5f}" for x in (mids[0], max(mids), min(mids), mids[-1], mids[-1])), "0.0", len(mids)]
        for begin, mids in list(rows.items())[-ROWS:]
    ]
