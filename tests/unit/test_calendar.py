"""Every dated fact about CME trading hours and trade dates, and the price files of the exchange as witnesses."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bot.market.calendar import END_NS, START_NS, CmeCalendar, DeskSessions, State, intervals
from bot.market.expiry import expiry_ns
from bot.market.holidays import CHICAGO, DOUBTS, GAPS, HOLIDAYS, Effect, chicago_ns
from bot.model.event import NEVER
from bot.model.instrument import Instrument, Kind

CME_FILES = Path(__file__).parents[2] / "../shared/data/cme"
MINUTE_NS = 60_000_000_000


def at(text: str) -> int:
    """Return UTC ns of a Chicago wall-clock time."""
    moment = datetime.fromisoformat(text)
    return chicago_ns(moment.date(), moment.time())


def utc(text: str) -> int:
    """Return UTC ns of an ISO time with offset."""
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000


def rows(name: str) -> Iterator[dict[str, str]]:
    """Read one price file, or skip where the folder is absent."""
    path = CME_FILES / name
    if not path.exists():
        pytest.skip(f"no price files at {path}")
    with gzip.open(path, "rt") as text:
        yield from csv.DictReader(text)


# (instant, state, beginning of the reason, trade date)
FACTS = [
    # the five-day week
    ("2026-05-17T16:59:59", "closed", "weekend", "2026-05-18"),
    ("2026-05-17T17:00", "open", "", "2026-05-18"),
    ("2026-05-18T15:59:59", "open", "", "2026-05-18"),
    ("2026-05-18T16:00", "closed", "daily stop", "2026-05-19"),
    ("2026-05-18T16:59:59", "closed", "daily stop", "2026-05-19"),
    ("2026-05-18T17:00", "open", "", "2026-05-19"),
    ("2026-05-22T15:59:59", "open", "", "2026-05-22"),
    ("2026-05-22T16:00", "closed", "weekend", "2026-05-26"),
    ("2026-05-23T12:00", "closed", "weekend", "2026-05-26"),
    # the change
    ("2026-05-29T15:59:59", "open", "", "2026-05-29"),
    ("2026-05-29T16:00", "closed", "change", "2026-06-01"),
    ("2026-05-29T16:02", "closed", "change", "2026-06-01"),
    ("2026-05-29T16:29:59", "closed", "change", "2026-06-01"),
    ("2026-05-29T16:30", "open", "", "2026-06-01"),
    # around the clock: the weekday stop
    ("2026-06-02T15:59:59", "open", "", "2026-06-02"),
    ("2026-06-02T16:00", "closed", "daily stop", "2026-06-03"),
    ("2026-06-02T16:00:59", "closed", "daily stop", "2026-06-03"),
    ("2026-06-02T16:01", "pre_open", "daily stop", "2026-06-03"),
    ("2026-06-02T16:01:30", "no_cancel", "daily stop", "2026-06-03"),
    ("2026-06-02T16:01:59", "no_cancel", "daily stop", "2026-06-03"),
    ("2026-06-02T16:02", "open", "", "2026-06-03"),
    ("2026-06-02T17:00", "open", "", "2026-06-03"),
    # Saturday, Sunday
    ("2026-06-05T16:02", "open", "", "2026-06-08"),
    ("2026-06-06T01:59:59", "open", "", "2026-06-08"),
    ("2026-06-06T02:00", "closed", "Saturday", "2026-06-08"),
    ("2026-06-06T03:45", "pre_open", "Saturday", "2026-06-08"),
    ("2026-06-06T03:59:29", "pre_open", "Saturday", "2026-06-08"),
    ("2026-06-06T03:59:30", "no_cancel", "Saturday", "2026-06-08"),
    ("2026-06-06T04:00", "open", "", "2026-06-08"),
    ("2026-06-06T16:01", "open", "", "2026-06-08"),
    ("2026-06-07T16:01", "open", "", "2026-06-08"),
    ("2026-06-08T15:59:59", "open", "", "2026-06-08"),
    # extended Saturdays
    ("2026-08-01T08:44:59", "closed", "Saturday", "2026-08-03"),
    ("2026-08-01T08:45", "pre_open", "Saturday", "2026-08-03"),
    ("2026-08-01T09:00", "open", "", "2026-08-03"),
    ("2026-08-08T04:00", "open", "", "2026-08-10"),
    ("2026-08-29T05:59:59", "no_cancel", "Saturday", "2026-08-31"),
    ("2026-08-29T06:00", "open", "", "2026-08-31"),
    ("2026-09-19T07:59:59", "no_cancel", "Saturday", "2026-09-21"),
    ("2026-09-19T08:00", "open", "", "2026-09-21"),
    # holidays around the clock: trading goes on, the trade date skips
    ("2026-06-18T16:02", "open", "", "2026-06-22"),
    ("2026-06-19T12:00", "open", "", "2026-06-22"),
    ("2026-06-19T16:00:30", "closed", "daily stop", "2026-06-22"),
    ("2026-06-22T15:59:59", "open", "", "2026-06-22"),
    ("2026-07-02T16:02", "open", "", "2026-07-06"),
    ("2026-11-25T15:59", "open", "", "2026-11-25"),
    ("2026-11-25T16:02", "open", "", "2026-11-27"),
    ("2026-11-26T12:00", "open", "", "2026-11-27"),
    ("2026-11-27T10:00", "open", "", "2026-11-27"),
    # what nobody has published
    ("2026-11-27T12:15", "closed", "unknown", "2026-11-30"),
    ("2026-11-27T16:02", "open", "", "2026-11-30"),
    ("2026-12-24T12:14:59", "open", "", "2026-12-24"),
    ("2026-12-25T12:00", "closed", "unknown", "2026-12-28"),
    ("2026-12-31T15:59", "open", "", "2026-12-31"),
    ("2027-01-01T12:00", "closed", "unknown", "2027-01-04"),
    ("2027-03-26T09:00", "closed", "unknown", "2027-03-29"),
    ("2027-12-24T09:00", "closed", "unknown", "2027-12-27"),
    # the table of library errors
    ("2025-04-18T09:00", "closed", "holiday: Good Friday", "2025-04-21"),
    ("2025-04-17T17:00", "closed", "holiday: Good Friday", "2025-04-21"),
    ("2025-07-03T15:59", "open", "", "2025-07-03"),
    ("2025-07-04T11:59", "open", "", "2025-07-07"),
    ("2025-07-04T12:00", "closed", "early close", "2025-07-07"),
    ("2025-11-27T15:59", "open", "", "2025-11-28"),
    ("2025-11-27T16:30", "closed", "daily stop", "2025-11-28"),
    ("2025-11-28T03:00", "closed", "halt", "2025-11-28"),
    ("2025-11-28T07:29:59", "closed", "halt", "2025-11-28"),
    ("2025-11-28T07:30", "open", "", "2025-11-28"),
    ("2025-11-28T13:44:59", "open", "", "2025-11-28"),
    ("2025-11-28T13:45", "closed", "early close", "2025-12-01"),
    ("2025-12-24T12:44:59", "open", "", "2025-12-24"),
    ("2025-12-24T12:45", "closed", "early close", "2025-12-26"),
    ("2025-12-24T18:00", "closed", "holiday: Christmas", "2025-12-26"),
    ("2025-12-25T12:00", "closed", "holiday: Christmas", "2025-12-26"),
    ("2025-12-25T17:00", "open", "", "2025-12-26"),
    ("2025-01-01T12:00", "closed", "holiday: New Year", "2025-01-02"),
    ("2026-01-01T12:00", "closed", "holiday: New Year", "2026-01-02"),
    ("2025-01-09T10:00", "open", "", "2025-01-09"),
    ("2026-04-03T10:14:59", "open", "", "2026-04-03"),
    ("2026-04-03T10:15", "closed", "early close", "2026-04-06"),
    # US holidays before and after 2022
    ("2021-01-18T11:59:59", "open", "", "2021-01-19"),
    ("2021-01-18T12:00", "closed", "early close", "2021-01-19"),
    ("2021-01-18T17:00", "open", "", "2021-01-19"),
    ("2022-01-17T15:59:59", "open", "", "2022-01-18"),
    ("2026-01-19T15:59:59", "open", "", "2026-01-20"),
    ("2020-07-03T12:00", "closed", "early close", "2020-07-06"),
    # Monday closures: Sunday evening does not open
    ("2023-01-01T18:00", "closed", "holiday: New Year", "2023-01-03"),
    ("2023-01-02T17:00", "open", "", "2023-01-03"),
    ("2021-12-31T12:00", "open", "", "2021-12-31"),
    # the first session
    ("2017-12-17T16:59:59", "closed", "weekend", "2017-12-18"),
    ("2017-12-17T17:00", "open", "", "2017-12-18"),
]


@pytest.mark.parametrize(("when", "state", "reason", "trade_date"), FACTS)
def test_state_and_trade_date_at(when: str, state: str, reason: str, trade_date: str) -> None:
    """Each published hour finds the market in the state and on the trade date the exchange gives it."""
    found = CmeCalendar().at(at(when))
    assert (found.state, found.trade_date) == (state, trade_date)
    assert found.reason.startswith(reason) and bool(found.reason) is (state != "open")


# (product, instant, state, beginning of the reason, trade date)
OTHERS = [
    ("QBTC", "2025-06-29T16:59:59", "closed", "not listed", ""),
    ("QBTC", "2025-06-29T17:00", "open", "", "2025-06-30"),
    ("QSOL", "2025-12-14T17:00", "open", "", "2025-12-15"),
    ("QETH", "2026-05-29T15:59:59", "open", "", "2026-05-29"),
    ("QETH", "2026-05-29T16:30", "closed", "weekend", "2026-06-01"),
    ("QBTC", "2026-06-06T12:00", "closed", "weekend", "2026-06-08"),
    ("QBTC", "2026-06-07T16:59:59", "closed", "weekend", "2026-06-08"),
    ("QBTC", "2026-06-07T17:00", "open", "", "2026-06-08"),
    ("QXRP", "2026-06-08T16:02", "closed", "daily stop", "2026-06-09"),
    ("QXRP", "2026-06-08T17:00", "open", "", "2026-06-09"),
    ("QBTC", "2026-09-06T17:00", "closed", "unknown: spot-quoted", "2026-09-08"),
    ("QBTC", "2026-09-07T12:00", "closed", "unknown: spot-quoted", "2026-09-08"),
    ("QBTC", "2026-09-07T17:00", "open", "", "2026-09-08"),
    ("QBTC", "2026-11-27T12:15", "closed", "unknown", "2026-11-30"),
    ("QBTC", "2026-11-28T12:00", "closed", "weekend", "2026-11-30"),
    ("SOL", "2025-03-16T16:59:59", "closed", "not listed", ""),
    ("MSL", "2025-03-16T17:00", "open", "", "2025-03-17"),
    ("XRP", "2026-06-06T02:00", "closed", "Saturday", "2026-06-08"),
    ("MXP", "2026-06-06T12:00", "open", "", "2026-06-08"),
    ("BFF", "2024-09-27T12:00", "closed", "not listed", ""),
    ("BFF", "2026-06-02T16:01", "pre_open", "daily stop", "2026-06-03"),
    ("ADA", "2026-02-06T12:00", "closed", "not listed", ""),
    ("LINK-MICRO", "2026-02-09T12:00", "open", "", "2026-02-09"),
    ("AVAX", "2026-05-05T12:00", "closed", "not listed", ""),
    ("SUI", "2026-06-02T16:02", "open", "", "2026-06-03"),
    ("ETH", "2021-02-07T17:00", "open", "", "2021-02-08"),
    ("MET", "2021-12-03T12:00", "closed", "not listed", ""),
    ("MBT", "2017-12-16T12:00", "closed", "no calendar", ""),
    ("MBT", "2028-01-01T12:00", "closed", "no calendar", ""),
]


@pytest.mark.parametrize(("code", "when", "state", "reason", "trade_date"), OTHERS)
def test_other_products_keep_their_own_week_and_start(code: str, when: str, state: str, reason: str, trade_date: str) -> None:
    """Spot-quoted products stay on five days and shut where their hours are unknown; nothing trades before it is listed."""
    found = CmeCalendar(code).at(at(when))
    assert (found.state, found.trade_date) == (state, trade_date)
    assert found.reason.startswith(reason) and bool(found.reason) is (state != "open")


# (Sunday of the change, UTC hour of the Friday 16:00 close before it, of the Monday 16:00 close after it)
CLOCK_CHANGES = [
    *((day, 22, 21) for day in ("2018-03-11", "2019-03-10", "2020-03-08", "2021-03-14", "2022-03-13", "2023-03-12", "2024-03-10",
                                "2025-03-09", "2026-03-08", "2027-03-14")),
    *((day, 21, 22) for day in ("2018-11-04", "2019-11-03", "2020-11-01", "2021-11-07", "2022-11-06", "2023-11-05", "2024-11-03",
                                "2025-11-02", "2026-11-01", "2027-11-07")),
]  # fmt: skip


@pytest.mark.parametrize(("sunday", "before", "after"), CLOCK_CHANGES)
def test_clock_changes(sunday: str, before: int, after: int) -> None:
    """16:00 Chicago moves by an hour of UTC over the weekend of each clock change, and the weekend is that much off 72 h."""
    day = date.fromisoformat(sunday)
    friday, monday = day - timedelta(days=2), day + timedelta(days=1)
    calendar = CmeCalendar()
    for close_day, hour in ((friday, before), (monday, after)):
        close_ns = utc(f"{close_day}T{hour}:00+00:00")
        assert calendar.at(close_ns - 1).state is State.OPEN and calendar.at(close_ns).state is State.CLOSED
        assert DeskSessions({}).trade_date(close_ns - 1) == (str(close_day), close_ns)
    found = intervals("BTC", chicago_ns(friday, time(16)), chicago_ns(monday, time(16)))
    length = sum(i.to_ns - i.from_ns for i in found)
    assert length == (72 - (before - after)) * 60 * MINUTE_NS
    saturday = [i for i in found if i.reason == "Saturday maintenance"]
    assert sum(i.to_ns - i.from_ns for i in saturday) == (0 if day.year < 2026 or sunday == "2026-03-08" else 120 * MINUTE_NS)


@pytest.mark.parametrize(
    ("monday", "minutes"),
    [
        ("2025-10-13", 5 * 23 * 60),
        ("2026-03-09", 5 * 23 * 60),
        ("2026-06-08", 7 * 1440 - 5 * 2 - 120),
        ("2026-06-15", 7 * 1440 - 5 * 2 - 120),
        ("2026-07-27", 7 * 1440 - 5 * 2 - 420),
        ("2026-11-02", 7 * 1440 - 5 * 2 - 120),
    ],
)
def test_weekly_open_minutes(monday: str, minutes: int) -> None:
    """A week of Chicago time holds the open minutes its timetable promises, holidays around the clock included."""
    day = date.fromisoformat(monday)
    found = intervals("MBT", chicago_ns(day, time(0)), chicago_ns(day + timedelta(days=7), time(0)))
    assert sum(i.to_ns - i.from_ns for i in found if i.state is State.OPEN) == minutes * MINUTE_NS


def test_outside_the_calendar_is_closed() -> None:
    """Before December 2017 and from 2028 on everything is closed for want of a calendar, and nothing is next."""
    calendar = CmeCalendar()
    for ts_ns in (0, START_NS - 1, END_NS, NEVER - 1):
        found = calendar.at(ts_ns)
        assert (found.state, found.reason, found.trade_date) == (State.CLOSED, "no calendar", "")
    assert calendar.next_open_ns(0) == at("2017-12-17T17:00")
    assert calendar.next_open_ns(END_NS) == NEVER
    assert DeskSessions({}).trade_date(0) == ("", START_NS) and DeskSessions({}).trade_date(END_NS) == ("", NEVER)
    whole = intervals("BTC", START_NS - 10, START_NS + 10)
    assert [(i.from_ns - START_NS, i.to_ns - START_NS) for i in whole] == [(-10, 0), (0, 10)]


def test_an_empty_range_has_no_intervals() -> None:
    """A range that ends where it starts holds nothing."""
    assert intervals("BTC", at("2026-06-02T12:00"), at("2026-06-02T12:00")) == []


@pytest.mark.parametrize("product", ["QDOW", "mbt", ""])
def test_an_unknown_product_is_refused_by_name(product: str) -> None:
    """No calendar is guessed for a product that has no row."""
    with pytest.raises(ValueError, match=repr(product)):
        intervals(product, 0, 1)
    with pytest.raises(ValueError, match=repr(product)):
        CmeCalendar(product)


def test_next_open_skips_every_phase_that_is_not_open() -> None:
    """From inside a stop the next opening is its end, from inside an open market it is now."""
    calendar = CmeCalendar()
    assert calendar.next_open_ns(at("2026-06-02T16:00")) == at("2026-06-02T16:02")
    assert calendar.next_open_ns(at("2026-06-06T02:30")) == at("2026-06-06T04:00")
    assert calendar.next_open_ns(at("2026-12-24T13:00")) == at("2026-12-27T17:00")
    assert calendar.next_open_ns(at("2025-12-24T12:45")) == at("2025-12-25T17:00")
    assert calendar.next_open_ns(at("2026-06-02T12:00")) == at("2026-06-02T12:00")


@pytest.mark.parametrize(
    ("when", "starts", "ends"),
    [
        ("2026-01-20T10:00", "2026-01-19T17:00", "2026-01-20T16:00"),
        ("2026-01-18T10:00", "2026-01-16T16:00", "2026-01-18T17:00"),
        ("2026-06-08T10:00", "2026-06-06T04:00", "2026-06-08T16:00"),
        ("2026-12-26T10:00", "2026-12-24T12:15", "2026-12-27T17:00"),
    ],
)
def test_at_returns_the_whole_interval(when: str, starts: str, ends: str) -> None:
    """An interval asked about on its last day still knows the evening it began on."""
    found = CmeCalendar().at(at(when))
    assert (found.from_ns, found.to_ns) == (at(starts), at(ends))


# -- the desk's view --------------------------------------------------------------------------------------


def instrument(key: str, kind: Kind, product: str = "", expires_ns: int | None = None) -> Instrument:
    """Build an instrument of which only kind, product and expiry matter here."""
    one = Decimal(1)
    return Instrument(
        id=key, venue="v", kind=kind, base="BTC", unit=one, tick=one, lot=one, index_quote="USD", settle="USD", product=product, expiry_ns=expires_ns
    )


def desk() -> DeskSessions:
    """Sessions of one November future, a perp and a stablecoin."""
    legs = (
        instrument("MBTX26", Kind.FUTURE, "MBT", expiry_ns(2026, 11)),
        instrument("BTCUSDT", Kind.PERP),
        instrument("USDT/USD", Kind.STABLE),
    )
    return DeskSessions({leg.id: leg for leg in legs})


def test_perps_and_stablecoins_never_close() -> None:
    """A perp and a stablecoin trade through every CME closure, for ever."""
    for key in ("BTCUSDT", "USDT/USD"):
        assert desk().is_open(key, at("2026-12-25T12:00")) == (True, NEVER)


def test_a_future_follows_the_exchange_until_its_next_change() -> None:
    """Open until the stop, closed through all its phases until the reopening."""
    assert desk().is_open("MBTX26", at("2026-06-02T12:00")) == (True, at("2026-06-02T16:00"))
    assert desk().is_open("MBTX26", at("2026-06-02T16:01:45")) == (False, at("2026-06-02T16:02"))
    assert desk().is_open("MBTX26", at("2026-06-05T20:00")) == (True, at("2026-06-06T02:00"))


@pytest.mark.parametrize("when", ["2026-06-02T16:01:15", "2026-06-02T16:01:45", "2026-06-06T03:50", "2026-06-06T03:59:45"])
def test_orders_taken_before_the_opening_are_not_trading(when: str) -> None:
    """Pre-open and no-cancel are not open to the desk: a leg sent there cannot be hedged."""
    assert desk().is_open("MBTX26", at(when))[0] is False


def test_an_expired_future_never_opens_again() -> None:
    """It closes at 16:00 London of its last trading day, in the middle of a session, and stays closed."""
    ends = expiry_ns(2026, 11)
    assert desk().is_open("MBTX26", ends - 1) == (True, ends)
    assert desk().is_open("MBTX26", ends) == (False, NEVER)


def test_a_closure_that_outlasts_the_contract_has_no_reopening() -> None:
    """Closed when the contract expires means closed for good: there is no opening to wait for."""
    opens = at("2026-06-02T16:02")
    for expires_ns, until in ((opens, NEVER), (opens + 1, opens)):
        sessions = DeskSessions({"MBTM26": instrument("MBTM26", Kind.FUTURE, "", expires_ns)})
        assert sessions.is_open("MBTM26", at("2026-06-02T16:00:30")) == (False, until)


def test_instruments_without_calendar_or_expiry_are_refused() -> None:
    """A future of an unknown product, one without an expiry, and an unknown instrument are errors, not open markets."""
    with pytest.raises(ValueError, match="QDOW"):
        DeskSessions({"QDOWM27": instrument("QDOWM27", Kind.FUTURE, "QDOW", NEVER)})
    with pytest.raises(ValueError, match="MBTX26"):
        DeskSessions({"MBTX26": instrument("MBTX26", Kind.FUTURE, "MBT")})
    with pytest.raises(KeyError):
        desk().is_open("ETHUSDT", 0)


def test_the_desk_trade_date_is_the_exchange_trade_date() -> None:
    """The label holds from one close to the next, across stops, weekends and holidays."""
    assert desk().trade_date(at("2026-06-05T16:00")) == ("2026-06-08", at("2026-06-08T16:00"))
    assert desk().trade_date(at("2026-06-18T16:00")) == ("2026-06-22", at("2026-06-22T16:00"))
    assert desk().trade_date(at("2025-12-24T12:45")) == ("2025-12-26", at("2025-12-26T16:00"))


# -- the table itself -------------------------------------------------------------------------------------


def test_every_row_is_sourced_and_falls_on_a_weekday() -> None:
    """A row names its source and how well it is known; only early closes and partial days have an hour."""
    for row in HOLIDAYS.values():
        assert row.day.weekday() < 5 and row.status in "VSU" and row.source, row
        assert (row.closes is not None) or row.effect not in (Effect.EARLY, Effect.UNKNOWN_CLOSE), row
        assert (row.closes is None) or row.effect not in (Effect.FULL, Effect.UNKNOWN_DAY), row


def test_every_unknown_day_is_inside_an_unknown_gap() -> None:
    """A day without published hours is closed, and the reason says unknown."""
    for row in HOLIDAYS.values():
        if row.effect in (Effect.UNKNOWN_DAY, Effect.UNKNOWN_CLOSE):
            found = CmeCalendar().at(chicago_ns(row.day, time(13)))
            assert found.state is State.CLOSED and found.reason.startswith("unknown: "), row
    assert all(gap.from_ns < gap.to_ns for gap in GAPS) and list(GAPS) == sorted(GAPS, key=lambda gap: gap.from_ns)


def test_every_known_doubt_is_on_record() -> None:
    """What a colleague doubted stays visible, none of it called verified, and the rows concerned are not either."""
    told = " ".join(f"{d.days}: {d.held}" for d in DOUBTS)
    for what in ("early closes", "2025-11-28", "3 July", "Good Friday", "2024-12-24", "Thanksgiving", "2026-12-25", "spot-quoted"):
        assert what in told
    assert all(d.status in "SU" and d.against for d in DOUBTS)
    assert all(HOLIDAYS[date.fromisoformat(day)].status in "SU" for day in ("2021-04-02", "2024-12-24", "2024-11-28", "2018-07-03", "2026-12-25"))


# -- price files as witnesses -----------------------------------------------------------------------------


def test_no_minute_bar_lies_in_a_closed_interval() -> None:
    """Where the one-minute MBT file has a bar the market was open for the whole minute, and each session's first minute traded."""
    calendar, seen, opened = CmeCalendar("MBT"), 0, set()
    for row in rows("MBT_front_1m.csv.gz"):
        start_ns = utc(row["Date"])
        found = calendar.at(start_ns)
        assert found.state is State.OPEN and start_ns + MINUTE_NS <= found.to_ns, row["Date"]
        seen += 1
        opened.add(found.from_ns)
    sessions = [i for i in intervals("MBT", at("2026-01-15T17:00"), at("2026-02-27T15:00")) if i.state is State.OPEN]
    assert seen == 43_125 and {i.from_ns for i in sessions} <= opened


