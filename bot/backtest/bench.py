"""The tick benchmark: the published task through the real engine, gate, in-process venues and accounting.

What it leaves out is said in its profile (config/bench.toml): no tape, no disk, no latency, a market that never closes
and limits that do not bind; every rule is still called. Input is streamed in chunks, so memory does not grow with it.
"""

from __future__ import annotations

import resource
import time
import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.lib import format as npy

from bot.engine import assess
from bot.engine.obligations import PairTerms, fresh
from bot.engine.observations import AlwaysOpen
from bot.engine.pair import Execution
from bot.engine.step import Engine, Step
from bot.journal.accounts import Accounts
from bot.journal.store import MemoryJournal
from bot.model import event as ev
from bot.model.errors import DataError
from bot.model.instrument import FeeSchedule, Instrument, Kind, MarginTier
from bot.runtime import Runtime
from bot.sim.exchange import Exchange
from bot.venues.sim import SimVenue
from risk.limits import Limits
from strategies.benchmark import Benchmark, BenchmarkParams

CHUNK = 65_536
SIZE = 1e9
"""Displayed contracts on each side: the task's top of book has no end."""
FUNDING_S = 8 * 3_600
SILO = Decimal(100_000_000)
FIELDS = ("ts", "inst", "bid", "ask")

_TIERS = (MarginTier(notional_floor=Decimal(0), maintenance_rate=Decimal("0.01"), initial_rate=Decimal("0.02")),)
LEAD = Instrument(
    id="A", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5), lot=Decimal(1), index_quote="USD",
    settle="USD", tiers=_TIERS, fees=FeeSchedule(maker_rate=Decimal("0.00025"), taker_rate=Decimal("0.00025"), source="benchmark task"),
)  # fmt: skip
HEDGE = Instrument(
    id="B", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(1), tick=Decimal("0.1"), lot=Decimal("0.001"), index_quote="USD",
    settle="USD", tiers=_TIERS, funding_interval_s=FUNDING_S,
    fees=FeeSchedule(maker_rate=Decimal("0.00045"), taker_rate=Decimal("0.00045"), source="benchmark task"),
)  # fmt: skip

class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run. net: change of equity in USD with an open trade at mid. rss_mb: peak of the process."""

    name: str
    events: int
    trades: int
    stops: int
    net: float
    fees: float
    funding: float
    refusals: int
    run_s: float
    ev_per_s: int
    rss_mb: float


class _Books:
    """The ledger's accounting beside the loop, as the desk projects it: every journalled event is booked."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Book one step."""
        fold = self.accounts.fold
        fold(event)
        for decision in out.events:
            fold(decision)

    def marked(self, now_ns: int) -> None:
        """Marks change no booking."""


def run(path: Path, limits: Limits, execution: Execution) -> BenchResult:
    """Run the task on one file made by the task's generator. Raises DataError naming what is wrong with it.

    limits, execution: of the bench profile, finite and never binding; a refusal would show in the result.
    """
    terms = {LEAD.id: LEAD, HEDGE.id: HEDGE}
    sessions = AlwaysOpen()
    strategy = Benchmark(BenchmarkParams())
    memory = strategy.start(None, ())
    pair = PairTerms(id="bench", strategy=strategy.id, lead=LEAD.id, hedge=HEDGE.id)
    engine = Engine(fresh(1, "B", (pair,), ("cme", "perp")), terms, sessions, {strategy.id: (strategy, memory)}, limits, execution, {})
    venues = {t.venue: SimVenue(Exchange(t.venue, [t], {"USD": SILO}, sessions)) for t in (LEAD, HEDGE)}
    books = _Books(Accounts(terms))
    runtime = Runtime(engine, MemoryJournal(), None, venues, observer=books)
    with _TickFile(path) as ticks:
        cash = {v: {"USD": SILO} for v in venues}
        began = time.perf_counter()
        runtime.start(ev.RunStarted(ts=ticks.first_ns, run=1, mode="B", cash=cash))
        # The task has neither mark nor index and the gate opens nothing without: the desk alone is told the first mid, once.
        engine.step(ev.MarkPrice(ticks.first_ns, HEDGE.id, ticks.first_mid, ticks.first_mid))
        runtime.drive(ticks.events(), ev.NEVER)
        run_s = time.perf_counter() - began
    ob, accounts = engine.ob, books.accounts
    prices = {i: b.mid for i, b in engine.books.items()}
    net = sum(accounts.equity_usd_est(prices, {"USD": 1.0}).values()) - 2 * float(SILO)
    _agree(net, assess.nav_usd(ob, engine.desk) - 2 * float(SILO))
    balances = accounts.balances.values()
    return BenchResult(
        name="basisbot ticks", events=ticks.count, trades=ob.pairs["bench"].opened, stops=memory.stops, net=net,
        fees=-float(sum(b.fees for b in balances)), funding=float(sum(b.funding for b in balances)),
        refusals=sum(ob.refusals.values()), run_s=run_s, ev_per_s=round(ticks.count / run_s),
        rss_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    )  # fmt: skip


