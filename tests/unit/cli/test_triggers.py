"""Killing without a command line: two signals and a file raise the latch, with their channel in the audit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest

from bot.cli import ERROR, HALTED, OK, main
from bot.desk import operate
from bot.desk.triggers import FILE, Triggers
from bot.kill.latch import AUDIT, AuditLine, Latch, check_audit
from bot.model.errors import BotError, JournalError
from bot.model.event import KillLevel


def audit(folder: Path) -> list[AuditLine]:
    """The audit file, whose chain must hold."""
    assert check_audit(folder / AUDIT) == []
    return [msgspec.json.decode(line, type=AuditLine) for line in (folder / AUDIT).read_bytes().splitlines()]


@pytest.mark.parametrize(("number", "level"), [(signal.SIGUSR1, KillLevel.CANCEL), (signal.SIGUSR2, KillLevel.FLATTEN)])
def test_a_signal_raises_the_latch_at_once(tmp_path: Path, number: signal.Signals, level: KillLevel) -> None:
    """It is on disk when the handler returns, so it counts even if the loop never comes back; handlers are put back."""
    old = signal.getsignal(number)
    with Triggers(tmp_path) as triggers:
        os.kill(os.getpid(), number)
        assert Latch(tmp_path).read().level is level and triggers.poll().level is level
    assert signal.getsignal(number) is old
    (line,) = audit(tmp_path)
    assert (line.channel, line.level, line.action) == (f"signal {number.name}", level, "raise")


def test_signals_only_raise(tmp_path: Path) -> None:
    """FLATTEN then CANCEL stays FLATTEN and keeps its kill id; both attempts are in the audit."""
    with Triggers(tmp_path):
        os.kill(os.getpid(), signal.SIGUSR2)
        first = Latch(tmp_path).read()
        os.kill(os.getpid(), signal.SIGUSR1)
    after = Latch(tmp_path).read()
    assert (after.level, after.kill_id) == (KillLevel.FLATTEN, first.kill_id) and len(audit(tmp_path)) == 2


def test_a_signal_while_the_latch_is_written_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writers in one process would spoil each other's draft: the second request follows the first and none is lost."""
    depth, deepest, raised = [0], [0], []
    real = Latch.raise_to

    def slow(self: Latch, level: KillLevel, **rest: object) -> object:
        depth[0] += 1
        deepest[0] = max(deepest[0], depth[0])
        if not raised:
            raised.append(level)
            os.kill(os.getpid(), signal.SIGUSR2)
        else:
            raised.append(level)
        state = real(self, level, **rest)  # type: ignore[arg-type]
        depth[0] -= 1
        return state

    monkeypatch.setattr(Latch, "raise_to", slow)
    with Triggers(tmp_path):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert deepest == [1] and raised == [KillLevel.CANCEL, KillLevel.FLATTEN]
    assert Latch(tmp_path).read().level is KillLevel.FLATTEN


def test_the_file_flattens_once_and_says_why(tmp_path: Path) -> None:
    """Its first line is the reason; looking again writes nothing more; without a file nothing happens."""
    triggers = Triggers(tmp_path)
    assert triggers.poll().level is KillLevel.NONE and not (tmp_path / AUDIT).exists()
    (tmp_path / FILE).write_text("exchange insolvent\nsecond line\n")
    state = triggers.poll()
    assert (state.level, state.reason, state.channel) == (KillLevel.FLATTEN, "exchange insolvent", "file KILL")
    triggers.poll()
    assert len(audit(tmp_path)) == 1


@pytest.mark.parametrize("kind", ["empty", "folder", "dangling link", "bytes"])
def test_whatever_is_called_kill_counts(tmp_path: Path, kind: str) -> None:
    """An empty, unreadable or strange file is still a wish to flatten."""
    path = tmp_path / FILE
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.write_bytes(b"" if kind == "empty" else b"\xff\xfe\x00" * 200)
    assert Triggers(tmp_path).poll().level is KillLevel.FLATTEN


def test_the_file_must_go_before_a_resume(tmp_path: Path) -> None:
    """A resume under the file would be undone at the next look, so it is refused; a lowered latch rises again with the file."""
    (tmp_path / FILE).touch()
    triggers = Triggers(tmp_path)
    triggers.poll()
    with pytest.raises(BotError, match="remove it"):
        operate.resume(tmp_path, reason="checked", who="op", channel="cli")
    assert Latch(tmp_path).read().level is KillLevel.FLATTEN
    Latch(tmp_path).resume(reason="behind its back", who="op", channel="cli", now_ns=1)
    assert triggers.poll().level is KillLevel.FLATTEN
    (tmp_path / FILE).unlink()
    assert operate.resume(tmp_path, reason="checked", who="op", channel="cli").level is KillLevel.NONE
    assert triggers.poll().level is KillLevel.NONE


def test_a_latch_that_cannot_be_written_is_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the running desk obeys all the same, until somebody resumes."""

    def full(self: Latch, state: object, need: int) -> None:
        raise JournalError("no space left on device")

    with monkeypatch.context() as patched, Triggers(tmp_path) as triggers:
        patched.setattr(Latch, "_write", full)
        os.kill(os.getpid(), signal.SIGUSR2)
        state = triggers.poll()
        assert state.level is KillLevel.FLATTEN and "no space" in state.fault
        os.kill(os.getpid(), signal.SIGUSR1)
        assert triggers.poll().level is KillLevel.FLATTEN
    assert Latch(tmp_path).read().level is KillLevel.NONE and triggers.poll().level is KillLevel.FLATTEN
    operate.resume(tmp_path, reason="disk is back", who="op", channel="cli")
    assert triggers.poll().level is KillLevel.NONE


def test_a_start_under_the_file_is_6_and_latches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No run begins, the latch is up, and resume says what to remove."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path))
    (tmp_path / FILE).touch()
    assert main(["paper", "--for", "1h"]) == HALTED and not (tmp_path / "runs").exists()
    assert main(["resume", "--reason", "x"]) == ERROR and FILE in capsys.readouterr().err
    (tmp_path / FILE).unlink()
    assert main(["paper", "--for", "1h"]) == HALTED
    assert main(["resume", "--reason", "x"]) == OK


def test_a_latch_in_memory_keeps_the_venues_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLATTEN that could not be written stands over an evacuation that was, and forgets none of its venues."""
    Latch(tmp_path).raise_to(KillLevel.EVACUATE, reason="depeg", who="op", channel="cli", now_ns=1, venue="perp")

    def full(self: Latch, state: object, need: int) -> None:
        raise JournalError("no space left on device")

    with Triggers(tmp_path) as triggers, monkeypatch.context() as patch:
        patch.setattr(Latch, "_write", full)
        os.kill(os.getpid(), signal.SIGUSR2)
        state = triggers.poll()
    assert (state.level, state.evacuate) == (KillLevel.FLATTEN, ("perp",))
