"""Questions about orders over the TWS protocol, answered from the exchange's own record: open, completed, executions."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from bot.model.event import OrderFilled
from bot.model.ids import ClientId
from bot.model.order import Outcome
from bot.wire.tws_account import ACCOUNT
from bot.wire.tws_blotter import Blotter, count
from bot.wire.tws_codec import Fields
from bot.wire.tws_layouts import ZERO, Held, commission, completed_order, exec_details, open_order, order_status
from bot.wire.tws_session import Client


class OrderRecords:
    """Tells clients what became of orders."""

    def __init__(self, blotter: Blotter) -> None:
        self.blotter = blotter

    def open_orders(self, client: Client, fields: Fields) -> None:
        """reqOpenOrders: this client's."""
        self._send_open(client, [h for h in self.blotter.held.values() if h.client == client.number])

    def all_open(self, client: Client, fields: Fields) -> None:
        """reqAllOpenOrders: every client's."""
        self._send_open(client, list(self.blotter.held.values()))

    def auto_open(self, client: Client, fields: Fields) -> None:
        """reqAutoOpenOrders: only client 0 may bind what is entered by hand."""
        if client.number != 0:
            client.error(-1, 321, "Error validating request.-'bC' : cause - Only the client with id 0 can bind orders")

    def completed(self, client: Client, fields: Fields) -> None:
        """reqCompletedOrders: filled, cancelled and rejected ones of every client."""
        for held in self.blotter.held.values():
            shown, ticket = self._ended(held), self.blotter.ticket(held)
            if shown is not None:
                client.send(completed_order(shown, ACCOUNT, ticket.filled if ticket else ZERO, client.version))
        client.send([102])

    def executions(self, client: Client, fields: Fields) -> None:
        """reqExecutions: of the present trade date, narrowed by the filter's fields."""
        req_id, number = fields.whole(), fields.whole()
        account, since, symbol, sec_type, exchange, side = (fields.text() for _ in range(6))
        today = self.blotter.exchange.sessions.trade_date(self.blotter.world.clock())[0]
        rows = {row.instrument: row for row in self.blotter.rows() if row.instrument}
        counted: dict[ClientId, list[OrderFilled]] = {}
        for fill in self.blotter.exchange.account.history:
            if not isinstance(fill, OrderFilled):
                continue
            fills = counted.setdefault(fill.client_id, [])
            fills.append(fill)
            row, held = rows.get(fill.instrument), self.blotter.by_name.get(fill.client_id)
            if row is None or self.blotter.exchange.sessions.trade_date(fill.ts)[0] != today:
                continue
            owner = held.client if held is not None else 0
            wanted = (not number or owner == number) and account in ("", ACCOUNT) and symbol in ("", row.symbol)
            wanted = wanted and sec_type in ("", "FUT") and exchange in ("", row.exchange) and side in ("", fill.side.value.upper())
            if wanted and _since(since) <= fill.ts // 1_000_000_000:
                client.send(exec_details(fill, row, count(held, fills), req_id, ACCOUNT, client.version))
                client.send(commission(fill, self.blotter.realised.of(fill.exec_id)))
        client.send([55, 1, req_id])

    def _ended(self, held: Held) -> Held | None:
        """Return an order that has ended as it is shown, None for one that has not; its report may be late or lost and changes nothing."""
        ticket = self.blotter.ticket(held)
        if held.ended:
            return None if self.blotter.works(held) else held
        if ticket is None or ticket.outcome is None:
            return None
        status = {Outcome.FILLED: "Filled", Outcome.REJECTED: "Inactive"}.get(ticket.outcome, "Cancelled")
        return msgspec.structs.replace(held, ended=status, completed=ticket.reason or status, completed_ns=self.blotter.world.clock())

    def _send_open(self, client: Client, orders: list[Held]) -> None:
        for held in orders:
            ticket = self.blotter.ticket(held)
            if self.blotter.pending(held) or (not held.ended and self.blotter.works(held)):
                status = "PendingSubmit" if ticket is None else "PendingCancel" if held.cancelling else "Submitted"
                fills = ticket.fills if ticket is not None else []
                client.send(open_order(held, ACCOUNT, status, client.version))
                client.send(order_status(held, status, ticket.filled if ticket else ZERO, fills))
        client.send([53, 1])


def _since(told: str) -> int:
    """Return a filter's time, UTC seconds; 0 for none and for what cannot be read (its zone is UTC)."""
    digits = "".join(ch for ch in told if ch.isdigit())
    try:
        return int(datetime.strptime(digits[:14].ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()) if digits else 0
    except ValueError:
        return 0
