"""The TWS/Gateway server: a thin front on one exchange of the world, speaking the socket protocol of versions 157 to 178."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bot.model import event as ev
from bot.model.ids import InstrumentId, VenueId
from bot.sim.faults import FaultKind
from bot.wire.lines import Lines
from bot.wire.tws_account import ACCOUNT, AccountDesk
from bot.wire.tws_blotter import Blotter
from bot.wire.tws_codec import Fields
from bot.wire.tws_contracts import Row, chain
from bot.wire.tws_history import HistoryDesk
from bot.wire.tws_links import Links
from bot.wire.tws_market import MarketDesk
from bot.wire.tws_orders import OrderDesk
from bot.wire.tws_records import OrderRecords
from bot.wire.tws_session import Client, Handler
from bot.wire.world import World

_S = 1_000_000_000
K = FaultKind
FARMS = (2104, 2106, 2158)
"""Notices that greet every client."""
OF_BROKER = frozenset({5, 6, 7, 9, 15, 16, 61, 62, 76, 91, 92, 99})
"""Requests that wait in vain while the broker is not reached; the rest the gateway answers itself."""
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
        plan = world.sites[venue].plan
        self.links = Links(plan, self.notify, self.market)
        self.lines = Lines(lambda: Client(self), plan, self.clock, shuts=(K.DROP, K.RESTART))
        self.history = HistoryDesk(world, self.rows, lambda: self.links.heard)
        self._handlers = self._table()
        self._deaf = {kind: (skipped, _ignore if kind in OF_BROKER else answer) for kind, (skipped, answer) in self._handlers.items()}
        world.listen(venue, self._hear)
        world.attend(self._look)

    async def open(self, host: str, port: int) -> None:
        """Listen on host and port; port 0 lets the system choose."""
        await self.lines.open(host, port)

    @property
    def port(self) -> int:
        """Return where it listens."""
        return self.lines.port

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        await self.lines.close()

    def rows(self) -> list[Row]:
        """Return the contracts that have not expired."""
        now = self.clock()
        if now - self._rows_ns >= ROWS_NS:
            self._rows, self._rows_ns = chain(self.exchange, now), now
        return self._rows

    # What connections ask of their server.

    def sent(self, message: bytes) -> bytes:
        """Return a frame as it leaves."""
        return self.links.sent(message)

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
        if self.clients.get(client.number) is client:
            del self.clients[client.number]
        self.account.forget(client)
        self.market.forget(client)

    def handlers(self) -> Mapping[int, tuple[int, Handler]]:
        """Return, by message number, how many version fields follow it and who answers."""
        return self._handlers if self.links.heard else self._deaf

    # Inside.

    def _by_instrument(self) -> dict[InstrumentId, Row]:
        return {row.instrument: row for row in self.rows() if row.instrument}

    def _hear(self, event: Any) -> None:
        """Pass on what the venue says and shows."""
        kind = type(event)
        if kind is ev.Quote:
            self.market.quote(event)
        elif kind is ev.VenueStatus:
            self.links.venue(event.up)
            self.blotter.heard = self.links.heard
        else:
            self.blotter.hear(event)
            if kind is ev.OrderFilled:
                self.market.trade(event)
            if kind in (ev.OrderFilled, ev.CashBooked) and self.links.heard:
                self.account.changed()

    def _look(self, now_ns: int) -> None:
        """Let what time brings happen: faults of lines and links, orders' late answers."""
        self.links.look(now_ns)
        self.blotter.heard = self.links.heard
        self.orders.look(now_ns)
        self.lines.look(now_ns)

    def notify(self, code: int) -> None:
        """Send a notice about the lines to every client."""
        for client in list(self.clients.values()):
            client.error(-1, code, NOTICES[code])

    def _table(self) -> dict[int, tuple[int, Handler]]:
        o, r, a, m, h = self.orders, self.records, self.account, self.market, self.history
        return {
            1: (1, m.subscribe), 2: (1, m.unsubscribe), 3: (0, o.place), 4: (1, o.cancel), 5: (1, r.open_orders), 6: (1, a.updates),
            7: (1, r.executions), 8: (1, o.ids), 9: (1, m.contract_details), 10: (1, m.depth), 11: (1, m.end_depth), 14: (1, _ignore),
            15: (1, r.auto_open), 16: (1, r.all_open), 17: (1, _accounts), 20: (0, h.bars), 25: (1, h.cancel), 49: (1, self._time),
            58: (1, o.cancel_all), 59: (1, _ignore), 61: (1, a.positions), 62: (1, a.summary), 63: (1, a.cancel_summary), 64: (1, a.cancel_positions),
            76: (1, a.updates_multi), 77: (1, _ignore), 91: (0, m.market_rule), 92: (0, a.pnl), 93: (0, _ignore), 99: (0, r.completed),
        }  # fmt: skip

    def _time(self, client: Client, fields: Fields) -> None:
        """reqCurrentTime."""
        client.send([49, 1, self.clock() // _S])


NOTICES = {
    1100: "Connectivity between IBKR and Trader Workstation has been lost.",
    1101: "Connectivity between IBKR and Trader Workstation has been restored - data lost.",
    1102: "Connectivity between IBKR and Trader Workstation has been restored - data maintained.",
    2103: "Market data farm connection is broken:usfuture",
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
