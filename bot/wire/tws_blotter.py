"""The orders of every client as the TWS server keeps them, and how what the venue says of them is passed on.

Order ids belong to a client id, permanent ids to everybody. An order's reference is free text; when it can name an order at
the exchange and does not yet, it does, so that both sides' records agree. What is pushed follows the venue's reports, which
may be lost, late or doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from bot.model.command import Command
from bot.model.event import Event, OrderAccepted, OrderEnded, OrderFilled, OrderNotFound
from bot.model.ids import CLIENT_ID_MAX, ClientId
from bot.model.order import Outcome
from bot.sim.exchange import Exchange
from bot.sim.listing import Ticket
from bot.wire.tws_account import ACCOUNT, Realised
from bot.wire.tws_contracts import Row
from bot.wire.tws_layouts import ZERO, Held, Told, commission, exec_details, open_order, order_status
from bot.wire.tws_session import Client
from bot.wire.world import World

REJECTED = 201
FIRST_PERM = 1_100_000_000
ARRIVES_NS = 10_000_000_000
"""How long an order may be under way (an assumption: no delay that venues are given here comes near it)."""


class Blotter:
    """Every order by client and order id. rows: the contracts at the moment.

    heard: whether the gateway reaches the broker; while it does not, nothing goes out to it, and what comes is kept from clients.
    """

    def __init__(self, world: World, venue: str, rows: Callable[[], list[Row]], realised: Realised) -> None:
        self.world = world
        self.venue = venue
        self.exchange: Exchange = world.exchange(venue)
        self.rows = rows
        self.realised = realised
        self.heard = True
        self.clients: dict[int, Client] = {}
        self.held: dict[tuple[int, int], Held] = {}
        self.by_name: dict[ClientId, Held] = {}
        self.next_id: dict[int, int] = {}
        self.perms = FIRST_PERM + len(self.exchange.orders)

    def add(self, held: Held) -> None:
        """Keep an order, under a name at the exchange."""
        held.client_id, held.sent_ns = self._name(held), self.world.clock()
        self.held[held.client, held.order_id] = self.by_name[held.client_id] = held
        self.next_id[held.client] = max(self.next_id.get(held.client, 1), held.order_id + 1)

    def _name(self, held: Held) -> ClientId:
        """Return the order's name at the exchange: its reference, when that can name one and does not yet."""
        ref = held.asked.order_ref
        usable = ref.isascii() and ref.isalnum() and len(ref) <= CLIENT_ID_MAX and ref not in self.exchange.orders and ref not in self.by_name
        return ref if usable else f"T{held.perm_id}"

    def ticket(self, held: Held) -> Ticket | None:
        """Return the exchange's record of an order, None before it has arrived there."""
        return self.exchange.orders.get(held.client_id)

    def works(self, held: Held) -> bool:
        """Return whether an order works at the exchange, whatever its client was told."""
        ticket = self.ticket(held)
        return ticket is not None and ticket.outcome is None

    def end(self, held: Held, status: str, told: str) -> None:
        """Note how an order ended."""
        held.ended, held.completed, held.completed_ns = status, told, self.world.clock()

    def state(self, held: Held, status: str, filled: Decimal | None = None) -> None:
        """Push openOrder and orderStatus to the owner."""
        client = self._client(held.client)
        if client is not None:
            client.send(open_order(held, ACCOUNT, status, client.version))
            self.status(held, status, held.filled if filled is None else filled)

    def status(self, held: Held, status: str, filled: Decimal) -> None:
        """Push orderStatus to the owner."""
        client = self._client(held.client)
        if client is not None:
            client.send(order_status(held, status, filled, list(held.told.values())))

    def send(self, command: Command) -> None:
        """Hand a command to the exchange; it is lost when the broker is not reached."""
        if self.heard:
            self.world.send(self.venue, command)

    def pending(self, held: Held) -> bool:
        """Return whether an order may still be on its way: after ARRIVES_NS the gateway knows that the broker does not have it."""
        return not held.ended and self.ticket(held) is None and self.world.clock() - held.sent_ns < ARRIVES_NS

    def _client(self, number: int) -> Client | None:
        return self.clients.get(number) if self.heard else None

    # What the venue says.

    def hear(self, event: Event) -> None:
        """Pass on a report of the venue to whom it concerns."""
        if isinstance(event, OrderFilled):
            self._filled(event)
        elif isinstance(event, OrderAccepted | OrderEnded | OrderNotFound):
            held = self.by_name.get(event.client_id)
            if held is None:
                return
            if isinstance(event, OrderAccepted):
                self._accepted(held)
            elif isinstance(event, OrderEnded):
                self._ended(held, event)
            else:
                self._unknown(held)

    def _accepted(self, held: Held) -> None:
        if not held.ended:
            self.state(held, "PendingCancel" if held.cancelling else "Submitted")

    def _unknown(self, held: Held) -> None:
        """Tell that an order which was to be cancelled never arrived."""
        client = self._client(held.client)
        self.end(held, "Cancelled", "Order never arrived")
        if client is not None:
            client.error(held.order_id, 10147, f"OrderId {held.order_id} that needs to be cancelled is not found.")
        self.status(held, "Cancelled", held.filled)

    def _filled(self, fill: OrderFilled) -> None:
        """Tell of an execution, of its order's state and of its commission, in that order. What nobody asked for goes to client 0."""
        held = self.by_name.get(fill.client_id)
        row = next((r for r in self.rows() if r.instrument == fill.instrument), None)
        client = self._client(held.client if held is not None else 0)
        if held is not None:
            held.told[fill.exec_id] = fill
        if row is None:
            return
        if client is not None:
            fills = list(held.told.values()) if held is not None else [fill]
            client.send(exec_details(fill, row, count(held, fills), -1, ACCOUNT, client.version))
        if held is not None:
            done = held.filled >= held.qty
            if done and held.ended != "Filled":
                self.end(held, "Filled", "Filled Size: " + format(held.filled, "f"))
            self.state(held, held.ended or ("PendingCancel" if held.cancelling else "Submitted"))
        if client is not None:
            client.send(commission(fill, self.realised.of(fill.exec_id)))

    def rejected(self, held: Held, told: str, filled: Decimal) -> None:
        """Tell that an order was rejected, in the sequence of a logged rejection: 201, openOrder Inactive, orderStatus Inactive."""
        client = self._client(held.client)
        self.end(held, "Inactive", told)
        if client is not None:
            client.error(held.order_id, REJECTED, told)
        self.state(held, "Inactive", filled)

    def cancelled(self, held: Held, filled: Decimal, reason: str) -> None:
        """Tell that an order was cancelled."""
        client = self._client(held.client)
        self.end(held, "Cancelled", f"Cancelled by Trader:{reason}")
        self.status(held, "Cancelled", filled)
        if client is not None:
            client.error(held.order_id, 202, f"Order Canceled - reason:{'' if held.cancelling else reason}")

    def _ended(self, held: Held, event: OrderEnded) -> None:
        """Tell how an order ended; a fill that beat a cancel is refused as one that came too late."""
        client = self._client(held.client)
        if event.outcome is Outcome.REJECTED:
            self.rejected(held, f"Order rejected - reason:{event.reason}", event.cum_qty)
        elif event.outcome is Outcome.FILLED:
            self.end(held, "Filled", "Filled Size: " + format(event.cum_qty, "f"))
            self.status(held, "Filled", event.cum_qty)
            if held.cancelling and client is not None:
                client.error(held.order_id, 10148, f"OrderId {held.order_id} that needs to be cancelled cannot be cancelled, state: Filled.")
        else:
            self.cancelled(held, event.cum_qty, event.reason)


def count(held: Held | None, fills: list[OrderFilled]) -> Told:
    """Return where the last of `fills`, all of one order, stands in it; an execution that nobody asked for stands alone."""
    cum = sum((f.qty for f in fills), ZERO)
    average = float(sum((f.qty * f.price for f in fills), ZERO) / cum) if cum else 0.0
    if held is None:
        return Told(order_id=0, client=0, perm_id=0, order_ref="", cum=fills[-1].qty, average=float(fills[-1].price))
    return Told(order_id=held.order_id, client=held.client, perm_id=held.perm_id, order_ref=held.asked.order_ref, cum=cum, average=average)
