"""Stopping and killing a paper desk by signal and by file, as a process: mid-order, twice, and what is left for the next start."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.kill.latch import AUDIT, AuditLine, check_audit
from tests.e2e.test_cli_paper import bot, checked, desk, holding, result, sums

BEFORE, AFTER = "4m40s", "6m"
"""Market time before and after the entry of seed 1 (15:49:55, out at 16:28:47): a run is brought there at full speed and continued slowly."""
SLOW = ("--set", "latency.cme.reply_s=10.0")
"""The broker answers ten seconds late: an order is in flight, and unknown, long enough to be hit."""


def prepared(data: Path, span: str, *argv: str) -> str:
    """Run seed 1 for `span` at full speed and return its id."""
    run_id: str = result(data, "paper", "--for", span, "--speed", "max", "--seed", "1", *argv)["run_id"]
    return run_id


def audit(folder: Path) -> list[AuditLine]:
    """The audit file, whose chain must hold."""
    assert check_audit(folder / AUDIT) == []
    return [msgspec.json.decode(line, type=AuditLine) for line in (folder / AUDIT).read_bytes().splitlines()]


def stands(data: Path, level: str) -> dict[str, Any]:
    """Wait until the running desk has taken the latch and nothing is in flight."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen = result(data, "status")
        if seen["kill_level"] == level and seen["orders"] == [] and seen["state"] != "FLATTENING":
            return seen
    pytest.fail(f"the desk never stood at {level}")


def in_flight(data: Path, run_id: str) -> None:
    """Wait until the run log has an order that was sent and not answered."""
    path, deadline = data / "runs" / run_id / "run.log", time.monotonic() + 60
    while time.monotonic() < deadline:
        text = path.read_text()
        if "order.submitted" in text:
            assert "order.completed" not in text, "the order was over before it was seen"
            return
        time.sleep(0.005)
    pytest.fail("no order was ever sent")


def test_sigusr1_cancels_and_keeps_the_pair(tmp_path: Path) -> None:
    """CANCEL by signal: latched with its channel, nothing works any more, the hedged pair stays, the run goes on."""
    with desk(tmp_path, "--continue", prepared(tmp_path, AFTER), "--speed", "20") as (process, _):
        held = holding(tmp_path)
        process.send_signal(signal.SIGUSR1)
        seen = stands(tmp_path, "CANCEL")
        assert process.poll() is None and all(leg["qty"] for leg in seen["legs"]) and held["legs"][0]["qty"] * seen["legs"][0]["qty"] > 0
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 143
    assert checked(out)["kill_level"] == "CANCEL"
    (line,) = audit(tmp_path)
    assert (line.channel, line.level, line.after) == ("signal SIGUSR1", "CANCEL", "CANCEL")


