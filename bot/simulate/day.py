"""One day under way: what outlives a process (market, exchanges, storage) and the process that runs now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sized
from itertools import chain
from typing import Any

import msgspec

from bot import composition
from bot.checks import Checks
from bot.engine.obligations import Obligations, encode
from bot.engine.step import Engine, Step
from bot.model import event as ev
from bot.model.event import LEVEL_RANK, KillLevel
from bot.model.notation import iso
from bot.runtime import Runtime, recover
from bot.sim.budget import UNLIMITED
from bot.sim.exchange import Exchange
from bot.sim.faults import FaultKind, FaultPlan
from bot.sim.market import SeededMarket
from bot.simulate.deaths import BETWEEN, START_POINTS, Crash, Reaper
from bot.simulate.outlet import Outlet
from bot.simulate.plan import HOUR, SECOND_NS, Death, Kill, Plan, settings
from bot.simulate.storage import FileStore, MemoryStore, Store, folded
from bot.tally import Tally
from bot.venues.reference import ReferenceVenue, reference_plan
from bot.venues.sim import SimVenue
from strategies.excess import Memory

HOPELESS = 50
"""Violations after which a day is given up."""
PACE = {"mark_interval_s": 60.0, "funding_interval_s": 300.0, "stable_interval_s": 120.0}
"""Mean time between marks, estimates and stablecoin quotes: a tenth or less of the age at which they are stale."""
INBOX_MOST = 1_000
"""I25: events that may wait for the loop at once; a burst of quotes or a whole answer of a venue is far below."""
RESIDUAL_USD = 0.01
"""I7: what a process's attribution may leave unexplained."""


class Hopeless(Exception):
    """So much is broken that the rest of the day says nothing more."""


