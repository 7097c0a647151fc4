"""How many messages a venue takes from us, counted where they arrive: what is over a limit is refused and not carried out.

An exchange answers 429 and keeps the connection. A broker's gateway would sooner or later close it; here it refuses like
an exchange, because what a lost connection does is a fault of its own. What was refused does not count, so that a
caller who keeps asking gets through as soon as there is room; the bans that follow a stubborn caller are not modelled.
"""

from __future__ import annotations

from collections import deque

import msgspec

from bot.model.command import Command, QueryVenue, Submit
from bot.sim.fault_kinds import FaultKind
from bot.sim.faults import FaultPlan

TOO_MANY = "too many requests"
SNAPSHOT_REQUESTS = 20
"""Requests that one question for everything a venue holds is worth: positions, balances, open orders, trades (an assumption)."""

_S = 1_000_000_000


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Most messages a venue takes, 0 where it has no such limit.

    messages_s: of any sort, within a second. orders_10s, orders_60s: new orders alone, within ten seconds and a minute.
    requests_60s: cancels and queries, within a minute, a question for everything counting SNAPSHOT_REQUESTS.
    """

    messages_s: int = 0
    orders_10s: int = 0
    orders_60s: int = 0
    requests_60s: int = 0


UNLIMITED = Budget()


class Window:
    """Messages of the last `width_ns`, at most `limit` of them."""

    def __init__(self, limit: int, width_ns: int) -> None:
        self.limit = limit
        self.width_ns = width_ns
        self._taken: deque[tuple[int, int]] = deque()
        self._sum = 0

    def full(self, now_ns: int, weight: int = 1) -> bool:
        """Return whether `weight` more are too many now."""
        while self._taken and self._taken[0][0] <= now_ns - self.width_ns:
            self._sum -= self._taken.popleft()[1]
        return self._sum + weight > self.limit

    def used(self, now_ns: int) -> int:
        """Return what was taken within the width."""
        self.full(now_ns)
        return self._sum

    def take(self, now_ns: int, weight: int = 1) -> None:
        """Count `weight` messages."""
        self._taken.append((now_ns, weight))
        self._sum += weight


class Gate:
    """One venue's message limits, and the lower one that a `throttled` fault of its plan sets for a while."""

    def __init__(self, budget: Budget, plan: FaultPlan) -> None:
        self._plan = plan
        self._all = [Window(budget.messages_s, _S)] if budget.messages_s else []
        self._orders = [Window(n, s * _S) for n, s in ((budget.orders_10s, 10), (budget.orders_60s, 60)) if n]
        self._requests = [Window(budget.requests_60s, 60 * _S)] if budget.requests_60s else []
        self._throttle: tuple[float, Window] | None = None

    def takes(self, command: Command, now_ns: int) -> bool:
        """Count a message that has arrived; return False, and count a hit instead, when it is one too many."""
        order = isinstance(command, Submit)
        weight = SNAPSHOT_REQUESTS if isinstance(command, QueryVenue) else 1
        windows = [(w, 1) for w in self._all]
        windows += [(w, 1) for w in self._orders] if order else [(w, weight) for w in self._requests]
        throttle = self._throttled(now_ns)
        if throttle is not None:
            windows.append((throttle, 1))
        if any(window.full(now_ns, n) for window, n in windows):
            self._plan.hit(FaultKind.THROTTLED)
            return False
        for window, n in windows:
            window.take(now_ns, n)
        return True

    def _throttled(self, now_ns: int) -> Window | None:
        fault = self._plan.on(FaultKind.THROTTLED, now_ns)
        if fault is None:
            self._throttle = None
            return None
        per_s = fault.arg("per_s")
        if self._throttle is None or self._throttle[0] != per_s:
            limit = max(1, int(per_s))
            self._throttle = (per_s, Window(limit, int(limit / per_s * _S)))
        return self._throttle[1]
