"""A contract played through the real desk: what a trade earns, what it meets, and what never crosses a splice."""

from __future__ import annotations

import msgspec
import pytest
from bar_files import (
    FROM,
    PRICE,
    QUARTER_NS,
    SWING_BP,
    TO,
    cme_minutes,
    funding_rows,
    perp_series,
    segment,
    study,
    swing,
)

from bot.backtest.formats import DAY_NS, HOUR_NS, MINUTE_NS
from bot.backtest.play import Played, Study, play
from bot.backtest.result import totals
from bot.model.notation import instant_ns

RISE = instant_ns("2026-02-10T14:00Z")
FALL = RISE + 2 * HOUR_NS
RAISED_BP = 90.0


def episode(at_ns: int) -> float:
    """Return the swing, with the perp 90 bp high for two hours and then exactly at the future."""
    if RISE <= at_ns < FALL:
        return RAISED_BP
    return 0.0 if FALL <= at_ns < FALL + HOUR_NS else swing(at_ns)


def one(level=episode, **changes) -> Study:  # type: ignore[no-untyped-def]
    """Return one contract through one episode."""
    bars = cme_minutes(**{k: changes.pop(k) for k in ("price", "volume") if k in changes})
    return study((segment("MBTH26", bars),), perp_series(level), **changes)


def at(x: Study, *, delay: int = 0, spread: float = 1.0) -> Played:
    """Play a study at these costs."""
    return play(x, msgspec.structs.replace(x.settings.costs, delay_bars=delay, spread_multiple=spread))


def test_a_trade_earns_what_its_fills_say() -> None:
    """Fills are the next opens worse by half-spread and slippage, fees are each venue's, and the attribution sums to the P&L."""
    played = at(one())
    (trade,) = played.trades
    assert trade.lots == 10 and trade.coins == pytest.approx(1.0)
    assert trade.cme_entry == PRICE + 10 and trade.cme_exit == PRICE - 10, "half-spread and slippage of one tick each"
    high = PRICE * (1 + RAISED_BP * 1e-4)
    assert trade.perp_entry == pytest.approx(high * (1 - 0.5e-4), abs=0.1) and trade.perp_exit == pytest.approx(PRICE * (1 + 0.5e-4), abs=0.1)
    gross = (trade.cme_exit - trade.cme_entry) + (trade.perp_entry - trade.perp_exit)
    fees = 2 * 10 * 3.0 + 0.0005 * (trade.perp_entry + trade.perp_exit)
    assert trade.pnl_usd == pytest.approx(gross - fees, abs=0.01) and trade.pnl_usd == pytest.approx(551.5, abs=0.5)
    fields = totals(played)
    assert fields["pnl_usd"] == pytest.approx(trade.pnl_usd, abs=1e-6) and abs(fields["residual_usd"]) < 1e-6
    assert fields["fees_usd"] == pytest.approx(-fees, abs=0.01) and played.mismatches == 0
    assert trade.result_bp == pytest.approx(trade.pnl_usd / PRICE * 1e4, rel=1e-3)


def test_the_entry_is_decided_at_a_close_and_filled_at_the_next_open() -> None:
    """The signal is the first close that shows the episode; a price of that close itself is never paid."""
    gone = RISE + QUARTER_NS
    played = at(one(lambda t: RAISED_BP if t == RISE else swing(t)))
    (trade,) = played.trades
    assert trade.decided_at == "2026-02-10T14:00:00Z" and trade.entered_at == "2026-02-10T14:00:00Z"
    assert trade.perp_entry < PRICE * (1 + (swing(gone) + 1) * 1e-4), "the premium was gone at the open that followed"
    assert trade.pnl_usd < 0.0


@pytest.mark.parametrize(("delay", "entered"), [(1, "2026-02-10T14:15:00Z"), (2, "2026-02-10T14:30:00Z")])
def test_a_delay_waits_for_later_opens(delay: int, entered: str) -> None:
    """The same decision fills one or two opens later, with its hedge in the same instant."""
    played = at(one(), delay=delay)
    trade = played.trades[0]
    assert trade.decided_at == "2026-02-10T14:00:00Z" and trade.entered_at == entered
    assert totals(played)["unhedged_usd_s_max"] == 0.0


