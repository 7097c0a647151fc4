"""Kill, resume and status against desks that obey, hang, die or are not there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.cli import main
from bot.desk import operate
from bot.desk.runs import RunFolder
from bot.engine.obligations import Obligations
from bot.kill.control import ControlServer
from bot.kill.latch import AUDIT, Latch
from bot.model.errors import BotError, DataError
from bot.model.event import KillLevel

POSITION = {"venue": "cme", "what": "position", "instrument": "MBTX26", "qty": "20", "why": ""}


class FakeDesk:
    """A desk that is flat after so many looks; it takes the latch like the real one."""

    def __init__(self, folder: Path, looks: int) -> None:
        self.latch = Latch(folder)
        self.looks = looks

    def stand(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Obey, and be a look nearer to flat."""
        state = self.latch.poll()
        self.looks -= 1
        held = self.looks >= 0
        return {"level": state.level.value, "kill_id": state.kill_id, "flat": not held, "residual": [POSITION] if held else []}


@contextmanager
def serving(folder: Path, handler: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Iterator[None]:
    """Serve `handler` for every operation from a thread."""
    server, stop = ControlServer(folder, dict.fromkeys(("kill", "resume", "status"), handler)), threading.Event()

    def loop() -> None:
        while not stop.is_set():
            server.poll(0.01)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        server.close()


def kill(folder: Path, level: KillLevel = KillLevel.FLATTEN, wait_s: float = 5.0) -> operate.KillReport:
    """Kill as the command line does."""
    return operate.kill(folder, level, reason="test", who="op", channel="cli", wait_s=wait_s)


def nothing_remembered(run: object) -> Obligations:
    """A record that cannot be read."""
    raise DataError("torn")


def test_kill_waits_until_the_venues_confirm(tmp_path: Path) -> None:
    """The report is a success only once the running desk has no residual at the level asked for."""
    with serving(tmp_path, FakeDesk(tmp_path, looks=3).stand):
        report = kill(tmp_path)
    assert report.reached and report.confirmed_flat and report.residual == () and report.desk == "running"
    assert Latch(tmp_path).read().level is KillLevel.FLATTEN
    assert operate.loud(report) == []


def test_a_residual_is_loud(tmp_path: Path) -> None:
    """When the wait is over first, what is still held is named, and the human way out."""
    with serving(tmp_path, FakeDesk(tmp_path, looks=10_000).stand):
        report = kill(tmp_path, wait_s=0.2)
    assert not report.reached and not report.confirmed_flat and report.residual[0].instrument == "MBTX26"
    said = operate.loud(report)
    assert said[0].startswith("RESIDUAL position cme MBTX26 20") and "trade desk" in said[-1]


def test_a_desk_that_does_not_obey_is_not_a_success(tmp_path: Path) -> None:
    """A desk that answers flat at a lower level than the latch has not done what was asked."""
    with serving(tmp_path, lambda r: {"level": "NONE", "kill_id": "", "flat": True, "residual": []}):
        report = kill(tmp_path, wait_s=0.2)
    assert not report.reached and not report.confirmed_flat


def test_a_hanging_desk_is_latched_and_not_called_flat(tmp_path: Path) -> None:
    """A desk that holds its socket and is silent cannot confirm anything; the latch is set all the same."""
    server = ControlServer(tmp_path, {})
    try:
        report = kill(tmp_path, wait_s=0.0)
    finally:
        server.close()
    assert not report.reached and not report.confirmed_flat and report.desk == "silent"
    assert Latch(tmp_path).read().level is KillLevel.FLATTEN


def test_killing_twice_is_one_kill(tmp_path: Path) -> None:
    """A repeated kill returns the same id; a lower level afterwards does not lower."""
    first = kill(tmp_path)
    second = kill(tmp_path, KillLevel.PAUSE)
    assert (first.kill_id, KillLevel.FLATTEN) == (second.kill_id, second.level)


@pytest.mark.parametrize("level", [KillLevel.PAUSE, KillLevel.CANCEL, KillLevel.FLATTEN])
@pytest.mark.parametrize("holds", ["nothing", "a position", "an order", "unreadable"])
def test_without_a_desk_the_venue_logs_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: KillLevel, holds: str) -> None:
    """Flat exits well, a held position leaves FLATTEN unreached, a working order CANCEL too, and a log that cannot be read is not flat."""
    run = tmp_path / "runs" / "paper-00001"
    run.mkdir(parents=True)
    (run / "venue-cme.log").touch()

    def positions(path: Path) -> dict[str, int]:
        if holds == "unreadable":
            raise DataError("line 3: torn")
        return {"MBTX26": 20} if holds == "a position" else {}

    monkeypatch.setattr(operate, "read_positions", positions)
    monkeypatch.setattr(operate, "read_working", lambda path: ["P00001L00000001"] if holds == "an order" else [])
    report = kill(tmp_path, level)
    assert report.desk == "none" and report.confirmed_flat is (holds == "nothing")
    reached = holds == "nothing" or level is KillLevel.PAUSE or (level is KillLevel.CANCEL and holds == "a position")
    assert report.reached is reached


