"""The accounting: events in, cash by silo and currency, positions and trades out. The only implementation of it.

The loop and the bench keep it in memory; bot.journal.ledger writes the postings it returns into SQL. For each venue
and currency opening + realised + fees + funding + cash = closing, day by day, at the venue's average cost; pairs keep
their own average cost. All Decimal: open profit is an observation and is only estimated here, never booked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from bot.model import event as ev
from bot.model.ids import ClientId, InstrumentId, PairId, VenueId
from bot.model.instrument import Instrument
from bot.model.order import OrderSpec, Outcome
from bot.model.position import ZERO, Position, apply_fill, pnl_est


class FillPosting(msgspec.Struct, frozen=True):
    """One execution as booked. pair "": no order of ours explains it. realised: at the venue's average cost."""

    fill: ev.OrderFilled
    pair: PairId
    realised: Decimal
    currency: str


class FundingPosting(msgspec.Struct, frozen=True):
    """One pair's share of a funding payment; pair "" holds what belongs to no pair."""

    paid: ev.FundingPaid
    pair: PairId
    amount: Decimal


class TradeLine(msgspec.Struct):
    """Money of one trade in one currency; fees negative when paid."""

    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO


class Trade(msgspec.Struct):
    """A pair from flat to flat. closed_ns 0: still on."""

    pair: PairId
    number: int
    opened_ns: int
    closed_ns: int = 0
    lines: dict[str, TradeLine] = {}

    def line(self, currency: str) -> TradeLine:
        """Return the line of `currency`, begun if needed."""
        return self.lines.setdefault(currency, TradeLine())


Posting = FillPosting | FundingPosting | ev.CashBooked | ev.Allocated | Trade
"""What an event added to the books; a Trade is posted when it closes."""


class Balance(msgspec.Struct):
    """One venue and currency on one trade date; fees are negative when paid."""

    opening: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    cash: Decimal = ZERO

    @property
    def closing(self) -> Decimal:
        """Return what the venue's statement should show as cash."""
        return self.opening + self.realised + self.fees + self.funding + self.cash


class OrderRecord(msgspec.Struct):
    """What became of one order, as far as the books need it."""

    spec: OrderSpec
    sent_ns: int
    filled: Decimal = ZERO
    outcome: Outcome | None = None
    reason: str = ""
    venue_order_id: str = ""
    ended_ns: int = 0

    def end(self, ts: int, outcome: Outcome, reason: str = "") -> None:
        """Note how it ended; the first report stands."""
        if self.outcome is None:
            self.ended_ns, self.outcome, self.reason = ts, outcome, reason


