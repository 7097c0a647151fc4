"""The one loop: order of things at one instant, slices that change nothing, commits that fail, the latch, recovery."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "simulation"))
from loopback import MBT, PAIR, PERP, STABLE, START, S, Wish, World

from bot import runtime as loop
from bot.engine.fold import apply
from bot.engine.obligations import Obligations, PairTerms, encode, fresh
from bot.engine.observations import AlwaysOpen
from bot.engine.pair import Execution
from bot.engine.step import Engine, Step
from bot.journal.store import MemoryJournal
from bot.model import event as ev
from bot.model.command import Cancel, Command, Submit
from bot.model.errors import JournalError
from bot.model.event import KillLevel
from bot.model.order import OrderStatus, Outcome
from bot.runtime import Runtime, recover
from bot.sim.exchange import Exchange
from bot.sim.wire import Delays
from bot.simulate.day import Day
from bot.simulate.plan import HOUR, plan_of
from bot.venues.sim import SimVenue
from risk.limits import Limits

PAIRS = (PairTerms(id=PAIR, strategy="wish", lead="MBTX26", hedge="BTCUSDT", stable="USDT/USD"),)
TERMS = {i.id: i for i in (MBT, PERP, STABLE)}
CASH = {"cme": {"USD": Decimal(600_000)}, "perp": {"USDT": Decimal(400_000)}}
WIRE = Delays(request_ns=20_000_000, reply_ns=20_000_000)


class Journal(MemoryJournal):
    """Refuses appends while `down`, and the emergency file while `dead`; `log` says in which order things happened."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log
        self.down = self.dead = False
        self.saved: list[ev.Event] = []

    def append(self, seq: int, events: Sequence[ev.Event]) -> None:
        """Keep or refuse."""
        if self.down:
            raise JournalError("disk full")
        self.log.append(f"commit {type(events[0]).__name__}")
        super().append(seq, events)

    def emergency(self, seq: int, events: Sequence[ev.Event]) -> None:
        """Save or refuse."""
        if self.dead:
            raise JournalError("no emergency file")
        self.saved += events


class Tape:
    """Keeps what was seen."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ev.Observation]] = []

    def record(self, seq: int, event: ev.Observation) -> None:
        """Keep one."""
        self.rows.append((seq, event))


class Watcher:
    """Notes what an observer is shown, and whether it was durable by then."""

    def __init__(self) -> None:
        self.journal: MemoryJournal | None = None
        self.steps: list[tuple[ev.Event, Step]] = []
        self.marks: list[int] = []
        self.early = 0

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Note one step."""
        self.steps.append((event, out))
        if self.journal is not None and not any(e == event for _, _, e in list(self.journal.read())[-1 - len(out.events) :]):
            self.early += 1

    def marked(self, now_ns: int) -> None:
        """Note one mark."""
        self.marks.append(now_ns)


class Rig:
    """A runtime on two real in-process venues and a strategy that wants what the test says."""

    def __init__(self, delays: Delays = WIRE, watcher: Watcher | None = None) -> None:
        self.log: list[str] = []
        self.sent: list[Command] = []
        self.wish = Wish()
        self.journal = Journal(self.log)
        self.tape = Tape()
        self.engine = Engine(self.fresh(), TERMS, AlwaysOpen(), {"wish": (self.wish, None)}, Limits(), Execution(), {"USDT": "USDT/USD"})
        self.venues = {}
        for name, terms in (("cme", MBT), ("perp", PERP)):
            venue = SimVenue(Exchange(name, [terms], CASH[name], AlwaysOpen(), now_ns=START), delays=delays, now_ns=START)
            self._spy(venue)
            self.venues[name] = venue
        self.runtime = Runtime(self.engine, self.journal, self.tape, self.venues, observer=watcher)
        self.now = START
        self.runtime.start(ev.RunStarted(ts=START, run=1, mode="S", cash=CASH))

    def _spy(self, venue: SimVenue) -> None:
        send = venue.send

        def seen(command: Command, now_ns: int) -> None:
            self.sent.append(command)
            self.log.append(f"send {type(command).__name__}")
            send(command, now_ns)

        venue.send = seen  # type: ignore[method-assign]

    def fresh(self) -> Obligations:
        """Return an empty record of this desk."""
        return fresh(1, "S", PAIRS, ("cme", "perp"))

    def market(self, seconds: float, premium: float = 60.0, every: float = 1.0) -> Iterator[Any]:
        """Yield marks, funding and quotes of all instruments from now on."""
        t, price = self.now, 70_000.0
        for n in range(int(seconds / every)):
            t = self.now + int((n + 1) * every * S)
            yield ev.MarkPrice(t, "BTCUSDT", price, price)
            yield ev.FundingRate(t + 1, "BTCUSDT", 0.0001, 28_800, START + 3_600 * S, 0.003)
            yield ev.Quote(t + 2, "USDT/USD", 0.9999, 1.0001, 1e6, 1e6, t)
            yield ev.Quote(t + 3, "BTCUSDT", price + premium, price + premium + 0.1, 50.0, 50.0, t + 3)
            yield ev.Quote(t + 4, "MBTX26", price, price + 5.0, 500.0, 500.0, t + 4)

    def run(self, seconds: float) -> None:
        """Drive that much market."""
        until = self.now + int(seconds * S) + 10
        self.runtime.drive(self.market(seconds), until)
        self.now = until

    def until_sent(self, seconds: float) -> Iterator[Any]:
        """Want ten lots and drive to the moment at which the first order is on the wire; return the rest of that much market."""
        self.wish.target = Decimal(10)
        source = self.market(seconds)
        while not self.orders():
            self.now += S // 100
            self.runtime.drive(source, self.now)
        return source

    @property
    def pair(self) -> Any:
        """The pair's state."""
        return self.engine.ob.pairs[PAIR]

    def orders(self, opening: bool | None = None) -> list[Submit]:
        """Return the orders that left."""
        return [c for c in self.sent if isinstance(c, Submit) and opening in (None, c.opening)]

    def events(self, kind: type) -> list[Any]:
        """Return the journalled events of one type."""
        return [e for _, _, e in self.journal.read() if isinstance(e, kind)]


