"""Checks market data files before anything is played: what is in them, what the rules will drop, what must be mended.

A check that is not ok means that `backtest` would refuse the file, or that what it would make of it cannot be believed.
What a rule handles (a splice, a mixed day, a merged holiday) is ok and says what is dropped: a true row is no fault.
The strict reader stops at the first fault; here every row is looked at again, so that one pass of mending is enough.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec

from bot import config
from bot.backtest.align import Known, align
from bot.backtest.contracts import Contracts, chicago_date, split_contracts
from bot.backtest.formats import (
    DAY_NS,
    HOUR_NS,
    SECOND_NS,
    Bar,
    FundingRow,
    InputError,
    Series,
    SeriesKind,
    read_cme,
    read_funding,
    read_mark,
    read_perp,
    read_spot,
    read_stable,
)
from bot.backtest.row_faults import RowFaults, scan
from bot.backtest.run import profile_of
from bot.market.calendar import END_NS, START_NS, CmeCalendar, State, intervals
from bot.market.expiry import parse_contract
from bot.market.holidays import chicago_ns
from bot.market.products import product
from bot.market.settlement import REGULAR_CLOSE, business_day_after, settlement_date, settlement_ns
from bot.model.notation import iso

NAMED = 12
"""Dates or rows named in one line; the rest is counted."""
ON_GRID, SAME_COIN = 0.5, 0.1
"""As the backtest has them: share of closes on the tick grid, distance of the legs' prices."""
READERS: dict[str, Callable[[Path], Series | tuple[FundingRow, ...]]] = {
    "cme": read_cme, "perp": read_perp, "perp_mark": read_mark, "spot": read_spot, "funding": read_funding, "stable": read_stable,
}  # fmt: skip
"""Roles in the order in which they are checked."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check. ok: False when the file cannot be used as it is. fix: what to do, or what the rules do; "" for nothing."""

    name: str
    ok: bool
    found: str
    fix: str


def product_of(kind: SeriesKind, layers: Sequence[Path] = (), sets: Sequence[str] = ()) -> str:
    """Return the product that the settings name for a CME file of this kind (market.lead). Raises ConfigError."""
    return parse_contract(config.load(profile_of(kind), files=layers, sets=sets).settings.market.lead)[0]


def run(paths: Mapping[str, Path | None], symbol: str | None, layers: Sequence[Path] = (), sets: Sequence[str] = ()) -> list[Check]:
    """Return the checks; symbol: the CME file's product, None for that of the settings. Raises ConfigError, OSError."""
    path = paths["cme"]
    assert path is not None
    try:
        kind = read_cme(path).kind
    except InputError:
        kind = SeriesKind.CME_MINUTE
    code = symbol or product_of(kind, layers, sets)
    terms = config.load(profile_of(kind), files=layers, sets=sets).settings.futures.get(code)
    return checked(paths, code, None if terms is None or terms.tick is None else float(terms.tick))


def checked(paths: Mapping[str, Path | None], code: str, tick: float | None) -> list[Check]:
    """Return the checks of files by role (see READERS), the CME file being of product `code`; tick: USD, None if not known.

    Raises OSError for a path that cannot be read and ValueError for an unknown product; a bad file is a check, no error.
    """
    checks: list[Check] = []
    good: dict[str, Series | tuple[FundingRow, ...]] = {}
    for role, read in READERS.items():
        path = paths.get(role)
        if path is None:
            continue
        found, data = _rows(role, path, read)
        checks += found
        if data is not None:
            good[role] = data
    cme, perp = good.get("cme"), good.get("perp")
    if isinstance(cme, Series) and (far := _outside(cme)) is not None:
        checks.append(far)
        cme = None
    if isinstance(cme, Series):
        if tick is not None:
            checks.append(_grid(cme, code, tick))
        checks += _cme(cme, code, perp if isinstance(perp, Series) else None)
    for role in ("perp", "perp_mark", "spot", "stable"):
        if isinstance(series := good.get(role), Series):
            checks.append(_holes(role, series))
    if isinstance(rows := good.get("funding"), tuple):
        checks.append(_stamps(rows))
    if isinstance(cme, Series) and isinstance(perp, Series):
        stable = good.get("stable")
        checks += _alignment(cme, perp, stable if isinstance(stable, Series) else None, code)
    return checks


