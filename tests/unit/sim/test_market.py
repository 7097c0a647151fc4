"""The seeded market: one seed is one market, premiums revert, funding answers them, and closures are silent."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot import cli_options, config, scenarios
from bot.market.calendar import DeskSessions
from bot.model.event import FundingRate, MarkPrice, Quote
from bot.model.instrument import FeeSchedule, Instrument, Kind
from bot.scenarios import NAMES
from bot.sim.faults import FaultKind
from bot.sim.market import MarketSpec, SeededMarket
from bot.sim.scenarios import HOUR_NS, MINUTE_NS, ORDINARY, Episode, IndexMove, Scenario, Weather, episodes

S = 1_000_000_000
D = Decimal
START = 1_793_720_700 * S  # 2026-11-03T15:45Z
MBT = Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=D("0.1"), tick=D(5), lot=D(1), index_quote="USD", settle="USD",
                 fees=FeeSchedule(per_contract=D(3)), expiry_ns=START + 24 * 24 * HOUR_NS)  # fmt: skip
PERP = Instrument(id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=D(1), tick=D("0.1"), lot=D("0.001"), index_quote="USDT", settle="USDT",
                  funding_interval_s=28_800, funding_cap=0.003)  # fmt: skip
USDT = Instrument(id="USDT/USD", venue="ref", kind=Kind.STABLE, base="USDT", unit=D(1), tick=D("0.0001"), lot=D(1), index_quote="USD", settle="USD")
TERMS = {i.id: i for i in (MBT, PERP, USDT)}


def shipped(name: str) -> Scenario:
    """Return a shipped scenario from its file."""
    return msgspec.convert(scenarios.layer(name, config.packaged_folder()).table["scenario"], Scenario)


def market(seed: int = 1, scenario: str | Scenario = "story", days: float = 4.0, interval_s: float = 20.0, **more: Any) -> SeededMarket:
    """Return a market with a short history and few quotes."""
    spec = MarketSpec(start_ns=START, seed=seed, scenario=shipped(scenario) if isinstance(scenario, str) else scenario,
                      history_days=days, quote_interval_s=interval_s, **more)  # fmt: skip
    return SeededMarket(spec, MBT, PERP, USDT, DeskSessions(TERMS))


def digest(events: Any) -> str:
    """Return a hash of a stream."""
    out = hashlib.sha256()
    for e in events:
        out.update(msgspec.json.encode(e))
    return out.hexdigest()


def excess(events: list[Any], age_s: float = 0.0, carry: float = 0.06) -> list[tuple[int, float]]:
    """Return (time, excess in bp of index) at each quote whose other leg is at most `age_s` old."""
    mids, times = {MBT.id: 0.0, PERP.id: 0.0}, {MBT.id: 0, PERP.id: 0}
    index, usd, out = 0.0, 1.0, []
    assert MBT.expiry_ns is not None
    for e in events:
        if type(e) is MarkPrice:
            index = e.index
        elif type(e) is Quote and e.instrument == USDT.id:
            usd = 0.5 * (e.bid + e.ask)
        elif type(e) is Quote:
            mids[e.instrument], times[e.instrument] = 0.5 * (e.bid + e.ask), e.ts
            if index and e.ts - min(times.values()) <= age_s * S:
                fair = index * usd * (1.0 - math.exp(carry * (MBT.expiry_ns - e.ts) / (365 * 86_400 * S)))
                out.append((e.ts, (mids[PERP.id] * usd - mids[MBT.id] - fair) / (index * usd) * 1e4))
    return out


def test_one_seed_is_one_market() -> None:
    """History and live stream hash the same again; another seed is another market; the hash is the same on every machine."""
    a, b = market(), market()
    assert digest(a.history()) == digest(b.history())
    assert digest(a.events(START + 6 * HOUR_NS)) == digest(b.events(START + 6 * HOUR_NS))
    assert digest(market(2).events(START + HOUR_NS)) != digest(market(3).events(START + HOUR_NS))


HASHED = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from random import Random
from test_market import digest, market, START, HOUR_NS
from bot.sim.faults import random_mix
print(digest(market(5).events(START + HOUR_NS)), digest(random_mix(Random(3), 0, 5, ("cme", "perp"))))
"""


def test_hash_seeds_change_nothing() -> None:
    """Market and swarm hash the same in processes with different PYTHONHASHSEED."""
    root = Path(__file__).parents[3]
    said = set()
    for seed in ("0", "1", "77"):
        argv = [sys.executable, "-c", HASHED, str(root), str(Path(__file__).parent)]
        done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        said.add(done.stdout)
    assert len(said) == 1


