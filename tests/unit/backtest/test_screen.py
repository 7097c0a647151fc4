"""The screen against the engine: the same trades at the same instants for the same money, on every market we can think of."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest
from bar_files import FROM, QUARTER_NS, TO, cme_minutes, funding_rows, perp_series, segment, study, swing
from test_play import FALL, RISE, episode, spliced

from bot.backtest import screen, screen_fills, screen_walk
from bot.backtest.formats import DAY_NS, HOUR_NS
from bot.backtest.play import Played, Study, play
from bot.backtest.screen import Screen
from bot.backtest.screen_fills import Followed
from bot.backtest.sweep import outcome
from bot.backtest.trades import direction_name
from bot.model.errors import ConfigError
from bot.model.notation import iso

CENT = 0.01
"""USD: both book the same Decimals; what differs is the order in which floats are added."""


def both(x: Study) -> tuple[Played, Followed]:
    """Play a study through the engine and through the screen, and require that they agree."""
    played, found = play(x, x.settings.costs), Screen(x).follow(x.settings)
    engine = [(t.contract, t.direction, t.decided_at, t.entered_at, t.exited_at, t.lots) for t in played.trades]
    fast = [
        (t.contract, direction_name(t.direction), iso(t.decided_ns), iso(t.entered_ns), None if t.exited_ns is None else iso(t.exited_ns), float(t.lots))
        for t in found.trades
    ]  # fmt: skip
    assert fast == engine
    assert [t.pnl_usd for t in found.trades] == pytest.approx([t.pnl_usd for t in played.trades], abs=CENT)
    assert [t.result_bp for t in found.trades] == pytest.approx([t.result_bp for t in played.trades], abs=1e-6)
    assert [t.exit_reason for t in found.trades] == [t.exit_reason for t in played.trades]
    a, b = outcome(played, x.settings.strategy.z_in), Screen(x).outcome(found)
    assert (b.open_at_end, b.refusals, b.signals_over_hurdle) == (a.open_at_end, a.refusals, a.signals_over_hurdle)
    assert (b.fees_usd, b.funding_usd, b.pnl_usd) == pytest.approx((a.fees_usd, a.funding_usd, a.pnl_usd), abs=CENT)
    return played, found


def one(level: Callable[[int], float] = episode, *, delay: int = 0, **changes) -> Study:  # type: ignore[no-untyped-def]
    """Return one contract in a market whose premium is `level`."""
    bars = cme_minutes(**{k: changes.pop(k) for k in ("price", "volume") if k in changes})
    sets = (*changes.pop("sets", ()), f"costs.delay_bars={delay}")
    return study((segment("MBTH26", bars),), perp_series(level), sets=sets, **changes)


def late(at_ns: int) -> float:
    """Return the episode, with a widening of 150 bp an hour after it was entered."""
    return 240.0 if RISE + HOUR_NS <= at_ns < FALL else episode(at_ns)


def low(at_ns: int) -> float:
    """Return the episode upside down: the perp too cheap."""
    return -episode(at_ns)


DEAD = RISE + HOUR_NS
MARKETS: dict[str, Callable[[], Study]] = {
    "an episode": one,
    "one bar late": lambda: one(delay=1),
    "two bars late": lambda: one(delay=2),
    "wider spreads": lambda: one(sets=("costs.spread_multiple=3.0",)),
    "a thin market": lambda: one(volume=lambda t: 30.0),
    "a thin next bar": lambda: one(volume=lambda t: 30.0 if t % QUARTER_NS == 0 else 100.0),
    "a thin way out": lambda: one(volume=lambda t: 100.0 if t < DEAD else 25.0),
    "no way out": lambda: one(volume=lambda t: 100.0 if t < DEAD else 0.0),
    "gone at the next open": lambda: one(lambda t: 90.0 if t == RISE else swing(t)),
    "gone before a late order": lambda: one(lambda t: 90.0 if t == RISE else swing(t), delay=1),
    "funding received": lambda: one(funding=funding_rows(lambda t: 0.0003)),
    "funding paid": lambda: one(funding=funding_rows(lambda t: -0.0003)),
    "funding over budget": lambda: one(lambda t: 90.0 if t >= RISE else swing(t), funding=funding_rows(lambda t: -0.0009 if t > RISE else 0.0)),
    "a sigma stop": lambda: one(late),
    "a spread stop": lambda: one(late, sets=("limits.sigma_stop=200.0",)),
    "a money stop": lambda: one(lambda t: 130.0 if RISE + HOUR_NS <= t < FALL else episode(t), sets=("limits.money_stop_usd=200.0",)),
    "a time stop": lambda: one(sets=("limits.time_stop_s=3000.0",)),
    "short": lambda: one(low, sets=("strategy.side=short_cme",)),
    "both sides": lambda: one(lambda t: low(t) if t < RISE + DAY_NS else episode(t - 2 * DAY_NS), sets=("strategy.side=both",)),
    "to the end of the contract": lambda: one(lambda t: 90.0 if t >= RISE else swing(t)),
    "a refused size": lambda: one(sets=("limits.broker_cap_share=0.01",)),
    "two contracts": spliced,
    "another contract after a trade": lambda: study(
        (segment("MBTG26", cme_minutes(FROM, FROM + 9 * DAY_NS + HOUR_NS)), segment("MBTH26", cme_minutes(FROM + 9 * DAY_NS + HOUR_NS, TO))),
        perp_series(episode),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MARKETS)
def test_screen_and_engine_make_the_same_trades(name: str) -> None:
    """Same instants, lots, reasons, refusals and money."""
    both(MARKETS[name]())


def test_the_markets_above_try_what_they_are_named_for() -> None:
    """Trades happen, stops trip, data end with a trade on, closes take two opens, and the gate refuses."""
    for name, rule in (
        ("an episode", "z "), ("a sigma stop", "stop sigma_stop"), ("a spread stop", "stop spread_stop"), ("a money stop", "stop money_stop"),
        ("a time stop", "stop time_stop"), ("funding over budget", "stop funding_budget"), ("to the end of the contract", "exit window"),
    ):  # fmt: skip
        assert both(MARKETS[name]())[0].trades[0].exit_reason.startswith(rule), name
    assert both(MARKETS["no way out"]())[1].trades[0].exited_ns is None
    slow, quick = (both(MARKETS[name]())[1].trades[0].exited_ns for name in ("a thin way out", "an episode"))
    assert slow is not None and quick is not None and slow > quick
    assert both(MARKETS["a refused size"]())[1].refusals["venue_cap"] > 0
    assert {t.direction for t in both(MARKETS["both sides"]())[1].trades} == {-1, 1}


LOOSE = (
    "strategy.z_in=1.0", "strategy.z_watch=0.5", "strategy.edge_min_bp=0.01", "strategy.side=both", "strategy.hurdle_margin=0.0",
    "strategy.risk_free=0.0", "futures.MBT.fee_per_lot=0.1", "perps.BTCUSDT.taker_rate=0.0", "strategy.window_s=43200.0",
)  # fmt: skip


def restless(seed: int) -> tuple[Callable[[int], float], Callable[[int], float], Callable[[int], float]]:
    """Return (premium in bp, CME volume, funding rate) of a market that wanders, jumps, thins out and pays either way."""
    rng = random.Random(seed)
    level, levels, volumes = 0.0, {}, {}
    for t in range(FROM, TO + DAY_NS, QUARTER_NS):
        level = 0.9 * level + 40.0 * (rng.random() - 0.5) + (200.0 * (rng.random() - 0.5) if rng.random() < 0.02 else 0.0)
        levels[t] = level
        volumes[t] = rng.random() ** 3 * 300.0
    rates = {t: 0.001 * (rng.random() - 0.4) for t in range(FROM - DAY_NS, TO, 8 * HOUR_NS)}
    return lambda t: levels[t], lambda t: volumes[t // QUARTER_NS * QUARTER_NS], lambda t: rates[t]


@pytest.mark.parametrize("mode", ["reversion", "carry"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_screen_and_engine_agree_on_markets_nobody_drew(seed: int, mode: str) -> None:
    """Many trades in wandering markets with thin bars, jumps and funding of either sign."""
    level, volume, rate = restless(seed)
    x = one(level, volume=volume, funding=funding_rows(rate), sets=(*LOOSE, f"strategy.mode={mode}"))
    played, _ = both(x)
    assert mode == "carry" or len(played.trades) >= 10, f"seed {seed}: {len(played.trades)} trades test little"


def test_what_is_kept_between_trials_changes_no_trial() -> None:
    """A trial on a screen that has played others is the trial on a new one, for parameters of every kind."""
    level, volume, rate = restless(4)
    x = one(level, volume=volume, funding=funding_rows(rate), sets=LOOSE)
    used = Screen(x)
    changes = ({}, {"z_in": 1.3}, {"edge_min_bp": 8.0}, {"side": "long_cme"}, {"z_out": 0.2}, {"window_s": 86_400.0}, {"lots": 3}, {"cooldown_s": 60.0}, {})
    for change in changes:
        settings = msgspec.structs.replace(x.settings, strategy=msgspec.structs.replace(x.settings.strategy, **change))
        assert used.trial(settings) == Screen(msgspec.structs.replace(x, settings=settings)).trial(settings), str(change)


def test_only_so_many_windows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid of windows does not fill the memory."""
    monkeypatch.setattr(screen, "KEPT", 2)
    x = one()
    used = Screen(x)
    for window in (86_400.0, 90_000.0, 100_000.0):
        used.trial(msgspec.structs.replace(x.settings, strategy=msgspec.structs.replace(x.settings.strategy, window_s=window)))
    assert len(used._signals) == len(used._worth) == 2


