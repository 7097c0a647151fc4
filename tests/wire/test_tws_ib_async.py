"""The TWS server and ib_async, the maintained successor of ib_insync, which speaks version 178 and must not share our environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from other_clients import python_with, session

SESSION = Path(__file__).with_name("ib_async_session.py")


@pytest.fixture(scope="session")
def ib_async(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Python that has the client."""
    return python_with("ib_async==2.1.0", "BASISBOT_IB_ASYNC_PYTHON", tmp_path_factory.mktemp("ib_async"))


def test_the_successor_of_our_client_trades(ib_async: str) -> None:
    told, desk = session(ib_async, SESSION, history_min=31)
    assert told["version"] == 178
    assert told["details"] == ["MBTX6", "0.1", 5.0, "20261127"]
    assert told["quote"] == [1, 70_000.0, 70_010.0]
    assert told["bars"][-2:] == [["2026-11-03T14:28:00+00:00", 60_295.0], ["2026-11-03T14:29:00+00:00", 70_005.0]]
    assert len(told["bars"]) == 5
    assert told["margin"] == pytest.approx(2 * 0.1 * 70_005 * 0.40)
    assert told["fill"] == [3.0, 70_010.0, "P00001L00000001", 7.5]
    assert told["open"] == [["P00001L00000004", "Submitted", True]]
    assert told["executions"] == [["P00001L00000001", 3.0]]
    assert told["completed"] == [["P00001L00000001", "Filled"], ["P00001L00000002", "Cancelled"], ["P00001L00000003", "Inactive"]]
    assert told["positions"] == [["MBTX6", 3.0, 7_001.0]]
    assert told["summary"] == ["MaintMarginReq", "NetLiquidation"]
    assert sorted(told["errors"]) == [201, 202]
    assert not any(t.outcome is None for t in desk.exchange.orders.values())
