"""What must be answered in time: an unhedged delta (I9), a spent margin buffer (I13), an order of unknown fate (I22)."""

from __future__ import annotations

from bot.checks.record import S_NS, Record
from bot.checks.twins import Legs
from bot.engine.assess import leg_state, settle_usd, silo_state
from bot.engine.pair import FLATTEN, hedge_gap, hedge_tradable, lead_tradable, unhedged_coins
from bot.engine.watch import PairLoop
from bot.model.event import LEVEL_RANK
from bot.model.ids import PairId
from bot.model.instrument import maintenance_margin
from bot.model.order import OrderStatus
from risk.request import equity_in_quote, value_of

ALERT_SLACK_NS = S_NS
"""I9: the budget's time is looked at by a timer, so its breach is told this much later at most (250 ms steps, and latency)."""
IDLE_NS = 2 * S_NS
"""I9: longest time in which a delta over budget may be left without an attempt although one could be made."""
REDUCE_NS = 2 * S_NS
"""I13: longest time in which a pair may keep its target after a silo's equity fell below maintenance plus buffer."""
RESOLVE_NS = 60 * S_NS
"""I22: longest time in which an order may stay unknown while its venue answers."""


def unhedged(record: Record, pair: PairId, legs: Legs) -> None:
    """I9: a delta over budget for longer than its time has an alert, and an attempt whenever one can be made."""
    engine, loop = record.engine, record.loops[pair]
    ob, limits, w, state = engine.ob, engine.limits, loop.window, loop.state
    now = ob.now
    coins = unhedged_coins(state, w) if w.hedge_terms.inverse else record.open_coins(pair)
    if abs(float(coins)) <= limits.unhedged_coins_max:
        legs.since_ns = legs.idle_ns = 0
        legs.told = False
        return
    if legs.since_ns == 0:
        legs.since_ns = now
        return
    lasted = now - legs.since_ns
    if lasted > limits.unhedged_s_max * S_NS + ALERT_SLACK_NS and not legs.told and not state.frozen:
        legs.told = True
        record.broken("I9", now, f"{pair}: {coins} coins unhedged for {lasted / S_NS:.1f} s without an alert")
    waiting = state.hedge_order is not None or state.lead_order is not None or now < max(state.hedge_retry_ns, state.lead_retry_ns)
    able = hedge_tradable(ob, w) and hedge_gap(state, w) != 0
    if state.out or state.unwind:  # what is owed is the close of the leg that is naked, where it trades
        able = lead_tradable(ob, w) if coins * legs.lead > 0 else hedge_tradable(ob, w)
    if waiting or not able:
        legs.idle_ns = 0
    elif legs.idle_ns == 0:
        legs.idle_ns = now
    elif now - legs.idle_ns > IDLE_NS:
        record.broken("I9", now, f"{pair}: {coins} coins unhedged, nothing sent for {(now - legs.idle_ns) / S_NS:.1f} s although the venue trades")
        legs.idle_ns = now


def buffered(record: Record, pair: PairId, legs: Legs) -> None:
    """I13: while a silo's equity is below maintenance plus buffer the pair does not keep its target.

    Worked out afresh at every mark, without the rooms by which the desk's monitors save themselves a look.
    """
    engine, loop = record.engine, record.loops[pair]
    ob, state = engine.ob, loop.state
    reducing = state.target == 0 or state.unwind or bool(state.out) or LEVEL_RANK[ob.kill_level] >= FLATTEN
    if legs.flat or reducing or state.entry is None or not _spent(record, loop):
        legs.margin_ns = 0
    elif legs.margin_ns == 0:
        legs.margin_ns = ob.now
    elif ob.now - legs.margin_ns > REDUCE_NS:
        record.broken("I13", ob.now, f"{pair}: a margin buffer is spent since {(ob.now - legs.margin_ns) / S_NS:.1f} s, target still {state.target}")
        legs.margin_ns = ob.now


def _spent(record: Record, loop: PairLoop) -> bool:
    engine, w = record.engine, loop.window
    ob, desk, limits = engine.ob, engine.desk, engine.limits
    if w.lead.mid <= 0.0 or w.hedge.mid <= 0.0 or settle_usd(w) <= 0.0:
        return False  # not priced: nobody can tell
    for terms, book, session in ((w.lead_terms, w.lead, w.lead_session), (w.hedge_terms, w.hedge, w.hedge_session)):
        silo = silo_state(ob.silos[terms.venue], desk, terms)
        leg = leg_state(ob, terms, book, session, loop.state, 1, desk.terms)
        value = abs(value_of(leg, leg.net_qty))
        own = maintenance_margin(terms, value) * silo.margin_multiple if value else 0.0
        floor = own + silo.other_maintenance + limits.margin_buffer_share * (value + silo.other_notional)
        if 0.0 < floor and equity_in_quote(silo, leg) < floor:
            return True
    return False


def resolved(record: Record) -> None:
    """I22: no order stays unknown for long while its venue can be asked."""
    ob = record.engine.ob
    for client_id in record.live:
        twin = record.orders[client_id]
        if twin.status is not OrderStatus.UNKNOWN or not ob.silos[twin.spec.venue].up:
            twin.unknown_ns = 0
        elif twin.unknown_ns == 0:
            twin.unknown_ns = ob.now
        elif ob.now - twin.unknown_ns > RESOLVE_NS:
            record.broken("I22", ob.now, f"{client_id} unknown for {(ob.now - twin.unknown_ns) / S_NS:.0f} s while {twin.spec.venue} answers")
            twin.unknown_ns = ob.now