def lines(checks: Sequence[Check]) -> Iterator[str]:
    """Yield the checks for people."""
    width = max(len(c.name) for c in checks)
    for c in checks:
        yield f"{'ok  ' if c.ok else 'FAIL'} {c.name:<{width}}  {c.found}" + (f" -> {c.fix}" if c.fix else "")


# -- one file ---------------------------------------------------------------------------------------------------


def _rows(role: str, path: Path, read: Callable[[Path], Series | tuple[FundingRow, ...]]) -> tuple[list[Check], Series | tuple[FundingRow, ...] | None]:
    """Return the checks of header and rows, and the data if the strict reader takes it."""
    try:
        data = read(path)
    except InputError as error:
        return _faulty(role, path, str(error)), None
    if isinstance(data, Series):
        what, first, last, n = data.kind.replace("_", " "), data.bars[0].start_ns, data.bars[-1].end_ns, len(data.bars)
        span = f"{n:,} bars of {data.bar_ns // SECOND_NS} s, {iso(first)} .. {iso(last)}"
    else:
        what, span = "funding prints", f"{len(data):,} prints, {iso(data[0].ts_ns)} .. {iso(data[-1].ts_ns)}"
    return [
        _ok(f"{role} header", what), _ok(f"{role} rows", span), _ok(f"{role} order", "strictly increasing"),
        _ok(f"{role} duplicates", "none"), _ok(f"{role} values", "finite; prices positive and within their bars"),
    ], data  # fmt: skip


def _faulty(role: str, path: Path, error: str) -> list[Check]:
    """Return the checks of a file that is refused: every kind of fault with its rows, and the refusal itself if none of them says it."""
    said = error.removeprefix(f"{path}: ")
    faults = scan(path)
    if faults is None or said.startswith("row 1:"):
        return [_bad(f"{role} header", said, "give the file its own role, or correct the header")]
    checks = [_ok(f"{role} header", "time column " + faults.column)]
    checks.append(Check(name=f"{role} rows", ok=faults.rows > 1, found=f"{faults.rows:,} rows", fix="" if faults.rows > 1 else "give a file with data"))
    for name, rows, fix in _kinds(faults):
        found = _named([f"row {r}" for r in rows]) if rows else "none"
        checks.append(Check(name=f"{role} {name}", ok=not rows, found=found, fix=fix if rows else ""))
    if all(c.ok for c in checks):
        checks.append(_bad(f"{role} format", said, "correct the file where it says"))
    return checks


def _kinds(faults: RowFaults) -> Iterator[tuple[str, list[int], str]]:
    yield "order", faults.unordered, "sort the file by time"
    yield "duplicates", faults.duplicates, "remove the rows that repeat a time"
    yield "values", faults.values, "correct or remove rows with a price that is missing, not a number, not positive or outside its bar"
    yield "times", faults.times, "write times as the format does: with an explicit offset, a date, or epoch seconds"


def _ok(name: str, found: str, fix: str = "") -> Check:
    return Check(name=name, ok=True, found=found, fix=fix)


def _bad(name: str, found: str, fix: str) -> Check:
    return Check(name=name, ok=False, found=found, fix=fix)


def _named(items: Sequence[str]) -> str:
    """Return the count and the first items."""
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return f"{len(items)}: {', '.join(items[:NAMED])}{more}"


# -- the CME file -------------------------------------------------------------------------------------------------


def _outside(cme: Series) -> Check | None:
    """Return the check that fails when the calendar does not reach the file, None when it does."""
    first, last = cme.bars[0].start_ns, cme.bars[-1].end_ns
    if START_NS <= first + DAY_NS and last <= END_NS:
        return None
    found = f"{iso(first)} .. {iso(last)}, the calendar knows {iso(START_NS)} .. {iso(END_NS)}"
    return _bad("cme calendar", found, "give rows within the calendar: what it does not know counts as shut")


