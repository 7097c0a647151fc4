"""Compares the seeded market with a folder of real market data: the same figures of both, and whether they agree.

Files are recognised by their headers through bot.backtest.formats; what a header cannot say, which coin and whether an
offshore bar file is of a spot market, is read from the file's path. Of several files of one role and length of bar the
one with most rows is used. Regimes differ: of long files only the newest WINDOW_DAYS count, of the stablecoin, which
has few independent days in a year, STABLE_DAYS. A premium is of the last trades of an hour, perp and spot; the future's
basis is of minutes and quarter hours that end together, the contract told by the rules of bot.backtest.contracts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from bot import config
from bot.backtest.align import Known, align, pair_ends
from bot.backtest.contracts import Contracts, split_contracts
from bot.backtest.formats import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    FundingRow,
    InputError,
    Series,
    SeriesKind,
    read_cme,
    read_funding,
    read_mark,
    read_spot,
    read_stable,
)
from bot.backtest.shape import GROUPS, QUARTER_NS, YEAR_NS, Floats, Group, Market, Prices, figures, like
from bot.market.calendar import DeskSessions
from bot.model.event import FundingRate, MarkPrice, Quote
from bot.model.notation import iso
from bot.sim.market import MarketSpec, SeededMarket

WINDOW_DAYS = 424
STABLE_DAYS = 1_096
CARRY_NS = 7 * DAY_NS
"""Nearer to its fixing a future's implied carry is noise divided by little."""
SHOWN_NS = 5 * MINUTE_NS
"""How often the history of a seeded market shows mark and stablecoin: once in every hour and day is within this of its beginning."""
PATTERNS = ("*.csv", "*.csv.gz")
BAR_LENGTHS = (MINUTE_NS, QUARTER_NS, HOUR_NS)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both markets. source: files and their ranges. ratio: seeded over real, None without one (a zero).

    within: the factor, either way, up to which the row is ok.
    """

    name: str
    source: str
    real: float
    seeded: float
    ratio: float | None
    within: float
    ok: bool


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The rows; not_compared: figures without data, with the reason; passed_over: files not used, with the reason."""

    scenario: str
    seed: int
    days: int
    rows: list[Row]
    not_compared: list[str]
    passed_over: list[str]


class Files(msgspec.Struct, kw_only=True):
    """Files of a folder by role (as in shape.GROUPS)."""

    series: dict[str, Series]
    funding: tuple[FundingRow, ...] = ()
    funding_path: str = ""
    passed_over: list[str]


def run(
    folder: Path, days: int, seed: int | None = None, layers: Sequence[Path] = (), sets: Sequence[str] = (), progress: Callable[[float], None] = lambda _: None,
) -> Comparison:  # fmt: skip
    """Compare the files of `folder` with `days` days of the seeded market, scenario calm unless the settings say otherwise.

    seed: None for that of the settings. Raises InputError for a file that is damaged and for a folder without a usable one.
    """
    options = {} if seed is None else {"market.seed": ("--seed", seed)}
    settings = config.load("paper", files=layers, sets=("market.scenario=calm", *sets), options=options).settings
    lead, hedge = settings.catalogue.named(settings.market.lead), settings.catalogue.named(settings.market.hedge)
    files = found(folder, (lead.base, lead.product), (hedge.funding_interval_s or 28_800) * SECOND_NS)
    progress(0.3)
    real, sources = _real(files, lead.product)
    missing: list[str] = []
    theirs = [(group, figures(group, real)) for group in GROUPS if _known(group, real, sources, missing)]
    missing += [f"{group.name}: too few observations in {_source(group, sources)}" for group, got in theirs if not got]
    if not any(got for _, got in theirs):
        why = files.passed_over or [text for text in missing if "too few" in text] or [f"no file like {' or '.join(PATTERNS)}"]
        raise InputError(f"{folder}: nothing to compare: {'; '.join(why)}")
    progress(0.4)
    made = seeded(settings, days, lambda done: progress(0.4 + 0.6 * done))
    rows: list[Row] = []
    for group, got in theirs:
        ours = {x.name: x.value for x in like(group, made, real)} if got and group.known(made) else {}
        rows += [_row(x.name, _source(group, sources), x.value, ours[x.name], x.within) for x in got if x.name in ours]
        missing += [f"{x.name}: too few observations in the seeded market" for x in got if x.name not in ours]
    market = settings.market
    return Comparison(scenario=market.scenario, seed=market.seed, days=days, rows=rows, not_compared=missing, passed_over=files.passed_over)


