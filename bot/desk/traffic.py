"""Counts what goes to each venue and what comes back, beside the loop: the message figures of the `venues` verb.

Counts are of this process; they are no obligation, so a recovery begins at zero.
"""

from __future__ import annotations

import msgspec

from bot.engine.step import Engine, Step
from bot.model import event as ev
from bot.model.command import Cancel, QueryOrder, QueryVenue, Submit
from bot.model.ids import VenueId

_SENT = {Submit: "orders", Cancel: "cancels", QueryOrder: "order_queries", QueryVenue: "venue_queries"}
_CAME = {
    ev.OrderAccepted: "acks", ev.OrderFilled: "fills", ev.OrderEnded: "ends", ev.OrderNotFound: "not_found", ev.NoAnswer: "unanswered",
    ev.QueryFailed: "failed_queries", ev.FundingPaid: "bookings", ev.CashBooked: "bookings", ev.VenueStatus: "status_changes",
}  # fmt: skip


class Messages(msgspec.Struct, kw_only=True):
    """Messages of one venue: what was asked of it, then what it said. unanswered: noted by us when nothing came back in time."""

    orders: int = 0
    cancels: int = 0
    order_queries: int = 0
    venue_queries: int = 0
    acks: int = 0
    fills: int = 0
    ends: int = 0
    not_found: int = 0
    unanswered: int = 0
    failed_queries: int = 0
    bookings: int = 0
    status_changes: int = 0


class Traffic:
    """Observer of one runtime (bot.runtime.Observer). Full answers that only agree are not journalled and not counted as replies."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_venue: dict[VenueId, Messages] = {venue: Messages() for venue in engine.ob.silos}

    def of(self, venue: VenueId) -> Messages:
        """Return the counts of one venue."""
        return self._by_venue[venue]

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Count one step: what triggered it, silence it noted, commands it sent."""
        self._came(event)
        for decision in out.events:
            self._came(decision)
        for command in out.commands:
            venue = command.order.venue if isinstance(command, Submit) else command.venue
            _add(self._by_venue[venue], _SENT[type(command)])

    def marked(self, now_ns: int) -> None:
        """Marks are market data, not messages of ours."""

    def _came(self, event: ev.Event) -> None:
        name = _CAME.get(type(event))
        if name is None:
            return
        venue = getattr(event, "venue", "")
        if not venue:
            order = self._engine.ob.orders.get(getattr(event, "client_id", ""))
            venue = order.spec.venue if order is not None else ""
        if venue in self._by_venue:
            _add(self._by_venue[venue], name)


def _add(messages: Messages, name: str) -> None:
    setattr(messages, name, getattr(messages, name) + 1)
