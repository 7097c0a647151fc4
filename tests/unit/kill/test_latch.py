"""The latch on disk: two files, the higher wins, damage means FREEZE, only a resume lowers."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import msgspec
import pytest

from bot.kill import latch as latch_module
from bot.kill.latch import AUDIT, FILES, AuditLine, Latch, check_audit
from bot.model.errors import BotError, JournalError
from bot.model.event import LEVEL_RANK, KillLevel

LEVELS = [level for level in KillLevel if level is not KillLevel.NONE]
NOW = 1_800_000_000_000_000_000


def up(latch: Latch, level: KillLevel, reason: str = "test", venue: str = "perp") -> latch_module.LatchState:
    """Raise as an operator would."""
    return latch.raise_to(level, reason=reason, who="op", channel="cli", now_ns=NOW, venue=venue if level is KillLevel.EVACUATE else None)


def test_never_set_is_none(tmp_path: Path) -> None:
    """Both files absent, even without the folder, is the only way to say that nothing was ever set."""
    assert Latch(tmp_path).read().level is KillLevel.NONE
    assert Latch(tmp_path / "nowhere").read().level is KillLevel.NONE


@pytest.mark.parametrize(("first", "second"), list(itertools.product(LEVELS, LEVELS)))
def test_raising_never_lowers_and_keeps_the_kill_id(tmp_path: Path, first: KillLevel, second: KillLevel) -> None:
    """The level in force is the highest ever asked for, with the venue that was to be left, under the id of the first kill."""
    one = up(Latch(tmp_path), first, "the first")
    two = up(Latch(tmp_path), second, "the second")
    raised = LEVEL_RANK[second] > LEVEL_RANK[first] or (second is KillLevel.EVACUATE and first is not second)
    assert two.reason == ("the second" if raised else "the first")
    assert two.level is max(first, second, key=LEVEL_RANK.__getitem__)
    assert two.kill_id == one.kill_id != ""
    assert two.evacuate == (("perp",) if KillLevel.EVACUATE in (first, second) else ())
    assert Latch(tmp_path).read() == two


def test_venues_add_up_and_only_a_resume_forgets_them(tmp_path: Path) -> None:
    """A second venue is a raise under the same id, a repeated one is none; FLATTEN keeps both; the audit says who asked for which."""
    latch = Latch(tmp_path)
    first = up(latch, KillLevel.EVACUATE, "depeg")
    second = up(latch, KillLevel.EVACUATE, "margin rise", venue="cme")
    assert second.evacuate == ("cme", "perp") and second.kill_id == first.kill_id
    assert up(latch, KillLevel.EVACUATE, "again") == second
    assert up(latch, KillLevel.FLATTEN, "all").evacuate == ("cme", "perp")
    assert latch.resume(reason="over", who="op", channel="cli", now_ns=NOW).evacuate == ()
    lines = [msgspec.json.decode(raw, type=AuditLine) for raw in (tmp_path / AUDIT).read_bytes().splitlines()]
    assert [line.evacuate for line in lines] == [("perp",), ("cme",), ("perp",), (), ()] and check_audit(tmp_path / AUDIT) == []


@pytest.mark.parametrize(("level", "venue"), [(KillLevel.EVACUATE, None), (KillLevel.EVACUATE, ""), (KillLevel.FLATTEN, "perp"), (KillLevel.NONE, None)])
def test_a_venue_goes_with_evacuate_alone(tmp_path: Path, level: KillLevel, venue: str | None) -> None:
    """Neither is guessed: nothing is latched."""
    with pytest.raises(ValueError):
        Latch(tmp_path).raise_to(level, reason="x", who="op", channel="cli", now_ns=NOW, venue=venue)
    assert Latch(tmp_path).read() == latch_module.LatchState()


@pytest.mark.parametrize("victim", FILES)
def test_files_that_differ_in_their_venues_mean_all_of_them(tmp_path: Path, victim: str) -> None:
    """A crash between the two files loses no venue, whichever was written; a missing file keeps what the other says."""
    latch = Latch(tmp_path)
    up(latch, KillLevel.EVACUATE)
    old = (tmp_path / victim).read_bytes()
    up(latch, KillLevel.EVACUATE, venue="cme")
    (tmp_path / victim).write_bytes(old)
    assert latch.read().evacuate == ("cme", "perp")
    up(latch, KillLevel.FLATTEN)
    (tmp_path / victim).write_bytes(old)
    assert (latch.read().level, latch.read().evacuate) == (KillLevel.FLATTEN, ("cme", "perp"))
    (tmp_path / victim).unlink()
    assert (latch.read().level, latch.read().evacuate) == (KillLevel.FLATTEN, ("cme", "perp"))


@pytest.mark.parametrize("victim", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "unknown level", "a folder"])
@pytest.mark.parametrize("level", [KillLevel.NONE, KillLevel.PAUSE, KillLevel.FLATTEN])
def test_one_damaged_file_means_freeze_at_least(tmp_path: Path, victim: str, damage: str, level: KillLevel) -> None:
    """Whatever happens to one file, the level is not below FREEZE nor below what the other file says."""
    latch = Latch(tmp_path)
    up(latch, KillLevel.FLATTEN)
    if level is not KillLevel.FLATTEN:
        latch.resume(reason="test", who="op", channel="cli", now_ns=NOW)
    if level is KillLevel.PAUSE:
        up(latch, level)
    path = tmp_path / victim
    body = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"empty": b"", "torn": body[: len(body) // 2], "unknown level": b'{"level":"NUCLEAR"}'}[damage])
    state = latch.read()
    assert state.level is max(level, KillLevel.FREEZE, key=LEVEL_RANK.__getitem__)
    assert victim in state.fault


def test_both_damaged_is_freeze(tmp_path: Path) -> None:
    """Two unreadable files are not two absent ones."""
    for name in FILES:
        (tmp_path / name).write_bytes(b"\x00")
    assert Latch(tmp_path).read().level is KillLevel.FREEZE


def test_raising_a_damaged_latch_repairs_it(tmp_path: Path) -> None:
    """A raise writes both files again, also when the damaged latch already counted as high."""
    latch = Latch(tmp_path)
    up(latch, KillLevel.FREEZE)
    (tmp_path / FILES[1]).unlink()
    assert up(latch, KillLevel.PAUSE).level is KillLevel.FREEZE
    assert latch.read().fault == ""


def test_resume_needs_a_reason_and_lowers(tmp_path: Path) -> None:
    """Without a reason nothing changes; with one the latch is NONE in both files."""
    latch = Latch(tmp_path)
    up(latch, KillLevel.FLATTEN)
    for empty in ("", "  "):
        with pytest.raises(BotError, match="reason"):
            latch.resume(reason=empty, who="op", channel="cli", now_ns=NOW)
    assert latch.read().level is KillLevel.FLATTEN
    latch.resume(reason="flat at both venues", who="op", channel="cli", now_ns=NOW)
    assert latch.read().level is KillLevel.NONE and latch.read().fault == ""


def test_poll_sees_changes_and_does_not_read_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A desk polls often: an unchanged latch costs two stats, a changed one is read at once."""
    reads = 0
    original = Latch.read

    def counting(self: Latch) -> latch_module.LatchState:
        nonlocal reads
        reads += 1
        return original(self)

    monkeypatch.setattr(Latch, "read", counting)
    desk = Latch(tmp_path)
    assert desk.poll().level is KillLevel.NONE
    before = reads
    assert desk.poll().level is KillLevel.NONE and reads <= before + 1
    up(Latch(tmp_path), KillLevel.CANCEL)
    assert desk.poll().level is KillLevel.CANCEL
    settled = reads
    for _ in range(5):
        assert desk.poll().level is KillLevel.CANCEL
    assert reads == settled
    (tmp_path / FILES[0]).unlink()
    assert desk.poll().level is KillLevel.CANCEL and desk.poll().fault


