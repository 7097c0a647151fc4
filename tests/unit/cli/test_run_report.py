"""The report of a run: told from its folder alone, it must say what the run said, add up, and notice what does not."""

from __future__ import annotations

import csv
import io
import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bot import app
from bot.cli import CONFIG, ERROR, OK, USAGE, main
from bot.config import load
from bot.desk import report_text
from bot.desk.report import TABLES, break_evens
from bot.journal.attribution import LINES

SCHEMA = json.loads((Path(__file__).parents[3] / "bot/schemas/report.json").read_text(encoding="utf-8"))
SEED = "1"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A data folder with a story day that trades across a funding stamp, rejects and loses messages, and its result."""
    folder = tmp_path_factory.mktemp("report")
    faults = folder / "faults.jsonl"
    lines = (
        {"at": "PT30M", "venue": "perp", "fault": "reject", "count": 2},
        {"at": "PT2H", "venue": "perp", "fault": "lost_ack", "count": 1},
        {"at": "PT8H", "venue": "cme", "fault": "outage", "for": "PT20S"},
    )
    faults.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOT_DATA_DIR", str(folder / "data"))
        out = io.StringIO()
        patch.setattr("sys.stdout", out)
        assert main(["paper", "--for", "24h", "--speed", "max", "--seed", SEED, "--faults", str(faults), "--json"]) == OK
    return folder / "data", json.loads(out.getvalue().splitlines()[-1])


@pytest.fixture
def data(ran: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of that day as the verbs' data folder."""
    monkeypatch.setenv("BOT_DATA_DIR", str(ran[0]))
    return ran[0]


