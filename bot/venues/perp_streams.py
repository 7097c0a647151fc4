"""What the exchange tells unasked: prices, marks, rates, and the account's own orders and fills.

Each stream is a loop that turns a message into an event before it waits for the next one: between the two nothing else runs,
so nothing that ccxt caches in between is skipped.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from bot.model.instrument import Instrument
from bot.venues.perp_account import Fills
from bot.venues.perp_errors import SHAPE_ERRORS, told
from bot.venues.perp_line import Line, failures, heard
from bot.venues.perp_parse import book_depth, book_quote, funding, interval_seconds, mark, order_events, order_state, our_id, quote
from bot.venues.perp_positions import Positions

QUIET_S = 20.0
"""Market data that is silent this long is dialled anew: the connection may look open and be dead."""
POLL_S = 5.0
"""Marks and rates of exchanges that do not stream them are asked for this often."""
INTERVALS_S = 600.0
"""Funding intervals change with short notice (twice on one day has been seen); they are read again this often."""
BACKOFF_S = (0.2, 5.0)


class Market:
    """Public streams: one loop for the touch, one for the depth, one for the mark, one for the funding rate of every instrument.

    depth_rows: passed on of every book, 0 for the touch alone.
    """

    def __init__(self, line: Line, depth_rows: int = 0) -> None:
        self._line = line
        self._rows = depth_rows
        self._terms: dict[str, tuple[int, float]] = {}
        self._redialled = 0.0

    def loops(self) -> list[Awaitable[None]]:
        """Return the loops, which never end by themselves."""
        out: list[Awaitable[None]] = [self._forever("funding terms", self._funding_terms)]
        for instrument in self._line.symbols.instruments.values():
            symbol = self._line.symbols.symbol[instrument.id]
            for name, step in self._steps(instrument, symbol):
                out.append(self._forever(f"{name} {instrument.id}", step))
        return out

    def _steps(self, instrument: Instrument, symbol: str) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        has, source = self._line.client.has, self._line.quirks.funding_source
        steps: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        if has.get("watchBidsAsks"):
            steps.append(("touch", lambda: self._touch(instrument, symbol)))
        if self._rows or not has.get("watchBidsAsks"):
            steps.append(("book", lambda: self._book(instrument, symbol)))
        if has.get("watchMarkPrice"):
            steps.append(("mark", lambda: self._mark(instrument, symbol)))
        if source == "rate" or not has.get("watchMarkPrice"):
            steps.append(("funding", lambda: self._funding(instrument, symbol)))
        return steps

    async def _forever(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step; after an error wait a little longer each time, and dial a silent connection anew."""
        wait = BACKOFF_S[0]
        while True:
            try:
                await step()
                wait = BACKOFF_S[0]
            except TimeoutError:
                self._line.log("market_silent", {"stream": name})
                self.redial()
            except failures() as error:
                self._line.judge(error)
                self._line.log("market_error", {"stream": name, "text": told(error)})
                await asyncio.sleep(wait)
                wait = min(2.0 * wait, BACKOFF_S[1])

    def redial(self) -> None:
        """Close every connection that carries only public data, once for all streams that find it silent.

        Where all share one connection, the account's stream goes with it and comes back as after any interruption.
        """
        now = asyncio.get_running_loop().time()
        if now < self._redialled + QUIET_S / 2:
            return
        self._redialled = now
        line = self._line
        close_where(line, lambda url: not line.quirks.private_mark or not (is_private(line, url) or url == order_url(line)))

    async def _touch(self, instrument: Instrument, symbol: str) -> None:
        line = self._line
        async with asyncio.timeout(QUIET_S):
            tickers = await heard(line.client.watch_bids_asks([symbol]))
        line.emit(quote(tickers[symbol], instrument.id, line.clock()))

    async def _book(self, instrument: Instrument, symbol: str) -> None:
        """Hear the whole book: its depth, and its touch where no stream of its own tells it."""
        line, client = self._line, self._line.client
        async with asyncio.timeout(QUIET_S):
            book = await heard(client.watch_order_book(symbol))
        if not client.has.get("watchBidsAsks"):
            line.emit(book_quote(book, instrument.id, line.clock()))
        if self._rows:
            line.emit(book_depth(book, instrument.id, self._rows, line.clock()))

    async def _mark(self, instrument: Instrument, symbol: str) -> None:
        line = self._line
        async with asyncio.timeout(QUIET_S):
            told_now = await heard(line.client.watch_mark_price(symbol))
        line.shown(mark(told_now, instrument.id, line.clock()))
        if line.quirks.funding_source == "mark":
            self._emit_rate(instrument, rate_in_mark(told_now))

    async def _funding(self, instrument: Instrument, symbol: str) -> None:
        line, client = self._line, self._line.client
        rate = await line.read(lambda: client.fetch_funding_rate(symbol))
        if not client.has.get("watchMarkPrice"):
            line.shown(mark(rate, instrument.id, line.clock()))
        self._emit_rate(instrument, rate)
        await asyncio.sleep(POLL_S)

    def _emit_rate(self, instrument: Instrument, told_now: Any) -> None:
        line = self._line
        interval, cap = self._terms.get(instrument.id, self._default(instrument))
        interval = interval_seconds(told_now.get("interval"), interval)
        line.shown(funding(told_now, instrument, line.quirks, interval, cap, line.clock()))

    def _default(self, instrument: Instrument) -> tuple[int, float]:
        cap = instrument.funding_cap
        return instrument.funding_interval_s or self._line.quirks.funding_interval_s, cap if cap is not None else 0.0

    async def _funding_terms(self) -> None:
        """Read interval and cap of every instrument; an exchange lists only those that it changed."""
        line, client = self._line, self._line.client
        if client.has.get("fetchFundingIntervals") is True:
            listed = await line.read(client.fetch_funding_intervals)
            for instrument in line.symbols.instruments.values():
                interval, cap = self._default(instrument)
                row = listed.get(line.symbols.symbol[instrument.id]) or {}
                told_cap = (row.get("info") or {}).get("adjustedFundingRateCap")
                self._terms[instrument.id] = (interval_seconds(row.get("interval"), interval), float(told_cap) if told_cap else cap)
        await asyncio.sleep(INTERVALS_S)


