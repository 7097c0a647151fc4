"""Reading market data files: recognition by header, and one clear line for every fault."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bot.backtest.formats import (
    DAY_NS,
    HOUR_NS,
    InputError,
    SeriesKind,
    read_cme,
    read_funding,
    read_mark,
    read_perp,
    read_spot,
    read_stable,
)

PERP = "date,open,high,low,close,volume\n"
MINUTE = "Date,Open,High,Low,Close,Volume\n"
DAILY = "date,open,high,low,close,Volume,Open Interest,Open Interest (Open),Open Interest (High\n"
STABLE = "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n"
FUNDING = "date,funding_rate\n"
BAR = "100.0,102.0,99.0,101.0,5.0"
TWO = f"2026-01-15T00:00:00Z,{BAR}\n2026-01-15T01:00:00Z,{BAR}\n"


def put(folder: Path, text: str, name: str = "bars.csv") -> Path:
    """Write a plain text file and return its path."""
    path = folder / name
    path.write_text(text)
    return path


def fault(folder: Path, text: str, read: object = read_perp) -> str:
    """Return the message of the InputError that reading `text` raises, without the path."""
    path = put(folder, text)
    with pytest.raises(InputError) as caught:
        read(path)  # type: ignore[operator]
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_a_perp_file_gives_bars_with_ends(tmp_path: Path) -> None:
    """The stamp is the bar's open and the end follows from the file's own spacing."""
    series = read_perp(put(tmp_path, PERP + TWO))
    assert (series.kind, series.bar_ns) == (SeriesKind.PERP_BARS, HOUR_NS)
    first = series.bars[0]
    assert first.end_ns - first.start_ns == HOUR_NS
    assert (first.open, first.high, first.low, first.close, first.volume, first.row) == (100, 102, 99, 101, 5, 2)


def test_gzip_and_plain_text_read_alike(tmp_path: Path) -> None:
    """Compression is recognised by content, not by the file's name."""
    plain = read_perp(put(tmp_path, PERP + TWO))
    packed = tmp_path / "packed.csv"
    packed.write_bytes(gzip.compress((PERP + TWO).encode()))
    assert read_perp(packed).bars == plain.bars


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    """Columns in another order read the same."""
    text = "volume,date,close,open,high,low\n"
    rows = "".join(f"5.0,2026-01-15T0{hour}:00:00Z,101,100,102,99\n" for hour in (0, 1))
    assert read_perp(put(tmp_path, text + rows)).bars == read_perp(put(tmp_path, PERP + TWO, "b.csv")).bars


def test_offsets_are_honoured(tmp_path: Path) -> None:
    """A CME minute stamped in Brussels is stored in UTC."""
    rows = f"2026-01-15 00:00:00+01:00,{BAR}\n2026-01-15 00:01:00+01:00,{BAR}\n"
    series = read_cme(put(tmp_path, MINUTE + rows))
    assert series.kind is SeriesKind.CME_MINUTE
    assert series.bars[0].start_ns == 1_768_431_600_000_000_000


def test_an_absent_bar_is_not_a_fault(tmp_path: Path) -> None:
    """A minute without a trade has no bar; the length stays the most common spacing."""
    rows = "".join(f"2026-01-15 00:0{m}:00+00:00,{BAR}\n" for m in (0, 1, 2, 5))
    assert len(read_cme(put(tmp_path, MINUTE + rows)).bars) == 4


def test_a_minute_file_that_is_mostly_silent_is_one_of_minutes(tmp_path: Path) -> None:
    """Where gaps are more common than neighbours the smallest step still says that the bars are minutes."""
    rows = "".join(f"2026-01-15 00:{m:02d}:00+00:00,{BAR}\n" for m in (0, 7, 14, 21, 22))
    assert len(read_cme(put(tmp_path, MINUTE + rows)).bars) == 5


def test_a_daily_cme_file_ignores_its_listed_extras(tmp_path: Path) -> None:
    """Open interest columns are known extras, empty cells included; the label is the date at 00:00Z."""
    series = read_cme(put(tmp_path, DAILY + f"2026-01-14,{BAR},9,,\n2026-01-15,{BAR},9,,\n"))
    assert (series.kind, series.bar_ns) == (SeriesKind.CME_DAILY, DAY_NS)
    assert series.bars[0].start_ns % DAY_NS == 0


