"""gaps, sweep and data check from the command line: results held against their schemas, exit codes, and facts of the real data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "backtest"))
from bar_files import MINUTE_HEADER, cme_minutes, funding_rows, perp_series, spot_series, swing, write_bars, write_funding

from bot import config
from bot.backtest import sweep
from bot.backtest.contracts import chicago_date
from bot.backtest.formats import HOUR_NS
from bot.backtest.play import Study, play
from bot.backtest.run import Inputs, prepare, profile_of, read
from bot.backtest.screen import Screen
from bot.cli import main
from bot.market.settlement import settlement_date
from bot.model.notation import instant_ns, iso

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".." / "shared" / "data"
real = pytest.mark.skipif(not (DATA / "cme" / "BTC_front_1d.csv.gz").is_file(), reason="market data folder ../shared/data is not there")


RISE = instant_ns("2026-02-10T14:00Z")


def raised(at_ns: int) -> float:
    """Return a swing with one episode of 90 bp."""
    if RISE <= at_ns < RISE + 2 * HOUR_NS:
        return 90.0
    return 0.0 if RISE <= at_ns < RISE + 3 * HOUR_NS else swing(at_ns)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a verb writes inside the test's folder."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Write a minute market."""
    return {
        "cme": write_bars(tmp_path / "cme.csv", cme_minutes(), MINUTE_HEADER), "perp": write_bars(tmp_path / "perp.csv", perp_series(swing).bars),
        "spot": write_bars(tmp_path / "spot.csv", spot_series().bars), "funding": write_funding(tmp_path / "funding.csv", funding_rows(lambda t: 0.0001)),
    }  # fmt: skip


