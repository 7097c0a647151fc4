"""The adapter with ib_async, the maintained successor of the library it is built on, which must not share our environment."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from other_clients import python_with, session

ROOT = Path(__file__).parents[2]
CONTRACT_S = 60
SESSION = Path(__file__).with_name("ib_async_adapter.py")


@pytest.fixture(scope="session")
def with_ib_async(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Python that has the library, what the adapter itself needs, and pytest."""
    return python_with("ib_async==2.1.0", "BASISBOT_IB_ASYNC_DESK_PYTHON", tmp_path_factory.mktemp("adapter"), "msgspec>=0.19", "tzdata", "pytest>=8.3")


def test_the_adapter_trades_on_the_successor(with_ib_async: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    told, desk = session(with_ib_async, SESSION, history_min=31)
    assert told["library"] == "ib_async"
    assert told["quote"] == [70_000.0, 70_010.0]
    assert told["fills"] == [["P00001L00000001", "2", "5.0"]]
    assert told["ended"] == [["P00001L00000001", "filled", "2"], ["P00001L00000002", "cancelled", "0"]]
    assert (told["positions"], told["working"]) == ({"MBTX26": "2"}, ["P00001L00000002"])
    assert [at for at, _ in told["history"]] == [-300, -240, -180, -120, -60] and told["history"][-1][1] == 60_295.0
    assert told["wrong"] == [] and told["alerts"] == []
    assert not any(t.outcome is None for t in desk.exchange.orders.values())


def test_the_contract_holds_on_the_successor(with_ib_async: str) -> None:
    """The same module that ib_insync has to pass, in the other environment; nothing is skipped there."""
    cases = ["tests/contract/test_venue_contract.py", "tests/contract/test_cme_contract.py", "-k", "wire and not perp", "-p", "no:cacheprovider"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run([with_ib_async, "-m", "pytest", *cases], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=CONTRACT_S)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]
    counts = dict(re.findall(r"(passed|failed|skipped|deselected) (\d+)", re.sub(r"(\d+) (\w+)", r"\2 \1", done.stdout.splitlines()[-1])))
    assert int(counts["passed"]) >= 25 and "skipped" not in counts, done.stdout.splitlines()[-1]
