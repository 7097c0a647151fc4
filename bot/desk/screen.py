"""Where a run shows itself: a live view on a terminal, plain lines without one, JSON for scripts; and how it is stopped.

A run hands its shell to `ready` and calls `look` between slices. SIGINT and SIGTERM ask the shell to stop, so that orders in
flight settle and the result is still printed; a second signal does not wait.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import msgspec

from bot.config import SPEED_WATCHED
from bot.desk.feed import Feed, Line, Watcher
from bot.desk.progress import Bar
from bot.desk.snapshot import Snapshot
from bot.model.event import NEVER

if TYPE_CHECKING:
    from bot.desk.live import LiveView
    from bot.engine.step import Engine
    from bot.tally import Tally

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


class StoppedAtOnce(KeyboardInterrupt):
    """A second signal: the run ends without a drain and without a result. exit_code: 130 or 143 as for the first."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Stoppable(Protocol):
    """What a screen needs of a run (bot.desk.shell.Shell): to stop it, and how far it is, UTC ns."""

    start_ns: int
    now_ns: int
    end_ns: int

    def stop(self, why: str) -> None: ...


class Screen:
    """One run's output and its signals. watched: nobody set an end, so somebody looks on; speed: as configured. about: said at the start.

    exit_code: 0, or 130 or 143 once a signal asked for the end.
    """

    def __init__(
        self, verb: str, *, watched: bool, speed: str | float, json_out: bool, about: str = "Seeded market, scripted venue faults: not evidence"
    ) -> None:  # fmt: skip
        self.verb = verb
        self.about = about
        self.json_out = json_out
        self.terminal = sys.stdout.isatty() and not json_out
        self.speed = pace(speed, watched=watched or self.terminal)
        self.feed = Feed(None if self.terminal else self._say)
        self.exit_code = 0
        self._shell: Stoppable | None = None
        self._view: LiveView | None = None
        self._drawn = 0.0
        self._old: dict[int, object] = {}
        self._bar: Bar | None = None

    def __enter__(self) -> Screen:
        for number in SIGNALS:
            self._old[number] = signal.signal(number, self._on_signal)
        if self.terminal:
            print(f"{self.verb}: warming up on the market's history", flush=True)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._view is not None:
            self._view.__exit__(*exc)
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        for number, old in self._old.items():
            signal.signal(number, old)  # type: ignore[arg-type]

    def watch(self, engine: Engine, tally: Tally) -> Watcher:
        """Return what observes a run for this screen; it must hear a step after the tally."""
        if not self.terminal:
            return self.feed
        from rich.console import Console

        from bot.desk.live import LiveView

        self._view = LiveView(self.feed, Console(), speed=self.speed)
        return self._view.watch(engine, tally)

    def ready(self, shell: Stoppable, *, run_id: str, data_dir: str, socket: str) -> None:
        """Announce a run that serves its control socket and is about to trade."""
        self._shell = shell
        if self.exit_code:
            shell.stop("signal before the start")
        if self.json_out:
            line = {"event": "ready", "pid": os.getpid(), "run_id": run_id, "data_dir": data_dir, "socket": socket}
            print(msgspec.json.encode(line).decode(), flush=True)
        elif self._view is not None:
            self._view.__enter__()
        else:
            pace_text = f"x{self.speed:g}" if self.speed else "max"
            print(f"{self.verb} {run_id}: speed {pace_text}, data in {data_dir}. {self.about}.", flush=True)

    def look(self, snapshot: Callable[[], Snapshot]) -> None:
        """Redraw if it is time; taking the snapshot is left until then."""
        if self._view is None:
            self._advance()
            return
        from bot.desk.live import REDRAW_S

        now = time.monotonic()
        if now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._view.draw(snapshot())

    def _advance(self) -> None:
        """Move the progress bar of a run that shows no view and has an end."""
        shell = self._shell
        if shell is None or shell.end_ns >= NEVER or not self.json_out:
            return  # plain lines are progress enough
        if self._bar is None:
            self._bar = Bar(self.verb)
        self._bar.to((shell.now_ns - shell.start_ns) / (shell.end_ns - shell.start_ns))

    def _say(self, line: Line) -> None:
        if not self.json_out:
            print(line, flush=self.speed > 0.0)
        elif not sys.stderr.isatty():
            print(line, file=sys.stderr)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code:
            raise StoppedAtOnce(SIGNALS[signal.Signals(number)])
        self.exit_code = SIGNALS[signal.Signals(number)]
        if self._shell is not None:
            self._shell.stop(signal.Signals(number).name)


def pace(speed: str | float, *, watched: bool) -> float:
    """Return market seconds per wall second, 0.0 for as fast as it goes; "auto" paces what somebody watches."""
    if isinstance(speed, str):
        return SPEED_WATCHED if speed == "auto" and watched else 0.0
    return float(speed)
