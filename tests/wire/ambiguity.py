"""Orders by the thousand over a wire that loses and delays them, and a count of what the desk and the exchange then disagree about.

The adapters and the client libraries are the real ones, the servers too. Between orders and venue stands the smallest desk that
follows the engine's own rules: events are folded by bot.engine.fold, silence is judged and asked about by bot.engine.supervise
(unknown, grace, absence, reconciliation), a pair has one order at a time, and nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import msgspec

from bot.engine import fold, supervise
from bot.engine.obligations import PairTerms, fresh
from bot.engine.pair import Execution
from bot.market.calendar import DeskSessions
from bot.model import event as ev
from bot.model.command import Cancel, Command, Submit
from bot.model.ids import client_id
from bot.model.instrument import Instrument
from bot.model.order import OrderSpec, OrderStatus, Outcome, Purpose, Side, TimeInForce
from bot.sim.exchange import Exchange
from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.venues.sim import SimVenue
from bot.wire.world import World

S = 1_000_000_000
START = 1_793_718_000 * S
"""2026-11-03 15:00 UTC."""
D = Decimal
K = FaultKind
KEY, SECRET = "k" * 16, "s" * 16
PAIRS = 6
"""Orders under way at a time."""
REST_S = 0.4
"""How long an order of the day rests before it is cancelled."""
STEP_S = 0.05
QUOTE_S = 0.5
DRAIN_S = 240.0
"""Virtual time in which everything has to be settled after the last order."""
RATES = {K.LOST_REQUEST: 0.05, K.LOST_ACK: 0.05, K.SLOW: 0.05}
"""Share of messages that suffer: an order or cancel that never arrives at the exchange; one that arrives and of which nothing is said;
a request, report or answer that is late."""
HTTP_RATES = {K.LOST_REPLY: 0.05, K.LATE_REPLY: 0.05}
"""Share of answers over HTTP or the order socket that never come, or come late, while the account's stream speaks."""
LATE_S = 4.5
"""Longest delay of a late message: beyond the engine's patience of two seconds, within its grace of five."""


class Chance(FaultPlan):
    """A plan that lets each message suffer by chance, with one seed."""

    def __init__(self, venue: str, seed: str, rates: dict[FaultKind, float]) -> None:
        super().__init__(venue)
        self._venue = venue
        self._rnd = Random(seed).random
        self._rates = rates

    def strike(self, kind: FaultKind, now_ns: int) -> Fault | None:
        """Return a fault with the kind's probability."""
        rate = self._rates.get(kind)
        if rate is None or self._rnd() >= rate:
            return None
        self.hit(kind)
        args = {"delay_s": 0.5 + (LATE_S - 0.5) * self._rnd()} if kind in (K.SLOW, K.LATE_REPLY) else {}
        return Fault(at_ns=now_ns, venue=self._venue, kind=kind, args=args)


