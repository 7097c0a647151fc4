"""Run folders: where one run keeps its journal, tape, venue logs and the settings it was started with.

A run is found by its id, which is the folder's name; the newest is the one with the highest number. The data folder
itself belongs to one desk at a time.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from bot.crash import crash_point
from bot.model.errors import ConfigError

RUNS = "runs"
RECORD = "run.json"
_DRAFT = ".new"
_NAME = re.compile(r"([a-z]+)-(\d{5})")


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was started with: enough to recover or replay it. settings: JSON of config.Settings; faults: lines of a faults file.

    venues: what it traded on, "" for in-process venues, else "wire", "live-data" or "live".
    """

    mode: str
    seed: int
    settings: msgspec.Raw
    faults: tuple[str, ...] = ()
    venues: str = ""


class RunFolder:
    """Paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = path.name
        self.journal = path / "journal.db"
        self.tape = path / "tape.bin"
        self.record = path / RECORD

    def venue_log(self, venue: str) -> Path:
        """Return where the in-process venue keeps its own record."""
        return self.path / f"venue-{venue}.log"

    def warm(self, at_ns: int) -> Path:
        """Return where the history is kept that a start at `at_ns` was warmed with, for venues whose history is not a seed's."""
        return self.path / f"warm-{at_ns}.bin"

    def warm_starts(self) -> list[int]:
        """Return the instants of all starts whose history is kept, oldest first."""
        return sorted(int(path.stem.removeprefix("warm-")) for path in self.path.glob("warm-*.bin"))

    def read_record(self) -> RunRecord:
        """Return what the run was started with. Raises ConfigError naming the file if it cannot be read."""
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=RunRecord)
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{self.record}: {error}") from error


def new_run(data_dir: Path, record: RunRecord) -> RunFolder:
    """Create the folder of a new run, numbered above every run there, with what it is started with: both or neither.

    Only the desk that holds the data folder may call this.
    """
    root = data_dir / RUNS
    draft = root / _DRAFT
    draft.mkdir(parents=True, exist_ok=True)  # a start that died here has left one
    crash_point("run.before_record")
    (draft / RECORD).write_bytes(msgspec.json.encode(record))
    number = 1 + max((int(m.group(2)) for m in _numbered(root)), default=0)
    folder = root / f"{record.mode}-{number:05d}"
    crash_point("run.before_rename")
    os.rename(draft, folder)
    crash_point("run.after_rename")
    return RunFolder(folder)


def find_run(data_dir: Path, run_id: str) -> RunFolder:
    """Return the folder of `run_id`. Raises ConfigError when there is none."""
    folder = data_dir / RUNS / run_id
    if not _NAME.fullmatch(run_id) or not folder.is_dir():
        raise ConfigError(f"no run {run_id!r} in {data_dir}")
    return RunFolder(folder)


def latest_run(data_dir: Path, mode: str | None = None) -> RunFolder | None:
    """Return the newest run (of `mode`), None when there is none."""
    root = data_dir / RUNS
    found = [m for m in _numbered(root) if mode is None or m.group(1) == mode] if root.is_dir() else []
    if not found:
        return None
    return RunFolder(root / max(found, key=lambda m: int(m.group(2))).group(0))


def _numbered(root: Path) -> list[re.Match[str]]:
    return [m for name in sorted(os.listdir(root)) if (m := _NAME.fullmatch(name))]
