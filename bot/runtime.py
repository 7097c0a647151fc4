"""The one synchronous loop: take the next event, number it, step, make it durable, dispatch, drain the replies.

Nothing here knows a strategy, a rule or a venue's nature. Backtest, paper, bench and simulate call `drive` with a market
source; live adapters push events into `emit` from outside and an asyncio shell calls `pump`. Events of one step are
committed before its commands leave. When the commit fails openings are blocked, while hedges, reductions and cancels
write their intent to the emergency file instead; if that fails too nothing is sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol, runtime_checkable

from bot.crash import Point, crash_point
from bot.engine.fold import apply
from bot.engine.obligations import Obligations, decode, encode
from bot.engine.retold import repeats
from bot.engine.step import NOTHING, Engine, Step
from bot.model import event as ev
from bot.model.command import Cancel, Command, QueryOrder, QueryVenue, Submit
from bot.model.errors import JournalError
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import Instrument
from bot.model.ports import Journal, SimulatedVenue, Tape, Venue


@runtime_checkable
class StoredJournal(Journal, Protocol):
    """A journal that can be read back."""

    def read(self, from_seq: int = 0) -> Iterator[tuple[int, int, ev.Event]]:
        """Yield (seq, n, event) from `from_seq` on, in order."""

    def latest_checkpoint(self) -> tuple[int, bytes] | None:
        """Return (seq, state) of the newest checkpoint."""

    def checkpoint(self, seq: int, state: bytes) -> None:
        """Keep the encoded state after `seq`."""


def recover(journal: StoredJournal, terms: dict[InstrumentId, Instrument], fresh: Obligations) -> Obligations:
    """Return the obligations a journal leaves: its newest checkpoint and the tail, or `fresh` and everything."""
    found = journal.latest_checkpoint()
    seq, ob = (found[0], decode(found[1])) if found is not None else (0, fresh)
    for _, _, event in journal.read(seq + 1):
        apply(ob, terms, event)
    crash_point("recovery.after_fold")
    return ob


class Observer(Protocol):
    """Keeps score beside the loop; whatever it does, the loop goes on the same way."""

    def stepped(self, event: ev.Event, out: Step) -> None:
        """See one journalled step after it is durable: its trigger and what it led to."""

    def marked(self, now_ns: int) -> None:
        """See that mark prices moved: a moment to value the desk."""


CHECKPOINT_STEPS = 2_000
"""Journalled steps between two checkpoints: a recovery folds at most this tail (about 0.1 s)."""

_AROUND: dict[type, tuple[Point, Point]] = {
    ev.OrderAccepted: ("ack.before_fold", "ack.after_commit"),
    ev.OrderFilled: ("fill.before_fold", "fill.after_commit"),
    ev.OrderEnded: ("end.before_fold", "end.after_commit"),
    ev.FundingPaid: ("booking.before_fold", "booking.after_commit"),
    ev.CashBooked: ("booking.before_fold", "booking.after_commit"),
    ev.VenueSnapshot: ("snapshot.before_fold", "snapshot.after_commit"),
    ev.Timer: ("timer.before_step", "timer.after_commit"),
    ev.KillSet: ("kill.before_fold", "kill.after_commit"),
}
"""Crash points before an event is folded and after it is durable."""
_SENDING: dict[type, tuple[Point, Point]] = {
    Submit: ("send.before", "send.after"),
    Cancel: ("cancel.before", "cancel.after"),
    QueryOrder: ("query.before", "query.after"),
    QueryVenue: ("query.before", "query.after"),
}
"""Crash points around the handing over of a command."""

_OPENINGS_STOP = ev.LEVEL_RANK[ev.KillLevel.PAUSE]


class Runtime:
    """Owns the order of events. `seq` is the number of the last one; `latch` is checked on the last line before a venue.

    wake: called for every event handed in, to rouse a shell that sleeps until there is one.
    """

    def __init__(
        self, engine: Engine, journal: Journal, tape: Tape | None, venues: Mapping[VenueId, Venue], *, seq: int = 0,
        observer: Observer | None = None,
    ) -> None:  # fmt: skip
        self.engine = engine
        self.journal = journal
        self.tape = tape
        self.venues = venues
        self.seq = seq
        self.latch = engine.ob.kill_level
        self.dispatched = 0
        self.wake: Callable[[], None] | None = None
        self._uncheckpointed = 0
        self._observer = observer
        self._inbox: deque[ev.Event] = deque()
        self._simulated = [v for v in venues.values() if isinstance(v, SimulatedVenue)]
        self._route: dict[InstrumentId, Callable[[Any], Any]] = {}
        for instrument, terms in engine.terms.items():
            venue = venues.get(terms.venue)
            self._route[instrument] = venue.observe if isinstance(venue, SimulatedVenue) else _as_seen
        self._held: Any = None

    def emit(self, event: ev.Event) -> None:
        """Hand in an event from outside; it gets its number when the loop takes it."""
        self._inbox.append(event)
        if self.wake is not None:
            self.wake()

    def start(self, first: ev.RunStarted) -> None:
        """Begin or recover a run: fold its first event, then connect every venue."""
        self.latch = first.kill_level
        self._take(first)
        crash_point("recovery.after_start")
        for venue in self.venues.values():
            venue.start(self.emit)
        crash_point("recovery.before_query")
        self.pump()

    def stop(self) -> None:
        """Disconnect every venue."""
        crash_point("stop.before")
        for venue in self.venues.values():
            venue.stop()
        crash_point("stop.after")

    def drive(self, source: Iterator[Any], until_ns: int) -> bool:
        """Run the market and everything it causes up to `until_ns`, exclusive; return whether the source has more.

        NEVER ends with the source's last observation.
        `source` yields observations and Unseen in order of exchange time. At one instant what is due at the venues
        comes first, then the desk's timer, then the market's next observation.
        """
        inbox, route, on_quote = self._inbox, self._route, self.engine.on_quote
        record = self.tape.record if self.tape is not None else None
        quote, held = ev.Quote, None
        due = self._bound(until_ns)
        for event in source if self._held is None else chain((self._held,), source):
            ts = event.ts
            if ts >= due:
                if ts >= until_ns:
                    held = event
                    break
                self._catch_up(ts)
                due = self._bound(until_ns)
            if type(event) is not quote:
                self._observe(event)
                due = self._bound(until_ns)
                continue
            seen = route[event.instrument](event)
            if inbox:
                self.pump()
                due = self._bound(until_ns)
            if seen is None:
                due = self._bound(until_ns)
                continue
            self.seq += 1
            if record is not None:
                record(self.seq, seen)
            out = on_quote(seen)
            if out is not NOTHING:
                self._commit(seen, out)
                self.pump()
                due = self._bound(until_ns)
        self._held = held
        if until_ns < ev.NEVER:
            self._catch_up(until_ns, look=False)
        return held is not None

    def pump(self) -> None:
        """Take everything handed in so far, and what that causes in the same instant."""
        inbox = self._inbox
        while inbox:
            self._take(inbox.popleft())

    def beat(self, now_ns: int) -> None:
        """Let a desk on the wall clock live up to now: take what came in, let simulated venues act, then the timer if it is due."""
        self.pump()
        for venue in self._simulated:
            if venue.due_ns <= now_ns:
                venue.advance(now_ns)
                self.pump()
        if min(self.engine.due_ns, self.engine.look_ns) <= now_ns:
            self._timer(now_ns)

    @property
    def due_ns(self) -> int:
        """Return when `beat` has something to do without a new event; UTC ns, NEVER if nothing is due."""
        return min(self.engine.due_ns, self.engine.look_ns, *(venue.due_ns for venue in self._simulated))

    def _observe(self, event: Any) -> None:
        """Pass any market observation but a quote, or a quote the desk is not shown."""
        if type(event) is ev.Unseen:
            self._route[event.quote.instrument](event)
        else:
            seen = self._route[event.instrument](event)
            if seen is not None:
                self.pump()
                self._take(seen)
        self.pump()

    def _bound(self, until_ns: int) -> int:
        """Return the earliest instant at which a venue or the desk's timer wants its turn, or the drive ends."""
        engine = self.engine
        due = engine.due_ns if engine.due_ns < until_ns else until_ns
        if engine.look_ns < due:
            due = engine.look_ns
        for venue in self._simulated:
            if venue.due_ns < due:
                due = venue.due_ns
        return due

    def _catch_up(self, ts: int, *, look: bool = True) -> None:
        """Let venues and timer act, in order of time, on everything due up to and including `ts`.

        look: an observation follows, so the monitors look first. Without one they do not: how a run is cut into
        calls must not change its journal.
        """
        engine = self.engine
        while True:
            due = engine.due_ns
            for venue in self._simulated:
                if venue.due_ns < due:
                    due = venue.due_ns
            if due > ts:
                break
            for venue in self._simulated:
                if venue.due_ns <= due:
                    venue.advance(due)
            self.pump()
            if engine.due_ns <= due:
                self._timer(due)
        if look and engine.look_ns <= ts:
            self._timer(ts)

    def _timer(self, ts: int) -> None:
        """Pass one timer event through step."""
        crash_point("timer.before_step")
        self.seq += 1
        event = ev.Timer(ts)
        if self.tape is not None:
            self.tape.record(self.seq, event)
        out = self.engine.on_timer(ts)
        if out is not NOTHING:
            self._commit(event, out)
        self.pump()

    def _take(self, event: ev.Event) -> None:
        """Number one event, step it, and commit it if it is an obligation or decided something.

        What a venue merely says again gets no number: it would fill the journal with what is there already.
        """
        if repeats(self.engine.ob, event):
            return
        points = _AROUND.get(type(event))
        if points is not None:
            crash_point(points[0])
        self.seq += 1
        if isinstance(event, ev.KillSet):
            lifted = event.level is ev.KillLevel.NONE
            self.latch = event.level if lifted else max(self.latch, event.level, key=ev.LEVEL_RANK.__getitem__)
        observation = type(event) in ev.OBSERVATIONS
        if observation and self.tape is not None:
            self.tape.record(self.seq, event)  # type: ignore[arg-type]
        out = self.engine.step(event)
        if not observation or out is not NOTHING:
            self._commit(event, out)
        elif type(event) is ev.MarkPrice and self._observer is not None:
            self._observer.marked(event.ts)

    def _commit(self, event: ev.Event, out: Step) -> None:
        """Make one step durable, then let its commands leave."""
        commands: Sequence[Command] = out.commands
        try:
            self.journal.append(self.seq, (event, *out.events))
        except JournalError as error:
            commands = self._without_journal(event, out, str(error))
        else:
            self._committed(event, out)
        for command in commands:
            self._dispatch(command)
        if self._observer is not None:
            self._observer.stepped(event, out)
        self._uncheckpointed += 1
        if self._uncheckpointed >= CHECKPOINT_STEPS:
            self.checkpoint()

    def _committed(self, event: ev.Event, out: Step) -> None:
        """Pass the points behind a commit, before its commands leave."""
        points = _AROUND.get(type(event))
        if points is not None:
            crash_point(points[1])
        if self.engine.ob.ready and any(type(e) is ev.ReadySet for e in out.events):
            crash_point("ready.after_commit")

    def checkpoint(self) -> None:
        """Keep the state so that a recovery need not fold the whole journal; a refusal only makes that longer."""
        self._uncheckpointed = 0
        if isinstance(self.journal, StoredJournal):
            try:
                self.journal.checkpoint(self.seq, encode(self.engine.ob))
            except JournalError:
                return

    def _without_journal(self, event: ev.Event, out: Step, reason: str) -> list[Command]:
        """Freeze, and return the commands that may leave anyway: those that get flatter, with their intent on file."""
        if not isinstance(event, ev.CommitFailed):
            self.emit(ev.CommitFailed(ts=event.ts, reason=reason))
        safe = [c for c in out.commands if not (isinstance(c, Submit) and c.opening)]
        sends = [c for c in safe if isinstance(c, Submit | Cancel)]
        if sends:
            try:
                self.journal.emergency(self.seq, (event, *out.events))
            except JournalError as error:
                safe = [c for c in safe if c not in sends]
                reason = str(error)
        for command in out.commands:
            if isinstance(command, Submit) and command not in safe:
                self.emit(ev.SendBlocked(ts=event.ts, client_id=command.order.client_id, reason=reason))
        return safe

    def _dispatch(self, command: Command) -> None:
        """The single send gate: the latch in memory is looked at on the last line before the venue."""
        now = self.engine.ob.now
        if isinstance(command, Submit):
            if command.opening and ev.LEVEL_RANK[self.latch] >= _OPENINGS_STOP:
                self.emit(ev.SendBlocked(ts=now, client_id=command.order.client_id, reason=f"latched {self.latch}"))
                return
            venue = command.order.venue
        else:
            venue = command.venue
        before, after = _SENDING[type(command)]
        self.dispatched += 1
        crash_point(before)
        self.venues[venue].send(command, now)
        crash_point(after)


def _as_seen(event: Any) -> Any:
    """An instrument without a simulated venue (a reference price) is seen as it is."""
    return event

