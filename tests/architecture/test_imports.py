"""What each verb loads: a light help, and no exchange, broker or data-frame library where none is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"ccxt", "ib_insync", "ib_async", "pandas", "scipy"}
LIGHT = HEAVY | {"sqlalchemy", "alembic", "numpy", "plotly", "jinja2", "rich", "sqlite3", "asyncio", "bot.engine", "bot.app", "bot.config"}
NETWORK = {"bot.venues.ib", "bot.venues.perp", "bot.wire.tws", "bot.wire.binance", "aiohttp"}
"""Adapters and servers, and what they speak through."""
DESK = HEAVY | NETWORK | {"numpy", "plotly", "jinja2"}
"""A desk on in-process venues needs none of these."""
SMALL = HEAVY | {"sqlalchemy", "alembic", "numpy", "plotly", "jinja2", "rich", "asyncio", "bot.app"}
"""Kill and status must work beside a broken desk."""

VERBS = [
    (["--help"], LIGHT), (["paper", "--help"], LIGHT), (["backtest", "--help"], LIGHT), (["status", "--json"], SMALL),
    (["wire", "--help"], LIGHT), (["doctor", "--help"], LIGHT), (["live", "--help"], LIGHT),
    (["kill", "--json"], SMALL), (["resume", "--reason", "test", "--json"], SMALL), (["config", "check"], SMALL),
    (["sessions", "--symbol", "MBT", "--from", "2026-11-06", "--to", "2026-11-07"], SMALL),
    (["paper", "--for", "5m", "--speed", "max", "--json"], DESK),
]  # fmt: skip


def loaded(argv: list[str], unwanted: set[str], folder: Path) -> list[str]:
    """Run a verb to its end in a process of its own; return which of the unwanted modules it has in memory then."""
    script = (
        f"import sys; from bot.cli import main; code = main({argv!r}); "
        f"print('loaded', *sorted(set(sys.modules) & {unwanted!r}), file=sys.stderr); sys.exit(code)"
    )
    env = {**os.environ, "BOT_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(("argv", "unwanted"), VERBS, ids=[" ".join(v[0][:2]) for v in VERBS])
def test_a_verb_loads_only_what_it_needs(tmp_path: Path, argv: list[str], unwanted: set[str]) -> None:
    """The modules in memory after the verb has run hold none of the unwanted ones."""
    assert loaded(argv, unwanted, tmp_path) == []


def test_a_backtest_loads_no_venue_on_the_network(tmp_path: Path) -> None:
    """From files to result without an exchange's or the broker's library, and without the adapters that would load them."""
    sys.path.insert(0, str(ROOT / "tests" / "unit" / "backtest"))
    try:
        from bar_files import MINUTE_HEADER, cme_minutes, funding_rows, perp_series, spot_series, swing, write_bars, write_funding
    finally:
        sys.path.pop(0)
    files = {
        "--cme": write_bars(tmp_path / "cme.csv", cme_minutes(), MINUTE_HEADER), "--perp": write_bars(tmp_path / "perp.csv", perp_series(swing).bars),
        "--spot": write_bars(tmp_path / "spot.csv", spot_series().bars), "--funding": write_funding(tmp_path / "funding.csv", funding_rows(lambda t: 0.0001)),
    }  # fmt: skip
    words = ["backtest", *(word for name, path in files.items() for word in (name, str(path))), "--stable-fixed", "1.0", "--json"]
    assert loaded(words, HEAVY | NETWORK, tmp_path) == []


def test_an_adapter_loads_its_library_only_when_it_connects() -> None:
    """Importing every adapter module loads neither library."""
    modules = ["bot.venues.ib", "bot.venues.perp", "bot.wire.tws", "bot.wire.binance", "bot.wire_servers", "bot.adapters"]
    code = f"import importlib, sys; [importlib.import_module(m) for m in {modules!r}]; print(sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