def test_wider_spreads_cost_what_they_say() -> None:
    """At three times the spreads each of the four fills is worse by two more half-spreads and slippages."""
    (narrow,), (wide,) = at(one()).trades, at(one(), spread=3.0).trades
    assert wide.cme_entry - narrow.cme_entry == pytest.approx(20.0) and wide.perp_entry < narrow.perp_entry
    assert narrow.pnl_usd - wide.pnl_usd == pytest.approx(2 * 20.0 + 4 * 0.5e-4 * PRICE, abs=1.0)


def test_size_is_what_the_bars_let_one_have() -> None:
    """With 30 contracts a minute no more than 3 are held, and the desk asks for no more than it is shown."""
    (trade,) = at(one(volume=lambda t: 30.0)).trades
    assert trade.lots == 3


def test_size_is_bounded_by_the_bar_that_is_met_not_by_the_one_that_was_seen() -> None:
    """A signal minute of 100 contracts followed by one of 30 gives 3 lots: the rest is not there when the order arrives."""
    (trade,) = at(one(volume=lambda t: 30.0 if t % QUARTER_NS == 0 else 100.0)).trades
    assert trade.lots == 3


def test_a_fill_that_is_told_twice_counts_once() -> None:
    """A venue asked for its whole state repeats what it booked since the last question: neither trades nor lots double."""
    played = at(one(sets=("execution.snapshot_every_s=600.0",)))
    (trade,) = played.trades
    assert trade.lots == 10 and trade.pnl_usd == pytest.approx(at(one()).trades[0].pnl_usd)


def test_funding_is_paid_on_what_is_held_and_never_known_before() -> None:
    """A print inside the trade is received by the short at its stamp; the same print after the exit changes nothing at all."""
    stamp_in, stamp_out = instant_ns("2026-02-10T16:00Z"), instant_ns("2026-02-11")
    quiet = at(one())
    paid = at(one(funding=funding_rows(lambda t: 0.001 if t == stamp_in else 0.0)))
    later = at(one(funding=funding_rows(lambda t: 0.001 if t == stamp_out else 0.0)))
    assert totals(paid)["funding_usd"] == pytest.approx(0.001 * PRICE * (1 + RAISED_BP * 1e-4), rel=0.01)
    assert paid.trades[0].entry_reason == quiet.trades[0].entry_reason, "the decision two hours before the stamp did not know it"
    assert totals(later)["pnl_usd"] == totals(quiet)["pnl_usd"]


def test_a_negative_print_is_paid_by_the_short() -> None:
    """The sign: longs pay when it is positive, the short pays when it is negative."""
    stamp = instant_ns("2026-02-10T16:00Z")
    assert totals(at(one(funding=funding_rows(lambda t: -0.0004 if t == stamp else 0.0))))["funding_usd"] < -20.0


def spliced() -> Study:
    """Return two contracts, the second 200 bp above the first from one minute to the next, with a calm perp."""
    roll = FROM + 6 * DAY_NS
    step = PRICE * 1.02
    first = segment("MBTG26", cme_minutes(FROM, roll))
    second = segment("MBTH26", cme_minutes(roll, TO, price=lambda t: step))
    return study((first, second), perp_series(swing))


def test_a_splice_is_neither_profit_nor_a_sample() -> None:
    """A jump of 200 bp between two contracts makes no money, no signal, and starts an empty window."""
    played = at(spliced())
    assert played.trades == [] and totals(played)["pnl_usd"] == 0.0
    second = [x for x in played.looks if x.contract == "MBTH26"]
    assert second[0].z == 0.0 and second[0].why == "warming"
    warm_ns = next(x.ts_ns for x in second if x.why == "z")
    assert warm_ns - second[0].ts_ns >= 0.8 * 3 * DAY_NS, "the window is filled by the second contract alone"
    assert max(abs(x.z) for x in played.looks if x.why != "warming") < 2.0


