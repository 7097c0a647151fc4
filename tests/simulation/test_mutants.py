"""Bugs planted on purpose, one at a time: the harness must catch each within a few days, by the invariant that is there for it.

Each mutant patches one place of the running code. A harness that is green with a mutant in place would be worth nothing, and
the same days without it are green (test_fault_days).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import test_economics

from bot.engine import fold, pair, step, supervise, watch
from bot.engine.obligations import Obligations, PairState
from bot.engine.observations import Window
from bot.journal import accounts
from bot.market import fair
from bot.model import event as ev
from bot.model import ids
from bot.model import order as orders
from bot.model.command import Command
from bot.model.instrument import Instrument, Rounding, to_price
from bot.model.intent import PairIntent
from bot.model.market import Book
from bot.model.order import Order, OrderStatus, Outcome, Side, Trigger
from bot.model.view import View
from bot.sim import account
from bot.sim.faults import Fault, FaultKind
from bot.simulate.deaths import BETWEEN
from bot.simulate.plan import HOUR, Commits, Death, Kill, Plan, S, faulty, plan_of, settings
from bot.simulate.proof import run_plan
from risk import conduct, gate
from strategies import convergence, excess

Patch = pytest.MonkeyPatch
DAYS = 4
"""A mutant has this many days; on the first that shows it the hunt ends."""


def no_dedup(patch: Patch) -> None:
    """Every fill is new, however often it is told."""
    patch.setattr(fold, "repeats", lambda ob, event: False)
    patch.setattr("bot.runtime.repeats", lambda ob, event: False)


def hedge_intended(patch: Patch) -> None:
    """The hedge is for what the lead order asks, filled or not."""
    gap = pair.hedge_gap

    def wrong(state: PairState, window: Window) -> object:
        wanted = msgspec.structs.replace(state, lead=msgspec.structs.replace(state.lead, qty=state.target))
        return gap(wanted if state.lead_order is not None else state, window)

    patch.setattr(pair, "hedge_gap", wrong)
    patch.setattr(step, "hedge_gap", wrong)


def timeout_is_reject(patch: Patch) -> None:
    """No answer in time means it did not happen."""

    def wrong(ob: Obligations, terms: fold.Terms, e: ev.NoAnswer) -> None:
        order = ob.orders[e.client_id]
        if order.live:
            orders.end(order, Outcome.REJECTED, order.filled, "timeout")
            fold._settle(ob, ob.pairs[order.spec.pair], order)

    patch.setitem(fold.HANDLERS, ev.NoAnswer, wrong)


def hedge_twice(patch: Patch) -> None:
    """A live hedge does not keep the next one back."""
    planned = pair.plan_hedge

    def wrong(ob: Obligations, state: PairState, window: Window, x: pair.Execution, out: list[pair.Action]) -> None:
        kept, state.hedge_order = state.hedge_order, None
        planned(ob, state, window, x, out)
        state.hedge_order = kept

    for where in (pair, watch):
        patch.setattr(where, "plan_hedge", wrong)


def no_cumulative(patch: Patch) -> None:
    """A terminal report ends an order whatever it counts."""

    def wrong(order: Order, outcome: Outcome, cum_qty: object, reason: str) -> None:
        order.outcome, order.reason = outcome, reason
        orders.advance(order, Trigger.ENDED)

    patch.setattr(fold, "end", wrong)


def desk_funding_flipped(patch: Patch) -> None:
    """The desk books what it received as paid."""
    book = fold.HANDLERS[ev.FundingPaid]

    def wrong(ob: Obligations, terms: fold.Terms, e: ev.FundingPaid) -> None:
        book(ob, terms, msgspec.structs.replace(e, amount=-e.amount))

    patch.setitem(fold.HANDLERS, ev.FundingPaid, wrong)


def venue_funding_flipped(patch: Patch) -> None:
    """The venue pays longs at a positive rate, and the desk believes it."""
    amount = account.funding_amount
    patch.setattr(account, "funding_amount", lambda *args: -amount(*args))


def unknown_expires(patch: Patch) -> None:
    """An order nobody answers for is taken as absent after its time, without an answer of the venue."""

    def wrong(ob: Obligations, x: pair.Execution, emit: supervise.Emit, commands: list[object]) -> None:
        for client_id in list(ob.live):
            order = ob.orders[client_id]
            if order.status is OrderStatus.UNKNOWN:
                emit(ev.AbsenceProven(ts=ob.now, client_id=client_id))
        silent(ob, x, emit, commands)  # type: ignore[arg-type]

    silent = supervise.orders
    patch.setattr(supervise, "orders", wrong)


def gate_open(patch: Patch) -> None:
    """Openings ignore kill level, readiness and freezes."""
    patch.setattr(pair, "may_open", lambda ob, state, rank: True)
    patch.setattr("risk.conduct.state", lambda x, limits: None)
    patch.setattr("risk.gate.WHATEVER_SIZE", ())


def opens_unready(patch: Patch) -> None:
    """Openings ask for the kill level alone."""
    patch.setattr(pair, "may_open", lambda ob, state, rank: rank == 0)
    patch.setattr(gate, "WHATEVER_SIZE", tuple(rule for rule in gate.WHATEVER_SIZE if rule is not conduct.state))


def ready_once(patch: Patch) -> None:
    """A desk that has traded takes no answer of a venue for a reconciliation any more."""
    compare = supervise.reconcile
    patch.setattr(supervise, "reconcile", lambda ob, *args: compare(ob, *args) if ob.fills == 0 else None)


def blind_to_age(patch: Patch) -> None:
    """Every book is fresh."""
    patch.setattr(Window, "fresh", property(lambda self: self.lead.bid > 0.0 and self.hedge.bid > 0.0))
    patch.setattr("risk.gate.WHATEVER_SIZE", ())


def never_hedges(patch: Patch) -> None:
    """The hedge leg is forgotten."""
    for where in (pair, watch):
        patch.setattr(where, "plan_hedge", lambda *args: None)


def send_first(patch: Patch) -> None:
    """Commands leave before their step is durable."""
    from bot.runtime import Runtime

    commit = Runtime._commit

    def wrong(self: Runtime, event: ev.Event, out: step.Step) -> None:
        for command in out.commands:
            self._dispatch(command)
        commit(self, event, step.Step(out.events, ()))

    patch.setattr(Runtime, "_commit", wrong)


def no_collar(patch: Patch) -> None:
    """Orders go a whole per cent through the touch, and nobody looks."""

    def wrong(terms: Instrument, book: Book, side: Side, x: pair.Execution, attempts: int) -> Decimal:
        return to_price(terms, book.ask * 1.01 if side is Side.BUY else book.bid * 0.99, Rounding.DOWN)

    patch.setattr(pair, "crossing_limit", wrong)
    patch.setattr("risk.flow.collar", lambda *args: None)


def runaway(patch: Patch) -> None:
    """A rejected order is sent again at once, for ever."""
    patch.setattr(fold, "backoff_ns", lambda attempts: 0)


def capless(patch: Patch) -> None:
    """The gate forgets the counterparty caps, on a desk whose caps are small."""
    small(patch, limits={"perp_cap_share": 0.05})
    patch.setattr("risk.gate.AT_SIZE", ())
    patch.setattr("risk.sizing.CAPS", ())


def margin_unwatched(patch: Patch) -> None:
    """The monitors never see that a margin buffer is spent, a large one, so that the broker does not liquidate first."""
    small(patch, limits={"margin_buffer_share": 0.6})
    patch.setattr("risk.margin.breach", lambda x, limits: None)


def averages_down(patch: Patch) -> None:
    """A trade that is on asks for ten lots more at each look, up to what the gate allows."""
    small(patch, strategy={"lots": 10})
    judged = convergence.held

    def wrong(memory: excess.Memory, view: View, target: Decimal) -> PairIntent | None:
        found = judged(memory, view, target)
        if found is not None or view.intent is None or view.lead_qty != target:
            return found
        return msgspec.structs.replace(view.intent, target_lead=target + 10 * (1 if target > 0 else -1))

    patch.setattr(convergence, "held", wrong)


def forgets_the_latch(patch: Patch) -> None:
    """A start takes no notice of the level that is latched."""
    started = fold.HANDLERS[ev.RunStarted]

    def wrong(ob: Obligations, terms: fold.Terms, e: ev.RunStarted) -> None:
        started(ob, terms, msgspec.structs.replace(e, kill_level=ev.KillLevel.NONE))

    patch.setitem(fold.HANDLERS, ev.RunStarted, wrong)


def closes_too_much(patch: Patch) -> None:
    """A close is one lot larger than what is held."""
    asked = pair._lead_ask

    def wrong(state: PairState, window: Window, x: pair.Execution, side: Side, qty: Decimal, opening: bool) -> pair.Ask:
        return asked(state, window, x, side, qty if opening else abs(state.lead.qty) + 1, opening)

    patch.setattr(pair, "_lead_ask", wrong)


def never_asks(patch: Patch) -> None:
    """Silence becomes UNKNOWN, and nobody asks the venue about it."""
    looked = supervise.orders

    def wrong(ob: Obligations, x: pair.Execution, emit: supervise.Emit, commands: list[object]) -> None:
        asked: list[Command] = []
        looked(ob, x, emit, asked)

    patch.setattr(supervise, "orders", wrong)


def keeps_everything(patch: Patch) -> None:
    """Done orders are kept for ever; a day is short, so what may be kept is little."""
    patch.setattr(fold, "forget_oldest", lambda ob: None)
    patch.setattr("bot.engine.retold.REACH_NS", 0)
    patch.setattr("bot.checks.agree.DONE_ORDERS_KEPT", 20)


def ids_repeat(patch: Patch) -> None:
    """Two orders share each number."""
    patch.setattr(pair, "client_id", lambda mode, run, purpose, number: ids.client_id(mode, run, purpose, number // 2))


def ledger_forgets(patch: Patch) -> None:
    """The ledger does not book what a venue took by force."""
    filled = accounts._BOOK[ev.OrderFilled]
    patch.setitem(accounts._BOOK, ev.OrderFilled, lambda books, e: filled(books, e) if e.client_id else ())


def unknown_weighs_nothing(patch: Patch) -> None:
    """An order of unknown fate reserves nothing."""
    leaves = Order.leaves.fget
    assert leaves is not None
    patch.setattr(Order, "leaves", property(lambda self: Decimal(0) if self.status is OrderStatus.UNKNOWN else leaves(self)))


def confirms_blindly(patch: Patch) -> None:
    """Every kill level counts as reached at once."""
    patch.setattr("bot.engine.flatten.residual", lambda *args: ())


def decides_unsaid(patch: Patch) -> None:
    """A decision is folded and not journalled."""
    emit = step.Engine._emit

    def wrong(self: step.Engine, event: ev.Event) -> None:
        emit(self, event)
        if isinstance(event, ev.DayStarted):
            self._events.remove(event)

    patch.setattr(step.Engine, "_emit", wrong)


def echoes(patch: Patch) -> None:
    """A failed query comes in two thousand times."""
    from bot.runtime import Runtime

    emit = Runtime.emit

    def wrong(self: Runtime, event: ev.Event) -> None:
        for _ in range(2_000 if isinstance(event, ev.QueryFailed) else 1):
            emit(self, event)

    patch.setattr(Runtime, "emit", wrong)


def small(patch: Patch, **sections: dict[str, object]) -> None:
    """Run days with other settings."""
    made = settings()
    for section, values in sections.items():
        made = msgspec.structs.replace(made, **{section: msgspec.structs.replace(getattr(made, section), **values)})
    patch.setattr("bot.simulate.day.settings", lambda inverse, scenario: made)


def hiked(seed: int) -> Plan:
    """Return a day on which the broker asks for four times its margin while a trade is on."""
    plan = faulty(seed, FaultKind.MARGIN_HIKE)
    hike = Fault(at_ns=plan.start_ns + 9 * HOUR, venue="cme", kind=FaultKind.MARGIN_HIKE, for_ns=4 * HOUR, args={"multiple": 4.0})
    return msgspec.structs.replace(plan, faults=(hike,), scenario="ordinary")


def latched(seed: int) -> Plan:
    """Return a quiet day with kills, and a death between the first and its resume."""
    plan = plan_of(seed + 2)
    return msgspec.structs.replace(plan, kills=(Kill(plan.start_ns + 2 * HOUR, ev.KillLevel.FREEZE, plan.start_ns + 6 * HOUR),), commits=None,
                                   deaths=(Death(plan.start_ns + 2 * HOUR + S, BETWEEN),), files=False)  # fmt: skip


def stalled(seed: int) -> Plan:
    """Return a quiet day whose journal confirms nothing from the first fill on, which halts the desk."""
    plan = plan_of(seed + 2)
    at = plan.start_ns + HOUR
    return msgspec.structs.replace(plan, kills=(), commits=Commits(at, at + 3 * HOUR, "late", on_fill=True), deaths=(), files=False, scenario="ordinary")


def flattened(seed: int) -> Plan:
    """Return a quiet day that is flattened while a trade is on."""
    plan = plan_of(seed + 2)
    kills = tuple(Kill(plan.start_ns + int(h * HOUR), ev.KillLevel.FLATTEN, plan.start_ns + int((h + 0.5) * HOUR)) for h in (1.6, 2.2, 2.8))
    return msgspec.structs.replace(plan, kills=kills, commits=None, deaths=(), files=False, scenario="ordinary")


def flattened_a_moment(seed: int) -> Plan:
    """Return a quiet day that is flattened for a tenth of a second while a trade is on."""
    plan = flattened(seed)
    return msgspec.structs.replace(plan, kills=tuple(msgspec.structs.replace(k, resume_ns=k.at_ns + S // 10) for k in plan.kills))


def alone(kind: FaultKind, for_s: int = 0) -> Callable[[int], Plan]:
    """Return days with one fault kind alone; lasting ones last `for_s`."""
    return lambda seed: faulty(seed, kind, for_s * S)


def drawn(kind: int) -> Callable[[int], Plan]:
    """Return days as their seeds draw them, of one sort (seed modulo 20)."""
    return lambda seed: plan_of(seed + kind)


MUTANTS: dict[str, tuple[Callable[[Patch], None], Callable[[int], Plan], tuple[str, ...]]] = {
    "no fill dedup": (no_dedup, alone(FaultKind.DUPLICATE), ("I4",)),
    "hedge the intended quantity": (hedge_intended, alone(FaultKind.PARTIAL_FILL), ("I11",)),
    "timeout treated as reject": (timeout_is_reject, alone(FaultKind.LOST_ACK), ("I5",)),
    "hedge while a hedge is live": (hedge_twice, alone(FaultKind.LATE_FILL), ("R4",)),
    "cumulative check dropped": (no_cumulative, alone(FaultKind.LATE_FILL), ("I5",)),
    "funding sign flipped in the desk": (desk_funding_flipped, drawn(14), ("I7",)),
    "funding sign flipped at the venue": (venue_funding_flipped, drawn(14), ("I7",)),
    "UNKNOWN ends without evidence": (unknown_expires, alone(FaultKind.LOST_REQUEST), ("I5",)),
    "openings ignore the gate": (gate_open, drawn(2), ("I17", "I8")),
    "openings of a desk that is not ready": (opens_unready, stalled, ("I8",)),
    "never ready again": (ready_once, drawn(9), ("I23",)),
    "stale books are fresh": (blind_to_age, alone(FaultKind.SILENT, 10_800), ("I15",)),
    "the hedge is forgotten": (never_hedges, drawn(9), ("I9", "I23")),
    "send before the commit": (send_first, drawn(9), ("I2",)),
    "client ids repeat": (ids_repeat, drawn(9), ("I3",)),
    "the ledger forgets a liquidation": (ledger_forgets, alone(FaultKind.LIQUIDATION), ("I1",)),
    "UNKNOWN weighs nothing": (unknown_weighs_nothing, alone(FaultKind.LOST_ACK), ("I6",)),
    "a level confirmed blindly": (confirms_blindly, flattened_a_moment, ("I18",)),
    "a decision that is not journalled": (decides_unsaid, drawn(9), ("R1",)),
    "no collar": (no_collar, drawn(9), ("I10",)),
    "a runaway resend": (runaway, alone(FaultKind.REJECT), ("I12",)),
    "the gate forgets counterparty caps": (capless, drawn(9), ("I14",)),
    "margin is not watched": (margin_unwatched, hiked, ("I13",)),
    "averaging down": (averages_down, drawn(9), ("I16",)),
    "a start ignores the latch": (forgets_the_latch, latched, ("I19",)),
    "a close larger than the position": (closes_too_much, flattened, ("I20",)),
    "UNKNOWN is never asked about": (never_asks, alone(FaultKind.LOST_REQUEST), ("I22",)),
    "done orders are kept for ever": (keeps_everything, drawn(9), ("I25",)),
    "an inbox that floods": (echoes, alone(FaultKind.SNAPSHOT_FAIL), ("I25",)),
}
"""Name -> (what is broken, the days it is hunted on, the invariants one of which must name it)."""


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str, monkeypatch: Patch) -> None:
    """The planted bug shows as a violation of the invariant that is there for it within a few days; the same day without it is clean."""
    plant, days, invariants = MUTANTS[name]
    seen: list[str] = []
    for n in range(DAYS):
        plan = days(2_000 + 20 * n)
        with monkeypatch.context() as patch:
            plant(patch)
            violations = run_plan(plan).violations
        seen += violations
        caught = [v for v in violations if v.startswith(invariants)]
        if caught:
            print(f"{name}: day {n + 1}, {len(violations)} violations, first {caught[0]}")
            assert run_plan(plan).violations == [], f"{plan}: not clean without the mutant"
            return
    raise AssertionError(f"{name} survived {DAYS} days from seed 2000 on; seen: {seen[:3]}")


def test_fair_carry_ignored_is_caught(monkeypatch: Patch) -> None:
    """Whole days cannot tell: z is of the excess's own history, so a constant is no news. Golden cases and one strategy can.

    In contango the raw premium picks the wrong side: at zero excess a desk that ignores carry sees -49 bp (G1: +346 USD).
    """
    monkeypatch.setattr(fair, "cme_fair", lambda index_usd, carry, t_years: index_usd)
    with pytest.raises(AssertionError):
        test_economics.test_g1_signal()
    with pytest.raises(AssertionError):
        test_economics.test_g2_edge()


def test_fair_carry_ignored_in_the_sample_is_caught(monkeypatch: Patch) -> None:
    """The strategy's own excess is measured with the exact fair premium: without it the sample is off by the carry."""
    memory = excess.fresh(settings().strategy, "MBTX26", "BTCUSDT", 30 * 86_400 * 10**9)

    def sampled() -> float:
        excess.sample(memory, 1, 70_346.0581, 70_000.0, 70_000.0, 1)
        return memory.excess_bp

    assert sampled() == pytest.approx(0.0, abs=1e-3), "fair by G1: no excess"
    monkeypatch.setattr(excess, "exp", lambda x: 1.0)
    assert sampled() == pytest.approx(-49.4369, abs=1e-3), "the mutant sees the contango as a discount"
