"""Power loss under a whole desk: whatever was not synced may be gone, yet every order that left is meant in what is left."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from bot import config
from bot.app import PaperRun
from bot.desk.runs import RunRecord, new_run
from bot.journal.store import SqliteJournal
from bot.kill.latch import Latch
from bot.model import event as ev
from bot.model.command import Command, Submit
from bot.model.errors import JournalError
from tests.e2e.sigkill_chain import SMALL
from tests.unit.journal.faulty_disk import after_power_loss, faulty_disk

SEED = 20261201
CUTS = 120
FOR_NS = 10 * 3_600_000_000_000
Sent = list[tuple[int, str, bytes]]
"""(length of the disk's log, client id, mark file) at the moment an order left."""


class Nobody:
    """A screen that nobody looks at."""

    speed = 0.0

    def __init__(self) -> None:
        self.feed = self

    def stepped(self, *seen: Any, **where: Any) -> None:
        """Nothing is shown."""

    marked = ready = look = stepped

    def watch(self, *seen: Any) -> Nobody:
        """Return what listens: itself."""
        return self


def traded(data: Path, synchronous: str | None) -> tuple[list[tuple[str, str, int, bytes]], Sent]:
    """Let a desk trade half a day (synchronous: not as it does by itself); return what reached its disk, and what left when."""
    data.mkdir()
    settings = config.load("paper", sets=(*SMALL, "market.seed=1"), environ={}).settings
    record = RunRecord(mode="paper", seed=1, settings=msgspec.Raw(msgspec.json.encode(settings)))
    sent: Sent = []
    with faulty_disk() as disk:
        disk.recording = True
        folder = new_run(data, record)
        run = PaperRun(folder, record, Latch(data), Nobody(), FOR_NS)  # type: ignore[arg-type]
        connection = run.journal._writer._connection
        connection.execute("PRAGMA wal_autocheckpoint = 25")  # so that the log is moved into the file and reused in between
        if synchronous is not None:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
        for venue in run.venues.values():

            def noted(command: Command, now_ns: int, send: Any = venue.send) -> None:
                if isinstance(command, Submit):
                    mark = folder.journal.with_name("journal.db.mark").read_bytes()
                    sent.append((len(disk.log), command.order.client_id, mark))
                send(command, now_ns)

            venue.send = noted  # type: ignore[method-assign]
        result = run.run()
        disk.recording = False
    assert result.fills > 20 and len(sent) > 20
    return list(disk.log), sent


def losses(tmp_path: Path, synchronous: str | None = None, cuts: int = CUTS) -> list[str]:
    """Cut the power `cuts` times at or after an order left, keep any part of what was not synced; return every order not known any more."""
    log, sent = traded(tmp_path / "run", synchronous)
    rng, found = Random(SEED), []
    path = tmp_path / "after" / "journal.db"
    path.parent.mkdir()
    ends = [at for at, _, _ in sent[1:]] + [len(log)]
    for _ in range(cuts):
        which = int(rng.random() * len(sent))
        at = sent[which][0] + int(rng.random() * (ends[which] - sent[which][0] + 1))
        chance = (0.0, 0.5, 1.0)[int(rng.random() * 3)]
        for name in ("journal.db", "journal.db-wal"):
            path.with_name(name).write_bytes(after_power_loss(log[:at], name, lambda _: rng.random() < chance))  # noqa: B023
        path.with_name("journal.db-shm").unlink(missing_ok=True)
        path.with_name("journal.db.mark").write_bytes(sent[which][2])
        left = {client_id for _, client_id, _ in sent[: which + 1]}
        try:
            journal = SqliteJournal(path)
            known = [e.order.client_id for _, _, e in journal.read() if isinstance(e, ev.OrderIntended)]
            journal.close()
        except JournalError as error:
            found.append(f"seed {SEED} cut {at}: {error}")
            continue
        if not left <= set(known):
            found.append(f"seed {SEED} cut {at} of {len(log)}: left and forgotten {sorted(left - set(known))}")
    return found


def test_no_order_that_left_is_forgotten(tmp_path: Path) -> None:
    """As the desk runs (FULL) its record after any power loss holds the intent of every order that had left by then."""
    assert losses(tmp_path) == []


@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_the_proof_can_fail(tmp_path: Path, synchronous: str) -> None:
    """With fewer syncs the same cuts forget orders."""
    assert len(losses(tmp_path, synchronous, CUTS // 3)) > CUTS // 30


def test_the_desk_runs_with_every_commit_synced(tmp_path: Path) -> None:
    """FULL, not NORMAL, on the one connection that writes; emergency writes are synced by the descriptor itself."""
    journal = SqliteJournal(tmp_path / "journal.db")
    assert next(journal._writer._connection.execute("PRAGMA synchronous"))[0] == 2
    assert fcntl.fcntl(journal._emergency._fd, fcntl.F_GETFL) & os.O_DSYNC
    journal.close()
