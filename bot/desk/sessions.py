"""Trading sessions of a product or contract as the command line lists them."""

from __future__ import annotations

from typing import Any

from bot.market.calendar import intervals
from bot.market.expiry import expiry_ns, parse_contract
from bot.model.notation import iso


def listing(symbol: str, from_ns: int, to_ns: int) -> list[dict[str, Any]]:
    """Return the intervals of `symbol` (MBT, or a contract like MBTX26, which is closed from its expiry on).

    Raises ValueError for a symbol the calendar does not know.
    """
    root, end_ns = symbol, to_ns
    if symbol[-1:].isdigit():
        root, year, month = parse_contract(symbol)
        end_ns = max(from_ns, min(to_ns, expiry_ns(year, month)))
    rows = [
        {"from": iso(x.from_ns), "to": iso(x.to_ns), "state": x.state.value, "reason": x.reason, "trade_date": x.trade_date}
        for x in (intervals(root, from_ns, end_ns) if end_ns > from_ns else intervals(root, from_ns, to_ns)[:0])
    ]
    if end_ns < to_ns:
        rows.append({"from": iso(end_ns), "to": iso(to_ns), "state": "closed", "reason": "expired", "trade_date": ""})
    return rows
