"""A chain of deaths over one run folder, and what must be true of the record after each of them and at the end."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec

from bot import composition
from bot.config import Settings
from bot.desk.runs import RunFolder, latest_run
from bot.engine.fold import apply
from bot.engine.obligations import Obligations, decode, encode
from bot.journal.emergency import EmergencyFile
from bot.journal.reader import JournalReader
from bot.model import event as ev
from bot.sim.orders import OrderReceived
from bot.venues.simlog import read_positions, read_records
from tests.e2e.nursery import Ended, Nursery

SMALL = (
    "strategy.window_s=21600.0", "strategy.bucket_s=300.0", "market.history_days=0.5", "market.quote_interval_s=25.0",
    "execution.snapshot_every_s=90.0", "strategy.z_in=1.6", "strategy.z_stop=14.0", "limits.sigma_stop=14.0", "strategy.edge_min_bp=1.0",
)  # fmt: skip
"""A window of six hours warms up in a moment and trades within hours, so that a process lives a tenth of a second."""
DAY = "24h"
MARKETS = 5
"""Not every market brings every event (a fill, a funding stamp with a position): so many more are tried."""


class Kill(NamedTuple):
    """SIGKILL at the nth passage of a point. acts: what happens in that process before (bot/e2e/nursery.py ACTS)."""

    point: str
    nth: int = 1
    acts: tuple[tuple[str, int, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.point}:{self.nth}"


class Chain:
    """Processes over the newest run of one data folder. starts: wall time to READY of each process that got there."""

    def __init__(self, nursery: Nursery, data: Path, seed: int, scenario: str = "story", faults: Path | None = None, passive: bool = False) -> None:
        self.nursery, self.data, self.seed, self.scenario, self.faults, self.passive = nursery, data, seed, scenario, faults, passive
        self.killed: list[Kill] = []
        self.starts: list[float] = []
        self.told = ""

    @property
    def folder(self) -> RunFolder:
        """Return the newest run's folder."""
        found = latest_run(self.data)
        assert found is not None, self.told
        return found

    def argv(self, for_: str) -> list[str]:
        """Return the command line that begins a run, or continues the newest."""
        run = latest_run(self.data)
        if run is not None:
            return ["paper", "--json", "--speed", "max", "--for", for_, "--continue", run.run_id]
        return self.fresh(for_)

    def fresh(self, for_: str) -> list[str]:
        """Return the command line that begins a run."""
        more = ["--faults", str(self.faults)] if self.faults is not None else []
        sets = [x for pair in SMALL for x in ("--set", pair)] + ["--set", f"strategy.passive={str(self.passive).lower()}"]
        return ["paper", "--json", "--speed", "max", "--for", for_, "--seed", str(self.seed), "--scenario", self.scenario, *more, *sets]

    def run(self, argv: list[str], kill: Kill | None = None) -> Ended:
        """Run one process of the chain; remember how to run it again by hand."""
        where = f"BOT_DATA_DIR={self.data} " + (f"BOT_CRASH_AT={kill} " if kill else "")
        self.told = f"seed {self.seed}, {len(self.killed)} kills before, now {kill}; again: {where}python -m bot {' '.join(argv)}"
        ended = self.nursery.run(self.data, *argv, at=str(kill) if kill else None, acts=kill.acts if kill else ())
        if ended.ready_s is not None:
            self.starts.append(ended.ready_s)
        assert ended.killed or ended.code in (0, 6), f"{self.told}\nexit {ended.code}: {ended.err[-3000:]}"
        return ended

    def kill(self, kill: Kill, for_: str = DAY) -> None:
        """Let the newest run die at a point. One that ends without passing it is followed by new runs with other seeds."""
        ended = self.run(self.argv(for_), kill)
        for _ in range(MARKETS):
            if ended.killed:
                break
            self.check()
            self.seed += 1_000
            ended = self.run(self.fresh(for_), Kill(kill.point, 1, kill.acts))
        assert ended.killed and kill.point in ended.passed, f"{self.told}: not reached in {MARKETS} more markets"
        self.killed.append(kill)
        if latest_run(self.data) is not None:
            self.nothing_sent_without_intent()

    def finish(self, for_: str = "3h") -> Ended:
        """Continue to an end of its own and check everything."""
        ended = self.run(self.argv(for_))
        assert not ended.killed and ended.code == 0, f"{self.told}: {ended.err[-3000:]}"
        assert "ready.after_commit" in ended.passed, f"{self.told}: not READY by itself"
        result = ended.result
        wrong = {k: result[k] for k in ("invariant_violations", "unknown_orders") if result[k]}
        assert not wrong and abs(result["residual_usd"]) < 1e-6 and abs(result["net_delta_base"]) <= 0.05, f"{self.told}: {wrong} {result}"
        self.check()
        again = self.run(["replay", "--json", "--run", self.folder.run_id]).result
        assert again["mismatches"] == 0, f"{self.told}: {again['first_mismatch']}"
        return ended

    # The record.

    def received(self) -> list[str]:
        """Return client ids of every order a venue got."""
        return [r.spec.client_id for log in sorted(self.folder.path.glob("venue-*.log")) for r in read_records(log) if isinstance(r, OrderReceived)]

    def events(self) -> list[ev.Event]:
        """Return what the journal holds, in order."""
        reader = JournalReader(self.folder.journal)
        try:
            return [event for _, _, event in reader.read()]
        finally:
            reader.close()

    def nothing_sent_without_intent(self) -> None:
        """Every order at a venue, once, was meant durably before: in the journal or in the emergency file beside it."""
        received = self.received()
        assert len(received) == len(set(received)), f"{self.told}: twice at a venue {Counter(received).most_common(1)}"
        if not self.folder.journal.exists():
            assert not received, self.told
            return
        intended = [e.order.client_id for e in self.events() if isinstance(e, ev.OrderIntended)] if received else []
        assert len(intended) == len(set(intended)), f"{self.told}: minted twice {Counter(intended).most_common(1)}"
        lost = set(received) - set(intended)
        if lost:
            lost -= beside(self.folder)
        assert not lost, f"{self.told}: sent without a durable intent {sorted(lost)}"

    def check(self) -> None:
        """Hold journal, venue logs and checkpoints of a run that has ended in order against each other."""
        self.nothing_sent_without_intent()
        events = self.events()
        runs = [e.run for e in events if isinstance(e, ev.RunStarted)]
        assert runs == sorted(set(runs)), f"{self.told}: run numbers {runs}"
        ours = Counter((e.venue, e.exec_id, e.instrument, e.side, e.qty, e.price) for e in events if isinstance(e, ev.OrderFilled))
        paid = Counter((e.venue, e.instrument, e.stamp_ns, e.amount) for e in events if isinstance(e, ev.FundingPaid))
        theirs: Counter[object] = Counter()
        paid_there: Counter[object] = Counter()
        held: dict[str, Decimal] = {}
        for log in sorted(self.folder.path.glob("venue-*.log")):
            records = read_records(log)
            theirs += Counter((e.venue, e.exec_id, e.instrument, e.side, e.qty, e.price) for e in records if isinstance(e, ev.OrderFilled))
            paid_there += Counter((e.venue, e.instrument, e.stamp_ns, e.amount) for e in records if isinstance(e, ev.FundingPaid))
            held |= read_positions(log)
        assert ours == theirs, f"{self.told}: fills only here {ours - theirs}, only there {theirs - ours}"
        assert paid == paid_there, f"{self.told}: funding only here {paid - paid_there}, only there {paid_there - paid}"
        assert max(theirs.values(), default=1) == 1 and max(paid_there.values(), default=1) == 1, f"{self.told}: booked twice"
        ob = self.folds()
        mine = {i: p.qty for silo in ob.silos.values() for i, p in silo.positions.items() if p.qty}
        assert mine == held, f"{self.told}: positions {mine}, at the venues {held}"

    def folds(self) -> Obligations:
        """Return the fold of the whole journal; every checkpoint with its tail must give the same bytes."""
        record = self.folder.read_record()
        built = composition.desk(msgspec.json.decode(record.settings, type=Settings))
        reader = JournalReader(self.folder.journal)
        try:
            kept = {seq: body for seq, body in reader._rows("SELECT seq, body FROM checkpoint ORDER BY seq")}
            rows = list(reader.read())
        finally:
            reader.close()
        whole = built.obligations(1, composition.LETTERS["paper"])
        for _, _, event in rows:
            apply(whole, built.terms, event)
        for at, state in kept.items():
            ob = decode(state)
            for seq, _, event in rows:
                if seq > at:
                    apply(ob, built.terms, event)
            ob.now = whole.now  # what time it was when the checkpoint was taken is an observation
            assert encode(ob) == encode(whole), f"{self.told}: checkpoint {at} and its tail differ from the whole"
        return whole


def beside(folder: RunFolder) -> set[str]:
    """Return client ids of the orders intended in the emergency file."""
    path = folder.journal.with_name(folder.journal.name + ".emergency")
    if not path.exists():
        return set()
    file = EmergencyFile(path)
    try:
        found = [msgspec.json.decode(body, type=ev.Event) for _, _, _, _, body in file.rows()]
    finally:
        file.close()
    return {e.order.client_id for e in found if isinstance(e, ev.OrderIntended)}
