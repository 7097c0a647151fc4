"""Verbs end to end inside one process: exit codes, one line on stderr, JSON that its schema accepts."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bot.cli import CONFIG, ERROR, HALTED, OK, USAGE, main
from bot.kill.latch import FILES, Latch

SCHEMAS = Path(__file__).parents[3] / "bot/schemas"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own, and nobody's settings."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = OK) -> dict[str, Any]:
    """Run a verb with --json, check its exit code and schema, and return its result."""
    assert main([*argv, "--json"]) == code
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    verb = line["schema"].removesuffix("/1")
    schema = json.loads((SCHEMAS / f"{verb.replace(' ', '-')}.json").read_text(encoding="utf-8"))
    jsonschema.validate(line, schema)
    return line


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    """Run a verb that is refused; return its exit code and the one line it said."""
    code = main(list(argv))
    out = capsys.readouterr()
    assert out.out == "" and out.err.startswith("error: ") and out.err.count("\n") == 1
    return code, out.err


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda p: p.stem)
def test_schemas_are_schemas_and_refuse_an_empty_object(path: Path) -> None:
    """Each committed schema is valid and demands something."""
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, schema)


def test_kill_and_resume_without_a_desk(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """kill latches and confirms flat, paper then refuses to start, resume with a reason lowers it."""
    killed = said(capsys, "kill", "--reason", "drill")
    assert (killed["level"], killed["confirmed_flat"], killed["residual"]) == ("FLATTEN", True, [])
    again = said(capsys, "kill", "--level", "pause")
    assert again["kill_id"] == killed["kill_id"] and again["level"] == "FLATTEN"
    assert said(capsys, "status")["kill_level"] == "FLATTEN"
    code, text = refused(capsys, "paper", "--for", "1h")
    assert code == HALTED and "drill" in text and "resume" in text
    assert not (data / "runs").exists()
    assert refused(capsys, "resume", "--reason", " ")[0] == USAGE and refused(capsys, "resume")[0] == USAGE
    assert said(capsys, "resume", "--reason", "drill over")["level"] == "NONE"
    assert Latch(data).read().level.value == "NONE"


def test_half_a_latch_stops_a_start(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """One of the two files gone is FREEZE at least, and a desk does not start under it."""
    said(capsys, "kill", "--level", "PAUSE")
    said(capsys, "resume", "--reason", "x")
    (data / FILES[0]).unlink()
    code, text = refused(capsys, "paper", "--for", "1h")
    assert code == HALTED and FILES[0] in text


def test_kill_survives_a_broken_configuration(capsys: pytest.CaptureFixture[str], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that stops every other verb does not stop a kill."""
    monkeypatch.setenv("BOT__LIMITS__SPREAD_STOP_BP", "nan")
    assert refused(capsys, "paper", "--for", "1h")[0] == CONFIG
    assert said(capsys, "kill")["confirmed_flat"] is True


def test_status_without_anything(capsys: pytest.CaptureFixture[str]) -> None:
    """No desk and no run: not running, exit 0, nothing pretended."""
    s = said(capsys, "status")
    assert (s["running"], s["equity_usd"], s["legs"], s["venues"], s["kill_level"]) == (False, None, [], {}, "NONE")


def test_a_stale_socket_is_no_desk(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """A socket file left by a crash does not make a desk."""
    data.mkdir()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(data / "control.sock"))
    left.close()
    assert said(capsys, "status")["running"] is False


def test_sessions_are_half_open_and_contiguous(capsys: pytest.CaptureFixture[str]) -> None:
    """Intervals cover what was asked for without a gap; a contract is closed from its expiry on."""
    rows = said(capsys, "sessions", "--symbol", "MBTX26", "--from", "2026-11-26", "--to", "2026-11-29")["intervals"]
    assert rows[0]["from"] == "2026-11-26T00:00:00Z" and rows[-1]["to"] == "2026-11-29T00:00:00Z"
    assert all(a["to"] == b["from"] for a, b in zip(rows, rows[1:], strict=False))
    assert rows[-1] == {"from": "2026-11-27T16:00:00Z", "to": "2026-11-29T00:00:00Z", "state": "closed", "reason": "expired", "trade_date": ""}
    gone = said(capsys, "sessions", "--symbol", "MBTX26", "--from", "2026-12-01", "--to", "2026-12-02")["intervals"]
    assert [r["state"] for r in gone] == ["closed"]


USAGES = [
    ["sessions", "--symbol", "QQQ", "--from", "2026-11-26", "--to", "2026-11-29"], ["sessions", "--symbol", "MBT", "--from", "x", "--to", "2026-11-29"],
    ["sessions", "--symbol", "MBT", "--from", "2026-11-29", "--to", "2026-11-29"], ["sessions", "--symbol", "MBT"],
    ["paper", "--for", "6"], ["paper", "--for", "-1h"], ["paper", "--speed", "0"], ["paper", "--speed", "fast"], ["paper", "--scenario", "sunny"],
    ["paper", "--seed", "-1"], ["paper", "--faults", "absent.jsonl"], ["paper", "--config", "absent.toml"], ["paper", "surplus"], ["nonsense"],
    ["kill", "--level", "MAYBE"], ["kill", "--wait", "-1"], ["replay"], ["bench", "ticks"], ["bench", "ticks", "--file", "absent.npz"],
    ["backtest", "--cme", "absent.csv", "--perp", "x", "--funding", "y"], ["paper", "--continue", "paper-00001", "--seed", "2"],
    ["paper", "--continue", "paper-00001", "--set", "market.seed=2"],
]  # fmt: skip


