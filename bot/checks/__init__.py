"""Invariants of the desk, judged beside the loop from a second, independent record of what happened.

`Checks` is an observer that folds every journalled event again by its own few rules and compares: with the engine's record after
each step, and with the venues' own books when nothing is in flight. It decides nothing; a violation is one line naming
invariant, time and numbers. Quotes cost nothing, a step without orders about two microseconds, so it can stay on in paper.
docs/invariants.md says where each invariant is checked and after which events.
"""

from bot.checks.observer import Checks

__all__ = ["Checks"]
