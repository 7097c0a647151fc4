"""The pair planner: from what is wanted, filled and in flight to the orders that are missing. Pure and level-triggered.

The hedge is always recomputed from the lead's actual fills, so running it twice asks for nothing new and a late or
surplus fill corrects itself. Ladder of the hedge: cross, then a collared IOC one step deeper per fruitless attempt,
then (step.py) the unwind of the lead. At most one order per leg is live; a leg with an unresolved order waits.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from bot.engine.obligations import ZERO, Obligations, PairState
from bot.engine.observations import Window
from bot.model.event import LEVEL_RANK, KillLevel
from bot.model.ids import ClientId, client_id
from bot.model.instrument import Instrument, Rounding, contracts_for, notional, round_qty, to_decimal, to_price
from bot.model.market import Book
from bot.model.order import Order, OrderSpec, OrderStatus, Purpose, Side, TimeInForce
from bot.model.position import delta_coins

NO_BOUND = Decimal(10**9)
FREEZE = LEVEL_RANK[KillLevel.FREEZE]
CANCEL = LEVEL_RANK[KillLevel.CANCEL]
FLATTEN = LEVEL_RANK[KillLevel.FLATTEN]


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How orders are worked. Times in ns of market time, prices in bp of the touch.

    hedge_attempts: fruitless hedge tries before the lead is unwound. absent_answers: "not found" answers, spread
    over at least absent_grace_ns, that prove an UNKNOWN order never arrived. lost_ns: a venue to evacuate that has been
    silent this long counts as lost. rejects_max: orders of a pair rejected in a row before openings wait for a person.
    """

    ack_timeout_ns: int = 2_000_000_000
    query_every_ns: int = 1_000_000_000
    absent_grace_ns: int = 5_000_000_000
    absent_answers: int = 3
    snapshot_every_ns: int = 30_000_000_000
    timer_ns: int = 250_000_000
    hedge_attempts: int = 5
    rejects_max: int = 10
    cross_bp: float = 2.0
    step_bp: float = 3.0
    collar_bp: float = 18.0
    passive_ns: int = 20_000_000_000
    clip_lots: int = 10
    clip_depth_share: float = 0.25
    unhedged_coins_max: float = 0.05
    lost_ns: int = 60_000_000_000


class Ask(msgspec.Struct, frozen=True):
    """An order the planner wants sent; ids are minted where it becomes an intent."""

    leg: str
    side: Side
    qty: Decimal
    limit: Decimal
    tif: TimeInForce
    purpose: Purpose
    reduce_only: bool
    opening: bool


class Withdraw(msgspec.Struct, frozen=True):
    """A live order the planner wants cancelled."""

    client_id: ClientId
    reason: str


Action = Ask | Withdraw


def unhedged_coins(pair: PairState, window: Window) -> Decimal:
    """Return the coins of delta the pair's fills leave open (signed; > 0 net long).

    A pair's declared delta is lead x (1 - hedge ratio); what differs from it is unhedged.
    """
    if pair.flat:
        return ZERO
    lead = delta_coins(window.lead_terms, pair.lead)
    return lead * pair.hedge_ratio + delta_coins(window.hedge_terms, pair.hedge)


def reference_price(book: Book) -> Decimal:
    """Return a price to turn contracts into coins: mid, else mark, else 1 (linear contracts need none)."""
    return to_decimal(book.mid or book.mark or 1.0)


def hedge_gap(pair: PairState, window: Window) -> Decimal:
    """Return the signed hedge contracts missing for the lead's actual fills, in whole lots the venue would take.

    What closes or reduces an inverse hedge counts at its entry, what adds to it at the present price: one that was
    right when it was sent stays right wherever the price goes. A rest below the venue's minimum is left alone.
    """
    terms, held = window.hedge_terms, pair.hedge
    price = reference_price(window.hedge)
    missing = -unhedged_coins(pair, window)
    if terms.inverse and missing * held.qty < 0:
        reduced = contracts_for(terms, missing, held.avg, Rounding.NEAREST)
        if abs(reduced) <= abs(held.qty):
            return _takeable(terms, held.qty, reduced, price)
        beyond = missing + delta_coins(terms, held)
        return -held.qty + contracts_for(terms, beyond, price, Rounding.NEAREST)
    return _takeable(terms, held.qty, contracts_for(terms, missing, price, Rounding.NEAREST), price)


