"""A scripted pair of venues for whole-loop tests: answers at once, except where a fault says otherwise."""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from bot.engine.fold import apply
from bot.engine.obligations import Obligations, PairTerms, fresh
from bot.engine.observations import AlwaysOpen
from bot.engine.pair import Execution
from bot.engine.step import Engine
from bot.model import event as ev
from bot.model.command import Cancel, Command, QueryOrder, QueryVenue, Submit
from bot.model.instrument import FeeSchedule, Instrument, Kind, MarginTier
from bot.model.intent import PairIntent
from bot.model.order import OrderSpec, Outcome
from risk.limits import Limits

S = 1_000_000_000
START = 1_800_000_000 * S
TIER = (MarginTier(notional_floor=Decimal(0), maintenance_rate=Decimal("0.30"), initial_rate=Decimal("0.40")),)
MBT = Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5),
                 lot=Decimal(1), index_quote="USD", settle="USD", tiers=TIER,
                 fees=FeeSchedule(per_contract=Decimal(3)))  # fmt: skip
PERP = Instrument(id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(1), tick=Decimal("0.1"),
                  lot=Decimal("0.001"), index_quote="USDT", settle="USDT",
                  tiers=(MarginTier(notional_floor=Decimal(0), maintenance_rate=Decimal("0.01"), initial_rate=Decimal("0.02")),),
                  fees=FeeSchedule(taker_rate=Decimal("0.0005")))  # fmt: skip
STABLE = Instrument(id="USDT/USD", venue="ref", kind=Kind.STABLE, base="USDT", unit=Decimal(1), tick=Decimal("0.0001"),
                    lot=Decimal(1), index_quote="USD", settle="USD")  # fmt: skip
PAIR = "conv"


class Wish:
    """A strategy that wants whatever the test last put into `target`."""

    id = "wish"

    def __init__(self) -> None:
        self.target: Decimal | None = None
        self.ratio = Decimal(1)

    def on_event(self, memory: object, view: object, event: ev.Event) -> PairIntent | None:
        """Return the test's wish."""
        if self.target is None:
            return None
        return PairIntent(pair=PAIR, target_lead=self.target, hedge_ratio=self.ratio, reason="test", edge_bp=50.0, excess_bp=60.0, sigma_bp=20.0)


    def start(self, params: object, history: object) -> object:
        """Nothing to warm."""
        return None

    def rearms(self, memory: object, view: object) -> bool:
        """A test decides itself when to trade again."""
        return False


