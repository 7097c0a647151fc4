"""The wire between desk and venue: how long each message is under way, and in which order messages arrive.

A delay is drawn around its median: half of it is the road itself and never less, the rest is lognormal, and seldom a
message is stuck for many times as long. Messages of one stream never overtake each other, however long each took:
requests, pushed reports and quotes each travel on one TCP connection. Answers to queries are a stream of their own
(the exchanges answer over REST what they also push), so that an answer may be older or newer than the reports around it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from enum import IntEnum
from random import Random
from typing import Any

import msgspec

from bot.model.event import NEVER

ROAD_SHARE = 0.5
"""Share of a median delay that no message beats (an assumption: distance and the venue's own work)."""

Act = Callable[[int, Any], None]


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """One way times in ns: our request to the venue, its reply to us, its market data to us; medians.

    jitter: standard deviation of the logarithm of what is beyond the road. tail_share: messages, 0..1, that take
    tail_multiple (>= 1) as long. 0 ns is no delay and no draw; without jitter and tail every message takes the median.
    """

    request_ns: int = 0
    reply_ns: int = 0
    feed_ns: int = 0
    jitter: float = 0.0
    tail_share: float = 0.0
    tail_multiple: float = 1.0


INSTANT = Delays()


class Stream(IntEnum):
    """What travels in order on one connection."""

    REQUESTS = 0
    REPORTS = 1
    ANSWERS = 2
    FEED = 3


class Wire:
    """What is under way in both directions, by due time and order of sending. seed: of this venue's delays."""

    def __init__(self, delays: Delays = INSTANT, seed: str = "") -> None:
        self.delays = delays
        self._medians = (delays.request_ns, delays.reply_ns, delays.reply_ns, delays.feed_ns)
        self._varies = delays.jitter > 0.0 or delays.tail_share > 0.0
        self._rnd = Random(seed).random
        self._last = [0, 0, 0, 0]
        self._sent = 0
        self._heap: list[tuple[int, int, Act, Any]] = []

    @property
    def due_ns(self) -> int:
        """Return when the next message arrives, NEVER when nothing is under way."""
        return self._heap[0][0] if self._heap else NEVER

    def arrival(self, stream: Stream, now_ns: int, extra_ns: int = 0) -> int:
        """Return when a message sent now arrives: not before the one sent before it on its stream. extra_ns: beyond the usual delay."""
        at = now_ns + extra_ns + (self._delay(stream) if self._medians[stream] else 0)
        self._last[stream] = at = max(at, self._last[stream])
        return at

    def busy(self, stream: Stream, now_ns: int) -> bool:
        """Return whether something on `stream` arrives only after `now_ns`."""
        return self._last[stream] > now_ns

    def push(self, at_ns: int, act: Act, what: Any) -> None:
        """Let `act(instant, what)` happen at `at_ns`."""
        self._sent += 1
        heapq.heappush(self._heap, (at_ns, self._sent, act, what))

    def pop(self) -> tuple[Act, Any]:
        """Take the next message off the wire. Raises IndexError when there is none."""
        return heapq.heappop(self._heap)[2:]

    def clear(self) -> None:
        """Lose everything that is under way."""
        self._heap.clear()

    def _delay(self, stream: Stream) -> int:
        median = self._medians[stream]
        if not self._varies:
            return median
        d, rnd = self.delays, self._rnd
        normal = math.sqrt(-2.0 * math.log(1.0 - rnd())) * math.cos(2.0 * math.pi * rnd())
        road = ROAD_SHARE * median
        drawn = road + (median - road) * math.exp(d.jitter * normal)
        return int(drawn * d.tail_multiple if rnd() < d.tail_share else drawn)
