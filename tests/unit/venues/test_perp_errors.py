"""What an error proves: every row of what was measured of the clients, raised by ccxt itself from what an exchange says."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("ccxt", reason="ccxt is not installed here")

import aiohttp  # noqa: E402
import ccxt  # noqa: E402
from exchanges import still  # noqa: E402

from bot.venues.egress import EgressRefused  # noqa: E402
from bot.venues.perp_errors import Meaning, codes_in, told, verdict  # noqa: E402
from bot.venues.perp_quirks import QUIRKS  # noqa: E402

M = Meaning
URL = "http://127.0.0.1:9/fapi/v1/order"

BINANCE: list[tuple[int, str, Meaning, bool]] = [
    (400, '{"code":-1007,"msg":"Timeout waiting for response from backend server."}', M.UNKNOWN, False),
    (408, '{"code":-1007,"msg":"Timeout"}', M.UNKNOWN, False),
    (504, "<html>gateway timeout</html>", M.UNKNOWN, False),
    (502, "<html>bad gateway</html>", M.UNKNOWN, False),
    (503, '{"code":-1000,"msg":"Unknown error, please check your request or try again later."}', M.UNKNOWN, False),
    (503, "Service Unavailable", M.UNKNOWN, False),
    (400, '{"code":-1000,"msg":"An unknown error occurred"}', M.UNKNOWN, False),
    (400, '{"code":-1001,"msg":"Internal error"}', M.UNKNOWN, False),
    (400, '{"code":-1006,"msg":"An unexpected response was received"}', M.UNKNOWN, False),
    (400, '{"code":-1008,"msg":"Server is currently overloaded"}', M.UNKNOWN, False),
    (429, '{"code":-1003,"msg":"Too many requests"}', M.THROTTLED, False),
    (418, '{"code":-1003,"msg":"banned until"}', M.THROTTLED, False),
    (400, '{"code":-1015,"msg":"Too many new orders"}', M.THROTTLED, False),
    (400, '{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}', M.CLOCK, False),
    (401, '{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}', M.KEY, False),
    (400, '{"code":-2014,"msg":"API-key format invalid."}', M.KEY, False),
    (400, '{"code":-2013,"msg":"Order does not exist."}', M.NOT_FOUND, False),
    (400, '{"code":-2011,"msg":"Unknown order sent."}', M.NOT_FOUND, False),
    (400, '{"code":-2019,"msg":"Margin is insufficient."}', M.REFUSED, False),
    (400, '{"code":-2022,"msg":"ReduceOnly Order is rejected."}', M.REFUSED, False),
    (400, '{"code":-4164,"msg":"Order\'s notional must be no smaller than 100"}', M.REFUSED, False),
    (400, '{"code":-4400,"msg":"Futures Trading Quantitative Rules violated"}', M.REFUSED, False),
    (400, '{"code":-9999,"msg":"a code nobody knows"}', M.REFUSED, False),
    (400, '{"code":-4116,"msg":"ClientOrderId is duplicated."}', M.REFUSED, True),
]


@pytest.mark.parametrize(("status", "body", "meaning", "exists"), BINANCE, ids=lambda v: str(v)[:24])
def test_binance_over_rest_and_on_loopback(status: int, body: str, meaning: Meaning, exists: bool) -> None:
    client = still("binanceusdm", base_url="http://127.0.0.1:9")
    with pytest.raises(ccxt.BaseError) as raised:
        client.handle_errors(status, "", URL, "POST", {}, body, client.parse_json(body), {}, {})
        client.handle_http_status_code(status, "", URL, "POST", body)
    found = verdict(raised.value, QUIRKS["binanceusdm"])
    assert (found.meaning, found.exists) == (meaning, exists), found
    assert found.no_order is (meaning is not M.UNKNOWN and not exists)


class Answers:
    """What ccxt's WebSocket client does with a refusal."""

    url = "ws://127.0.0.1:9/ws-fapi/v1"

    def __init__(self) -> None:
        self.subscriptions: dict[str, Any] = {}
        self.rejected: list[BaseException] = []

    def reject(self, error: BaseException, key: str | None = None) -> None:
        self.rejected.append(error)

    reset = reject


@pytest.mark.parametrize(("status", "body", "meaning", "exists"), [r for r in BINANCE if r[1].startswith("{") and r[0] == 400], ids=lambda v: str(v)[:24])
def test_binance_over_the_order_socket(status: int, body: str, meaning: Meaning, exists: bool) -> None:
    client = still("binanceusdm", base_url="http://127.0.0.1:9")
    answers = Answers()
    client.handle_message(answers, {"id": "1", "status": status, "error": client.parse_json(body)})
    found = verdict(answers.rejected[0], QUIRKS["binanceusdm"])
    assert (found.meaning, found.exists) == (meaning, exists), found


