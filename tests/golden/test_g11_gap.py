"""Worked case G11: one gap, two closes, two meanings of filled."""

from __future__ import annotations

import pytest

from bot.model.notation import instant_ns
from strategies.gaps import CloseKind, Gap, GapParams, History, Regime, Register, Session, closures, detect

CONTRACT = "BTCH26"
FRIDAY_OPEN, FRIDAY_SETTLES, FRIDAY_CLOSE = (instant_ns(t) for t in ("2026-02-12T23:00Z", "2026-02-13T21:00Z", "2026-02-13T22:00Z"))
SUNDAY = instant_ns("2026-02-15T23:00Z")
HOUR = 3_600_000_000_000


def gap(close_kind: CloseKind) -> Gap:
    """Return the gap over the weekend, from the close of that kind."""
    close, at_ns = (65_000.0, FRIDAY_CLOSE) if close_kind is CloseKind.LAST_TRADE else (64_940.0, FRIDAY_SETTLES)
    history = History(GapParams())
    history.add(Session(CONTRACT, FRIDAY_OPEN, 65_100.0, 65_800.0, 64_500.0, 65_000.0, close, at_ns))
    (shut,) = closures("BTC", at_ns, SUNDAY)
    found = detect(history, CONTRACT, SUNDAY, 67_200.0, close_kind, Regime.FIVE_DAY, shut.reason)
    assert found is not None
    return found


def test_two_closes_are_two_gaps() -> None:
    """From the last trade the gap is +2,200 = 338.46 bp, from the settlement +2,260; each names its close."""
    last, settled = gap(CloseKind.LAST_TRADE), gap(CloseKind.SETTLEMENT)
    assert (last.size, round(last.bp, 2), last.close_kind, last.closure) == (2_200.0, 338.46, "last_trade", "weekend")
    assert (settled.size, settled.close_kind) == (2_260.0, "settlement")


def test_shares_filled() -> None:
    """A low of 66,400 fills 36.36 %, 65,700 fills 68.18 %, 65,000 all; no more than all, no less than nothing."""
    last = gap(CloseKind.LAST_TRADE)
    assert [round(100 * last.retraced(low), 2) for low in (66_400.0, 65_700.0, 65_000.0)] == [36.36, 68.18, 100.0]
    assert last.retraced(60_000.0) == 1.0 and last.retraced(68_000.0) == 0.0


def test_the_two_fills_come_one_after_the_other() -> None:
    """66,400 fills neither; 65,700 enters the prior range, whose level is 65,800; 65,000 touches the close."""
    register = Register()
    followed = register.add(gap(CloseKind.LAST_TRADE))
    assert followed.gap.edge == 65_800.0 and followed.filled_range_ns is None
    seen = []
    for hour, low in enumerate((66_400.0, 65_700.0, 65_000.0), start=1):
        register.saw(67_300.0, low, SUNDAY + hour * HOUR)
        seen.append((followed.filled_range_ns, followed.filled_close_ns, round(followed.retraced, 4)))
    second, third = SUNDAY + 2 * HOUR, SUNDAY + 3 * HOUR
    assert seen == [(None, None, 0.3636), (second, None, 0.6818), (second, third, 1.0)]
    assert register.open == [] and followed.age_days == pytest.approx(3 / 24)
