"""The message budget: limits hold in every window, importance goes first, nothing is lost."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.venues.budget import Allowance, Budget, Priority

S = 1_000_000_000


class Loop:
    """A clock with call_later."""

    def __init__(self) -> None:
        self.now = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._n = 0

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._due, (self.now + round(seconds * S), self._n, act))

    def run(self, until: int) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, act = heapq.heappop(self._due)
            act()
        self.now = max(self.now, until)


def test_a_cancel_overtakes_what_waits_and_finds_its_reserve() -> None:
    loop, out = Loop(), []
    budget = Budget([Allowance(limit=10, span_ns=S, reserve=3)], lambda: loop.now, loop.later)
    for n in range(20):
        budget.ask(Priority.OPEN, lambda n=n: out.append(f"open {n}"))  # type: ignore[misc]
    assert len(out) == 7 and budget.waiting == 13
    budget.ask(Priority.CANCEL, lambda: out.append("cancel"))
    assert out[-1] == "cancel", "the reserve was spent on openings"
    loop.run(10 * S)
    assert len(out) == 21 and budget.waiting == 0


def test_a_venue_that_says_wait_is_obeyed() -> None:
    loop, out = Loop(), []
    budget = Budget([Allowance(limit=10, span_ns=S)], lambda: loop.now, loop.later)
    budget.hold(5 * S)
    budget.ask(Priority.CANCEL, lambda: out.append(loop.now))
    loop.run(20 * S)
    assert out == [5 * S]


def test_forgotten_messages_never_leave() -> None:
    loop, out = Loop(), []
    budget = Budget([Allowance(limit=1, span_ns=S)], lambda: loop.now, loop.later)
    for n in range(3):
        budget.ask(Priority.OPEN, lambda n=n: out.append(n))  # type: ignore[misc]
    budget.clear()
    loop.run(20 * S)
    assert out == [0]


@given(
    st.lists(st.tuples(st.integers(0, 3 * S), st.sampled_from(list(Priority))), max_size=60),
    st.integers(2, 12), st.integers(0, 1), st.integers(5, 40),
)  # fmt: skip
def test_limits_hold_in_every_window_and_all_leave(asks: list[tuple[int, Priority]], limit: int, reserve: int, long_limit: int) -> None:
    loop = Loop()
    sent: list[tuple[int, Priority]] = []
    allowances = [Allowance(limit=limit, span_ns=S, reserve=reserve), Allowance(limit=long_limit, span_ns=5 * S)]
    budget = Budget(allowances, lambda: loop.now, loop.later)
    for at, priority in sorted(asks):
        loop.run(at)
        budget.ask(priority, lambda p=priority: sent.append((loop.now, p)))  # type: ignore[misc]
    loop.run(600 * S)
    assert len(sent) == len(asks)
    for a in allowances:
        for k, (at, _) in enumerate(sent):
            inside = [t for t, _ in sent[: k + 1] if t > at - a.span_ns]
            assert len(inside) <= a.limit
    plain = [t for t, p in sent if p > Priority.REDUCE]
    for k, at in enumerate(plain):
        assert len([t for t in plain[: k + 1] if t > at - S]) <= limit - reserve


def test_an_allowance_without_room_is_refused() -> None:
    with pytest.raises(ValueError):
        Allowance(limit=3, span_ns=S, reserve=3)
