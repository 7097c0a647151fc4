"""Sweeps: grids read strictly, statistics of many trials, and the same engine in every process."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from statistics import NormalDist

import pytest
from bar_files import FROM, MINUTE_HEADER, TO, cme_minutes, funding_rows, perp_series, spot_series, swing, write_bars, write_funding

from bot.backtest import grid as grids
from bot.backtest import run as backtest
from bot.backtest import sweep
from bot.backtest.formats import HOUR_NS, InputError
from bot.backtest.run import Inputs
from bot.backtest.sweep import SweepResult, bounds_of, lines, run
from bot.backtest.sweep_stats import Deal, Part, deflated, drawdown, expected_best, part, sharpe, walk
from bot.model.errors import ConfigError
from bot.model.notation import instant_ns

SEED = 20261125
RISES = [instant_ns(t) for t in ("2026-02-06T14:00Z", "2026-02-12T14:00Z")]


def raised(at_ns: int) -> float:
    """Return a swing with two episodes of 90 bp."""
    for rise in RISES:
        if rise <= at_ns < rise + 2 * HOUR_NS:
            return 90.0
        if rise <= at_ns < rise + 3 * HOUR_NS:
            return 0.0
    return swing(at_ns)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Write a minute market with two episodes."""
    folder = tmp_path_factory.mktemp("market")
    return Inputs(
        cme=write_bars(folder / "cme.csv", cme_minutes(), MINUTE_HEADER), perp=write_bars(folder / "perp.csv", perp_series(raised, FROM, TO).bars),
        spot=write_bars(folder / "spot.csv", spot_series().bars), funding=write_funding(folder / "funding.csv", funding_rows(lambda t: 0.0001)),
        stable_fixed=1.0,
    )  # fmt: skip


def written(tmp_path: Path, text: str, name: str = "grid.toml") -> Path:
    """Write a grid file."""
    path = tmp_path / name
    path.write_text(text)
    return path


# Grids.


def test_every_combination_is_a_trial_in_the_files_order(tmp_path: Path) -> None:
    """The last axis turns fastest, a short key is a strategy parameter, a single value is an axis of one; JSON says the same."""
    read = grids.read(written(tmp_path, '[grid]\nz_in = [1.5, 2.0]\nstrategy.side = ["long_cme", "both"]\nlots = 5\n'))
    assert [tuple(t.values()) for t in read.trials()] == [(1.5, "long_cme", 5), (1.5, "both", 5), (2.0, "long_cme", 5), (2.0, "both", 5)]
    assert list(read.axes) == ["strategy.z_in", "strategy.side", "strategy.lots"]
    same = grids.read(written(tmp_path, '{"grid": {"z_in": [1.5, 2.0], "side": ["long_cme", "both"], "lots": 5}}', "grid.json"))
    assert same.trials() == read.trials()


BAD = [
    ("", "grid: names no parameter"), ("[grid]\n", "grid: names no parameter"), ("[grid]\nz_in = []\n", "grid.z_in: no value"),
    ("[grid]\nz_in = [1.5, 1.5]\n", "grid.z_in: 1.5 is given twice"), ("[grid]\nz_in = [[1]]\n", r"grid.z_in: \[1\] is no number"),
    ("[grid]\nlimits.drawdown_share = [0.1]\n", "grid.limits.drawdown_share: a sweep varies parameters of the strategy"),
    ("[grid]\nz_in = [1.5]\nstrategy.z_in = [2.0]\n", "grid.strategy.z_in: given twice"), ("z_in = [1.5]\n", "unknown key z_in"),
    ("grid = 3\n", "grid is a table"), ("[grid\n", "grid.toml"), ("[grid]\nz_in=[1.5]\n[inputs]\nbook = 'x'\n", "inputs.book: unknown key"),
    ("[grid]\nz_in=[1.5]\n[inputs]\nfrom = 'soon'\n", "inputs.from: 'soon' is not a UTC time"),
    ("[grid]\nz_in=[1.5]\n[inputs]\nstable_fixed = true\n", "inputs.stable_fixed: unknown key or not of its type"),
    (f"[grid]\nz_in={list(range(1, 200))}\nlots={list(range(1, 200))}\n", "39,601 combinations, at most 10,000"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), BAD, ids=[says for _, says in BAD])
def test_a_bad_grid_names_the_key(tmp_path: Path, text: str, says: str) -> None:
    """What cannot be meant is refused before a file is read."""
    with pytest.raises(ConfigError, match=says):
        grids.read(written(tmp_path, text))


