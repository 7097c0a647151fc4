"""The shell of a run: serves other terminals and obeys the latch; in virtual time it drives and paces the runtime slice by slice.

Everything a person or another process wants of a running desk (kill, resume, status, stop) is looked at between two
slices and enters the loop as an event. How the run is sliced never changes its journal; only what people do does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bot.kill.control import ControlServer
from bot.kill.latch import Latch, LatchState
from bot.model import event as ev
from bot.runtime import Runtime

SLICE_NS = 600_000_000_000
"""Market time between two looks at the control socket when nothing paces the run: a few milliseconds of work."""
LOOK_S = 0.05
"""Wall time between two looks of a paced run."""
DRAIN_STEP_NS = 250_000_000
DRAIN_NS = 60_000_000_000
"""A stop lets orders in flight settle and fills be hedged for at most this much market time."""


class DeskShell:
    """What every shell does between two events, whatever its clock: the control socket, the latch, a stop. Times are UTC ns.

    end_ns: NEVER runs until stopped. on_slice: called after every slice.
    """

    def __init__(self, runtime: Runtime, *, start_ns: int, end_ns: int, latch: Latch, on_slice: Callable[[], None] | None = None) -> None:
        self.runtime = runtime
        self.start_ns = self.now_ns = start_ns
        self.end_ns = end_ns
        self.latch = latch
        self.on_slice = on_slice
        self.control: ControlServer | None = None
        self.stopping = ""

    def serve(self, handlers: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]) -> ControlServer:
        """Open the control socket of the data folder."""
        server = ControlServer(self.latch.folder, handlers)
        self.control = server
        return server

    def stop(self, why: str) -> None:
        """Ask the run to end after the present slice (signal handlers call it)."""
        self.stopping = why

    def latched(self) -> None:
        """Bring the latch on disk into the loop as an event; whoever wrote it need not have reached us."""
        self.take(self.latch.poll())

    def take(self, state: LatchState) -> None:
        """Raise the kill level of the desk to the latch's, journalled, or lower it to NONE if that is a resume on record.

        A latch that has vanished, or lost its level to damage, lowers nothing: what is in force stays until a resume.
        """
        ob = self.runtime.engine.ob
        if state.level is ev.KillLevel.NONE:
            changed = ob.kill_level is not ev.KillLevel.NONE and state.ts_ns > 0
        else:
            changed = ev.LEVEL_RANK[state.level] > ev.LEVEL_RANK[ob.kill_level] or not set(state.evacuate) <= set(ob.evacuate)
        if not changed:
            return
        now = max(self.now_ns, ob.now)
        self.runtime.emit(
            ev.KillSet(ts=now, level=state.level, kill_id=state.kill_id, reason=state.reason or state.fault, evacuate=state.evacuate)
        )  # fmt: skip
        self.runtime.pump()

    def closing(self) -> None:
        """Block openings at the send gate: the run is about to end."""
        self.runtime.latch = max(self.runtime.latch, ev.KillLevel.PAUSE, key=ev.LEVEL_RANK.__getitem__)

    def settled(self) -> bool:
        """Return whether nothing is in flight and every pair is hedged within tolerance."""
        engine = self.runtime.engine
        return not engine.ob.live and all(loop.watch.since_ns == 0 for loop in engine.loops)


class Shell(DeskShell):
    """Runs one runtime over one market source from `start_ns` to `end_ns` in virtual time.

    speed: market seconds per wall second, 0.0 for as fast as it goes.
    """

    def __init__(
        self, runtime: Runtime, source: Iterator[Any], *, start_ns: int, end_ns: int, speed: float, latch: Latch,
        on_slice: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(runtime, start_ns=start_ns, end_ns=end_ns, latch=latch, on_slice=on_slice)
        self.source = source
        self.speed = speed

    def run(self) -> None:
        """Drive to the end of the run or until stopped; a stop drains first. Closes the control socket."""
        began, origin = time.monotonic(), self.now_ns
        try:
            while not self.stopping and self.now_ns < self.end_ns:
                self.latched()
                if self.speed > 0.0:
                    target = origin + int((time.monotonic() - began) * self.speed * 1e9)
                else:
                    target = self.now_ns + SLICE_NS
                target = max(self.now_ns, min(target, self.end_ns))
                more = self.runtime.drive(self.source, target)
                self.now_ns = target
                self._between()
                if not more and self.end_ns >= ev.NEVER:
                    break
            if self.stopping:
                self.drain()
        finally:
            self.runtime.stop()
            if self.control is not None:
                self.control.close()

    def _between(self) -> None:
        if self.on_slice is not None:
            self.on_slice()
        wait_s = LOOK_S if self.speed > 0.0 and self.now_ns < self.end_ns else 0.0
        if self.control is not None:
            self.control.poll(wait_s)
        elif wait_s:
            time.sleep(wait_s)

    def drain(self) -> None:
        """Let orders in flight settle and fills be hedged, openings blocked at the send gate, for a bounded time."""
        self.closing()
        until = self.now_ns + DRAIN_NS
        while self.now_ns < until and not self.settled():
            self.now_ns += DRAIN_STEP_NS
            self.runtime.drive(self.source, self.now_ns)
