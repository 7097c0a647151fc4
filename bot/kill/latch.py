"""The kill latch: the level in force, on disk, so that it outlives the desk and can be set while the desk hangs.

Two files hold the same state and the higher level wins; one missing or unreadable file means at least FREEZE, because
a latch that cannot be read was set for a reason somebody once had. Both absent is the only way to mean "never set". Raising
never lowers and is idempotent; only `resume` lowers. Level and venues to evacuate rise apart: FLATTEN over an evacuation
keeps its venues, an evacuation under FLATTEN adds one. The audit file is append-only, each line carrying the digest of the
line before it and its own, so that a changed line is found; lines cut off at the end are not. This module has no
dependency but the model, so that a kill works when everything else is broken.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bot.crash import crash_point
from bot.model.errors import BotError, JournalError
from bot.model.event import LEVEL_RANK, KillLevel
from bot.model.ids import VenueId
from bot.model.notation import iso

FILES = ("latch.a.json", "latch.b.json")
AUDIT = "audit.jsonl"
LOCK = "latch.lock"
LOCK_WAIT_S = 1.0
"""A raise waits this long for another writer and then goes ahead: a kill must not hang behind a hung process."""
_FIRST = "0" * 64


class LatchState(msgspec.Struct, frozen=True, kw_only=True):
    """The level in force and where it came from. evacuate: venues to leave, sorted; none below EVACUATE.

    fault: why the level is at least FREEZE although nobody asked.
    """

    level: KillLevel = KillLevel.NONE
    evacuate: tuple[VenueId, ...] = ()
    kill_id: str = ""
    reason: str = ""
    who: str = ""
    channel: str = ""
    ts_ns: int = 0
    fault: str = ""


class AuditLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change, or attempted change, of the latch. level, evacuate: what was asked for, before and after: what was in force.

    prev: SHA-256 of the line before, as it stands in the file. digest: of this one, encoded with an empty digest.
    """

    at: str
    who: str
    channel: str
    action: str
    level: KillLevel
    reason: str
    before: KillLevel
    after: KillLevel
    kill_id: str
    prev: str
    evacuate: tuple[VenueId, ...] = ()
    digest: str = ""

    def sealed(self) -> AuditLine:
        """Return the line with its own digest."""
        return msgspec.structs.replace(self, digest=_digest(self))


