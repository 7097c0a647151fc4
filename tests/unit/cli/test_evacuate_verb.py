"""kill --venue: what is asked for, what a desk takes from the latch, and what is left when no desk runs."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_operate import serving
from test_runtime import Rig, opened
from test_verbs import said

from bot import config
from bot.cli import HALTED, OK, USAGE, main
from bot.desk import operate
from bot.desk.runs import RunFolder, RunRecord, new_run
from bot.desk.shell import Shell
from bot.desk.snapshot import take
from bot.kill import latch as latch_module
from bot.kill.latch import FILES, Latch, LatchState
from bot.model.event import NEVER, KillLevel, KillSet, OrderFilled
from bot.model.order import Side
from bot.venues.simlog import VenueLog

NOW = 1_800_000_000_000_000_000


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def up(folder: Path, level: KillLevel, venue: str | None = None) -> LatchState:
    """Raise the latch of a folder."""
    return Latch(folder).raise_to(level, reason="test", who="op", channel="cli", now_ns=NOW, venue=venue)


def ran(folder: Path, *fills: tuple[str, str, str]) -> RunFolder:
    """Leave a run whose venues hold what these (venue, instrument, signed quantity) fills made."""
    settings = config.load("paper", environ={}).settings
    run = new_run(folder, RunRecord(mode="paper", seed=1, settings=msgspec.Raw(msgspec.json.encode(settings))))
    for venue in ("cme", "perp"):
        log = VenueLog(run.venue_log(venue))
        log.append([
            OrderFilled(ts=NOW, venue=v, client_id="", instrument=i, exec_id=f"e{n}", side=Side.BUY if Decimal(q) > 0 else Side.SELL, qty=abs(Decimal(q)),
                        price=Decimal(70_000), fee=Decimal(0), fee_currency="USD")
            for n, (v, i, q) in enumerate(fills) if v == venue
        ])  # fmt: skip
        log.close()
    return run


# The verb.


@pytest.mark.parametrize(
    "argv",
    [["--level", "EVACUATE"], ["--level", "FLATTEN", "--venue", "perp"], ["--level", "pause", "--venue", "perp"], ["--venue", "binance"], ["--venue", ""]],
)
def test_what_cannot_be_meant_is_2_and_latches_nothing(data: Path, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """EVACUATE and a venue of this desk go together; one line, no latch."""
    assert main(["kill", *argv]) == USAGE
    assert capsys.readouterr().err.count("\n") == 1 and not any((data / f).exists() for f in FILES)


@pytest.mark.parametrize("argv", [["--venue", "perp"], ["--level", "evacuate", "--venue", "perp"]])
def test_kill_status_resume(data: Path, capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    """Latched with its venue, shown, idempotent, kept under FLATTEN, in the way of a start, and lifted by a resume."""
    killed = said(capsys, "kill", *argv, "--reason", "insolvent")
    assert (killed["level"], killed["evacuate"], killed["confirmed_flat"], killed["residual"]) == ("EVACUATE", ["perp"], True, [])
    assert said(capsys, "kill", "--venue", "perp")["kill_id"] == killed["kill_id"]
    seen = said(capsys, "status")
    assert (seen["kill_level"], seen["evacuate"]) == ("EVACUATE", ["perp"]) and seen["blocked_by"] == [f"kill EVACUATE perp {killed['kill_id']}"]
    assert main(["paper", "--for", "1h"]) == HALTED and "EVACUATE perp: insolvent" in capsys.readouterr().err
    assert (said(capsys, "kill")["level"], said(capsys, "kill")["evacuate"]) == ("FLATTEN", ["perp"])
    assert said(capsys, "kill", "--venue", "cme")["evacuate"] == ["cme", "perp"]
    assert said(capsys, "resume", "--reason", "paid out")["level"] == "NONE"
    seen = said(capsys, "status")
    assert (seen["kill_level"], seen["evacuate"], seen["blocked_by"]) == ("NONE", [], [])


def test_a_kill_does_not_wait_for_a_configuration_that_names_the_venues(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With settings that cannot be read no name can be refused; it is latched, and confirmed as far as records go."""
    monkeypatch.setenv("BOT__LIMITS__PAIR_LOTS_MAX", "many")
    assert said(capsys, "kill", "--venue", "kraken")["evacuate"] == ["kraken"]


# No desk.


@pytest.mark.parametrize(
    ("fills", "venue", "code", "delta"),
    [
        ((), "perp", OK, None),
        ((("cme", "MBTX26", "20"), ("perp", "BTCUSDT", "-2")), "perp", HALTED, None),
        ((("cme", "MBTX26", "20"), ("perp", "BTCUSDT", "-1.4")), "perp", HALTED, 0.6),
        ((("cme", "MBTX26", "20"),), "perp", HALTED, 2.0),
        ((("perp", "BTCUSDT", "-2"),), "cme", HALTED, -2.0),
    ],
)
def test_without_a_desk_every_leg_and_the_naked_delta_are_left(
    data: Path, capsys: pytest.CaptureFixture[str], fills: tuple[tuple[str, str, str], ...], venue: str, code: int, delta: float | None
) -> None:
    """What the venues' own logs hold is what is there; nobody closes it, so it is said, with its net."""
    ran(data, *fills)
    killed = said(capsys, "kill", "--venue", venue, code=code)
    held = {(r["venue"], r["instrument"]): r["qty"] for r in killed["residual"] if r["what"] == "position"}
    assert held == {(v, i): float(q) for v, i, q in fills} and killed["confirmed_flat"] is (not fills)
    assert [r["qty"] for r in killed["residual"] if r["what"] == "delta"] == ([] if delta is None else [delta])


