"""Pairing the legs: closes of one instant only, nothing from the future, and the next price one could have had."""

from __future__ import annotations

import pytest
from bar_files import FROM, PRICE, QUARTER_NS, bar, cme_minutes, perp_series, segment, spot_series, write_daily
from hypothesis import given
from hypothesis import strategies as st

from bot.backtest.align import STABLE_LIFE_NS, Known, align, pair_ends
from bot.backtest.contracts import Contracts, split_contracts
from bot.backtest.formats import DAY_NS, HOUR_NS, MINUTE_NS, Bar, Series, SeriesKind, read_cme
from bot.model.notation import instant_ns, iso

OPEN = instant_ns("2026-02-03T06:00Z")


def contracts(*bars: Bar) -> Contracts:
    """Return one minute contract with these bars."""
    return Contracts(SeriesKind.CME_MINUTE, (segment("MBTH26", bars),), len(bars), {}, {})


def perp() -> Series:
    """Return quarter hours from 06:00 to 07:00 whose close says when they end."""
    bars = tuple(bar(OPEN + n * QUARTER_NS, QUARTER_NS, PRICE + n) for n in range(4))
    return Series("p.csv", SeriesKind.PERP_BARS, QUARTER_NS, bars)


def minute(after_s: int, price: float = PRICE) -> Bar:
    """Return the minute that opens so many seconds after 06:00."""
    return bar(OPEN + after_s * 1_000_000_000, MINUTE_NS, price)


def test_bars_pair_by_their_ends_not_by_their_labels() -> None:
    """The minute 06:14 belongs to the quarter 06:00, both ending at 06:15; the minute 06:15 does not belong to the quarter 06:15."""
    labelled_alike, ending_alike = minute(15 * 60), minute(14 * 60)
    assert pair_ends((ending_alike, labelled_alike), perp().bars) == [(ending_alike, perp().bars[0])]


def test_an_order_meets_the_bars_that_open_at_the_signal() -> None:
    """The next CME minute counts only if it opens at that very instant; a later one would be another price."""
    (with_next,) = align(contracts(minute(14 * 60), minute(15 * 60, 1.0)), Known(perp(), stable_fixed=1.0)).samples
    assert with_next.obtainable and with_next.cme_next == minute(15 * 60, 1.0) and with_next.perp_next == perp().bars[1]
    (without,) = align(contracts(minute(14 * 60), minute(16 * 60)), Known(perp(), stable_fixed=1.0)).samples
    assert without.cme_next is None and not without.obtainable and without.ts_ns == without.signal_ns


def test_the_index_is_the_latest_spot_close_that_was_known() -> None:
    """At 06:15 the spot hour 05:00-06:00 is known and 06:00-07:00 is not."""
    spot = Series("s.csv", SeriesKind.SPOT_BARS, HOUR_NS, (bar(OPEN - HOUR_NS, HOUR_NS, 111.0), bar(OPEN, HOUR_NS, 222.0)))
    (sample,) = align(contracts(minute(14 * 60)), Known(perp(), spot=spot, stable_fixed=1.0)).samples
    assert (sample.index, sample.index_ns) == (111.0, OPEN)
    (later,) = align(contracts(minute(59 * 60)), Known(perp(), spot=spot, stable_fixed=1.0)).samples
    assert (later.index, later.index_ns) == (222.0, OPEN + HOUR_NS)


def test_the_mark_is_the_open_at_the_signal_else_the_perp_close() -> None:
    """A mark bar that opens at the instant gives its open; between marks the perp's close stands in."""
    marks = Series("m.csv", SeriesKind.MARK_BARS, HOUR_NS, (bar(OPEN + HOUR_NS, HOUR_NS, 5.0, open_=4.0),))
    at_quarter, at_hour = align(contracts(minute(14 * 60), minute(59 * 60)), Known(perp(), mark=marks, stable_fixed=1.0)).samples
    assert at_quarter.mark == perp().bars[0].close and at_hour.mark == 4.0


