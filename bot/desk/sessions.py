"""Trading sessions of a product or contract, and the expiries inside the same time, as the command line lists them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bot.market.calendar import intervals
from bot.market.expiry import contract_symbol, weekly_symbol
from bot.market.holidays import FIRST_DAY, LAST_DAY, chicago_date
from bot.market.listing import Contract, contract_of, listed_from_ns, month_contract, roll_window, week_contract
from bot.market.products import Cycle, product
from bot.model.notation import iso

_FRIDAY = 4


def listing(symbol: str, from_ns: int, to_ns: int) -> list[dict[str, Any]]:
    """Return the intervals of `symbol` (MBT, or a contract like MBTX26 or BFFX2627, which is closed from its expiry on;
    a weekly also until it is listed).

    Raises ValueError for a symbol the calendar does not know, naming those it does.
    """
    root, first_ns, end_ns = symbol, from_ns, to_ns
    if _is_contract(symbol):
        contract = contract_of(symbol)
        root, end_ns = contract.root, max(from_ns, min(to_ns, contract.expiry_ns))
        first_ns = min(end_ns, max(from_ns, listed_from_ns(contract) or from_ns))
    rows = [_closed(from_ns, first_ns, "not listed")] if from_ns < first_ns else []
    rows += [
        {"from": iso(x.from_ns), "to": iso(x.to_ns), "state": x.state.value, "reason": x.reason, "trade_date": x.trade_date}
        for x in intervals(root, first_ns, end_ns)
    ]
    return [*rows, _closed(end_ns, to_ns, "expired")] if end_ns < to_ns else rows


def _closed(from_ns: int, to_ns: int, reason: str) -> dict[str, Any]:
    return {"from": iso(from_ns), "to": iso(to_ns), "state": "closed", "reason": reason, "trade_date": ""}


def expiries(symbol: str, from_ns: int, to_ns: int) -> list[dict[str, Any]]:
    """Return the contracts of `symbol` that expire in [from, to), in order, by the product's rule; of a contract, itself if it does.

    Each with its last trading day, the disputed one if the wordings of the rule differ (else ""), its fixing hour, and when to
    roll it ("" for a weekly).
    status: how well the product's listing and expiry rule is known. Raises ValueError for an unknown symbol.
    """
    found = [contract_of(symbol)] if _is_contract(symbol) else _contracts(symbol, from_ns, to_ns)
    return [_row(c) for c in found if from_ns <= c.expiry_ns < to_ns]


def _is_contract(symbol: str) -> bool:
    return symbol[-1:].isdigit()


def _contracts(root: str, from_ns: int, to_ns: int) -> list[Contract]:
    """Return the contracts of a product whose name falls into the time or near it, inside the calendar."""
    known = product(root)
    start, end = chicago_date(from_ns), chicago_date(to_ns) + timedelta(days=7)
    day = max(start, known.first_day, FIRST_DAY)
    found: dict[str, Contract] = {}
    while day <= min(end, LAST_DAY):
        if known.cycle is not Cycle.FRIDAYS:
            if known.cycle is not Cycle.JUNE or day.month == 6:
                found.setdefault(contract_symbol(root, day.year, day.month), month_contract(root, day.year, day.month))
        elif day.weekday() == _FRIDAY:
            found[weekly_symbol(root, day)] = week_contract(root, day)
        day += timedelta(days=1)
    return list(found.values())


def _row(contract: Contract) -> dict[str, Any]:
    window = roll_window(contract)
    known = product(contract.root)
    return {
        "contract": contract.symbol, "last_trading_day": contract.last_day.isoformat(),
        "disputed": contract.disputed.isoformat() if contract.disputed else "", "expires": iso(contract.expiry_ns),
        "fixing_from": iso(contract.fixing[0]), "fixing_to": iso(contract.fixing[1]), "fixing_in": known.fixing.value,
        "roll_from": window.opens.isoformat() if window else "", "roll_to": window.closes.isoformat() if window else "",
        "relief_fades": window.relief_fades.isoformat() if window else "",
        "status": known.facts["listing"].status,
    }  # fmt: skip
