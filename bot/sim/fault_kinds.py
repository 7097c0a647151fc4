"""The closed list of what can go wrong outside the desk, and what each kind is: its rows, its length, its arguments.

Shared by paper, wire servers and simulate. Nothing here says what the desk does about any of it.
"""

from __future__ import annotations

from enum import StrEnum


class FaultKind(StrEnum):
    """What can happen to a message, a feed, a market, an account or the line itself."""

    LOST_REQUEST = "lost_request"
    LOST_ACK = "lost_ack"
    LOST_FILL = "lost_fill"
    LATE_FILL = "late_fill"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    REJECT = "reject"
    PARTIAL_FILL = "partial_fill"
    CANCEL_RACE = "cancel_race"
    SNAPSHOT_FAIL = "snapshot_fail"
    CROSSED_QUOTE = "crossed_quote"
    BAD_QUOTE = "bad_quote"
    ONE_SIDED = "one_sided"
    OUTAGE = "outage"
    SLOW = "slow"
    SILENT = "silent"
    STALE_QUOTES = "stale_quotes"
    THIN_BOOK = "thin_book"
    ADL = "adl"
    LIQUIDATION = "liquidation"
    DUPLICATE_BOOK = "duplicate_book"
    BURST = "burst"
    FLAP = "flap"
    THROTTLED = "throttled"
    OVERFILL = "overfill"
    BUST = "bust"
    MANUAL_TRADE = "manual_trade"
    HALT = "halt"
    PRICE_LIMIT = "price_limit"
    MARGIN_HIKE = "margin_hike"
    BLOW_OUT = "blow_out"
    MARK_SPLIT = "mark_split"
    DEPEG = "depeg"
    FUNDING_SPIKE = "funding_spike"
    FUNDING_MISSING = "funding_missing"


K = FaultKind
ROWS: dict[FaultKind, tuple[str, ...]] = {
    K.LOST_REQUEST: ("F34", "F40"),
    K.LOST_ACK: ("F33", "F35"),
    K.LOST_FILL: ("F38",),
    K.LATE_FILL: ("F41",),
    K.DUPLICATE: ("F37",),
    K.REORDER: ("F36",),
    K.REJECT: ("F44", "F50"),
    K.PARTIAL_FILL: ("F53",),
    K.CANCEL_RACE: ("F42",),
    K.SNAPSHOT_FAIL: ("F18",),
    K.CROSSED_QUOTE: ("F7",),
    K.BAD_QUOTE: ("F8",),
    K.ONE_SIDED: ("F9",),
    K.OUTAGE: ("F27", "F45"),
    K.SLOW: ("F97",),
    K.SILENT: ("F1", "F16"),
    K.STALE_QUOTES: ("F2",),
    K.THIN_BOOK: ("F107",),
    K.ADL: ("F98",),
    K.LIQUIDATION: ("F99",),
    K.DUPLICATE_BOOK: ("F10",),
    K.BURST: ("F15",),
    K.FLAP: ("F28",),
    K.THROTTLED: ("F20",),
    K.OVERFILL: ("F46",),
    K.BUST: ("F47",),
    K.MANUAL_TRADE: ("F48", "F90"),
    K.HALT: ("F95", "F96"),
    K.PRICE_LIMIT: ("F108",),
    K.MARGIN_HIKE: ("F106",),
    K.BLOW_OUT: ("F102",),
    K.MARK_SPLIT: ("F13",),
    K.DEPEG: ("F100",),
    K.FUNDING_SPIKE: ("F101",),
    K.FUNDING_MISSING: ("F14",),
}
"""Rows of the fault catalogue that a hit of each kind covers."""