def _known(group: Group, real: Market, sources: Mapping[str, str], missing: list[str]) -> bool:
    """Return whether there are files for a group; say so in `missing` if not."""
    if group.known(real):
        return True
    missing.append(f"{group.name}: no file for {', '.join(role for role in group.roles if role not in sources) or 'what its roles share'}")
    return False


def _source(group: Group, sources: Mapping[str, str]) -> str:
    return "; ".join(sources[role] for role in group.roles)


def lines(result: Comparison) -> Iterator[str]:
    """Yield the comparison for people."""
    yield f"{result.scenario}, seed {result.seed}, {result.days} days against real data"
    yield ""
    width = max(len(row.name) for row in result.rows)
    yield f"{'figure':<{width}}  {'real':>10}  {'seeded':>10}  {'ratio':>6}  within  fits"
    last = ""
    for row in result.rows:
        if row.source != last:
            last = row.source
            yield f"from {last}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        yield f"{row.name:<{width}}  {row.real:>10.3f}  {row.seeded:>10.3f}  {ratio:>6}  x {row.within:.2f}  {'yes' if row.ok else 'NO'}"
    yield ""
    yield f"{sum(row.ok for row in result.rows)} of {len(result.rows)} figures fit"
    yield from (f"not compared: {text}" for text in result.not_compared)
    yield from (f"passed over: {text}" for text in result.passed_over)


def _row(name: str, source: str, real: float, made: float, within: float) -> Row:
    ratio = made / real if real else None
    ok = made == real if ratio is None else 1.0 / within <= ratio <= within
    return Row(name=name, source=source, real=real, seeded=made, ratio=ratio, within=within, ok=ok)


# -- real files ---------------------------------------------------------------------------------------------------


def found(folder: Path, coins: Sequence[str], interval_ns: int) -> Files:
    """Return the usable files of a folder and those below it. coins: names of the coin, one of which stands in a file's path.

    interval_ns: between the funding prints wanted. Raises InputError for a recognised file that is damaged.
    """
    files = Files(series={}, passed_over=[])
    for path in sorted({path for pattern in PATTERNS for path in folder.rglob(pattern)}):
        name = path.relative_to(folder).as_posix()
        data = _read(path, name)
        if data is None:
            files.passed_over.append(f"{name}: its header is of no known format")
        elif not (isinstance(data, Series) and data.kind is SeriesKind.STABLE_DAILY) and not any(coin in name.upper() for coin in coins):
            files.passed_over.append(f"{name}: not of {coins[0]}")
        elif isinstance(data, Series):
            _keep(files, name, _role(data), data)
        elif _interval_ns(data) != interval_ns:
            files.passed_over.append(f"{name}: not a print every {interval_ns // HOUR_NS} h")
        elif len(data) > len(files.funding):
            _pass_over(files, files.funding_path, name)
            files.funding, files.funding_path = data, name
        else:
            _pass_over(files, name, files.funding_path)
    return files


def _read(path: Path, name: str) -> Series | tuple[FundingRow, ...] | None:
    """Return a file by the first format whose header it has, None for none. Raises InputError for a fault below the header."""
    bars = read_spot if "spot" in name.lower() else read_mark
    for read in (read_cme, read_funding, read_stable, bars):
        try:
            return read(path)
        except InputError as error:
            if not str(error).startswith(f"{path}: row 1:"):
                raise
    return None


def _role(series: Series) -> str:
    """Return the role of a series. A bar file without any volume holds marks."""
    if series.kind is SeriesKind.MARK_BARS:
        return f"perp {series.bar_ns // SECOND_NS} s" if any(bar.volume for bar in series.bars) else "mark"
    names = {SeriesKind.CME_MINUTE: "cme minutes", SeriesKind.CME_DAILY: "cme days", SeriesKind.SPOT_BARS: "spot", SeriesKind.STABLE_DAILY: "stable"}
    return names[series.kind]


def _keep(files: Files, name: str, role: str, series: Series) -> None:
    if role.startswith("perp") and series.bar_ns not in BAR_LENGTHS:
        files.passed_over.append(f"{name}: bars of {series.bar_ns // SECOND_NS} s are not measured")
        return
    rival = files.series.get(role)
    series = Series(name, series.kind, series.bar_ns, series.bars)
    if rival is not None and len(rival.bars) >= len(series.bars):
        _pass_over(files, name, rival.path)
        return
    _pass_over(files, rival.path if rival is not None else "", name)
    files.series[role] = series