@pytest.mark.parametrize("argv", USAGES, ids=" ".join)
def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str], data: Path, argv: list[str]) -> None:
    """Wrong words, numbers and paths exit 2 with one line, and nothing is written."""
    assert refused(capsys, *argv)[0] == USAGE
    assert not data.exists()


@pytest.mark.parametrize("setting", ["limits.nonsense=1", "limits.spread_stop_bp=nan", "limits.spread_stop_bp=-1", "market.seed=1.5"])
@pytest.mark.parametrize("verb", [["paper", "--for", "1h"], ["config", "show"]], ids=["paper", "config"])
def test_a_wrong_setting_is_3(capsys: pytest.CaptureFixture[str], data: Path, verb: list[str], setting: str) -> None:
    """A setting that cannot be used exits 3 naming it, and nothing is written."""
    code, text = refused(capsys, *verb, "--set", setting)
    assert code == CONFIG and setting.partition("=")[0] in text
    assert not data.exists()


def test_an_unknown_key_in_a_file_is_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The line names key and file."""
    path = tmp_path / "mine.toml"
    path.write_text("[limit]\nx = 1\n")
    code, text = refused(capsys, "paper", "--for", "1h", "--config", str(path))
    assert code == CONFIG and "limit" in text and str(path) in text


def test_config_show_names_sources(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting is printed with its source and what it overrides; precedence is printed."""
    monkeypatch.setenv("BOT__STRATEGY__Z_IN", "2.5")
    shown = said(capsys, "config", "show", "--set", "strategy.z_in=2.75")
    z_in = next(s for s in shown["settings"] if s["key"] == "strategy.z_in")
    fee = next(s for s in shown["settings"] if s["key"] == "futures.MBT.fee_per_lot")
    assert fee["value"] == 3.0 and shown["settings"] == sorted(shown["settings"], key=lambda s: s["key"])
    assert (z_in["value"], z_in["source"]) == (2.75, "--set") and z_in["overrides"][-1] == "environment BOT__STRATEGY__Z_IN"
    assert shown["precedence"][-2] == "--set section.key=value"
    assert main(["config", "show"]) == OK
    assert "strategy.z_in" in capsys.readouterr().out


def test_config_check_is_3_when_something_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """All profiles are checked; a failing one is named on stderr and in the result."""
    assert all(c["ok"] for c in said(capsys, "config", "check")["checks"])
    failed = said(capsys, "config", "check", "--set", "limits.collar_bp=1", code=CONFIG)
    assert any(not c["ok"] and "execution.collar_bp" in c["found"] for c in failed["checks"])


@pytest.mark.parametrize("verb", [["status"], ["kill"], ["paper", "--for", "1h"], ["resume", "--reason", "x"]], ids=lambda v: v[0])
def test_a_data_folder_that_is_a_file_is_2(capsys: pytest.CaptureFixture[str], data: Path, verb: list[str]) -> None:
    """It is a wrong path, not a latch that cannot be read."""
    data.write_text("")
    code, text = refused(capsys, *verb)
    assert code == USAGE and str(data) in text


def test_continuing_an_unknown_run_is_3(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """The run is named, and no new one is made in its stead."""
    code, text = refused(capsys, "paper", "--continue", "paper-00009", "--for", "1h")
    assert code == CONFIG and "paper-00009" in text and not (data / "runs").exists()


def test_replay_of_an_unknown_run_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that is not there is named."""
    code, text = refused(capsys, "replay", "--run", "paper-00042")
    assert code == CONFIG and "paper-00042" in text


def test_a_bench_file_with_other_content_is_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Content that is not the task's is an error of content, not of usage."""
    path = tmp_path / "x.npz"
    path.write_bytes(b"not a zip")
    code, text = refused(capsys, "bench", "ticks", "--file", str(path))
    assert code == ERROR and str(path) in text


def test_a_faults_file_that_is_no_text_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path) -> None:
    """Bytes that are no UTF-8 name the file and exit as every wrong faults file does; no run folder is left."""
    path = tmp_path / "faults.jsonl"
    path.write_bytes(b"\xff\xfe")
    code, text = refused(capsys, "paper", "--faults", str(path), "--for", "1h")
    assert code == CONFIG and "faults.jsonl" in text and not (data / "runs").exists()


@pytest.mark.parametrize("words", [[], ["bench"], ["config"], ["data"]], ids=lambda w: " ".join(w) or "alone")
def test_a_command_without_a_verb_shows_what_there_is(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """The help as it is meant to be read, on stderr, as a usage error."""
    assert main(words) == USAGE
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("Usage: ") and err.count("\n") > 5