@pytest.mark.parametrize("how", ["SIGUSR2", "file"])
def test_sigusr2_and_the_file_flatten(tmp_path: Path, how: str) -> None:
    """FLATTEN closes both legs, confirmed by a kill from the command line with the same id; nothing starts until a resume."""
    with desk(tmp_path, "--continue", prepared(tmp_path, AFTER), "--speed", "20") as (process, _):
        holding(tmp_path)
        if how == "file":
            (tmp_path / "KILL").write_text("drill by file\n")
        else:
            process.send_signal(signal.SIGUSR2)
        seen = stands(tmp_path, "FLATTEN")
        assert all(leg["qty"] == 0 for leg in seen["legs"])
        killed = result(tmp_path, "kill", "--wait", "30")
        assert killed["confirmed_flat"] and f"kill FLATTEN {killed['kill_id']}" in seen["blocked_by"]
        assert all(row["qty"] == 0 for row in result(tmp_path, "positions")["positions"])
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    run = checked(out)
    assert run["kill_level"] == "FLATTEN" and abs(run["net_delta_base"]) < 1e-9
    sums(run)
    first = audit(tmp_path)[0]
    assert (first.channel, first.reason) == (("file KILL", "drill by file") if how == "file" else ("signal SIGUSR2", "SIGUSR2"))
    assert bot(tmp_path, "paper", "--for", "1h", "--speed", "max").returncode == 6
    if how == "file":
        assert bot(tmp_path, "resume", "--reason", "over").returncode == 1
        (tmp_path / "KILL").unlink()
    assert result(tmp_path, "resume", "--reason", "over")["level"] == "NONE"
    assert bot(tmp_path, "paper", "--for", "10m", "--speed", "max").returncode == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_in_the_middle_of_an_order_drains(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    """With an order on its way the desk waits for what became of it, hedges it, and ends with nothing unknown and no bare delta."""
    run_id = prepared(tmp_path, BEFORE, *SLOW)
    with desk(tmp_path, "--continue", run_id, "--speed", "20") as (process, ready):
        in_flight(tmp_path, run_id)
        process.send_signal(sent)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == code
    run = checked(out)
    assert run["unknown_orders"] == 0 and abs(run["net_delta_base"]) <= 0.05 and run["invariant_violations"] == 0
    assert run["fills"] == 2, "one clip and its hedge: the stop came while the first clip was out, and nothing was opened after it"
    assert result(tmp_path, "orders")["orders"] == []
    stopped = json.loads((tmp_path / "runs" / ready["run_id"] / "run.log").read_text().splitlines()[-1])
    assert (stopped["event"], stopped["reason"]) == ("run.stopped", sent.name)
    assert result(tmp_path, "replay", "--run", ready["run_id"])["mismatches"] == 0


def test_two_signals_do_not_wait_and_the_run_can_go_on(tmp_path: Path) -> None:
    """A second signal ends at once, without a result, by its own code; what was in flight is found again by --continue."""
    run_id = prepared(tmp_path, BEFORE, *SLOW)
    with desk(tmp_path, "--continue", run_id, "--speed", "20") as (process, ready):
        in_flight(tmp_path, run_id)
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):  # both are there when it wakes
            process.send_signal(number)
        out, _ = process.communicate(timeout=60)
        assert process.returncode in (130, 143) and "paper/1" not in out
    assert result(tmp_path, "status")["running"] is False
    assert result(tmp_path, "orders")["orders"], "the order is still owed an answer"
    run = result(tmp_path, "paper", "--continue", ready["run_id"], "--for", "24h", "--speed", "max")
    assert run["unknown_orders"] == 0 and run["invariant_violations"] == 0 and abs(run["net_delta_base"]) <= 0.05
    assert result(tmp_path, "replay", "--run", ready["run_id"])["mismatches"] == 0
    told = {table["table"]: table["rows"] for table in result(tmp_path, "report")["report"]}
    assert all(abs(row["break"]) < 1e-8 for row in told["tie_out"]) and len(told["fills"]) == told["summary"][0]["fills"]


def test_a_hanging_desk_is_read_from_its_journal(tmp_path: Path) -> None:
    """A stopped process does not answer: every reading verb says stale with an age, and still tells what is held."""
    with desk(tmp_path, "--continue", prepared(tmp_path, AFTER), "--speed", "20") as (process, ready):
        held = holding(tmp_path)
        live = result(tmp_path, "venues")
        assert not live["stale"] and all(row["up"] and row["messages"]["venue_queries"] for row in live["venues"])
        assert result(tmp_path, "signals")["signals"][0]["z"] is not None
        process.send_signal(signal.SIGSTOP)
        for verb in ("positions", "orders", "limits", "venues", "signals"):
            seen = result(tmp_path, verb)
            assert seen["running"] and seen["stale"] and seen["stale_s"] > 0.0 and seen["run_id"] == ready["run_id"]
        assert {row["instrument"]: bool(row["qty"]) for row in result(tmp_path, "positions")["positions"]} == {leg["instrument"]: True for leg in held["legs"]}
        text = bot(tmp_path, "positions")
        assert text.returncode == 0 and text.stdout.startswith("STALE by")
        told = {table["table"]: table["rows"] for table in result(tmp_path, "report")["report"]}
        assert told["trades"][0]["closed_at"] is None and told["notes"], "a report needs no answer either"


def test_the_run_log_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    """Two processes with other hash seeds write equal logs."""
    logs = []
    for n in ("0", "4242"):
        run = json.loads(bot(tmp_path / n, "paper", "--for", "4h", "--speed", "max", "--json", PYTHONHASHSEED=n).stdout.splitlines()[-1])
        logs.append((tmp_path / n / "runs" / run["run_id"] / "run.log").read_bytes())
    assert logs[0] == logs[1] and logs[0].count(b"\n") > 20
