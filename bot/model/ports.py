"""The seams to the outside: one small protocol each, so that a fake is a few lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from bot.model.command import Command
from bot.model.event import Event, Observation
from bot.model.ids import InstrumentId, VenueId
from bot.model.intent import EntryDeclined, PairIntent
from bot.model.view import View

Emit = Callable[[Event], None]
"""Hand an event to the loop; it gets its seq when the loop takes it."""


class Venue(Protocol):
    """One counterparty. Everything it has to say comes back as events through `emit`, never as a return value."""

    @property
    def venue(self) -> VenueId: ...

    def start(self, emit: Emit) -> None:
        """Connect; report VenueStatus."""

    def send(self, command: Command, now_ns: int) -> None:
        """Hand over one command. Must not block and must not raise for an unanswered send."""

    def stop(self) -> None:
        """Disconnect and release what is held."""


@runtime_checkable
class SimulatedVenue(Venue, Protocol):
    """A venue fed with its market and paced in virtual time by bot.runtime.

    due_ns: earliest instant at which `advance` has something to deliver, NEVER when nothing is pending.
    """

    due_ns: int

    def observe(self, event: Observation) -> Observation | None:
        """Let the market move at `event.ts` (exchange time): stamps that fell due are paid first, then matching runs.

        Returns what the desk sees at this very instant; None when it sees it later (feed latency) or never (outage).
        """

    def advance(self, now_ns: int) -> None:
        """Emit everything due up to and including `now_ns`, in time order."""


class Journal(Protocol):
    """Durable, ordered record of events."""

    def append(self, seq: int, events: Sequence[Event]) -> None:
        """Make the events of one step durable, or raise JournalError."""

    def emergency(self, seq: int, events: Sequence[Event]) -> None:
        """Record events in the preallocated emergency file, or raise JournalError."""


class Tape(Protocol):
    """Bulk record of observations; losing it never halts."""

    def record(self, seq: int, event: Observation) -> None:
        """Keep one observation."""


class SessionSource(Protocol):
    """Tells when an instrument can trade."""

    def is_open(self, instrument: InstrumentId, now_ns: int) -> tuple[bool, int]:
        """Return whether it trades at `now_ns` and until when that answer holds."""

    def trade_date(self, now_ns: int) -> tuple[str, int]:
        """Return the trade date that a trade at `now_ns` carries and until when that answer holds."""


class Strategy(Protocol):
    """A strategy as values and three functions. Memory is a msgspec Struct: encode, decode, continue = same."""

    id: str

    def start(self, params: Any, history: Sequence[Event]) -> msgspec.Struct: ...

    def on_event(self, memory: Any, view: View, event: Event) -> PairIntent | EntryDeclined | None:
        """O(1); changes only `memory`; None means no new wish, EntryDeclined none and a reason worth a line of the record."""

    def rearms(self, memory: Any, view: View) -> bool:
        """Return whether a pair disarmed by a stop may trade again: back within z_out and cooled down."""
