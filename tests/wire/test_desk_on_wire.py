"""Whole desks through both client libraries: the demo of the README, a kill, a death with a position, an examination."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import jsonschema
from desk_rig import ROOT, desk, held, last_line, ports, verb, wire

SCHEMAS = ROOT / "bot/schemas"
FAULTS = (
    {"at": "PT20S", "venue": "cme", "fault": "drop", "for": "PT5S"},
    {"at": "PT0S", "venue": "perp", "fault": "lost_reply"},
    {"at": "PT32S", "venue": "perp", "fault": "lost_ack"},
)


def valid(line: dict[str, object], name: str) -> None:
    """Hold a line against its schema."""
    jsonschema.validate(line, json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8")))


def test_a_minute_on_the_wire_trades_a_pair_through_a_dropped_gateway_and_a_lost_reply(tmp_path: Path) -> None:
    """It ends flat and reconciled, every row explained; its record replays, and a kill afterwards claims nothing it cannot know."""
    script = tmp_path / "faults.jsonl"
    script.write_text("".join(json.dumps(row) + "\n" for row in FAULTS), encoding="utf-8")
    done = verb(tmp_path, "paper", "--venues", "wire", "--for", "60s", "--seed", "1", "--faults", str(script), "--json")
    log = (tmp_path / "runs/paper-00001/run.log").read_text(encoding="utf-8")
    assert done.returncode == 0, (done.stderr, log[-4000:])
    result = last_line(done.stdout)
    valid(result, "paper")
    assert result["pairs_opened"] >= 1 and result["pairs_closed"] == result["pairs_opened"], result
    assert result["net_delta_base"] == 0.0 and result["unknown_orders"] == 0 and result["invariant_violations"] == 0, result
    assert abs(result["residual_usd"]) < 0.01, result
    happened = [json.loads(line) for line in log.splitlines()]
    lost = [e for e in happened if e["event"] == "venue.lost" and e["venue"] == "cme"]
    assert lost and [e for e in happened if e["event"] == "venue.connected" and e["venue"] == "cme" and e["seq"] > lost[-1]["seq"]]
    struck = (tmp_path / "runs/paper-00001/wire.log").read_text(encoding="utf-8").splitlines()[-1]
    assert struck == "faults that struck: cme drop 1; perp lost_ack 1; perp lost_reply 1", struck
    assert {e["client_order_id"][-9] for e in happened if e["event"] == "order.unknown"} == {"H"}
    assert {e["kind"] for e in happened if e["event"] == "reconcile.mismatch"} == {"interrupted"}
    last_ready = [e["event"] for e in happened if e["event"].startswith("reconcile.")][-1]
    assert last_ready == "reconcile.agreed"
    replayed = last_line(verb(tmp_path, "replay", "--run", result["run_id"], "--json").stdout)
    assert replayed["mismatches"] == 0 and replayed["unverifiable"] == [] and replayed["commands_sha256"] == result["commands_sha256"]
    killed = verb(tmp_path, "kill", "--json")
    assert killed.returncode == 6 and {r["what"] for r in last_line(killed.stdout)["residual"]} == {"unconfirmed"}


def test_a_death_with_a_position_then_a_recovery_then_a_kill(tmp_path: Path) -> None:
    """SIGKILL with both legs held; the servers live on. The next process knows what it holds and agrees with both venues.

    A kill from another terminal then flattens: exit 0 only on both venues' own word; the stop prints its result, exits 143.
    """
    with wire(tmp_path, "--seed", "3") as ready:
        valid(ready, "wire")
        at = ports(ready)
        with desk(tmp_path, "paper", "--venues", "wire", *at, "--json") as running:
            before = held(running.until(lambda s: len(held(s)) == 2 and abs(s["net_delta_base"]) < 0.01))
            running.end(signal.SIGKILL)
        with desk(tmp_path, "paper", "--venues", "wire", *at, "--continue", "paper-00001", "--json") as running:
            first = held(running.status())
            assert first.keys() == before.keys() and all(abs(first[i]) >= abs(before[i]) for i in before), (before, first)
            running.until(lambda s: not any(why.startswith("not_ready") or "econcil" in why for why in s["blocked_by"]), 20.0)
            killed = verb(tmp_path, "kill", "--reason", "test", "--json")
            assert killed.returncode == 0, killed.stdout + killed.stderr
            assert last_line(killed.stdout)["confirmed_flat"] is True and not held(running.status())
            code, out = running.end(signal.SIGTERM)
    assert code == 143
    result = last_line(out)
    assert result["kill_level"] == "FLATTEN" and result["invariant_violations"] == 0 and result["unknown_orders"] == 0, result
    replayed = last_line(verb(tmp_path, "replay", "--run", "paper-00001", "--json").stdout)
    assert replayed["mismatches"] == 0, replayed


def test_a_doctor_finds_the_wire_well_and_says_what_ails_it(tmp_path: Path) -> None:
    """Everything green on a healthy wire; a key that may withdraw fails with its cure."""
    script = tmp_path / "faults.jsonl"
    script.write_text(json.dumps({"at": "PT0S", "venue": "perp", "fault": "withdraw_enabled", "for": "PT60S"}) + "\n", encoding="utf-8")
    with wire(tmp_path) as ready:
        well = verb(tmp_path, "doctor", "--stage", "wire", *ports(ready), "--json")
    assert well.returncode == 0, well.stdout + well.stderr
    line = last_line(well.stdout)
    valid(line, "doctor")
    names = {c["name"] for c in line["checks"]}
    venues = {"cme session", "cme account", "cme clock", "cme MBTX26 prices", "cme MBTX26 sessions", "perp key", "perp terms", "ref price"}
    assert venues | {"disk", "fence host"} <= names
    with wire(tmp_path, "--faults", str(script)) as ready:
        ill = verb(tmp_path, "doctor", "--stage", "wire", *ports(ready), "--json")
    failed = [c for c in last_line(ill.stdout)["checks"] if not c["ok"]]
    assert ill.returncode == 4 and [c["name"] for c in failed] == ["perp key"] and failed[0]["fix"], failed
