"""Measures the shape of a market: spread, tails and clustering of returns, premium, funding, basis and stablecoin.

One set of functions for a real market and a seeded one, so that what is compared is measured alike. Deviations and
quantiles of prices are in bp, of funding in percent a year (rate x stamps of a year), kurtosis is 3 for a normal,
memory is the autocorrelation at the named distance. Only what at least MIN_COUNT observations say is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from bot.backtest.formats import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

Floats: TypeAlias = npt.NDArray[np.float64]
Stamps: TypeAlias = npt.NDArray[np.int64]

QUARTER_NS = 15 * MINUTE_NS
YEAR_NS = 365 * DAY_NS
MIN_COUNT = 30
PIECE_NS = 28 * DAY_NS
"""A basis is measured within pieces of this length, about the life of a front contract, each without its own straight line."""
TIGHT, LOOSE, WIDE = 1.25, 1.5, 2.0
"""Factors within which a seeded figure is called fitting: levels and widths; shares and middling memory; tails and long memory."""
BASELINE = 0.0001
_CHICAGO = ZoneInfo("America/Chicago")
_MORNING = range(8, 12)


class Prices(NamedTuple):
    """Closes by the instant they ended, UTC ns, strictly increasing."""

    ends: Stamps
    closes: Floats


class Figure(NamedTuple):
    """A measured figure and the factor within which another market's counts as the same."""

    name: str
    value: float
    within: float


class Market(NamedTuple):
    """What is known of a market; None for what is not.

    perp: by length of bar, ns. premium, mark: of the perp's trades and of its mark over the index, bp, hour by hour. funding:
    rates of eight hours in time order. basis: the future over the perp, bp, at quarter hours, one per contract. carry:
    implied at daily closes, a year. stable: daily closes, USD.
    """

    perp: dict[int, Prices]
    premium: Floats | None = None
    mark: Floats | None = None
    funding: Floats | None = None
    basis: tuple[Prices, ...] = ()
    carry: Floats | None = None
    stable: Floats | None = None


def returns(prices: Prices, step_ns: int) -> Floats:
    """Return the log returns between closes `step_ns` apart, on the grid of that length."""
    on_grid = prices.ends % step_ns == 0
    ends, logs = prices.ends[on_grid], np.log(prices.closes[on_grid])
    return np.asarray(np.diff(logs)[np.diff(ends) == step_ns])


def kurtosis(x: Floats) -> float:
    """Return the fourth moment over the squared variance: 3 for a normal."""
    d = x - x.mean()
    return float((d**4).mean() / (d * d).mean() ** 2)


def memory(x: Floats, lag: int) -> float:
    """Return the autocorrelation at `lag` steps."""
    d = x - x.mean()
    return float((d[lag:] * d[:-lag]).mean() / (d * d).mean())


def _returns(market: Market, bar_ns: int, label: str, lags: Sequence[tuple[int, str]], step_ns: int | None = None) -> Iterator[Figure]:
    r = returns(market.perp[bar_ns], step_ns or bar_ns)
    if len(r) < MIN_COUNT:
        return
    yield Figure(f"{label} returns: deviation", float(r.std()) * 1e4, TIGHT)
    yield Figure(f"{label} returns: kurtosis", kurtosis(r), WIDE)
    for lag, name in lags:
        if len(r) > lag + MIN_COUNT:
            yield Figure(f"{label} returns: memory of size at {name}", memory(np.abs(r), lag), LOOSE if lag == 1 else WIDE)


def _minutes(market: Market) -> Iterator[Figure]:
    yield from _returns(market, MINUTE_NS, "1 min", ((1, "1 min"), (60, "1 h")))


def _quarters(market: Market) -> Iterator[Figure]:
    yield from _returns(market, QUARTER_NS, "15 min", ((1, "15 min"), (96, "1 d")))


def _hourly(market: Market) -> Iterator[Figure]:
    yield from _returns(market, HOUR_NS, "1 h", ((1, "1 h"), (24, "1 d")))
    yield from _returns(market, HOUR_NS, "1 d", (), DAY_NS)


