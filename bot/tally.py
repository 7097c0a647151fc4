"""Keeps score of a run beside the loop: attribution that sums, extremes, counters and the digest of every command.

It reads the engine's state after each journalled step and changes nothing. Whether a fill, payment or booking counted
is decided by the fold (duplicates do not); the tally only looks at whether the record moved.
"""

from __future__ import annotations

import hashlib
from math import isfinite

import msgspec

from bot.engine import assess
from bot.engine.obligations import PairState
from bot.engine.observations import Window
from bot.engine.pair import unhedged_coins
from bot.engine.step import Engine, Step
from bot.journal import codec
from bot.journal.attribution import CAPITAL_KINDS, LINES, Leg, Marks, PairAttribution, WalletAttribution
from bot.market.fair import cme_fair, years
from bot.model import event as ev
from bot.model.ids import ClientId, PairId
from bot.model.instrument import Instrument

UNHEDGED_NOISE = 1e-9
"""Coins: below the smallest lot there is nothing to hedge."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What a run achieved, USD unless the name says otherwise. margin_buffer_min: share of equity by venue."""

    pairs_opened: int
    pairs_closed: int
    fills: int
    rejects: int
    unknown_orders: int
    net_delta_base: float
    net_delta_max_base: float
    unhedged_usd_s_max: float
    equity_start_usd: float
    equity_end_usd: float
    pnl_usd: float
    attribution: dict[str, float]
    residual_usd: float
    refusals: dict[str, int]
    margin_buffer_min: dict[str, float]
    kill_level: str
    commands_sha256: str


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run as the command line promises it (USD, times ISO 8601 UTC)."""

    run_id: str
    mode: str
    seed: int
    market_from: str
    market_to: str
    events: int
    pairs_opened: int
    pairs_closed: int
    fills: int
    net_delta_base: float
    net_delta_max_base: float
    unhedged_usd_s_max: float
    pnl_usd: float
    equity_start_usd: float
    equity_end_usd: float
    attribution: dict[str, float]
    residual_usd: float
    funding_usd: float
    fees_usd: float
    refusals: dict[str, int]
    rejects: int
    unknown_orders: int
    invariant_violations: int
    margin_buffer_min: dict[str, float]
    kill_level: str
    commands_sha256: str
    journal_sha256: str


class PairTally:
    """One pair's attribution with the decision mids its orders were made on, and the running unhedged dollar-seconds."""

    def __init__(self, window: Window, state: PairState) -> None:
        self.window = window
        self.state = state
        self.lines = PairAttribution(window.lead_terms, window.hedge_terms)
        self.decided: dict[ClientId, float] = {}
        self.usd_s = 0.0
        self.open_coins = 0.0
        self.since_ns = 0

    def marks(self, now: int, carry: float) -> Marks:
        """Return what the pair is valued at now; an unknown index is replaced by the perp's own price."""
        window = self.window
        index = window.index_usd or window.hedge.mid * window.stable_usd
        expiry = window.lead_terms.expiry_ns
        fair = cme_fair(index, carry, years(now, expiry)) if expiry else index
        return Marks(now, window.lead.mid, window.hedge.mid, window.stable_usd, index, fair)

    def seen(self) -> bool:
        """Return whether what is held has been quoted: a mark alone values margin, not a pair."""
        held = ((self.state.lead, self.window.lead), (self.state.hedge, self.window.hedge))
        return all(book.mid > 0.0 for position, book in held if position.qty)

    def unhedged(self, now: int, tolerance: float) -> None:
        """Integrate |unhedged coins| x price over time while it is above the tolerance."""
        if self.open_coins > tolerance:
            self.usd_s += self.open_coins * self.window.lead.mid * (now - self.since_ns) * 1e-9
        else:
            self.usd_s = 0.0
        self.open_coins = abs(float(unhedged_coins(self.state, self.window)))
        self.since_ns = now


