"""What a venue does to the account that no order of ours asked for: taken, taken back, or filled beyond what was asked."""

from __future__ import annotations

from collections.abc import Iterator

from bot.engine.obligations import Obligations, PairState
from bot.model import event as ev
from bot.model.event import Severity

FORCED = ("liquidation", "adl", "bust")
"""Reasons of executions that are assigned by themselves; a trade by hand is not, it stays quarantined."""


def adopt(ob: Obligations, fill: ev.OrderFilled) -> Iterator[ev.Event]:
    """Assign what a venue took by force, or took back, to the pair it belongs to; anything else stays unallocated."""
    pair = _owner(ob, fill)
    if fill.reason in FORCED and pair is not None:
        taken = fill.qty * fill.side.sign
        yield ev.Allocated(ts=ob.now, pair=pair.terms.id, instrument=fill.instrument, qty=taken, price=fill.price, exec_id=fill.exec_id)
        yield ev.Alert(ts=ob.now, severity=Severity.CRIT, code=f"venue.{fill.reason}", text=f"{fill.venue} took {taken} {fill.instrument}")


def _owner(ob: Obligations, fill: ev.OrderFilled) -> PairState | None:
    """Return the pair whose execution is taken back, else the only one that trades the instrument."""
    reversed_id = fill.exec_id.removesuffix("-bust")
    for order in ob.orders.values():
        if reversed_id in order.execs:
            return ob.pairs[order.spec.pair]
    owners = [p for p in ob.pairs.values() if fill.instrument in (p.terms.lead, p.terms.hedge)]
    return owners[0] if len(owners) == 1 else None


def overfilled(ob: Obligations, fill: ev.OrderFilled) -> Iterator[ev.Event]:
    """Stop openings until a person has looked when an order got more than it asked for; the surplus is booked and hedged like any fill."""
    order = ob.orders.get(fill.client_id)
    if order is None or order.filled <= order.spec.qty:
        return
    reason = f"overfill: {fill.client_id} filled {order.filled} of {order.spec.qty}"
    if not ob.halted:
        yield ev.Frozen(ts=ob.now, pair="", on=True, reason=reason)
    yield ev.Alert(ts=ob.now, severity=Severity.CRIT, code="order.overfill", text=f"{reason} at {fill.venue}; openings wait for a resume")
