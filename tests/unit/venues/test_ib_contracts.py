"""Exactly one contract of the broker is an instrument, or none is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from bot.market.expiry import expiry_ns
from bot.model.instrument import Instrument, Kind
from bot.venues.ib_contracts import SYMBOLS, Contracts, choose, front, last_day, pin_of, rolls_on

S = 1_000_000_000


def future(year: int = 2026, month: int = 11, code: str = "X", product: str = "MBT", unit: str = "0.1") -> Instrument:
    return Instrument(
        id=f"{product}{code}{year % 100}", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal(unit), tick=Decimal(5), lot=Decimal(1), index_quote="USD",
        settle="USD", product=product, expiry_ns=expiry_ns(year, month),
    )  # fmt: skip


def row(con_id: int = 1, tick: float = 5.0, **changes: Any) -> Any:
    """Details as the client library has them."""
    terms = {
        "conId": con_id, "symbol": "MBT", "secType": "FUT", "tradingClass": "MBT", "multiplier": "0.1", "exchange": "CME", "currency": "USD",
        "lastTradeDateOrContractMonth": "20261127", "localSymbol": "MBTX6",
    }  # fmt: skip
    return SimpleNamespace(contract=SimpleNamespace(**{**terms, **changes}), minTick=tick, tradingHours="", timeZoneId="")


def test_the_one_that_fits_is_chosen_among_others_and_repetitions() -> None:
    good = row(7)
    others = [row(1, multiplier="5"), row(2, tradingClass="BTC"), row(3, lastTradeDateOrContractMonth="20261224"), row(4, exchange="SMART"), row(7)]
    details, why = choose(future(), [*others, good])
    assert details is not None and details.contract.conId == 7 and not why


@pytest.mark.parametrize(
    "change",
    [
        {"multiplier": "5"}, {"multiplier": ""}, {"tradingClass": "BTC"}, {"exchange": "CMECRYPTO"}, {"currency": "EUR"}, {"secType": "CONTFUT"},
        {"lastTradeDateOrContractMonth": "20261126"},
    ],
)  # fmt: skip
def test_one_wrong_term_and_there_is_none(change: dict[str, Any]) -> None:
    details, why = choose(future(), [row(1, **change)])
    assert details is None and why.startswith("0 contracts of the broker are MBTX26")


def test_two_that_fit_are_none() -> None:
    details, why = choose(future(), [row(1), row(2)])
    assert details is None and why.startswith("2 contracts")


def test_another_tick_is_another_contract() -> None:
    details, why = choose(future(), [row(1, tick=1.0)])
    assert details is None and "tick of 1.0" in why


def test_a_pin_changes_with_every_term_and_with_nothing_else() -> None:
    pins = {pin_of(row()), pin_of(row(2)), pin_of(row(tick=1.0)), pin_of(row(multiplier="5")), pin_of(row(symbol="BRR")),
            pin_of(row(lastTradeDateOrContractMonth="20261224"))}  # fmt: skip
    assert len(pins) == 6
    assert pin_of(row()) == pin_of(row(multiplier="0.10", localSymbol="other", lastTradeDateOrContractMonth="20261127 10:00:00 CT"))
    assert pin_of(row()).startswith("1:")


def test_symbols_are_the_brokers() -> None:
    assert SYMBOLS["BTC"] == ("BRR",) and SYMBOLS["ETH"] == ("ETHUSDRR",) and "BRR" in SYMBOLS["MBT"]
    assert last_day(future(2026, 12, "Z")) == "20261224"


def test_the_front_month_is_the_nearest_that_is_not_being_rolled() -> None:
    months = [future(2027, 1, "F"), future(), future(2026, 12, "Z")]

    def at(day: str) -> str | None:
        found = front(months, int(datetime.fromisoformat(day).replace(hour=18, tzinfo=UTC).timestamp()) * S)
        return None if found is None else found.id

    assert [at("2026-11-03"), at("2026-11-15"), at("2026-11-16"), at("2026-12-20"), at("2027-01-28")] == ["MBTX26", "MBTX26", "MBTZ26", "MBTF27", None]
    first = rolls_on(future())
    assert first is not None and first.isoformat() == "2026-11-16"


class Line:
    """A line that answers one question after another with what it was given."""

    def __init__(self, *answers: list[Any]) -> None:
        self.lib, self.answers = SimpleNamespace(Contract=lambda **terms: SimpleNamespace(**terms)), list(answers)

    def next_number(self) -> int:
        return 1

    async def ask(self, key: int, act: Any) -> list[Any]:
        return self.answers.pop(0)


def test_a_contract_stays_found_when_nothing_is_said_and_not_when_something_else_is() -> None:
    contracts, mbt = Contracts({"MBTX26": future()}, {}), "MBTX26"

    def resolved(*answers: list[Any]) -> tuple[list[str], bool]:
        return asyncio.run(contracts.resolve(Line(*answers))), mbt in contracts.found  # type: ignore[arg-type]

    why, found = resolved([], [])
    assert why and not found and contracts.unknown(0) and not contracts.unknown(future().expiry_ns or 0)
    assert resolved([row(7)], []) == ([], True) and contracts.by_number(7) is not None and not contracts.unknown(0)
    assert resolved([], []) == ([], True)
    why, found = resolved([row(8)], [])
    assert "its terms have changed" in why[0] and not found
    assert resolved([], [row(7)]) == ([], True)
    assert not resolved([row(7, tick=1.0)], [])[1]
