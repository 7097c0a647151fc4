"""The in-process venue's own durable log: what a real exchange would still know after our process is killed.

One JSON line per record, handed to the operating system before the reply that depends on it is emitted, so it survives
SIGKILL (not power loss: a venue on the same machine shares its fate). A torn last line was never answered for and
is dropped. The kill verb reads positions from it when no desk is running.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from bot.crash import crash_point
from bot.model.errors import DataError
from bot.model.event import OrderEnded, OrderFilled
from bot.model.ids import ClientId, InstrumentId
from bot.sim.orders import OrderReceived, Record

_decode = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode


class VenueLog:
    """Append-only file of one venue's records. Raises OSError where the file cannot be opened or written."""

    def __init__(self, path: Path) -> None:
        """Open or create the log; `restored` is what it held."""
        self.path = path
        raw = path.read_bytes() if path.exists() else b""
        whole = raw.rfind(b"\n") + 1
        self.restored = _records(raw[:whole], path)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if whole < len(raw):
            os.ftruncate(self._fd, whole)
        crash_point("venue_log.opened")

    def append(self, records: Sequence[Record]) -> None:
        """Hand `records` to the operating system in one write."""
        data = b"".join(_encode(r) + b"\n" for r in records)
        crash_point("venue_log.before_append")
        while data:
            data = data[os.write(self._fd, data) :]
        crash_point("venue_log.after_append")

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_records(path: Path) -> list[Record]:
    """Return the whole records of a log without changing it. Raises OSError, and DataError naming a bad line."""
    raw = path.read_bytes()
    return _records(raw[: raw.rfind(b"\n") + 1], path)


def read_positions(path: Path) -> dict[InstrumentId, Decimal]:
    """Return the signed contracts the venue holds for us, instruments that are flat left out. Errors as read_records."""
    held: dict[InstrumentId, Decimal] = {}
    for r in read_records(path):
        if isinstance(r, OrderFilled):
            held[r.instrument] = held.get(r.instrument, Decimal(0)) + r.qty * r.side.sign
    return {i: q for i, q in held.items() if q}


def read_working(path: Path) -> list[ClientId]:
    """Return client ids of orders that have not ended, in order of arrival. Errors as read_records."""
    working: dict[ClientId, None] = {}
    for r in read_records(path):
        if isinstance(r, OrderReceived):
            working[r.spec.client_id] = None
        elif isinstance(r, OrderEnded):
            working.pop(r.client_id, None)
    return list(working)


def _records(raw: bytes, path: Path) -> list[Record]:
    out: list[Record] = []
    for n, line in enumerate(raw.splitlines(), 1):
        try:
            out.append(_decode(line))
        except msgspec.MsgspecError as error:
            raise DataError(f"{path.name} line {n}: not a record of a venue log ({error})") from None
    return out
