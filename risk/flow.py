"""Flow: how fast orders may leave and at what price; reductions and hedges meet the collar alone."""

from __future__ import annotations

from math import inf

from bot.model.instrument import Instrument, notional
from bot.model.order import OrderSpec
from risk.limits import Limits
from risk.request import Opening
from risk.verdict import Refusal, Rule


def rates(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse openings beyond the order budgets of the last minute."""
    desk = x.desk
    if desk.orders_last_minute >= limits.orders_minute_max:
        return Refusal(Rule.ORDER_RATE, desk.orders_last_minute, limits.orders_minute_max)
    if desk.openings_last_minute >= limits.openings_minute_max:
        return Refusal(Rule.REPEAT, desk.openings_last_minute, limits.openings_minute_max)
    return None


def position_limit(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse beyond the exchange's position limit on the aggregated account, micros as fractions."""
    after = abs(x.desk.aggregate_coins + x.direction * (x.lots - x.held_lots) * float(x.lead.terms.unit))
    return None if after <= limits.position_coins_max else Refusal(Rule.POSITION_LIMIT, after, limits.position_coins_max)


def collar(
    order: OrderSpec, terms: Instrument, bid: float, ask: float, opposite: tuple[OrderSpec, ...], opening: bool,
    desk_orders: int, limits: Limits,
) -> Refusal | None:  # fmt: skip
    """Judge one order before it is sent: price band and no crossing of our own; size and rate for openings alone.

    opposite: our live orders on the other side of the same instrument. A price is beyond the collar when it is worse for
    us than the mid by more than collar_bp (observed: bp, > 0 = worse); without a mid there is no price to judge by.
    """
    mid = 0.5 * (bid + ask)
    if not 0.0 < mid < inf:
        return Refusal(Rule.COLLAR, inf, limits.collar_bp)
    through = (float(order.limit) / mid * 1e4 - 1e4) * order.side.sign
    if not through <= limits.collar_bp:
        return Refusal(Rule.COLLAR, through, limits.collar_bp)
    for other in opposite:
        if (order.limit - other.limit) * order.side.sign >= 0:
            return Refusal(Rule.SELF_MATCH, float(order.limit), float(other.limit))
    if not opening:
        return None
    value = float(abs(notional(terms, order.qty, order.limit)))
    if value > limits.order_notional_usd_max:
        return Refusal(Rule.MAX_ORDER, value, limits.order_notional_usd_max)
    if desk_orders >= limits.orders_minute_max:
        return Refusal(Rule.ORDER_RATE, desk_orders, limits.orders_minute_max)
    return None
