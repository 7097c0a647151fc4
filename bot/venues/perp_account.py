"""Executions of the account at one exchange: from the stream or asked for, each under the one client id that explains it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bot.model import event as ev
from bot.model.ids import ClientId, InstrumentId
from bot.venues.perp_line import AHEAD_MS, Line, windows
from bot.venues.perp_parse import MS, OrderState, fill, forced, order_state, our_id, trade_client_id
from bot.venues.perp_quirks import number

S = 1_000_000_000
SEEN = 20_000
LATE_NS = 5 * S
"""A fill that a question finds and the stream has not told after this long was lost on the stream."""


class Fills:
    """Executions of the account: from the stream or asked for, each under the one client id that explains it.

    attached_ns: since when the stream is heard, 0 while it is not. missed: set when it turns out to have kept a fill to itself.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._seen: dict[tuple[InstrumentId, str], None] = {}
        self.count = 0
        self._net: dict[InstrumentId, Decimal] = {}
        self._agreed: dict[InstrumentId, Decimal] | None = None
        self.attached_ns = 0
        self.missed = asyncio.Event()

    def seen(self, event: ev.OrderFilled) -> bool:
        """Return whether an execution was told before."""
        return (event.instrument, event.exec_id) in self._seen

    def note(self, event: ev.OrderFilled) -> None:
        """Remember an execution that is told; `count` counts the different ones."""
        if self.seen(event):
            return
        self.count += 1
        self._net[event.instrument] = self._net.get(event.instrument, Decimal(0)) + event.qty * event.side.sign
        self._seen[event.instrument, event.exec_id] = None
        if len(self._seen) > SEEN:
            for old in list(self._seen)[: SEEN // 4]:
                del self._seen[old]

    def agree(self, held: Mapping[InstrumentId, Decimal]) -> None:
        """Remember what a whole answer says is held now that every execution before it has been told."""
        self._agreed = {i: held.get(i, Decimal(0)) - self._net.get(i, Decimal(0)) for i in {*held, *self._net}}

    def explain(self, instrument: InstrumentId, held: Decimal) -> bool:
        """Return whether executions told since the last whole answer lead from it to `held`; True before there was one."""
        if self._agreed is None:
            return True
        return self._agreed.get(instrument, Decimal(0)) + self._net.get(instrument, Decimal(0)) == held

    def found(self, at_ms: int, event: ev.OrderFilled) -> None:
        """Remember an execution that a question brought; one that the stream should have told long ago casts doubt on it."""
        if not self.seen(event) and 0 < self.attached_ns < at_ms * MS < self._line.clock() - LATE_NS:
            self._line.log("fill_missed", {"exec_id": event.exec_id})
            self.missed.set()
        self.note(event)

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
        for trade, event in zip(mine, out, strict=True):
            self.found(int(trade["timestamp"]), event)
        return out

    async def since(self, symbol: str, since_ms: int) -> list[tuple[int, ev.OrderFilled]]:
        """Return (venue time in ms, execution) of one market since an instant, oldest first."""
        line, size, found = self._line, self._line.quirks.page, dict[str, Any]()
        until_ms = int(line.client.milliseconds()) + AHEAD_MS
        for kind in ({}, *line.quirks.more_trades):

            async def ask(a: int, b: int, kind: Mapping[str, Any] = kind) -> list[Any]:
                return list(await line.read(lambda: line.client.fetch_my_trades(symbol, a, size, {**kind, "until": b})))

            found.update((str(t["id"]), t) for t in await windows(ask, since_ms, until_ms, size))
        ordered = sorted(found.values(), key=lambda t: (t["timestamp"], str(t["id"])))
        return [(int(t["timestamp"]), await self.whole(t)) for t in ordered]
