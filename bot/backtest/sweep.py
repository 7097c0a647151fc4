"""Tries every combination of a grid on one backtest and says what a choice among them is worth.

Through the real engine each trial is one whole pass at the configured costs, as `backtest` plays it first: same files, engine, gate, venues, and
the same journal hash for the same parameters. Trials run in two processes that read the files themselves (spawned, so
that nothing of the parent is shared); rows come in the grid's order whatever finishes first. A trial's parameters do not
change on the way, so its trades of a part of the period are what a run over that part would see with its history warm:
the walk-forward chooses among them without playing anything again. The screen (bot.backtest.screen) makes the same trades
tens of times as fast in this process, and writes no journal.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import msgspec

from bot import config
from bot.backtest.formats import SECOND_NS
from bot.backtest.grid import Grid
from bot.backtest.play import Played, Study, play
from bot.backtest.result import case_of, totals
from bot.backtest.run import Inputs, check, prepare, profile_of, read
from bot.backtest.screen import Screen
from bot.backtest.sweep_stats import Deal, Fold, Outcome, Part, deflated, drawdown, expected_best, part, sharpe, walk
from bot.config import Settings
from bot.model.errors import DataError
from bot.model.event import NEVER
from bot.model.notation import instant_ns, iso
from strategies.convergence_params import ConvergenceParams

WORKERS = 2
SPLIT = 0.6
"""Share of the signals before the in-sample part ends."""
FOLDS = 4
"""Parts of the walk-forward, by number of signals: the first is only trained on."""
POLL_S = 0.2
FULL, SCREEN = "full", "screen"

Progress = Callable[[float], None]
Work = tuple[Inputs, str, Path, tuple[Path, ...], tuple[str, ...]]
"""What a worker needs to prepare itself: inputs, profile, grid file, configuration files, --set texts."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One trial. trades_usd: what the trades made; pnl_usd: the run, with what the stablecoin did to the money that lay in it.

    max_drawdown_usd: largest fall of what the trades made, open ones at mid, seen at the start of each trade date. sharpe_per_trade:
    mean over deviation of the trades' bp; deflated_sharpe: probability that it is better than the best of as many
    worthless trials. in_sample, out_of_sample: trades decided and over before the split, and decided after it.
    journal_sha256: None from the screen, which writes none.
    """

    params: dict[str, Any]
    trades: int
    open_at_end: int
    trades_usd: float
    pnl_usd: float
    fees_usd: float
    funding_usd: float
    max_drawdown_usd: float
    refusals: dict[str, int]
    sharpe_per_trade: float | None
    deflated_sharpe: float | None
    in_sample: Part
    out_of_sample: Part
    signals_over_hurdle: int
    invariant_violations: int
    journal_sha256: str | None


class SweepResult(msgspec.Struct, frozen=True, kw_only=True):
    """Rows in the grid's order. trials: played; expected_best_sharpe: what the best of as many worthless ones would show."""

    rows: list[Row]
    trials: int
    engine: str
    wall_s: float
    grid: dict[str, list[Any]]
    files: dict[str, str]
    profile: str
    market_from: str
    split_at: str
    market_to: str
    walk_forward: list[Fold]
    walk_forward_usd: float
    expected_best_sharpe: float | None
    notes: list[str]


def run(
    grid: Grid, inputs: Inputs, layers: Sequence[Path] = (), sets: Sequence[str] = (), *, stopped: Callable[[], bool] = lambda: False,
    progress: Progress | None = None, workers: int = WORKERS, engine: str = FULL,
) -> SweepResult:  # fmt: skip
    """Play the grid. Raises ConfigError naming the key, InputError, OSError; nothing is played if any combination is wrong.

    engine: FULL or SCREEN. stopped: asked between trials; once true the running trials end and the result holds the rows so far.
    """
    began = time.monotonic()
    check(inputs)
    files = read(inputs)
    profile = profile_of(files.cme.kind)
    trials = grid.trials()
    work = (inputs, profile, grid.path, tuple(layers), tuple(sets))
    base = config.load(profile, files=layers, sets=sets).settings
    of_trial = []
    for params in trials:
        if stopped():
            raise DataError("stopped before the first trial was over")
        of_trial.append(_settings(base, work, params))
    study, _ = prepare(inputs, files, base)
    del files
    bounds = bounds_of([s.signal_ns for s in study.samples], [n / FOLDS for n in range(FOLDS + 1)])
    split_ns = bounds_of([s.signal_ns for s in study.samples], [SPLIT])[0]
    played = _screened(study, of_trial, stopped, progress) if engine == SCREEN else _pool(trials, work, stopped, progress, workers)
    outcomes = list(played)
    if not outcomes:
        raise DataError("stopped before the first trial was over")
    return _result(grid, inputs, profile, engine, trials, outcomes, bounds, split_ns, time.monotonic() - began)