def test_sessions_of_the_daily_file_are_exactly_the_predicted_ones() -> None:
    """Each evening that opens a new trade date has a daily row and no other evening has one (2018 on; 2017 labels differ)."""
    found = {date.fromisoformat(row["date"][:10]) for row in rows("BTC_front_1d.csv.gz")}
    calendar, carried, predicted = CmeCalendar("BTC"), set(), set()
    day = date(2018, 1, 2)
    while day <= date(2026, 2, 26):
        evening = calendar.at(chicago_ns(day, time(17)))
        if evening.state is State.OPEN and evening.trade_date not in carried:
            carried.add(evening.trade_date)
            predicted.add(day)
        day += timedelta(days=1)
    assert {day for day in found if day >= date(2018, 1, 2)} == predicted


def test_sessions_around_the_change_start_where_trade_dates_roll() -> None:
    """Each bar of the 2026 export starts at a session opening before the change, at a trade date roll after it."""
    calendar, changed = CmeCalendar("BTC"), at("2026-05-29T16:00")
    starts = [int(row["t"]) * 1_000_000_000 for row in rows("BTC_front_1d_after_24x7.csv.gz")]
    for start_ns in starts:
        before, now = calendar.at(start_ns - 1), calendar.at(start_ns)
        if start_ns < changed:
            assert (before.state, now.state) == (State.CLOSED, State.OPEN), datetime.fromtimestamp(start_ns / 1e9, CHICAGO)
        else:
            assert before.trade_date < now.trade_date, datetime.fromtimestamp(start_ns / 1e9, CHICAGO)
    labels = [calendar.at(start_ns).trade_date for start_ns in starts]
    assert len(set(labels)) == len(labels)
