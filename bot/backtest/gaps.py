"""Gaps of a CME file: its rows as sessions of dated contracts, the gaps between them, their fills and the fill statistics.

A daily file gives settlements and one row per trade date; a minute file gives last trades, and settlements as the close of
the bar that ends at the settlement. What is not known is left out and counted: a session missing between two rows, a day
whose contract cannot be told, a close or an open far from its closure.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import msgspec

from bot.backtest.contracts import Contracts, chicago_date, split_contracts
from bot.backtest.data_check import product_of
from bot.backtest.formats import DAY_NS, SECOND_NS, Bar, InputError, Series, SeriesKind, read_cme
from bot.market.calendar import END_NS, START_NS, CmeCalendar, State
from bot.market.holidays import chicago_ns
from bot.market.products import product
from bot.market.settlement import REGULAR_CLOSE, settlement_date, settlement_ns
from bot.model.notation import iso
from strategies.gap_rows import GapRow, row
from strategies.gap_stats import AGES, FillRow, Judged, Shape, fill_rows, shape, walk_fills
from strategies.gaps import NEAR_NS, CloseKind, Followed, Gap, GapParams, History, Regime, Register, Session, between, detect, regime_of

HORIZON = 4
"""Further sessions in which a fill counts: with the opening one five, about a week."""
PATHS = 100
_EPOCH = date(1970, 1, 1)


class OpenGap(msgspec.Struct, frozen=True, kw_only=True):
    """A significant gap of the last contract whose close has not been touched. retraced: share of it filled at most."""

    contract: str
    open_at: str
    prior_close: float
    direction: str
    age_days: float
    sessions: int
    retraced: float


class GapsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the gaps verb says. gaps: every one of floor_bp or more, rolls too. skipped: what was left out, by reason.

    significant: open_at of the gaps above max(floor_bp, atr_multiple x ATR); only these are in the statistics.
    """

    gaps: list[GapRow]
    product: str
    close: CloseKind
    market_from: str
    market_to: str
    floor_bp: float
    atr_multiple: float
    sessions: int
    significant: list[str]
    skipped: dict[str, int]
    open_gaps: list[OpenGap]
    statistics: list[FillRow]
    horizon_sessions: int
    benchmark: str
    seed: int


class Step(msgspec.Struct, frozen=True):
    """One session with the bars it is made of, and the closure before it; skip: why no gap is looked for at its open."""

    session: Session
    bars: tuple[Bar, ...]
    closure: str
    skip: str


class Found(msgspec.Struct):
    """A gap of the file; followed: None for a roll. opened: number of its opening session; last: of its contract's last one."""

    gap: Gap
    followed: Followed | None
    opened: int
    last: int = 0


def run(
    path: Path, code: str | None = None, *, close: CloseKind | None = None, params: GapParams | None = None, seed: int = 0,
    layers: Sequence[Path] = (), sets: Sequence[str] = (), progress: Callable[[float], None] | None = None,
) -> GapsResult:  # fmt: skip
    """Read a CME file of product `code` and return its gaps. Raises InputError, ConfigError; ValueError for an unknown product.

    code: None is the product that the settings (layers, sets) name for such a file. close: what gaps are measured from;
    None is the settlement for daily rows and the last trade for minutes.
    """
    params = params or GapParams()
    series = read_cme(path)
    code = code or product_of(series.kind, layers, sets)
    product(code)
    daily = series.kind is SeriesKind.CME_DAILY
    if daily and close is CloseKind.LAST_TRADE:
        raise InputError(f"{path}: daily rows hold settlements; the last trade is not in them (--close settlement)")
    close = close or (CloseKind.SETTLEMENT if daily else CloseKind.LAST_TRADE)
    if series.bars[0].start_ns < START_NS - DAY_NS or series.bars[-1].end_ns > END_NS:
        raise InputError(f"{path}: reaches beyond the CME calendar ({iso(START_NS)} .. {iso(END_NS)})")
    steps, skipped = sessions(series, code, close)
    if not steps:
        raise InputError(f"{path}: no session of {code} in it")
    found, shapes = scan(steps, code, close, params, skipped)
    statistics = judge(found, shapes, seed, progress)
    listed = [f for f in found if abs(f.gap.bp) >= params.floor_bp]
    still = [f for f in found if f.gap.significant and f.last == len(steps) - 1 and f.followed is not None and f.followed.filled_close_ns is None]
    return GapsResult(
        gaps=[row(f.gap, f.followed) for f in listed], product=code, close=close,
        market_from=iso(steps[0].session.open_ns), market_to=iso(steps[-1].bars[-1].end_ns),
        floor_bp=params.floor_bp, atr_multiple=params.atr_multiple, sessions=len(steps), significant=[iso(f.gap.open_ns) for f in found if f.gap.significant],
        skipped=dict(sorted(skipped.items())), open_gaps=[open_gap(f.followed) for f in still if f.followed is not None], statistics=statistics,
        horizon_sessions=HORIZON + 1, benchmark=f"{PATHS} driftless walks a gap, drawn from its regime's sessions", seed=seed,
    )  # fmt: skip