def bounds_of(signals: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Return the instants before which these shares of the signals lie, UTC ns; 1 is a second after the last one."""
    return [signals[int(share * len(signals))] if share < 1.0 else signals[-1] + SECOND_NS for share in shares]


def _settings(base: Settings, work: Work, params: Mapping[str, Any]) -> Settings:
    """Return the settings of one trial. Raises ConfigError: what is wrong with it names the grid as its source."""
    table = msgspec.structs.asdict(base.strategy) | {key.removeprefix("strategy."): value for key, value in params.items()}
    try:
        return msgspec.structs.replace(base, strategy=msgspec.convert(table, ConvergenceParams))
    except msgspec.ValidationError:  # loading it the slow way says what is wrong, and where it comes from
        _, profile, grid, layers, sets = work
        options = {key: (f"grid {grid.name}", value) for key, value in params.items()}
        return config.load(profile, files=layers, sets=sets, options=options).settings


def _screened(study: Study, trials: Sequence[Settings], stopped: Callable[[], bool], progress: Progress | None) -> Iterator[Outcome]:
    """Yield the outcomes of the screen, up to where it was stopped."""
    screen = Screen(study)
    for number, settings in enumerate(trials, start=1):
        if stopped():
            return
        yield screen.trial(settings)
        if progress is not None:
            progress(number / len(trials))


# -- processes ------------------------------------------------------------------------------------------------------


def _pool(
    trials: Sequence[Mapping[str, Any]], work: Work, stopped: Callable[[], bool], progress: Progress | None, workers: int
) -> Iterator[Outcome]:  # fmt: skip
    """Yield the outcomes in the order of the trials, up to where it was stopped."""
    context = multiprocessing.get_context("spawn")
    done: dict[int, Outcome] = {}
    running: dict[Future[Outcome], int] = {}
    following = 0
    with ProcessPoolExecutor(min(workers, len(trials)), context, _open, work) as pool:
        try:
            while running or (following < len(trials) and not stopped()):
                while len(running) < 2 * workers and following < len(trials) and not stopped():
                    running[pool.submit(_trial, dict(trials[following]))] = following
                    following += 1
                over, _ = wait(running, POLL_S, FIRST_COMPLETED)
                for future in over:
                    done[running.pop(future)] = future.result()
                    if progress is not None:
                        progress(len(done) / len(trials))
        except BrokenExecutor as error:
            raise DataError("a process of the sweep died; is there enough memory for two?") from error
    yield from (done[number] for number in sorted(done))


class _Shared:
    """What a worker holds between trials."""

    study: Study
    work: Work


def _open(*work: Any) -> None:
    """Prepare a worker: read the files once. Signals are the parent's to answer; without a parent there is nothing to do."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    inputs, profile, _, layers, sets = work
    _Shared.work = (inputs, profile, work[2], layers, sets)
    _Shared.study, _ = prepare(inputs, read(inputs), config.load(profile, files=layers, sets=sets).settings)
    _leave_with_parent()


def _leave_with_parent() -> None:
    """End this process when its parent has gone: a killed sweep leaves nobody behind."""
    import threading

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _trial(params: Mapping[str, Any]) -> Outcome:
    """Play one trial in a worker."""
    settings = _settings(_Shared.study.settings, _Shared.work, params)
    return outcome(play(msgspec.structs.replace(_Shared.study, settings=settings), settings.costs), settings.strategy.z_in)


def outcome(played: Played, z_in: float) -> Outcome:
    """Return what is kept of one pass."""
    case, fields = case_of(played, z_in, spread=1.0, delay=0), totals(played)
    deals = [
        Deal(instant_ns(t.decided_at), instant_ns(t.exited_at) if t.exited_at is not None else played.to_ns, t.pnl_usd, t.result_bp)
        for t in played.trades
    ]  # fmt: skip
    curve = [0.0, *(usd for _, usd in played.curve), case.trades_usd]
    return Outcome(
        deals=deals, open_at_end=sum(t.open_at_end for t in played.trades), pnl_usd=case.pnl_usd, fees_usd=case.fees_usd, funding_usd=case.funding_usd,
        max_drawdown_usd=drawdown(curve), refusals=fields["refusals"], signals_over_hurdle=case.signals_over_hurdle,
        violations=played.mismatches + (abs(fields["residual_usd"]) > 0.01), journal_sha256=played.journal_sha256,
    )  # fmt: skip


# -- result -----------------------------------------------------------------------------------------------------------


def _result(
    grid: Grid, inputs: Inputs, profile: str, engine: str, trials: Sequence[dict[str, Any]], outcomes: Sequence[Outcome], bounds: Sequence[int], split_ns: int,
    wall_s: float,
) -> SweepResult:  # fmt: skip
    played = list(zip(trials, outcomes, strict=False))
    ratios = [r for r in (sharpe(o.deals) for o in outcomes) if r is not None]
    benchmark = expected_best(ratios, len(outcomes))
    rows = [_row(params, o, benchmark, bounds, split_ns) for params, o in played]
    folds = walk([(params, o.deals) for params, o in played], bounds)
    paths = {name: getattr(inputs, name) for name in ("cme", "perp", "perp_mark", "spot", "funding", "stable")}
    return SweepResult(
        rows=rows, trials=len(rows), engine=engine, wall_s=wall_s, grid=grid.axes, files={name: path.name for name, path in paths.items() if path is not None},
        profile=profile, market_from=iso(bounds[0]), split_at=iso(split_ns), market_to=iso(bounds[-1]), walk_forward=folds,
        walk_forward_usd=math.fsum(f.test_usd for f in folds), expected_best_sharpe=benchmark, notes=_notes(rows, outcomes, len(trials), engine),
    )  # fmt: skip


def _row(params: dict[str, Any], o: Outcome, benchmark: float | None, bounds: Sequence[int], split_ns: int) -> Row:
    return Row(
        params=params, trades=len(o.deals), open_at_end=o.open_at_end, trades_usd=math.fsum(d.usd for d in o.deals), pnl_usd=o.pnl_usd,
        fees_usd=o.fees_usd, funding_usd=o.funding_usd, max_drawdown_usd=o.max_drawdown_usd, refusals=o.refusals,
        sharpe_per_trade=sharpe(o.deals), deflated_sharpe=deflated(o.deals, benchmark), in_sample=part(o.deals, bounds[0], split_ns),
        out_of_sample=part(o.deals, split_ns, NEVER), signals_over_hurdle=o.signals_over_hurdle, invariant_violations=o.violations,
        journal_sha256=o.journal_sha256,
    )  # fmt: skip


def _notes(rows: Sequence[Row], outcomes: Sequence[Outcome], asked: int, engine: str) -> list[str]:
    """Return what a reader of the rows must know, in sentences."""
    notes = [f"{len(rows)} trials of this sweep; earlier ones on the same files count too, and are not known here."]
    if len(rows) < asked:
        notes.insert(0, f"STOPPED after {len(rows)} of {asked} trials: the rows are the first of the grid, not a sample of it.")
    if engine == SCREEN:
        notes.append("Screened: no orders, venues, margin calls or journal. Play what is chosen again with --engine full.")
    distinct = len({o.journal_sha256 or msgspec.json.encode((o.deals, sorted(o.refusals.items()))) for o in outcomes})
    if distinct < len(rows):
        notes.append(f"Only {distinct} of them differ in what was done: the parameter swept did not matter in the others.")
    if not any(r.trades for r in rows):
        notes.append("No trial traded: nothing can be chosen. `backtest` on the same files says why, in numbers.")
    elif all(r.sharpe_per_trade is None for r in rows):
        notes.append("No trial has three trades: no ratio is stated.")
    if any(r.invariant_violations for r in rows):
        notes.append("NOT TO BE USED: in some trials checks of the record against the venues' statements failed.")
    return notes


def lines(r: SweepResult) -> Iterator[str]:
    """Yield the result for people, at most 80 columns beside the parameters."""
    yield f"{r.trials} trials, {r.market_from} .. {r.market_to}, in sample up to {r.split_at}"
    yield f"{'trades':>7}{'trades USD':>13}{'P&L USD':>13}{'drawdown':>11}{'in':>10}{'out':>10}{'refused':>9}{'DSR':>6}  parameters"
    for x in r.rows:
        dsr = "-" if x.deflated_sharpe is None else f"{x.deflated_sharpe:.2f}"
        params = " ".join(f"{key.removeprefix('strategy.')}={value}" for key, value in x.params.items())
        yield (
            f"{x.trades:>7}{x.trades_usd:>+13,.0f}{x.pnl_usd:>+13,.0f}{x.max_drawdown_usd:>11,.0f}{x.in_sample.trades_usd:>+10,.0f}"
            f"{x.out_of_sample.trades_usd:>+10,.0f}{sum(x.refusals.values()):>9,}{dsr:>6}  {params}"
        )
    yield ""
    yield "walk-forward: what made most so far, judged on what came next"
    for f in r.walk_forward:
        chosen = "nothing traded yet" if f.params is None else " ".join(f"{k.removeprefix('strategy.')}={v}" for k, v in f.params.items())
        yield f"  {f.train_to[:10]} .. {f.test_to[:10]}  {f.test_usd:>+11,.0f} USD in {f.test_trades} trades  ({chosen}; before {f.train_usd:+,.0f})"
    yield f"  sum out of sample {r.walk_forward_usd:+,.0f} USD"
    if r.expected_best_sharpe is not None:
        yield f"best Sharpe per trade of {r.trials} worthless trials: {r.expected_best_sharpe:.2f}; DSR: chance that a row's is truly above it"
    yield from r.notes