def held(line: str) -> dict[str, Any]:
    """Hold a result line against its schema and return it."""
    found: dict[str, Any] = json.loads(line)
    name = found["schema"].removesuffix("/1").replace(" ", "-")
    jsonschema.validate(found, json.loads((ROOT / f"bot/schemas/{name}.json").read_text(encoding="utf-8")))
    return found


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> dict[str, Any]:
    """Return the result of a verb with --json that ends with this code."""
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == code
    return held(capsys.readouterr().out.splitlines()[-1])


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    """Return the only line of a refusal."""
    capsys.readouterr()
    assert main([str(w) for w in words]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def grid(tmp_path: Path, files: dict[str, Path], text: str = "z_in = [2.0, 2.5]", more: str = "stable_fixed = 1.0") -> Path:
    """Write a grid with its files beside it."""
    path = tmp_path / "grid.toml"
    inputs = "\n".join(f"{role} = {str(file.name)!r}" for role, file in files.items())
    path.write_text(f"[grid]\n{text}\n[inputs]\n{inputs}\n{more}\n")
    return path


def test_gaps_of_minutes(capsys: pytest.CaptureFixture[str], files: dict[str, Path]) -> None:
    """A market that stands still has no gap; rows have exactly the fields of the contract, text goes to stdout."""
    found = said(capsys, "gaps", "--cme", files["cme"])
    assert found["gaps"] == [] and found["product"] == "MBT" and found["close"] == "last_trade"
    assert main(["gaps", "--cme", str(files["cme"]), "--close", "settlement", "--symbol", "BTCG26"]) == 0
    assert capsys.readouterr().out.startswith("BTC: 0 gaps of 10 bp or more")


def test_what_gaps_refuses(capsys: pytest.CaptureFixture[str], files: dict[str, Path]) -> None:
    """Bad path and bad symbol 2, a perp file as --cme 1, a bad setting 3: one line each."""
    assert "nowhere" in refused(capsys, 2, "gaps", "--cme", "nowhere.csv")
    assert "FOO" in refused(capsys, 2, "gaps", "--cme", files["cme"], "--symbol", "FOO")
    assert "cannot be used as --cme" in refused(capsys, 1, "gaps", "--cme", files["perp"])
    assert "market.leed" in refused(capsys, 3, "gaps", "--cme", files["cme"], "--set", "market.leed=BTCX26")


def test_data_check(capsys: pytest.CaptureFixture[str], files: dict[str, Path]) -> None:
    """Good files exit 0; a perp file as --cme exits 1 with the check in the result, and text for people."""
    good = said(capsys, "data", "check", "--cme", files["cme"], "--perp", files["perp"], "--spot", files["spot"], "--funding", files["funding"])
    assert all(c["ok"] for c in good["checks"])
    bad = said(capsys, "data", "check", "--cme", files["perp"], "--perp", files["perp"], code=1)
    assert [c["name"] for c in bad["checks"] if not c["ok"]] == ["cme header"]
    assert main(["data", "check", "--cme", str(files["cme"])]) == 0
    assert capsys.readouterr().out.startswith("ok   cme header")
    assert "nowhere" in refused(capsys, 2, "data", "check", "--cme", "nowhere.csv")


def test_sweep(capsys: pytest.CaptureFixture[str], tmp_path: Path, files: dict[str, Path]) -> None:
    """A grid with its files runs alone; every combination is a row and the trials are counted."""
    found = said(capsys, "sweep", "--grid", grid(tmp_path, files), "--engine", "full")
    assert found["trials"] == len(found["rows"]) == 2 and found["engine"] == "full"
    assert [r["params"] for r in found["rows"]] == [{"strategy.z_in": 2.0}, {"strategy.z_in": 2.5}]


def test_a_screened_sweep_has_the_rows_of_the_full_one(capsys: pytest.CaptureFixture[str], tmp_path: Path, files: dict[str, Path]) -> None:
    """Same fields, same rows but for the journal, which a screen does not write and says so."""
    path = grid(tmp_path, {**files, "perp": write_bars(tmp_path / "raised.csv", perp_series(raised).bars)}, "z_in = [1.5, 3.0]\nside = ['long_cme', 'both']")
    full, fast = (said(capsys, "sweep", "--grid", path, "--engine", engine) for engine in ("full", "screen"))
    assert (fast["engine"], fast["trials"], full["trials"]) == ("screen", 4, 4) and fast["rows"][0]["trades"] > 0
    assert any(note.startswith("Screened") for note in fast["notes"]) and fast["files"] == full["files"]
    for a, b in zip(full["rows"], fast["rows"], strict=True):
        assert b["journal_sha256"] is None and a["journal_sha256"]
        for name in ("trades_usd", "pnl_usd", "fees_usd", "funding_usd", "sharpe_per_trade"):
            assert b[name] == pytest.approx(a[name], abs=0.01)
        for name in ("params", "trades", "open_at_end", "refusals", "signals_over_hurdle"):
            assert a[name] == b[name], name
    assert main(["sweep", "--grid", str(path), "--engine", "screen"]) == 0
    assert "4 trials" in capsys.readouterr().out


def test_what_sweep_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path, files: dict[str, Path]) -> None:
    """A bad key 3, a missing file 2, a file in another role 1, two stablecoins 2, a rest on a screen 3: one line each, nothing played."""
    assert "strategy.passive" in refused(capsys, 3, "sweep", "--grid", grid(tmp_path, files, "passive = [true]"), "--engine", "screen")
    assert "strategy.z_inn" in refused(capsys, 3, "sweep", "--grid", grid(tmp_path, files, "z_inn = [2.0]"))
    assert "limits" in refused(capsys, 3, "sweep", "--grid", grid(tmp_path, files, "limits.drawdown_share = [0.5]"))
    assert "inputs.funding" in refused(capsys, 3, "sweep", "--grid", grid(tmp_path, {k: v for k, v in files.items() if k != "funding"}))
    assert "gone.csv" in refused(capsys, 2, "sweep", "--grid", grid(tmp_path, {**files, "perp": tmp_path / "gone.csv"}))
    assert "cannot be used as --perp" in refused(capsys, 1, "sweep", "--grid", grid(tmp_path, {**files, "perp": files["funding"]}))
    assert "exactly one of" in refused(capsys, 3, "sweep", "--grid", grid(tmp_path, files, more=""))
    assert "one of" in refused(capsys, 2, "sweep", "--grid", grid(tmp_path, files), "--stable", files["spot"], "--stable-fixed", "1.0")


TRIALS = 150
"""More than two workers get through before the test has sent its signal."""


