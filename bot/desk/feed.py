"""What happened, one line each, from the events of the run: the words a person reads while it trades.

The lines are a view of the journal and decide nothing. The feed keeps the latest ones for a screen and hands each to a
sink for plain output; it observes the loop beside the tally.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

import msgspec

from bot.engine.flatten import named
from bot.engine.step import Step
from bot.model import event as ev
from bot.model.event import Severity
from bot.model.notation import iso

KEPT = 200
FACTS_KEPT = 10_000
TOGETHER_NS = 60_000_000_000
"""Fills within this market time of the first one are one line of the digest."""
REFUSAL_EVERY = 60_000_000_000
"""A rule that keeps refusing is shown once in this time (market time): its count is in the score."""


class Line(msgspec.Struct, frozen=True):
    """One line. kind: what it is about, for colour; ts: market time, UTC ns."""

    ts: int
    kind: str
    text: str

    def __str__(self) -> str:
        """Return the plain form."""
        return f"{iso(self.ts // 1_000_000_000 * 1_000_000_000)} {self.text}"


class Fills(msgspec.Struct, frozen=True):
    """Fills of one instrument and side that came in a row, as one line of the digest."""

    ts: int
    instrument: str
    side: str
    qty: Decimal
    value: Decimal
    fees: Decimal
    currency: str
    count: int = 1

    kind = "fill"

    def and_then(self, e: ev.OrderFilled) -> Fills | None:
        """Return this line with one more fill in it; None when the fill does not belong to it."""
        same = (e.instrument, e.side.value, e.fee_currency) == (self.instrument, self.side, self.currency)
        if not same or not e.client_id or e.ts - self.ts > TOGETHER_NS:
            return None
        return msgspec.structs.replace(
            self, qty=self.qty + e.qty, value=self.value + e.qty * e.price, fees=self.fees + e.fee, count=self.count + 1
        )

    def __str__(self) -> str:
        """Return the plain form; the price is the average."""
        often = f" in {self.count}" if self.count > 1 else ""
        done = "bought" if self.side == "buy" else "sold"
        return str(Line(self.ts, self.kind, f"{done} {self.qty} {self.instrument} @ {self.value / self.qty:,.1f}{often}, fee {self.fees:,.2f} {self.currency}"))


class Watcher(Protocol):
    """The runtime's observer (bot.runtime.Observer)."""

    def stepped(self, event: ev.Event, out: Step) -> None: ...
    def marked(self, now_ns: int) -> None: ...


class Together:
    """Several observers as one, in order."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Pass on one step."""
        for watcher in self._watchers:
            watcher.stepped(event, out)

    def marked(self, now_ns: int) -> None:
        """Pass on a moment to value the desk."""
        for watcher in self._watchers:
            watcher.marked(now_ns)


class Feed:
    """Turns events into lines. sink: called with each line as it comes, None to only keep them.

    digest: the lines without orders that went as they should, fills in a row taken together: what fits a screen.
    """

    def __init__(self, sink: Callable[[Line], None] | None = None) -> None:
        self.lines: deque[Line] = deque(maxlen=KEPT)
        self.alerts: deque[Line] = deque(maxlen=KEPT)
        self.digest: deque[Line | Fills] = deque(maxlen=KEPT)
        self._sink = sink
        self._refused: dict[tuple[str, str], int] = {}
        self._facts: dict[tuple[object, ...], None] = {}

    def stepped(self, event: ev.Event, out: Step) -> None:
        """See one step: its trigger, then what was decided."""
        self._say(event)
        for decision in out.events:
            self._say(decision)

    def marked(self, now_ns: int) -> None:
        """Nothing to say."""

    def _say(self, event: ev.Event) -> None:
        if isinstance(event, ev.Refused) and self._repeats(event) or self._told(event):
            return
        said = describe(event)
        if said is None:
            return
        line = Line(event.ts, *said)
        self.lines.append(line)
        self._digest(event, line)
        if isinstance(event, ev.Alert) and event.severity is not Severity.INFO:
            self.alerts.append(line)
        if self._sink is not None:
            self._sink(line)

    def _digest(self, event: ev.Event, line: Line) -> None:
        """Take a line into the digest: an order is there by what became of it, a fill joins one of the last two lines."""
        if isinstance(event, ev.OrderIntended):
            return
        if not isinstance(event, ev.OrderFilled) or not event.client_id:
            self.digest.append(line)
            return
        for back in (1, 2):
            last = self.digest[-back] if len(self.digest) >= back else None
            if not isinstance(last, Fills):
                break
            joined = last.and_then(event)
            if joined is not None:
                self.digest[-back] = joined
                return
        fill = Fills(event.ts, event.instrument, event.side.value, event.qty, event.qty * event.price, event.fee, event.fee_currency)
        self.digest.append(fill)

    def _told(self, event: ev.Event) -> bool:
        """Return whether a venue only repeats what it said before: full answers bring recent fills and payments again.

        An order ends once and its silence is worth one line, none when its end came by another road before the answer was given up.
        """
        if isinstance(event, ev.OrderFilled):
            key: tuple[object, ...] = (event.venue, event.exec_id)
        elif isinstance(event, ev.FundingPaid):
            key = (event.venue, event.instrument, event.stamp_ns)
        elif isinstance(event, ev.CashBooked):
            key = (event.venue, event.kind, event.ref)
        elif isinstance(event, ev.OrderEnded):
            key = ("end", event.client_id)
        elif isinstance(event, ev.NoAnswer):
            key = ("end" if ("end", event.client_id) in self._facts else "silence", event.client_id)
        else:
            return False
        if key in self._facts:
            return True
        self._facts[key] = None
        if len(self._facts) > FACTS_KEPT:
            del self._facts[next(iter(self._facts))]
        return False

    def _repeats(self, event: ev.Refused) -> bool:
        last = self._refused.get((event.pair, event.rule))
        if last is not None and event.ts - last < REFUSAL_EVERY:
            return True
        self._refused[event.pair, event.rule] = event.ts
        return False


