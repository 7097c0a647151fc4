"""Order requests over the TWS protocol: what the gateway checks itself, what it hands to the exchange, what it answers."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from heapq import heappop, heappush

from bot.model.command import Cancel, Submit
from bot.model.instrument import Rounding, round_price, to_decimal
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce
from bot.sim.faults import FaultKind
from bot.wire.tws_account import ACCOUNT, what_if
from bot.wire.tws_blotter import REJECTED, Blotter
from bot.wire.tws_codec import Fields, OrderFields, read_order
from bot.wire.tws_contracts import Row, find
from bot.wire.tws_layouts import ZERO, Held, open_order
from bot.wire.tws_session import Client

K = FaultKind
PROTECTION = Decimal("0.02")
"""How far beyond the touch a market order may pay, share of price: CME trades them with protection (our width)."""
TIFS = {"": TimeInForce.DAY, "DAY": TimeInForce.DAY, "IOC": TimeInForce.IOC}
NOT_CANCELLABLE = "Cancel attempted when order is not in a cancellable state.  Order permId ={}"
NO_MARKET = "Order rejected - reason:No market price available for a market order"
NO_CONTRACT = "No security definition has been found for the request"


class OrderDesk:
    """Takes orders and cancels of all clients."""

    def __init__(self, blotter: Blotter) -> None:
        self.blotter = blotter
        self._plan = blotter.world.sites[blotter.venue].plan
        self._fills_late: list[tuple[int, int, Held]] = []

    def look(self, now_ns: int) -> None:
        """Let the fills come that follow a cancellation told too early."""
        while self._fills_late and self._fills_late[0][0] <= now_ns:
            _, _, held = heappop(self._fills_late)
            self.blotter.world.race(self.blotter.venue, _cancel(self.blotter, held))

    def ids(self, client: Client, fields: Fields | None = None) -> None:
        """reqIds: the next order id that this client may use."""
        client.send([9, 1, self.blotter.next_id.get(client.number, 1)])

    def place(self, client: Client, fields: Fields) -> None:
        """placeOrder."""
        asked = read_order(fields, client.version)
        before = self.blotter.held.get((client.number, asked.order_id))
        if before is not None:
            self._again(client, before, asked)
            return
        if asked.order_id < self.blotter.next_id.get(client.number, 1):
            client.error(asked.order_id, 103, "Duplicate order id")
            return
        rows = find(self.blotter.rows(), asked.contract)
        if len(rows) != 1:
            client.error(asked.order_id, 200, NO_CONTRACT if not rows else "The contract description specified is ambiguous")
            return
        refused = _refusal(asked, rows[0])
        if refused is not None and (refused[0] != REJECTED or asked.what_if):
            client.error(asked.order_id, *refused)
            return
        held = self._held(client, asked, rows[0])
        if refused is not None:
            self.blotter.add(held)
            self.blotter.rejected(held, refused[1], ZERO)
            return
        if not asked.tif:
            client.error(asked.order_id, 10349, "Order TIF was set to DAY based on order preset.")
        if asked.what_if:
            self._what_if(client, held)
            return
        reset = self._plan.strike(K.RESET, self.blotter.world.clock())
        if reset is not None:
            client.cut(hard=True)
        if reset is None or reset.arg("after"):
            self._submit(held)

    def cancel(self, client: Client, fields: Fields) -> None:
        """cancelOrder."""
        order_id = fields.whole()
        held = self.blotter.held.get((client.number, order_id))
        if held is None:
            client.error(order_id, 10147, f"OrderId {order_id} that needs to be cancelled is not found.")
        elif held.cancelling and not held.ended:
            client.error(order_id, 161, NOT_CANCELLABLE.format(held.perm_id))
            self.blotter.send(_cancel(self.blotter, held))  # the first one may have been lost
        elif held.ended:
            client.error(order_id, 10148, f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {held.ended}.")
        else:
            self._cancel(held)

    def cancel_all(self, client: Client, fields: Fields) -> None:
        """reqGlobalCancel: orders of every client."""
        for held in list(self.blotter.held.values()):
            if not held.ended and not held.cancelling:
                self._cancel(held)

    # Inside.

    def _held(self, client: Client, asked: OrderFields, row: Row) -> Held:
        """Return a new order as the gateway keeps it."""
        self.blotter.perms += 0 if asked.what_if else 1
        price = to_decimal(asked.limit) if asked.order_type == "LMT" else ZERO
        return Held(
            client=client.number, order_id=asked.order_id, perm_id=self.blotter.perms, asked=asked, row=row, qty=Decimal(asked.qty), price=price, told={},
        )  # fmt: skip

    def _submit(self, held: Held) -> None:
        """Hand an order to the exchange."""
        self.blotter.add(held)
        limit = self._limit(held)
        if limit is None:
            self.blotter.rejected(held, NO_MARKET, ZERO)
            return
        self.blotter.state(held, "PreSubmitted")
        spec = OrderSpec(
            client_id=held.client_id, pair="tws", venue=self.blotter.venue, instrument=held.row.instrument, side=_side(held), qty=held.qty, limit=limit,
            tif=TIFS[held.asked.tif], purpose=Purpose.LEAD,
        )  # fmt: skip
        self.blotter.send(Submit(spec))

    def _again(self, client: Client, held: Held, asked: OrderFields) -> None:
        """Take a second placeOrder with an id in use: unchanged it is told its state, changed it is refused and stands."""
        if held.ended:
            client.error(asked.order_id, 103, "Duplicate order id")
        elif (asked.action, asked.qty, asked.order_type, asked.limit, asked.tif) == (
            held.asked.action, held.asked.qty, held.asked.order_type, held.asked.limit, held.asked.tif,
        ):  # fmt: skip
            self.blotter.state(held, "PendingCancel" if held.cancelling else "Submitted")
        else:
            client.error(asked.order_id, 105, "Order being modified does not match original order")

    def _what_if(self, client: Client, held: Held) -> None:
        """Answer what an order would do, without placing it."""
        limit = self._limit(held)
        instrument = self.blotter.exchange.listings[held.row.instrument].instrument
        if limit is None:
            client.error(held.order_id, REJECTED, NO_MARKET)
            return
        margins = what_if(self.blotter.exchange, instrument, _side(held), held.qty, limit)
        client.send(open_order(held, ACCOUNT, "PreSubmitted", client.version, margins))

    def _limit(self, held: Held) -> Decimal | None:
        """Return the worst price of an order: its own, or for a market order the touch and some way beyond."""
        if held.price:
            return held.price
        x, side = self.blotter.exchange.listings[held.row.instrument], _side(held)
        best = x.best(side, self.blotter.world.clock())
        if best <= 0.0:
            return None
        bound = to_decimal(best) * (1 + PROTECTION * side.sign)
        return round_price(x.instrument, bound, Rounding.DOWN if side is Side.BUY else Rounding.UP)

    def _cancel(self, held: Held) -> None:
        """Pass a cancel on, unless a scripted race decides otherwise: the order fills, before the cancel or after it was confirmed."""
        now, client = self.blotter.world.clock(), self.blotter.clients.get(held.client)
        if self.blotter.heard and client is not None and self.blotter.works(held):
            if self._plan.strike(K.CANCEL_REFUSED, now):
                self._refuse_cancel(client, held)
                return
            late = self._plan.strike(K.FILL_AFTER_CANCEL, now)
            if late is not None:
                held.cancelling = True
                self.blotter.cancelled(held, held.filled, "")
                heappush(self._fills_late, (now + int(late.arg("delay_s") * 1e9), held.perm_id, held))
                return
        held.cancelling = True
        self.blotter.status(held, "PendingCancel", held.filled)
        self.blotter.send(_cancel(self.blotter, held))

    def _refuse_cancel(self, client: Client, held: Held) -> None:
        """Answer a cancel with 161 and 10148 in turn, and let the order fill."""
        if self._plan.hits[K.CANCEL_REFUSED] % 2:
            client.error(held.order_id, 161, NOT_CANCELLABLE.format(held.perm_id))
        else:
            client.error(held.order_id, 10148, f"OrderId {held.order_id} that needs to be cancelled cannot be cancelled, state: Filled.")
        self.blotter.world.race(self.blotter.venue, _cancel(self.blotter, held))


def _cancel(blotter: Blotter, held: Held) -> Cancel:
    return Cancel(blotter.venue, held.row.instrument, held.client_id)


def _side(held: Held) -> Side:
    return Side.BUY if held.asked.action == "BUY" else Side.SELL


def _refusal(asked: OrderFields, row: Row) -> tuple[int, str] | None:
    """Return code and text of what the gateway refuses before an exchange sees it, None when it is fine."""
    try:
        qty = Decimal(asked.qty)
    except InvalidOperation:
        qty = ZERO
    if not qty.is_finite() or qty <= 0:
        return 434, "The order size cannot be zero"
    if qty != qty.to_integral_value():
        return 10318, "This order doesn't support fractional quantity trading"
    if asked.action not in ("BUY", "SELL"):
        return 321, f"Error validating request.-'bU' : cause - Invalid action {asked.action}"
    if asked.order_type not in ("LMT", "MKT"):
        return 387, "Unsupported order type for this exchange and security type."
    if asked.tif not in TIFS:
        return REJECTED, f"Order rejected - reason:The time-in-force {asked.tif} is invalid for this exchange; DAY and IOC are taken"
    if asked.account not in ("", ACCOUNT):
        return 321, "Error validating request.-'bU' : cause - Invalid account code"
    if not asked.transmit:
        return 321, "Error validating request.-'bU' : cause - Orders kept back at the gateway are not served: transmit must be true"
    if asked.order_type == "LMT" and (not 0.0 < asked.limit < 1e300 or to_decimal(asked.limit) % row.tick):
        return 110, "The price does not conform to the minimum price variation for this contract."
    if not row.instrument:
        return REJECTED, "Order rejected - reason:No trading permissions."
    return None
