"""EVACUATE through the whole loop: what is held, closed, said and rebuilt, and planted bugs that the checks beside the loop must name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from loopback import MBT, PERP, S, World
from test_whole_loop import check_journal, opened

from bot.checks import Checks
from bot.engine import evacuate, flatten
from bot.engine.evacuate import Leg
from bot.engine.step import Step
from bot.model import event as ev
from bot.model.event import KillLevel, Severity

D = Decimal
REOPENS = 1_900_000_000 * S
HOPELESS = 5


class Hopeless(Exception):
    """So much is broken that the rest says nothing more: venues that answer at once would let a bug run for ever."""


class Hours:
    """Sessions of one market that a test shuts and opens."""

    def __init__(self) -> None:
        self.shut = False

    def is_open(self, instrument: str, now_ns: int) -> tuple[bool, int]:
        """Answer as set."""
        return not self.shut, REOPENS if self.shut else ev.NEVER

    def trade_date(self, now_ns: int) -> tuple[str, int]:
        """Return one date."""
        return "2027-01-15", ev.NEVER


class Watched(World):
    """The scripted world with the checks of bot.checks beside it, and CME hours to set."""

    def __init__(self) -> None:
        self.checks: Checks | None = None
        super().__init__()
        self.hours = Hours()
        self.engine.loops[0].window.lead_session.source = self.hours
        self.checks = Checks(self.engine)
        step = self.engine.step

        def seen(event: ev.Event) -> Step:
            out = step(event)
            if type(event) not in ev.OBSERVATIONS or out.events:
                self.checks.stepped(event, out)  # type: ignore[union-attr]
                if self.checks.count >= HOPELESS:  # type: ignore[union-attr]
                    raise Hopeless
            return out

        self.engine.step = seen  # type: ignore[method-assign]

    def run(self, seconds: float, every: float = 1.0) -> None:
        """Let market time pass as the runtime does: the monitors look before the next quote too."""
        end = self.now + int(seconds * S)
        while self.now < end:
            self.now += int(every * S)
            if min(self.engine.due_ns, self.engine.look_ns) <= self.now:
                self.process(ev.Timer(self.now))
            self.quotes()

    def shut(self, shut: bool = True) -> None:
        """Shut CME, or open it again."""
        self.hours.shut = shut
        session = self.engine.loops[0].window.lead_session
        session.until_ns = 0

    def kill(self, *venues: str, level: KillLevel = KillLevel.EVACUATE) -> None:
        """Let the operator set a level."""
        self.process(ev.KillSet(ts=self.now, level=level, kill_id="k1", reason="test", evacuate=venues))

    def reach(self, venue: str, up: bool) -> None:
        """Let a venue fall silent or answer again."""
        self.process(ev.VenueStatus(ts=self.now, venue=venue, up=up, reason="test"))

    def holds(self) -> tuple[Decimal, Decimal]:
        """Return what the venues hold."""
        return self.held.get(MBT.id, D(0)), self.held.get(PERP.id, D(0))

    def alarms(self) -> list[ev.Alert]:
        """Return what was said about a level that is not reached."""
        return [e for e in self.journal if isinstance(e, ev.Alert) and e.code == "kill.residual"]

    def left(self) -> dict[str, tuple[str, Decimal]]:
        """Return what is left by kind: (instrument, quantity)."""
        return {r.what: (r.instrument, r.qty) for r in self.engine.left()}


def holding(lots: int = 20) -> Watched:
    """Return a world with a hedged trade on and nothing violated so far."""
    world = Watched()
    opened(world, lots)
    assert world.holds() == (lots, -D(lots) / 10)
    return world


@pytest.mark.parametrize("venue", ["perp", "cme"])
def test_both_legs_go_and_nothing_comes_back(venue: str) -> None:
    """Confirmed by the venues within seconds, no alarm, no opening while the level holds, and the journal rebuilds the record."""
    world = holding()
    sent = len(world.sent)
    world.kill(venue)
    world.run(4)
    assert world.holds() == (0, 0) and world.engine.left() == () and world.alarms() == []
    world.wish.target = D(20)
    world.run(900, every=5.0)
    assert world.holds() == (0, 0) and world.alarms() == [] and world.checks.violations == []
    assert all(s.side is (s.side.BUY if s.venue == "perp" else s.side.SELL) for s in world.sent[sent:])
    check_journal(world)


def test_cme_shut_the_perpetual_goes_and_the_naked_future_is_told_until_it_can_go() -> None:
    """The perpetual is closed at once; the future waits for its session; the delta is stated and alarmed every five minutes."""
    world = holding()
    world.shut()
    world.kill("perp")
    world.run(4)
    assert world.holds() == (20, 0)
    assert world.left() == {"position": (MBT.id, 20), "delta": (MBT.id, D(2))}
    assert world.alarms() == []
    world.run(890)
    told = world.alarms()
    assert [(a.ts - told[0].ts) // S for a in told] == [0, 300, 600] and all(a.severity is Severity.CRIT for a in told)
    assert told[0].text == (
        "EVACUATE perp not reached: position cme MBTX26 +20 (closed until 2030-03-17T17:46:40Z); "
        "naked +2 coins on cme MBTX26 (closed until 2030-03-17T17:46:40Z)"
    )
    assert any(isinstance(e, ev.Alert) and e.code == "pair.unhedged" for e in world.journal)
    world.shut(False)
    world.run(4)
    assert world.holds() == (0, 0) and world.engine.left() == () and world.checks.violations == []
    world.run(900, every=5.0)
    assert world.alarms() == told
    check_journal(world)


def test_a_silent_venue_is_waited_for_then_given_up_and_closed_when_it_is_back() -> None:
    """For a minute the hedge there is believed in; then the future is closed alone, and the short that may exist is stated."""
    world = holding()
    world.reach("perp", False)
    world.kill("perp")
    world.run(58)
    assert world.holds() == (20, -2)
    world.run(6)
    assert world.holds() == (0, -2)
    assert any("perp counts as lost" in a.text and "may or may not still exist" in a.text for a in world.alarms())
    assert world.left()["delta"] == (PERP.id, -2) and world.left()["position"] == (PERP.id, -2)
    world.reach("perp", True)
    world.run(8)
    assert world.holds() == (0, 0) and world.engine.left() == () and world.checks.violations == []
    check_journal(world)


def test_a_silent_venue_that_is_not_evacuated_keeps_its_hedge() -> None:
    """The future may be closed alone under this level only: FLATTEN with the perpetual silent holds both."""
    world = holding()
    world.reach("perp", False)
    world.kill(level=KillLevel.FLATTEN)
    world.run(600)
    assert world.holds() == (20, -2) and world.alarms()[0].text.startswith("FLATTEN not reached")
    world.kill("perp")
    world.run(4)
    assert world.holds() == (0, -2) and world.engine.ob.kill_level is KillLevel.FLATTEN
    check_journal(world)


def test_cme_is_evacuated_when_it_opens_and_without_the_perpetual_if_need_be() -> None:
    """What cannot trade is held with its hedge; a future that can go goes, also while the perpetual is silent."""
    world = holding()
    world.shut()
    world.kill("cme")
    world.run(600)
    assert world.holds() == (20, -2) and len(world.alarms()) == 2 and "delta" not in world.left()
    world.reach("perp", False)
    world.shut(False)
    world.run(4)
    assert world.holds() == (0, -2) and world.left()["delta"] == (PERP.id, -2)
    world.reach("perp", True)
    world.run(8)
    assert world.holds() == (0, 0) and world.engine.left() == () and world.checks.violations == []
    check_journal(world)


def test_a_desk_that_starts_latched_goes_on_evacuating() -> None:
    """The level and its venues come with the start; the alarm begins anew."""
    world = holding()
    world.shut()
    world.kill("perp")
    world.run(4)
    world.process(ev.RunStarted(ts=world.now, run=2, mode="S", cash={}, kill_level=KillLevel.EVACUATE, evacuate=("perp",)))
    for venue in ("cme", "perp"):
        world.reach(venue, True)
    world.run(10)
    assert world.holds() == (20, 0) and len(world.alarms()) == 1
    world.shut(False)
    world.run(4)
    assert world.holds() == (0, 0) and world.engine.left() == () and world.checks.violations == []
    check_journal(world)


@pytest.mark.parametrize(("shut", "then"), [(False, (D(0), D(0))), (True, (D(20), D(-2)))])
def test_a_resume_winds_up_what_is_naked_by_the_ordinary_rules(shut: bool, then: tuple[Decimal, Decimal]) -> None:
    """With the ban lifted the future goes if it can; if not, its delta is covered again, and nothing is opened."""
    world = holding()
    world.shut()
    world.kill("perp")
    world.run(4)
    world.shut(shut)
    world.wish.target = D(50)
    world.kill(level=KillLevel.NONE)
    world.run(60)
    assert world.holds() == then and world.checks.violations == [] and world.engine.ob.evacuate == ()
    check_journal(world)


@pytest.mark.parametrize("seconds", [11, 17, 23, 29])
def test_what_waits_for_a_session_goes_when_it_opens(seconds: int) -> None:
    """A hedged pair held by FLATTEN over a closure closes when it opens, not at the next heartbeat, however quiet the market is."""
    world = holding()
    world.shut()
    world.kill(level=KillLevel.FLATTEN)
    world.quotes = lambda premium=60.0: None  # type: ignore[method-assign]
    world.run(seconds)
    assert world.holds() == (20, -2)
    world.shut(False)
    world.run(2)
    assert world.holds() == (0, 0) and world.checks.violations == []


def test_a_resume_while_a_venue_is_lost_waits_for_it() -> None:
    """With the future closed alone and the perpetual still silent nothing can be done, and that is no omission; back, it is closed."""
    world = holding()
    world.reach("perp", False)
    world.kill("perp")
    world.run(70)
    world.kill(level=KillLevel.NONE)
    world.run(120)
    assert world.holds() == (0, -2) and world.checks.violations == []
    world.reach("perp", True)
    world.run(8)
    assert world.holds() == (0, 0) and world.checks.violations == [] and not world.pair.unwind
    check_journal(world)


def test_a_venue_the_desk_does_not_have_is_never_confirmed() -> None:
    """A level for nobody's venue cancels and stops openings, and says that it is about nothing here."""
    world = holding()
    world.kill("elsewhere")
    world.run(10)
    assert world.holds() == (20, -2)
    assert [(r.venue, r.what) for r in world.engine.left()] == [("elsewhere", "unconfirmed")]


