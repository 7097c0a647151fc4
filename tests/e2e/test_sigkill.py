"""A paper desk killed by SIGKILL at every named point, in chains over one run: nothing lost, nothing twice, READY by itself.

Every kill is a real process that ends by a real signal; what it had not handed to the operating system is gone. Power loss,
which also takes what was handed over and not synced, is tests/property/test_journal_power.py.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bot.crash import POINTS
from bot.desk.runs import latest_run
from bot.kill.latch import FILES, Latch, check_audit
from bot.model.event import LEVEL_RANK, KillLevel
from tests.e2e.nursery import ROOT, Nursery
from tests.e2e.sigkill_chain import DAY, Chain, Kill

SEED = 20261130
BIRTH = (
    "run.before_record", "run.before_rename", "run.after_rename", "migration.before_commit", "migration.after_commit", "emergency.allocated",
    "venue_log.opened", "lease.before_commit", "lease.after_commit", "recovery.after_fold", "recovery.after_start", "recovery.before_query",
)  # fmt: skip
"""Points of the first start of a run."""
START = (
    "lease.before_commit", "lease.after_commit", "venue_log.opened", "recovery.after_fold", "recovery.after_start", "recovery.before_query",
    "query.before", "query.after", "snapshot.before_fold", "ready.after_commit",
)  # fmt: skip
"""Points of every start, passed before the desk may open anything."""
BUSY = (
    "send.before", "send.after", "ack.before_fold", "ack.after_commit", "fill.before_fold", "fill.after_commit", "end.before_fold",
    "end.after_commit", "venue_log.before_append", "venue_log.after_append", "journal.before_write", "journal.before_commit",
    "journal.after_commit", "journal.before_mark", "journal.after_mark", "tape.before_write", "tape.after_write", "timer.before_step",
    "timer.after_commit",
)  # fmt: skip
SELDOM = ("booking.before_fold", "booking.after_commit", "booking.before_fold", "booking.after_commit", "snapshot.after_commit")
"""Points that come a few times a day: funding stamps, an answer that changes something."""
PASSIVE = ("cancel.before", "cancel.after")
"""Points that need an order which rests first."""
END = (
    "stop.before", "stop.after", "checkpoint.before_write", "checkpoint.after_write", "checkpoint.after_drop", "ledger.before_commit",
    "ledger.after_commit", "tape.before_end", "tape.after_end", "close.before", "close.after",
)  # fmt: skip
"""Points of a run that ends in order."""
OFTEN = {"journal": 40, "timer": 150, "query": 30, "tape": 2}
"""Passages come by the hundred here: how far the first one aimed at may lie."""
CHAINS = 24
"""Short ones: what a start has to run again grows with the market's age."""
ROUNDS = 2
"""How often each busy point is struck."""
FAULTS = (
    {"at": "PT1H", "venue": "perp", "fault": "lost_ack", "count": 3},
    {"at": "PT1H10M", "venue": "cme", "fault": "lost_fill", "count": 2},
    {"at": "PT1H20M", "venue": "perp", "fault": "late_fill", "count": 2},
    {"at": "PT2H", "venue": "cme", "fault": "lost_request", "count": 2},
    {"at": "PT2H", "venue": "perp", "fault": "duplicate", "count": 3},
    {"at": "PT3H", "venue": "perp", "fault": "outage", "for": "PT90S"},
    {"at": "PT4H", "venue": "cme", "fault": "partial_fill", "count": 2},
    {"at": "PT5H", "venue": "perp", "fault": "adl"},
)  # fmt: skip


def schedule() -> list[list[Kill]]:
    """Deal every kill to a chain: births first, then a mixture of trading, starting and ending, all from one seed."""
    rng = Random(SEED)
    chains: list[list[Kill]] = [[Kill(BIRTH[place % len(BIRTH)])] for place in range(CHAINS)]
    mixture = [(point, 1 + int(rng.random() * OFTEN.get(point.partition(".")[0], 5))) for point in BUSY * ROUNDS]
    mixture += [(point, 1) for point in SELDOM]
    mixture += [(point, 1) for _ in range(2) for point in START + END]
    for place in range(len(mixture) - 1, 0, -1):
        other = int(rng.random() * (place + 1))
        mixture[place], mixture[other] = mixture[other], mixture[place]
    for place, (point, nth) in enumerate(mixture):
        chains[place % CHAINS].append(Kill(point, nth))
    for place in range(1, CHAINS, 2):
        chains[place][1:1] = [Kill(point, 1 + int(rng.random() * 3)) for point in PASSIVE]  # while the market still gives reason to
    return chains