class Latch:
    """The latch of one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._seen: tuple[object, ...] = ()
        self._state = LatchState()

    def read(self) -> LatchState:
        """Return the level in force; never raises, an unreadable latch is a level of its own (FREEZE at least)."""
        found, faults = [], []
        for name in FILES:
            try:
                found.append(msgspec.json.decode((self.folder / name).read_bytes(), type=LatchState))
            except FileNotFoundError:
                faults.append(f"{name} is missing")
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
                faults.append(f"{name} is unreadable: {error}")
        if not found and len(faults) == sum("missing" in f for f in faults):
            return LatchState()
        highest = max(found, key=lambda s: LEVEL_RANK[s.level], default=LatchState())
        for state in found:
            highest = msgspec.structs.replace(highest, evacuate=_both(highest, state.evacuate))
        if not faults:
            return highest
        level = max(highest.level, KillLevel.FREEZE, key=LEVEL_RANK.__getitem__)
        return msgspec.structs.replace(highest, level=level, fault="; ".join(faults))

    def poll(self) -> LatchState:
        """Return `read()`, without reading while neither file has changed (a desk asks every 50 ms)."""
        seen = tuple(_identity(self.folder / name) for name in FILES)
        if seen != self._seen:
            self._state = self.read()
            self._seen = seen
        return self._state

    def raise_to(
        self, level: KillLevel, *, reason: str, who: str, channel: str, now_ns: int, venue: VenueId | None = None
    ) -> LatchState:  # fmt: skip
        """Raise the latch to `level` and return what is in force, durable when this returns. venue: the one to EVACUATE.

        A latch already as high stays as it is and returns its kill_id. Raises JournalError only if neither file could
        be written, ValueError for NONE, for EVACUATE without a venue and for a venue at another level.
        """
        if level is KillLevel.NONE:
            raise ValueError("raising to NONE is a resume")
        if (level is KillLevel.EVACUATE) is not bool(venue):
            raise ValueError(f"{level} with venue {venue!r}")
        asked = (venue,) if venue else ()
        with self._locked(must=False):
            before = self.read()
            highest, evacuate = max(level, before.level, key=LEVEL_RANK.__getitem__), _both(before, asked)
            if (highest, evacuate) == (before.level, before.evacuate) and not before.fault:
                self._audit("raise", level, asked, reason, who, channel, now_ns, before, before)
                return before
            kill_id = before.kill_id if before.level is not KillLevel.NONE and before.kill_id else _new_id(now_ns)
            after = LatchState(level=highest, evacuate=evacuate, kill_id=kill_id, reason=reason, who=who, channel=channel, ts_ns=now_ns)
            self._write(after, need=1)
            self._audit("raise", level, asked, reason, who, channel, now_ns, before, after)
            return after

    def resume(self, *, reason: str, who: str, channel: str, now_ns: int) -> LatchState:
        """Lower the latch to NONE and return the state written. Raises BotError without a reason, JournalError on I/O."""
        if not reason.strip():
            raise BotError("resume needs a reason")
        with self._locked(must=True):
            before = self.read()
            after = LatchState(kill_id=before.kill_id, reason=reason, who=who, channel=channel, ts_ns=now_ns)
            self._audit("resume", KillLevel.NONE, (), reason, who, channel, now_ns, before, after, must=True)
            self._write(after, need=2)
            return after

    def _write(self, state: LatchState, need: int) -> None:
        """Write both files atomically, the one that says the lower level first; `need` of them must succeed.

        Whoever dies in between leaves the higher level of the other copy in force: a resume lowers nothing before its end.
        """
        body, failed = msgspec.json.encode(state) + b"\n", []
        crash_point("latch.before_first")
        for place, name in enumerate(sorted(FILES, key=self._rank)):
            if place:
                crash_point("latch.between_copies")
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                _replace(self.folder / name, body)
            except OSError as error:
                failed.append(f"{name}: {error}")
        crash_point("latch.after_second")
        if len(FILES) - len(failed) < need:
            raise JournalError(f"latch in {self.folder}: " + "; ".join(failed))

    def _rank(self, name: str) -> int:
        """Return the rank of the level one file says, -1 if it says none."""
        try:
            return LEVEL_RANK[msgspec.json.decode((self.folder / name).read_bytes(), type=LatchState).level]
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return -1

    def _audit(
        self, action: str, level: KillLevel, evacuate: tuple[VenueId, ...], reason: str, who: str, channel: str, now_ns: int,
        before: LatchState, after: LatchState, *, must: bool = False,
    ) -> None:  # fmt: skip
        """Append one line; a raise goes on without it, a resume does not."""
        crash_point("latch.before_audit")
        try:
            path = self.folder / AUDIT
            self.folder.mkdir(parents=True, exist_ok=True)
            old = path.read_bytes() if path.exists() else b""
            lines = old.splitlines()
            line = AuditLine(
                at=iso(now_ns), who=who, channel=channel, action=action, level=level, evacuate=evacuate, reason=reason,
                before=before.level, after=after.level, kill_id=after.kill_id,
                prev=hashlib.sha256(lines[-1]).hexdigest() if lines else _FIRST,
            ).sealed()  # fmt: skip
            torn = b"\n" if old and not old.endswith(b"\n") else b""
            with path.open("ab") as file:
                file.write(torn + msgspec.json.encode(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            crash_point("latch.after_audit")
        except OSError as error:
            if must:
                raise JournalError(f"audit in {self.folder}: {error}") from error

    @contextmanager
    def _locked(self, *, must: bool) -> Iterator[None]:
        """Hold the writers' lock; without `must`, go ahead after LOCK_WAIT_S."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if must:
                raise JournalError(f"latch in {self.folder}: {error}") from error
            yield
            return
        try:
            if not _lock(fd) and must:
                raise JournalError(f"latch in {self.folder}: held by another process")
            yield
        finally:
            os.close(fd)


def _both(state: LatchState, venues: tuple[VenueId, ...]) -> tuple[VenueId, ...]:
    """Return the venues of `state` and `venues`, sorted, each once."""
    return tuple(sorted({*state.evacuate, *venues}))


def _lock(fd: int) -> bool:
    """Try to lock for LOCK_WAIT_S; return whether it is ours."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)


def _replace(path: Path, body: bytes) -> None:
    """Put `body` in place of the file, whole or not at all, durable on return."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fd = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, body)
        os.fsync(fd)
    finally:
        os.close(fd)
    crash_point("latch.before_rename")
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _identity(path: Path) -> object:
    """Return what changes when a file is replaced; a file that cannot be looked at differs from every other state."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return str(error)
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _new_id(now_ns: int) -> str:
    """Return an id that is unique without any shared counter: it must be mintable while the desk hangs."""
    return f"K{now_ns // 1_000_000:013d}{secrets.token_hex(2)}"


def _digest(line: AuditLine) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(line, digest=""))).hexdigest()


def check_audit(path: Path) -> list[str]:
    """Return what is wrong with an audit file, line by line; empty when every line is whole and follows the one before.

    A file that is not there has no line. Raises OSError for one that cannot be read.
    """
    wrong, prev = [], _FIRST
    for number, raw in enumerate(path.read_bytes().splitlines() if path.exists() else (), start=1):
        try:
            line = msgspec.json.decode(raw, type=AuditLine)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            wrong.append(f"line {number}: {error}")
        else:
            if line.digest != _digest(line):
                wrong.append(f"line {number}: was changed")
            elif line.prev != prev:
                wrong.append(f"line {number}: does not follow line {number - 1}")
        prev = hashlib.sha256(raw).hexdigest()
    return wrong