def _agree(ledger: float, desk: float) -> None:
    """Two independent records of the same money must agree; the run is worth nothing otherwise."""
    if abs(ledger - desk) > 0.005:
        raise DataError(f"bench: ledger says {ledger:.4f}, desk says {desk:.4f}")


class _TickFile:
    """The generator's npz, read in chunks: members are stored uncompressed, so each is a stream of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: list[Any] = []
        try:
            self._zip = zipfile.ZipFile(path)
            with self._zip.open("fund_ts.npy") as file:
                self.fund_ts = npy.read_array(file).tolist()
            with self._zip.open("fund_rate.npy") as file:
                self.fund_rate = npy.read_array(file).tolist()
            self._streams = [self._stream(name) for name in FIELDS]
            self.first_ns = int(self._first("ts", np.int64))
            self.first_mid = 0.5 * float(self._first("bid", np.float64) + self._first("ask", np.float64))
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise DataError(f"{path}: not a tick file of the benchmark task ({error})") from error

    def __enter__(self) -> _TickFile:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._open:
            file.close()
        self._zip.close()

    def _stream(self, name: str) -> tuple[Any, np.dtype[Any]]:
        file = self._zip.open(f"{name}.npy")
        self._open.append(file)
        version = npy.read_magic(file)
        shape, _, dtype = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
        self.count = int(shape[0])
        return file, dtype

    def _first(self, name: str, kind: type[np.generic]) -> Any:
        with self._zip.open(f"{name}.npy") as file:
            npy.read_magic(file)
            npy.read_array_header_1_0(file)
            return np.frombuffer(file.read(8), dtype=kind)[0]

    def events(self) -> Iterator[ev.Observation]:
        """Yield quotes in time order; each funding rate is announced as soon as the stamp before it has passed."""
        return chain.from_iterable(self._parts())

    def _parts(self) -> Iterator[Iterable[ev.Observation]]:
        """Yield stretches of events, so that a quote costs its own construction and no generator frame."""
        stamps, at = self.fund_ts, 0
        yield (self._rate(0, self.first_ns - 1),)
        while True:
            ts, inst, bid, ask = (np.frombuffer(f.read(CHUNK * t.itemsize), dtype=t).tolist() for f, t in self._streams)
            if not ts:
                return
            names, start = list(map(("A", "B").__getitem__, inst)), 0
            while start < len(ts):
                end = bisect_left(ts, stamps[at]) if at < len(stamps) else len(ts)
                part = slice(start, end)
                yield map(ev.Quote, ts[part], names[part], bid[part], ask[part], repeat(SIZE), repeat(SIZE), ts[part])
                if end < len(ts):  # announcing the next rate at the stamp makes the exchange pay this one first
                    yield (self._rate(at + 1, stamps[at]),)
                    at += 1
                start = end

    def _rate(self, at: int, ts: int) -> ev.FundingRate:
        """Return the rate of stamp `at`; a stamp that never comes when there is none left."""
        if at >= len(self.fund_ts):
            return ev.FundingRate(ts, "B", 0.0, FUNDING_S, ev.NEVER, 1.0)
        return ev.FundingRate(ts, "B", self.fund_rate[at], FUNDING_S, self.fund_ts[at], 1.0)
