"""Gaps: where the calendar allows one, what kind it is, when it is filled, and what is no gap."""

from __future__ import annotations

import math

import pytest

from bot.model.notation import instant_ns
from strategies.gaps import CloseKind, Followed, Gap, GapKind, GapParams, History, Regime, Register, Session, closures, detect, regime_of

DAY = 86_400_000_000_000
START = instant_ns("2026-01-05T23:00Z")
SMALL = GapParams(atr_sessions=3, trend_sessions=3)


def session(number: int, open_: float, high: float, low: float, last: float, contract: str = "BTCG26", close: float | None = -1.0) -> Session:
    """Return the session of a day; its close is its last price unless another is given."""
    at = START + number * DAY
    price = last if close == -1.0 else close
    return Session(contract, at, open_, high, low, last, price, None if price is None else at + 22 * DAY // 24)


def history(lasts: list[float], width: float = 100.0, params: GapParams = SMALL) -> History:
    """Return sessions that open where the one before ended and reach `width` beyond both ends."""
    found, before = History(params), lasts[0]
    for number, last in enumerate(lasts):
        found.add(session(number, before, max(before, last) + width, min(before, last) - width, last))
        before = last
    return found


def opened(past: History, price: float, contract: str = "BTCG26") -> Gap | None:
    """Return the gap of an open after these sessions."""
    return detect(past, contract, START + 50 * DAY, price, CloseKind.LAST_TRADE, Regime.FIVE_DAY, "daily stop")


CLOSED = [
    ("five-day stop", "BTC", "2026-01-14T21:00Z", "2026-01-14T23:00Z", [("2026-01-14T22:00Z", "2026-01-14T23:00Z", "daily stop")]),
    ("five-day weekend", "BTC", "2026-01-09T21:00Z", "2026-01-11T23:00Z", [("2026-01-09T22:00Z", "2026-01-11T23:00Z", "weekend")]),
    ("Good Friday joins the weekend", "BTC", "2025-04-17T20:00Z", "2025-04-20T22:00Z",
     [("2025-04-17T21:00Z", "2025-04-20T22:00Z", "weekend")]),
    ("around the clock, weekday", "MBT", "2026-06-03T20:00Z", "2026-06-04T20:00Z", [("2026-06-03T21:00Z", "2026-06-03T21:02Z", "daily stop")]),
    ("around the clock, Friday to Monday", "MBT", "2026-06-05T20:00Z", "2026-06-08T20:00Z",
     [("2026-06-05T21:00Z", "2026-06-05T21:02Z", "daily stop"), ("2026-06-06T07:00Z", "2026-06-06T09:00Z", "Saturday maintenance")]),
    ("spot-quoted keeps its weekend", "QBTC", "2026-06-05T20:00Z", "2026-06-07T22:00Z", [("2026-06-05T21:00Z", "2026-06-07T22:00Z", "weekend")]),
    ("inside a session", "BTC", "2026-01-14T15:00Z", "2026-01-14T16:00Z", []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "code", "since", "until", "expected"), CLOSED, ids=[c[0] for c in CLOSED])
def test_closures_are_the_dated_calendars(name: str, code: str, since: str, until: str, expected: list[tuple[str, str, str]]) -> None:
    """Each week has its own closures; pre-open is part of one, and what touches is one closure."""
    found = [(c.from_ns, c.to_ns, c.reason) for c in closures(code, instant_ns(since), instant_ns(until))]
    assert found == [(instant_ns(a), instant_ns(b), reason) for a, b, reason in expected]


def test_regimes_change_at_the_published_instant() -> None:
    """The old week ends at 2026-05-29 21:00Z; the reopening at 21:30Z is of the new one, spot-quoted products keep theirs."""
    change, reopening = instant_ns("2026-05-29T21:00Z"), instant_ns("2026-05-29T21:30Z")
    assert [regime_of("BTC", t) for t in (change - 1, change, reopening)] == [Regime.FIVE_DAY, Regime.ALL_WEEK, Regime.ALL_WEEK]
    assert regime_of("QETH", reopening) is Regime.SPOT_QUOTED
    with pytest.raises(ValueError, match="FOO"):
        regime_of("FOO", change)


FLAT = [50_000.0, 50_000.0, 50_000.0, 50_000.0]
RISING = [50_000.0, 50_300.0, 50_600.0, 50_900.0]
STEEP = [50_000.0, 51_000.0, 52_000.0, 53_000.0]
KINDS = [
    (FLAT, 50_050.0, GapKind.COMMON), (FLAT, 49_950.0, GapKind.COMMON), (FLAT, 50_150.0, GapKind.BREAKAWAY), (FLAT, 49_850.0, GapKind.BREAKAWAY),
    (RISING, 50_950.0, GapKind.COMMON), (STEEP, 53_050.0, GapKind.CONTINUATION), (STEEP, 52_950.0, GapKind.COMMON),
]  # fmt: skip


@pytest.mark.parametrize(("lasts", "price", "kind"), KINDS)
def test_kinds_follow_the_stated_rules(lasts: list[float], price: float, kind: GapKind) -> None:
    """In the trend's direction continuation, out of a range breakaway, against the trend or within the range common."""
    gap = opened(history(lasts), price)
    assert gap is not None and gap.kind is kind


def test_a_stretched_trend_is_exhausted_in_its_own_direction_alone() -> None:
    """Five sessions of one narrow step each are five ATR of trend: up is exhaustion, down is not, and mirrored."""
    params = GapParams(atr_sessions=5, trend_sessions=5)
    up = history([50_000.0 * 1.01**n for n in range(6)], 0.0, params)
    down = history([50_000.0 / 1.01**n for n in range(6)], 0.0, params)
    above, below = (opened(up, up.last.last * f) for f in (1.001, 0.999) if up.last)
    assert above and below and above.kind is GapKind.EXHAUSTION and below.kind is not GapKind.EXHAUSTION
    mirrored = opened(down, down.last.last * 0.999) if down.last else None
    assert mirrored and mirrored.kind is GapKind.EXHAUSTION


def test_significance_needs_both_floors_and_a_known_range() -> None:
    """Above max(floor, k x ATR) it is, between the two it is not, without an ATR it is not known; below the floor it never is."""
    past = history(FLAT, 200.0)  # true range 400 of 50,000: 80 bp
    assert past.atr == pytest.approx(math.log(50_200 / 49_800))
    for multiple, bp, expected in ((0.1, 12.0, True), (0.1, 9.0, False), (0.5, 39.0, False), (0.5, 41.0, True)):
        past.params = GapParams(atr_sessions=3, trend_sessions=3, atr_multiple=multiple)
        gap = opened(past, 50_000.0 * (1 + bp * 1e-4))
        assert gap is not None and gap.significant is expected, (multiple, bp)
    young = history(FLAT[:2], 200.0)
    gap, tiny = opened(young, 50_100.0), opened(young, 50_010.0)
    assert gap and tiny and (gap.significant, gap.kind, tiny.significant) == (None, None, False)


def test_a_roll_is_no_gap() -> None:
    """The step to another contract is marked, has no kind, is never significant and cannot be followed."""
    gap = opened(history(FLAT), 51_000.0, "BTCH26")
    assert gap is not None and (gap.is_roll, gap.kind, gap.significant) == (True, None, False)
    with pytest.raises(ValueError, match="roll"):
        Register().add(gap)


def test_a_splice_adds_nothing_to_range_or_trend() -> None:
    """Two contracts 10 % apart give the same ATR, trend and extremes as one contract without the step."""
    one, two = history([100.0, 101.0, 102.0, 103.0], 1.0), History(SMALL)
    for number, (before, last) in enumerate(((100.0, 100.0), (100.0, 101.0))):
        two.add(session(number, before, max(before, last) + 1, min(before, last) - 1, last))
    for number, (before, last) in enumerate(((101.0, 102.0), (102.0, 103.0)), start=2):
        prices = (1.1 * x for x in (before, max(before, last) + 1, min(before, last) - 1, last))
        two.add(session(number, *prices, contract="BTCH26"))
    assert two.atr == pytest.approx(one.atr)
    for factor in (0.98, 0.999, 1.001, 1.02):
        a, b = opened(one, 103.0 * factor), opened(two, 113.3 * factor, "BTCH26")
        assert a and b and a.kind is b.kind and b.bp == pytest.approx(a.bp)


def test_no_close_or_no_step_is_no_gap() -> None:
    """A session without settlement has no settlement gap; an open at the close is none; nor is the first open of all."""
    past = history(FLAT)
    assert opened(past, 50_000.0) is None and opened(History(SMALL), 50_000.0) is None
    past.add(session(9, 50_000.0, 50_100.0, 49_900.0, 50_000.0, close=None))
    assert opened(past, 51_000.0) is None


def test_the_range_may_hold_at_the_open() -> None:
    """A gap down that opens inside the prior range has entered it at the open; its close is filled when touched, exactly."""
    register, gap = Register(), opened(history(FLAT), 49_950.0)
    assert gap is not None and gap.edge == 49_900.0
    followed = register.add(gap)
    assert followed.filled_range_ns == gap.open_ns
    register.saw(49_999.9, 49_000.0, gap.open_ns + 1)
    assert followed.filled_close_ns is None and register.open == [followed]
    register.saw(50_000.0, 49_000.0, gap.open_ns + 2)
    assert followed.filled_close_ns == gap.open_ns + 2 and register.open == []


def test_sessions_and_the_contracts_end() -> None:
    """The register counts sessions to the fill, and what happens after the contract's end is not known."""
    register, past = Register(), history(FLAT)
    first, second = (register.add(g) for g in (opened(past, 50_200.0), opened(past, 50_300.0)) if g)
    register.session_over()
    register.session_over()
    register.saw(50_400.0, 50_000.0, first.gap.open_ns + 3 * DAY)
    assert (first.close_after, first.range_after, first.sessions) == (2, 2, 2)
    third = register.add(second.gap)
    register.contract_over()
    register.saw(90_000.0, 10_000.0, first.gap.open_ns + 9 * DAY)
    assert third.ended and third.filled_close_ns is None and third.age_days == 0.0
    assert isinstance(first, Followed) and not first.ended


@pytest.mark.parametrize("wrong", [{"floor_bp": -1.0}, {"atr_multiple": math.nan}, {"atr_sessions": 0}, {"trend_atr": 5.0}, {"stretched_atr": math.inf}])
def test_parameters_are_checked(wrong: dict[str, float]) -> None:
    """A parameter that cannot be meant is refused by name."""
    with pytest.raises(ValueError, match="trend_atr" if "stretched_atr" in wrong else next(iter(wrong))):
        GapParams(**wrong)  # type: ignore[arg-type]