@pytest.mark.parametrize(("age_ns", "known"), [(-1, False), (0, True), (STABLE_LIFE_NS - 1, True), (STABLE_LIFE_NS, False)])
def test_a_daily_stable_close_is_known_from_its_end_for_two_days(age_ns: int, known: bool) -> None:
    """Before 00:00Z of the next day it is not published, 48 h later it says nothing any more: unknown is not one."""
    signal = OPEN + QUARTER_NS
    end = signal - age_ns
    stable = Series("u.csv", SeriesKind.STABLE_DAILY, DAY_NS, (Bar(end - DAY_NS, end, 0.99, 0.99, 0.99, 0.99, 1.0, 2),))
    aligned = align(contracts(minute(14 * 60)), Known(perp(), stable=stable))
    assert [s.stable for s in aligned.samples] == ([0.99] if known else [])
    assert aligned.unpaired == ({} if known else {"stable_unknown": 1})


def test_one_stablecoin_and_only_one() -> None:
    """Neither or both is a caller's mistake."""
    with pytest.raises(ValueError, match="either"):
        Known(perp())
    with pytest.raises(ValueError, match="either"):
        Known(perp(), stable=perp(), stable_fixed=1.0)


def test_a_settlement_is_acted_on_at_the_next_session(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Wednesday's settlement at 15:00 pairs with the perp hour that ends then, and meets the opens of 17:00 Chicago."""
    rows = [("2026-01-06", 1.0, PRICE, 9.0), ("2026-01-07", 2.0, PRICE, 9.0), ("2026-01-08", 3.0, PRICE, 9.0)]
    split = split_contracts(read_cme(write_daily(tmp_path / "d.csv", rows)), "BTC")
    hours = tuple(bar(instant_ns("2026-01-06") + n * HOUR_NS, HOUR_NS, PRICE + n) for n in range(24 * 6))
    found = align(split, Known(Series("p.csv", SeriesKind.PERP_BARS, HOUR_NS, hours), stable_fixed=1.0)).samples
    assert [iso(s.signal_ns) for s in found] == ["2026-01-07T21:00:00Z", "2026-01-08T21:00:00Z", "2026-01-09T21:00:00Z"]
    assert [iso(s.ts_ns) for s in found] == ["2026-01-07T23:00:00Z", "2026-01-08T23:00:00Z", "2026-01-11T23:00:00Z"]
    assert found[0].cme_next is not None and found[0].cme_next.open == 2.0 and found[0].perp_next is not None
    assert iso(found[0].perp_next.start_ns) == "2026-01-07T23:00:00Z" and iso(found[0].perp.end_ns) == "2026-01-07T21:00:00Z"
    assert found[2].cme_next is None, "the file has no session after Friday's"


def test_a_settlement_without_a_perp_bar_is_counted(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Years before the perp file are reported, not silently left out."""
    split = split_contracts(read_cme(write_daily(tmp_path / "d.csv", [("2026-01-06", PRICE, PRICE, 9.0), ("2026-01-07", PRICE, PRICE, 9.0)])), "BTC")
    assert align(split, Known(perp(), stable_fixed=1.0)).unpaired == {"no_perp_bar": 2}


@given(cut=st.integers(1, 250), factor=st.sampled_from([0.5, 3.0]))
def test_nothing_a_sample_knows_comes_from_later(cut: int, factor: float) -> None:
    """Changing every bar from an instant on changes no close, index, mark or stablecoin of a sample up to that instant."""
    to = FROM + 3 * DAY_NS
    now = FROM + cut * QUARTER_NS

    def changed(series: Series) -> Series:
        bars = tuple(
            Bar(b.start_ns, b.end_ns, b.open * k, b.high * k, b.low * k, b.close * k, b.volume, b.row)
            for b in series.bars
            for k in (factor if b.end_ns > now else 1.0,)
        )
        return Series(series.path, series.kind, series.bar_ns, bars)

    market, spot = perp_series(lambda t: 0.0, FROM, to), spot_series(PRICE, FROM - DAY_NS, to)
    minutes = Series("c.csv", SeriesKind.CME_MINUTE, MINUTE_NS, cme_minutes(FROM, to))
    before = align(contracts(*minutes.bars), Known(market, spot=spot, stable_fixed=1.0)).samples
    after = align(contracts(*changed(minutes).bars), Known(changed(market), spot=changed(spot), stable_fixed=1.0)).samples
    for a, b in zip(before, after, strict=True):
        if a.signal_ns <= now:
            assert (a.cme, a.perp, a.index, a.mark, a.stable) == (b.cme, b.perp, b.index, b.mark, b.stable), f"cut {cut}"