def _pass_over(files: Files, name: str, better: str) -> None:
    if name:
        files.passed_over.append(f"{name}: {better} has more rows of the same kind")


def _interval_ns(rows: tuple[FundingRow, ...]) -> int:
    """Return the median time between prints, to the hour."""
    steps = np.diff(np.array([row.ts_ns for row in rows], dtype=np.int64))
    return round(float(np.median(steps)) / HOUR_NS) * HOUR_NS if len(steps) else 0


def _newest(series: Series, days: int) -> Series:
    first = series.bars[-1].end_ns - days * DAY_NS
    return Series(series.path, series.kind, series.bar_ns, tuple(bar for bar in series.bars if bar.start_ns >= first))


def _prices(series: Series) -> Prices:
    return Prices(np.array([b.end_ns for b in series.bars], dtype=np.int64), np.array([b.close for b in series.bars]))


def _real(files: Files, product: str) -> tuple[Market, dict[str, str]]:
    """Return the market of the newest days of the files, and by role what was used."""
    recent = {role: _newest(s, STABLE_DAYS if role == "stable" else WINDOW_DAYS) for role, s in files.series.items()}
    sources = {role: f"{s.path} {iso(s.bars[0].start_ns)} .. {iso(s.bars[-1].end_ns)}" for role, s in recent.items()}
    rates = None
    if files.funding:
        rows = [row for row in files.funding if row.ts_ns > files.funding[-1].ts_ns - WINDOW_DAYS * DAY_NS]
        rates = np.array([row.rate for row in rows])
        sources["funding"] = f"{files.funding_path} {iso(rows[0].ts_ns)} .. {iso(rows[-1].ts_ns)}"
    perp = {length: s for length in BAR_LENGTHS if (s := recent.get(f"perp {length // SECOND_NS} s")) is not None}
    spot, mark, stable = recent.get("spot"), recent.get("mark"), recent.get("stable")
    minutes, quarters, daily, hourly = recent.get("cme minutes"), perp.get(QUARTER_NS), recent.get("cme days"), perp.get(HOUR_NS)
    return Market(
        perp={length: _prices(s) for length, s in perp.items()},
        premium=None if hourly is None or spot is None else _premium(hourly, spot),
        mark=None if mark is None or spot is None else _premium(mark, spot),
        funding=rates,
        basis=() if minutes is None or quarters is None else _basis(split_contracts(minutes, product, quarters), quarters),
        carry=None if daily is None or hourly is None or spot is None else _carry(split_contracts(daily, product), hourly, spot),
        stable=None if stable is None else _prices(stable).closes,
    ), sources


def _premium(prices: Series, index: Series) -> Floats:
    """Return closes over the index's closes of the same instants, bp."""
    closes = {bar.end_ns: bar.close for bar in index.bars}
    return np.array([(bar.close / closes[bar.end_ns] - 1.0) * 1e4 for bar in prices.bars if bar.end_ns in closes])


def _basis(contracts: Contracts, perp: Series) -> tuple[Prices, ...]:
    """Return the future over the perp in bp wherever a bar of each ends, per contract."""
    out = []
    for segment in contracts.segments:
        pairs = pair_ends(segment.bars, perp.bars)
        if pairs:
            bp = np.array([math.log(cme.close / bar.close) * 1e4 for cme, bar in pairs])
            out.append(Prices(np.array([cme.end_ns for cme, _ in pairs], dtype=np.int64), bp))
    return tuple(out)


def _carry(contracts: Contracts, perp: Series, spot: Series) -> Floats:
    """Return the carry a year that settlements imply over the spot close of the same hour; the stablecoin counts as 1 USD."""
    expiries = {segment.contract: segment.expiry_ns for segment in contracts.segments}
    out = []
    for sample in align(contracts, Known(perp, spot=spot, stable_fixed=1.0)).samples:
        left = expiries[sample.contract] - sample.signal_ns
        if sample.index is not None and sample.index_ns == sample.signal_ns and left >= CARRY_NS:
            out.append(math.log(sample.cme.close / sample.index) * YEAR_NS / left)
    return np.array(out)


