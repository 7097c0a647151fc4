"""The second record: every journalled event booked again by rules of its own (I3, I4, I5, I7, I11, I12, I19 are judged on the way)."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from bot.checks.twins import ZERO, Legs, Twin
from bot.engine.obligations import Obligations, PairState
from bot.engine.pair import FLATTEN
from bot.engine.step import Engine
from bot.engine.watch import PairLoop
from bot.model import event as ev
from bot.model.event import LEVEL_RANK, KillLevel
from bot.model.ids import ClientId, InstrumentId, PairId
from bot.model.notation import iso
from bot.model.order import Order, OrderStatus

S_NS = 1_000_000_000
KEPT = 200
"""Violations kept: the first ones say what happened."""
ORDERS_KEPT = 4_000
PAUSE_NS = 500_000_000
"""I12: an attempt that filled nothing is a reason for another one only after this time (bot.engine.fold.RETRY_NS, written again)."""

_SENT, _WORKING, _UNKNOWN = OrderStatus.SENT, OrderStatus.WORKING, OrderStatus.UNKNOWN
_CLOSING, _DONE = OrderStatus.CLOSING, OrderStatus.DONE


class Record:
    """Orders, positions and pairs as their events tell them. violations: one line each; count: how many there were."""

    def __init__(self, engine: Engine, whole: bool) -> None:
        """Begin with what the engine's record holds now; whole: as in Checks."""
        self.engine = engine
        self.violations: list[str] = []
        self.count = 0
        self.orders: dict[ClientId, Twin] = {}
        self.live: dict[ClientId, None] = {}
        self.legs: dict[PairId, Legs] = {}
        self.net: dict[InstrumentId, Decimal] = {}
        self.foreign: set[str] = set()
        self.loops: dict[PairId, PairLoop] = {loop.state.terms.id: loop for loop in engine.loops}
        ob = engine.ob
        self.level = ob.kill_level
        for client_id, o in ob.orders.items():
            self.orders[client_id] = Twin(spec=o.spec, status=o.status, filled=o.filled, reported=o.reported, execs=set(o.execs), sent_ns=o.sent_ns,
                                          not_found=o.not_found, not_found_ns=o.not_found_ns, late=not (o.live and whole) or _overtaken(ob, o))  # fmt: skip
        self.live.update(ob.live)
        for pair in ob.pairs.values():
            intent = pair.entry or pair.intent
            plan = abs(intent.target_lead) if intent is not None else ZERO
            self.legs[pair.terms.id] = Legs(lead=pair.lead.qty, hedge=pair.hedge.qty, plan=plan, unwinding=pair.unwind)
        for silo in ob.silos.values():
            self.foreign |= silo.foreign_execs
            self.net.update({i: p.qty for i, p in silo.positions.items()})

    def broken(self, invariant: str, ts: int, what: str) -> None:
        """Note a violation."""
        self.count += 1
        if len(self.violations) < KEPT:
            self.violations.append(f"{invariant} at {iso(ts)}: {what}")

    def fold(self, e: ev.Event, touched: set[ClientId]) -> None:
        """Book one event; `touched` gets the orders it was about."""
        if isinstance(e, ev.OrderFilled):
            touched.add(e.client_id)
            self._filled(e)
        elif isinstance(e, ev.OrderIntended):
            self._intended(e)
        elif isinstance(e, ev.OrderAccepted | ev.OrderEnded | ev.NoAnswer | ev.OrderNotFound | ev.AbsenceProven | ev.SendBlocked):
            touched.add(e.client_id)
            found = self.orders.get(e.client_id)
            if found is not None:
                self._moved(found, e)
        elif isinstance(e, ev.Allocated):
            self._move(self.legs[e.pair], self.loops[e.pair].state, e.instrument, e.qty)
            self._asked_anew(e.pair, e.ts)
        elif isinstance(e, ev.TargetSet | ev.StopTripped | ev.UnwindSet):
            self._asked_anew(e.pair, e.ts)
        elif isinstance(e, ev.FundingPaid):
            sign = -1 if e.rate > 0 else 1  # longs pay a rate above zero, shorts receive it
            if e.amount * e.qty * sign < 0:
                self.broken("I7", e.ts, f"{e.venue} booked {e.amount} {e.currency} of funding on {e.qty} at a rate of {e.rate}")
        elif isinstance(e, ev.CancelIntended):
            self.orders[e.client_id].late = True  # what fills from now on has raced its cancel
        elif isinstance(e, ev.KillSet):
            self._killed(e)
        elif isinstance(e, ev.RunStarted):
            self._started(e)
        elif isinstance(e, ev.Alert):
            if e.code == "pair.unhedged":
                for pair, legs in self.legs.items():
                    legs.told = legs.told or e.text.startswith(pair)

    def open_coins(self, pair: PairId) -> Decimal:
        """Return the unhedged coins of this record's own contracts (linear hedge)."""
        loop, legs = self.loops[pair], self.legs[pair]
        lead, hedge = loop.window.lead_terms, loop.window.hedge_terms
        return legs.lead * lead.unit * loop.state.hedge_ratio + legs.hedge * hedge.unit

    def _killed(self, e: ev.KillSet) -> None:
        """I19: only a resume lowers."""
        if e.level is not KillLevel.NONE and LEVEL_RANK[e.level] < LEVEL_RANK[self.level]:
            self.broken("I19", e.ts, f"level {self.level} lowered to {e.level} without a resume")
        self.level = e.level
        for pair in self.legs:
            self._asked_anew(pair, e.ts)

    def _started(self, e: ev.RunStarted) -> None:
        self.level = e.kill_level
        several = Counter(self.orders[client_id].spec.pair for client_id in self.live)
        for client_id in self.live:
            twin = self.orders[client_id]
            twin.late = twin.late or several[twin.spec.pair] > 1  # venues tell what happened meanwhile in any order
            twin.not_found = twin.not_found_ns = 0
            if twin.status in (_SENT, _WORKING):
                twin.status = _UNKNOWN
        for legs in self.legs.values():
            legs.owe(e.ts)

    def _intended(self, e: ev.OrderIntended) -> None:
        spec = e.order
        if spec.client_id in self.orders:
            self.broken("I3", e.ts, f"client id {spec.client_id} minted twice")
        for client_id in self.live:
            other = self.orders[client_id]
            if other.spec.pair == spec.pair and other.spec.instrument == spec.instrument:
                self.broken("R4 one live order per leg", e.ts, f"{spec.client_id} sent while {client_id} is {other.status}")
        self._reason(e)
        self.orders[spec.client_id] = Twin(spec=spec, sent_ns=e.ts)
        self.live[spec.client_id] = None
        if len(self.orders) > ORDERS_KEPT:
            for old in [c for c in self.orders if c not in self.engine.ob.orders and c not in self.live]:
                del self.orders[old]

    def _reason(self, e: ev.OrderIntended) -> None:
        """I12: orders out are no more than reasons for them, each answered by one order of a leg.

        Reasons are a fill, a new target, stop, unwind, kill level or start, and an attempt that filled nothing once it has waited. What an
        inverse hedge lacks moves with the price by itself.
        """
        spec, loop, legs = e.order, self.loops[e.order.pair], self.legs[e.order.pair]
        lead = spec.instrument == loop.state.terms.lead
        due = legs.lead_due_ns if lead else legs.hedge_due_ns
        if not 0 < due <= e.ts and not (loop.window.hedge_terms.inverse and not lead):
            since = f"its reason comes at {iso(due)}" if due else "nothing has happened since the last one"
            self.broken("I12", e.ts, f"{spec.client_id} {spec.side} {spec.qty} {spec.instrument}: {since}")
        if lead:
            legs.lead_due_ns = 0
        else:
            legs.hedge_due_ns = 0

    def _moved(self, twin: Twin, e: ev.Event) -> None:
        """Move one order along its declared states; UNKNOWN ends by evidence alone (I5)."""
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
                self.broken("I5", e.ts, f"{twin.spec.client_id} absent from {status} on {twin.not_found} answers over {since:.1f} s")
            twin.status = _DONE
        elif isinstance(e, ev.SendBlocked):
            if status is not _SENT:
                self.broken("I5", e.ts, f"{twin.spec.client_id} blocked from {status}")
            twin.status = _DONE
        if twin.status is _DONE:
            self._end(twin, e.ts)

    def _end(self, twin: Twin, ts: int) -> None:
        twin.late = True
        self.live.pop(twin.spec.client_id, None)
        if not twin.filled:
            lead = twin.spec.instrument == self.loops[twin.spec.pair].state.terms.lead
            self.legs[twin.spec.pair].owe(ts + PAUSE_NS, lead, not lead)

    def _asked_anew(self, pair: PairId, ts: int) -> None:
        """What is wanted of a pair has changed: fills of orders sent before answer the old question, and orders have a reason."""
        self._retire(pair)
        self.legs[pair].owe(ts)

    def _retire(self, pair: PairId) -> None:
        for client_id in self.live:
            twin = self.orders[client_id]
            twin.late = twin.late or twin.spec.pair == pair

    def _filled(self, e: ev.OrderFilled) -> None:
        twin = self.orders.get(e.client_id)
        if twin is not None and twin.status is _DONE and e.client_id not in self.engine.ob.orders:
            twin = None  # forgotten by design: quarantined as nobody's
        booked = self.foreign if twin is None else twin.execs
        if e.exec_id in booked:
            self.broken("I4", e.ts, f"execution {e.exec_id} of {e.client_id or 'nobody'} journalled twice")
            return
        booked.add(e.exec_id)
        signed = e.qty * e.side.sign
        self.net[e.instrument] = self.net.get(e.instrument, ZERO) + signed
        if twin is None:
            return
        twin.filled += e.qty
        goal = twin.spec.qty if twin.reported is None else twin.reported
        pair, legs = self.loops[twin.spec.pair], self.legs[twin.spec.pair]
        answers = not twin.late and twin.filled <= twin.spec.qty
        before = (legs.lead, legs.hedge, self.open_coins(twin.spec.pair))
        self._move(legs, pair.state, e.instrument, signed)
        legs.owe(e.ts)
        if answers and not pair.window.hedge_terms.inverse:
            self._toward(e, pair, legs, before[0], before[2])
        elif not answers and (e.instrument == pair.state.terms.lead or twin.filled > twin.spec.qty):
            self._retire(twin.spec.pair)  # a hedge on its way answers the fills before this one
        if answers and twin.closing:
            was, now = (before[0], legs.lead) if e.instrument == pair.state.terms.lead else (before[1], legs.hedge)
            if was * now < 0:
                self.broken("I20", e.ts, f"fill {e.exec_id} of {e.client_id} took {e.instrument} through zero: {was} -> {now}")
        if twin.status is not _DONE:
            twin.status = _DONE if twin.filled >= goal else _WORKING if twin.status is _SENT else twin.status
            if twin.status is _DONE:
                self._end(twin, e.ts)

    def _move(self, legs: Legs, state: PairState, instrument: InstrumentId, signed: Decimal) -> None:
        if instrument == state.terms.lead:
            legs.lead += signed
        else:
            legs.hedge += signed

    def _toward(self, e: ev.OrderFilled, loop: PairLoop, legs: Legs, lead: Decimal, coins: Decimal) -> None:
        """I11: a lead fill moves the lead toward what is wanted of it, a hedge fill never raises the unhedged delta, but by an evacuation."""
        state = loop.state
        if e.instrument != state.terms.lead:
            after = self.open_coins(state.terms.id)
            if abs(after) > abs(coins) and not (state.out and legs.hedge * e.side.sign <= 0):
                self.broken("I11", e.ts, f"hedge fill {e.exec_id} of {e.client_id}: unhedged {coins} -> {after} coins")
            return
        flat = legs.unwinding or LEVEL_RANK[self.engine.ob.kill_level] >= FLATTEN
        wanted = ZERO if flat else state.target
        if abs(legs.lead - wanted) >= abs(lead - wanted):
            self.broken("I11", e.ts, f"lead fill {e.exec_id} of {e.client_id}: {lead} -> {legs.lead} lots, wanted {wanted}")


def _overtaken(ob: Obligations, order: Order) -> bool:
    """Return whether an order in flight at a start answers a question of before: its pair has had other fills since it left."""
    return order.live and any(o.execs and o.ended_ns > order.sent_ns and o.spec.pair == order.spec.pair for o in ob.orders.values())
