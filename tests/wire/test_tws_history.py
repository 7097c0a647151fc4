"""Historical bars as ib_insync gets them: what they are made of, their times, the broker's pacing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tws_client import limit, qualified, run
from tws_rig import START, Desk, S, until

from bot.sim.faults import Fault, FaultKind
from bot.wire.tws_contracts import Row
from bot.wire.tws_history import Asked, Invalid, Pace, duration_s, end_of

MINUTE = timedelta(minutes=1)
BEGAN = datetime.fromtimestamp(START // S, UTC)
QUOTES = ((1.0, 70_000.0, 70_010.0, 8.0), (20.0, 70_040.0, 70_050.0, 8.0), (40.0, 69_980.0, 70_000.0, 8.0), (61.0, 70_020.0, 70_030.0, 8.0))


async def bars(ib: Any, kind: str = "MIDPOINT", duration: str = "600 S", size: str = "1 min", end: Any = "", fmt: int = 2) -> list[Any]:
    """Ask for bars."""
    return list(await ib.reqHistoricalDataAsync(await qualified(ib), end, duration, size, kind, useRTH=False, formatDate=fmt))


def test_bars_are_the_history_and_what_was_quoted_since() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        desk.to(90.0)
        got = await bars(ib)
        assert [b.date for b in got] == [BEGAN + n * MINUTE for n in range(-8, 2)]
        assert (got[7].open, got[7].close, got[7].volume) == (60_305.0, 60_305.0, -1.0)  # the last of the history
        assert (got[8].open, got[8].high, got[8].low, got[8].close) == (70_005.0, 70_045.0, 69_990.0, 69_990.0)
        assert got[9].close == 70_025.0

    run(body, quotes=QUOTES, history_min=31)


def test_trades_are_on_the_tick_and_their_volume_is_the_accounts() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        desk.to(30.0)
        ib.placeOrder(await qualified(ib), limit("BUY", 3, 70_050))
        await until(desk.exchange.positions)
        desk.to(90.0)
        (one, two) = await bars(ib, "TRADES", "120 S")
        assert (one.open % 5, one.high % 5, one.close) == (0.0, 0.0, 69_990.0)
        assert (one.volume, one.barCount, two.volume, two.barCount) == (3.0, 1, 0.0, 0)

    run(body, quotes=QUOTES)


def test_bid_ask_has_means_and_extremes() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        desk.to(60.0)
        (bar,) = await bars(ib, "BID_ASK", "60 S")
        assert (bar.high, bar.low) == (70_050.0, 69_980.0)
        assert (bar.open, bar.close) == pytest.approx(((70_000 + 70_040 + 69_980) / 3, (70_010 + 70_050 + 70_000) / 3))

    run(body, quotes=QUOTES)


def test_times_with_format_1_are_the_exchanges_and_mean_the_same_instant() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        first, second = await bars(ib, duration="120 S"), await bars(ib, duration="120 S", fmt=1)
        assert [b.date for b in first] == [b.date for b in second]
        assert str(second[0].date.tzinfo) == "US/Central" and second[0].date.hour == 8

    run(body, history_min=31)


def test_longer_bars_and_a_given_end() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        got = await bars(ib, size="10 mins", duration="1200 S", end=BEGAN - 30 * MINUTE)
        assert [b.date for b in got] == [BEGAN - 50 * MINUTE, BEGAN - 40 * MINUTE]
        assert (got[0].open, got[0].close) == (60_115.0, 60_205.0)

    run(body, history_min=61)


def codes(ib: Any) -> list[tuple[int, str]]:
    """Return (code, text) of every error from now on, a list that grows."""
    seen: list[tuple[int, str]] = []
    ib.errorEvent += lambda req, code, text, contract: seen.append((code, text))
    return seen


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        ({"size": "7 mins"}, 321, "bar size"), ({"duration": "1 X"}, 321, "duration"), ({"kind": "YIELD"}, 321, "data type"),
        ({"end": "20261103 25:00:00 UTC"}, 10314, "End Date"), ({"end": "20200101 00:00:00 UTC"}, 162, "no data: MBTX6@CME Midpoint"),
    ],
)  # fmt: skip
def test_what_is_not_served_has_its_code(more: dict[str, Any], code: int, told: str) -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        assert await bars(ib, **more) == []
        assert [c for c, text in seen if told in text] == [code]

    run(body, history_min=31)


def test_the_same_request_within_fifteen_seconds_is_a_pacing_violation() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        assert await bars(ib) and await bars(ib) == []
        assert [text for code, text in seen if code == 162] == ["Historical Market Data Service error message:Historical data request pacing violation"]
        desk.to(15.0)
        assert await bars(ib)

    run(body, history_min=31)


def test_without_the_broker_there_are_no_bars() -> None:
    async def body(desk: Desk, ib: Any) -> None:
        seen = codes(ib)
        desk.to(1.0)
        contract = await qualified(ib)
        desk.to(2.0)
        assert not await ib.reqHistoricalDataAsync(contract, "", "600 S", "1 min", "MIDPOINT", False, 2)
        assert any(code == 162 and "HMDS" in text for code, text in seen)

    run(body, history_min=31, faults=(Fault(at_ns=START + 2 * S, venue="cme", kind=FaultKind.CONNECTIVITY),))


# The limits themselves.


def ask(kind: str = "MIDPOINT", end: str = "") -> Asked:
    """Return a request of its own for each `end`."""
    return Asked(1, None, end, "1 min", "1 D", kind, 2, False)  # type: ignore[arg-type]


def row(con_id: int = 1) -> Row:
    """Return a contract."""
    return Row(instrument="I", root="R", con_id=con_id, symbol="S", expiry="", expiry_ns=0, multiplier="", local_symbol="", tick=None)  # type: ignore[arg-type]


def test_the_sixth_for_one_contract_within_two_seconds_is_one_too_many() -> None:
    pace = Pace()
    assert [pace.takes(ask(end=str(n)), row(), n) for n in range(6)] == [True] * 5 + [False]
    assert pace.takes(ask(end="other"), row(2), 6) and pace.takes(ask("TRADES"), row(), 7)
    assert pace.takes(ask(end="9"), row(), 2 * S + 4)


def test_sixty_in_ten_minutes_and_bid_ask_counts_twice() -> None:
    pace = Pace()
    assert all(pace.takes(ask(end=str(n)), row(), 3 * S * n) for n in range(60))
    assert not pace.takes(ask(end="more"), row(), 599 * S)
    assert pace.takes(ask(end="more"), row(), 600 * S)
    double = Pace()
    assert all(double.takes(ask("BID_ASK", str(n)), row(), 3 * S * n) for n in range(30))
    assert not double.takes(ask("BID_ASK", "more"), row(), 300 * S)


@pytest.mark.parametrize(("text", "seconds"), [("60 S", 60), ("2 D", 172_800), ("1 W", 604_800), ("1 Y", 365 * 86_400)])
def test_durations(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "D", "-1 D", "0 S", "1.5 D", "1 d", "9 Y", "² D", "1  D"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(Invalid):
        duration_s(text)


@pytest.mark.parametrize("text", ["20261103 08:30:00 US/Central", "20261103 14:30:00 UTC", "20261103 14:30:00", "20261103-14:30:00"])
def test_ends(text: str) -> None:
    assert end_of(text, 5) == START and end_of("", 5) == 5


@pytest.mark.parametrize(
    "text", ["20261103", "20261103 8", "now", "20261103 08:30:00 Nowhere/Land", "20261103 08:30:00 ../../etc/passwd", "20261103 08:30:00 \x01"]
)
def test_what_is_no_end(text: str) -> None:
    with pytest.raises(Invalid):
        end_of(text, 5)
