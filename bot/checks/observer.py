"""The observer that puts the judges together: what is looked at after each journalled step, and at each mark."""

from __future__ import annotations

from collections.abc import Mapping

from bot.checks import agree, clocks
from bot.checks.record import Record
from bot.checks.sends import Sends
from bot.checks.twins import Legs
from bot.engine.step import Engine, Step
from bot.journal.accounts import Accounts
from bot.model import event as ev
from bot.model.command import Submit
from bot.model.ids import ClientId, PairId, VenueId
from bot.sim.exchange import Exchange


class Checks:
    """Observer of one runtime (bot.runtime.Observer). violations: one line each; count: how many there were."""

    def __init__(self, engine: Engine, whole: bool = True) -> None:
        """Begin with what the engine's record holds now: a recovered desk is judged from its recovery on.

        whole: nothing of that record was lost. After a disk that refused rows the orders in flight answer decisions nobody remembers.
        """
        self.record = Record(engine, whole)
        self.sends = Sends(self.record)

    @property
    def violations(self) -> list[str]:
        """Return what was found, one line each, the first KEPT of them."""
        return self.record.violations

    @property
    def count(self) -> int:
        """Return how many violations there were."""
        return self.record.count

    @property
    def openings(self) -> int:
        """Return how many opening orders were judged."""
        return self.sends.openings

    @property
    def legs(self) -> dict[PairId, Legs]:
        """Return the second record of each pair."""
        return self.record.legs

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Judge one journalled step: its trigger, then its decisions in order, then the record it left."""
        record = self.record
        touched: set[ClientId] = set()
        record.fold(event, touched)
        if any(isinstance(d, ev.TargetSet) for d in out.events):
            self.sends.approved(out)
        for decision in out.events:
            if isinstance(decision, ev.OrderEnded | ev.OrderFilled | ev.OrderAccepted):
                record.broken("I5", decision.ts, f"{type(decision).__name__} of {decision.client_id} decided without venue evidence")
            record.fold(decision, touched)
        if touched:
            agree.orders_agree(record, touched)
        for command in out.commands:
            if isinstance(command, Submit):
                self.sends.judge(command)
        for pair, legs in record.legs.items():
            legs.unwinding = record.loops[pair].state.unwind
        self._clocks()

    def marked(self, now_ns: int) -> None:
        """Look at the clocks: silence is what a desk that forgot its hedge would leave."""
        self._clocks()
        agree.bounded(self.record)
        for pair, legs in self.record.legs.items():
            clocks.buffered(self.record, pair, legs)

    def settled(self) -> bool:
        """Return whether nothing is in flight and every delta is within its budget."""
        return not self.record.live and all(legs.since_ns == 0 for legs in self.record.legs.values())

    def tie_out(self, exchanges: Mapping[VenueId, Exchange], books: Accounts) -> None:
        """I1, I3, I7: our fills and positions are the venues', our cash within dust. Call it at quiescence only."""
        agree.tie_out(self.record, exchanges, books)

    def _clocks(self) -> None:
        for pair, legs in self.record.legs.items():
            clocks.unhedged(self.record, pair, legs)
        if self.record.live:
            clocks.resolved(self.record)
