"""Live runs and runs on live data, led to the loopback servers: the same desk, and no key in anything it says or leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from desk_rig import BOT, ROOT, desk, environment, held, last_line, ports, verb, wire

from bot import adapter_run, config, live
from bot.adapter_run import RunRequest
from bot.adapters import Where, at_wire
from bot.clock import Steady
from bot.desk import card
from bot.desk.screen import Screen
from bot.desk.secrets import Credentials
from bot.kill.latch import Latch
from bot.model.errors import VenueError
from bot.wire.ready import Ready

S = 1_000_000_000
CANARY = "canary0b77e1d2"


def request(folder: Path, for_s: float) -> RunRequest:
    """Return what a verb asks for; the screen prints JSON."""
    settings = config.load("wire", environ={}).settings
    screen = Screen("live", watched=False, speed=1.0, json_out=True)
    return RunRequest(settings=settings, data_dir=folder, screen=screen, latch=Latch(folder), for_ns=int(for_s * S))


def led(said: dict[str, Any]) -> tuple[Where, Steady]:
    """Return the servers as a place to trade, and their time."""
    ready = Ready(**{k: v for k, v in said.items() if k != "schema"})
    return at_wire(ready, config.load("wire", environ={}).settings, Credentials()), Steady(ready.offset_ns)


def test_a_live_run_stamps_its_mode_on_ids_and_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind the gates a live run is the same run; its ids begin with L, and paper does not continue it."""
    with wire(tmp_path, "--seed", "4") as said:
        result = live.trade(request(tmp_path / "d", 14.0), *led(said))
        again = verb(tmp_path / "d", "paper", "--venues", "wire", *ports(said), "--continue", result.run_id)
    assert result.run_id == "live-00001" and result.mode == "live" and result.invariant_violations == 0
    line = json.loads(card.json_line("live", result))
    jsonschema.validate(line, json.loads((ROOT / "bot/schemas/live.json").read_text(encoding="utf-8")))
    log = (tmp_path / "d/runs/live-00001/run.log").read_text(encoding="utf-8")
    ids = {json.loads(row)["client_order_id"] for row in log.splitlines() if "client_order_id" in json.loads(row)}
    assert ids and all(i.startswith("L") for i in ids)
    assert again.returncode == 3 and "traded on live" in again.stderr


def test_on_live_data_every_order_stays_in_the_process(tmp_path: Path) -> None:
    """The desk sees the servers' market and trades a pair, of which the servers never hear."""
    with wire(tmp_path, "--seed", "4") as said:
        where, clock = led(said)
        result = adapter_run.on_live_data(request(tmp_path / "d", 14.0), where, clock)
        seen = last_line(verb(tmp_path, "doctor", "--stage", "wire", *ports(said), "--json").stdout)
    assert result.pairs_opened == 1 and result.fills >= 2 and result.net_delta_base == 0.0 and result.invariant_violations == 0
    margin = next(c["found"] for c in seen["checks"] if c["name"] == "cme margin")
    assert "excess liquidity 600,000 USD" in margin and "cushion 100.0%" in margin
    assert last_line(verb(tmp_path / "d", "replay", "--run", result.run_id, "--json").stdout)["mismatches"] == 0


def test_a_foreign_position_is_quarantined_and_nothing_is_opened(tmp_path: Path) -> None:
    """Someone trades by hand on the account: openings stop on both legs with the cause named, and what is held stays hedged."""
    with wire(tmp_path, "--seed", "5", "--scenario", "calm") as said, desk(
        tmp_path, "paper", "--venues", "wire", *ports(said), "--set", "execution.snapshot_every_s=2", "--json"
    ) as running:
        running.until(lambda s: not any("not_ready" in why or "econcil" in why for why in s["blocked_by"]))
        by_hand(said)
        answer = running.until(lambda s: any("BTCUSDT" in why for why in s["blocked_by"]))
        assert not held(answer)
        code, out = running.end(signal.SIGINT)
    result = last_line(out)
    assert code == 130 and result["pairs_opened"] == 0 and result["invariant_violations"] >= 1, result
    rows = [json.loads(row) for row in (tmp_path / "runs/paper-00001/run.log").read_text(encoding="utf-8").splitlines()]
    assert {row["kind"] for row in rows if row["event"] == "reconcile.mismatch"} & {"unallocated", "position"}