def opened(lots: int = 10) -> Rig:
    """Return a rig with a hedged position of `lots`."""
    rig = Rig()
    rig.run(3)
    rig.wish.target = Decimal(lots)
    rig.run(10)
    assert rig.pair.lead.qty == lots and rig.pair.hedge.qty == -lots * Decimal("0.1"), rig.engine.ob.refusals
    return rig


# Order at one instant.


class Due:
    """A venue that is due when told, and says so in the common log."""

    def __init__(self, log: list[str], at_ns: int) -> None:
        self.log, self.due_ns, self.venue = log, at_ns, "cme"
        self.emit: Any = None

    def start(self, emit: Any) -> None:
        """Connect."""
        self.emit = emit

    def stop(self) -> None:
        """Nothing to release."""

    def send(self, command: Command, now_ns: int) -> None:
        """Nobody answers."""

    def observe(self, event: Any) -> Any:
        """Show everything at once."""
        return event

    def advance(self, now_ns: int) -> None:
        """Be back."""
        self.log.append(f"venue {now_ns - START}")
        self.due_ns = ev.NEVER


class LoggingTape(Tape):
    """A tape that says what it sees."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    def record(self, seq: int, event: ev.Observation) -> None:
        """Say what was seen."""
        super().record(seq, event)
        self.log.append(f"{type(event).__name__} {event.ts - START}")


def test_at_one_instant_venue_then_timer_then_market() -> None:
    """What a venue has to say comes first, then the desk's timer, then the market's next observation; seqs follow that order."""
    log: list[str] = []
    engine = Engine(fresh(1, "S", PAIRS, ("cme",)), TERMS, AlwaysOpen(), {"wish": (Wish(), None)}, Limits(), Execution(), {"USDT": "USDT/USD"})
    tape = LoggingTape(log)
    runtime = Runtime(engine, MemoryJournal(), tape, {"cme": Due(log, START + 100)})
    runtime.start(ev.RunStarted(ts=START, run=1, mode="S", cash={}))
    engine.due_ns = START + 100
    runtime.drive(iter([ev.Quote(START + 100, "MBTX26", 1.0, 2.0, 1.0, 1.0, START + 100)]), START + 200)
    assert log == ["venue 100", "Timer 100", "Quote 100"]
    assert [seq for seq, _ in tape.rows] == sorted(seq for seq, _ in tape.rows)


def test_the_timer_fires_before_the_market_at_its_instant() -> None:
    """A timer due at the time of a quote acts on what was known before it."""
    log: list[str] = []
    engine = Engine(fresh(1, "S", PAIRS, ("cme",)), TERMS, AlwaysOpen(), {"wish": (Wish(), None)}, Limits(), Execution(), {"USDT": "USDT/USD"})
    tape = LoggingTape(log)
    runtime = Runtime(engine, MemoryJournal(), tape, {"cme": Due(log, ev.NEVER)})
    runtime.start(ev.RunStarted(ts=START, run=1, mode="S", cash={}))
    engine.due_ns = START + 100
    runtime.drive(iter([ev.Quote(START + 100, "MBTX26", 1.0, 2.0, 1.0, 1.0, START + 100)]), START + 101)
    assert log == ["Timer 100", "Quote 100"]


def test_intent_commits_before_bytes_leave() -> None:
    """For every order the commit of its step comes before its send."""
    rig = opened()
    for at, what in enumerate(rig.log):
        if what == "send Submit":
            assert rig.log[at - 1].startswith("commit") or rig.log[at - 1] == "send Submit", rig.log[at - 3 : at + 1]
    assert rig.log.count("send Submit") == len(rig.orders()) >= 2


def test_drive_says_whether_there_is_more_and_loses_nothing() -> None:
    """An observation beyond the end is kept for the next call; one at the end belongs to it; NEVER ends with the source."""
    rig = Rig()
    quotes = [ev.Quote(START + n * S, "MBTX26", 1.0, 2.0, 1.0, 1.0, START + n * S) for n in (1, 2, 3)]
    source = iter(quotes)
    assert rig.runtime.drive(source, START + 2 * S) is True
    assert rig.engine.books["MBTX26"].ts == START + S
    assert rig.runtime.drive(source, ev.NEVER) is False
    seen = [e for _, e in rig.tape.rows if isinstance(e, ev.Quote)]
    assert [q.ts for q in seen] == [START + n * S for n in (1, 2, 3)]


def test_a_repetition_gets_no_number_and_no_row() -> None:
    """What a venue says again changes neither seq nor journal."""
    rig = opened()
    fill = rig.events(ev.OrderFilled)[0]
    before = rig.runtime.seq, rig.journal.sha256(), encode(rig.engine.ob)
    rig.runtime.emit(fill)
    rig.runtime.pump()
    assert (rig.runtime.seq, rig.journal.sha256(), encode(rig.engine.ob)) == before


def test_unseen_quotes_reach_the_exchange_alone() -> None:
    """A quote the desk is not shown moves no book of the desk and is not on the tape."""
    rig = Rig()
    q = ev.Quote(START + S, "MBTX26", 1.0, 2.0, 1.0, 1.0, START + S)
    rig.runtime.drive(iter([ev.Unseen(START + S, q)]), START + 2 * S)
    assert rig.engine.books["MBTX26"].ts == 0 and rig.venues["cme"].exchange.listings["MBTX26"].quote is q
    assert all(e is not q for _, e in rig.tape.rows)


# Slices.


def test_how_a_run_is_sliced_never_changes_its_journal() -> None:
    """Six hours of a faulty day in one call or cut at random instants: one journal."""
    for seed in (0, 8, 11, 14):
        plan = plan_of(seed)
        hashes = set()
        for cuts in (0, 7, 150):
            with closing(Day(plan)) as day:
                rng = Random(seed + cuts)
                for at in sorted(rng.random() for _ in range(cuts)):
                    day.drive(plan.start_ns + int(at * 6 * HOUR))
                day.drive(plan.start_ns + 6 * HOUR)
                assert day.engine.ob.fills > 0, f"seed {seed}: nothing traded, nothing shown"
                hashes.add(day.store.journal.sha256())
        assert len(hashes) == 1, f"seed {seed}: {len(hashes)} journals"


# Commits that fail.


def test_a_failed_commit_blocks_openings() -> None:
    """The opening does not leave, its order is denied, the desk halts and says why."""
    rig = Rig()
    rig.run(3)
    rig.journal.down = True
    rig.wish.target = Decimal(10)
    rig.run(5)
    assert rig.orders() == [] and rig.pair.lead.qty == 0
    assert rig.engine.ob.halted.startswith("journal: disk full")
    denied = [o for o in rig.engine.ob.orders.values() if o.outcome is Outcome.DENIED]
    assert denied and not rig.engine.ob.live


def test_a_halted_desk_opens_again_only_after_a_resume() -> None:
    """When the journal works again the desk stays shut until a person says so, and then reconciles first."""
    rig = Rig()
    rig.run(3)
    rig.journal.down = True
    rig.wish.target = Decimal(10)
    rig.run(2)
    rig.journal.down = False
    rig.run(5)
    assert rig.orders() == []
    rig.runtime.emit(ev.KillSet(ts=rig.now, level=KillLevel.NONE, kill_id="r1", reason="disk freed"))
    rig.runtime.pump()
    assert not rig.engine.ob.ready, "a resume asks the venues again"
    rig.run(10)
    assert rig.pair.lead.qty == 10 and rig.pair.hedge.qty == Decimal("-1.000")


def test_hedges_leave_through_the_emergency_file() -> None:
    """The fill of an order sent before is hedged although nothing commits, its intent saved first."""
    rig = Rig()
    rig.run(3)
    source = rig.until_sent(10)
    rig.journal.down = True
    rig.runtime.drive(source, rig.now + 5 * S)
    assert rig.pair.hedge.qty == Decimal("-1.000")
    hedge = next(c.order for c in rig.orders(opening=False) if c.order.venue == "perp")
    saved = [e for e in rig.journal.saved if isinstance(e, ev.OrderIntended)]
    assert [e.order for e in saved] == [hedge]
    assert rig.pair.lead.qty == 10, "no further clip"


def test_nothing_is_sent_when_the_emergency_file_fails_too() -> None:
    """No durable intent, no order: the hedge is blocked and stays wanted, and goes out when a place to save it is back."""
    rig = Rig()
    rig.run(3)
    source = rig.until_sent(40)
    sent = len(rig.orders())
    rig.journal.down = rig.journal.dead = True
    rig.runtime.drive(source, rig.now + 5 * S)
    assert rig.pair.lead.qty == 10 and rig.pair.hedge.qty == 0 and len(rig.orders()) == sent
    assert any(o.outcome is Outcome.DENIED and o.spec.venue == "perp" for o in rig.engine.ob.orders.values())
    rig.journal.dead = False
    rig.runtime.drive(source, rig.now + 20 * S)
    assert rig.pair.hedge.qty + rig.pair.lead.qty * Decimal("0.1") == 0, "hedged or unwound"


def test_cancels_and_queries_pass_without_a_journal() -> None:
    """A cancel saves its intent in the emergency file; a question needs none."""
    rig = Rig()
    rig.run(3)
    rig.journal.down = True
    order = Submit(opened().orders()[0].order, opening=True)
    out = Step((ev.CancelIntended(ts=rig.now, client_id="x", reason="test"),), (order, Cancel("cme", "MBTX26", "x")))
    left = rig.runtime._without_journal(ev.Timer(rig.now), out, "disk full")
    assert left == [out.commands[1]] and rig.journal.saved[-1] == out.events[0]
    rig.journal.dead = True
    assert rig.runtime._without_journal(ev.Timer(rig.now), out, "disk full") == []


# The send gate.


def test_the_latch_is_looked_at_on_the_last_line() -> None:
    """A latch that falls after the decision still stops the opening: denied, journalled, and the hedge of what fills passes."""
    rig = Rig()
    rig.run(3)
    rig.runtime.latch = KillLevel.PAUSE
    rig.wish.target = Decimal(10)
    rig.run(3)
    assert rig.orders() == []
    blocked = rig.events(ev.SendBlocked)
    assert blocked and "latched PAUSE" in blocked[0].reason
    assert all(o.status is OrderStatus.DONE for o in rig.engine.ob.orders.values())


@pytest.mark.parametrize("level", [KillLevel.PAUSE, KillLevel.FREEZE, KillLevel.CANCEL])
def test_hedges_pass_a_latch(level: KillLevel) -> None:
    """Whatever the level, the fill of an order already out is hedged."""
    rig = Rig()
    rig.run(3)
    source = rig.until_sent(20)
    rig.runtime.emit(ev.KillSet(ts=rig.engine.ob.now, level=level, kill_id="k", reason="test"))
    rig.runtime.pump()
    assert rig.runtime.latch is level
    rig.runtime.drive(source, rig.now + 10 * S)
    assert rig.pair.lead.qty * Decimal("0.1") + rig.pair.hedge.qty == 0
    assert len(rig.orders(opening=True)) == 1


def test_a_start_takes_the_latch_with_it() -> None:
    """A run begun under a latch does not open."""
    rig = Rig()
    runtime = Runtime(rig.engine, rig.journal, None, {})
    runtime.start(ev.RunStarted(ts=START, run=2, mode="S", cash=CASH, kill_level=KillLevel.FREEZE))
    assert runtime.latch is KillLevel.FREEZE and rig.engine.ob.kill_level is KillLevel.FREEZE


# Observer, checkpoints, recovery.


def test_the_observer_sees_durable_steps_and_marks() -> None:
    """Each journalled step once, after its commit, and every mark, with feed latency too."""
    for delays in (WIRE, Delays(request_ns=20_000_000, reply_ns=20_000_000, feed_ns=10_000_000)):
        watcher = Watcher()
        rig = Rig(delays, watcher)
        watcher.journal = rig.journal
        rig.run(3)
        rig.wish.target = Decimal(10)
        rig.run(10)
        assert watcher.early == 0
        commits = [x for x in rig.log if x.startswith("commit")]
        assert [f"commit {type(e).__name__}" for e, _ in watcher.steps] == commits
        assert len(watcher.marks) >= 12


def test_checkpoint_and_tail_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery from a checkpoint in the middle gives the same record as folding everything."""
    monkeypatch.setattr(loop, "CHECKPOINT_STEPS", 7)
    rig = opened(30)
    found = rig.journal.latest_checkpoint()
    assert found is not None and 0 < found[0] < rig.journal.last_seq()
    whole = rig.fresh()
    for _, _, event in rig.journal.read():
        apply(whole, TERMS, event)
    recovered = recover(rig.journal, TERMS, rig.fresh())
    assert encode(recovered) == encode(whole)
    whole.now = rig.engine.ob.now
    assert encode(whole) == encode(rig.engine.ob)