def test_crash_at_any_write_never_loses_a_raise_or_half_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dying between the two files leaves a level that is at least the higher of before and after."""
    for before, after in ((KillLevel.NONE, KillLevel.FLATTEN), (KillLevel.FLATTEN, KillLevel.NONE)):
        folder = tmp_path / f"{before}-{after}"
        latch = Latch(folder)
        up(latch, KillLevel.FLATTEN)
        if before is KillLevel.NONE:
            latch.resume(reason="test", who="op", channel="cli", now_ns=NOW)
        original, done = latch_module._replace, 0

        def dying(path: Path, body: bytes, original: object = original) -> None:
            nonlocal done
            done += 1
            if done == 2:
                raise KeyboardInterrupt
            original(path, body)  # type: ignore[operator]

        monkeypatch.setattr(latch_module, "_replace", dying)
        with pytest.raises(KeyboardInterrupt):
            if after is KillLevel.NONE:
                latch.resume(reason="test", who="op", channel="cli", now_ns=NOW)
            else:
                up(latch, after)
        monkeypatch.setattr(latch_module, "_replace", original)
        assert Latch(folder).read().level is KillLevel.FLATTEN


def test_a_raise_works_with_one_file_and_fails_loudly_with_none(tmp_path: Path) -> None:
    """One durable file is a latch; no durable file is an error, never a silent success."""
    latch = Latch(tmp_path)
    (tmp_path / FILES[0]).mkdir()
    assert up(latch, KillLevel.CANCEL).level is KillLevel.CANCEL
    assert latch.read().level is KillLevel.CANCEL
    (tmp_path / FILES[1]).unlink()
    (tmp_path / FILES[1]).mkdir()
    with pytest.raises(JournalError):
        up(latch, KillLevel.FLATTEN)


def test_audit_chain_holds_and_shows_tampering(tmp_path: Path) -> None:
    """Every change is a line; a changed, removed or torn line breaks the chain visibly."""
    latch = Latch(tmp_path)
    up(latch, KillLevel.PAUSE, "one")
    up(latch, KillLevel.FLATTEN, "two")
    up(latch, KillLevel.PAUSE, "a no-op is recorded too")
    latch.resume(reason="done", who="op", channel="cli", now_ns=NOW)
    path = tmp_path / AUDIT
    whole = path.read_bytes()
    assert check_audit(path) == [] and whole.count(b"\n") == 4
    path.write_bytes(whole.replace(b'"two"', b'"2"'))
    assert check_audit(path)
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[1:]))
    assert check_audit(path)
    path.write_bytes(whole[:-10])
    up(latch, KillLevel.PAUSE, "after a torn line")
    assert len(check_audit(path)) == 1


def test_any_flipped_byte_of_the_audit_is_found(tmp_path: Path) -> None:
    """Every bit of every byte of every line, the last one too; a file that is not there has nothing wrong with it."""
    path = tmp_path / AUDIT
    assert check_audit(path) == []
    latch = Latch(tmp_path)
    up(latch, KillLevel.PAUSE, "one")
    latch.resume(reason="done", who="op", channel="cli", now_ns=NOW)
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            assert check_audit(path), f"bit {bit} of byte {at}"
    path.write_bytes(whole)
    assert check_audit(path) == []


def test_a_raise_does_not_hang_behind_a_hung_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is a courtesy for a raise and a condition for a resume."""
    import fcntl

    monkeypatch.setattr(latch_module, "LOCK_WAIT_S", 0.0)
    fd = os.open(tmp_path / latch_module.LOCK, os.O_CREAT | os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        assert up(Latch(tmp_path), KillLevel.FLATTEN).level is KillLevel.FLATTEN
        with pytest.raises(JournalError, match="held"):
            Latch(tmp_path).resume(reason="x", who="op", channel="cli", now_ns=NOW)
    finally:
        os.close(fd)
