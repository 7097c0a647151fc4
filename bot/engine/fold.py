"""Fold events into obligations: the only place that changes them, one small function per event type.

Replaying the journal through `apply` rebuilds the state of any moment, so nothing here may read a book, the clock
or anything else that is not in the event.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from bot.engine.obligations import ZERO, Obligations, PairState, Silo, set_level
from bot.engine.retold import forget_oldest, funding_ref, repeats
from bot.model import event as ev
from bot.model.ids import ClientId, InstrumentId
from bot.model.instrument import Instrument, notional
from bot.model.order import Order, OrderSpec, OrderStatus, Outcome, Trigger, advance, book_fill, end
from bot.model.position import Position, apply_fill

RETRY_NS = 500_000_000
"""Pause after an attempt that filled nothing, doubled per attempt up to RETRY_NS_MAX."""
RETRY_NS_MAX = 8_000_000_000

EDGE_GAPS_KEPT = 20
ONE = Decimal(1)

Terms = dict[InstrumentId, Instrument]
Handler = Callable[[Obligations, Terms, Any], None]


def apply(ob: Obligations, terms: Terms, event: ev.Event) -> None:
    """Fold one event; observations and events without effect on obligations only move `now`."""
    if event.ts > ob.now:
        ob.now = event.ts
    handler = HANDLERS.get(type(event))
    if handler is not None:
        handler(ob, terms, event)


def _run_started(ob: Obligations, terms: Terms, e: ev.RunStarted) -> None:
    if not ob.started_ns:
        ob.started_ns = e.ts
        for venue, cash in e.cash.items():
            ob.silos[venue].cash = dict(cash)
    ob.run = e.run
    set_level(ob, terms, e.kill_level, e.evacuate)
    ob.ready = False
    ob.cause = "recovering"
    for silo in ob.silos.values():
        silo.up, silo.down_ns = False, e.ts
    # Whatever was in flight when the last process ended is unknown until the venue says otherwise.
    for client_id in ob.live:
        order = ob.orders[client_id]
        order.asked_ns = order.not_found = order.not_found_ns = order.not_found_last_ns = 0
        if order.status in (OrderStatus.SENT, OrderStatus.WORKING):
            advance(order, Trigger.NO_ANSWER)


def _intended(ob: Obligations, terms: Terms, e: ev.OrderIntended) -> None:
    spec = e.order
    ob.orders[spec.client_id] = Order(spec=spec, sent_ns=e.ts)
    ob.live[spec.client_id] = None
    ob.next_order += 1
    pair = ob.pairs[spec.pair]
    pair.stable = Decimal(repr(e.stable))
    if spec.instrument == pair.terms.lead:
        pair.lead_order = spec.client_id
        if pair.flat:
            pair.entry_lead_mid, pair.entry_hedge_mid = e.lead_mid, e.hedge_mid
            pair.entry_stable, pair.entry_index = e.stable, e.index_usd
    else:
        pair.hedge_order = spec.client_id


def _cancel_intended(ob: Obligations, terms: Terms, e: ev.CancelIntended) -> None:
    order = ob.orders[e.client_id]
    order.cancel_ns = order.asked_ns = e.ts


def _accepted(ob: Obligations, terms: Terms, e: ev.OrderAccepted) -> None:
    order = ob.orders.get(e.client_id)
    if order is not None:
        if order.status is OrderStatus.UNKNOWN:
            order.cancel_ns = 0  # found working after silence: a cancel that was lost must be asked for again
        advance(order, Trigger.ACK)
        order.venue_order_id = e.venue_order_id
        order.not_found = order.not_found_ns = order.not_found_last_ns = 0


def _filled(ob: Obligations, terms: Terms, e: ev.OrderFilled) -> None:
    silo = ob.silos[e.venue]
    if repeats(ob, e):
        return
    order = ob.orders.get(e.client_id)
    ob.fills += 1
    silo.moved_ns = e.ts
    instrument = terms[e.instrument]
    signed = e.qty * e.side.sign
    realised = apply_fill(instrument, silo.positions.setdefault(e.instrument, Position()), signed, e.price)
    add_cash(silo, instrument.settle, realised)
    add_cash(silo, e.fee_currency, -e.fee)
    if order is None:
        silo.foreign_execs.add(e.exec_id)
        _set_aside(silo, e.instrument, signed)
        return
    order.execs = (*order.execs, e.exec_id)
    if not order.live:
        order.ended_ns = ob.now
    book_fill(order, e.qty)
    pair = ob.pairs[order.spec.pair]
    pair.result_usd -= e.fee * _usd(pair, instrument, e.fee_currency, e.price)
    _book_leg(ob, pair, instrument, signed, e.price, e.ts)
    _settle(ob, pair, order)


def _set_aside(silo: Silo, instrument: InstrumentId, signed: Decimal) -> None:
    """Add to what no order and no pair explains; nothing is left of what cancels out."""
    left = silo.unallocated.pop(instrument, ZERO) + signed
    if left:
        silo.unallocated[instrument] = left


def _usd(pair: PairState, instrument: Instrument, currency: str, price: Decimal) -> Decimal:
    """Return USD per unit of `currency`: coins at `price`, the stablecoin as it stood at the pair's last decision."""
    if currency == "USD":
        return ONE
    return price if instrument.inverse and currency == instrument.settle else pair.stable