def test_live_does_not_depend_on_how_history_was_read() -> None:
    """Read wholly, in part, with fewer days or not at all: the market after the start is the same one."""
    want = digest(market().events(START + HOUR_NS))
    partly, short, twice = market(), market(), market()
    next(partly.history())
    list(short.history(1.0))
    list(twice.history())
    list(twice.events(START + HOUR_NS))
    assert want == digest(partly.events(START + HOUR_NS)) == digest(short.events(START + HOUR_NS)) == digest(twice.events(START + HOUR_NS))


def test_history_days_cut_the_front() -> None:
    """Asking for fewer days gives the tail of the same history, all of it before the start."""
    m = market()
    whole = list(m.history())
    tail = list(m.history(1.0))
    assert tail == [e for e in whole if e.ts >= START - 24 * HOUR_NS] and whole[-1].ts < START


@pytest.mark.parametrize("scenario", NAMES)
def test_time_only_rises_and_books_are_sane(scenario: str) -> None:
    """Strictly later each event; prices on the grid and ordered, sizes whole lots, in every scenario."""
    m = market(scenario=scenario)
    history, live = list(m.history()), list(m.events(START + 24 * HOUR_NS))
    assert all(a.ts <= b.ts for a, b in pairwise(history)) and all(a.ts < b.ts for a, b in pairwise(live))
    assert history[-1].ts < live[0].ts
    for q in (e for e in history + live if type(e) is Quote):
        terms = TERMS[q.instrument]
        assert 0.0 < q.bid < q.ask and q.bid_size > 0.0 and q.ask_size > 0.0
        assert D(repr(q.bid)) % terms.tick == 0 and D(repr(q.ask)) % terms.tick == 0, q
        assert D(repr(q.bid_size)) % terms.lot == 0, q
        assert (q.ask - q.bid) / q.bid < 3e-3


@pytest.mark.parametrize("interval_s", [3.0, 20.0, 30.0])
def test_each_venue_quotes_often_enough(interval_s: float) -> None:
    """At 30 s and below there are at least two quotes a minute on average, and no silence beyond the 45 s of freshness."""
    live = list(market(interval_s=interval_s, days=1.0).events(START + 4 * HOUR_NS))
    for name in (MBT.id, PERP.id):
        times = [e.ts for e in live if type(e) is Quote and e.instrument == name]
        assert len(times) >= 0.95 * 4 * 3_600 / interval_s
        assert max(b - a for a, b in pairwise(times)) <= 45.1 * S
    marks = [e.ts for e in live if type(e) is MarkPrice]
    assert max(b - a for a, b in pairwise(marks)) <= 31 * S


def test_a_closed_future_does_not_quote() -> None:
    """Nothing of the lead in the daily stop (22:00-22:02Z in winter) or the Saturday stop; the perpetual goes on."""
    sessions = DeskSessions(TERMS)
    live = list(market(days=1.0).events(START + 5 * 24 * HOUR_NS))
    lead = [e for e in live if type(e) is Quote and e.instrument == MBT.id]
    assert all(sessions.is_open(MBT.id, q.ts)[0] for q in lead)
    gaps = [(b.ts - a.ts) / (60 * S) for a, b in pairwise(lead)]
    assert sum(2.0 <= g < 5.0 for g in gaps) == 4 and sum(g >= 120.0 for g in gaps) == 1  # Tue..Fri; Saturday
    quiet = [(b.ts - a.ts) / S for a, b in pairwise([e for e in live if type(e) is Quote and e.instrument == PERP.id])]
    assert max(quiet) < 45.1


@pytest.mark.parametrize("seed", range(8))
def test_story_shows_an_episode_within_every_day(seed: int) -> None:
    """Twice in the first 24 h the excess clears mean + 2 sd and 60 bp (40 beyond a round trip) and falls back within hours."""
    m = market(seed, interval_s=3.0)
    past = [x for _, x in excess(list(m.history()))]
    mean = sum(past) / len(past)
    sd = math.sqrt(sum((x - mean) ** 2 for x in past) / len(past))
    now = excess(list(m.events(START + 24 * HOUR_NS)), 1.0)
    for begin, end in ((0.0, 5.0), (5.0, 13.0)):
        part = [(t, x) for t, x in now if begin * HOUR_NS <= t - START < end * HOUR_NS]
        peak_ns, peak = max(part, key=lambda row: row[1])
        assert peak > max(mean + 2.0 * sd, 56.0), f"seed {seed}: peak {peak:.1f}, mean {mean:.1f}, sd {sd:.1f}"
        assert (peak - mean) / sd < 4.0, f"seed {seed}: a peak beyond z_stop is never entered"
        assert min(x for t, x in now if peak_ns < t < peak_ns + 6 * HOUR_NS) < mean + 0.5 * sd, f"seed {seed}"


