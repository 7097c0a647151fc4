"""Every verb that promises JSON has a committed schema, and the ones no other test runs end to end are held against theirs here."""

from __future__ import annotations

import json
from pathlib import Path

import click
import jsonschema
import pytest

from bot.cli import OK, cli, main
from tests.e2e.test_bench import make

SCHEMAS = Path(__file__).parents[2] / "bot/schemas"
NOT_A_VERB = {"ready"}
"""The line that `paper --json` prints before it trades."""


def verbs(group: click.Group, path: str = "") -> dict[str, click.Command]:
    """Every verb of the command line by its full name."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= verbs(command, f"{path}{name} ")
        else:
            found[f"{path}{name}"] = command
    return found


def test_each_verb_with_json_has_a_schema_and_each_schema_a_verb() -> None:
    """No result without a promise, no promise without a result."""
    promised = {name.replace(" ", "-") for name, verb in verbs(cli).items() if any(p.name == "json_out" for p in verb.params)}
    assert promised == {path.stem for path in SCHEMAS.glob("*.json")} - NOT_A_VERB


def test_bench_ticks_keeps_its_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bench prints one result object on a file made here."""
    path = tmp_path / "ticks.npz"
    make(path, 7, 20_000)
    assert main(["bench", "ticks", "--file", str(path), "--json"]) == OK
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    jsonschema.validate(line, json.loads((SCHEMAS / "bench-ticks.json").read_text(encoding="utf-8")))
    assert line["schema"] == "bench ticks/1" and line["events"] > 0


def test_bench_wire_keeps_its_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every path is measured on a few cycles, each order led to by its tick or fill, in the order the stations are passed."""
    pytest.importorskip("ccxt", reason="ccxt is not installed here")
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path))
    assert main(["bench", "wire", "--cycles", "6", "--json"]) == OK
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    jsonschema.validate(line, json.loads((SCHEMAS / "bench-wire.json").read_text(encoding="utf-8")))
    paths, series = ("tick to lead order", "fill to hedge order"), (("websocket", True), ("websocket", False), ("rest", True))
    assert {(p["path"], (p["orders"], p["durable"])) for p in line["paths"]} == {(path, how) for path in paths for how in series}
    assert all(p["cycles"] + p["left_out"] == 6 and 0.0 < p["p50_us"] <= p["p99_us"] <= p["max_us"] for p in line["paths"])
    assert list(tmp_path.glob("bench-*")) == []
