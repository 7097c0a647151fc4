"""Turn events into journal rows and back: one encoding for every journal.

JSON keeps the record readable with any tool for as long as it must be kept; decimals travel as strings and stay
exact. JSON has no infinity: msgspec would write null and the row could never be read again, so such an event is
refused when it is written, not when a recovery needs it. A row carries a checksum, because a flipped bit can leave
JSON that reads well and a price that is wrong; SQLite checks the shape of its pages, not what is in them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from bot.model.command import Command
from bot.model.errors import JournalError
from bot.model.event import Event

Row = tuple[int, int, int, str, bytes]
"""(seq, n, ts, kind, body): n counts the events of one step, kind is the event's type, body its JSON."""

SealedRow = tuple[int, int, int, str, bytes, int]
"""A Row and its checksum."""

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Event)


def encode(seq: int, events: Sequence[Event]) -> list[Row]:
    """Return the rows of one step. Raises JournalError for an event that could not be read back."""
    rows: list[Row] = []
    n = 0
    for event in events:
        body = _encode(event)
        if b":null" in body:
            decode(seq, n, body)
        rows.append((seq, n, event.ts, type(event).__name__, body))
        n += 1
    return rows


def checksum(seq: int, n: int, ts: int, kind: str, body: bytes) -> int:
    """Return the CRC-32 of a whole row, its place included."""
    return zlib.crc32(body, zlib.crc32(b"%d %d %d %s " % (seq, n, ts, kind.encode())))


def sealed(rows: Iterable[Row]) -> list[SealedRow]:
    """Return the rows with their checksums."""
    return [(*row, checksum(*row)) for row in rows]


def seal(rows: Iterable[SealedRow]) -> int:
    """Return one number for the rows of a step: the XOR of their checksums."""
    found = 0
    for row in rows:
        found ^= row[5]
    return found


def checkpoint_checksum(seq: int, body: bytes) -> int:
    """Return the CRC-32 of a checkpoint, its place included."""
    return zlib.crc32(body, zlib.crc32(b"%d " % seq))


def intact(seq: Any, n: Any, ts: Any, kind: Any, body: Any, crc: Any) -> bool:
    """Return whether a stored row is as it was written; a damaged file may hold any type anywhere."""
    typed = all(isinstance(x, int) for x in (seq, n, ts)) and isinstance(kind, str) and isinstance(body, bytes)
    return typed and bool(crc == checksum(seq, n, ts, kind, body))


def opened(seq: int, n: int, ts: int, kind: str, body: bytes, crc: int | None) -> Event:
    """Return the event of one stored row. Raises JournalError naming a row that is damaged or not one of ours."""
    if not intact(seq, n, ts, kind, body, crc):
        raise JournalError(f"journal row seq {seq} n {n} is damaged: its checksum does not fit")
    return decode(seq, n, body)


def decode(seq: int, n: int, body: bytes) -> Event:
    """Return the event of one row. Raises JournalError naming the row if it is not one of ours."""
    try:
        event: Event = _decoder.decode(body)
        return event
    except msgspec.MsgspecError as error:
        raise JournalError(f"journal row seq {seq} n {n} cannot be read: {error}: {body[:200]!r}") from error


def sha256(rows: Iterable[tuple[int, int, bytes]]) -> str:
    """Return the digest over (seq, n, body) in order: equal digests mean equal journals."""
    digest = hashlib.sha256()
    for seq, n, body in rows:
        digest.update(b"%d %d %d\n" % (seq, n, len(body)))
        digest.update(body)
    return digest.hexdigest()


def command_bytes(command: Command) -> bytes:
    """Return the bytes of a command that enter the digest of a run's commands."""
    return type(command).__name__.encode() + _encode(command)
