"""The market a desk is played: what it sees and when, what its orders meet, and when its contract is gone."""

from __future__ import annotations

from datetime import date

import pytest
from bar_files import FROM, PRICE, QUARTER_NS, TO, bar, cme_minutes, funding_rows, perp_series, segment, study, swing

from bot.backtest.align import Known
from bot.backtest.contracts import Contracts
from bot.backtest.feed import OBTAINABLE_NS, Arrival, Track, TrackSessions, closed_days, market
from bot.backtest.formats import HOUR_NS, Series, SeriesKind
from bot.backtest.play import Study, legs_of, tracks
from bot.engine.observations import AlwaysOpen
from bot.model import event as ev
from bot.model.notation import instant_ns

SEGMENT = segment("MBTH26", cme_minutes())


@pytest.fixture(scope="module")
def played() -> tuple[Study, Track, list[ev.Event]]:
    """Return a calm study, its only track and every event of it."""
    x = study((SEGMENT,), perp_series(swing), funding=funding_rows(lambda t: 0.0001 if t % (24 * HOUR_NS) else 0.0007))
    (found,) = tracks(x)
    return x, found, list(market(found, legs_of(x, "MBTH26", 28_800), x.known, x.funding, x.settings.costs))


def test_events_come_in_order_of_time(played: tuple[Study, Track, list[ev.Event]]) -> None:
    """Exchange time never falls, and everything lies within the track."""
    _, found, events = played
    stamps = [e.ts for e in events]
    assert stamps == sorted(stamps) and found.from_ns - 1 <= stamps[0] and stamps[-1] == found.gone_ns


def test_both_closes_carry_the_signal_s_own_time(played: tuple[Study, Track, list[ev.Event]]) -> None:
    """Every quote the desk sees is of a signal instant, CME first, half a spread around the close."""
    x, _, events = played
    seen = [e for e in events if isinstance(e, ev.Quote) and e.instrument in ("MBTH26", "BTCUSDT")]
    assert [(e.ts, e.venue_ts, e.instrument) for e in seen] == [(s.signal_ns, s.signal_ns, i) for s in x.samples for i in ("MBTH26", "BTCUSDT")]
    cme, perp = seen[0], seen[1]
    assert (cme.bid, cme.ask) == (PRICE - 5, PRICE + 5) and cme.bid_size == cme.ask_size == 10.0
    close = x.samples[0].perp.close
    assert perp.ask - perp.bid == pytest.approx(close * 1e-4) and perp.bid_size == 100.0


def test_orders_meet_the_opens_and_never_the_closes(played: tuple[Study, Track, list[ev.Event]]) -> None:
    """Unseen books follow one ns after the instant one can act, made of the next bars' opens, CME two ticks off."""
    x, _, events = played
    unseen = [e for e in events if isinstance(e, ev.Unseen)][:-2]
    can = [s for s in x.samples if s.obtainable]
    assert [e.ts for e in unseen[::2]] == [s.ts_ns + 1 for s in can]
    for s, perp, cme in zip(can, unseen[::2], unseen[1::2], strict=True):
        assert s.perp_next is not None and s.cme_next is not None
        assert 0.5 * (perp.quote.bid + perp.quote.ask) == pytest.approx(s.perp_next.open)
        assert cme.quote.ask - s.cme_next.open == 10.0 == s.cme_next.open - cme.quote.bid


def test_the_books_are_empty_once_the_contract_is_gone(played: tuple[Study, Track, list[ev.Event]]) -> None:
    """The last thing the exchange hears is that nothing is offered any more."""
    *_, a, b = played[2]
    assert isinstance(a, ev.Unseen) and isinstance(b, ev.Unseen) and a.quote.ask_size == b.quote.bid_size == 0.0


