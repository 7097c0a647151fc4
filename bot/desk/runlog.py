"""The run log: one JSON line per event worth reading, in the run's folder, as a view of the journal.

Names are noun.verb_past and every line carries the bound keys (run_id, mode, seq, venue, instrument, pair_id, client_order_id)
as far as the event has them. Times are market time, so the same seed writes the same log. No fact is only here: the log may
be lost or deleted, and a disk that refuses it costs lines, counted in `lost`, never the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog

from bot.desk.feed import REFUSAL_EVERY
from bot.engine.step import Step
from bot.model import event as ev
from bot.model.ids import ClientId, PairId
from bot.model.notation import iso
from bot.model.order import OrderSpec, Outcome

NAME = "run.log"
_ENDS = {
    Outcome.FILLED: "order.completed", Outcome.CANCELLED: "order.cancelled", Outcome.EXPIRED: "order.expired",
    Outcome.REJECTED: "order.rejected", Outcome.DENIED: "order.denied", Outcome.ABSENT: "order.absent",
}  # fmt: skip
Said = tuple[str, dict[str, Any]]


class RunLog:
    """Observer of one runtime (bot.runtime.Observer) that writes `path`. lost: lines that the disk refused."""

    def __init__(self, path: Path, *, run_id: str, seq: Callable[[], int]) -> None:
        """Append to `path`. seq: number of the step being observed."""
        self.lost = 0
        self._seq = seq
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(self._file), processors=[structlog.processors.JSONRenderer(default=str)], wrapper_class=structlog.BoundLogger,
            run_id=run_id, mode=run_id.partition("-")[0],
        )  # fmt: skip
        self._orders: dict[ClientId, OrderSpec] = {}
        self._refused: dict[tuple[PairId, str], int] = {}

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Write one step: its trigger, then what was decided."""
        for happened in (event, *out.events):
            self._write(happened)

    def marked(self, now_ns: int) -> None:
        """Nothing to write."""

    def said(self, ts: int, name: str, keys: Mapping[str, Any]) -> None:
        """Write what an adapter has to say beside its events. ts: market time, UTC ns."""
        self._emit(ts, name, dict(keys))

    def broken(self, ts: int, violations: Iterable[str]) -> None:
        """Write each invariant that did not hold: the result counts them, this says which. ts: market time, UTC ns."""
        for what in violations:
            self._emit(ts, "invariant.broken", {"what": what})

    def stopped(self, ts: int, why: str) -> None:
        """Write the end of the run and close the file. ts: market time, UTC ns."""
        self._emit(ts, "run.stopped", {"reason": why})
        try:
            self._file.close()
        except OSError:
            self.lost += 1

    def _write(self, event: ev.Event) -> None:
        if isinstance(event, ev.OrderIntended):
            self._orders[event.order.client_id] = event.order
        if isinstance(event, ev.Refused) and self._repeats(event):
            return
        words = _WORDS.get(type(event))
        if words is not None:
            name, keys = words(event)
            self._emit(event.ts, name, self._bound(event) | keys)
        if isinstance(event, ev.OrderEnded | ev.AbsenceProven | ev.SendBlocked):
            self._orders.pop(event.client_id, None)

    def _bound(self, event: ev.Event) -> dict[str, Any]:
        """Return the keys that say what an event is about, from itself or from its order."""
        client_id = getattr(event, "client_id", "") or (event.order.client_id if isinstance(event, ev.OrderIntended) else "")
        spec = self._orders.get(client_id)
        found = {
            "venue": getattr(event, "venue", "") or (spec.venue if spec else ""),
            "instrument": getattr(event, "instrument", "") or (spec.instrument if spec else ""),
            "pair_id": getattr(event, "pair", "") or (spec.pair if spec else ""),
            "client_order_id": client_id,
        }
        return {key: value for key, value in found.items() if value}

    def _repeats(self, event: ev.Refused) -> bool:
        """Return whether the same rule refused the same pair within the last minute of market time."""
        last = self._refused.get((event.pair, event.rule))
        if last is not None and event.ts - last < REFUSAL_EVERY:
            return True
        self._refused[event.pair, event.rule] = event.ts
        return False

    def _emit(self, ts: int, name: str, keys: dict[str, Any]) -> None:
        try:
            self._log.msg(name, at=iso(ts), seq=self._seq(), **{k: _plain(v) for k, v in keys.items()})
        except (OSError, ValueError):  # a full disk, or a file that is closed already
            self.lost += 1


