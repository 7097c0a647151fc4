"""What people see: lines of what happened, and the live view at the widths terminals have."""

from __future__ import annotations

import io
import re
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bot.desk import card, progress
from bot.desk.feed import REFUSAL_EVERY, Feed, Line, Together, describe
from bot.desk.frame import BANNER, View, frame
from bot.desk.incidents import Incident, Incidents
from bot.desk.screen import Screen, pace
from bot.desk.snapshot import Snapshot, _pair_blocks, take
from bot.engine.observations import AlwaysOpen
from bot.engine.pair import Execution
from bot.engine.step import NOTHING, Engine, Step
from bot.journal.attribution import LINES
from bot.model import event as ev
from bot.model.event import KillLevel, Severity
from bot.model.order import Outcome, Side
from risk.limits import Limits
from tests.simulation.loopback import World, hedged

S = 1_000_000_000


@pytest.fixture
def world() -> World:
    """A desk that holds a hedged pair."""
    return hedged()


def unborn() -> Engine:
    """A desk that has been told nothing at all."""
    world = World()
    return Engine(world.new_obligations(), world.terms, AlwaysOpen(), {"wish": (world.wish, None)}, Limits(), Execution(), {"USDT": "USDT/USD"})


def snapshot(world: World, **changed: object) -> Snapshot:
    """Look at the desk."""
    return msgspec.structs.replace(take(world.engine, run_id="paper-00001", seed=7, scenario="story"), **changed)


def screen_text(s: Snapshot, feed: Feed, width: int, height: int = 40, **more: Any) -> str:
    """Draw one frame on a terminal of `width` columns and `height` rows."""
    out = io.StringIO()
    view = View(snapshot=s, feed=feed, z=(0.1, 2.5, -3.0), speed=60.0, **more)
    Console(file=out, width=width, force_terminal=False, color_system=None).print(frame(view, width, height))
    return out.getvalue()


SIZES = [(80, 24), (80, 40), (100, 30), (119, 60), (120, 29), (120, 30), (120, 40), (200, 60)]
CARD = {
    "lots": 50.0, "held_s": 2_340.0, "exit": "z 0.45 <= 0.5", "closed_at": "2026-11-03T16:28:49Z", "residual_usd": -0.0, "pnl_usd": 214.78,
    **dict.fromkeys(LINES, 0.0), "roll_down": 17.22, "richening": 82.45, "perp_premium": 766.25, "slippage": -39.51, "funding": 34.47, "fees": -646.10,
}  # fmt: skip


def stressed(world: World) -> Snapshot:
    """A desk in a trade with a silo beyond its warning, all that a frame can show filled in."""
    s = snapshot(world)
    pair = msgspec.structs.replace(
        s.pairs[0], premium_bp=41.5, excess_bp=60.25, z=2.31, mean_bp=1.0, sigma_bp=4.0, z_in=2.0, z_out=0.5, edge_bp=12.5, funding_rate=0.0001,
        funding_stamp="1970-01-01T08:00:00Z", funding_usd=-12.34, funding_due_usd=34.0, held_s=1_500.0, pnl_usd=-796.0,
        entry="z +2.08, edge 3.7 bp = 25.3 premium +1.0 funding -18.8 fees -3.9 other, 0.2 d",
    )  # fmt: skip
    venues = {name: msgspec.structs.replace(v, strain=0.57 if name == "cme" else 0.36, rates=2.5) for name, v in s.venues.items()}
    return msgspec.structs.replace(s, pairs=(pair,), venues=venues, refusals={"edge_floor": 12}, blocked_by=())


