"""The convergence trade: open what the excess premium should give back after all costs, leave when it has.

premium = perp in USD - CME; excess = premium - the premium that carry explains. Long CME / short perp (direction +1)
earns when the excess falls. Exits are judged by the mean, deviation and carry frozen into the intent that opened the
trade, so that neither a drifting mean nor a drifting carry can fake convergence.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from math import exp, log, log2
from typing import Any

import msgspec

from bot.market.edge import Edge
from bot.market.fair import DAY_NS, YEAR_NS
from bot.model.event import Event
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument
from bot.model.intent import EntryDeclined, PairIntent
from bot.model.view import View
from strategies.convergence_params import ConvergenceParams
from strategies.excess import S_NS, Memory, check, forget, fresh, sample, warm_up
from strategies.prospect import Outlook, edge_at, half_spreads_usd, holding_at, index_usd, lots_shown

__all__ = ["Convergence", "ConvergenceParams", "Memory"]

ZERO = Decimal(0)
DECLINE_EVERY_NS = 60 * S_NS
"""Reasons that take turns are told at this pace: the record stays small whatever the market does."""
NO_SIGNAL = ("z", "still closing")
"""Reasons that say there is nothing to open."""


class Yardstick(msgspec.Struct, frozen=True):
    """What an excess is judged by: mean and deviation in bp of index, and the carry a year it was measured with."""

    mean_bp: float
    sigma_bp: float
    carry: float


class Weighed(msgspec.Struct, frozen=True):
    """An opening thought through: its lots, horizon, edge, and the premium below which it no longer pays."""

    lots: int
    horizon_days: float
    edge: Edge
    funding_bp: float
    min_premium_bp: float


class Convergence:
    """The strategy port (bot.model.ports.Strategy) for one pair of legs; parameters travel in the memory."""

    id = "convergence"

    def __init__(self, lead: Instrument, hedge: Instrument, stable: InstrumentId | None = None) -> None:
        """Bind the legs that history is read for; `stable` prices the hedge's currency in USD, None when it is USD."""
        self.lead, self.hedge, self.stable = lead, hedge, stable

    def start(self, params: Any, history: Sequence[Event] = ()) -> Memory:
        """Return a memory warmed by `history`: Quote, MarkPrice and FundingRate of these legs, in time order."""
        memory = fresh(params, self.lead.id, self.hedge.id, self.lead.expiry_ns)
        if history:
            warm_up(memory, history, self.stable)
        return memory

    def on_event(self, memory: Memory, view: View, event: Event) -> PairIntent | EntryDeclined | None:
        """Take one quote of either leg; return a new target, why a signal is not taken, or None. Changes only `memory`."""
        lead, hedge = view.lead, view.hedge
        if lead.instrument != memory.contract or hedge.instrument != memory.perp:
            forget(memory, lead.instrument, hedge.instrument, view.lead_terms.expiry_ns)
        now, target = view.now, view.target
        if target and now >= memory.exit_ns:
            return leave(memory, view, "exit window before the fixing")
        if not view.fresh:
            memory.block = "not fresh"
            return None
        if not view.session_open:
            memory.block = "session closed"
            return None
        stable = view.stable
        usd = 1.0 if stable is None else stable.mid
        if usd <= 0.0:
            memory.block = "stablecoin unknown"
            return None
        if not sample(memory, now, lead.mid, hedge.mid * usd, hedge.index * usd, hedge.mark_ts):
            return None
        if now >= memory.check_due_ns:
            check(memory, view)
        if target:
            return held(memory, view, target)
        memory.trade_z = 0.0
        return flat(memory, view)

    def rearms(self, memory: Memory, view: View) -> bool:
        """Return whether a stopped pair may trade again: z back inside z_out, and the cool-down over."""
        p = memory.params
        if not memory.warm or memory.sampled_ns != view.now or view.now - view.disarmed_ns < p.cooldown_s * S_NS:
            return False
        intent = view.intent
        lots = intent.target_lead if intent is not None else 0
        z = memory.z if lots > 0 else -memory.z if lots < 0 else abs(memory.z)
        return z < p.z_out


def flat(memory: Memory, view: View) -> PairIntent | EntryDeclined | None:
    """Decide whether to open a trade; the first reason against it is left in the memory."""
    p, now, z = memory.params, memory.sampled_ns, memory.z
    reversion = p.mode == "reversion"
    lean = z if reversion else memory.differential
    direction = 1 if p.side == "long_cme" or (p.side == "both" and lean >= 0.0) else -1
    memory.direction = direction
    zd = z * direction
    if not memory.warm:
        if memory.coverage < p.coverage_min:
            _block(memory, "warming", memory.coverage * 100.0)
        else:
            _block(memory, "sigma", memory.sd_bp, p.sigma_floor_bp)
        return None
    if reversion:
        if zd < p.z_watch and not p.edge_always:
            _block(memory, "z", zd, p.z_in)
            memory.declined = ""
            return None
    elif now < memory.look_due_ns and not p.edge_always:
        return None
    memory.look_due_ns = now + int(p.check_s * S_NS)
    found = weigh(memory, view, direction)
    if found is None or not _may_enter(memory, view, zd):
        return _declined(memory, view, zd)
    memory.asked_ns = now
    memory.declined = ""
    return enter(memory, view, direction, found)


