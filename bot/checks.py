"""Invariants of the desk, judged beside the loop from a second, independent record of what happened.

An observer that folds every journalled event again by its own few rules and compares: with the engine's record after
each step, and with the venues' own books when nothing is in flight. It decides nothing; a violation is one line naming
invariant, time and numbers. Quotes cost nothing, a step without orders about a microsecond, so it can stay on in paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from bot.engine import assess
from bot.engine.obligations import PairState
from bot.engine.pair import FLATTEN, hedge_gap, hedge_tradable, lead_tradable, unhedged_coins
from bot.engine.step import Engine, PairLoop, Step
from bot.journal.accounts import Accounts
from bot.model import event as ev
from bot.model.command import Submit
from bot.model.ids import ClientId, InstrumentId, PairId, VenueId
from bot.model.notation import iso
from bot.model.order import OrderSpec, OrderStatus
from bot.sim.exchange import Exchange
from bot.twins import ZERO, Legs, Twin
from risk import counterparty, flow, gate, margin
from risk.verdict import Refusal

S_NS = 1_000_000_000
ALERT_SLACK_NS = S_NS
"""I9: the budget's time is looked at by a timer, so its breach is told this much later at most (250 ms steps, and latency)."""
IDLE_NS = 2 * S_NS
"""I9: longest time in which a delta over budget may be left without an attempt although one could be made."""
DUST = Decimal("1e-9")
"""I7: an average cost is a quotient with endless digits, so fills booked in another order may leave less than this; money never does."""
KEPT = 200
"""Violations kept: the first ones say what happened."""
ORDERS_KEPT = 4_000

_SENT, _WORKING, _UNKNOWN = OrderStatus.SENT, OrderStatus.WORKING, OrderStatus.UNKNOWN
_CLOSING, _DONE = OrderStatus.CLOSING, OrderStatus.DONE
_AT_WORST = (flow.position_limit, counterparty.venue_caps, counterparty.stable_cap, counterparty.jump_to_default, margin.initial, margin.stress)
"""Rules that judge what an opening leads to; they must still hold when it leaves, not only when it was approved."""