def _hours(market: Market) -> Iterator[Figure]:
    """Yield how much more an hour moves in the New York morning, and how much less at weekends, than at other times of weekdays."""
    prices = market.perp[HOUR_NS]
    follows = np.diff(prices.ends) == HOUR_NS
    sizes = np.abs(np.diff(np.log(prices.closes)))[follows]
    begins = prices.ends[:-1][follows]
    parts: dict[str, list[float]] = {"weekend": [], "morning": [], "other": []}
    for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True):
        local = datetime.fromtimestamp(begin // SECOND_NS, _CHICAGO)
        parts["weekend" if local.weekday() > 4 else "morning" if local.hour in _MORNING else "other"].append(size)
    if min(map(len, parts.values())) < MIN_COUNT:
        return
    usual = float(np.median(parts["other"]))
    yield Figure("hours: move of 08-12 Chicago over other weekday hours", float(np.median(parts["morning"])) / usual, TIGHT)
    yield Figure("hours: move at weekends over other weekday hours", float(np.median(parts["weekend"])) / usual, TIGHT)


def _premium(market: Market) -> Iterator[Figure]:
    assert market.premium is not None
    x = market.premium
    if len(x) < MIN_COUNT + 24:
        return
    low, high = np.quantile(x, (0.05, 0.95))
    yield Figure("premium: mean", float(x.mean()), TIGHT)
    yield Figure("premium: deviation", float(x.std()), TIGHT)
    yield Figure("premium: width of its middle 90 %", float(high - low), TIGHT)
    yield Figure("premium: kurtosis", kurtosis(x), WIDE)
    yield Figure("premium: memory at 1 h", memory(x, 1), LOOSE)
    yield Figure("premium: memory at 4 h", memory(x, 4), LOOSE)
    yield Figure("premium: memory at 1 d", memory(x, 24), WIDE)


def _mark(market: Market) -> Iterator[Figure]:
    assert market.mark is not None
    x = market.mark
    if len(x) >= MIN_COUNT:
        yield Figure("mark over index: mean", float(x.mean()), TIGHT)
        yield Figure("mark over index: deviation", float(x.std()), LOOSE)


def _funding(market: Market) -> Iterator[Figure]:
    assert market.funding is not None
    if len(market.funding) < MIN_COUNT + 9:
        return
    rates = market.funding
    year = rates * (YEAR_NS / (8 * HOUR_NS)) * 100.0
    for part, name in ((0.05, "5 %"), (0.5, "50 %"), (0.95, "95 %")):
        yield Figure(f"funding: {name} quantile, % a year", float(np.quantile(year, part)), LOOSE)
    yield Figure("funding: mean, % a year", float(year.mean()), LOOSE)
    yield Figure("funding: deviation, % a year", float(year.std()), TIGHT)
    yield Figure("funding: share at 0.01 %", float(np.mean(np.abs(rates - BASELINE) < 5e-9)), LOOSE)
    yield Figure("funding: share negative", float(np.mean(rates < 0.0)), LOOSE)
    yield Figure("funding: memory at 8 h", memory(rates, 1), LOOSE)
    yield Figure("funding: memory at 3 d", memory(rates, 9), WIDE)


def _basis(market: Market) -> Iterator[Figure]:
    pieces = [piece for contract in market.basis for piece in _pieces(contract)]
    if sum(len(x.ends) for x in pieces) < MIN_COUNT:
        return
    levels = np.concatenate([x.closes for x in pieces])
    yield Figure("basis: deviation within a contract", float(levels.std()), TIGHT)
    yield Figure("basis: kurtosis", kurtosis(levels), WIDE)
    for span_ns, name, within in ((QUARTER_NS, "15 min", TIGHT), (HOUR_NS, "1 h", TIGHT), (6 * HOUR_NS, "6 h", TIGHT), (DAY_NS, "1 d", LOOSE)):
        changes = np.concatenate([_changes(x, span_ns) for x in pieces])
        if len(changes) >= MIN_COUNT:
            yield Figure(f"basis: deviation of its change over {name}", float(changes.std()), within)


def _pieces(contract: Prices) -> Iterator[Prices]:
    """Yield a contract's basis in pieces of at most PIECE_NS, each without its straight line (what carry rolls down)."""
    places = (contract.ends - contract.ends[0]) // PIECE_NS
    for place in np.unique(places):
        ends, levels = contract.ends[places == place], contract.closes[places == place]
        if len(ends) >= MIN_COUNT:
            days = (ends - ends[0]) / DAY_NS
            days = days - days.mean()
            slope = float((days * levels).sum() / (days * days).sum())
            yield Prices(ends, levels - levels.mean() - slope * days)


def _changes(piece: Prices, span_ns: int) -> Floats:
    _, a, b = np.intersect1d(piece.ends + span_ns, piece.ends, assume_unique=True, return_indices=True)
    return np.asarray(piece.closes[b] - piece.closes[a])


def _carry(market: Market) -> Iterator[Figure]:
    assert market.carry is not None
    if len(market.carry) >= MIN_COUNT:
        yield Figure("carry implied by the future: median, % a year", float(np.median(market.carry)) * 100.0, LOOSE)


def _stable(market: Market) -> Iterator[Figure]:
    assert market.stable is not None
    if len(market.stable) < MIN_COUNT + 1:
        return
    off = (market.stable - 1.0) * 1e4
    yield Figure("stablecoin: deviation", float(off.std()), LOOSE)
    yield Figure("stablecoin: share of days more than 10 bp off", float(np.mean(np.abs(off) > 10.0)), WIDE)
    yield Figure("stablecoin: kurtosis", kurtosis(off), WIDE)
    yield Figure("stablecoin: memory at 1 d", memory(off, 1), LOOSE)


class Group(NamedTuple):
    """Figures that come from the same files: their roles, how to see that they are there, and the measurement.

    window: length of the bars, ns, of a group measured in windows (see `like`), 0 for one measured as a whole.
    """

    name: str
    roles: tuple[str, ...]
    known: Callable[[Market], Any]
    measure: Callable[[Market], Iterator[Figure]]
    window: int = 0


GROUPS = (
    Group("1 min returns", ("perp 60 s",), lambda m: MINUTE_NS in m.perp, _minutes, MINUTE_NS),
    Group("15 min returns", ("perp 900 s",), lambda m: QUARTER_NS in m.perp, _quarters, QUARTER_NS),
    Group("1 h and 1 d returns", ("perp 3600 s",), lambda m: HOUR_NS in m.perp, _hourly),
    Group("hours", ("perp 3600 s",), lambda m: HOUR_NS in m.perp, _hours),
    Group("premium", ("perp 3600 s", "spot"), lambda m: m.premium is not None, _premium),
    Group("mark over index", ("mark", "spot"), lambda m: m.mark is not None, _mark),
    Group("funding", ("funding",), lambda m: m.funding is not None, _funding),
    Group("basis", ("cme minutes", "perp 900 s"), lambda m: m.basis, _basis),
    Group("carry", ("cme days", "perp 3600 s", "spot"), lambda m: m.carry is not None, _carry),
    Group("stablecoin", ("stable",), lambda m: m.stable is not None, _stable),
)


def figures(group: Group, market: Market) -> list[Figure]:
    """Return a group's figures of a market that has what it needs; those that are no number (a constant has no memory) are left out."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return [x for x in group.measure(market) if math.isfinite(x.value)]


def like(group: Group, market: Market, real: Market) -> list[Figure]:
    """Return a group's figures of a seeded market measured as those of the real one.

    Tails and clustering grow with the time looked at, because regimes change. So where the seeded market is at least twice
    as long as a group's real one, each figure is the median over its windows of the real one's length.
    """
    if not group.window:
        return figures(group, market)
    prices, ends = market.perp[group.window], real.perp[group.window].ends
    places = (prices.ends - prices.ends[0]) // max(int(ends[-1] - ends[0]), group.window)
    if places[-1] < 2:
        return figures(group, market)
    values: dict[str, list[Figure]] = {}
    for place in range(int(places[-1])):  # the last window is not whole
        part = Market(perp={group.window: Prices(prices.ends[places == place], prices.closes[places == place])})
        for x in figures(group, part):
            values.setdefault(x.name, []).append(x)
    return [found[0]._replace(value=float(np.median([x.value for x in found]))) for found in values.values()]
