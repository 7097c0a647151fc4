"""Every dated fact about last trading days and the London hour."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.market.expiry import (
    DISPUTED,
    LONDON,
    NEW_YORK,
    expiry_ns,
    fixing_hour,
    fixing_window,
    last_trading_day,
    last_trading_day_either,
    parse_weekly,
    weekly_last_day,
)
from bot.market.fixing import delta_left, fixing_price, partitions
from bot.market.listing import contract_of, decoupled, listed, listed_from_ns, month_contract, roll_window, week_contract
from bot.market.products import FACTS, PRODUCTS, Cycle
from bot.market.settlement import is_business_day

DAYS = ["2026-11-27", "2026-12-24", "2027-01-29", "2027-02-26", "2027-03-25", "2027-04-30", "2027-05-28", "2027-06-25",
        "2025-12-24", "2026-01-30", "2026-02-27", "2026-03-27", "2026-10-30"]  # fmt: skip


@pytest.mark.parametrize("day", DAYS)
def test_last_trading_day(day: str) -> None:
    """The rule gives each published day, Christmas and Good Friday included."""
    d = date.fromisoformat(day)
    assert last_trading_day(d.year, d.month) == d


@pytest.mark.parametrize(("year", "month", "hour"), [(2026, 3, 11), (2026, 10, 11), (2027, 3, 11), (2026, 11, 10), (2026, 7, 10)])
def test_london_hour_in_chicago(year: int, month: int, hour: int) -> None:
    """16:00 London is 11:00 in Chicago only while the US alone is on summer time."""
    local = datetime.fromtimestamp(expiry_ns(year, month) / 1e9, UTC).astimezone(ZoneInfo("America/Chicago"))
    assert local.hour == hour


def test_fixing_window_is_the_hour_before_expiry() -> None:
    """The index is computed over the hour that ends at expiry."""
    start, end = fixing_window(2026, 11)
    assert end == expiry_ns(2026, 11) and end - start == 3_600_000_000_000


def test_the_two_wordings_differ_only_where_listed() -> None:
    """Both-open and either-open give the same last trading day in every month of the calendar but the listed ones."""
    differ = {(y, m): last_trading_day_either(y, m) for y in range(2018, 2028) for m in range(1, 13) if last_trading_day_either(y, m) != last_trading_day(y, m)}
    assert differ == DISPUTED == {(2025, 12): date(2025, 12, 26)}
    assert contract_of("MBTZ25").disputed == date(2025, 12, 26) and contract_of("MBTZ25").last_day == date(2025, 12, 24)
    assert contract_of("XRPX26").disputed is None


@pytest.mark.parametrize(
    ("friday", "last"),
    [("2026-11-27", "2026-11-27"), ("2026-12-25", "2026-12-24"), ("2027-01-01", "2026-12-31"), ("2027-03-26", "2027-03-25"), ("2026-06-19", "2026-06-18"),
     ("2026-07-03", "2026-07-02"), ("2025-07-04", "2025-07-03"), ("2025-12-26", "2025-12-24"), ("2025-04-18", "2025-04-17"), ("2027-12-24", "2027-12-23"),
     ("2027-12-31", "2027-12-31")],
)  # fmt: skip
def test_weeklies_end_before_a_holiday_friday(friday: str, last: str) -> None:
    """A Friday on which London or the US is shut moves to the business day before, 16:00 New York."""
    contract = week_contract("BFF", date.fromisoformat(friday))
    assert contract.last_day == date.fromisoformat(last)
    local = datetime.fromtimestamp(contract.expiry_ns / 1e9, UTC).astimezone(ZoneInfo("America/New_York"))
    assert (local.date(), local.hour) == (date.fromisoformat(last), 16)


def test_every_weekly_of_the_calendar_ends_on_a_day_that_trades() -> None:
    """No weekly ends on a day without a trade date, and none moves by more than two days."""
    friday = date(2024, 10, 4)
    while friday <= date(2027, 12, 31):
        last = weekly_last_day(friday)
        assert is_business_day(last) and timedelta(0) <= friday - last <= timedelta(days=2), friday
        friday += timedelta(days=7)


@pytest.mark.parametrize("symbol", ["BFFX2626", "BFFX26", "BFFA2627", "BFFX2631", "MBTX2627", "DOGEX26", "X"])
def test_symbols_that_name_no_contract_are_refused(symbol: str) -> None:
    """Another weekday, a month of a weekly, a week of a monthly, an unknown product or code: an error that names it."""
    with pytest.raises(ValueError, match=symbol[:3]):
        contract_of(symbol)


def test_symbols_come_back_from_what_they_name() -> None:
    """The symbol of each listed contract of each product names that contract again."""
    for root in PRODUCTS:
        contracts = listed(root, date(2026, 11, 24))
        assert contracts and all(contract_of(c.symbol) == c for c in contracts), root
    assert parse_weekly("BFFX2627") == ("BFF", date(2026, 11, 27))


def test_fixing_hours_of_london_and_new_york() -> None:
    """One hour each, the same wall clock, four or five hours apart: in the weeks between the clock changes only four."""
    for day, apart in ((date(2026, 11, 27), 5), (date(2026, 10, 30), 4), (date(2026, 3, 27), 4), (date(2026, 7, 31), 5)):
        london, new_york = fixing_hour(day, LONDON), fixing_hour(day, NEW_YORK)
        assert new_york[0] - london[0] == apart * 3_600_000_000_000 and london[1] - london[0] == 3_600_000_000_000
    assert month_contract("MBT", 2026, 11).fixing == fixing_window(2026, 11)
    assert month_contract("ADA", 2026, 11).fixing == fixing_hour(date(2026, 11, 27), NEW_YORK)


def test_partitions_are_the_twelfths_by_which_delta_melts() -> None:
    """Twelve five-minute stretches cover the hour; a twelfth of the delta is gone at the end of each, none before the first."""
    window = fixing_window(2026, 11)
    parts = partitions(window)
    assert parts[0][0] == window[0] and parts[-1][1] == window[1] and {b - a for a, b in parts} == {300_000_000_000}
    assert delta_left(window[0] - 1, window) == delta_left(window[0], window) == 1.0
    for n, (a, b) in enumerate(parts):
        assert delta_left(a, window) == delta_left(b - 1, window) == pytest.approx(1 - n / 12)
    assert delta_left(window[1], window) == 0.0
    with pytest.raises(ValueError, match="partitions"):
        partitions((0, 13))


def test_g10_settles_and_buys_back_over_the_hour() -> None:
    """Worked case G10: the mean of twelve medians, the perp bought back in twelve slices, against doing it all at 16:00."""
    medians = [70900, 70950, 71010, 71080, 71120, 71060, 71000, 70940, 70980, 71040, 71100, 71140]
    brr = fixing_price(medians)
    assert brr == 71026.67
    cme = 24 * 0.1 * (brr - 70500)
    bought = [m + 20 for m in medians]
    bought[5] = 71095
    perp = sum(0.2 * (71000 - p) for p in bought)
    assert cme == pytest.approx(1264.008) and sum(bought) / 12 == pytest.approx(71047.9167, abs=1e-4)
    assert perp == pytest.approx(-115.00) and cme + perp == pytest.approx(1149.008)
    assert cme + 2.4 * (71000 - 71300) == pytest.approx(544.008)


# -- listing and rolling ----------------------------------------------------------------------------------


def names(root: str, day: str) -> list[str]:
    """Symbols listed on a trade date, without the product."""
    return [c.symbol.removeprefix(root) for c in listed(root, date.fromisoformat(day))]


@pytest.mark.parametrize(
    ("root", "day", "months"),
    [
        ("BTC", "2026-11-24", "X26 Z26 F27 G27 H27 J27 Z27"),
        ("MBT", "2026-11-24", "X26 Z26 F27 G27 H27 J27 Z27"),
        ("BTC", "2026-11-27", "X26 Z26 F27 G27 H27 J27 Z27"),
        ("BTC", "2026-11-30", "Z26 F27 G27 H27 J27 K27 Z27"),
        ("BTC", "2026-12-28", "F27 G27 H27 J27 K27 M27 Z27 Z28"),
        ("XRP", "2026-11-24", "X26 Z26 F27 G27 H27 J27 M27 U27 Z27 H28"),
        ("XRP", "2026-12-28", "F27 G27 H27 J27 K27 M27 U27 Z27 H28 M28 Z28"),
        ("QBTC", "2025-07-01", "M26"),
        ("QBTC", "2026-06-26", "M26"),
        ("QBTC", "2026-06-29", "M27"),
        ("BFF", "2026-11-25", "X2627 Z2604"),
        ("BFF", "2026-11-27", "X2627 Z2604 Z2611"),
        ("BFF", "2026-11-30", "Z2604 Z2611"),
        ("BFF", "2026-12-24", "Z2625 F2701"),
        ("SOL", "2025-03-14", ""),
        ("BTC", "2017-12-17", ""),
    ],
)
def test_contracts_listed_on_a_trade_date(root: str, day: str, months: str) -> None:
    """The product's rule gives the months or weeks, the expiring one on its last day still among them."""
    assert names(root, day) == months.split()