def test_a_parameter_is_either_of_the_signal_or_kept_out_of_it() -> None:
    """Whoever adds a parameter decides here whether the window depends on it: a forgotten one would mix up trials."""
    of_the_choice = {
        "side", "mode", "lots", "passive", "z_in", "z_out", "z_stop", "z_watch", "edge_always", "history_age_s", "edge_min_bp", "exit_window_days",
        "risk_free", "hurdle_margin", "financing_rate", "cme_margin_share", "perp_margin_share", "stable_haircut", "slippage_bp", "entry_valid_s", "cooldown_s",
    }  # fmt: skip
    assert of_the_choice | set(screen.SIGNAL_FIELDS) == set(one().settings.strategy.__struct_fields__)
    assert not of_the_choice & set(screen.SIGNAL_FIELDS) and set(screen.JUDGING) <= of_the_choice


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (("strategy.passive=true",), "strategy.passive: a screen has no resting orders"),
        (("limits.hedge_age_s_max=900.0",), "closes of one instant alone"),
    ],
)
def test_what_cannot_be_screened_is_refused(sets: tuple[str, ...], says: str) -> None:
    """Settings under which the screen would not be the backtest are named, with the way out."""
    with pytest.raises(ConfigError, match=says) as caught:
        Screen(one(sets=sets))
    assert "--engine full" in str(caught.value)


@pytest.mark.parametrize(
    "bug",
    [
        (screen_fills, "fee_for", lambda terms, qty, price, maker: qty * 0),
        (screen_fills, "funding_amount", lambda terms, qty, rate, mark: qty * 0),
        (screen_fills, "fill_price", lambda terms, touch, side: round(Decimal(repr(touch)), 0) + 1),
        (screen_walk, "OBTAINABLE_NS", 3 * QUARTER_NS),
        (screen_walk, "premium_holds", lambda pair, window: False),
    ],
    ids=lambda b: b[1],
)
def test_a_screen_that_pays_or_waits_wrongly_is_caught(bug: tuple[object, str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is worth something: each of these would go through if both sides shared it."""
    monkeypatch.setattr(*bug)
    level, volume, rate = restless(1)
    markets = [one(volume=lambda t: 100.0 if t < DEAD else 25.0, funding=funding_rows(lambda t: 0.0003))]
    markets.append(one(level, volume=volume, funding=funding_rows(rate), sets=(*LOOSE, "costs.delay_bars=1")))
    with pytest.raises(AssertionError):
        for x in markets:
            both(x)