def test_options_win_over_the_grids_inputs(tmp_path: Path, inputs: Inputs) -> None:
    """Paths count from the grid's folder; --stable-fixed replaces a stable file; what neither gives is named."""
    path = written(tmp_path, "[grid]\nz_in = [2]\n[inputs]\ncme = 'a.csv'\nstable = 's.csv'\nfrom = 2026-02-03\n")
    read = grids.read(path)
    options = {"perp": inputs.perp, "funding": inputs.funding, "stable_fixed": 1.0, "to_ns": None}
    with pytest.raises(FileNotFoundError):
        grids.merged(read, options)
    (tmp_path / "a.csv").write_text("x\n")
    found = grids.merged(read, options)
    assert (found.cme, found.stable, found.stable_fixed, found.from_ns) == (tmp_path / "a.csv", None, 1.0, instant_ns("2026-02-03"))
    with pytest.raises(ConfigError, match=r"inputs\.perp is missing"):
        grids.merged(read, {"funding": inputs.funding})


# Statistics.


def deals(results: list[float]) -> list[Deal]:
    """Return one trade a day of these results, in bp and in USD."""
    return [Deal(n * 24 * HOUR_NS, n * 24 * HOUR_NS + HOUR_NS, x, x) for n, x in enumerate(results)]


def test_ratios_need_trades_and_spread() -> None:
    """Two trades, or trades all alike, have no ratio; three have one."""
    assert sharpe(deals([1.0, 2.0])) is None and sharpe(deals([1.0, 1.0, 1.0])) is None
    assert sharpe(deals([1.0, 2.0, 3.0])) == pytest.approx(2.0 / math.sqrt(2.0 / 3.0))
    assert expected_best([0.1, 0.2], 1) is None and expected_best([0.1], 9) is None and deflated(deals([1.0, 2.0]), 0.1) is None


def test_the_best_of_worthless_trials_is_about_what_the_formula_says() -> None:
    """Drawn: the mean best of 50 ratios without skill, and the share of them that the deflated ratio calls skilled at 95 %."""
    rng = random.Random(SEED)
    gauss = NormalDist().inv_cdf
    best, skilled = [], 0
    for _ in range(60):
        trials = [deals([gauss(rng.random() * 0.999998 + 1e-6) for _ in range(60)]) for _ in range(50)]
        ratios = [r for r in (sharpe(t) for t in trials) if r is not None]
        benchmark = expected_best(ratios, len(trials))
        assert benchmark is not None
        best.append(max(ratios) / benchmark)
        winner = deflated(trials[ratios.index(max(ratios))], benchmark)
        skilled += winner is not None and winner > 0.95
    assert sum(best) / len(best) == pytest.approx(1.0, abs=0.06), f"seed {SEED}"
    assert skilled <= 3, f"seed {SEED}: the naive ratio calls most winners skilled, the deflated one hardly any"


def test_real_skill_is_still_seen() -> None:
    """One trial with a mean of half its deviation over 200 trades is above what fifty worthless ones show."""
    rng = random.Random(SEED)
    gauss = NormalDist().inv_cdf
    skilled = deals([0.5 + gauss(rng.random() * 0.999998 + 1e-6) for _ in range(200)])
    found = deflated(skilled, 0.2)
    assert found is not None and found > 0.95, f"seed {SEED}"


def test_a_trade_across_a_bound_belongs_to_neither_side() -> None:
    """What was decided before and over after the split was known to nobody at it."""
    three = [Deal(0, 10, 1.0, 1.0), Deal(15, 25, 10.0, 1.0), Deal(20, 30, 100.0, 1.0)]
    assert part(three, 0, 20) == Part(trades=1, trades_usd=1.0) and part(three, 20, 99) == Part(trades=1, trades_usd=100.0)


def test_the_walk_chooses_on_the_past_alone() -> None:
    """The trial that wins the test but lost in training is not taken; without trades in training nothing is traded."""
    early, late = [Deal(1, 2, 5.0, 1.0), Deal(21, 22, -3.0, 1.0)], [Deal(3, 4, -5.0, 1.0), Deal(23, 24, 90.0, 1.0)]
    trials = [({"z": 1}, early), ({"z": 2}, late), ({"z": 3}, [])]
    folds = walk(trials, [0, 10, 20, 30])
    assert [(f.params, f.train_usd, f.test_usd, f.test_trades) for f in folds] == [({"z": 1}, 5.0, 0.0, 0), ({"z": 1}, 5.0, -3.0, 1)]
    nothing = walk([({"z": 3}, [])], [0, 10, 20])
    assert [(f.params, f.test_trades) for f in nothing] == [(None, 0)]


def test_drawdown_and_bounds() -> None:
    """A fall counts from the peak before it; bounds are shares of the signals, the last one behind them."""
    assert (drawdown([]), drawdown([1.0, 2.0]), drawdown([0.0, 5.0, -2.0, 9.0, 4.0])) == (0.0, 0.0, 7.0)
    assert bounds_of([10, 20, 30, 40], [0.0, 0.5, 1.0]) == [10, 30, 40 + 1_000_000_000]


# Trials.


def swept(inputs: Inputs, path: Path, **more: object) -> SweepResult:
    """Return the sweep of a grid file over these inputs."""
    return run(grids.read(path), inputs, **more)  # type: ignore[arg-type]


