"""One pair on a table: record, books and window to be set by hand, and the planner asked what it wants."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from bot.engine.evacuate import plan
from bot.engine.fold import apply
from bot.engine.obligations import Obligations, PairState, PairTerms, fresh
from bot.engine.observations import Session, Window
from bot.engine.pair import Ask, Execution, Withdraw
from bot.model import event as ev
from bot.model.instrument import Instrument, Kind, MarginTier
from bot.model.intent import PairIntent
from bot.model.market import Book
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce
from bot.model.position import Position, apply_fill

S = 1_000_000_000
NOW = 1_790_000_000 * S
NEVER = ev.NEVER
TIER = (MarginTier(notional_floor=Decimal(0), maintenance_rate=Decimal("0.01"), initial_rate=Decimal("0.02")),)
MBT = Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5), lot=Decimal(1), index_quote="USD",
                 settle="USD", tiers=TIER)  # fmt: skip
PERP = Instrument(id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(1), tick=Decimal("0.1"), lot=Decimal("0.001"), index_quote="USDT",
                  settle="USDT", tiers=TIER, min_notional=Decimal(100))  # fmt: skip
INVERSE = Instrument(id="BTCUSD", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(100), tick=Decimal("0.1"), lot=Decimal(1), index_quote="USD",
                     settle="BTC", inverse=True, tiers=TIER)  # fmt: skip
STABLE = Instrument(id="USDT/USD", venue="ref", kind=Kind.STABLE, base="USDT", unit=Decimal(1), tick=Decimal("0.0001"), lot=Decimal(1), index_quote="USD",
                    settle="USD")  # fmt: skip
X = Execution()


class Hours:
    """Sessions that a test opens and shuts."""

    def __init__(self) -> None:
        self.shut: set[str] = set()

    def is_open(self, instrument: str, now_ns: int) -> tuple[bool, int]:
        """Answer for no longer than this call."""
        return instrument not in self.shut, now_ns

    def trade_date(self, now_ns: int) -> tuple[str, int]:
        """Return one date."""
        return "2026-11-25", NEVER


class Table:
    """A ready desk at `NOW` with both books shown; positions and orders are put there by `hold` and `send`."""

    def __init__(self, hedge: Instrument = PERP) -> None:
        self.hours = Hours()
        stable = STABLE.id if hedge.settle == "USDT" else None
        self.terms = {i.id: i for i in (MBT, hedge, STABLE)}
        self.ob: Obligations = fresh(1, "S", (PairTerms(id="conv", strategy="x", lead=MBT.id, hedge=hedge.id, stable=stable),), ("cme", "perp"))
        self.ob.now = NOW
        self.ob.ready, self.ob.started_ns = True, NOW
        for silo in self.ob.silos.values():
            silo.up = True
        self.books = {i: Book(i) for i in self.terms}
        self.pair: PairState = self.ob.pairs["conv"]
        sessions = {i: Session(i, self.hours) for i in self.terms}
        self.window = Window(self.pair, self.terms, self.books, sessions, (45 * S, 45 * S))
        self.window.now = NOW
        self.hedge = hedge
        self.show(STABLE.id, 0.9999, 1.0001, 1e6)
        self.show(MBT.id, 70_000.0, 70_005.0, 500.0)
        self.show(hedge.id, 70_060.0, 70_061.0, 50.0 * (700 if hedge.inverse else 1))
        self.books[hedge.id].index = self.books[hedge.id].mark = 70_000.0

    def show(self, instrument: str, bid: float, ask: float, size: float) -> None:
        """Show a book now."""
        book = self.books[instrument]
        book.ts = book.venue_ts = self.ob.now
        book.bid, book.ask, book.bid_size, book.ask_size, book.mid = bid, ask, size, size, 0.5 * (bid + ask)

    def want(self, lots: int, *, ratio: str = "1", floor_bp: float | None = None, passive: bool = False) -> None:
        """Set the target."""
        intent = PairIntent(pair="conv", target_lead=Decimal(lots), hedge_ratio=Decimal(ratio), reason="test", min_premium_bp=floor_bp, passive=passive)
        apply(self.ob, self.terms, ev.TargetSet(ts=self.ob.now, pair="conv", intent=intent, target_lead=Decimal(lots)))

    def hold(self, lead: str, hedge: str, price: str = "70000") -> None:
        """Put positions into pair and silos."""
        for terms, leg, qty in ((MBT, self.pair.lead, lead), (self.hedge, self.pair.hedge, hedge)):
            if Decimal(qty):
                apply_fill(terms, leg, Decimal(qty), Decimal(price))
                apply_fill(terms, self.ob.silos[terms.venue].positions.setdefault(terms.id, Position()), Decimal(qty), Decimal(price))

    def send(self, terms: Instrument, side: Side, qty: str, limit: str, tif: TimeInForce = TimeInForce.IOC) -> str:
        """Intend an order of the pair; return its id."""
        number = self.ob.next_order
        purpose = Purpose.LEAD if terms is MBT else Purpose.HEDGE
        spec = OrderSpec(client_id=f"S00001{purpose}{number:08d}", pair="conv", venue=terms.venue, instrument=terms.id, side=side, qty=Decimal(qty),
                         limit=Decimal(limit), tif=tif, purpose=purpose)  # fmt: skip
        self.tell(ev.OrderIntended(ts=self.ob.now, order=spec, lead_mid=70_002.5, hedge_mid=70_060.5, stable=1.0, index_usd=70_000.0))
        return spec.client_id

    def tell(self, event: ev.Event) -> None:
        """Fold one event."""
        apply(self.ob, self.terms, event)

    def acked(self, client_id: str) -> None:
        """Let the venue acknowledge an order."""
        self.tell(ev.OrderAccepted(ts=self.ob.now, client_id=client_id, venue_order_id="v"))

    def plan(self, x: Execution = X) -> list[Ask | Withdraw]:
        """Return what the planner wants."""
        return plan(self.ob, self.pair, self.window, x)

    def ask(self, leg: str, x: Execution = X) -> Ask | None:
        """Return the order wanted on one leg, None when there is none; more than one is a failure."""
        asks = [a for a in self.plan(x) if isinstance(a, Ask) and a.leg == leg]
        assert len(asks) <= 1
        return asks[0] if asks else None

    def withdrawn(self) -> str:
        """Return why a live order is withdrawn, "" when none is."""
        return "".join(a.reason for a in self.plan() if isinstance(a, Withdraw))


def signed(ask: Ask | None) -> Decimal:
    """Return the signed quantity of an ask, 0 for none."""
    return ask.qty * ask.side.sign if ask is not None else Decimal(0)


def tuned(**changes: object) -> Execution:
    """Return the execution settings with changes."""
    return msgspec.structs.replace(X, **changes)