def _book_leg(
    ob: Obligations, pair: PairState, instrument: Instrument, signed: Decimal, price: Decimal, ts: int
) -> None:
    """Move one leg of a pair by a fill and note the beginning or the end of its trade."""
    is_lead = instrument.id == pair.terms.lead
    leg = pair.lead if is_lead else pair.hedge
    was_flat = pair.flat
    realised = apply_fill(instrument, leg, signed, price)
    pair.result_usd += realised * _usd(pair, instrument, instrument.settle, price)
    if is_lead:
        pair.lead_attempts = 0
        pair.notional_usd = max(pair.notional_usd, abs(notional(instrument, leg.qty, price)))
    else:
        pair.hedge_attempts = 0
    if was_flat and not pair.flat:
        pair.entered_ns = ts
        pair.entry = pair.intent
        pair.opened += 1
    elif pair.flat and not was_flat:
        _close(ob, pair)


def _close(ob: Obligations, pair: PairState) -> None:
    """End the trade of a pair that has become flat: its result goes into the edge-decay record."""
    if pair.entry is not None and pair.notional_usd > 0:
        realised_bp = float(pair.result_usd / pair.notional_usd) * 1e4
        ob.edge_gaps_bp.append(realised_bp - pair.entry.edge_bp)
        del ob.edge_gaps_bp[:-EDGE_GAPS_KEPT]
    pair.closed += 1
    pair.entry = None
    pair.entered_ns = 0
    pair.funding = pair.result_usd = pair.notional_usd = ZERO
    if pair.unwind:
        _abandon(pair, ob.now)


def _abandon(pair: PairState, now: int) -> None:
    """End an unwind: what was wanted is given up and the pair stays disarmed, or it would fill and unwind again."""
    pair.unwind = False
    pair.target = pair.lead.qty
    pair.armed = False
    pair.disarmed_ns = now
    pair.hedge_attempts = 0


def _settle(ob: Obligations, pair: PairState, order: Order) -> None:
    """Release a pair's leg once its order is done; an attempt that filled nothing waits before the next."""
    if order.status is not OrderStatus.DONE:
        return
    spec = order.spec
    if spec.client_id in ob.live:
        del ob.live[spec.client_id]
        order.ended_ns = ob.now
    forget_oldest(ob)
    fruitless = order.filled == 0
    if pair.lead_order == spec.client_id:
        pair.lead_order = _other_live(ob, spec)
        if fruitless:
            pair.lead_attempts += 1
            pair.lead_retry_ns = ob.now + backoff_ns(pair.lead_attempts)
    elif pair.hedge_order == spec.client_id:
        pair.hedge_order = _other_live(ob, spec)
        if fruitless:
            pair.hedge_attempts += 1
            pair.hedge_retry_ns = ob.now + backoff_ns(pair.hedge_attempts)