def open_gap(f: Followed) -> OpenGap:
    """Return one line of the register of open gaps."""
    return OpenGap(
        contract=f.gap.contract, open_at=iso(f.gap.open_ns), prior_close=f.gap.prior_close, direction="up" if f.gap.sign > 0 else "down",
        age_days=f.age_days, sessions=f.sessions, retraced=f.retraced,
    )  # fmt: skip


# -- sessions -------------------------------------------------------------------------------------------------


def sessions(series: Series, code: str, close: CloseKind) -> tuple[list[Step], Counter[str]]:
    """Return the file's sessions in order and the rows left out by reason. Raises ValueError for an unknown product."""
    contracts = None if product(code).spot_quoted else split_contracts(series, code)
    skipped: Counter[str] = Counter()
    if series.kind is SeriesKind.CME_DAILY:
        return list(_daily(series, code, contracts, skipped)), skipped
    return list(_minute(series, code, contracts, close, skipped)), skipped


def row_contracts(series: Series, contracts: Contracts | None, code: str) -> dict[int, str]:
    """Return the contract of every believable row. A daily row dropped as the splice itself shows the next contract.

    Spot-quoted products (contracts None) have one contract for a long time: the product's code stands for it.
    """
    if contracts is None:
        return {bar.row: code for bar in series.bars}
    of = {bar.row: segment.contract for segment in contracts.segments for bar in segment.opens}
    if contracts.kind is SeriesKind.CME_DAILY:
        following: str | None = None
        for bar in reversed(series.bars):
            following = of.get(bar.row, following)
            if following is not None:
                of[bar.row] = following
    return of