SCHEDULE = schedule()
STORAGE = [
    ("emergency.before_write", 1), ("emergency.before_write", 2), ("emergency.after_write", 1), ("emergency.after_write", 2), ("emergency.after_write", 3),
]  # fmt: skip
IMPORT = [("import.before_commit", 1), ("import.after_commit", 1), ("import.clearing", 1), ("import.clearing", 3), ("import.after_clear", 1)]
LATCH = [
    ("latch.before_first", 1), ("latch.before_rename", 1), ("latch.between_copies", 1), ("latch.before_rename", 2), ("latch.after_second", 1),
    ("latch.before_audit", 1), ("latch.after_audit", 1),
]  # fmt: skip
OBEYING = ("kill.before_fold", "kill.after_commit", "latch.between_copies", "latch.after_second")
PLAIN = 3


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """One warm parent for all tests of this worker."""
    found = Nursery(tmp_path_factory.mktemp("nursery"))
    yield found
    found.close()


def test_every_point_is_struck_and_there_are_a_hundred() -> None:
    """What the tests below kill: every name in POINTS, a hundred times and more, a tenth of them while a desk is starting."""
    kills = [kill.point for chain in SCHEDULE for kill in chain]
    kills += [point for point, _ in STORAGE + IMPORT + LATCH + LATCH] + list(OBEYING)
    assert sorted(set(POINTS) - set(kills)) == [], "never struck"
    assert len(kills) >= 100
    assert 10 * sum(point in START + BIRTH or point.startswith("import") for point in kills) >= len(kills)


def test_hooks_and_names_are_the_same() -> None:
    """A point that no line of the code passes is no point. (The type checker refuses a hook without a name.)"""
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bot").rglob("*.py") if path.name != "crash.py")
    assert sorted(set(POINTS) - set(re.findall(r'"([a-z_]+\.[a-z_]+)"', text))) == []
    assert len(POINTS) == len(set(POINTS)) >= 25


@pytest.mark.parametrize("number", range(CHAINS))
def test_a_chain_of_deaths_loses_and_repeats_nothing(nursery: Nursery, tmp_path: Path, number: int) -> None:
    """One run is killed again and again, then left alone: it becomes READY, agrees with its venues and replays."""
    faults = tmp_path / "faults.jsonl"
    faults.write_text("".join(json.dumps(row) + "\n" for row in FAULTS))
    seed = 1 + number
    chain = Chain(nursery, tmp_path / "data", seed, faults=faults if number % 3 == 2 else None, passive=number % 2 == 1)
    for kill in SCHEDULE[number]:
        chain.kill(kill, "20m" if kill.point in END else DAY)
    chain.finish()
    assert len(chain.killed) == len(SCHEDULE[number])


@pytest.mark.parametrize(("point", "nth"), STORAGE)
def test_a_desk_killed_on_its_emergency_file_is_imported(nursery: Nursery, tmp_path: Path, point: str, nth: int) -> None:
    """The database is locked after the first lead order, so its hedges go out on the emergency file; the next start knows them."""
    chain = Chain(nursery, tmp_path, 1)
    chain.kill(Kill(point, nth, (("send.after", 1, "lock"),)))
    ended = chain.finish()
    assert ("import.after_clear" in ended.passed) is (nth > 1 or "after" in point)


@pytest.mark.parametrize(("point", "nth"), IMPORT)
def test_an_import_that_is_killed_is_repeated(nursery: Nursery, tmp_path: Path, point: str, nth: int) -> None:
    """Before its commit, behind it or half way through the clearing: the intents are in the journal once."""
    chain = Chain(nursery, tmp_path, 2)
    chain.kill(Kill("emergency.after_write", 2, (("send.after", 1, "lock"),)))
    chain.kill(Kill(point, nth))
    chain.finish()


