"""The trading floor of one exchange: books, time, matching and margin, pure and synchronous in its own time.

Stamps, session ends, halts and margin act at their own instants, before whatever happens at that instant. Every fact is
appended to `reports` (for the customer) and, if it must survive the process, to `records` (for the venue's own log);
whoever owns the exchange empties both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from bot.model import event as ev
from bot.model.event import NEVER
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import Instrument
from bot.model.order import Outcome
from bot.model.ports import SessionSource
from bot.sim.account import Account
from bot.sim.book import FUTURE_DEPTH, PERP_DEPTH, ZERO, Depth
from bot.sim.breaker import Breaker
from bot.sim.listing import Listing, Ticket
from bot.sim.matching import matched, next_slice
from bot.sim.orders import Halted, RatesSet, Record, Register
from bot.sim.queue import queue_of

LIQUIDATION = "liquidation"
_S = 1e9


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How this exchange treats an account.

    fee_rounding: quantum that fees are rounded half-up to, None for exact. liquidation_rate: fraction of notional
    charged on top of the taker fee (an assumption; above about 0.6 % every liquidation would take all). liquidation_slice: share of a position
    sold at a time, 0..1. insured: an account without positions is brought back to 0 when it owes (offshore venues).
    depth: the book behind the touch, None for the touch alone. breaker_share: a price this far (fraction) from an extreme
    of the last `breaker_window_s` halts the instrument for `breaker_halt_s`, 0.0 for none (bot.sim.breaker has the source;
    CME bitcoin: 0.10, 3,600 and 120). limit_share: an order to buy above, or to sell below, the mark (else the mid) by more
    than this fraction is refused, 0.0 for no limit. Binance USD-M's PERCENT_PRICE filter works so (0.05 for BTCUSDT, by its
    exchangeInfo as remembered in 2026-11, unverified); CME refuses orders beyond its daily limits.
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

    def breaker(self) -> Breaker | None:
        """Return a new circuit breaker of one instrument, None when the venue has none."""
        if self.breaker_share <= 0.0:
            return None
        return Breaker(self.breaker_share, int(self.breaker_window_s * _S), int(self.breaker_halt_s * _S))


DEFAULT_RULES = Rules()
BROKER_RULES = Rules(depth=FUTURE_DEPTH, breaker_share=0.10)
"""CME through a broker, who asks for what an account owes. The breaker's source is bot.sim.breaker."""
OFFSHORE_RULES = Rules(depth=PERP_DEPTH, limit_share=0.05, insured=True)
"""A large offshore exchange, where an account ends at zero. limit_share: the percent-price filter of Binance BTCUSDT as remembered,
no source, 2026-11."""


