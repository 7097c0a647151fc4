"""The gate: every opening passes every rule, in one literal order, and comes out refused or approved in whole lots."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from risk import conduct, counterparty, flow, funding, health, hedge, margin, sizing
from risk.limits import Limits
from risk.request import Opening
from risk.verdict import Approved, Refusal, Rule

RULES: tuple[Callable[[Opening, Limits], Refusal | None], ...] = (
    conduct.state,
    health.tradable,
    health.quotes,
    health.assumptions,
    hedge.terms,
    conduct.losses,
    conduct.edge_decay,
    flow.rates,
    flow.position_limit,
    funding.rate,
    counterparty.venue_caps,
    counterparty.stable_cap,
    counterparty.jump_to_default,
    margin.initial,
    margin.stress,
)
"""Every refusing rule. Sizing shrinks first, so that margin and caps judge what would really be sent."""


def review(opening: Opening, limits: Limits) -> Approved | Refusal:
    """Return how many lots may be held after this opening, or the first refusal. Never more than asked."""
    lots, shrunk_by = opening.lots, None
    for rule, cap in sizing.CAPS:
        allowed = cap(opening, limits)
        if allowed < lots:
            lots, shrunk_by = allowed, rule
    if lots <= opening.held_lots:
        health_first = health.tradable(opening, limits) or health.quotes(opening, limits)
        return health_first or Refusal(shrunk_by or Rule.ZERO_SIZE, float(lots), float(opening.lots))
    sized = opening if lots == opening.lots else msgspec.structs.replace(opening, lots=lots)
    for check in RULES:
        refusal = check(sized, limits)
        if refusal is not None:
            return refusal
    return Approved(lots, shrunk_by)
