"""Orders at the broker: what was sent, what TWS says of it, and what may be concluded from that.

An order is known by our id, which travels as its orderRef and comes back with everything; the broker's permanent id is kept
beside it, order ids belong to one client id. That an order ended without being filled is emitted only when its end was told
AND a later look at open orders, completed orders and executions agrees (`settle`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from bot.model import event as ev
from bot.model.ids import ClientId, VenueId
from bot.model.instrument import Instrument, to_decimal
from bot.model.order import OrderSpec, Outcome
from bot.model.ports import Emit
from bot.venues.ib_contracts import Contracts
from bot.venues.ib_executions import UNKNOWN, Executions, named, whole

ZERO = Decimal(0)
ALIVE = frozenset({"PendingSubmit", "ApiPending", "PreSubmitted", "Submitted", "PendingCancel"})
ENDED = frozenset({"Cancelled", "ApiCancelled", "Inactive"})


class Sent(StrEnum):
    """How far an order of ours has got on its way out."""

    WAITING = "waiting for room in the message budget"
    GONE = "sent"
    STOPPED = "never left"
    FOUND = "met at the broker: sent by an earlier run"


class Ticket(msgspec.Struct, kw_only=True):
    """What is known of one order. qty: contracts asked for, 0 when not known. filled: sum of its executions.

    claim: how TWS says it ended, "" while it does not; cum and reason belong to it. refused: the gateway did not take it.
    doubt: a look is to show how it stands. order_id: of this client id, 0 when not known.
    """

    client_id: ClientId
    sent: Sent
    instrument: Instrument | None = None
    qty: Decimal = ZERO
    order_id: int = 0
    perm_id: int = 0
    filled: Decimal = ZERO
    accepted: bool = False
    claim: str = ""
    cum: Decimal = ZERO
    reason: str = ""
    refused: str = ""
    doubt: bool = False
    ended: bool = False


class Picture(msgspec.Struct, kw_only=True):
    """One look at all orders: open ones by our id or the broker's number, with status and whose they are; completed ones."""

    open: dict[str, tuple[str, int]]
    completed: dict[str, tuple[str, Decimal, str]]


