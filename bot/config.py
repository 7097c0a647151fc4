"""Settings of the desk: layers of TOML, environment and options, merged into frozen values that remember their source.

Precedence, low to high: code defaults, packaged defaults.toml and instruments.toml, the verb's profile, files given, BOT__A__B
environment, --set a.b=c and the verb's own options. A key nobody knows is refused where it stands, because a misspelt
limit is a limit that is not there. Every limit must be written out in some layer: a missing one has no safe value.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from bot import instruments, scenarios
from bot.engine.pair import Execution
from bot.instruments import Catalogue, FutureProduct, PerpProduct, StableProduct
from bot.layers import Layer, assignment, dotted, environment, from_file, is_struct, keys, leaves, nested, put, written
from bot.model.errors import ConfigError
from bot.model.ids import VenueId
from bot.model.instrument import Kind
from bot.model.notation import instant_ns
from bot.sim.budget import Budget
from bot.sim.scenarios import Scenario
from bot.sim.wire import Delays
from risk import limits as risk_limits
from risk.limits import Limits
from strategies.convergence_params import ConvergenceParams

PROFILES = ("paper", "backtest", "backtest-daily", "bench", "simulate", "wire", "live")
SPEED_WATCHED = 60.0
"""Market seconds per second of a run someone watches (speed = "auto")."""
DEPTH_ROWS_MAX = 20
"""Against a slip: every row is journalled with each decision, and clips walk a few of them."""
_WRITTEN_OUT = ("limits",)
"""Sections whose every key must be in a file: no code default may stand in."""


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """The pair and the seeded market. start: UTC instant where the warm history ends. speed: a number, "max" or "auto".

    scenario: a shipped name or a .toml file. history_days: of warm history. quote_interval_s: mean, of one venue.
    """

    lead: str
    hedge: str
    stable: str
    start: str
    seed: int
    scenario: str
    history_days: float
    quote_interval_s: float
    speed: str | float

    @property
    def start_ns(self) -> int:
        """Start of the market, UTC ns."""
        return instant_ns(self.start)


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What a backtest adds to bars. Half-spreads and slippage in ticks of the lead and bp of the hedge's price.

    depth_share: share of a bar's volume that can be had. delay_bars: bars waited beyond the next obtainable price.
    """

    lead_half_spread_ticks: float
    lead_slippage_ticks: float
    hedge_half_spread_bp: float
    depth_share: float
    delay_bars: int
    spread_multiple: float


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """The desk itself. broker_phone: the broker's trade desk, printed when a kill leaves a leg there."""

    broker_phone: str


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """Where TWS or the Gateway listens, and the account that must answer there. Ports and account prefix say paper or live (bot.desk.fence).

    pins: per instrument, the number and fingerprint of the contract that was confirmed; another one is not traded.
    depth_rows: of the book asked for on each side, 0 without the subscription to depth that the exchange sells separately.
    """

    host: str = "127.0.0.1"
    port: int = 4002
    client_id: int = 17
    account: str = ""
    pins: dict[str, str] = {}
    depth_rows: int = 0


