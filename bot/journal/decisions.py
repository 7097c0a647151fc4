"""Why the desk did or did not trade: journal events folded into a short list of decisions. Pure.

A refused entry is judged again every second, so one row would become 86,000 a day that all say the same. Refusals of
one pair by one rule are one row with a count, its first and last time and the last numbers, until that pair is refused by
another rule or something else is decided about it. So are entries that the strategy itself declined for one reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import msgspec

from bot.model import event as ev
from bot.model.ids import PairId
from bot.model.intent import EntryDeclined


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One row. kind: target, refused, declined (by the strategy), stop, rearm, unwind or frozen; seq and n: the event it began with.

    observed and limit: what the rule saw and allows, in the rule's unit (last values of a collapsed row); of a target what
    risk let through and what the strategy asked for, in signed lots; None where a decision has no number. rule: the
    risk rule of a refusal or stop, the strategy's word for declining, "on" or "off" of unwind and frozen, else "". pair "": all. Times in UTC ns.
    """

    seq: int
    n: int
    ts: int
    last_ts: int
    pair: PairId
    kind: str
    rule: str = ""
    observed: Decimal | None = None
    limit: Decimal | None = None
    reason: str = ""
    count: int = 1


REPEATED = ("refused", "declined")


class Decisions:
    """The fold. `last`: newest row of each pair, which a repetition continues."""

    def __init__(self, last: Iterable[Decision] = ()) -> None:
        self._last = {row.pair: row for row in last}

    def fold(self, seq: int, n: int, event: ev.Event) -> Decision | None:
        """Return the row that `event` begins or continues, None if it is no decision."""
        read = _READ.get(type(event))
        if read is None:
            return None
        row = read(seq, n, event)
        before = self._last.get(row.pair)
        if before is not None and row.kind == before.kind and row.kind in REPEATED and row.rule == before.rule:
            row = msgspec.structs.replace(row, seq=before.seq, n=before.n, ts=before.ts, count=before.count + row.count)
        self._last[row.pair] = row
        return row


def _number(value: float) -> Decimal:
    """An observed float becomes the decimal it prints as."""
    return Decimal(repr(value))


def _target(seq: int, n: int, e: ev.TargetSet) -> Decision:
    return Decision(
        seq=seq, n=n, ts=e.ts, last_ts=e.ts, pair=e.pair, kind="target", observed=e.target_lead, limit=e.intent.target_lead,
        reason=e.intent.reason,
    )  # fmt: skip


def _refused(seq: int, n: int, e: ev.Refused) -> Decision:
    return Decision(
        seq=seq, n=n, ts=e.ts, last_ts=e.ts, pair=e.pair, kind="refused", rule=str(e.rule), observed=_number(e.observed),
        limit=_number(e.limit), count=e.count,
    )  # fmt: skip


def _declined(seq: int, n: int, e: EntryDeclined) -> Decision:
    return Decision(
        seq=seq, n=n, ts=e.ts, last_ts=e.ts, pair=e.pair, kind="declined", rule=e.why, observed=_number(e.observed), limit=_number(e.limit),
    )  # fmt: skip


def _stop(seq: int, n: int, e: ev.StopTripped) -> Decision:
    return Decision(
        seq=seq, n=n, ts=e.ts, last_ts=e.ts, pair=e.pair, kind="stop", rule=str(e.rule), observed=_number(e.observed),
        limit=_number(e.limit),
    )  # fmt: skip


def _rearm(seq: int, n: int, e: ev.Rearmed) -> Decision:
    return Decision(seq=seq, n=n, ts=e.ts, last_ts=e.ts, pair=e.pair, kind="rearm")


def _unwind(seq: int, n: int, e: ev.UnwindSet) -> Decision:
    return Decision(seq=seq, n=n, ts=e.ts, last_ts=e.ts, pair=e.pair, kind="unwind", rule="on" if e.on else "off", reason=e.reason)


def _frozen(seq: int, n: int, e: ev.Frozen) -> Decision:
    return Decision(seq=seq, n=n, ts=e.ts, last_ts=e.ts, pair=e.pair, kind="frozen", rule="on" if e.on else "off", reason=e.reason)


def _journal_failed(seq: int, n: int, e: ev.CommitFailed) -> Decision:
    return Decision(seq=seq, n=n, ts=e.ts, last_ts=e.ts, pair="", kind="frozen", rule="on", reason=f"journal: {e.reason}")


_READ: dict[type, Callable[[int, int, Any], Decision]] = {
    ev.TargetSet: _target,
    ev.Refused: _refused,
    EntryDeclined: _declined,
    ev.StopTripped: _stop,
    ev.Rearmed: _rearm,
    ev.UnwindSet: _unwind,
    ev.Frozen: _frozen,
    ev.CommitFailed: _journal_failed,
}
