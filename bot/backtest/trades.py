"""What a backtest writes down beside the loop: every trade with its attribution, and why every other signal gave none.

Both only look. `Looks` stands between engine and strategy and passes everything through; `TradeLog` keeps the tally and
cuts its attribution into trades, from the first fill of a pair to flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from decimal import Decimal
from typing import Any

import msgspec

from bot.backtest.formats import SECOND_NS
from bot.engine.obligations import PairState
from bot.engine.step import Step
from bot.model import event as ev
from bot.model.intent import EntryDeclined, PairIntent
from bot.model.notation import iso
from bot.model.ports import Strategy
from bot.model.view import View
from bot.tally import PairTally, Tally
from strategies.excess import Memory


class Look(msgspec.Struct, frozen=True, gc=False):
    """What the strategy made of one signal. edge_bp, required_bp: None when it was not worked out.

    z is in the direction of `direction`; held: a trade was on, so nothing was to be opened. why: first reason against.
    """

    ts_ns: int
    contract: str
    direction: int
    z: float
    premium_bp: float
    excess_bp: float
    edge_bp: float | None
    required_bp: float | None
    held: bool
    why: str


class Looks:
    """A strategy (port) that is another one, written down at each quote of the hedge: the second close of a signal."""

    def __init__(self, inner: Strategy, found: list[Look]) -> None:
        self.id = inner.id
        self.inner = inner
        self.found = found

    def start(self, params: Any, history: Sequence[ev.Event] = ()) -> Any:
        """Start the strategy itself."""
        return self.inner.start(params, history)

    def on_event(self, memory: Memory, view: View, event: ev.Event) -> PairIntent | EntryDeclined | None:
        """Ask the strategy and note what it saw."""
        held = view.target != 0 or view.lead_qty != 0
        intent = self.inner.on_event(memory, view, event)
        if isinstance(event, ev.Quote) and event.instrument == memory.perp:
            sampled, weighed = memory.sampled_ns == view.now, memory.edge_ns == view.now
            direction = memory.direction or 1
            self.found.append(
                Look(
                    ts_ns=view.now, contract=memory.contract, direction=direction, z=memory.z * direction if sampled else 0.0,
                    premium_bp=memory.premium_bp, excess_bp=memory.excess_bp, edge_bp=memory.edge_bp if weighed else None,
                    required_bp=memory.required_bp if weighed else None, held=held, why=memory.block,
                )
            )  # fmt: skip
        return intent

    def rearms(self, memory: Memory, view: View) -> bool:
        """Ask the strategy."""
        return self.inner.rearms(memory, view)


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One trade of one contract, from its first fill to flat. Prices: averages, CME in USD, perp in its quote currency.

    exited_at, exit prices: None when the data ended first (then marked at mid). expected_bp: edge at the decision;
    result_bp: profit over coins x index at entry. attribution: USD, the pair's lines over this trade alone.
    """

    contract: str
    direction: str
    decided_at: str
    entered_at: str
    exited_at: str | None
    lots: float
    coins: float
    cme_entry: float
    perp_entry: float
    cme_exit: float | None
    perp_exit: float | None
    z: float
    excess_bp: float
    expected_bp: float
    result_bp: float
    pnl_usd: float
    entry_reason: str
    exit_reason: str
    open_at_end: bool
    attribution: dict[str, float]


class _Fills:
    """Quantity and value of one leg on one side of a trade."""

    __slots__ = ("qty", "value")

    def __init__(self) -> None:
        self.qty = self.value = Decimal(0)

    def add(self, fill: ev.OrderFilled) -> None:
        self.qty += fill.qty
        self.value += fill.qty * fill.price

    @property
    def average(self) -> float | None:
        return float(self.value / self.qty) if self.qty else None


class _Open:
    """The trade that is on."""

    def __init__(self, contract: str, first: ev.OrderFilled, decided_ns: int, intent: PairIntent | None, before: dict[str, float], index_usd: float) -> None:
        self.contract = contract
        self.entered_ns = first.ts
        self.decided_ns = decided_ns
        self.intent = intent
        self.before = before
        self.index_usd = index_usd
        self.sign = first.side.sign
        self.legs: dict[tuple[bool, bool], _Fills] = {}
        self.exit_reason = "data ended"