def warned() -> Feed:
    """A feed that has told of a margin warning, and of many things since."""
    feed = Feed()
    text = "convergence: cme shocks would take 344,845 USD, 57% of what it has, warn at 50%; add 85,602 USD or cut both legs by 12%"
    feed.stepped(ev.Alert(ts=S, severity=Severity.WARN, code="margin.low", text=text), NOTHING)
    for n in range(60):
        feed.stepped(ev.Rearmed(ts=(2 + n) * S, pair="conv"), NOTHING)
    return feed


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_frame_fits_its_terminal_and_says_what_matters(world: World, width: int, height: int) -> None:
    """At any size no line is wider and no frame higher than the terminal; banner, state, NAV, delta, margin, warning and events are in it."""
    card = CARD if height != 30 else None
    text = screen_text(stressed(world), warned(), width, height, card=card)
    lines = text.splitlines()
    assert len(lines) <= height and all(len(line) <= width for line in lines), (len(lines), max(map(len, lines)))
    flat = re.sub(r"[\s│]+", " ", text)
    for wanted in (
        BANNER, "HEDGED", "NAV", "net +0.000 BTC", "worst margin cme 57%", "MARGIN cme: shocks would take 57%, warned at 50%, margin rates x2.5",
        "z +2.31", "57% of", "why: z +2.08, edge 3.7 bp = 25.3 premium", "+34 USD", "got -12.34 USD", "add 85,602 USD or cut both", "conv armed again",
    ):  # fmt: skip
        assert wanted in flat, f"{wanted!r} is missing at {width} x {height}"
    if card is not None:
        assert "perp premium" in flat and "+766" in flat and "-646" in flat and "residual" in flat and re.search(r"P&L \+21[45]", flat), flat


def test_an_amber_bar_turns_red_when_the_shocks_would_take_everything(world: World) -> None:
    """Green below the warning, amber above it, red at all of the money or when the venue itself is near to its call."""
    s = stressed(world)
    for strain, buffer, style in ((0.49, 0.9, "green"), (0.51, 0.9, "yellow"), (1.0, 0.9, "red"), (0.1, 0.2, "red")):
        venues = {"cme": msgspec.structs.replace(s.venues["cme"], strain=strain, buffer=buffer)}
        out = io.StringIO()
        view = View(snapshot=msgspec.structs.replace(s, venues=venues), feed=Feed())
        console = Console(file=out, width=120, force_terminal=True, color_system="standard", legacy_windows=False)
        console.print(frame(view, 120, 40))
        code = {"green": "32", "yellow": "33", "red": "31"}[style]
        assert re.search(rf"\x1b\[(1;)?{code}m\[#+\.*\]", out.getvalue()), (strain, buffer)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_an_open_leg_comes_before_everything_else(world: World, width: int, height: int) -> None:
    """While it is open with its running time and as being repaired; once closed with how long it was open and why."""
    leg = Incident(pair="conv", base="BTC", coins=1.0, opened_ns=10 * S, failed=2, why="hedge rejected, system busy")
    text = screen_text(stressed(world), Feed(), width, height, incident=leg, now_ns=14 * S)
    assert "UNHEDGED +1.000 BTC 4.0s - repairing: hedge rejected, system busy (2 x)" in text and "MARGIN cme" not in text
    leg.closed_ns = 12 * S
    assert "UNHEDGED +1.000 BTC 2.0s, repaired: hedge rejected" in screen_text(stressed(world), Feed(), width, height, incident=leg, now_ns=90 * S)


def test_an_open_leg_is_an_incident_only_when_its_hedge_failed() -> None:
    """The moment a hedge is under way is no incident; a rejected one is, until the leg is closed."""
    world = World()
    seen = Incidents(world.engine)
    begun: list[int] = []
    step = world.engine.step

    def watched(event: ev.Event) -> Step:
        out = step(event)
        seen.stepped(event, out)
        begun.append(len(seen._open))
        return out

    world.engine.step = watched  # type: ignore[method-assign]
    world.wish.target = Decimal(20)
    world.run(10)
    assert max(begun) == 1 and seen.latest is None
    world.reject.add("perp")
    world.wish.target = Decimal(0)
    world.run(1)
    assert seen.latest is not None and seen.latest.failed >= 1 and not seen.latest.closed_ns
    world.reject.clear()
    world.run(20)
    assert seen.latest.closed_ns > seen.latest.opened_ns
    assert "rejected" in seen.latest.why and abs(seen.latest.coins) > 0.05