def test_a_trial_is_the_backtest_of_its_parameters(tmp_path: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in the grid's order, each with the journal hash, trades and money of `backtest --set`; a second sweep is the same."""
    monkeypatch.setenv("BOT__STRATEGY__COOLDOWN_S", "60")
    path = written(tmp_path, "[grid]\nz_in = [2.0, 1.8, 3.9]\n")
    found = swept(inputs, path)
    assert (found.trials, found.engine, [r.params for r in found.rows]) == (3, "full", [{"strategy.z_in": z} for z in (2.0, 1.8, 3.9)])
    for row in found.rows:
        alone = backtest.run(inputs, sets=[f"strategy.z_in={row.params['strategy.z_in']}"])
        assert (row.journal_sha256, row.trades, row.refusals) == (alone.journal_sha256, len(alone.trades), alone.refusals)
        assert row.pnl_usd == pytest.approx(alone.pnl_usd) and row.trades_usd == pytest.approx(sum(t.pnl_usd for t in alone.trades))
        assert row.invariant_violations == 0 and row.max_drawdown_usd >= 0.0
        assert row.in_sample.trades + row.out_of_sample.trades <= row.trades
    assert found.rows[0].trades >= 2 and found.rows[0].in_sample.trades and found.rows[0].out_of_sample.trades
    again = swept(inputs, path, workers=1)
    assert [r.journal_sha256 for r in again.rows] == [r.journal_sha256 for r in found.rows]
    text = list(lines(found))
    assert any("z_in=3.9" in line for line in text) and any("walk-forward" in line for line in text)
    assert len(found.walk_forward) == 3 and found.market_from < found.split_at < found.market_to


def test_one_wrong_combination_stops_everything(tmp_path: Path, inputs: Inputs) -> None:
    """An unknown parameter, a wrong type, or a pair that contradicts itself is named with the grid, before anything is played."""
    for text, says in (
        ("z_inn = [1.5]", r"strategy\.z_inn in grid grid\.toml"), ("lots = ['many']", r"strategy\.lots: .* in grid grid\.toml"),
        ("z_in = [2.0, 5.0]", r"z_in 5\.0 < z_stop"), ("z_in = [nan]", r"strategy\.z_in: nan is not a finite number"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            swept(inputs, written(tmp_path, f"[grid]\n{text}\n"))


def test_a_bad_file_stops_before_a_process_is_started(tmp_path: Path, inputs: Inputs) -> None:
    """The parent reads the files first, so that the error is one line."""
    with pytest.raises(InputError, match="cannot be used as --cme"):
        run(grids.read(written(tmp_path, "[grid]\nz_in = [2.0]\n")), Inputs(cme=inputs.perp, perp=inputs.perp, funding=inputs.funding, stable_fixed=1.0))


def test_a_stop_ends_with_what_is_done(tmp_path: Path, inputs: Inputs) -> None:
    """Once stopped no trial is begun, those under way end, and the rows are the first of the grid with a note that says so."""
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > 8 + 3  # once for each combination while they are checked

    found = swept(inputs, written(tmp_path, "[grid]\nz_in = [1.8, 1.9, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5]\n"), stopped=stopped, workers=1)
    assert 1 <= found.trials == len(found.rows) < 8 and found.notes[0].startswith(f"STOPPED after {found.trials} of 8")
    assert [r.params["strategy.z_in"] for r in found.rows] == [1.8, 1.9, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5][: found.trials]


def test_progress_reaches_the_end(tmp_path: Path, inputs: Inputs) -> None:
    """Shares rise to one."""
    seen: list[float] = []
    note: Callable[[float], None] = seen.append
    swept(inputs, written(tmp_path, "[grid]\nz_in = [2.0, 2.1]\n"), progress=note)
    assert seen == [0.5, 1.0]


class _Hasty:
    """A pool of processes in which the first trial is over after the second one."""

    def __init__(self, *_: object) -> None:
        self.given: list[Future[float]] = []

    def __enter__(self) -> _Hasty:
        return self

    def __exit__(self, *_: object) -> None:
        assert all(f.done() for f in self.given)

    def submit(self, _: object, params: dict[str, float]) -> Future[float]:
        """Take a trial; its outcome is its parameter."""
        self.given.append(Future())
        if len(self.given) > 1:
            self.given[-1].set_result(params["z"])
        if len(self.given) == 3:
            self.given[0].set_result(0.0)
        return self.given[-1]


def test_rows_keep_the_grids_order_whatever_is_over_first(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second trial is over before the first, and still comes after it."""
    monkeypatch.setattr(sweep, "ProcessPoolExecutor", _Hasty)
    trials = [{"z": 0.0}, {"z": 1.0}, {"z": 2.0}]
    work = (inputs, "backtest", Path("grid.toml"), (), ())
    assert list(sweep._pool(trials, work, lambda: False, None, 1)) == [0.0, 1.0, 2.0]
