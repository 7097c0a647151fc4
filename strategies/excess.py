"""The excess premium of one pair: its memory, how it is sampled, and the carry and funding it is measured against.

excess = premium - fair premium, in bp of the index; z is of the window as it stood before the sample. A memory belongs
to one contract and starts afresh at a roll: a splice is not a price move.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

import msgspec

from bot.market.fair import DAY_NS, YEAR_NS
from bot.market.funding import per_year
from bot.model.event import NEVER, Event, FundingRate, MarkPrice, Quote
from bot.model.ids import InstrumentId
from bot.model.view import View
from strategies.basis import TrailingMedian, WindowStats
from strategies.convergence_params import ConvergenceParams
from strategies.funding import differential, forecast
from strategies.prospect import index_usd

S_NS = 1_000_000_000

WHY = {
    "warming": "warming {0:.0f} %", "sigma": "sigma {0:.1f} < {1:g} bp", "z": "z {0:.1f} < {1:g}",
    "z_stop": "z {0:.1f} >= {1:g}", "edge": "edge {0:.1f} < {1:g} bp", "hurdle": "edge {0:.1f} < capital hurdle {1:.1f} bp",
}  # fmt: skip
"""Wording of reasons that carry numbers; other reasons are shown as they are."""


class Memory(msgspec.Struct, kw_only=True):
    """Everything the strategy knows of its pair; observations only, encodable.

    z, mean_bp, sigma_bp: of the excess over the window; sd_bp: sigma before its floor; trade_z: z by the yardstick
    frozen at entry, 0 when flat. warm: enough history, and enough deviation, to believe z.
    edge_bp was worked out at edge_ns, hold_bp (value of holding) while a trade is on. direction: of the trade that is
    on or would be opened. carry: as used; implied: of the mids now; carry_age_ns: age of the latest carry sample.
    exit_ns: start of the exit window. valid_ns: how long a sample holds. *_due_ns: next look. *_ns without other
    note: UTC ns, 0 = never. declined: why the signal that is on was last declined, "" while there is none.
    """

    params: ConvergenceParams
    window: WindowStats
    carries: TrailingMedian
    contract: InstrumentId = ""
    perp: InstrumentId = ""
    expiry_ns: int = 0
    exit_ns: int = NEVER
    valid_ns: int = 0
    carry_due_ns: int = 0
    check_due_ns: int = 0
    look_due_ns: int = 0
    asked_ns: int = 0
    sampled_ns: int = 0
    edge_ns: int = 0
    carry_ns: int = 0
    carry_age_ns: int = 0
    warm: bool = False
    z: float = 0.0
    trade_z: float = 0.0
    mean_bp: float = 0.0
    sigma_bp: float = 0.0
    sd_bp: float = 0.0
    coverage: float = 0.0
    half_life_days: float = 0.0
    excess_bp: float = 0.0
    premium_bp: float = 0.0
    edge_bp: float = 0.0
    required_bp: float = 0.0
    hold_bp: float = 0.0
    carry: float | None = None
    implied: float = 0.0
    funding_year: float = 0.0
    differential: float = 0.0
    direction: int = 0
    block: str = "no quote yet"
    block_value: float = 0.0
    block_limit: float = 0.0
    declined: str = ""
    declined_ns: int = 0

    @property
    def blocked(self) -> str:
        """Return why no trade is opened now, in a few words; "" right after one was asked for."""
        return WHY.get(self.block, self.block).format(self.block_value, self.block_limit)


def fresh(p: ConvergenceParams, contract: InstrumentId, perp: InstrumentId, expiry_ns: int | None) -> Memory:
    """Return an empty memory for one contract."""
    memory = Memory(
        params=p,
        window=WindowStats(window_ns=int(p.window_s * S_NS), bucket_ns=int(p.bucket_s * S_NS)),
        carries=TrailingMedian(size=p.carry_samples, every_ns=int(p.carry_sample_s * S_NS)),
        contract=contract,
        perp=perp,
        expiry_ns=expiry_ns or 0,
        valid_ns=int(p.hold_s * S_NS),
        carry=p.carry_fixed if p.carry_source == "fixed" else None,
        sigma_bp=p.sigma_floor_bp,
    )
    if expiry_ns:
        memory.exit_ns = expiry_ns - int(p.exit_window_days * DAY_NS)
    return memory


def forget(memory: Memory, contract: InstrumentId, perp: InstrumentId, expiry_ns: int | None) -> None:
    """Start the memory afresh: another contract is another history, and a splice is not a price move."""
    new = fresh(memory.params, contract, perp, expiry_ns)
    for name in new.__struct_fields__:
        setattr(memory, name, getattr(new, name))


def warm_up(memory: Memory, history: Sequence[Event], stable_id: InstrumentId | None) -> None:
    """Sample `history` as on_event would have; a leg older than history_age_s at the other's quote gives no sample."""
    contract, perp = memory.contract, memory.perp
    age_max = int(memory.params.history_age_s * S_NS)
    usd = 1.0 if stable_id is None else 0.0
    lead = hedge = index = 0.0
    lead_ns = hedge_ns = mark_ns = 0
    for e in history:
        if type(e) is Quote:
            mid = 0.5 * (e.bid + e.ask) if 0.0 < e.bid < e.ask and e.bid_size > 0.0 and e.ask_size > 0.0 else 0.0
            name = e.instrument
            if name == stable_id:
                usd = mid or usd
                continue
            if name == contract:
                lead, lead_ns = mid, e.venue_ts
            elif name == perp:
                hedge, hedge_ns = mid, e.venue_ts
            else:
                continue
            now = e.ts
            if lead > 0.0 and hedge > 0.0 and now - lead_ns <= age_max and now - hedge_ns <= age_max:
                sample(memory, now, lead, hedge * usd, index * usd, mark_ns)
        elif type(e) is MarkPrice and e.instrument == perp:
            index, mark_ns = e.index, e.ts
        elif type(e) is FundingRate and e.instrument == perp:
            memory.funding_year = per_year(e.rate, e.interval_s)