def rate_in_mark(ticker: Any) -> dict[str, Any]:
    """Return the funding part of Binance's mark price message: r the estimate, T the next stamp in ms."""
    info = ticker.get("info") or {}
    return {"fundingRate": info.get("r") or None, "fundingTimestamp": info.get("T")}


class AccountStreams:
    """The account's own streams. They end with the error that ended them: what was missed meanwhile has to be asked for."""

    def __init__(self, line: Line, fills: Fills, ask: Callable[[], None]) -> None:
        """ask: called when a fill came whose owner its message does not say."""
        self._line = line
        self._fills = fills
        self._ask = ask
        self._positions = Positions(line, fills, ask)

    def loops(self) -> list[Awaitable[None]]:
        """Return the loops of orders, of fills, and of positions where there is such a stream."""
        more = [self._positions.watch()] if self._line.client.has.get("watchPositions") is True else []
        return [self._orders(), self._trades(), *more]

    async def _orders(self) -> None:
        while True:
            for order in await heard(self._line.client.watch_orders()):
                self._order(order)

    def _order(self, order: Any) -> None:
        """Tell of one of our orders; a stranger's that filled is asked after.

        ccxt passes on no fills of liquidations and deleveraging (Binance: execution type CALCULATED), only their orders.
        """
        line = self._line
        if order.get("symbol") not in line.symbols.id_of:
            return
        try:
            state = order_state(order)
        except SHAPE_ERRORS as error:
            line.log("order_unreadable", {"text": told(error)})
            return
        line.learn(state.venue_order_id, state.client_id)
        client_id = our_id(state.client_id)
        if client_id:
            for event in order_events(state, client_id, line.clock()):
                line.emit(event)
        elif state.filled:
            self._ask()

    async def _trades(self) -> None:
        while True:
            for trade in await heard(self._line.client.watch_my_trades()):
                self._trade(trade)

    def _trade(self, trade: Any) -> None:
        line = self._line
        if trade.get("symbol") not in line.symbols.id_of:
            return
        try:
            event = self._fills.streamed(trade)
        except SHAPE_ERRORS as error:
            line.log("fill_unreadable", {"text": told(error)})
            self._ask()
            return
        if event is None:
            self._ask()
            return
        self._fills.note(event)
        line.emit(event)


def is_private(line: Line, url: str) -> bool:
    """Return whether the account's stream runs over this connection."""
    return re.search(line.quirks.private_mark, url) is not None


def close_where(line: Line, chosen: Callable[[str], bool]) -> None:
    """Close the WebSockets whose URL is chosen; whoever waits for them dials anew."""
    import ccxt

    clients = line.client.clients or {}
    for url in [u for u in clients if u.startswith("ws") and chosen(u)]:  # some of ccxt's clients are no connections
        connection = clients.pop(url)
        connection.reject(ccxt.NetworkError("closed by the desk"))
        line.let_close(connection.close())


def order_url(line: Line) -> str:
    """Return the URL of the order socket, "" for none."""
    return line.quirks.order_url(line.client) if line.quirks.order_url is not None else ""


__all__ = ["AccountStreams", "Market", "close_where", "is_private", "order_url"]