def _other_live(ob: Obligations, spec: OrderSpec) -> ClientId | None:
    """Return another live order of the same leg: intents kept beside a failed journal come back several at once, their ends lost."""
    return next((c for c in ob.live if (other := ob.orders[c].spec).pair == spec.pair and other.instrument == spec.instrument), None)


def backoff_ns(attempts: int) -> int:
    """Return the pause after `attempts` consecutive fruitless tries.

    >>> backoff_ns(1), backoff_ns(9)
    (500000000, 8000000000)
    """
    return min(RETRY_NS << min(attempts - 1, 10), RETRY_NS_MAX)


def _ended(ob: Obligations, terms: Terms, e: ev.OrderEnded) -> None:
    order = ob.orders.get(e.client_id)
    if order is None or order.status is OrderStatus.DONE:
        return
    pair, rejected = ob.pairs[order.spec.pair], e.outcome is Outcome.REJECTED
    ob.rejects += rejected
    pair.rejected_row = pair.rejected_row + 1 if rejected else 0
    end(order, e.outcome, e.cum_qty, e.reason)
    if order.status is OrderStatus.CLOSING:
        order.asked_ns = max(order.asked_ns, e.ts)  # its last fills are on their way; silence is counted from here
    _settle(ob, pair, order)


def _no_answer(ob: Obligations, terms: Terms, e: ev.NoAnswer) -> None:
    order = ob.orders.get(e.client_id)
    if order is not None:
        advance(order, Trigger.NO_ANSWER)
        order.asked_ns = e.ts


def _not_found(ob: Obligations, terms: Terms, e: ev.OrderNotFound) -> None:
    order = ob.orders.get(e.client_id)
    if order is not None and order.live:
        order.not_found += 1
        order.not_found_ns = order.not_found_ns or e.ts
        order.not_found_last_ns = e.ts


def _absent(ob: Obligations, terms: Terms, e: ev.AbsenceProven) -> None:
    _finish(ob, e.client_id, Trigger.ABSENT, Outcome.ABSENT)


def _blocked(ob: Obligations, terms: Terms, e: ev.SendBlocked) -> None:
    _finish(ob, e.client_id, Trigger.DENIED, Outcome.DENIED)


def _finish(ob: Obligations, client_id: str, trigger: Trigger, outcome: Outcome) -> None:
    order = ob.orders[client_id]
    if order.live:
        advance(order, trigger)
        order.outcome = outcome
        _settle(ob, ob.pairs[order.spec.pair], order)


def _funding_paid(ob: Obligations, terms: Terms, e: ev.FundingPaid) -> None:
    silo = ob.silos[e.venue]
    if repeats(ob, e):
        return
    silo.bookings.add(funding_ref(e))
    add_cash(silo, e.currency, e.amount)
    if e.qty == 0:
        return
    for pair in ob.pairs.values():
        if pair.terms.hedge == e.instrument and pair.hedge.qty != 0:
            share = e.amount * pair.hedge.qty / e.qty
            pair.funding += share
            pair.result_usd += share * _usd(pair, terms[e.instrument], e.currency, Decimal(repr(e.mark)))


def _cash_booked(ob: Obligations, terms: Terms, e: ev.CashBooked) -> None:
    silo = ob.silos[e.venue]
    if not repeats(ob, e):
        silo.bookings.add(e.ref)
        add_cash(silo, e.currency, e.amount)


def add_cash(silo: Silo, currency: str, amount: Decimal) -> None:
    """Add `amount` (signed) to a silo's cash in `currency`."""
    silo.cash[currency] = silo.cash.get(currency, ZERO) + amount


def _venue_status(ob: Obligations, terms: Terms, e: ev.VenueStatus) -> None:
    silo = ob.silos[e.venue]
    silo.down_ns = e.ts if silo.up and not e.up else silo.down_ns
    silo.up = e.up