def test_a_print_is_announced_just_before_its_stamp_and_is_the_estimate_after_it(played: tuple[Study, Track, list[ev.Event]]) -> None:
    """At no signal does the desk know a print whose stamp has not come."""
    x, _, events = played
    rates = {row.ts_ns: row.rate for row in x.funding}
    known: ev.FundingRate | None = None
    for e in events:
        if isinstance(e, ev.FundingRate):
            assert e.rate == rates[e.stamp_ns if e.ts == e.stamp_ns - 1 else e.ts] and e.interval_s == 28_800
            known = e
        elif isinstance(e, ev.Quote) and known is not None:
            assert known.rate == rates[e.ts // (8 * HOUR_NS) * 8 * HOUR_NS], "the last print, not the next"


def test_the_index_between_signals_is_that_of_the_mids(played: tuple[Study, Track, list[ev.Event]]) -> None:
    """A mark of its own time comes with the index that was known at the last signal."""
    x, found, _ = played
    spot = Series("s.csv", SeriesKind.SPOT_BARS, HOUR_NS, tuple(bar(t, HOUR_NS, 1.0 + t / HOUR_NS) for t in range(FROM - HOUR_NS, TO, HOUR_NS)))
    known = Known(x.known.perp, spot=spot, stable_fixed=1.0)
    signals = {s.signal_ns for s in found.samples}
    signal, marks = 0, 0
    for e in market(found, legs_of(x, "MBTH26", 28_800), known, x.funding, x.settings.costs):
        if isinstance(e, ev.Quote):
            signal = e.ts
        elif isinstance(e, ev.MarkPrice) and signal and e.ts > signal:
            last = e.ts if e.ts in signals else signal
            assert e.index == spot.bars[(last - FROM) // HOUR_NS].close
            marks += 1
    assert marks > len(x.samples)


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_an_order_arrives_at_the_next_obtainable_open(played: tuple[Study, Track, list[ev.Event]], delay: int) -> None:
    """Sent at a signal it waits for its own open or a later one; sent while an open stands it arrives at once; sent after it, at the next."""
    _, found, _ = played
    arrive = Arrival(found, delay)
    opens = [s.ts_ns for s in found.samples if s.obtainable]
    assert arrive(opens[5]) == opens[5 + delay] + 2, "after the unseen book, one ns later"
    assert arrive(opens[5] + 2) == opens[5] + 2, "the hedge of what just filled"
    assert arrive(opens[5] + OBTAINABLE_NS) == opens[6 + delay] + 2
    assert arrive(opens[-1] + OBTAINABLE_NS) > found.gone_ns


def test_a_signal_without_an_open_is_filled_at_a_later_one() -> None:
    """When no CME minute begins at the signal the order waits for the next instant at which both legs have a price."""
    hole = instant_ns("2026-02-10T14:00Z")
    bars = tuple(b for b in cme_minutes() if b.start_ns != hole)
    (found,) = tracks(study((segment("MBTH26", bars),), perp_series(swing)))
    assert Arrival(found, 0)(hole) == hole + QUARTER_NS + 2


def test_the_contract_is_closed_on_dropped_days_and_when_it_is_gone(played: tuple[Study, Track, list[ev.Event]]) -> None:
    """The desk is told that it cannot trade what the data do not have; the perp is never closed."""
    _, found, _ = played
    a, b = FROM + 30 * HOUR_NS, FROM + 54 * HOUR_NS
    sessions = TrackSessions(AlwaysOpen(), "MBTH26", found, [(a, b)])
    assert sessions.is_open("MBTH26", a - 1) == (True, a)
    assert sessions.is_open("MBTH26", a) == (False, b) and sessions.is_open("MBTH26", b) == (True, found.gone_ns)
    assert sessions.is_open("MBTH26", found.gone_ns)[0] is False
    assert sessions.is_open("BTCUSDT", a)[0] and sessions.is_open("BTCUSDT", found.gone_ns)[0]


def test_dropped_days_of_a_minute_file_are_closed_and_of_a_daily_file_are_not() -> None:
    """A mixed day cannot be traded at all; a merged holiday only has no settlement."""
    day = {date(2026, 1, 26): "mixed_contracts"}
    minute = Contracts(SeriesKind.CME_MINUTE, (), 0, {}, day)
    daily = Contracts(SeriesKind.CME_DAILY, (), 0, {}, day)
    assert closed_days(minute) == [(instant_ns("2026-01-26T06:00Z"), instant_ns("2026-01-27T06:00Z"))] and closed_days(daily) == []