class Accounts:
    """Books of one desk. `terms` must name every instrument that events mention.

    Orders and execution ids are kept for good, about 0.5 kB an order: a late or repeated execution must find them.
    """

    def __init__(self, terms: Mapping[InstrumentId, Instrument]) -> None:
        self.terms = terms
        self.started = False
        self.trade_date = ""
        self.balances: dict[tuple[VenueId, str], Balance] = {}
        self.positions: dict[InstrumentId, Position] = {}
        self.unallocated: dict[InstrumentId, Decimal] = {}
        self.legs: dict[PairId, dict[InstrumentId, Position]] = {}
        self.trades: dict[PairId, Trade] = {}
        self.orders: dict[ClientId, OrderRecord] = {}
        self._execs: set[tuple[VenueId, str]] = set()
        self._refs: set[tuple[VenueId, str]] = set()

    def fold(self, event: ev.Event) -> tuple[Posting, ...]:
        """Book one event and return what it added; a repeated execution, payment or movement adds nothing."""
        book = _BOOK.get(type(event))
        return () if book is None else book(self, event)

    def cash(self, venue: VenueId) -> dict[str, Decimal]:
        """Return the cash of one silo by currency."""
        return {currency: b.closing for (v, currency), b in self.balances.items() if v == venue}

    def breaks(self, venue: VenueId, statement: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """Return statement - books for each currency that differs (the tie-out); empty when all agree."""
        booked = self.cash(venue)
        found = {c: statement.get(c, ZERO) - booked.get(c, ZERO) for c in {*booked, *statement}}
        return {currency: amount for currency, amount in sorted(found.items()) if amount}

    def equity_usd_est(self, prices: Mapping[InstrumentId, float], usd: Mapping[str, float]) -> dict[VenueId, float]:
        """Return each silo's equity in USD: cash and open profit at `prices` (quote currency) and `usd` (per unit).

        Raises KeyError naming an instrument held or a currency owned that has no price: unknown is not zero.
        """
        silos: dict[VenueId, float] = {}
        for (venue, currency), balance in self.balances.items():
            closing = float(balance.closing)
            silos[venue] = silos.get(venue, 0.0) + (closing * usd[currency] if closing else 0.0)
        for name, position in self.positions.items():
            if position.qty_f:
                held = self.terms[name]
                open_est = pnl_est(held, position, prices[name], float(held.unit))
                silos[held.venue] = silos.get(held.venue, 0.0) + open_est * usd[held.settle]
        return silos

    def balance(self, venue: VenueId, currency: str) -> Balance:
        """Return the running balance of one venue and currency, begun at zero if needed."""
        key = (venue, currency)
        found = self.balances.get(key)
        if found is None:
            found = self.balances[key] = Balance()
        return found

    def _leg(self, pair: PairId, name: InstrumentId, signed: Decimal, price: Decimal, ts: int) -> Trade:
        """Move one leg of a pair, begin its trade if it was flat, and return the trade."""
        legs = self.legs.setdefault(pair, {})
        trade = self.trades.get(pair)
        if trade is None or trade.closed_ns:
            trade = Trade(pair, 1 if trade is None else trade.number + 1, ts, 0, {})
            self.trades[pair] = trade
        instrument = self.terms[name]
        position = legs.get(name)
        if position is None:
            position = legs[name] = Position()
        trade.line(instrument.settle).realised += apply_fill(instrument, position, signed, price)
        if all(leg.qty == 0 for leg in legs.values()):
            trade.closed_ns = ts
        return trade


def _run_started(books: Accounts, e: ev.RunStarted) -> tuple[Posting, ...]:
    """Take the opening balances of the first run; a recovery continues with what the books say."""
    if not books.started:
        for venue, cash in e.cash.items():
            for currency, amount in cash.items():
                books.balance(venue, currency).opening = amount
    books.started = True
    return ()


def _day_started(books: Accounts, e: ev.DayStarted) -> tuple[Posting, ...]:
    """Begin a trade date: each balance opens where the last closed."""
    if e.trade_date != books.trade_date:
        for key, balance in books.balances.items():
            books.balances[key] = Balance(opening=balance.closing)
        books.trade_date = e.trade_date
    return ()


def _intended(books: Accounts, e: ev.OrderIntended) -> tuple[Posting, ...]:
    books.orders[e.order.client_id] = OrderRecord(e.order, e.ts)
    return ()


def _accepted(books: Accounts, e: ev.OrderAccepted) -> tuple[Posting, ...]:
    order = books.orders.get(e.client_id)
    if order is not None:
        order.venue_order_id = e.venue_order_id
    return ()


def _filled(books: Accounts, e: ev.OrderFilled) -> tuple[Posting, ...]:
    key = (e.venue, e.exec_id)
    if key in books._execs:
        return ()
    books._execs.add(key)
    instrument = books.terms[e.instrument]
    signed = e.qty * e.side.sign
    position = books.positions.get(e.instrument)
    if position is None:
        position = books.positions[e.instrument] = Position()
    realised = apply_fill(instrument, position, signed, e.price)
    books.balance(e.venue, instrument.settle).realised += realised
    books.balance(e.venue, e.fee_currency).fees -= e.fee
    order = books.orders.get(e.client_id)
    if order is None:
        books.unallocated[e.instrument] = books.unallocated.get(e.instrument, ZERO) + signed
        return (FillPosting(e, "", realised, instrument.settle),)
    order.filled += e.qty
    if order.filled >= order.spec.qty:
        order.end(e.ts, Outcome.FILLED)
    pair = order.spec.pair
    trade = books._leg(pair, e.instrument, signed, e.price, e.ts)
    trade.line(e.fee_currency).fees -= e.fee
    posting = FillPosting(e, pair, realised, instrument.settle)
    return (posting, trade) if trade.closed_ns else (posting,)


def _allocated(books: Accounts, e: ev.Allocated) -> tuple[Posting, ...]:
    left = books.unallocated.get(e.instrument, ZERO) - e.qty
    if left:
        books.unallocated[e.instrument] = left
    else:
        books.unallocated.pop(e.instrument, None)
    trade = books._leg(e.pair, e.instrument, e.qty, e.price, e.ts)
    return (e, trade) if trade.closed_ns else (e,)


def _ended(books: Accounts, e: ev.OrderEnded) -> tuple[Posting, ...]:
    order = books.orders.get(e.client_id)
    if order is not None:
        order.end(e.ts, e.outcome, e.reason)
    return ()


def _blocked(books: Accounts, e: ev.SendBlocked) -> tuple[Posting, ...]:
    order = books.orders.get(e.client_id)
    if order is not None:
        order.end(e.ts, Outcome.DENIED, e.reason)
    return ()


def _absent(books: Accounts, e: ev.AbsenceProven) -> tuple[Posting, ...]:
    order = books.orders.get(e.client_id)
    if order is not None:
        order.end(e.ts, Outcome.ABSENT)
    return ()


def _funding_paid(books: Accounts, e: ev.FundingPaid) -> tuple[Posting, ...]:
    """Book the payment and share it by contracts held; what the pairs do not explain stays with no pair."""
    key = (e.venue, f"funding:{e.instrument}:{e.stamp_ns}")
    if key in books._refs:
        return ()
    books._refs.add(key)
    books.balance(e.venue, e.currency).funding += e.amount
    holders = {pair: legs[e.instrument].qty for pair, legs in books.legs.items() if e.instrument in legs}
    holders = {pair: qty for pair, qty in holders.items() if qty} if e.qty else {}
    left, postings = e.amount, []
    explained = sum(holders.values(), ZERO) == e.qty
    for index, (pair, qty) in enumerate(holders.items(), 1):
        share = left if explained and index == len(holders) else e.amount * qty / e.qty
        left -= share
        books.trades[pair].line(e.currency).funding += share
        postings.append(FundingPosting(e, pair, share))
    if left or not postings:
        postings.append(FundingPosting(e, "", left))
    return tuple(postings)


def _cash_booked(books: Accounts, e: ev.CashBooked) -> tuple[Posting, ...]:
    key = (e.venue, e.ref)
    if key in books._refs:
        return ()
    books._refs.add(key)
    books.balance(e.venue, e.currency).cash += e.amount
    return (e,)


_BOOK: dict[type, Callable[[Accounts, Any], tuple[Posting, ...]]] = {
    ev.RunStarted: _run_started,
    ev.DayStarted: _day_started,
    ev.OrderIntended: _intended,
    ev.OrderAccepted: _accepted,
    ev.OrderFilled: _filled,
    ev.OrderEnded: _ended,
    ev.SendBlocked: _blocked,
    ev.AbsenceProven: _absent,
    ev.Allocated: _allocated,
    ev.FundingPaid: _funding_paid,
    ev.CashBooked: _cash_booked,
}
BOOKED_KINDS = tuple(kind.__name__ for kind in _BOOK)
"""Event kinds that change the books: the only ones a refold has to read."""
