"""The in-process venue: an exchange (bot.sim) behind a simulated wire with latency and scripted faults.

With no latency everything is answered in the same call and nothing is queued: that is the road of benchmark and
backtest. Otherwise one heap orders what is on the wire by due time and arrival. Records reach the venue's own log before any
reply that depends on them is emitted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import msgspec

from bot.model import event as ev
from bot.model.command import Cancel, Command, QueryOrder, QueryVenue, Submit
from bot.model.event import NEVER
from bot.model.ids import ClientId, VenueId
from bot.model.instrument import Rounding, round_qty, to_decimal
from bot.model.ports import Emit
from bot.sim.exchange import ADL, LIQUIDATION, Exchange
from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.sim.feed import Feed
from bot.venues.simlog import VenueLog

Arrival = Callable[[int], int]
"""Instant at which an order sent now arrives (backtests: when the next price can be had). An order that arrives at the
very instant of a quote meets the one before it, so a caller who wants the new quote returns one ns later."""

RESTART_NS = 3_600_000_000_000
"""After a restart the first full answer repeats bookings this old: the desk may have died before it booked them."""
OVERLAP_NS = 60_000_000_000
"""Later answers repeat bookings from this long before the previous one: replies may have been lost or late."""

AGAIN_NS = 60_000_000_000
"""How often a fault of the account that found nothing held looks again."""

_S = 1_000_000_000
K = FaultKind


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """One way times in ns: our request to the venue, its reply to us, its market data to us."""

    request_ns: int = 0
    reply_ns: int = 0
    feed_ns: int = 0


INSTANT = Delays()


class SimVenue:
    """bot.model.ports.SimulatedVenue on one exchange. now_ns: market time at which it begins.

    due_ns: when `advance` has something to do. plan: which faults strike, with its counts of hits.
    """

    def __init__(
        self, exchange: Exchange, *, delays: Delays = INSTANT, plan: FaultPlan | None = None, log: VenueLog | None = None,
        arrival: Arrival | None = None, now_ns: int = 0,
    ) -> None:  # fmt: skip
        self.exchange = exchange
        self.delays = delays
        self.plan = FaultPlan(exchange.venue) if plan is None else plan
        self.due_ns = NEVER
        self.up = True
        self._log = log
        self._arrival = arrival
        self._now = now_ns
        self._since_ns = now_ns - RESTART_NS
        self._wire: list[tuple[int, int, Callable[[int, Any], None], Any]] = []
        self._sent = 0
        self._emit: Emit = _unconnected
        self._held: dict[ClientId, Submit] = {}
        self._feed = Feed(self.plan)
        self._listings = exchange.listings
        self._wake = 0
        if log is not None:
            exchange.restore(log.restored, now_ns)
            self._persist()
        self._schedule()

    @property
    def venue(self) -> VenueId:
        """Return the venue's id."""
        return self.exchange.venue

    # The port.

    def start(self, emit: Emit) -> None:
        """Connect and report the venue up, or down when an outage is on."""
        self._emit = emit
        self.advance(self._now)
        self._schedule()
        if self.up:
            emit(ev.VenueStatus(ts=self._now, venue=self.venue, up=True, reason="connected"))

    def stop(self) -> None:
        """Disconnect: nothing is emitted any more, what is on the wire is lost."""
        self._emit = _unconnected
        self._wire.clear()
        if self._log is not None:
            self._log.close()

    def prime(self, event: ev.Observation) -> None:
        """Show the exchange a market it was in before this process started, without consequences."""
        self.exchange.prime(event)
        self._schedule()

    def observe(self, event: Any) -> Any:
        """Let the market move; return what the desk sees at this instant, None when later or never."""
        if event.ts < self._wake and type(event) is ev.Quote:
            # The road of almost every quote of a benchmark or backtest: Exchange.quote without its call.
            x = self._listings[event.instrument]
            if not x.resting and event.bid >= x.bid_low and event.ask <= x.ask_high:
                x.quote = event
                return event
            if self.exchange.quote(event):
                return self._moved(event)
            return event
        return self._observe(event)

    def send(self, command: Command, now_ns: int) -> None:
        """Put a command on the wire; in an outage it is lost."""
        self._now = max(self._now, now_ns)
        if not self.up:
            return
        plan = self.plan
        if isinstance(command, Submit | Cancel) and plan.strike(K.LOST_REQUEST, now_ns):
            return
        at = now_ns + self.delays.request_ns + self._slow_ns(now_ns)
        if self._arrival is not None and isinstance(command, Submit | Cancel):
            at = max(at, self._arrival(now_ns))
            if isinstance(command, Submit) and at > now_ns:
                self._held[command.order.client_id] = command
        if at <= now_ns and not self._wire:
            self._serve(now_ns, command)
        else:
            self._push(max(at, now_ns), self._serve, command)
        self._schedule()

    def advance(self, now_ns: int) -> None:
        """Do and emit everything due up to and including `now_ns`, in order of time."""
        wire, exchange, plan = self._wire, self.exchange, self.plan
        while True:
            at = min(exchange.next_ns, plan.next_ns)
            if wire and wire[0][0] < at:
                at = wire[0][0]
            if at > now_ns:
                break
            self._now = max(self._now, at)
            for begins, fault in plan.due(at):
                self._strike(begins, fault)
            if exchange.next_ns <= at:
                exchange.advance(at)
                self._reply(self._now)
            while wire and wire[0][0] <= at:
                _, _, act, what = heapq.heappop(wire)
                act(self._now, what)
        self._now = max(self._now, now_ns)
        self._schedule()

    # The market.

    def _observe(self, event: Any) -> Any:
        """The slow road of observe: anything but a quote, latency, faults, an outage, something due."""
        if event.ts >= self.due_ns:
            self.advance(event.ts)
        now = self._now = max(self._now, event.ts)
        kind = type(event)
        exchange = self.exchange
        if kind is ev.Unseen:
            exchange.quote(event.quote)
            event = None
        elif kind is ev.Quote:
            if now >= self.plan.quote_ns:
                event = self._feed.thinned(event, float(exchange.listings[event.instrument].instrument.lot))
            exchange.quote(event)
        elif kind is ev.MarkPrice:
            exchange.mark(event)
        elif kind is ev.FundingRate:
            exchange.funding(event)
        return self._moved(event)

    def _moved(self, event: Any) -> Any:
        """Send out what a market move caused, then what the desk sees of the move itself."""
        now = max(self._now, event.ts) if event is not None else self._now
        self._now = now
        had_replies = bool(self.exchange.reports)
        self._reply(now)
        if event is not None and type(event) is ev.Quote and now >= self.plan.quote_ns:
            event = self._feed.spoilt(event, now)
        if event is not None and not self.up:
            event = None
        delay = self.delays.feed_ns + (self._slow_ns(now) if event is not None else 0)
        if event is not None and delay:
            self._push(now + delay, self._show, event)
            event = None
        elif event is not None and had_replies:
            self._emit(event)  # behind its consequences, and so that the loop looks at due_ns again
            event = None
        self._schedule()
        return event

    def _show(self, now: int, event: Any) -> None:
        """Deliver market data that was on the wire."""
        if self.up:
            self._emit(_at(event, now))

    # Requests and replies.

    def _serve(self, now: int, command: Command) -> None:
        """Let the exchange act on a command that has arrived, and answer it."""
        exchange = self.exchange
        self._now = max(self._now, now)
        if isinstance(command, Submit):
            self._submit(now, command)
            return
        if isinstance(command, Cancel):
            if self.plan.strike(K.CANCEL_RACE, now):
                exchange.fill_resting(command.client_id, now)
            exchange.cancel(command.client_id, now)
        elif self.plan.strike(K.SNAPSHOT_FAIL, now):
            exchange.reports.append(ev.QueryFailed(ts=now, venue=self.venue, reason="no usable answer"))
        elif isinstance(command, QueryOrder):
            if command.client_id in self._held:
                exchange.reports.append(ev.OrderAccepted(ts=now, client_id=command.client_id, venue_order_id=""))
            else:
                exchange.query(command.client_id, now)
        elif isinstance(command, QueryVenue):
            exchange.snapshot(now, self._since_ns)
            self._since_ns = now - OVERLAP_NS
        self._reply(now, asked=not isinstance(command, Cancel))

    def _submit(self, now: int, command: Submit) -> None:
        """Let an order arrive; what happens to it or to its answers may be faulty."""
        exchange, plan, spec = self.exchange, self.plan, command.order
        self._held.pop(spec.client_id, None)
        if spec.client_id in exchange.orders:
            exchange.submit(spec, now)
            self._reply(now, asked=True)
            return
        if plan.strike(K.REJECT, now):
            exchange.reject(spec, now, "system busy")
        else:
            part = plan.strike(K.PARTIAL_FILL, now)
            listed = exchange.listings.get(spec.instrument)
            shown = None
            if part is not None and listed is not None:
                shown = round_qty(listed.instrument, spec.qty * to_decimal(part.arg("share")), Rounding.DOWN)
            exchange.submit(spec, now, shown)
        if plan.strike(K.LOST_ACK, now):
            self._persist()
            exchange.reports.clear()
        elif len(exchange.reports) > 1 and plan.strike(K.REORDER, now):
            exchange.reports.reverse()
        self._reply(now)

    def _reply(self, now: int, asked: bool = False) -> None:
        """Put the exchange's reports on the wire to us. asked: the answer to a query, which repeats what was lost."""
        self._persist()
        reports = self.exchange.reports
        if not reports:
            return
        events = tuple(reports)
        reports.clear()
        if not self.up:
            return
        plan = self.plan
        at = now + self.delays.reply_ns + self._slow_ns(now)
        for event in events:
            if asked or not isinstance(event, ev.OrderFilled):
                self._deliver(now, at, event)
            elif plan.strike(K.LOST_FILL, now):
                continue
            else:
                late = plan.strike(K.LATE_FILL, now)
                self._deliver(now, at + int(late.arg("delay_s") * _S) if late is not None else at, event)
                if plan.strike(K.DUPLICATE, now):
                    self._deliver(now, at, event)

    def _deliver(self, now: int, at: int, event: ev.Event) -> None:
        if at <= now:
            self._emit(_at(event, now))
        else:
            self._push(at, self._arrive, event)

    def _arrive(self, now: int, event: ev.Event) -> None:
        """Hand over a reply that was on the wire; in an outage it is lost."""
        if self.up:
            self._emit(_at(event, now))

    def _strike(self, begins: bool, fault: Fault) -> None:
        """Begin or end an outage, or hit the account."""
        now = self._now
        if fault.kind is K.OUTAGE:
            self.up = not begins
            if begins:
                self.plan.hit(K.OUTAGE)
            reason = "outage" if begins else "back"
            self._emit(ev.VenueStatus(ts=now, venue=self.venue, up=self.up, reason=reason))
            return
        held = list(self.exchange.positions())
        if not held:  # it waits, as every fault does, for something it can hurt
            self.plan.again(fault, now + AGAIN_NS)
            return
        reason, share = (ADL if fault.kind is K.ADL else LIQUIDATION), to_decimal(fault.arg("share"))
        for instrument in held:
            self.exchange.seize(instrument, share, reason, now)
        self.plan.hit(fault.kind)
        self._reply(now)

    def _slow_ns(self, now: int) -> int:
        slow = self.plan.strike(K.SLOW, now)
        return 0 if slow is None else int(slow.arg("delay_s") * _S)

    def _persist(self) -> None:
        """Write the exchange's new records to the venue's log."""
        records = self.exchange.records
        if records:
            if self._log is not None:
                self._log.append(records)
            records.clear()

    def _push(self, at: int, act: Callable[[int, Any], None], what: Any) -> None:
        self._sent += 1
        heapq.heappush(self._wire, (at, self._sent, act, what))

    def _schedule(self) -> None:
        """Set due_ns, and how long quotes may take the short road."""
        due = min(self.exchange.next_ns, self.plan.next_ns)
        if self._wire and self._wire[0][0] < due:
            due = self._wire[0][0]
        self.due_ns = due
        self._wake = 0 if self.delays.feed_ns or not self.up else min(due, self.plan.quote_ns)


def _at(event: Any, now: int) -> Any:
    """Return the event as it reaches the desk: its time is when we learn it; a quote keeps the venue's own beside."""
    return event if event.ts == now else msgspec.structs.replace(event, ts=now)


def _unconnected(event: ev.Event) -> None:
    """Nobody listens."""
