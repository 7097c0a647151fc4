"""A day is its seed, and its record is enough: same journal again, every order from the journal, every decision from journal and tape."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from loopback import World

from bot.backtest.replay import Replayed, decisions_from_tape, orders_from_journal
from bot.journal.tape import Gap
from bot.model import event as ev
from bot.simulate.day import Day
from bot.simulate.plan import Plan, plan_of
from bot.simulate.proof import Outcome, go, replayed, run_plan, run_seed
from bot.simulate.storage import ListTape

HERE = Path(__file__).parent
PROVEN = [seed for seed in range(400, 470) if not (p := plan_of(seed)).files and (p.commits is None or p.commits.kind == "late")][:36]
"""Days whose journal holds every row: with lost ones a replay rightly differs."""
AGAIN = (3, 5, 7, 14, 18)
SPAWNED = """
import sys
sys.path.insert(0, sys.argv[1])
from bot.simulate.proof import run_seed
print(*(run_seed(int(seed)).sha256 for seed in sys.argv[2:]))
"""


def recorded(plan: Plan) -> tuple[Outcome, Day]:
    """Run one day with its tape."""
    day = Day(plan, record=True)
    try:
        return go(day), day
    finally:
        day.close()


def prove(seed: int) -> tuple[str, Replayed, int]:
    """Run one day with its tape and replay it."""
    outcome, day = recorded(plan_of(seed))
    return str(outcome.plan), replayed(day), outcome.counted.get("sends", 0)


def test_every_order_and_decision_is_reproduced() -> None:
    """No mismatch on any recorded day, kills, deaths and late commits included, and no day proves nothing."""
    assert len(PROVEN) >= 30
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for plan, found, sends in pool.map(prove, PROVEN, chunksize=3):
            assert found.mismatches == 0, f"{plan}: {found.first_mismatch}"
            assert found.unverifiable == [] and found.orders >= sends > 0 and found.decisions > 2 * sends, f"{plan}: {found}"


def test_same_seed_same_journal() -> None:
    """Two runs of one seed give one journal, and another process with another hash seed gives it too."""
    first = [run_seed(seed).sha256 for seed in AGAIN]
    assert first[:2] == [run_seed(seed).sha256 for seed in AGAIN[:2]], f"seeds {AGAIN[:2]}"
    assert len(set(first)) == len(first)
    for hash_seed in ("1", "77"):
        spawned = subprocess.run(
            [sys.executable, "-c", SPAWNED, str(HERE.parents[1]), *map(str, AGAIN)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert spawned.stdout.split() == first, f"seeds {AGAIN} under PYTHONHASHSEED={hash_seed}"


def test_recording_changes_nothing() -> None:
    """With a tape and without one the journal of one process is the same (a later one takes its numbers above the tape, if there is one)."""
    plan = plan_of(1)
    assert recorded(plan)[0].sha256 == run_plan(plan).sha256


@pytest.mark.parametrize("forged", ["quantity", "dropped decision"])
def test_a_forged_record_is_found(forged: str) -> None:
    """A journal whose order or decision was changed afterwards does not prove."""
    outcome, day = recorded(plan_of(411))
    rows = list(day.store.journal.read())
    at = [n for n, (_, _, e) in enumerate(rows) if isinstance(e, ev.OrderIntended)][3]
    seq, n, event = rows[at]
    assert isinstance(event, ev.OrderIntended) and outcome.violations == []
    if forged == "quantity":
        rows[at] = (seq, n, msgspec.structs.replace(event, order=msgspec.structs.replace(event.order, qty=event.order.qty + 1)))
    else:
        del rows[at]
    found = replayed(day, rows)
    assert found.mismatches >= 1 and found.first_mismatch is not None and found.first_mismatch.seq >= seq


class Torn(ListTape):
    """A tape that lost a stretch; the reader notices when it gets there."""

    def __init__(self, rows: list[tuple[int, ev.Observation]]) -> None:
        super().__init__()
        self.rows = rows

    def __iter__(self) -> Iterator[tuple[int, ev.Observation]]:
        third = len(self.rows) // 3
        yield from self.rows[:third]
        self.gaps.append(Gap(self.rows[third][0], self.rows[2 * third][0] - 1))
        yield from self.rows[2 * third :]


def test_a_torn_tape_is_said() -> None:
    """From a gap on nothing is compared until the next start, the gap is named, and the journal's own proof goes on."""
    _, day = recorded(plan_of(411))
    assert isinstance(day.store.tape, ListTape) and len(day.memories) == 1
    whole = replayed(day)
    day.store.tape = Torn(day.store.tape.rows)
    found = replayed(day)
    assert len(found.unverifiable) == 1 and found.mismatches == 0 and found.orders == whole.orders > 0
    assert 0 < found.decisions < whole.decisions


def test_replay_needs_a_started_run() -> None:
    """A journal that begins in the middle of a run is a mismatch, not a crash."""
    world = World()
    found = Replayed()

    class Empty:
        """A tape of nothing."""

        gaps: list[object] = []

        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter(())

    row = (1, 0, ev.CommitFailed(ts=1, reason="x"))
    decisions_from_tape([row], Empty(), world.new_obligations(), lambda ob, at: world.engine, found)  # type: ignore[arg-type]
    assert found.mismatches == 1
    orders_from_journal([row], world.new_obligations(), lambda ob, at: world.engine, found)
    assert found.orders == 0
