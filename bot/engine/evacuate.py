"""The planner of a pair with a leg at a venue that is being evacuated; any other pair's plan is bot.engine.pair's.

The leg to evacuate closes, and nothing else ever happens at its venue: no hedge is opened there for the other leg. While
the other leg can follow, both shrink together, clip by clip; when it cannot (shut, unreachable, no fills) the leg goes
alone and leaves the other naked, which this level accepts, and which is closed as soon as its own venue trades. A leg that
cannot trade while its venue answers is held: its hedge stays, and only naked delta is covered at the other venue (G12).
A venue to evacuate that has not answered for `Execution.lost_ns` counts as lost and the other leg is closed alone,
although the position there may still exist. See docs/adr/0006-evacuate.md.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from bot.engine import pair as pairs
from bot.engine.obligations import ZERO, Obligations, PairState
from bot.engine.observations import Window
from bot.engine.pair import Action, Ask, Execution, Withdraw
from bot.model.ids import ClientId, VenueId
from bot.model.instrument import Instrument, Rounding, contracts_for
from bot.model.market import Book
from bot.model.order import OrderStatus, Purpose, Side, TimeInForce
from bot.model.position import Position


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One leg as it stands. out: its venue is being evacuated. attempts: consecutive orders that filled nothing."""

    name: str
    terms: Instrument
    book: Book
    held: Position
    order: ClientId | None
    attempts: int
    retry_ns: int
    tradable: bool
    out: bool


def plan(ob: Obligations, pair: PairState, window: Window, x: Execution) -> list[Action]:
    """Return the orders and cancels that bring the pair towards what is wanted of it now: its target, or out."""
    if not pair.out:
        return pairs.plan(ob, pair, window, x)
    lead, hedge = legs(ob, pair, window)
    actions: list[Action] = []
    for leg, other in ((hedge, lead), (lead, hedge)):
        if leg.order is not None:
            _withdraw(ob, leg, actions)
        elif leg.tradable and ob.now >= leg.retry_ns:
            gap = _gap(ob, pair, window, x, leg, other)
            if gap:
                actions.append(_ask(ob, window, leg, gap, x))
    return actions


def legs(ob: Obligations, pair: PairState, window: Window) -> tuple[Leg, Leg]:
    """Return lead and hedge."""
    return (
        Leg(name="lead", terms=window.lead_terms, book=window.lead, held=pair.lead, order=pair.lead_order, attempts=pair.lead_attempts,
            retry_ns=pair.lead_retry_ns, tradable=pairs.lead_tradable(ob, window), out="lead" in pair.out),
        Leg(name="hedge", terms=window.hedge_terms, book=window.hedge, held=pair.hedge, order=pair.hedge_order, attempts=pair.hedge_attempts,
            retry_ns=pair.hedge_retry_ns, tradable=pairs.hedge_tradable(ob, window), out="hedge" in pair.out),
    )  # fmt: skip


def lost(ob: Obligations, venue: VenueId, x: Execution) -> bool:
    """Return whether an evacuated venue has been silent for so long that nothing there can be counted on."""
    silo = ob.silos[venue]
    return venue in ob.evacuate and not silo.up and ob.now - silo.down_ns >= x.lost_ns


def _withdraw(ob: Obligations, leg: Leg, out: list[Action]) -> None:
    """Take back a working order that does not close its leg."""
    order = ob.orders[leg.order or ""]
    if order.spec.side.sign * leg.held.qty >= 0 and order.status is OrderStatus.WORKING and order.cancel_ns == 0:
        out.append(Withdraw(order.spec.client_id, "evacuation"))


def _gap(ob: Obligations, pair: PairState, window: Window, x: Execution, leg: Leg, other: Leg) -> Decimal:
    """Return the signed contracts of `leg` to trade now: never through zero, and never away from it at a venue to leave."""
    held = leg.held.qty
    if leg.out:
        qty = _leaving(ob, pair, window, x, leg, other)
    elif lost(ob, other.terms.venue, x):
        qty = min(abs(held), _clip(pair, window, x, leg, alone=True))
    elif leg.name == "lead" and _settling(ob, other, x):
        return ZERO  # the hedge follows fills; a lead is not unwound against a hedge that may still come
    else:
        wanted = _following(pair, window, leg)
        if wanted * held >= 0:  # the one permitted increase: cover what is naked because its own venue does not trade
            return wanted if leg.name == "hedge" and not other.tradable else ZERO
        qty = min(abs(held), abs(wanted), _clip(pair, window, x, leg, alone=True))
    return -qty.copy_sign(held)


