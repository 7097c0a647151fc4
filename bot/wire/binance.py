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
from bot.wire.binance_line import Line
from bot.wire.binance_market import MarketDesk
from bot.wire.binance_orders import ANSWER_S, OrderDesk
from bot.wire.binance_rest import Rest
from bot.wire.binance_socket import OrderSocket
from bot.wire.binance_streams import Hub
from bot.wire.binance_terms import Symbols
from bot.wire.binance_tickers import TickerDesk
from bot.wire.world import World

K = FaultKind
TICK_S = 0.02
"""How often the server looks at what its own clock decides: listen keys, countdowns, faults that begin and end."""
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
        self.market = MarketDesk(world, self.symbols, self.hub.publish, now_ms, lambda: self.faults.struck(K.DEPTH_GAP))
        self.tickers = TickerDesk(world, self.symbols, self.market.shown, now_ms)
        self.account = AccountDesk(self.ledger, now_ms, lambda: self.faults.struck(K.WITHDRAW_ENABLED))
        self.rest = Rest(self.symbols, self.market, self.tickers, self.orders, self.account, self.hub, self.faults, keys, world.clock)
        self.socket = OrderSocket(self.orders, self.market, self.tickers, self.account, self.hub, self.faults, keys)
        self.up = True
        self.lines: set[Line] = set()
        self.host, self.port = "", 0
        self._listening: asyncio.Server | None = None
        self._runner: web.ServerRunner | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._called: set[str] = set()
        world.listen(venue, self._hear)

    async def open(self, host: str, port: int) -> None:
        """Listen on host and port; port 0 lets the system choose."""
        http = web.Server(self._route, access_log=None)
        self._runner = web.ServerRunner(http)
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: Line(self, http()), host, port)
        self.host, self.port = host, self._listening.sockets[0].getsockname()[1]
        self._ticking = asyncio.ensure_future(self._tick())

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        self.faults.closing.set()
        if self._ticking is not None:
            self._ticking.cancel()
        if self._listening is not None:
            self._listening.close()
        for line in list(self.lines):
            line.cut()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._listening is not None:
            await self._listening.wait_closed()
            self._listening = None

    # What lines ask of their server.

    @property
    def refuses(self) -> bool:
        """Return whether nobody gets a connection: the line is down."""
        return not self.up or self.faults.plan.on(K.DROP, self.world.clock()) is not None

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send a request where it belongs."""
        assert isinstance(request, web.BaseRequest)
        path = request.path
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await (self.socket.serve(request) if path.startswith("/ws-fapi/") else self.hub.serve(request))
        return await self.rest.handle(request)

    # Inside.

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
                self._cut()
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

    def _cut(self) -> None:
        for line in list(self.lines):
            line.cut()

    async def _tick(self) -> None:
        """Do what the clock decides."""
        while True:
            now = self.world.clock()
            self.orders.tick(now)
            self.hub.expire(all_of_them=False)
            if self.hub.listened and self.faults.struck(K.LISTEN_KEY_EXPIRED):
                self.hub.expire(all_of_them=True)
            if self.lines and self.faults.plan.on(K.DROP, now) is not None:
                self.faults.plan.hit(K.DROP)
                self._cut()
            for line in list(self.lines):
                line.mind(now)
            await asyncio.sleep(TICK_S)


async def serve(world: World, venue: VenueId, host: str = "127.0.0.1", port: int = 0, keys: Mapping[str, str] | None = None) -> Server:
    """Start a server of `venue` on host and port (0: the system chooses); its `port` says where, `close()` ends it."""
    server = Server(world, venue, keys or {})
    await server.open(host, port)
    return server