def _daily(series: Series, code: str, contracts: Contracts | None, skipped: Counter[str]) -> Iterator[Step]:
    """Yield one session per row, from its first open instant to its settlement."""
    of, calendar = row_contracts(series, contracts, code), CmeCalendar(code)
    until: int | None = None
    for bar in series.bars:
        label = _EPOCH + timedelta(days=bar.start_ns // DAY_NS)
        open_ns = calendar.next_open_ns(chicago_ns(label, REGULAR_CLOSE))
        settled = settlement_ns(code, settlement_date(code, label))
        if bar.row not in of or settled is None or settled <= open_ns:
            skipped["contract unknown" if bar.row not in of else "no settlement"] += 1
            until = None
            continue
        real = Bar(open_ns, settled, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.row)
        session = Session(of[bar.row], open_ns, bar.open, bar.high, bar.low, bar.close, bar.close, settled)
        yield Step(session, (real,), *_between(code, until, open_ns))
        until = settled


def _between(code: str, until_ns: int | None, open_ns: int) -> tuple[str, str]:
    """Return (reason of the one closure between, "") or ("", why there is no such one)."""
    return ("", "first session or row before unknown") if until_ns is None else between(code, until_ns, open_ns)


def _minute(series: Series, code: str, contracts: Contracts | None, close: CloseKind, skipped: Counter[str]) -> Iterator[Step]:
    """Yield the believable bars between two closures as one session."""
    of, calendar = row_contracts(series, contracts, code), CmeCalendar(code)
    dropped = contracts.dropped_days if contracts is not None else {}
    before: _Stretch | None = None
    for stretch in _stretches(series, of, dropped, calendar, skipped):
        bars = stretch.bars
        first, last = bars[0], bars[-1]
        reason, skip = _join(code, before, stretch)
        price, at_ns = (last.close, last.end_ns) if close is CloseKind.LAST_TRADE else _settlement(code, bars)
        high, low = max(b.high for b in bars), min(b.low for b in bars)
        yield Step(Session(of[first.row], first.start_ns, first.open, high, low, last.close, price, at_ns), tuple(bars), reason, skip)
        before = stretch


class _Stretch(msgspec.Struct):
    """Bars between two closures. after_doubt, doubt_inside: rows of a day whose contract cannot be told lie before or among them."""

    bars: list[Bar]
    after_doubt: bool
    doubt_inside: bool = False


def _join(code: str, before: _Stretch | None, after: _Stretch) -> tuple[str, str]:
    """Return (reason of the closure between two sessions, "") or ("", why no gap is looked for)."""
    if before is None:
        return _between(code, None, after.bars[0].start_ns)
    end_ns, start_ns = before.bars[-1].end_ns, after.bars[0].start_ns
    if after.after_doubt or before.doubt_inside:
        return "", "a day whose contract cannot be told lies between"
    if before.after_doubt:
        return "", "prior session not whole: a day whose contract cannot be told"
    return between(code, end_ns, start_ns, near_ns=NEAR_NS)


def _stretches(
    series: Series, of: dict[int, str], dropped: Mapping[date, str], calendar: CmeCalendar, skipped: Counter[str]
) -> Iterator[_Stretch]:  # fmt: skip
    """Yield the bars between two closures. A stray print is passed over, a bar while CME is shut is left out and counted."""
    held: _Stretch | None = None
    doubt = False
    until_ns = 0
    for bar in series.bars:
        if bar.row not in of:
            doubt = doubt or chicago_date(bar.start_ns) in dropped
            continue
        if held is None or bar.start_ns >= until_ns or of[held.bars[-1].row] != of[bar.row]:
            interval = calendar.at(bar.start_ns)
            if interval.state is not State.OPEN:
                skipped["bar while CME is shut"] += 1
                continue
            if held is not None:
                yield held
            held, until_ns = _Stretch([], doubt), interval.to_ns
        elif doubt:
            held.doubt_inside = True
        doubt = False
        held.bars.append(bar)
    if held is not None:
        yield held


def _settlement(code: str, stretch: Sequence[Bar]) -> tuple[float | None, int | None]:
    """Return the close of the bar that ends at the settlement of the session's trade date, and that instant."""
    settled = settlement_ns(code, chicago_date(stretch[-1].end_ns - SECOND_NS))
    price = next((b.close for b in reversed(stretch) if b.end_ns == settled), None)
    return (None, None) if price is None else (price, settled)


# -- gaps -----------------------------------------------------------------------------------------------------


def scan(steps: Sequence[Step], code: str, close: CloseKind, params: GapParams, skipped: Counter[str]) -> tuple[list[Found], dict[Regime, list[Shape]]]:
    """Return every gap with its fills, and the sessions of each regime as shapes for the benchmark."""
    history, register = History(params), Register()
    found: list[Found] = []
    shapes: dict[Regime, list[Shape]] = {regime: [] for regime in Regime}
    first_of_contract = 0
    for number, step in enumerate(steps):
        session, prior = step.session, history.last
        if prior is not None and prior.contract != session.contract:
            register.contract_over()
            for f in found[first_of_contract:]:
                f.last = number - 1
            first_of_contract = len(found)
        regime = regime_of(code, session.open_ns)
        if step.skip or prior is None:
            skipped[step.skip] += 1
        elif prior.close is None:
            skipped["no settlement before"] += 1
        else:
            gap = detect(history, session.contract, session.open_ns, session.open, close, regime, step.closure)
            if gap is not None:
                found.append(Found(gap, None if gap.is_roll else register.add(gap), number))
        for bar in step.bars:
            register.saw(bar.high, bar.low, bar.end_ns)
        register.session_over()
        made = shape(prior, session, history.atr or 0.0) if prior is not None and not step.skip else None
        if made is not None:
            shapes[regime].append(made)
        history.add(session)
    for f in found[first_of_contract:]:
        f.last = len(steps) - 1
    return found, shapes


def judge(found: Sequence[Found], shapes: dict[Regime, list[Shape]], seed: int, progress: Callable[[float], None] | None = None) -> list[FillRow]:
    """Return the fill statistics of the significant gaps, each beside walks of its own distance, volatility and horizon."""
    draw = random.Random(seed).random
    judged: list[Judged] = []
    remaining: list[int] = []
    chosen = [f for f in found if f.gap.significant and f.followed is not None]
    for number, f in enumerate(chosen):
        assert f.followed is not None
        left, of = f.last - f.opened + 1, shapes[f.gap.regime]
        walk: list[float] = []
        if left > 0 and of and f.gap.atr:
            walk = walk_fills(abs(math.log(f.gap.open / f.gap.prior_close)) / f.gap.atr, min(max(AGES), left - 1), of, draw, PATHS)
        judged.append(Judged(f.followed, walk))
        remaining.append(left)
        if progress is not None:
            progress((number + 1) / len(chosen))
    return fill_rows(judged, remaining, HORIZON)