def test_a_chart_export_reads_as_daily_with_the_chicago_date(tmp_path: Path) -> None:
    """An epoch stamp of Sunday 17:00 Chicago becomes the label of that Sunday."""
    text = f"t,open,high,low,close,volume\n1777845600,{BAR}\n1777932000,{BAR}\n"
    series = read_cme(put(tmp_path, text))
    assert series.kind is SeriesKind.CME_DAILY
    assert series.bars[0].start_ns == 20_576 * DAY_NS


def test_a_perp_file_as_the_cme_leg_is_refused_by_its_header(tmp_path: Path) -> None:
    """Swapped arguments are named before a price is read."""
    assert fault(tmp_path, PERP + TWO, read_cme) == (
        "row 1: the header is that of an offshore bar file, it cannot be used as --cme"
    )


@pytest.mark.parametrize("read", [read_perp, read_mark, read_spot, read_stable, read_funding])
def test_a_cme_file_in_any_other_role_is_refused(tmp_path: Path, read: object) -> None:
    """A CME minute header fits no other role."""
    assert "the header is that of a CME minute file" in fault(tmp_path, MINUTE, read)


def test_an_unknown_column_is_named(tmp_path: Path) -> None:
    """A column no format lists is an error, with the columns that were expected."""
    text = "date,open,high,low,close,volume,vwap\n"
    assert fault(tmp_path, text).startswith("row 1: unknown column 'vwap' (--perp: ")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """A required column that is absent is named."""
    assert fault(tmp_path, "date,open,high,low,close\n").startswith("row 1: column 'volume' is missing")


def test_a_repeated_column_is_named(tmp_path: Path) -> None:
    """Two columns of one name cannot be told apart."""
    assert fault(tmp_path, "date,open,open,low,close,volume\n") == "row 1: column 'open' appears twice"


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (f"2026-01-15T01:00:00Z,{BAR}", "duplicate row: same time as the row before"),
        (f"2026-01-15T00:00:00Z,{BAR}", "out of order: earlier than the row before"),
        (f"2026-01-15T02:00:00,{BAR}", "date '2026-01-15T02:00:00' is not a usable time"),
        (f"yesterday,{BAR}", "date 'yesterday' is not a usable time"),
        ("2026-01-15T02:00:00Z,100,102,99,101", "5 columns, the header has 6"),
        ("", "0 columns, the header has 6"),
        ("2026-01-15T02:00:00Z,100,102,99,NaN,5", "close 'NaN' is not a number"),
        ("2026-01-15T02:00:00Z,100,inf,99,101,5", "high 'inf' is not a number"),
        ("2026-01-15T02:00:00Z,1_00,102,99,101,5", "open '1_00' is not a number"),
        ("2026-01-15T02:00:00Z,100,102,99,,5", "close '' is not a number"),
        ("2026-01-15T02:00:00Z,100,102,0,101,5", "low 0.0 is not a positive price"),
        ("2026-01-15T02:00:00Z,-100,102,99,101,5", "open -100.0 is not a positive price"),
        ("2026-01-15T02:00:00Z,100,102,99,103,5", "open and close must lie between low and high"),
        ("2026-01-15T02:00:00Z,100,102,99,101,-5", "volume -5.0 is negative"),
        (f"2026-01-15T02:30:00Z,{BAR}", "time is not on the 3600 s grid of this file"),
    ],
)
def test_a_bad_row_is_named_with_its_fault(tmp_path: Path, row: str, what: str) -> None:
    """Every bad row gives one line with the row number an editor shows."""
    extra = f"2026-01-15T03:00:00Z,{BAR}\n2026-01-15T04:00:00Z,{BAR}\n" if "2:30" in row else ""
    assert fault(tmp_path, PERP + TWO + row + "\n" + extra) == f"row 4: {what}"


@pytest.mark.parametrize(("text", "what"), [("", "empty file"), (PERP, "rows found: 0"), (PERP + TWO.splitlines(keepends=True)[0], "rows")])
def test_too_few_rows_are_an_error(tmp_path: Path, text: str, what: str) -> None:
    """Without two rows the bar length is unknown."""
    assert what in fault(tmp_path, text)


