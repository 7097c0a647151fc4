"""Settings: layers, sources, and every way in which a setting can be wrong."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from bot import config, layers
from bot.engine.pair import Execution
from bot.model.errors import ConfigError
from bot.model.instrument import Kind, maintenance_margin, tier_for
from risk.limits import Limits
from strategies.convergence_params import ConvergenceParams


def load(*sets: str, **more: object) -> config.Loaded:
    """Load without the environment of whoever runs the tests."""
    return config.load(environ={}, sets=sets, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", config.PROFILES)
def test_every_profile_is_whole(profile: str) -> None:
    """Each packaged profile loads, and what its verb needs is there."""
    settings = load(profile=profile).settings
    assert settings.limits.daily_loss_share > 0 and settings.market.start_ns > 0
    assert settings.catalogue.named(settings.market.lead).kind is Kind.FUTURE


def test_packaged_defaults_are_the_designs() -> None:
    """The defaults of the design page hold, whatever the code defaults of the structs are."""
    s = load().settings
    p, limits = s.strategy, s.limits
    assert (p.z_in, p.z_out, p.z_stop, p.window_s, p.coverage_min, p.sigma_floor_bp) == (2.0, 0.5, 4.0, 259_200.0, 0.8, 2.0)
    assert (p.edge_min_bp, p.horizon_cap_days, p.risk_free, p.hurdle_margin, p.financing_rate) == (3.0, 5.0, 0.04, 0.03, 0.05)
    assert (p.carry_source, p.carry_fixed) == ("fixed", 0.06)
    assert load(profile="backtest").settings.strategy.carry_source == "trailing_median"
    assert s.cash == {"cme": {"USD": Decimal(600_000)}, "perp": {"USDT": Decimal(400_000)}}
    assert (limits.pair_lots_max, limits.clip_lots_max, limits.spread_stop_bp, limits.time_stop_s) == (50, 10, 100.0, 432_000.0)
    assert (limits.daily_loss_share, limits.drawdown_share, limits.margin_hike_multiple) == (0.02, 0.05, 1.25)
    assert (limits.price_shock_share, limits.margin_buffer_share, limits.funding_shock_rate, limits.funding_shock_stamps) == (0.25, 0.05, 0.003, 2)
    assert (limits.broker_cap_share, limits.perp_cap_share, limits.stable_cap_share) == (0.7, 0.5, 0.8)
    assert (limits.unhedged_coins_max, limits.unhedged_s_max, limits.unhedged_usd_s_max) == (0.05, 5.0, 500_000.0)
    assert limits.lead_age_s_max == limits.hedge_age_s_max == 45.0 and load(profile="bench").settings.limits.lead_age_s_max == 600.0
    fees = {root: s.futures[root].fee_per_lot for root in ("MBT", "BTC", "ETH")}
    assert fees == {"MBT": Decimal("3.00"), "BTC": Decimal("11.50"), "ETH": Decimal("9.50")}
    assert s.market.start == "2026-11-03T15:45Z"


@pytest.mark.parametrize(("section", "kind"), [("limits", Limits), ("execution", Execution), ("strategy", ConvergenceParams)])
def test_no_key_hides_in_the_code(section: str, kind: type[msgspec.Struct]) -> None:
    """Every limit, execution and strategy key is written out in the packaged file, so that people can see it."""
    loaded = load()
    optional = {"strategy.half_life_days"}
    for field in kind.__struct_fields__:
        key = f"{section}.{layers.written(field)}"
        assert key in optional or any(source == "packaged defaults.toml" for source, _ in loaded.origins[key]), key


def test_precedence_and_sources(tmp_path: Path) -> None:
    """file < later file < environment < --set < option of the verb; each overridden source is remembered."""
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("[limits]\nspread_stop_bp = 11.0\n[market]\nseed = 1\n")
    two.write_text("[limits]\nspread_stop_bp = 22.0\n")
    key, values = "limits.spread_stop_bp", []
    layers: dict[str, object] = {}
    for name, value in (
        ("files", [one]), ("files", [one, two]), ("environ", {"BOT__LIMITS__SPREAD_STOP_BP": "33"}),
        ("sets", [f"{key}=44"]), ("options", {key: ("--stop", 55.0)}),
    ):  # fmt: skip
        layers[name] = value
        loaded = config.load(**{"environ": {}, **layers})  # type: ignore[arg-type]
        values.append(loaded.settings.limits.spread_stop_bp)
    assert values == [11.0, 22.0, 33.0, 44.0, 55.0]
    assert [source for source, _ in loaded.origins[key]] == [
        "packaged defaults.toml", f"file {one}", f"file {two}", "environment BOT__LIMITS__SPREAD_STOP_BP", "--set", "--stop",
    ]  # fmt: skip


def test_seconds_become_nanoseconds_and_are_printed_as_written() -> None:
    """People write seconds; values hold integer ns; what `config show` prints is what was written."""
    loaded = load("execution.ack_timeout_s=1.5", "latency.perp.feed_s=0.0405")
    assert loaded.settings.execution.ack_timeout_ns == 1_500_000_000
    assert loaded.settings.latency["perp"].feed_ns == 40_500_000
    assert loaded.origins["execution.ack_timeout_s"][-1] == ("--set", 1.5)


WRONG = [
    ("limits.spread_stp_bp=1", "unknown key limits.spread_stp_bp in --set"),
    ("nonsense.key=1", "unknown key nonsense in --set"),
    ("limits.spread_stop_bp=nan", "limits.spread_stop_bp: nan is not a finite number, in --set"),
    ("limits.spread_stop_bp=-1", "limits.spread_stop_bp: -1.0 must be finite and > 0"),
    ("limits.spread_stop_bp=0", "limits.spread_stop_bp"),
    ("limits.spread_stop_bp=inf", "limits.spread_stop_bp"),
    ("limits.spread_stop_bp=", "limits.spread_stop_bp"),
    ("limits.spread_stop_bp=true", "limits.spread_stop_bp"),
    ("limits.daily_loss_share=1.5", "limits.daily_loss_share"),
    ("limits.stop_samples=2.5", "limits.stop_samples"),
    ("limits.risk_share=0.5", "limits.risk_share"),
    ("limits=3", "limits: is a section, not a value"),
    ("execution.timer_ns=1", "unknown key execution.timer_ns"),
    ("execution.collar_bp=30", "execution.collar_bp: above limits.collar_bp"),
    ("execution.clip_lots=11", "execution.clip_lots: above limits.clip_lots_max"),
    ("execution.ack_timeout_s=0", "execution.ack_timeout_s"),
    ("strategy.z_out=3", "strategy: z_out"),
    ("strategy.side=sideways", "strategy.side"),
    ("strategy.lots=0", "strategy.lots"),
    ("market.scenario=sunny", "market.scenario"),
    ("market.start=yesterday", "market.start"),
    ("market.start=2026-11-03T15:45", "market.start"),
    ("market.seed=-1", "market.seed"),
    ("market.speed=fast", "market.speed"),
    ("market.lead=MBTQ", "market.lead: 'MBTQ' is no perp"),
    ("market.lead=BTCUSDT", "market.lead: BTCUSDT is a perp"),
    ("market.hedge=BTCUSD", "cash.perp-inverse.BTC is missing"),
    ("cash.perp.USDT=0", "cash.perp.USDT"),
    ("cash.perp.EUR=1", "unknown key cash.perp.EUR"),
    ("latency.cme.feed_s=-1", "latency.cme.feed_s"),
    ("latency.cme.jitter=-0.1", "latency.cme.jitter"),
    ("latency.cme.tail_share=1.5", "latency.cme.tail_share: 1.5 must be <= 1 in --set"),
    ("latency.cme.tail_multiple=0.5", "latency.cme.tail_multiple: 0.5 must be >= 1 in --set"),
    ("messages.perp.orders_10s=-1", "messages.perp.orders_10s: must be >= 0 in --set"),
    ("messages.perp.orders_10s=1.5", "messages.perp.orders_10s"),
    ("messages.perp.orders=1", "unknown key messages.perp.orders in --set"),
    ("costs.depth_share=2", "costs.depth_share"),
    ("perps.BTCUSDT.tick=0", "perps.BTCUSDT.tick"),
    ("futures.MBT.maintenance_rate=0.5", "futures.MBT.maintenance_rate"),
    ("a", "--set a: expected section.key=value"),
]


@pytest.mark.parametrize(("given", "said"), WRONG, ids=[w[0] for w in WRONG])
def test_a_wrong_setting_is_refused_naming_it(given: str, said: str) -> None:
    """Unknown, missing, mistyped, infinite, wrong-signed and contradictory settings name key and layer."""
    with pytest.raises(ConfigError) as caught:
        load(given)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_a_missing_limit_is_refused(tmp_path: Path) -> None:
    """A limit that no layer gives has no safe value: the code default does not stand in."""
    shutil.copytree(config.packaged_folder(), tmp_path, dirs_exist_ok=True)
    defaults = tmp_path / "defaults.toml"
    defaults.write_text("".join(x for x in defaults.read_text().splitlines(keepends=True) if "drawdown_share" not in x))
    with pytest.raises(ConfigError, match="^limits.drawdown_share is missing"):
        load(folder=tmp_path)


@pytest.mark.parametrize(
    ("body", "said"),
    [("[limits]\nspread_stop_bp = nan\n", "limits.spread_stop_bp"), ("[limits\n", "user.toml"), ("limit = 1\n", "unknown key limit"),
     ("[limits]\nfoo = 1\n", "unknown key limits.foo"), ("\xff", "user.toml"), ("[perps.NEW]\nbase = 'BTC'\n", "perps.NEW.unit is missing")],
)  # fmt: skip
def test_a_wrong_file_is_refused_naming_it(tmp_path: Path, body: str, said: str) -> None:
    """What is wrong in a file is named with the file."""
    path = tmp_path / "user.toml"
    path.write_bytes(body.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load(files=[path])
    assert said in str(caught.value)


def test_environment_is_read_whatever_its_case() -> None:
    """Environment names are upper case; keys that only data defines (venues, currencies, products) are found too."""
    given = {"BOT__CASH__PERP__USDT": "123456.78", "BOT__PERPS__BTCUSDT__TAKER_RATE": "0.0004", "BOT__MARKET__START": "2026-11-04T00:00:00Z",
             "BOT_DATA_DIR": "/elsewhere", "PATH": "x"}  # fmt: skip
    s = config.load(environ=given).settings
    assert s.cash["perp"]["USDT"] == Decimal("123456.78") and s.perps["BTCUSDT"].taker_rate == Decimal("0.0004")
    assert s.market.start == "2026-11-04T00:00:00Z"
    with pytest.raises(ConfigError, match="unknown key limits.FOO in environment BOT__LIMITS__FOO"):
        config.load(environ={"BOT__LIMITS__FOO": "1"})


def test_any_perp_is_a_table(tmp_path: Path) -> None:
    """A linear and an inverse perp of one's own become instruments, and the desk can be told to trade one."""
    path = tmp_path / "mine.toml"
    path.write_text(
        "[perps.XBTUSDC]\nbase = 'BTC'\nunit = '0.001'\ntick = '0.5'\nlot = '1'\nindex_quote = 'USDC'\nsettle = 'USDC'\nmaker_rate = '0'\n"
        "taker_rate = '0.0005'\ntiers = [['0', '0.01', '0.02', '0'], ['1000', '0.02', '0.04', '10']]\nsource = 'mine'\n"
        "[stables.USDC]\ntick = '0.0001'\nsource = 'mine'\n"
        "[market]\nhedge = 'XBTUSDC'\nstable = 'USDC'\n[cash.perp]\nUSDC = 5000.5\n"
    )
    s = load(files=[path]).settings
    perp = s.catalogue.named("XBTUSDC")
    assert (perp.unit, perp.tick, perp.settle, perp.inverse) == (Decimal("0.001"), Decimal("0.5"), "USDC", False)
    assert s.catalogue.stable_of("USDC") == "USDC/USD" and s.cash["perp"]["USDC"] == Decimal("5000.5")
    assert s.catalogue.perp("BTCUSD").inverse and s.catalogue.stable_of("BTC") is None


