"""The numbers that explain a backtest and the pages that show them."""

from __future__ import annotations

import doctest
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from bar_files import PRICE, cme_minutes, perp_series, segment, study, swing
from rich.console import Console

from bot.backtest import align, charts, contracts, formats, report
from bot.backtest import run as run_module
from bot.backtest.assumptions import DROPPED
from bot.backtest.formats import HOUR_NS, Series, SeriesKind
from bot.backtest.play import Played
from bot.backtest.result import BUCKETS_BP, BacktestResult, Case, best, halves, histogram, reasons, spread_of
from bot.backtest.run import Files, Inputs, account, play_all
from bot.backtest.trades import Look, Trade
from bot.backtest.verdict import verdict
from bot.model.notation import instant_ns

RISE = instant_ns("2026-02-10T14:00Z")


def raised(at_ns: int) -> float:
    """Return a swing with one episode of 90 bp."""
    if RISE <= at_ns < RISE + 2 * HOUR_NS:
        return 90.0
    return 0.0 if RISE <= at_ns < RISE + 3 * HOUR_NS else swing(at_ns)


def accounted(level=swing) -> tuple[BacktestResult, Played]:  # type: ignore[no-untyped-def]
    """Return the result of a small study."""
    bars, perp = cme_minutes(), perp_series(level)
    x = study((segment("MBTH26", bars),), perp)
    files = Files(Series("cme.csv", SeriesKind.CME_MINUTE, 60_000_000_000, bars), perp, None, None, None, x.funding)
    inputs = Inputs(cme=Path("cme<b>.csv"), perp=Path("perp.csv"), funding=Path("funding.csv"), stable_fixed=1.0)
    base, cases = play_all(x)
    return account(inputs, files, x, base, cases, {"mixed_contracts": 7}, "backtest"), base


@pytest.fixture(scope="module")
def quiet() -> tuple[BacktestResult, Played]:
    """A market that gives no signal."""
    return accounted()


@pytest.fixture(scope="module")
def traded() -> tuple[BacktestResult, Played]:
    """A market with one episode."""
    return accounted(raised)


@pytest.mark.parametrize("module", [formats, contracts, charts])
def test_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    """The examples are run here: these modules are outside the folders whose doctests are collected."""
    found = doctest.testmod(module)
    assert found.attempted > 0 and found.failed == 0


def test_every_reason_for_dropping_a_row_is_explained() -> None:
    """A reader finds what a reason means beside its count."""
    text = "".join(Path(m.__file__ or "").read_text() for m in (contracts, align, run_module))
    used = set(re.findall(r'"([a-z]+_[a-z_]+)"', text)) & {*DROPPED, "mixed_contracts"}
    assert used == set(DROPPED)


def look(edge: float | None, z: float = 0.0, *, held: bool = False, why: str = "z") -> Look:
    """Return a look whose required edge is 3 bp."""
    return Look(0, "MBTH26", 1, z, 0.0, 0.0, edge, None if edge is None else 3.0, held, why)


def test_the_histogram_counts_edges_from_the_hurdle() -> None:
    """A look lies in [from, to) of edge minus requirement; what could not be weighed and what is held is not in it."""
    rows = histogram([look(3.0, 2.0), look(2.9), look(-500.0), look(500.0, 9.0), look(None), look(50.0, held=True)], 2.0)
    assert sum(b.looks for b in rows) == 4 and sum(b.signals for b in rows) == 2
    at = {b.from_bp: b for b in rows}
    assert (at[0.0].looks, at[0.0].signals) == (1, 1) and at[-5.0].looks == 1 and at[None].looks == 1 and rows[-1].to_bp is None and rows[-1].looks == 1
    assert len(rows) == len(BUCKETS_BP) + 1


def test_reasons_add_up_to_all_looks() -> None:
    """Every signal has exactly one first reason, in words."""
    found = reasons([look(None), look(None), look(1.0, why="edge"), look(9.0, 3.0, why="")])
    assert found == {"z below z_in": 2, "asked for": 1, "edge below edge_min": 1}


def test_the_nearest_are_those_at_z_in_by_what_they_lacked() -> None:
    """A large edge without a signal is not near a trade."""
    rows = best([look(50.0, 1.0), look(-9.0, 2.5), look(1.0, 2.0), look(9.0, 3.0, held=True)], 2.0)
    assert [(n.edge_bp, n.z) for n in rows] == [(1.0, 2.0), (-9.0, 2.5)]


def test_spread_of_numbers() -> None:
    """Median, deviation and tails; nothing of nothing."""
    found = spread_of([float(n) for n in range(101)])
    assert found["median"] == 50.0 and found["p01"] == 1.0 and found["p99"] == 99.0 and found["sd"] == pytest.approx(29.15, abs=0.01)
    assert spread_of([]) == {}


def test_halves_split_by_decision(traded: tuple[BacktestResult, Played]) -> None:
    """Every trade is in one half, and both halves together are all of them."""
    result, base = traded
    first, second = halves(base)
    assert first.market_to == second.market_from and first.trades + second.trades == len(result.trades) == 1
    assert second.trades == 1 and second.won == 1 and second.pnl_usd == pytest.approx(result.trades[0].pnl_usd)