class Floor:
    """Market, clock and margin of one customer's account at one venue. `now` only rises; `next_ns`: when time itself acts next.

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
        self.listings: dict[InstrumentId, Listing] = {i.id: Listing(i, rules.depth, rules.breaker()) for i in instruments}
        self.account = Account(venue, self.listings, cash, self.reports, self.records, rules.fee_rounding)
        self.register = Register(venue, self.listings, self.reports, self.records)
        self.orders = self.register.tickets

    def quote(self, q: ev.Quote) -> bool:
        """Take a top of book; return whether that had consequences (reports to collect, a halt)."""
        if q.ts >= self.next_ns:
            self.advance(q.ts)
        x = self.listings[q.instrument]
        x.quote = q
        if x.resting or not (q.bid >= x.bid_low and q.ask <= x.ask_high):
            return self._quoted(x, q) or bool(self.reports)
        return bool(self.reports)

    def shown(self, quote: ev.Quote) -> ev.Quote:
        """Return the quote as the venue displays it: the same object when nothing of ours is missing from its sizes."""
        x = self.listings[quote.instrument]
        return x.book.shown(quote, max(self.now, quote.ts)) if x.attentive else quote

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
        """Let everything that is due up to and including `now_ns` happen: funding stamps, session ends, ends of halts."""
        while self.next_ns <= now_ns:
            at = self.now = max(self.now, self.next_ns)
            for x in self.listings.values():
                if x.next_stamp <= at:
                    stamp, x.next_stamp = x.next_stamp, NEVER
                    self.account.pay_funding(x, stamp)
                    self._look(x.instrument.settle)
                if x.resting and x.until <= at and not self._in_session(x):
                    for ticket in list(x.resting.values()):
                        self.register.end(ticket, Outcome.EXPIRED, "session end", self.now)
                if x.halted_until and x.halted_until <= at:
                    self._resume(x)
            self._reschedule()
        self.now = max(self.now, now_ns)

    def halt(self, instrument: InstrumentId, now_ns: int, until_ns: int) -> None:
        """Stop trading in an instrument until `until_ns`; a halt that lasts longer already stays as it is.

        Nothing matches, new orders are refused and cancels are taken; orders that rest keep their places. Marks, funding
        and margin go on, but a liquidation finds nobody. (CME's two-minute pause is a pre-open, in which orders may be
        entered and wait for an auction: exchange's own page, read 2026-11. Ours are refused: nothing of ours may wait for
        a price nobody has seen.)
        """
        self.advance(now_ns)
        self._halt(self.listings[instrument], until_ns)

    def hike(self, multiple: float, now_ns: int) -> None:
        """Ask for `multiple` of the listed initial and maintenance margin rates from now on; 1.0 restores them.

        Raises ValueError unless it is > 0 and finite.
        """
        if not 0.0 < multiple < math.inf:
            raise ValueError(f"margin rates times {multiple}: the multiple must be > 0 and finite")
        self.advance(now_ns)
        self.records.append(RatesSet(ts=self.now, multiple=multiple))
        for x in self.listings.values():
            x.set_rates(multiple)
        for currency in dict.fromkeys(x.instrument.settle for x in self.listings.values()):
            self._look(currency)

    # Inside.

    def _quoted(self, x: Listing, q: ev.Quote) -> bool:
        """Look closer at a quote: breaker, resting orders, margin; return whether it halted the instrument."""
        now = self.now = max(self.now, q.ts)
        rested, tripped = bool(x.resting), False
        if x.attentive:
            if x.breaker is not None and not x.halted_until and x.breaker.trips(q):
                self._halt(x, now + x.breaker.halt_ns)
                tripped = True
            x.attend(now)
        if rested:
            self._match(x)
        if rested or not (q.bid >= x.guard_low and q.ask <= x.guard_high):
            self._look(x.instrument.settle)
        return tripped

    def _in_session(self, x: Listing) -> bool:
        """Return whether `x` is in session now, asking the session source only when its last answer has run out."""
        if self.now >= x.until:
            x.open, x.until = self.sessions.is_open(x.instrument.id, self.now)
        return x.open

    def _open(self, x: Listing) -> bool:
        """Return whether `x` trades now: in session and not halted."""
        return self._in_session(x) and not x.halted_until

    def _halt(self, x: Listing, until_ns: int) -> None:
        if until_ns > max(self.now, x.halted_until):
            x.halted_until = until_ns
            self.records.append(Halted(ts=self.now, instrument=x.instrument.id, until_ns=until_ns))
            self._reschedule()

    def _resume(self, x: Listing) -> None:
        """Let a halted instrument trade again, with the quote as it stands; no flow has passed the queues meanwhile."""
        x.halted_until = 0
        for ticket in x.resting.values():
            if ticket.place is not None:
                ticket.place.since = self.now
        self._match(x)
        self._look(x.instrument.settle)

    def _rest(self, x: Listing, ticket: Ticket) -> None:
        """Let an order rest, at the back of its queue."""
        queue = queue_of(x, self.now)
        if queue is not None:
            queue.join(ticket)
        x.resting[ticket.spec.client_id] = ticket

    def _match(self, x: Listing) -> None:
        """Fill what of ours rests and the market reaches, as a maker at its own limit."""
        if x.halted_until:
            return
        for ticket, qty in matched(x, self.now):
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
            cut = next_slice([x for x in pool if x.position.qty and self._open(x)], self.rules.liquidation_slice, self.now)
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
            if x.halted_until:
                due = min(due, x.halted_until)
        self.next_ns = due

