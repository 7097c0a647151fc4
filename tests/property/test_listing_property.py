"""Properties of contracts, listings and rolls for any product on any date."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.market.calendar import CmeCalendar
from bot.market.expiry import shut_in_london, shut_in_new_york
from bot.market.holidays import FIRST_DAY, LAST_DAY
from bot.market.listing import DECOUPLED, Contract, contract_of, decoupled, listed, roll_window
from bot.market.products import PRODUCTS, Cycle, Fixing
from bot.market.settlement import business_day_after, is_business_day

CODES = st.sampled_from(sorted(PRODUCTS))
DATES = st.builds(lambda y, m, d: date(y, m, d), st.integers(2018, 2027), st.integers(1, 12), st.integers(1, 28))
"""Dates put together from parts: wide integers are drawn near their edges only."""
ZONES = {Fixing.LONDON: ZoneInfo("Europe/London"), Fixing.NEW_YORK: ZoneInfo("America/New_York")}
CHICAGO = ZoneInfo("America/Chicago")


def local(ts_ns: int, zone: ZoneInfo) -> datetime:
    """Return an instant on the wall clock of a zone."""
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).astimezone(zone)


def contracts(code: str, day: date) -> tuple[Contract, ...]:
    """Return what is listed on the first trade date not before `day`, nothing beyond the calendar."""
    trade_date = day if is_business_day(day) else business_day_after(day)
    return listed(code, trade_date) if FIRST_DAY <= trade_date <= LAST_DAY else ()


@settings(max_examples=250, deadline=None)
@given(CODES, DATES)
def test_expiries_are_16_00_local_on_a_day_both_countries_are_open(code: str, day: date) -> None:
    """Never a weekend or a holiday of the UK or the US, always 16:00 where the index is computed; in Chicago 10 or 11, or 15."""
    known = PRODUCTS[code]
    for c in contracts(code, day):
        end = local(c.expiry_ns, ZONES[known.fixing])
        assert (end.date(), end.hour, end.minute) == (c.last_day, 16, 0)
        assert c.last_day.weekday() < 5 and not shut_in_london(c.last_day) and not shut_in_new_york(c.last_day)
        assert local(c.expiry_ns, CHICAGO).hour in ((10, 11) if known.fixing is Fixing.LONDON else (15,))
        assert c.fixing[1] - c.fixing[0] == 3_600_000_000_000 and contract_of(c.symbol) == c
        friday = c.last_day + timedelta(days=(4 - c.last_day.weekday()) % 7)
        assert all(shut_in_london(d) or shut_in_new_york(d) for d in (c.last_day + timedelta(days=n + 1) for n in range((friday - c.last_day).days)))
        assert known.cycle is Cycle.FRIDAYS or (friday + timedelta(days=7)).month != c.last_day.month


@settings(max_examples=250, deadline=None)
@given(CODES, DATES)
def test_a_contract_stays_listed_until_its_last_day(code: str, day: date) -> None:
    """From one trade date to the next only what has ended leaves the list, and the list is in order of expiry."""
    today = contracts(code, day)
    trade_date = business_day_after(day if is_business_day(day) else business_day_after(day))
    if trade_date > LAST_DAY:
        return
    tomorrow = set(c.symbol for c in listed(code, trade_date))
    assert {c.symbol for c in today if c.last_day >= trade_date} <= tomorrow
    assert [c.expiry_ns for c in today] == sorted({c.expiry_ns for c in today})


@settings(max_examples=250, deadline=None)
@given(CODES, DATES)
def test_rolls_end_while_relief_is_whole(code: str, day: date) -> None:
    """The suggested days are business days, in order, before any relief is gone; the share gone never falls as time passes."""
    for c in contracts(code, day):
        window = roll_window(c)
        if window is None:
            assert PRODUCTS[code].cycle is Cycle.FRIDAYS
            continue
        assert window.opens < window.closes < window.relief_fades < c.last_day
        assert all(is_business_day(d) for d in (window.opens, window.closes, window.relief_fades))
        shares = [decoupled(c, window.opens + timedelta(days=n)) for n in range((c.last_day - window.opens).days + 3)]
        assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] == DECOUPLED[-1]
        assert decoupled(c, window.relief_fades - timedelta(days=1)) == 0.0 < decoupled(c, window.relief_fades)


def test_every_monthly_fixing_hour_is_inside_an_open_session_unless_the_hours_are_unknown() -> None:
    """From 2018 on the market is open through the hour that fixes an expiry, for every product and month it could be listed in."""
    for code, known in PRODUCTS.items():
        calendar, seen = CmeCalendar(code), set()
        day = max(known.first_day, date(2018, 1, 2))
        while day <= date(2027, 11, 1):
            for c in (c for c in contracts(code, day)[:1] if c.last_day <= LAST_DAY):
                seen.add(c.symbol)
                start, end = calendar.at(c.fixing[0]), calendar.at(c.fixing[1] - 1)
                whole = start == end and start.state.value == "open"
                assert whole or "unknown" in start.reason + end.reason or "early close" in start.reason + end.reason, (c, start, end)
                assert start.trade_date == c.last_day.isoformat() or not whole, c
            day += timedelta(days=5)
        assert seen
