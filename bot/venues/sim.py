"""The in-process venue: an exchange (bot.sim) behind a simulated wire with latency, message limits and scripted faults.

With no latency everything is answered in the same call and nothing is queued: that is the road of benchmark and
backtest. Otherwise bot.sim.wire orders what is under way. Records reach the venue's own log before any reply that
depends on them is emitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bot.model import event as ev
from bot.model.command import Cancel, Command, QueryOrder, QueryVenue, Submit
from bot.model.event import NEVER
from bot.model.ids import ClientId, VenueId
from bot.model.instrument import Rounding, round_qty, to_decimal
from bot.model.ports import Emit
from bot.sim import acts
from bot.sim.budget import TOO_MANY, UNLIMITED, Budget, Gate
from bot.sim.exchange import Exchange
from bot.sim.fault_kinds import BREAKS
from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.sim.feed import Feed
from bot.sim.wire import INSTANT, Delays, Stream, Wire
from bot.venues.simlog import VenueLog

__all__ = ["Arrival", "SimVenue"]

Arrival = Callable[[int], int]
"""Instant at which an order sent now arrives (backtests: when the next price can be had). An order that arrives at the
very instant of a quote meets the one before it, so a caller who wants the new quote returns one ns later."""

AGAIN_NS = 60_000_000_000
"""How often a timed fault that found nothing to act on looks again."""

_S = 1_000_000_000
K = FaultKind


class SimVenue:
    """bot.model.ports.SimulatedVenue on one exchange. now_ns: market time at which it begins.

    due_ns: when `advance` has something to do. plan: which faults strike, with its counts of hits. budget: messages it
    takes. seed: of its delays; two venues of one seed differ.
    """

    def __init__(
        self, exchange: Exchange, *, delays: Delays = INSTANT, plan: FaultPlan | None = None, log: VenueLog | None = None,
        arrival: Arrival | None = None, now_ns: int = 0, budget: Budget = UNLIMITED, seed: int = 0,
    ) -> None:  # fmt: skip
        self.exchange = exchange
        self.delays = delays
        self.plan = FaultPlan(exchange.venue) if plan is None else plan
        self.due_ns = NEVER
        self.up = not self.plan.cut
        self._log = log
        self._arrival = arrival
        self._now = now_ns
        self._wire = Wire(delays, f"{seed} {exchange.venue}")
        self._gate = Gate(budget, self.plan)
        self._emit: Emit = _unconnected
        self._held: dict[ClientId, Submit] = {}
        self._listings = exchange.listings
        self._feed = Feed(self.plan, {i: x.instrument for i, x in exchange.listings.items()})
        self._deep = exchange.rules.depth is not None or exchange.rules.breaker_share > 0.0
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
        at = self._wire.arrival(Stream.REQUESTS, now_ns, self._slow_ns(now_ns))
        if self._arrival is not None and isinstance(command, Submit | Cancel):
            at = max(at, self._arrival(now_ns))
            if isinstance(command, Submit) and at > now_ns:
                self._held[command.order.client_id] = command
        if at <= now_ns and self._wire.due_ns == NEVER:
            self._serve(now_ns, command)
        else:
            self._wire.push(max(at, now_ns), self._serve, command)
        self._schedule()

    def advance(self, now_ns: int) -> None:
        """Do and emit everything due up to and including `now_ns`, in order of time."""
        wire, exchange, plan = self._wire, self.exchange, self.plan
        while True:
            at = min(exchange.next_ns, plan.next_ns, wire.due_ns)
            if at > now_ns:
                break
            self._now = max(self._now, at)
            for begins, fault in plan.due(at):
                self._strike(begins, fault)
            if exchange.next_ns <= at:
                exchange.advance(at)
                self._reply(self._now)
            while wire.due_ns <= at:
                act, what = wire.pop()
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
                event = self._feed.real(event, now)
            exchange.quote(event)
            event = exchange.shown(event)
        elif kind is ev.MarkPrice:
            event = self._feed.real(event, now)
            exchange.mark(event)
        elif kind is ev.FundingRate:
            event = self._feed.real(event, now)
            exchange.funding(event)
        return self._moved(event)

    def _moved(self, event: Any) -> Any:
        """Send out what a market move caused, then what the desk sees of the move itself."""
        now = max(self._now, event.ts) if event is not None else self._now
        self._now = now
        had_replies = bool(self.exchange.reports)
        self._reply(now)
        seen: tuple[Any, ...] = ()
        if type(event) is ev.Quote and self._listings[event.instrument].halted_until:
            event = None  # nobody quotes what does not trade
        if event is not None and self.up:
            seen = self._feed.shown(event, now) if type(event) is not ev.Quote or now >= self.plan.quote_ns else (event,)
        shown = None
        for event in seen:
            at = self._wire.arrival(Stream.FEED, now, self._slow_ns(now))
            if at > now:
                self._wire.push(at, self._arrive, event)
            elif had_replies or len(seen) > 1:
                self._emit(event)  # behind its consequences, and so that the loop looks at due_ns again
            else:
                shown = event
        self._schedule()
        return shown

    # Requests and replies.

    def _serve(self, now: int, command: Command) -> None:
        """Let the exchange act on a command that has arrived, and answer it."""
        exchange = self.exchange
        self._now = max(self._now, now)
        if not self._gate.takes(command, now):
            self._refuse(now, command)
            return
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
            exchange.snapshot(now, command.since_ns)
        self._reply(now, asked=not isinstance(command, Cancel))

    def _refuse(self, now: int, command: Command) -> None:
        """Answer a message that is one too many: an order is rejected with proof, of anything else nothing is known after it.

        A cancel that was refused leaves its order working; the desk finds it so when it asks, and cancels again.
        """
        if isinstance(command, Submit):
            self._held.pop(command.order.client_id, None)
            self.exchange.reject(command.order, now, TOO_MANY)
        else:
            self.exchange.reports.append(ev.QueryFailed(ts=now, venue=self.venue, reason=TOO_MANY))
        self._reply(now, asked=not isinstance(command, Submit))

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
            acts.overfill(exchange, plan, spec, now)
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
        at = self._wire.arrival(Stream.ANSWERS if asked else Stream.REPORTS, now, self._slow_ns(now))
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
            self._wire.push(at, self._arrive, event)

    def _arrive(self, now: int, event: ev.Event) -> None:
        """Hand over what was on the wire to us; in an outage it is lost."""
        if self.up:
            self._emit(_at(event, now))

    def _strike(self, begins: bool, fault: Fault) -> None:
        """Let a timed fault begin or end: cut the line or mend it, or act on the exchange."""
        now, plan = self._now, self.plan
        if fault.kind in BREAKS:
            if begins:
                plan.hit(fault.kind)
            if self.up is plan.cut:
                self.up = not plan.cut
                self._emit(ev.VenueStatus(ts=now, venue=self.venue, up=self.up, reason="back" if self.up else "outage"))
            return
        if not acts.act(self.exchange, plan, begins, fault, now):  # it waits, as every fault does, for something it can hurt
            plan.again(begins, fault, now + AGAIN_NS)
            return
        if begins:
            plan.hit(fault.kind)
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

    def _schedule(self) -> None:
        """Set due_ns, and how long quotes may take the short road."""
        self.due_ns = due = min(self.exchange.next_ns, self.plan.next_ns, self._wire.due_ns)
        slow = self._deep or not self.up or self.delays.feed_ns or self._wire.busy(Stream.FEED, self._now)
        self._wake = 0 if slow else min(due, self.plan.quote_ns)


def _at(event: Any, now: int) -> Any:
    """Return the event as it reaches the desk: its time is when we learn it; a quote keeps the venue's own beside."""
    return event if event.ts == now else msgspec.structs.replace(event, ts=now)


def _unconnected(event: ev.Event) -> None:
    """Nobody listens."""
