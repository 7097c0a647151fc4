"""Seeded days of the whole desk: real engine, gate, strategy and in-process venues; faults, kills, commit failures and crashes.

Everything a day does follows from its seed: when it starts on the calendar, which way and how the pair trades, which
faults strike whom, when an operator intervenes, when the journal fails and where the process dies. Chaos lasts three
quarters of the day; then faults stop and the desk must come back by itself: ready, hedged, nothing unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from random import Random
from typing import Any

import msgspec

from bot import app, config
from bot.backtest import replay
from bot.checks import Checks
from bot.engine import flatten, fold
from bot.engine.obligations import Obligations, encode
from bot.engine.step import Engine, Step
from bot.journal.accounts import Accounts
from bot.journal.store import MemoryJournal
from bot.market.calendar import DeskSessions
from bot.market.expiry import contract_symbol, expiry_ns
from bot.model import event as ev
from bot.model.command import Command, Submit
from bot.model.errors import JournalError
from bot.model.event import LEVEL_RANK, KillLevel
from bot.runtime import Runtime, recover
from bot.sim import market as markets
from bot.sim.budget import UNLIMITED
from bot.sim.exchange import Exchange, Rules
from bot.sim.faults import LASTING, Fault, FaultKind, FaultPlan, random_mix
from bot.sim.market import MarketSpec, SeededMarket
from bot.sim.scenarios import Episode
from bot.tally import Tally
from bot.venues.reference import ReferenceVenue, reference_plan
from bot.venues.sim import SimVenue
from strategies.excess import Memory

S = 1_000_000_000
HOUR = 3_600 * S
DAY_NS = 24 * HOUR
HEAL = 18 * HOUR
"""Into the day: from here on nothing new goes wrong."""
HOPELESS = 50
"""Violations after which a day is given up."""
SETTLE = 900 * S
"""After the day: longest time in which what is in flight or unhedged at its end must settle."""
SHORT = ("strategy.window_s=21600.0", "strategy.bucket_s=300.0", "execution.snapshot_every_s=90.0", "market.quote_interval_s=25.0",
         "strategy.z_in=1.6", "strategy.z_stop=14.0", "limits.sigma_stop=14.0", "strategy.edge_min_bp=1.0")  # fmt: skip
"""A window of six hours warms up in a moment; its deviation is small before an episode, so stops in deviations stand further
off. 25 s between quotes are 2.4 a minute."""
_SETTINGS: dict[bool, config.Settings] = {}


class Kill(msgspec.Struct, frozen=True):
    """The operator sets `level` at one instant and resumes at another."""

    at_ns: int
    level: KillLevel
    resume_ns: int


class Commits(msgspec.Struct, frozen=True):
    """A stretch in which the journal confirms nothing. kind: "late" (rows land all the same), "lost", "dead" (emergency file too)."""

    from_ns: int
    to_ns: int
    kind: str


class Death(msgspec.Struct, frozen=True):
    """The process dies at the nth journalled step that sends (point before, after, sent) or, n = 0, between two events."""

    at_ns: int
    nth: int
    point: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a seed decides."""

    seed: int
    start_ns: int
    lead: str
    side: str
    mirrored: bool
    passive: bool
    inverse: bool
    feed: bool
    faults: tuple[Fault, ...]
    kills: tuple[Kill, ...] = ()
    commits: Commits | None = None
    deaths: tuple[Death, ...] = ()
    mood: str = "swarm"

    def __str__(self) -> str:
        """Return the day in one line, enough to see what a failure was about."""
        when = datetime.fromtimestamp(self.start_ns // S, UTC).strftime("%a %Y-%m-%dT%H:%MZ")
        what = [self.mood, self.side, "mirrored" if self.mirrored else "", "passive" if self.passive else "", "inverse" if self.inverse else ""]
        what += [f"{k.level}+{(k.at_ns - self.start_ns) / HOUR:.1f}h" for k in self.kills]
        what += [f"journal {self.commits.kind}" if self.commits else "", *(f"dies {d.point}" for d in self.deaths)]
        return f"seed {self.seed}: {when} {self.lead} {' '.join(w for w in what if w)}; faults {dict(Counter(f.kind.value for f in self.faults))}"


class Crash(Exception):
    """The process is gone at this instruction."""


class Hopeless(Exception):
    """So much is broken that the rest of the day says nothing more."""


class FaultyJournal(MemoryJournal):
    """A journal that fails for a stretch and may take the process with it; remembers which intents are durable."""

    def __init__(self, commits: Commits | None) -> None:
        super().__init__()
        self.commits = commits
        self.durable: set[str] = set()
        self.failed = 0
        self.death: Death | None = None
        self._sends = 0

    def append(self, seq: int, events: Sequence[ev.Event]) -> None:
        """Keep, lose or keep late; die where it is written."""
        death, sends = self.death, any(isinstance(e, ev.OrderIntended) for e in events)
        if death is not None and sends and events[0].ts >= death.at_ns:
            self._sends += 1
            if self._sends == death.nth and death.point in ("before", "after"):
                if death.point == "after":
                    self._keep(seq, events)
                raise Crash(death.point)
        c = self.commits
        if c is not None and c.from_ns <= events[0].ts < c.to_ns:
            self.failed += 1
            if c.kind == "late":
                super().append(seq, events)
            raise JournalError(f"no confirmation in time ({c.kind})")
        self._keep(seq, events)

    def emergency(self, seq: int, events: Sequence[ev.Event]) -> None:
        """Keep in the second place, which an import merges by content: a late row is there already."""
        if self.commits is not None and self.commits.kind == "dead":
            raise JournalError("emergency file: no space")
        if self.last_seq() < seq:
            super().append(seq, events)
        self.durable.update(e.order.client_id for e in events if isinstance(e, ev.OrderIntended))

    def dies_sent(self) -> bool:
        """Return whether the process dies right after handing over the order at hand."""
        return self.death is not None and self._sends == self.death.nth and self.death.point == "sent"

    def _keep(self, seq: int, events: Sequence[ev.Event]) -> None:
        super().append(seq, events)
        self.durable.update(e.order.client_id for e in events if isinstance(e, ev.OrderIntended))


class ListTape:
    """A tape in memory, readable as a recording without gaps."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ev.Observation]] = []
        self.gaps: list[Any] = []

    def record(self, seq: int, event: ev.Observation) -> None:
        """Keep one observation (port)."""
        self.rows.append((seq, event))

    def __iter__(self) -> Iterator[tuple[int, ev.Observation]]:
        return iter(self.rows)


class Observers:
    """Tally, checks and a count of what reached the gate, as one observer."""

    def __init__(self, engine: Engine, carry: float, inverse: bool) -> None:
        self.checks = Checks(engine)
        self.tally = None if inverse else Tally(engine, carry)  # attribution of an inverse contract is not defined
        self.attempts = 0

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Pass on one step."""
        self.checks.stepped(event, out)
        if self.checks.count >= HOPELESS:
            raise Hopeless
        if self.tally is not None:
            self.tally.stepped(event, out)
        for e in out.events:
            if isinstance(e, ev.Refused) or (isinstance(e, ev.TargetSet) and e.intent.min_premium_bp is not None):
                self.attempts += 1

    def marked(self, now_ns: int) -> None:
        """Pass on a moment to value the desk."""
        self.checks.marked(now_ns)
        if self.tally is not None:
            self.tally.marked(now_ns)


class Outcome(msgspec.Struct):
    """What a day showed. hits: faults that struck, by kind. scores, one per process: only of days with a linear hedge."""

    plan: Plan
    attempts: int
    openings: int
    fills: int
    violations: list[str]
    hits: dict[str, int]
    quotes: dict[str, int]
    sha256: str
    residuals: list[float]
    counted: dict[str, int]
    events: int


def settings(inverse: bool) -> config.Settings:
    """Return the profile `simulate` with a short window; inverse: hedged with the coin-margined perp."""
    if inverse not in _SETTINGS:
        made = config.load("simulate", sets=SHORT, environ={}).settings
        if inverse:
            made = msgspec.structs.replace(
                made, market=msgspec.structs.replace(made.market, hedge="BTCUSD"), cash={**made.cash, "perp-inverse": {"BTC": Decimal(6)}},
                latency={**made.latency, "perp-inverse": made.latency["perp"]},
            )  # fmt: skip
        _SETTINGS[inverse] = made
    return _SETTINGS[inverse]


# What a seed decides.


def plan_of(seed: int) -> Plan:
    """Draw one day. Every tenth seed is told what to be, so that no property of a day is left to luck."""
    rng = Random(seed)
    kind = seed % 10
    start = _start(rng, weekend=kind in (1, 5))
    lead = _front(start)
    sided = ("long_cme", "short_cme", "both", "both")[int(rng.random() * 4)]
    mirrored = sided == "short_cme" or (sided == "both" and rng.random() < 0.5)
    inverse = seed % 20 == 7
    venues = ("cme", "perp-inverse" if inverse else "perp")
    faults = [_bounded(f, start) for f in random_mix(rng, start, 1, venues)]
    mood = "swarm" if faults else "quiet"
    kills: tuple[Kill, ...] = ()
    commits, deaths = None, ()
    if kind == 2:
        faults, mood = [], "quiet"
    if kind in (2, 3, 8):
        kills = _kills(rng, start)
    if kind in (4, 8):
        commits = _commits(rng, start)
    if kind in (5, 6) or (commits is not None and commits.kind != "late"):
        deaths = _deaths(rng, start, commits)
    return Plan(seed=seed, start_ns=start, lead=lead, side=sided, mirrored=mirrored, passive=rng.random() < 0.3, inverse=inverse, feed=rng.random() < 0.25,
                faults=tuple(faults), kills=kills, commits=commits, deaths=deaths, mood=mood)  # fmt: skip


def _start(rng: Random, weekend: bool) -> int:
    """Return an instant of 2026 from which CME trades for the first hours, so that a trade can begin; weekend: shortly before a closure."""
    sessions = DeskSessions({"MBTZ26": settings(False).catalogue.named("MBTZ26")})
    while True:
        day = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=int(rng.random() * 318))
        if weekend:
            day += timedelta(days=4 - day.weekday())
        start = int((day + timedelta(minutes=int(rng.random() * 1_440))).timestamp()) * S
        if all(sessions.is_open("MBTZ26", start + int(h * HOUR))[0] for h in (-2.0, 0.1, 1.3, 2.0, 2.7, 3.4)):
            return start