class Checks:
    """Observer of one runtime (bot.runtime.Observer). violations: one line each; count: how many there were."""

    def __init__(self, engine: Engine) -> None:
        """Begin with what the engine's record holds now: a recovered desk is judged from its recovery on."""
        self.engine = engine
        self.violations: list[str] = []
        self.count = 0
        self.openings = 0
        self.orders: dict[ClientId, Twin] = {}
        self.live: dict[ClientId, None] = {}
        self.legs: dict[PairId, Legs] = {}
        self.net: dict[InstrumentId, Decimal] = {}
        self.foreign: set[str] = set()
        self._loops: dict[PairId, PairLoop] = {loop.state.terms.id: loop for loop in engine.loops}
        ob = engine.ob
        for client_id, o in ob.orders.items():
            self.orders[client_id] = Twin(spec=o.spec, status=o.status, filled=o.filled, reported=o.reported, execs=set(o.execs), sent_ns=o.sent_ns,
                                          not_found=o.not_found, not_found_ns=o.not_found_ns, late=not o.live)  # fmt: skip
        self.live.update(ob.live)
        for pair in ob.pairs.values():
            self.legs[pair.terms.id] = Legs(lead=pair.lead.qty, hedge=pair.hedge.qty)
        for silo in ob.silos.values():
            self.foreign |= silo.foreign_execs
            self.net.update({i: p.qty for i, p in silo.positions.items()})

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Judge one journalled step: its trigger, then its decisions in order, then the record it left."""
        touched: set[ClientId] = set()
        self._fold(event, touched)
        for decision in out.events:
            if isinstance(decision, ev.OrderEnded | ev.OrderFilled | ev.OrderAccepted):
                self._broken("I5", decision.ts, f"{type(decision).__name__} of {decision.client_id} decided without venue evidence")
            self._fold(decision, touched)
        if touched:
            self._orders_agree(touched)
        for command in out.commands:
            if isinstance(command, Submit):
                self._sends(command)
        if any(isinstance(d, ev.TargetSet) for d in out.events):
            self._targets(out)
        for pair, legs in self.legs.items():
            self._unhedged(pair, legs)

    def marked(self, now_ns: int) -> None:
        """Look at the unhedged clocks: silence is what a desk that forgot its hedge would leave."""
        for pair, legs in self.legs.items():
            self._unhedged(pair, legs)

    def _broken(self, invariant: str, ts: int, what: str) -> None:
        self.count += 1
        if len(self.violations) < KEPT:
            self.violations.append(f"{invariant} at {iso(ts)}: {what}")

    # The second record.

    def _fold(self, e: ev.Event, touched: set[ClientId]) -> None:
        """Book one event by this module's own rules (I4, I5, I11 are judged here, before and after each)."""
        if isinstance(e, ev.OrderFilled):
            touched.add(e.client_id)
            self._filled(e)
        elif isinstance(e, ev.OrderIntended):
            self._intended(e)
        elif isinstance(e, ev.Allocated):
            legs, loop = self.legs[e.pair], self._loops[e.pair]
            self._move(legs, loop.state, e.instrument, e.qty)
            self._retire(e.pair)
        elif isinstance(e, ev.TargetSet | ev.StopTripped | ev.UnwindSet):
            self._retire(e.pair)
        elif isinstance(e, ev.FundingPaid):
            sign = -1 if e.rate > 0 else 1  # longs pay a rate above zero, shorts receive it
            if e.amount * e.qty * sign < 0:
                self._broken("I7", e.ts, f"{e.venue} booked {e.amount} {e.currency} of funding on {e.qty} at a rate of {e.rate}")
        elif isinstance(e, ev.CancelIntended):
            self.orders[e.client_id].late = True  # what fills from now on has raced its cancel
        elif isinstance(e, ev.KillSet):
            for pair in self.legs:
                self._retire(pair)
        elif isinstance(e, ev.RunStarted):
            for client_id in self.live:
                twin = self.orders[client_id]
                twin.not_found = twin.not_found_ns = 0
                if twin.status in (_SENT, _WORKING):
                    twin.status = _UNKNOWN
        elif isinstance(e, ev.Alert):
            if e.code == "pair.unhedged":
                for pair, legs in self.legs.items():
                    legs.told = legs.told or e.text.startswith(pair)
        elif isinstance(e, ev.OrderAccepted | ev.OrderEnded | ev.NoAnswer | ev.OrderNotFound | ev.AbsenceProven | ev.SendBlocked):
            touched.add(e.client_id)
            found = self.orders.get(e.client_id)
            if found is not None:
                self._moved(found, e)

    def _intended(self, e: ev.OrderIntended) -> None:
        spec = e.order
        if spec.client_id in self.orders:
            self._broken("I3", e.ts, f"client id {spec.client_id} minted twice")
        for client_id in self.live:
            other = self.orders[client_id]
            if other.spec.pair == spec.pair and other.spec.instrument == spec.instrument:
                self._broken("R4 one live order per leg", e.ts, f"{spec.client_id} sent while {client_id} is {other.status}")
        self.orders[spec.client_id] = Twin(spec=spec, sent_ns=e.ts)
        self.live[spec.client_id] = None
        if len(self.orders) > ORDERS_KEPT:
            for old in [c for c in self.orders if c not in self.engine.ob.orders and c not in self.live]:
                del self.orders[old]

    def _moved(self, twin: Twin, e: ev.Event) -> None:
        """Move one order along its declared states; UNKNOWN ends by evidence alone."""
        status = twin.status
        if status is _DONE:
            if isinstance(e, ev.OrderEnded) and e.cum_qty > twin.filled:  # the venue counts fills we have not seen
                twin.reported, twin.status = e.cum_qty, _DONE
            return
        if isinstance(e, ev.OrderAccepted):
            twin.status = _CLOSING if status is _CLOSING else _WORKING
            twin.not_found = twin.not_found_ns = 0
        elif isinstance(e, ev.OrderEnded):
            twin.reported = e.cum_qty
            twin.status = _DONE if twin.filled >= e.cum_qty else _CLOSING
        elif isinstance(e, ev.NoAnswer):
            twin.status = _CLOSING if status is _CLOSING else _UNKNOWN
        elif isinstance(e, ev.OrderNotFound):
            twin.not_found += 1
            twin.not_found_ns = twin.not_found_ns or e.ts
        elif isinstance(e, ev.AbsenceProven):
            x = self.engine.x
            if status is not _UNKNOWN or twin.not_found < x.absent_answers or e.ts - twin.not_found_ns < x.absent_grace_ns:
                since = (e.ts - twin.not_found_ns) / S_NS
                self._broken("I5", e.ts, f"{twin.spec.client_id} absent from {status} on {twin.not_found} answers over {since:.1f} s")
            twin.status = _DONE
        elif isinstance(e, ev.SendBlocked):
            if status is not _SENT:
                self._broken("I5", e.ts, f"{twin.spec.client_id} blocked from {status}")
            twin.status = _DONE
        if twin.status is _DONE:
            self._end(twin)

    def _end(self, twin: Twin) -> None:
        twin.late = True
        self.live.pop(twin.spec.client_id, None)

    def _retire(self, pair: PairId) -> None:
        """What is wanted of a pair has changed: fills of orders sent before answer the old question."""
        for client_id in self.live:
            twin = self.orders[client_id]
            twin.late = twin.late or twin.spec.pair == pair

    def _filled(self, e: ev.OrderFilled) -> None:
        twin = self.orders.get(e.client_id)
        if twin is not None and twin.status is _DONE and e.client_id not in self.engine.ob.orders:
            twin = None  # forgotten by design: quarantined as nobody's
        booked = self.foreign if twin is None else twin.execs
        if e.exec_id in booked:
            self._broken("I4", e.ts, f"execution {e.exec_id} of {e.client_id or 'nobody'} journalled twice")
            return
        booked.add(e.exec_id)
        signed = e.qty * e.side.sign
        self.net[e.instrument] = self.net.get(e.instrument, ZERO) + signed
        if twin is None:
            return
        twin.filled += e.qty
        goal = twin.spec.qty if twin.reported is None else twin.reported
        pair, legs = self._loops[twin.spec.pair], self.legs[twin.spec.pair]
        answers = not twin.late and twin.filled <= twin.spec.qty
        before = (legs.lead, self._open_coins(pair, legs))
        self._move(legs, pair.state, e.instrument, signed)
        if answers and not pair.window.hedge_terms.inverse:
            self._toward(e, pair, legs, before)
        elif not answers and (e.instrument == pair.state.terms.lead or twin.filled > twin.spec.qty):
            self._retire(twin.spec.pair)  # a hedge on its way answers the fills before this one
        if twin.status is not _DONE:
            twin.status = _DONE if twin.filled >= goal else _WORKING if twin.status is _SENT else twin.status
            if twin.status is _DONE:
                self._end(twin)

    def _move(self, legs: Legs, state: PairState, instrument: InstrumentId, signed: Decimal) -> None:
        if instrument == state.terms.lead:
            legs.lead += signed
        else:
            legs.hedge += signed

    def _open_coins(self, loop: PairLoop, legs: Legs) -> Decimal:
        """Return the unhedged coins of this record's own contracts (linear hedge)."""
        lead, hedge = loop.window.lead_terms, loop.window.hedge_terms
        return legs.lead * lead.unit * loop.state.hedge_ratio + legs.hedge * hedge.unit

    def _toward(self, e: ev.OrderFilled, loop: PairLoop, legs: Legs, before: tuple[Decimal, Decimal]) -> None:
        """I11: a lead fill moves the lead toward what is wanted of it, a hedge fill never raises the unhedged delta."""
        state, (lead, coins) = loop.state, before
        if e.instrument != state.terms.lead:
            after = self._open_coins(loop, legs)
            if abs(after) > abs(coins):
                self._broken("I11", e.ts, f"hedge fill {e.exec_id} of {e.client_id}: unhedged {coins} -> {after} coins")
            return
        flat = state.unwind or ev.LEVEL_RANK[self.engine.ob.kill_level] >= FLATTEN
        wanted = ZERO if flat else state.target
        if abs(legs.lead - wanted) >= abs(lead - wanted):
            self._broken("I11", e.ts, f"lead fill {e.exec_id} of {e.client_id}: {lead} -> {legs.lead} lots, wanted {wanted}")

    # The two records compared, after each step.

    def _orders_agree(self, touched: set[ClientId]) -> None:
        """I4, I5, I6 and rule 6: same states, fills, leaves and positions in both records."""
        ob, now = self.engine.ob, self.engine.ob.now
        for client_id in sorted(touched):
            order, twin = ob.orders.get(client_id), self.orders.get(client_id)
            if order is None or twin is None:
                continue
            if order.status is not twin.status:
                self._broken("I5", now, f"{client_id} is {order.status}, the declared graph leads to {twin.status} (filled {twin.filled}, reported {twin.reported})")  # noqa: E501
            if order.filled != twin.filled:
                self._broken("I4", now, f"{client_id} has {order.filled} filled, its executions sum to {twin.filled}")
            if order.leaves != twin.leaves:
                self._broken("I6", now, f"{client_id} reserves {order.leaves}, worst case is {twin.leaves}")
        if ob.live.keys() != self.live.keys():
            self._broken("I6", now, f"live orders {sorted(ob.live)} against {sorted(self.live)}")
        for silo in ob.silos.values():
            for instrument, position in silo.positions.items():
                split = silo.unallocated.get(instrument, ZERO)
                for pair, legs in self.legs.items():
                    terms = self._loops[pair].state.terms
                    split += legs.lead if terms.lead == instrument else legs.hedge if terms.hedge == instrument else ZERO
                if not position.qty == split == self.net.get(instrument, ZERO):
                    self._broken("R6 net = pairs + unallocated", now, f"{instrument}: {position.qty} held, pairs and unallocated {split}, fills {self.net.get(instrument, ZERO)}")  # noqa: E501
        for pair, legs in self.legs.items():
            state = self._loops[pair].state
            if (state.lead.qty, state.hedge.qty) != (legs.lead, legs.hedge):
                self._broken("I4", now, f"{pair} holds {state.lead.qty}/{state.hedge.qty}, its fills sum to {legs.lead}/{legs.hedge}")

    # What leaves the desk.

    def _sends(self, command: Submit) -> None:
        """I6, I8, I15, I17 for an order that is about to leave; hedges and reductions meet none of these."""
        engine, spec = self.engine, command.order
        ob, loop = engine.ob, self._loops[spec.pair]
        if spec.instrument == loop.state.terms.hedge:
            self.legs[spec.pair].idle_ns = 0
        if not command.opening:
            return
        self.openings += 1
        now, state, limits = ob.now, loop.state, engine.limits
        lots = abs(self.legs[spec.pair].lead + spec.side.sign * self.orders[spec.client_id].leaves)
        if lots > abs(state.target) or lots > limits.pair_lots_max:
            self._broken("I8", now, f"{spec.client_id}: {lots} lots at worst, target {state.target}, cap {limits.pair_lots_max}")
        if ob.kill_level is not ev.KillLevel.NONE:
            self._broken("I17", now, f"{spec.client_id} opens at {ob.kill_level}")
        for bad in (ob.halted, "" if ob.ready else ob.cause, state.frozen, "unwinding" if state.unwind else "", "" if state.armed else "disarmed"):
            if bad:
                self._broken("I8", now, f"{spec.client_id} opens while: {bad}")
        self._sound(spec.client_id, loop)
        self._worst(spec, loop, int(lots))

    def _sound(self, client_id: ClientId, loop: PairLoop) -> None:
        """I15, from the books and the calendar themselves."""
        engine, w = self.engine, loop.window
        now, limits = engine.ob.now, engine.limits
        for terms, book, age_s in ((w.lead_terms, w.lead, limits.lead_age_s_max), (w.hedge_terms, w.hedge, limits.hedge_age_s_max)):
            if not (0.0 < book.bid < book.ask and book.bid_size > 0.0 and book.ask_size > 0.0):
                self._broken("I15", now, f"{client_id} opens on {terms.id} {book.bid} x {book.bid_size} / {book.ask} x {book.ask_size}")
            if not abs(now - book.venue_ts) <= age_s * S_NS:
                self._broken("I15", now, f"{client_id} opens on {terms.id} {(now - book.venue_ts) / S_NS:.1f} s old")
            if not engine.sessions.is_open(terms.id, now)[0]:
                self._broken("I15", now, f"{client_id} opens while {terms.id} is closed")
            if not engine.ob.silos[terms.venue].up:
                self._broken("I15", now, f"{client_id} opens while {terms.venue} is down")
            if not engine.contacts[terms.venue].reconciled:
                self._broken("I15", now, f"{client_id} opens while {terms.venue} is not reconciled")
        if abs(w.lead.venue_ts - w.hedge.venue_ts) > limits.skew_s_max * S_NS:
            self._broken("I15", now, f"{client_id} opens on books {abs(w.lead.venue_ts - w.hedge.venue_ts) / S_NS:.1f} s apart")
        if w.stable is not None and not (w.stable.mid > 0.0 and now - w.stable.venue_ts <= limits.stable_age_s_max * S_NS):
            self._broken("I15", now, f"{client_id} opens with the stablecoin unknown or {(now - w.stable.venue_ts) / S_NS:.0f} s old")

    def _worst(self, spec: OrderSpec, loop: PairLoop, lots: int) -> None:
        """I6 and I8: worst-case exposure as the gate sees it equals this record's, and every cap holds at it."""
        engine, state = self.engine, loop.state
        if state.intent is None:
            self._broken("I8", engine.ob.now, f"{spec.client_id} opens without an intent")
            return
        size = float(spec.qty) * float(loop.window.lead_terms.unit) * loop.window.lead.ask
        if size > engine.limits.order_notional_usd_max * 1.001:
            self._broken("I8", engine.ob.now, f"{spec.client_id} is worth {size:.0f} USD")
        if len(engine.desk.sent) > engine.limits.orders_minute_max and engine.desk.sent[-1 - engine.limits.orders_minute_max] > engine.ob.now - 60 * S_NS:
            self._broken("I8", engine.ob.now, f"{spec.client_id} is beyond the order rate")
        x = assess.opening(engine.ob, state, loop.window, engine.desk, state.intent)
        for leg in (x.lead, x.hedge):
            sign = x.direction if leg is x.lead else -x.direction
            working = sum((self.orders[c].leaves for c in self.live if self._on(c, leg.terms.id, sign)), ZERO)
            worst = float(self.net.get(leg.terms.id, ZERO) + sign * working)
            if abs(worst - leg.worst_qty) > 1e-9:
                self._broken("I6", engine.ob.now, f"{leg.terms.id}: the gate sees {leg.worst_qty} at worst, filled + working + UNKNOWN is {worst}")
        x = msgspec.structs.replace(x, lots=lots)
        for rule in _AT_WORST:
            refusal = rule(x, engine.limits)
            if refusal is not None:
                self._broken("I8", engine.ob.now, f"{spec.client_id} to {lots} lots: {refusal.rule} {refusal.observed:.6g} against {refusal.limit:.6g}")

    def _on(self, client_id: ClientId, instrument: InstrumentId, sign: int) -> bool:
        spec = self.orders[client_id].spec
        return spec.instrument == instrument and spec.side.sign == sign

    def _targets(self, out: Step) -> None:
        """I8: an approval is what the gate says of the same facts, asked again at the approved size."""
        engine = self.engine
        for e in out.events:
            if not isinstance(e, ev.TargetSet) or abs(e.target_lead) <= abs(self._loops[e.pair].state.lead.qty):
                continue
            loop = self._loops[e.pair]
            if abs(e.target_lead) > abs(e.intent.target_lead) or e.target_lead * e.intent.target_lead < 0:
                self._broken("I8", e.ts, f"{e.pair}: asked for {e.intent.target_lead} lots, approved {e.target_lead}")
            asked = msgspec.structs.replace(e.intent, target_lead=e.target_lead)
            again = gate.review(assess.opening(engine.ob, loop.state, loop.window, engine.desk, asked), engine.limits)
            if isinstance(again, Refusal):
                self._broken("I8", e.ts, f"{e.pair} approved for {e.target_lead} lots against {again.rule} {again.observed:.6g} / {again.limit:.6g}")

    # The unhedged clock.

    def _unhedged(self, pair: PairId, legs: Legs) -> None:
        """I9: a delta over budget for longer than its time has an alert, and an attempt whenever one can be made."""
        engine, loop = self.engine, self._loops[pair]
        ob, limits, w, state = engine.ob, engine.limits, loop.window, loop.state
        now = ob.now
        coins = unhedged_coins(state, w) if w.hedge_terms.inverse else self._open_coins(loop, legs)
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
            self._broken("I9", now, f"{pair}: {coins} coins unhedged for {lasted / S_NS:.1f} s without an alert")
        waiting = state.hedge_order is not None or state.lead_order is not None or now < max(state.hedge_retry_ns, state.lead_retry_ns)
        able = hedge_tradable(ob, w) and hedge_gap(state, w) != 0 and not state.unwind or state.unwind and lead_tradable(ob, w)
        if waiting or not able:
            legs.idle_ns = 0
        elif legs.idle_ns == 0:
            legs.idle_ns = now
        elif now - legs.idle_ns > IDLE_NS:
            self._broken("I9", now, f"{pair}: {coins} coins unhedged, nothing sent for {(now - legs.idle_ns) / S_NS:.1f} s although the venue trades")
            legs.idle_ns = now

    # Against the venues' own books, when nothing is in flight.

    def settled(self) -> bool:
        """Return whether nothing is in flight and every delta is within its budget."""
        return not self.live and all(legs.since_ns == 0 for legs in self.legs.values())

    def tie_out(self, exchanges: Mapping[VenueId, Exchange], books: Accounts) -> None:
        """I1, I3, I7: our fills and positions are the venues', our cash within dust. Call it at quiescence only."""
        ob = self.engine.ob
        for venue, exchange in exchanges.items():
            silo, now = ob.silos[venue], ob.now
            theirs = {(f.client_id, f.exec_id): f.qty for f in exchange.account.history if isinstance(f, ev.OrderFilled)}
            known = {c for c, t in self.orders.items() if t.spec.venue == venue}
            ours = {(c, x) for c in known for x in self.orders[c].execs}
            missing = sorted({key for key in theirs if key[0] in known} ^ ours)
            if missing:
                self._broken("I1", now, f"{venue}: executions on one side only: {missing[:3]}")
            positions = exchange.positions()
            for instrument in sorted({*positions, *silo.positions}):
                held, here = positions.get(instrument, ZERO), silo.positions.get(instrument)
                ledger = books.positions.get(instrument)
                if not held == (here.qty if here else ZERO) == (ledger.qty if ledger else ZERO):
                    self._broken("I1", now, f"{venue} {instrument}: venue {held}, desk {here and here.qty}, ledger {ledger and ledger.qty}")
            unasked = sorted(c for c in exchange.orders if c not in self.orders)
            if unasked and len(self.orders) < ORDERS_KEPT:
                self._broken("I3", now, f"{venue} has orders we never intended: {unasked[:3]}")
            booked = books.cash(venue)
            for currency in sorted({*silo.cash, *exchange.account.cash, *booked}):
                three = (silo.cash.get(currency, ZERO), booked.get(currency, ZERO), exchange.account.cash.get(currency, ZERO))
                if max(three) - min(three) > DUST:
                    self._broken("I7", now, f"{venue} {currency}: desk {three[0]}, ledger {three[1]}, venue {three[2]}")

