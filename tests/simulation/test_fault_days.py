"""Seeded days of the whole desk with faults drawn from the seed: every invariant after every event, and recovery at the end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fault_days

CHUNK, DAYS = 10, 60


@pytest.mark.parametrize("first", range(0, DAYS, CHUNK))
def test_faults_break_no_invariant(first: int) -> None:
    """Each day ends reconciled with nothing unknown, its journal refolds to the same record, and its attribution sums."""
    for seed in range(first, first + CHUNK):
        o = fault_days.day(seed)
        ob, score = o.engine.ob, o.score
        assert o.violations == [], f"seed {seed}: {o.violations[:3]}"
        assert o.attempts >= 1, f"seed {seed}: nothing reached the gate"
        assert ob.ready and not ob.live and score.unknown_orders == 0, f"seed {seed}: {ob.cause}, live {list(ob.live)}"
        assert abs(score.residual_usd) < 0.01, f"seed {seed}: residual {score.residual_usd}"
        assert fault_days.refolded(o), f"seed {seed}: the journal does not fold to the desk's record"
        print(f"seed {seed}: {o.attempts} attempts, {score.fills} fills, hits {o.hits}")


def test_a_day_repeats() -> None:
    """The same seed gives the same journal."""
    assert fault_days.day(5, hours=6.0).sha256 == fault_days.day(5, hours=6.0).sha256