class Orders:
    """Every order by our id. look: asks for a Picture soon, to be given to `settle`."""

    def __init__(self, venue: VenueId, client: int, contracts: Contracts, clock: Callable[[], int], log: Callable[..., None], look: Callable[[], None]) -> None:
        self.emit: Emit = lambda event: None
        self.tickets: dict[ClientId, Ticket] = {}
        self._client = client
        self._contracts = contracts
        self._clock = clock
        self._log = log
        self._look = look
        self._by_order: dict[int, Ticket] = {}
        self._by_perm: dict[int, Ticket] = {}
        self.executions = Executions(venue, contracts, clock, lambda event: self.emit(event))

    # On the way out.

    def sending(self, spec: OrderSpec, instrument: Instrument, order_id: int) -> Ticket:
        """Note an order that is about to be sent."""
        ticket = Ticket(client_id=spec.client_id, sent=Sent.WAITING, instrument=instrument, qty=spec.qty, order_id=order_id)
        self.tickets[spec.client_id] = self._by_order[order_id] = ticket
        return ticket

    def new_line(self) -> None:
        """Forget order ids, which a new connection may use again."""
        for ticket in self.tickets.values():
            if not ticket.ended:
                ticket.order_id = 0
        self._by_order.clear()
        self.missed()

    def missed(self) -> None:
        """Take it that something was said and did not arrive: the next look shows what became of every live order."""
        for ticket in self.tickets.values():
            ticket.doubt = not ticket.ended and ticket.sent is not Sent.WAITING

    # What TWS says.

    def open_order(self, order_id: int, contract: Any, order: Any, status: str) -> None:
        """Hear of an order that is or was open."""
        ticket = self._named(order.orderRef)
        if ticket is None:
            return
        ticket.instrument = ticket.instrument or self._contracts.by_number(contract.conId)
        ticket.qty = ticket.qty or whole(order.totalQuantity)
        if order.clientId == self._client and order_id > 0:
            ticket.order_id = order_id
            self._by_order[order_id] = ticket
        self._permanent(ticket, order.permId)
        if status == "Submitted":
            self._accept(ticket)

    def order_status(self, order_id: int, client: int, perm_id: int, status: str, filled: float) -> None:
        """Hear how an order stands."""
        ticket = self._by_order.get(order_id) if client == self._client else self._by_perm.get(perm_id)
        if ticket is None or ticket.ended:
            return
        self._permanent(ticket, perm_id)
        cum = whole(filled)
        if status == "Submitted":
            self._accept(ticket)
        elif status == "Filled":
            self._end(ticket, Outcome.FILLED, max(cum, ticket.filled), "")
            if ticket.filled < cum:
                self._look()  # its executions are missing
        elif status in ENDED:
            ticket.claim, ticket.cum = status, max(cum, ticket.cum)
            self._look()

    def execution(self, contract: Any, execution: Any) -> None:
        """Hear of an execution, for the first time or again."""
        fill = self.executions.first(contract, execution)
        if fill is None:
            return
        ticket = self._named(fill.client_id)
        if ticket is not None:
            self._permanent(ticket, execution.permId)
            ticket.filled += fill.qty
        self.executions.book(fill)

    def commission(self, report: Any) -> None:
        """Hear what an execution cost."""
        self.executions.commission(report)

    def hint(self, order_id: int, code: int, told: str, refused: bool) -> Ticket | None:
        """Hear a code that names an order. refused: the gateway says that it did not take it. Returns the order it names."""
        ticket = self._by_order.get(order_id)
        if ticket is None or ticket.ended:
            return ticket
        if refused and not ticket.accepted and not ticket.perm_id:
            ticket.refused = f"{code}: {told}"
        ticket.doubt = True
        ticket.reason = ticket.reason if code == 202 and ticket.reason else f"{code}: {told}"
        self._look()
        return ticket

    def name(self, order_id: int) -> ClientId:
        """Return our id of an order id of this connection, "" for none."""
        ticket = self._by_order.get(order_id)
        return "" if ticket is None else ticket.client_id

    # What may be concluded.

    def unsettled(self) -> list[Ticket]:
        """Return the orders of which something was told that a look, beginning now, can confirm."""
        found = [t for t in self.tickets.values() if not t.ended and (t.claim or t.refused or t.doubt)]
        for ticket in found:
            ticket.doubt = False
        return found

    def unsure(self, unsettled: list[Ticket]) -> None:
        """Keep in mind what a look that failed was to confirm."""
        for ticket in unsettled:
            ticket.doubt = True

    def settle(self, unsettled: list[Ticket], picture: Picture) -> list[Ticket]:
        """Compare what was told before a look with it; return orders that are inactive and not gone: they may come back to life."""
        dormant = []
        for ticket in unsettled:
            if ticket.ended:
                continue
            status = self.shown_open(ticket.client_id, picture)[0]
            if status in ALIVE:
                if ticket.claim or ticket.refused:
                    self._log("ib.claim_refuted", order=ticket.client_id, claim=ticket.claim or ticket.refused, status=status)
                ticket.claim = ticket.refused = ticket.reason = ""
                ticket.cum = ZERO
            elif status:
                dormant.append(ticket)
            else:
                self._conclude(ticket, picture)
        return dormant

    def answer(self, client_id: ClientId, picture: Picture) -> None:
        """Say what a complete look shows of one order, after its executions, which are repeated."""
        self.executions.repeat_of(client_id)
        ticket = self._named(client_id) if client_id in picture.completed else self.tickets.get(client_id)
        if ticket is not None and ticket.sent is Sent.WAITING:
            return  # it has not left yet: the broker knows nothing, which means nothing
        status, perm_id = self.shown_open(client_id, picture)
        if status:
            self.emit(ev.OrderAccepted(ts=self._clock(), client_id=client_id, venue_order_id=str(perm_id)))
            if ticket is not None:
                ticket.accepted = True
        elif ticket is not None and self._conclude(ticket, picture):
            return
        else:
            self.emit(ev.OrderNotFound(ts=self._clock(), client_id=client_id))

    def shown_open(self, client_id: ClientId, picture: Picture) -> tuple[str, int]:
        """Return status and number of an order that a look shows as open, ("", 0) for one that is not.

        What is pushed while open orders are being told is not to be told from the answer, so a later answer weighs more.
        """
        ticket = self.tickets.get(client_id)
        filled = ticket is not None and bool(ticket.qty) and ticket.filled >= ticket.qty
        return ("", 0) if filled or client_id in picture.completed else picture.open.get(client_id, ("", 0))

    def _conclude(self, ticket: Ticket, picture: Picture) -> bool:
        """Emit how an order that is no longer open ended; return whether that is known."""
        done = picture.completed.get(ticket.client_id)
        if done is not None:
            status, cum, told = done
            cum = max(cum, ticket.filled, ticket.cum)
            self._end(ticket, _outcome(status, cum), cum, ticket.reason or told)
        elif ticket.qty and ticket.filled >= ticket.qty:
            self._end(ticket, Outcome.FILLED, ticket.filled, "")
        elif ticket.claim:
            cum = max(ticket.cum, ticket.filled)
            self._end(ticket, _outcome(ticket.claim, cum), cum, ticket.reason)
        elif ticket.refused and not ticket.filled:
            self._end(ticket, Outcome.REJECTED, ZERO, ticket.refused)
        else:
            return False
        return True

    # Inside.

    def _named(self, ref: str) -> Ticket | None:
        """Return the ticket of a reference that may be one of our ids, a new one for an order of an earlier run."""
        return self.tickets.setdefault(ref, Ticket(client_id=ref, sent=Sent.FOUND)) if named(ref) else None

    def _permanent(self, ticket: Ticket, perm_id: int) -> None:
        if perm_id:
            ticket.perm_id = perm_id
            self._by_perm[perm_id] = ticket

    def _accept(self, ticket: Ticket) -> None:
        if not ticket.accepted and not ticket.ended:
            ticket.accepted = True
            self.emit(ev.OrderAccepted(ts=self._clock(), client_id=ticket.client_id, venue_order_id=str(ticket.perm_id)))

    def _end(self, ticket: Ticket, outcome: Outcome, cum: Decimal, reason: str) -> None:
        ticket.ended, ticket.doubt = True, False
        self.emit(ev.OrderEnded(ts=self._clock(), client_id=ticket.client_id, outcome=outcome, cum_qty=cum, reason=reason))


def picture(open_rows: Iterable[Any], completed_rows: Iterable[Any]) -> Picture:
    """Return what the answers about orders say, by our id, or by the broker's number for an order that carries none."""
    seen = Picture(open={}, completed={})
    for _, order, state in open_rows:
        if state.status in ALIVE or state.status == "Inactive":
            seen.open[order.orderRef or f"ib{order.permId}"] = state.status, order.permId
    for _, order, state in completed_rows:
        if order.orderRef:
            told = to_decimal(order.filledQuantity) if order.filledQuantity < UNKNOWN else ZERO
            seen.completed[order.orderRef] = state.status, whole(float(told)), state.completedStatus
    return seen


def _outcome(status: str, cum: Decimal) -> Outcome:
    if status == "Filled":
        return Outcome.FILLED
    return Outcome.REJECTED if status == "Inactive" and not cum else Outcome.CANCELLED
