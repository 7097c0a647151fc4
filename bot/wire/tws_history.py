"""Historical bars over the TWS protocol, from the world's minutes, within the broker's pacing limits.

Middles of bid and ask, "trades" (the same to the tick, with the account's own volume: nobody else trades here) and BID_ASK
(mean bid, highest ask, lowest bid, mean ask; the broker's means are over time, these over quotes).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bot.wire.bars import MINUTE_NS, Bar
from bot.wire.tws_codec import ContractFields, Fields, ProtocolError, read_contract
from bot.wire.tws_contracts import ZONE, Row, find
from bot.wire.tws_orders import NO_CONTRACT
from bot.wire.tws_session import Client
from bot.wire.world import World

_S = 1_000_000_000
DAY_S = 86_400
WINDOW_NS, REQUESTS = 600 * _S, 60
"""Requests in any ten minutes. These three limits are on the broker's page on historical limitations (read 2026-11), which says that
it has lifted them for bars of a minute and more and throttles those without saying how; they are kept here for all."""
SAME_NS = 15 * _S
"""An identical request within this is one too many."""
BURST_NS, BURST = 2 * _S, 6
"""The sixth request for the same contract, exchange and kind within this is one too many."""
LONGEST_D = 366
UNITS_S = {"S": 1, "D": DAY_S, "W": 7 * DAY_S, "M": 30 * DAY_S, "Y": 365 * DAY_S}
"""Durations; a day is 24 hours of this market, which hardly ever closes, where the broker counts sessions."""
SIZES = {
    "1 min": 1, "2 mins": 2, "3 mins": 3, "5 mins": 5, "10 mins": 10, "15 mins": 15, "20 mins": 20, "30 mins": 30,
    "1 hour": 60, "2 hours": 120, "3 hours": 180, "4 hours": 240, "8 hours": 480,
}  # fmt: skip
"""Bar sizes served, in minutes. Days begin with the trade date and are not."""
KINDS = {"MIDPOINT": "Midpoint", "TRADES": "Trades", "BID_ASK": "Bid_Ask"}
ERROR = "Historical Market Data Service error message:"
BAD_END = (
    "End Date/Time: The date, time, or time-zone entered is invalid. The correct format is yyyymmdd hh:mm:ss xx/xxxx where yyyymmdd and "
    "xx/xxxx are optional. E.g.: 20031126 15:59:00 US/Eastern"
)


class Asked(NamedTuple):
    """One request as its fields say. end: as written, "" for now."""

    req_id: int
    contract: ContractFields
    end: str
    size: str
    duration: str
    kind: str
    format_date: int
    updates: bool


class Invalid(Exception):
    """A request that is not served; code and text are what the client is told."""

    def __init__(self, code: int, told: str) -> None:
        super().__init__(told)
        self.code, self.told = code, told


class HistoryDesk:
    """Answers requests for bars. heard: whether the data service is reached. clock: UTC ns."""

    def __init__(self, world: World, rows: Callable[[], list[Row]], heard: Callable[[], bool]) -> None:
        self._world = world
        self._rows = rows
        self._heard = heard
        self._pace = Pace()

    def bars(self, client: Client, fields: Fields) -> None:
        """reqHistoricalData: every bar in one message, which is its own end."""
        asked = read_request(fields)
        try:
            client.send(self._answer(asked, self._world.clock()))
        except Invalid as error:
            client.error(asked.req_id, error.code, error.told)

    def cancel(self, client: Client, fields: Fields) -> None:
        """cancelHistoricalData: every answer is whole before a cancel can arrive."""
        client.error(fields.whole(), 366, "No historical data query found for ticker id")

    def _answer(self, asked: Asked, now_ns: int) -> list[object]:
        found = find(self._rows(), asked.contract)
        if len(found) != 1:
            raise Invalid(200, NO_CONTRACT if not found else "The contract description specified is ambiguous")
        (row,) = found
        _check(asked)
        span_s = duration_s(asked.duration)
        end_ns = end_of(asked.end, now_ns)
        if not self._pace.takes(asked, row, now_ns):
            raise Invalid(162, f"{ERROR}Historical data request pacing violation")
        if not self._heard():
            raise Invalid(162, f"{ERROR}HMDS server disconnect occurred.  Attempting reconnection...")
        step = SIZES[asked.size] * MINUTE_NS
        begin_ns = end_ns - span_s * _S
        first = -(-begin_ns // step) * step  # whole bars
        bars = self._world.bars(row.instrument, first, min(end_ns, now_ns), step) if row.instrument else []
        if not bars:
            raise Invalid(162, f"{ERROR}HMDS query returned no data: {row.local_symbol}@{row.exchange} {KINDS[asked.kind]}")
        zone = ZoneInfo(ZONE)
        out: list[object] = [17, asked.req_id, _stamp(begin_ns, zone), _stamp(end_ns, zone), len(bars)]
        for bar in bars:
            out += [_stamp(bar.from_ns, zone) if asked.format_date == 1 else bar.from_ns // _S, *_prices(bar, asked.kind, float(row.tick))]
        return out


class Pace:
    """What was asked lately, of all clients together. BID_ASK counts twice."""

    def __init__(self) -> None:
        self._asked: deque[tuple[int, int, Asked, int]] = deque()

    def takes(self, asked: Asked, row: Row, now_ns: int) -> bool:
        """Count a request that keeps to the limits; False for one that does not."""
        while self._asked and self._asked[0][0] <= now_ns - WINDOW_NS:
            self._asked.popleft()
        key, weight = asked._replace(req_id=0), 2 if asked.kind == "BID_ASK" else 1
        burst = 0
        for at, counted, before, con_id in self._asked:
            if before == key and at > now_ns - SAME_NS:
                return False
            if at > now_ns - BURST_NS and con_id == row.con_id and before.kind == key.kind:
                burst += counted
        if burst + weight >= BURST or sum(row[1] for row in self._asked) + weight > REQUESTS:
            return False
        self._asked.append((now_ns, weight, key, row.con_id))
        return True


def read_request(fields: Fields) -> Asked:
    """Read a reqHistoricalData (message 20, without its number)."""
    req_id, contract = fields.whole(), read_contract(fields)
    fields.skip(1)  # includeExpired
    end, size, duration = fields.text(), fields.text(), fields.text()
    fields.skip(1)  # useRTH: all hours are regular ones
    kind, format_date = fields.text(), fields.whole(1)
    if contract.sec_type == "BAG":
        raise ProtocolError("combinations are not served")
    return Asked(req_id, contract, end, size, duration, kind, format_date, fields.truth())


def duration_s(text: str) -> int:
    """Return a duration in seconds: `3600 S`, `2 D`, `1 W`, `1 M`, `1 Y`. Raises Invalid."""
    count, _, unit = text.partition(" ")
    if unit not in UNITS_S or not count.isascii() or not count.isdigit() or not 0 < int(count) * UNITS_S[unit] <= LONGEST_D * DAY_S:
        raise Invalid(321, "Error validating request.-'bL' : cause - Historical data duration: integer{SPACE}unit (S|D|W|M|Y), a year at most")
    return int(count) * UNITS_S[unit]


def end_of(text: str, now_ns: int) -> int:
    """Return the end that a request names, UTC ns: now for "", `yyyymmdd hh:mm:ss zone`, without a zone UTC, `yyyymmdd-hh:mm:ss` UTC.

    Raises Invalid.
    """
    if not text:
        return now_ns
    day, _, rest = text.replace("-", " ", 1).partition(" ")
    time, _, zone = rest.strip().partition(" ")
    try:
        moment = datetime.strptime(f"{day} {time}", "%Y%m%d %H:%M:%S").replace(tzinfo=ZoneInfo(zone) if zone else UTC)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        raise Invalid(10314, BAD_END) from None
    return int(moment.timestamp()) * _S


def _check(asked: Asked) -> None:
    if asked.size not in SIZES:
        raise Invalid(321, f"Error validating request.-'bL' : cause - Historical data bar size setting is invalid. Legal ones are: {', '.join(SIZES)}")
    if asked.kind not in KINDS:
        raise Invalid(321, f"Error validating request.-'bL' : cause - Please enter a valid historical data type: {', '.join(KINDS)}")
    if asked.format_date not in (1, 2):
        raise Invalid(321, "Error validating request.-'bL' : cause - Date format must be 1 or 2")
    if asked.updates:
        raise Invalid(321, "Error validating request.-'bL' : cause - Bars that are kept up to date are not served")


def _stamp(ns: int, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(ns // _S, zone):%Y%m%d %H:%M:%S} {zone.key}"


def _prices(bar: Bar, kind: str, tick: float) -> list[object]:
    """Return open, high, low, close, volume, average and count of a bar; -1 where a kind has none."""
    if kind == "BID_ASK":
        return [bar.bid, bar.ask_high, bar.bid_low, bar.ask, -1, -1, -1]
    if kind == "MIDPOINT":
        return [bar.open, bar.high, bar.low, bar.close, -1, -1, -1]
    prices = [round(round(price / tick) * tick, 9) for price in (bar.open, bar.high, bar.low, bar.close)]
    return [*prices, bar.volume, prices[3], bar.trades]
