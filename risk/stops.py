"""Stops: levels a quote is compared with, and the slow ones judged on the timer. Signs follow the direction held."""

from __future__ import annotations

import msgspec

from bot.model.intent import PairIntent
from risk.limits import Limits
from risk.request import Exposure, Opening
from risk.verdict import Refusal, Rule


class TripLevels(msgspec.Struct, frozen=True):
    """Adverse premium moves in USD per coin, from the entry premium, at which each spread stop trips."""

    spread_usd: float
    sigma_usd: float

    @property
    def first(self) -> tuple[float, Rule]:
        """Return the nearer trip and its rule."""
        if self.sigma_usd < self.spread_usd:
            return self.sigma_usd, Rule.SIGMA_STOP
        return self.spread_usd, Rule.SPREAD_STOP


def trip_levels(direction: int, index_usd: float, intent: PairIntent, limits: Limits) -> TripLevels:
    """Return the adverse moves that stop the trade: spread_stop_bp, and sigma_stop frozen sigmas from the frozen mean.

    The sigma stop is never nearer than half a sigma, so that an entry close to it is not stopped by its own spread.
    """
    spread = limits.spread_stop_bp * 1e-4 * index_usd
    if intent.sigma_bp <= 0.0:
        return TripLevels(spread, spread)
    room = limits.sigma_stop * intent.sigma_bp - direction * (intent.excess_bp - intent.mean_bp)
    return TripLevels(spread, max(room, 0.5 * intent.sigma_bp) * 1e-4 * index_usd)


def expiry(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse to open a contract inside the time before its fixing at which it would be stopped."""
    if x.lead.terms.expiry_ns is None:
        return None
    left = (x.lead.terms.expiry_ns - x.desk.now) * 1e-9
    return Refusal(Rule.EXPIRY_STOP, left, limits.expiry_stop_s) if left <= limits.expiry_stop_s else None


def slow_stops(x: Exposure, limits: Limits) -> Refusal | None:
    """Return the first of money, trailing, time, daily-loss, drawdown and expiry stops that is tripped.

    Without a NAV at the start of the trade date the two that count from it are silent; the money stop is not.
    """
    desk = x.desk
    held_s = (x.now - x.entered_ns) * 1e-9 if x.entered_ns else 0.0
    checks = (
        (Rule.MONEY_STOP, -x.pnl_usd, limits.money_stop_usd),
        (Rule.TRAILING_STOP, x.best_pnl_usd - x.pnl_usd, limits.trailing_stop_usd),
        (Rule.TIME_STOP, held_s, limits.time_stop_s),
        (Rule.DAILY_LOSS, desk.day_start_usd - desk.nav_usd, limits.daily_loss_share * desk.day_start_usd),
        (Rule.DRAWDOWN, desk.peak_usd - desk.nav_usd, limits.drawdown_share * desk.peak_usd),
    )
    for rule, observed, limit in checks:
        if observed >= limit and (desk.day_start_usd > 0.0 or rule not in (Rule.DAILY_LOSS, Rule.DRAWDOWN)):
            return Refusal(rule, observed, limit)
    to_expiry_s = (x.expiry_ns - x.now) * 1e-9
    if x.expiry_ns and to_expiry_s <= limits.expiry_stop_s:
        return Refusal(Rule.EXPIRY_STOP, to_expiry_s, limits.expiry_stop_s)
    return None
