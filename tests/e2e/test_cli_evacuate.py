"""Leaving one venue from another terminal, with the desk as a process: running, dead, latched, resumed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parent))
from test_cli_paper import bot, checked, desk, holding, result, sums

from bot.kill.latch import AUDIT, AuditLine, check_audit


def test_a_holding_desk_leaves_a_venue(tmp_path: Path) -> None:
    """Both legs go while both trade, confirmed by the venues; shown, idempotent, exit 6 at the end of the run, nothing starts, a replay agrees."""
    with desk(tmp_path, "--speed", "400", "--seed", "1", "--for", "2h") as (process, ready):
        holding(tmp_path)
        killed = result(tmp_path, "kill", "--venue", "perp", "--reason", "insolvent")
        assert (killed["level"], killed["evacuate"], killed["desk"]) == ("EVACUATE", ["perp"], "running")
        assert killed["reached"] and killed["confirmed_flat"] and killed["residual"] == []
        assert result(tmp_path, "kill", "--level", "EVACUATE", "--venue", "perp")["kill_id"] == killed["kill_id"]
        seen = result(tmp_path, "status")
        assert (seen["kill_level"], seen["evacuate"], seen["state"]) == ("EVACUATE", ["perp"], "FLAT")
        assert all(leg["qty"] == 0 for leg in seen["legs"]) and f"kill EVACUATE perp {killed['kill_id']}" in seen["blocked_by"]
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 6
    run = checked(out)
    assert run["kill_level"] == "EVACUATE" and abs(run["net_delta_base"]) < 1e-9 and run["invariant_violations"] == 0
    sums(run)
    assert check_audit(tmp_path / AUDIT) == []
    first = msgspec.json.decode((tmp_path / AUDIT).read_bytes().splitlines()[0], type=AuditLine)
    assert (first.channel, first.reason, first.evacuate) == ("cli", "insolvent", ("perp",))
    refused = bot(tmp_path, "paper", "--for", "1h", "--speed", "max")
    assert refused.returncode == 6 and "EVACUATE perp" in refused.stderr
    assert result(tmp_path, "replay", "--run", ready["run_id"])["mismatches"] == 0
    assert result(tmp_path, "resume", "--reason", "drill over")["level"] == "NONE"
    assert bot(tmp_path, "paper", "--for", "1h", "--speed", "max").returncode == 0


def test_what_a_dead_desk_held_is_left_on_every_venue(tmp_path: Path) -> None:
    """After SIGKILL nobody closes: both legs are named, exit 6, and the latch keeps its venue until a resume."""
    with desk(tmp_path, "--speed", "400", "--seed", "1") as (process, ready):
        holding(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = result(tmp_path, "kill", "--venue", "perp", "--reason", "crash", code=6)
    assert killed["desk"] == "none" and not killed["reached"] and not killed["confirmed_flat"]
    assert {r["venue"] for r in killed["residual"] if r["what"] == "position"} == {"cme", "perp"}
    assert bot(tmp_path, "paper", "--continue", ready["run_id"], "--for", "1h", "--speed", "max").returncode == 6
    assert bot(tmp_path, "kill", "--venue", "elsewhere").returncode == 2
    result(tmp_path, "resume", "--reason", "recover it")
    run = result(tmp_path, "paper", "--continue", ready["run_id"], "--for", "24h", "--speed", "max")
    assert abs(run["net_delta_base"]) <= 0.05 and run["invariant_violations"] == 0
