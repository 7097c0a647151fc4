"""What was measured, as figures: quantiles of each path and of its parts, in microseconds."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from typing import Any

import msgspec

from bot.latency.taps import Way
from bot.model import event as ev

STAGES = ("read", "wait", "engine", "commit", "dispatch", "build", "write")
"""Parts of a path: library and adapter read the bytes; the loop's turn comes; the engine steps; the step is committed; the command reaches
the adapter; adapter and library build and sign the order; the socket takes it, which on loopback includes waking the server."""
TICK, FILL = "tick to lead order", "fill to hedge order"


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One path in one series. orders: how the hedge went out. left_out: orders that no tick and no fill led to at once. *_us: microseconds.

    stages_us: median of each part; a sum of medians is not the median of sums.
    """

    path: str
    orders: str
    durable: bool
    cycles: int
    left_out: int
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    stages_us: dict[str, float]


class WireResult(msgspec.Struct, frozen=True, kw_only=True):
    """The whole benchmark. load_1m: of the machine when it ended, this benchmark's own processes included.

    disk_*: a bare fdatasync of a few appended bytes in the same folder, between the series: no durable commit can be faster.
    """

    name: str
    cycles: int
    pace_ms: int
    python: str
    cpus: int
    load_1m: float
    disk_p50_us: float
    disk_p99_us: float
    paths: list[Series]


def result(cycles: int, pace_ms: int, disk: Sequence[float], paths: list[Series]) -> WireResult:
    """Return the result object with the machine it was measured on. disk: microseconds of bare syncs, not empty."""
    synced = sorted(disk)
    return WireResult(
        name="basisbot wire", cycles=cycles, pace_ms=pace_ms, python=platform.python_version(), cpus=os.cpu_count() or 0,
        load_1m=round(os.getloadavg()[0], 2), disk_p50_us=quantile(synced, 0.5), disk_p99_us=quantile(synced, 0.99), paths=paths,
    )  # fmt: skip


def of_series(ways: Sequence[tuple[str, Way]], *, warm_up: int, durable: bool, socket: bool) -> list[Series]:
    """Return the figures of one series: lead orders that a tick led to, hedges that a fill led to; the first `warm_up` of each uncounted."""
    out = []
    for path, kind in ((TICK, ev.Quote), (FILL, ev.OrderFilled)):
        mine = [way for _, way in ways if (way.hedge is (path == FILL))][warm_up:]
        counted = [way for way in mine if isinstance(way.trigger, kind)]
        if not counted:
            continue
        whole = sorted(us(way.written - way.received) for way in counted)
        out.append(Series(
            path=path, orders="websocket" if socket else "rest", durable=durable, cycles=len(counted), left_out=len(mine) - len(counted),
            p50_us=quantile(whole, 0.5), p90_us=quantile(whole, 0.9), p99_us=quantile(whole, 0.99), max_us=whole[-1], stages_us=_stages(counted),
        ))  # fmt: skip
    return out


def _stages(ways: Sequence[Way]) -> dict[str, float]:
    rows: list[tuple[int, ...]] = [(w.received, w.emitted, w.stepped, w.commit, w.committed, w.sent, w.built, w.written) for w in ways]
    return {name: quantile(sorted(us(row[n + 1] - row[n]) for row in rows), 0.5) for n, name in enumerate(STAGES)}


def us(ns: int) -> float:
    """Return microseconds."""
    return round(ns / 1_000, 1)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank quantile of an ordered, non-empty row: a value that was measured.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5), quantile([1.0, 2.0, 3.0, 4.0], 0.99)
    (2.0, 4.0)
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def lines(result: dict[str, Any]) -> list[str]:
    """Return the result as a table for people."""
    out = [f"{result['cycles']} cycles each, one every {result['pace_ms']} ms; Python {result['python']}, {result['cpus']} cpus, load {result['load_1m']}",
           f"bare fdatasync of this disk: p50 {result['disk_p50_us']:,.0f}  p99 {result['disk_p99_us']:,.0f} us"]  # fmt: skip
    for row in result["paths"]:
        commit = "durable" if row["durable"] else "not durable"
        quantiles = "  ".join(f"{name} {row[f'{name}_us']:,.0f}" for name in ("p50", "p90", "p99", "max"))
        out.append(f"{row['path']}, {row['orders']}, {commit}: {quantiles} us")
        out.append("    " + ", ".join(f"{name.replace('_', ' ')} {value:,.0f}" for name, value in row["stages_us"].items()))
    return out
