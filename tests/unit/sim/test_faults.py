"""Faults as data: what a faults file may say, how a plan spends them, and that a swarm is drawn the same everywhere."""

from __future__ import annotations

from random import Random

import pytest

from bot.model.errors import ConfigError
from bot.model.event import NEVER
from bot.sim.faults import ARGS, FEED, INSTANT, LASTING, ROWS, Fault, FaultKind, FaultPlan, decode_faults, random_mix

S = 1_000_000_000
K = FaultKind


def test_a_whole_line_is_decoded() -> None:
    """Durations count from the market's start; defaults are one hit, no duration, the kind's own arguments."""
    lines = ['{"at": "PT35M", "venue": "perp", "fault": "lost_ack", "count": 1, "for": "PT5S", "args": {}}', "", '{"at":"PT0S","venue":"cme","fault":"slow"}']
    first, second = decode_faults(lines, 1_000 * S)
    assert first == Fault(at_ns=(1_000 + 2_100) * S, venue="perp", kind=K.LOST_ACK, count=1, for_ns=5 * S)
    assert second.at_ns == 1_000 * S and second.arg("delay_s") == 1.5
    assert first.until_ns == first.at_ns + 5 * S and second.until_ns == second.at_ns + 30 * S


@pytest.mark.parametrize(("line", "says"), [
    ("{", "line 2: not JSON"),
    ("[1]", "line 2: an object"),
    ('{"venue":"perp","fault":"adl"}', "line 2: at is missing"),
    ('{"at":"PT1M","fault":"adl"}', "line 2: venue is missing"),
    ('{"at":"PT1M","venue":"perp"}', "line 2: fault is missing"),
    ('{"at":"PT1M","venue":"perp","fault":"adl","when":1}', "unknown key 'when'"),
    ('{"at":"PT1M","venue":"perp","fault":"hedge_late"}', "fault: unknown 'hedge_late'"),
    ('{"at":"PT1M","venue":"perp","fault":7}', "fault: unknown 7"),
    ('{"at":"PT1M","venue":"perp","fault":["adl"]}', "fault: unknown"),
    ('{"at":"PT1M","venue":"mars","fault":"adl"}', "venue: unknown 'mars'"),
    ('{"at":"PT1M","venue":3,"fault":"adl"}', "venue: unknown 3"),
    ('{"at":35,"venue":"perp","fault":"adl"}', "at: a duration"),
    ('{"at":"-PT1M","venue":"perp","fault":"adl"}', "at: "),
    ('{"at":"PT1M","venue":"perp","fault":"slow","for":"soon"}', "for: "),
    ('{"at":"PT1M","venue":"perp","fault":"reject","count":0}', "count: 0"),
    ('{"at":"PT1M","venue":"perp","fault":"reject","count":true}', "count: True"),
    ('{"at":"PT1M","venue":"perp","fault":"reject","count":1.5}', "count: 1.5"),
    ('{"at":"PT1M","venue":"perp","fault":"reject","args":{"share":0.5}}', "args.share: reject takes no arguments"),
    ('{"at":"PT1M","venue":"perp","fault":"adl","args":{"share":2}}', "args.share: 2"),
    ('{"at":"PT1M","venue":"perp","fault":"adl","args":{"share":NaN}}', "args.share: nan"),
    ('{"at":"PT1M","venue":"perp","fault":"slow","args":{"delay_s":"x"}}', "args.delay_s: 'x'"),
    ('{"at":"PT1M","venue":"perp","fault":"slow","args":[]}', "args: an object"),
])  # fmt: skip
def test_a_bad_line_names_itself(line: str, says: str) -> None:
    """One clear sentence with the line and the key; nothing of the file is used."""
    with pytest.raises(ConfigError) as caught:
        decode_faults(['{"at":"PT1M","venue":"cme","fault":"adl"}', line], 0, ("cme", "perp"))
    assert says in str(caught.value) and "line 2" in str(caught.value)


def test_every_kind_has_a_row_and_a_way_to_strike() -> None:
    """The enum, its rows of the catalogue and its arguments cover each other."""
    assert set(ROWS) == set(FaultKind) and set(ARGS) <= set(FaultKind)
    assert LASTING | INSTANT <= set(FaultKind) and FEED <= set(FaultKind) and not LASTING & INSTANT


def test_a_plan_waits_counts_and_forgets() -> None:
    """Nothing before its time, `count` hits after, then nothing; other venues' faults are not in it."""
    plan = FaultPlan("perp", [Fault(at_ns=10, venue="perp", kind=K.REJECT, count=2), Fault(at_ns=0, venue="cme", kind=K.REJECT)])
    assert [plan.strike(K.REJECT, t) is not None for t in (9, 10, 11, 12)] == [False, True, True, False]
    assert plan.hits == {K.REJECT: 2} and plan.rows_hit() == {"F44": 2, "F50": 2}


def test_a_window_closes() -> None:
    """A counted fault with a duration is void after it, and the next of its kind takes over."""
    plan = FaultPlan("perp", [Fault(at_ns=10, venue="perp", kind=K.LOST_ACK, for_ns=5), Fault(at_ns=30, venue="perp", kind=K.LOST_ACK)])
    assert plan.strike(K.LOST_ACK, 15) is None and plan.strike(K.LOST_ACK, 31) is not None


def test_quotes_are_looked_at_only_while_a_feed_fault_is_left() -> None:
    """quote_ns is the first feed fault's time, and NEVER once the last is spent."""
    plan = FaultPlan("perp", [Fault(at_ns=10, venue="perp", kind=K.SILENT, for_ns=5), Fault(at_ns=0, venue="perp", kind=K.REJECT)])
    assert plan.quote_ns == 10
    assert plan.strike(K.SILENT, 12) is not None and plan.strike(K.SILENT, 14) is not None
    assert plan.strike(K.SILENT, 15) is None and plan.quote_ns == NEVER


def test_a_swarm_is_the_same_for_a_seed_and_different_between_days() -> None:
    """Same seed, same faults; each day has its own mix, some are quiet, and the evening of each is left in peace."""
    day = 86_400 * S
    mixes = [random_mix(Random(seed), 0, 1, ("cme", "perp")) for seed in range(300)]
    assert mixes == [random_mix(Random(seed), 0, 1, ("cme", "perp")) for seed in range(300)]
    quiet, kinds = sum(not m for m in mixes), {f.kind for m in mixes for f in m}
    assert 10 <= quiet <= 60 and kinds == set(FaultKind)
    assert all(0 <= f.at_ns < 0.75 * day for m in mixes for f in m)
    long = random_mix(Random(5), 0, 20, ("cme", "perp"))
    assert [f.at_ns for f in long] == sorted(f.at_ns for f in long) and long[-1].at_ns > 15 * day