class Observers:
    """Tally, checks and a count of what reached the gate, as one observer of one process."""

    def __init__(self, engine: Engine, carry: float, inverse: bool, whole: bool) -> None:
        self.checks = Checks(engine, whole=whole)
        self.tally = None if inverse else Tally(engine, carry)  # attribution of an inverse contract is not defined
        self.attempts = 0
        self.inbox: Sized = ()

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Pass on one step."""
        self.checks.stepped(event, out)
        if len(self.inbox) > INBOX_MOST:
            self.checks.record.broken("I25", event.ts, f"{len(self.inbox)} events wait for the loop")
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


class Day:
    """One planned day. Make it, `drive` it from act to act, ask what it showed, `close` it; bot.simulate.proof does all four."""

    def __init__(self, plan: Plan, record: bool = False) -> None:
        self.plan = plan
        self.settings, self.built, market = _composed(plan)
        history = list(market.history())
        self.last: dict[Any, tuple[Any, Any]] = {(type(e), e.instrument): (e, e) for e in history}  # type: ignore[union-attr]
        self.memory = self.built.warm(history)
        self.quotes: Counter[str] = Counter()
        self.source: Iterator[Any] = self._counted(market.events())
        self.reaper = Reaper()
        self.store: Store = FileStore(plan, self.settings, self.reaper) if plan.files else MemoryStore(plan, record)
        self.plans = {v: FaultPlan(v, plan.faults) for v in self.built.venues}
        self.hits = {v: p.hits for v, p in self.plans.items()}
        self.healed = False
        self.prices: dict[str, ReferenceVenue] = {}
        if self.built.pair.stable is not None:
            stable = self.built.terms[self.built.pair.stable]
            self.plans[stable.venue] = reference_plan(stable, plan.venues[1], plan.faults)
            self.prices[stable.venue] = ReferenceVenue(stable, self.plans[stable.venue])
        self.exchanges: dict[str, Exchange] = {}
        self.violations: list[str] = []
        self.outlet = Outlet(self.violations.append)
        self.counted: Counter[str] = Counter()
        self.memories: dict[int, bytes] = {}
        self.attempts = self.openings = 0
        self.now = plan.start_ns
        self.digest = ""
        self.venues: dict[str, SimVenue] = {}
        self.engine: Engine
        self.runtime: Runtime
        self.observers: Observers
        self._pending: Death | None = None
        self._started = self._opened = self.lost = False
        self.arm(next((d for d in plan.deaths if d.at_ns <= plan.start_ns), None))
        self._start(plan.start_ns)

    def close(self) -> None:
        """Give back folders and crash points."""
        self.reaper.rest()
        self.store.close()

    # The market.

    def _counted(self, events: Iterator[Any]) -> Iterator[Any]:
        for e in events:
            if type(e) is ev.Quote:
                self.quotes[e.instrument] += 1
            self.last[type(e), e.instrument] = (e, self.last.get((type(e), e.instrument), (e, e))[0])
            yield e

    def _seen(self, now: int) -> Iterator[Any]:
        """Yield the newest observation of each kind that is not ahead of `now`."""
        for newest, before in list(self.last.values()):
            event = newest if newest.ts <= now else before
            if event.ts <= now:
                yield event

    def _exchange(self, venue: str, now: int) -> Exchange:
        """Return the exchange that outlived the process; on files it is made anew, as paper's is, and knows what its log knows."""
        if venue in self.exchanges and self.plan.files:
            self.plans[venue] = FaultPlan(venue, self.plan.faults if not self.healed else (), now)
            self.plans[venue].hits = self.hits[venue]
        if venue not in self.exchanges or self.plan.files:
            found = composition.exchange(self.built, venue, now)
            for event in self._seen(now):
                found.prime(event)
            self.exchanges[venue] = found
        return self.exchanges[venue]

    # Processes.

    def _start(self, now: int) -> None:
        """Start processes until one is up."""
        while True:
            try:
                self._begin(now)
                return
            except Crash:
                self._bury(between=False)

    def _begin(self, now: int) -> None:
        """Start a process: open, fold, connect, be shown the last quotes."""
        plan, built, store = self.plan, self.built, self.store
        store.open()
        self._opened = True
        ob = recover(store.journal, built.terms, built.obligations(store.run, "S"))
        self._checkpoint_is_whole(ob)
        ob.run = store.run
        latched = store.latch.read()
        self.counted["starts latched"] += latched.level is not KillLevel.NONE
        self.memories[now] = msgspec.json.encode(self.memory)
        self.engine = built.engine(ob, self.memory)
        self.observers = Observers(self.engine, self.settings.strategy.carry_fixed, plan.inverse, whole=not self.lost)
        for name in built.venues:
            times, exchange = self.settings.latency[name], self._exchange(name, now)
            exchange.reports.clear()
            self.venues[name] = SimVenue(
                exchange, delays=times if plan.feed else msgspec.structs.replace(times, feed_ns=0), plan=self.plans[name], log=store.venue_log(name),
                now_ns=now, budget=self.settings.messages.get(name, UNLIMITED), seed=plan.seed,
            )  # fmt: skip
            self.outlet.watch(self.venues[name], self.engine, store.journal, store.disk.fails)
        self.runtime = Runtime(self.engine, store.journal, store.tape, {**self.venues, **self.prices}, seq=store.resumes_at(), observer=self.observers)
        self.observers.inbox = self.runtime._inbox
        self._started = True
        cash = {v: dict(self.settings.cash[v]) for v in built.venues}
        self.runtime.start(ev.RunStarted(ts=now, run=store.run, mode="S", cash=cash, kill_level=latched.level, evacuate=latched.evacuate))
        for event in self._seen(now):  # as a feed does on connecting
            if type(event) is ev.Quote:
                self.runtime.emit(msgspec.structs.replace(event, ts=now))
        self.runtime.pump()

    def _checkpoint_is_whole(self, ob: Obligations) -> None:
        """R1: a checkpoint and its tail must be the whole fold, but for the time, which observations move as well."""
        whole = folded(self.built, self.store)
        whole.now = ob.now
        if encode(whole) != encode(ob):
            self.violations.append(f"R1: checkpoint and tail differ from the whole fold at the start of run {self.store.run}")

    def _bury(self, between: bool) -> None:
        """Take over what a process leaves behind; one that died inside a step never showed that step to its tally."""
        self.counted["deaths"] += 1
        self.outlet.reborn = True
        self.harvest(between)
        for venue in self.venues.values():
            venue.stop()
        self.venues = {}
        self.lost = self.lost or (self._opened and self.store.journal.lost)
        self.store.abandon(between)
        if self.store.disk.fails(self.now):
            self.store.disk.mend()  # nobody starts a desk before its disk works again
        self.memory = msgspec.json.decode(msgspec.json.encode(self.memory), type=Memory)
        died, self._pending = self._pending, None
        self.reaper.rest()
        if died is not None and died.again:
            self.reaper.arm(died.again, 1)

    def harvest(self, whole: bool = True) -> None:
        """Collect what the process that ends has shown. whole: it ended between two events."""
        if not self._started:
            return
        self._started = False
        o = self.observers
        self.violations += o.checks.violations
        self.attempts += o.attempts
        self.openings += o.checks.openings
        by_hand = any(FaultKind.MANUAL_TRADE in p.hits for p in self.plans.values())  # what a person trades belongs to no pair and no line
        if whole and o.tally is not None and o.tally.started and not by_hand:
            residual = o.tally.score().residual_usd
            if not abs(residual) < RESIDUAL_USD:
                self.violations.append(f"I7: {residual} USD of profit are explained by no line")

    def reborn(self, between: bool = False) -> None:
        """Go on with a new process on what the old one left."""
        held = self.runtime._held if between else None
        self.now = max(self.engine.ob.now, self.now, *(v._now for v in self.venues.values()))
        self._bury(between)
        if held is not None:
            self.source = chain((held,), self.source)
        self._start(self.now)

    # What happens to it.

    def drive(self, until: int) -> None:
        """Run to `until` whatever dies on the way."""
        self.through(lambda: self.runtime.drive(self.source, until))
        self.now = max(self.now, until)

    def through(self, act: Callable[[], object]) -> None:
        """Do something, again after each death it causes."""
        while True:
            try:
                act()
                return
            except Crash:
                self.runtime._held = None
                self.reborn()

    def arm(self, death: Death | None) -> None:
        """Let the process die as planned, at once if between two events."""
        if death is None:
            return
        self._pending = death
        if death.point == BETWEEN:
            self.reborn(between=True)
        elif death.point not in START_POINTS:
            self.reaper.arm(death.point, death.nth)

    def kill(self, level: KillLevel, why: str, venue: str | None = None) -> None:
        """Let the operator raise the latch, or lower it with NONE, between two events; the desk then takes what is latched."""
        self.through(lambda: self._kill(level, why, venue))

    def _kill(self, level: KillLevel, why: str, venue: str | None) -> None:
        latch, now = self.store.latch, max(self.now, self.engine.ob.now)
        before = latch.read()
        if level is KillLevel.NONE:
            self.outlet.latched = KillLevel.NONE
            after = latch.resume(reason=why, who="operator", channel="drill", now_ns=now)
        else:
            after = latch.raise_to(level, reason=why, who="operator", channel="drill", now_ns=now, venue=venue)
            if LEVEL_RANK[after.level] < LEVEL_RANK[max(before.level, level, key=LEVEL_RANK.__getitem__)]:
                self.violations.append(f"I19 at {iso(now)}: raised to {level} over {before.level}, latched {after.level}")
            self.outlet.latched = after.level
        ob = self.engine.ob
        if (after.level, after.evacuate) != (ob.kill_level, ob.evacuate) or level is KillLevel.NONE:
            self.runtime.emit(ev.KillSet(ts=now, level=after.level, kill_id=f"k{now}", reason=why, evacuate=after.evacuate))
            self.runtime.pump()

    def acts(self) -> list[tuple[int, Callable[[], None]]]:
        """Return what happens to the desk from outside until it heals, in order of time."""
        rows: list[tuple[int, int, Callable[[], None]]] = []
        for k in self.plan.kills:
            rows.append((k.at_ns, 1, lambda k=k: self.kill(k.level, "drill", k.venue if k.level is KillLevel.EVACUATE else None)))  # type: ignore[misc]
            if k.second is not None and k.at_ns + SECOND_NS < k.resume_ns:
                rows.append((k.at_ns + SECOND_NS, 1, lambda k=k: self._second(k)))  # type: ignore[misc]
        for d in self.plan.deaths:
            if self.plan.start_ns < d.at_ns < self.plan.start_ns + 24 * HOUR:
                order = 2 if d.point == BETWEEN else 0
                rows.append((d.at_ns, order, lambda d=d: self.arm(d)))  # type: ignore[misc]
        return [(at, act) for at, _, act in sorted(rows, key=lambda row: row[:2])]

    def _second(self, k: Kill) -> None:
        assert k.second is not None
        self.counted["second kills"] += 1
        self.kill(k.second, "drill again", k.venue if k.second is KillLevel.EVACUATE else None)

    def heal(self) -> None:
        """Stop every fault; the operator resumes what halted the desk."""
        self.healed = True
        for p in self.plans.values():
            p._left.clear()
            p.timed = [row for row in p.timed if not row[1]]
            p.quote_ns = ev.NEVER
        self.store.disk.mend()
        self.reaper.rest()
        if self.engine.ob.halted or self.engine.ob.kill_level is not KillLevel.NONE:
            self.kill(KillLevel.NONE, "healed")


def _composed(plan: Plan) -> tuple[Any, composition.Desk, SeededMarket]:
    """Return settings, desk and market of a plan: the profile `simulate` with what the plan says, composed as paper is."""
    base = settings(plan.inverse, plan.scenario)
    strategy = msgspec.structs.replace(base.strategy, side=plan.side, passive=plan.passive)
    market = msgspec.structs.replace(base.market, seed=plan.seed, lead=plan.lead, start=iso(plan.start_ns))
    execution = msgspec.structs.replace(base.execution, snapshot_every_ns=int(plan.poll_s * 1e9))
    made = msgspec.structs.replace(base, strategy=strategy, market=market, execution=execution)
    built = composition.desk(made)
    closed = any(not built.sessions.is_open(plan.lead, plan.start_ns - int(h * HOUR))[0] for h in (3, 5, 7))
    seeded = composition.seeded_market(built)
    spec = msgspec.structs.replace(seeded.spec, history_days=3.0 if closed else 0.33, mirrored=plan.mirrored, **PACE)
    return made, built, SeededMarket(spec, seeded.lead, seeded.hedge, seeded.stable, built.sessions)
