"""How an order and a book meet: who gets how much, and at which price.

A taker walks the book from the best price to his limit and pays each level its own price; a resting order gets its own
limit. It fills when the market comes to its price, and with a deep book also when its turn in the queue has come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from bot.model.ids import ClientId
from bot.model.instrument import Rounding, round_qty, to_decimal
from bot.model.order import Side
from bot.sim.account import held_maintenance
from bot.sim.book import ZERO, Level
from bot.sim.listing import Listing, Ticket
from bot.sim.queue import queue_of


def taken(x: Listing, side: Side, wanted: Decimal, limit: Decimal | None, now_ns: int) -> list[Level]:
    """Return (price, quantity) of each level that a taker of `wanted` contracts gets, worst last; it is gone from the book.

    limit: the worst price he pays, None for any.
    """
    fills: list[Level] = []
    for price, offered in x.levels(side, now_ns):
        if wanted <= 0 or (limit is not None and (price - limit) * side.sign > 0):
            break
        qty = min(wanted, offered)
        x.take(side, qty, now_ns)
        fills.append((price, qty))
        wanted -= qty
    return fills


def matched(x: Listing, now_ns: int) -> Iterator[tuple[Ticket, Decimal]]:
    """Yield (resting order, quantity) for what the present book gives it, best price first; quantity 0: nothing left to reduce.

    An order fills whole when the market has traded through its price, with what is displayed when the touch has come to
    it, and in a queue with what its turn allows. The position must be brought up to date between two yields: a reduce-only
    order may only fill what is still held.
    """
    queue = queue_of(x, now_ns)
    for ticket in sorted(x.resting.values(), key=lambda t: -t.spec.limit * t.spec.side.sign):
        spec, wanted = ticket.spec, ticket.leaves
        due = queue.due(ticket) if queue is not None else ZERO
        through = queue is not None and queue.through(ticket)
        best = x.best(spec.side, now_ns)
        met = best != 0.0 and (to_decimal(best) - spec.limit) * spec.side.sign <= 0
        if not (met or due or through):
            continue
        if spec.reduce_only:
            wanted = min(wanted, max(ZERO, -x.position.qty * spec.side.sign))
            if wanted == 0:
                yield ticket, ZERO
                continue
        if through:
            qty = wanted
        else:
            qty = max(min(wanted, due), sum((got for _, got in taken(x, spec.side, wanted, spec.limit, now_ns)), ZERO))
        if queue is not None:
            queue.filled(ticket, qty)
        if qty > 0:
            yield ticket, qty


def next_slice(held: Sequence[Listing], share: Decimal, now_ns: int) -> tuple[Listing, ClientId, Side, Decimal, Decimal] | None:
    """Return (listing, "", side, quantity, price) of what a liquidation trades next, None when nobody is there to trade with.

    held: positions that trade now. It is `share` of the one with the largest maintenance, no more than one level has.
    """
    able = []
    for x in held:
        side = Side.SELL if x.position.qty > 0 else Side.BUY
        levels = x.levels(side, now_ns)
        if levels:
            able.append((held_maintenance(x), x, side, levels[0]))
    if not able:
        return None
    _, x, side, (price, offered) = max(able, key=lambda row: row[0])
    size = abs(x.position.qty)
    qty = min(offered, size, round_qty(x.instrument, size * share, Rounding.UP))
    x.take(side, qty, now_ns)
    return x, "", side, qty, price
