"""What a Binance USD-M server refuses, and how it says so: codes, texts, HTTP statuses."""

from __future__ import annotations

from bot.sim.budget import TOO_MANY
from bot.sim.exchange import DUPLICATE, UNKNOWN
from bot.sim.orders import BEYOND, HALTED

TEXTS = {
    -1000: "An unknown error occured while processing the request.",
    -1001: "Internal error; unable to process your request. Please try again.",
    -1003: "Too many requests; current limit is %s requests per minute. Please use the websocket for live updates to avoid polling the API.",
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    -1008: "Server is currently overloaded with other requests. Please try again in a few minutes.",
    -1015: "Too many new orders; current limit is %s orders per %s.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1022: "Signature for this request is not valid.",
    -1100: "Illegal characters found in a parameter.",
    -1102: "Mandatory parameter '%s' was not sent, was empty/null, or malformed.",
    -1111: "Precision is over the maximum defined for this asset.",
    -1115: "Invalid timeInForce.",
    -1116: "Invalid orderType.",
    -1117: "Invalid side.",
    -1120: "Invalid interval.",
    -1121: "Invalid symbol.",
    -1125: "This listenKey does not exist.",
    -1130: "Data sent for parameter '%s' is not valid.",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -2014: "API-key format invalid.",
    -2015: "Invalid API-key, IP, or permissions for action, request ip: 127.0.0.1",
    -2019: "Margin is insufficient.",
    -2022: "ReduceOnly Order is rejected.",
    -4003: "Quantity less than or equal to zero.",
    -4005: "Quantity greater than max quantity.",
    -4014: "Price not increased by tick size.",
    -4015: "Client order id length should be less than 36 chars",
    -4016: "Limit price can't be higher than %s.",
    -4024: "Limit price can't be lower than %s.",
    -4028: "Leverage %s is not valid",
    -4046: "No need to change margin type.",
    -4059: "No need to change position side.",
    -4061: "Order's position side does not match user's setting.",
    -4084: "Method is not allowed currently. Coming soon.",
    -4116: "ClientOrderId is duplicated.",
    -4131: "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
    -4140: "Invalid symbol status for opening position.",
    -4141: "Symbol is closed.",
    -4164: "Order's notional must be no smaller than %s (unless you choose reduce only).",
    -5000: "Path %s, Method %s is invalid",
    -5021: "Due to the order could not be filled immediately, the FOK order has been rejected. The order will not be recorded in the order history",
    -5022: "Due to the order could not be executed as maker, the Post Only order will be rejected. The order will not be recorded in the order history",
}
"""Texts by code (the exchange's page of error codes and what clients have logged, read 2026-11)."""
STATUS = {-1001: 503, -1003: 429, -1007: 408, -1008: 503, -1015: 429, -2014: 401, -2015: 401, -5000: 404}
"""HTTP status by code; 400 for any other."""


class Refused(Exception):
    """A request is answered with an error. retry_s: seconds after which to try again, 0 for none."""

    def __init__(self, code: int, *about: object, status: int = 0, retry_s: int = 0, told: str = "") -> None:
        text = told or TEXTS[code]
        self.code = code
        self.told = text % about if about else text
        self.status = status or STATUS.get(code, 400)
        self.retry_s = retry_s
        super().__init__(f"{code} {self.told}")

    def body(self) -> dict[str, object]:
        """Return the error as it is sent."""
        return {"code": self.code, "msg": self.told}


REASONS = (
    ("insufficient margin", -2019),
    ("reduce-only", -2022),
    ("system busy", -1008),
    (HALTED, -4140),
    ("session closed", -4141),
    ("contract expired", -4141),
    (UNKNOWN, -1121),
    (DUPLICATE, -4116),
    ("quantity", -1111),
    (f"{BEYOND}", -4131),
    ("price", -4014),
)
"""Code by how the exchange's own reason for a rejection begins."""


def refusal(reason: str, market: bool, buys: bool) -> Refused:
    """Return the error for a reason of the exchange core. market, buys: the order's type and side."""
    if reason == TOO_MANY:
        return Refused(-1015, 300, "10s", retry_s=1)
    if reason.startswith("notional below "):
        return Refused(-4164, reason.removeprefix("notional below "))
    if reason.startswith(BEYOND) and not market:
        return Refused(-4016 if buys else -4024, reason.rsplit(" ", 1)[-1])
    for begins, code in REASONS:
        if reason.startswith(begins):
            return Refused(code)
    return Refused(-1000, told=f"An unknown error occured: {reason}")
