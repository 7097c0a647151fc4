"""The Binance USD-M server: REST, streams and the order socket of one exchange of the world, on one port."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bot.model import event as ev
from bot.model.ids import VenueId
from bot.sim.faults import FaultKind
from bot.sim.wire import INSTANT
from bot.wire.binance_account import AccountDesk
from bot.wire.binance_blotter import Blotter
from bot.wire.binance_faults import Faults
from bot.wire.binance_ledger import Ledger
from bot.wire.binance_market import MarketDesk
from bot.wire.binance_orders import ANSWER_S, OrderDesk
from bot.wire.binance_rest import Rest
from bot.wire.binance_socket import OrderSocket
from bot.wire.binance_streams import Hub
from bot.wire.binance_terms import Symbols
from bot.wire.binance_tickers import TickerDesk
from bot.wire.lines import Lines
from bot.wire.world import World

K = FaultKind
CASH_REASONS = {"insurance": "INSURANCE_CLEAR", "deposit": "DEPOSIT", "withdrawal": "WITHDRAW"}
CALL_SHARE = 1.25
"""Equity below this multiple of maintenance is a margin call (an assumption: the exchange warns before it liquidates)."""


class Server:
    """The front of one venue; closed with close(). keys: secret by API key. answer_s: longest wait for the exchange behind it."""

    def __init__(self, world: World, venue: VenueId, keys: Mapping[str, str], *, answer_s: float = ANSWER_S) -> None:
        site = world.sites[venue]
        self.world, self.venue, self.exchange = world, venue, world.exchange(venue)
        self.faults = Faults(site.plan, world.clock, getattr(site, "delays", INSTANT))
        now_ms = self.faults.now_ms
        self.symbols = Symbols(self.exchange)
        self.ledger = Ledger(self.exchange, self.symbols)
        self.hub = Hub(world.clock, now_ms, lambda: self.faults.struck(K.WS_SILENT), lambda: self.faults.struck(K.WS_ABORT))
        self.blotter = Blotter(self.exchange, self.symbols, self.ledger, self.hub.push, now_ms)
        self.orders = OrderDesk(self.blotter, lambda command: world.send(venue, command), world.clock, answer_s)
        self.market = MarketDesk(world, self.symbols, self.hub.publish, now_ms, lambda s: self.hub.wanted(s, "depth") and self.faults.struck(K.DEPTH_GAP))
        self.tickers = TickerDesk(world, self.symbols, self.market.shown, now_ms)
        self.account = AccountDesk(self.ledger, now_ms, lambda: self.faults.struck(K.WITHDRAW_ENABLED))
        self.rest = Rest(self.symbols, self.market, self.tickers, self.orders, self.account, self.hub, self.faults, keys, world.clock)
        self.socket = OrderSocket(self.orders, self.market, self.tickers, self.account, self.hub, self.faults, keys)
        self.lines = Lines(self._protocol, site.plan, world.clock)
        self._http: web.Server | None = None  # needs a running loop
        self.up = True
        self._called: set[str] = set()
        world.listen(venue, self._hear)
        world.attend(self._look)

    async def open(self, host: str, port: int) -> None:
        """Listen on host and port; port 0 lets the system choose."""
        self._http = web.Server(self._route, access_log=None)
        await self.lines.open(host, port)

    @property
    def port(self) -> int:
        """Return where it listens."""
        return self.lines.port

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        self.faults.closing.set()
        await self.lines.close()
        if self._http is not None:
            await self._http.shutdown(0.0)

    # Inside.

    def _protocol(self) -> asyncio.Protocol:
        """Return what serves a new connection."""
        assert self._http is not None
        return self._http()

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send a request where it belongs; nobody answers while the venue is cut off."""
        if not self.up:
            self.faults.reset(request.transport)
            return web.Response(status=504)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await (self.socket.serve(request) if request.path.startswith("/ws-fapi/") else self.hub.serve(request))
        return await self.rest.handle(request)

    def _hear(self, event: Any) -> None:
        """Pass on what the venue says and shows."""
        kind = type(event)
        if kind in (ev.Quote, ev.MarkPrice, ev.FundingRate):
            self.market.hear(event)
            if kind is ev.Quote:
                self._tick_of(event)
            elif kind is ev.MarkPrice:
                self._watch_margin()
        elif kind is ev.VenueStatus:
            self.up = event.up
            if not event.up:
                self.lines.cut()
        elif kind is ev.FundingPaid:
            self.hub.push(self.ledger.booked(event, "FUNDING_FEE", self.faults.now_ms()))
        elif kind is ev.CashBooked:
            self.hub.push(self.ledger.booked(event, CASH_REASONS.get(event.kind, "ADJUSTMENT"), self.faults.now_ms()))
        else:
            self.blotter.hear(event)

    def _tick_of(self, quote: ev.Quote) -> None:
        """Publish what a quote does to bars and tickers, to whoever listens."""
        x = self.symbols.by_name.get(quote.instrument)
        if x is None:
            return
        if self.hub.wanted(quote.instrument, "kline_1m"):
            bar = self.tickers.kline(x)
            if bar is not None:
                self.hub.publish(quote.instrument, "kline_1m", bar)
        if self.hub.wanted(quote.instrument, "miniTicker"):
            self.hub.publish(quote.instrument, "miniTicker", self.tickers.mini(x))

    def _watch_margin(self) -> None:
        """Warn of a margin that runs short, once until it is ample again."""
        account = self.exchange.account
        for currency in self.symbols.assets:
            needed = account.maintenance(currency)
            short = needed > 0.0 and account.equity(currency) < CALL_SHARE * needed
            if short and currency not in self._called:
                self.hub.push(self.ledger.margin_call(currency, self.faults.now_ms()))
            (self._called.add if short else self._called.discard)(currency)

    def _look(self, now_ns: int) -> None:
        """Do what the clock decides."""
        self.orders.tick(now_ns)
        self.hub.expire(all_of_them=False)
        self.hub.retire()
        if self.hub.listened and self.faults.struck(K.LISTEN_KEY_EXPIRED):
            self.hub.expire(all_of_them=True)
        self.lines.look(now_ns)


async def serve(world: World, venue: VenueId, host: str = "127.0.0.1", port: int = 0, keys: Mapping[str, str] | None = None) -> Server:
    """Start a server of `venue` on host and port (0: the system chooses); its `port` says where, `close()` ends it."""
    server = Server(world, venue, keys or {})
    await server.open(host, port)
    return server
