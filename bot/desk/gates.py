"""What stands before a live stage: what does not exist yet, and the account id that a person types."""

from __future__ import annotations

from collections.abc import Sequence

from bot.desk.fence import Stage
from bot.model.errors import VenueError
from bot.venues.finding import Finding

MISSING: dict[Stage, tuple[str, ...]] = {
    Stage.SMALL: ("a guardian process that acts when the desk cannot", "a kill drill passed within the last 7 days", "every risk rule of the design"),
    Stage.FULL: ("the stage small, passed day by day", "a guardian process that acts when the desk cannot", "a kill drill passed within the last 7 days",
                 "every risk rule of the design"),
}  # fmt: skip
"""Gates that nothing can pass yet, by stage."""


def closed(stage: Stage) -> str:
    """Return why a stage is refused outright, "" when it is open."""
    missing = MISSING.get(stage, ())
    return f"stage {stage.value} is closed; it waits for what does not exist yet: {', '.join(missing)}" if missing else ""


def typed(account: str, given: str) -> bool:
    """Return whether what a person typed is the account, letter by letter."""
    return bool(account) and given == account


def demand_green(findings: Sequence[Finding]) -> None:
    """Raise VenueError naming every finding that is not well, with its fix."""
    bad = [f for f in findings if not f.ok]
    if bad:
        raise VenueError("; ".join(f"{f.name}: {f.found} ({f.fix})" for f in bad))
