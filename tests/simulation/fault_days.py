"""One seeded day of the whole desk: real engine, gate, strategy and in-process venues, faults from the seed, no disk."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from bot import app, config
from bot.checks import Checks
from bot.desk.feed import Together
from bot.engine import fold
from bot.engine.obligations import encode
from bot.engine.step import Engine
from bot.journal.accounts import Accounts
from bot.journal.store import MemoryJournal
from bot.model import event as ev
from bot.model.ids import VenueId
from bot.runtime import Runtime
from bot.sim.exchange import Exchange, Rules
from bot.sim.faults import Fault, FaultPlan, random_mix
from bot.sim.market import MarketSpec, SeededMarket
from bot.tally import Score, Tally
from bot.venues.sim import Delays, SimVenue

DAY_NS = 86_400 * 1_000_000_000
SETTINGS = config.load("simulate", environ={}).settings
SIDES = ("long_cme", "both")


class Attempts:
    """Counts what reached the gate: approved and refused openings."""

    def __init__(self) -> None:
        self.count = 0

    def stepped(self, event: ev.Event, out: object) -> None:
        """See one step."""
        self.count += sum(isinstance(e, ev.TargetSet | ev.Refused) for e in out.events)  # type: ignore[attr-defined]

    def marked(self, now_ns: int) -> None:
        """Nothing to count."""


class Outcome(msgspec.Struct):
    """What a day showed. hits: faults that struck, by catalogue row."""

    seed: int
    score: Score
    attempts: int
    violations: list[str]
    hits: dict[str, int]
    sha256: str
    engine: Engine
    journal: MemoryJournal


def day(seed: int, *, hours: float = 24.0, faults: Sequence[Fault] | None = None) -> Outcome:
    """Run one day of `seed`: its market, its faults, one of the sides, passive or crossing leads."""
    rng = Random(seed)
    strategy = msgspec.structs.replace(SETTINGS.strategy, side=SIDES[seed % 2], passive=seed % 4 == 3)
    market = msgspec.structs.replace(SETTINGS.market, seed=seed, history_days=4.0)
    built = app.desk(msgspec.structs.replace(SETTINGS, strategy=strategy, market=market))
    terms, pair, start = built.terms, built.pair, market.start_ns
    spec = MarketSpec(start_ns=start, seed=seed, scenario="story", history_days=4.0, quote_interval_s=market.quote_interval_s)
    seeded = SeededMarket(spec, terms[pair.lead], terms[pair.hedge], terms[pair.stable or ""], built.sessions)
    drawn = random_mix(rng, start, 1, built.venues) if faults is None else faults
    history = list(seeded.history())
    engine = built.engine(built.obligations(1, "S"), built.warm(history))
    venues = {name: venue(built, name, drawn, start) for name in built.venues}
    for name in venues:
        for event in {(type(e), e.instrument): e for e in history}.values():  # type: ignore[union-attr]
            venues[name].prime(event)
    journal, tally, checks, attempts = MemoryJournal(), Tally(engine, strategy.carry_fixed), Checks(engine), Attempts()
    runtime = Runtime(engine, journal, None, venues, observer=Together(tally, checks, attempts))
    cash = {name: dict(SETTINGS.cash[name]) for name in built.venues}
    runtime.start(ev.RunStarted(ts=start, run=1, mode="S", cash=cash))
    runtime.drive(seeded.events(), start + int(hours / 24.0 * DAY_NS))
    books = Accounts(terms)
    for _, _, event in journal.read():
        books.fold(event)
    if checks.settled():
        checks.tie_out({name: v.exchange for name, v in venues.items()}, books)
    hits: dict[str, int] = {}
    for v in venues.values():
        for row, count in v.plan.rows_hit().items():
            hits[row] = hits.get(row, 0) + count
    return Outcome(seed, tally.score(), attempts.count, list(checks.violations), hits, journal.sha256(), engine, journal)


def venue(built: app.Desk, name: VenueId, faults: Sequence[Fault], start: int) -> SimVenue:
    """Return one in-process venue with latency and its share of the faults."""
    listed = [t for t in built.terms.values() if t.venue == name]
    exchange = Exchange(name, listed, SETTINGS.cash[name], built.sessions, Rules(insured=name == "perp"), now_ns=start)
    times = SETTINGS.latency[name]
    delays = Delays(request_ns=times.request_ns, reply_ns=times.reply_ns, feed_ns=times.feed_ns)
    return SimVenue(exchange, delays=delays, plan=FaultPlan(name, faults), now_ns=start)


def refolded(outcome: Outcome) -> bool:
    """Return whether the journal alone gives the engine's own record."""
    ob = outcome.engine.ob
    settings = msgspec.structs.replace(SETTINGS, market=msgspec.structs.replace(SETTINGS.market, seed=outcome.seed))
    mine = app.desk(settings).obligations(1, "S")
    for _, _, event in outcome.journal.read():
        fold.apply(mine, outcome.engine.terms, event)
    mine.now = ob.now
    return encode(mine) == encode(ob)