def _takeable(terms: Instrument, held: Decimal, gap: Decimal, price: Decimal) -> Decimal:
    """Return `gap`, or zero when the venue would refuse it as too small; closing all is taken at any size."""
    small = abs(notional(terms, gap, price)) < terms.min_notional
    return ZERO if small and held + gap != 0 else gap


def restless(ob: Obligations, pair: PairState) -> bool:
    """Return whether the planner may have something to do without a new fact: an order to re-price, a target or kill level not reached."""
    if pair.target != pair.lead.qty or pair.lead_order is not None or pair.unwind:
        return True
    return not pair.flat and (bool(pair.out) or LEVEL_RANK[ob.kill_level] >= FLATTEN)


def plan(ob: Obligations, pair: PairState, window: Window, x: Execution) -> list[Action]:
    """Return the orders and cancels that bring the pair towards its target, hedge first."""
    actions: list[Action] = []
    rank = LEVEL_RANK[ob.kill_level]
    plan_hedge(ob, pair, window, x, actions)
    _plan_lead(ob, pair, window, x, rank, actions)
    return actions


def plan_hedge(ob: Obligations, pair: PairState, window: Window, x: Execution, out: list[Action]) -> None:
    """Ask for the hedge of what the lead has filled, unless one is live, unresolved or cannot be sent."""
    if pair.hedge_order is not None:
        return
    gap = hedge_gap(pair, window)
    if gap == 0 or ob.now < pair.hedge_retry_ns:
        return
    terms, book = window.hedge_terms, window.hedge
    if not hedge_tradable(ob, window):
        return
    grows = abs(pair.hedge.qty + gap) > abs(pair.hedge.qty)
    if grows and pair.unwind and lead_tradable(ob, window):
        return
    side = Side.BUY if gap > 0 else Side.SELL
    limit = crossing_limit(terms, book, side, x, pair.hedge_attempts)
    out.append(
        Ask("hedge", side, abs(gap), limit, TimeInForce.IOC, Purpose.HEDGE, reduces_net(ob, window, gap), False)
    )


def reduces_net(ob: Obligations, window: Window, gap: Decimal) -> bool:
    """Return whether reduce-only is safe: the venue net has the opposite sign and is at least as large."""
    terms = window.hedge_terms
    position = ob.silos[terms.venue].positions.get(terms.id)
    return position is not None and position.qty * gap < 0 and abs(gap) <= abs(position.qty)


def crossing_limit(terms: Instrument, book: Book, side: Side, x: Execution, attempts: int) -> Decimal:
    """Return the limit of a marketable order: through the touch by a step per fruitless attempt, up to the collar.

    The collar counts from the mid, as the gate's does: an order it would refuse is never asked for, so that in a wide
    book attempts go on, fruitless if they must be, and the ladder reaches its end.
    """
    through, collar = (x.cross_bp + x.step_bp * attempts) * 1e-4, x.collar_bp * 1e-4
    if side is Side.BUY:
        return to_price(terms, min(book.ask * (1.0 + through), book.mid * (1.0 + collar)), Rounding.DOWN)
    return to_price(terms, max(book.bid * (1.0 - through), book.mid * (1.0 - collar)), Rounding.UP)


def lead_tradable(ob: Obligations, window: Window) -> bool:
    """Return whether the lead's venue answers and its session is open with a two-sided book."""
    return (
        ob.silos[window.lead_terms.venue].up
        and window.lead_session.open_at(ob.now)
        and window.lead.two_sided
    )


