"""A venue's message allowance, spent in order of importance: what gets flatter never waits behind what asks.

Both client libraries queue silently, first in first out; their own throttles are switched off and every message passes
here instead. A sliding window per limit of the venue counts what left; a part of each is reserved for cancels and
reductions, so that a burst of openings or queries cannot starve them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum

import msgspec


class Priority(IntEnum):
    """What goes first; within one priority the order of asking is kept."""

    CANCEL = 0
    REDUCE = 1
    OPEN = 2
    QUERY = 3


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """At most `limit` messages within any `span_ns`, of which `reserve` only for cancels and reductions."""

    limit: int
    span_ns: int
    reserve: int = 0

    def __post_init__(self) -> None:
        if not (self.limit > self.reserve >= 0 and self.span_ns > 0):
            raise ValueError(f"allowance: {self.limit} messages with {self.reserve} reserved in {self.span_ns} ns")


class Budget:
    """Sends what it is asked to as soon as every allowance permits.

    clock: ns, only ever rising. later: calls a function after that many seconds (an event loop's call_later). An ask
    that finds room is carried out within the call itself; `act` must not block and must not raise.
    """

    def __init__(self, allowances: Sequence[Allowance], clock: Callable[[], int], later: Callable[[float, Callable[[], None]], object]) -> None:
        self._allowances = tuple(allowances)
        self._sent: tuple[deque[int], ...] = tuple(deque() for _ in allowances)
        self._clock = clock
        self._later = later
        self._queue: list[tuple[Priority, int, Callable[[], None]]] = []
        self._asked = 0
        self._waking = False
        self._held_until = 0

    @property
    def waiting(self) -> int:
        """Return how many messages wait for room."""
        return len(self._queue)

    def ask(self, priority: Priority, act: Callable[[], None]) -> None:
        """Carry out `act` now or as soon as there is room for it."""
        self._asked += 1
        heapq.heappush(self._queue, (priority, self._asked, act))
        self._spend()

    def hold(self, for_ns: int) -> None:
        """Send nothing for this long: the venue said so (HTTP 418 or 429 with Retry-After)."""
        self._held_until = max(self._held_until, self._clock() + for_ns)

    def clear(self) -> None:
        """Forget what waits: the connection it was meant for is gone."""
        self._queue.clear()

    def _spend(self) -> None:
        while self._queue:
            wait = self._wait_ns(self._queue[0][0])
            if wait > 0:
                self._wake_after(wait)
                return
            now = self._clock()
            for sent in self._sent:
                sent.append(now)
            heapq.heappop(self._queue)[2]()

    def _wait_ns(self, priority: Priority) -> int:
        """Return how long a message of this priority has to wait, <= 0 for not at all."""
        now = self._clock()
        wait = self._held_until - now
        for allowance, sent in zip(self._allowances, self._sent, strict=True):
            while sent and sent[0] <= now - allowance.span_ns:
                sent.popleft()
            room = allowance.limit - (allowance.reserve if priority > Priority.REDUCE else 0)
            if len(sent) >= room:
                wait = max(wait, sent[len(sent) - room] + allowance.span_ns - now)
        return wait

    def _wake_after(self, wait_ns: int) -> None:
        if not self._waking:
            self._waking = True
            self._later(wait_ns / 1e9, self._woken)

    def _woken(self) -> None:
        self._waking = False
        self._spend()