def _target_set(ob: Obligations, terms: Terms, e: ev.TargetSet) -> None:
    pair = ob.pairs[e.pair]
    pair.target = e.target_lead
    pair.hedge_ratio = e.intent.hedge_ratio
    pair.intent = e.intent
    pair.lead_attempts = pair.lead_retry_ns = 0
    if pair.flat:  # what hedged the last trade says nothing of the next
        pair.hedge_attempts = pair.hedge_retry_ns = 0


def _refused(ob: Obligations, terms: Terms, e: ev.Refused) -> None:
    ob.refusals[e.rule] = ob.refusals.get(e.rule, 0) + e.count


def _stopped(ob: Obligations, terms: Terms, e: ev.StopTripped) -> None:
    pair = ob.pairs[e.pair]
    pair.target = ZERO
    pair.armed = False
    pair.disarmed_ns = e.ts
    pair.lead_retry_ns = 0


def _rearmed(ob: Obligations, terms: Terms, e: ev.Rearmed) -> None:
    ob.pairs[e.pair].armed = True


def _unwind_set(ob: Obligations, terms: Terms, e: ev.UnwindSet) -> None:
    pair = ob.pairs[e.pair]
    pair.lead_retry_ns = 0
    if e.on:
        pair.unwind = True
    elif pair.unwind:
        _abandon(pair, e.ts)


def _frozen(ob: Obligations, terms: Terms, e: ev.Frozen) -> None:
    if e.pair:
        ob.pairs[e.pair].frozen = e.reason if e.on else ""
    else:
        ob.halted = e.reason if e.on else ""


def _commit_failed(ob: Obligations, terms: Terms, e: ev.CommitFailed) -> None:
    ob.halted = f"journal: {e.reason}"


def _ready_set(ob: Obligations, terms: Terms, e: ev.ReadySet) -> None:
    ob.ready = e.ready
    ob.cause = e.cause


def _kill_set(ob: Obligations, terms: Terms, e: ev.KillSet) -> None:
    """Raise the level, which only a resume lowers; that also clears what halted the desk and braked it: a person has given a reason."""
    ob.kill_id = e.kill_id
    if e.level is ev.KillLevel.NONE:
        ob.halted = ""
        ob.edge_gaps_bp.clear()
        for pair in ob.pairs.values():
            pair.rejected_row = 0
        set_level(ob, terms, e.level, ())
    else:
        set_level(ob, terms, max(ob.kill_level, e.level, key=ev.LEVEL_RANK.__getitem__), {*ob.evacuate, *e.evacuate})


def _allocated(ob: Obligations, terms: Terms, e: ev.Allocated) -> None:
    pair = ob.pairs[e.pair]
    instrument = terms[e.instrument]
    silo = ob.silos[instrument.venue]
    _set_aside(silo, e.instrument, -e.qty)
    _book_leg(ob, pair, instrument, e.qty, e.price, e.ts)


def _day_started(ob: Obligations, terms: Terms, e: ev.DayStarted) -> None:
    ob.trade_date = e.trade_date
    ob.day_start_usd = e.nav_usd
    ob.peak_usd = e.peak_usd


HANDLERS: dict[type, Handler] = {
    ev.RunStarted: _run_started,
    ev.OrderIntended: _intended,
    ev.CancelIntended: _cancel_intended,
    ev.OrderAccepted: _accepted,
    ev.OrderFilled: _filled,
    ev.OrderEnded: _ended,
    ev.NoAnswer: _no_answer,
    ev.OrderNotFound: _not_found,
    ev.AbsenceProven: _absent,
    ev.SendBlocked: _blocked,
    ev.FundingPaid: _funding_paid,
    ev.CashBooked: _cash_booked,
    ev.VenueStatus: _venue_status,
    ev.TargetSet: _target_set,
    ev.Refused: _refused,
    ev.StopTripped: _stopped,
    ev.Rearmed: _rearmed,
    ev.UnwindSet: _unwind_set,
    ev.Frozen: _frozen,
    ev.CommitFailed: _commit_failed,
    ev.DayStarted: _day_started,
    ev.ReadySet: _ready_set,
    ev.KillSet: _kill_set,
    ev.Allocated: _allocated,
}
