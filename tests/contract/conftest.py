"""Every implementation of the Venue port, as the parameters of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from venue_rig import IN_PROCESS, Build, Rig
from wire_rig import over_the_wire

ROADS: dict[str, Build] = {**IN_PROCESS, "wire": over_the_wire}
"""instant, latency, drawn: the in-process venue; wire: ib_insync or ib_async, and ccxt.pro, to the loopback servers."""


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest) -> str:
    """Return how the venue is reached."""
    return str(request.param)


@pytest.fixture
def build(road: str) -> Iterator[Build]:
    """Return a builder of rigs of one implementation, which are closed after the test."""
    made: list[Rig] = []

    def build(*args: Any, **more: Any) -> Rig:
        made.append(ROADS[road](*args, **more))
        return made[-1]

    yield build
    for rig in made:
        rig.close()


@pytest.fixture(params=["cme", "perp"])
def market(request: pytest.FixtureRequest) -> str:
    """Return the kind of venue."""
    return str(request.param)
