"""Verdicts: a refusal is a value of a closed enum with what was observed and what the limit is."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Rule(StrEnum):
    """Every reason for which an opening can be refused, an order stopped or a trade ended."""

    # stops
    SPREAD_STOP = "spread_stop"
    SIGMA_STOP = "sigma_stop"
    MONEY_STOP = "money_stop"
    TRAILING_STOP = "trailing_stop"
    TIME_STOP = "time_stop"
    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    EXPIRY_STOP = "expiry_stop"
    # sizing
    RISK_PER_TRADE = "risk_per_trade"
    PAIR_CAP = "pair_cap"
    VOLATILITY = "volatility"
    DEPTH = "depth"
    EXITABLE = "exitable"
    ZERO_SIZE = "zero_size"
    # margin buffers
    MARGIN_INITIAL = "margin_initial"
    MARGIN_STRESS = "margin_stress"
    MARGIN_BUFFER = "margin_buffer"
    # funding cost
    FUNDING_RATE = "funding_rate"
    FUNDING_BUDGET = "funding_budget"
    # counterparty
    VENUE_CAP = "venue_cap"
    STABLE_CAP = "stable_cap"
    JUMP_TO_DEFAULT = "jump_to_default"
    # hedge
    NET_DELTA = "net_delta"
    UNHEDGED_TIME = "unhedged_time"
    UNHEDGED_USD_S = "unhedged_usd_s"
    HEDGE_TERMS = "hedge_terms"
    # market health
    QUOTE_MISSING = "quote_missing"
    QUOTE_AGE = "quote_age"
    QUOTE_SKEW = "quote_skew"
    QUOTE_CROSSED = "quote_crossed"
    QUOTE_ABSURD = "quote_absurd"
    SESSION_CLOSED = "session_closed"
    SESSION_CLOSING = "session_closing"
    VENUE_DOWN = "venue_down"
    STABLE_UNKNOWN = "stable_unknown"
    INDEX_UNKNOWN = "index_unknown"
    DEPEG = "depeg"
    FUNDING_UNKNOWN = "funding_unknown"
    MARK_UNKNOWN = "mark_unknown"
    # flow
    ORDER_RATE = "order_rate"
    COLLAR = "collar"
    MAX_ORDER = "max_order"
    REPEAT = "repeat"
    SELF_MATCH = "self_match"
    POSITION_LIMIT = "position_limit"
    # conduct
    KILL_LEVEL = "kill_level"
    NOT_READY = "not_ready"
    NAV_UNKNOWN = "nav_unknown"
    PAIR_FROZEN = "pair_frozen"
    EDGE_DECAY = "edge_decay"
    EDGE_GONE = "edge_gone"


class Refusal(msgspec.Struct, frozen=True):
    """One rule said no. Units of observed and limit are those of the limit's name in risk.limits."""

    rule: Rule
    observed: float
    limit: float


class Approved(msgspec.Struct, frozen=True):
    """An opening may go ahead up to `lots` (absolute lead lots, same direction, never above what was asked)."""

    lots: int
    shrunk_by: Rule | None = None
