"""The gate: every opening passes every rule, in one literal order, and comes out refused or approved in whole lots."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from risk import conduct, counterparty, flow, funding, health, hedge, margin, sizing, stops
from risk.limits import Limits
from risk.request import Opening
from risk.verdict import Approved, Refusal, Rule

Check = Callable[[Opening, Limits], Refusal | None]

WHATEVER_SIZE: tuple[Check, ...] = (
    conduct.state,
    health.tradable,
    health.quotes,
    health.assumptions,
    hedge.terms,
    conduct.losses,
    conduct.edge_decay,
    conduct.edge,
    stops.expiry,
    flow.rates,
    funding.rate,
    sizing.depth,
)
"""Rules that no size satisfies. They come first: sizing may divide by a price only once it is known to be one."""

AT_SIZE: tuple[Check, ...] = (
    hedge.net_delta,
    flow.position_limit,
    funding.ahead,
    counterparty.venue_caps,
    counterparty.stable_cap,
    counterparty.jump_to_default,
    margin.initial,
    margin.stress,
)
"""Rules that judge what would really be sent, after sizing has shrunk it."""

RULES: tuple[Check, ...] = WHATEVER_SIZE + AT_SIZE
"""Every refusing rule, in the order in which they refuse."""


def review(opening: Opening, limits: Limits) -> Approved | Refusal:
    """Return how many lots may be held after this opening, or the first refusal. Never more than asked."""
    for check in WHATEVER_SIZE:
        refusal = check(opening, limits)
        if refusal is not None:
            return refusal
    lots, shrunk_by = opening.lots, None
    for rule, cap in sizing.CAPS:
        allowed = cap(opening, limits)
        if allowed < lots:
            lots, shrunk_by = allowed, rule
    if lots <= opening.held_lots:
        return Refusal(shrunk_by or Rule.ZERO_SIZE, float(lots), float(opening.lots))
    sized = opening if lots == opening.lots else msgspec.structs.replace(opening, lots=lots)
    for check in AT_SIZE:
        refusal = check(sized, limits)
        if refusal is not None:
            return refusal
    return Approved(lots, shrunk_by)
