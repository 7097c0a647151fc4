"""Ways to kill a desk without a command line: SIGUSR1 is CANCEL, SIGUSR2 is FLATTEN, a file named KILL in the data folder FLATTEN.

Each raises the latch on disk, as `kill` does, with its channel in the audit file; the desk then takes the latch as an event.
A latch that cannot be written (a full disk) is held in memory instead: the run still obeys, only the next start does not
know. The file keeps the latch up: a resume is refused until somebody has removed it.
"""

from __future__ import annotations

import getpass
import os
import signal
from pathlib import Path
from types import FrameType

import msgspec

from bot.clock import now_ns
from bot.kill.latch import Latch, LatchState
from bot.model.errors import BotError, JournalError
from bot.model.event import LEVEL_RANK, KillLevel

FILE = "KILL"
SIGNALS = {signal.SIGUSR1: KillLevel.CANCEL, signal.SIGUSR2: KillLevel.FLATTEN}
REASON_MAX = 200
"""Characters of the file's first line that become the reason."""


class Triggers(Latch):
    """The latch of a data folder together with what else may raise it; `poll` looks at the file, `arm` at the signals."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._floor = LatchState()
        self._wanted: list[tuple[KillLevel, str, str]] = []
        self._busy = False
        self._seen_file = False
        self._old: dict[signal.Signals, object] = {}

    def poll(self) -> LatchState:
        """Return the level in force, after raising it if the file has appeared; never below what memory holds."""
        there = os.path.lexists(self.folder / FILE)
        if there and not (self._seen_file and LEVEL_RANK[super().poll().level] >= LEVEL_RANK[KillLevel.FLATTEN]):
            self._request(KillLevel.FLATTEN, _written(self.folder / FILE), "file KILL")
        self._seen_file = there
        state = super().poll()
        if LEVEL_RANK[self._floor.level] <= LEVEL_RANK[state.level]:
            return state
        if state.level is KillLevel.NONE and state.ts_ns > self._floor.ts_ns:
            self._floor = LatchState()  # resumed since
            return state
        return msgspec.structs.replace(self._floor, evacuate=state.evacuate)

    def arm(self) -> Triggers:
        """Take SIGUSR1 and SIGUSR2 (main thread only)."""
        for number in SIGNALS:
            self._old[number] = signal.signal(number, self._on_signal)
        return self

    def disarm(self) -> None:
        """Give the signals back."""
        for number, old in self._old.items():
            signal.signal(number, old)  # type: ignore[arg-type]
        self._old.clear()

    def __enter__(self) -> Triggers:
        return self.arm()

    def __exit__(self, *exc: object) -> None:
        self.disarm()

    def resume(self, *, reason: str, who: str, channel: str, now_ns: int) -> LatchState:
        """Lower the latch (bot.kill.latch). Raises BotError while the file is there: it would be up again at once."""
        refuse_while_file(self.folder)
        return super().resume(reason=reason, who=who, channel=channel, now_ns=now_ns)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Write the latch now, wherever the loop is."""
        sent = signal.Signals(number)
        self._request(SIGNALS[sent], sent.name, f"signal {sent.name}")

    def _request(self, level: KillLevel, reason: str, channel: str) -> None:
        """Raise the latch; what comes while it is being written (a signal) waits for that and is not lost."""
        self._wanted.append((level, reason, channel))
        if self._busy:
            return
        self._busy = True
        try:
            while self._wanted:
                self._raise(*self._wanted.pop(0))
        finally:
            self._busy = False

    def _raise(self, level: KillLevel, reason: str, channel: str) -> None:
        now = now_ns()
        try:
            self.raise_to(level, reason=reason, who=_who(), channel=channel, now_ns=now)
        except JournalError as error:
            if LEVEL_RANK[level] > LEVEL_RANK[self._floor.level]:
                self._floor = LatchState(level=level, reason=reason, channel=channel, ts_ns=now, fault=f"not on disk: {error}")


def refuse_while_file(folder: Path) -> None:
    """Raise BotError if the file KILL is in the data folder."""
    path = folder / FILE
    if os.path.lexists(path):
        raise BotError(f"{path} is there and keeps the latch up: remove it first")


def _written(path: Path) -> str:
    """Return the file's first line as the reason, if it can be read."""
    try:
        with path.open("rb") as file:
            line = file.read(REASON_MAX).decode("utf-8", "replace").partition("\n")[0].strip()
    except OSError:
        line = ""
    return line or "file KILL found"


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
