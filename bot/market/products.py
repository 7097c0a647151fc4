"""CME crypto products as the calendar sees them: which week they trade, since when, how they expire and which months are listed.

Every fact says how well it is known (V, S or U as in bot.market.holidays), because a desk may be careful only about what
it knows to be doubtful. Money terms (unit, tick, fee, margin) are configuration; what decides a date or an hour is here,
beside the calendar that needs it. Products whose code the exchange has not shown us carry a code of ours (ADA-MICRO).
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

import msgspec

from bot.market.holidays import ALL_WEEK_DAY


class Fixing(StrEnum):
    """Whose afternoon the settlement index is computed in: 15:00-16:00 there, and trading ends at 16:00 there."""

    LONDON = "London"
    NEW_YORK = "New York"


class Cycle(StrEnum):
    """Which contracts are listed on a trade date, counted from the nearest that has not expired."""

    TWO_DECEMBERS = "6 consecutive months and the nearest 2 Decembers"
    QUARTERLIES = "6 consecutive months, 4 quarterlies after them, and the nearest 2 Decembers"
    FRIDAYS = "weekly Fridays, each listed on Thursday 17:00 Chicago fifteen days before it expires"
    JUNE = "the nearest June"


class Fact(msgspec.Struct, frozen=True):
    """How well something is known. status: V, S or U. source: where and when it was read."""

    status: str
    source: str


FACTS = ("first_day", "fixing", "listing")
"""Names of what a product's facts speak about; listing includes the rule of its last trading day."""


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """Calendar facts of one product. first_day: first trade date; trading began 17:00 Chicago on the evening before.

    week_ended: Friday on which its five-day week ended, date.max while it keeps it (spot-quoted). settles: whether its daily
    settlement is known to belong to 15:00 Chicago. facts: how well each of FACTS is known.
    """

    code: str
    first_day: date
    fixing: Fixing
    cycle: Cycle
    week_ended: date = ALL_WEEK_DAY
    settles: bool = True
    facts: dict[str, Fact]

    @property
    def spot_quoted(self) -> bool:
        """Whether it keeps the five-day week and is quoted at spot with a daily financing adjustment."""
        return self.week_ended == date.max


_READ = ", read 2026-11"
_SPEC = Fact("V", "CME contract specifications" + _READ)
_BY_ANALOGY = Fact("U", "by analogy with BTC, no source" + _READ)
_XRP_LIKE = Fact("U", "by analogy with XRP, no source" + _READ)
_XRP = Fact("V", "CME XRP product page" + _READ + "; its wording of the last trading day is either country open")
_FRR = Fact("V", "table of CME CF reference rates" + _READ)
_SQF = Fact("V", "CME FAQ on spot-quoted futures and its article on capital-efficient exposure" + _READ)
_ANNUAL = Fact("U", "first expiry June 2026 [V, CME FAQ]; that later ones are Junes and follow the monthly rule has no source, 2026-11")
_MEMORY = Fact("U", "from memory, no source" + _READ)
_ALT = Fact("S", "press on the announcement of 2026-01-15 and the launch of 2026-02-09" + _READ)
_PRESS_NY = Fact("S", "one press report names the New York variant" + _READ)
_UNKNOWN_HOUR = Fact("U", "not stated anywhere read; London assumed, 2026-11")
_MAY = Fact("S", "CME press release of 2026-05-06 on first trades, as public repositories cite it; the day itself may be earlier" + _READ)


def _row(
    code: str, first_day: str, cycle: Cycle, facts: tuple[Fact, Fact, Fact], fixing: Fixing = Fixing.LONDON,
    week_ended: date = ALL_WEEK_DAY, settles: bool = True,
) -> Product:
    """Build a row; facts: of the first day, of the fixing, of the listing and expiry rule."""
    named = dict(zip(FACTS, facts, strict=True))
    return Product(
        code=code, first_day=date.fromisoformat(first_day), cycle=cycle, fixing=fixing, week_ended=week_ended, settles=settles, facts=named
    )  # fmt: skip


def _spot(code: str, first_day: str, first: Fact) -> Product:
    return _row(code, first_day, Cycle.JUNE, (first, _SQF, _ANNUAL), week_ended=date.max, settles=False)


_BFF = Fact("V", "CME article on Bitcoin Friday futures" + _READ)
_BFF_RULE = Fact("S", "nearest Friday and the next two: CME article [V]; a Friday shut in London or the US moves to the business day before: "
                 "a public repository quoting CME" + _READ)  # fmt: skip

_AS_BTC, _AS_XRP = Cycle.TWO_DECEMBERS, Cycle.QUARTERLIES
_ANNOUNCED = Fact("S", "press on the announcement" + _READ)
_JULY = Fact("V", "CME crypto report of July 2025" + _READ)
_NOVEMBER = Fact("S", "press on CME's report of 2025-11-14" + _READ)
_ROWS = (
    _row("BTC", "2017-12-18", _AS_BTC, (Fact("V", "daily BTC file: first session 2017-12-17" + _READ), _SPEC, _SPEC)),
    _row("MBT", "2021-05-03", _AS_BTC, (_MEMORY, _SPEC, Fact("V", "Interactive Brokers page on CME micro bitcoin" + _READ))),
    _row("ETH", "2021-02-08", _AS_BTC, (Fact("S", "daily ETH file: sessions from 2021-02-07, after a stub of one price on 02-04" + _READ), _FRR, _BY_ANALOGY)),
    _row("MET", "2021-12-06", _AS_BTC, (_MEMORY, _FRR, _BY_ANALOGY)),
    *(_row(code, "2025-03-17", _AS_XRP, (_ANNOUNCED, _FRR, _XRP_LIKE)) for code in ("SOL", "MSL")),
    *(_row(code, "2025-05-19", _AS_XRP, (_MEMORY, _FRR, _XRP)) for code in ("XRP", "MXP")),
    _row("BFF", "2024-09-30", Cycle.FRIDAYS, (Fact("S", "press release of 2024-08-27 as reprinted" + _READ), _BFF, _BFF_RULE), Fixing.NEW_YORK),
    _spot("QBTC", "2025-06-30", _JULY), _spot("QETH", "2025-06-30", _JULY), _spot("QSOL", "2025-12-15", _NOVEMBER), _spot("QXRP", "2025-12-15", _NOVEMBER),
    *(_row(code, "2026-02-09", _AS_XRP, (_ALT, _PRESS_NY, _XRP_LIKE), Fixing.NEW_YORK) for code in ("ADA", "ADA-MICRO")),
    *(_row(code, "2026-02-09", _AS_XRP, (_ALT, _UNKNOWN_HOUR, _XRP_LIKE)) for code in ("LINK", "LINK-MICRO", "XLM", "XLM-MICRO")),
    *(_row(code, "2026-05-06", _AS_XRP, (_MAY, _UNKNOWN_HOUR, _XRP_LIKE)) for code in ("AVAX", "AVAX-MICRO", "SUI", "SUI-MICRO")),
)  # fmt: skip

PRODUCTS: dict[str, Product] = {row.code: row for row in _ROWS}
"""Every product the calendar knows, by code."""


def product(code: str) -> Product:
    """Return the calendar facts of a product. Raises ValueError naming the known ones.

    >>> product("QBTC").spot_quoted, product("BFF").fixing.value
    (True, 'New York')
    """
    if code not in PRODUCTS:
        raise ValueError(f"no CME calendar for product {code!r}; known are {', '.join(sorted(PRODUCTS))}")
    return PRODUCTS[code]
