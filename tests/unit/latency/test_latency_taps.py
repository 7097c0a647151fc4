"""What the benchmark reads from its stamps: which bytes led to which order, and how long each part took."""

from __future__ import annotations

import zlib
from decimal import Decimal
from typing import Any

import pytest

from bot.latency.summary import FILL, STAGES, TICK, of_series, quantile
from bot.latency.taps import Mark, Wording, paths
from bot.model import event as ev
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce

KEY = b"\x01\x02\x03\x04"


def frame(text: bytes, deflate: Any = None) -> bytes:
    """A masked text frame of a WebSocket client, deflated with the connection's compressor if there is one."""
    first = 0x81
    if deflate is not None:
        text, first = (deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4], 0xC1
    size = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
    return bytes([first]) + size + KEY + bytes(b ^ KEY[n % 4] for n, b in enumerate(text))


def spec(client_id: str, purpose: Purpose) -> OrderSpec:
    """An order."""
    one = Decimal(1)
    return OrderSpec(client_id=client_id, pair="p", venue="v", instrument="i", side=Side.BUY, qty=one, limit=one, tif=TimeInForce.IOC, purpose=purpose)


def fill(client_id: str) -> ev.OrderFilled:
    """A fill."""
    return ev.OrderFilled(ts=1, venue="v", client_id=client_id, instrument="i", exec_id="e", side=Side.BUY, qty=Decimal(1), price=Decimal(1), fee=Decimal(0),
                          fee_currency="USD")  # fmt: skip


def turn(at: int, event: ev.Event, order: OrderSpec, sent: bytes) -> list[Mark]:
    """One order from the bytes of its trigger on: its parts take 1, 2, .. 7 us; other bytes and another event come between."""
    other = ev.Timer(at)
    ns = [at + 1_000 * n for n in (0, 1, 3, 6, 10, 15, 21, 28)]
    return [
        Mark(ns[0], "in", b"x", 1), Mark(ns[1], "emit", event), Mark(ns[1] + 100, "in", b"y", 2), Mark(ns[1] + 200, "emit", other),
        Mark(ns[2], "step", event), Mark(ns[3], "commit", 1), Mark(ns[4], "committed", 1), Mark(ns[5], "send", order),
        Mark(ns[5] + 100, "write", None, 3), Mark(ns[5] + 200, "out", b"ping", 3), Mark(ns[6], "write", None, 1), Mark(ns[7], "out", sent, 1),
    ]  # fmt: skip


def test_an_order_is_led_back_to_the_bytes_of_its_trigger() -> None:
    """Not to the bytes read last, and not to the write before the one that holds the order."""
    quote = ev.Quote(1, "i", 1.0, 2.0, 1.0, 1.0, 1)
    tape = turn(0, quote, spec("L1", Purpose.LEAD), b"3\0L1\0") + turn(100_000, fill("L1"), spec("H2", Purpose.HEDGE), frame(b'{"id":"H2"}'))
    ways = list(paths(tape))
    assert [c for c, _ in ways] == ["L1", "H2"] and [w.hedge for _, w in ways] == [False, True]
    rows = of_series(ways, warm_up=0, durable=True, socket=True)
    assert [(r.path, r.cycles, r.left_out, r.p50_us, r.p99_us) for r in rows] == [(TICK, 1, 0, 28.0, 28.0), (FILL, 1, 0, 28.0, 28.0)]
    assert rows[0].stages_us == rows[1].stages_us == {name: float(n) for n, name in enumerate(STAGES, start=1)}


def test_an_order_that_no_tick_and_no_fill_led_to_is_left_out_and_said() -> None:
    """An order after a timer waited for something: its way is no latency."""
    tape = turn(0, ev.Quote(1, "i", 1.0, 2.0, 1.0, 1.0, 1), spec("L1", Purpose.LEAD), b"L1") + turn(100_000, ev.Timer(5), spec("L3", Purpose.LEAD), b"L3")
    (row,) = of_series(list(paths(tape)), warm_up=0, durable=True, socket=True)
    assert (row.cycles, row.left_out) == (1, 1)


@pytest.mark.parametrize("deflated", [False, True])
def test_frames_of_a_connection_are_read_one_after_the_other(deflated: bool) -> None:
    """A compressor that keeps its window makes each frame depend on the ones before it."""
    wording, deflate = Wording(), zlib.compressobj(wbits=-15) if deflated else None
    for n in range(5):
        text = b'{"method":"order.place","params":{"newClientOrderId":"H%d"}}' % n + b"x" * 100
        assert wording.clear(frame(text, deflate)) == text
    assert wording.clear(b"GET /fapi/v1/order HTTP/1.1\r\n") == b"GET /fapi/v1/order HTTP/1.1\r\n"


def test_quantiles_are_values_that_were_measured() -> None:
    """Nearest rank."""
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.25, 0.5, 0.51, 0.99)] == [1.0, 1.0, 2.0, 3.0, 4.0]
