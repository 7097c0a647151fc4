"""Whether a kill level is reached, judged by what the venues themselves answered after the last thing that moved.

The closing itself is the pair planner's: under FLATTEN a pair's target is zero, the lead closes in clips and the hedge
follows its fills, so both legs shrink together; with CME shut only the naked delta is covered (worked case G12).
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from bot.engine.obligations import Obligations
from bot.engine.supervise import Contact
from bot.model.event import LEVEL_RANK, KillLevel
from bot.model.ids import VenueId


class Residual(msgspec.Struct, frozen=True, kw_only=True):
    """What stands between the desk and a confirmed level. what: "position", "order" or "unconfirmed"."""

    venue: VenueId
    what: str
    instrument: str = ""
    qty: Decimal = Decimal(0)
    why: str = ""


def residual(ob: Obligations, contacts: dict[VenueId, Contact]) -> tuple[Residual, ...]:
    """Return what is left before the level in force is confirmed; empty when it is.

    Up to FREEZE nothing has to be confirmed by a venue. CANCEL needs every venue to answer that no order works;
    FLATTEN and SEVER also that no position is held. A failed query is not flat: such a venue stays unconfirmed.
    """
    rank = LEVEL_RANK[ob.kill_level]
    if rank < LEVEL_RANK[KillLevel.CANCEL]:
        return ()
    left: list[Residual] = []
    for client_id in ob.live:
        spec = ob.orders[client_id].spec
        left.append(Residual(venue=spec.venue, what="order", instrument=spec.instrument, qty=spec.qty, why=client_id))
    if rank >= LEVEL_RANK[KillLevel.FLATTEN]:
        for silo in ob.silos.values():
            for instrument, position in silo.positions.items():
                if position.qty:
                    left.append(Residual(venue=silo.venue, what="position", instrument=instrument, qty=position.qty))
    for silo in ob.silos.values():
        contact = contacts[silo.venue]
        if not silo.up:
            left.append(Residual(venue=silo.venue, what="unconfirmed", why="venue does not answer"))
        elif not contact.reconciled or contact.agreed_ns <= silo.moved_ns:
            left.append(Residual(venue=silo.venue, what="unconfirmed", why="no agreeing answer since the last change"))
    return tuple(left)