def test_tiers_must_meet(tmp_path: Path) -> None:
    """Maintenance that jumps at a bracket's edge is a wrong table."""
    path = tmp_path / "mine.toml"
    path.write_text("[perps.BTCUSDT]\ntiers = [['0', '0.01', '0.02', '0'], ['1000', '0.02', '0.04', '99']]\n")
    with pytest.raises(ConfigError, match="perps.BTCUSDT.tiers: at 1000"):
        load(files=[path])


def test_packaged_products_are_the_contracts() -> None:
    """Units, ticks, expiry, margin of the packaged products, with the design's worked maintenance (G6)."""
    c = load().settings.catalogue
    units = {root: (c.future(root, 2026, 12).unit, c.future(root, 2026, 12).tick) for root in ("BTC", "MBT", "ETH", "MET")}
    assert units == {"BTC": (5, 5), "MBT": (Decimal("0.1"), 5), "ETH": (50, Decimal("0.5")), "MET": (Decimal("0.1"), Decimal("0.5"))}
    november = c.named("MBTX26")
    assert november.id == "MBTX26" and november.expiry_ns == 1_795_795_200_000_000_000 and november.settlement_index == "BRR"
    assert (tier_for(november, 1.0).initial_rate, tier_for(november, 1e9).maintenance_rate) == (Decimal("0.40"), Decimal("0.30"))
    assert maintenance_margin(c.perp("BTCUSDT"), 885_000.0) == pytest.approx(4_802.50)
    for code in ("BTCUSDT", "ETHUSDT"):
        perp = c.perp(code)
        for low, high in zip(perp.tiers, perp.tiers[1:], strict=False):
            edge = float(high.notional_floor)
            assert maintenance_margin(perp, edge - 1e-6) == pytest.approx(maintenance_margin(perp, edge), abs=1e-3), (low, high)
    with pytest.raises(ConfigError):
        c.named("QQQX26")


def test_settings_survive_json() -> None:
    """A run keeps its settings as JSON and recovers the same values from it."""
    settings = load().settings
    assert msgspec.json.decode(msgspec.json.encode(settings), type=config.Settings) == settings
