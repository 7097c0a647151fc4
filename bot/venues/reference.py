"""A price that is looked at and not traded: the stablecoin in USD, which no venue of the desk lists.

It is shown as the market makes it, under the faults that its plan holds: those named for it, and the depegs named for
the venue whose contracts settle in it, so that both sides of one depeg move at the same instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from bot.model.command import Command
from bot.model.event import NEVER, Quote
from bot.model.ids import VenueId
from bot.model.instrument import Instrument
from bot.model.ports import Emit
from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.sim.feed import Feed


def reference_plan(terms: Instrument, settled_at: VenueId, faults: Sequence[Fault], now_ns: int = 0) -> FaultPlan:
    """Return the faults of a reference price: its own, and the depegs of `settled_at`. now_ns: as for FaultPlan."""
    depegs = (msgspec.structs.replace(f, venue=terms.venue) for f in faults if f.kind is FaultKind.DEPEG and f.venue == settled_at)
    return FaultPlan(terms.venue, [*(f for f in faults if f.venue == terms.venue), *depegs], now_ns)


class ReferenceVenue:
    """bot.model.ports.SimulatedVenue of one reference price, without orders, account or delay."""

    def __init__(self, terms: Instrument, plan: FaultPlan) -> None:
        self.plan = plan
        self.due_ns = NEVER
        self._venue = terms.venue
        self._feed = Feed(plan, {terms.id: terms})
        self._emit: Emit | None = None

    @property
    def venue(self) -> VenueId:
        """Return the venue's id."""
        return self._venue

    def start(self, emit: Emit) -> None:
        """Begin to listen; a price has no status."""
        self._emit = emit

    def stop(self) -> None:
        """Stop listening."""
        self._emit = None

    def send(self, command: Command, now_ns: int) -> None:
        """Refuse: nothing is traded or asked here. Raises ValueError."""
        raise ValueError(f"{self._venue} is a price, not a venue: {command}")

    def observe(self, event: Any) -> Any:
        """Return what the desk sees of a quote now, None for nothing; what it sees beyond one quote is emitted."""
        now = event.ts
        if type(event) is not Quote or now < self.plan.quote_ns:
            return event
        seen = self._feed.shown(self._feed.real(event, now), now)
        if len(seen) == 1:
            return seen[0]
        for quote in seen:
            if self._emit is not None:
                self._emit(quote)
        return None

    def advance(self, now_ns: int) -> None:
        """Do nothing: a price has nothing to deliver on its own."""
