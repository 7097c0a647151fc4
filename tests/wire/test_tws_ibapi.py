"""The TWS server and the broker's own Python client, which speaks version 157, in a process and an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from other_clients import python_with, session
from tws_rig import MBT

SESSION = Path(__file__).with_name("ibapi_session.py")


@pytest.fixture(scope="session")
def ibapi(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Python that has the broker's client."""
    return python_with("ibapi==9.81.1.post1", "BASISBOT_IBAPI_PYTHON", tmp_path_factory.mktemp("ibapi"))


def test_the_brokers_own_client_trades(ibapi: str) -> None:
    told, desk = session(ibapi, SESSION, history_min=31)
    assert desk.exchange.positions() == {MBT.id: 3}
    assert not any(t.outcome is None for t in desk.exchange.orders.values())
    assert told["version"] == 157
    assert told["details"][1:] == ["MBTX6", "0.1", 5.0, "20261127"]
    assert (told["type"], told["bid"], told["ask"]) == ([1], 70_000.0, 70_010.0)
    assert told["bars"] == [["20261103 08:28:00 US/Central", 60_295.0, -1], ["20261103 08:29:00 US/Central", 70_005.0, -1]]
    assert told["bars_end"] == ["20261103 08:28:00 US/Central", "20261103 08:30:00 US/Central"]
    assert told["fill"][2:] == [3.0, 70_010.0, "P00001L00000001"]
    assert told["filled"][2:] == [3.0, 0.0, 70_010.0] and told["commission"] == 7.5
    assert told["resting"][1:] == told["open"][1:] == ["MBTX6", "P00001L00000002", 69_000.0, "Submitted"]
    assert told["cancelled"][1:4] == ["Cancelled", 0.0, 1.0]
    assert told["position"][1:] == ["MBTX6", 3.0, 7_001.0]
    assert told["execution"][2:] == [3.0, 70_010.0, "P00001L00000001"]
    assert told["errors"] == []