def _grid(cme: Series, code: str, tick: float) -> Check:
    off = [bar for bar in cme.bars if abs(bar.close / tick - round(bar.close / tick)) > 0.01]
    found = f"{len(off):,} of {len(cme.bars):,} closes are off the {tick:g} USD grid of {code}"
    if len(off) > (1.0 - ON_GRID) * len(cme.bars):
        return _bad("cme product", found, "name the file's product with --set market.lead, e.g. ETHX26")
    return _ok("cme product", found)


def _cme(cme: Series, code: str, perp: Series | None) -> list[Check]:
    """Return the checks against the calendar and of contracts."""
    daily = cme.kind is SeriesKind.CME_DAILY
    expected, shut, odd, present = _daily_dates(cme, code) if daily else _minute_dates(cme, code)
    missing = [day.isoformat() for day in expected if day not in present]
    checks = [
        _bad("cme closed hours", _named(shut), "CME was shut, or that session has a row already: correct the times, or the calendar with a source")
        if shut else _ok("cme closed hours", "no row while CME was shut"),
        _ok("cme missing sessions", _named(missing), "nothing is filled in: no signal, and no gap over them")
        if missing else _ok("cme missing sessions", "none: every trade date has rows"),
    ]  # fmt: skip
    if odd:
        checks.append(_ok("cme row labels", _named(odd) + ": no session opens on that day", "taken as the session that opens next"))
    if product(code).spot_quoted:
        return checks
    contracts = split_contracts(cme, code, perp)
    return [*checks, *_contract_checks(contracts)]


def _contract_checks(contracts: Contracts) -> Iterator[Check]:
    by_reason: dict[str, list[str]] = {}
    for day, why in contracts.dropped_days.items():
        by_reason.setdefault(why, []).append(day.isoformat())
    mixed = by_reason.pop("mixed_contracts", []) + by_reason.pop("between_mixed_days", [])
    if contracts.kind is not SeriesKind.CME_DAILY:
        fix = "these days are dropped: give a file of one contract to use them"
        yield _ok("cme mixed days", _named(sorted(mixed)), fix) if mixed else _ok("cme mixed days", "none")
    splices = by_reason.pop("splice_day", [])
    yield _ok("cme splices", _named(splices), "dropped: the step is between contracts, not in the price") if splices else _ok("cme splices", "none")
    for why, days in by_reason.items():
        yield _ok(f"cme {why.replace('_', ' ')}", _named(days), "dropped as a signal")
    if strays := contracts.rows_rejected.get("stray_contract", 0):
        yield _ok("cme stray prints", f"{strays} rows at another contract's level", "dropped alone")
    names = [f"{s.contract} {iso(s.first_ns)[:10]}..{iso(s.last_ns)[:10]}" for s in contracts.segments]
    if not names:
        yield _bad("cme rolls", "no believable row of any contract", "give a file that holds clean days")
    else:
        yield _ok("cme rolls", f"{len(names)} contracts: {', '.join(names[:NAMED])}{' ...' if len(names) > NAMED else ''}")
    kept = sum(len(s.bars) for s in contracts.segments)
    yield _ok("cme believable rows", f"{kept:,} of {contracts.rows_read:,}; " + _counts(contracts.rows_rejected))


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{why.replace('_', ' ')} {n:,}" for why, n in reasons.items()) or "nothing dropped"


