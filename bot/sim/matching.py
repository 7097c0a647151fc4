"""How an order and a top of book meet: who gets how much of what is displayed, and at which price.

A taker pays the touch, a resting order its own limit. Displayed size can be had once until the next quote; depth behind
the touch does not exist here, so a large order fills in part and never walks a book nobody has seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from bot.model.ids import ClientId
from bot.model.instrument import Instrument, Rounding, round_price, round_qty, to_decimal
from bot.model.order import Side
from bot.sim.account import held_maintenance
from bot.sim.listing import ZERO, Listing, Ticket


def fill_price(instrument: Instrument, touch: float, side: Side) -> Decimal:
    """Return the price a taker on `side` pays at a displayed touch: on the grid, and when the touch is not, against him."""
    exact = to_decimal(touch)
    near = round_price(instrument, exact, Rounding.NEAREST)
    if abs(near - exact) * 100 <= instrument.tick:
        return near
    return round_price(instrument, exact, Rounding.UP if side is Side.BUY else Rounding.DOWN)


def taken(x: Listing, ticket: Ticket, shown: Decimal | None) -> tuple[Decimal, Decimal]:
    """Return (quantity, price) of what an arriving order takes now; quantity 0 when its limit does not reach the touch.

    shown: at most this much can be had, None for all that is displayed. What is returned is gone from the display.
    """
    spec = ticket.spec
    touch = x.touch(spec.side)
    if touch == 0.0:
        return ZERO, ZERO
    price = fill_price(x.instrument, touch, spec.side)
    if (price - spec.limit) * spec.side.sign > 0:
        return ZERO, price
    qty = x.offered(spec.side, ticket.leaves if shown is None else min(ticket.leaves, shown))
    x.take(spec.side, qty)
    return qty, price


def crossed(x: Listing) -> Iterator[tuple[Ticket, Decimal]]:
    """Yield (resting order, quantity) for what the present quote reaches, best price first; quantity 0: nothing left to reduce.

    The position must be brought up to date between two yields: a reduce-only order may only fill what is still held.
    """
    for ticket in sorted(x.resting.values(), key=lambda t: -t.spec.limit * t.spec.side.sign):
        spec = ticket.spec
        touch = x.touch(spec.side)
        if touch == 0.0 or (to_decimal(touch) - spec.limit) * spec.side.sign > 0:
            continue
        wanted = ticket.leaves
        if spec.reduce_only:
            wanted = min(wanted, max(ZERO, -x.position.qty * spec.side.sign))
            if wanted == 0:
                yield ticket, ZERO
                continue
        qty = x.offered(spec.side, wanted)
        if qty > 0:
            x.take(spec.side, qty)
            yield ticket, qty


def next_slice(held: Sequence[Listing], share: Decimal) -> tuple[Listing, ClientId, Side, Decimal, Decimal] | None:
    """Return (listing, "", side, quantity, price) of what a liquidation trades next, None when nobody is there to trade with.

    held: positions that trade now. It is `share` of the one with the largest maintenance, no more than displayed.
    """
    able = []
    for x in held:
        side = Side.SELL if x.position.qty > 0 else Side.BUY
        if x.offered(side, x.instrument.lot) > 0:
            able.append((held_maintenance(x), x, side))
    if not able:
        return None
    _, x, side = max(able, key=lambda row: row[0])
    size = abs(x.position.qty)
    qty = x.offered(side, min(size, round_qty(x.instrument, size * share, Rounding.UP)))
    x.take(side, qty)
    return x, "", side, qty, fill_price(x.instrument, x.touch(side), side)
