"""Plays a whole study once: one desk after another, each with one contract, on one account that goes on.

The desk is the one every mode runs: engine, gate, strategy and in-process venues; only market and arrival of orders come
from files. A contract is its own instrument with its own window and its own desk, so a splice can neither be a price
move nor a sample; what the account holds, its peak, its day and the record of realised edges pass to the next desk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from bot.backtest.align import Known, Sample
from bot.backtest.contracts import Contracts
from bot.backtest.feed import Arrival, Legs, Track, TrackSessions, closed_days, market, track
from bot.backtest.formats import SECOND_NS, FundingRow
from bot.backtest.trades import Look, Looks, Trade, TradeLog
from bot.config import Costs, Settings
from bot.engine import assess
from bot.engine.obligations import Obligations, PairTerms, fresh
from bot.engine.step import Engine
from bot.journal.store import MemoryJournal
from bot.market.calendar import DeskSessions
from bot.market.fair import DAY_NS
from bot.model import event as ev
from bot.model.ids import VenueId
from bot.model.instrument import Instrument, to_decimal
from bot.runtime import Runtime
from bot.sim.exchange import Exchange
from bot.tally import Score, Tally
from bot.venues.sim import SimVenue
from strategies.convergence import Convergence
from strategies.convergence_params import ConvergenceParams

MODE = "B"
PAIR = "convergence"
CENT = Decimal("0.01")
Purse = dict[VenueId, dict[str, Decimal]]


class Played(msgspec.Struct, kw_only=True):
    """Outcome of one pass. idle_usd: what the stablecoin did to the purse between two contracts' desks.

    mismatches: contracts at whose end a venue's own statement differed from the desk's record of it.
    curve: (UTC ns, USD that the trades have made, one that is on at mid) at the start of every trade date.
    """

    scores: list[Score]
    trades: list[Trade]
    looks: list[Look]
    events: int
    idle_usd: float
    mismatches: int
    from_ns: int
    to_ns: int
    journal_sha256: str
    curve: list[tuple[int, float]] = []


class Study(msgspec.Struct, frozen=True):
    """What is played: the contracts, their decision points, what else is known, and the settings."""

    settings: Settings
    contracts: Contracts
    samples: tuple[Sample, ...]
    known: Known
    funding: tuple[FundingRow, ...]


def tracks(study: Study) -> list[Track]:
    """Return the contracts that have at least one decision point, in order of time."""
    of: dict[str, list[Sample]] = {}
    for sample in study.samples:
        of.setdefault(sample.contract, []).append(sample)
    kind = study.contracts.kind
    return [track(x, tuple(of[x.contract]), kind) for x in study.contracts.segments if x.contract in of]


def legs_of(study: Study, contract: str, interval_s: int | None = None) -> Legs:
    """Return the instruments of one contract's pair; interval_s: of the funding file, it wins over the product's table."""
    catalogue, market = study.settings.catalogue, study.settings.market
    hedge = catalogue.named(market.hedge)
    if interval_s:
        hedge = msgspec.structs.replace(hedge, funding_interval_s=interval_s)
    return Legs(catalogue.named(contract), hedge, catalogue.stable_of(hedge.settle))


def funding_interval_s(rows: Sequence[FundingRow]) -> int | None:
    """Return the usual time between two prints in whole hours as s, None when it cannot be told from one row."""
    steps = [round((b.ts_ns - a.ts_ns) / 3_600e9) for a, b in zip(rows, rows[1:], strict=False)]
    return max(set(steps), key=lambda step: (steps.count(step), -step)) * 3_600 if steps else None


def play(study: Study, costs: Costs, progress: Callable[[str], None] | None = None) -> Played:
    """Play every contract at these costs. Deterministic: the same study and costs give the same journal."""
    played = Played(scores=[], trades=[], looks=[], events=0, idle_usd=0.0, mismatches=0, from_ns=0, to_ns=0, journal_sha256="")
    journal = MemoryJournal()
    interval_s = funding_interval_s(study.funding)
    closed = closed_days(study.contracts)
    last: _Contract | None = None
    for number, found in enumerate(tracks(study), start=1):
        desk = _Contract(study, costs, found, legs_of(study, found.contract, interval_s), closed, journal, number, played, last)
        desk.run()
        played.scores.append(desk.log.tally.score())
        played.events = desk.runtime.seq
        played.from_ns = played.from_ns or found.samples[0].signal_ns
        played.to_ns = found.gone_ns
        last = desk
        if progress is not None:
            progress(found.contract)
    played.journal_sha256 = journal.sha256()
    return played


class _Contract:
    """The desk of one contract: built, driven from its first instant to the last, and left with its account."""

    def __init__(
        self, study: Study, costs: Costs, found: Track, legs: Legs, closed: list[tuple[int, int]], journal: MemoryJournal, number: int,
        played: Played, last: _Contract | None,
    ) -> None:  # fmt: skip
        self.track, self.number, self.played, self.last = found, number, played, last
        settings = study.settings
        stable = settings.catalogue.named(legs.stable) if legs.stable is not None else None
        self.terms = {i.id: i for i in (legs.lead, legs.hedge, stable) if i is not None}
        self.venues = tuple(dict.fromkeys((legs.lead.venue, legs.hedge.venue)))
        self.purse = last.left() if last is not None else {venue: dict(settings.cash[venue]) for venue in self.venues}
        self.source = market(found, legs, study.known, study.funding, costs)
        sessions = TrackSessions(DeskSessions(self.terms), legs.lead.id, found, closed)
        strategy = Looks(Convergence(legs.lead, legs.hedge, legs.stable), played.looks)
        memory = strategy.start(tuned(settings.strategy, found, legs.lead, costs, study.known.perp.bar_ns * 1e-9))
        pair = PairTerms(id=PAIR, strategy=strategy.id, lead=legs.lead.id, hedge=legs.hedge.id, stable=legs.stable)
        self.engine = Engine(
            self._obligations(pair), self.terms, sessions, {strategy.id: (strategy, memory)}, settings.limits, settings.execution,
            {} if legs.stable is None else {legs.hedge.settle: legs.stable},
        )  # fmt: skip
        self.log = TradeLog(Tally(self.engine, settings.strategy.carry_fixed), played.trades)
        arrival = Arrival(found, costs.delay_bars)
        self.exchanges = {
            venue: Exchange(venue, [i for i in self.terms.values() if i.venue == venue], self.purse[venue], sessions, now_ns=found.from_ns)
            for venue in self.venues
        }
        venues = {name: SimVenue(exchange, arrival=arrival, now_ns=found.from_ns) for name, exchange in self.exchanges.items()}
        self.runtime = Runtime(self.engine, journal, None, venues, seq=played.events, observer=self.log)

    def _obligations(self, pair: PairTerms) -> Obligations:
        """Return a record without positions that remembers what belongs to the account and not to a contract."""
        return remembering(fresh(self.number, MODE, (pair,), self.venues), self.last.engine.ob if self.last is not None else None)

    def run(self) -> None:
        """Drive the contract from its first instant until it has gone."""
        before = sum(t.pnl_usd for t in self.played.trades)
        self.runtime.start(ev.RunStarted(ts=self.track.from_ns, run=self.number, mode=MODE, cash=self.purse))
        self.runtime.drive(self.source, self.track.gone_ns + 10 * SECOND_NS)
        self.runtime.stop()
        self.log.finish()
        self.played.curve += [(ts, before + usd) for ts, usd in self.log.curve]
        self.played.mismatches += not self._agrees()
        if self.last is not None:
            self.played.idle_usd += self.log.tally.equity_start - assess.nav_usd(self.last.engine.ob, self.last.engine.desk)
            self.last = None

    def _agrees(self) -> bool:
        """Return whether every venue's statement is what the desk's record says it should be."""
        silos = self.engine.ob.silos
        return all(
            exchange.account.cash == silos[venue].cash
            and exchange.positions() == {i: p.qty for i, p in silos[venue].positions.items() if p.qty}
            for venue, exchange in self.exchanges.items()
        )

    def left(self) -> Purse:
        """Return the cash the next desk begins with."""
        return purse_of(self.engine.ob, self.engine.desk)


def remembering(ob: Obligations, before: Obligations | None) -> Obligations:
    """Return a record without positions, with what belongs to the account and not to a contract taken over from the one before."""
    if before is not None:
        ob.next_order, ob.edge_gaps_bp = before.next_order, list(before.edge_gaps_bp)
        ob.trade_date, ob.day_start_usd, ob.peak_usd = before.trade_date, before.day_start_usd, before.peak_usd
    return ob


def purse_of(ob: Obligations, desk: assess.Desk) -> Purse:
    """Return the cash of every venue; a position the data left open is settled at its mid."""
    purse: Purse = {}
    for venue, silo in ob.silos.items():
        purse[venue] = dict(silo.cash)
        if any(position.qty for position in silo.positions.values()):
            for currency in silo.cash:
                purse[venue][currency] = to_decimal(assess.silo_equity(silo, desk, currency, at_mid=True)).quantize(CENT)
    return purse


def tuned(p: ConvergenceParams, found: Track, lead: Instrument, costs: Costs, perp_bar_s: float) -> ConvergenceParams:
    """Return the parameters for one contract: what follows from its data and the costs, nothing that was fitted.

    The exit window also covers the end of the contract's data; slippage is the ticks that the fills will be worse by, at
    the first price seen; a sample holds for two perp bars at least, so that one missing between two blinds nothing; an
    order that is made to wait may wait that much longer before its rest is withdrawn.
    """
    ticks = 2.0 * costs.lead_slippage_ticks * costs.spread_multiple * float(lead.tick)
    hold_s = max(p.hold_s, 2.0 * perp_bar_s)
    return msgspec.structs.replace(
        p,
        exit_window_days=max(p.exit_window_days, (found.expiry_ns - found.exit_ns) / DAY_NS + 1e-6),
        slippage_bp=ticks / found.samples[0].cme.close * 1e4,
        hold_s=hold_s,
        bucket_s=min(p.window_s, max(p.bucket_s, perp_bar_s)),
        entry_valid_s=p.entry_valid_s + costs.delay_bars * hold_s,
    )
