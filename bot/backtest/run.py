"""A backtest from the command line's inputs to its result: read, split, align, play at several costs, and account.

The kind of the CME file chooses the settings' profile: `backtest` for minutes, `backtest-daily` for settlements. Every
fault of a file is found before anything is played, and nothing is written unless everything succeeded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from bot import config
from bot.backtest.align import Known, Sample, align
from bot.backtest.assumptions import assumptions, break_even
from bot.backtest.contracts import split_contracts
from bot.backtest.formats import (
    STABLE_HIGH,
    STABLE_LOW,
    FundingRow,
    InputError,
    Series,
    SeriesKind,
    read_cme,
    read_funding,
    read_mark,
    read_perp,
    read_spot,
    read_stable,
)
from bot.backtest.play import Played, Study, play
from bot.backtest.result import BacktestResult, Case, ContractRow, best, case_of, halves, histogram, reasons, spread_of, totals
from bot.config import Settings
from bot.market.expiry import parse_contract
from bot.model.errors import ConfigError
from bot.model.notation import iso

SPREADS, DELAYS = (1.0, 3.0), (0, 1, 2)
STABLE_SHIFT_BP = 10.0
SAME_COIN = 0.1
"""Two legs of one coin lie closer than this share of each other; a coin against another does not."""
ON_GRID = 0.5
"""Share of closes that must lie on the product's tick: another product's prices do so by chance alone."""

Progress = Callable[[str, int, int], None]
"""Told (what was done, passes done, passes in all)."""


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line was given; exactly one of stable and stable_fixed. from_ns, to_ns: UTC, half-open."""

    cme: Path
    perp: Path
    funding: Path
    perp_mark: Path | None = None
    spot: Path | None = None
    stable: Path | None = None
    stable_fixed: float | None = None
    from_ns: int | None = None
    to_ns: int | None = None
    strategy: str = "convergence"
    report: Path | None = None


class Files(msgspec.Struct, frozen=True):
    """Every input file as read."""

    cme: Series
    perp: Series
    mark: Series | None
    spot: Series | None
    stable: Series | None
    funding: tuple[FundingRow, ...]

    def rows(self) -> dict[str, int]:
        """Return the rows read by role."""
        series = {"cme": self.cme, "perp": self.perp, "perp_mark": self.mark, "spot": self.spot, "stable": self.stable}
        return {role: len(x.bars) for role, x in series.items() if x is not None} | {"funding": len(self.funding)}


def check(inputs: Inputs) -> None:
    """Raise ConfigError for options that cannot be meant."""
    fixed = inputs.stable_fixed
    if (inputs.stable is None) == (fixed is None):
        raise ConfigError("give exactly one of --stable and --stable-fixed")
    if fixed is not None and not (math.isfinite(fixed) and STABLE_LOW <= fixed <= STABLE_HIGH):
        raise ConfigError(f"--stable-fixed {fixed}: not the price of a dollar stablecoin ({STABLE_LOW:g} to {STABLE_HIGH:g} USD)")
    if inputs.from_ns is not None and inputs.to_ns is not None and inputs.from_ns >= inputs.to_ns:
        raise ConfigError("--from must be before --to")
    if inputs.strategy != "convergence":
        raise ConfigError(f"--strategy {inputs.strategy}: only convergence trades bars")


def read(inputs: Inputs) -> Files:
    """Read every file strictly. Raises InputError naming file and row, OSError for a path that cannot be read."""
    return Files(
        cme=read_cme(inputs.cme),
        perp=read_perp(inputs.perp),
        mark=read_mark(inputs.perp_mark) if inputs.perp_mark is not None else None,
        spot=read_spot(inputs.spot) if inputs.spot is not None else None,
        stable=read_stable(inputs.stable) if inputs.stable is not None else None,
        funding=read_funding(inputs.funding),
    )


def profile_of(kind: SeriesKind) -> str:
    """Return the settings' profile for a kind of CME file."""
    return "backtest-daily" if kind is SeriesKind.CME_DAILY else "backtest"


