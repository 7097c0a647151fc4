"""The wire: delays around their medians, streams that keep their order, and the same draws for the same seed."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import pytest

from bot.model.event import NEVER
from bot.sim.wire import ROAD_SHARE, Delays, Stream, Wire

MS = 1_000_000
S = 1_000_000_000
BUSY = Delays(request_ns=20 * MS, reply_ns=60 * MS, feed_ns=40 * MS, jitter=0.5, tail_share=0.02, tail_multiple=15.0)


def drawn(delays: Delays, stream: Stream, count: int = 4_000, seed: str = "1 perp") -> list[int]:
    """Return the delays of messages so far apart that none waits for another."""
    wire = Wire(delays, seed)
    return [wire.arrival(stream, n * 100 * S) - n * 100 * S for n in range(count)]


@pytest.mark.parametrize(("stream", "ms"), [(Stream.REQUESTS, 20), (Stream.REPORTS, 60), (Stream.ANSWERS, 60), (Stream.FEED, 40)])
def test_the_configured_time_is_the_median_and_half_of_it_the_least(stream: Stream, ms: int) -> None:
    """Half of the messages are faster, none beats the road, and what is slow is much slower."""
    found = drawn(BUSY, stream)
    assert median(found) == pytest.approx(ms * MS, rel=0.05)
    assert min(found) >= ROAD_SHARE * ms * MS
    stuck = [d for d in found if d > 7.5 * ms * MS]
    assert 0.01 < len(stuck) / len(found) < 0.03


def test_without_spread_every_message_takes_the_median() -> None:
    """No jitter and no tail is the constant delay, and no delay is no draw."""
    assert set(drawn(Delays(request_ns=20 * MS), Stream.REQUESTS, 50)) == {20 * MS}
    wire = Wire(quiet_feed(), "1 perp")
    for n in range(50):
        assert wire.arrival(Stream.FEED, n) == n
    assert [wire.arrival(Stream.REQUESTS, n * 100 * S) - n * 100 * S for n in range(50)] == drawn(quiet_feed(), Stream.REQUESTS, 50)


def quiet_feed() -> Delays:
    """Return the busy delays with a feed that takes no time."""
    return Delays(request_ns=20 * MS, reply_ns=60 * MS, jitter=0.5, tail_share=0.02, tail_multiple=15.0)


def test_a_seed_is_one_sequence_and_another_is_another() -> None:
    """Delays are a function of the seed and of the order of messages."""
    assert drawn(BUSY, Stream.FEED, 200) == drawn(BUSY, Stream.FEED, 200)
    assert drawn(BUSY, Stream.FEED, 200) != drawn(BUSY, Stream.FEED, 200, "2 perp")


def test_nothing_overtakes_on_one_stream_and_everything_may_between_two() -> None:
    """A stuck message holds up those behind it on its connection, and none on another."""
    wire = Wire(BUSY, "3 perp")
    sent = [(stream, n * MS) for n in range(3_000) for stream in Stream]
    arrived: dict[Stream, list[int]] = {s: [] for s in Stream}
    for stream, at in sent:
        arrived[stream].append(wire.arrival(stream, at))
    for stream, times in arrived.items():
        assert all(a <= b for a, b in pairwise(times)), stream
    overtaken = sum(a < r for a, r in zip(arrived[Stream.ANSWERS][1:], arrived[Stream.REPORTS], strict=False))
    assert overtaken > 100


def test_what_is_under_way_arrives_by_time_and_then_in_order_of_sending() -> None:
    """The heap is first due, first out; equal instants keep their order; cleared is lost."""
    wire, heard = Wire(), []

    def hear(at: int, what: str) -> None:
        heard.append((at, what))

    for at, what in ((30, "c"), (10, "a"), (30, "d"), (20, "b")):
        wire.push(at, hear, what)
    while wire.due_ns < NEVER:
        at = wire.due_ns
        act, what = wire.pop()
        act(at, what)
    assert heard == [(10, "a"), (20, "b"), (30, "c"), (30, "d")]
    wire.push(5, hear, "x")
    wire.clear()
    assert wire.due_ns == NEVER


def test_an_extra_delay_holds_up_the_stream() -> None:
    """A venue that is slow for one quote shows no later one before it."""
    wire = Wire()
    first = wire.arrival(Stream.FEED, 0, 2 * S)
    assert first == 2 * S and wire.busy(Stream.FEED, S) and wire.arrival(Stream.FEED, S) == 2 * S
    assert not wire.busy(Stream.FEED, 2 * S) and wire.arrival(Stream.FEED, 3 * S) == 3 * S