class TradeLog:
    """Observer of one contract's run (bot.runtime.Observer): keeps the tally, and finds trades in it.

    curve: (UTC ns, USD that the trades have made, one that is on at mid) at the start of every trade date.
    """

    def __init__(self, tally: Tally, trades: list[Trade]) -> None:
        self.tally = tally
        self.curve: list[tuple[int, float]] = []
        self.trades = trades
        self.pair: PairTally = next(iter(tally.pairs.values()))
        self.state: PairState = self.pair.state
        self.lead = self.pair.window.lead_terms
        self.now = 0
        self._open: _Open | None = None
        self._before = dict(self.pair.lines.lines)
        self._decided: tuple[int, PairIntent | None] = (0, None)

    def stepped(self, event: ev.Event, out: Step) -> None:
        """See one journalled step."""
        if any(isinstance(decided, ev.DayStarted) for decided in out.events):  # before a fill of that instant: half a pair is no value
            self.curve.append((event.ts, self._made()))
        self.tally.stepped(event, out)
        self.now = self.tally.engine.ob.now
        for seen in (event, *out.events):
            if isinstance(seen, ev.OrderFilled):
                self._filled(seen)
            elif isinstance(seen, ev.TargetSet):
                if seen.target_lead:
                    self._decided = (seen.ts, seen.intent)
                elif self._open is not None:
                    self._open.exit_reason = seen.intent.reason
            elif isinstance(seen, ev.StopTripped) and self._open is not None:
                self._open.exit_reason = f"stop {seen.rule}: {seen.observed:.4g} against {seen.limit:.4g}"
        if self.state.flat:
            if self._open is not None:
                self._close(open_at_end=False)
            self._before = dict(self.pair.lines.lines)

    def marked(self, now_ns: int) -> None:
        """See that marks moved."""
        self.tally.marked(now_ns)

    def finish(self) -> None:
        """Note a trade that the end of the data left open, marked at mid."""
        if self._open is not None:
            self.pair.lines.mark(self.pair.marks(self.now, self.tally.carry))
            self._close(open_at_end=True)

    def _made(self) -> float:
        """Return what the pair's lines sum to at the present marks, without moving them."""
        lines = self.pair.lines
        if self._open is not None:
            lines = deepcopy(lines)
            lines.mark(self.pair.marks(self.now, self.tally.carry))
        return sum(lines.lines.values())

    def _filled(self, fill: ev.OrderFilled) -> None:
        if self._open is None:
            decided_ns, intent = self._decided
            index = self.pair.marks(fill.ts, self.tally.carry).index_usd
            self._open = _Open(self.lead.id, fill, decided_ns, intent, self._before, index)
        is_lead = fill.instrument == self.lead.id
        opens = (fill.side.sign == self._open.sign) == is_lead
        self._open.legs.setdefault((is_lead, opens), _Fills()).add(fill)

    def _close(self, *, open_at_end: bool) -> None:
        trade = self._open
        assert trade is not None
        self._open = None
        lines = {name: amount - trade.before[name] for name, amount in self.pair.lines.lines.items()}
        none = _Fills()
        cme_in, perp_in = trade.legs.get((True, True), none), trade.legs.get((False, True), none)
        coins = float(cme_in.qty * self.lead.unit)
        pnl = sum(lines.values())
        intent = trade.intent
        self.trades.append(
            Trade(
                contract=trade.contract, direction=direction_name(trade.sign), decided_at=_second(trade.decided_ns),
                entered_at=_second(trade.entered_ns), exited_at=None if open_at_end else _second(self.now), lots=float(cme_in.qty), coins=coins,
                cme_entry=cme_in.average or 0.0, perp_entry=perp_in.average or 0.0,
                cme_exit=trade.legs.get((True, False), none).average, perp_exit=trade.legs.get((False, False), none).average,
                z=intent.z if intent else 0.0, excess_bp=intent.excess_bp if intent else 0.0,
                expected_bp=intent.edge_bp if intent else 0.0,
                result_bp=pnl / (coins * trade.index_usd) * 1e4 if coins and trade.index_usd else 0.0, pnl_usd=pnl,
                entry_reason=intent.reason if intent else "", exit_reason=trade.exit_reason, open_at_end=open_at_end, attribution=lines,
            )
        )  # fmt: skip


def direction_name(sign: int) -> str:
    """Return the name of a direction of the pair: > 0 is long CME, short perp."""
    return "long_cme" if sign > 0 else "short_cme"


def _second(ts_ns: int) -> str:
    """Return an instant as ISO 8601 in whole seconds: the ns that order events within one instant say nothing to a reader."""
    return iso(whole_second(ts_ns))


def whole_second(ts_ns: int) -> int:
    """Return an instant in whole seconds, UTC ns."""
    return ts_ns // SECOND_NS * SECOND_NS
