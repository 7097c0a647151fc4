"""What the engine asks the outside to do; each is dispatched only after its intent is durable."""

from __future__ import annotations

import msgspec

from bot.model.ids import ClientId, InstrumentId, VenueId
from bot.model.order import OrderSpec


class Submit(msgspec.Struct, frozen=True, tag=True):
    """Send this order once. Never resent: an unanswered send becomes UNKNOWN and is queried.

    opening: it may add risk, so it does not leave without a durable intent; anything else may use the emergency file.
    """

    order: OrderSpec
    opening: bool = False


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Ask for the cancellation of a live order by its client id."""

    venue: VenueId
    instrument: InstrumentId
    client_id: ClientId


class QueryOrder(msgspec.Struct, frozen=True, tag=True):
    """Ask what became of a client id: answered with its fills and OrderAccepted, OrderEnded or OrderNotFound."""

    venue: VenueId
    instrument: InstrumentId
    client_id: ClientId


class QueryVenue(msgspec.Struct, frozen=True, tag=True):
    """Ask for positions, working orders and cash: answered with the executions and bookings since `since_ns` (UTC ns, at least), then
    VenueSnapshot, or QueryFailed."""

    venue: VenueId
    since_ns: int = 0


Command = Submit | Cancel | QueryOrder | QueryVenue
