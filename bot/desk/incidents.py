"""Legs that were left open because a hedge failed: how much, for how long, why, and when they were closed again.

Being open for the time a hedge is under way is ordinary. It becomes an incident when a venue rejects the hedge or does not
answer for it. Observes the loop beside the tally, reads what the engine knows and decides nothing.
"""

from __future__ import annotations

import msgspec

from bot.engine.pair import unhedged_coins
from bot.engine.step import Engine, Step
from bot.engine.watch import PairLoop
from bot.model import event as ev
from bot.model.ids import ClientId, PairId
from bot.model.order import Outcome, Purpose


class Incident(msgspec.Struct, kw_only=True):
    """One open leg. coins: largest, signed (> 0 net long). opened_ns, closed_ns: market time, 0 while open.

    failed: hedges that were rejected or not answered for; why: what was said of the last one.
    """

    pair: PairId
    base: str
    coins: float
    opened_ns: int
    closed_ns: int = 0
    failed: int = 0
    why: str = ""

    def seconds(self, now_ns: int) -> float:
        """Return how long it was open, up to now if it still is."""
        return ((self.closed_ns or now_ns) - self.opened_ns) * 1e-9


class Incidents:
    """Observer of one engine. latest: the incident that is on, or else the last one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.latest: Incident | None = None
        self._open: dict[PairId, Incident] = {}

    def stepped(self, event: ev.Event, out: Step) -> None:
        """See one step: what failed in it, then which legs are open after it."""
        for loop in self.engine.loops:
            self._follow(loop)
        for happened in (event, *out.events):
            if isinstance(happened, ev.OrderEnded) and happened.outcome is Outcome.REJECTED:
                self._failed(happened.client_id, f"hedge rejected, {happened.reason}")
            elif isinstance(happened, ev.NoAnswer):
                self._failed(happened.client_id, "no answer for a hedge")

    def marked(self, now_ns: int) -> None:
        """Nothing to see: prices open no leg."""

    def _follow(self, loop: PairLoop) -> None:
        pair, now = loop.state.terms.id, self.engine.ob.now
        coins = float(unhedged_coins(loop.state, loop.window))
        incident = self._open.get(pair)
        if abs(coins) <= self.engine.x.unhedged_coins_max:
            if incident is not None:
                incident.closed_ns = now
                del self._open[pair]
        elif incident is None:
            self._open[pair] = Incident(pair=pair, base=loop.window.lead_terms.base, coins=coins, opened_ns=now)
        elif abs(coins) > abs(incident.coins):
            incident.coins = coins

    def _failed(self, client_id: ClientId, why: str) -> None:
        order = self.engine.ob.orders.get(client_id)
        incident = self._open.get(order.spec.pair) if order is not None and order.spec.purpose is Purpose.HEDGE else None
        if incident is not None:
            incident.failed += 1
            incident.why = why
            self.latest = incident