# -- the seeded market ------------------------------------------------------------------------------------------------


def seeded(settings: config.Settings, days: int, progress: Callable[[float], None] = lambda _: None) -> Market:
    """Return the last `days` days before the start of the seeded market that the settings describe, as files would show it."""
    catalogue, market = settings.catalogue, settings.market
    lead, hedge = catalogue.named(market.lead), catalogue.named(market.hedge)
    name = catalogue.stable_of(hedge.settle)
    stable = None if name is None else catalogue.named(name)
    terms = {x.id: x for x in (lead, hedge, stable) if x is not None}
    spec = MarketSpec(start_ns=market.start_ns, seed=market.seed, scenario=settings.scenario, history_days=float(days))
    made = _Made(lead.expiry_ns or market.start_ns)
    for event in SeededMarket(spec, lead, hedge, stable, DeskSessions(terms)).history():
        if type(event) is Quote:
            mid = 0.5 * (event.bid + event.ask)
            if event.instrument == hedge.id:
                made.hedge(event.ts, mid)
            elif event.instrument == lead.id:
                made.lead(event.ts, mid)
            else:
                made.stable(event.ts, mid)
        elif type(event) is MarkPrice:
            made.marked(event)
            if event.ts % DAY_NS == 0:
                progress(1.0 - (market.start_ns - event.ts) / (days * DAY_NS))
        elif type(event) is FundingRate:
            made.funded(event)
    return made.market()


class _Made:
    """Gathers a seeded market into the columns that files have. The history shows mark and stablecoin every five minutes."""

    def __init__(self, expiry_ns: int) -> None:
        self.expiry_ns = expiry_ns
        self.minutes: list[tuple[int, float]] = []
        self.basis: list[tuple[int, float]] = []
        self.premium: list[float] = []
        self.mark: list[float] = []
        self.carry: list[float] = []
        self.stables: list[float] = []
        self.rates: list[float] = []
        self.estimate: FundingRate | None = None
        self.index: MarkPrice | None = None
        self.usd = 1.0

    def marked(self, event: MarkPrice) -> None:
        """Take mark and index; the quotes of the same minute follow it."""
        self.index = event
        if event.ts % HOUR_NS < SHOWN_NS:
            self.mark.append((event.mark / event.index - 1.0) * 1e4)

    def hedge(self, ts_ns: int, mid: float) -> None:
        """Take the perp's mid of a minute."""
        self.minutes.append((ts_ns, mid))
        if self.index is not None and self.index.ts == ts_ns and ts_ns % HOUR_NS < SHOWN_NS:
            self.premium.append((mid / self.index.index - 1.0) * 1e4)

    def lead(self, ts_ns: int, mid: float) -> None:
        """Take the future's mid of the same minute; it is quoted after the perp's."""
        if ts_ns % QUARTER_NS == 0:
            self.basis.append((ts_ns, math.log(mid / self.minutes[-1][1]) * 1e4))
        left = self.expiry_ns - ts_ns
        if self.index is not None and self.index.ts == ts_ns and ts_ns % DAY_NS < SHOWN_NS and left >= CARRY_NS:
            self.carry.append(math.log(mid / (self.index.index * self.usd)) * YEAR_NS / left)

    def stable(self, ts_ns: int, mid: float) -> None:
        """Take the stablecoin's mid."""
        self.usd = mid
        if ts_ns % DAY_NS < SHOWN_NS:
            self.stables.append(mid)

    def funded(self, event: FundingRate) -> None:
        """Take an estimate; the last one before a stamp is what the stamp pays."""
        if self.estimate is not None and event.stamp_ns != self.estimate.stamp_ns:
            self.rates.append(self.estimate.rate)
        self.estimate = event

    def market(self) -> Market:
        """Return what was gathered."""
        minutes = _columns(self.minutes)
        perp = {length: Prices(*(x[minutes.ends % length == 0] for x in minutes)) for length in BAR_LENGTHS}
        return Market(
            perp=perp, premium=np.array(self.premium), mark=np.array(self.mark), funding=np.array(self.rates),
            basis=(_columns(self.basis),) if self.basis else (), carry=np.array(self.carry), stable=np.array(self.stables),
        )  # fmt: skip


def _columns(rows: Sequence[tuple[int, float]]) -> Prices:
    return Prices(np.array([ts for ts, _ in rows], dtype=np.int64), np.array([x for _, x in rows]))
