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
DESK = HEAVY | {"numpy", "plotly", "jinja2"}
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


@pytest.mark.parametrize(("argv", "unwanted"), VERBS, ids=[" ".join(v[0][:2]) for v in VERBS])
def test_a_verb_loads_only_what_it_needs(tmp_path: Path, argv: list[str], unwanted: set[str]) -> None:
    """The modules in memory after the verb has run hold none of the unwanted ones."""
    script = (
        f"import sys; from bot.cli import main; code = main({argv!r}); "
        f"print('loaded', *sorted(set(sys.modules) & {unwanted!r}), file=sys.stderr); sys.exit(code)"
    )
    env = {**os.environ, "BOT_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "loaded"
