"""What people see: lines of what happened, and the live view at the widths terminals have."""

from __future__ import annotations

import io
import re
from decimal import Decimal

import msgspec
import pytest
from rich.console import Console

from bot.desk import card, progress
from bot.desk.feed import REFUSAL_EVERY, Feed, Line, Together, describe
from bot.desk.live import BANNER, render
from bot.desk.screen import Screen, pace
from bot.desk.snapshot import Snapshot, take
from bot.engine.observations import AlwaysOpen
from bot.engine.pair import Execution
from bot.engine.step import NOTHING, Engine, Step
from bot.model import event as ev
from bot.model.event import KillLevel, Severity
from risk.limits import Limits
from tests.simulation.loopback import World

S = 1_000_000_000


@pytest.fixture
def world() -> World:
    """A desk that holds a hedged pair."""
    world = World()
    world.wish.target = Decimal(20)
    world.run(30)
    return world


def unborn() -> Engine:
    """A desk that has been told nothing at all."""
    world = World()
    return Engine(world.new_obligations(), world.terms, AlwaysOpen(), {"wish": (world.wish, None)}, Limits(), Execution(), {"USDT": "USDT/USD"})


def snapshot(world: World, **changed: object) -> Snapshot:
    """Look at the desk."""
    return msgspec.structs.replace(take(world.engine, run_id="paper-00001", seed=7, scenario="story"), **changed)


def screen_text(s: Snapshot, feed: Feed, width: int) -> str:
    """Draw one frame on a terminal of `width` columns."""
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, color_system=None).print(render(s, feed, (0.1, 2.5, -3.0), width, 60.0))
    return out.getvalue()


def test_snapshot_says_what_is_held_and_what_is_not_known(world: World) -> None:
    """Legs, delta and state come from the engine; a strategy without statistics has no z, not z = 0."""
    s = snapshot(world)
    assert {leg.instrument: leg.qty for leg in s.legs} == {"MBTX26": 20.0, "BTCUSDT": -2.0}
    assert s.state == "HEDGED" and abs(s.net_delta_base) < 1e-9 and s.equity_usd is not None
    assert s.pairs[0].z is None and s.pairs[0].premium_bp is None
    assert all(v.buffer is not None and v.equity_usd is not None for v in s.venues.values())
    blank = take(unborn(), run_id="x")
    assert blank.state == "HALTED" and blank.equity_usd is None and blank.legs[0].mark is None
    assert any("not reconciled" in r for r in blank.blocked_by) and any("unreachable" in r for r in blank.blocked_by)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_live_view_shows_everything_that_can_hurt(world: World, width: int) -> None:
    """At 80 and at 120 columns: banner, legs, premium with z, margin, funding, orders, refusals, alerts and why nothing opens."""
    s = snapshot(world)
    pair = msgspec.structs.replace(s.pairs[0], premium_bp=41.5, excess_bp=60.25, z=2.31, mean_bp=1.0, sigma_bp=4.0, z_in=2.0, z_out=0.5, edge_bp=12.5,
                                   funding_rate=0.0001, funding_stamp="2026-11-04T00:00:00Z", funding_usd=-12.34)  # fmt: skip
    s = msgspec.structs.replace(s, pairs=(pair,), blocked_by=("kill FREEZE K1",), kill_level="FREEZE", refusals={"edge_floor": 12})
    feed = Feed()
    feed.stepped(ev.Alert(ts=S, severity=Severity.CRIT, code="pair.unhedged", text="2 coins"), NOTHING)
    text = screen_text(s, feed, width)
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.split())
    for wanted in (
        "seeded market, scripted venue faults", "paper-00001", "HEDGED", "KILL FREEZE", "MBTX26", "BTCUSDT", "+20", "-2", "2.31", "+41.5",
        "left", "next +1.00 bp at 00:00Z", "got -12.34 USD", "edge_floor 12", "pair.unhedged", "blocked by: kill FREEZE K1",
    ):  # fmt: skip
        assert wanted in flat, f"{wanted!r} is missing at {width} columns"
    assert re.search(r"[-|^v]*\^[-|^v]*[v#][-|^v#]*", text)
    assert BANNER[:40] in text


def test_live_view_of_a_desk_that_knows_nothing() -> None:
    """Before the first quote nothing has a price, and the view draws all the same."""
    text = screen_text(take(unborn(), run_id="x"), Feed(), 80)
    assert "no price yet" in text and "not priced" in text


