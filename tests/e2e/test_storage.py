"""A paper desk whose storage fails under it: what it still sends, what it never sends, what the next start makes of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot import config
from bot.app import PaperRun
from bot.desk.runs import RunFolder, RunRecord, new_run
from bot.engine.step import Step
from bot.journal.emergency import SLOT
from bot.journal.reader import JournalReader
from bot.kill.latch import Latch
from bot.model import event as ev
from bot.model.command import Cancel, Command, Submit
from bot.sim.orders import OrderReceived
from bot.tally import RunResult
from bot.venues.simlog import read_records
from tests.unit.journal.faulty_disk import FULL, OK, READONLY, FaultyDisk, faulty_disk

ROOT = Path(__file__).parents[2]
MINUTE = 60_000_000_000
FOR_NS = 5 * 60 * MINUTE
"""Seed 1 enters after 1:45 h of market time and exits before 4:10 h."""


class Crash(BaseException):
    """The process ends here."""


class Quiet:
    """A screen that shows nothing and sees every step."""

    speed = 0.0

    def __init__(self) -> None:
        self.now = 0
        self.each: Callable[[], None] = lambda: None

    def watch(self, engine: Any, tally: Any) -> Quiet:
        """See the run itself."""
        return self

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Note the time and let the test act."""
        self.now = event.ts
        self.each()

    def marked(self, now_ns: int) -> None:
        """Nothing is valued."""

    def ready(self, shell: Any, **where: str) -> None:
        """Nobody waits."""

    def look(self, take: Any) -> None:
        """Nothing is drawn."""


class Storage:
    """One desk, everything it sends held against what is durable at that moment, and a fault after or at its n-th order.

    begin: makes the storage fail, when `after` orders and cancels were sent, or with the commit of the `at`-th step that
    orders something; end: mends it, `for_ns` of market time later (None: never).
    """

    def __init__(
        self, data: Path, begin: Callable[[], None], end: Callable[[], None], after: int = 0, for_ns: int | None = 20 * MINUTE, at: int = 0
    ) -> None:
        self.data, self.begin, self.end, self.after, self.for_ns = data, begin, end, after, for_ns
        self.at = at
        self.ordering = 0
        self.quiet = Quiet()
        self.sent: list[Command] = []
        self.during: list[Command] = []
        self.failing_since: int | None = None
        self.failed = False
        settings = config.load("paper", files=(), sets=("market.seed=1",), options={}).settings
        data.mkdir(parents=True, exist_ok=True)
        self.record = RunRecord(mode="paper", seed=1, settings=msgspec.Raw(msgspec.json.encode(settings)))
        self.folder = new_run(data, self.record)
        self.run = self.started(self.folder)

    def started(self, folder: RunFolder, for_ns: int = FOR_NS) -> PaperRun:
        """Return a desk on `folder`, new or recovered."""
        run = PaperRun(folder, self.record, Latch(self.data), self.quiet, for_ns)  # type: ignore[arg-type]
        for venue in run.venues.values():
            venue.send = self._watched(folder, venue.send)  # type: ignore[method-assign]
        run.journal.append = self._appending(run.journal.append)  # type: ignore[method-assign]
        self.quiet.each = self._each
        return run

    def _fail(self) -> None:
        self.failed = True
        self.failing_since = self.quiet.now
        self.begin()

    def _appending(self, append: Callable[..., None]) -> Callable[..., None]:
        def watched(seq: int, events: Sequence[ev.Event]) -> None:
            self.ordering += any(isinstance(e, ev.OrderIntended) for e in events)
            if 0 < self.at == self.ordering and not self.failed:
                self._fail()
            append(seq, events)

        return watched

    def _watched(self, folder: RunFolder, send: Callable[[Command, int], None]) -> Callable[[Command, int], None]:
        def watched(command: Command, now_ns: int) -> None:
            if isinstance(command, Submit | Cancel):
                assert durable(folder, command, self.failed), f"{command} left without a durable intent"
                self.sent.append(command)
                if self.failed:
                    self.during.append(command)
            send(command, now_ns)
            if len(self.sent) == self.after and not self.failed:
                self._fail()

        return watched

    def _each(self) -> None:
        if self.failing_since is not None and self.for_ns is not None and self.quiet.now > self.failing_since + self.for_ns:
            self.failing_since = None
            self.end()


