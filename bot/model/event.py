"""Every fact the engine can be told or can decide, one tagged union.

Observations (bot.model.observation) may be lost and go to the tape. Everything else is an
obligation or changes one: it is journalled, and folding the journal alone rebuilds it. `ts` is the engine's time
of the event, UTC ns; `venue_ts` is the venue's own.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from bot.model.ids import ClientId, InstrumentId, PairId, VenueId
from bot.model.intent import EntryDeclined, PairIntent
from bot.model.observation import OBSERVATIONS as OBSERVATIONS
from bot.model.observation import BookDepth as BookDepth
from bot.model.observation import BookRead as BookRead
from bot.model.observation import FundingRate as FundingRate
from bot.model.observation import MarkPrice as MarkPrice
from bot.model.observation import Observation as Observation
from bot.model.observation import Quote as Quote
from bot.model.observation import Timer as Timer
from bot.model.observation import Unseen as Unseen
from bot.model.observation import VenueSnapshot as VenueSnapshot
from bot.model.observation import WorkingOrder as WorkingOrder
from bot.model.order import OrderSpec, Outcome, Side
from bot.model.unready import Unready

NEVER = 1 << 62
"""Later than any UTC ns: nothing is due."""


class KillLevel(StrEnum):
    """Levels of the kill switch, in rising order; EVACUATE is about venues, the rest of the desk is as at CANCEL."""

    NONE = "NONE"
    PAUSE = "PAUSE"
    FREEZE = "FREEZE"
    CANCEL = "CANCEL"
    EVACUATE = "EVACUATE"
    FLATTEN = "FLATTEN"
    SEVER = "SEVER"


LEVEL_RANK = {level: rank for rank, level in enumerate(KillLevel)}


class Severity(StrEnum):
    """Weight of an alert."""

    INFO = "info"
    WARN = "warn"
    CRIT = "crit"


# Facts from venues.


class OrderAccepted(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The venue acknowledged the order or a query found it working."""

    ts: int
    client_id: ClientId
    venue_order_id: str


class OrderFilled(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """One execution. fee: > 0 is a cost, in fee_currency. client_id is "" for one that no order of ours explains."""

    ts: int
    venue: VenueId
    client_id: ClientId
    instrument: InstrumentId
    exec_id: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    maker: bool = False
    reason: str = ""


class OrderEnded(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Terminal report with the venue's cumulative filled quantity."""

    ts: int
    client_id: ClientId
    outcome: Outcome
    cum_qty: Decimal
    reason: str = ""


class NoAnswer(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A send or cancel went out and nothing came back: the outcome is unknown."""

    ts: int
    client_id: ClientId
    reason: str


class OrderNotFound(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The venue answered a query: it does not know this client id (now)."""

    ts: int
    client_id: ClientId


class FundingPaid(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A funding payment booked by the venue. amount: > 0 is received by us, in `currency`."""

    ts: int
    venue: VenueId
    instrument: InstrumentId
    stamp_ns: int
    rate: float
    mark: float
    qty: Decimal
    amount: Decimal
    currency: str


class CashBooked(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Any other cash movement on a silo: interest, deposit, withdrawal, settlement, insurance clawback."""

    ts: int
    venue: VenueId
    kind: str
    amount: Decimal
    currency: str
    ref: str


class VenueStatus(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Whether a venue answers us at all."""

    ts: int
    venue: VenueId
    up: bool
    reason: str


class QueryFailed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A query of a venue failed. It says nothing about orders or positions."""

    ts: int
    venue: VenueId
    reason: str


# Facts from the desk itself and its operator.


class RunStarted(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """First event of a run, and of every recovery of it."""

    ts: int
    run: int
    mode: str
    cash: dict[VenueId, dict[str, Decimal]]
    kill_level: KillLevel = KillLevel.NONE
    evacuate: tuple[VenueId, ...] = ()


class KillSet(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The kill level was raised, or lowered to NONE by a resume with a reason. evacuate: venues to leave, at EVACUATE or above."""

    ts: int
    level: KillLevel
    kill_id: str
    reason: str
    evacuate: tuple[VenueId, ...] = ()


class DayStarted(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A trade date began; loss limits count from `nav_usd` and drawdown from `peak_usd`."""

    ts: int
    trade_date: str
    nav_usd: float
    peak_usd: float


class CommitFailed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The journal did not confirm a commit in time: openings freeze."""

    ts: int
    reason: str


class SendBlocked(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The send gate stopped an order on its last line before the wire: it never left."""

    ts: int
    client_id: ClientId
    reason: str


# Decisions of step, each with the observations it was made on.


class BooksRead(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Books that a step with commands read; makes the journal sufficient to reproduce its orders."""

    ts: int
    books: tuple[BookRead, ...]


class TargetSet(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """An approved intent: `target_lead` is what risk let through, same sign and never larger than asked."""

    ts: int
    pair: PairId
    intent: PairIntent
    target_lead: Decimal


class Refused(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Risk refused an opening. rule: member of the closed enum risk.verdict.Rule."""

    ts: int
    pair: PairId
    rule: str
    observed: float
    limit: float
    count: int = 1


class StopTripped(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A monitor ended a pair's trade: its target is zero and it is disarmed."""

    ts: int
    pair: PairId
    rule: str
    observed: float
    limit: float


class Rearmed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The strategy saw its re-arm condition after a stop and the cool-down is over."""

    ts: int
    pair: PairId


class UnwindSet(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The hedge ladder is exhausted: bring the lead back to what is hedged (on), or back to normal (off)."""

    ts: int
    pair: PairId
    on: bool
    reason: str


class OrderIntended(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A durable intent: commits before the bytes leave. mids: both legs, stable and index at the decision."""

    ts: int
    order: OrderSpec
    lead_mid: float
    hedge_mid: float
    stable: float
    index_usd: float


class CancelIntended(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """We asked the venue to cancel; nothing is cancelled until the venue says so."""

    ts: int
    client_id: ClientId
    reason: str


class AbsenceProven(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Repeated answers beyond the grace time say that the order never existed."""

    ts: int
    client_id: ClientId


class Allocated(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A venue position change that no order explains (ADL, liquidation, manual trade) assigned to a pair."""

    ts: int
    pair: PairId
    instrument: InstrumentId
    qty: Decimal
    price: Decimal
    exec_id: str


class ReadySet(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Reconciliation opened (ready) or closed the desk for new risk; kind and cause name the first mismatch."""

    ts: int
    ready: bool
    cause: str
    kind: Unready = Unready.NONE


class Frozen(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Openings of one pair ("" = all) stop until the named condition clears; hedges and reductions go on."""

    ts: int
    pair: PairId
    on: bool
    reason: str


class Alert(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Something a person must see, with the number, the limit and what the desk does about it."""

    ts: int
    severity: Severity
    code: str
    text: str


Report = OrderAccepted | OrderFilled | OrderEnded | NoAnswer | OrderNotFound | FundingPaid | CashBooked | VenueStatus | QueryFailed
Decision = (
    BooksRead | TargetSet | Refused | StopTripped | Rearmed | UnwindSet | OrderIntended | CancelIntended
    | AbsenceProven | Allocated | ReadySet | Frozen | Alert | DayStarted | EntryDeclined
)  # fmt: skip
Event = Observation | Report | RunStarted | KillSet | CommitFailed | SendBlocked | Decision
