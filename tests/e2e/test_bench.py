"""The tick benchmark agrees trade for trade with the published reference, on other people's files and on our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from math import exp, log, sqrt
from pathlib import Path
from random import Random

import numpy as np
import pytest

from bot import config
from bot.backtest import bench
from bot.model.errors import DataError

TASK = Path(__file__).parents[2] / "../shared/bench"
S = 1_000_000_000
START = 1_735_689_600 * S


def run(path: Path) -> bench.BenchResult:
    """Run the task with the settings of its profile."""
    settings = config.load("bench", environ={}).settings
    return bench.run(path, settings.limits, settings.execution)


def make(path: Path, seed: int, count: int) -> None:
    """Write a tick file: two random walks held together by a reverting spread, and a funding stamp every 500 s."""
    rng = Random(seed)
    ts, walk, spread = START, log(100_000.0), 0.0
    rows = []
    for _ in range(count):
        ts += 1_000 * int(1 + rng.random() * 2_000_000)
        walk += (rng.random() - 0.5) * 3e-4
        spread = spread * 0.995 + (rng.random() - 0.5) * 6e-4
        leg = int(rng.random() < 0.5)
        mid, tick = exp(walk + (spread if leg else 0.0)), (0.1 if leg else 5.0)
        half = 0.5 + 2.0 * rng.random()
        low = int(mid / tick - half)
        rows.append((ts, leg, round(low * tick, 1), round((low + 1 + int(2.0 * half)) * tick, 1)))
    stamps = list(range(START + 500 * S, rows[-1][0], 500 * S))
    np.savez(
        path, ts=np.array([r[0] for r in rows], np.int64), inst=np.array([r[1] for r in rows], np.int8), bid=np.array([r[2] for r in rows]),
        ask=np.array([r[3] for r in rows]), fund_ts=np.array(stamps, np.int64), fund_rate=np.array([1e-4 * (rng.random() - 0.3) for _ in stamps]),
    )  # fmt: skip


def expected(path: Path) -> tuple[int, int, float]:
    """Return (trades, stops, net) of the task as its page words it: one update a quote, statistics over the last 500."""
    with np.load(path) as z:
        columns = [z[name].tolist() for name in ("ts", "inst", "bid", "ask")]
        stamps = list(zip(z["fund_ts"].tolist(), z["fund_rate"].tolist(), strict=True))
    bid, ask, window, sums = [0.0, 0.0], [0.0, 0.0], [0.0] * 500, [0.0, 0.0]
    updates = trades = stops = 0
    on, armed, money = False, True, 0.0
    for ts, leg, b, a in zip(*columns, strict=True):
        while stamps and ts >= stamps[0][0]:
            money += 0.5 * (bid[1] + ask[1]) * stamps[0][1] if on else 0.0
            stamps.pop(0)
        bid[leg], ask[leg] = b, a
        mids = [0.5 * (x + y) for x, y in zip(bid, ask, strict=True)]
        if 0.0 in mids:
            continue
        x, old = log(mids[1] / mids[0]), window[updates % 500]
        window[updates % 500] = x
        sums[0] += x - old
        sums[1] += x * x - old * old
        updates += 1
        m = sums[0] / 500
        v = sums[1] / 500 - m * m
        if updates < 500 or v <= 0.0:
            continue
        z_now = (x - m) / sqrt(v)
        spreads = sum((ask[k] - bid[k]) / mids[k] for k in (0, 1))
        if on and (z_now < 0.5 or z_now > 4.0):
            money += bid[0] * (1 - 2.5e-4) - ask[1] * (1 + 4.5e-4)
            on, armed = False, z_now <= 4.0
            stops += z_now > 4.0
        elif not on and not armed:
            armed = z_now < 0.5
        elif not on and 2.0 < z_now < 4.0 and x - m - spreads - 14e-4 > 0.0:
            money += bid[1] * (1 - 4.5e-4) - ask[0] * (1 + 2.5e-4)
            on, trades = True, trades + 1
    return trades, stops, money + (mids[0] - mids[1] if on else 0.0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_engine_agrees_with_the_task(tmp_path: Path, seed: int) -> None:
    """Trades and stops are equal, net is within a cent, and no rule refused anything."""
    path = tmp_path / "ticks.npz"
    make(path, seed, 20_000)
    got, (trades, stops, net) = run(path), expected(path)
    assert (got.trades, got.stops, got.refusals) == (trades, stops, 0), f"seed {seed}"
    assert abs(got.net - net) < 0.01 and trades > 10, f"seed {seed}: {got.net} against {net}"


@pytest.mark.skipif(not TASK.is_dir(), reason="the published task is not beside the checkout")
@pytest.mark.parametrize("seed", [7, 20_250_101])
def test_the_engine_agrees_with_the_published_reference(tmp_path: Path, seed: int) -> None:
    """The same holds against the task's own generator and reference program."""
    env = {**os.environ, "BENCH_DATA": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, TASK / "gen_data.py", "ticks", "50000", str(seed)], env=env, check=True, capture_output=True)
    plain = subprocess.run([sys.executable, TASK / "plain.py", "ticks", "100000"], env=env, check=True, capture_output=True, text=True)
    want, got = json.loads(plain.stdout), run(tmp_path / "ticks_100000.npz")
    assert (got.trades, got.stops, got.refusals) == (want["trades"], want["stops"], 0), f"seed {seed}"
    assert abs(got.net - want["net"]) < 0.01, f"seed {seed}: {got.net} against {want['net']}"


def test_another_file_is_refused(tmp_path: Path) -> None:
    """A file that is not the task's is one clear line, not a traceback."""
    path = tmp_path / "other.npz"
    np.savez(path, x=np.array([1]))
    with pytest.raises(DataError, match="not a tick file"):
        run(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a tick file"):
        run(path)
