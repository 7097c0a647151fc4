"""Which rows of the fault catalogue a day has really shown: what struck, not what was planned.

Faults of venues and feeds name their rows themselves (bot.sim.faults.ROWS). The others are recognised here by what happened.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bot.market.holidays import GAPS, HOLIDAYS, LONG_SATURDAYS, chicago_date
from bot.simulate.plan import CLOCK_CHANGES, DAY_NS, Plan

if TYPE_CHECKING:
    from bot.simulate.day import Day

JOURNAL_ROWS = {"late": ("F72", "F77"), "lost": ("F70",), "dead": ("F71",)}
"""A commit that lands unconfirmed after a stall; a database that refuses; a disk on which nothing can be written."""


def rows_hit(day: Day) -> dict[str, int]:
    """Return hits by row, in the catalogue's order.

    F59 a process died at a journalled step or between two events; F49 a later process minted ids; F70, F71, F72, F77 a commit
    failed that way; F81 the day holds a change of the clocks; F82 a dated closure; F91 a second kill, or one from before a start.
    """
    found = Counter[str]()
    for plan in day.plans.values():
        found.update(plan.rows_hit())
    counted = day.counted
    found["F59"] += counted["deaths"]
    found["F49"] += day.outlet.sends_reborn > 0
    if day.plan.commits is not None and day.store.journal.failed:
        for row in JOURNAL_ROWS[day.plan.commits.kind]:
            found[row] += 1
    found["F91"] += counted["second kills"] + counted["starts latched"]
    found["F81"] += clocks_change(day.plan)
    found["F82"] += dated_closure(day.plan)
    return in_order(found)


def in_order(hits: Counter[str]) -> dict[str, int]:
    """Return what was hit at all, by the number of the row."""
    return {row: hits[row] for row in sorted(hits, key=lambda r: int(r[1:])) if hits[row]}


def clocks_change(plan: Plan) -> bool:
    """Return whether clocks in London or Chicago change during the day."""
    return any(plan.start_ns <= at < plan.start_ns + DAY_NS for at in CLOCK_CHANGES)


def dated_closure(plan: Plan) -> bool:
    """Return whether the day meets a holiday, a halt or a longer Saturday, not only the ordinary week."""
    end = plan.start_ns + DAY_NS
    if any(gap.from_ns < end and gap.to_ns > plan.start_ns for gap in GAPS):
        return True
    days = {chicago_date(at) for at in range(plan.start_ns, end, DAY_NS // 24)}
    return any(day in HOLIDAYS or day in LONG_SATURDAYS for day in days)