def test_the_same_jump_inside_one_contract_is_a_signal() -> None:
    """The control of the test above: were the splice not honoured, the desk would see it."""
    roll = FROM + 6 * DAY_NS
    bars = cme_minutes(FROM, TO, price=lambda t: PRICE if t < roll else PRICE * 1.02)
    played = at(study((segment("MBTH26", bars),), perp_series(swing)))
    assert min(x.z for x in played.looks) < -3.0


def test_the_account_goes_on_from_contract_to_contract() -> None:
    """The second contract's desk begins with the money the first one left, and order ids are never reused."""
    roll = FROM + 9 * DAY_NS + HOUR_NS
    first, second = segment("MBTG26", cme_minutes(FROM, roll)), segment("MBTH26", cme_minutes(roll, TO))
    played = at(study((first, second), perp_series(episode)))
    assert len(played.scores) == 2 and len(played.trades) == 1
    assert played.scores[1].equity_start_usd == pytest.approx(played.scores[0].equity_end_usd, abs=1e-6)
    assert played.scores[0].equity_end_usd > played.scores[0].equity_start_usd


def test_what_cannot_be_closed_is_counted_and_marked_at_mid() -> None:
    """When nobody trades CME any more after the entry, the trade is reported as open, and the next desk starts flat."""
    dead = RISE + HOUR_NS
    x = one(volume=lambda t: 100.0 if t < dead else 0.0)
    (trade,) = at(x).trades
    assert trade.open_at_end and trade.exited_at is None and trade.cme_exit is None
    assert trade.exit_reason == "data ended" or "z " in trade.exit_reason or "window" in trade.exit_reason or "stop" in trade.exit_reason


def test_the_desk_leaves_before_its_contract_is_gone() -> None:
    """A premium that stays wide to the end of the data is left in the exit window, at prices that could be had."""
    x = one(lambda t: RAISED_BP if t >= RISE else swing(t))
    short = study((segment("MBTH26", cme_minutes(FROM, RISE + 8 * HOUR_NS)),), perp_series(lambda t: RAISED_BP if t >= RISE else swing(t)))
    assert not any(t.open_at_end for t in at(x).trades)
    (trade,) = at(short).trades
    assert not trade.open_at_end and trade.exit_reason == "exit window before the fixing"


def test_same_input_same_journal() -> None:
    """Two passes over one study give the same commands, journal and money, to the last digit."""
    a, b = at(one()), at(one())
    assert a.journal_sha256 == b.journal_sha256 and totals(a) == totals(b)
    assert a.journal_sha256 != at(one(), spread=3.0).journal_sha256


def test_looks_say_why_every_signal_gave_nothing() -> None:
    """There is one look per signal, and the reasons add up to all of them."""
    x = one()
    played = at(x)
    assert [look.ts_ns for look in played.looks] == [s.signal_ns for s in x.samples]
    assert {"warming", "z", ""} <= {look.why for look in played.looks}


def test_a_fresh_minute_is_not_compared_with_a_held_bar() -> None:
    """Only closes of one instant are compared: a minute that ends inside a perp bar is no signal."""
    inside = [msgspec.structs.replace(b, start_ns=b.start_ns + 5 * MINUTE_NS, end_ns=b.end_ns + 5 * MINUTE_NS, close=PRICE * 1.01, high=PRICE * 1.01)
              for b in cme_minutes() if b.start_ns % QUARTER_NS == 0]  # fmt: skip
    bars = tuple(sorted((*cme_minutes(), *inside), key=lambda b: b.start_ns))
    plain, noisy = at(one()), at(study((segment("MBTH26", bars),), perp_series(episode)))
    assert [x.z for x in plain.looks] == [x.z for x in noisy.looks]
    assert abs(plain.looks[-1].premium_bp) < 2 * SWING_BP
