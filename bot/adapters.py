"""Adapters from settings: who is connected to whom, under which clock, and what history they give together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bot.composition import Desk, exchange
from bot.config import Settings
from bot.desk.fence import Stage
from bot.desk.secrets import Credentials
from bot.model import event as ev
from bot.model.errors import VenueError
from bot.model.ids import VenueId
from bot.model.ports import SimulatedVenue
from bot.sim.budget import UNLIMITED
from bot.venues.finding import Finding
from bot.venues.line import Adapter
from bot.venues.price import PublicPrice
from bot.venues.secret import Secret
from bot.venues.sim import SimVenue
from bot.wire.ready import HOST, KEY, SECRET, Ready

PRICE_HISTORY_NS = 3_600_000_000_000
"""How much earlier the stablecoin's history begins: its bars are longer than the legs'."""


class Adapters(msgspec.Struct, frozen=True, kw_only=True):
    """What a desk is connected to. venues: of the legs, the lead's first. prices: what is only looked at.

    inside: in-process venues that take the orders instead (paper on live data), by venue.
    """

    venues: Mapping[VenueId, Adapter]
    prices: Mapping[VenueId, PublicPrice] = {}
    inside: Mapping[VenueId, SimulatedVenue] = {}

    async def history(self, built: Desk, from_ns: int, to_ns: int) -> list[Any]:
        """Return quotes of both legs, marks of the hedge and the stablecoin's price in [from_ns, to_ns), in order of time.

        Without marks in the hedge's history the index of a minute is taken to be the perp's own middle: it only scales a
        premium to bp, so the excess is wrong by no more than itself times the premium. A carry implied from an index cannot do without.
        Raises VenueError for a leg, or such an index, without history.
        """
        asked = []
        sources: dict[VenueId, Adapter] = {**self.venues, **self.prices}
        for instrument in (built.pair.lead, built.pair.hedge, built.pair.stable):
            if instrument is None:
                continue
            venue = built.terms[instrument].venue
            early = PRICE_HISTORY_NS if instrument == built.pair.stable else 0
            source = sources[venue]
            asked.append(source.history(instrument, from_ns - early, to_ns))
        found = [[_sized(built, e) for e in rows] for rows in await asyncio.gather(*asked)]
        for instrument, rows in zip((built.pair.lead, built.pair.hedge), found, strict=False):
            if not rows:
                raise VenueError(f"{built.terms[instrument].venue}: no history of {instrument}")
        hedge = found[1]
        if not any(type(e) is ev.MarkPrice for e in hedge):
            if built.settings.strategy.carry_source != "fixed":
                raise VenueError(f"{built.terms[built.pair.hedge].venue}: no history of the index, which an implied carry needs")
            marks = [ev.MarkPrice(q.ts, q.instrument, 0.5 * (q.bid + q.ask), 0.5 * (q.bid + q.ask)) for q in hedge]
            found = [found[0], [e for pair in zip(marks, hedge, strict=True) for e in pair], *found[2:]]
        return sorted((e for rows in found for e in rows), key=lambda e: e.ts)


def _sized(built: Desk, event: Any) -> Any:
    """Return a quote made from a bar with at least one lot on either side: a bar tells a price, and its volume is no depth."""
    if type(event) is not ev.Quote or (event.bid_size > 0.0 and event.ask_size > 0.0):
        return event
    lot = float(built.terms[event.instrument].lot)
    return ev.Quote(event.ts, event.instrument, event.bid, event.ask, event.bid_size or lot, event.ask_size or lot, event.venue_ts)


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and credentials of one stage. base_url: of a loopback exchange, "" for the real one. price_url: of the reference price."""

    stage: Stage
    host: str
    port: int
    client_id: int
    account: str
    exchange: str
    base_url: str = ""
    price_url: str
    credentials: Credentials


def at_wire(ready: Ready, settings: Settings, given: Credentials) -> Where:
    """Return where the wire's servers are, as their ready line says it. The account is theirs, the only one there is.

    given: what the exchange was told to sign with; without it the published key.
    """
    published = Credentials(key=Secret(KEY), secret=Secret(SECRET), source="the wire")
    return Where(
        stage=Stage.WIRE, host=HOST, port=ready.tws_port, client_id=settings.broker.client_id, account=ready.account, exchange="binanceusdm",
        base_url=f"http://{HOST}:{ready.perp_port}", price_url=f"http://{HOST}:{ready.reference_port}",
        credentials=given if given.given else published,
    )  # fmt: skip


def adapters(built: Desk, where: Where, clock: Callable[[], int], log: Callable[..., None]) -> Adapters:
    """Return the adapters of a desk, not yet started. The client libraries are loaded when they connect, not here."""
    from bot.venues.ib import IbEndpoint, IbVenue
    from bot.venues.perp import PerpEndpoint, PerpVenue

    lead, hedge = built.terms[built.pair.lead].venue, built.terms[built.pair.hedge].venue
    given, reference = where.credentials, built.settings.reference
    broker = IbEndpoint(
        host=where.host, port=where.port, client_id=where.client_id, account=where.account, pins=dict(built.settings.broker.pins),
        depth_rows=built.settings.broker.depth_rows,
    )  # fmt: skip
    offshore = PerpEndpoint(
        exchange=where.exchange, key=given.key, secret=given.secret, password=given.password, sandbox=where.stage is Stage.TESTNET,
        base_url=where.base_url, depth_rows=built.settings.offshore.depth_rows,
    )  # fmt: skip
    venues: dict[VenueId, Adapter] = {
        lead: IbVenue(lead, built.terms, broker, clock=clock, log=log), hedge: PerpVenue(hedge, built.terms, offshore, clock=clock, log=log)
    }  # fmt: skip
    prices = {}
    if built.pair.stable is not None:
        terms = built.terms[built.pair.stable]
        prices[terms.venue] = PublicPrice(terms, where.price_url, reference.pair, reference.every_s, clock=clock, log=log)
    return Adapters(venues=venues, prices=prices)


async def examined(built: Desk, where: Where, clock: Callable[[], int]) -> list[Finding]:
    """Return what the venues of a desk show to `doctor`: each adapter's examination, and the reference price."""
    real = adapters(built, where, clock, lambda name, more=None, **keys: None)
    found = []
    asked: dict[VenueId, Adapter] = {**real.venues, **real.prices}
    for name, rows in zip(asked, await asyncio.gather(*(a.examine() for a in asked.values())), strict=True):
        found += [msgspec.structs.replace(f, name=f"{name} {f.name}") for f in rows]
    return found


def shadowed(built: Desk, real: Adapters, now_ns: int) -> Adapters:
    """Return adapters whose market the desk sees while every order goes to a venue in this process."""
    settings = built.settings
    inside = {
        name: SimVenue(exchange(built, name, now_ns), delays=settings.latency[name], now_ns=now_ns, budget=settings.messages.get(name, UNLIMITED),
                       seed=settings.market.seed)
        for name in real.venues
    }  # fmt: skip
    return Adapters(venues=real.venues, prices=real.prices, inside=inside)
