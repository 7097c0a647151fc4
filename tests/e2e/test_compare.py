"""data compare from the command line: a tiny folder, what is refused, and the real folder where it is there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bot.backtest.formats import HOUR_NS
from bot.cli import main
from tests.unit.backtest.test_calibration import FROM, bar, flat, walk, write_bars

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".." / "shared" / "data"
real = pytest.mark.skipif(not (DATA / "perp" / "binance_BTCUSDT_1h.csv.gz").is_file(), reason="market data folder ../shared/data is not there")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a verb writes away, and settings of the environment out."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "desk"))
    for name in [name for name in os.environ if name.startswith("BOT__")]:
        monkeypatch.delenv(name)


def compared(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """Return the result, held against its schema."""
    capsys.readouterr()
    assert main(["data", "compare", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    jsonschema.validate(found, json.loads((ROOT / "bot/schemas/data-compare.json").read_text(encoding="utf-8")))
    return found


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    """Return the only line of a refusal."""
    capsys.readouterr()
    assert main(["data", "compare", *map(str, words)]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_a_tiny_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One file of hours gives the rows that hours can give; the rest is named as not compared; text for people says the same."""
    folder = tmp_path / "data"
    folder.mkdir()
    closes = walk(1, 60 * 24 * 40, 4e-4).closes[::60].tolist()
    write_bars(folder / "BTCUSDT.csv", [bar(FROM + k * HOUR_NS, HOUR_NS, price) for k, price in enumerate(closes)])
    got = compared(capsys, "--data", folder, "--days", 10, "--seed", 2)
    rows = {row["name"]: row for row in got["rows"]}
    assert (got["seed"], got["days"], got["scenario"]) == (2, 10, "calm")
    assert rows["1 h returns: deviation"]["real"] == pytest.approx(4.0 * 60**0.5, rel=0.05)
    assert rows["1 h returns: deviation"]["source"].startswith("BTCUSDT.csv 2026-02-02T00:00:00Z .. ")
    assert any(text.startswith("funding: no file") for text in got["not_compared"])
    assert got == compared(capsys, "--data", folder, "--days", 10, "--seed", 2)
    assert main(["data", "compare", "--data", str(folder), "--days", "10"]) == 0
    assert "figures fit" in capsys.readouterr().out


def test_what_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Bad path and bad number 2, an unknown setting 3, a damaged file and an empty folder 1: one line each."""
    assert "nowhere" in refused(capsys, 2, "--data", "nowhere")
    assert "--days" in refused(capsys, 2, "--data", tmp_path, "--days", 0)
    assert "market.leed" in refused(capsys, 3, "--data", tmp_path, "--set", "market.leed=MBTX26")
    assert "nothing to compare" in refused(capsys, 1, "--data", tmp_path)
    path = write_bars(tmp_path / "BTC.csv", flat(50, HOUR_NS))
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    assert "duplicate row" in refused(capsys, 1, "--data", tmp_path)


@real
def test_the_real_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """Every group has its file, the coin's files are told from the others, and most figures fit with a seed nobody chose."""
    got = compared(capsys, "--data", DATA, "--days", 120, "--seed", 11)
    assert got["not_compared"] == []
    assert {text.partition(":")[0] for text in got["passed_over"]} >= {"perp/binance_ETHUSDT_1h.csv.gz", "perp/hyperliquid_BTC_funding_1h.csv.gz"}
    rows = {row["name"]: row for row in got["rows"]}
    assert rows["funding: share at 0.01 %"]["real"] == pytest.approx(0.152, abs=0.002)
    assert rows["basis: deviation within a contract"]["real"] == pytest.approx(6.5, abs=0.1)
    assert sum(row["ok"] for row in got["rows"]) >= 0.6 * len(got["rows"]), [row for row in got["rows"] if not row["ok"]]
