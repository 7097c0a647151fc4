"""What an examination of a venue found: one line of `doctor`."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. found: what is there. fix: what to do about it, "" when all is well."""

    name: str
    ok: bool
    found: str
    fix: str = ""
