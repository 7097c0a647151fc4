"""Supervision of orders in flight and of venues: silence becomes UNKNOWN, a difference closes the desk for openings.

What was asked and answered when is an observation (`Contact`): after a restart every venue is asked anew.
"""

from __future__ import annotations

from collections.abc import Callable

from bot.engine.obligations import Obligations
from bot.engine.pair import CANCEL, Execution
from bot.engine.retold import reach_ns
from bot.model import event as ev
from bot.model.command import Command, QueryOrder, QueryVenue
from bot.model.event import LEVEL_RANK, NEVER
from bot.model.ids import VenueId
from bot.model.order import Order, OrderStatus, Outcome, TimeInForce
from bot.model.unready import Unready

Emit = Callable[[ev.Event], None]
OVERLAP_NS = 60_000_000_000
"""An answer covers this much more than it must: what was under way when the last question was asked."""


class Contact:
    """What the desk knows of a venue's answers, times in UTC ns.

    reconciled: its last full answer agrees with our record. agreed_ns: when the last agreeing answer came. heard_ns: when the
    latest question was asked that this process had a full answer to; what the venue booked before is known.
    """

    __slots__ = ("agreed_ns", "asked_ns", "heard_ns", "reconciled", "venue")

    def __init__(self, venue: VenueId) -> None:
        self.venue = venue
        self.heard_ns = 0
        self.reset()

    def reset(self) -> None:
        """Forget every answer: the venue was unreachable or the process is new."""
        self.asked_ns = self.agreed_ns = 0
        self.reconciled = False

    def due_ns(self, x: Execution) -> int:
        """Return when the venue is to be asked for its whole state again."""
        if self.asked_ns == 0:
            return 0
        return self.asked_ns + (x.snapshot_every_ns if self.reconciled else x.query_every_ns)


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
    """Emit NoAnswer for silence, AbsenceProven on evidence, and the queries that are due.

    Only answers are evidence: the grace has to lie between the first and the last of them. While questions stay unanswered an order
    that was late on its way may have arrived.
    """
    for client_id in list(ob.live):
        order = ob.orders[client_id]
        spec = order.spec
        if (
            order.status is OrderStatus.UNKNOWN
            and order.not_found >= x.absent_answers
            and order.not_found_last_ns - order.not_found_ns >= x.absent_grace_ns
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


def rejected(ob: Obligations, ended: ev.OrderEnded, x: Execution, emit: Emit) -> None:
    """Stop openings until a person has looked when a pair's orders are rejected one after another; hedges go on, ever more slowly."""
    order = ob.orders.get(ended.client_id)
    if order is None or ended.outcome is not Outcome.REJECTED or ob.halted:
        return
    row = ob.pairs[order.spec.pair].rejected_row
    if row >= x.rejects_max:
        reason = f"reject storm: {row} orders of {order.spec.pair} in a row, the last at {order.spec.venue}: {ended.reason}"
        emit(ev.Frozen(ts=ob.now, pair="", on=True, reason=reason))
        emit(ev.Alert(ts=ob.now, severity=ev.Severity.CRIT, code="order.reject_storm", text=f"{reason}; openings wait for a resume"))


def venues(ob: Obligations, contacts: dict[VenueId, Contact], x: Execution, commands: list[Command]) -> None:
    """Ask a reachable venue for its whole state: often until reconciled, then periodically."""
    for contact in contacts.values():
        if ob.silos[contact.venue].up and ob.now >= _ask_ns(ob, contact, x):
            contact.asked_ns = ob.now
            commands.append(QueryVenue(contact.venue, _since_ns(ob, contact)))


def _since_ns(ob: Obligations, contact: Contact) -> int:
    """Return from when on a venue's bookings may be news: what it told before its last full answer is booked, what was before the run is not ours."""
    if contact.heard_ns:
        return contact.heard_ns - OVERLAP_NS
    return max(ob.started_ns, reach_ns(ob, contact.venue))


def due_ns(ob: Obligations, contacts: dict[VenueId, Contact], x: Execution) -> int:
    """Return when silence must be acted on next."""
    due = NEVER
    for client_id in ob.live:
        due = min(due, deadline_ns(ob.orders[client_id], x))
    for contact in contacts.values():
        if ob.silos[contact.venue].up:
            due = min(due, _ask_ns(ob, contact, x))
    return due


def _ask_ns(ob: Obligations, contact: Contact, x: Execution) -> int:
    """Return when a venue is to be asked next: soon while a kill level waits for it to confirm what moved last."""
    due = contact.due_ns(x)
    if LEVEL_RANK[ob.kill_level] >= CANCEL and contact.agreed_ns <= ob.silos[contact.venue].moved_ns:
        return min(due, contact.asked_ns + x.query_every_ns)
    return due


def reconcile(ob: Obligations, contacts: dict[VenueId, Contact], snapshot: ev.VenueSnapshot, emit: Emit) -> None:
    """Compare a venue's full answer with our record; a difference closes the desk for openings until it clears.

    With an order in flight there, or a fill since the question, the answer is a moment in between: it neither
    confirms nor contradicts.
    """
    silo, contact = ob.silos[snapshot.venue], contacts[snapshot.venue]
    ours = {i: p.qty for i, p in silo.positions.items() if p.qty}
    theirs = {i: q for i, q in snapshot.positions.items() if q}
    contact.heard_ns = max(contact.heard_ns, contact.asked_ns)
    known = {c for c in ob.live if ob.orders[c].spec.venue == snapshot.venue}
    foreign = [w.client_id for w in snapshot.working if not _explained(ob, w.client_id, contact.asked_ns)]
    if foreign:
        _not_ready(ob, contact, Unready.FOREIGN_ORDER, f"{snapshot.venue}: unknown working order {foreign[0]}", emit)
    elif known or silo.moved_ns >= contact.asked_ns:
        return
    elif ours != theirs:
        odd = sorted(i for i in set(ours) | set(theirs) if ours.get(i) != theirs.get(i))[0]
        cause = f"{snapshot.venue}: position of {odd} is {theirs.get(odd, 0)} there, {ours.get(odd, 0)} here"
        _not_ready(ob, contact, Unready.POSITION, cause, emit)
    elif silo.unallocated:
        _not_ready(ob, contact, Unready.UNALLOCATED, f"{snapshot.venue}: unallocated {sorted(silo.unallocated)[0]}", emit)
    else:
        contact.reconciled = True
        contact.agreed_ns = snapshot.ts
        if not ob.ready and all(c.reconciled for c in contacts.values()):
            emit(ev.ReadySet(ts=ob.now, ready=True, cause="reconciled"))


def _explained(ob: Obligations, client_id: str, asked_ns: int) -> bool:
    """Return whether a working order is ours and may have been alive when the venue was asked."""
    order = ob.orders.get(client_id)
    return order is not None and (order.live or order.ended_ns >= asked_ns)


def _not_ready(ob: Obligations, contact: Contact, kind: Unready, cause: str, emit: Emit) -> None:
    contact.reconciled = False
    if ob.ready or ob.cause != cause:
        emit(ev.ReadySet(ts=ob.now, ready=False, cause=cause, kind=kind))
        emit(ev.Alert(ts=ob.now, severity=ev.Severity.CRIT, code="reconcile.mismatch", text=cause))


def lost(ob: Obligations, contact: Contact, emit: Emit) -> None:
    """React to a venue that is gone or back: its answers no longer count and openings wait for new ones."""
    contact.reset()
    if ob.ready:
        cause = f"{contact.venue}: not reconciled since its last interruption"
        emit(ev.ReadySet(ts=ob.now, ready=False, cause=cause, kind=Unready.INTERRUPTED))