def _block(memory: Memory, why: str, value: float = 0.0, limit: float = 0.0) -> None:
    memory.block, memory.block_value, memory.block_limit = why, value, limit


def _declined(memory: Memory, view: View, zd: float) -> EntryDeclined | None:
    """Return why a signal is not taken if that is news: another reason than before, and not one after the other."""
    p, why, now = memory.params, memory.block, memory.sampled_ns
    if why in NO_SIGNAL or (p.mode == "reversion" and zd < p.z_in):
        memory.declined = ""
        return None
    if why == memory.declined or now - memory.declined_ns < DECLINE_EVERY_NS:
        return None
    memory.declined, memory.declined_ns = why, now
    return EntryDeclined(ts=now, pair=view.pair, why=why, observed=memory.block_value, limit=memory.block_limit)


def _may_enter(memory: Memory, view: View, zd: float) -> bool:
    """Return whether an opening that could be weighed may be asked for; leave the first reason against it."""
    p, edge_bp = memory.params, memory.edge_bp
    reversion = p.mode == "reversion"
    _block(memory, "")
    if not view.armed:
        _block(memory, "disarmed after a stop")
    elif view.lead_qty:
        _block(memory, "still closing")
    elif memory.sampled_ns >= memory.exit_ns:
        _block(memory, "exit window")
    elif reversion and zd < p.z_in:
        _block(memory, "z", zd, p.z_in)
    elif (zd if reversion else abs(zd)) >= p.z_stop:
        _block(memory, "z_stop", zd, p.z_stop)
    elif edge_bp < p.edge_min_bp:
        _block(memory, "edge", edge_bp, p.edge_min_bp)
    elif edge_bp < memory.required_bp:
        _block(memory, "hurdle", edge_bp, memory.required_bp)
    return not memory.block


def horizon(memory: Memory, z: float, now: int) -> float:
    """Return the days a trade at `z` (in its direction) is expected to last, 0 when nothing is left to converge."""
    p = memory.params
    window = max(0.0, (memory.exit_ns - now) / DAY_NS)
    if p.mode == "carry":
        return window
    if z <= p.z_out:
        return 0.0
    reach = p.horizon_cap_days
    if p.z_out > 0.0 and memory.half_life_days > 0.0:
        reach = min(reach, memory.half_life_days * log2(z / p.z_out))
    return min(reach, window)


def z_at_exit(memory: Memory, z: float, days: float) -> float:
    """Return the z expected after `days`: z_out, or what is left of `z` when cap or exit window come first."""
    z_out = memory.params.z_out
    if z <= z_out:
        return z
    return max(z_out, z * 0.5 ** (days / memory.half_life_days)) if memory.half_life_days > 0.0 else z_out


def outlook(memory: Memory, view: View, zd: float, by: Yardstick) -> Outlook:
    """Return what a trade in memory.direction, at `zd` by this yardstick, is held for.

    Reversion expects the excess to fall back towards z_out. Carry is measured against implied carry and expects no
    help from the excess, though a mean that lies against the trade is expected to be reached.
    """
    now, direction, index = memory.sampled_ns, memory.direction, index_usd(view)
    days = horizon(memory, zd, now)
    if memory.params.mode == "carry":
        left = (memory.expiry_ns - now) / YEAR_NS
        carry = log(view.lead.mid / index) / left
        excess_bp = excess_with(memory, carry) + direction * max(0.0, -zd * by.sigma_bp)
    else:
        carry = by.carry
        excess_bp = by.mean_bp + direction * z_at_exit(memory, zd, days) * by.sigma_bp
    return Outlook(
        direction=direction, carry=carry, horizon_days=days, excess_exit_usd=excess_bp * 1e-4 * index,
        half_spreads_usd=half_spreads_usd(view),
    )  # fmt: skip


def excess_with(memory: Memory, carry: float) -> float:
    """Return the excess of the latest sample in bp of index, had it been measured with `carry`."""
    return memory.premium_bp - (1.0 - exp(carry * (memory.expiry_ns - memory.sampled_ns) / YEAR_NS)) * 1e4