class Tally:
    """Observer of one runtime (bot.runtime.Observer). carry: the configured annual carry of the fair value lines."""

    def __init__(self, engine: Engine, carry: float) -> None:
        self.engine = engine
        self.carry = carry
        self.pairs: dict[PairId, PairTally] = {
            loop.state.terms.id: PairTally(loop.window, loop.state) for loop in engine.loops
        }
        self.wallets: dict[tuple[str, str], WalletAttribution] = {}
        self.equity_start = 0.0
        self.capital = 0.0
        self.started = False
        self.delta_max = self.usd_s_max = 0.0
        self.buffer_min: dict[str, float] = {}
        self.events = 0
        self._fills = 0
        self._bookings: dict[str, int] = {}
        self._sha = hashlib.sha256()
        self._before = (0, 0)

    def stepped(self, event: ev.Event, out: Step) -> None:
        """See one journalled step: its trigger first, then its decisions in order."""
        for command in out.commands:
            self._sha.update(codec.command_bytes(command))
        if not self.started:
            if self._start():  # what it begins with holds this whole step; only the mids its orders were decided on are news
                for decision in out.events:
                    if isinstance(decision, ev.OrderIntended):
                        self._seen(decision)
            return
        self._seen(event)
        for decision in out.events:
            self._seen(decision)

    def marked(self, now_ns: int) -> None:
        """Value margin at fresh marks."""
        if self.started or self._start():
            self._buffers()

    def _start(self) -> bool:
        """Begin once everything held has a price: the opening equity must not count the unknown as zero."""
        engine = self.engine
        ob, desk = engine.ob, engine.desk
        if not ob.started_ns or not assess.priced(ob, desk) or not all(pair.seen() for pair in self.pairs.values()):
            return False
        self.equity_start = assess.nav_usd(ob, desk)
        for silo in ob.silos.values():
            self._bookings[silo.venue] = len(silo.bookings)
            for currency, amount in silo.cash.items():
                if currency != "USD":
                    self.wallets[silo.venue, currency] = WalletAttribution(float(amount), desk.usd(currency))
        for pair in self.pairs.values():
            state, window = pair.state, pair.window
            pair.lines.adopt(
                state.lead.qty_f * window.lead_unit, state.hedge.qty_f * window.hedge_unit, state.hedge.avg_f,
                pair.marks(ob.now, self.carry),
            )  # fmt: skip
        self._fills = ob.fills
        self.started = True
        return True

    def _seen(self, event: ev.Event) -> None:
        if isinstance(event, ev.OrderFilled):
            if self.engine.ob.fills > self._fills:
                self._fills += 1
                self._filled(event)
        elif isinstance(event, ev.OrderIntended):
            pair = self.pairs[event.order.pair]
            lead = event.order.instrument == pair.window.lead_terms.id
            pair.decided[event.order.client_id] = event.lead_mid if lead else event.hedge_mid
        elif isinstance(event, ev.FundingPaid):
            self._funding(event)
        elif isinstance(event, ev.CashBooked):
            self._cash(event)
        elif isinstance(event, ev.Allocated):
            pair = self.pairs[event.pair]
            self._leg(pair, pair.window.lead_terms.id == event.instrument, float(event.qty), float(event.price), 0.0)
        elif isinstance(event, ev.OrderEnded):
            self._forget(event.client_id)

    def _filled(self, fill: ev.OrderFilled) -> None:
        """Book one counted fill: slippage and position on its pair, fee and realised money on the wallet."""
        ob = self.engine.ob
        order = ob.orders.get(fill.client_id)
        self._wallet(fill.venue, fill.fee_currency, -float(fill.fee))
        if order is None:  # it stays in `unallocated` until an Allocated event gives it to a pair; its fee is the pair's now
            owners = [p for p in self.pairs.values() if fill.instrument in (p.window.lead_terms.id, p.window.hedge_terms.id)]
            if len(owners) == 1:
                owners[0].lines.fee(float(fill.fee), fill.fee_currency, owners[0].marks(ob.now, self.carry))
            return
        pair = self.pairs[order.spec.pair]
        pair.lines.fee(float(fill.fee), fill.fee_currency, pair.marks(ob.now, self.carry))
        is_lead = fill.instrument == pair.window.lead_terms.id
        self._leg(pair, is_lead, float(fill.qty) * fill.side.sign, float(fill.price), pair.decided.get(fill.client_id, 0.0))

    def _leg(self, pair: PairTally, is_lead: bool, qty: float, price: float, decided: float) -> None:
        ob, window = self.engine.ob, pair.window
        terms = window.lead_terms if is_lead else window.hedge_terms
        book = window.lead if is_lead else window.hedge
        marks = pair.marks(ob.now, self.carry)
        realised = pair.lines.fill(Leg.LEAD if is_lead else Leg.HEDGE, qty * float(terms.unit), price, decided or book.mid, marks)
        if not is_lead:
            self._wallet(terms.venue, terms.settle, realised)
        pair.unhedged(ob.now, self.engine.limits.unhedged_coins_max)
        self.usd_s_max = max(self.usd_s_max, pair.usd_s)
        self.delta_max = max(self.delta_max, abs(self.net_delta()))
        self._buffers()

    def _funding(self, paid: ev.FundingPaid) -> None:
        if not self._booked(paid.venue):
            return
        self._wallet(paid.venue, paid.currency, float(paid.amount))
        for pair in self.pairs.values():
            if pair.window.hedge_terms.id == paid.instrument and pair.state.hedge.qty and paid.qty:
                share = float(paid.amount) * pair.state.hedge.qty_f / float(paid.qty)
                pair.lines.funding(share, pair.marks(self.engine.ob.now, self.carry))

    def _cash(self, booked: ev.CashBooked) -> None:
        if not self._booked(booked.venue):
            return
        amount = float(booked.amount)
        self._wallet(booked.venue, booked.currency, amount)
        if booked.kind in CAPITAL_KINDS:
            self.capital += amount * self.engine.desk.usd(booked.currency)
            return
        for pair in self.pairs.values():
            if booked.venue in (pair.window.lead_terms.venue, pair.window.hedge_terms.venue):
                pair.lines.cash(booked.kind, amount, booked.currency, pair.marks(self.engine.ob.now, self.carry))
                return

    def _booked(self, venue: str) -> bool:
        """Return whether the record took a new booking of this venue since the last look."""
        count = len(self.engine.ob.silos[venue].bookings)
        fresh = count > self._bookings.get(venue, 0)
        self._bookings[venue] = count
        return fresh

    def _wallet(self, venue: str, currency: str, amount: float) -> None:
        if currency == "USD":
            return
        usd = self.engine.desk.usd(currency)
        wallet = self.wallets.setdefault((venue, currency), WalletAttribution(0.0, usd))
        wallet.add(amount, usd)

    def _forget(self, client_id: ClientId) -> None:
        """Drop the decision mid of an order whose fills are all in; a later surplus fill uses the present mid."""
        order = self.engine.ob.orders.get(client_id)
        if order is not None and not order.live:
            self.pairs[order.spec.pair].decided.pop(client_id, None)

    def net_delta(self) -> float:
        """Return the coins of delta over all venues, signed."""
        total = 0.0
        for silo in self.engine.ob.silos.values():
            for instrument, position in silo.positions.items():
                total += coins_of(self.engine.terms[instrument], position.qty_f, self.engine.books[instrument].mid)
        return total

    def _buffers(self) -> None:
        """Note the smallest unstressed margin buffer of each venue."""
        for venue, share in buffers(self.engine).items():
            self.buffer_min[venue] = min(share, self.buffer_min.get(venue, share))

    def attribution(self) -> dict[str, float]:
        """Return every line in USD at the present marks."""
        lines = dict.fromkeys(LINES, 0.0)
        for pair in self.pairs.values():
            pair.lines.mark(pair.marks(self.engine.ob.now, self.carry))
            for name, amount in pair.lines.lines.items():
                lines[name] += amount
        for (_, currency), wallet in self.wallets.items():
            wallet.mark(self.engine.desk.usd(currency))
            lines["stablecoin_wallet"] += wallet.line
        return lines

    def score(self) -> Score:
        """Return the run so far."""
        ob = self.engine.ob
        if not self.started:
            self._start()
        end = assess.nav_usd(ob, self.engine.desk) if self.started else 0.0
        pnl = end - self.equity_start - self.capital
        lines = self.attribution() if self.started else dict.fromkeys(LINES, 0.0)
        return Score(
            pairs_opened=sum(p.opened for p in ob.pairs.values()),
            pairs_closed=sum(p.closed for p in ob.pairs.values()),
            fills=ob.fills,
            rejects=ob.rejects,
            unknown_orders=sum(ob.orders[c].status == "unknown" for c in ob.live),
            net_delta_base=self.net_delta(),
            net_delta_max_base=self.delta_max,
            unhedged_usd_s_max=self.usd_s_max,
            equity_start_usd=self.equity_start,
            equity_end_usd=end,
            pnl_usd=pnl,
            attribution=lines,
            residual_usd=pnl - sum(lines.values()),
            refusals=dict(sorted(ob.refusals.items())),
            margin_buffer_min=dict(self.buffer_min),
            kill_level=ob.kill_level.value,
            commands_sha256=self._sha.hexdigest(),
        )


def coins_of(terms: Instrument, qty: float, price: float) -> float:
    """Return signed coins of `qty` contracts; an inverse contract needs a price and counts 0 without one."""
    if terms.inverse:
        return qty * float(terms.unit) / price if price > 0.0 else 0.0
    return qty * float(terms.unit)


def buffers(engine: Engine) -> dict[str, float]:
    """Return (equity - maintenance) / equity by venue, unstressed, at mark; 1.0 with nothing held."""
    found: dict[str, float] = {}
    for silo in engine.ob.silos.values():
        for currency in silo.cash:
            equity = assess.silo_equity(silo, engine.desk, currency)
            maintenance = 0.0
            for instrument, position in silo.positions.items():
                terms = engine.terms[instrument]
                if position.qty_f and terms.settle == currency:
                    maintenance += assess.held_maintenance(terms, position.qty_f, assess.price_of(engine.books[instrument]))
            maintenance *= engine.desk.margin_multiple.get(silo.venue, 1.0)
            share = (equity - maintenance) / equity if equity > 0.0 else -1.0
            if isfinite(share):
                found[silo.venue] = min(share, found.get(silo.venue, share))
    return found
