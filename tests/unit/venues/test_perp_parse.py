"""What a message becomes: a whole event or an error of its shape, never half of one."""

from __future__ import annotations

from typing import Any

import pytest
from exchanges import D
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.model import event as ev
from bot.model.instrument import Instrument, Kind
from bot.model.order import Outcome, Side
from bot.venues import perp_parse as parse
from bot.venues.perp_client import misshapen
from bot.venues.perp_errors import SHAPE_ERRORS
from bot.venues.perp_ledger import paid_qty, stamp_of
from bot.venues.perp_quirks import QUIRKS

X = Instrument(id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=D(1), tick=D("0.1"), lot=D("0.001"), index_quote="USDT", settle="USDT",
               funding_interval_s=28_800, funding_cap=0.003)  # fmt: skip
SYMBOL = "BTC/USDT:USDT"
NOW = 1_793_716_200 * 10**9
MARKET = {"id": "BTCUSDT", "swap": True, "inverse": False, "contractSize": 1.0, "precision": {"price": 0.1, "amount": 0.001}, "active": True}
TRADE = {"symbol": SYMBOL, "id": "7", "order": "1", "side": "buy", "amount": 0.5, "price": 70_000.1, "fee": {"cost": 1.5, "currency": "USDT"}}
JUNK = st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.floats(), st.integers(), st.lists(st.integers(), max_size=2), st.just({}))


def symbols() -> parse.Symbols:
    """A table with one market."""
    made = parse.Symbols({X.id: X}, "perp")
    assert made.resolve({SYMBOL: MARKET}) == []
    return made


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(TRADE)), JUNK)
def test_a_broken_trade_is_an_error_or_a_whole_fill(key: str, junk: Any) -> None:
    try:
        made = parse.fill({**TRADE, key: junk}, "", symbols(), NOW)
    except SHAPE_ERRORS:
        return
    assert made.qty > 0 and made.qty.is_finite() and made.price.is_finite() and made.fee.is_finite() and made.exec_id and made.fee_currency


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "status", "filled", "clientOrderId", "symbol", "timestamp", "timeInForce"]), JUNK))
def test_a_broken_order_is_an_error_or_has_an_id(order: dict[str, Any]) -> None:
    try:
        state = parse.order_state(order)
    except SHAPE_ERRORS:
        return
    assert state.venue_order_id and state.filled.is_finite() and state.filled >= 0


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["contracts", "side", "symbol"]), JUNK))
def test_a_broken_position_is_an_error_or_a_number(position: dict[str, Any]) -> None:
    try:
        net = parse.net_positions([position], symbols())
    except SHAPE_ERRORS:
        return
    assert all(q.is_finite() and q for q in net.values())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"contractSize": 0.01}, "a contract is 0.01 there"), ({"inverse": True}, "not the same kind"), ({"swap": False}, "not the same kind"),
        ({"precision": {"price": 0.3, "amount": 0.001}}, "tick is 0.3 there"), ({"precision": {"price": 0.1, "amount": 0.01}}, "lot is 0.01 there"),
        ({"precision": {}}, "tick is 0 there"), ({"active": False}, "not trading"), ({"contractSize": None}, "a contract is 0 there"),
    ],
    ids=lambda v: str(v)[:30],
)  # fmt: skip
def test_terms_are_held_against_the_exchanges(change: dict[str, Any], why: str) -> None:
    (odd,) = parse.Symbols({X.id: X}, "perp").resolve({SYMBOL: {**MARKET, **change}})[:1]
    assert why in odd and odd.startswith("BTCUSDT: ")


@pytest.mark.parametrize("change", [{"filled": None}, {"filled": "nan"}, {"filled": -1}, {"id": ""}, {"amount": "0.5"}], ids=str)
def test_an_end_that_does_not_say_with_how_much_is_none(change: dict[str, Any]) -> None:
    with pytest.raises(SHAPE_ERRORS):
        parse.order_state({"id": "1", "status": "closed", "filled": "0.2", "amount": "0.2", **change})


def test_an_unlisted_instrument_is_named() -> None:
    assert "lists no BTC/USDT:USDT" in parse.Symbols({X.id: X}, "perp").resolve({})[0]


def test_an_immediate_order_that_expired_was_cancelled_and_others_were_not() -> None:
    order = {"id": "1", "status": "expired", "filled": "0.2", "clientOrderId": "c", "symbol": SYMBOL}
    ioc = parse.order_events(parse.order_state({**order, "timeInForce": "IOC"}), "c", NOW)[-1]
    gtc = parse.order_events(parse.order_state(order), "c", NOW)[-1]
    assert isinstance(ioc, ev.OrderEnded) and (ioc.outcome, ioc.cum_qty) == (Outcome.CANCELLED, D("0.2"))
    assert isinstance(gtc, ev.OrderEnded) and gtc.outcome is Outcome.EXPIRED
    (rejected,) = parse.order_events(parse.order_state({**order, "status": "rejected"}), "c", NOW)
    assert isinstance(rejected, ev.OrderEnded) and rejected.outcome is Outcome.REJECTED