def test_calm_reverts_with_its_half_life_and_stays_below_costs() -> None:
    """Excess deviation about 5 bp (the future's swing and noise), hourly values give a half-life of hours; no excursion is far beyond 20 bp."""
    sds, phis = [], []
    for seed in range(5):
        hourly = [x for t, x in excess(list(market(seed, "calm", days=30.0).history())) if t % HOUR_NS == 0]
        mean = sum(hourly) / len(hourly)
        dev = [x - mean for x in hourly]
        sds.append(math.sqrt(sum(d * d for d in dev) / len(dev)))
        phis.append(sum(a * b for a, b in pairwise(dev)) / sum(d * d for d in dev))
        assert max(abs(d) for d in dev) < 30.0, f"seed {seed}"
    assert 3.0 < sum(sds) / 5 < 6.0, sds
    assert 0.5 ** (1 / 1.5) < sum(phis) / 5 < 0.5 ** (1 / 9), phis


def test_funding_answers_the_premium() -> None:
    """The rate is the formula's answer to the average premium: neutral when small, positive and rising when large, capped."""
    flat = Scenario(weather=Weather(premium_mean_bp=0.0, premium_sd_bp=1.0, jumps_day=0.0, episodes=False))
    assert all(e.rate == 0.0001 for e in market(1, flat).events(START + 24 * HOUR_NS) if type(e) is FundingRate)
    for seed in range(4):
        events = list(market(seed).events(START + 24 * HOUR_NS))
        rates = [e for e in events if type(e) is FundingRate]
        assert all(abs(e.rate) <= e.cap == 0.003 and e.interval_s == 28_800 for e in rates)
        assert sum(e.rate > 0.0 for e in rates) > 0.8 * len(rates), f"seed {seed}"
        # The average premium of the last hours before the stamp of the second episode is high, and so is its rate.
        stamp = rates[0].stamp_ns + 28_800 * S
        assert max(e.rate for e in rates if e.stamp_ns == stamp) > 0.0005, f"seed {seed}"


def test_stamps_are_announced_before_they_fall_due() -> None:
    """Each stamp of 00, 08 and 16Z has estimates before it, and the next one is announced within seconds after it."""
    rates = [e for e in market().events(START + 48 * HOUR_NS) if type(e) is FundingRate]
    stamps = list(dict.fromkeys(e.stamp_ns for e in rates))
    assert len(stamps) == 7 and all(s % (28_800 * S) == 0 for s in stamps)
    assert all(e.ts < e.stamp_ns for e in rates)
    for old, new in pairwise(stamps):
        assert min(e.ts for e in rates if e.stamp_ns == new) - old < 45 * S


