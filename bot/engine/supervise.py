"""Supervision of orders in flight: silence becomes UNKNOWN, UNKNOWN is asked about until the venue gives evidence."""

from __future__ import annotations

from collections.abc import Callable

from bot.engine.obligations import Obligations
from bot.engine.pair import Execution
from bot.model import event as ev
from bot.model.command import Command, QueryOrder, QueryVenue
from bot.model.order import Order, OrderStatus, TimeInForce

Emit = Callable[[ev.Event], None]


def deadline_ns(order: Order, x: Execution) -> int:
    """Return when an unresolved order must be looked at again."""
    if order.status in (OrderStatus.UNKNOWN, OrderStatus.CLOSING):
        return order.asked_ns + x.query_every_ns
    if order.cancel_ns:
        return order.cancel_ns + x.ack_timeout_ns
    if order.status is OrderStatus.SENT or order.spec.tif is TimeInForce.IOC:
        return order.sent_ns + x.ack_timeout_ns
    return order.sent_ns + x.passive_ns


def orders(ob: Obligations, x: Execution, emit: Emit, commands: list[Command]) -> None:
    """Emit NoAnswer for silence, AbsenceProven on evidence, and the queries that are due."""
    for client_id in list(ob.live):
        order = ob.orders[client_id]
        spec = order.spec
        if (
            order.status is OrderStatus.UNKNOWN
            and order.not_found >= x.absent_answers
            and ob.now - order.not_found_ns >= x.absent_grace_ns
        ):
            emit(ev.AbsenceProven(ts=ob.now, client_id=client_id))
            continue
        if ob.now < deadline_ns(order, x):
            continue
        resting = order.status is OrderStatus.WORKING and spec.tif is TimeInForce.DAY and not order.cancel_ns
        if resting:
            continue
        emit(ev.NoAnswer(ts=ob.now, client_id=client_id, reason="no answer in time"))
        if ob.silos[spec.venue].up:
            commands.append(QueryOrder(spec.venue, spec.instrument, client_id))


def venues(ob: Obligations, x: Execution, commands: list[Command]) -> None:
    """Ask a reachable venue for its whole state: often until reconciled, then periodically."""
    for silo in ob.silos.values():
        every = x.snapshot_every_ns if silo.reconciled else x.query_every_ns
        if silo.up and ob.now - silo.asked_ns >= every:
            silo.asked_ns = ob.now
            commands.append(QueryVenue(silo.venue))


def reconcile(ob: Obligations, snapshot: ev.VenueSnapshot, emit: Emit) -> None:
    """Compare a venue's full answer with our record; a difference closes the desk for openings until it clears.

    With an order in flight there the answer is a moment in between: it neither confirms nor contradicts.
    """
    silo = ob.silos[snapshot.venue]
    ours = {i: p.qty for i, p in silo.positions.items() if p.qty}
    theirs = {i: q for i, q in snapshot.positions.items() if q}
    known = {c for c in ob.live if ob.orders[c].spec.venue == snapshot.venue}
    foreign = [w.client_id for w in snapshot.working if w.client_id not in known]
    if foreign:
        _not_ready(ob, snapshot, f"{snapshot.venue}: unknown working order {foreign[0]}", emit)
    elif known:
        return
    elif ours != theirs:
        odd = sorted(i for i in set(ours) | set(theirs) if ours.get(i) != theirs.get(i))[0]
        cause = f"{snapshot.venue}: position of {odd} is {theirs.get(odd, 0)} there, {ours.get(odd, 0)} here"
        _not_ready(ob, snapshot, cause, emit)
    elif silo.unallocated:
        _not_ready(ob, snapshot, f"{snapshot.venue}: unallocated {sorted(silo.unallocated)[0]}", emit)
    else:
        silo.reconciled = True
        silo.mismatches = 0
        if not ob.ready and all(s.reconciled for s in ob.silos.values()):
            emit(ev.ReadySet(ts=ob.now, ready=True, cause="reconciled"))


def _not_ready(ob: Obligations, snapshot: ev.VenueSnapshot, cause: str, emit: Emit) -> None:
    silo = ob.silos[snapshot.venue]
    silo.reconciled = False
    silo.mismatches += 1
    if ob.ready or ob.cause != cause:
        emit(ev.ReadySet(ts=ob.now, ready=False, cause=cause))
        emit(ev.Alert(ts=ob.now, severity=ev.Severity.CRIT, code="reconcile.mismatch", text=cause))