def test_feed_tells_a_trade_and_keeps_quiet_about_repeats(world: World) -> None:
    """Entry, orders, fills and funding are lines; a rule that keeps refusing is one line a minute."""
    said: list[Line] = []
    feed = Feed(said.append)
    for event in world.journal:
        feed.stepped(event, NOTHING)
    kinds = [line.kind for line in said]
    assert {"enter", "order", "fill", "desk", "venue"} <= set(kinds)
    told = len(said)
    for event in world.journal:
        if isinstance(event, ev.OrderFilled):
            feed.stepped(event, NOTHING)
    assert len(said) == told, "a venue that repeats a fill is not another fill"
    refused = ev.Refused(ts=S, pair="conv", rule="edge_floor", observed=1.0, limit=3.0)
    before = len(said)
    for n in range(5):
        feed.stepped(ev.CancelIntended(ts=S, client_id="x", reason=""), Step(events=(msgspec.structs.replace(refused, ts=S + n),)))
    assert len(said) == before + 1
    feed.stepped(msgspec.structs.replace(refused, ts=S + REFUSAL_EVERY), NOTHING)
    assert len(said) == before + 2 and str(said[-1]).startswith("1970-01-01T00:01:01Z refused conv: edge_floor")


EVERY = [
    ev.KillSet(ts=S, level=KillLevel.FLATTEN, kill_id="K1", reason="why"), ev.Frozen(ts=S, pair="", on=True, reason="r"),
    ev.NoAnswer(ts=S, client_id="c", reason="silence"), ev.AbsenceProven(ts=S, client_id="c"), ev.SendBlocked(ts=S, client_id="c", reason="r"),
    ev.FundingPaid(ts=S, venue="perp", instrument="BTCUSDT", stamp_ns=S, rate=1e-4, mark=7e4, qty=Decimal(-2), amount=Decimal("14.2"), currency="USDT"),
    ev.CashBooked(ts=S, venue="perp", kind="interest", amount=Decimal("-1"), currency="USDT", ref="r"), ev.CommitFailed(ts=S, reason="disk"),
    ev.Allocated(ts=S, pair="conv", instrument="BTCUSDT", qty=Decimal(1), price=Decimal(7), exec_id="e"), ev.Rearmed(ts=S, pair="conv"),
    ev.UnwindSet(ts=S, pair="conv", on=True, reason="5 attempts"), ev.StopTripped(ts=S, pair="conv", rule="time_stop", observed=1.0, limit=2.0),
    ev.VenueStatus(ts=S, venue="perp", up=False, reason="outage"), ev.ReadySet(ts=S, ready=False, cause="mismatch"),
]  # fmt: skip


@pytest.mark.parametrize("event", EVERY, ids=lambda e: type(e).__name__)
def test_what_matters_has_a_line(event: ev.Event) -> None:
    """Every event a person must know of is put into words."""
    said = describe(event)
    assert said is not None and said[1].strip() == said[1] != ""


def test_together_passes_on_in_order() -> None:
    """Two observers see the same steps."""
    one, two = Feed(), Feed()
    both = Together(one, two)
    both.stepped(ev.Rearmed(ts=S, pair="conv"), NOTHING)
    both.marked(S)
    assert [str(x) for x in one.lines] == [str(x) for x in two.lines] != []


def test_what_is_watched_is_paced() -> None:
    """auto is 300 for somebody who looks on, else as fast as it goes; a number and max are what they say."""
    assert [pace("auto", watched=True), pace("auto", watched=False), pace("max", watched=True), pace(1.0, watched=False)] == [300.0, 0.0, 0.0, 1.0]


class FakeShell:
    """Remembers why it was stopped."""

    why = ""
    start_ns = now_ns = 0
    end_ns = S

    def stop(self, why: str) -> None:
        """Note it."""
        self.why = why


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_asks_the_run_to_stop_and_a_second_does_not_wait(name: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The first signal ends the run in order, and its exit code says so; the second raises at once; handlers are put back."""
    import signal

    number, shell = getattr(signal, name), FakeShell()
    old = signal.getsignal(number)
    with Screen("paper", watched=False, speed="max", json_out=True) as screen:
        screen.ready(shell, run_id="paper-00001", data_dir="d", socket="s")
        signal.raise_signal(number)
        assert shell.why == name and screen.exit_code == code
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is old
    assert msgspec.json.decode(capsys.readouterr().out)["run_id"] == "paper-00001"


def test_json_has_numbers_and_no_nan() -> None:
    """Money to 8 places, decimals as numbers, what is not finite as null."""
    line = card.json_line("x", {"a": 0.1 + 0.2, "b": Decimal("1.50"), "c": float("nan"), "d": {"e": (1, 2)}, "f": KillLevel.NONE})
    assert line == '{"schema":"x/1","a":0.3,"b":1.5,"c":null,"d":{"e":[1,2]},"f":"NONE"}'


def test_a_bar_appears_after_two_seconds_and_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Short work and work nobody watches draw nothing; long work on a terminal draws a bar on stderr."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    for terminal, elapsed, drawn in ((False, 60.0, False), (True, 1.9, False), (True, 2.0, True)):
        monkeypatch.setattr(progress.sys.stderr, "isatty", lambda terminal=terminal: terminal)
        with progress.Bar("reading") as bar:
            now[0] += elapsed
            bar.to(0.5)
        out = capsys.readouterr()
        assert out.out == "" and ("reading" in out.err) is drawn, (terminal, elapsed)