class Offshore(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange of the hedge. exchange: its ccxt id. Fingerprints name the keys that may be used on testnet and live
    (`doctor` prints that of the key it finds); the keys themselves are never settings (bot.desk.secrets). depth_rows: of the book
    used on each side, 0 for the touch alone."""

    exchange: str = "binanceusdm"
    testnet_fingerprint: str = ""
    live_fingerprint: str = ""
    depth_rows: int = 5


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """The public market that prices the stablecoin in USD (bot.venues.price)."""

    url: str = "https://api.kraken.com"
    pair: str = "USDTUSD"
    every_s: float = 20.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a composition root needs, checked. cash: opening money by venue and currency.

    scenario: content of what market.scenario names. latency, messages: how long a simulated venue's messages are under
    way, and how many of them it takes. broker, offshore, reference: where a desk on live venues connects.
    """

    market: Market
    scenario: Scenario
    cash: dict[VenueId, dict[str, Decimal]]
    strategy: ConvergenceParams
    limits: Limits
    execution: Execution
    latency: dict[VenueId, Delays]
    costs: Costs
    desk: Desk
    futures: dict[str, FutureProduct]
    perps: dict[str, PerpProduct]
    stables: dict[str, StableProduct]
    messages: dict[VenueId, Budget] = {}
    broker: Broker = Broker()
    offshore: Offshore = Offshore()
    reference: Reference = Reference()

    @property
    def venues(self) -> tuple[VenueId, ...]:
        """Venues of both legs, sorted."""
        return tuple(sorted({self.catalogue.named(i).venue for i in (self.market.lead, self.market.hedge)}))

    @property
    def catalogue(self) -> Catalogue:
        """The products as one value that builds instruments."""
        return Catalogue(futures=self.futures, perps=self.perps, stables=self.stables)


class Loaded(msgspec.Struct, frozen=True):
    """Settings and, for every key, each (source, value) that was given, lowest first: the last one holds.

    layers: names of the sources, lowest first.
    """

    settings: Settings
    origins: dict[str, tuple[tuple[str, Any], ...]]
    layers: tuple[str, ...]


def load(
    profile: str = "paper", files: Sequence[Path] = (), environ: Mapping[str, str] | None = None,
    sets: Sequence[str] = (), options: Mapping[str, tuple[str, Any]] | None = None, folder: Path | None = None,
) -> Loaded:  # fmt: skip
    """Merge all layers for `profile` and check the result.

    sets: `a.b=c` texts. options: key -> (name of the command-line option, value). folder: packaged TOML files.
    Raises ConfigError naming the key and the layer.
    """
    packaged = folder or packaged_folder()
    layers = [_code_defaults()]
    layers += [from_file(packaged / name, "packaged ") for name in ("defaults.toml", "instruments.toml")]
    layers.append(from_file(packaged / f"{profile}.toml", "profile "))
    layers += [from_file(Path(file), "file ") for file in files]
    layers += environment(os.environ if environ is None else environ)
    layers += [assignment(text) for text in sets]
    layers += [Layer(name, nested(key.split("."), value)) for key, (name, value) in (options or {}).items()]
    layers.insert(4, scenarios.layer(scenarios.wanted(layers), packaged))
    origins: dict[str, list[tuple[str, Any]]] = {}
    for layer in layers:
        for key, value in leaves(Settings, layer.table, "", layer, origins):
            origins.setdefault(key, []).append((layer.source, value))
    merged: dict[str, Any] = {}
    for key, given in origins.items():
        put(merged, key, given[-1][1])
    source = {key: given[-1][0] for key, given in origins.items()}
    settings: Settings = _build(Settings, merged, "", source)
    _check(settings, source)
    return Loaded(settings, {k: tuple(v) for k, v in sorted(origins.items())}, tuple(dict.fromkeys(x.source for x in layers)))


def packaged_folder() -> Path:
    """Return the folder of the packaged TOML files: inside an installed wheel, else `config` of the checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "_config", here.parent / "config"):
        if (folder / "defaults.toml").is_file():
            return folder
    raise ConfigError("packaged configuration not found: neither bot/_config nor config/ holds defaults.toml")


def _code_defaults() -> Layer:
    """Return the defaults that structs carry in code, for the sections that may rely on them."""
    table: dict[str, Any] = {}
    for section, kind in get_type_hints(Settings).items():
        if is_struct(kind) and section not in _WRITTEN_OUT:
            given = {f.name: f.default for f in msgspec.structs.fields(kind) if f.default is not msgspec.NODEFAULT}
            if given:
                table[section] = {written(k): v / 1e9 if k.endswith("_ns") else v for k, v in given.items()}
    return Layer("code default", table)


def _build(kind: Any, value: Any, prefix: str, source: Mapping[str, str]) -> Any:
    """Build structs from merged values, naming a key that no layer gave."""
    if get_origin(kind) is dict:
        return {k: _build(get_args(kind)[1], v, dotted(prefix, k), source) for k, v in value.items()}
    if not is_struct(kind):
        return value
    given: dict[str, Any] = {}
    required = {f.name: f.default is msgspec.NODEFAULT for f in msgspec.structs.fields(kind)}
    for key, (field, inner) in keys(kind).items():
        if key in value:
            built = _build(inner, value[key], dotted(prefix, key), source)
            given[field] = round(built * 1e9) if field.endswith("_ns") else built
        elif get_origin(inner) is dict:
            given[field] = {}
        elif required[field] or prefix in _WRITTEN_OUT:
            raise ConfigError(f"{dotted(prefix, key)} is missing: no layer gives it")
    try:
        return kind(**given)
    except ValueError as error:
        named, colon, _ = str(error).partition(":")
        key = dotted(prefix, named)
        text = f"{prefix}.{error} in {source.get(key, 'the defaults')}" if colon else f"{prefix}: {error}"
        raise ConfigError(text) from error


def _check(s: Settings, source: Mapping[str, str]) -> None:
    """Refuse values that are of the right type and still wrong. Raises ConfigError naming key and source."""
    try:
        risk_limits.check(s.limits)
    except ValueError as error:
        key = str(error).split(":")[0]
        raise ConfigError(f"{error} in {source.get(key, 'the defaults')}") from error
    for key, wrong in _faults(s):
        if wrong:
            raise ConfigError(f"{key}: {wrong} in {source.get(key, 'the defaults')}")
    instruments.check(s.catalogue)
    _check_pair(s, source)
    scenarios.check(s.scenario, s.catalogue.named(s.market.lead), s.catalogue.named(s.market.hedge), source)


def _check_pair(s: Settings, source: Mapping[str, str]) -> None:
    """The pair must be a future and a perp that the products, the money and the latencies know."""
    for key, code, kind in (("market.lead", s.market.lead, Kind.FUTURE), ("market.hedge", s.market.hedge, Kind.PERP)):
        try:
            terms = s.catalogue.named(code)
        except ConfigError as error:
            raise ConfigError(f"{key}: {error} in {source[key]}") from error
        if terms.kind is not kind:
            raise ConfigError(f"{key}: {code} is a {terms.kind}, not a {kind}, in {source[key]}")
        if terms.settle not in s.cash.get(terms.venue, {}):
            raise ConfigError(f"cash.{terms.venue}.{terms.settle} is missing: {terms.id} is margined with it")
        if terms.venue not in s.latency:
            raise ConfigError(f"latency.{terms.venue} is missing: {terms.id} trades there")
        if terms.settle in s.stables and terms.settle != s.market.stable:
            raise ConfigError(f"market.stable: {terms.id} settles in {terms.settle}, not {s.market.stable}, in {source['market.stable']}")


def _faults(s: Settings) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong or "") of everything that a type cannot say."""
    m, x, limits = s.market, s.execution, s.limits
    yield "market.start", _reads(instant_ns, m.start)
    yield "market.seed", "" if m.seed >= 0 else f"{m.seed} must be >= 0"
    yield "market.history_days", _over_zero(m.history_days)
    yield "market.quote_interval_s", _over_zero(m.quote_interval_s)
    yield "market.speed", "" if m.speed in ("max", "auto") else _over_zero(m.speed)
    for name, value in zip(x.__struct_fields__, msgspec.structs.astuple(x), strict=True):
        yield f"execution.{written(name)}", _over_zero(value / 1e9 if name.endswith("_ns") else value)
    yield "execution.clip_lots", "" if x.clip_lots <= limits.clip_lots_max else "above limits.clip_lots_max"
    yield "execution.clip_depth_share", "" if x.clip_depth_share <= limits.clip_depth_share else "above limits.clip_depth_share"
    yield "execution.collar_bp", "" if x.collar_bp <= limits.collar_bp else "above limits.collar_bp: every hedge would be refused"
    for venue, latency in s.latency.items():
        for name, value in zip(latency.__struct_fields__, msgspec.structs.astuple(latency), strict=True):
            yield f"latency.{venue}.{written(name)}", "" if value >= 0 else "must be >= 0"
        yield f"latency.{venue}.tail_share", "" if latency.tail_share <= 1.0 else f"{latency.tail_share} must be <= 1"
        yield f"latency.{venue}.tail_multiple", "" if latency.tail_multiple >= 1.0 else f"{latency.tail_multiple} must be >= 1"
    for venue, budget in s.messages.items():
        for name, value in zip(budget.__struct_fields__, msgspec.structs.astuple(budget), strict=True):
            yield f"messages.{venue}.{name}", "" if value >= 0 else "must be >= 0"
    for venue, purse in s.cash.items():
        for currency, amount in purse.items():
            yield f"cash.{venue}.{currency}", _over_zero(amount)
    for name, value in zip(s.costs.__struct_fields__, msgspec.structs.astuple(s.costs), strict=True):
        yield f"costs.{name}", "" if value >= 0 else f"{value} must be >= 0"
    yield "broker.port", "" if 0 < s.broker.port < 65_536 else f"{s.broker.port} is not a port"
    yield "broker.client_id", "" if s.broker.client_id > 0 else f"{s.broker.client_id} must be > 0: client 0 takes over orders entered by hand"
    for section, rows in (("broker", s.broker.depth_rows), ("offshore", s.offshore.depth_rows)):
        yield f"{section}.depth_rows", "" if 0 <= rows <= DEPTH_ROWS_MAX else f"{rows} must be 0 to {DEPTH_ROWS_MAX}"
    yield "reference.every_s", _over_zero(s.reference.every_s)
    yield "costs.depth_share", "" if 0 < s.costs.depth_share <= 1 else f"{s.costs.depth_share} must be in (0, 1]"


def _over_zero(value: Any) -> str:
    return "" if not isinstance(value, str) and value > 0 else f"{value!r} must be a number > 0"


def _reads(parse: Any, text: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return ""