def test_alarms_are_not_given_below_cancel() -> None:
    """PAUSE and FREEZE ask nothing of the venues, so nothing can be left."""
    for level in (KillLevel.PAUSE, KillLevel.FREEZE):
        world = holding()
        world.kill(level=level)
        world.run(400, every=5.0)
        assert world.alarms() == [] and world.engine.left() == () and flatten.named(level, ()) == level.value


# Planted bugs.


def hedges_again(patch: pytest.MonkeyPatch) -> None:
    """The planner forgets which venue is evacuated when it comes to the hedge."""
    real = evacuate.legs

    def wrong(*args: object) -> tuple[Leg, Leg]:
        lead, hedge = real(*args)  # type: ignore[arg-type]
        return lead, Leg(**{f: getattr(hedge, f) for f in Leg.__struct_fields__ if f != "out"}, out=False)

    patch.setattr(evacuate, "legs", wrong)


def closes_too_much(patch: pytest.MonkeyPatch) -> None:
    """A close is as large as a clip, whatever is held."""
    patch.setattr(evacuate, "_closable", lambda ob, leg: Decimal(10**9))


def waits_for_ever(patch: pytest.MonkeyPatch) -> None:
    """The evacuated leg waits for a leg that cannot follow."""
    patch.setattr(evacuate, "_follows", lambda ob, other, x: True)


