"""Recognises market data files by their header and reads them strictly into bars and funding rows.

The header decides the format and the caller's role decides which formats are allowed, so a perp file given
as the CME leg is refused before a price is read. Every fault is one line naming file, row and what is wrong;
rows are counted as an editor shows them, the header being row 1. Labels are bar OPENS: a bar is known only
at `end_ns`. A missing bar is not a fault (a minute without a trade has none); a stamp off the grid is.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections import Counter
from datetime import UTC, date, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from bot.model.errors import DataError

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 3_600 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS
STABLE_LOW, STABLE_HIGH = 0.2, 2.0
"""USD range of anything that may call itself a dollar stablecoin; a coin price in this role is refused."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CHICAGO = ZoneInfo("America/Chicago")
_GZIP_MAGIC = b"\x1f\x8b"


class InputError(DataError):
    """A market data file cannot be used; the message is one line naming file and row or column."""


class SeriesKind(StrEnum):
    """What a bar file is, as the header and the caller's role say."""

    CME_MINUTE = "cme_minute"
    CME_DAILY = "cme_daily"
    PERP_BARS = "perp_bars"
    MARK_BARS = "mark_bars"
    SPOT_BARS = "spot_bars"
    STABLE_DAILY = "stable_daily"


class Bar(msgspec.Struct, frozen=True, gc=False):
    """One bar: prices in the file's quote, volume in the file's unit, `row` as an editor counts it.

    Daily CME rows carry the date label: `start_ns` is 00:00Z of the session-open date, not an instant of
    trading; `contracts.daily_contracts` gives the real instants.
    """

    start_ns: int
    end_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    row: int


class Series(msgspec.Struct, frozen=True):
    """A bar file as read: strictly increasing, prices positive and finite, low <= open, close <= high."""

    path: str
    kind: SeriesKind
    bar_ns: int
    bars: tuple[Bar, ...]


class FundingRow(msgspec.Struct, frozen=True, gc=False):
    """One funding print: the fraction of notional longs pay shorts at `ts_ns` (negative: shorts pay)."""

    ts_ns: int
    rate: float
    row: int


_Row: TypeAlias = tuple[int, int, list[str]]
"""Row number, UTC ns of the stamp, cells in the format's column order."""


class _Stamp(StrEnum):
    OFFSET = "offset"
    DATE = "date"
    EPOCH = "epoch"


class _Format(msgspec.Struct, frozen=True):
    what: str
    time: str
    columns: tuple[str, ...]
    stamp: _Stamp = _Stamp.OFFSET
    extras: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        return (self.time, *self.columns)


_TITLE = ("Open", "High", "Low", "Close", "Volume")
_LOWER = ("open", "high", "low", "close", "volume")
_OPEN_INTEREST = (
    "Open Interest",
    "Open Interest (Open)",
    "Open Interest (High",  # the source's header really lacks the bracket
    "Open Interest (High)",
    "Open Interest (Low)",
    "Open Interest (Close)",
)
_CME_MINUTE = _Format("a CME minute file", "Date", _TITLE)
_CME_DAILY = _Format(
    "a CME daily file", "date", ("open", "high", "low", "close", "Volume"), _Stamp.DATE, _OPEN_INTEREST
)
_CME_CHART = _Format("a CME daily chart export", "t", _LOWER, _Stamp.EPOCH)
_BARS = _Format("an offshore bar file", "date", _LOWER)
_FUNDING = _Format("a funding file", "date", ("funding_rate",))
_STABLE = _Format("a stablecoin daily file", "Date", (*_TITLE, "Dividends", "Stock Splits"))
_FORMATS = (_CME_MINUTE, _CME_DAILY, _CME_CHART, _BARS, _FUNDING, _STABLE)


def read_cme(path: Path | str) -> Series:
    """Return the CME leg, one-minute bars or daily rows; raise InputError on anything else."""
    table = _Table(path, "cme", (_CME_MINUTE, _CME_DAILY, _CME_CHART))
    if table.format is _CME_MINUTE:
        series = _series(table, SeriesKind.CME_MINUTE)
        _require_length(series, series.bar_ns == MINUTE_NS, "a CME intraday file must hold 60 s bars")
        return series
    series = _series(table, SeriesKind.CME_DAILY)
    _require_length(series, series.bar_ns == DAY_NS, "a CME daily file must hold daily rows")
    return series


