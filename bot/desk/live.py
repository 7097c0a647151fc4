"""The live view: one screen of a running desk, drawn from a snapshot, for people who watch a terminal.

It has the terminal to itself while it runs and leaves its last frame behind when it ends. Without a terminal the feed's
plain lines are printed instead; this module then is not loaded.
"""

from __future__ import annotations

import time
from collections import deque

from rich.console import Console
from rich.live import Live

from bot.desk.feed import Feed, Together, Watcher
from bot.desk.frame import View, frame
from bot.desk.incidents import Incident, Incidents
from bot.desk.report_money import Money
from bot.desk.snapshot import Snapshot
from bot.engine.step import Engine
from bot.tally import Tally

REDRAW_S = 0.25
HISTORY = 600
HELD_S = 5.0
"""Wall time for which an open leg stays on the screen: at 60 times market time most are closed before the next frame."""


class LiveView:
    """Redraws a screen at most every REDRAW_S of wall time. `draw` is cheap when nothing is due."""

    def __init__(self, feed: Feed, console: Console, *, speed: float) -> None:
        self.feed = feed
        self.console = console
        self.speed = speed
        self._z: deque[float] = deque(maxlen=HISTORY)
        self._incidents: Incidents | None = None
        self._money: Money | None = None
        self._shown: tuple[Incident | None, float] = (None, 0.0)
        self._last: View | None = None
        self._live = Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop")

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()
        if self._last is not None:
            self.console.print(frame(self._last, self.console.width, self.console.height - 1))

    def watch(self, engine: Engine, tally: Tally) -> Watcher:
        """Return what has to observe the run for its open legs and trades to be shown; it must hear a step after the tally."""
        self._incidents, self._money = Incidents(engine), Money(engine, tally)
        return Together(self.feed, self._incidents, self._money)

    def draw(self, snapshot: Snapshot) -> None:
        """Show one snapshot."""
        if snapshot.pairs and snapshot.pairs[0].z is not None:
            self._z.append(snapshot.pairs[0].z)
        trades = self._money.trades if self._money is not None else []
        self._last = View(
            snapshot=snapshot, feed=self.feed, z=tuple(self._z), card=trades[-1] if trades else None, incident=self._incident(),
            now_ns=self._incidents.engine.ob.now if self._incidents is not None else 0, speed=self.speed,
        )  # fmt: skip
        self._live.update(frame(self._last, self.console.width, self.console.height), refresh=True)

    def _incident(self) -> Incident | None:
        """Return the open leg to show: while it is open, and HELD_S of wall time from when it was first drawn closed."""
        latest = self._incidents.latest if self._incidents is not None else None
        seen, since = self._shown
        if latest is None:
            return None
        if latest is not seen or not latest.closed_ns:
            self._shown = (latest, time.monotonic())
            return latest
        return latest if time.monotonic() - since < HELD_S else None