def prepare(inputs: Inputs, files: Files, settings: Settings) -> tuple[Study, dict[str, int]]:
    """Return the study and the rows rejected by reason. Raises InputError when nothing can be played."""
    root = parse_contract(settings.market.lead)[0]
    _require_grid(files.cme, root, settings)
    contracts = split_contracts(files.cme, root, files.perp)
    known = Known(files.perp, spot=files.spot, mark=files.mark, stable=files.stable, stable_fixed=inputs.stable_fixed)
    aligned = align(contracts, known)
    first, last = inputs.from_ns or 0, inputs.to_ns or 1 << 62
    samples = tuple(s for s in aligned.samples if first <= s.signal_ns < last)
    if not samples:
        raise InputError(_nothing(files, bool(aligned.samples), aligned.unpaired.get("stable_unknown", 0)))
    _require_same_coin(samples, files)
    rejected = Counter(contracts.rows_rejected)
    rejected.update(aligned.unpaired)
    if len(samples) < len(aligned.samples):
        rejected["outside_from_to"] = len(aligned.samples) - len(samples)
    return Study(settings, contracts, samples, known, files.funding), dict(sorted(rejected.items()))


def _nothing(files: Files, outside: bool, stable_unknown: int) -> str:
    """Return why there is no decision point at all."""
    if outside:
        return f"{files.cme.path}: no signal between --from and --to"
    if stable_unknown and files.stable is not None:
        last = iso(files.stable.bars[-1].end_ns)
        return (
            f"{files.stable.path}: no usable price at any of {stable_unknown} signals (known until {last}, each close for 48 h);"
            " give --stable-fixed instead and mind that it is an assumption"
        )
    return f"{files.cme.path}: no believable bar ends together with a bar of {files.perp.path}"


def _require_grid(cme: Series, root: str, settings: Settings) -> None:
    """Refuse a file whose prices are not on the configured product's grid: it is another product."""
    product = settings.futures.get(root)
    if product is None:
        raise ConfigError(f"market.lead: {root} is no product of the configuration")
    if product.tick is None:
        raise ConfigError(f"market.lead: {root} is not tradable: {settings.catalogue.untradable(root)}")
    tick = float(product.tick)
    off = [bar for bar in cme.bars if abs(bar.close / tick - round(bar.close / tick)) > 0.01]
    if len(off) > (1.0 - ON_GRID) * len(cme.bars):
        raise InputError(
            f"{cme.path}: row {off[0].row}: close {off[0].close:g} is not on the {tick:g} USD grid of {root};"
            f" name the file's product with --set market.lead, e.g. ETHX26 (and the perp with --set market.hedge)"
        )


