"""One script, two worlds: the in-process venue and the adapter over the wire come to the same end, to the cent.

Both are the same exchange core, so what is compared is what lies between: ids, rounding, what an error means, what is told of an order
whose request, acknowledgement or fill was lost.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from script import NEVER_WAS, SCRIPTS, play, read
from venue_rig import IN_PROCESS, Build


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_ends_the_same_in_both_worlds(path: Path, road: str, build: Build) -> None:
    """Orders, executions with their fees, forced trades, funding, positions, cash and the faults that struck."""
    lines = read(path)
    wanted = play(IN_PROCESS["instant"], lines)
    assert any(how != NEVER_WAS for how, _, _ in wanted.orders.values()) and wanted.cash
    found = play(build, lines)
    for field in wanted.__struct_fields__:
        assert getattr(found, field) == getattr(wanted, field), f"{field} differ on the way {road!r}"


def test_the_scripts_are_there() -> None:
    """Five of them, and every fault that they script strikes."""
    assert len(SCRIPTS) == 5
    for path in SCRIPTS:
        lines = read(path)
        scripted: dict[str, int] = {}
        for line in lines:
            if line.fault is not None:
                scripted[line.fault.value] = scripted.get(line.fault.value, 0) + 1
        assert play(IN_PROCESS["instant"], lines).hits == scripted
