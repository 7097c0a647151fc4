"""Backtests from files to result: the whole road on markets of our own, bad input, and the facts of the real data."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from statistics import median, pstdev
from typing import Any

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "backtest"))
from bar_files import (
    MINUTE_HEADER,
    PRICE,
    cme_minutes,
    funding_rows,
    perp_series,
    spot_series,
    swing,
    write_bars,
    write_daily,
    write_funding,
)

import bot
from bot.backtest.contracts import chicago_date, split_contracts
from bot.backtest.formats import DAY_NS, HOUR_NS, Bar, Series, SeriesKind, read_cme, read_perp
from bot.cli import main
from bot.market.settlement import settlement_date, settlement_ns
from bot.model.notation import instant_ns

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
real = pytest.mark.skipif(not (DATA / "cme" / "MBT_front_1m.csv.gz").is_file(), reason="market data folder ../shared/data is not there")
RISE = instant_ns("2026-02-10T14:00Z")


def raised(at_ns: int) -> float:
    """Return a swing with one episode of 90 bp."""
    if RISE <= at_ns < RISE + 2 * HOUR_NS:
        return 90.0
    return 0.0 if RISE <= at_ns < RISE + 3 * HOUR_NS else swing(at_ns)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every run's data inside the test's folder."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Write a minute market with one episode."""
    return {
        "--cme": write_bars(tmp_path / "cme.csv", cme_minutes(), MINUTE_HEADER),
        "--perp": write_bars(tmp_path / "perp.csv", perp_series(raised).bars),
        "--spot": write_bars(tmp_path / "spot.csv", spot_series().bars),
        "--funding": write_funding(tmp_path / "funding.csv", funding_rows(lambda t: 0.0001)),
    }


def arguments(files: dict[str, Path], *more: str, stable: tuple[str, ...] = ("--stable-fixed", "1.0")) -> list[str]:
    """Return the command line of a backtest."""
    return ["backtest", *(word for name, path in files.items() for word in (name, str(path))), *stable, *more]