def test_the_future_carries_the_index() -> None:
    """Median implied carry of the history is the configured one within noise."""
    carry, lead, index, usd = [], 0.0, 0.0, 1.0
    for e in market(3, "calm", days=10.0).history():
        if type(e) is Quote and e.instrument == MBT.id:
            lead = 0.5 * (e.bid + e.ask)
            if index:
                carry.append(math.log(lead / (index * usd)) * 365 * 86_400 * S / (MBT.expiry_ns - e.ts))  # type: ignore[operator]
        elif type(e) is MarkPrice:
            index = e.index
        elif type(e) is Quote and e.instrument == USDT.id:
            usd = 0.5 * (e.bid + e.ask)
    assert sorted(carry)[len(carry) // 2] == pytest.approx(0.06, abs=0.006)


def test_gap_jumps_while_the_future_is_closed() -> None:
    """Between the last quote before the daily stop and the first after it the index moves by about 2 %, and only there."""
    for seed in range(3):
        lead = [e for e in market(seed, "gap", days=1.0).events(START + 12 * HOUR_NS) if type(e) is Quote and e.instrument == MBT.id]
        moves = [(abs(b.bid / a.bid - 1.0), b.ts - a.ts) for a, b in pairwise(lead)]
        big = [m for m in moves if m[0] > 0.01]
        assert len(big) == 1 and big[0][1] >= 120 * S, f"seed {seed}"


def test_widen_goes_far_beyond_a_stop() -> None:
    """After an entry's height the premium goes on beyond 150 bp."""
    assert max(x for _, x in excess(list(market(1, "widen").events(START + 8 * HOUR_NS)), 20.0)) > 150.0


def test_scenarios_bring_their_faults() -> None:
    """Refused hedges and an outage in the middle of the trade are venue faults; the others script none."""
    assert [f.kind for f in market(1, "leg-fail").faults()] == [FaultKind.REJECT]
    (outage,) = market(1, "exchange-down").faults()
    high, low = shipped("exchange-down").opening(START)
    assert outage.kind is FaultKind.OUTAGE and high.peak_ns < outage.at_ns < low.peak_ns
    assert all(not market(1, s).faults() for s in ("calm", "widen", "gap"))


def test_the_shipped_scenarios_are_the_named_ones() -> None:
    """Every file has its name in the two lists that people see, and says in a line what it shows."""
    files = {path.stem for path in (config.packaged_folder() / scenarios.FOLDER).iterdir()}
    assert files == set(NAMES) and NAMES == cli_options.SCENARIOS
    assert all(shipped(name).about for name in NAMES)


def test_drawn_episodes_leave_a_script_alone() -> None:
    """The first day's come `quiet_min` later, other days' do not."""
    plain, later = episodes(Weather(), 3, START, 0), episodes(Weather(), 3, START, 0, 75.0)
    assert later[0].peak_ns - plain[0].peak_ns == 75 * MINUTE_NS and later[1] == plain[1]
    assert episodes(Weather(), 3, START, 1, 75.0) == episodes(Weather(), 3, START, 1)


def test_a_scripted_move_of_the_index_is_done_in_its_time() -> None:
    """The same noise with and without it: nothing before, half of it in the middle, all of it after."""
    def index(*moves: IndexMove) -> dict[int, float]:
        spec = MarketSpec(start_ns=START, seed=4, history_days=1.0, scenario=msgspec.structs.replace(ORDINARY, index_moves=moves))
        live = SeededMarket(spec, MBT, PERP, USDT, DeskSessions(TERMS)).events(START + 2 * HOUR_NS)
        return {e.ts: e.index for e in live if type(e) is MarkPrice}

    plain, moved = index(), index(IndexMove(at_min=20.0, over_min=40.0, share=0.05))
    assert plain.keys() == moved.keys()
    share = {t: moved[t] / plain[t] - 1.0 for t in plain}
    assert all(abs(x) < 1e-6 for t, x in share.items() if t <= START + 20 * MINUTE_NS)
    assert all(abs(x - 0.05) < 1e-4 for t, x in share.items() if t >= START + 60 * MINUTE_NS)
    (middle,) = [x for t, x in share.items() if 0 <= t - START - 40 * MINUTE_NS < 10 * S][:1]
    assert middle == pytest.approx(0.0247, abs=0.001)


def test_an_episode_rises_peaks_and_halves() -> None:
    """Nothing before its rise, everything at the peak, half of it a half-life later."""
    e = Episode(peak_ns=100 * MINUTE_NS, rise_ns=30 * MINUTE_NS, half_life_ns=60 * MINUTE_NS, height_bp=60.0)
    assert [round(e.pull(m * MINUTE_NS), 3) for m in (70, 85, 100, 160, 220)] == [0.0, 0.5, 1.0, 0.5, 0.25]


def test_the_second_episode_ends_through_a_stamp() -> None:
    """It peaks 35 to 70 minutes before a funding stamp, so a trade entered in it is paid."""
    for seed in range(30):
        second = episodes(shipped("story").weather, seed, START, 0)[1]
        left = -second.peak_ns % (8 * HOUR_NS)
        assert 35 * MINUTE_NS <= left <= 70 * MINUTE_NS, f"seed {seed}"


def test_a_market_in_dollars_has_no_stablecoin() -> None:
    """An inverse perpetual quotes in USD: no stable quotes, sizes in contracts of 100 USD."""
    inverse = Instrument(id="BTCUSD", venue="perp", kind=Kind.PERP, base="BTC", unit=D(100), tick=D("0.1"), lot=D(1), index_quote="USD", settle="BTC",
                         inverse=True, funding_interval_s=28_800)  # fmt: skip
    m = SeededMarket(MarketSpec(start_ns=START, history_days=1.0), MBT, inverse, None, DeskSessions({MBT.id: MBT, inverse.id: inverse}))
    names = {e.instrument for e in m.events(START + HOUR_NS) if type(e) is Quote}
    assert names == {"MBTX26", "BTCUSD"}
    sizes = [e.bid_size for e in m.events(START + HOUR_NS) if type(e) is Quote and e.instrument == "BTCUSD"]
    assert 3_000 < sorted(sizes)[len(sizes) // 2] < 20_000


@pytest.mark.parametrize(("name", "value"), [("quote_interval_s", 0.0), ("mark_interval_s", float("nan"))])
def test_a_market_that_cannot_be_is_refused(name: str, value: Any) -> None:
    """Named at once, before a run has begun."""
    with pytest.raises(ValueError, match=name):
        MarketSpec(start_ns=START, **{name: value})
