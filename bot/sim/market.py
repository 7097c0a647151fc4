"""A seeded market of one pair: index, stablecoin, future and perpetual with a premium that reverts and funding that answers it.

Every number comes from `random.Random(seed).random()` through `math`, so one seed is one market on every machine. The
future carries the index to its fixing; the perpetual stands off the index by a premium (Ornstein-Uhlenbeck with jumps,
plus the scenario's episodes); the funding estimate is the venue's formula on the average premium since the last stamp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random

import msgspec

from bot.model.event import NEVER, FundingRate, MarkPrice, Observation, Quote
from bot.model.instrument import Instrument
from bot.model.ports import SessionSource
from bot.sim.faults import Fault
from bot.sim.hours import widening
from bot.sim.regime import Regime
from bot.sim.scenarios import DAY_NS, ORDINARY, Episode, Scenario, episodes, scripted

S = 1_000_000_000
YEAR_S = 365 * 86_400.0
INTEREST_8H = 0.0001
DAMPER = 0.0005
"""funding per 8 h = average premium + clamp(interest - premium, +-damper) (Binance and Bybit funding pages, read 2026-11)."""
PRIOR_S = 3_600.0
"""Weight of the previous interval's average in a young one."""
CLOSURE_NS = 600 * S
"""For how long the future's book is thinner around a closure. Volume of MBT minutes falls by half over the last ten before
16:00 Chicago (January and February 2026); that depth does too, and as slowly comes back, is assumed."""
PRICES = {"BTC": 85_000.0, "ETH": 3_200.0}
"""Where an index starts, USD, before the seed moves it by up to 10 %; about the level of 2026."""


class MarketSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A market. start_ns: end of the warm history, UTC ns. carry: continuous, a year. What its days are like is the scenario's weather.

    price: USD, None for one near PRICES that the seed picks. quote_interval_s: mean time between quotes of one venue.
    mirrored: the scenario's excursions go the other way, the hedge cheap instead of dear.
    """

    start_ns: int
    seed: int = 1
    scenario: Scenario = ORDINARY
    history_days: float = 30.0
    quote_interval_s: float = 3.0
    mark_interval_s: float = 10.0
    funding_interval_s: float = 120.0
    stable_interval_s: float = 60.0
    price: float | None = None
    carry: float = 0.06
    mirrored: bool = False

    def __post_init__(self) -> None:
        for name in ("quote_interval_s", "mark_interval_s", "funding_interval_s", "stable_interval_s"):
            if not 0.0 < getattr(self, name) < 86_400.0:
                raise ValueError(f"{name}: {getattr(self, name)} must be > 0 and below a day")


class SeededMarket:
    """The market of one future (lead), one perpetual (hedge) and the stablecoin it settles in (None: it is USD)."""

    def __init__(self, spec: MarketSpec, lead: Instrument, hedge: Instrument, stable: Instrument | None, sessions: SessionSource) -> None:
        self.spec = spec
        self.lead, self.hedge, self.stable = lead, hedge, stable
        self._sessions = sessions
        self._warm: _Path | None = None

    def history(self, days: float | None = None) -> Iterator[Observation]:
        """Yield one-minute closes of the last `days` (None: all of spec.history_days) before the start, in time order.

        Marks and stablecoin come every five minutes, funding estimates every fifteen and after each stamp.
        """
        path = _Path(self.spec, self.lead, self.hedge, self.stable, self._sessions)
        first = self.spec.start_ns - int((self.spec.history_days if days is None else days) * DAY_NS)
        for event in path.minutes(self.spec.start_ns):
            if event.ts >= first:
                yield event
        self._warm = path

    def events(self, until_ns: int = NEVER) -> Iterator[Observation]:
        """Yield the market from its start to `until_ns` (exclusive), each instant later than the one before."""
        if self._warm is None:
            for _ in self.history():
                pass
        path, self._warm = self._warm, None
        assert path is not None
        return path.live(self.spec.start_ns, until_ns)

    def faults(self) -> tuple[Fault, ...]:
        """Return the venue faults that belong to the scenario."""
        return scripted(self.spec.scenario, self.spec.start_ns, self.lead.venue, self.hedge.venue)


class _Path:
    """The state of the market at `now`, and how it shows."""

    def __init__(self, spec: MarketSpec, lead: Instrument, hedge: Instrument, stable: Instrument | None, sessions: SessionSource) -> None:
        self.spec, self.lead, self.hedge, self.stable, self.sessions = spec, lead, hedge, stable, sessions
        self.weather = spec.scenario.weather
        self.sign = -1.0 if spec.mirrored else 1.0
        self.opening, self.moves = spec.scenario.opening(spec.start_ns), spec.scenario.index_moves
        self.moved = 0.0
        self.rnd = Random(spec.seed).random
        self.spare: float | None = None
        self.now = spec.start_ns - int(spec.history_days * DAY_NS)
        base = spec.price or PRICES.get(lead.base, 1_000.0)
        self.anchor = self.log_index = math.log(base * (0.9 + 0.2 * self.rnd() if spec.price is None else 1.0))
        w = self.weather
        self.vol_memory_s, self.vol_mean = w.vol_memory_h * 3_600.0, 0.5 * w.vol_sd * w.vol_sd
        self.premium_life_s, self.flicker_life_s = w.premium_half_life_h * 3_600.0, w.premium_noise_half_life_min * 60.0
        self.noise_life_s = w.lead_noise_half_life_min * 60.0
        self.heat = 0.0
        self.base_bp = self.weather.premium_mean_bp
        self.premium = self.base_bp * 1e-4
        self.pull = self.noise_bp = self.flicker_bp = self.stable_bp = 0.0
        self.usd, self.stable_ns = 1.0, self.now
        self.regime = Regime(self.weather, spec.seed, self.now)
        self.day = -1 << 30
        self.episodes: tuple[Episode, ...] = ()
        self.open, self.until = sessions.is_open(lead.id, self.now)
        self.opened_ns = -NEVER
        self.gap_ns = NEVER
        self.interval_ns = (hedge.funding_interval_s or 28_800) * S
        self.stamp = (self.now // self.interval_ns + 1) * self.interval_ns
        self.sum, self.weight = self.premium * PRIOR_S, PRIOR_S
        self.fixing = lead.expiry_ns or NEVER
        self.lead_tick, self.hedge_tick = float(lead.tick), float(hedge.tick)
        self.lead_digits, self.hedge_digits = _digits(lead), _digits(hedge)

    def gauss(self) -> float:
        """Return a standard normal (Box-Muller; the generator's own distributions may change between versions)."""
        if self.spare is not None:
            g, self.spare = self.spare, None
            return g
        r = math.sqrt(-2.0 * math.log(1.0 - self.rnd()))
        a = 2.0 * math.pi * self.rnd()
        self.spare = r * math.sin(a)
        return r * math.cos(a)

    def move(self, now: int) -> None:
        """Let time pass to `now`."""
        dt = (now - self.now) / S
        if dt <= 0.0:
            return
        self.now = now
        w, regime = self.weather, self.regime
        while regime.due_ns <= now:
            regime.step()
            self.log_index += regime.jump
        keep = math.exp(-dt / self.vol_memory_s)
        self.heat = self.heat * keep + w.vol_sd * math.sqrt(1.0 - keep * keep) * self.gauss()
        heat = math.exp(self.heat - self.vol_mean) * regime.level
        pull_back = (self.anchor - self.log_index) * min(1.0, dt / (30.0 * 86_400.0))
        self.log_index += pull_back + w.vol_year * heat * math.sqrt(dt / YEAR_S) * self.gauss()
        keep = 0.5 ** (dt / self.premium_life_s)
        self.base_bp = w.premium_mean_bp + (self.base_bp - w.premium_mean_bp) * keep
        self.base_bp += w.premium_sd_bp * math.sqrt(1.0 - keep * keep) * self.gauss()
        if w.jumps_day and self.rnd() < w.jumps_day * dt / 86_400.0:
            self.base_bp += w.jump_bp * (1.0 if self.rnd() < 0.5 else -1.0) * -math.log(1.0 - self.rnd())
        if w.premium_noise_bp:
            keep = 0.5 ** (dt / self.flicker_life_s)
            self.flicker_bp = self.flicker_bp * keep + w.premium_noise_bp * heat * math.sqrt(1.0 - keep * keep) * self.gauss()
        keep = 0.5 ** (dt / self.noise_life_s)
        self.noise_bp = self.noise_bp * keep + w.lead_noise_bp * math.sqrt(1.0 - keep * keep) * self.gauss()
        self._overlay(now)
        self._funding(now, dt)

    def _overlay(self, now: int) -> None:
        """Lay the scenario over the premium, and its gap over the index while the future is closed."""
        day = (now - self.spec.start_ns) // DAY_NS
        if day != self.day:
            self.day = day
            spec, quiet = self.spec, self.spec.scenario.quiet_min
            both = [e for d in (day - 1, day) for e in episodes(self.weather, spec.seed, spec.start_ns, d, quiet)]
            self.episodes = (*both, *self.opening)
        bp, self.pull = self.base_bp + self.flicker_bp, 0.0
        for episode in self.episodes:
            w = episode.pull(now)
            if w > 0.0:
                bp += w * (self.sign * episode.height_bp - bp)
                self.pull = max(self.pull, w)
        self.premium = bp * 1e-4
        if self.moves:
            done = sum(move.log_done(now - self.spec.start_ns) for move in self.moves)
            self.log_index += done - self.moved
            self.moved = done
        if now >= self.until:
            was = self.open
            self.open, self.until = self.sessions.is_open(self.lead.id, now)
            if self.open and not was:
                self.opened_ns = now
            if self.weather.gap and not self.open and self.until < NEVER:
                self.gap_ns = now + (self.until - now) // 2
        if now >= self.gap_ns:
            self.gap_ns = NEVER
            self.log_index += self.weather.gap * (0.7 + 0.6 * self.rnd()) * (1.0 if self.rnd() < 0.5 else -1.0)

    def _funding(self, now: int, dt: float) -> None:
        """Average the premium since the last stamp; after a stamp begin anew from what the old average was."""
        if now >= self.stamp:
            self.sum = self.sum / self.weight * PRIOR_S
            self.weight = PRIOR_S
            self.stamp = (now // self.interval_ns + 1) * self.interval_ns
        self.sum += self.premium * dt
        self.weight += dt

    # How it shows.

    def lead_quote(self) -> Quote:
        """Return the future's top of book: fair value plus noise and swing, one to three ticks wide, thin and wider in thin hours."""
        weather, regime = self.weather, self.regime
        years = max(0, self.fixing - self.now) / (YEAR_S * S) if self.fixing < NEVER else 0.0
        mid = math.exp(self.log_index + self.spec.carry * years) * (1.0 + (self.noise_bp + regime.swing_bp) * 1e-4)
        u = self.rnd()
        ticks = 1 if u < 0.75 else 2 if u < 0.95 else 3
        size = weather.lead_depth_usd / (float(self.lead.unit) * mid)
        if weather.hours:
            near = self._around_closures()
            ticks, size = max(1, round(ticks * regime.lead_wider * widening(near))), size * regime.hour.lead_depth * near
        return self._book(self.lead, self.lead_tick, self.lead_digits, mid, ticks, size)

    def _around_closures(self) -> float:
        """Return the share of the future's depth that is there: half of it at a closure, all from ten minutes before and after."""
        away = min(self.until - self.now, self.now - self.opened_ns)
        return 1.0 if away >= CLOSURE_NS else 0.5 + 0.5 * away / CLOSURE_NS

    def hedge_quote(self) -> Quote:
        """Return the perpetual's top of book in its quote currency; wider while an episode is on, thin and wider in thin hours."""
        weather, terms = self.weather, self.hedge
        mid = math.exp(self.log_index) / self.usd * (1.0 + self.premium)
        width = mid * weather.hedge_spread_bp * 1e-4 * (0.5 + self.rnd()) * (1.0 + 2.0 * self.pull)
        unit = float(terms.unit)
        size = weather.hedge_depth_usd / (unit if terms.inverse else unit * mid)
        if weather.hours:
            width, size = width * self.regime.hedge_wider, size * self.regime.hour.hedge_depth
        return self._book(terms, self.hedge_tick, self.hedge_digits, mid, max(1, round(width / self.hedge_tick)), size)

    def stable_quote(self) -> Quote:
        """Return the stablecoin in USD, one tick wide."""
        assert self.stable is not None
        weather, tick = self.weather, float(self.stable.tick)
        keep = 0.5 ** ((self.now - self.stable_ns) / (weather.stable_half_life_h * 3_600.0 * S))
        self.stable_ns = self.now
        self.stable_bp = self.stable_bp * keep + weather.stable_sd_bp * math.sqrt(1.0 - keep * keep) * self.gauss()
        bid = math.floor((1.0 + (self.stable_bp + self.regime.depeg_bp) * 1e-4) / tick)
        digits = _digits(self.stable)
        low, high = round(bid * tick, digits), round((bid + 1) * tick, digits)
        self.usd = 0.5 * (low + high)
        return Quote(self.now, self.stable.id, low, high, 1e6, 1e6, self.now)

    def mark(self) -> MarkPrice:
        """Return mark (index plus premium) and index of the perpetual, in its quote currency."""
        index = math.exp(self.log_index) / self.usd
        return MarkPrice(self.now, self.hedge.id, round(index * (1.0 + self.premium), 2), round(index, 2))

    def funding(self) -> FundingRate:
        """Return the estimate for the next stamp by the venue's formula, capped."""
        average = self.sum / self.weight
        rate = average + max(-DAMPER, min(DAMPER, INTEREST_8H - average))
        rate *= self.interval_ns / (28_800 * S)
        cap = self.hedge.funding_cap or 0.003
        rate = round(max(-cap, min(cap, rate)), 8)
        return FundingRate(self.now, self.hedge.id, rate, self.interval_ns // S, self.stamp, cap)

    def _book(self, terms: Instrument, tick: float, digits: int, mid: float, ticks: int, size: float) -> Quote:
        bid = math.floor(mid / tick - 0.5 * ticks + self.rnd())
        lot = float(terms.lot)
        shown = (size * math.exp(0.7 * (self.rnd() + self.rnd()) - 0.7) / lot for _ in "ba")
        bids, asks = (round(max(1, math.floor(n)) * lot, 8) for n in shown)
        return Quote(self.now, terms.id, round(bid * tick, digits), round((bid + ticks) * tick, digits), bids, asks, self.now)

    def minutes(self, end_ns: int) -> Iterator[Observation]:
        """Yield minute closes up to `end_ns`, exclusive."""
        step, n, stamp = 60 * S, 0, self.stamp
        for now in range(self.now + step, end_ns, step):
            self.move(now)
            if n % 5 == 0:
                if self.stable is not None:
                    yield self.stable_quote()
                yield self.mark()
            if n % 15 == 0 or self.stamp != stamp:
                stamp = self.stamp
                yield self.funding()
            n += 1
            yield self.hedge_quote()
            if self.open:
                yield self.lead_quote()

    def live(self, start_ns: int, until_ns: int) -> Iterator[Observation]:
        """Yield the market from `start_ns` on, every stream at its own pace."""
        spec, rnd = self.spec, self.rnd
        shows: list[Callable[[], Observation]] = [self.mark, self.funding, self.stable_quote, self.hedge_quote, self.lead_quote]
        slow = (spec.mark_interval_s, spec.funding_interval_s, spec.stable_interval_s)
        paces = [int(s * S) for s in (*slow, spec.quote_interval_s, spec.quote_interval_s)]
        due = [start_ns + k for k in (1, 2, 3, 4, 5)]
        if self.stable is None:
            due[2] = NEVER
        last = start_ns
        while True:
            k = due.index(min(due))
            now = max(due[k], last + 1)
            if now >= until_ns:
                return
            last = now
            stamp = self.stamp
            self.move(now)
            due[k] = now + int(paces[k] * (0.5 + rnd()))
            if k == 1 or self.stamp != stamp:
                due[1] = min(due[1], now + paces[1])
            if self.stamp != stamp and k != 1:
                due[1] = now + 1
            if k == 4 and not self.open:
                due[4] = max(due[4], min(self.until, now + 3_600 * S))
                continue
            yield shows[k]()


def _digits(terms: Instrument) -> int:
    exponent = terms.tick.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