def test_a_venue_the_run_does_not_have_is_not_confirmed(data: Path) -> None:
    """A latch set while no venue could be named says so once a run can tell."""
    run = ran(data)
    report = operate.without_desk(data, up(data, KillLevel.EVACUATE, "kraken"))
    assert not report.reached and report.confirmed_flat and report.residual[0].why == f"{run.run_id} has no such venue"


# A desk.


@pytest.mark.parametrize(("obeys", "reached"), [(["perp"], True), ([], False), (["cme", "perp"], True)])
def test_a_desk_at_the_level_but_not_at_the_venue_has_not_obeyed(tmp_path: Path, obeys: list[str], reached: bool) -> None:
    """EVACUATE is about venues: a flat answer of a desk that leaves another one is no success."""

    def stand(request: object) -> dict[str, Any]:
        return {"level": "EVACUATE", "evacuate": obeys, "kill_id": "k", "flat": True, "residual": []}

    with serving(tmp_path, stand):
        report = operate.kill(tmp_path, KillLevel.EVACUATE, reason="test", who="op", channel="cli", wait_s=0.2, venue="perp")
    assert report.reached is reached and report.evacuate == ("perp",)


def shell_of(rig: Rig, folder: Path) -> Shell:
    """Return a shell around a rig; only what it takes from the latch is looked at."""
    return Shell(rig.runtime, iter(()), start_ns=rig.now, end_ns=NEVER, speed=0.0, latch=Latch(folder))


def test_a_running_desk_takes_level_and_venues_once(tmp_path: Path) -> None:
    """Each raise is one journalled event, with its venue; the desk leaves it and says so."""
    rig = opened(10)
    shell = shell_of(rig, tmp_path)
    for state in (up(tmp_path, KillLevel.EVACUATE, "perp"), up(tmp_path, KillLevel.EVACUATE, "perp"), up(tmp_path, KillLevel.FLATTEN)):
        shell.take(state)
        shell.take(shell.latch.poll())
    assert [(e.level, e.evacuate) for e in rig.events(KillSet)] == [(KillLevel.EVACUATE, ("perp",)), (KillLevel.FLATTEN, ("perp",))]
    seen = take(rig.engine, run_id="paper-00001")
    assert seen.evacuate == ("perp",) and seen.blocked_by[0].startswith("kill FLATTEN perp K")
    rig.run(10)
    assert rig.pair.flat and operate.standing(rig.engine)["residual"] == [] and operate.standing(rig.engine)["flat"]


def test_the_state_of_a_desk_that_leaves_a_venue(tmp_path: Path) -> None:
    """EVACUATING until both legs are gone, then FLAT."""
    rig = opened(10)
    shell_of(rig, tmp_path).take(up(tmp_path, KillLevel.EVACUATE, "perp"))
    assert take(rig.engine, run_id="paper-00001").state == "EVACUATING"
    rig.run(10)
    assert take(rig.engine, run_id="paper-00001").state in ("FLAT", "RECONCILING")


@pytest.mark.parametrize("harm", ["both vanish", "one vanishes", "both torn"])
@pytest.mark.parametrize("level", [KillLevel.CANCEL, KillLevel.EVACUATE, KillLevel.FLATTEN])
def test_a_latch_that_is_harmed_lowers_nothing(tmp_path: Path, level: KillLevel, harm: str) -> None:
    """Deleted or damaged files are not a resume (F-93): the running desk stays where it is until one is on record."""
    rig = Rig()
    shell = shell_of(rig, tmp_path)
    shell.take(up(tmp_path, level, "perp" if level is KillLevel.EVACUATE else None))
    before = (rig.engine.ob.kill_level, rig.engine.ob.evacuate, rig.runtime.latch)
    for name in FILES if harm != "one vanishes" else FILES[:1]:
        if harm == "both torn":
            (tmp_path / name).write_bytes(b"\x00")
        else:
            (tmp_path / name).unlink()
    shell.take(shell.latch.poll())
    assert (rig.engine.ob.kill_level, rig.engine.ob.evacuate, rig.runtime.latch) == before
    shell.take(Latch(tmp_path).resume(reason="looked at it", who="op", channel="cli", now_ns=NOW + 1))
    assert (rig.engine.ob.kill_level, rig.engine.ob.evacuate, rig.runtime.latch) == (KillLevel.NONE, (), KillLevel.NONE)


def test_planted_falling_latches_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A latch that forgets venues, and a desk that takes whatever the files say, each fail the test that is there for it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "kill"))
    import test_latch

    with monkeypatch.context() as patch, pytest.raises(AssertionError):
        patch.setattr(latch_module, "_both", lambda state, venues: tuple(venues))
        test_latch.test_venues_add_up_and_only_a_resume_forgets_them(tmp_path / "a")

    def takes_all(self: Shell, state: LatchState) -> None:
        self.runtime.engine.ob.kill_level, self.runtime.engine.ob.evacuate = state.level, state.evacuate

    with monkeypatch.context() as patch, pytest.raises(AssertionError):
        patch.setattr(Shell, "take", takes_all)
        test_a_latch_that_is_harmed_lowers_nothing(tmp_path / "b", KillLevel.EVACUATE, "both vanish")