def run(capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, Any, str]:
    """Return (exit code, result object or None, standard error) of a command with --json."""
    capsys.readouterr()
    code = main([*words, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if out else None, err


def error(capsys: pytest.CaptureFixture[str], words: list[str], code: int) -> str:
    """Return the only line of an error that ends with this code and leaves no result."""
    found, result, err = run(capsys, words)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (found, result, len(lines)) == (code, None, 1), err
    return lines[0].removeprefix("error: ")


def test_from_files_to_a_trade(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The episode is traded once, the attribution sums, and the report is written."""
    path = tmp_path / "out.html"
    code, r, _ = run(capsys, arguments(files, "--report", str(path)))
    jsonschema.validate(r, json.loads((Path(bot.__file__).parent / "schemas" / "backtest.json").read_text()))
    assert code == 0 and r["schema"] == "backtest/1" and r["mode"] == "backtest"
    assert r["pairs_opened"] == r["pairs_closed"] == len(r["trades"]) == 1 and r["trades"][0]["contract"] == "MBTG26"
    assert sum(r["attribution"].values()) + r["residual_usd"] == pytest.approx(r["pnl_usd"], abs=1e-6) and abs(r["residual_usd"]) < 1e-6
    assert r["equity_end_usd"] - r["equity_start_usd"] == pytest.approx(r["pnl_usd"], abs=1e-6) and r["pnl_usd"] > 400.0
    assert r["funding_usd"] == pytest.approx(0.0001 * PRICE, rel=0.02), "the 16:00 stamp is inside, the short receives"
    assert r["bars_read"]["cme"] == len(cme_minutes()) and r["invariant_violations"] == 0
    assert path.read_text().startswith("<!doctype html>")


def test_same_files_same_hashes(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The same files give the same commands and journal; other files give others."""
    first, again = run(capsys, arguments(files))[1], run(capsys, arguments(files))[1]
    assert first == again
    files["--perp"] = write_bars(files["--perp"].with_name("calm.csv"), perp_series(swing).bars)
    assert run(capsys, arguments(files))[1]["journal_sha256"] != first["journal_sha256"]


def test_people_get_words(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json the report is printed as text, with the verdict first."""
    assert main(arguments(files)) == 0
    out = capsys.readouterr().out
    assert "1 trade made" in out and "Assumptions" in out and "fixed at 1 USD" in out


def test_a_period_can_be_chosen(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Signals outside --from..--to are counted as such; an empty period is an error."""
    _, r, _ = run(capsys, arguments(files, "--to", "2026-02-10"))
    assert r["trades"] == [] and r["rows_rejected"]["outside_from_to"] > 0 and r["market_to"] < "2026-02-10T00:01"
    assert "no signal between --from and --to" in error(capsys, arguments(files, "--from", "2027-01-01"), 1)


def test_without_spot_the_result_says_what_stood_in(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The index falls back to the perp's own price, as a printed assumption."""
    del files["--spot"]
    code, r, _ = run(capsys, arguments(files))
    assert code == 0 and "no --spot given" in next(a["value"] for a in r["assumptions"] if a["what"] == "index")


def daily_files(tmp_path: Path) -> dict[str, Path]:
    """Write settlements of one year of contracts without basis, and a perp that is 50 bp high on one afternoon."""
    days = [date.fromordinal(n) for n in range(date(2025, 1, 5).toordinal(), date(2025, 12, 28).toordinal())]
    sessions = [d for d in days if d.weekday() in (6, 0, 1, 2, 3) and d not in (date(2025, 1, 20), date(2025, 12, 25))]
    high = settlement_ns("BTC", settlement_date("BTC", date(2025, 8, 18)))
    start, end = instant_ns("2025-01-04"), instant_ns("2025-12-30")

    def level(t: int) -> float:
        if high is not None and high - HOUR_NS <= t <= high + 5 * HOUR_NS:
            return 50.0
        return 15.0 if t // DAY_NS % 2 else -15.0

    perp = [
        Bar(t, t + HOUR_NS, p, p, p, p, 5_000.0, 0)
        for t in range(start, end, HOUR_NS)
        for p in (round(PRICE * (1 + level(t + HOUR_NS) * 1e-4), 1),)
    ]
    return {
        "--cme": write_daily(tmp_path / "d.csv", [(d.isoformat(), PRICE, PRICE, 5_000.0) for d in sessions]),
        "--perp": write_bars(tmp_path / "h.csv", perp),
        "--spot": write_bars(tmp_path / "s.csv", spot_series(PRICE, start, end).bars),
        "--funding": write_funding(tmp_path / "f.csv", funding_rows(lambda t: 0.0, start, end)),
    }


def test_settlements_are_played_on_the_daily_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One signal a day and contract, met at the next open; holidays and splices are dropped, and no splice earns anything."""
    code, r, _ = run(capsys, arguments(daily_files(tmp_path)))
    assert code == 0 and r["profile"] == "backtest-daily"
    assert {c["contract"] for c in r["contracts"]} >= {"BTCF25", "BTCU25"} and r["rows_rejected"]["splice_day"] >= 11
    assert r["rows_rejected"]["holiday_merged"] >= 5
    (trade,) = r["trades"]
    assert trade["decided_at"] == "2025-08-19T20:00:00Z" and trade["entered_at"] == "2025-08-19T22:00:00Z" and trade["lots"] == 5
    assert trade["cme_entry"] == PRICE + 10 and r["invariant_violations"] == 0 and abs(r["residual_usd"]) < 1e-6
    assert max(row["samples"] for row in r["contracts"]) < 25


# Bad input: one line that names file, row or key; the right code; nothing written.


@pytest.mark.parametrize(
    ("role", "row", "what"),
    [
        ("--cme", "2026-02-02T00:14:00Z,1,1,1,1,1", "duplicate row"),
        ("--perp", "2026-02-01T00:00:00Z,1,1,1,1,1", "out of order"),
        ("--perp", "2026-02-14T00:00:00Z,80000,80000,80000,nan,1", "close 'nan' is not a number"),
        ("--cme", "2026-03-01T00:00:00Z,-5,1,1,1,1", "Open -5.0 is not a positive price"),
        ("--spot", "2026-02-14T00:00:00Z,0,0,0,0,1", "open 0.0 is not a positive price"),
        ("--funding", "2026-02-14T00:00:00Z,1.5", "is not a fraction per period"),
        ("--perp", "2026-02-14T00:00:00Z,80000", "2 columns, the header has 6"),
    ],
)
def test_a_bad_row_ends_the_run(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str, row: str, what: str) -> None:
    """Exit 1, the file and the row are named, and no report appears."""
    path = files[role]
    text = path.read_text()
    where = 4 if "duplicate" in what else len(text.splitlines()) + 1
    lines = text.splitlines()
    path.write_text("\n".join([*lines[:2], row, *lines[2:]] if "duplicate" in what else [*lines, row]) + "\n")
    said = error(capsys, arguments(files, "--report", str(tmp_path / "out.html")), 1)
    assert said.startswith(f"{path}: row {where}: ") and what in said
    assert not list(tmp_path.glob("*.html*")) and not list(tmp_path.glob(".*part"))


def test_wrong_files_and_options(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad path is usage (2), bad content is 1, a setting is 3: each names what is wrong."""
    assert "cannot be used as --cme" in error(capsys, arguments({**files, "--cme": files["--perp"]}), 1)
    assert "does not exist" in error(capsys, arguments({**files, "--perp": tmp_path / "absent.csv"}), 2)
    assert "exactly one of --stable and --stable-fixed" in error(capsys, arguments(files, stable=()), 2)
    both = ("--stable-fixed", "1", "--stable", str(files["--spot"]))
    assert "exactly one of --stable and --stable-fixed" in error(capsys, arguments(files, stable=both), 2)
    assert "unknown key strategy.zin" in error(capsys, arguments(files, "--set", "strategy.zin=1"), 3)
    assert "limits.spread_stop_bp" in error(capsys, arguments(files, "--set", "limits.spread_stop_bp=nan"), 3)
    assert "not the price of a dollar stablecoin" in error(capsys, arguments(files, stable=("--stable-fixed", "nan")), 3)
    assert error(capsys, arguments(files, "--report", str(tmp_path / "no" / "out.html")), 2)


def test_another_product_or_coin_is_refused(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Prices off the product's grid and legs far apart are two coins, not a trade."""
    off = [Bar(b.start_ns, b.end_ns, 1_700.25, 1_700.25, 1_700.25, 1_700.25, b.volume, 0) for b in cme_minutes()]
    write_bars(files["--cme"], off, MINUTE_HEADER)
    assert "is not on the 5 USD grid of MBT" in error(capsys, arguments(files), 1)
    low = [Bar(b.start_ns, b.end_ns, 1_700.0, 1_700.0, 1_700.0, 1_700.0, b.volume, 0) for b in cme_minutes()]
    write_bars(files["--cme"], low, MINUTE_HEADER)
    assert "not the same coin" in error(capsys, arguments(files), 1)


def test_a_stablecoin_that_ended_is_named(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stablecoin file that ends before the signals is unknown, not one: the error says until when it was known."""
    path = tmp_path / "usdt.csv"
    rows = "".join(f"2024-12-0{d} 00:00:00+00:00,1.0,1.0,1.0,1.0,7,0.0,0.0\n" for d in (6, 7))
    path.write_text("Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n" + rows)
    said = error(capsys, arguments(files, stable=("--stable", str(path))), 1)
    assert said.startswith(f"{path}: no usable price") and "2024-12-08T00:00:00Z" in said


# The real data.


def inputs(cme: str, perp: str) -> dict[str, Path]:
    """Return real files."""
    return {
        "--cme": DATA / "cme" / cme, "--perp": DATA / "perp" / perp, "--spot": DATA / "spot" / "binance_BTCUSDT_1h.csv.gz",
        "--funding": DATA / "perp" / "binance_BTCUSDT_funding.csv.gz", "--perp-mark": DATA / "perp" / "binance_BTCUSDT_mark_1h.csv.gz",
    }  # fmt: skip


@pytest.fixture(scope="module")
def legs() -> tuple[Series, Series, Series]:
    """Return MBT minutes and the perp's quarter hours and hours."""
    if not DATA.is_dir():
        pytest.skip("market data folder ../shared/data is not there")
    perp = DATA / "perp"
    return read_cme(DATA / "cme" / "MBT_front_1m.csv.gz"), read_perp(perp / "binance_BTCUSDT_15m.csv.gz"), read_perp(perp / "binance_BTCUSDT_1h.csv.gz")


def basis(cme: tuple[Bar, ...], closes: dict[int, float], key: str) -> list[float]:
    """Return CME over perp in bp, bars matched by this stamp."""
    return sorted((b.close / closes[getattr(b, key)] - 1.0) * 1e4 for b in cme if getattr(b, key) in closes)


def test_mixed_days_and_rolls_of_the_minute_file(legs: tuple[Series, Series, Series]) -> None:
    """The days on which two contracts interleave are found by the level jumps, and 2026-01-30 is the next month already."""
    cme, quarters, _ = legs
    for perp in (quarters, None):
        split = split_contracts(cme, "MBT", perp)
        assert [d.isoformat() for d in split.dropped_days] == [*(f"2026-01-{d}" for d in range(25, 30)), "2026-02-26", "2026-02-27"]
        assert [s.contract for s in split.segments] == ["MBTF26", "MBTG26"]
        assert chicago_date(split.segments[1].first_ns) == date(2026, 1, 30)
        assert sum(split.rows_rejected.values()) + sum(len(s.bars) for s in split.segments) == split.rows_read == 43_125


def test_bar_ends_of_the_minute_file(legs: tuple[Series, Series, Series]) -> None:
    """2,857 of about 4,220 quarter hours end with a CME minute; pairing labels instead of ends multiplies the noise."""
    cme, quarters, hours = legs
    ends = {b.end_ns for b in cme.bars}
    inside = [b for b in quarters.bars if cme.bars[0].start_ns < b.end_ns <= cme.bars[-1].end_ns]
    assert sum(b.end_ns in ends for b in inside) == 2_857 and abs(len(inside) - 4_220) <= 1
    everything = basis(cme.bars, {b.end_ns: b.close for b in quarters.bars}, "end_ns")
    assert median(everything) == pytest.approx(17.0, abs=1.0)
    clean = tuple(b for s in split_contracts(cme, "MBT", quarters).segments for b in s.bars)
    paired = basis(clean, {b.end_ns: b.close for b in quarters.bars}, "end_ns")
    n = len(paired)
    assert median(paired) == pytest.approx(17.0, abs=1.0)
    assert paired[n // 100] == pytest.approx(1.0, abs=1.0) and paired[-n // 100] == pytest.approx(47.0, abs=1.5)
    assert pstdev(paired) == pytest.approx(9.8, abs=0.3)
    assert pstdev(basis(clean, {b.start_ns: b.close for b in quarters.bars}, "start_ns")) == pytest.approx(37.0, abs=1.0)
    assert pstdev(basis(clean, {b.start_ns: b.close for b in hours.bars}, "start_ns")) == pytest.approx(69.0, abs=1.5)


def test_settlements_of_the_daily_file(legs: tuple[Series, Series, Series]) -> None:
    """43 merged holidays since the perp began; aligned at 15:00 Chicago the basis of 2025 is about +39 bp, an hour later nonsense."""
    _, _, hours = legs
    split = split_contracts(read_cme(DATA / "cme" / "BTC_front_1d.csv.gz"), "BTC")
    assert split.kind is SeriesKind.CME_DAILY
    merged = [d for d, why in split.dropped_days.items() if why == "holiday_merged" and d >= date(2019, 9, 8)]
    assert len(merged) == 43
    closes = {b.end_ns: b.close for b in hours.bars}
    rows = tuple(b for s in split.segments for b in s.bars if chicago_date(b.end_ns).year == 2025)
    right = basis(rows, closes, "end_ns")
    late = basis(rows, {end - HOUR_NS: close for end, close in closes.items()}, "end_ns")
    assert median(right) == pytest.approx(39.0, abs=3.0) and right[len(right) // 20] == pytest.approx(2.0, abs=5.0)
    assert right[-len(right) // 20] == pytest.approx(92.0, abs=10.0)
    assert late[len(late) // 20] < -50.0 and late[-len(late) // 20] > 110.0


@real
@pytest.mark.parametrize("perp", ["binance_BTCUSDT_15m.csv.gz", "binance_BTCUSDT_1h.csv.gz", "binance_BTCUSDT_5m.csv.gz"])
def test_minutes_of_2026(perp: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The study runs with every bar length; trades or none, every signal has its reason and the page says the stablecoin was assumed."""
    path = tmp_path / "r.html"
    code, r, _ = run(capsys, arguments(inputs("MBT_front_1m.csv.gz", perp), "--report", str(path)))
    assert code == 0 and r["invariant_violations"] == 0 and r["unknown_orders"] == 0
    assert sum(r["signals_by_reason"].values()) == r["bars_at_signals"]["signals"] > 500
    assert r["rows_rejected"] == {"mixed_contracts": 8_115, "stray_contract": 42}
    assert sum(b["looks"] for b in r["edge_histogram"]) > 0 and r["open_at_end"] == 0
    page = path.read_text()
    assert "fixed at 1 USD" in page and "Edge against the hurdle" in page
    if not r["trades"]:
        assert "No trade was made" in page and sum(b["signals"] for b in r["edge_histogram"] if (b["from_bp"] or -1) >= 0.0) == 0


@real
def test_settlements_of_2020_to_2026(capsys: pytest.CaptureFixture[str]) -> None:
    """The daily study sums to the cent over every contract, holds no trade across a splice, and shows what delay does to it."""
    code, r, _ = run(capsys, arguments(inputs("BTC_front_1d.csv.gz", "binance_BTCUSDT_1h.csv.gz")))
    assert code == 0 and r["invariant_violations"] == 0 and abs(r["residual_usd"]) < 0.01
    assert len(r["contracts"]) > 70 and r["market_from"] < "2019-10" and r["market_to"] > "2026-02"
    spans = {c["contract"]: (c["market_from"], c["market_to"]) for c in r["contracts"]}
    for trade in r["trades"]:
        first, last = spans[trade["contract"]]
        assert first <= trade["decided_at"] and trade["exited_at"] is not None and trade["exited_at"] <= last
        assert trade["decided_at"] < trade["entered_at"], "never filled at the settlement that made the signal"
    split = split_contracts(read_cme(DATA / "cme" / "BTC_front_1d.csv.gz"), "BTC")
    cme_open = {(s.contract, b.start_ns): b.open for s in split.segments for b in s.opens}
    perp_open = {b.start_ns: b.open for b in read_perp(DATA / "perp" / "binance_BTCUSDT_1h.csv.gz").bars}
    for trade in r["trades"]:
        for when, side, cme, perp in (("entered_at", 1, "cme_entry", "perp_entry"), ("exited_at", -1, "cme_exit", "perp_exit")):
            at = instant_ns(trade[when])
            assert trade[cme] == cme_open[trade["contract"], at] + side * 10.0, "the contract's own open, two ticks worse"
            assert trade[perp] == pytest.approx(perp_open[at] * (1 - side * 0.5e-4), abs=0.1)
        gross = trade["coins"] * (trade["cme_exit"] - trade["cme_entry"] + trade["perp_entry"] - trade["perp_exit"])
        assert gross + trade["attribution"]["fees"] + trade["attribution"]["funding"] == pytest.approx(trade["pnl_usd"], abs=0.01)
    assert sum(t["pnl_usd"] for t in r["trades"]) + r["attribution"]["stablecoin_wallet"] == pytest.approx(r["pnl_usd"], abs=0.01)
    assert [c["delay_bars"] for c in r["cases"]][:3] == [0, 1, 2] and r["open_at_end"] == 0
