"""The shortest plan that still breaks the same invariant, by leaving out what is not needed for it (delta debugging)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from bot.simulate.plan import ORDINARILY, Plan
from bot.simulate.proof import run_plan

RUNS = 60
"""Days that shrinking one violation may cost."""

Part = tuple[str, int]
"""One thing that goes wrong: the plan's field and its place there."""


def invariant_of(violation: str) -> str:
    """Return which invariant a violation names, or its first words if it names none.

    >>> invariant_of("I9 at 2026-01-05T10:00:00Z: convergence: 1 coins unhedged"), invariant_of("stopped: KeyError")
    ('I9', 'stopped')
    """
    found = re.match(r"[IR]\d+", violation)
    return found.group(0) if found else violation.partition(":")[0]


def shrink(plan: Plan, invariant: str, runs: int = RUNS, run: Callable[[Plan], list[str]] | None = None) -> Plan:
    """Return a plan with as little of `plan` as still breaks `invariant`; at most `runs` days are run.

    run: returns the violations of a plan (tests).
    """
    left = runs

    def breaks(candidate: Plan) -> bool:
        nonlocal left
        left -= 1
        violations = run_plan(candidate).violations if run is None else run(candidate)
        return any(invariant_of(v) == invariant for v in violations)

    parts = _parts(plan)
    pieces = 2
    while parts and left > 0:
        size = -(-len(parts) // pieces)
        for first in range(0, len(parts), size):
            rest = parts[:first] + parts[first + size :]
            if left > 0 and breaks(_with(plan, rest)):
                parts, pieces = rest, max(2, pieces - 1)
                break
        else:
            if size == 1:
                break
            pieces = min(len(parts), 2 * pieces)
    plan = _with(plan, parts)
    for plainer in _plainer(plan):
        candidate = msgspec.structs.replace(plan, **plainer)
        if left > 0 and candidate != plan and breaks(candidate):
            plan = candidate
    return plan


def _parts(plan: Plan) -> list[Part]:
    listed = [(field, n) for field in ("faults", "kills", "deaths") for n in range(len(getattr(plan, field)))]
    return listed + ([("commits", 0)] if plan.commits is not None else [])


def _with(plan: Plan, parts: list[Part]) -> Plan:
    """Return the plan with these parts alone. The death that ends a stretch without a journal belongs to the stretch."""
    kept = {field: tuple(x for n, x in enumerate(getattr(plan, field)) if (field, n) in parts) for field in ("faults", "kills", "deaths")}
    commits = plan.commits if ("commits", 0) in parts else None
    ends = plan.commits.to_ns if plan.commits is not None and plan.commits.kind != "late" else -1
    kept["deaths"] = tuple(d for d in plan.deaths if (d.at_ns == ends and commits is not None) or (d in kept["deaths"] and d.at_ns != ends))
    return msgspec.structs.replace(plan, commits=commits, **kept)


def _plainer(plan: Plan) -> list[dict[str, Any]]:
    """Return changes that make a plan easier to read, the greatest first."""
    once = tuple(msgspec.structs.replace(f, count=1) for f in plan.faults)
    return [{"files": False}, {"feed": False}, {"passive": False}, {"scenario": ORDINARILY}, {"faults": once}]
