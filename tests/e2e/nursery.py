"""Real processes that cost little: a warm parent with everything imported forks one child per command line.

Each child is a process of its own, runs `bot.cli.main` as `python -m bot` would, and can be killed like any other. The parent
has one thread, so what a fork copies is whole. Run as a script it serves JSON lines on stdin and stdout; `Nursery` is the
other side.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
"""A child that lives longer hangs, and is killed."""


class Ended(NamedTuple):
    """How a child ended. killed: by SIGKILL; code: else its exit code; passed: crash points it passed, each once, in order of
    the first passage; ready_s: wall time from fork to a reconciled desk, None if it never was."""

    killed: bool
    code: int
    out: str
    err: str
    passed: list[str]
    ready_s: float | None
    wall_s: float

    @property
    def result(self) -> dict[str, Any]:
        """Return the result object: the last line of stdout."""
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


class Nursery:
    """One warm parent and its children, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        env = {k: v for k, v in os.environ.items() if not k.startswith("BOT_")} | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
        command = [sys.executable, str(Path(__file__)), str(folder)]
        self._process = subprocess.Popen(command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, data: Path, *argv: str, at: str | None = None, acts: tuple[tuple[str, int, str], ...] = ()) -> Ended:
        """Run one verb to its end. at: BOT_CRASH_AT of the child; acts: (point, nth passage, what happens there)."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps({"argv": argv, "data": str(data), "at": at, "acts": acts}) + "\n")
        stdin.flush()
        status, wall_s = json.loads(stdout.readline())
        out, err, passed = ((self.folder / name).read_text(encoding="utf-8") for name in ("out", "err", "passed"))
        lines = [line.split() for line in passed.splitlines()]
        ready = next((float(s) for name, s in lines if name == "ready.after_commit"), None)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return Ended(killed, os.waitstatus_to_exitcode(status), out, err, [name for name, _ in lines], ready, wall_s)

    def close(self) -> None:
        """End the parent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


_KEPT: list[sqlite3.Connection] = []


def _lock(data: Path) -> None:
    """Take SQLite's one write lock of the newest run's database and keep it to the end of this process."""
    database = max((data / "runs").glob("*/journal.db"))
    _KEPT.append(sqlite3.connect(database, isolation_level=None))
    _KEPT[-1].execute("BEGIN IMMEDIATE")


def _die(data: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


ACTS: dict[str, Callable[[Path], None]] = {"lock": _lock, "die": _die, "file KILL": lambda data: (data / "KILL").touch()}


def _child(folder: Path, task: dict[str, Any], born: float) -> None:
    """Become the process that `task` describes; never returns."""
    from bot import cli, crash

    for fd, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), fd)
    seen = os.open(folder / "passed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    names: set[str] = set()

    def note(name: str) -> None:
        if name not in names:
            names.add(name)
            os.write(seen, f"{name} {time.monotonic() - born:.6f}\n".encode())

    crash.watch(note)
    data = Path(task["data"])
    os.environ["BOT_DATA_DIR"] = str(data)
    if task["at"] is not None:
        os.environ[crash.VARIABLE] = task["at"]
    for point, nth, act in task["acts"]:
        crash.arm(point, nth, lambda act=act: ACTS[act](data))
    signal.alarm(TIMEOUT_S)
    code = cli.main(task["argv"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _serve(folder: Path) -> None:
    import gc

    import alembic.command  # noqa: F401
    import alembic.config  # noqa: F401

    from bot import app, cli  # noqa: F401
    from bot.desk import operate, screen, triggers  # noqa: F401
    from bot.journal import migrations

    draft = folder / "warm.db"
    migrations.open_current(draft)  # so that what an upgrade loads is loaded
    draft.unlink()
    gc.freeze()
    for line in sys.stdin:
        born = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                _child(folder, json.loads(line), born)
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(99)
        _, status = os.waitpid(pid, 0)
        print(json.dumps([status, time.monotonic() - born]), flush=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