def test_a_quote_out_of_place_is_malformed(tmp_path: Path) -> None:
    """Broken CSV is an error of the row, not a guess."""
    assert fault(tmp_path, PERP + '"2026"x,1,1,1,1,1\n').startswith("row 2: malformed CSV")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    """A truncated gzip file is bad content."""
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress((PERP + TWO).encode())[:-9])
    with pytest.raises(InputError, match="damaged gzip file"):
        read_perp(path)


def test_binary_content_is_named(tmp_path: Path) -> None:
    """A file that is not text is refused."""
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_perp(path)


def test_a_path_that_does_not_exist_stays_an_os_error(tmp_path: Path) -> None:
    """A bad path is the caller's usage error, not bad content."""
    with pytest.raises(FileNotFoundError):
        read_perp(tmp_path / "absent.csv")


def test_a_mark_file_as_the_perp_is_refused(tmp_path: Path) -> None:
    """A file without any volume cannot be traded, but is fine as the mark."""
    text = PERP + TWO.replace(",5.0\n", ",0.0\n")
    assert "this is a mark price file" in fault(tmp_path, text)
    assert read_mark(tmp_path / "bars.csv").kind is SeriesKind.MARK_BARS


@pytest.mark.parametrize("read", [read_perp, read_mark, read_spot])
def test_daily_offshore_bars_are_refused_by_their_length(tmp_path: Path, read: object) -> None:
    """Offshore bars must divide the hour to end together with CME bars."""
    text = PERP + f"2026-01-15T00:00:00Z,{BAR}\n2026-01-16T00:00:00Z,{BAR}\n"
    assert "bar length is 86400 s" in fault(tmp_path, text, read)


def test_an_hourly_cme_file_is_refused_by_its_length(tmp_path: Path) -> None:
    """The intraday CME format must hold minutes: the contract rules are measured on minutes."""
    text = MINUTE + f"2026-01-15 00:00:00+00:00,{BAR}\n2026-01-15 01:00:00+00:00,{BAR}\n"
    assert "bar length is 3600 s" in fault(tmp_path, text, read_cme)


def test_a_coin_price_as_the_stablecoin_is_refused(tmp_path: Path) -> None:
    """A coin's daily file has the same header as the stablecoin's; its prices give it away."""
    rows = "".join(f"2026-01-1{d} 00:00:00+00:00,{BAR},0.0,0.0\n" for d in (4, 5))
    assert fault(tmp_path, STABLE + rows, read_stable) == "row 2: Close 101.0 is not the price of a dollar stablecoin"


def test_a_stable_file_reads(tmp_path: Path) -> None:
    """The stablecoin file's dividend columns are part of its header and ignored."""
    rows = "".join(f"2026-01-1{d} 00:00:00+00:00,1.0,1.1,0.9,1.0,7,0.0,0.0\n" for d in (4, 5))
    assert read_stable(put(tmp_path, STABLE + rows)).kind is SeriesKind.STABLE_DAILY


def test_funding_keeps_sign_and_jitter(tmp_path: Path) -> None:
    """Rates are fractions with sign; stamps are kept to the millisecond."""
    rows = read_funding(put(tmp_path, FUNDING + "2026-01-15T00:00:00.048Z,-0.0001\n2026-01-15T08:00:00Z,1e-05\n"))
    assert [(row.ts_ns % 1_000_000_000, row.rate, row.row) for row in rows] == [(48_000_000, -0.0001, 2), (0, 1e-05, 3)]


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ("2026-01-15T00:00:00Z,nan\n", "row 2: funding_rate 'nan' is not a number"),
        ("2026-01-15T00:00:00Z,10.95\n", "row 2: funding_rate 10.95 is not a fraction per period"),
        ("2026-01-15T00:00:00Z,0\n2026-01-15T00:00:00Z,0\n", "row 3: duplicate row: same time as the row before"),
        ("", "no rows"),
    ],
)
def test_bad_funding_is_named(tmp_path: Path, rows: str, what: str) -> None:
    """A percent instead of a fraction, or a repeated stamp, is refused."""
    assert fault(tmp_path, FUNDING + rows, read_funding) == what
