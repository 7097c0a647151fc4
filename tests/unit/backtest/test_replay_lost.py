"""What replay compares when inputs are lost, and what it must go on calling a mismatch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bot.backtest.replay import Replayed, decisions_from_tape
from bot.engine.obligations import Obligations, fresh
from bot.engine.step import Step
from bot.journal.tape import Gap
from bot.model import event as ev

DECIDES = 10
"""The engine below decides something at every timer whose time divides by this."""
Rows = list[tuple[int, int, ev.Event]]


class Scripted:
    """An engine whose decisions are known beforehand."""

    terms: dict[str, Any] = {}

    def __init__(self, ob: Obligations) -> None:
        self.ob = ob

    def step(self, event: ev.Event) -> Step:
        """Alert at the instants agreed on."""
        return Step((alert(event.ts),)) if isinstance(event, ev.Timer) and event.ts % DECIDES == 0 else Step()


def alert(ts: int) -> ev.Alert:
    """Return what the engine decides."""
    return ev.Alert(ts=ts, severity=ev.Severity.INFO, code="x", text="y")


def started(seq: int, run: int) -> tuple[int, int, ev.Event]:
    """Return the row of a start."""
    return seq, 0, ev.RunStarted(ts=seq, run=run, mode="P", cash={}, kill_level=ev.KillLevel.NONE)


def decided(seq: int) -> Rows:
    """Return the rows of a timer that decided."""
    return [(seq, 0, ev.Timer(seq)), (seq, 1, alert(seq))]


class Tape:
    """Timers with these seqs; a gap is found when the reader gets to it."""

    def __init__(self, *parts: range | Gap) -> None:
        self.parts = parts
        self.gaps: list[Gap] = []

    def __iter__(self) -> Iterator[tuple[int, ev.Observation]]:
        self.gaps = []
        for part in self.parts:
            if isinstance(part, Gap):
                self.gaps.append(part)
            else:
                yield from ((seq, ev.Timer(seq)) for seq in part)


def replayed(rows: Rows, tape: Tape) -> Replayed:
    """Replay on the scripted engine."""
    found = Replayed()
    decisions_from_tape(rows, tape, fresh(1, "P", (), ()), lambda ob, at: Scripted(ob), found)  # type: ignore[arg-type, return-value]
    return found


def test_nothing_is_lost() -> None:
    """A record that is whole proves, and one without a decision that should be there does not."""
    whole = [started(1, 1), *decided(10), started(15, 2), *decided(20)]
    found = replayed(whole, Tape(range(2, 15), range(16, 25)))
    assert found.mismatches == 0 and found.unverifiable == [] and found.decisions == 2
    assert replayed([started(1, 1), started(15, 2), *decided(20)], Tape(range(2, 15), range(16, 25))).first_mismatch is not None


@pytest.mark.parametrize("behind", [Gap(13, 14), Gap(13, 12)])
def test_a_decision_that_never_became_durable_is_no_mismatch(behind: Gap) -> None:
    """The tape of a killed process reaches farther than its journal; whether it was killed, the tape's broken end says."""
    rows = [started(1, 1), started(15, 2), *decided(20)]
    found = replayed(rows, Tape(range(2, 13), behind, range(16, 25)))
    assert found.mismatches == 0 and "unverifiable 2..12" in found.unverifiable and found.decisions == 2
    last = replayed([started(1, 1)], Tape(range(2, 13), Gap(13, None)))
    assert last.mismatches == 0 and "unverifiable 2..12" in last.unverifiable


def test_one_that_ended_in_order_has_no_such_excuse() -> None:
    """At the end of the last process and of one before."""
    assert replayed([started(1, 1)], Tape(range(2, 13))).first_mismatch is not None
    found = replayed([started(1, 1), started(15, 2)], Tape(range(2, 13), range(16, 25), Gap(25, None)))
    assert found.first_mismatch is not None and found.first_mismatch.seq == 10


def test_a_decision_missing_before_later_rows_is_a_mismatch() -> None:
    """A journal has no holes but at the end of a process that died."""
    rows = [started(1, 1), *decided(20), started(25, 2)]
    found = replayed(rows, Tape(range(2, 22), Gap(22, 24), range(26, 30)))
    assert found.first_mismatch is not None and found.first_mismatch.seq == 10


def test_a_gap_over_a_whole_process_is_not_compared_with_the_next_ones_tape() -> None:
    """The second process left nothing on tape: its rows are folded, and proof begins again with the third."""
    rows = [started(1, 1), *decided(10), started(15, 2), *decided(20), started(25, 3), *decided(30)]
    found = replayed(rows, Tape(range(2, 13), Gap(13, 24), range(26, 35)))
    assert found.mismatches == 0 and found.unverifiable == ["unverifiable 13..24"] and found.decisions == 2


def test_steps_kept_by_the_emergency_file_alone_are_named() -> None:
    """Of steps 11 to 12 only an intent is there: what led to it is lost, and nothing is claimed until the next start."""
    rows = [started(1, 1), *decided(10), (12, 0, ev.BooksRead(ts=12, books=())), started(25, 2), *decided(30)]
    found = replayed(rows, Tape(range(2, 22), range(26, 35)))
    assert found.mismatches == 0 and found.unverifiable == ["unverifiable 11..12"] and found.decisions == 1
