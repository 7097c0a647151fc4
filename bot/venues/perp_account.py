"""The account at one exchange: its fills, its money and what it holds, each believed only when it can be.

An empty list of positions is what a broken answer looks like, so it counts as flat only when the account's own totals agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bot.model import event as ev
from bot.model.ids import ClientId, InstrumentId
from bot.venues.perp_ledger import Ledger
from bot.venues.perp_line import AHEAD_MS, Line, every, failures
from bot.venues.perp_parse import MS, OrderState, fill, forced, net_positions, order_state, our_id, trade_client_id
from bot.venues.perp_quirks import Account, number

S = 1_000_000_000
RESTART_NS = 3_600 * S
"""The first full answer repeats bookings this old: the desk may have died before it booked them."""
OVERLAP_NS = 60 * S
"""Later answers repeat bookings from this long before the previous one."""
LEDGER_NS = 15 * S
"""The ledger is read at most this often: Binance counts 30 of 2,400 a minute for it, and questions may come every second."""
SEEN = 20_000
TRIES = 3
LATE_NS = 5 * S
"""A fill that a question finds and the stream has not told after this long was lost on the stream."""


class Fills:
    """Executions of the account: from the stream or asked for, each under the one client id that explains it."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._seen: dict[tuple[InstrumentId, str], None] = {}
        self.count = 0

    def seen(self, event: ev.OrderFilled) -> bool:
        """Return whether an execution was told before."""
        return (event.instrument, event.exec_id) in self._seen

    def note(self, event: ev.OrderFilled) -> None:
        """Remember an execution that is told; `count` counts the different ones."""
        if self.seen(event):
            return
        self.count += 1
        self._seen[event.instrument, event.exec_id] = None
        if len(self._seen) > SEEN:
            for old in list(self._seen)[: SEEN // 4]:
                del self._seen[old]

    def streamed(self, trade: Mapping[str, Any]) -> ev.OrderFilled | None:
        """Return an execution of the stream; None when its message does not say whose it is: then it is asked for."""
        quirks, fee = self._line.quirks, trade.get("fee") or {}
        raw = self._raw(trade)
        if quirks.stream_fee_sign < 0 and fee.get("cost") is not None:
            trade = {**trade, "fee": {**fee, "cost": -number(fee["cost"])}}
        return None if raw is None else self._event(trade, raw)

    def _raw(self, trade: Mapping[str, Any]) -> str | None:
        """Return the client id of a trade's order as far as it is known without asking."""
        said = trade_client_id(trade, self._line.quirks)
        return self._line.known(str(trade.get("order") or "")) if said is None else said

    async def whole(self, trade: Mapping[str, Any]) -> ev.OrderFilled:
        """Return an execution, its order asked for when nothing else tells the client id.

        An execution told once as a stranger's and once as ours would be booked twice, so without an answer this raises.
        """
        line = self._line
        order_id = str(trade.get("order") or "")
        raw = self._raw(trade)
        if raw is None:
            state = order_state(await line.read(lambda: line.client.fetch_order(order_id, trade["symbol"])))
            raw = state.client_id
            line.learn(order_id, raw or "-")
        return self._event(trade, raw)

    def _event(self, trade: Mapping[str, Any], raw: str) -> ev.OrderFilled:
        return fill(trade, our_id(raw), self._line.symbols, self._line.clock(), forced(raw, trade.get("info") or {}))

    async def of_order(self, state: OrderState, client_id: ClientId) -> list[ev.OrderFilled]:
        """Return the executions of one order."""
        line, by = self._line, self._line.quirks.trades_by
        only = {by: state.venue_order_id} if by else {}
        since = None if by or not state.ts_ms else state.ts_ms - 1
        trades = await line.read(lambda: line.client.fetch_my_trades(state.symbol, since, None, only))
        mine = [t for t in trades if str(t.get("order")) == state.venue_order_id]
        out = [fill(t, client_id, line.symbols, line.clock()) for t in mine]
        for event in out:
            self.note(event)
        return out

    async def since(self, symbol: str, since_ms: int) -> list[tuple[int, ev.OrderFilled]]:
        """Return (venue time in ms, execution) of one market since an instant, oldest first."""
        line, size, found = self._line, self._line.quirks.page, dict[str, Any]()
        until_ms = int(line.client.milliseconds()) + AHEAD_MS
        for kind in ({}, *line.quirks.more_trades):

            async def ask(a: int, b: int, kind: Mapping[str, Any] = kind) -> list[Any]:
                return list(await line.read(lambda: line.client.fetch_my_trades(symbol, a, size, {**kind, "until": b})))

            found.update((str(t["id"]), t) for t in await every(ask, since_ms, until_ms, size))
        ordered = sorted(found.values(), key=lambda t: (t["timestamp"], str(t["id"])))
        return [(int(t["timestamp"]), await self.whole(t)) for t in ordered]


class Snapshots:
    """Full answers about the account. lost: set when the stream turns out to have missed a fill."""

    def __init__(self, line: Line, fills: Fills, since_ns: int) -> None:
        self._line = line
        self._fills = fills
        self._first_ns = since_ns
        self._since_ns = since_ns
        self._ledger = Ledger(line)
        self._booked_ns = 0
        self._running = False
        self.lost = asyncio.Event()

    async def answer(self) -> None:
        """Answer one question for the whole state; questions that come meanwhile get this same answer."""
        if self._running:
            return
        self._running = True
        try:
            await self._answer()
        except failures() as error:
            self._line.failed(self._line.judge(error).text)
        finally:
            self._running = False

    async def _answer(self) -> None:
        """Ask again while fills come in between: positions of one instant and fills of another do not belong together."""
        for _ in range(TRIES):
            began, count = self._line.clock(), self._fills.count
            snapshot, events = await self._look()
            for event in events:
                if isinstance(event, ev.OrderFilled):
                    self._fills.note(event)
                self._line.emit(event)
            if self._fills.count == count:
                self._since_ns = max(self._first_ns, began - OVERLAP_NS)
                self._line.emit(snapshot)
                return
        self._line.failed("fills came in during every try")

    async def _look(self) -> tuple[ev.VenueSnapshot, list[ev.Event]]:
        line, client = self._line, self._line.client
        listed = net_positions(await positions(line), line.symbols)
        balance = await line.read(client.fetch_balance)
        account = self._account(balance)
        working = [w for symbol in line.symbols.id_of for w in await self._working(symbol)]
        since = self._since_ns // MS
        timed = [t for symbol in line.symbols.id_of for t in await self._fills.since(symbol, since)]
        self._suspect(timed)
        booked = await self._bookings()
        _agree(listed, account, line.symbols.named, bool(working))
        now = line.clock()
        snapshot = ev.VenueSnapshot(
            ts=now, venue=line.venue, positions=listed, working=tuple(working), cash=account.cash, maintenance=account.maintenance,
        )  # fmt: skip
        return snapshot, [*(e for _, e in timed), *booked]

    async def _bookings(self) -> list[ev.Event]:
        """Return what the ledger says, now and then: reading it costs as much as all the rest together."""
        now = self._line.clock()
        if now - self._booked_ns < LEDGER_NS:
            return []
        first = self._first_ns if not self._booked_ns else max(self._first_ns, self._booked_ns - OVERLAP_NS)
        booked = await self._ledger.since(first // MS)
        self._booked_ns = now
        return booked

    def _account(self, balance: Mapping[str, Any]) -> Account:
        read = self._line.quirks.account
        if read is not None:
            return read(balance["info"])
        total = balance["total"]
        used = sum((number(v) for v in (balance.get("used") or {}).values()), Decimal(0))
        return Account({c: number(v) for c, v in total.items()}, {}, None, used)

    async def _working(self, symbol: str) -> list[ev.WorkingOrder]:
        orders = await self._line.read(lambda: self._line.client.fetch_open_orders(symbol))
        states = [order_state(o) for o in orders]
        for state in states:
            self._line.learn(state.venue_order_id, state.client_id)
        return [ev.WorkingOrder(client_id=s.client_id, venue_order_id=s.venue_order_id, filled=s.filled) for s in states]

    def _suspect(self, timed: list[tuple[int, ev.OrderFilled]]) -> None:
        """Distrust the stream when a fill that is not new has not come by it."""
        late = [e for ts, e in timed if ts * MS < self._line.clock() - LATE_NS and not self._fills.seen(e)]
        if late and self._since_ns != self._first_ns:
            self._line.log("fill_missed", {"exec_id": late[0].exec_id, "count": len(late)})
            self.lost.set()


async def positions(line: Line) -> list[Any]:
    """Return every open position as ccxt tells it."""
    client = line.client
    if not line.quirks.positions_by_settle:
        return list(await line.read(client.fetch_positions))
    out: list[Any] = []
    for settle, inverse in sorted({(x.settle, x.inverse) for x in line.symbols.instruments.values()}):
        only = {"subType": "inverse"} if inverse else {"subType": "linear", "settleCoin": settle}
        out.extend(await line.read(lambda only=only: client.fetch_positions(None, only)))  # type: ignore[misc]
    return out


def _agree(listed: Mapping[InstrumentId, Decimal], account: Account, named: Any, working: bool) -> None:
    """Raise ValueError when the account's own totals contradict the list of positions."""
    if account.positions is not None:
        told = {named(m): q for m, q in account.positions.items()}
        if told != {i: q for i, q in listed.items() if i in told or q}:
            raise ValueError(f"positions {_short(listed)} against {_short(told)} in the account")
    elif not listed and not working and account.in_use:
        raise ValueError(f"no positions listed, yet the account holds margin of {account.in_use}")


def _short(held: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{i} {q}" for i, q in sorted(held.items())) or "none"
