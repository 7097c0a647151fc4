"""Properties of the CME calendar at any instant and over any range."""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.market.calendar import END_NS, START_NS, CmeCalendar, DeskSessions, Interval, State, intervals
from bot.market.expiry import expiry_ns
from bot.market.holidays import chicago_ns
from bot.market.products import PRODUCTS as KNOWN
from bot.market.settlement import is_business_day
from bot.model.event import NEVER
from bot.model.instrument import Instrument, Kind

DAY_NS = 86_400_000_000_000
SECOND_NS = 1_000_000_000
DAYS = (END_NS - START_NS) // DAY_NS


def ns(days: int, seconds: int, nanoseconds: int) -> int:
    """Return the sum in ns. Wide integers are drawn near their edges only, so an instant is put together from parts."""
    return days * DAY_NS + seconds * SECOND_NS + nanoseconds


SECONDS = st.one_of(st.integers(0, 86_399), st.integers(20 * 3_600, 24 * 3_600 - 1), st.integers(21 * 3_600, 21 * 3_600 + 150))
"""Seconds of a UTC day, one third of them where Chicago closes and one third within the summer's two-minute stop."""
PARTS = st.sampled_from([0, 1, SECOND_NS - 1])
INSTANTS = st.builds(lambda days, seconds, part: START_NS // DAY_NS * DAY_NS + ns(days, seconds, part), st.integers(-3, DAYS + 3), SECONDS, PARTS)
LENGTHS = st.builds(lambda days, seconds, part: 1 + ns(days, seconds, part), st.integers(0, 40), SECONDS, PARTS)
PRODUCTS = st.sampled_from(sorted(KNOWN))

LISTED_NS = chicago_ns(KNOWN["MBT"].first_day - timedelta(days=1), time(17))
FUTURE = Instrument(
    id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5), lot=Decimal(1),
    index_quote="USD", settle="USD", product="MBT", expiry_ns=expiry_ns(2026, 11),
)  # fmt: skip


def same(a: Interval, b: Interval) -> bool:
    """Return whether two intervals differ only in their bounds."""
    return (a.state, a.reason, a.trade_date) == (b.state, b.reason, b.trade_date)


@settings(max_examples=80, deadline=None)
@given(PRODUCTS, INSTANTS, LENGTHS)
def test_intervals_cover_the_range(product: str, from_ns: int, length: int) -> None:
    """Intervals are sorted, contiguous, merged, non-empty and cover exactly what was asked."""
    found = intervals(product, from_ns, from_ns + length)
    assert found[0].from_ns == from_ns and found[-1].to_ns == from_ns + length
    assert all(i.from_ns < i.to_ns for i in found)
    for a, b in pairwise(found):
        assert a.to_ns == b.from_ns and not same(a, b)