def test_only_ids_of_ours_are_ours() -> None:
    assert parse.our_id("P00012H00000345") == "P00012H00000345" == parse.our_id(None, "", "P00012H00000345")
    assert parse.our_id("web_abc") == parse.our_id("x-cvBPrNm9123") == parse.our_id("P00012H00000345x") == parse.our_id() == ""
    assert parse.forced("adl_autoclose", {}) == "adl" and parse.forced("autoclose-123", {}) == "liquidation"
    assert parse.forced("", {"execType": "BustTrade"}) == "liquidation" and parse.forced("web_1", {}) == "" == parse.forced("", {"execType": "Trade"})


def test_an_account_without_the_key_of_a_message_does_not_say_and_an_empty_one_says_nobody() -> None:
    assert parse.trade_client_id({"info": {"orderId": 1}}, QUIRKS["binanceusdm"]) is None
    assert parse.trade_client_id({"info": {"orderLinkId": ""}}, QUIRKS["bybit"]) == ""


def test_a_position_is_signed_and_a_strangers_market_keeps_its_name() -> None:
    rows = [{"symbol": SYMBOL, "side": "short", "contracts": 0.5}, {"symbol": "ETH/USDT:USDT", "side": "long", "contracts": 2}, {"symbol": "X", "contracts": 0}]
    assert parse.net_positions(rows, symbols()) == {"BTCUSDT": D("-0.5"), "ETH/USDT:USDT": D(2)}


def test_funding_has_its_stamp_or_the_next_one() -> None:
    told = parse.funding({"fundingRate": 0.0001, "fundingTimestamp": 1_793_721_600_000}, X, QUIRKS["binanceusdm"], 28_800, 0.003, NOW)
    guessed = parse.funding({"fundingRate": 0.0001}, X, QUIRKS["deribit"], 28_800, 0.003, NOW)
    assert told.stamp_ns == guessed.stamp_ns == 1_793_721_600 * 10**9
    with pytest.raises(SHAPE_ERRORS):
        parse.funding({"fundingRate": None}, X, QUIRKS["binanceusdm"], 28_800, 0.003, NOW)
    late = parse.funding({"fundingRate": 0.5, "nextFundingRate": 0.0001}, X, QUIRKS["weex"], 28_800, 0.003, NOW)
    assert late.rate == 0.0001


def test_a_long_pays_a_positive_rate() -> None:
    assert paid_qty(X, D("-3.5"), 0.0001, 70_000.0) == D("0.5") and paid_qty(X, D("3.5"), 0.0001, 70_000.0) == D("-0.5")
    assert paid_qty(X, D("3.5"), 0.0, 70_000.0) == 0
    assert stamp_of(28_800_000 + 3) == 28_800_000


def test_a_quote_without_a_side_is_zero_there_and_without_a_time_has_ours() -> None:
    made = parse.quote({"bid": 1.0, "bidVolume": 2.0, "ask": None}, "X", NOW)
    assert (made.bid, made.bid_size, made.ask, made.ask_size, made.venue_ts) == (1.0, 2.0, 0.0, 0.0, NOW)
    assert parse.book_quote({"bids": [], "asks": [[5.0, 1.0]], "timestamp": 7}, "X", NOW).venue_ts == 7_000_000
    with pytest.raises(SHAPE_ERRORS):
        parse.mark({"markPrice": 0}, "X", NOW)


@pytest.mark.parametrize(
    ("exchange", "path", "reply", "bad"),
    [
        ("binanceusdm", "/fapi/v3/positionRisk", [], False), ("binanceusdm", "/fapi/v3/positionRisk", {}, True),
        ("binanceusdm", "/fapi/v1/order", "<html>", True),
        ("binanceusdm", "/fapi/v1/order", "", True), ("binanceusdm", "/fapi/v1/order", None, True), ("bybit", "/v5/position/list", {"list": []}, True),
        ("bybit", "/v5/position/list", {"retCode": 0, "result": {}}, False), ("okx", "/api/v5/account/positions", [], True),
        ("okx", "/api/v5/account/positions", {"code": "0", "data": []}, False),
    ],
)  # fmt: skip
def test_the_shape_of_a_reply(exchange: str, path: str, reply: Any, bad: bool) -> None:
    assert bool(misshapen(reply, path, QUIRKS[exchange])) is bad


def test_sides_are_read_as_words() -> None:
    assert parse.fill(TRADE, "", symbols(), NOW).side is Side.BUY
    with pytest.raises(SHAPE_ERRORS):
        parse.fill({**TRADE, "price": 70_000.13}, "", symbols(), NOW)
