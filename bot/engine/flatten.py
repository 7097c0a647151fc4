"""Whether a kill level is reached, judged by what the venues themselves answered after the last thing that moved.

The closing itself is the pair planner's: under FLATTEN a pair's target is zero, the lead closes in clips and the hedge
follows its fills, so both legs shrink together; with CME shut only the naked delta is covered (worked case G12). Under
EVACUATE the legs at the named venues go in any case (bot.engine.evacuate). What is left is said again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from bot.engine.evacuate import lost
from bot.engine.obligations import Obligations, PairState
from bot.engine.observations import Session, Window
from bot.engine.pair import Execution, hedge_gap, unhedged_coins
from bot.engine.supervise import Contact
from bot.model.event import LEVEL_RANK, NEVER, KillLevel
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import Instrument
from bot.model.market import Book
from bot.model.notation import iso

ALARM_FIRST_NS = 5_000_000_000
ALARM_EVERY_NS = 300_000_000_000
"""A level that is not reached is told this long after it was set, and again this often until it is."""


class Residual(msgspec.Struct, frozen=True, kw_only=True):
    """What stands between the desk and a confirmed level. what: "position", "order", "unconfirmed" or "delta".

    qty: signed contracts of a position, contracts of an order, signed coins of naked delta (on the leg that has no match).
    """

    venue: VenueId
    what: str
    instrument: str = ""
    qty: Decimal = Decimal(0)
    why: str = ""


def residual(ob: Obligations, contacts: dict[VenueId, Contact]) -> tuple[Residual, ...]:
    """Return what is left before the level in force is confirmed; empty when it is.

    Up to FREEZE nothing has to be confirmed by a venue. CANCEL needs every venue to answer that no order works;
    EVACUATE also that nothing is held at its venues, nor on the other leg of a pair that was there; FLATTEN and SEVER that no
    position is held at all. A failed query is not flat: such a venue stays unconfirmed.
    """
    rank = LEVEL_RANK[ob.kill_level]
    if rank < LEVEL_RANK[KillLevel.CANCEL]:
        return ()
    left: list[Residual] = []
    for client_id in ob.live:
        spec = ob.orders[client_id].spec
        left.append(Residual(venue=spec.venue, what="order", instrument=spec.instrument, qty=spec.qty, why=client_id))
    everywhere = rank >= LEVEL_RANK[KillLevel.FLATTEN]
    for silo in ob.silos.values():
        if everywhere or silo.venue in ob.evacuate:
            left += (Residual(venue=silo.venue, what="position", instrument=i, qty=p.qty) for i, p in silo.positions.items() if p.qty)
    if not everywhere:
        left += _other_legs(ob)
    for silo in ob.silos.values():
        contact = contacts[silo.venue]
        if not silo.up:
            left.append(Residual(venue=silo.venue, what="unconfirmed", why="venue does not answer"))
        elif not contact.reconciled or contact.agreed_ns <= silo.moved_ns:
            left.append(Residual(venue=silo.venue, what="unconfirmed", why="no agreeing answer since the last change"))
    left += (Residual(venue=v, what="unconfirmed", why="no such venue at this desk") for v in ob.evacuate if v not in ob.silos)
    return tuple(left)


def _other_legs(ob: Obligations) -> Iterator[Residual]:
    """Yield what pairs with an evacuated leg still hold elsewhere. A lead that was never to be hedged is nobody's other leg."""
    for pair in ob.pairs.values():
        for leg, instrument, held in (("lead", pair.terms.lead, pair.lead), ("hedge", pair.terms.hedge, pair.hedge)):
            if pair.out and leg not in pair.out and held.qty and (leg == "hedge" or pair.hedge_ratio):
                venue = next(silo.venue for silo in ob.silos.values() if instrument in silo.positions)
                yield Residual(venue=venue, what="position", instrument=instrument, qty=held.qty)


Loop = tuple[PairState, Window]


