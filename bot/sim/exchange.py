"""One exchange: the customer's orders, and what a venue does to an account unasked, on the trading floor of bot.sim.floor.

A client id names one order for ever: a second order with it is refused and the first stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from bot.model import event as ev
from bot.model.ids import ClientId, InstrumentId
from bot.model.instrument import Rounding, round_price, round_qty, to_decimal
from bot.model.order import OrderSpec, Outcome, Side, TimeInForce
from bot.sim.account import adl_score
from bot.sim.floor import DEFAULT_RULES, LIQUIDATION, Floor, Rules
from bot.sim.matching import taken
from bot.sim.orders import Halted, OrderReceived, RatesSet, Record, refusal

__all__ = ["ADL", "BUST", "DEFAULT_RULES", "DUPLICATE", "LIQUIDATION", "MANUAL", "UNKNOWN", "Exchange", "Rules"]

DUPLICATE = "duplicate client id"
UNKNOWN = "unknown instrument"
ADL = "adl"
BUST = "bust"
MANUAL = "manual"

ADL_MEDIAN = 0.1
"""Score below which half of the others on the winning side are: an assumption (profit of 10 % at single leverage, 1 % at ten)."""


class Exchange(Floor):
    """Market, orders and one customer's account at one venue."""

    # Orders.

    def submit(self, spec: OrderSpec, now_ns: int, shown: Decimal | None = None) -> str:
        """Take an order; return "" or why it was refused. shown: at most this much of it can be had at once.

        For a client id that is known already nothing changes: the state of the first order is reported again.
        """
        self.advance(now_ns)
        if spec.client_id in self.orders:
            self.register.tell(spec.client_id, self.now)
            return DUPLICATE
        ticket = self.register.receive(spec, self.now)
        x = self.listings.get(spec.instrument)
        why = UNKNOWN if x is None else refusal(spec, x, self.account, self.now, self._in_session(x), self.rules.limit_share)
        if x is None or why:
            self.register.end(ticket, Outcome.REJECTED, why, self.now)
            return why
        self.register.accept(ticket, self.now)
        wanted = spec.qty if shown is None else min(spec.qty, shown)
        for price, qty in taken(x, spec.side, wanted, spec.limit, self.now):
            self._execute(x, ticket, qty, price, maker=False)
        if ticket.outcome is None:
            if spec.tif is TimeInForce.IOC:
                self.register.end(ticket, Outcome.CANCELLED, "ioc remainder", self.now)
            else:
                self._rest(x, ticket)
                self._reschedule()
        self._look(x.instrument.settle)
        return ""

    def reject(self, spec: OrderSpec, now_ns: int, reason: str) -> None:
        """Refuse an order for a reason of the venue's own (overload, maintenance of its gateway)."""
        self.advance(now_ns)
        if spec.client_id in self.orders:
            self.register.tell(spec.client_id, self.now)
        else:
            self.register.end(self.register.receive(spec, self.now), Outcome.REJECTED, reason, self.now)

    def cancel(self, client_id: ClientId, now_ns: int) -> None:
        """Cancel a resting order; for any other the answer is what became of it, or that it is not known."""
        self.advance(now_ns)
        ticket = self.orders.get(client_id)
        if ticket is not None and ticket.outcome is None:
            self.register.end(ticket, Outcome.CANCELLED, "cancelled", self.now)
        else:
            self.register.tell(client_id, self.now)

    def query(self, client_id: ClientId, now_ns: int) -> None:
        """Report the whole state of one order: acknowledgement, fills, end; or that it is not known."""
        self.advance(now_ns)
        self.register.tell(client_id, self.now)

    def snapshot(self, now_ns: int, since_ns: int) -> None:
        """Report every booking since `since_ns`, then positions, working orders and cash."""
        self.advance(now_ns)
        history, first = self.account.history, len(self.account.history)
        while first > 0 and history[first - 1].ts >= since_ns:
            first -= 1
        self.reports.extend(history[first:])
        working = tuple(
            ev.WorkingOrder(client_id=c, venue_order_id=t.venue_order_id, filled=t.filled)
            for x in self.listings.values()
            for c, t in x.resting.items()
        )
        self.reports.append(
            ev.VenueSnapshot(ts=self.now, venue=self.venue, positions=self.positions(), working=working, cash=dict(self.account.cash),
                             maintenance={c: self.account.maintenance(c) for c in self.account.cash})  # fmt: skip
        )

    def positions(self) -> dict[InstrumentId, Decimal]:
        """Return signed contracts of everything held."""
        return self.account.positions()

    # What venues do unasked.

    def fill_resting(self, client_id: ClientId, now_ns: int) -> bool:
        """Let somebody take a resting order whole, at its limit (a fill that races a cancel); return whether it rested."""
        self.advance(now_ns)
        ticket = self.orders.get(client_id)
        if ticket is None or ticket.outcome is not None or ticket.leaves <= 0:
            return False
        x = self.listings[ticket.spec.instrument]
        if x.halted_until:
            return False
        self._execute(x, ticket, ticket.leaves, ticket.spec.limit, maker=True)
        self._look(x.instrument.settle)
        return True

    def seize(self, instrument: InstrumentId, share: Decimal, reason: str, now_ns: int) -> bool:
        """Close `share` (0..1) of a position at its mark without being asked: reason ADL (no fee) or LIQUIDATION.

        Returns whether anything was held.
        """
        self.advance(now_ns)
        x = self.listings[instrument]
        held = x.position.qty
        if held == 0:
            return False
        qty = min(abs(held), round_qty(x.instrument, abs(held) * share, Rounding.UP))
        side = Side.SELL if held > 0 else Side.BUY
        price = round_price(x.instrument, to_decimal(x.price()), Rounding.NEAREST)
        self.account.execute(x, "", side, qty, price, self.now, reason=reason, free=reason == ADL)
        self._look(x.instrument.settle)
        return True

    def adl_rank(self, instrument: InstrumentId) -> int:
        """Return the place in the queue for auto-deleveraging, 0 (last, flat or losing) to 4 (first).

        Exchanges rank holders by profit share x leverage and show the quantile in five steps (Binance's page on
        auto-deleveraging, read 2026-11). Nobody else is here, so the others' scores are assumed: a fraction
        score / (score + ADL_MEDIAN) of them is lower.
        """
        score = adl_score(self.listings[instrument], self.account)
        return min(4, int(5.0 / (1.0 + ADL_MEDIAN / score))) if score > 0.0 else 0

    def bust(self, exec_id: str, now_ns: int) -> bool:
        """Reverse an execution: the opposite booking at its price, its fee returned, reason BUST, `exec_id` + "-bust".

        No order explains it (client id ""): an order's fills only ever add up to what it filled. Returns False for an
        execution that is not known, that is a reversal, or that was reversed before.
        """
        self.advance(now_ns)
        fills = {f.exec_id: f for f in self.account.history if isinstance(f, ev.OrderFilled)}
        fill, reversal = fills.get(exec_id), f"{exec_id}-{BUST}"
        if fill is None or fill.reason == BUST or reversal in fills:
            return False
        self.account.reverse(fill, reversal, BUST, self.now)
        self._look(self.listings[fill.instrument].instrument.settle)
        return True

    def trade_manually(self, instrument: InstrumentId, side: Side, qty: Decimal, now_ns: int) -> bool:
        """Let a person trade `qty` (> 0, whole lots) in the account by hand, at the market; return whether anything traded.

        Not when the instrument does not trade, the book is empty or margin does not allow it. No order explains it: client
        id "", reason MANUAL.
        """
        self.advance(now_ns)
        x = self.listings[instrument]
        levels = x.levels(side, self.now)
        if not self._open(x) or qty <= 0 or qty % x.instrument.lot or not levels:
            return False
        held, signed = x.position.qty, qty * side.sign
        reduces = held * signed < 0 and qty <= abs(held)
        if not reduces and not self.account.affords(x, side, qty, levels[0][0]):
            return False
        for price, part in taken(x, side, qty, None, self.now):
            self.account.execute(x, "", side, part, price, self.now, reason=MANUAL)
        self._look(x.instrument.settle)
        return True

    def overfill(self, client_id: ClientId, qty: Decimal, now_ns: int) -> bool:
        """Let the venue fill `qty` (> 0, whole lots) more than an order asked for; return whether it did.

        An order that rests fills whole and beyond, one that is filled gets another execution after its end, at the price
        of its last one (else its limit). Any other has nothing to overfill.
        """
        self.advance(now_ns)
        ticket = self.orders.get(client_id)
        if ticket is None or ticket.outcome not in (None, Outcome.FILLED):
            return False
        x = self.listings[ticket.spec.instrument]
        if qty <= 0 or qty % x.instrument.lot:
            return False
        price = ticket.fills[-1].price if ticket.fills else ticket.spec.limit
        self._execute(x, ticket, ticket.leaves + qty, price, maker=True)
        self._look(x.instrument.settle)
        return True

    def restore(self, records: Sequence[Record], now_ns: int) -> None:
        """Rebuild orders, positions, cash, rates, halts and what we took from the books, from a log.

        An order cut off half way ends, a DAY order goes on resting, from the back of its queue.
        """
        self.now = now_ns
        for record in records:
            self._restore(record)
        for x in self.listings.values():
            x.attend(now_ns)
            self.account.watch(x.instrument.settle)
        for ticket in self.orders.values():
            if ticket.outcome is not None:
                continue
            x = self.listings[ticket.spec.instrument]
            day = ticket.spec.tif is TimeInForce.DAY
            if ticket.leaves <= 0:
                self.register.end(ticket, Outcome.FILLED, "", now_ns)
            elif day and self._in_session(x):
                x.resting[ticket.spec.client_id] = ticket
            else:
                self.register.end(ticket, Outcome.EXPIRED if day else Outcome.CANCELLED, "venue restart", now_ns)
        self.reports.clear()
        self._reschedule()

    def _restore(self, record: Record) -> None:
        if isinstance(record, RatesSet):
            for x in self.listings.values():
                x.set_rates(record.multiple)
        elif isinstance(record, Halted):
            if record.until_ns > self.now:
                self.listings[record.instrument].halted_until = record.until_ns
        else:
            self.register.restore(record)
            if not isinstance(record, OrderReceived | ev.OrderEnded):
                self.account.book(record)
            if isinstance(record, ev.OrderFilled) and not record.maker and record.reason in ("", MANUAL, LIQUIDATION):
                self.listings[record.instrument].take(record.side, record.qty, record.ts)
