"""Full answers about the account: what is held, what works, what money there is, and what happened since the last one.

An empty list of positions is what a broken answer looks like, so it counts as flat only when the account's own totals agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bot.model import event as ev
from bot.model.event import NEVER
from bot.model.ids import InstrumentId
from bot.venues.perp_account import Fills
from bot.venues.perp_ledger import Ledger
from bot.venues.perp_line import Line, failures
from bot.venues.perp_parse import MS, net_positions, order_state
from bot.venues.perp_quirks import Account, number

S = 1_000_000_000
OVERLAP_NS = 60 * S
"""A question of our own reaches this far back: what was under way when the last answer came."""
LEDGER_NS = 15 * S
"""The ledger is read at most this often: Binance counts 30 of 2,400 a minute for it, and questions may come every second."""
HISTORY_NS = 30 * 86_400 * S
"""No question reaches further back; Binance keeps three months of its ledger and answers a week of trades at a time."""
TRIES = 3


class Snapshots:
    """Answers the desk's questions, one at a time; those that come meanwhile are answered by the same answer."""

    def __init__(self, line: Line, fills: Fills) -> None:
        self._line = line
        self._fills = fills
        self._ledger = Ledger(line)
        self._read_ns = 0
        self._answered_ns = 0
        self._wanted_ns = NEVER
        self._owed_ns = NEVER
        self._running = False

    async def answer(self, since_ns: int) -> None:
        """Tell every execution and booking since an instant, then the whole state; or that there is no usable answer."""
        since_ns = max(since_ns, self._line.clock() - HISTORY_NS)
        self._wanted_ns = min(self._wanted_ns, since_ns)
        self._owed_ns = min(self._owed_ns, since_ns)
        if self._running:
            return
        self._running = True
        try:
            await self._answer()
        except failures() as error:
            self._line.failed(self._line.judge(error).text)
        finally:
            self._running = False

    async def catch_up(self) -> None:
        """Tell the latest executions again, because a message did not say whose one was; the next answer makes up for a failure."""
        since = (self._answered_ns or self._line.clock()) - OVERLAP_NS
        try:
            self._tell(await self._executions(since))
        except failures() as error:
            self._line.log("catch_up_error", {"text": self._line.judge(error).text})

    async def _answer(self) -> None:
        """Ask again while fills come in between: positions of one instant and fills of another do not belong together."""
        for _ in range(TRIES):
            began, count, since = self._line.clock(), self._fills.count, self._wanted_ns
            snapshot = await self._look()
            self._tell(await self._executions(since))
            for booking in await self._bookings():
                self._line.emit(booking)
            if self._fills.count == count and self._wanted_ns >= since:
                self._wanted_ns, self._answered_ns = NEVER, began
                self._fills.agree(snapshot.positions)
                self._line.emit(snapshot)
                return
        self._line.failed("fills came in during every try")

    async def _executions(self, since_ns: int) -> list[tuple[int, ev.OrderFilled]]:
        """Return (venue time in ms, execution) of every market since an instant."""
        return [t for symbol in self._line.symbols.id_of for t in await self._fills.since(symbol, since_ns // MS)]

    def _tell(self, timed: list[tuple[int, ev.OrderFilled]]) -> None:
        for at_ms, event in timed:
            self._fills.found(at_ms, event)
            self._line.emit(event)

    async def _bookings(self) -> list[ev.Event]:
        """Return what the ledger says since what it told last, now and then: reading it costs as much as all the rest together."""
        now = self._line.clock()
        if now - self._read_ns < LEDGER_NS:
            return []
        booked = await self._ledger.since(self._owed_ns // MS)
        self._read_ns, self._owed_ns = now, now - OVERLAP_NS
        return booked

    async def _look(self) -> ev.VenueSnapshot:
        line, client = self._line, self._line.client
        listed = net_positions(await positions(line), line.symbols)
        balance = await line.read(client.fetch_balance)
        account = self._account(balance)
        working = [w for symbol in line.symbols.id_of for w in await self._working(symbol)]
        _agree(listed, account, line.symbols.named, bool(working))
        now, settles = line.clock(), {x.settle for x in line.symbols.instruments.values()}
        return ev.VenueSnapshot(
            ts=now, venue=line.venue, positions=listed, working=tuple(working),
            cash={c: q for c, q in account.cash.items() if q or c in settles}, maintenance={c: m for c, m in account.maintenance.items() if m or c in settles},
        )  # fmt: skip

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