def weigh(memory: Memory, view: View, direction: int) -> Weighed | None:
    """Work out the edge of opening now, at the size both books show up to the wanted lots; None and why if unknown."""
    p, hedge = memory.params, view.hedge
    if hedge.funding_ts == 0 or hedge.funding_interval_s <= 0:
        _block(memory, "funding unknown")
        return None
    if memory.sampled_ns - hedge.mark_ts > p.index_age_s_max * S_NS:
        _block(memory, "index stale")
        return None
    x = outlook(memory, view, memory.z * direction, Yardstick(memory.mean_bp, memory.sigma_bp, memory.carry or 0.0))
    lots = min(p.lots, lots_shown(view, direction))
    edge = edge_at(p, view, lots, x) if lots >= 1 else None
    if edge is None:
        _block(memory, "no depth for one lot")
        return None
    bp = 1e4 / index_usd(view)
    hurdle_bp = (p.risk_free + p.hurdle_margin) * x.horizon_days / 365.0 * edge.capital * bp
    memory.edge_bp = edge.edge_bp
    memory.required_bp = max(p.edge_min_bp, hurdle_bp)
    memory.edge_ns = memory.sampled_ns
    floor_bp = direction * edge.executable_premium * bp - (edge.edge_bp - memory.required_bp)
    return Weighed(lots, x.horizon_days, edge, edge.expected_funding * bp, floor_bp)


def enter(memory: Memory, view: View, direction: int, found: Weighed) -> PairIntent:
    """Return the opening intent with everything frozen into it that its exit will be judged by."""
    edge_bp, days = found.edge.edge_bp, found.horizon_days
    return PairIntent(
        pair=view.pair,
        target_lead=Decimal(direction * found.lots),
        reason=f"z {memory.z:+.2f}, edge {edge_bp:.1f} bp = {made_of(found)}, {days:.1f} d",
        z=memory.z,
        excess_bp=memory.excess_bp,
        edge_bp=edge_bp,
        expected_funding_bp=found.funding_bp,
        horizon_days=days,
        mean_bp=memory.mean_bp,
        sigma_bp=memory.sigma_bp,
        carry=memory.carry or 0.0,
        min_premium_bp=found.min_premium_bp,
        passive=memory.params.passive,
    )


def made_of(found: Weighed) -> str:
    """Return what an edge consists of, in bp of index: premium given back, funding, fees, and everything else that costs."""
    edge = found.edge
    bp = edge.edge_bp / edge.edge_usd if edge.edge_usd else 0.0
    fees, other = edge.fees * bp, (edge.financing + edge.haircut + edge.slippage) * bp
    return f"{edge.edge_bp - found.funding_bp + fees + other:.1f} premium {found.funding_bp:+.1f} funding -{fees:.1f} fees -{other:.1f} other"


def frozen(memory: Memory, view: View) -> Yardstick:
    """Return the yardstick of the trade that is on; the window's own when its intent carries none."""
    intent = view.intent
    if intent is None or intent.sigma_bp <= 0.0:
        return Yardstick(memory.mean_bp, memory.sigma_bp, memory.carry or 0.0)
    return Yardstick(intent.mean_bp, intent.sigma_bp, intent.carry)


def held(memory: Memory, view: View, target: Decimal) -> PairIntent | None:
    """Decide whether to leave the trade that is on, or to give up what it has not filled."""
    p, now = memory.params, memory.sampled_ns
    direction = 1 if target > 0 else -1
    by = frozen(memory, view)
    memory.direction = direction
    memory.block = "in a trade"
    excess_bp = memory.excess_bp if by.carry == memory.carry else excess_with(memory, by.carry)
    memory.trade_z = (excess_bp - by.mean_bp) / by.sigma_bp
    zd = memory.trade_z * direction
    if zd <= p.z_out and p.mode == "reversion":
        return leave(memory, view, f"z {zd:.2f} <= {p.z_out:g}")
    if now >= memory.look_due_ns:
        memory.look_due_ns = now + int(p.check_s * S_NS)
        worth = holding_at(p, view, outlook(memory, view, zd, by))
        if worth is not None:
            bp = 1e4 / index_usd(view)
            memory.hold_bp = worth.value_usd * bp
            if worth.value_usd < -worth.exit_cost_usd:
                return leave(memory, view, f"holding {memory.hold_bp:.1f} bp < -{worth.exit_cost_usd * bp:.1f} bp of leaving")
    qty = view.lead_qty
    if qty != target and now - memory.asked_ns > p.entry_valid_s * S_NS and abs(qty) < abs(target):
        return leave(memory, view, "unfilled rest withdrawn", qty if qty * target > 0 else ZERO)
    return None


def leave(memory: Memory, view: View, reason: str, target: Decimal = ZERO) -> PairIntent:
    """Return an intent down to `target`, with the yardstick the trade was judged by."""
    by = frozen(memory, view)
    return PairIntent(
        pair=view.pair, target_lead=target, reason=reason, z=memory.trade_z, excess_bp=memory.excess_bp,
        mean_bp=by.mean_bp, sigma_bp=by.sigma_bp, carry=by.carry,
    )  # fmt: skip