def hedge_tradable(ob: Obligations, window: Window) -> bool:
    """Return whether the hedge's venue answers and its session is open with a two-sided book."""
    return (
        ob.silos[window.hedge_terms.venue].up
        and window.hedge_session.open_at(ob.now)
        and window.hedge.two_sided
    )


def wanted_lead(pair: PairState, window: Window, rank: int) -> Decimal:
    """Return the lead lots wanted now: the target, 0 under FLATTEN, or what is hedged while unwinding."""
    if rank >= FLATTEN:
        return ZERO
    return hedged_lots(pair, window) if pair.unwind else pair.target


def hedged_lots(pair: PairState, window: Window) -> Decimal:
    """Return the lead lots that have a hedge now, signed, to the nearest lot and never more than are held: what an unwind leaves."""
    hedged = -delta_coins(window.hedge_terms, pair.hedge) / (pair.hedge_ratio or 1)
    if hedged * pair.lead.qty <= 0:
        return ZERO
    lots = round_qty(window.lead_terms, hedged / window.lead_terms.unit, Rounding.NEAREST)
    return lots if abs(lots) < abs(pair.lead.qty) else pair.lead.qty


def _plan_lead(
    ob: Obligations, pair: PairState, window: Window, x: Execution, rank: int, out: list[Action]
) -> None:
    """Ask for the next clip of the lead, or withdraw a resting one that is no longer wanted."""
    held = pair.lead.qty
    gap = wanted_lead(pair, window, rank) - held
    opening = gap * held >= 0 and gap != 0
    if pair.lead_order is not None:
        order = ob.orders[pair.lead_order]
        reason = _withdraw_reason(ob, pair, window, x, order, gap, rank)
        if reason and order.cancel_ns == 0 and order.status is OrderStatus.WORKING:
            out.append(Withdraw(order.spec.client_id, reason))
        return
    if gap == 0 or ob.now < pair.lead_retry_ns or not lead_tradable(ob, window):
        return
    if pair.hedge_order is not None or (out and not pair.unwind):
        return  # `out`: a hedge that leaves now is as live; it answers the fills so far, not those of another clip
    if opening and (not may_open(ob, pair, rank) or not window.fresh or not premium_holds(pair, window)):
        return
    room = abs(gap) if opening else min(abs(gap), abs(held))  # a close never crosses zero
    room = min(room, _lots_movable(ob, pair, window, x, opening))
    clip = clip_lots(window, x, gap > 0, "lead" if pair.unwind or not hedge_tradable(ob, window) else "")
    qty = min(room, clip if opening else max(clip, Decimal(1)))
    if qty == 0:
        return
    out.append(_lead_ask(pair, window, x, Side.BUY if gap > 0 else Side.SELL, qty, opening))


def _lead_ask(
    pair: PairState, window: Window, x: Execution, side: Side, qty: Decimal, opening: bool
) -> Ask:
    """Return the lead order: at its own touch on the first rung of a passive opening, else crossing."""
    terms, book = window.lead_terms, window.lead
    purpose = Purpose.UNWIND if pair.unwind else Purpose.LEAD
    if opening and pair.intent is not None and pair.intent.passive and pair.lead_attempts == 0:
        touch = book.bid if side is Side.BUY else book.ask
        limit = to_price(terms, touch, Rounding.DOWN if side is Side.BUY else Rounding.UP)
        return Ask("lead", side, qty, limit, TimeInForce.DAY, purpose, False, True)
    limit = crossing_limit(terms, book, side, x, 0 if opening else pair.lead_attempts)
    return Ask("lead", side, qty, limit, TimeInForce.IOC, purpose, False, opening)


