"""One exchange, pure and synchronous in its own time: it takes orders and market moves and appends what it has to say.

Matching is at the top of the book: what is displayed can be had once, until the next quote. Stamps, session ends and
margin act at their own instants, before whatever happens at that instant. Every fact is appended to `reports` (for the
customer) and, if it must survive the process, to `records` (for the venue's own log); whoever owns the exchange
empties both. A client id names one order for ever: a second order with it is refused and the first stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from bot.model import event as ev
from bot.model.event import NEVER
from bot.model.ids import ClientId, InstrumentId, VenueId
from bot.model.instrument import Instrument, Rounding, round_price, round_qty, to_decimal
from bot.model.order import OrderSpec, Outcome, Side, TimeInForce
from bot.model.ports import SessionSource
from bot.sim.account import Account
from bot.sim.book import Depth
from bot.sim.listing import ZERO, Listing, Ticket
from bot.sim.matching import crossed, next_slice, taken
from bot.sim.orders import OrderReceived, Record, Register, refusal

DUPLICATE = "duplicate client id"
UNKNOWN = "unknown instrument"
LIQUIDATION = "liquidation"
ADL = "adl"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How this exchange treats an account.

    fee_rounding: quantum that fees are rounded half-up to, None for exact. liquidation_rate: fraction of notional
    charged on top of the taker fee (an assumption; above about 0.6 % every liquidation would take all). liquidation_slice: share of a position
    sold at a time, 0..1. insured: an account without positions is brought back to 0 when it owes (offshore venues).
    depth: the book behind the touch, None for the touch alone. breaker_share: a price this far (fraction) from an extreme
    of the last `breaker_window_s` halts the instrument for `breaker_halt_s`; 0.0 for none. limit_share: an order priced
    further (fraction) than this beyond the reference price is refused; 0.0 for no limit.
    """

    fee_rounding: Decimal | None = None
    liquidation_rate: Decimal = Decimal("0.002")
    liquidation_slice: Decimal = Decimal("0.25")
    insured: bool = False
    depth: Depth | None = None
    breaker_share: float = 0.0
    breaker_window_s: float = 3_600.0
    breaker_halt_s: float = 120.0
    limit_share: float = 0.0


DEFAULT_RULES = Rules()