def by_hand(said: dict[str, Any]) -> None:
    """Buy a little on the exchange as another client of the account."""
    import hashlib
    import hmac
    import time

    stamp = (time.time_ns() + said["offset_ns"]) // 1_000_000
    query = f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.010&timestamp={stamp}"
    signed = hmac.new(said["secret"].encode(), query.encode(), hashlib.sha256).hexdigest()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{said['perp_port']}/fapi/v1/order?{query}&signature={signed}", method="POST", headers={"X-MBX-APIKEY": said["key"]}
    )  # fmt: skip
    with urllib.request.urlopen(asked, timeout=10) as reply:
        assert json.load(reply)["symbol"] == "BTCUSDT"


def test_no_key_in_anything_a_run_says_or_leaves(tmp_path: Path) -> None:
    """A desk that trades with a canary as key and secret, through every sort of error: neither stands in a file or a line."""
    keys = {"BOT_SECRET_WIRE_KEY": CANARY + "k", "BOT_SECRET_WIRE_SECRET": CANARY + "s"}
    script = tmp_path / "faults.jsonl"
    kinds = ("reset", "html_5xx", "garbage_200", "lost_reply", "ws_abort", "clock_skew")
    script.write_text("".join(json.dumps({"at": "PT2S", "venue": "perp", "fault": kind, "for": "PT6S"}) + "\n" for kind in kinds), encoding="utf-8")
    with wire(tmp_path, "--seed", "1", "--faults", str(script), secrets=keys) as said:
        assert CANARY not in json.dumps(said)
        hurt = right = verb(tmp_path, "paper", "--venues", "wire", *ports(said), "--for", "20s", "--json", secrets=keys)
        if hurt.returncode == 4:  # the faults met its very first questions: it would not start
            right = verb(tmp_path, "paper", "--venues", "wire", *ports(said), "--for", "20s", "--json", secrets=keys)
        wrong = verb(tmp_path, "doctor", "--stage", "wire", *ports(said), "--json", secrets={**keys, "BOT_SECRET_WIRE_SECRET": CANARY + "x"})
    assert right.returncode == 0, right.stderr
    assert last_line(right.stdout)["fills"] and wrong.returncode == 4, right.stderr
    told = hurt.stdout + hurt.stderr + right.stdout + right.stderr + wrong.stdout + wrong.stderr
    assert CANARY not in told
    left = [p for p in tmp_path.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]
    assert not left


def test_a_venue_that_does_not_come_up_ends_the_start_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at the broker: exit by VenueError, every file closed, the next start finds the folder free."""
    monkeypatch.setattr(adapter_run, "UP_S", 1.0)
    with wire(tmp_path, "--seed", "4") as said:
        where, clock = led({**said, "tws_port": 1})
        for _ in range(2):
            with pytest.raises(VenueError, match="cme: not up within 1 s: .*ConnectionRefusedError"):
                live.trade(request(tmp_path / "d", 5.0), where, clock)


def test_a_signal_while_it_connects_ends_it_at_once(tmp_path: Path) -> None:
    """There is nothing to settle yet: exit 130, no result, the folder free again."""
    with wire(tmp_path) as said:
        argv = [*BOT, "paper", "--venues", "wire", *ports({**said, "tws_port": 1}), "--json"]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path))
        try:
            deadline = time.monotonic() + 30.0
            log = tmp_path / "runs/paper-00001/run.log"
            while not log.exists() and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30.0)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 130 and not out, (out, err)
    assert "Traceback" not in err, err