def test_a_refused_checkpoint_is_only_a_longer_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on."""
    monkeypatch.setattr(loop, "CHECKPOINT_STEPS", 5)
    rig = Rig()

    def refuse(seq: int, state: bytes) -> None:
        raise JournalError("locked")

    rig.journal.checkpoint = refuse  # type: ignore[method-assign]
    rig.wish.target = Decimal(10)
    rig.run(10)
    assert rig.pair.lead.qty == 10 and rig.journal.latest_checkpoint() is None


def test_recovery_asks_about_what_was_in_flight() -> None:
    """After a death between send and answer the order is UNKNOWN until the venue tells, and ends hedged without a second one."""
    rig = Rig()
    rig.run(3)
    source = rig.until_sent(30)
    first = rig.orders()[0].order.client_id
    ob = recover(rig.journal, TERMS, rig.fresh())
    assert ob.live == {first: None}
    ob.run = 2
    engine = Engine(ob, TERMS, AlwaysOpen(), {"wish": (rig.wish, None)}, Limits(), Execution(), {"USDT": "USDT/USD"})
    venues = {}
    for name, old in rig.venues.items():
        old.stop()
        venues[name] = SimVenue(old.exchange, delays=WIRE, now_ns=rig.engine.ob.now)
    runtime = Runtime(engine, rig.journal, rig.tape, venues, seq=rig.journal.last_seq())
    runtime.start(ev.RunStarted(ts=rig.engine.ob.now, run=2, mode="S", cash=CASH))
    assert engine.ob.orders[first].status is OrderStatus.UNKNOWN and not engine.ob.ready
    runtime.drive(source, rig.now + 20 * S)
    pair = engine.ob.pairs[PAIR]
    assert engine.ob.ready and (pair.lead.qty, pair.hedge.qty) == (10, Decimal("-1.000")), engine.ob.cause
    assert rig.venues["cme"].exchange.positions() == {"MBTX26": Decimal(10)}
    assert all(c.startswith("S00002") for c in engine.ob.orders if c != first)


# What the fault days found in the engine.


def test_a_flat_pair_thaws() -> None:
    """A pair frozen for its unhedged delta and then unwound to nothing is not frozen for ever."""
    world = World()
    world.reject.add("perp")
    world.wish.target = Decimal(10)
    world.run(60)
    frozen = [e for e in world.journal if isinstance(e, ev.Frozen)]
    assert world.pair.flat and [e.on for e in frozen[:1]] == [True]
    assert world.pair.frozen == "" and not frozen[-1].on


def test_a_resume_reconciles_before_it_opens() -> None:
    """Setting the level forgets the venues' answers, so readiness is gone until they answer again."""
    world = World()
    world.run(5)
    assert world.engine.ob.ready
    mark = len(world.journal)
    world.process(ev.KillSet(ts=world.now, level=KillLevel.PAUSE, kill_id="k", reason="test"))
    world.process(ev.KillSet(ts=world.now, level=KillLevel.NONE, kill_id="k", reason="done"))
    world.wish.target = Decimal(10)
    world.run(20)
    since = [e for e in world.journal[mark:] if isinstance(e, ev.ReadySet | ev.OrderIntended)]
    assert isinstance(since[0], ev.ReadySet) and not since[0].ready
    first = next(n for n, e in enumerate(since) if isinstance(e, ev.OrderIntended))
    assert any(isinstance(e, ev.ReadySet) and e.ready for e in since[:first]) and world.pair.lead.qty == 10
