"""The second record held against the engine's, after each step about orders, and against the venues' own books at rest."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from bot.checks.record import ORDERS_KEPT, Record
from bot.checks.twins import ZERO
from bot.engine.fold import EDGE_GAPS_KEPT
from bot.engine.retold import DONE_ORDERS_KEPT, reach_ns
from bot.journal.accounts import Accounts
from bot.model import event as ev
from bot.model.ids import ClientId, VenueId
from bot.sim.exchange import Exchange

DUST = Decimal("1e-9")
"""I7: an average cost is a quotient with endless digits, so fills booked in another order may leave less than this; money never does."""
LIVE_MOST = 2
"""I25: live orders of one pair, beside those that came back after a journal failed."""


def orders_agree(r: Record, touched: set[ClientId]) -> None:
    """I4, I5, I6 and rule 6: same states, fills, leaves and positions in both records."""
    ob, now = r.engine.ob, r.engine.ob.now
    for client_id in sorted(touched):
        order, twin = ob.orders.get(client_id), r.orders.get(client_id)
        if order is None or twin is None:
            continue
        if order.status is not twin.status:
            r.broken("I5", now, f"{client_id} is {order.status}, the declared graph leads to {twin.status} (filled {twin.filled}, reported {twin.reported})")  # noqa: E501
        if order.filled != twin.filled:
            r.broken("I4", now, f"{client_id} has {order.filled} filled, its executions sum to {twin.filled}")
        if order.leaves != twin.leaves:
            r.broken("I6", now, f"{client_id} reserves {order.leaves}, worst case is {twin.leaves}")
    if ob.live.keys() != r.live.keys():
        r.broken("I6", now, f"live orders {sorted(ob.live)} against {sorted(r.live)}")
    for silo in ob.silos.values():
        for instrument, position in silo.positions.items():
            split = silo.unallocated.get(instrument, ZERO)
            for pair, legs in r.legs.items():
                terms = r.loops[pair].state.terms
                split += legs.lead if terms.lead == instrument else legs.hedge if terms.hedge == instrument else ZERO
            if not position.qty == split == r.net.get(instrument, ZERO):
                r.broken("R6 net = pairs + unallocated", now, f"{instrument}: {position.qty} held, pairs and unallocated {split}, fills {r.net.get(instrument, ZERO)}")  # noqa: E501
    for pair, legs in r.legs.items():
        state = r.loops[pair].state
        if (state.lead.qty, state.hedge.qty) != (legs.lead, legs.hedge):
            r.broken("I4", now, f"{pair} holds {state.lead.qty}/{state.hedge.qty}, its fills sum to {legs.lead}/{legs.hedge}")


def bounded(r: Record) -> None:
    """I25: what the desk keeps does not grow without end: orders done and live, times of orders, results of trades."""
    ob, desk = r.engine.ob, r.engine.desk
    done = len(ob.orders) - len(ob.live)
    if done > DONE_ORDERS_KEPT:  # those whose executions a venue may still repeat are kept whatever their number
        done = sum(not x.live and (not x.execs or x.ended_ns < reach_ns(ob, x.spec.venue)) for x in ob.orders.values())
    kept = {
        "done orders": (done, DONE_ORDERS_KEPT * 5 // 4),
        "live orders": (len(ob.live), LIVE_MOST * len(ob.pairs) + sum(r.orders[c].late for c in r.live)),
        "results": (len(ob.edge_gaps_bp), EDGE_GAPS_KEPT), "own orders": (len(r.orders), ORDERS_KEPT + DONE_ORDERS_KEPT),
        "times of openings": (len(desk.openings), DONE_ORDERS_KEPT),
    }  # fmt: skip
    for what, (found, most) in kept.items():
        if found > most:
            r.broken("I25", ob.now, f"{found} {what} are kept, {most} at most")


def tie_out(r: Record, exchanges: Mapping[VenueId, Exchange], books: Accounts) -> None:
    """I1, I3, I7: our fills and positions are the venues', our cash within dust. Call it at quiescence only."""
    ob = r.engine.ob
    for venue, exchange in exchanges.items():
        silo, now = ob.silos[venue], ob.now
        theirs = {(f.client_id, f.exec_id): f.qty for f in exchange.account.history if isinstance(f, ev.OrderFilled)}
        known = {c for c, t in r.orders.items() if t.spec.venue == venue}
        ours = {(c, x) for c in known for x in r.orders[c].execs}
        missing = sorted({key for key in theirs if key[0] in known} ^ ours)
        if missing:
            r.broken("I1", now, f"{venue}: executions on one side only: {missing[:3]}")
        positions = exchange.positions()
        for instrument in sorted({*positions, *silo.positions}):
            held, here = positions.get(instrument, ZERO), silo.positions.get(instrument)
            ledger = books.positions.get(instrument)
            if not held == (here.qty if here else ZERO) == (ledger.qty if ledger else ZERO):
                r.broken("I1", now, f"{venue} {instrument}: venue {held}, desk {here and here.qty}, ledger {ledger and ledger.qty}")
        unasked = sorted(c for c in exchange.orders if c not in r.orders)
        if unasked and len(r.orders) < ORDERS_KEPT:
            r.broken("I3", now, f"{venue} has orders we never intended: {unasked[:3]}")
        booked = books.cash(venue)
        for currency in sorted({*silo.cash, *exchange.account.cash, *booked}):
            three = (silo.cash.get(currency, ZERO), booked.get(currency, ZERO), exchange.account.cash.get(currency, ZERO))
            if max(three) - min(three) > DUST:
                r.broken("I7", now, f"{venue} {currency}: desk {three[0]}, ledger {three[1]}, venue {three[2]}")