def _label(bar: Bar) -> date:
    """Return the date label of a daily row."""
    return date(1970, 1, 1) + timedelta(days=bar.start_ns // DAY_NS)


def _daily_dates(cme: Series, code: str) -> tuple[list[date], list[str], list[str], set[date]]:
    """Return (settlement dates between first and last, rows of a session that has one, rows labelled oddly, settlement dates present)."""
    calendar = CmeCalendar(code)
    present: set[date] = set()
    shut, odd = [], []
    for bar in cme.bars:
        label = _label(bar)
        trade_date = settlement_date(code, label)
        named = f"row {bar.row} ({label.isoformat()})"
        if trade_date in present:
            shut.append(named)
        elif chicago_date(calendar.next_open_ns(chicago_ns(label, REGULAR_CLOSE))) != label:
            odd.append(named)
        present.add(trade_date)
    expected, day, last = [], min(present), max(present)
    while day <= last:
        if settlement_ns(code, day) is not None:
            expected.append(day)
        day = business_day_after(day)
    return expected, shut, odd, present


def _minute_dates(cme: Series, code: str) -> tuple[list[date], list[str], list[str], set[date]]:
    """Return (Chicago dates with trading between first and last, rows while CME was shut, nothing, Chicago dates present)."""
    calendar = CmeCalendar(code)
    shut = [f"row {bar.row} ({iso(bar.start_ns)})" for bar in cme.bars if calendar.at(bar.start_ns).state is not State.OPEN]
    present = {chicago_date(bar.start_ns) for bar in cme.bars}
    expected: set[date] = set()
    for x in intervals(code, cme.bars[0].start_ns, cme.bars[-1].end_ns):
        if x.state is State.OPEN:
            day, last = chicago_date(x.from_ns), chicago_date(x.to_ns - 1)
            while day <= last:
                expected.add(day)
                day += timedelta(days=1)
    return sorted(expected), shut, [], present


# -- the other files ------------------------------------------------------------------------------------------------


def _holes(role: str, series: Series) -> Check:
    """Return what is missing of a market that never closes."""
    gaps = [(b.start_ns - a.end_ns, a.end_ns) for a, b in pairwise(series.bars) if b.start_ns > a.end_ns]
    if not gaps:
        return _ok(f"{role} holes", "none")
    missing = sum(length for length, _ in gaps) // series.bar_ns
    length, at_ns = max(gaps)
    found = f"{len(gaps)} holes, {missing:,} bars in all; the longest {length / HOUR_NS:g} h from {iso(at_ns)}"
    return _ok(f"{role} holes", found, "nothing is filled in: no signal where a bar is missing")


def _stamps(rows: Sequence[FundingRow]) -> Check:
    """Return how regular the funding prints are; stamps may jitter within the hour."""
    steps = Counter(round((b.ts_ns - a.ts_ns) / HOUR_NS) for a, b in pairwise(rows))
    if not steps:
        return _bad("funding interval", "one print", "give at least two prints: the interval follows from them")
    usual = max(steps, key=lambda hours: (steps[hours], -hours))
    odd = {h: n for h, n in sorted(steps.items()) if h != usual}
    found = f"every {usual} h" + (f"; other steps: {', '.join(f'{h} h x {n}' for h, n in odd.items())}" if odd else "")
    return _ok("funding interval", found, "a stamp that is missing pays nothing: compare with the venue's history" if odd else "")


def _alignment(cme: Series, perp: Series, stable: Series | None, code: str) -> Iterator[Check]:
    """Yield how many decision points the two legs make. Without a stablecoin file it is taken at 1 USD for this count alone."""
    if product(code).spot_quoted:
        return
    aligned = align(split_contracts(cme, code, perp), Known(perp, stable=stable, stable_fixed=1.0 if stable is None else None))
    n = len(aligned.samples)
    name = "alignment"
    if not n:
        yield _bad(name, f"no believable CME bar ends together with a perp bar; {_counts(aligned.unpaired)}", "give files of the same period")
        return
    obtainable = sum(s.obtainable for s in aligned.samples)
    found = f"{n:,} instants at which both legs end a bar, {obtainable:,} followed by prices one can act on; {_counts(aligned.unpaired)}"
    yield _ok(name, found)
    ratios = sorted(s.cme.close / (s.perp.close * s.stable) for s in aligned.samples)
    middle = ratios[n // 2]
    low, high = ((ratios[at] - 1.0) * 1e4 for at in (n // 20, n - 1 - n // 20))
    found = f"CME over perp {(middle - 1.0) * 1e4:+.1f} bp at the median, {low:+.0f} .. {high:+.0f} (5-95 %)"
    if not math.isfinite(middle) or abs(middle - 1.0) > SAME_COIN:
        yield _bad("same coin", found, "the two legs are not of one coin: give the perp of the CME product")
    else:
        yield _ok("same coin", found)