def _lots_movable(ob: Obligations, pair: PairState, window: Window, x: Execution, opening: bool) -> Decimal:
    """Return the lead lots that may move now: any when the hedge can follow and the fills so far are hedged.

    An unwind goes ahead unhedged. While the hedge cannot trade, a close is confined to what is naked anyway: the rest
    would leave the other leg naked, so it holds until both can trade.
    """
    if pair.unwind:
        return abs(pair.lead.qty)
    open_coins = unhedged_coins(pair, window)
    if hedge_tradable(ob, window) or not (pair.hedge_ratio or pair.hedge.qty):
        return NO_BOUND if abs(float(open_coins)) <= x.unhedged_coins_max else ZERO
    if opening or open_coins * pair.lead.qty <= 0:
        return ZERO
    return round_qty(window.lead_terms, abs(open_coins) / window.lead_terms.unit, Rounding.DOWN)


def may_open(ob: Obligations, pair: PairState, rank: int) -> bool:
    """Return whether openings of this pair are allowed at all."""
    return rank == 0 and ob.ready and not ob.halted and not pair.frozen and not pair.unwind and pair.armed


def premium_holds(pair: PairState, window: Window) -> bool:
    """Return whether the executable premium still pays: at or above the intent's floor, in its direction."""
    intent = pair.intent
    if intent is None or intent.min_premium_bp is None:
        return True
    stable, index = window.stable_usd, window.index_usd
    if stable <= 0.0 or index <= 0.0 or not window.fresh:
        return False
    if pair.target > 0:
        premium = window.hedge.bid * stable - window.lead.ask
    else:
        premium = window.lead.bid - window.hedge.ask * stable
    return premium / index * 1e4 >= intent.min_premium_bp


def clip_lots(window: Window, x: Execution, buying: bool, alone: str = "") -> Decimal:
    """Return the largest clip: configured lots, and a share of the depth shown on both books (>= 1 lot if any).

    buying: the lead's side. alone: the leg that moves without the other, so that its depth counts by itself.
    """
    lead_depth = sum(size for _, size in window.lead.levels(buying))
    hedge_depth = sum(size for _, size in window.hedge.levels(not buying))
    if window.hedge_terms.inverse:
        hedge_depth /= max(window.hedge.mid, 1.0)
    hedge_as_lots = hedge_depth * window.hedge_unit / window.lead_unit
    depth = lead_depth if alone == "lead" else hedge_as_lots if alone == "hedge" else min(lead_depth, hedge_as_lots)
    if depth < 1.0:
        return ZERO
    return Decimal(max(1, int(min(x.clip_lots, depth * x.clip_depth_share))))


def _withdraw_reason(
    ob: Obligations, pair: PairState, window: Window, x: Execution, order: Order, gap: Decimal, rank: int
) -> str:
    """Return why a live lead order should be cancelled, "" to leave it."""
    spec = order.spec
    if spec.tif is TimeInForce.IOC:
        closes = rank >= FLATTEN and gap * spec.side.sign > 0
        return "kill" if rank >= CANCEL and not closes else ""
    if gap * spec.side.sign <= 0:
        return "target changed"
    if not may_open(ob, pair, rank):
        return "openings stopped"
    if not premium_holds(pair, window):
        return "edge gone"
    if ob.now - order.sent_ns >= x.passive_ns:
        return "rested too long"
    touch = window.lead.bid if spec.side is Side.BUY else window.lead.ask
    if (touch - float(spec.limit)) * spec.side.sign > 0:
        return "repriced"
    return ""


def leg_of(window: Window, ask: Ask) -> tuple[Instrument, Book]:
    """Return the terms and the book of the leg an ask is about."""
    return (window.lead_terms, window.lead) if ask.leg == "lead" else (window.hedge_terms, window.hedge)


def order_spec(ob: Obligations, window: Window, ask: Ask) -> OrderSpec:
    """Return the order that an ask becomes, with the next id: minted from journalled counters, so a replay mints the same."""
    terms, _ = leg_of(window, ask)
    return OrderSpec(
        client_id=client_id(ob.mode, ob.run, ask.purpose, ob.next_order), pair=window.pair, venue=terms.venue, instrument=terms.id,
        side=ask.side, qty=ask.qty, limit=ask.limit, tif=ask.tif, purpose=ask.purpose, reduce_only=ask.reduce_only,
    )  # fmt: skip