def test_cases_cover_spreads_delays_and_the_stablecoin(traded: tuple[BacktestResult, Played]) -> None:
    """The first case is the result itself; triple spreads earn less."""
    result, _ = traded
    assert [(c.spread_multiple, c.delay_bars, c.stable_shift_bp) for c in result.cases] == [
        (1, 0, 0), (1, 1, 0), (1, 2, 0), (3, 0, 0), (3, 1, 0), (3, 2, 0), (1, 0, -10), (1, 0, 10),
    ]  # fmt: skip
    base, triple = result.cases[0], result.cases[3]
    assert base.pnl_usd == result.pnl_usd and triple.pnl_usd < base.pnl_usd and triple.trades == base.trades


def test_a_run_without_trades_says_what_was_missing(quiet: tuple[BacktestResult, Played]) -> None:
    """The verdict names the funnel, the cost of a round trip, and the deviation it would have to come from."""
    result, _ = quiet
    said = " ".join(verdict(result))
    assert said.startswith("No trade was made.") and "No signal reached z 2" in said and "A round trip costs" in said and "deviation" in said
    assert result.invariant_violations == 0 and result.open_at_end == 0


def _case(delay: int, usd: float) -> Case:
    return Case(spread_multiple=1.0, delay_bars=delay, stable_shift_bp=0.0, trades=3, trades_usd=usd, pnl_usd=usd, fees_usd=0.0,
                funding_usd=0.0, expected_bp=1.0, result_bp=1.0, signals_over_hurdle=3)  # fmt: skip


@pytest.mark.parametrize(
    ("late", "said"),
    [((5.0, 4.0), "5 USD; 2 bars late, 3 trades, +4 USD."), ((-5.0, -4.0), "does not survive a delay"), ((5.0, -4.0), "what chance looks like")],
)
def test_a_profit_that_a_delay_takes_away_is_called_that(traded: tuple[BacktestResult, Played], late: tuple[float, float], said: str) -> None:
    """The verdict is about all delays together and never leaves out the bad one."""
    result = msgspec.structs.replace(traded[0], cases=[_case(0, 10.0), _case(1, late[0]), _case(2, late[1])])
    assert said in " ".join(verdict(result))


def test_a_broken_invariant_is_loud(traded: tuple[BacktestResult, Played]) -> None:
    """Numbers that do not agree with the venues' statements are not to be used."""
    assert "NOT TO BE USED" in " ".join(verdict(msgspec.structs.replace(traded[0], invariant_violations=1)))


class Loads(HTMLParser):
    """Collects everything a page would fetch, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.text: list[str] = []
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._script = tag in ("script", "style")
        for name, value in attrs:
            if name in ("src", "href", "action") and value and not value.startswith("#"):
                self.fetched.append(f"{tag} {name} {value}")

    def handle_endtag(self, tag: str) -> None:
        self._script = False

    def handle_data(self, data: str) -> None:
        if not self._script:
            self.text.append(data)


@pytest.mark.parametrize("which", ["quiet", "traded"])
def test_the_page_needs_nothing_from_anywhere(which: str, request: pytest.FixtureRequest) -> None:
    """One file: no address is fetched, every section is there, and names from outside are escaped."""
    result, base = request.getfixturevalue(which)
    page = report.render(result, base.looks)
    seen = Loads()
    seen.feed(page)
    text = re.sub(r"\s+", " ", " ".join(seen.text))
    assert seen.fetched == []
    for section in ("What was read", "Edge against the hurdle", "Why signals opened nothing", "What the result depends on", "Break-even", "Assumptions"):
        assert section in text
    assert "cme<b>.csv" in text and "<b>.csv" not in page, "a file name is text"
    assert ("MBTH26" in text) and ("mixed contracts" in text) and "fixed at 1 USD" in text
    assert page.count("Plotly.newPlot(") >= (5 if which == "traded" else 3)


def test_the_report_appears_whole_or_not_at_all(tmp_path: Path, traded: tuple[BacktestResult, Played], monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure while writing leaves the old report and no remains; a success replaces it."""
    result, base = traded
    path = tmp_path / "r.html"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(report.os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            report.write(result, base.looks, path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["r.html"]
    report.write(result, base.looks, path)
    assert path.read_text().startswith("<!doctype html>") and [p.name for p in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize(("which", "width"), [("quiet", 80), ("traded", 110)])
def test_the_terminal_shows_the_same_in_words(which: str, width: int, request: pytest.FixtureRequest) -> None:
    """Verdict, what was dropped, reasons, cases and assumptions, within the width."""
    result, _ = request.getfixturevalue(which)
    out = io.StringIO()
    report.show(result, Console(file=out, width=width))
    text = out.getvalue()
    for part in (verdict(result)[0].split(".")[0], "mixed contracts", "Why a signal opened nothing", "What it depends on", "Assumptions"):
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_trade_left_open_is_said(traded: tuple[BacktestResult, Played]) -> None:
    """What could not be closed is counted, in the list and in the verdict."""
    trade: Trade = msgspec.structs.replace(traded[0].trades[0], exited_at=None, cme_exit=None, perp_exit=None, open_at_end=True)
    result = msgspec.structs.replace(traded[0], trades=[trade], open_at_end=1)
    assert "Still open where the data of their contract end: 1 trade" in " ".join(verdict(result))
    assert "still open" in report.render(result, []) and trade.cme_entry == PRICE + 10