def _plain(value: Any) -> Any:
    """Return what JSON can say exactly: decimals as their text."""
    return str(value) if isinstance(value, Decimal) else value


def _started(e: ev.RunStarted) -> Said:
    return "run.started", {"run": e.run, "kill_level": e.kill_level.value}


def _target(e: ev.TargetSet) -> Said:
    return "intent.decided", {
        "target_lots": e.target_lead, "asked_lots": e.intent.target_lead, "reason": e.intent.reason, "z": e.intent.z, "edge_bp": e.intent.edge_bp,
    }


def _intended(e: ev.OrderIntended) -> Said:
    o = e.order
    return "order.submitted", {
        "side": o.side.value, "qty": o.qty, "limit_price": o.limit, "tif": o.tif.value, "purpose": o.purpose.name.lower(), "lead_mid": e.lead_mid,
        "hedge_mid": e.hedge_mid,
    }  # fmt: skip


def _filled(e: ev.OrderFilled) -> Said:
    return "order.filled", {
        "side": e.side.value, "qty": e.qty, "price": e.price, "fee": e.fee, "fee_currency": e.fee_currency, "exec_id": e.exec_id, "maker": e.maker,
        **({"reason": e.reason} if e.reason else {}),
    }


def _ended(e: ev.OrderEnded) -> Said:
    return _ENDS[e.outcome], {"cum_qty": e.cum_qty, **({"reason": e.reason} if e.reason else {})}


def _funding(e: ev.FundingPaid) -> Said:
    return "funding.paid", {"stamp": iso(e.stamp_ns), "rate": e.rate, "mark": e.mark, "qty": e.qty, "amount": e.amount, "currency": e.currency}


def _alert(e: ev.Alert) -> Said:
    return "alert.raised", {"severity": e.severity.value, "code": e.code, "text": e.text}


def _kill(e: ev.KillSet) -> Said:
    said = {"level": e.level.value, "kill_id": e.kill_id, "reason": e.reason, **({"evacuate": list(e.evacuate)} if e.evacuate else {})}
    return "halt.cleared" if e.level is ev.KillLevel.NONE else "halt.tripped", said


def _ready(e: ev.ReadySet) -> Said:
    return "reconcile.agreed" if e.ready else "reconcile.mismatch", {"cause": e.cause} | ({} if e.ready else {"kind": e.kind.value})


def _rule(name: str) -> Callable[[Any], Said]:
    return lambda e: (name, {"rule": e.rule, "observed": e.observed, "limit": e.limit})


_WORDS: dict[type, Callable[[Any], Said]] = {
    ev.RunStarted: _started,
    ev.TargetSet: _target,
    ev.Refused: _rule("intent.refused"),
    ev.StopTripped: _rule("stop.tripped"),
    ev.Rearmed: lambda e: ("stop.rearmed", {}),
    ev.OrderIntended: _intended,
    ev.CancelIntended: lambda e: ("order.cancel_requested", {"reason": e.reason}),
    ev.OrderAccepted: lambda e: ("order.acknowledged", {"venue_order_id": e.venue_order_id}),
    ev.OrderFilled: _filled,
    ev.OrderEnded: _ended,
    ev.NoAnswer: lambda e: ("order.unknown", {"reason": e.reason}),
    ev.AbsenceProven: lambda e: ("order.absent", {}),
    ev.SendBlocked: lambda e: ("order.blocked", {"reason": e.reason}),
    ev.FundingPaid: _funding,
    ev.CashBooked: lambda e: ("cash.booked", {"kind": e.kind, "amount": e.amount, "currency": e.currency, "ref": e.ref}),
    ev.VenueStatus: lambda e: ("venue.connected" if e.up else "venue.lost", {"reason": e.reason}),
    ev.QueryFailed: lambda e: ("venue.query_failed", {"reason": e.reason}),
    ev.ReadySet: _ready,
    ev.UnwindSet: lambda e: ("pair.imbalanced" if e.on else "pair.balanced", {"reason": e.reason}),
    ev.Frozen: lambda e: ("pair.frozen" if e.on else "pair.released", {"reason": e.reason}),
    ev.Allocated: lambda e: ("position.allocated", {"qty": e.qty, "price": e.price, "exec_id": e.exec_id}),
    ev.DayStarted: lambda e: ("day.started", {"trade_date": e.trade_date, "nav_usd": e.nav_usd}),
    ev.KillSet: _kill,
    ev.CommitFailed: lambda e: ("journal.failed", {"reason": e.reason}),
    ev.Alert: _alert,
}