def _following(pair: PairState, window: Window, leg: Leg) -> Decimal:
    """Return the signed contracts that would match `leg` to what the other leg still holds."""
    if leg.name == "hedge":
        return pairs.hedge_gap(pair, window)
    return pairs.hedged_lots(pair, window) - leg.held.qty if pair.hedge_ratio else ZERO


def _leaving(ob: Obligations, pair: PairState, window: Window, x: Execution, leg: Leg, other: Leg) -> Decimal:
    """Return the contracts of an evacuated leg to close now: the next clip, once the other leg has followed or if it cannot."""
    follows = _follows(ob, other, x)
    open_coins = pairs.unhedged_coins(pair, window)
    ahead = abs(float(open_coins)) > x.unhedged_coins_max and open_coins * leg.held.qty <= 0
    return ZERO if follows and ahead else min(_closable(ob, leg), _clip(pair, window, x, leg, alone=not follows))


def _follows(ob: Obligations, other: Leg, x: Execution) -> bool:
    """Return whether the other leg can be waited for: it holds something, trades, gets fills, and no order of it is overdue."""
    if other.held.qty == 0 or not other.tradable or other.attempts >= x.hedge_attempts:
        return False
    return other.order is None or ob.now - ob.orders[other.order].sent_ns <= x.ack_timeout_ns


def _settling(ob: Obligations, leg: Leg, x: Execution) -> bool:
    """Return whether an order of a leg may still change what the other one has to follow: young, or unresolved and opening."""
    if leg.order is None:
        return False
    order = ob.orders[leg.order]
    return ob.now - order.sent_ns <= x.ack_timeout_ns or order.spec.side.sign * leg.held.qty >= 0


def _closable(ob: Obligations, leg: Leg) -> Decimal:
    """Return the contracts of a leg that can be closed without its venue's net crossing zero, worst case of what is in flight there."""
    position = ob.silos[leg.terms.venue].positions.get(leg.terms.id)
    if position is None or position.qty * leg.held.qty <= 0:
        return ZERO
    flying = ZERO
    for client_id in ob.live:
        order = ob.orders[client_id]
        if order.spec.instrument == leg.terms.id and order.spec.side.sign * position.qty < 0:
            flying += order.leaves
    return max(ZERO, min(abs(leg.held.qty), abs(position.qty) - flying))


def _clip(pair: PairState, window: Window, x: Execution, leg: Leg, *, alone: bool) -> Decimal:
    """Return the largest close of `leg` in contracts: one lot of the lead at least, however thin the books."""
    closes_short = leg.held.qty < 0
    buying_lead = closes_short if leg.name == "lead" else not closes_short
    lots = max(Decimal(1), pairs.clip_lots(window, x, buying_lead, leg.name if alone else ""))
    if leg.name == "lead":
        return lots
    coins = lots * window.lead_terms.unit * (pair.hedge_ratio or 1)
    return max(leg.terms.lot, contracts_for(leg.terms, coins, leg.held.avg, Rounding.NEAREST))


def _ask(ob: Obligations, window: Window, leg: Leg, gap: Decimal, x: Execution) -> Ask:
    """Return the collared order for `gap`; reduce-only where the venue knows it (a broker's future does not)."""
    side = Side.BUY if gap > 0 else Side.SELL
    limit = pairs.crossing_limit(leg.terms, leg.book, side, x, leg.attempts)
    purpose = Purpose.HEDGE if leg.name == "hedge" and not leg.out else Purpose.UNWIND
    return Ask(leg.name, side, abs(gap), limit, TimeInForce.IOC, purpose, leg.name == "hedge" and pairs.reduces_net(ob, window, gap), False)
