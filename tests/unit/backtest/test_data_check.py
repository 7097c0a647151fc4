"""Data checks: every fault of a file at once, what the calendar and the rules say of it, and how two legs fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bar_files import (
    DAILY_HEADER,
    MINUTE_HEADER,
    PRICE,
    bar,
    cme_minutes,
    funding_rows,
    perp_series,
    stamp,
    swing,
    write_bars,
    write_funding,
)

from bot.backtest.data_check import Check, checked, lines, run
from bot.backtest.formats import MINUTE_NS
from bot.model.notation import instant_ns

Files = dict[str, Path | None]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Write two legs and funding that fit."""
    return {
        "cme": write_bars(tmp_path / "cme.csv", cme_minutes(), MINUTE_HEADER),
        "perp": write_bars(tmp_path / "perp.csv", perp_series(swing).bars),
        "funding": write_funding(tmp_path / "funding.csv", funding_rows()),
    }


def by_name(files: Files, code: str = "MBT", tick: float | None = 5.0) -> dict[str, Check]:
    """Return the checks by name; every name is used once."""
    found = checked(files, code, tick)
    assert len({c.name for c in found}) == len(found)
    return {c.name: c for c in found}


def edited(path: Path | None, change: Callable[[list[str]], None]) -> None:
    """Change the lines of a file."""
    assert path is not None
    text = path.read_text().splitlines()
    change(text)
    path.write_text("\n".join(text) + "\n")


def test_good_files_pass_and_say_what_is_in_them(files: Files) -> None:
    """Every check holds; rows, contract, interval and decision points are counted."""
    found = by_name(files)
    assert all(c.ok for c in found.values()), [c for c in found.values() if not c.ok]
    assert found["cme header"].found == "cme minute" and "MBTG26" in found["cme rolls"].found
    assert found["funding interval"].found == "every 8 h" and found["perp holes"].found == "none"
    assert "instants at which both legs end a bar" in found["alignment"].found and "cme mixed days" in found
    assert all(line.startswith("ok  ") for line in lines(list(found.values())))


def test_all_row_faults_are_listed_at_once(files: Files) -> None:
    """Duplicate, disorder, bad price and bad time each name their rows, where the strict reader names the first alone."""

    def spoil(rows: list[str]) -> None:
        rows[20] = rows[19]
        rows[30], rows[31] = rows[31], rows[30]
        rows[40] = rows[40].replace(repr(PRICE), "nan", 1)
        rows[50] = rows[50].replace(repr(PRICE), "-1.0")
        rows[60] = "yesterday," + rows[60].partition(",")[2]
        rows[70] += ",7"

    edited(files["cme"], spoil)
    found = by_name(files)
    assert {c.name: c.found for c in found.values() if not c.ok} == {
        "cme order": "1: row 32", "cme duplicates": "1: row 21", "cme values": "3: row 41, row 51, row 71", "cme times": "1: row 61",
    }  # fmt: skip
    assert found["perp rows"].ok and "alignment" not in found, "the other files are checked all the same"
    assert all(c.fix for c in found.values() if not c.ok)


@pytest.mark.parametrize(
    ("role", "other", "says"),
    [("cme", "perp", "cannot be used as --cme"), ("perp", "funding", "cannot be used as --perp"), ("funding", "cme", "cannot be used as --funding")],
)
def test_a_file_in_another_role_is_one_failed_check(files: Files, role: str, other: str, says: str) -> None:
    """A perp file given as the CME leg, and the like, fail at the header and are looked at no further."""
    found = by_name({**files, role: files[other]})
    wrong = [c for c in found.values() if not c.ok]
    assert [c.name for c in wrong] == [f"{role} header"] and says in wrong[0].found


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "Date,Open,High,Low,Close,Volume,Extra\n", "\x1f\x8bbroken"])
def test_what_is_no_market_data_fails_without_a_trace(files: Files, content: str) -> None:
    """Empty, foreign, unknown column, damaged: one failed check, no exception."""
    assert files["cme"] is not None
    files["cme"].write_bytes(content.encode("latin-1"))
    wrong = [c for c in checked(files, "MBT", 5.0) if not c.ok]
    assert [c.name for c in wrong] == ["cme header"]


def test_rows_while_cme_was_shut_fail(files: Files) -> None:
    """Minutes inside the daily stop name the calendar; in the all-week regime only two minutes are shut."""
    shut = [bar(instant_ns("2026-02-11T22:30Z") + n * MINUTE_NS, MINUTE_NS, PRICE) for n in range(2)]
    bars = sorted([*cme_minutes(), *shut], key=lambda b: b.start_ns)
    assert files["cme"] is not None
    write_bars(files["cme"], bars, MINUTE_HEADER)
    check = by_name(files)["cme closed hours"]
    assert not check.ok and check.found.startswith("2: row ") and "2026-02-11T22:30:00Z" in check.found


def test_a_missing_session_is_named_and_not_filled(files: Files) -> None:
    """A Chicago date with trading hours and no bar is listed."""
    day = instant_ns("2026-02-10T06:00Z")
    assert files["cme"] is not None
    write_bars(files["cme"], [b for b in cme_minutes() if not day <= b.start_ns < day + 24 * 60 * MINUTE_NS], MINUTE_HEADER)
    assert by_name(files)["cme missing sessions"].found == "1: 2026-02-10"