class Count(msgspec.Struct):
    """What came of it. duplicates: client ids under which the venue holds more than one order. orphans: orders or executions at the
    venue that the desk does not have, or has otherwise. absences: orders that the desk holds for absent and the venue has."""

    orders: int = 0
    duplicates: int = 0
    orphans: int = 0
    absences: int = 0
    unsettled: int = 0
    unknown: int = 0
    absent: int = 0
    filled: int = 0
    hits: Counter[str] = msgspec.field(default_factory=Counter)
    wrong: list[str] = []

    def add(self, other: Count) -> None:
        """Add another batch."""
        for name in ("orders", "duplicates", "orphans", "absences", "unsettled", "unknown", "absent", "filled"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.hits.update(other.hits)
        self.wrong += other.wrong

    @property
    def clean(self) -> bool:
        """Return whether desk and venue agree about everything."""
        return not (self.duplicates or self.orphans or self.absences or self.unsettled or self.wrong)


class Desk:
    """The desk's side of one venue. wanted: orders to send in all."""

    def __init__(self, venue: Any, instrument: Instrument, clock: Callable[[], int], cash: dict[str, Decimal], seed: str, wanted: int, x: Execution) -> None:
        self.venue = venue
        self.name = instrument.venue
        self.instrument = instrument
        self.clock = clock
        self.x = x
        self.wanted = wanted
        other = msgspec.structs.replace(instrument, id="OTHER", venue="other")
        self.terms = {i.id: i for i in (instrument, other)}
        pairs = tuple(PairTerms(id=f"p{n}", strategy="s", lead=instrument.id, hedge=other.id) for n in range(PAIRS))
        self.ob = fresh(1, "paper", pairs, (self.name,))
        self.contacts = {self.name: supervise.Contact(self.name)}
        self.sent = 0
        self.unknown: set[str] = set()
        self.alerts: list[str] = []
        self.fills: dict[str, tuple[str, Decimal, Decimal]] = {}
        self.specs: dict[str, OrderSpec] = {}
        self._random = Random(seed)
        self._queue: deque[Any] = deque()
        self._busy = False
        self._take(ev.RunStarted(ts=clock(), run=1, mode="paper", cash={self.name: cash}))

    def hear(self, event: Any) -> None:
        """Take one event after another, as the loop does."""
        self._queue.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                self._take(self._queue.popleft())
        finally:
            self._busy = False

    def _take(self, event: Any) -> None:
        if isinstance(event, ev.Quote | ev.MarkPrice | ev.FundingRate):
            return
        fold.apply(self.ob, self.terms, event)
        if isinstance(event, ev.VenueSnapshot):
            supervise.reconcile(self.ob, self.contacts, event, self._emit)
        elif isinstance(event, ev.VenueStatus):
            supervise.lost(self.ob, self.contacts[event.venue], self._emit)
        elif isinstance(event, ev.OrderFilled):
            self.fills[event.exec_id] = (event.client_id, event.qty, event.price)
        elif isinstance(event, ev.NoAnswer):
            self.unknown.add(event.client_id)
        elif isinstance(event, ev.Alert):
            self.alerts.append(event.text)
        self._react()

    def _emit(self, event: Any) -> None:
        fold.apply(self.ob, self.terms, event)
        if isinstance(event, ev.NoAnswer):
            self.unknown.add(event.client_id)

    def tick(self) -> None:
        """Let time act: supervise, then send what is free to be sent."""
        self.ob.now = max(self.ob.now, self.clock())
        if self.sent >= self.wanted and not self.ob.live and not self.settled:
            self.contacts[self.name].reconciled = False  # ask for everything now and not when it is due
        self._react()
        for pair in self.ob.pairs.values():
            if pair.lead_order is None:
                if self.sent < self.wanted and self.ob.silos[self.name].up:
                    self._send(pair.terms.id)
                continue
            order = self.ob.orders[pair.lead_order]
            rests = order.status is OrderStatus.WORKING and order.spec.tif is TimeInForce.DAY
            if rests and not order.cancel_ns and self.ob.now - order.sent_ns > REST_S * S:
                self._emit(ev.CancelIntended(ts=self.ob.now, client_id=order.spec.client_id, reason="passive"))
                self.venue.send(Cancel(self.name, order.spec.instrument, order.spec.client_id), self.ob.now)

    def _react(self) -> None:
        commands: list[Command] = []
        supervise.orders(self.ob, self.x, self._emit, commands)
        supervise.venues(self.ob, self.contacts, self.x, commands)
        for command in commands:
            self.venue.send(command, self.ob.now)

    def _send(self, pair: str) -> None:
        """Send one order: most take, every fifth rests for a while and is cancelled."""
        self.sent += 1
        draw = self._random.random
        rests = draw() < 0.2
        held = self.ob.silos[self.name].positions.get(self.instrument.id)
        lean = 0.5 if held is None else 0.3 if held.qty > 0 else 0.7
        side = Side.BUY if draw() < lean else Side.SELL
        away = -50 if rests else 20
        touch = 70_010 if side is Side.BUY else 70_000
        spec = OrderSpec(
            client_id=client_id("P", 1, "L", self.sent), pair=pair, venue=self.name, instrument=self.instrument.id, side=side, qty=D(1 + int(3 * draw())),
            limit=D(touch + away * side.sign), tif=TimeInForce.DAY if rests else TimeInForce.IOC, purpose=Purpose.LEAD,
        )  # fmt: skip
        self.specs[spec.client_id] = spec
        self._emit(ev.OrderIntended(ts=self.ob.now, order=spec, lead_mid=70_005.0, hedge_mid=70_005.0, stable=1.0, index_usd=70_005.0))
        self.venue.send(Submit(spec, True), self.ob.now)

    @property
    def settled(self) -> bool:
        """Return whether every order has ended and the venue's full answer agrees."""
        return self.sent >= self.wanted and not self.ob.live and self.ob.ready and self.contacts[self.name].agreed_ns > self.ob.silos[self.name].moved_ns


class Batch:
    """One world, one server, one adapter and some orders."""

    def __init__(self, instrument: Instrument, cash: dict[str, Decimal], seed: str, rates: dict[FaultKind, float]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.clock = lambda: START + int((loop.time() - began) * 1e9)
        self.instrument = instrument
        self.cash = cash
        self.seed = seed
        self.plan = Chance(instrument.venue, seed, rates)
        self.exchange = Exchange(instrument.venue, (instrument,), dict(cash), DeskSessions({instrument.id: instrument}), now_ns=START)
        site = SimVenue(self.exchange, plan=self.plan, now_ns=START)
        self.world = World({instrument.venue: site}, iter(()), self.clock)
        self._quoted = -QUOTE_S

    async def run(self, server: Any, venue: Any, orders: int, x: Execution) -> Count:
        """Send orders, let everything settle, and count; both sides are closed afterwards."""
        desk = Desk(venue, self.instrument, self.clock, self.cash, self.seed, orders, x)
        self.world.start()
        self._market()
        venue.start(desk.hear)
        loop = asyncio.get_running_loop()
        last = loop.time()
        try:
            while not desk.settled and loop.time() - last < DRAIN_S:
                before = desk.sent
                self._market()
                desk.tick()
                last = loop.time() if desk.sent > before else last
                await asyncio.sleep(STEP_S)
            return self._count(desk, server)
        finally:
            venue.stop()
            await venue.closed()
            await server.close()

    def _market(self) -> None:
        """Let what is due happen, and show a new book now and then: what is displayed can be had once."""
        self.world.catch_up()
        now, i = self.clock(), self.instrument.id
        if now - START >= (self._quoted + QUOTE_S) * S:
            self._quoted = (now - START) / S
            self.world._feed(ev.MarkPrice(now, i, 70_005.0, 70_005.0))
            self.world._feed(ev.Quote(now, i, 70_000.0, 70_010.0, 4.0, 4.0, now))

    def _count(self, desk: Desk, server: Any) -> Count:
        ob, theirs, name = desk.ob, self.exchange, self.instrument.venue
        out = Count(orders=desk.sent, unknown=len(desk.unknown), hits=Counter({k.value: n for k, n in self.plan.hits.items()}))
        called = Counter(sent_as(held) for held in server.blotter.held.values())
        out.duplicates = sum(1 for c in desk.specs if called[c] > 1)
        out.unsettled = len(ob.live) + (0 if desk.settled else 1)
        for c in theirs.orders:
            out.orphans += c not in ob.orders
        booked = Counter(desk.fills.values())
        real = Counter((f.client_id, f.qty, f.price) for f in theirs.account.history if isinstance(f, ev.OrderFilled))
        out.orphans += sum(((booked - real) + (real - booked)).values())
        for c, order in ob.orders.items():
            ticket = theirs.orders.get(c)
            out.absences += order.outcome is Outcome.ABSENT and ticket is not None
            out.absent += order.outcome is Outcome.ABSENT
            out.filled += order.outcome is Outcome.FILLED
            if ticket is not None and (order.filled, order.outcome) != (ticket.filled, ticket.outcome) and order.outcome is not Outcome.ABSENT:
                out.wrong.append(f"{self.seed} {c}: {order.outcome} {order.filled} here, {ticket.outcome} {ticket.filled} there")
        held = {i: p.qty for i, p in ob.silos[name].positions.items() if p.qty}
        if held != theirs.positions():
            out.wrong.append(f"{self.seed}: position {held} here, {theirs.positions()} there")
        for currency in self.cash:
            if ob.silos[name].cash[currency] != theirs.account.cash[currency]:
                out.wrong.append(f"{self.seed}: {ob.silos[name].cash[currency]} {currency} here, {theirs.account.cash[currency]} there")
        if not out.clean:
            what = f"{out.duplicates} doubled, {out.orphans} orphans, {out.absences} wrongly absent, {out.unsettled} unsettled"
            out.wrong.append(f"{self.seed}: {what} ({ob.cause})")
        return out


def sent_as(held: Any) -> str:
    """Return the id under which a client sent an order."""
    return str(held.asked.order_ref if hasattr(held, "asked") else held.client_id)


async def broker(seed: str, orders: int, x: Execution | None = None) -> Count:
    """Run one batch through IbVenue, ib_insync's client and the TWS server."""
    from tws_rig import MBT

    from bot.venues.ib import IbEndpoint, IbVenue
    from bot.wire.tws import serve

    batch = Batch(MBT, {"USD": D(600_000)}, seed, RATES)
    server = await serve(batch.world, "cme")
    venue = IbVenue("cme", {MBT.id: MBT}, IbEndpoint(host="127.0.0.1", port=server.port, client_id=7), clock=batch.clock)
    return await batch.run(server, venue, orders, x or Execution())


async def offshore(seed: str, orders: int, x: Execution | None = None) -> Count:
    """Run one batch through PerpVenue, ccxt.pro and the Binance server."""
    from perp_rig import PERP

    from bot.venues.perp import PerpEndpoint, PerpVenue
    from bot.wire.binance import Server

    batch = Batch(PERP, {"USDT": D(4_000_000)}, seed, RATES | HTTP_RATES)
    server = Server(batch.world, "perp", {KEY: SECRET})
    await server.open("127.0.0.1", 0)
    at = PerpEndpoint(exchange="binanceusdm", key=KEY, secret=SECRET, base_url=f"http://127.0.0.1:{server.port}")
    return await batch.run(server, PerpVenue("perp", {PERP.id: PERP}, at, clock=batch.clock), orders, x or Execution())
