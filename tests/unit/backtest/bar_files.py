"""Markets made of a few numbers, as the structs a backtest reads and as the files it reads them from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bot import config
from bot.backtest.align import Known, align
from bot.backtest.contracts import Contracts, Segment
from bot.backtest.formats import DAY_NS, HOUR_NS, MINUTE_NS, Bar, FundingRow, Series, SeriesKind
from bot.backtest.play import Study
from bot.config import Settings
from bot.market.calendar import CmeCalendar, State
from bot.market.expiry import expiry_ns, parse_contract
from bot.model.notation import instant_ns

QUARTER_NS = 15 * MINUTE_NS
FROM = instant_ns("2026-02-02")
TO = instant_ns("2026-02-14")
PRICE = 80_000.0
SWING_BP = 25.0
Level = Callable[[int], float]


def bar(start_ns: int, length_ns: int, price: float, volume: float = 100.0, *, open_: float | None = None, row: int = 0) -> Bar:
    """Return a bar that opens at `open_` (default: its price) and closes at its price."""
    o = price if open_ is None else open_
    return Bar(start_ns, start_ns + length_ns, o, max(o, price), min(o, price), price, volume, row)


def quarters(from_ns: int = FROM, to_ns: int = TO) -> range:
    """Return the starts of the quarter hours."""
    return range(from_ns, to_ns, QUARTER_NS)


def swing(at_ns: int) -> float:
    """Return +-25 bp, turning with every quarter hour: a premium with a deviation and no drift."""
    return SWING_BP if at_ns // QUARTER_NS % 2 else -SWING_BP


def perp_series(level: Level, from_ns: int = FROM, to_ns: int = TO) -> Series:
    """Return quarter-hour bars that open and close at PRICE moved by `level` (bp, asked at the bar's end)."""
    bars = tuple(bar(t, QUARTER_NS, round(PRICE * (1 + level(t + QUARTER_NS) * 1e-4), 1), 1_000.0) for t in quarters(from_ns, to_ns))
    return Series("perp.csv", SeriesKind.PERP_BARS, QUARTER_NS, bars)


def cme_minutes(from_ns: int = FROM, to_ns: int = TO, *, price: Level = lambda t: PRICE, volume: Level = lambda t: 100.0) -> tuple[Bar, ...]:
    """Return the minute before and after each quarter hour, while CME is open."""
    calendar = CmeCalendar("MBT")
    found = []
    for t in quarters(from_ns, to_ns):
        for start in (t, t + QUARTER_NS - MINUTE_NS):
            if calendar.at(start).state is State.OPEN:
                found.append(bar(start, MINUTE_NS, price(start), volume(start), row=len(found) + 2))
    return tuple(found)


def segment(contract: str, bars: tuple[Bar, ...]) -> Segment:
    """Return one contract's bars."""
    return Segment(contract, expiry_ns(*parse_contract(contract)[1:]), bars[0].start_ns, bars[-1].end_ns, bars, bars)


def spot_series(price: float = PRICE, from_ns: int = FROM - DAY_NS, to_ns: int = TO) -> Series:
    """Return an hourly spot market that stands still."""
    return Series("spot.csv", SeriesKind.SPOT_BARS, HOUR_NS, tuple(bar(t, HOUR_NS, price) for t in range(from_ns, to_ns, HOUR_NS)))


def funding_rows(rate: Level = lambda t: 0.0, from_ns: int = FROM - DAY_NS, to_ns: int = TO) -> tuple[FundingRow, ...]:
    """Return a print every eight hours."""
    return tuple(FundingRow(t, rate(t), n + 2) for n, t in enumerate(range(from_ns, to_ns, 8 * HOUR_NS)))


def minute_settings(sets: Sequence[str] = ()) -> Settings:
    """Return the settings of a backtest on minutes."""
    return config.load("backtest", environ={}, sets=sets).settings


def study(
    segments: tuple[Segment, ...], perp: Series, *, funding: tuple[FundingRow, ...] | None = None, sets: Sequence[str] = (),
    spot: Series | None = None,
) -> Study:  # fmt: skip
    """Return a study of these contracts with a fixed stablecoin."""
    contracts = Contracts(SeriesKind.CME_MINUTE, segments, sum(len(s.bars) for s in segments), {}, {})
    known = Known(perp, spot=spot or spot_series(), stable_fixed=1.0)
    return Study(minute_settings(sets), contracts, align(contracts, known).samples, known, funding_rows() if funding is None else funding)


# Files.


def stamp(ts_ns: int) -> str:
    """Return an instant as the offshore files write it."""
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_bars(path: Path, bars: Sequence[Bar], header: str = "date,open,high,low,close,volume") -> Path:
    """Write bars as an offshore file, or as a CME minute file with that header."""
    rows = [f"{stamp(b.start_ns)},{b.open!r},{b.high!r},{b.low!r},{b.close!r},{b.volume!r}" for b in bars]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


MINUTE_HEADER = "Date,Open,High,Low,Close,Volume"
DAILY_HEADER = "date,open,high,low,close,Volume"


def write_daily(path: Path, rows: Sequence[tuple[str, float, float, float]]) -> Path:
    """Write (session date, open, settlement, volume) as a CME daily file."""
    lines = [f"{day},{o!r},{max(o, c)!r},{min(o, c)!r},{c!r},{v!r}" for day, o, c, v in rows]
    path.write_text("\n".join([DAILY_HEADER, *lines]) + "\n")
    return path


def write_funding(path: Path, rows: Sequence[FundingRow]) -> Path:
    """Write funding prints."""
    path.write_text("\n".join(["date,funding_rate", *(f"{stamp(r.ts_ns)},{r.rate!r}" for r in rows)]) + "\n")
    return path