def test_mixed_days_are_named(files: Files) -> None:
    """A day on which two price levels interleave is dropped by rule and named; the file stays usable."""
    day = instant_ns("2026-02-11T06:00Z")
    made = [bar(day + n * MINUTE_NS, MINUTE_NS, PRICE + (400.0 if n % 10 == 0 else 5.0 * (n % 2))) for n in range(600)]
    rest = [b for b in cme_minutes() if not day <= b.start_ns < day + 24 * 60 * MINUTE_NS]
    assert files["cme"] is not None
    write_bars(files["cme"], sorted([*rest, *made], key=lambda b: b.start_ns), MINUTE_HEADER)
    check = by_name(files)["cme mixed days"]
    assert check.ok and check.found == "1: 2026-02-11" and "dropped" in check.fix


def test_another_products_grid_and_another_coin_fail(files: Files, tmp_path: Path) -> None:
    """Closes off the tick grid are of another product; legs far apart are of two coins."""
    assert not by_name(files, tick=7_000.0)["cme product"].ok
    assert "cme product" not in by_name(files, tick=None), "an unknown tick is not checked against a guess"
    half = [bar(b.start_ns, b.end_ns - b.start_ns, b.close / 2, 1.0) for b in perp_series(swing).bars]
    assert not by_name({**files, "perp": write_bars(tmp_path / "other.csv", half)})["same coin"].ok


def test_holes_and_missing_prints_are_counted(files: Files) -> None:
    """A hole in a market that never closes has its length; a missing funding print its step."""
    edited(files["perp"], lambda rows: rows.__delitem__(slice(100, 104)))
    edited(files["funding"], lambda rows: rows.__delitem__(5))
    found = by_name(files)
    assert found["perp holes"].found.startswith("1 holes, 4 bars in all; the longest 1 h")
    assert found["funding interval"].found == "every 8 h; other steps: 16 h x 1" and found["funding interval"].fix


def test_periods_that_do_not_meet_fail(files: Files, tmp_path: Path) -> None:
    """Two legs of different weeks have no decision point."""
    later = perp_series(swing, instant_ns("2026-03-02"), instant_ns("2026-03-04")).bars
    check = by_name({**files, "perp": write_bars(tmp_path / "later.csv", later)})["alignment"]
    assert not check.ok and "same period" in check.fix


def daily(tmp_path: Path, labels: list[str]) -> Files:
    """Write a daily file with one row per label."""
    path = tmp_path / "daily.csv"
    path.write_text("\n".join([DAILY_HEADER, *(f"{label},70000.0,70500.0,69500.0,70000.0,100" for label in labels)]) + "\n")
    return {"cme": path}


def test_daily_rows_against_the_calendar(tmp_path: Path) -> None:
    """Two rows of one session fail, a missing session is named, a Monday holiday is none, a splice is told."""
    week = ["2026-02-11", "2026-02-12", "2026-02-15", "2026-02-17", "2026-02-18", "2026-02-19", "2026-02-22", "2026-02-24"]
    found = by_name(daily(tmp_path, week), "BTC")
    assert found["cme closed hours"].ok and found["cme missing sessions"].found == "1: 2026-02-24", "Monday evening's row is not there"
    assert found["cme splices"].found == "1: 2026-02-24" and found["cme holiday merged"].found == "1: 2026-02-15"
    twice = by_name(daily(tmp_path, [*week[:2], "2026-02-14", *week[2:]]), "BTC")["cme closed hours"]
    assert not twice.ok and "2026-02-15" in twice.found, "a Saturday row takes the session that Sunday's row has, too"
    odd = by_name(daily(tmp_path, ["2017-12-19", "2017-12-20", "2017-12-21", "2017-12-24", "2017-12-26"]), "BTC")
    assert odd["cme closed hours"].ok and "2017-12-24" in odd["cme row labels"].found


def test_beyond_the_calendar_nothing_is_said_about_sessions(tmp_path: Path) -> None:
    """Years without a calendar are one failed check."""
    found = by_name(daily(tmp_path, ["2031-01-06", "2031-01-07", "2031-01-08"]), "BTC")
    assert [c.name for c in found.values() if not c.ok] == ["cme calendar"]


def test_the_product_comes_from_the_settings_of_the_kind(files: Files, tmp_path: Path) -> None:
    """Minutes are MBT and daily rows BTC unless --symbol or market.lead say otherwise."""
    assert any("grid of MBT" in c.found for c in run(files, None))
    assert any("grid of BTC" in c.found for c in run(daily(tmp_path, ["2026-02-09", "2026-02-10", "2026-02-11"]), None))
    assert any("grid of ETH" in c.found for c in run(files, None, sets=["market.lead=ETHX26", "market.hedge=ETHUSDT"]))


def test_stamps_are_read_back(files: Files) -> None:
    """The fixture's own times are those of the format (a guard for the tests above)."""
    assert files["cme"] is not None
    assert files["cme"].read_text().splitlines()[1].startswith(stamp(cme_minutes()[0].start_ns))