@pytest.fixture
def said(data: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    """The tables of the report as JSON, held against the schema."""
    assert main(["report", "--json"]) == OK
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    jsonschema.validate(line, SCHEMA)
    return {table["table"]: table["rows"] for table in line["report"]}


def lines_of(row: dict[str, Any]) -> float:
    """Sum of a row's attribution lines."""
    return sum(row[name] for name in LINES)


def test_it_says_what_the_run_said(said: dict[str, list[dict[str, Any]]], ran: tuple[Path, dict[str, Any]]) -> None:
    """Folded again from journal and tape, equity, attribution, counts, extremes and the journal's digest are those of the run itself."""
    _, run = ran
    (summary,) = said["summary"]
    for name in ("pairs_opened", "pairs_closed", "fills", "rejects", "unknown_orders", "kill_level", "seed", "run_id", "market_from"):
        assert summary[name] == run[name], name
    for name in ("equity_start_usd", "equity_end_usd", "pnl_usd", "net_delta_max_base", "unhedged_usd_s_max", "residual_usd"):
        assert summary[name] == pytest.approx(run[name], abs=1e-6), name
    told = {row["line"]: row["usd"] for row in said["attribution"]}
    assert told["pnl"] == pytest.approx(run["pnl_usd"], abs=1e-6)
    assert {name: told[name] for name in LINES} == pytest.approx(run["attribution"], abs=1e-6)
    lows = {venue: min(row["buffer"] for row in said["margin"] if row["venue"] == venue) for venue in ("cme", "perp")}
    assert lows == pytest.approx(run["margin_buffer_min"], abs=1e-6)
    assert {"what": "journal_sha256", "value": run["journal_sha256"]} in said["reproducibility"]
    refused = sum(row["count"] for row in said["refusals"])
    assert refused == sum(run["refusals"].values()) == sum(row["count"] for row in said["decisions"] if row["kind"] == "refused")


def test_trades_and_dates_add_up(said: dict[str, list[dict[str, Any]]], ran: tuple[Path, dict[str, Any]]) -> None:
    """Each row's lines and residual are its profit, dates cover the run without a gap, and trades are the run's pair lines."""
    _, run = ran
    assert len(said["trades"]) == run["pairs_opened"] >= 1 and len(said["dates"]) == 2
    for row in (*said["trades"], *said["dates"]):
        assert lines_of(row) + row["residual_usd"] == pytest.approx(row["pnl_usd"], abs=1e-6)
        assert abs(row["residual_usd"]) < 0.01
    assert sum(row["pnl_usd"] for row in said["dates"]) == pytest.approx(run["pnl_usd"], abs=1e-6)
    first, second = said["dates"]
    assert first["to"] == second["from"] and first["equity_end_usd"] == second["equity_start_usd"]
    for name in set(LINES) - {"stablecoin_wallet"}:
        assert sum(row[name] for row in said["trades"]) == pytest.approx(run["attribution"][name], abs=1e-6), name
        assert sum(row[name] for row in said["dates"]) == pytest.approx(run["attribution"][name], abs=1e-6), name


def test_fills_fees_and_funding_are_those_of_the_attribution(said: dict[str, list[dict[str, Any]]], ran: tuple[Path, dict[str, Any]]) -> None:
    """Slippage, fees and funding rows add up to their lines; every stamp has the estimate made before it."""
    _, run = ran
    fills = said["fills"]
    assert len(fills) == run["fills"] and all(row["decision_mid"] and row["since_intent_s"] > 0.0 for row in fills)
    assert sum(row["slippage_usd"] for row in fills) == pytest.approx(run["attribution"]["slippage"], abs=0.5)
    assert -sum(row["fee_usd"] for row in fills) == pytest.approx(run["fees_usd"], abs=1e-6)
    assert sum(row["fee_usd"] for row in said["fees"]) == pytest.approx(-run["fees_usd"], abs=1e-6)
    assert sum(row["fills"] for row in said["fees"]) == len(fills)
    assert sum(row["amount_usd"] for row in said["funding"]) == pytest.approx(run["funding_usd"], abs=1e-6)
    for row in said["funding"]:
        assert row["predicted_rate"] is not None and row["predicted"] + row["difference"] == pytest.approx(row["amount"], abs=1e-6)
        assert row["amount"] == pytest.approx(-row["qty"] * row["mark"] * row["rate"], rel=1e-6)
        assert row["predicted"] == pytest.approx(-row["qty"] * row["mark"] * row["predicted_rate"], rel=1e-6), "the short receives a positive rate"
    assert any(row["qty"] for row in said["funding"]), "a position was held over a stamp"


def test_faults_show_as_incidents_and_hedge_quality(said: dict[str, list[dict[str, Any]]], ran: tuple[Path, dict[str, Any]]) -> None:
    """Rejects and the outage are listed; open delta is timed, and its worst stretch costs what the run noted."""
    what = [row["what"] for row in said["incidents"]]
    assert what.count("rejected") == ran[1]["rejects"] > 0 and "venue lost" in what
    (quality,) = said["hedge"]
    assert quality["episodes"] == len(said["episodes"]) > 0 and quality["seconds_max"] == max(row["seconds"] for row in said["episodes"])
    assert quality["unhedged_usd_s_max"] == pytest.approx(ran[1]["unhedged_usd_s_max"], rel=0.01)


def test_books_tie_to_the_venues_own_logs(said: dict[str, list[dict[str, Any]]]) -> None:
    """Opening + realised + fees + funding + cash = closing = the venue's statement, for every venue and currency, and positions too."""
    rows = said["tie_out"]
    assert {(row["venue"], row["item"]) for row in rows} >= {("cme", "USD"), ("perp", "USDT"), ("cme", "MBTX26"), ("perp", "BTCUSDT")}
    for row in rows:
        assert row["break"] == pytest.approx(0.0, abs=1e-8), row
        if row["kind"] == "cash":
            assert sum(row[name] for name in ("opening", "realised", "fees", "funding", "cash")) == pytest.approx(row["closing"], abs=1e-6)
    last = said["equity"][-1]["trade_date"]
    closing = {(row["venue"], row["currency"]): row["closing"] for row in said["equity"] if row["trade_date"] == last}
    assert closing == {(row["venue"], row["item"]): row["closing"] for row in rows if row["kind"] == "cash"}


def moved(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run that a test may spoil."""
    shutil.copytree(data, tmp_path / "data")
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "data"))
    return next((tmp_path / "data/runs").iterdir())


def tables(data: Path) -> dict[str, list[dict[str, Any]]]:
    """The tables as built, exact."""
    return app.report(data, None, lambda share: None).tables


def test_a_fill_the_desk_never_heard_of_is_a_break(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue log with one more fill breaks cash by its fee and the position by its size; one that is gone is no statement, not a zero break."""
    run = moved(data, tmp_path, monkeypatch)
    path = run / "venue-cme.log"
    extra = next(json.loads(line) for line in path.read_text().splitlines() if '"OrderFilled"' in line)
    path.write_text(path.read_text() + json.dumps(extra | {"exec_id": "odd"}) + "\n")
    broken = {(row["venue"], row["item"]): row["break"] for row in tables(tmp_path / "data")["tie_out"]}
    assert broken["cme", "USD"] == -Decimal(extra["fee"]) and abs(broken["cme", "MBTX26"]) == Decimal(extra["qty"]) and not broken["perp", "USDT"]
    path.unlink()
    gone = [row for row in tables(tmp_path / "data")["tie_out"] if row["venue"] == "cme"]
    assert gone and all(row["statement"] is None and row["break"] is None for row in gone)


def test_a_torn_tape_is_said_and_money_still_adds_up(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With half the tape gone the notes name the gap; fees, funding and fills come from the journal and stay."""
    whole = tables(data)
    run = moved(data, tmp_path, monkeypatch)
    tape = (run / "tape.bin").read_bytes()
    (run / "tape.bin").write_bytes(tape[: len(tape) // 2])
    torn = tables(tmp_path / "data")
    assert any("unverifiable" in row["note"] for row in torn["notes"]) and not any("unverifiable" in row["note"] for row in whole["notes"])
    assert [row["fee"] for row in torn["fills"]] == [row["fee"] for row in whole["fills"]]
    assert [row["amount"] for row in torn["funding"]] == [row["amount"] for row in whole["funding"]]
    for row in (*torn["trades"], *torn["dates"]):
        assert sum(row[name] for name in LINES) + row["residual_usd"] == pytest.approx(row["pnl_usd"], abs=1e-6)


def test_a_lost_fee_shows_as_residual(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and books are two implementations: an attribution that forgets the perp's fees leaves them in the residual."""
    from bot.journal.attribution import PairAttribution

    real = PairAttribution.fee
    monkeypatch.setattr(PairAttribution, "fee", lambda self, amount, currency, marks: None if currency == "USDT" else real(self, amount, currency, marks))
    spoilt = tables(data)
    assert all(row["residual_usd"] < -100.0 for row in spoilt["trades"])
    assert sum(row["residual_usd"] for row in spoilt["dates"]) < -100.0


def test_text_fits_80_columns_and_has_every_table(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page for people names every part, and no line is wider than a terminal."""
    assert main(["report", "--run", "paper-00001"]) == OK
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= 80 and "\x1b" not in text
    for title in report_text.TITLES.values():
        assert f"\n{title}\n" in text
    assert "perp premium" in text and "MBTX26" in text and "residual" in text


def test_csv_is_a_file_per_table_or_the_one_chosen(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every table with rows becomes a file that reads back; one alone goes to stdout or a file; decimals are exact."""
    assert main(["report", "--format", "csv", "--out", str(tmp_path / "out")]) == OK
    assert capsys.readouterr().out == ""
    names = {path.stem for path in (tmp_path / "out").iterdir()}
    built = tables(data)
    assert names == {name for name in TABLES if built[name]}
    for name in names:
        rows = list(csv.DictReader((tmp_path / "out" / f"{name}.csv").open(encoding="utf-8")))
        assert len(rows) == len(built[name]) and list(rows[0]) == list(built[name][0])
    assert main(["report", "--format", "csv", "--table", "fills"]) == OK
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [Decimal(row["fee"]) for row in rows] == [row["fee"] for row in built["fills"]]
    assert main(["report", "--format", "csv", "--table", "fees", "--out", str(tmp_path / "fees.csv"), "--json"]) == OK
    jsonschema.validate(json.loads(capsys.readouterr().out.splitlines()[-1]), SCHEMA)
    assert (tmp_path / "fees.csv").read_text().startswith("venue,instrument,currency")


def test_json_to_a_file(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--format json --out writes the result object."""
    assert main(["report", "--format", "json", "--out", str(tmp_path / "r.json")]) == OK
    assert capsys.readouterr().out == ""
    jsonschema.validate(json.loads((tmp_path / "r.json").read_text()), SCHEMA)


WRONG = [
    (["--table", "fills"], USAGE), (["--format", "csv"], USAGE), (["--format", "csv", "--table", "nonsense"], USAGE), (["--format", "yaml"], USAGE),
    (["--out", "absent/folder/x.txt"], USAGE), (["--json", "--format", "text"], USAGE), (["--run", "paper-00099"], CONFIG), (["--run", "../x"], CONFIG),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "code"), WRONG, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_wrong_requests_are_one_line(data: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int) -> None:
    """A wrong option is 2, a run that is not there 3."""
    assert main(["report", *argv]) == code
    out = capsys.readouterr()
    assert out.out == "" and out.err.startswith("error: ") and out.err.count("\n") == 1


def test_no_run_and_a_damaged_one(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a run there is nothing to report (3); a damaged journal is named (1)."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "none"))
    assert main(["report"]) == CONFIG and "no run" in capsys.readouterr().err and not (tmp_path / "none").exists()
    run = moved(data, tmp_path, monkeypatch)
    (run / "journal.db").write_bytes(b"not a database at all" * 500)
    assert main(["report"]) == ERROR
    assert "journal.db" in capsys.readouterr().err


def test_break_evens_are_the_designs() -> None:
    """At 2026 prices a round trip costs about 20 bp with MBT and 12 bp with BTC; a contract of another coin or without terms is absent."""
    rows = break_evens(load("paper").settings, {"BTC": 85_000.0})
    at = {row["contract"]: row["break_even_bp"] for row in rows if row["perp"] == "BTCUSDT" and row["price"] == 85_000.0}
    assert at["MBT"] == pytest.approx(20.0, abs=1.5) and at["BTC"] == pytest.approx(12.0, abs=1.0)
    assert not any(row["contract"] in ("ETH", "MET") or row["perp"] == "ETHUSDT" for row in rows)
    dearer = [row["break_even_bp"] for row in rows if (row["contract"], row["perp"]) == ("MBT", "BTCUSDT")]
    assert dearer == sorted(dearer, reverse=True), "a fee in dollars weighs less at a higher price"