def begun(tmp_path: Path, files: dict[str, Path]) -> subprocess.Popen[str]:
    """Start a sweep of many trials as a process and return it once its workers are up."""
    path = grid(tmp_path, files, f"z_in = {[round(1.5 + n / 200, 3) for n in range(TRIALS)]}")
    words = [sys.executable, "-m", "bot", "sweep", "--grid", str(path), "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ))
    deadline = time.monotonic() + 60.0
    while len(children(process.pid)) < 3 and process.poll() is None:  # two workers and the tracker of their resources
        assert time.monotonic() < deadline, "the workers did not start"
        time.sleep(0.02)
    return process


def children(pid: int) -> list[int]:
    """Return the processes whose parent is `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def gone(pids: list[int]) -> bool:
    """Wait up to a minute for processes to end."""
    deadline = time.monotonic() + 60.0
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_sweep_with_what_is_done(tmp_path: Path, files: dict[str, Path], number: int, code: int) -> None:
    """Trials under way end, the result holds the first rows, the exit code is the signal's and no worker is left."""
    process = begun(tmp_path, files)
    workers = children(process.pid)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    if out:
        found = held(out.splitlines()[-1])
        assert found["trials"] < TRIALS and found["notes"][0].startswith("STOPPED")
    else:
        assert err.startswith("error: stopped before the first trial"), err
    assert "Traceback" not in err and gone(workers)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")
def test_a_killed_sweep_leaves_nobody_behind(tmp_path: Path, files: dict[str, Path]) -> None:
    """The workers of a sweep that got SIGKILL end by themselves."""
    process = begun(tmp_path, files)
    workers = children(process.pid)
    process.kill()
    process.communicate(timeout=60)
    assert gone(workers)


# Facts of the real data.


@real
def test_published_gaps_agree_where_they_should(capsys: pytest.CaptureFixture[str]) -> None:
    """Every open of the published list is ours, three quarters of its closes are; the rest follow an expiry.

    The list takes the expired contract's close on the first session after an expiry: all 16 differences are there, and
    three directions flip for it. Its fills agree except on the last days of a contract, whose later prices are another's.
    """
    listed = json.loads((DATA / "cme" / "published_gaps_2024_2025H1.json").read_text())["gaps"]
    found = said(capsys, "gaps", "--cme", DATA / "cme" / "BTC_front_1d.csv.gz")
    assert found["close"] == "settlement" and found["product"] == "BTC"
    ours = {settlement_date("BTC", chicago_date(instant_ns(g["open_at"]))): g for g in found["gaps"]}
    opens = closes = flipped = fills = 0
    differ: list[date] = []
    for theirs in listed:
        day = date.fromisoformat(theirs["open_at"][:10])
        g = ours[day]
        opens += abs(g["open"] / theirs["gap_open"] - 1) < 1e-4
        same = abs(g["prior_close"] / theirs["prev_close"] - 1) < 1e-4
        closes += same
        flipped += g["direction"] != theirs["direction"]
        if same:
            assert g["gap_bps"] == pytest.approx(theirs["gap_bps"], abs=1.1), "closes that agree within a basis point"
            fills += (g["filled_close_at"] is not None and g["age_days"] < 5.5) == theirs["filled"]
        else:
            differ.append(day)
    assert (len(listed), opens, closes, flipped, fills) == (70, 70, 54, 3, 49)
    after_expiry = [d for d in differ if d.day <= 3 or d.day >= 24]
    assert len(after_expiry) == len(differ), "the first session after an expiry"


@real
def test_real_fills_are_what_chance_gives(capsys: pytest.CaptureFixture[str]) -> None:
    """The folklore of filled weekend gaps: three in four within five sessions, and so do matched random walks; no regime is mixed."""
    found = said(capsys, "gaps", "--cme", DATA / "cme" / "BTC_front_1d.csv.gz")
    rows = {(r["by"], r["value"]): r for r in found["statistics"]}
    weekend = rows["closure", "weekend"]
    assert {r["regime"] for r in found["statistics"]} == {"five_day"} and weekend["gaps"] >= 200
    assert weekend["low"] < weekend["benchmark"] < weekend["high"]
    assert sum(g["is_roll"] for g in found["gaps"]) > 80
    assert all(g["kind"] is None and g["filled_close_at"] is None for g in found["gaps"] if g["is_roll"])
    later = said(capsys, "gaps", "--cme", DATA / "cme" / "BTC_front_1d_after_24x7.csv.gz")
    split = {(g["regime"], g["open_at"] < "2026-05-29T21:00:00Z") for g in later["gaps"]}
    assert split == {("five_day", True), ("all_week", False)}


@real
def test_real_minutes_have_gaps_of_last_trades_and_no_roll(capsys: pytest.CaptureFixture[str]) -> None:
    """Interleaved days and the roll they hide make no gap; what is left out is counted."""
    found = said(capsys, "gaps", "--cme", DATA / "cme" / "MBT_front_1m.csv.gz")
    assert found["close"] == "last_trade" and found["skipped"]["a day whose contract cannot be told lies between"] >= 1
    assert not any(g["is_roll"] for g in found["gaps"]) and 10 <= len(found["gaps"]) <= 20
    assert not any("2026-01-25" <= g["open_at"][:10] <= "2026-01-29" for g in found["gaps"])


@real
def test_real_files_pass_and_show_their_traps(capsys: pytest.CaptureFixture[str]) -> None:
    """The mixed days, splices and merged holidays of the real files are found and named; nothing makes them unusable."""
    found = said(capsys, "data", "check", "--cme", DATA / "cme" / "MBT_front_1m.csv.gz", "--perp", DATA / "perp" / "binance_BTCUSDT_15m.csv.gz")
    checks = {c["name"]: c for c in found["checks"]}
    for day in ("2026-01-25", "2026-01-29", "2026-02-26", "2026-02-27"):
        assert day in checks["cme mixed days"]["found"]
    assert "MBTF26" in checks["cme rolls"]["found"] and checks["alignment"]["found"].startswith("2,315 instants")
    year = said(capsys, "data", "check", "--cme", DATA / "cme" / "BTC_front_1d.csv.gz", "--funding", DATA / "perp" / "binance_BTCUSDT_funding.csv.gz")
    daily = {c["name"]: c for c in year["checks"]}
    assert daily["cme missing sessions"]["found"].startswith("none") and daily["cme splices"]["found"].startswith("99:")
    assert daily["cme holiday merged"]["found"].startswith("56:") and daily["funding interval"]["found"] == "every 8 h"


def recorded(kind: str, sets: list[str]) -> Study:
    """Return the study of the real minutes or days under these settings."""
    daily = kind == "daily"
    inputs = Inputs(
        cme=DATA / "cme" / ("BTC_front_1d.csv.gz" if daily else "MBT_front_1m.csv.gz"),
        perp=DATA / "perp" / f"binance_BTCUSDT_{'1h' if daily else '15m'}.csv.gz", perp_mark=DATA / "perp" / "binance_BTCUSDT_mark_1h.csv.gz",
        spot=DATA / "spot" / "binance_BTCUSDT_1h.csv.gz", funding=DATA / "perp" / "binance_BTCUSDT_funding.csv.gz",
        stable=DATA / "spot" / "USDT_USD_1d.csv.gz" if daily else None, stable_fixed=None if daily else 1.0,
    )  # fmt: skip
    found = read(inputs)
    return prepare(inputs, found, config.load(profile_of(found.cme.kind), environ={}, sets=sets).settings)[0]


CHEAP = [
    "strategy.side=both", "strategy.edge_min_bp=0.01", "strategy.hurdle_margin=0", "strategy.risk_free=0", "strategy.z_watch=0.5",
    "futures.MBT.fee_per_lot=0.0001", "perps.BTCUSDT.taker_rate=0", "strategy.z_in=0.8", "strategy.window_s=43200",
]  # fmt: skip
"""At the real costs these six weeks of minutes hold no trade; without them they hold many."""
RECORDED = [
    ("minute", [], 0), ("minute", CHEAP, 40), ("minute", [*CHEAP, "costs.delay_bars=1"], 40), ("minute", [*CHEAP, "strategy.mode=carry"], 15),
    ("daily", [], 10), ("daily", ["strategy.z_in=1.0", "strategy.side=both"], 15), ("daily", ["strategy.mode=carry", "strategy.side=both"], 8),
    ("daily", ["strategy.z_in=1.0", "strategy.side=both", "costs.delay_bars=1", "costs.spread_multiple=3.0"], 5),
]  # fmt: skip


@real
@pytest.mark.parametrize(("kind", "sets", "at_least"), RECORDED, ids=lambda x: " ".join(x) if isinstance(x, list) else str(x))
def test_screen_and_engine_agree_on_the_real_data(kind: str, sets: list[str], at_least: int) -> None:
    """The same trades at the same instants, to the cent, over everything that was recorded."""
    study = recorded(kind, sets)
    full, fast = play(study, study.settings.costs), Screen(study).follow(study.settings)
    assert len(full.trades) >= at_least
    assert [(t.contract, iso(t.decided_ns), iso(t.entered_ns), t.exited_ns and iso(t.exited_ns), t.lots, t.exit_reason) for t in fast.trades] == [
        (t.contract, t.decided_at, t.entered_at, t.exited_at, int(t.lots), t.exit_reason) for t in full.trades
    ]
    assert [t.pnl_usd for t in fast.trades] == pytest.approx([t.pnl_usd for t in full.trades], abs=0.01)
    if kind == "daily":  # of minutes the engine opens a trade date when something stirs it, up to an hour after its first signal
        drawdowns = [sweep.outcome(full, 0.0).max_drawdown_usd, Screen(study).outcome(fast).max_drawdown_usd]
        assert drawdowns[0] == pytest.approx(drawdowns[1], abs=0.01), "no point of the curve is of half a pair"