class Exchange:
    """Market, orders and one customer's account at one venue. `now` only rises; `next_ns`: when time itself acts next.

    Callers pass times in order; a method called at a later time first lets everything due until then happen.
    """

    def __init__(
        self, venue: VenueId, instruments: Sequence[Instrument], cash: Mapping[str, Decimal], sessions: SessionSource,
        rules: Rules = DEFAULT_RULES, now_ns: int = 0,
    ) -> None:  # fmt: skip
        self.venue = venue
        self.rules = rules
        self.sessions = sessions
        self.now = now_ns
        self.next_ns = NEVER
        self.reports: list[ev.Event] = []
        self.records: list[Record] = []
        self.listings: dict[InstrumentId, Listing] = {i.id: Listing(i) for i in instruments}
        self.account = Account(venue, self.listings, cash, self.reports, self.records, rules.fee_rounding)
        self.register = Register(venue, self.listings, self.reports, self.records)
        self.orders = self.register.tickets

    # The market.

    def quote(self, q: ev.Quote) -> bool:
        """Take a top of book; return whether that had consequences (reports to collect)."""
        if q.ts >= self.next_ns:
            self.advance(q.ts)
        x = self.listings[q.instrument]
        x.quote = q
        if x.resting or not (q.bid >= x.bid_low and q.ask <= x.ask_high):
            self.now = max(self.now, q.ts)
            self._match(x)
            self._look(x.instrument.settle)
        return bool(self.reports)

    def mark(self, m: ev.MarkPrice) -> None:
        """Take a mark price; margin goes by it from the first one on. Anything not > 0 and finite is ignored."""
        self.advance(m.ts)
        if not 0.0 < m.mark < math.inf:
            return
        x = self.listings[m.instrument]
        first, x.mark = x.mark == 0.0, m.mark
        if x.position.qty_f and (first or not x.low <= m.mark <= x.high):
            self._look(x.instrument.settle)

    def funding(self, f: ev.FundingRate) -> None:
        """Take the rate announced for the next stamp; the last one announced before the stamp is what is paid."""
        self.advance(f.ts)
        if not math.isfinite(f.rate):
            return
        x = self.listings[f.instrument]
        x.funding = f
        x.next_stamp = f.stamp_ns if f.stamp_ns > self.now else NEVER
        self._reschedule()

    def prime(self, event: ev.Observation) -> None:
        """Take a market observation from before this exchange began, without matching, margin or stamps in the past."""
        x = None if isinstance(event, ev.Timer | ev.VenueSnapshot) else self.listings.get(event.instrument)
        if x is None:
            return
        if isinstance(event, ev.Quote):
            x.quote = event
        elif isinstance(event, ev.MarkPrice):
            x.mark = event.mark
        elif isinstance(event, ev.FundingRate):
            x.funding, x.next_stamp = event, event.stamp_ns if event.stamp_ns > self.now else NEVER
        self.account.watch(x.instrument.settle)
        self._reschedule()

    def advance(self, now_ns: int) -> None:
        """Let everything that is due up to and including `now_ns` happen: funding stamps, session ends."""
        while self.next_ns <= now_ns:
            at = self.now = max(self.now, self.next_ns)
            for x in self.listings.values():
                if x.next_stamp <= at:
                    stamp, x.next_stamp = x.next_stamp, NEVER
                    self.account.pay_funding(x, stamp)
                    self._look(x.instrument.settle)
                if x.resting and x.until <= at and not self._open(x):
                    for ticket in list(x.resting.values()):
                        self.register.end(ticket, Outcome.EXPIRED, "session end", self.now)
            self._reschedule()
        self.now = max(self.now, now_ns)

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
        why = UNKNOWN if x is None else refusal(spec, x, self.account, self.now, self._open(x))
        if x is None or why:
            self.register.end(ticket, Outcome.REJECTED, why, self.now)
            return why
        self.register.accept(ticket, self.now)
        qty, price = taken(x, ticket, shown)
        if qty > 0:
            self._execute(x, ticket, qty, price, maker=False)
        if ticket.outcome is None:
            if spec.tif is TimeInForce.IOC:
                self.register.end(ticket, Outcome.CANCELLED, "ioc remainder", self.now)
            else:
                x.resting[spec.client_id] = ticket
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

    def shown(self, quote: ev.Quote) -> ev.Quote:
        """Return the quote as the venue displays it: the same object when nothing of ours is missing from its sizes."""
        return quote

    # What venues do unasked.

    def halt(self, instrument: InstrumentId, now_ns: int, until_ns: int) -> None:
        """Stop trading in an instrument until `until_ns`: nothing matches, orders are refused, cancels are taken."""
        self.advance(now_ns)

    def hike(self, multiple: float, now_ns: int) -> None:
        """Multiply initial and maintenance margin rates by `multiple` (> 0, of the listed rates) from now on."""
        self.advance(now_ns)

    def adl_rank(self, instrument: InstrumentId) -> int:
        """Return the place in the queue for auto-deleveraging, 0 (last or flat) to 4 (first)."""
        return 0

    def bust(self, exec_id: str, now_ns: int) -> bool:
        """Reverse an execution of ours; return whether there was such a one to reverse."""
        self.advance(now_ns)
        return False

    def trade_manually(self, instrument: InstrumentId, side: Side, qty: Decimal, now_ns: int) -> bool:
        """Let a person trade in the account by hand; return whether anything traded."""
        self.advance(now_ns)
        return False

    def overfill(self, client_id: ClientId, qty: Decimal, now_ns: int) -> bool:
        """Let the venue fill `qty` more than an order asked for; return whether it did."""
        self.advance(now_ns)
        return False

    def fill_resting(self, client_id: ClientId, now_ns: int) -> bool:
        """Let somebody take a resting order whole, at its limit (a fill that races a cancel); return whether it rested."""
        self.advance(now_ns)
        ticket = self.orders.get(client_id)
        if ticket is None or ticket.outcome is not None or ticket.leaves <= 0:
            return False
        x = self.listings[ticket.spec.instrument]
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

    def restore(self, records: Sequence[Record], now_ns: int) -> None:
        """Rebuild orders, positions and cash from a log; an order cut off half way ends, a DAY order goes on resting."""
        self.now = now_ns
        for record in records:
            self.register.restore(record)
            if not isinstance(record, OrderReceived | ev.OrderEnded):
                self.account.book(record)
        for ticket in self.orders.values():
            if ticket.outcome is not None:
                continue
            x = self.listings[ticket.spec.instrument]
            day = ticket.spec.tif is TimeInForce.DAY
            if ticket.leaves <= 0:
                self.register.end(ticket, Outcome.FILLED, "", now_ns)
            elif day and self._open(x):
                x.resting[ticket.spec.client_id] = ticket
            else:
                self.register.end(ticket, Outcome.EXPIRED if day else Outcome.CANCELLED, "venue restart", now_ns)
        self.reports.clear()
        self._reschedule()

    # Inside.

    def _open(self, x: Listing) -> bool:
        """Return whether `x` trades now, asking the session source only when its last answer has run out."""
        if self.now >= x.until:
            x.open, x.until = self.sessions.is_open(x.instrument.id, self.now)
        return x.open

    def _match(self, x: Listing) -> None:
        """Fill what of ours rests and the quote crosses, as a maker at its own limit."""
        for ticket, qty in crossed(x):
            if qty == 0:
                self.register.end(ticket, Outcome.CANCELLED, "nothing left to reduce", self.now)
            else:
                self._execute(x, ticket, qty, ticket.spec.limit, maker=True)

    def _execute(self, x: Listing, ticket: Ticket, qty: Decimal, price: Decimal, *, maker: bool) -> None:
        """Book a fill of one of our orders."""
        spec = ticket.spec
        self.register.fill(ticket, self.account.execute(x, spec.client_id, spec.side, qty, price, self.now, maker=maker))

    def _look(self, currency: str) -> None:
        """Compute margin exactly; below maintenance cancel what rests and sell slices until it is covered again."""
        account = self.account
        if account.watch(currency) >= 0.0:
            return
        pool = account.pool(currency)
        for x in pool:
            for ticket in list(x.resting.values()):
                self.register.end(ticket, Outcome.CANCELLED, LIQUIDATION, self.now)
        while account.watch(currency) < 0.0:
            cut = next_slice([x for x in pool if x.position.qty and self._open(x)], self.rules.liquidation_slice)
            if cut is None:
                break
            account.execute(*cut, self.now, reason=LIQUIDATION, surcharge=self.rules.liquidation_rate)
        owed = account.cash.get(currency, ZERO)
        if self.rules.insured and owed < 0 and not any(x.position.qty for x in pool):
            account.book_cash("insurance", -owed, currency, f"{self.venue}-i{len(account.history) + 1}", self.now)

    def _reschedule(self) -> None:
        """Find when time itself acts next."""
        due = NEVER
        for x in self.listings.values():
            due = min(due, x.next_stamp)
            if x.resting:
                due = min(due, x.until)
        self.next_ns = due