def _require_same_coin(samples: Sequence[Sample], files: Files) -> None:
    ratios = sorted(s.cme.close / (s.perp.close * s.stable) for s in samples)
    middle = ratios[len(ratios) // 2]
    if abs(middle - 1.0) > SAME_COIN:
        raise InputError(f"{files.cme.path}: its prices are {middle:.3g} times those of {files.perp.path}: not the same coin")


def run(
    inputs: Inputs, layers: Sequence[Path] = (), sets: Sequence[str] = (), environ: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> BacktestResult:  # fmt: skip
    """Run a backtest; write the report, if one is wanted, after everything else has succeeded.

    layers, sets: configuration files and --set texts over the profile. Raises ConfigError, InputError, OSError.
    """
    check(inputs)
    if inputs.report is not None and not inputs.report.resolve().parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(inputs.report.parent))
    files = read(inputs)
    profile = profile_of(files.cme.kind)
    settings = config.load(profile, files=layers, environ=environ, sets=sets).settings
    study, rejected = prepare(inputs, files, settings)
    base, cases = play_all(study, progress)
    result = account(inputs, files, study, base, cases, rejected, profile)
    if inputs.report is not None:
        from bot.backtest.report import write

        write(result, base.looks, inputs.report)
    return result


def play_all(study: Study, progress: Progress | None = None) -> tuple[Played, list[Case]]:
    """Return the pass at the configured costs, and every pass that shows what the result depends on."""
    costs, z_in = study.settings.costs, study.settings.strategy.z_in
    plan = [(spread, delay, 0.0) for spread in SPREADS for delay in DELAYS]
    plan += [(1.0, 0, shift) for shift in (-STABLE_SHIFT_BP, STABLE_SHIFT_BP)]
    base: Played | None = None
    cases: list[Case] = []
    for number, (spread, delay, shift) in enumerate(plan, start=1):
        these = msgspec.structs.replace(costs, spread_multiple=costs.spread_multiple * spread, delay_bars=costs.delay_bars + delay)
        played = play(shifted(study, shift) if shift else study, these)
        base = base or played
        cases.append(case_of(played, z_in, spread=spread, delay=delay, stable_shift_bp=shift))
        if progress is not None:
            progress(f"spread x{spread:g}, delay {delay}, stable {shift:+g} bp", number, len(plan))
    assert base is not None
    return base, cases


def shifted(study: Study, shift_bp: float) -> Study:
    """Return the study with the stablecoin worth `shift_bp` more than assumed, all along."""
    factor = 1.0 + shift_bp * 1e-4
    samples = tuple(msgspec.structs.replace(s, stable=s.stable * factor) for s in study.samples)
    return msgspec.structs.replace(study, samples=samples)


def account(
    inputs: Inputs, files: Files, study: Study, base: Played, cases: list[Case], rejected: dict[str, int], profile: str
) -> BacktestResult:
    """Return the result object of the base pass with everything that explains it."""
    settings, looks = study.settings, base.looks
    z_in = settings.strategy.z_in
    fields = totals(base)
    basis = [basis_bp(s) for s in study.samples]
    prices = sorted(s.cme.close for s in study.samples)
    violations = base.mismatches + (abs(fields["residual_usd"]) > 0.01)
    paths = {"cme": inputs.cme, "perp": inputs.perp, "perp_mark": inputs.perp_mark, "spot": inputs.spot, "funding": inputs.funding, "stable": inputs.stable}
    return BacktestResult(
        run_id=f"backtest-{base.journal_sha256[:12]}", mode="backtest", seed=0, invariant_violations=violations,
        edge_histogram=histogram(looks, z_in), bars_read=files.rows(), rows_rejected=rejected,
        files={role: path.name for role, path in paths.items() if path is not None},
        dropped_days={day.isoformat(): why for day, why in sorted(study.contracts.dropped_days.items())},
        bars_at_signals={"signals": len(study.samples), "obtainable": sum(s.obtainable for s in study.samples)},
        signals_by_reason=reasons(looks), best_edges=best(looks, z_in), basis_bp=spread_of(basis),
        contracts=contract_rows(study, base), cases=cases, halves=halves(base),
        break_even=break_even(settings, (prices[0], prices[len(prices) // 2], prices[-1])),
        assumptions=assumptions(study, files.cme.kind, inputs.stable_fixed, files.mark is not None), profile=profile,
        strategy=msgspec.structs.asdict(settings.strategy), z_in=z_in, **fields,
    )  # fmt: skip


def basis_bp(sample: Sample) -> float:
    """Return CME over perp at one signal, bp of the perp in USD (the negative of a premium)."""
    return (sample.cme.close / (sample.perp.close * sample.stable) - 1.0) * 1e4


def contract_rows(study: Study, base: Played) -> list[ContractRow]:
    """Return what was played of each contract, in order of time."""
    of: dict[str, list[Sample]] = {}
    for sample in study.samples:
        of.setdefault(sample.contract, []).append(sample)
    weighed = Counter(x.contract for x in base.looks if x.edge_bp is not None)
    rows = []
    for contract, samples in of.items():
        trades = [t for t in base.trades if t.contract == contract]
        basis = sorted(basis_bp(s) for s in samples)
        rows.append(
            ContractRow(
                contract=contract, market_from=iso(samples[0].signal_ns), market_to=iso(samples[-1].signal_ns), samples=len(samples),
                obtainable=sum(s.obtainable for s in samples), weighed=weighed[contract], trades=len(trades),
                pnl_usd=sum(t.pnl_usd for t in trades), basis_bp=basis[len(basis) // 2],
            )
        )  # fmt: skip
    return rows