@settings(max_examples=60, deadline=None)
@given(PRODUCTS, INSTANTS, LENGTHS, st.lists(st.integers(0, 999_999), max_size=10))
def test_at_agrees_with_intervals(product: str, from_ns: int, length: int, millionths: list[int]) -> None:
    """Asked instant by instant, in any order, the calendar says what the range says: inside, at each boundary, 1 ns beside it."""
    to_ns = from_ns + length
    found = intervals(product, from_ns, to_ns)
    calendar = CmeCalendar(product)
    asked = {from_ns + share * length // 1_000_000 for share in millionths}
    for i in found:
        asked |= {t for t in (i.from_ns - 1, i.from_ns, i.from_ns + 1, i.to_ns - 1) if from_ns <= t < to_ns}
    for ts_ns in sorted(asked, key=lambda t: hash(t) % 1009):
        (one,) = [i for i in found if i.from_ns <= ts_ns < i.to_ns]
        whole = calendar.at(ts_ns)
        assert same(one, whole) and whole.from_ns <= one.from_ns and one.to_ns <= whole.to_ns
        assert (one.from_ns == from_ns or whole.from_ns == one.from_ns) and (one.to_ns == to_ns or whole.to_ns == one.to_ns)


@settings(max_examples=200, deadline=None)
@given(INSTANTS)
def test_until_is_the_true_next_change(ts_ns: int) -> None:
    """is_open holds until exactly the answer's end: the same 1 ns before it, the other at it."""
    sessions = DeskSessions({FUTURE.id: FUTURE})
    is_open, until_ns = sessions.is_open("MBTX26", ts_ns)
    assert until_ns > ts_ns
    if until_ns < NEVER:
        assert sessions.is_open("MBTX26", until_ns - 1) == (is_open, until_ns)
        assert sessions.is_open("MBTX26", until_ns)[0] is not is_open
        middle = ts_ns + (until_ns - ts_ns) // 2
        assert sessions.is_open("MBTX26", middle) == (is_open, until_ns)


@settings(max_examples=200, deadline=None)
@given(INSTANTS)
def test_trade_date_is_a_business_day_that_holds_until_its_roll(ts_ns: int) -> None:
    """The label is never a weekend or a holiday, agrees with the interval, and changes exactly when it said it would."""
    sessions = DeskSessions({})
    label, until_ns = sessions.trade_date(ts_ns)
    assert until_ns > ts_ns and label == CmeCalendar().at(ts_ns).trade_date
    if label:
        assert is_business_day(date.fromisoformat(label)) and date.fromisoformat(label).weekday() < 5
    if until_ns < NEVER:
        assert sessions.trade_date(until_ns - 1) == (label, until_ns)
        after = sessions.trade_date(until_ns)[0]
        assert after > label or (after == "" and until_ns == END_NS)


def test_one_roll_per_business_day() -> None:
    """Over the whole calendar every business day is carried once, in order, without a gap or a repeat."""
    labels, ts_ns = [], START_NS
    while ts_ns < END_NS:
        label, ts_ns = DeskSessions({}).trade_date(ts_ns)
        labels.append(label)
    days = [date(2017, 12, 18) + timedelta(days=n) for n in range((date(2028, 1, 3) - date(2017, 12, 18)).days + 1)]
    assert labels == [day.isoformat() for day in days if is_business_day(day)]


def test_every_business_day_trades_and_trade_dates_roll_only_while_shut() -> None:
    """Over the whole calendar each trade date has an open interval and no open interval touches another."""
    whole = intervals("BTC", START_NS, END_NS)
    traded = {i.trade_date for i in whole if i.state is State.OPEN}
    assert {i.trade_date for i in whole} == traded
    for a, b in pairwise(whole):
        assert not (a.state is State.OPEN and b.state is State.OPEN)
        assert a.trade_date <= b.trade_date


def test_the_desk_agrees_with_every_interval_of_the_calendar() -> None:
    """Over the whole calendar a future without end is open exactly in the open intervals, at both ends of each, until its end."""
    sessions = DeskSessions({FUTURE.id: msgspec.structs.replace(FUTURE, expiry_ns=NEVER)})
    shut = 0
    for i in intervals("MBT", LISTED_NS, END_NS):
        is_open = i.state is State.OPEN
        first, last = sessions.is_open(FUTURE.id, i.from_ns), sessions.is_open(FUTURE.id, i.to_ns - 1)
        assert first == last and first[0] is is_open, i
        assert first[1] == i.to_ns if is_open else first[1] >= i.to_ns or first[1] == NEVER, i
        assert sessions.trade_date(i.from_ns)[0] == i.trade_date == sessions.trade_date(i.to_ns - 1)[0], i
        shut += not is_open
    assert shut > 1_600


def test_every_product_is_shut_until_it_is_listed_and_opens_then() -> None:
    """Over the whole calendar: "not listed" until 17:00 of the evening before the first trade date, open from that instant."""
    for code, known in KNOWN.items():
        opens_ns = chicago_ns(known.first_day - timedelta(days=1), time(17))
        calendar = CmeCalendar(code)
        assert calendar.next_open_ns(0) == opens_ns, code
        before, now = calendar.at(opens_ns - 1), calendar.at(opens_ns)
        assert before.state is State.CLOSED and before.reason == ("weekend" if code == "BTC" else "not listed"), code
        assert (now.state, now.from_ns, now.trade_date) == (State.OPEN, opens_ns, known.first_day.isoformat()), code


@settings(max_examples=150, deadline=None)
@given(PRODUCTS, INSTANTS)
def test_products_of_one_week_agree_once_listed(code: str, ts_ns: int) -> None:
    """A product that left the five-day week does as BTC does; a spot-quoted one is never open while BTC is shut, but for the change itself."""
    known = KNOWN[code]
    mine, bitcoin = CmeCalendar(code).at(ts_ns), CmeCalendar("BTC").at(ts_ns)
    if mine.reason == "not listed":
        return
    if known.spot_quoted:
        assert mine.state is State.CLOSED or bitcoin.state is State.OPEN or bitcoin.reason.startswith("change"), ts_ns
        assert mine.trade_date == bitcoin.trade_date
    else:
        assert same(mine, bitcoin)
