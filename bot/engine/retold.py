"""What is remembered of what venues said, so that what they say again is recognised, and how far back they are asked."""

from __future__ import annotations

from itertools import islice, takewhile

from bot.engine.obligations import Obligations
from bot.model import event as ev
from bot.model.ids import VenueId

DONE_ORDERS_KEPT = 2_000
"""Orders remembered after their end, so that late fills find them; an older one lands in `unallocated`."""
REACH_NS = 26 * 3_600_000_000_000
"""How far back a new process asks at least: longer than a broker's day, within what any exchange keeps."""


def repeats(ob: Obligations, event: ev.Event) -> bool:
    """Return whether a venue says again what is booked already: venues repeat, and a repetition is no new fact."""
    if isinstance(event, ev.OrderFilled):
        order = ob.orders.get(event.client_id)
        return event.exec_id in (ob.silos[event.venue].foreign_execs if order is None else order.execs)
    if isinstance(event, ev.FundingPaid):
        return funding_ref(event) in ob.silos[event.venue].bookings
    return isinstance(event, ev.CashBooked) and event.ref in ob.silos[event.venue].bookings


def funding_ref(e: ev.FundingPaid) -> str:
    """Return what makes a funding payment unique at its venue."""
    return f"funding:{e.instrument}:{e.stamp_ns}"


def forget_oldest(ob: Obligations) -> None:
    """Drop the oldest done orders beyond what is kept, up to the first whose executions a venue may still repeat.

    No look goes past that one: on a day of many orders every end of an order would pay for all of them, and a hedge waits for it.
    """
    excess = len(ob.orders) - len(ob.live) - DONE_ORDERS_KEPT
    if excess < DONE_ORDERS_KEPT // 4:
        return
    done = ((c, order) for c, order in ob.orders.items() if not order.live)
    old = takewhile(lambda row: not row[1].execs or row[1].ended_ns < reach_ns(ob, row[1].spec.venue), done)
    for client_id, _ in list(islice(old, excess)):
        del ob.orders[client_id]


def reach_ns(ob: Obligations, venue: VenueId) -> int:
    """Return since when a new process asks a venue for its bookings: a day and more, or the last execution on record if that is older.

    It cannot know since when the last one was dead, or its journal deaf. Nothing is ever asked from before.
    """
    return min(ob.now - REACH_NS, ob.silos[venue].moved_ns)