def durable(folder: RunFolder, command: Submit | Cancel, anywhere: bool) -> bool:
    """Return whether the intent of a command is in the database, or (anywhere) in the emergency file."""
    client_id = command.order.client_id if isinstance(command, Submit) else command.client_id
    wanted = "OrderIntended" if isinstance(command, Submit) else "CancelIntended"
    reader = JournalReader(folder.journal)
    try:
        rows = [body for _, body in reader._rows("SELECT seq, body FROM journal WHERE kind = ? AND confirmed = 1", wanted)]
    finally:
        reader.close()
    if anywhere and not (isinstance(command, Submit) and command.opening):
        raw = folder.journal.with_name("journal.db.emergency").read_bytes().rstrip(b"\0")
        text = b"".join(raw[at + 48 : at + SLOT].rstrip(b"\0") for at in range(0, len(raw), SLOT))
        rows.append(text if wanted.encode() in text else b"")
    return any(f'"{client_id}"'.encode() in body for body in rows)


def one_record_of_everything(folder: RunFolder) -> None:
    """Every order a venue got was intended, once, and no id was used twice."""
    reader = JournalReader(folder.journal)
    intended = [e.order.client_id for _, _, e in reader.read() if isinstance(e, ev.OrderIntended)]
    reader.close()
    received = [
        r.spec.client_id for log in folder.path.glob("venue-*.log") for r in read_records(log) if isinstance(r, OrderReceived)
    ]  # fmt: skip
    assert len(intended) == len(set(intended)) and len(received) == len(set(received))
    assert set(received) <= set(intended)


def in_order(folder: RunFolder) -> None:
    """Seqs rise and every step is there from its first event on."""
    reader = JournalReader(folder.journal)
    places = [(seq, n) for seq, n, _ in reader.read()]
    reader.close()
    assert places == sorted(set(places)) and all((seq, 0) in set(places) for seq, _ in places)


def faults(disk: FaultyDisk, path: Path) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    """Return how each kind of storage fault begins and ends."""
    hold = threading.Event()
    lock: list[sqlite3.Connection] = []

    def locked() -> None:
        lock.append(sqlite3.connect(path, isolation_level=None))
        lock[0].execute("BEGIN IMMEDIATE")

    def unlocked() -> None:
        lock[0].execute("ROLLBACK")
        lock[0].close()

    return {
        "full": (lambda: setattr(disk, "write", FULL), lambda: setattr(disk, "write", OK)),
        "read-only": (lambda: setattr(disk, "write", READONLY), lambda: setattr(disk, "write", OK)),
        "hanging": (lambda: setattr(disk, "hold", hold), hold.set),
        "locked": (locked, unlocked),
    }


@pytest.mark.parametrize(("after", "at"), [(1, 0), (2, 0), (9, 0), (0, 1), (0, 3), (0, 5), (0, 12)])
@pytest.mark.parametrize("fault", ["locked", "full", "read-only", "hanging"])
def test_a_desk_without_its_database_gets_flatter_and_opens_nothing(tmp_path: Path, fault: str, after: int, at: int) -> None:
    """Nothing opens any more, what is held is hedged and closed on intents in the emergency file, and no record is lost."""
    with faulty_disk() as disk:
        begin, end = faults(disk, tmp_path / "runs" / "paper-00001" / "journal.db")[fault]
        desk = Storage(tmp_path, begin, end, after, at=at)
        result = desk.run.run()
        seen = [c for c in desk.during if isinstance(c, Submit)]
        assert desk.failed and not any(c.opening for c in seen), "an opening left a desk without a journal"
        assert abs(result.net_delta_base) <= 0.05 and result.unknown_orders == 0 and result.invariant_violations == 0
        one_record_of_everything(desk.folder)
        in_order(desk.folder)
        again = desk.started(desk.folder, MINUTE)
        assert again.journal.imported == 0, "late commits wrote all of it"
        assert again.run().invariant_violations == 0
        one_record_of_everything(desk.folder)


