"""Positions: signed contracts at average cost, with the algebra of fills for linear and inverse contracts."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from bot.model.instrument import Instrument

ZERO = Decimal(0)
BOOKED = Decimal("1e-15")
"""Smallest amount a fill realises. An average cost may have endless digits; what is booked may not, or the sum of a silo
would depend on the order in which desk, ledger and venue add it up."""


class Position(msgspec.Struct):
    """Signed contracts and their average entry price; `qty_f` mirrors `qty` for marking and is set with it."""

    qty: Decimal = ZERO
    avg: Decimal = ZERO
    qty_f: float = 0.0
    avg_f: float = 0.0


def pnl(instrument: Instrument, qty: Decimal, entry: Decimal, exit: Decimal) -> Decimal:
    """Return the profit of signed `qty` contracts from `entry` to `exit`.

    Settle currency: quote currency for a linear contract, coins for an inverse one.
    """
    if instrument.inverse:
        return qty * instrument.unit * (1 / entry - 1 / exit)
    return qty * instrument.unit * (exit - entry)


def pnl_est(instrument: Instrument, position: Position, price: float, unit: float) -> float:
    """Return the unrealised profit at a float price, in settle currency (observation, never booked)."""
    if position.qty_f == 0.0:
        return 0.0
    if instrument.inverse:
        return position.qty_f * unit * (1.0 / position.avg_f - 1.0 / price)
    return position.qty_f * unit * (price - position.avg_f)


def delta_coins(instrument: Instrument, position: Position) -> Decimal:
    """Return the coins by which the value of a position moves with the price (signed).

    An inverse contract's is that of its entry: at the mark its contracts are worth other coins, but the profit or loss
    in coins that backs them differs by as much (worked case G5), so a price move alone is no reason to re-hedge.
    """
    if instrument.inverse:
        return position.qty * instrument.unit / position.avg if position.qty else ZERO
    return position.qty * instrument.unit


def apply_fill(instrument: Instrument, position: Position, signed_qty: Decimal, price: Decimal) -> Decimal:
    """Book a fill at average cost and return the profit it realised, in settle currency.

    A fill through zero closes the old side and opens the rest at `price`.
    """
    held = position.qty
    realised = ZERO
    total = held + signed_qty
    if held == 0 or (held > 0) == (signed_qty > 0):
        position.avg = _blend(instrument, held, position.avg, signed_qty, price)
    else:
        closed = signed_qty if abs(signed_qty) <= abs(held) else -held
        realised = pnl(instrument, -closed, position.avg, price).quantize(BOOKED)
        if abs(signed_qty) > abs(held):
            position.avg = price
        elif total == 0:
            position.avg = ZERO
    position.qty = total
    position.qty_f = float(total)
    position.avg_f = float(position.avg)
    return realised


def _blend(instrument: Instrument, held: Decimal, avg: Decimal, added: Decimal, price: Decimal) -> Decimal:
    """Return the average entry: by contracts, harmonically for an inverse contract so that coin profit adds up."""
    if held == 0:
        return price
    total = held + added
    if instrument.inverse:
        return total / (held / avg + added / price)
    return (held * avg + added * price) / total