def read_perp(path: Path | str) -> Series:
    """Return the perpetual's traded bars, one hour or shorter; a mark price file (no volume) is refused."""
    table = _Table(path, "perp", (_BARS,))
    series = _series(table, SeriesKind.PERP_BARS)
    _require_hourly(series, "perp")
    if not any(bar.volume for bar in series.bars):
        raise table.fault(None, "every volume is zero: this is a mark price file, not a perp file")
    return series


def read_mark(path: Path | str) -> Series:
    """Return the perpetual's mark price bars, one hour or shorter; zero volumes are normal here."""
    series = _series(_Table(path, "perp-mark", (_BARS,)), SeriesKind.MARK_BARS)
    _require_hourly(series, "mark")
    return series


def read_spot(path: Path | str) -> Series:
    """Return spot bars quoted in the stablecoin, one hour or shorter."""
    series = _series(_Table(path, "spot", (_BARS,)), SeriesKind.SPOT_BARS)
    _require_hourly(series, "spot")
    return series


def read_stable(path: Path | str) -> Series:
    """Return the stablecoin's daily bars in USD; a price outside 0.2..2 USD is refused."""
    table = _Table(path, "stable", (_STABLE,))
    series = _series(table, SeriesKind.STABLE_DAILY)
    _require_length(series, series.bar_ns == DAY_NS, "a stablecoin file must hold daily bars")
    for bar in series.bars:
        if not STABLE_LOW <= bar.close <= STABLE_HIGH:
            raise table.fault(bar.row, f"Close {bar.close!r} is not the price of a dollar stablecoin")
    return series


def read_funding(path: Path | str) -> tuple[FundingRow, ...]:
    """Return funding prints in time order; stamps may jitter, rates are fractions per period, |rate| < 1."""
    table = _Table(path, "funding", (_FUNDING,))
    rows: list[FundingRow] = []
    for row, ts_ns, cells in table.rows():
        rate = _number(table, row, "funding_rate", cells[0])
        if not abs(rate) < 1.0:
            raise table.fault(row, f"funding_rate {cells[0]} is not a fraction per period")
        rows.append(FundingRow(ts_ns, rate, row))
    if not rows:
        raise table.fault(None, "no rows")
    return tuple(rows)


class _Table:
    """A file whose header was recognised for one role; yields row number, stamp and the named cells."""

    def __init__(self, path: Path | str, role: str, allowed: tuple[_Format, ...]) -> None:
        self.path = str(path)
        self._reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
        header = self._next_row() or []
        self.format = _recognise(self, role, header, allowed)
        self._width = len(header)
        self._time = header.index(self.format.time)
        self._cells = [header.index(name) for name in self.format.columns]

    def fault(self, row: int | None, what: str) -> InputError:
        """Build the one-line error for this file."""
        where = f"{self.path}: " if row is None else f"{self.path}: row {row}: "
        return InputError(where + what)

    def _next_row(self) -> list[str] | None:
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise self.fault(self._reader.line_num, f"malformed CSV ({error})") from error

    def rows(self) -> list[_Row]:
        """Return every data row; stamps must strictly increase."""
        parse, at, columns, width = _STAMPS[self.format.stamp], self._time, self._cells, self._width
        out: list[_Row] = []
        last: int | None = None
        while (cells := self._next_row()) is not None:
            row = self._reader.line_num
            if len(cells) != width:
                raise self.fault(row, f"{len(cells)} columns, the header has {width}")
            try:
                stamp = parse(cells[at])
            except (ValueError, OverflowError):
                raise self.fault(row, f"{self.format.time} {cells[at]!r} is not a usable time") from None
            if last is not None and stamp <= last:
                what = "duplicate row: same time as" if stamp == last else "out of order: earlier than"
                raise self.fault(row, f"{what} the row before")
            last = stamp
            out.append((row, stamp, [cells[index] for index in columns]))
        return out


def _text(path: Path | str) -> str:
    raw = Path(path).read_bytes()
    try:
        if raw.startswith(_GZIP_MAGIC):
            raw = gzip.decompress(raw)
        return raw.decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file (byte {error.start})") from error


