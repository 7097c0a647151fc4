"""The high-water mark: a few bytes beside the database that say how far it had confirmed, so that an old copy is seen.

A database cannot know that it was replaced by its own past: every page of a backup is sound. So whatever it confirms
is noted outside it, after the commit and never before: the last step with a checksum over its rows, and the run number
leased last. The note is one pwrite without a sync (about 1 us): it survives the death of the process, and where a power
loss takes it back it only says less than the database, which is never an alarm.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import msgspec

from bot.model.errors import JournalError

_BODY = struct.Struct("<qqI")
"""seq, run, seal of the step."""
_HEAD = struct.Struct("<4sI")
"""magic, crc of the body."""
_MAGIC = b"MRK1"
SIZE = _HEAD.size + _BODY.size


class Mark(msgspec.Struct, frozen=True):
    """What had been confirmed. seq 0: no step yet; seal: XOR of the checksums of the step's rows."""

    seq: int = 0
    run: int = 0
    seal: int = 0


class MarkFile:
    """Keeps one Mark. `found` is what the last process left, None for nothing readable (a new or an unsynced file)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            raw = os.pread(self._fd, SIZE, 0)
        except OSError as error:
            raise JournalError(f"mark {path}: {error.strerror}") from error
        self.found = _decoded(raw)
        self._run = self.found.run if self.found is not None else 0
        self._seq = self.found.seq if self.found is not None else 0
        self._seal = self.found.seal if self.found is not None else 0

    def step(self, seq: int, seal: int) -> None:
        """Note a confirmed step; a disk that refuses leaves the older note, which is true as well."""
        self._seq, self._seal = seq, seal
        self._write()

    def leased(self, run: int) -> None:
        """Note a leased run number."""
        self._run = run
        self._write()

    def close(self) -> None:
        """Release the descriptor."""
        os.close(self._fd)

    def _write(self) -> None:
        body = _BODY.pack(self._seq, self._run, self._seal)
        try:
            os.pwrite(self._fd, _HEAD.pack(_MAGIC, zlib.crc32(body)) + body, 0)
        except OSError:
            return


def _decoded(raw: bytes) -> Mark | None:
    """Return the mark in `raw`, None unless it is whole."""
    if len(raw) < SIZE:
        return None
    magic, crc = _HEAD.unpack_from(raw)
    if magic != _MAGIC or crc != zlib.crc32(raw[_HEAD.size : SIZE]):
        return None
    return Mark(*_BODY.unpack_from(raw, _HEAD.size))
