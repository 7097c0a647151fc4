"""A paper desk as a process: what other terminals see of it, how it is killed, stopped, refused, continued and replayed."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
LINES = 11


def environment(data: Path, **more: str) -> dict[str, str]:
    """Environment of a child: its own data folder, nobody's settings."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("BOT_")}
    return {**env, "BOT_DATA_DIR": str(data), "PYTHONPATH": str(ROOT), **more}


def bot(data: Path, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one verb to its end."""
    return subprocess.run([sys.executable, "-m", "bot", *argv], env=environment(data, **more), capture_output=True, text=True, check=False, timeout=300)


def result(data: Path, *argv: str, code: int = 0) -> dict[str, Any]:
    """Run a verb with --json and return its result, held against its schema."""
    done = bot(data, *argv, "--json")
    assert done.returncode == code, f"{argv}: exit {done.returncode}\n{done.stderr[-2000:]}"
    return checked(done.stdout)


def checked(stdout: str) -> dict[str, Any]:
    """Hold the last line against its verb's schema and return it; every line must be JSON."""
    lines = [json.loads(line) for line in stdout.splitlines()]
    verb = lines[-1]["schema"].removesuffix("/1").replace(" ", "-")
    jsonschema.validate(lines[-1], json.loads((ROOT / f"bot/schemas/{verb}.json").read_text()))
    return lines[-1]


@contextmanager
def desk(data: Path, *argv: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run a paced paper desk in the background from its ready line on; whatever happens, it does not outlive the test."""
    command = [sys.executable, "-m", "bot", "paper", "--json", *argv]
    process = subprocess.Popen(command, env=environment(data), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        jsonschema.validate(ready, json.loads((ROOT / "bot/schemas/ready.json").read_text()))
        yield process, ready
    finally:
        process.kill()
        process.wait()


def sums(run: dict[str, Any]) -> None:
    """Attribution and residual are the profit, which is the change of equity."""
    assert len(run["attribution"]) == LINES
    assert sum(run["attribution"].values()) + run["residual_usd"] == pytest.approx(run["pnl_usd"], abs=1e-6)
    assert run["equity_end_usd"] - run["equity_start_usd"] == pytest.approx(run["pnl_usd"], abs=1e-6)
    assert (run["funding_usd"], run["fees_usd"]) == (run["attribution"]["funding"], run["attribution"]["fees"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_story_day_trades_and_adds_up(tmp_path: Path, seed: int) -> None:
    """A day of story opens and closes at least one pair, with a small residual, no violation, and ends flat or hedged."""
    run = result(tmp_path, "paper", "--for", "24h", "--speed", "max", "--seed", str(seed))
    assert run["pairs_opened"] >= 1 and run["pairs_closed"] >= 1 and run["fills"] > 0, f"seed {seed}"
    assert run["invariant_violations"] == 0 and run["unknown_orders"] == 0 and run["kill_level"] == "NONE", f"seed {seed}"
    assert abs(run["residual_usd"]) < 1.0 and abs(run["net_delta_base"]) <= 0.05, f"seed {seed}"
    assert (run["seed"], run["mode"], run["market_from"], run["market_to"]) == (seed, "paper", "2026-11-03T15:45:00Z", "2026-11-04T15:45:00Z")
    sums(run)
    again = result(tmp_path, "replay", "--run", run["run_id"])
    assert again["mismatches"] == 0 and again["unverifiable"] == [] and again["commands_sha256"] == run["commands_sha256"]


def test_the_same_seed_is_the_same_run_whatever_the_hash_seed(tmp_path: Path) -> None:
    """Two processes with different hash seeds, folders and paces write the same journal."""
    runs = []
    for n, (hash_seed, speed) in enumerate((("0", "max"), ("4242", "14400"))):
        done = bot(tmp_path / str(n), "paper", "--for", "4h", "--speed", speed, "--json", PYTHONHASHSEED=hash_seed)
        assert done.returncode == 0, done.stderr[-2000:]
        runs.append(checked(done.stdout))
    assert runs[0]["journal_sha256"] == runs[1]["journal_sha256"]
    assert runs[0]["commands_sha256"] == runs[1]["commands_sha256"]


def test_a_running_desk_answers_is_alone_and_stops_in_order(tmp_path: Path) -> None:
    """Status answers from another process, a second desk is refused, SIGTERM drains, prints the result and exits 143."""
    with desk(tmp_path, "--speed", "60") as (process, ready):
        assert ready["pid"] == process.pid and Path(ready["data_dir"]) == tmp_path
        seen = result(tmp_path, "status")
        assert seen["running"] and seen["stale_s"] == 0.0 and seen["run_id"] == ready["run_id"] and seen["mode"] == "paper"
        second = bot(tmp_path, "paper", "--for", "1h", "--speed", "max")
        assert second.returncode == 1 and second.stderr.count("\n") == 1 and str(process.pid) in second.stderr
        assert len(list((tmp_path / "runs").iterdir())) == 1
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 143
    run = checked(out)
    assert run["run_id"] == ready["run_id"] and run["unknown_orders"] == 0
    assert result(tmp_path, "status")["running"] is False


def test_sigint_is_130(tmp_path: Path) -> None:
    """Ctrl-C stops the desk in order too."""
    with desk(tmp_path, "--speed", "60") as (process, _):
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 130
    assert checked(out)["schema"] == "paper/1"


def holding(data: Path) -> dict[str, Any]:
    """Wait until the running desk holds both legs; the market runs, so this is a matter of its seed."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        seen = result(data, "status")
        if seen["running"] and seen["legs"] and all(leg["qty"] for leg in seen["legs"]):
            return seen
        if not seen["running"]:
            break
    pytest.fail("the desk never held a pair")


def test_kill_flattens_a_holding_desk_and_latches(tmp_path: Path) -> None:
    """kill from another terminal closes both legs, is confirmed by the venues, and nothing starts until a resume."""
    with desk(tmp_path, "--speed", "400", "--seed", "1") as (process, _):
        holding(tmp_path)
        killed = result(tmp_path, "kill", "--reason", "test")
        assert killed["reached"] and killed["confirmed_flat"] and killed["residual"] == [] and killed["desk"] == "running"
        assert result(tmp_path, "kill")["kill_id"] == killed["kill_id"]
        seen = result(tmp_path, "status")
        assert seen["kill_level"] == "FLATTEN" and all(leg["qty"] == 0 for leg in seen["legs"]) and seen["blocked_by"]
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    run = checked(out)
    assert run["kill_level"] == "FLATTEN" and abs(run["net_delta_base"]) < 1e-9
    sums(run)
    assert bot(tmp_path, "paper", "--for", "1h", "--speed", "max").returncode == 6
    assert result(tmp_path, "resume", "--reason", "test over")["level"] == "NONE"
    assert bot(tmp_path, "paper", "--for", "1h", "--speed", "max").returncode == 0


def test_killing_what_died_holding_says_what_is_left(tmp_path: Path) -> None:
    """After SIGKILL mid-trade the venues' own logs still hold the legs: kill exits 6, and --continue closes them."""
    with desk(tmp_path, "--speed", "400", "--seed", "1") as (process, ready):
        holding(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    gone = result(tmp_path, "status")
    assert gone["running"] is False and any(leg["qty"] for leg in gone["legs"]) and {leg["venue"] for leg in gone["legs"]} == {"cme", "perp"}
    killed = result(tmp_path, "kill", "--reason", "crash", code=6)
    assert not killed["confirmed_flat"] and {r["what"] for r in killed["residual"]} == {"position"} and killed["desk"] == "none"
    assert bot(tmp_path, "paper", "--continue", ready["run_id"], "--for", "1h", "--speed", "max").returncode == 6
    result(tmp_path, "resume", "--reason", "recover it")
    run = result(tmp_path, "paper", "--continue", ready["run_id"], "--for", "24h", "--speed", "max")
    assert run["run_id"] == ready["run_id"] and run["unknown_orders"] == 0 and abs(run["net_delta_base"]) <= 0.05
    assert result(tmp_path, "replay", "--run", ready["run_id"])["mismatches"] == 0


def test_a_hanging_desk_is_stale_and_can_be_latched(tmp_path: Path) -> None:
    """A stopped process holds its socket and its database: status says STALE with its age, kill latches and does not claim success."""
    with desk(tmp_path, "--speed", "60") as (process, _):
        process.send_signal(signal.SIGSTOP)
        seen = result(tmp_path, "status")
        assert seen["running"] and seen["state"] == "SILENT" and seen["stale_s"] > 0.0
        killed = result(tmp_path, "kill", "--wait", "0.5", code=6)
        assert killed["desk"] == "silent" and not killed["confirmed_flat"]
        process.send_signal(signal.SIGCONT)
        awake = result(tmp_path, "kill", "--wait", "30")
        assert awake["reached"] and awake["kill_id"] == killed["kill_id"]


def test_a_database_of_another_mode_is_3(tmp_path: Path) -> None:
    """A run folder whose database was written live is not opened on paper, and nothing is written to it."""
    run = result(tmp_path, "paper", "--for", "10m", "--speed", "max")["run_id"]
    database = tmp_path / "runs" / run / "journal.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE meta SET value = 'live' WHERE key = 'mode'")
    connection.close()
    done = bot(tmp_path, "paper", "--continue", run, "--for", "10m", "--speed", "max")
    assert done.returncode == 3 and "live" in done.stderr and done.stderr.count("\n") == 1


WRONG_FAULTS = [
    '{"at":"PT1M","venue":"perp","fault":"sunshine"}',
    '{"at":"PT1M","venue":"perp","fault":"reject","colour":1}',
    '{"at":"soon","venue":"perp","fault":"reject"}',
    "{",
]


@pytest.mark.parametrize("line", WRONG_FAULTS)
def test_a_wrong_fault_is_3_and_nothing_starts(tmp_path: Path, line: str) -> None:
    """An unknown fault, key or time in the faults file is named with its line."""
    path = tmp_path / "faults.jsonl"
    path.write_text('{"at":"PT1M","venue":"perp","fault":"lost_ack"}\n' + line + "\n")
    done = bot(tmp_path / "data", "paper", "--for", "1h", "--speed", "max", "--faults", str(path))
    assert done.returncode == 3 and "2" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "data" / "runs").exists()


def test_without_a_terminal_plain_lines_tell_the_story(tmp_path: Path) -> None:
    """No escape codes: the banner, entries, fills, funding and the attribution card."""
    done = bot(tmp_path, "paper", "--for", "24h", "--speed", "max", "--seed", "1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "\x1b" not in done.stdout and "not evidence" in done.stdout.splitlines()[0]
    for wanted in ("ENTER", "filled", "EXIT", "funding", "perp premium", "residual", "refusals:"):
        assert wanted in done.stdout, wanted


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_the_live_view_draws_and_the_card_remains(tmp_path: Path, columns: int) -> None:
    """A terminal gets the live view at its own width, no line wider, and the result card at the end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {k: v for k, v in environment(tmp_path, TERM="xterm-256color").items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "bot", "paper", "--for", "40m", "--speed", "1800", "--seed", "1"]
    process = subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = bytearray()
    while True:
        try:
            data = os.read(master, 1 << 16)
        except OSError:  # Linux ends a terminal that nobody holds with an error
            break
        if not data:
            break
        shown += data
    os.close(master)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    alternate, _, after = shown.decode().rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in alternate and "blocked by:" in text and "worst margin" in text and "NAV" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", after)
    frame = [line for line in re.split(r"[\r\n]+", plain[: plain.index("paper paper-00001 seed 1")]) if line]
    widest = max(len(line) for line in frame)
    assert "PAPER: seeded market" in frame[0] and columns - 2 <= widest <= columns, "the last frame stays on the screen"
    assert any(line.startswith("╭") for line in frame) is (columns >= 120)
    assert "perp premium" in text and "residual" in text
