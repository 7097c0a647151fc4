"""Faults as data: what a faults file may say, how a plan spends them, and that a swarm is drawn the same everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from bot.model.errors import ConfigError
from bot.model.event import NEVER
from bot.sim.fault_kinds import IN_PROCESS, LENGTH_S, WIRE
from bot.sim.faults import ARGS, FEED, INSTANT, LASTING, OFFSHORE, ROWS, Fault, FaultKind, FaultPlan, decode_faults, random_mix

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


def test_a_wire_has_faults_of_its_own() -> None:
    """In one process they are refused by line; behind a socket they are taken, and their few values are checked."""
    assert WIRE | set(IN_PROCESS) == set(FaultKind) and not WIRE & set(IN_PROCESS)
    line = '{"at":"PT1M","venue":"cme","fault":"connectivity","args":{"code":%s}}'
    with pytest.raises(ConfigError, match="line 1.*connectivity needs a venue behind a socket"):
        decode_faults([line % 1101], 0)
    (fault,) = decode_faults([line % 1101], 0, wire=True)
    assert fault.kind is K.CONNECTIVITY and fault.arg("code") == 1101.0 and fault.for_ns == 0
    with pytest.raises(ConfigError, match="args.code"):
        decode_faults([line % 1100], 0, wire=True)


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
    assert 10 <= quiet <= 60 and kinds == set(IN_PROCESS)
    assert all(0 <= f.at_ns < 0.75 * day for m in mixes for f in m)
    long = random_mix(Random(5), 0, 20, ("cme", "perp"))
    assert [f.at_ns for f in long] == sorted(f.at_ns for f in long) and long[-1].at_ns > 15 * day


def test_a_line_says_how_far_and_which_way() -> None:
    """Basis points, coins and signs may be negative, never zero or beyond what a market has seen."""
    fields = '{"at":"PT1M","venue":"perp","fault":"%s","args":{"%s":%s}}'
    good = [("depeg", "bp", -300), ("blow_out", "bp", 5_000), ("manual_trade", "coins", -0.5), ("price_limit", "sign", -1), ("margin_hike", "multiple", 1.5),
            ("burst", "copies", 100), ("throttled", "per_s", 0.1), ("flap", "down_s", 1.0), ("overfill", "share", 1.0)]  # fmt: skip
    for kind, name, value in good:
        (fault,) = decode_faults([fields % (kind, name, value)], 0)
        assert fault.arg(name) == value
    for kind, name, value in (("depeg", "bp", 0), ("blow_out", "bp", 5_001), ("manual_trade", "coins", 0), ("price_limit", "sign", 0.5),
                              ("margin_hike", "multiple", 0.9), ("burst", "copies", 0), ("throttled", "per_s", 0), ("flap", "down_s", -1)):  # fmt: skip
        with pytest.raises(ConfigError, match=f"args.{name}"):
            decode_faults([fields % (kind, name, value)], 0)


def test_a_displacement_holds_and_then_returns() -> None:
    """Whole for half of its time, then halved six times: an eighth at three quarters, nearly nothing at the end."""
    fault = Fault(at_ns=100 * S, venue="perp", kind=K.BLOW_OUT, for_ns=100 * S, args={"bp": -200.0})
    found = [fault.displacement(t * S) for t in (100, 149, 150, 175, 200)]
    assert found == pytest.approx([-0.02, -0.02, -0.02, -0.02 / 8, -0.02 / 64])


def test_only_what_has_begun_ends() -> None:
    """Timed faults come due in order; one whose beginning was taken away has no end; what could not act is asked again."""
    plan = FaultPlan("perp", [Fault(at_ns=at * S, venue="perp", kind=kind, for_ns=20 * S) for at, kind in ((10, K.HALT), (15, K.MARGIN_HIKE))])
    assert [(b, f.kind) for b, f in plan.due(20 * S)] == [(True, K.HALT), (True, K.MARGIN_HIKE)]
    assert [f.at_ns for f in plan.begun(K.HALT)] == [10 * S] and not plan.begun(K.OUTAGE) and not plan.cut
    (halt,) = plan.begun(K.HALT)
    plan.again(True, halt, 25 * S)
    assert not plan.begun(K.HALT) and plan.next_ns == 25 * S
    plan.timed = [row for row in plan.timed if not row[1]]
    assert [(b, f.kind) for b, f in plan.due(100 * S)] == [(False, K.MARGIN_HIKE)]
    assert not plan.begun(K.MARGIN_HIKE) and plan.next_ns == NEVER


def test_what_only_perpetuals_know_is_drawn_for_their_venue() -> None:
    """No ADL, depeg or funding at the broker, and none at all without a venue of perpetuals; every direction occurs."""
    mixes = [f for seed in range(300) for f in random_mix(Random(seed), 0, 1, ("cme", "perp"))]
    assert {f.venue for f in mixes if f.kind in OFFSHORE} == {"perp"}
    assert {f.venue for f in mixes if f.kind not in OFFSHORE} == {"cme", "perp"}
    assert not [f for seed in range(50) for f in random_mix(Random(seed), 0, 1, ("cme",)) if f.kind in OFFSHORE]
    assert {f.venue for f in random_mix(Random(1), 0, 20, ("a", "b", "c"), ("c",)) if f.kind in OFFSHORE} == {"c"}
    signed = {K.DEPEG: "bp", K.BLOW_OUT: "bp", K.MARK_SPLIT: "bp", K.MANUAL_TRADE: "coins", K.PRICE_LIMIT: "sign", K.FUNDING_SPIKE: "sign"}
    for kind, name in signed.items():
        signs = {f.arg(name) > 0.0 for f in mixes if f.kind is kind}
        assert signs == {True, False}, kind
    assert all(f.for_ns > 0 for f in mixes if f.kind in LASTING)


def test_the_page_lists_every_fault_as_it_is() -> None:
    """docs/faults.md has one line per kind, with its rows, its length and its arguments."""
    page = (Path(__file__).parents[3] / "docs" / "faults.md").read_text(encoding="utf-8")
    lines = {cells[0]: cells for cells in ([c.strip() for c in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| "))}
    assert lines.keys() - {"fault"} == {k.value for k in FaultKind}
    for kind in FaultKind:
        _, sort, rows, _, args = lines[kind.value]
        assert tuple(rows.split()) == ROWS[kind], kind
        assert sort.split(",")[0] == ("lasting" if kind in LASTING else "timed" if kind in INSTANT else "counted"), kind
        if kind in LASTING:
            amount, unit = sort.split(", ")[1].split()
            assert float(amount) * {"s": 1, "min": 60, "h": 3_600}[unit] == LENGTH_S[kind][0], kind
        for name, value in ARGS.get(kind, {}).items():
            assert re.search(rf"{name}\b[^,(]*\({value:g}\b", args), f"{kind}: {name} {value}"
        assert bool(args) == (kind in ARGS), kind
