"""Orders, cancels and questions about them: each sent once, each answer an event, each error exactly as much as it proves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from bot.model import event as ev
from bot.model.command import Cancel, QueryOrder, Submit
from bot.model.ids import ClientId
from bot.model.order import OrderSpec, Outcome
from bot.venues.budget import Priority
from bot.venues.perp_account import Fills
from bot.venues.perp_errors import Meaning, told
from bot.venues.perp_line import Line, failures, heard
from bot.venues.perp_parse import OrderState, order_events, order_state
from bot.venues.perp_quirks import number
from bot.venues.perp_socket import OrderSocket

STALE_S = 1.0
"""An order that waited this long for the message budget does not leave any more: the desk counts it as silent after two
seconds and may find it absent a few seconds later."""
DEADLINE_S = 30.0
"""How long an answer over the order socket is waited for; the library itself would wait for ever."""


class Orders:
    """The order side of one line. socket: orders may go over the order socket."""

    def __init__(self, line: Line, fills: Fills, socket: bool) -> None:
        self._line = line
        self._fills = fills
        self._socket = OrderSocket(line, socket)
        self._sent: set[ClientId] = set()
        self._asking: set[ClientId] = set()

    # Sending.

    def submit(self, command: Submit) -> Coroutine[Any, Any, None]:
        """Send an order once: in this call if the order socket is open and the message budget has room, else in what is returned.

        What is returned has to be awaited in any case: it takes the answer.
        """
        turn = self._line.ask(Priority.OPEN if command.opening and not command.order.reduce_only else Priority.REDUCE)
        asked = asyncio.get_running_loop().time()
        return self._submitted(command, turn, asked, self._written(command) if turn.done() else None)

    def _written(self, command: Submit) -> asyncio.Future[Any] | None:
        """Write an order now and return the future of its answer; None when it cannot leave in this way."""
        if not self._socket.direct or command.order.client_id in self._sent or self._obstacle(command, 0.0):
            return None
        try:
            answer = self._socket.place(command.order)
        except failures() as error:
            self._line.log("order_unwritten", {"client_id": command.order.client_id, "text": told(error)})
            return None
        self._sent.add(command.order.client_id)
        return answer

    async def _submitted(self, command: Submit, turn: asyncio.Future[None], asked: float, answer: asyncio.Future[Any] | None) -> None:
        """Send an order that has not been written yet, and take the answer."""
        line, spec = self._line, command.order
        if answer is None:
            await turn
            if spec.client_id in self._sent:  # never sent twice; what became of the first is the answer
                await self.query(QueryOrder(spec.venue, spec.instrument, spec.client_id))
                return
            why = self._obstacle(command, asyncio.get_running_loop().time() - asked)
            if why:
                self._end(spec.client_id, Outcome.DENIED, why)
                return
            self._sent.add(spec.client_id)
        try:
            state = order_state(await (self._place(spec) if answer is None else _in_time(answer)))
            if state.client_id not in ("", spec.client_id):
                raise ValueError(f"an answer about {state.client_id}")
        except failures() as error:
            self._unplaced(spec, error)
            return
        line.learn(state.venue_order_id, spec.client_id)
        self._tell(order_events(state, spec.client_id, line.clock()))

    def _obstacle(self, command: Submit, waited_s: float) -> str:
        """Return why a command must not be carried out, "" when it may."""
        return self._unsendable(command.order, waited_s) or (self._line.no_openings if command.opening and not command.order.reduce_only else "")

    def _unsendable(self, spec: OrderSpec, waited_s: float) -> str:
        """Return why an order must not leave, "" when it may."""
        line = self._line
        if line.blocked:
            return line.blocked
        if spec.instrument not in line.symbols.symbol:
            return f"{spec.instrument} is not on the list of instruments of {line.venue}"
        if waited_s > STALE_S:
            return f"waited {waited_s:.1f} s for the venue's message limit"
        return self._off_grid(spec)

    def _off_grid(self, spec: OrderSpec) -> str:
        """Return why this is no order, or why the library would send another: it cuts off what does not fit its grid, of which ours is a part."""
        if not (spec.qty.is_finite() and spec.limit.is_finite() and spec.qty > 0 and spec.limit > 0):
            return f"{spec.qty} @ {spec.limit} is no order"
        terms = self._line.symbols.instruments[spec.instrument]
        if not spec.limit % terms.tick and not spec.qty % terms.lot:
            return ""
        client, symbol = self._line.client, self._line.symbols.symbol[spec.instrument]
        try:
            price = number(client.price_to_precision(symbol, float(spec.limit)))
            qty = number(client.amount_to_precision(symbol, float(spec.qty)))
        except failures() as error:  # less than the smallest step of the grid
            return told(error)
        return "" if (price, qty) == (spec.limit, spec.qty) else f"{spec.qty} @ {spec.limit} would be sent as {qty} @ {price}"

    async def _place(self, spec: OrderSpec) -> Any:
        what = self._socket.arguments(spec)
        if not self._socket.up:
            return await self._line.client.create_order(*what)
        return await _in_time(self._line.client.create_order_ws(*what))

    def _unplaced(self, spec: OrderSpec, error: BaseException) -> None:
        """Say what an error of a submit proves: not sent, refused, or nothing at all."""
        line = self._line
        found = line.judge(error)
        line.log("order_error", {"client_id": spec.client_id, "meaning": found.meaning.value, "text": found.text})
        if found.meaning is Meaning.NOT_SENT:
            self._end(spec.client_id, Outcome.DENIED, found.text)
        elif found.no_order:
            self._end(spec.client_id, Outcome.REJECTED, found.text)
        else:
            line.silence(spec.client_id, found.text)

    # Cancelling and asking.

    async def cancel(self, command: Cancel) -> None:
        """Ask for a cancellation; what became of the order is told or, where the answer does not say it, asked for."""
        line = self._line
        symbol = line.symbols.symbol.get(command.instrument)
        if symbol is None:
            line.failed(f"{command.instrument} is not on the list of instruments of {line.venue}")
            return
        await line.turn(Priority.CANCEL)
        params = {line.quirks.cancel_by: command.client_id}
        try:
            if self._socket.up:
                reply = await _in_time(line.client.cancel_order_ws(None, symbol, params))
            else:
                reply = await line.client.cancel_order(None, symbol, params)
            state = order_state(reply)
        except failures() as error:
            found = line.judge(error)
            line.log("cancel_error", {"client_id": command.client_id, "meaning": found.meaning.value, "text": found.text})
            if found.meaning is Meaning.THROTTLED:
                line.failed(found.text)
            elif found.meaning in (Meaning.UNKNOWN, Meaning.NOT_SENT, Meaning.CLOCK, Meaning.KEY):
                line.silence(command.client_id, found.text)
            else:
                await self.query(QueryOrder(command.venue, command.instrument, command.client_id))
            return
        events = order_events(state, command.client_id, line.clock())
        if isinstance(events[-1], ev.OrderEnded):
            self._tell(events)
        else:
            await self.query(QueryOrder(command.venue, command.instrument, command.client_id))

    async def query(self, command: QueryOrder) -> None:
        """Tell the whole state of an order: acknowledgement, fills, end; or that the exchange does not know it.

        Questions about an order that is being asked about are answered by the same answer: they come every second, answers may not.
        """
        if command.client_id in self._asking:
            return
        self._asking.add(command.client_id)
        try:
            await self._query(command)
        finally:
            self._asking.discard(command.client_id)

    async def _query(self, command: QueryOrder) -> None:
        line = self._line
        symbol = line.symbols.symbol.get(command.instrument)
        if symbol is None:
            line.failed(f"{command.instrument} is not on the list of instruments of {line.venue}")
            return
        try:
            state = await self._find(symbol, command.client_id)
            trades = await self._fills.of_order(state, command.client_id) if state is not None and state.filled else []
        except failures() as error:
            found = line.judge(error)
            line.failed(f"order {command.client_id}: {found.text}")
            return
        if state is None:
            line.emit(ev.OrderNotFound(ts=line.clock(), client_id=command.client_id))
            return
        line.learn(state.venue_order_id, command.client_id)
        events = order_events(state, command.client_id, line.clock())
        ends = [e for e in events if isinstance(e, ev.OrderEnded)]
        self._tell([*(e for e in events if not isinstance(e, ev.OrderEnded)), *trades, *ends])

    async def _find(self, symbol: str, client_id: ClientId) -> OrderState | None:
        """Return an order by its client id, None when the exchange says that it does not know it."""
        line, quirks = self._line, self._line.quirks
        by = {quirks.query_by: client_id}
        if quirks.query == "lists":
            for ask in (line.client.fetch_open_orders, line.client.fetch_canceled_and_closed_orders):
                orders = await line.read(lambda ask=ask: ask(symbol, None, None, by))  # type: ignore[misc]
                for state in map(order_state, orders):
                    if state.client_id == client_id:
                        return state
            return None
        try:
            state = order_state(await line.read(lambda: line.client.fetch_order(None, symbol, by)))
        except failures() as error:
            if line.judge(error).meaning is Meaning.NOT_FOUND:
                return None
            raise
        if state.client_id != client_id:
            raise ValueError(f"asked for {client_id}, told of {state.client_id}")
        return state

    def _tell(self, events: list[ev.Event]) -> None:
        for event in events:
            self._line.emit(event)

    def _end(self, client_id: ClientId, outcome: Outcome, reason: str) -> None:
        self._tell([ev.OrderEnded(ts=self._line.clock(), client_id=client_id, outcome=outcome, cum_qty=number(None), reason=reason)])


async def _in_time(answer: Awaitable[Any]) -> Any:
    """Return an answer over the order socket. Raises TimeoutError after DEADLINE_S."""
    async with asyncio.timeout(DEADLINE_S):
        return await heard(answer)
