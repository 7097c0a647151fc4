"""Parameters of the convergence strategy, each with its unit; the defaults are the desk's configuration."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from bot.market.funding import BASELINE_8H

Side = Literal["long_cme", "short_cme", "both"]
Mode = Literal["reversion", "carry"]
CarrySource = Literal["fixed", "trailing_median"]

_POSITIVE = (
    "window_s", "bucket_s", "hold_s", "coverage_min", "sigma_floor_bp", "z_in", "z_stop", "horizon_cap_days",
    "carry_sample_s", "index_age_s_max", "funding_half_life_h", "cme_margin_share", "perp_margin_share", "entry_valid_s",
)  # fmt: skip
_NOT_NEGATIVE = (
    "history_age_s", "z_watch", "exit_window_days", "risk_free", "hurdle_margin", "financing_rate", "stable_haircut",
    "slippage_bp", "check_s", "cooldown_s",
)  # fmt: skip


class ConvergenceParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of one convergence pair. Rates are fractions a year unless their line says otherwise.

    side: which direction may be opened; mode: `reversion` trades z of the excess, `carry` holds to the exit window for
        funding - implied carry.
    lots: largest target, lead contracts. passive: the lead may rest at its own touch.
    z_in, z_out, z_stop: enter at z_in <= z < z_stop, leave at z_out, in deviations. z_watch: |z| from which the edge
        is worked out at every sample; edge_always: at every sample (backtests).
    window_s, bucket_s: statistics, seconds of observed market time. coverage_min: share of the window, 0..1.
    sigma_floor_bp: smallest deviation, bp of index; below it no entry. hold_s: how long one sample stays valid.
    history_age_s: oldest other leg accepted when warming from history (backtests: 0, closes of one instant only).
    edge_min_bp: smallest edge after costs, bp of index. horizon_cap_days: longest holding time expected.
    half_life_days: days, None = measured from the window. exit_window_days: leave that long before the fixing.
    risk_free, hurdle_margin: their sum is what the edge must earn a year on the capital of both silos.
    carry_source: `fixed` (carry_fixed, continuous, a year) or `trailing_median` of implied carry over carry_samples
        samples taken carry_sample_s apart. index_age_s_max: an older index blocks entry and is no carry sample.
    funding_half_life_h: hours in which the venue's estimate loses half its distance to funding_baseline_8h (fraction
        per 8 h). financing_rate: on cme_margin_share and perp_margin_share (capital over notional) of the legs.
    stable_haircut: share of perp notional and capital, when the hedge is not quoted in USD. slippage_bp: beyond the
        walked books, whole round trip, bp of index (one MBT tick in and out at 85,000 USD is 1.2).
    entry_valid_s: what is unfilled after this is withdrawn. check_s: between looks at slow facts (funding, value of
        holding). cooldown_s: after a stop, before the pair may re-arm.
    """

    side: Side = "long_cme"
    mode: Mode = "reversion"
    lots: int = 50
    passive: bool = False
    z_in: float = 2.0
    z_out: float = 0.5
    z_stop: float = 4.0
    z_watch: float = 1.0
    edge_always: bool = False
    window_s: float = 3 * 86_400.0
    bucket_s: float = 900.0
    coverage_min: float = 0.8
    sigma_floor_bp: float = 2.0
    hold_s: float = 120.0
    history_age_s: float = 45.0
    edge_min_bp: float = 3.0
    horizon_cap_days: float = 5.0
    half_life_days: float | None = None
    exit_window_days: float = 2.0
    risk_free: float = 0.04
    hurdle_margin: float = 0.03
    carry_source: CarrySource = "fixed"
    carry_fixed: float = 0.06
    carry_samples: int = 288
    carry_sample_s: float = 900.0
    index_age_s_max: float = 600.0
    funding_half_life_h: float = 24.0
    funding_baseline_8h: float = BASELINE_8H
    financing_rate: float = 0.05
    cme_margin_share: float = 0.40
    perp_margin_share: float = 0.35
    stable_haircut: float = 0.0002
    slippage_bp: float = 1.0
    entry_valid_s: float = 300.0
    check_s: float = 60.0
    cooldown_s: float = 3_600.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name}: {value} is not a finite number")
        for name in _POSITIVE:
            if getattr(self, name) <= 0.0:
                raise ValueError(f"{name}: {getattr(self, name)} must be > 0")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0.0:
                raise ValueError(f"{name}: {getattr(self, name)} must be >= 0")
        for name in ("lots", "carry_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} must be >= 1")
        if not self.z_out < self.z_in < self.z_stop:
            raise ValueError(f"z_out {self.z_out} < z_in {self.z_in} < z_stop {self.z_stop} does not hold")
        if self.z_watch > self.z_in:
            raise ValueError(f"z_watch: {self.z_watch} must be <= z_in {self.z_in}, or entries would be overlooked")
        if self.coverage_min > 1.0 or self.bucket_s > self.window_s:
            raise ValueError("coverage_min: must be <= 1, and bucket_s <= window_s")
        if self.half_life_days is not None and self.half_life_days <= 0.0:
            raise ValueError(f"half_life_days: {self.half_life_days} must be > 0, or absent to be measured")