def test_hedges_really_went_through_the_emergency_file(tmp_path: Path) -> None:
    """The database stops after the first lead order: its fill is hedged all the same, on an intent beside the database."""
    with faulty_disk() as disk:
        desk = Storage(tmp_path, lambda: setattr(disk, "write", FULL), lambda: setattr(disk, "write", OK), after=1)
        desk.run.run()
        hedges = [c for c in desk.during if isinstance(c, Submit)]
        assert hedges and not any(c.opening for c in hedges)
        assert any(desk.folder.journal.with_name("journal.db.emergency").read_bytes())


@pytest.mark.parametrize("after", [1, 2, 5])
def test_with_the_emergency_file_gone_too_nothing_is_sent(tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No order and no cancel leaves while neither record works; when the disk is back the books agree with the venues."""
    real = os.pwrite

    def full(fd: int, data: bytes, at: int) -> int:
        if broken and len(data) % SLOT == 0:
            raise OSError(28, "No space left on device")
        return real(fd, data, at)

    broken: list[bool] = []
    monkeypatch.setattr(os, "pwrite", full)
    with faulty_disk() as disk:

        def begin() -> None:
            disk.write = FULL
            broken.append(True)

        def end() -> None:
            disk.write = OK
            broken.clear()
            ended.append(len(desk.during))

        ended: list[int] = []
        desk = Storage(tmp_path, begin, end, after)
        result = desk.run.run()
        assert ended == [0], "something was sent without a record of it"
        assert result.invariant_violations == 0 and abs(result.net_delta_base) <= 0.05
        one_record_of_everything(desk.folder)


@pytest.mark.parametrize("later", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("after", [1, 2, 3, 9])
def test_a_desk_that_dies_without_its_database_is_recovered(tmp_path: Path, after: int, later: int) -> None:
    """SIGKILL some steps after the database stopped: the next start knows every order that left, and settles with the venues."""
    with faulty_disk() as disk:
        desk = Storage(tmp_path, lambda: setattr(disk, "write", FULL), lambda: None, after, None)
        steps = 0
        real_each = desk.quiet.each

        def each() -> None:
            nonlocal steps
            real_each()
            steps += desk.failed
            if steps == later:
                shutil.copytree(desk.folder.path, tmp_path / "died", ignore=shutil.ignore_patterns("desk.lock", "*-shm"))
                disk.write = OK
                raise Crash

        desk.quiet.each = each
        with pytest.raises(Crash):
            desk.run.run()
        shutil.rmtree(desk.folder.path)
        shutil.copytree(tmp_path / "died", desk.folder.path)
        desk.quiet.each = lambda: None
        again = desk.started(desk.folder)
        desk.after = 0
        result = again.run()
        assert result.invariant_violations == 0 and result.unknown_orders == 0 and abs(result.net_delta_base) <= 0.05
        one_record_of_everything(desk.folder)


def test_the_kill_switch_works_while_the_disk_hangs(tmp_path: Path) -> None:
    """A latch raised while a sync hangs reaches the loop, and the desk becomes flat on intents in the emergency file."""
    with faulty_disk() as disk:
        hold = threading.Event()

        def begin() -> None:
            disk.hold = hold
            Latch(tmp_path).raise_to(ev.KillLevel.FLATTEN, reason="disk hangs", who="test", channel="test", now_ns=1)

        desk = Storage(tmp_path, begin, hold.set, after=6, for_ns=60 * MINUTE)
        result: RunResult = desk.run.run()
        assert result.kill_level == "FLATTEN" and desk.during
        held = {i: p.qty for silo in desk.run.engine.ob.silos.values() for i, p in silo.positions.items() if p.qty}
        assert held == {} and result.invariant_violations == 0


def bot(data: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run one verb to its end."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("BOT_")} | {"BOT_DATA_DIR": str(data), "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "bot", *argv], env=env, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data folder of a run that traded and ended in order."""
    data = tmp_path_factory.mktemp("finished")
    done = bot(data, "paper", "--for", "3h", "--speed", "max", "--seed", "1", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    return data


def _garbage(run: Path) -> None:
    connection = sqlite3.connect(run / "journal.db")
    connection.execute("DELETE FROM checkpoint")
    connection.execute("UPDATE journal SET body = x'00' WHERE rowid = 7")
    connection.commit()
    connection.close()


def _pages(run: Path) -> None:
    raw = bytearray((run / "journal.db").read_bytes())
    raw[4096 * 5 : 4096 * 5 + 200] = os.urandom(200)
    (run / "journal.db").write_bytes(bytes(raw))


def _old_copy(run: Path) -> None:
    """Put back a copy that lacks the end of the run, and hide that it was marked."""
    connection = sqlite3.connect(run / "journal.db")
    connection.execute("DELETE FROM journal WHERE seq > (SELECT min(seq) FROM journal WHERE kind = 'OrderIntended')")
    connection.execute("DELETE FROM checkpoint")
    connection.execute("DELETE FROM watermark")
    connection.commit()
    connection.close()
    (run / "journal.db.mark").unlink()


def _newer(run: Path) -> None:
    connection = sqlite3.connect(run / "journal.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()


def _no_journal(run: Path) -> None:
    for file in run.glob("journal.db*"):
        file.unlink()


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda run: (run / "journal.db").write_bytes(b"no database" * 999), "journal.db: file is not a database"),
        (lambda run: (run / "journal.db").unlink(), "journal.db is missing or empty"), (_no_journal, "journal.db is missing or empty"),
        (_pages, "journal.db"), (_garbage, "seq"), (_old_copy, "is behind venue"), (_newer, "newer than this program"),
        (lambda run: (run / "journal.db.emergency").write_bytes(b"EMRG" * 99), "journal.db.emergency is damaged"),
    ],
    ids=["garbage", "deleted", "all deleted", "page", "row", "old copy", "newer", "emergency"],
)
def test_a_run_folder_that_is_not_whole_is_not_continued(finished: Path, tmp_path: Path, harm: Callable[[Path], None], says: str) -> None:
    """`--continue` refuses with exit 1 and one line that names the file; nothing is begun anew over the old run."""
    data = tmp_path / "data"
    shutil.copytree(finished, data)
    run = data / "runs" / "paper-00001"
    harm(run)
    before = {f.name for f in run.iterdir()}
    done = bot(data, "paper", "--continue", "paper-00001", "--for", "1h", "--speed", "max")
    assert done.returncode == 1, done.stdout[-500:] + done.stderr[-2000:]
    assert done.stderr.count("\n") == 1 and "journal.db" in done.stderr and says in done.stderr
    assert {f.name for f in run.iterdir()} - before <= {"desk.lock", "journal.db.mark", "journal.db-wal", "journal.db-shm", "journal.db.emergency"}
    if "missing" in says:
        assert not (run / "journal.db").exists()


def test_a_database_of_another_mode_is_a_configuration_error(finished: Path, tmp_path: Path) -> None:
    """Paper and live never share a database: exit 3, one line with both modes."""
    data = tmp_path / "data"
    shutil.copytree(finished, data)
    connection = sqlite3.connect(data / "runs" / "paper-00001" / "journal.db")
    connection.execute("UPDATE meta SET value = 'live' WHERE key = 'mode'")
    connection.commit()
    connection.close()
    done = bot(data, "paper", "--continue", "paper-00001", "--for", "1h", "--speed", "max")
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and "'live'" in done.stderr and "'paper'" in done.stderr


def test_a_whole_run_folder_is_continued(finished: Path, tmp_path: Path) -> None:
    """The same command on the untouched folder works, so the refusals above are for their reasons."""
    data = tmp_path / "data"
    shutil.copytree(finished, data)
    done = bot(data, "paper", "--continue", "paper-00001", "--for", "1h", "--speed", "max", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
