"""The exchange's record of orders: every client id that ever arrived, what became of it, and how that is told.

A client id names one order for ever, refused ones included, so that a question about it always has the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bot.model.event import Event, OrderAccepted, OrderEnded, OrderFilled, OrderNotFound
from bot.model.ids import ClientId, InstrumentId, VenueId
from bot.model.instrument import notional, to_decimal
from bot.model.order import OrderSpec, Outcome
from bot.sim.account import Account, Booking
from bot.sim.listing import Listing, Ticket


class OrderReceived(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """First record of an order in the venue's log; refused ones are kept too, their id is spent."""

    ts: int
    spec: OrderSpec
    venue_order_id: str


class Halted(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Trading in an instrument stopped until `until_ns`."""

    ts: int
    instrument: InstrumentId
    until_ns: int


class RatesSet(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """From `ts` on the venue asks for `multiple` of the listed margin rates."""

    ts: int
    multiple: float


Record = OrderReceived | Booking | OrderEnded | Halted | RatesSet


class Register:
    """All orders by client id. What is told goes to `reports`, what must survive the process to `records`."""

    def __init__(self, venue: VenueId, listings: Mapping[InstrumentId, Listing], reports: list[Event], records: list[Any]) -> None:
        self.venue = venue
        self.tickets: dict[ClientId, Ticket] = {}
        self._listings = listings
        self._reports = reports
        self._records = records

    def receive(self, spec: OrderSpec, now_ns: int) -> Ticket:
        """Enter a new order under the venue's own number."""
        ticket = Ticket(spec=spec, venue_order_id=f"{self.venue}-o{len(self.tickets) + 1}")
        self.tickets[spec.client_id] = ticket
        self._records.append(OrderReceived(ts=now_ns, spec=spec, venue_order_id=ticket.venue_order_id))
        return ticket

    def accept(self, ticket: Ticket, now_ns: int) -> None:
        """Acknowledge an order."""
        self._reports.append(OrderAccepted(ts=now_ns, client_id=ticket.spec.client_id, venue_order_id=ticket.venue_order_id))

    def fill(self, ticket: Ticket, fill: OrderFilled) -> None:
        """Count an execution; an order that has all it asked for ends, once."""
        ticket.filled += fill.qty
        ticket.fills.append(fill)
        if ticket.outcome is None and ticket.filled >= ticket.spec.qty:
            self.end(ticket, Outcome.FILLED, "", fill.ts)

    def end(self, ticket: Ticket, outcome: Outcome, reason: str, now_ns: int) -> None:
        """End an order and say so with its cumulative quantity."""
        ticket.outcome, ticket.reason = outcome, reason
        listing = self._listings.get(ticket.spec.instrument)
        if listing is not None:
            listing.resting.pop(ticket.spec.client_id, None)
        ended = _ended(ticket, outcome, now_ns)
        self._reports.append(ended)
        self._records.append(ended)

    def tell(self, client_id: ClientId, now_ns: int) -> None:
        """Report everything known of a client id: acknowledgement, fills, end; or that it is not known."""
        ticket = self.tickets.get(client_id)
        if ticket is None:
            self._reports.append(OrderNotFound(ts=now_ns, client_id=client_id))
            return
        if ticket.outcome is not Outcome.REJECTED:
            self.accept(ticket, now_ns)
        self._reports.extend(ticket.fills)
        if ticket.outcome is not None:
            self._reports.append(_ended(ticket, ticket.outcome, now_ns))

    def restore(self, record: Record) -> None:
        """Take back what a record of the venue's log says of an order."""
        if isinstance(record, OrderReceived):
            self.tickets[record.spec.client_id] = Ticket(spec=record.spec, venue_order_id=record.venue_order_id)
        elif isinstance(record, OrderEnded):
            ticket = self.tickets[record.client_id]
            ticket.outcome, ticket.reason = record.outcome, record.reason
        elif isinstance(record, OrderFilled) and record.client_id in self.tickets:
            ticket = self.tickets[record.client_id]
            ticket.filled += record.qty
            ticket.fills.append(record)


def _ended(ticket: Ticket, outcome: Outcome, now_ns: int) -> OrderEnded:
    return OrderEnded(ts=now_ns, client_id=ticket.spec.client_id, outcome=outcome, cum_qty=ticket.filled, reason=ticket.reason)


HALTED = "trading halted"
BEYOND = "price beyond limit"


def refusal(spec: OrderSpec, x: Listing, account: Account, now_ns: int, in_session: bool, limit_share: float) -> str:
    """Return why an order cannot be taken, "" if it can. A reduction needs no initial margin, but a price within limits."""
    i = x.instrument
    if i.expiry_ns is not None and now_ns >= i.expiry_ns:
        return "contract expired"
    if not in_session:
        return "session closed"
    if x.halted_until:
        return HALTED
    if not spec.qty.is_finite() or spec.qty <= 0 or spec.qty % i.lot:
        return f"quantity {spec.qty} is not a positive multiple of {i.lot}"
    if not spec.limit.is_finite() or spec.limit <= 0 or spec.limit % i.tick:
        return f"price {spec.limit} is not a positive multiple of {i.tick}"
    reference = x.price() if limit_share > 0.0 else 0.0
    if reference > 0.0:
        bound = to_decimal(reference) * (1 + to_decimal(limit_share) * spec.side.sign)
        if (spec.limit - bound) * spec.side.sign > 0:
            return f"{BEYOND}: {spec.limit} is beyond {bound}"
    held, signed = x.position.qty, spec.qty * spec.side.sign
    reduces = held * signed < 0 and abs(signed) <= abs(held)
    if spec.reduce_only and not reduces:
        return "reduce-only order would not reduce"
    if not spec.reduce_only and abs(notional(i, spec.qty, spec.limit)) < i.min_notional:
        return f"notional below {i.min_notional}"
    if not reduces and not account.affords(x, spec.side, spec.qty, spec.limit):
        return "insufficient margin"
    return ""