def _recognise(table: _Table, role: str, header: list[str], allowed: tuple[_Format, ...]) -> _Format:
    """Return the allowed format the header names, else raise naming the column that is wrong."""
    if not header:
        raise table.fault(None, "empty file")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise table.fault(1, f"column {repeated[0]!r} appears twice")
    for known in _FORMATS:
        if not _unknown(known, header) and not _missing(known, header):
            if known in allowed:
                return known
            raise table.fault(1, f"the header is that of {known.what}, it cannot be used as --{role}")
    # Name the fault against the likeliest format: the one sharing most columns, an allowed one on a tie.
    best = max(_FORMATS, key=lambda f: (len(set(f.required) & set(header)), f in allowed))
    if best not in allowed and not _missing(best, header):
        raise table.fault(1, f"the header is that of {best.what}, it cannot be used as --{role}")
    best = max(allowed, key=lambda f: len(set(f.required) & set(header)))
    unknown, missing = _unknown(best, header), _missing(best, header)
    what = f"unknown column {unknown[0]!r}" if unknown else f"column {missing[0]!r} is missing"
    raise table.fault(1, f"{what} (--{role}: {best.what} has {','.join(best.required)})")


def _unknown(known: _Format, header: list[str]) -> list[str]:
    return [name for name in header if name not in known.required and name not in known.extras]


def _missing(known: _Format, header: list[str]) -> list[str]:
    return [name for name in known.required if name not in header]


def _offset_ns(text: str) -> int:
    """Return UTC ns of an ISO 8601 time with an explicit offset.

    >>> _offset_ns("1970-01-01T01:00:00+01:00"), _offset_ns("1970-01-01T00:01:00.048Z")
    (0, 60048000000)
    """
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        raise ValueError(text)
    delta = stamp - _EPOCH
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000


def _date_ns(text: str) -> int:
    return (date.fromisoformat(text) - _EPOCH.date()).days * DAY_NS


def _epoch_ns(text: str) -> int:
    """Return the date label (00:00Z of the Chicago date) of a session that opens at an epoch second."""
    if not text.isdecimal():
        raise ValueError(text)
    opened = datetime.fromtimestamp(int(text), _CHICAGO)
    return (opened.date() - _EPOCH.date()).days * DAY_NS


_STAMPS = {_Stamp.OFFSET: _offset_ns, _Stamp.DATE: _date_ns, _Stamp.EPOCH: _epoch_ns}


def _number(table: _Table, row: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise table.fault(row, f"{name} {text!r} is not a number")
    return value


def _bars(table: _Table, rows: list[_Row], bar_ns: int) -> tuple[Bar, ...]:
    bars: list[Bar] = []
    names = table.format.columns[:5]
    for row, ts_ns, cells in rows:
        o, h, low, c, volume = [_number(table, row, n, t) for n, t in zip(names, cells[:5], strict=True)]
        if not (0.0 < low <= o <= h and low <= c <= h and volume >= 0.0):
            raise table.fault(row, _bar_fault(names, (o, h, low, c, volume)))
        if ts_ns % bar_ns:
            raise table.fault(row, f"time is not on the {bar_ns // SECOND_NS} s grid of this file")
        bars.append(Bar(ts_ns, ts_ns + bar_ns, o, h, low, c, volume, row))
    return tuple(bars)


def _bar_fault(names: tuple[str, ...], values: tuple[float, ...]) -> str:
    for name, value in zip(names[:4], values[:4], strict=True):
        if value <= 0.0:
            return f"{name} {value!r} is not a positive price"
    if values[4] < 0.0:
        return f"{names[4]} {values[4]!r} is negative"
    return "open and close must lie between low and high"


def _common_step(table: _Table, rows: list[_Row]) -> int:
    """Return the most common difference between stamps in ns, the shorter one on a tie."""
    if len(rows) < 2:
        raise table.fault(None, f"rows found: {len(rows)}; two are needed to know the bar length")
    counts = Counter(after[1] - before[1] for before, after in pairwise(rows))
    return min(counts, key=lambda step: (-counts[step], step))


def _series(table: _Table, kind: SeriesKind) -> Series:
    """Read bars whose stamps must all lie on the grid of the most common difference, CME minutes on that of the smallest.

    A contract that seldom trades has more silences than minutes that follow each other.
    """
    rows = table.rows()
    bar_ns = _common_step(table, rows)
    if kind is SeriesKind.CME_MINUTE:
        bar_ns = min(after[1] - before[1] for before, after in pairwise(rows))
    return Series(table.path, kind, bar_ns, _bars(table, rows, bar_ns))


def _require_length(series: Series, holds: bool, rule: str) -> None:
    if not holds:
        raise InputError(f"{series.path}: bar length is {series.bar_ns // SECOND_NS} s: {rule}")


def _require_hourly(series: Series, role: str) -> None:
    _require_length(series, HOUR_NS % series.bar_ns == 0, f"{role} bars must divide one hour")