def test_the_digest_takes_fills_in_a_row_together() -> None:
    """Both legs' clips of one burst are two lines with sums and averages; a reject, another minute or a venue's own fill begins anew."""
    feed = Feed()

    def fill(at_s: float, side: Side, qty: str, price: str, name: str = "MBTX26", client_id: str = "c") -> None:
        n = len(feed.lines)
        fill = ev.OrderFilled(ts=int(at_s * S), venue="v", client_id=client_id, instrument=name, exec_id=f"e{n}", side=side, qty=Decimal(qty),
                              price=Decimal(price), fee=Decimal("1.5"), fee_currency="USD", maker=False, reason="" if client_id else "adl")  # fmt: skip
        feed.stepped(fill, NOTHING)

    for n in range(3):
        fill(1 + n, Side.BUY, "10", str(100 + n))
        fill(1 + n, Side.SELL, "1.0", "200", "BTCUSDT")
    assert [str(x)[21:] for x in feed.digest] == ["bought 30 MBTX26 @ 101.0 in 3, fee 4.50 USD", "sold 3.0 BTCUSDT @ 200.0 in 3, fee 4.50 USD"]
    feed.stepped(ev.OrderEnded(ts=5 * S, client_id="c", outcome=Outcome.REJECTED, cum_qty=Decimal(0), reason="system busy"), NOTHING)
    fill(6, Side.BUY, "10", "100")
    fill(80, Side.BUY, "10", "100")
    fill(81, Side.BUY, "10", "100", client_id="")
    kinds = [x.kind for x in feed.digest]
    assert kinds == ["fill", "fill", "reject", "fill", "fill", "fill"] and len(feed.lines) == 10


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


def test_each_reason_is_given_once() -> None:
    """A pair disarmed by a stop says so itself; that its strategy waits for the same is no second reason."""
    world = World()
    world.run(5)
    world.pair.armed = False
    (row,) = take(world.engine, run_id="x").pairs
    assert _pair_blocks(world.pair, msgspec.structs.replace(row, blocked="disarmed after a stop")) == [f"{row.id}: disarmed after a stop"]
    world.pair.armed = True
    assert _pair_blocks(world.pair, msgspec.structs.replace(row, blocked="z 0.3 < 2")) == [f"{row.id}: z 0.3 < 2"]


def test_a_kill_level_and_what_blocks_are_shown(world: World) -> None:
    """In the header and in the last line."""
    s = msgspec.structs.replace(stressed(world), blocked_by=("kill FREEZE K1",), kill_level="FREEZE")
    for width, height in SIZES:
        text = screen_text(s, Feed(), width, height)
        assert "KILL FREEZE" in text and "blocked by: kill FREEZE K1" in text and "edge_floor 12" in text
        assert re.search(r"[-|^v]*\^[-|^v]*[v#][-|^v#]*", text)


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


def test_an_order_ends_once_and_its_silence_is_one_line_or_none() -> None:
    """Venues tell an end on several roads; a wire that gives an answer up after the end has come has nothing to say."""
    feed = Feed()
    end = ev.OrderEnded(ts=1, client_id="a", outcome=Outcome.CANCELLED, cum_qty=Decimal(0), reason="ioc remainder")
    silence = ev.NoAnswer(ts=1, client_id="b", reason="no answer in time")
    for event in (end, end, msgspec.structs.replace(silence, client_id="a"), silence, silence, msgspec.structs.replace(end, client_id="b")):
        feed.stepped(event, NOTHING)
    assert [str(line).split("Z ")[1].split(" [")[0] for line in feed.lines] == ["cancelled after 0", "no answer, outcome unknown", "cancelled after 0"]


def test_together_passes_on_in_order() -> None:
    """Two observers see the same steps."""
    one, two = Feed(), Feed()
    both = Together(one, two)
    both.stepped(ev.Rearmed(ts=S, pair="conv"), NOTHING)
    both.marked(S)
    assert [str(x) for x in one.lines] == [str(x) for x in two.lines] != []


def test_what_is_watched_is_paced() -> None:
    """auto is 60 for somebody who looks on, else as fast as it goes; a number and max are what they say."""
    assert [pace("auto", watched=True), pace("auto", watched=False), pace("max", watched=True), pace(1.0, watched=False)] == [60.0, 0.0, 0.0, 1.0]


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
