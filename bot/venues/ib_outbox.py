"""Orders and cancels on their way to the broker: what cannot leave now is said to be blocked, never kept for later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bot.model import event as ev
from bot.model.command import Cancel, Submit
from bot.model.ids import ClientId
from bot.model.order import Outcome
from bot.venues.budget import Priority
from bot.venues.ib_account import account_of
from bot.venues.ib_contracts import Found
from bot.venues.ib_line import Line
from bot.venues.ib_orders import ZERO, Sent, Ticket
from bot.venues.ib_session import Session
from bot.venues.ib_windows import window_at


class Outbox:
    """Sends over the session's line.

    An order that cannot leave is answered with SendBlocked within the call. One that waited for room and then did not leave
    ends as DENIED with nothing filled: by then the engine may have given it up as unknown, from where only an end leads on.
    """

    def __init__(self, session: Session, client_id: int, clock: Callable[[], int], log: Callable[..., None]) -> None:
        self._session = session
        self._client_id = client_id
        self._clock = clock
        self._log = log

    def submit(self, command: Submit) -> None:
        """Send an order, or say why it cannot leave."""
        spec, session = command.order, self._session
        if spec.client_id in session.orders.tickets:
            session.looks.order(spec.client_id)  # never sent twice; what became of the first is the answer
            return
        line, why = session.line, self._obstacle(command)
        if why or line is None:
            self._blocked(spec.client_id, why or "not connected")
            return
        found = session.contracts.found[spec.instrument]
        ticket = session.orders.sending(spec, found.instrument, line.next_number())
        order = line.lib.Order(
            orderId=ticket.order_id, clientId=self._client_id, action=spec.side.value.upper(), totalQuantity=int(spec.qty), orderType="LMT",
            lmtPrice=float(spec.limit), tif=spec.tif.value.upper(), orderRef=spec.client_id, account=account_of(line), outsideRth=True, transmit=True,
        )  # fmt: skip
        asked_s = asyncio.get_running_loop().time()
        line.budget.ask(Priority.OPEN if command.opening else Priority.REDUCE, lambda: self._place(line, ticket, found, order, asked_s))

    def cancel(self, command: Cancel) -> None:
        """Ask for a cancel; without an order id the order is looked for first, and the engine asks again."""
        session = self._session
        ticket, line = session.orders.tickets.get(command.client_id), session.line
        if line is None or not line.alive:
            self._log("ib.cancel_lost", order=command.client_id)
        elif ticket is not None and ticket.sent is Sent.WAITING:
            self._stop(ticket, "cancelled")
        elif ticket is None or not ticket.order_id:
            session.looks.order(command.client_id)
        else:
            line.tell(Priority.CANCEL, lambda: line.client.cancelOrder(ticket.order_id, ""))

    def _obstacle(self, command: Submit) -> str:
        """Return why an order cannot leave, "" when it can."""
        spec, session = command.order, self._session
        if session.line is None or not session.line.alive or not session.up:
            return "not connected"
        if spec.instrument not in session.contracts.found:
            return session.contracts.why.get(spec.instrument, f"{spec.instrument} is not known at the broker")
        if not spec.qty.is_finite() or spec.qty <= 0 or spec.qty != int(spec.qty):
            return "not a whole number of contracts"
        if not spec.limit.is_finite() or spec.limit <= 0:
            return "not a price"
        if not command.opening:
            return ""
        window = window_at(self._clock())
        if window is not None and window.blocks:
            return f"broker's {window.name}"
        return session.quotes.live(spec.instrument)

    def _place(self, line: Line, ticket: Ticket, found: Found, order: Any, asked_s: float) -> None:
        """Send an order that may have waited for room, unless it has waited too long or its connection is gone."""
        if ticket.sent is not Sent.WAITING:
            return
        if asyncio.get_running_loop().time() - asked_s > self._session.pace.queued:
            self._stop(ticket, "message budget")
        elif line is not self._session.line or not line.alive:
            self._stop(ticket, "connection lost")
        else:
            ticket.sent = Sent.GONE
            line.client.placeOrder(ticket.order_id, found.contract, order)

    def _stop(self, ticket: Ticket, why: str) -> None:
        ticket.sent, ticket.ended = Sent.STOPPED, True
        self._session.emit(ev.OrderEnded(
            ts=self._clock(), client_id=ticket.client_id, outcome=Outcome.DENIED, cum_qty=ZERO, reason=f"never left: {why}",
        ))  # fmt: skip

    def _blocked(self, client_id: ClientId, why: str) -> None:
        self._session.emit(ev.SendBlocked(ts=self._clock(), client_id=client_id, reason=why))