class World:
    """Engine, two instant venues and the journal of everything that was decided."""

    def __init__(self) -> None:
        self.terms = {i.id: i for i in (MBT, PERP, STABLE)}
        self.pairs = (PairTerms(id=PAIR, strategy="wish", lead="MBTX26", hedge="BTCUSDT", stable="USDT/USD"),)
        self.wish = Wish()
        self.engine = Engine(self.new_obligations(), self.terms, AlwaysOpen(), {"wish": (self.wish, None)},
                             Limits(), Execution(), {"USDT": "USDT/USD"})  # fmt: skip
        self.now = START
        self.journal: list[ev.Event] = []
        self.inbox: deque[ev.Event] = deque()
        self.sent: list[OrderSpec] = []
        self.held: dict[str, Decimal] = {}
        self.orders: dict[str, list[ev.Event]] = {}
        self.lose_reply: set[str] = set()
        self.lose_request: set[str] = set()
        self.reject: set[str] = set()
        self.fill_only: dict[str, Decimal] = {}
        self.twice = False
        self.end_first = False
        self.delayed: list[ev.Event] = []
        self.price = 70_000.0
        self.process(ev.RunStarted(ts=self.now, run=1, mode="S", cash={"cme": {"USD": Decimal(600_000)}, "perp": {"USDT": Decimal(400_000)}}))
        for venue in ("cme", "perp"):
            self.process(ev.VenueStatus(ts=self.now, venue=venue, up=True, reason="start"))
        self.quotes()

    def new_obligations(self) -> Obligations:
        """Return an empty record for this desk."""
        return fresh(1, "S", self.pairs, ("cme", "perp"))

    def process(self, event: ev.Event) -> None:
        """Step one event, journal it, carry out its commands and drain the replies."""
        self.inbox.append(event)
        while self.inbox:
            e = self.inbox.popleft()
            step = self.engine.step(e)
            if type(e) not in ev.OBSERVATIONS:
                self.journal.append(e)
            self.journal.extend(step.events)
            for command in step.commands:
                self.carry_out(command)

    def carry_out(self, command: Command) -> None:
        """Answer one command as the venue."""
        if isinstance(command, Submit):
            self.submit(command.order)
        elif isinstance(command, QueryOrder):
            answers = self.orders.get(command.client_id)
            self.inbox.extend(answers or [ev.OrderNotFound(ts=self.now, client_id=command.client_id)])
        elif isinstance(command, QueryVenue):
            held = {i: q for i, q in self.held.items() if self.terms[i].venue == command.venue}
            self.inbox.append(ev.VenueSnapshot(ts=self.now, venue=command.venue, positions=held, working=(), cash={}))
        elif isinstance(command, Cancel):
            self.inbox.append(ev.OrderEnded(ts=self.now, client_id=command.client_id, outcome=Outcome.CANCELLED, cum_qty=Decimal(0)))

    def submit(self, spec: OrderSpec) -> None:
        """Execute an order at its limit, as far as the faults let it."""
        assert any(isinstance(e, ev.OrderIntended) and e.order.client_id == spec.client_id for e in self.journal), "sent without a durable intent"
        assert spec.client_id not in {s.client_id for s in self.sent}, "client id sent twice"
        self.sent.append(spec)
        if spec.venue in self.lose_request:
            return
        cid, t = spec.client_id, self.now
        if spec.venue in self.reject:
            self.inbox.append(ev.OrderEnded(ts=t, client_id=cid, outcome=Outcome.REJECTED, cum_qty=Decimal(0), reason="test"))
            return
        qty = min(spec.qty, self.fill_only.get(spec.venue, spec.qty))
        self.held[spec.instrument] = self.held.get(spec.instrument, Decimal(0)) + qty * spec.side.sign
        fee = qty * (Decimal(3) if spec.venue == "cme" else spec.limit * Decimal("0.0005"))
        fill = ev.OrderFilled(ts=t, venue=spec.venue, client_id=cid, instrument=spec.instrument, exec_id=f"x{cid}", side=spec.side, qty=qty,
                              price=spec.limit, fee=fee, fee_currency=self.terms[spec.instrument].settle)  # fmt: skip
        done = ev.OrderEnded(ts=t, client_id=cid, outcome=Outcome.FILLED if qty == spec.qty else Outcome.CANCELLED, cum_qty=qty)
        ack = ev.OrderAccepted(ts=t, client_id=cid, venue_order_id=cid)
        self.orders[cid] = [ack, fill, done]
        if spec.venue in self.lose_reply:
            return
        if self.end_first:
            self.orders[cid] = [ack, done]
            self.inbox.extend([ack, done])
            self.delayed.append(fill)
            return
        self.inbox.extend([ack, fill, done] * (2 if self.twice else 1))

    def quotes(self, premium: float = 60.0) -> None:
        """Show both books, the stablecoin, mark and funding now."""
        t, p = self.now, self.price
        self.process(ev.MarkPrice(t, "BTCUSDT", p, p))
        self.process(ev.FundingRate(t, "BTCUSDT", 0.0001, 28_800, t + 3_600 * S, 0.003))
        self.process(ev.Quote(t, "USDT/USD", 0.9999, 1.0001, 1e6, 1e6, t))
        self.process(ev.Quote(t, "BTCUSDT", p + premium, p + premium + 1.0, 50.0, 50.0, t))
        self.process(ev.Quote(t, "MBTX26", p, p + 5.0, 500.0, 500.0, t))

    def run(self, seconds: float, every: float = 1.0) -> None:
        """Let market time pass with quotes and the timers the engine asked for."""
        end = self.now + int(seconds * S)
        while self.now < end:
            self.now += int(every * S)
            if self.engine.due_ns <= self.now:
                self.process(ev.Timer(self.now))
            self.quotes()

    @property
    def pair(self):  # type: ignore[no-untyped-def]
        """The pair's state."""
        return self.engine.ob.pairs[PAIR]

    def refold(self) -> Obligations:
        """Fold the journal alone into a fresh record."""
        ob = self.new_obligations()
        for e in self.journal:
            apply(ob, self.terms, e)
        return ob


def hedged() -> World:
    """Return a desk that holds 20 lots against 2 coins: about 140,000 USD of each leg."""
    world = World()
    world.wish.target = Decimal(20)
    world.run(30)
    return world
