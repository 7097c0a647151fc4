"""The broker's trading hours against the calendar: agreement by construction, and every kind of disagreement in words."""

from __future__ import annotations

import pytest

from bot.market.holidays import chicago_ns
from bot.model.notation import instant_ns
from bot.venues.ib_hours import differences, spans, told
from bot.wire.tws_contracts import trading_hours

TUESDAY = instant_ns("2026-11-03T15:45Z")
ZONE = "US/Central"


@pytest.mark.parametrize("code", ["MBT", "BTC", "QBTC"])
@pytest.mark.parametrize("day", ["2026-11-03T15:45Z", "2026-10-30T21:01Z", "2026-11-25T12:00Z", "2026-12-24T18:00Z", "2026-03-06T09:00Z", "2024-06-12T22:30Z"])
def test_hours_written_from_the_calendar_agree_with_it(code: str, day: str) -> None:
    """Weekends, both clock changes, holidays and both regimes, read back from the form in which the broker writes them."""
    now = instant_ns(day)
    assert differences(code, trading_hours(code, now), ZONE, now) == []


def test_a_session_that_only_one_side_knows_is_told() -> None:
    """The weekend that both calendar libraries still believe in, and an evening the broker does not have."""
    hours = "20261103:0000-20261103:1600;20261103:1602-20261104:0000;20261104:0000-20261104:1600;20261104:1602-20261105:0000"
    assert differences("MBT", hours, ZONE, TUESDAY) == []
    early = hours.replace("20261104:0000-20261104:1600;20261104:1602-20261105:0000", "20261104:CLOSED")
    assert differences("MBT", early, ZONE, TUESDAY) == [
        "2026-11-04T06:00:00Z to 2026-11-04T22:00:00Z open here, closed at the broker",
        "2026-11-04T22:02:00Z to 2026-11-05T06:00:00Z open here, closed at the broker",
    ]  # fmt: skip
    through = hours.replace("20261104:1600;20261104:1602", "20261104:1601;20261104:1601")
    assert [d.partition("Z to")[2] for d in differences("MBT", through, ZONE, TUESDAY)] == [
        " 2026-11-04T22:02:00Z open at the broker, closed here"
    ]  # fmt: skip


def test_what_is_past_does_not_count() -> None:
    """Only what comes can be traded."""
    assert differences("MBT", "20261103:0900-20261103:1600;20261103:1602-20261103:2400", ZONE, TUESDAY) == []
    assert differences("MBT", "20261103:1000-20261103:1600;20261103:1602-20261103:2400", ZONE, TUESDAY) == [
        "2026-11-03T15:45:00Z to 2026-11-03T16:00:00Z open here, closed at the broker"
    ]  # fmt: skip


def test_every_way_of_writing_a_span_is_read() -> None:
    """With and without a date at the end, over midnight, and to the end of a day."""
    from datetime import date, time

    day = date(2026, 11, 3)
    (first, last), found = spans("20261103:1700-1800;20261103:1900-20261104:0100;20261105:2300-20261105:2400", ZONE)
    assert first == chicago_ns(day, time(0)) and last == chicago_ns(date(2026, 11, 6), time(0))
    assert [(b - a) // 3_600_000_000_000 for a, b in found] == [1, 6, 1]


@pytest.mark.parametrize(("hours", "zone"), [
    ("", ZONE), ("CLOSED", ZONE), ("20261103", ZONE), ("20261103:0900", ZONE), ("20261103:1600-20261103:0900", ZONE), ("20261303:0900-20261303:1000", ZONE),
    ("20261103:0900-20261103:1000", "Mars/Olympus"), ("20261103:0900-20261103:1000", ""),
])  # fmt: skip
def test_what_cannot_be_read_is_no_agreement(hours: str, zone: str) -> None:
    """An unreadable text is an error, never an empty list of differences."""
    with pytest.raises(ValueError):
        differences("MBT", hours, zone, TUESDAY)


def test_a_long_list_is_cut_and_counted() -> None:
    """Three are spelt out."""
    assert told(["a", "b", "c", "d", "e"]) == "a; b; c and 2 more" and told([]) == ""
