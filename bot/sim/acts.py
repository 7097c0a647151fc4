"""What a timed fault does to an exchange: to its market, its margin rates or our account there."""

from __future__ import annotations

from decimal import Decimal

from bot.model import event as ev
from bot.model.ids import InstrumentId
from bot.model.instrument import Rounding, contracts_for, round_qty, to_decimal
from bot.model.order import OrderSpec, Outcome, Side
from bot.model.position import ZERO
from bot.sim.exchange import ADL, LIQUIDATION, MANUAL, Exchange
from bot.sim.faults import Fault, FaultKind, FaultPlan

BUSTABLE_NS = 1_800_000_000_000
"""A venue takes back what is at most this old (an assumption: error-trade rules speak of minutes, decisions take longer)."""

K = FaultKind


def act(exchange: Exchange, plan: FaultPlan, begins: bool, fault: Fault, now: int) -> bool:
    """Let a timed fault other than a cut line begin or end; return whether it did, or must wait for something to happen to."""
    if fault.kind is K.HALT:
        if begins:
            for instrument in exchange.listings:
                exchange.halt(instrument, now, fault.until_ns)
        return True
    if fault.kind is K.MARGIN_HIKE:
        exchange.hike(max((f.arg("multiple") for f in plan.begun(K.MARGIN_HIKE)), default=1.0), now)
        return True
    if fault.kind is K.MANUAL_TRADE:
        return _trade(exchange, fault, now) if begins else _give_back(exchange, now)
    if fault.kind is K.BUST:
        return _bust(exchange, now)
    return not plan.begun(K.MANUAL_TRADE) and _seize(exchange, fault, now)  # or it would take what is to be given back


def overfill(exchange: Exchange, plan: FaultPlan, spec: OrderSpec, now: int) -> None:
    """Let the venue fill more than an order asked for, if a fault waits for one that was filled."""
    fault, ticket = plan.on(K.OVERFILL, now), exchange.orders[spec.client_id]
    if fault is not None and ticket.outcome is Outcome.FILLED:
        extra = round_qty(exchange.listings[spec.instrument].instrument, spec.qty * to_decimal(fault.arg("share")), Rounding.UP)
        if exchange.overfill(spec.client_id, extra, now):
            plan.strike(K.OVERFILL, now)


def _seize(exchange: Exchange, fault: Fault, now: int) -> bool:
    """Close a share of everything held."""
    reason, share = (ADL if fault.kind is K.ADL else LIQUIDATION), to_decimal(fault.arg("share"))
    held = list(exchange.positions())
    for instrument in held:
        exchange.seize(instrument, share, reason, now)
    return bool(held)


def _bust(exchange: Exchange, now: int) -> bool:
    """Reverse the latest execution of an order of ours, unless all are too old or reversed already."""
    for entry in reversed(exchange.account.history):
        if entry.ts < now - BUSTABLE_NS:
            return False
        if isinstance(entry, ev.OrderFilled) and entry.client_id and exchange.bust(entry.exec_id, now):
            return True
    return False


def _trade(exchange: Exchange, fault: Fault, now: int) -> bool:
    """Trade by hand in the first instrument that has a price and stays open until the fault ends, as it will be given back then."""
    coins = to_decimal(fault.arg("coins"))
    for instrument, x in exchange.listings.items():
        is_open, until = exchange.sessions.is_open(instrument, now)
        if is_open and until > fault.until_ns and x.price() > 0.0:
            qty = abs(contracts_for(x.instrument, coins, to_decimal(x.price()), Rounding.UP))
            return exchange.trade_manually(instrument, Side.BUY if coins > 0 else Side.SELL, qty, now)
    return False


def _give_back(exchange: Exchange, now: int) -> bool:
    """Trade back what was traded by hand; return whether nothing of it is left."""
    held: dict[InstrumentId, Decimal] = {}
    for entry in exchange.account.history:
        if isinstance(entry, ev.OrderFilled) and entry.reason == MANUAL:
            held[entry.instrument] = held.get(entry.instrument, ZERO) + entry.qty * entry.side.sign
    done = True
    for instrument, qty in held.items():
        if qty:
            side = Side.SELL if qty > 0 else Side.BUY
            done = exchange.trade_manually(instrument, side, abs(qty), now) and done
    return done
