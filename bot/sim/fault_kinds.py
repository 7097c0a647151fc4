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
    # What only a wire can suffer: bytes, connections and sessions (WIRE below).
    DROP = "drop"
    MUTE = "mute"
    HALF_OPEN = "half_open"
    BANDWIDTH = "bandwidth"
    RESTART = "restart"
    BAD_LENGTH = "bad_length"
    BAD_FRAME = "bad_frame"
    CONNECTIVITY = "connectivity"
    FARM_BLIP = "farm_blip"
    DATA_TYPE = "data_type"
    COMPETING_SESSION = "competing_session"
    CANCEL_REFUSED = "cancel_refused"
    FILL_AFTER_CANCEL = "fill_after_cancel"
    LOST_REPLY = "lost_reply"
    LATE_REPLY = "late_reply"
    RESET = "reset"
    HTML_5XX = "html_5xx"
    UNKNOWN_503 = "unknown_503"
    GARBAGE_200 = "garbage_200"
    EMPTY_200 = "empty_200"
    RATE_BAN = "rate_ban"
    CLOCK_SKEW = "clock_skew"
    DEPTH_GAP = "depth_gap"
    WS_ABORT = "ws_abort"
    WS_SILENT = "ws_silent"
    LISTEN_KEY_EXPIRED = "listen_key_expired"
    KEY_REVOKED = "key_revoked"
    WITHDRAW_ENABLED = "withdraw_enabled"


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
    K.DROP: ("F19", "F25"),
    K.MUTE: ("F22",),
    K.HALF_OPEN: ("F19",),
    K.BANDWIDTH: ("F97",),
    K.RESTART: ("F21",),
    K.BAD_LENGTH: ("F17",),
    K.BAD_FRAME: ("F17",),
    K.CONNECTIVITY: ("F4", "F26"),
    K.FARM_BLIP: ("F3",),
    K.DATA_TYPE: ("F5",),
    K.COMPETING_SESSION: ("F5", "F24"),
    K.CANCEL_REFUSED: ("F42",),
    K.FILL_AFTER_CANCEL: ("F41", "F42"),
    K.LOST_REPLY: ("F33",),
    K.LATE_REPLY: ("F41",),
    K.RESET: ("F19", "F33", "F34"),
    K.HTML_5XX: ("F19", "F31"),
    K.UNKNOWN_503: ("F31",),
    K.GARBAGE_200: ("F17",),
    K.EMPTY_200: ("F17",),
    K.RATE_BAN: ("F20",),
    K.CLOCK_SKEW: ("F80",),
    K.DEPTH_GAP: ("F6",),
    K.WS_ABORT: ("F19",),
    K.WS_SILENT: ("F1",),
    K.LISTEN_KEY_EXPIRED: ("F29",),
    K.KEY_REVOKED: ("F30",),
    K.WITHDRAW_ENABLED: ("F30",),
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
    K.DROP: (10.0, 1.0, 60.0),
    K.MUTE: (30.0, 5.0, 120.0),
    K.HALF_OPEN: (30.0, 5.0, 120.0),
    K.BANDWIDTH: (30.0, 5.0, 120.0),
    K.RESTART: (60.0, 20.0, 300.0),
    K.CONNECTIVITY: (15.0, 2.0, 60.0),
    K.FARM_BLIP: (5.0, 1.0, 30.0),
    K.DATA_TYPE: (30.0, 5.0, 120.0),
    K.COMPETING_SESSION: (30.0, 5.0, 120.0),
    K.RATE_BAN: (10.0, 2.0, 60.0),
    K.CLOCK_SKEW: (30.0, 5.0, 120.0),
    K.WS_SILENT: (30.0, 5.0, 120.0),
    K.KEY_REVOKED: (30.0, 5.0, 120.0),
    K.WITHDRAW_ENABLED: (60.0, 30.0, 120.0),
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
BROKER_WIRE = frozenset({
    K.BAD_LENGTH, K.BAD_FRAME, K.CONNECTIVITY, K.FARM_BLIP, K.DATA_TYPE, K.COMPETING_SESSION, K.CANCEL_REFUSED, K.FILL_AFTER_CANCEL, K.RESTART,
})  # fmt: skip
"""Kinds of the broker's socket alone."""
OFFSHORE_WIRE = frozenset({
    K.LOST_REPLY, K.LATE_REPLY, K.RESET, K.HTML_5XX, K.UNKNOWN_503, K.GARBAGE_200, K.EMPTY_200, K.RATE_BAN, K.CLOCK_SKEW, K.DEPTH_GAP, K.WS_ABORT,
    K.WS_SILENT, K.LISTEN_KEY_EXPIRED, K.KEY_REVOKED, K.WITHDRAW_ENABLED,
})  # fmt: skip
"""Kinds of an exchange's HTTP and WebSockets alone."""
WIRE = BROKER_WIRE | OFFSHORE_WIRE | {K.DROP, K.MUTE, K.HALF_OPEN, K.BANDWIDTH}
"""Kinds that need a server behind a socket: in-process venues have no wire to suffer them."""
IN_PROCESS = tuple(k for k in FaultKind if k not in WIRE)
"""The others, in their order."""

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
    K.BANDWIDTH: {"per_s": 2_000.0},
    K.CONNECTIVITY: {"code": 1_102.0},
    K.FILL_AFTER_CANCEL: {"delay_s": 0.5},
    K.LATE_REPLY: {"delay_s": 8.0},
    K.RESET: {"after": 1.0},
    K.CLOCK_SKEW: {"ms": 5_000.0},
}
"""Arguments each kind takes, with their defaults.

delay_s, down_s, up_s: seconds. share: 0..1 of what is hit. copies: how often one quote comes. per_s: messages, on a thin
wire bytes, a second. coins: > 0 bought, < 0 sold, and given back when the fault ends. sign: +1 locked at the upper limit or
longs pay, -1 at the lower or shorts pay. multiple: of the margin rates. bp: of the price, > 0 up; of a depeg > 0 below par.
code: notice that ends the loss of connectivity, 1101 (subscriptions lost) or 1102 (kept). after: 1 for a connection reset
after the request was carried out, 0 before. ms: the venue's clock ahead of ours.
"""

RANGES: dict[str, tuple[float, float]] = {
    "share": (0.0, 1.0), "bp": (-5_000.0, 5_000.0), "coins": (-1_000.0, 1_000.0), "multiple": (1.0, 10.0),
    "copies": (1.0, 10_000.0), "per_s": (0.001, 1e9),
}  # fmt: skip
"""Inclusive bounds of arguments; any other is > 0 and at most a day."""
CHOICES = {"sign": (-1.0, 1.0), "code": (1_101.0, 1_102.0), "after": (0.0, 1.0)}
"""Arguments with a few values."""


def in_range(name: str, value: float) -> bool:
    """Return whether an argument may have this value; bounds that span zero exclude it."""
    if name in CHOICES:
        return value in CHOICES[name]
    if name not in RANGES:
        return 0.0 < value <= 86_400.0
    low, high = RANGES[name]
    return low <= value <= high and (low >= 0.0 or value != 0.0)
