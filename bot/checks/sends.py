"""Orders as they are about to leave: I6, I8, I10 and I13 to I17 for openings, I10 and I20 for every order."""

from __future__ import annotations

from collections import deque

import msgspec

from bot.checks.record import S_NS, Record
from bot.checks.twins import ZERO, Legs
from bot.engine import assess
from bot.engine.pair import FLATTEN
from bot.engine.step import Step
from bot.engine.watch import PairLoop
from bot.model import event as ev
from bot.model.command import Submit
from bot.model.event import LEVEL_RANK
from bot.model.ids import ClientId, InstrumentId
from bot.model.instrument import Instrument
from bot.model.order import OrderSpec
from risk import counterparty, flow, gate, margin
from risk.verdict import Refusal

MINUTE_NS = 60 * S_NS
TICK_BP = 0.5
"""I10: a limit is a whole tick; this much of a rounding is no breach of the collar."""
AT_WORST = (
    ("I8", flow.position_limit), ("I14", counterparty.venue_caps), ("I14", counterparty.stable_cap), ("I14", counterparty.jump_to_default),
    ("I13", margin.initial), ("I13", margin.stress),
)  # fmt: skip
"""Rules that judge what an opening leads to; they must still hold when it leaves, not only when it was approved."""


class Sends:
    """Judge of one desk's orders. openings: how many were seen."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.openings = 0
        self._sent: deque[int] = deque()
        self._opened: deque[int] = deque()

    def judge(self, command: Submit) -> None:
        """Judge one order; hedges and reductions meet the price band and the way to zero alone."""
        r, spec = self.record, command.order
        ob, loop, legs = r.engine.ob, r.loops[spec.pair], r.legs[spec.pair]
        terms = loop.window.hedge_terms if spec.instrument == loop.state.terms.hedge else loop.window.lead_terms
        self._closes(spec, loop, legs)
        self._price(spec, terms)
        self._sent.append(ob.now)
        if terms is loop.window.hedge_terms:
            legs.idle_ns = 0
        if not command.opening:
            return
        self.openings += 1
        self._flow(spec, loop)
        lots = abs(legs.lead + spec.side.sign * r.orders[spec.client_id].leaves)
        if lots > abs(loop.state.target) or lots > r.engine.limits.pair_lots_max:
            r.broken("I8", ob.now, f"{spec.client_id}: {lots} lots at worst, target {loop.state.target}, cap {r.engine.limits.pair_lots_max}")
        if lots > legs.plan:
            r.broken("I16", ob.now, f"{spec.client_id}: {lots} lots at worst, the trade was planned for {legs.plan}")
        self._allowed(spec.client_id, loop)
        self._sound(spec.client_id, loop)
        self._worst(spec, loop, int(lots))

    def approved(self, out: Step) -> None:
        """I8: an approval is what the gate says of the same facts, asked again at the approved size. I16: the first one is the plan."""
        r = self.record
        for e in out.events:
            if not isinstance(e, ev.TargetSet):
                continue
            loop, legs = r.loops[e.pair], r.legs[e.pair]
            if legs.flat:
                legs.plan = abs(e.intent.target_lead)
            if abs(e.target_lead) <= abs(loop.state.lead.qty):
                continue
            if abs(e.target_lead) > abs(e.intent.target_lead) or e.target_lead * e.intent.target_lead < 0:
                r.broken("I8", e.ts, f"{e.pair}: asked for {e.intent.target_lead} lots, approved {e.target_lead}")
            asked = msgspec.structs.replace(e.intent, target_lead=e.target_lead)
            again = gate.review(assess.opening(r.engine.ob, loop.state, loop.window, r.engine.desk, asked), r.engine.limits)
            if isinstance(again, Refusal):
                r.broken("I8", e.ts, f"{e.pair} approved for {e.target_lead} lots against {again.rule} {again.observed:.6g} / {again.limit:.6g}")

    def _closes(self, spec: OrderSpec, loop: PairLoop, legs: Legs) -> None:
        """I20: what may only close is on the other side of what is held, and no larger; its fills are watched too."""
        r = self.record
        leg, held = ("hedge", legs.hedge) if spec.instrument == loop.state.terms.hedge else ("lead", legs.lead)
        flat = leg == "lead" and LEVEL_RANK[r.engine.ob.kill_level] >= FLATTEN
        if leg in loop.state.out or flat:
            r.orders[spec.client_id].closing = True
            if held * spec.side.sign >= 0 or spec.qty > abs(held):
                r.broken("I20", r.engine.ob.now, f"{spec.client_id} {spec.side} {spec.qty} on {held} {leg} at {r.engine.ob.kill_level} {r.engine.ob.evacuate}")

    def _price(self, spec: OrderSpec, terms: Instrument) -> None:
        """I10: no order is priced worse for us than the mid by more than the collar."""
        r, book = self.record, self.record.engine.books[spec.instrument]
        mid = 0.5 * (book.bid + book.ask)
        worse_bp = (float(spec.limit) / mid - 1.0) * 1e4 * spec.side.sign if mid > 0.0 else float("inf")
        if not worse_bp <= r.engine.limits.collar_bp + TICK_BP:
            r.broken("I10", r.engine.ob.now, f"{spec.client_id} {spec.side} at {spec.limit}, {worse_bp:.1f} bp through the mid {mid:g}")
        if spec.qty <= 0 or spec.qty % terms.lot:
            r.broken("I10", r.engine.ob.now, f"{spec.client_id} of {spec.qty} is not in whole lots of {terms.lot}")

    def _flow(self, spec: OrderSpec, loop: PairLoop) -> None:
        """I10: size of an opening and rates of the last minute, counted here."""
        r = self.record
        now, limits = r.engine.ob.now, r.engine.limits
        size = float(spec.qty) * float(loop.window.lead_terms.unit) * loop.window.lead.ask
        if size > limits.order_notional_usd_max * 1.001 or spec.qty > limits.clip_lots_max:
            r.broken("I10", now, f"{spec.client_id} is {spec.qty} lots worth {size:.0f} USD")
        self._opened.append(now)
        for times, most, what in ((self._sent, limits.orders_minute_max, "orders"), (self._opened, limits.openings_minute_max, "openings")):
            while times[0] <= now - MINUTE_NS:
                times.popleft()
            if len(times) > most:
                r.broken("I10", now, f"{spec.client_id} is one of {len(times)} {what} within a minute")

    def _allowed(self, client_id: ClientId, loop: PairLoop) -> None:
        """I17 and I8: nothing that stops openings is in force."""
        r, state = self.record, loop.state
        ob = r.engine.ob
        if r.level is not ev.KillLevel.NONE or ob.kill_level is not ev.KillLevel.NONE:
            r.broken("I17", ob.now, f"{client_id} opens at {r.level}, the desk says {ob.kill_level}")
        for bad in (ob.halted, "" if ob.ready else ob.cause, state.frozen, "unwinding" if state.unwind else "", "" if state.armed else "disarmed"):
            if bad:
                r.broken("I8", ob.now, f"{client_id} opens while: {bad}")

    def _sound(self, client_id: ClientId, loop: PairLoop) -> None:
        """I15, from the books and the calendar themselves."""
        r, engine, w = self.record, self.record.engine, loop.window
        now, limits = engine.ob.now, engine.limits
        for terms, book, age_s in ((w.lead_terms, w.lead, limits.lead_age_s_max), (w.hedge_terms, w.hedge, limits.hedge_age_s_max)):
            if not (0.0 < book.bid < book.ask and book.bid_size > 0.0 and book.ask_size > 0.0):
                r.broken("I15", now, f"{client_id} opens on {terms.id} {book.bid} x {book.bid_size} / {book.ask} x {book.ask_size}")
            if not abs(now - book.venue_ts) <= age_s * S_NS:
                r.broken("I15", now, f"{client_id} opens on {terms.id} {(now - book.venue_ts) / S_NS:.1f} s old")
            if not engine.sessions.is_open(terms.id, now)[0]:
                r.broken("I15", now, f"{client_id} opens while {terms.id} is closed")
            if not engine.ob.silos[terms.venue].up:
                r.broken("I15", now, f"{client_id} opens while {terms.venue} is down")
            if not engine.contacts[terms.venue].reconciled:
                r.broken("I15", now, f"{client_id} opens while {terms.venue} is not reconciled")
        if abs(w.lead.venue_ts - w.hedge.venue_ts) > limits.skew_s_max * S_NS:
            r.broken("I15", now, f"{client_id} opens on books {abs(w.lead.venue_ts - w.hedge.venue_ts) / S_NS:.1f} s apart")
        if w.stable is not None and not (w.stable.mid > 0.0 and now - w.stable.venue_ts <= limits.stable_age_s_max * S_NS):
            r.broken("I15", now, f"{client_id} opens with the stablecoin unknown or {(now - w.stable.venue_ts) / S_NS:.0f} s old")

    def _worst(self, spec: OrderSpec, loop: PairLoop, lots: int) -> None:
        """I6, I8, I13, I14: worst-case exposure as the gate sees it equals this record's, and every cap holds at it."""
        r, engine, state = self.record, self.record.engine, loop.state
        if state.intent is None:
            r.broken("I8", engine.ob.now, f"{spec.client_id} opens without an intent")
            return
        x = assess.opening(engine.ob, state, loop.window, engine.desk, state.intent)
        for leg in (x.lead, x.hedge):
            sign = x.direction if leg is x.lead else -x.direction
            working = sum((r.orders[c].leaves for c in r.live if self._on(c, leg.terms.id, sign)), ZERO)
            worst = float(r.net.get(leg.terms.id, ZERO) + sign * working)
            if abs(worst - leg.worst_qty) > 1e-9:
                r.broken("I6", engine.ob.now, f"{leg.terms.id}: the gate sees {leg.worst_qty} at worst, filled + working + UNKNOWN is {worst}")
        x = msgspec.structs.replace(x, lots=lots)
        for invariant, rule in AT_WORST:
            refusal = rule(x, engine.limits)
            if refusal is not None:
                what = f"{spec.client_id} to {lots} lots: {refusal.rule} {refusal.observed:.6g} against {refusal.limit:.6g}"
                r.broken(invariant, engine.ob.now, what)

    def _on(self, client_id: ClientId, instrument: InstrumentId, sign: int) -> bool:
        spec = self.record.orders[client_id].spec
        return spec.instrument == instrument and spec.side.sign == sign