def test_every_listed_contract_has_a_future_and_the_nearest_comes_first() -> None:
    """On each day of two years, for each product: sorted, no repeat, none past its last day, and as many as the rule says."""
    counts = {Cycle.TWO_DECEMBERS: {7, 8}, Cycle.QUARTERLIES: {10, 11}, Cycle.JUNE: {1}, Cycle.FRIDAYS: {2, 3}}
    day = date(2026, 5, 11)
    while day < date(2027, 12, 31):
        for root, known in PRODUCTS.items():
            contracts = listed(root, day) if is_business_day(day) else ()
            ends = [c.last_day for c in contracts]
            assert ends == sorted(set(ends)) and all(e >= day for e in ends), (root, day)
            assert not ends or len(ends) in counts[known.cycle], (root, day, ends)
        day += timedelta(days=9)


def test_a_weekly_is_listed_from_the_thursday_evening_its_first_trade_date_begins() -> None:
    """The instant it begins to trade and the trade dates it is listed on agree, holiday weeks included; months have none."""
    friday = date(2026, 10, 2)
    while friday < date(2027, 12, 1):
        contract = week_contract("BFF", friday)
        starts = datetime.fromtimestamp((listed_from_ns(contract) or 0) / 1e9, UTC).astimezone(ZoneInfo("America/New_York"))
        assert (starts.weekday(), starts.hour) == (3, 18)
        first = starts.date() + timedelta(days=1)
        assert contract in listed("BFF", first) and contract not in listed("BFF", starts.date()), friday
        friday += timedelta(days=7)
    assert listed_from_ns(contract_of("MBTX26")) is None


