"""Follows one contract of a screen: from a signal that may open a trade to the moment when nothing is on any more.

The desk's record is kept by folding the same events as in the engine, so that strategy, gate and monitors read what they
always read; what is different is everything between a decision and its fill (see bot.backtest.screen).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal

from bot.backtest.feed import OBTAINABLE_NS
from bot.backtest.play import MODE, PAIR, Purse, purse_of, remembering
from bot.backtest.screen_fills import Fills, Followed, offered
from bot.backtest.screen_signals import Books, Seen, Strip, pair_of, recall, show
from bot.config import Settings
from bot.engine import assess
from bot.engine.fold import apply
from bot.engine.obligations import Obligations, PairState, fresh
from bot.engine.observations import Window
from bot.engine.pair import Ask, clip_lots, crossing_limit, hedge_gap, may_open, order_spec, premium_holds
from bot.engine.watch import Watch
from bot.model import event as ev
from bot.model.intent import PairIntent
from bot.model.market import Book
from bot.model.order import OrderSpec, Outcome, Purpose, Side, TimeInForce
from bot.sim.book import fill_price
from bot.sim.listing import Listing
from risk import flow, gate
from risk.verdict import Refusal
from strategies.convergence import Convergence, flat, held, leave
from strategies.convergence_params import ConvergenceParams
from strategies.excess import Memory


class Walk:
    """The desk of one contract in one trial."""

    def __init__(
        self, one: Strip, settings: Settings, p: ConvergenceParams, rows: Sequence[Seen | None], purse: Purse, before: Obligations | None,
        number: int, found: Followed,
    ) -> None:  # fmt: skip
        self.one, self.limits, self.x, self.rows, self.found = one, settings.limits, settings.execution, rows, found
        venues = tuple(dict.fromkeys((one.legs.lead.venue, one.legs.hedge.venue)))
        self.ob = remembering(fresh(number, MODE, (pair_of(one),), venues), before)
        opening: tuple[ev.Event, ...] = (
            ev.RunStarted(ts=one.track.from_ns, run=number, mode=MODE, cash=purse),
            *(ev.VenueStatus(ts=one.track.from_ns, venue=v, up=True, reason="screen") for v in venues),
            ev.ReadySet(ts=one.track.from_ns, ready=True, cause="screen"),
        )
        for event in opening:
            apply(self.ob, one.terms, event)
        self.state: PairState = self.ob.pairs[PAIR]
        self.books: Books = {i: Book(i) for i in one.terms}
        ages = (int(settings.limits.lead_age_s_max * 1e9), int(settings.limits.hedge_age_s_max * 1e9))
        self.window = Window(self.state, one.terms, self.books, one.sessions, ages)
        self.desk = assess.Desk(one.terms, self.books, one.stable_of)
        self.watch = Watch(self.window)
        self.strategy = Convergence(one.legs.lead, one.legs.hedge, one.legs.stable)
        self.memory: Memory = self.strategy.start(p)
        self.met = {i: Listing(one.terms[i]) for i in (one.legs.lead.id, one.legs.hedge.id)}
        self.order: OrderSpec | None = None
        self.arrive_ns = self.look_ns = self.day_until_ns = 0
        self.rate: ev.FundingRate | None = None
        self.fills = Fills(one, self.ob, self.window, self.desk, found)

    def run(self, wanted: Sequence[int]) -> None:
        """Follow the market from each wanted signal that finds nothing on; at the end mark what the data left open."""
        at = 0
        while (k := bisect_left(wanted, at)) < len(wanted):
            at = self._follow(wanted[k])
        self.fills.close(None)
        self.found.refusals.update(self.ob.refusals)

    def left(self) -> Purse:
        """Return the cash the next contract begins with."""
        return purse_of(self.ob, self.desk)

    def _follow(self, sample: int) -> int:
        """Pass the market on from a signal until nothing is on; return the number of the next signal."""
        one, lead, hedge = self.one, self.one.legs.lead.id, self.one.legs.hedge.id
        first = sample
        self.rate = one.rates[sample]
        if self.rate is not None:
            show(self.books, self.rate)
        for at in range(one.starts[sample], len(one.events)):
            e = one.events[at]
            self._before(e.ts)
            if type(e) is ev.Unseen:
                self.met[e.quote.instrument].quote = e.quote
                if e.quote.instrument == lead:
                    self._meet(e.ts + 1)
            else:
                show(self.books, e)
                if type(e) is ev.FundingRate:
                    self.rate, self.watch.look_ns = e, 0
                elif type(e) is ev.Quote and e.instrument != self.one.legs.stable:
                    self.met[e.instrument].quote = e
                    self._quote(e, sample if e.instrument == hedge else None)
                    sample += e.instrument == hedge
            if sample > first and self.order is None and self.state.flat and self.state.armed and not self.state.target:
                return sample
        return len(one.starts)

    # Time.

    def _before(self, now: int) -> None:
        """Let a funding stamp and the monitors act before the market moves on."""
        rate = self.rate
        if rate is not None and rate.stamp_ns <= now:
            self.rate = None
            if rate.stamp_ns > rate.ts and self.state.hedge.qty:
                self.fills.fund(rate)
                self.watch.arm(self.state, self.limits)
                self._look(rate.stamp_ns)
        if self.watch.active and now >= self.look_ns:
            self.ob.now = self.window.now = now
            self._day(now)
            if self.watch.stirred(now):
                self._look(now)
            self.look_ns = now + self.x.timer_ns

    def _look(self, now: int) -> None:
        """Run the slow monitors; a stop closes."""
        self.window.now = now
        ended, _ = self.watch.look(self.ob, self.state, self.desk, self.limits, 1)
        if ended is not None and self.state.target:
            self._stop(now, ended)

    def _stop(self, now: int, why: Refusal) -> None:
        apply(self.ob, self.one.terms, ev.StopTripped(ts=now, pair=PAIR, rule=why.rule, observed=why.observed, limit=why.limit))
        self.watch.arm(self.state, self.limits)
        self.fills.leave(f"stop {why.rule}: {why.observed:.4g} against {why.limit:.4g}")
        self._send(now)

    def _day(self, now: int) -> None:
        """Open a trade date: daily loss counts from here."""
        if now < self.day_until_ns or not assess.priced(self.ob, self.desk):
            return
        label, self.day_until_ns = self.one.source.trade_date(now)
        if label != self.ob.trade_date:
            nav = assess.nav_usd(self.ob, self.desk)
            apply(self.ob, self.one.terms, ev.DayStarted(ts=now, trade_date=label, nav_usd=nav, peak_usd=max(nav, self.ob.peak_usd)))
            self.found.curve.append(self.found.made_usd + self.fills.open_usd())

    # Decisions.

    def _quote(self, e: ev.Quote, sample: int | None) -> None:
        """Let strategy and stops see a close; sample: number of the signal that it completes, None for its first close."""
        now = self.ob.now = self.window.now = e.ts
        intent = self._decide(now, sample)
        if intent is not None:
            self._wish(now, intent)
        if self.watch.active:
            stop = self.watch.on_quote(self.limits)
            if stop is not None and self.state.target:
                self._stop(now, stop)
        if not self.state.armed and self.strategy.rearms(self.memory, self.window):
            apply(self.ob, self.one.terms, ev.Rearmed(ts=now, pair=PAIR))

    def _decide(self, now: int, sample: int | None) -> PairIntent | None:
        memory, target = self.memory, self.state.target
        if target and now >= memory.exit_ns:
            return leave(memory, self.window, "exit window before the fixing")
        seen = None if sample is None else self.rows[sample]
        if seen is None:
            return None
        recall(memory, seen)
        if target:
            return held(memory, self.window, target)
        closing = bool(self.state.lead.qty)
        intent = flat(memory, self.window)
        worked_out = memory.edge_ns == now and not closing and memory.z * memory.direction >= memory.params.z_in
        self.found.over_hurdle += worked_out and memory.edge_bp >= memory.required_bp
        return intent if isinstance(intent, PairIntent) else None

    def _wish(self, now: int, intent: PairIntent) -> None:
        """Judge an intent: reductions pass, openings meet the gate."""
        state, qty = self.state, self.state.lead.qty
        if intent.target_lead == state.target:
            return
        target = intent.target_lead
        if not (abs(target) <= abs(qty) and target * qty >= 0):
            if not state.armed:
                return
            self._day(now)
            verdict = gate.review(assess.opening(self.ob, state, self.window, self.desk, intent), self.limits)
            if isinstance(verdict, Refusal):
                self._refused(now, verdict)
                return
            target = Decimal(verdict.lots).copy_sign(target)
        apply(self.ob, self.one.terms, ev.TargetSet(ts=now, pair=PAIR, intent=intent, target_lead=target))
        if target:
            self.fills.decided_ns = now
        else:
            self.fills.leave(intent.reason)
        self._send(now)

    def _refused(self, now: int, why: Refusal) -> None:
        apply(self.ob, self.one.terms, ev.Refused(ts=now, pair=PAIR, rule=why.rule, observed=why.observed, limit=why.limit))

    # Fills.

    def _send(self, now: int) -> None:
        """Send the lead's order for what is missing; it arrives at the next obtainable open."""
        if self.order is None:
            self.order = self._order(now)
            self.arrive_ns = self.one.arrival(now)

    def _order(self, now: int, *, rest: bool = False) -> OrderSpec | None:
        """Return the lead's next order, None when nothing is missing. rest: of an opening whose first clip was filled."""
        state, window = self.state, self.window
        gap = state.target - state.lead.qty
        if not gap:
            return None
        opening = gap * state.lead.qty >= 0 and state.target != 0
        qty = abs(gap)
        if opening and rest:
            if not (may_open(self.ob, state, 0) and window.fresh and premium_holds(state, window) and clip_lots(window, self.x, gap > 0)):
                return None
        elif opening and not (qty := min(qty, clip_lots(window, self.x, gap > 0))):
            return None
        side = Side.BUY if gap > 0 else Side.SELL
        limit = crossing_limit(window.lead_terms, window.lead, side, self.x, 0)
        spec = order_spec(self.ob, window, Ask("lead", side, qty, limit, TimeInForce.IOC, Purpose.LEAD, False, opening))
        if opening and not rest:
            refusal = flow.collar(spec, window.lead_terms, window.lead.bid, window.lead.ask, (), True, 0, self.limits)
            if refusal is not None:
                self._refused(now, refusal)
                return None
        self.fills.intend(now, spec)
        return spec

    def _meet(self, now: int) -> None:
        """Fill what has arrived at this open, hedge it, and go on as long as this open gives something."""
        if self.order is None or self.arrive_ns != now:
            return
        spec: OrderSpec | None = self.order
        self.order = None
        self.ob.now = self.window.now = now
        self._day(now)
        while spec is not None:
            took = self._execute(spec, now)
            if took and not self.state.flat:
                self._look(now)
            closing = abs(self.state.target) < abs(self.state.lead.qty)
            spec, self.order = self.order, None
            if spec is None and (took or closing):
                spec = self._order(now, rest=True)
            if spec is not None and not took:
                self.order, self.arrive_ns = spec, self.one.arrival(now - 2 + OBTAINABLE_NS)
                return

    def _execute(self, spec: OrderSpec, now: int) -> Decimal:
        """Fill one order of the lead with its hedge; return the lots."""
        lead, hedge = self.met[self.one.legs.lead.id], self.met[self.one.legs.hedge.id]
        qty = offered(lead, spec.side, spec.qty, now)
        if abs(self.state.target) > abs(self.state.lead.qty):
            per_lot = lead.instrument.unit / hedge.instrument.unit
            other_side = Side.SELL if spec.side is Side.BUY else Side.BUY
            qty = min(qty, offered(hedge, other_side, spec.qty * per_lot, now) // per_lot)
        if qty:
            self.fills.fill(lead, spec, qty, now)
        ended = Outcome.FILLED if qty == spec.qty else Outcome.CANCELLED
        apply(self.ob, self.one.terms, ev.OrderEnded(ts=now, client_id=spec.client_id, outcome=ended, cum_qty=qty))
        gap = hedge_gap(self.state, self.window)
        if gap:
            side = Side.BUY if gap > 0 else Side.SELL
            limit = fill_price(hedge.instrument, hedge.best(side, now), side)
            other = order_spec(self.ob, self.window, Ask("hedge", side, abs(gap), limit, TimeInForce.IOC, Purpose.HEDGE, False, False))
            self.fills.intend(now, other)
            self.fills.fill(hedge, other, abs(gap), now)
        self.watch.arm(self.state, self.limits)
        if self.state.flat:
            self.fills.close(now)
        return qty