LENGTH_S: dict[FaultKind, tuple[float, float, float]] = {
    K.OUTAGE: (30.0, 5.0, 120.0),
    K.SLOW: (30.0, 5.0, 120.0),
    K.SILENT: (30.0, 5.0, 120.0),
    K.STALE_QUOTES: (30.0, 5.0, 120.0),
    K.THIN_BOOK: (30.0, 5.0, 120.0),
    K.FLAP: (30.0, 10.0, 120.0),
    K.THROTTLED: (1_800.0, 30.0, 1_800.0),
    K.MANUAL_TRADE: (120.0, 60.0, 1_800.0),
    K.HALT: (120.0, 120.0, 7_200.0),
    K.PRICE_LIMIT: (120.0, 60.0, 1_200.0),
    K.MARGIN_HIKE: (3_600.0, 1_800.0, 21_600.0),
    K.BLOW_OUT: (600.0, 120.0, 1_800.0),
    K.MARK_SPLIT: (300.0, 60.0, 1_800.0),
    K.DEPEG: (1_200.0, 600.0, 7_200.0),
    K.FUNDING_SPIKE: (3_600.0, 1_800.0, 28_800.0),
    K.FUNDING_MISSING: (1_800.0, 900.0, 7_200.0),
}
"""Kinds with a length, in seconds: when none is given, and the shortest and longest that a random mix draws.

Two minutes are a dynamic circuit breaker at CME; the rest are assumptions of what has been seen to happen.
"""
LASTING = frozenset(LENGTH_S)
"""Kinds that last `for_ns` and hurt whatever comes by meanwhile."""
INSTANT = frozenset({K.ADL, K.LIQUIDATION, K.BUST})
"""Kinds that happen to the account at `at_ns`, or as soon after as there is something to happen to."""
BREAKS = frozenset({K.OUTAGE, K.FLAP})
"""Kinds that cut the line."""
TIMED = INSTANT | BREAKS | {K.HALT, K.MARGIN_HIKE, K.MANUAL_TRADE}
"""Kinds that act by the clock and not on a message; all but INSTANT ones act again when they end."""
FEED = frozenset({
    K.SILENT, K.STALE_QUOTES, K.THIN_BOOK, K.CROSSED_QUOTE, K.BAD_QUOTE, K.ONE_SIDED, K.SLOW, K.DUPLICATE_BOOK, K.BURST,
    K.HALT, K.PRICE_LIMIT, K.BLOW_OUT, K.DEPEG,
})  # fmt: skip
"""Kinds that a quote has to be checked for."""
OFFSHORE = frozenset({K.ADL, K.BLOW_OUT, K.MARK_SPLIT, K.DEPEG, K.FUNDING_SPIKE, K.FUNDING_MISSING})
"""Kinds that only a venue of perpetuals knows. A depeg is named at the venue whose contracts settle in the stablecoin."""

ARGS: dict[FaultKind, dict[str, float]] = {
    K.LATE_FILL: {"delay_s": 8.0},
    K.SLOW: {"delay_s": 1.5},
    K.PARTIAL_FILL: {"share": 0.5},
    K.THIN_BOOK: {"share": 0.02},
    K.ADL: {"share": 0.5},
    K.LIQUIDATION: {"share": 0.25},
    K.BURST: {"copies": 20.0},
    K.FLAP: {"down_s": 2.0, "up_s": 3.0},
    K.THROTTLED: {"per_s": 0.5},
    K.OVERFILL: {"share": 0.2},
    K.MANUAL_TRADE: {"coins": 0.3},
    K.PRICE_LIMIT: {"sign": 1.0},
    K.MARGIN_HIKE: {"multiple": 1.25},
    K.BLOW_OUT: {"bp": 150.0},
    K.MARK_SPLIT: {"bp": 150.0},
    K.DEPEG: {"bp": 300.0},
    K.FUNDING_SPIKE: {"sign": -1.0},
}
"""Arguments each kind takes, with their defaults.

delay_s, down_s, up_s: seconds. share: 0..1 of what is hit. copies: how often one quote comes. per_s: messages a second.
coins: > 0 bought, < 0 sold, and given back when the fault ends. sign: +1 locked at the upper limit or longs pay, -1 at the
lower or shorts pay. multiple: of the margin rates. bp: of the price, > 0 up; of a depeg > 0 below par.
"""

RANGES: dict[str, tuple[float, float]] = {
    "share": (0.0, 1.0), "sign": (-1.0, 1.0), "bp": (-5_000.0, 5_000.0), "coins": (-1_000.0, 1_000.0), "multiple": (1.0, 10.0),
    "copies": (1.0, 10_000.0),
}  # fmt: skip
"""Inclusive bounds of arguments; any other is > 0 and at most a day."""


def in_range(name: str, value: float) -> bool:
    """Return whether an argument may have this value; what has a sign may not be zero."""
    if name == "sign":
        return value in (-1.0, 1.0)
    if name not in RANGES:
        return 0.0 < value <= 86_400.0
    low, high = RANGES[name]
    return low <= value <= high and (low >= 0.0 or value != 0.0)
