"""The benchmark's strategy: z of ln(hedge / lead) over the last updates, on the same port as any other strategy.

It exists to compare engines trade for trade, so its recurrences and their order are those of the published reference
loop: a plain ring of updates, no time weights, statistics that move while a trade is on. It is not for trading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from math import log, sqrt

import msgspec

from bot.model.event import Event
from bot.model.intent import PairIntent
from bot.model.view import View

ZERO = Decimal(0)


class BenchmarkParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """window: updates. z_*: standard deviations. round_trip_fees: fraction of notional. lots: size of the lead."""

    window: int = 500
    z_in: float = 2.0
    z_out: float = 0.5
    z_stop: float = 4.0
    round_trip_fees: float = 14e-4
    lots: int = 10


class Memory(msgspec.Struct):
    """Ring of the last updates with their sums, and whether a trade is on or disarmed after a stop."""

    ring: list[float]
    k: int = 0
    count: int = 0
    s: float = 0.0
    ss: float = 0.0
    on: bool = False
    armed: bool = True
    stops: int = 0


class Benchmark:
    """Enter when armed and z_in < z < z_stop and the deviation pays spreads and fees; leave below z_out or above z_stop."""

    id = "benchmark"

    def __init__(self, params: BenchmarkParams) -> None:
        self.params = params
        self.on_event = _recurrence(params)

    def start(self, params: object, history: Sequence[Event]) -> Memory:
        """Return an empty ring: the task begins with its first update."""
        return Memory(ring=[0.0] * self.params.window)

    def rearms(self, memory: Memory, view: View) -> bool:
        """The desk's own stops never bind in this task; if one did, it would stay stopped."""
        return False


def _recurrence(p: BenchmarkParams) -> Callable[[Memory, View, Event], PairIntent | None]:
    """Return the function that takes one quote of either leg as one update; parameters are bound once, it runs per quote."""
    window, z_in, z_out, z_stop, fees = p.window, p.z_in, p.z_out, p.z_stop, p.round_trip_fees
    lots = Decimal(p.lots)

    def on_event(memory: Memory, view: View, event: Event) -> PairIntent | None:
        lead, hedge = view.lead, view.hedge
        lead_mid, hedge_mid = lead.mid, hedge.mid
        if lead_mid == 0.0 or hedge_mid == 0.0:
            return None
        x = log(hedge_mid / lead_mid)
        ring, k = memory.ring, memory.k
        old = ring[k]
        ring[k] = x
        memory.k = k + 1 if k + 1 < window else 0
        memory.s = s = memory.s + (x - old)
        memory.ss = ss = memory.ss + (x * x - old * old)
        if memory.count < window:
            memory.count += 1
            if memory.count < window:
                return None
        m = s / window
        v = ss / window - m * m
        if v <= 0.0:
            return None
        z = (x - m) / sqrt(v)
        if memory.on:
            return _leave(memory, view, z, z > z_stop) if z < z_out or z > z_stop else None
        if not memory.armed:
            memory.armed = z < z_out
        elif z_in < z < z_stop:
            lead_spread, hedge_spread = (lead.ask - lead.bid) / lead_mid, (hedge.ask - hedge.bid) / hedge_mid
            if x - m - lead_spread - hedge_spread - fees > 0.0:
                memory.on = True
                return PairIntent(
                    pair=view.pair, target_lead=lots, reason="benchmark entry", z=z, excess_bp=x * 1e4, edge_bp=(x - m) * 1e4,
                    mean_bp=m * 1e4, sigma_bp=sqrt(v) * 1e4, horizon_days=1.0,
                )  # fmt: skip
        return None

    return on_event


def _leave(memory: Memory, view: View, z: float, stopped: bool) -> PairIntent:
    memory.on = False
    if stopped:
        memory.armed = False
        memory.stops += 1
    return PairIntent(pair=view.pair, target_lead=ZERO, reason="benchmark stop" if stopped else "benchmark exit", z=z)