def test_listing_outside_the_calendar_is_refused() -> None:
    """No rule is stretched beyond the years that are known."""
    with pytest.raises(ValueError, match="2028-01-03"):
        listed("BTC", date(2028, 1, 3))
    with pytest.raises(ValueError, match="'QDOW'"):
        listed("QDOW", date(2026, 11, 24))


def test_rolls_end_before_spread_relief_fades() -> None:
    """Eight to five business days before the last one, holidays not counted; relief goes in thirds of 10, 20, 30 % at the end."""
    december = contract_of("MBTZ26")
    window = roll_window(december)
    assert window is not None and roll_window(contract_of("BFFX2627")) is None
    assert (window.opens, window.closes, window.relief_fades) == (date(2026, 12, 14), date(2026, 12, 17), date(2026, 12, 22))
    shares = [decoupled(december, date(2026, 12, d)) for d in (17, 21, 22, 23, 24, 28)]
    assert shares == [0.0, 0.0, 0.1, 0.2, 0.3, 0.3]
    for root, known in PRODUCTS.items():
        if known.cycle is not Cycle.FRIDAYS:
            for c in listed(root, date(2026, 11, 24)):
                w = roll_window(c)
                assert w is not None
                assert w.opens < w.closes < w.relief_fades < c.last_day
                assert decoupled(c, w.closes) == 0.0 < decoupled(c, w.relief_fades)


def test_every_product_says_how_well_its_dates_are_known() -> None:
    """Each calendar fact has a status and a source with its date; nothing from memory is called verified."""
    for known in PRODUCTS.values():
        assert tuple(known.facts) == FACTS
        for fact in known.facts.values():
            assert fact.status in "VSU" and "2026-11" in fact.source, known.code
            assert fact.status == "U" or not ("memory" in fact.source or "analogy" in fact.source), known.code
