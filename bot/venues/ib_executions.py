"""Executions: each booked once, whatever TWS tells again, with its fee; corrected ones taken back and booked anew.

A fill is booked as soon as it is told, with the fee of the schedule, because the hedge waits for it. When the broker's
commission report differs, the difference is booked as cash, once per execution. Answers to questions repeat bookings as they
were, so that the engine, which knows a repetition, misses none.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from bot.model import event as ev
from bot.model.ids import CLIENT_ID_MAX, ClientId, VenueId
from bot.model.instrument import Instrument, to_decimal
from bot.model.order import Side
from bot.model.ports import Emit
from bot.venues.ib_contracts import Contracts

REVISED = re.compile(r"([0-9a-f]+\.[0-9a-f]+\.[0-9a-f]+)\.(\d\d)")
"""An execution id of the broker: three parts that name the execution, then the number of its revision."""
LIQUIDATION, BUST = "liquidation", "bust"
UNKNOWN = 1e300
"""Amounts beyond this are the protocol's way to say that there is none."""


class Executions:
    """Every execution of the day by its name without the revision."""

    def __init__(self, venue: VenueId, contracts: Contracts, clock: Callable[[], int], emit: Emit) -> None:
        self._venue = venue
        self._contracts = contracts
        self._clock = clock
        self._emit = emit
        self._booked: dict[str, tuple[int, ev.OrderFilled]] = {}
        self._told: list[ev.OrderFilled | ev.CashBooked] = []

    def repeat(self, since_ns: int) -> None:
        """Emit every booking since a UTC instant again."""
        first = bisect_left(self._told, since_ns, key=lambda event: event.ts)
        for event in self._told[first:]:
            self._emit(msgspec.structs.replace(event, ts=self._clock()))

    def repeat_of(self, client_id: ClientId) -> None:
        """Emit the fills of an order again."""
        for event in self._told:
            if isinstance(event, ev.OrderFilled) and event.client_id == client_id:
                self._emit(msgspec.structs.replace(event, ts=self._clock()))

    def book(self, event: ev.OrderFilled | ev.CashBooked) -> None:
        """Emit a booking, to be repeated when asked for."""
        self._told.append(event)
        self._emit(event)

    def first(self, contract: Any, execution: Any) -> ev.OrderFilled | None:
        """Return the fill of an execution that is told for the first time, to be booked; corrections are booked here."""
        instrument = self._contracts.by_number(contract.conId)
        if instrument is None:
            text = f"execution {execution.execId} of {contract.localSymbol or contract.conId}, which is not traded here"
            self._alert(ev.Severity.CRIT, "ib.foreign_execution", text)
            return None
        family, revision = _split(execution.execId)
        before = self._booked.get(family)
        if before is not None and before[0] >= revision:
            return None
        fill = self._fill(instrument, execution)
        self._booked[family] = revision, fill
        if before is not None:
            self._correct(before[1], fill)
            return None
        return fill

    def commission(self, report: Any) -> None:
        """Hear what an execution cost: what differs from the fee it was booked with is booked now."""
        family, revision = _split(report.execId)
        booked = self._booked.get(family)
        if booked is None or booked[0] != revision or report.commission > UNKNOWN:
            return
        fill, cost = booked[1], to_decimal(report.commission)
        if report.currency != fill.fee_currency:
            text = f"{report.execId} cost {cost} {report.currency}, booked {fill.fee} {fill.fee_currency}"
            self._alert(ev.Severity.CRIT, "ib.fee_currency", text)
        elif cost != fill.fee:
            self.book(ev.CashBooked(
                ts=self._clock(), venue=self._venue, kind="commission", amount=fill.fee - cost, currency=report.currency, ref=f"commission:{report.execId}",
            ))  # fmt: skip

    def _fill(self, instrument: Instrument, execution: Any) -> ev.OrderFilled:
        qty = whole(execution.shares)
        return ev.OrderFilled(
            ts=self._clock(), venue=self._venue, client_id=named(execution.orderRef), instrument=instrument.id, exec_id=execution.execId,
            side=Side.BUY if execution.side == "BOT" else Side.SELL, qty=qty, price=to_decimal(execution.price), fee=instrument.fees.per_contract * qty,
            fee_currency=instrument.settle, maker=execution.lastLiquidity == 1, reason=LIQUIDATION if execution.liquidation else "",
        )  # fmt: skip

    def _correct(self, before: ev.OrderFilled, after: ev.OrderFilled) -> None:
        """Book a corrected execution: the old one back, the new one instead, neither counted to the order, which knows its total."""
        side = Side.SELL if before.side is Side.BUY else Side.BUY
        back = msgspec.structs.replace(before, ts=after.ts, client_id="", exec_id=f"{before.exec_id}-{BUST}", side=side, fee=-before.fee, reason=BUST)
        self._alert(ev.Severity.WARN, "ib.execution_corrected", f"{before.exec_id}: {before.qty} at {before.price} is now {after.qty} at {after.price}")
        self.book(back)
        if after.qty:
            self.book(msgspec.structs.replace(after, client_id="", reason=BUST))

    def _alert(self, severity: ev.Severity, code: str, text: str) -> None:
        self._emit(ev.Alert(ts=self._clock(), severity=severity, code=code, text=text))


def named(ref: str) -> ClientId:
    """Return an order's reference if it can be one of our ids, else ""."""
    return ref if ref.isascii() and ref.isalnum() and len(ref) <= CLIENT_ID_MAX else ""


def whole(told: float) -> Decimal:
    """Return a number of contracts without the ".0" of its float."""
    exact = to_decimal(told)
    return Decimal(int(exact)) if exact == exact.to_integral_value() else exact


def _split(exec_id: str) -> tuple[str, int]:
    """Return the name of an execution and its revision; an id of another form is a name without revisions."""
    found = REVISED.fullmatch(exec_id)
    return (found[1], int(found[2])) if found else (exec_id, 0)