def sample(memory: Memory, now: int, lead: float, perp_usd: float, index: float, index_ns: int) -> bool:
    """Take one look at both legs (mids, USD); return False and say why when there is nothing to compare.

    z is of the window as it stood before this sample.
    """
    if index <= 0.0:
        memory.block = "index unknown"
        return False
    left = memory.expiry_ns - now
    if left <= 0:
        memory.block = "no time to the fixing"
        return False
    t = left / YEAR_NS
    if memory.params.carry_source != "fixed":
        if now >= memory.carry_due_ns:
            sample_carry(memory, now, log(lead / index) / t, index_ns)
        memory.carry_age_ns = now - memory.carry_ns
    carry = memory.carry
    if carry is None:
        memory.block = "carry unknown"
        return False
    scale = 1e4 / index
    premium_bp = (perp_usd - lead) * scale
    excess_bp = premium_bp - (1.0 - exp(carry * t)) * 1e4
    memory.premium_bp = premium_bp
    memory.excess_bp = excess_bp
    if memory.window.update(now, excess_bp, memory.valid_ns):
        summarise(memory)
    if memory.coverage:
        memory.z = (excess_bp - memory.mean_bp) / memory.sigma_bp
    memory.sampled_ns = now
    return True


def sample_carry(memory: Memory, now: int, implied: float, index_ns: int) -> None:
    """Add an implied carry to the trailing median, unless the index it is implied from is old."""
    if index_ns and now - index_ns <= memory.params.index_age_s_max * S_NS:
        memory.carries.update(now, implied)
        memory.carry = memory.carries.median
        memory.carry_ns = now
        memory.carry_due_ns = now + memory.carries.every_ns


def summarise(memory: Memory) -> None:
    """Bring mean, deviation (never below the floor), coverage and half-life up to the last closed bucket."""
    p, window = memory.params, memory.window
    sd = memory.sd_bp = window.sd
    memory.mean_bp = window.mean
    memory.sigma_bp = max(sd, p.sigma_floor_bp)
    memory.coverage = window.coverage
    measured = None
    if p.half_life_days is None:
        measured = window.half_life_ns(window.bucket_ns, int(p.horizon_cap_days * DAY_NS))
    memory.half_life_days = p.half_life_days or (measured or 0) / DAY_NS
    memory.warm = memory.coverage >= p.coverage_min and sd >= p.sigma_floor_bp


def check(memory: Memory, view: View) -> None:
    """Look at what moves slowly: implied carry, funding a year and their difference. Needs a sample of this instant."""
    p, hedge = memory.params, view.hedge
    now = memory.sampled_ns
    memory.check_due_ns = now + int(p.check_s * S_NS)
    memory.implied = log(view.lead.mid / index_usd(view)) * YEAR_NS / (memory.expiry_ns - now)
    horizon = int(p.horizon_cap_days * DAY_NS)
    rates = forecast(hedge, now, horizon, p.funding_baseline_8h, p.funding_half_life_h)
    if rates is not None:
        memory.funding_year = per_year(hedge.funding_rate, hedge.funding_interval_s)
        memory.differential = differential(rates, horizon, memory.implied)