def explained(ob: Obligations, contacts: dict[VenueId, Contact], loops: Iterable[Loop]) -> tuple[Residual, ...]:
    """Return `residual` with the reason why a position cannot go now, and the delta that is naked meanwhile."""
    left = residual(ob, contacts)
    if not left:
        return ()
    causes: dict[InstrumentId, str] = {}
    naked: list[Residual] = []
    for pair, window in loops:
        legs = ((pair.lead, window.lead_terms, window.lead, window.lead_session), (pair.hedge, window.hedge_terms, window.hedge, window.hedge_session))
        for _, terms, book, session in legs:
            causes[terms.id] = _held_up(ob, terms, book, session)
        coins = unhedged_coins(pair, window)
        if hedge_gap(pair, window):
            terms = legs[0][1] if coins * pair.lead.qty > 0 else legs[1][1]
            naked.append(Residual(venue=terms.venue, what="delta", instrument=terms.id, qty=coins, why=causes[terms.id]))
    told = (msgspec.structs.replace(r, why=_why(ob, r, causes)) if r.what == "position" else r for r in left)
    return (*told, *naked)


def _why(ob: Obligations, held: Residual, causes: dict[InstrumentId, str]) -> str:
    """Return why a position stays, "" if it is being closed."""
    nobodys = ob.silos[held.venue].unallocated.get(held.instrument)
    return f"{nobodys} of it belong to no pair: close by hand" if nobodys else causes.get(held.instrument, "no pair trades it: close by hand")


def _held_up(ob: Obligations, terms: Instrument, book: Book, session: Session) -> str:
    """Return why an instrument cannot be traded now, "" if it can."""
    if not ob.silos[terms.venue].up:
        return "venue does not answer: may or may not still exist"
    if not session.open_at(ob.now):
        return "closed" if session.until_ns >= NEVER else f"closed until {iso(session.until_ns)}"
    return "" if book.two_sided else "no two-sided book"


class Alarm:
    """When to say that a level is not reached: soon after it was set, at once when a venue is given up, and then again and again.

    An observation: after a restart it begins anew. due_ns: when `look` has to be called at the latest.
    """

    __slots__ = ("_lost", "due_ns")

    def __init__(self) -> None:
        self.due_ns = NEVER
        self._lost: list[VenueId] = []

    def look(self, ob: Obligations, contacts: dict[VenueId, Contact], loops: Iterable[Loop], x: Execution) -> str:
        """Return what has to be said now, "" for nothing."""
        if LEVEL_RANK[ob.kill_level] < LEVEL_RANK[KillLevel.CANCEL]:
            self.due_ns, self._lost = NEVER, []
            return ""
        silent = [v for v in ob.evacuate if v in ob.silos and not ob.silos[v].up]
        gone = [v for v in silent if lost(ob, v, x)]
        due = ob.now if gone != self._lost and gone else self.due_ns if self.due_ns < NEVER else ob.now + ALARM_FIRST_NS
        self._lost = gone
        text = ""
        if due <= ob.now:
            due = ob.now + ALARM_EVERY_NS
            text = "; ".join(_said(r) for r in explained(ob, contacts, loops))
        self.due_ns = min([due, *(ob.silos[v].down_ns + x.lost_ns for v in silent if v not in gone)])
        given_up = f"{', '.join(gone)} counts as lost; " if gone else ""
        return f"{named(ob.kill_level, ob.evacuate)} not reached: {given_up}{text}" if text else ""


def named(level: KillLevel, venues: Iterable[VenueId]) -> str:
    """Return a level as it is told: with the venues that are evacuated.

    >>> named(KillLevel.EVACUATE, ("perp",)), named(KillLevel.PAUSE, ())
    ('EVACUATE perp', 'PAUSE')
    """
    return " ".join([level.value, *venues])


def _said(r: Residual) -> str:
    if r.what == "delta":
        text = f"naked {r.qty.normalize():+f} coins on {r.venue} {r.instrument}"
    else:
        text = f"{r.what} {r.venue} {r.instrument} {r.qty.normalize():+f}" if r.qty else f"{r.what} {r.venue}"
    return f"{text} ({r.why})" if r.why else text
