"""The Binance USD-M server and the exchange's own Python client, in a process and an environment of its own, by the wall clock."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from binance_rig import BTC, D, running
from other_clients import python_with

SESSION = Path(__file__).with_name("connector_session.py")
LIMIT_S = 40.0


async def _session(python: str, script: Path) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S), running(clock=time.time_ns) as desk:
        process = await asyncio.create_subprocess_exec(
            python, str(script), str(desk.server.port), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            if (await process.stdout.readline()).strip() == b"ready":
                desk.quote(70_009.0, 70_010.0)
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, err.decode()[-3_000:]
        assert desk.exchange.positions() == {BTC.id: D("0.5")}
        return dict(json.loads(out))


@pytest.fixture(scope="session")
def connector(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Python that has the exchange's client."""
    return python_with("binance-futures-connector==4.2.0", "BASISBOT_CONNECTOR_PYTHON", tmp_path_factory.mktemp("connector"), "setuptools<81")


def test_the_exchanges_own_client_trades(connector: str) -> None:
    told = asyncio.run(_session(connector, SESSION))
    assert told["symbol"] == "BTCUSDT" and abs(told["time"] - time.time_ns() // 1_000_000) < 60_000
    assert told["weight"] == ["x-mbx-order-count-10s", "x-mbx-order-count-1m", "x-mbx-used-weight-1m"]
    assert told["touch"] == ["70009.0", "70010.0"]
    first, last, before = told["diff"]
    assert before < first <= last == told["snapshot"]["lastUpdateId"]
    assert (told["snapshot"]["bids"], told["snapshot"]["asks"]) == ([["70009.0", "8.000"]], [["70010.0", "8.000"]])
    assert told["made"] == ["FILLED", "0.500", "70010.00000"]
    assert told["trade"] == ["P00001H00000001", "0.500", "70010.0", "17.50250000", "FILLED"]
    assert (told["resting"], told["open"], told["cancelled"]) == (["NEW", "mine-2"], ["mine-2"], "CANCELED")
    assert told["position"] == [["BTCUSDT", "0.500"]]
    assert (told["wallet"], told["trades"]) == ("399982.49750000", [["0.500", "70010.0", "17.50250000"]])
    assert (told["leverage"], told["income"], told["refused"]) == (20, ["COMMISSION"], [400, -4014])