def _front(start_ns: int) -> str:
    """Return the first contract month that stays clear of its expiry for six days."""
    at = datetime.fromtimestamp(start_ns // S, UTC)
    year, month = at.year, at.month
    while expiry_ns(year, month) < start_ns + 6 * DAY_NS:
        year, month = year + month // 12, month % 12 + 1
    return contract_symbol("MBT", year, month)


def _bounded(f: Fault, start: int) -> Fault:
    """Return the fault with an end: what found nothing to hurt by then never does."""
    at = min(f.at_ns, start + HEAL - 600 * S)
    return msgspec.structs.replace(f, at_ns=at, for_ns=f.for_ns if f.kind in LASTING else start + HEAL - at)


def _kills(rng: Random, start: int) -> tuple[Kill, ...]:
    levels = (KillLevel.PAUSE, KillLevel.FREEZE, KillLevel.CANCEL, KillLevel.FLATTEN, KillLevel.FLATTEN)
    out = []
    at = start + int((1.0 + 2.0 * rng.random()) * HOUR)
    while at < start + HEAL - HOUR and len(out) < 4:
        out.append(Kill(at, levels[int(rng.random() * 5)], at + int((2.0 + 20.0 * rng.random()) * 60 * S)))
        at = out[-1].resume_ns + int(5.0 * rng.random() * HOUR)
    return tuple(out)


def _commits(rng: Random, start: int) -> Commits:
    at = start + int((1.2 + 3.0 * rng.random()) * HOUR)
    kind = ("late", "lost", "dead")[int(rng.random() * 3)]
    return Commits(at, at + int((5.0 + 600.0 * rng.random() ** 2) * S), kind)


def _deaths(rng: Random, start: int, commits: Commits | None) -> tuple[Death, ...]:
    """Return one to three deaths; after rows were lost the desk must start again before its journal is believed."""
    if commits is not None and commits.kind != "late":
        return (Death(commits.to_ns + int(60.0 * rng.random() * S), 0, "between"),)
    out = []
    for _ in range(1 + int(rng.random() * 3)):
        point = ("before", "after", "sent", "between")[int(rng.random() * 4)]
        at = start + int((0.5 + 14.0 * rng.random()) * HOUR)
        out.append(Death(at, 0 if point == "between" else 1 + int(rng.random() * 4), point))
    return tuple(sorted(out, key=lambda d: d.at_ns))


# The market, with the premium turned over where the day asks for it.


@contextmanager
def turned(mirrored: bool) -> Iterator[None]:
    """Give episodes the other sign: the perpetual is cheap instead of dear."""
    drawn = markets.episodes

    def other(*args: Any) -> tuple[Episode, ...]:
        return tuple(msgspec.structs.replace(e, height_bp=-e.height_bp) for e in drawn(*args))

    markets.episodes = other if mirrored else drawn
    try:
        yield
    finally:
        markets.episodes = drawn


class Day:
    """One day under way: what outlives a process (market, exchanges, journal, tape) and the process that runs now."""

    def __init__(self, plan: Plan, record: bool = False) -> None:
        self.plan = plan
        base = settings(plan.inverse)
        strategy = msgspec.structs.replace(base.strategy, side=plan.side, passive=plan.passive)
        market = msgspec.structs.replace(base.market, seed=plan.seed, lead=plan.lead)
        self.settings = msgspec.structs.replace(base, strategy=strategy, market=market)
        self.built = built = app.desk(self.settings)
        terms, pair = built.terms, built.pair
        closed = any(not built.sessions.is_open(plan.lead, plan.start_ns - int(h * HOUR))[0] for h in (3, 5, 7))
        spec = MarketSpec(start_ns=plan.start_ns, seed=plan.seed, history_days=3.0 if closed else 0.33, mark_interval_s=30.0,
                          quote_interval_s=market.quote_interval_s)  # fmt: skip
        seeded = SeededMarket(spec, terms[pair.lead], terms[pair.hedge], terms[pair.stable] if pair.stable else None, built.sessions)
        history = list(seeded.history())
        self.last: dict[Any, tuple[Any, Any]] = {(type(e), e.instrument): (e, e) for e in history}  # type: ignore[union-attr]
        self.memory = built.warm(history)
        self.quotes: Counter[str] = Counter()
        self.source: Iterator[Any] = self._counted(seeded.events())
        self.journal = FaultyJournal(plan.commits)
        self.tape = ListTape() if record else None
        self.exchanges = {v: self._exchange(v) for v in built.venues}
        self.plans = {v: FaultPlan(v, plan.faults) for v in built.venues}
        stable = terms[pair.stable] if pair.stable else None
        if stable is not None:
            self.plans[stable.venue] = reference_plan(stable, terms[pair.hedge].venue, plan.faults)
        self.prices = {} if stable is None else {stable.venue: ReferenceVenue(stable, self.plans[stable.venue])}
        self.sent: set[str] = set()
        self.violations: list[str] = []
        self.counted: Counter[str] = Counter()
        self.residuals: list[float] = []
        self.memories: dict[int, bytes] = {}
        self.run = 0
        self.attempts = self.openings = 0
        self.now = plan.start_ns
        self.venues: dict[str, SimVenue] = {}
        self.engine: Engine
        self.runtime: Runtime
        self.observers: Observers
        self._begin(plan.start_ns)

    def _counted(self, events: Iterator[Any]) -> Iterator[Any]:
        for e in events:
            if type(e) is ev.Quote:
                self.quotes[e.instrument] += 1
            self.last[type(e), e.instrument] = (e, self.last.get((type(e), e.instrument), (e, e))[0])
            yield e

    def _exchange(self, venue: str) -> Exchange:
        listed = [t for t in self.built.terms.values() if t.venue == venue]
        found = Exchange(venue, listed, self.settings.cash[venue], self.built.sessions, Rules(insured=venue != "cme"), now_ns=self.plan.start_ns)
        for event, _ in self.last.values():
            found.prime(event)
        return found

    # Processes.

    def _begin(self, now: int) -> None:
        """Start a process: fold, connect, be shown the last quotes."""
        plan, built = self.plan, self.built
        self.run += 1
        ob = recover(self.journal, built.terms, built.obligations(self.run, "S"))
        self._checkpoint_is_whole(ob)
        ob.run = self.run
        level = self.engine.ob.kill_level if self.run > 1 else KillLevel.NONE
        self.memories[now] = msgspec.json.encode(self.memory)
        self.engine = built.engine(ob, self.memory)
        self.observers = Observers(self.engine, self.settings.strategy.carry_fixed, plan.inverse)
        old, self.venues = self.venues, {}
        for name, exchange in self.exchanges.items():
            times = self.settings.latency[name]
            delays = times if plan.feed else msgspec.structs.replace(times, feed_ns=0)
            exchange.reports.clear()
            self.venues[name] = SimVenue(exchange, delays=delays, plan=self.plans[name], now_ns=now, seed=plan.seed,
                                         budget=self.settings.messages.get(name, UNLIMITED))  # fmt: skip
            self.venues[name].up = old[name].up if old else True
            self._spy(self.venues[name])
        self.runtime = Runtime(self.engine, self.journal, self.tape, {**self.venues, **self.prices}, seq=self._last_seq(), observer=self.observers)
        cash = {v: dict(self.settings.cash[v]) for v in built.venues}
        self.runtime.start(ev.RunStarted(ts=now, run=self.run, mode="S", cash=cash, kill_level=level))
        for newest, before in list(self.last.values()):  # as a feed does on connecting
            event = newest if newest.ts <= now else before
            if type(event) is ev.Quote and event.ts <= now:
                self.runtime.emit(msgspec.structs.replace(event, ts=now))
        self.runtime.pump()

    def _last_seq(self) -> int:
        return max(self.journal.last_seq(), self.tape.rows[-1][0] if self.tape and self.tape.rows else 0)

    def _checkpoint_is_whole(self, ob: Obligations) -> None:
        """A checkpoint and its tail must be the whole fold (rule 1)."""
        whole = folded(self)
        if encode(whole) != encode(ob):
            self.violations.append(f"R1: checkpoint and tail differ from the whole fold at the start of run {self.run}")

    def _spy(self, venue: SimVenue) -> None:
        """I2, I3, I17 on the last inch: what really goes out."""
        send: Callable[[Command, int], None] = venue.send

        def seen(command: Command, now_ns: int) -> None:
            if isinstance(command, Submit):
                cid, level = command.order.client_id, self.engine.ob.kill_level
                if cid not in self.journal.durable:
                    self.violations.append(f"I2: {cid} left without a durable intent")
                if cid in self.sent:
                    self.violations.append(f"I3: {cid} left twice")
                if command.opening and LEVEL_RANK[level] >= LEVEL_RANK[KillLevel.PAUSE]:
                    self.violations.append(f"I17: {cid} opens at {level}")
                if command.opening and self.journal.commits and self.journal.commits.from_ns <= now_ns < self.journal.commits.to_ns:
                    self.violations.append(f"R3: {cid} opens while the journal confirms nothing")
                self.sent.add(cid)
                self.counted["sends"] += 1
                self.counted["emergency sends"] += self.journal.failed > 0 and self.journal.commits is not None and now_ns < self.journal.commits.to_ns
                send(command, now_ns)
                if self.journal.dies_sent():
                    raise Crash("sent")
                return
            send(command, now_ns)

        venue.send = seen  # type: ignore[method-assign]

    def _finish(self, whole: bool = True) -> None:
        """Take over what a process leaves behind: what its checks found, what its tally cannot explain.

        whole: it ended between two events. One that died inside a step never showed that step to its tally.
        """
        o = self.observers
        self.violations += o.checks.violations
        self.attempts += o.attempts
        self.openings += o.checks.openings
        if whole and o.tally is not None and o.tally.started:
            self.residuals.append(o.tally.score().residual_usd)

    def _reborn(self, whole: bool = False) -> None:
        """Go on with a new process on the old journal and the old exchanges."""
        self.counted["deaths"] += 1
        self._finish(whole)
        held = self.runtime._held
        now = max(self.engine.ob.now, self.now, *(v._now for v in self.venues.values()))
        for venue in self.venues.values():
            venue.stop()
        self.journal.death = None
        self.journal._sends = 0
        if self.tape is not None and not whole:  # what the tape still held in memory went with the process
            while self.tape.rows and self.tape.rows[-1][0] > self.journal.last_seq():
                self.tape.rows.pop()
        if held is not None:
            self.source = chain((held,), self.source)
        self.memory = msgspec.json.decode(msgspec.json.encode(self.memory), type=Memory)
        self._begin(now)

    # The day.

    def drive(self, until: int) -> None:
        """Run to `until` whatever dies on the way."""
        while True:
            try:
                self.runtime.drive(self.source, until)
                break
            except Crash:
                self.runtime._held = None
                self._reborn()
        self.now = max(self.now, until)

    def kill(self, level: KillLevel, why: str) -> None:
        """Let the operator set a level between two events."""
        self.runtime.emit(ev.KillSet(ts=max(self.now, self.engine.ob.now), level=level, kill_id=f"k{self.now}", reason=why))
        while True:
            try:
                self.runtime.pump()
                return
            except Crash:
                self._reborn()

    def go(self) -> Outcome:
        """Run chaos, healing and the settling of what the end found in flight."""
        try:
            self._live()
        except Hopeless:
            self.violations.append("hopeless")
        self._finish()
        hits = Counter[str]()
        for p in self.plans.values():
            hits.update({k.value: n for k, n in p.hits.items()})
        self.counted["failed commits"] += self.journal.failed
        return Outcome(self.plan, self.attempts, self.openings, self.engine.ob.fills, self.violations, dict(hits), dict(self.quotes), self.journal.sha256(),
                       self.residuals, dict(self.counted), self.runtime.seq)  # fmt: skip

    def _live(self) -> None:
        plan = self.plan
        acts: list[tuple[int, int, Callable[[], None]]] = []
        for k in plan.kills:
            acts.append((k.at_ns, 1, lambda k=k: self.kill(k.level, "drill")))  # type: ignore[misc]
            acts.append((k.resume_ns, 0, lambda k=k: self._resume(k)))  # type: ignore[misc]
        for d in plan.deaths:
            acts.append((d.at_ns, 2, lambda d=d: self._doom(d)))  # type: ignore[misc]
        for at, _, act in sorted(acts, key=lambda a: a[:2]):
            self.drive(at)
            act()
        self.drive(plan.start_ns + HEAL)
        self._heal()
        self.drive(plan.start_ns + DAY_NS)
        self._settle()
        self._prove()

    def _doom(self, death: Death) -> None:
        if death.nth == 0:
            self._reborn(whole=True)
        else:
            self.journal.death, self.journal._sends = death, 0

    def _resume(self, k: Kill) -> None:
        """I18: a flatten has ended confirmed flat, or says what is left; then the operator resumes."""
        if self.engine.ob.kill_level is not KillLevel.NONE:
            left = flatten.residual(self.engine.ob, self.engine.contacts)
            held = {i: q for e in self.exchanges.values() for i, q in e.positions().items()}
            working = [c for e in self.exchanges.values() for x in e.listings.values() for c in x.resting]
            if LEVEL_RANK[k.level] >= LEVEL_RANK[KillLevel.CANCEL] and not left and working:
                self.violations.append(f"I18: {k.level} confirmed while {working} rest")
            if k.level is KillLevel.FLATTEN:
                self.counted["flattened"] += not left
                self.counted["residual"] += bool(left)
                if not left and held:
                    self.violations.append(f"I18: confirmed flat while the venues hold {held}")
                if left and self.plan.mood == "quiet" and self._open_since(k.at_ns + 120 * S):
                    self.violations.append(f"I18: nothing is wrong and {left} is left after {(self.now - k.at_ns) / S:.0f} s")
        self.kill(KillLevel.NONE, "resumed")

    def _open_since(self, at_ns: int) -> bool:
        """Return whether CME has traded without a break from before `at_ns` to now."""
        sessions, lead, at = self.built.sessions, self.plan.lead, at_ns - 240 * S
        while at < self.now:
            is_open, until = sessions.is_open(lead, at)
            if not is_open:
                return False
            at = until
        return True

    def _heal(self) -> None:
        """Stop every fault; the operator resumes what halted the desk."""
        for p in self.plans.values():
            p._left.clear()
            p.timed = [row for row in p.timed if not row[1]]
            p.quote_ns = ev.NEVER
        self.journal.commits = self.journal.death = None
        if self.engine.ob.halted or self.engine.ob.kill_level is not KillLevel.NONE:
            self.kill(KillLevel.NONE, "healed")

    def _settle(self) -> None:
        """I22, I23: without faults the desk gets ready, resolves what is unknown and hedges what is open, in bounded time."""
        ob, until = self.engine.ob, self.now + SETTLE
        while self.now < until and not (ob.ready and self.observers.checks.settled()):
            self.drive(self.now + 10 * S)
        if not ob.ready:
            self.violations.append(f"I23: not ready after healing: {ob.cause}")
        if ob.live:
            self.violations.append(f"I22: unresolved after healing: {[(c, ob.orders[c].status.value) for c in ob.live]}")
        if not self.observers.checks.settled():
            self.violations.append(f"I23: delta open after healing: {self.observers.checks.legs}")
        stuck = [p.frozen or "unwinding" for p in ob.pairs.values() if p.frozen or p.unwind]
        if stuck or ob.halted:
            self.violations.append(f"I23: still {stuck or ob.halted} after healing")

    def _prove(self) -> None:
        """The books tie out to the last digit, and the journal alone is the engine's record."""
        books = Accounts(self.built.terms)
        for _, _, event in self.journal.read():
            books.fold(event)
        if self.observers.checks.settled():
            self.observers.checks.tie_out(self.exchanges, books)
        mine = folded(self)
        mine.now = self.engine.ob.now
        if encode(mine) != encode(self.engine.ob):
            self.violations.append("R1: the journal alone does not fold to the engine's record")


def folded(day: Day) -> Obligations:
    """Return what the journal alone gives."""
    ob = day.built.obligations(1 if day.run > 1 else day.run, "S")
    for _, _, event in day.journal.read():
        fold.apply(ob, day.built.terms, event)
    return ob


def run(seed: int) -> Outcome:
    """Run the day of one seed."""
    return run_plan(plan_of(seed))[0]


def run_plan(plan: Plan, record: bool = False) -> tuple[Outcome, Day]:
    """Run one planned day; record: keep its tape."""
    with turned(plan.mirrored):
        day = Day(plan, record)
        return day.go(), day


def replayed(day: Day, rows: Sequence[replay.Row] | None = None) -> replay.Replayed:
    """Prove a recorded day: every order from the journal alone, every decision from journal and tape. rows: another journal."""
    found = replay.Replayed()
    rows = list(day.journal.read()) if rows is None else rows

    def make_engine(ob: Obligations, at_ns: int | None) -> Engine:
        memory = day.built.warm() if at_ns is None else msgspec.json.decode(day.memories[at_ns], type=Memory)
        return day.built.engine(ob, memory)

    assert day.tape is not None
    replay.orders_from_journal(rows, day.built.obligations(1, "S"), make_engine, found)
    replay.decisions_from_tape(rows, day.tape, day.built.obligations(1, "S"), make_engine, found)
    return found


def faulty(seed: int, kind: FaultKind, for_ns: int = 0, **changes: Any) -> Plan:
    """Return the day of `seed` with one fault kind alone, several of it at both venues around every trade, lasting ones `for_ns`."""
    plan = plan_of(seed)
    start = plan.start_ns
    faults = tuple(Fault(at_ns=start + int(h * HOUR), venue=v, kind=kind, count=2, for_ns=for_ns) for h in (0.1, 2.0, 6.0) for v in ("cme", "perp"))
    fixed = {"faults": tuple(_bounded(f, start) for f in faults), "mood": kind.value, "inverse": False, "kills": (), "commits": None, "deaths": ()}
    return msgspec.structs.replace(plan, **{**fixed, **changes})