@pytest.mark.parametrize(("point", "nth"), LATCH)
def test_a_kill_that_is_killed_leaves_its_level_or_none(nursery: Nursery, tmp_path: Path, point: str, nth: int) -> None:
    """`kill` dies while it writes: once the first copy is there the level is in force, before it nobody was told; a second kill completes it."""
    chain = Chain(nursery, tmp_path, 1)
    chain.kill(Kill("fill.after_commit", 4))
    died = nursery.run(tmp_path, "kill", "--json", "--reason", "test", acts=((point, nth, "die"),))
    assert died.killed and point in died.passed
    held, first = Latch(tmp_path).read(), any((tmp_path / name).exists() for name in FILES)
    assert first is ((point, nth) not in (("latch.before_first", 1), ("latch.before_rename", 1)))
    assert held.level is (KillLevel.FLATTEN if first else KillLevel.NONE)
    refused = nursery.run(tmp_path, *chain.argv("1h"))
    assert refused.code == 6 if first else refused.code == 0
    again = nursery.run(tmp_path, "kill", "--json", "--reason", "again", "--wait", "0")
    state = Latch(tmp_path).read()
    assert state.level is KillLevel.FLATTEN and not state.fault and state.kill_id == again.result["kill_id"]
    assert not held.kill_id or state.kill_id == held.kill_id
    assert check_audit(tmp_path / "audit.jsonl") == []
    assert nursery.run(tmp_path, "resume", "--json", "--reason", "test over").code == 0
    chain.finish()


@pytest.mark.parametrize(("point", "nth"), LATCH)
def test_a_latch_falls_only_when_a_resume_is_complete(nursery: Nursery, tmp_path: Path, point: str, nth: int) -> None:
    """`resume` dies while it writes: the level holds until both copies say otherwise. A raise over a lower level keeps at least that."""
    assert nursery.run(tmp_path, "kill", "--level", "CANCEL", "--reason", "first").code == 0
    assert nursery.run(tmp_path, "kill", "--reason", "second", acts=((point, nth, "die"),)).killed
    raised = Latch(tmp_path).read().level
    assert LEVEL_RANK[raised] >= LEVEL_RANK[KillLevel.CANCEL]
    assert nursery.run(tmp_path, "resume", "--reason", "over", acts=((point, nth, "die"),)).killed
    left = Latch(tmp_path).read()
    complete = (point, nth) == ("latch.after_second", 1)
    assert left.level is (KillLevel.NONE if complete else raised)
    assert nursery.run(tmp_path, "resume", "--reason", "over").code == 0
    assert Latch(tmp_path).read().level is KillLevel.NONE and check_audit(tmp_path / "audit.jsonl") == []


@pytest.mark.parametrize("point", OBEYING)
def test_a_desk_killed_while_it_obeys_a_kill(nursery: Nursery, tmp_path: Path, point: str) -> None:
    """The file KILL appears while legs are held and the desk dies taking it: it stays latched, and after a resume it recovers."""
    chain = Chain(nursery, tmp_path, 1)
    chain.kill(Kill(point, 1, (("fill.after_commit", 3, "file KILL"),)))
    level = Latch(tmp_path).read()
    assert level.level is KillLevel.FLATTEN
    assert nursery.run(tmp_path, *chain.argv("1h")).code == 6
    (tmp_path / "KILL").unlink()
    assert nursery.run(tmp_path, "resume", "--reason", "test over").code == 0
    chain.finish()


def test_a_point_nobody_knows_is_refused_before_anything_starts(nursery: Nursery, tmp_path: Path) -> None:
    """An unknown point and a passage that does not exist are one line and exit 3; nothing is created."""
    for wrong in ("nowhere:1", "send.before:0", "send.before", "send.before:-1", "send.before:x", ""):
        ended = nursery.run(tmp_path, "paper", "--for", "1h", "--speed", "max", at=wrong)
        assert ended.code == 3 and ended.err.count("\n") == 1 and ended.err.startswith("error: "), wrong
    assert latest_run(tmp_path) is None


@pytest.mark.parametrize("number", range(PLAIN))
def test_a_desk_killed_from_outside_at_any_time(nursery: Nursery, tmp_path: Path, number: int) -> None:
    """`python -m bot paper` as a user runs it, `kill -9` while it works, and `--continue`: no hook is involved."""
    lines = 1 + int(Random(SEED + number).random() * 60)
    chain = Chain(nursery, tmp_path, 11 + number, passive=number % 2 == 1)
    for n in (lines, max(1, lines // 2)):
        env = {k: v for k, v in os.environ.items() if not k.startswith("BOT_")} | {"BOT_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-m", "bot", *chain.argv("48h")], env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(n)]
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"seed {chain.seed}: ended by itself after {said[-1]!r}"
        process.stderr.close()
        chain.nothing_sent_without_intent()
    chain.finish()
