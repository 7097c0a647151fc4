"""The engine: one event in, what was decided and what should be sent out. Synchronous, no clock, no I/O.

A quote only moves a book, feeds the strategies of its pairs and costs the monitors a comparison; everything else
folds into obligations and lets monitors, supervision and planner react.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from bot.engine import assess, flatten, fold, supervise, unasked
from bot.engine.evacuate import plan
from bot.engine.obligations import Obligations
from bot.engine.observations import Session, Window, outdated, read
from bot.engine.pair import Action, Ask, Execution, hedge_gap, hedge_tradable, hedged_lots, lead_tradable, leg_of, order_spec, restless
from bot.engine.watch import PairLoop, hedges
from bot.market.book import inside
from bot.model import event as ev
from bot.model.command import Cancel, Command, Submit
from bot.model.event import NEVER, Severity
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument
from bot.model.intent import EntryDeclined, PairIntent
from bot.model.market import Book
from bot.model.ports import SessionSource, Strategy
from bot.model.unready import Unready
from risk import flow, gate
from risk.limits import Limits
from risk.verdict import Refusal, Rule

REFUSAL_HOLD_NS = 1_000_000_000
"""A refused opening is not judged again within this time: the answer would be the same and the journal longer."""

PRICE_MAX = 1e12

BOOK_FACTS = frozenset({ev.MarkPrice, ev.FundingRate, ev.BookDepth})  # nothing is decided on them

MOVES_MONEY = frozenset({ev.RunStarted, ev.OrderFilled, ev.FundingPaid, ev.CashBooked, ev.VenueStatus, ev.KillSet})
"""Facts after which every monitor takes a full look; after others it does so only if prices or time stirred it."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """What one event led to: decisions to journal, then commands to dispatch."""

    events: tuple[ev.Event, ...] = ()
    commands: tuple[Command, ...] = ()


NOTHING = Step()


class Engine:
    """Owns both halves of the state.

    due_ns: when a Timer must come (silence, retries). look_ns: from when on the next event should be preceded by one
    Timer, for the monitors of exposed pairs; between events nothing they judge can change but time.
    """

    def __init__(
        self, ob: Obligations, terms: dict[InstrumentId, Instrument], sessions: SessionSource,
        strategies: dict[str, tuple[Strategy, Any]], limits: Limits, execution: Execution,
        stable_of: dict[str, InstrumentId],
    ) -> None:  # fmt: skip
        self.ob = ob
        self.terms = terms
        self.sessions = sessions
        self.limits = limits
        self.x = execution
        self.books = {i: Book(i) for i in terms}
        self.desk = assess.Desk(terms, self.books, stable_of)
        opens = {i: Session(i, sessions) for i in terms}
        ages = (int(limits.lead_age_s_max * 1e9), int(limits.hedge_age_s_max * 1e9))
        self.loops = [
            PairLoop(p, Window(p, terms, self.books, opens, ages), *strategies[p.terms.strategy])
            for _, p in sorted(ob.pairs.items())
        ]
        self._of = {
            i: (b, tuple((x, x.on_event, x.memory, x.window, x.watch) for x in self.loops if i in (x.state.terms.lead, x.state.terms.hedge)))
            for i, b in self.books.items()
        }
        self.contacts = {v: supervise.Contact(v) for v in ob.silos}
        self._events: list[ev.Event] = []
        self._commands: list[Command] = []
        self._day_until_ns = 0
        self._alarm = flatten.Alarm()
        self.due_ns = 0
        self.look_ns = NEVER
        self._restless = False
        self._stale_looks = True

    def step(self, event: ev.Event) -> Step:
        """Take one event and return what it led to."""
        kind = type(event)
        if kind is ev.Quote:
            return self.on_quote(event)  # type: ignore[arg-type]
        if kind is ev.Timer:
            return self.on_timer(event.ts)
        if kind in BOOK_FACTS:
            self._observe(event)  # type: ignore[arg-type]
            return NOTHING
        fold.apply(self.ob, self.terms, event)
        if kind in MOVES_MONEY:
            self._stale_looks = True
        if kind is ev.VenueSnapshot:
            supervise.reconcile(self.ob, self.contacts, event, self._emit)  # type: ignore[arg-type]
            if assess.note_margin(self.desk, event):  # type: ignore[arg-type]
                self._stale_looks = True
        elif kind is ev.OrderFilled:
            judge = unasked.overfilled if event.client_id else unasked.adopt  # type: ignore[union-attr]
            for decision in judge(self.ob, event):  # type: ignore[arg-type]
                self._emit(decision)
            for loop, ask in hedges(self.ob, self.loops, self.x):
                self._act(loop, ask)
            if self._commands:  # the monitors look next: they take longer than all the rest
                self.due_ns = self.ob.now
                return self._taken()
        elif kind is ev.OrderEnded:
            supervise.rejected(self.ob, event, self.x, self._emit)  # type: ignore[arg-type]
        elif kind is ev.VenueStatus:
            supervise.lost(self.ob, self.contacts[event.venue], self._emit)  # type: ignore[union-attr]
        elif kind is ev.RunStarted or kind is ev.KillSet:
            for contact in self.contacts.values():
                contact.reset()
            if kind is ev.KillSet and self.ob.ready:
                self._emit(ev.ReadySet(ts=self.ob.now, ready=False, cause="not reconciled since the kill level was set", kind=Unready.KILL_LEVEL))
        return self._react()

    def on_timer(self, now: int) -> Step:
        """Let time act; when nothing is due and no monitor is stirred this costs a few comparisons."""
        self.ob.now = now
        if now < self.due_ns and not self._restless:
            for loop in self.loops:
                if loop.watch.active and loop.watch.stirred(now):
                    break
            else:
                self.look_ns = now + self.x.timer_ns
                return NOTHING
        return self._react()

    def on_quote(self, q: ev.Quote) -> Step:
        """Move a book; ask its strategies; compare stop levels."""
        bid, ask = q.bid, q.ask
        book, loops = self._of[q.instrument]
        if q.venue_ts <= book.venue_ts and outdated(book, q):
            return NOTHING
        if not 0.0 < bid <= ask < PRICE_MAX:  # NaN fails every comparison
            book.bid_size = book.ask_size = 0.0
            return NOTHING
        self.ob.now = now = q.ts
        book.ts = now
        book.venue_ts = q.venue_ts
        book.bid = bid
        book.ask = ask
        book.bid_size = q.bid_size
        book.ask_size = q.ask_size
        book.mid = 0.5 * (bid + ask)
        acted = False
        for loop, on_event, memory, window, watch in loops:
            window.now = now
            intent = on_event(memory, window, q)
            if intent is not None and self._wish(loop, intent):
                acted = True
            if watch.awake and self._watch(loop):
                acted = True
        return self._react() if acted else NOTHING

    def _watch(self, loop: PairLoop) -> bool:
        """Compare the stop levels of an open pair and the re-arm condition of a disarmed one; return whether one acted."""
        acted = False
        if loop.watch.active:
            stop = loop.watch.on_quote(self.limits)
            if stop is not None and loop.state.target != 0:
                self._stop(loop, stop)
                acted = True
        if not loop.state.armed and loop.rearms(loop.memory, loop.window):
            self._emit(ev.Rearmed(ts=self.ob.now, pair=loop.window.pair))
            acted = True
        return acted

    def _observe(self, event: ev.MarkPrice | ev.FundingRate | ev.BookDepth) -> None:
        """Note a mark, a funding estimate, or the depth that an order of ours could reach."""
        self.ob.now = event.ts
        book = self.books[event.instrument]
        if isinstance(event, ev.MarkPrice):
            book.mark, book.index, book.mark_ts = event.mark, event.index, event.ts
        elif isinstance(event, ev.BookDepth):
            book.bids, book.asks = (inside(levels, book.mid, self.x.collar_bp) for levels in (event.bids, event.asks))
            book.depth_ts = event.ts
        else:
            book.funding_rate, book.funding_interval_s = event.rate, event.interval_s
            book.funding_stamp_ns, book.funding_cap, book.funding_ts = event.stamp_ns, event.cap, event.ts
            for *_, watch in self._of[event.instrument][1]:
                watch.look_ns = 0  # the funding budget forecasts from the estimate

    def _emit(self, event: ev.Event) -> None:
        """Decide something: it is folded at once and journalled before any command leaves."""
        fold.apply(self.ob, self.terms, event)
        self._events.append(event)

    def _wish(self, loop: PairLoop, intent: PairIntent | EntryDeclined) -> bool:
        """Judge an intent; return whether anything was decided. Reductions pass, openings meet the gate."""
        pair, now = loop.state, self.ob.now
        if isinstance(intent, EntryDeclined):
            self._emit(intent)
            return True
        if intent.target_lead == pair.target:
            return False
        held = pair.lead.qty
        if abs(intent.target_lead) <= abs(held) and intent.target_lead * held >= 0:
            self._emit(ev.TargetSet(ts=now, pair=pair.terms.id, intent=intent, target_lead=intent.target_lead))
            return True
        if now - loop.refused_ns < REFUSAL_HOLD_NS or not pair.armed:
            return False
        self._day()  # the gate counts losses from it
        verdict = gate.review(assess.opening(self.ob, pair, loop.window, self.desk, intent), self.limits)
        if isinstance(verdict, Refusal):
            loop.refused_ns = now
            self._emit(ev.Refused(ts=now, pair=pair.terms.id, rule=verdict.rule, observed=verdict.observed, limit=verdict.limit))
            return True
        loop.approved_ns = now
        self._emit(ev.TargetSet(ts=now, pair=pair.terms.id, intent=intent, target_lead=Decimal(verdict.lots).copy_sign(intent.target_lead)))
        return True

    def _stop(self, loop: PairLoop, why: Refusal) -> None:
        pair = loop.state.terms.id
        self._emit(ev.StopTripped(ts=self.ob.now, pair=pair, rule=why.rule, observed=why.observed, limit=why.limit))
        self._alert(Severity.WARN, f"stop.{why.rule}", f"{pair}: {why.observed:.2f} against {why.limit:.2f}; closing")

    def _alert(self, severity: Severity, code: str, text: str) -> None:
        self._emit(ev.Alert(ts=self.ob.now, severity=severity, code=code, text=text))

    def _react(self) -> Step:
        """Let day change, supervision, monitors and planner act on what is known now."""
        ob = self.ob
        if ob.started_ns:
            self._day()
            supervise.orders(ob, self.x, self._emit, self._commands)
            supervise.venues(ob, self.contacts, self.x, self._commands)
            for loop in self.loops:
                loop.window.now = ob.now
                loop.watch.arm(loop.state, self.limits)
            exposed = sum(loop.watch.active for loop in self.loops)
            for loop in self.loops:
                if loop.watch.active:
                    self._monitor(loop, exposed)
                elif loop.state.frozen:
                    self._thaw(loop)
            self._stale_looks = False
            self._act_on_plans()
            alarm = self._alarm.look(ob, self.contacts, ((loop.state, loop.window) for loop in self.loops), self.x)
            if alarm:
                self._alert(Severity.CRIT, "kill.residual", alarm)
        self.due_ns = self._next_due()
        self._restless = any(restless(ob, loop.state) for loop in self.loops)
        exposed = self._restless or any(loop.watch.active for loop in self.loops)
        self.look_ns = ob.now + self.x.timer_ns if exposed else NEVER
        return self._taken()

    def _taken(self) -> Step:
        """Take what was decided and what should be sent, with the books that orders were made of."""
        if not self._events and not self._commands:
            return NOTHING
        if any(isinstance(c, Submit) for c in self._commands):
            self._events.insert(0, ev.BooksRead(ts=self.ob.now, books=tuple(read(b) for b in self.books.values())))
        step = Step(tuple(self._events), tuple(self._commands))
        self._events.clear()
        self._commands.clear()
        return step

    def _act_on_plans(self) -> None:
        """Carry out what every pair's planner asks for: what gets flatter first, then openings, each in order of pair."""
        asked = [(loop, action) for loop in self.loops for action in plan(self.ob, loop.state, loop.window, self.x)]
        if len(asked) > 1:
            asked.sort(key=lambda x: isinstance(x[1], Ask) and x[1].opening)
        for loop, action in asked:
            self._act(loop, action)

    def _day(self) -> None:
        """Open a trade date: daily loss counts from here."""
        if self.ob.now < self._day_until_ns or not assess.priced(self.ob, self.desk):
            return
        label, self._day_until_ns = self.sessions.trade_date(self.ob.now)
        if label != self.ob.trade_date:
            nav = assess.nav_usd(self.ob, self.desk)
            self._emit(ev.DayStarted(ts=self.ob.now, trade_date=label, nav_usd=nav, peak_usd=max(nav, self.ob.peak_usd)))
            self._stale_looks = True

    def _monitor(self, loop: PairLoop, exposed: int) -> None:
        """Run the slow rules of an open pair: stops, margin, funding budget, unhedged budget and ladder's end."""
        ob, pair, now = self.ob, loop.state, self.ob.now
        ended = unhedged = None
        if self._stale_looks or loop.watch.stirred(now):
            ended, unhedged = loop.watch.look(ob, pair, self.desk, self.limits, exposed)
            for severity, text in loop.watch.warnings:
                self._alert(severity, "margin.low", f"{pair.terms.id}: {text}")
        if ended is not None and pair.target != 0:
            self._stop(loop, ended)
        if unhedged is not None and not pair.frozen:
            self._emit(ev.Frozen(ts=now, pair=pair.terms.id, on=True, reason=unhedged.rule))
            self._alert(Severity.CRIT, "pair.unhedged", f"{pair.terms.id}: {unhedged.rule} {unhedged.observed:.1f} over {unhedged.limit:.1f}")
        else:
            self._thaw(loop)
        if pair.out:
            return  # neither leg waits for the other there, so the ladder has no end
        gap = hedge_gap(pair, loop.window)
        done = hedged_lots(pair, loop.window) == pair.lead.qty
        if pair.unwind and done and pair.lead_order is None:
            self._emit(ev.UnwindSet(ts=now, pair=pair.terms.id, on=False, reason="hedged"))
        elif not pair.unwind and not done and gap != 0 and pair.hedge_order is None and lead_tradable(ob, loop.window):
            if pair.hedge_attempts >= self.x.hedge_attempts:
                self._emit(ev.UnwindSet(ts=now, pair=pair.terms.id, on=True, reason=f"{pair.hedge_attempts} hedge attempts failed"))
            elif unhedged is not None and not hedge_tradable(ob, loop.window):
                self._emit(ev.UnwindSet(ts=now, pair=pair.terms.id, on=True, reason="unhedged over budget and the hedge cannot be traded"))

    def left(self) -> tuple[flatten.Residual, ...]:
        """Return what is left before the kill level in force is confirmed, with causes and the delta that is naked meanwhile."""
        return flatten.explained(self.ob, self.contacts, ((loop.state, loop.window) for loop in self.loops))

    def _thaw(self, loop: PairLoop) -> None:
        """Let a pair frozen for its unhedged delta open again once it is hedged, or flat."""
        pair = loop.state
        if pair.frozen in (Rule.UNHEDGED_TIME, Rule.UNHEDGED_USD_S) and loop.watch.since_ns == 0 and pair.hedge_order is None:
            self._emit(ev.Frozen(ts=self.ob.now, pair=pair.terms.id, on=False, reason="hedged again"))

    def _act(self, loop: PairLoop, action: Action) -> None:
        """Turn a planned action into a durable intent and a command, or into a refusal."""
        ob, now = self.ob, self.ob.now
        if not isinstance(action, Ask):
            spec = ob.orders[action.client_id].spec
            self._emit(ev.CancelIntended(ts=now, client_id=action.client_id, reason=action.reason))
            self._commands.append(Cancel(spec.venue, spec.instrument, spec.client_id))
            return
        window = loop.window
        terms, book = leg_of(window, action)
        spec = order_spec(ob, window, action)
        others = tuple(s for s in (ob.orders[c].spec for c in ob.live) if s.instrument == terms.id and s.side is not spec.side)
        refusal = flow.collar(spec, terms, book.bid, book.ask, others, action.opening, len(self.desk.sent), self.limits)
        if refusal is None and action.opening and loop.approved_ns != now:
            refusal = self._still_approved(loop, action)
        if refusal is not None:
            if now - loop.refused_ns >= REFUSAL_HOLD_NS:
                loop.refused_ns = now
                self._emit(ev.Refused(ts=now, pair=window.pair, rule=refusal.rule, observed=refusal.observed, limit=refusal.limit))
            return
        self._emit(
            ev.OrderIntended(ts=now, order=spec, lead_mid=window.lead.mid, hedge_mid=window.hedge.mid,
                             stable=window.stable_usd, index_usd=window.index_usd)
        )  # fmt: skip
        self.desk.sent.append(now)
        if action.opening:
            self.desk.openings.append(now)
        self._commands.append(Submit(spec, action.opening))

    def _still_approved(self, loop: PairLoop, ask: Ask) -> Refusal | None:
        """Judge a clip again as it leaves: prices have moved since its target was approved."""
        pair, intent = loop.state, loop.state.intent
        if intent is None:
            return None
        wish = msgspec.structs.replace(intent, target_lead=pair.lead.qty + ask.qty * ask.side.sign)
        verdict = gate.review(assess.opening(self.ob, pair, loop.window, self.desk, wish), self.limits)
        if isinstance(verdict, Refusal):
            return verdict
        short = abs(wish.target_lead) - verdict.lots
        return Refusal(verdict.shrunk_by or Rule.ZERO_SIZE, float(abs(wish.target_lead)), float(verdict.lots)) if short > 0 else None

    def _next_due(self) -> int:
        """Return the earliest time at which something must be done without a new event."""
        ob = self.ob
        due = min(supervise.due_ns(ob, self.contacts, self.x), self._alarm.due_ns)
        for loop in self.loops:
            pair = loop.state
            for order, retry_ns in ((pair.lead_order, pair.lead_retry_ns), (pair.hedge_order, pair.hedge_retry_ns)):
                if order is None and retry_ns > ob.now:
                    due = min(due, retry_ns)
            if loop.watch.since_ns:
                due = min(due, ob.now + self.x.timer_ns)
        return max(due, ob.now + 1)