@pytest.mark.parametrize(
    ("exchange", "body", "meaning", "exists"),
    [
        ("bybit", '{"retCode":110072,"retMsg":"OrderLinkedID is duplicate"}', M.REFUSED, True),
        ("bybit", '{"retCode":110001,"retMsg":"order not exists or too late to cancel"}', M.NOT_FOUND, False),
        ("bybit", '{"retCode":110007,"retMsg":"ab not enough for new order"}', M.REFUSED, False),
        ("bybit", '{"retCode":10002,"retMsg":"invalid request, please check your timestamp"}', M.CLOCK, False),
        ("bybit", '{"retCode":10006,"retMsg":"Too many visits"}', M.THROTTLED, False),
        ("bybit", '{"retCode":10003,"retMsg":"API key is invalid."}', M.KEY, False),
        ("bybit", '{"retCode":10016,"retMsg":"Internal server error"}', M.UNKNOWN, False),
        ("okx", '{"code":"1","data":[{"sCode":"51016","sMsg":"Client order ID already exists."}],"msg":""}', M.REFUSED, True),
        ("okx", '{"code":"1","data":[{"sCode":"51603","sMsg":"Order does not exist"}],"msg":""}', M.NOT_FOUND, False),
        ("okx", '{"code":"50004","data":[],"msg":"Endpoint request timeout"}', M.UNKNOWN, False),
        ("okx", '{"code":"50011","data":[],"msg":"Too Many Requests"}', M.THROTTLED, False),
        ("okx", '{"code":"50102","data":[],"msg":"Timestamp request expired"}', M.CLOCK, False),
        ("okx", '{"code":"1","data":[{"sCode":"51008","sMsg":"Insufficient balance"}],"msg":""}', M.REFUSED, False),
        ("okx", '{"code":"50111","data":[],"msg":"Invalid OK-ACCESS-KEY"}', M.KEY, False),
    ],
    ids=lambda v: str(v)[:24],
)  # fmt: skip
def test_bybit_and_okx(exchange: str, body: str, meaning: Meaning, exists: bool) -> None:
    client = still(exchange)
    with pytest.raises(ccxt.BaseError) as raised:
        client.handle_errors(200, "", "https://x/", "POST", {}, body, client.parse_json(body), {}, {})
    found = verdict(raised.value, QUIRKS[exchange])
    assert (found.meaning, found.exists) == (meaning, exists), found


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """An error as ccxt raises it from a cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (caused(ccxt.ExchangeNotAvailable("x"), aiohttp.ClientConnectorError(None, OSError("refused"))), M.NOT_SENT),  # type: ignore[arg-type]
        (caused(ccxt.ExchangeNotAvailable("x"), aiohttp.ServerDisconnectedError()), M.UNKNOWN),
        (caused(ccxt.ExchangeError("x"), aiohttp.ClientPayloadError("cut off")), M.UNKNOWN),
        (ccxt.RequestTimeout("x"), M.UNKNOWN), (ccxt.NetworkError("Connection closed by remote server"), M.UNKNOWN), (ccxt.BadResponse("x"), M.UNKNOWN),
        (TimeoutError(), M.UNKNOWN), (KeyError("id"), M.UNKNOWN), (ConnectionResetError(), M.UNKNOWN), (ccxt.DuplicateOrderId("x"), M.REFUSED),
        (ccxt.InvalidOrder("no such type"), M.REFUSED), (ccxt.PermissionDenied("403"), M.REFUSED), (EgressRefused("x"), M.NOT_SENT),
        (ccxt.OnMaintenance("x"), M.UNKNOWN), (ccxt.ChecksumError("gap"), M.UNKNOWN), (ccxt.CancelPending("x"), M.UNKNOWN),
    ],
    ids=lambda v: repr(v)[:40],
)  # fmt: skip
def test_what_the_network_and_the_library_raise(error: BaseException, meaning: Meaning) -> None:
    assert verdict(error, QUIRKS["binanceusdm"]).meaning is meaning


def test_credentials_never_reach_a_text() -> None:
    text = told(ccxt.NetworkError("GET https://x/order?symbol=B&signature=abc123&apiKey=KEY9 listenKey=LK7 {\"apiKey\":\"KEY9\"}"))
    assert "abc123" not in text and "KEY9" not in text and "LK7" not in text and "symbol=B" in text


def test_success_codes_are_no_error_codes() -> None:
    assert codes_in('{"code":"0","sCode":"51016","retCode":-1}') == ("51016", "-1")


@pytest.mark.parametrize(
    ("exchange", "message", "meaning", "exists"),
    [
        ("bybit", {"reqId": "1", "retCode": 110007, "retMsg": "ab not enough for new order", "op": "order.create", "data": {}}, M.REFUSED, False),
        ("bybit", {"reqId": "1", "retCode": 110072, "retMsg": "OrderLinkedID is duplicate", "op": "order.create", "data": {}}, M.REFUSED, True),
        ("okx", {"id": "1", "op": "batch-orders", "code": "1", "msg": "", "data": [{"sCode": "51008", "sMsg": "Insufficient balance"}]}, M.REFUSED, False),
        ("okx", {"id": "1", "op": "batch-orders", "code": "1", "msg": "", "data": [{"sCode": "51016", "sMsg": "exists"}]}, M.REFUSED, True),
        ("okx", {"id": "1", "op": "batch-orders", "code": "50004", "msg": "Endpoint request timeout", "data": []}, M.UNKNOWN, False),
    ],
    ids=lambda v: str(v)[:24],
)  # fmt: skip
def test_bybit_and_okx_over_the_order_socket(exchange: str, message: dict[str, Any], meaning: Meaning, exists: bool) -> None:
    client = still(exchange)
    answers = Answers()
    answers.url = "wss://x/v5/private"
    client.handle_message(answers, message)
    found = verdict(answers.rejected[0], QUIRKS[exchange])
    assert (found.meaning, found.exists) == (meaning, exists), found

