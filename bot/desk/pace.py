"""The shell of a run on live venues: an asyncio loop that passes what adapters emit, and time itself, through the runtime.

The runtime stays the one synchronous loop: adapters only hand in events, and everything is stepped here, in one task. The
control socket is served as soon as someone speaks; the latch is looked at every LOOK_S, whatever the market does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bot.desk.shell import DeskShell
from bot.kill.latch import Latch
from bot.model import event as ev
from bot.runtime import Runtime

LOOK_S = 0.05
"""Wall time between two looks at latch, stop and screen."""
DRAIN_NS = 30_000_000_000
"""The end of a run waits at most this long for orders in flight to settle and fills to be hedged."""
_LOOK_NS = int(LOOK_S * 1e9)


class LiveShell(DeskShell):
    """Runs one runtime on a clock (UTC ns, never going back) until `end_ns` or until stopped; either way it drains first."""

    def __init__(
        self, runtime: Runtime, *, clock: Callable[[], int], end_ns: int, latch: Latch, on_slice: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(runtime, start_ns=clock(), end_ns=end_ns, latch=latch, on_slice=on_slice)
        self.clock = clock
        self._waiter: asyncio.Future[None] | None = None
        self._look_ns = 0
        runtime.wake = self._wake

    async def run(self) -> None:
        """Serve and trade to the end; then let what is in flight settle. Venues and control socket are left to the caller."""
        loop = asyncio.get_running_loop()
        if self.control is not None:
            loop.add_reader(self.control.fileno(), self.control.poll)
        try:
            await self._until(lambda: bool(self.stopping) or self.now_ns >= self.end_ns)
            self.closing()
            until = self.now_ns + DRAIN_NS
            await self._until(lambda: self.settled() or self.now_ns >= until)
        finally:
            if self.control is not None:
                loop.remove_reader(self.control.fileno())

    async def _until(self, done: Callable[[], bool]) -> None:
        """Let the desk live until `done`, asked after every turn."""
        while True:
            self.now_ns = now = self.clock()
            if now >= self._look_ns:
                self._look_ns = now + _LOOK_NS
                self.latched()
                if self.on_slice is not None:
                    self.on_slice()
            self.runtime.beat(now)
            if done():
                return
            await self._pause(min(self.runtime.due_ns, self._look_ns, self.end_ns if self.end_ns > now else ev.NEVER))

    async def _pause(self, until_ns: int) -> None:
        """Sleep until an instant or the next event, whichever comes first; the loop gets its turn in any case."""
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        alarm = loop.call_later(max(0.0, (until_ns - self.clock()) / 1e9), self._wake)
        try:
            await waiter
        finally:
            alarm.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
