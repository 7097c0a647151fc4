"""Market data over the TWS protocol: contract details, ticks, depth and price increments, live or as the farm gives them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

import msgspec

from bot.model.event import OrderFilled, Quote
from bot.model.ids import InstrumentId
from bot.model.order import Side
from bot.sim.exchange import Exchange
from bot.wire.tws_codec import ContractFields, Fields, read_contract
from bot.wire.tws_contracts import Row, details, find, rule_id
from bot.wire.tws_orders import NO_CONTRACT
from bot.wire.tws_session import Client


class Data(Enum):
    """What market data a session gets: live, delayed, or none because another session of the user has it."""

    LIVE = 1
    DELAYED = 3
    TAKEN = 0


DELAY_NS = 900_000_000_000
"""How old delayed data are: 15 minutes (broker's page on delayed data, read 2026-11)."""
DELAYED_TYPES = {0: 69, 1: 66, 2: 67, 3: 70}
"""Types that delayed sizes and prices come with."""
BID_SIZE, BID, ASK, ASK_SIZE, LAST, LAST_SIZE = 0, 1, 2, 3, 4, 5
DEPTH_MAX = 3
"""Depth subscriptions a client may have at once (broker's page, read 2026-11); one more is error 309."""
NOT_SUBSCRIBED = "Requested market data is not subscribed."
SHOWN_DELAYED = "Requested market data is not subscribed. Displaying delayed market data."
COMPETING = "No market data during competing live session"


class Sub(msgspec.Struct, kw_only=True):
    """One market data subscription. shown: last value sent by tick type. dead: the farm has forgotten it, its client does not know."""

    client: Client
    req_id: int
    row: Row
    snapshot: bool
    shown: dict[int, float] = {}
    dead: bool = False


class DepthSub(msgspec.Struct, kw_only=True):
    """One depth subscription. shown: (price, size) of the rows sent, best first, for bids and asks. dead: as for Sub."""

    client: Client
    req_id: int
    row: Row
    rows: int
    shown: tuple[list[tuple[float, float]], list[tuple[float, float]]]
    dead: bool = False


class MarketDesk:
    """Subscriptions of all clients. data: what they get. held: nothing comes from the farm at the moment."""

    def __init__(self, exchange: Exchange, rows: Callable[[], list[Row]], clock: Callable[[], int]) -> None:
        self.data = Data.LIVE
        self.held = False
        self.clock = clock
        self._exchange = exchange
        self._rows = rows
        self._subs: dict[tuple[Client, int], Sub] = {}
        self._depth: dict[tuple[Client, int], DepthSub] = {}
        self._quotes: dict[InstrumentId, deque[Quote]] = {}

    def turn(self, data: Data) -> None:
        """Change what market data every subscription gets, and say so."""
        before, self.data = self.data, data
        for sub in self._subs.values():
            if not sub.dead and (data is not Data.LIVE or before is Data.DELAYED):
                self._announce(sub)

    def kill(self) -> None:
        """Forget every subscription without a word to its client."""
        for sub in self._subs.values():
            sub.dead = True
        for depth in self._depth.values():
            depth.dead = True

    def forget(self, client: Client) -> None:
        """Drop the subscriptions of a client that has gone."""
        self._subs = {key: sub for key, sub in self._subs.items() if key[0] is not client}
        self._depth = {key: sub for key, sub in self._depth.items() if key[0] is not client}

    # Requests.

    def contract_details(self, client: Client, fields: Fields) -> None:
        """reqContractDetails."""
        req_id = fields.whole()
        found = find(self._rows(), read_contract(fields))
        if not found:
            client.error(req_id, 200, NO_CONTRACT)
            return
        for row in found:
            client.send(details(row, req_id, client.version, self.clock()))
        client.send([52, 1, req_id])

    def market_rule(self, client: Client, fields: Fields) -> None:
        """reqMarketRule: one increment from 0 on."""
        asked = fields.whole()
        for row in self._rows():
            if rule_id(row) == asked:
                client.send([93, asked, 1, "0.0", row.tick])
                return
        client.error(-1, 321, f"Error validating request.-'bX' : cause - Market rule {asked} is not known")

    def subscribe(self, client: Client, fields: Fields) -> None:
        """reqMktData."""
        req_id = fields.whole()
        contract = read_contract(fields)
        if fields.truth():  # deltaNeutralContract
            fields.skip(3)
        fields.skip(1)  # generic ticks: the exchange has none to give
        snapshot = fields.truth()
        row = self._row(client, req_id, contract)
        if row is None:
            return
        if (client, req_id) in self._subs and not self._subs[client, req_id].dead:
            client.error(req_id, 322, "Error processing request.-'bQ' : cause - Duplicate ticker id")
            return
        sub = Sub(client=client, req_id=req_id, row=row, snapshot=snapshot, shown={})
        if not snapshot:
            self._subs[client, req_id] = sub
        client.send([81, req_id, row.tick, "", 3])
        self._announce(sub)
        if snapshot:
            client.send([57, 1, req_id])

    def unsubscribe(self, client: Client, fields: Fields) -> None:
        """cancelMktData."""
        req_id = fields.whole()
        if self._subs.pop((client, req_id), None) is None:
            client.error(req_id, 300, f"Can't find EId with tickerId:{req_id}")

    def depth(self, client: Client, fields: Fields) -> None:
        """reqMktDepth."""
        req_id = fields.whole()
        contract, rows = read_contract(fields), fields.whole()
        row = self._row(client, req_id, contract)
        if row is None:
            return
        if sum(1 for key, sub in self._depth.items() if key[0] is client and not sub.dead) >= DEPTH_MAX:
            client.error(req_id, 309, f"Max number ({DEPTH_MAX}) of market depth requests has been reached")
            return
        self._depth[client, req_id] = new = DepthSub(client=client, req_id=req_id, row=row, rows=max(1, rows), shown=([], []))
        self._levels(new)

    def end_depth(self, client: Client, fields: Fields) -> None:
        """cancelMktDepth."""
        req_id = fields.whole()
        if self._depth.pop((client, req_id), None) is None:
            client.error(req_id, 310, f"Can't find the subscribed market depth with tickerId:{req_id}")

    # What the venue shows.

    def quote(self, quote: Quote) -> None:
        """Pass a top of book on to whoever watches it."""
        seen = self._quotes.setdefault(quote.instrument, deque())
        seen.append(quote)
        while len(seen) > 1 and seen[1].ts <= quote.ts - DELAY_NS:
            seen.popleft()
        for sub in list(self._subs.values()):
            if sub.row.instrument == quote.instrument:
                self._ticks(sub)
        for depth in list(self._depth.values()):
            if depth.row.instrument == quote.instrument:
                self._levels(depth)

    def trade(self, fill: OrderFilled) -> None:
        """Show an execution as the last trade: the only trades of this market are the account's own."""
        for sub in list(self._subs.values()):
            if sub.row.instrument == fill.instrument and self.data is Data.LIVE and not (sub.dead or self.held):
                self._tick(sub, LAST, LAST_SIZE, float(fill.price), float(fill.qty), always=True)

    # Inside.

    def _row(self, client: Client, req_id: int, contract: ContractFields) -> Row | None:
        """Return the one contract a subscription is about, else tell why there is none."""
        found = find(self._rows(), contract)
        if len(found) != 1:
            client.error(req_id, 200, NO_CONTRACT if not found else "The contract description specified is ambiguous")
            return None
        if not found[0].instrument:
            client.error(req_id, 354, NOT_SUBSCRIBED)
            return None
        return found[0]

    def _announce(self, sub: Sub) -> None:
        """Tell a subscription what data it gets, and send the latest of them."""
        sub.shown.clear()
        if self.data is Data.TAKEN:
            sub.client.error(sub.req_id, 10197, COMPETING)
            return
        if self.data is Data.DELAYED:
            sub.client.error(sub.req_id, 10167, SHOWN_DELAYED)
        sub.client.send([58, 1, sub.req_id, self.data.value])
        self._ticks(sub)

    def _ticks(self, sub: Sub) -> None:
        """Send the latest quote as far as it is new to a subscription: the oldest one kept when data are delayed."""
        seen = self._quotes.get(sub.row.instrument)
        if not seen or sub.dead or self.held or self.data is Data.TAKEN:
            return
        quote = seen[0] if self.data is Data.DELAYED else seen[-1]
        self._tick(sub, BID, BID_SIZE, quote.bid, quote.bid_size)
        self._tick(sub, ASK, ASK_SIZE, quote.ask, quote.ask_size)

    def _tick(self, sub: Sub, price_type: int, size_type: int, price: float, size: float, always: bool = False) -> None:
        """Send a price with its size, then the size alone, as TWS does; only what has changed. No price is -1."""
        price = price if price > 0.0 else -1.0
        if self.data is Data.DELAYED:
            price_type, size_type = DELAYED_TYPES[price_type], DELAYED_TYPES[size_type]
        if always or sub.shown.get(price_type) != price:
            sub.client.send([1, 6, sub.req_id, price_type, price, size, 1])
            sub.client.send([2, 6, sub.req_id, size_type, size])
        elif sub.shown.get(size_type) != size:
            sub.client.send([2, 6, sub.req_id, size_type, size])
        sub.shown[price_type], sub.shown[size_type] = price, size

    def _levels(self, sub: DepthSub) -> None:
        """Send what changed of the book: rows of bids are side 1, of asks 0; operations insert 0, update 1, delete 2. None is delayed."""
        if sub.dead or self.held or self.data is not Data.LIVE:
            return
        x, now = self._exchange.listings[sub.row.instrument], self.clock()
        for side, taker in ((1, Side.SELL), (0, Side.BUY)):
            wanted = [(float(price), float(size)) for price, size in x.levels(taker, now)[: sub.rows]]
            shown = sub.shown[side]
            for at, level in enumerate(wanted):
                if at >= len(shown):
                    sub.client.send([12, 1, sub.req_id, at, 0, side, *level])
                elif shown[at] != level:
                    sub.client.send([12, 1, sub.req_id, at, 1, side, *level])
            for at in range(len(shown) - 1, len(wanted) - 1, -1):
                sub.client.send([12, 1, sub.req_id, at, 2, side, 0.0, 0.0])
            shown[:] = wanted