def naked_perp_needed(world: Watched) -> None:
    """A future whose hedge never came, its venue silent, and the perpetual to be left."""
    world.reject.add("perp")
    world.wish.target = D(10)
    world.run(1)
    world.reach("cme", False)
    world.kill("perp")
    world.reject.clear()
    world.run(30)


def half_a_clip(world: Watched) -> None:
    """Less held than a clip, and nobody to wait for."""
    opened(world, 4)
    world.shut()
    world.kill("perp")
    world.run(4)


def cme_shut(world: Watched) -> None:
    """Three clips held, CME shut, and the perpetual to be left."""
    opened(world, 30)
    world.shut()
    world.kill("perp")
    world.run(30)
    if world.held[PERP.id]:
        world.checks.violations.append(f"left at perp: {world.held[PERP.id]}")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("plant", "drill", "named"),
    [(hedges_again, naked_perp_needed, "I20"), (closes_too_much, half_a_clip, "I20"), (waits_for_ever, cme_shut, "left at perp")],
)
def test_planted_bugs_are_named(
    plant: Callable[[pytest.MonkeyPatch], None], drill: Callable[[Watched], None], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is seen by the check that is there for it; without it the same drill is clean."""
    world = Watched()
    drill(world)
    assert world.checks.violations == []  # type: ignore[union-attr]
    with monkeypatch.context() as patch:
        plant(patch)
        world = Watched()
        with suppress(Hopeless):
            drill(world)
    assert any(v.startswith(named) for v in world.checks.violations), world.checks.violations  # type: ignore[union-attr]
