"""Turn events into journal rows and back: one encoding for every journal.

JSON keeps the record readable with any tool for as long as it must be kept; decimals travel as strings and stay
exact. JSON has no infinity: msgspec would write null and the row could never be read again, so such an event is
refused when it is written, not when a recovery needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from bot.model.command import Command
from bot.model.errors import JournalError
from bot.model.event import Event

Row = tuple[int, int, int, str, bytes]
"""(seq, n, ts, kind, body): n counts the events of one step, kind is the event's type, body its JSON."""

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
