"""The TWS/Gateway server: a thin front on one exchange of the world, speaking the socket protocol of versions 157 to 178."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from bot.model import event as ev
from bot.model.ids import InstrumentId, VenueId
from bot.wire.tws_account import ACCOUNT, AccountDesk
from bot.wire.tws_blotter import Blotter
from bot.wire.tws_codec import Fields
from bot.wire.tws_contracts import Row, chain
from bot.wire.tws_market import MarketDesk
from bot.wire.tws_orders import OrderDesk
from bot.wire.tws_records import OrderRecords
from bot.wire.tws_session import Client, Handler
from bot.wire.world import World

_S = 1_000_000_000
FARMS = (2104, 2106, 2158)
"""Notices that greet every client."""
ROWS_NS = 60 * _S
"""How long the list of contracts is kept: one that expires is gone within a minute."""


class Server:
    """Connections and desks of one venue; closed with close()."""

    def __init__(self, world: World, venue: VenueId) -> None:
        self.world = world
        self.venue = venue
        self.clock: Callable[[], int] = world.clock
        self.exchange = world.exchange(venue)
        self._rows: list[Row] = []
        self._rows_ns = -ROWS_NS
        self.account = AccountDesk(self.exchange, self._by_instrument, self.clock)
        self.blotter = Blotter(world, venue, self.rows, self.account.realised)
        self.orders = OrderDesk(self.blotter)
        self.records = OrderRecords(self.blotter)
        self.market = MarketDesk(self.exchange, self.rows, self.clock)
        self.clients = self.blotter.clients
        self._connections: set[Client] = set()
        self._handlers = self._table()
        self._socket: asyncio.Server | None = None
        self.host, self.port = "", 0
        self._linked: bool | None = None
        world.listen(venue, self._hear)

    async def open(self, host: str, port: int) -> None:
        """Listen on host and port; port 0 lets the system choose."""
        loop = asyncio.get_running_loop()
        self._socket = await loop.create_server(lambda: Client(self), host, port)
        self.host, self.port = host, self._socket.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._socket is not None:
            self._socket.close()
        for client in list(self._connections):
            client.cut(hard=True)
        if self._socket is not None:
            await self._socket.wait_closed()
            self._socket = None

    def rows(self) -> list[Row]:
        """Return the contracts that have not expired."""
        now = self.clock()
        if now - self._rows_ns >= ROWS_NS:
            self._rows, self._rows_ns = chain(self.exchange, now), now
        return self._rows

    # What connections ask of their server.

    def opened(self, client: Client) -> None:
        """Take note of a connection."""
        self._connections.add(client)

    def admit(self, client: Client, number: int) -> bool:
        """Let a client begin under its id; False when the id is in use."""
        if number < 0 or number in self.clients:
            return False
        client.number = number
        self.clients[number] = client
        client.send([15, 1, ACCOUNT])
        self.orders.ids(client)
        for code in FARMS:
            client.error(-1, code, NOTICES[code])
        return True

    def lost(self, client: Client) -> None:
        """Forget a connection; its orders stay."""
        self._connections.discard(client)
        if self.clients.get(client.number) is client:
            del self.clients[client.number]
        self.account.forget(client)
        self.market.forget(client)

    def handlers(self) -> Mapping[int, tuple[int, Handler]]:
        """Return, by message number, how many version fields follow it and who answers."""
        return self._handlers

    # Inside.

    def _by_instrument(self) -> dict[InstrumentId, Row]:
        return {row.instrument: row for row in self.rows() if row.instrument}

    def _hear(self, event: Any) -> None:
        """Pass on what the venue says and shows."""
        kind = type(event)
        if kind is ev.Quote:
            self.market.quote(event)
        elif kind is ev.VenueStatus:
            self._link(event.up)
        else:
            self.blotter.hear(event)
            if kind is ev.OrderFilled:
                self.market.trade(event)
            if kind in (ev.OrderFilled, ev.CashBooked):
                self.account.changed()

    def _link(self, up: bool) -> None:
        """Tell every client that the line between gateway and broker broke, or that it is back with subscriptions kept."""
        if self._linked is not None and up is not self._linked:
            self.notify(1102 if up else 1100)
        self._linked = up

    def notify(self, code: int) -> None:
        """Send a notice about the lines to every client."""
        for client in list(self.clients.values()):
            client.error(-1, code, NOTICES[code])

    def _table(self) -> dict[int, tuple[int, Handler]]:
        o, r, a, m = self.orders, self.records, self.account, self.market
        return {
            1: (1, m.subscribe), 2: (1, m.unsubscribe), 3: (0, o.place), 4: (1, o.cancel), 5: (1, r.open_orders), 6: (1, a.updates),
            7: (1, r.executions), 8: (1, o.ids), 9: (1, m.contract_details), 10: (1, m.depth), 11: (1, m.end_depth), 14: (1, _ignore),
            15: (1, r.auto_open), 16: (1, r.all_open), 17: (1, _accounts), 49: (1, self._time), 58: (1, o.cancel_all), 59: (1, _ignore),
            61: (1, a.positions), 62: (1, a.summary), 63: (1, a.cancel_summary), 64: (1, a.cancel_positions), 76: (1, a.updates_multi),
            77: (1, _ignore), 91: (0, m.market_rule), 92: (0, a.pnl), 93: (0, _ignore), 99: (0, r.completed),
        }  # fmt: skip

    def _time(self, client: Client, fields: Fields) -> None:
        """reqCurrentTime."""
        client.send([49, 1, self.clock() // _S])


NOTICES = {
    1100: "Connectivity between IBKR and Trader Workstation has been lost.",
    1102: "Connectivity between IBKR and Trader Workstation has been restored - data maintained.",
    2104: "Market data farm connection is OK:usfuture",
    2106: "HMDS data farm connection is OK:ushmds",
    2158: "Sec-def data farm connection is OK:secdefil",
}
"""Texts of notices (broker's page of message codes, read 2026-11)."""


def _ignore(client: Client, fields: Fields) -> None:
    """Take a request that changes nothing here: log levels, ends of one-time answers, which kind of data will do (it is live)."""


def _accounts(client: Client, fields: Fields) -> None:
    """reqManagedAccts."""
    client.send([15, 1, ACCOUNT])


async def serve(world: World, venue: VenueId, host: str = "127.0.0.1", port: int = 0) -> Server:
    """Start a server of `venue` on host and port (0: the system chooses); its `port` says where, `close()` ends it."""
    server = Server(world, venue)
    await server.open(host, port)
    return server
