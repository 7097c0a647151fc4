"""Why a desk is not reconciled: a closed list, so that whoever reads a record can count and judge without reading texts."""

from __future__ import annotations

from enum import StrEnum


class Unready(StrEnum):
    """Cause of openings being locked on both legs. none: they are not.

    interrupted: a venue was unreachable and has not agreed since; kill_level: it was set or lowered, and venues are asked anew;
    foreign_order: an order works there that is not ours; position: there and here differ; unallocated: a fill that no
    order of ours explains.
    """

    NONE = "none"
    INTERRUPTED = "interrupted"
    KILL_LEVEL = "kill_level"
    FOREIGN_ORDER = "foreign_order"
    POSITION = "position"
    UNALLOCATED = "unallocated"