def describe(event: ev.Event) -> tuple[str, str] | None:
    """Return (kind, words) of an event worth a line, else None."""
    words = _SAID.get(type(event))
    return words(event) if words is not None else None


def _target(e: ev.TargetSet) -> tuple[str, str]:
    i = e.intent
    if e.target_lead == 0:
        return "exit", f"EXIT {e.pair}: {i.reason}"
    asked = "" if e.target_lead == i.target_lead else f" of {i.target_lead:+} asked"
    return "enter", f"ENTER {e.pair} {e.target_lead:+} lots{asked}: {i.reason}"


def _intended(e: ev.OrderIntended) -> tuple[str, str]:
    o = e.order
    return "order", f"{o.purpose.name.lower()} {o.side} {o.qty} {o.instrument} @ {o.limit} {o.tif} [{o.client_id}]"


def _filled(e: ev.OrderFilled) -> tuple[str, str]:
    whose = e.client_id or f"by the venue: {e.reason or 'unexplained'}"
    return "fill", f"filled {e.side} {e.qty} {e.instrument} @ {e.price} fee {e.fee} {e.fee_currency} [{whose}]"


def _ended(e: ev.OrderEnded) -> tuple[str, str] | None:
    if e.outcome.value in ("filled", "cancelled") and not e.reason:
        return None
    return "reject" if e.outcome.value == "rejected" else "order", f"{e.outcome} after {e.cum_qty} [{e.client_id}] {e.reason}".rstrip()


def _funding(e: ev.FundingPaid) -> tuple[str, str]:
    way = "received" if e.amount > 0 else "paid"
    return "funding", f"funding {way} {abs(e.amount):,.2f} {e.currency} on {e.qty:+} {e.instrument} at {e.rate * 1e4:+.2f} bp"


def _status(e: ev.VenueStatus) -> tuple[str, str]:
    return "venue", f"{e.venue} {'reachable' if e.up else 'UNREACHABLE'} {e.reason}".rstrip()


def _ready(e: ev.ReadySet) -> tuple[str, str]:
    return "desk", "reconciled: openings allowed" if e.ready else f"openings locked: {e.cause}"


def _frozen(e: ev.Frozen) -> tuple[str, str]:
    return "stop", f"{e.pair or 'all pairs'} {'frozen' if e.on else 'released'}: {e.reason}"


def _unwind(e: ev.UnwindSet) -> tuple[str, str]:
    return "stop", f"{e.pair} {'UNWIND' if e.on else 'unwind over'}: {e.reason}"


_SAID: dict[type, Callable[..., tuple[str, str] | None]] = {
    ev.TargetSet: _target,
    ev.OrderIntended: _intended,
    ev.OrderFilled: _filled,
    ev.OrderEnded: _ended,
    ev.FundingPaid: _funding,
    ev.VenueStatus: _status,
    ev.ReadySet: _ready,
    ev.Frozen: _frozen,
    ev.UnwindSet: _unwind,
    ev.NoAnswer: lambda e: ("reject", f"no answer, outcome unknown [{e.client_id}] {e.reason}"),
    ev.AbsenceProven: lambda e: ("order", f"never arrived [{e.client_id}]"),
    ev.Refused: lambda e: ("refuse", f"refused {e.pair}: {e.rule}, {e.observed:g} against {e.limit:g}"),
    ev.StopTripped: lambda e: ("stop", f"STOP {e.pair}: {e.rule}, {e.observed:g} against {e.limit:g}"),
    ev.Rearmed: lambda e: ("desk", f"{e.pair} armed again"),
    ev.CashBooked: lambda e: ("funding", f"{e.kind} {e.amount:+} {e.currency} at {e.venue}"),
    ev.KillSet: lambda e: ("kill", f"KILL LEVEL {named(e.level, e.evacuate)} [{e.kill_id}] {e.reason}".rstrip()),
    ev.CommitFailed: lambda e: ("stop", f"journal not confirmed, openings frozen: {e.reason}"),
    ev.SendBlocked: lambda e: ("stop", f"not sent [{e.client_id}] {e.reason}"),
    ev.Allocated: lambda e: ("order", f"{e.qty:+} {e.instrument} assigned to {e.pair}"),
    ev.Alert: lambda e: ("alert", f"{e.severity.value.upper()} {e.code}: {e.text}"),
}
