"""Looks at every row of a file that the strict reader refused, and lists all that is wrong by kind.

It decides nothing: what is usable is the strict reader's word alone. Rows are counted as an editor shows them.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

_TIMES = ("Date", "date", "t")
_PRICES = ("open", "high", "low", "close")


class RowFaults(msgspec.Struct):
    """Numbers of the rows that are wrong, by kind. column: of the time; rows: data rows seen."""

    column: str
    rows: int
    unordered: list[int]
    duplicates: list[int]
    values: list[int]
    times: list[int]


def scan(path: Path) -> RowFaults | None:
    """Return every row fault, or None when there is no header with a time column to go by. Raises OSError."""
    try:
        text = _text(path)
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError):
        return None
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(reader, [])
    except csv.Error:
        return None
    column = next((name for name in _TIMES if name in header), None)
    if column is None or not ({"close", "funding_rate"} & {name.lower() for name in header}):
        return None
    faults = RowFaults(column, 0, [], [], [], [])
    last: float | None = None
    try:
        for cells in reader:
            faults.rows += 1
            row = reader.line_num
            if not _values_hold(header, cells):
                faults.values.append(row)
            try:
                stamp = _stamp(cells[header.index(column)])
            except (ValueError, OverflowError, IndexError):
                faults.times.append(row)
                continue
            if last is not None and stamp == last:
                faults.duplicates.append(row)
            elif last is not None and stamp < last:
                faults.unordered.append(row)
            last = stamp if last is None else max(last, stamp)
    except csv.Error:
        faults.values.append(reader.line_num)
    return faults


def _text(path: Path) -> str:
    raw = path.read_bytes()
    return (gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw).decode("utf-8-sig")


def _stamp(text: str) -> float:
    """Return seconds since the epoch of an epoch second, a date or a time with offset. Raises ValueError."""
    if text.isdecimal():
        return float(text)
    stamp = datetime.fromisoformat(text + "T00:00Z" if len(text) == 10 else text)
    if stamp.tzinfo is None:
        raise ValueError(text)
    return stamp.timestamp()


def _values_hold(header: Sequence[str], cells: Sequence[str]) -> bool:
    """Return whether a row's numbers are numbers, its prices positive and its open and close within its bar."""
    if len(cells) != len(header):
        return False
    found: dict[str, float] = {}
    for name, text in zip(header, cells, strict=True):
        if name.lower() in (*_PRICES, "volume", "funding_rate"):
            try:
                found[name.lower()] = float(text)
            except ValueError:
                return False
    if not all(math.isfinite(x) for x in found.values()) or found.get("volume", 0.0) < 0.0:
        return False
    if "open" not in found:
        return abs(found.get("funding_rate", 0.0)) < 1.0
    o, h, low, c = (found[name] for name in _PRICES)
    return 0.0 < low <= o <= h and low <= c <= h