def test_no_run_is_flat(tmp_path: Path) -> None:
    """A folder in which nothing ever ran holds nothing."""
    report = kill(tmp_path / "new")
    assert report.reached and report.confirmed_flat and report.desk == "none"


def test_resume_lowers_and_needs_a_reason(tmp_path: Path) -> None:
    """Without a reason the latch stays; with one it is lowered, desk or no desk."""
    kill(tmp_path)
    with pytest.raises(BotError):
        operate.resume(tmp_path, reason=" ", who="op", channel="cli")
    assert Latch(tmp_path).read().level is KillLevel.FLATTEN
    assert operate.resume(tmp_path, reason="checked", who="op", channel="cli").level is KillLevel.NONE
    assert Latch(tmp_path).read().level is KillLevel.NONE


def test_status_of_a_running_a_silent_and_no_desk(tmp_path: Path) -> None:
    """An answer is not stale; silence shows the record with its age; nothing running says so."""
    with serving(tmp_path, lambda r: {"state": "HEDGED"}):
        assert operate.status(tmp_path, nothing_remembered) == {"running": True, "stale_s": 0.0, "state": "HEDGED", "audit_faults": []}
    gone = operate.status(tmp_path, nothing_remembered)
    assert (gone["running"], gone["state"], gone["stale_s"], gone["equity_usd"]) == (False, "STOPPED", None, None)
    run = tmp_path / "runs" / "paper-00001"
    run.mkdir(parents=True)
    (run / "journal.db").touch()
    server = ControlServer(tmp_path, {})
    try:
        silent = operate.status(tmp_path, nothing_remembered)
    finally:
        server.close()
    assert silent["running"] and silent["state"] == "SILENT" and silent["stale_s"] >= 0.0
    assert silent["blocked_by"] == ["record of paper-00001 unreadable: torn"] and silent["legs"] == []


def test_an_altered_audit_file_is_said_by_status_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One byte changed in what somebody wrote about a kill: the trader sees it where he looks anyway, and the verbs still work."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path))

    def nobody(run: RunFolder) -> Obligations:
        pytest.fail("there is no run")

    assert operate.status(tmp_path, nobody)["audit_faults"] == []
    kill(tmp_path)
    assert operate.status(tmp_path, nobody)["audit_faults"] == [] and main(["status", "--json"]) == 0
    assert capsys.readouterr().err == ""
    audit = tmp_path / AUDIT
    audit.write_bytes(audit.read_bytes().replace(b'"test"', b'"tent"', 1))
    assert operate.status(tmp_path, nobody)["audit_faults"] == ["line 1: was changed"]
    assert main(["status", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["audit_faults"] == ["line 1: was changed"] and "line 1: was changed" in err
    assert main(["resume", "--reason", "seen", "--json"]) == 0 and "line 1: was changed" in capsys.readouterr().err
    audit.unlink()
    audit.mkdir()
    assert "cannot be read" in operate.status(tmp_path, nobody)["audit_faults"][0]
