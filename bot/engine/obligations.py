"""What the desk owes and is owed: the half of its state that folds from the journal alone.

Mutable, owned by the engine, changed only by bot.engine.fold; encodable, so that a checkpoint is its encoding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal

import msgspec

from bot.model.event import KillLevel
from bot.model.ids import ClientId, InstrumentId, PairId, VenueId
from bot.model.instrument import Instrument
from bot.model.intent import PairIntent
from bot.model.order import Order
from bot.model.position import Position

ZERO = Decimal(0)


class PairTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Which instruments a pair trades, for which strategy; `stable` prices the hedge's currency in USD."""

    id: PairId
    strategy: str
    lead: InstrumentId
    hedge: InstrumentId
    stable: InstrumentId | None = None


class PairState(msgspec.Struct, kw_only=True):
    """One pair: target, both legs, live orders and everything an exit is judged by.

    entry: the opening intent of the trade that is on. attempts: consecutive tries of a leg that filled nothing.
    rejected_row: orders in a row that the venues rejected.
    result_usd: realised profit of the trade that is on, after fees and funding. traded: coins opened in it.
    out: legs ("lead", "hedge") whose venue is being evacuated; one of them is enough to close the pair.
    """

    terms: PairTerms
    lead: Position
    hedge: Position
    target: Decimal = ZERO
    hedge_ratio: Decimal = Decimal(1)
    intent: PairIntent | None = None
    entry: PairIntent | None = None
    lead_order: ClientId | None = None
    hedge_order: ClientId | None = None
    lead_attempts: int = 0
    hedge_attempts: int = 0
    lead_retry_ns: int = 0
    hedge_retry_ns: int = 0
    rejected_row: int = 0
    armed: bool = True
    disarmed_ns: int = 0
    unwind: bool = False
    out: tuple[str, ...] = ()
    frozen: str = ""
    entered_ns: int = 0
    entry_lead_mid: float = 0.0
    entry_hedge_mid: float = 0.0
    entry_stable: float = 1.0
    entry_index: float = 0.0
    stable: Decimal = Decimal(1)
    funding: Decimal = ZERO
    result_usd: Decimal = ZERO
    notional_usd: Decimal = ZERO
    opened: int = 0
    closed: int = 0

    @property
    def flat(self) -> bool:
        """Return whether neither leg holds anything."""
        return self.lead.qty == 0 and self.hedge.qty == 0


class Silo(msgspec.Struct, kw_only=True):
    """One venue's money and net positions as its statement should show them.

    moved_ns: last change of a position. down_ns: since when it has not answered; of no meaning while it is up.
    """

    venue: VenueId
    cash: dict[str, Decimal]
    positions: dict[InstrumentId, Position]
    unallocated: dict[InstrumentId, Decimal]
    up: bool = False
    down_ns: int = 0
    moved_ns: int = 0
    foreign_execs: set[str]
    bookings: set[str]


class Obligations(msgspec.Struct, kw_only=True):
    """The whole record. orders: live ones and the latest done ones (late fills still find them). evacuate: venues to leave, sorted."""

    run: int
    mode: str
    now: int = 0
    next_order: int = 1
    started_ns: int = 0
    ready: bool = False
    cause: str = "not started"
    halted: str = ""
    kill_level: KillLevel = KillLevel.NONE
    kill_id: str = ""
    evacuate: tuple[VenueId, ...] = ()
    trade_date: str = ""
    day_start_usd: float = 0.0
    peak_usd: float = 0.0
    orders: dict[ClientId, Order]
    live: dict[ClientId, None]
    pairs: dict[PairId, PairState]
    silos: dict[VenueId, Silo]
    refusals: dict[str, int]
    edge_gaps_bp: list[float]
    fills: int = 0
    rejects: int = 0


def fresh(run: int, mode: str, pairs: tuple[PairTerms, ...], venues: tuple[VenueId, ...]) -> Obligations:
    """Return the obligations of a desk that has never traded."""
    return Obligations(
        run=run,
        mode=mode,
        orders={},
        live={},
        pairs={p.id: PairState(terms=p, lead=Position(), hedge=Position()) for p in pairs},
        silos={
            v: Silo(venue=v, cash={}, positions={}, unallocated={}, foreign_execs=set(), bookings=set())
            for v in venues
        },
        refusals={},
        edge_gaps_bp=[],
    )


def set_level(ob: Obligations, terms: Mapping[InstrumentId, Instrument], level: KillLevel, venues: Collection[VenueId]) -> None:
    """Set the kill level and the venues to leave.

    A trade with a leg at one of them is over: its target is zero, it is disarmed, and what a resume finds left of it is
    wound up and not built again.
    """
    ob.kill_level, ob.evacuate = level, tuple(sorted(venues))
    for pair in ob.pairs.values():
        out = tuple(leg for leg, i in (("lead", pair.terms.lead), ("hedge", pair.terms.hedge)) if terms[i].venue in venues)
        if out and out != pair.out:
            pair.unwind = not pair.flat
            pair.target, pair.armed, pair.disarmed_ns = ZERO, False, ob.now
            pair.lead_attempts = pair.hedge_attempts = pair.lead_retry_ns = pair.hedge_retry_ns = 0
        pair.out = out


def encode(obligations: Obligations) -> bytes:
    """Return a checkpoint of the obligations."""
    return msgspec.json.encode(obligations, order="deterministic")


def decode(raw: bytes) -> Obligations:
    """Return the obligations of a checkpoint; raises msgspec.DecodeError for one that is not whole."""
    return msgspec.json.decode(raw, type=Obligations)
