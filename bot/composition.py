"""What every mode trades and how its market is made, from one set of settings: the parts the composition roots share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from bot.config import Settings
from bot.engine.obligations import Obligations, PairTerms, fresh
from bot.engine.step import Engine
from bot.market.calendar import DeskSessions
from bot.model import event as ev
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import Instrument, Kind
from bot.sim.exchange import Exchange
from bot.sim.faults import Fault
from bot.sim.floor import BROKER_RULES, OFFSHORE_RULES
from bot.sim.market import MarketSpec, SeededMarket
from bot.venues.reference import ReferenceVenue, reference_plan
from strategies.convergence import Convergence

PAIR = "convergence"
LETTERS = {"paper": "P", "live": "L", "backtest": "B", "simulate": "S"}
"""First letter of every client order id: a fill recognised at a venue says which mode sent it."""


class Desk(msgspec.Struct, frozen=True):
    """What every mode trades: the terms, the pair and its strategy, from one set of settings."""

    settings: Settings
    terms: dict[InstrumentId, Instrument]
    pair: PairTerms
    strategy: Convergence
    sessions: DeskSessions

    @property
    def venues(self) -> tuple[VenueId, ...]:
        """Return the venues of both legs, the lead's first."""
        return tuple(dict.fromkeys(self.terms[i].venue for i in (self.pair.lead, self.pair.hedge)))

    def obligations(self, run: int, mode: str) -> Obligations:
        """Return the record of a desk that has never traded."""
        return fresh(run, mode, (self.pair,), self.venues)

    def engine(self, ob: Obligations, memory: Any) -> Engine:
        """Return an engine on `ob` with empty books and a warmed strategy."""
        settle, stable = self.terms[self.pair.hedge].settle, self.pair.stable
        return Engine(
            ob, self.terms, self.sessions, {self.strategy.id: (self.strategy, memory)}, self.settings.limits,
            self.settings.execution, {} if stable is None else {settle: stable},
        )  # fmt: skip

    def warm(self, history: Iterable[ev.Event] = ()) -> Any:
        """Return the strategy's memory after `history`."""
        return self.strategy.start(self.settings.strategy, list(history))


def desk(settings: Settings) -> Desk:
    """Return the desk that `settings` describe. Raises ConfigError naming a key."""
    catalogue, market = settings.catalogue, settings.market
    lead, hedge = catalogue.named(market.lead), catalogue.named(market.hedge)
    stable = catalogue.stable_of(hedge.settle)
    terms = {lead.id: lead, hedge.id: hedge}
    if stable is not None:
        terms[stable] = catalogue.named(stable)
    pair = PairTerms(id=PAIR, strategy=Convergence.id, lead=lead.id, hedge=hedge.id, stable=stable)
    return Desk(settings, terms, pair, Convergence(lead, hedge, stable), DeskSessions(terms))


def exchange(built: Desk, venue: VenueId, now_ns: int) -> Exchange:
    """Return the exchange core of one venue of the desk, with the account that the settings give it."""
    listed = [terms for terms in built.terms.values() if terms.venue == venue]
    rules = OFFSHORE_RULES if any(terms.kind is Kind.PERP for terms in listed) else BROKER_RULES
    return Exchange(venue, listed, built.settings.cash[venue], built.sessions, rules, now_ns=now_ns)


def seeded_market(built: Desk) -> SeededMarket:
    """Return the market that the settings' seed and scenario describe."""
    market, terms, pair = built.settings.market, built.terms, built.pair
    spec = MarketSpec(
        start_ns=market.start_ns, seed=market.seed, scenario=built.settings.scenario, history_days=market.history_days,
        quote_interval_s=market.quote_interval_s,
    )  # fmt: skip
    stable = terms[pair.stable] if pair.stable is not None else None
    return SeededMarket(spec, terms[pair.lead], terms[pair.hedge], stable, built.sessions)


def reference_price(built: Desk, scripted: Sequence[Fault], now_ns: int) -> dict[VenueId, ReferenceVenue]:
    """Return what shows the stablecoin of the pair under the scripted faults; nothing for a hedge that settles in coin."""
    if built.pair.stable is None:
        return {}
    terms = built.terms[built.pair.stable]
    return {terms.venue: ReferenceVenue(terms, reference_plan(terms, built.terms[built.pair.hedge].venue, scripted, now_ns))}


def warmed(
    built: Desk, market: SeededMarket, at_ns: int, seen: Callable[[ev.Observation], None] | None = None
) -> tuple[Any, Iterator[ev.Observation], list[ev.Observation]]:
    """Return (strategy memory, market from there on, last observation of each kind and instrument) as of `at_ns`.

    seen: is shown everything before that.

    The market does not answer our orders, so a recovered run finds it by running it again from its seed.
    """
    history = list(market.history())
    source = market.events()
    ahead: list[ev.Observation] = []
    if at_ns > built.settings.market.start_ns:
        for event in source:
            if event.ts > at_ns:
                ahead.append(event)
                break
            history.append(event)
    if seen is not None:
        for event in history:
            seen(event)
    last = {(type(event), event.instrument): event for event in history if not isinstance(event, ev.Timer | ev.VenueSnapshot)}
    return built.warm(history), chain(ahead, source), list(last.values())
