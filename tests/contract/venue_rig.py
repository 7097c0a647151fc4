"""What the contract suite needs of any venue: a market it can move, a clock it can turn and everything the venue said."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from bot.market.expiry import expiry_ns
from bot.model import event as ev
from bot.model.command import Cancel, Command, QueryOrder, QueryVenue, Submit
from bot.model.instrument import FeeSchedule, Instrument, Kind, MarginTier
from bot.model.order import OrderSpec, Outcome, Purpose, Side, TimeInForce
from bot.model.ports import SimulatedVenue
from bot.sim.exchange import Exchange, Rules
from bot.sim.faults import Fault, FaultPlan
from bot.sim.wire import Delays
from bot.venues.sim import SimVenue

S = 1_000_000_000
START = 1_793_718_000 * S
"""2026-11-03 15:00 UTC, a Tuesday in session, an hour before a funding stamp."""
D = Decimal
KEY, SECRET = "k" * 16, "s" * 16


def tier(maintenance: str, initial: str, floor: str = "0", cum: str = "0") -> MarginTier:
    """Return one margin bracket."""
    return MarginTier(notional_floor=D(floor), maintenance_rate=D(maintenance), initial_rate=D(initial), cum=D(cum))


MBT = Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=D("0.1"), tick=D(5), lot=D(1), index_quote="USD", settle="USD",
                 tiers=(tier("0.30", "0.40"),), fees=FeeSchedule(per_contract=D(3)), product="MBT", expiry_ns=expiry_ns(2026, 11))  # fmt: skip
PERP = Instrument(id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=D(1), tick=D("0.1"), lot=D("0.001"), index_quote="USDT", settle="USDT",
                  tiers=(tier("0.004", "0.008"), tier("0.005", "0.01", "50000", "50"), tier("0.0065", "0.0134", "600000", "950")),
                  fees=FeeSchedule(maker_rate=D("0.0002"), taker_rate=D("0.0005")), product="BTCUSDT", funding_interval_s=28_800,
                  funding_cap=0.003, min_notional=D(100))  # fmt: skip
INVERSE = Instrument(id="BTCUSD", venue="perp", kind=Kind.PERP, base="BTC", unit=D(100), tick=D("0.1"), lot=D(1), index_quote="USD", settle="BTC",
                     inverse=True, tiers=(tier("0.01", "0.02"),), fees=FeeSchedule(maker_rate=D("0.0002"), taker_rate=D("0.0005")),
                     funding_interval_s=28_800)  # fmt: skip


class Hours:
    """A session source that is closed in the intervals a test gives it, [from, to) in ns."""

    def __init__(self) -> None:
        self.closed: list[tuple[int, int]] = []

    def is_open(self, instrument: str, now_ns: int) -> tuple[bool, int]:
        """Return the state at `now_ns` and until when it holds."""
        until = ev.NEVER
        for begin, end in self.closed:
            if begin <= now_ns < end:
                return False, end
            if now_ns < begin:
                until = min(until, begin)
        return True, until

    def trade_date(self, now_ns: int) -> tuple[str, int]:
        """Not asked by a venue."""
        return "any", ev.NEVER


class Rig:
    """One venue with a market and a clock. Times in seconds from the start; `said` is what it answered and reported, `seen` the market data it
    showed. main: the instrument of cases that any venue has. log: what an adapter wrote down."""

    in_process = True

    def __init__(self, venue: Any, instruments: tuple[Instrument, ...], hours: Hours, name: str = "") -> None:
        self.venue: SimulatedVenue = venue
        self.name = name or str(venue.venue)
        self.terms = {i.id: i for i in instruments}
        self.main = instruments[0]
        self.hours = hours
        self.said: list[ev.Event] = []
        self.seen: list[Any] = []
        self.log: list[Any] = []
        self._minted = 0
        if self.in_process:
            self.now = START
            self.venue.start(self._hear)

    def _hear(self, event: Any) -> None:
        """Keep what the venue emits: market data apart from answers."""
        (self.seen if type(event) in MARKET else self.said).append(event)

    def to(self, seconds: float) -> None:
        """Turn the clock to `seconds`, letting everything due happen."""
        end = START + int(seconds * S)
        while self.venue.due_ns <= end:
            self.venue.advance(self.venue.due_ns)
        self.now = end

    def settle(self) -> None:
        """Let a second pass: long enough for any answer that is on its way."""
        self.to((self.now - START) / S + 1.0)

    def observe(self, event: Any) -> Any:
        """Show the venue a market observation of now; return what the desk sees of it at once."""
        while self.venue.due_ns <= event.ts:
            self.venue.advance(self.venue.due_ns)
        seen = self.venue.observe(event)
        if seen is not None:
            self.seen.append(seen)
        return seen

    def quote(self, bid: float, ask: float, size: float = 50.0, instrument: str = "", ask_size: float | None = None) -> Any:
        """Show a top of book now."""
        return self.observe(ev.Quote(self.now, instrument or self.main.id, bid, ask, size, size if ask_size is None else ask_size, self.now))

    def mark(self, price: float, instrument: str = "") -> None:
        """Show a mark price now."""
        self.observe(ev.MarkPrice(self.now, instrument or self.main.id, price, price))

    def rate(self, rate: float, stamp_s: float, instrument: str = "") -> None:
        """Announce the funding rate of the stamp at `stamp_s`."""
        self.observe(ev.FundingRate(self.now, instrument or self.main.id, rate, 28_800, START + int(stamp_s * S), 0.003))

    def spec(self, side: Side, qty: str, limit: str, *, instrument: str = "", tif: TimeInForce = TimeInForce.IOC,
             reduce_only: bool = False, client_id: str = "") -> OrderSpec:  # fmt: skip
        """Return an order; without a client id the next free one."""
        if not client_id:
            self._minted += 1
            client_id = f"T00001L{self._minted:08d}"
        return OrderSpec(client_id=client_id, pair="p", venue=self.name, instrument=instrument or self.main.id, side=side, qty=D(qty), limit=D(limit),
                         tif=tif, purpose=Purpose.LEAD, reduce_only=reduce_only)  # fmt: skip

    def send(self, command: Command, settle: bool = True) -> list[ev.Event]:
        """Hand over a command and return what the venue said until it was quiet again (settle) or at once."""
        before = len(self.said)
        self.venue.send(command, self.now)
        if settle:
            self.settle()
        return self.said[before:]

    def order(self, side: Side, qty: str, limit: str, **more: Any) -> list[ev.Event]:
        """Send an order and return the answers."""
        return self.send(Submit(self.spec(side, qty, limit, **more)))

    def rest(self, side: Side, qty: str, limit: str, **more: Any) -> str:
        """Send an order for the day that is accepted; return its client id."""
        answers = self.order(side, qty, limit, tif=TimeInForce.DAY, **more)
        assert of(ev.OrderAccepted, answers) and not of(ev.OrderEnded, answers), answers
        return str(of(ev.OrderAccepted, answers)[0].client_id)

    def cancel(self, client_id: str, instrument: str = "") -> list[ev.Event]:
        """Ask for a cancellation."""
        return self.send(Cancel(self.name, instrument or self.main.id, client_id))

    def query(self, client_id: str, instrument: str = "") -> list[ev.Event]:
        """Ask what became of an order."""
        return self.send(QueryOrder(self.name, instrument or self.main.id, client_id))

    def snapshot(self) -> ev.VenueSnapshot:
        """Ask for the whole state and return it."""
        found = of(ev.VenueSnapshot, self.send(QueryVenue(self.name)))
        assert len(found) == 1, (self.said[-6:], self.log[-6:])
        return found[0]  # type: ignore[no-any-return]

    def held(self) -> Decimal:
        """Return the position of the main instrument that the venue reports."""
        return self.snapshot().positions.get(self.main.id, D(0))

    def booked(self, kind: type) -> list[Any]:
        """Return the different bookings of one type: the venue has told them by its next full answer, and may repeat them."""
        self.snapshot()
        return list({(getattr(e, "stamp_ns", 0), getattr(e, "ref", "")): e for e in of(kind, self.said)}.values())

    def stop(self) -> None:
        """Stop the venue."""
        self.venue.stop()

    def close(self) -> None:
        """Release what the rig holds."""


def of(kind: type, events: list[ev.Event]) -> list[Any]:
    """Return the events of one type."""
    return [e for e in events if type(e) is kind]


def fills(events: list[ev.Event]) -> list[Any]:
    """Return the different executions, in the order in which they were told."""
    return list({e.exec_id: e for e in events if type(e) is ev.OrderFilled}.values())


def ends(events: list[ev.Event]) -> set[tuple[Outcome, Decimal]]:
    """Return how orders are said to have ended; a venue may repeat it and must not contradict itself."""
    return {(e.outcome, e.cum_qty) for e in of(ev.OrderEnded, events)}


def money(venue: str, cash: dict[str, str] | None) -> dict[str, Decimal]:
    """Return an account's money, by default the desk's."""
    return {c: D(x) for c, x in (cash or ({"USD": "600000"} if venue == "cme" else {"USDT": "400000", "BTC": "10"})).items()}


MARKET = (ev.Quote, ev.MarkPrice, ev.FundingRate)
Build = Callable[..., Rig]


def in_process(delays: Delays) -> Build:
    """Return a builder of in-process rigs with these delays."""

    def build(venue: str = "perp", cash: dict[str, str] | None = None, faults: tuple[Fault, ...] = (), rules: Rules | None = None, **more: Any) -> Rig:
        hours = Hours()
        instruments = (MBT,) if venue == "cme" else (PERP, INVERSE)
        exchange = Exchange(venue, instruments, money(venue, cash), hours, rules or Rules(), START)
        return Rig(SimVenue(exchange, delays=delays, plan=FaultPlan(venue, faults), now_ns=START, **more), instruments, hours)

    return build


MS = 1_000_000
IN_PROCESS: dict[str, Build] = {
    "instant": in_process(Delays()),
    "latency": in_process(Delays(request_ns=40 * MS, reply_ns=30 * MS, feed_ns=20 * MS)),
    "drawn": in_process(Delays(request_ns=40 * MS, reply_ns=30 * MS, feed_ns=20 * MS, jitter=0.5, tail_share=0.05, tail_multiple=5.0)),
}
