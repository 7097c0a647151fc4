"""Calibration: figures against known markets, files by role, and a market that is compared with itself."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import numpy as np
import pytest

from bot import config
from bot.backtest import calibration
from bot.backtest.calibration import found, run, seeded
from bot.backtest.formats import HOUR_NS, MINUTE_NS, Bar, FundingRow, InputError
from bot.backtest.shape import GROUPS, QUARTER_NS, Group, Market, Prices, figures, kurtosis, like, memory, returns
from bot.market.calendar import CmeCalendar, State
from bot.model.notation import instant_ns
from tests.unit.backtest.bar_files import MINUTE_HEADER, bar, write_bars, write_funding

FROM = instant_ns("2026-02-02")
COINS = ("BTC", "MBT")
STAMP_NS = 8 * HOUR_NS


def group(name: str) -> Group:
    """Return the group of this name."""
    return next(g for g in GROUPS if g.name == name)


def walk(seed: int, n: int, sd: float) -> Prices:
    """Return a random walk of `n` minutes, normal, `sd` a minute."""
    rng = Random(seed)
    steps = np.array([rng.gauss(0.0, sd) for _ in range(n)])
    return Prices(FROM + MINUTE_NS * np.arange(1, n + 1, dtype=np.int64), 80_000.0 * np.exp(np.cumsum(steps)))


def test_figures_of_known_series() -> None:
    """A normal has kurtosis 3, two points 1; an autoregression of 0.8 remembers 0.8 and 0.64."""
    rng = Random(1)
    normal = np.array([rng.gauss(0.0, 1.0) for _ in range(50_000)])
    assert kurtosis(normal) == pytest.approx(3.0, abs=0.1) and kurtosis(np.array([1.0, -1.0] * 10)) == 1.0
    x, series = 0.0, []
    for e in normal.tolist():
        x = 0.8 * x + e
        series.append(x)
    assert memory(np.array(series), 1) == pytest.approx(0.8, abs=0.02) and memory(np.array(series), 2) == pytest.approx(0.64, abs=0.02)


def test_a_hole_is_no_return() -> None:
    """Only closes exactly one step apart make a return, and a longer step is taken on its own grid."""
    ends = FROM + MINUTE_NS * np.array([1, 2, 4, 5, 15, 30], dtype=np.int64)
    prices = Prices(ends, np.array([100.0, 101.0, 150.0, 151.0, 200.0, 202.0]))
    assert returns(prices, MINUTE_NS).tolist() == pytest.approx([math.log(1.01), math.log(151 / 150)])
    assert returns(prices, QUARTER_NS).tolist() == pytest.approx([math.log(1.01)])


def test_a_walk_shows_its_deviation_and_no_memory() -> None:
    """The figures of minutes of a plain walk: what went in, normal tails, nothing remembered."""
    got = {x.name: x.value for x in figures(group("1 min returns"), Market(perp={MINUTE_NS: walk(2, 20_000, 5e-4)}))}
    assert got["1 min returns: deviation"] == pytest.approx(5.0, rel=0.02) and got["1 min returns: kurtosis"] == pytest.approx(3.0, abs=0.2)
    assert abs(got["1 min returns: memory of size at 1 min"]) < 0.03


def test_windows_as_long_as_the_real_one() -> None:
    """A market of two regimes is one of fat tails as a whole, and of none where the real one is as short as a regime."""
    a, b = walk(3, 6_000, 2e-4), walk(4, 6_000, 20e-4)
    both = Prices(np.concatenate([a.ends, b.ends + 6_000 * MINUTE_NS]), np.concatenate([a.closes, b.closes / b.closes[0] * a.closes[-1]]))
    made, name = Market(perp={MINUTE_NS: both}), "1 min returns: kurtosis"
    short, long = (Market(perp={MINUTE_NS: walk(5, n, 5e-4)}) for n in (1_500, 11_000))
    of = {len(real.perp[MINUTE_NS].ends): {x.name: x.value for x in like(group("1 min returns"), made, real)}[name] for real in (short, long)}
    assert of[1_500] < 3.5 < 5.0 < of[11_000]


def test_the_line_of_carry_is_no_deviation_of_the_basis() -> None:
    """A basis that only rolls down has none; what swings around the line is measured."""
    ends = FROM + QUARTER_NS * np.arange(1, 1_001, dtype=np.int64)
    line = 30.0 - 0.01 * np.arange(1_000)
    flat = {x.name: x.value for x in figures(group("basis"), Market(perp={}, basis=(Prices(ends, line),)))}
    assert flat["basis: deviation within a contract"] < 1e-9
    swung = {x.name: x.value for x in figures(group("basis"), Market(perp={}, basis=(Prices(ends, line + np.tile([4.0, -4.0], 500)),)))}
    assert swung["basis: deviation within a contract"] == pytest.approx(4.0, rel=0.01)
    assert swung["basis: deviation of its change over 15 min"] == pytest.approx(8.0, rel=0.01)


# Files.


def flat(n: int, length_ns: int, volume: float = 10.0) -> list[Bar]:
    """Return `n` bars that stand still."""
    return [bar(FROM + k * length_ns, length_ns, 80_000.0, volume) for k in range(n)]


def test_files_by_header_and_path(tmp_path: Path) -> None:
    """Spot by its path, marks by their want of volume, other coins and intervals passed over, of two of a kind the longer one used."""
    for name in ("perp", "spot", "old"):
        (tmp_path / name).mkdir()
    write_bars(tmp_path / "perp/BTCUSDT_1h.csv", flat(50, HOUR_NS))
    write_bars(tmp_path / "old/BTCUSDT_1h.csv", flat(60, HOUR_NS))
    write_bars(tmp_path / "perp/BTCUSDT_mark.csv", flat(50, HOUR_NS, 0.0))
    write_bars(tmp_path / "perp/BTCUSDT_5m.csv", flat(50, 5 * MINUTE_NS))
    write_bars(tmp_path / "perp/ETHUSDT_1h.csv", flat(90, HOUR_NS))
    write_bars(tmp_path / "spot/BTCUSDT_1h.csv", flat(50, HOUR_NS))
    write_funding(tmp_path / "BTC_funding.csv", [FundingRow(FROM + k * STAMP_NS, 1e-4, k + 2) for k in range(40)])
    write_funding(tmp_path / "BTC_hourly.csv", [FundingRow(FROM + k * HOUR_NS, 1e-5, k + 2) for k in range(90)])
    (tmp_path / "BTC_notes.csv").write_text("what,when\nnothing,never\n")
    files = found(tmp_path, COINS, STAMP_NS)
    assert {role: series.path for role, series in files.series.items()} == {
        "perp 3600 s": "old/BTCUSDT_1h.csv", "mark": "perp/BTCUSDT_mark.csv", "spot": "spot/BTCUSDT_1h.csv",
    }  # fmt: skip
    assert files.funding_path == "BTC_funding.csv" and len(files.funding) == 40
    assert files.passed_over == [
        "BTC_hourly.csv: not a print every 8 h", "BTC_notes.csv: its header is of no known format",
        "perp/BTCUSDT_1h.csv: old/BTCUSDT_1h.csv has more rows of the same kind",
        "perp/BTCUSDT_5m.csv: bars of 300 s are not measured", "perp/ETHUSDT_1h.csv: not of BTC",
    ]  # fmt: skip


def test_a_damaged_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    """A recognised header over bad rows is an error naming the row; so is a folder with nothing to compare."""
    with pytest.raises(InputError, match=r"no file like \*\.csv"):
        run(tmp_path, 3)
    (tmp_path / "notes.csv").write_text("what,when\nnothing,never\n")
    with pytest.raises(InputError, match=r"notes\.csv: its header"):
        run(tmp_path, 3)
    path = write_bars(tmp_path / "BTCUSDT.csv", flat(50, HOUR_NS))
    path.write_text(path.read_text().replace("80000.0", "-1.0", 1))
    with pytest.raises(InputError, match="row 2"):
        run(tmp_path, 3)


def write_market(folder: Path, made: Market) -> None:
    """Write a seeded market as files."""
    assert made.premium is not None and made.mark is not None and made.funding is not None and made.stable is not None
    for length in (MINUTE_NS, QUARTER_NS, HOUR_NS):
        ends, closes = made.perp[length]
        write_bars(folder / f"BTCUSDT_{length // MINUTE_NS}m.csv", [bar(int(t) - length, length, float(x)) for t, x in zip(ends, closes, strict=True)])
    ends, closes = made.perp[HOUR_NS]
    spot = closes[: len(made.premium)] / (1.0 + made.premium[: len(closes)] * 1e-4)
    write_bars(folder / "spot_BTCUSDT.csv", [bar(int(t) - HOUR_NS, HOUR_NS, float(x)) for t, x in zip(ends, spot, strict=False)])
    marks = spot * (1.0 + made.mark[: len(spot)] * 1e-4)
    write_bars(folder / "BTC_mark.csv", [bar(int(t) - HOUR_NS, HOUR_NS, float(x), 0.0) for t, x in zip(ends, marks, strict=False)])
    write_funding(folder / "BTC_funding.csv", [FundingRow(FROM + k * STAMP_NS, float(x), k) for k, x in enumerate(made.funding)])
    perp = dict(zip(made.perp[QUARTER_NS].ends.tolist(), made.perp[QUARTER_NS].closes.tolist(), strict=True))
    calendar = CmeCalendar("MBT")
    minutes = []
    for t, bp in zip(made.basis[0].ends.tolist(), made.basis[0].closes.tolist(), strict=True):
        price = perp[t] * math.exp(bp * 1e-4)
        minutes += [bar(start, MINUTE_NS, price) for start in (t - MINUTE_NS, t) if calendar.at(start).state is State.OPEN]
    write_bars(folder / "MBT_1m.csv", minutes, MINUTE_HEADER)
    rows = [f"{_day(k)},{x!r},{x!r},{x!r},{x!r},1,0,0" for k, x in enumerate(made.stable.tolist())]
    (folder / "USDT.csv").write_text("\n".join(["Date,Open,High,Low,Close,Volume,Dividends,Stock Splits", *rows]) + "\n")


def _day(k: int) -> str:
    return f"{np.datetime64('2026-02-02') + k} 00:00:00+00:00"


def test_a_market_written_to_files_is_itself(tmp_path: Path) -> None:
    """Files made of the seeded market itself give its own figures back, each at a ratio of one; another seed does not."""
    settings = config.load("paper", environ={}, sets=("market.scenario=calm",)).settings
    write_market(tmp_path, seeded(settings, 42))
    result = run(tmp_path, 42)
    apart = {row.name: row.ratio for row in result.rows if not row.name.startswith("basis") and row.ratio != pytest.approx(1.0, abs=2e-3)}
    assert not apart and all(row.ok for row in result.rows)
    assert {row.name.partition(":")[0] for row in result.rows} == {
        "1 min returns", "15 min returns", "1 h returns", "1 d returns", "hours", "premium", "mark over index", "funding", "basis", "stablecoin",
    }  # fmt: skip
    assert result.not_compared == ["carry: no file for cme days"] and result.passed_over == []
    assert not all(row.ok for row in run(tmp_path, 42, seed=9).rows)
    text = "\n".join(calibration.lines(result))
    assert f"{len(result.rows)} of {len(result.rows)} figures fit" in text and "not compared: carry" in text


def test_a_figure_that_is_zero_or_of_the_other_sign_fits_only_itself() -> None:
    """Nothing is a multiple of zero, and no factor turns a sign."""
    rows = [calibration._row("x", "", real, made, 2.0) for real, made in ((0.0, 0.0), (0.0, 0.1), (-1.0, 1.0), (-1.0, -1.9), (1.0, 2.1))]
    assert [(row.ratio, row.ok) for row in rows] == [(None, True), (None, False), (-1.0, False), (1.9, True), (2.1, False)]
