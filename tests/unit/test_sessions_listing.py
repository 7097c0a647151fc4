"""What the `sessions` verb prints for products and contracts: sessions without a gap, and what expires meanwhile."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest

from bot.desk.sessions import expiries, listing
from bot.market.calendar import END_NS, START_NS
from bot.market.products import PRODUCTS


def ns(text: str) -> int:
    """Return UTC ns of an ISO time; a bare date is midnight UTC."""
    return int(datetime.fromisoformat(text + ("T00:00:00+00:00" if len(text) == 10 else "")).timestamp()) * 1_000_000_000


def ends(symbol: str, start: str, end: str) -> list[tuple[str, str]]:
    """Contract and last trading day of what expires in a time."""
    return [(e["contract"], e["last_trading_day"]) for e in expiries(symbol, ns(start), ns(end))]


@pytest.mark.parametrize("symbol", [*PRODUCTS, "MBTX26", "BFFX2627", "QBTCM27", "ADA-MICROX26"])
def test_rows_cover_what_was_asked_and_say_why_they_are_closed(symbol: str) -> None:
    """Half-open, contiguous, a reason wherever it is not open, over a holiday week and over both ends of the calendar."""
    for start, end in ((ns("2026-11-20"), ns("2026-12-02")), (START_NS - 10**12, START_NS + 10**12), (END_NS - 10**12, END_NS + 10**12)):
        rows = listing(symbol, start, end)
        assert all(a["to"] == b["from"] for a, b in pairwise(rows))
        assert all((r["state"] == "open") == (r["reason"] == "") for r in rows), rows


def test_a_weekly_trades_between_its_listing_and_its_expiry() -> None:
    """Closed as not listed before Thursday 23:00Z, as expired from 16:00 New York of its Friday."""
    rows = listing("BFFX2620", ns("2026-11-04"), ns("2026-11-22"))
    assert (rows[0]["reason"], rows[0]["to"]) == ("not listed", "2026-11-05T23:00:00Z")
    assert (rows[-1]["reason"], rows[-1]["from"]) == ("expired", "2026-11-20T21:00:00Z")
    only = listing("BFFX2620", ns("2026-10-01"), ns("2026-10-02"))
    assert [(r["state"], r["reason"]) for r in only] == [("closed", "not listed")]


def test_expiries_of_next_year() -> None:
    """Each published last trading day of the coming year, in order, of a monthly; Fridays of a weekly; the June of a spot-quoted."""
    days = ["2026-11-27", "2026-12-24", "2027-01-29", "2027-02-26", "2027-03-25", "2027-04-30", "2027-05-28", "2027-06-25"]
    assert [day for _, day in ends("MBT", "2026-11-01", "2027-07-01")] == days
    assert ends("BFF", "2026-12-14", "2027-01-03") == [("BFFZ2618", "2026-12-18"), ("BFFZ2625", "2026-12-24"), ("BFFF2701", "2026-12-31")]
    assert ends("QBTC", "2026-05-01", "2027-12-01") == [("QBTCM26", "2026-06-26"), ("QBTCM27", "2027-06-25")]
    assert ends("MBTX26", "2026-11-27", "2026-11-28") == [("MBTX26", "2026-11-27")] and ends("MBTX26", "2026-11-28", "2026-11-29") == []


def test_expiries_are_half_open_and_show_the_dispute() -> None:
    """The end of the time is not in it; December 2025 shows both wordings' days; the fixing is the hour before the end."""
    assert expiries("MBT", ns("2026-11-27"), ns("2026-11-27T16:00:00+00:00")) == []
    (row,) = expiries("MBT", ns("2025-12-20"), ns("2025-12-31"))
    assert (row["last_trading_day"], row["disputed"], row["status"]) == ("2025-12-24", "2025-12-26", "V")
    assert (row["fixing_from"], row["fixing_to"], row["fixing_in"]) == ("2025-12-24T15:00:00Z", row["expires"], "London")
    (weekly,) = expiries("BFFX2627", ns("2026-11-27"), ns("2026-11-28"))
    assert (weekly["expires"], weekly["fixing_in"], weekly["roll_from"]) == ("2026-11-27T21:00:00Z", "New York", "")


@pytest.mark.parametrize("symbol", ["QDOW", "QDOWM27", "mbt", "BFFX26", "BFFX2626"])
def test_unknown_symbols_are_errors_that_name_them(symbol: str) -> None:
    """Neither verb guesses a product, a week or a month."""
    for ask in (listing, expiries):
        with pytest.raises(ValueError, match=symbol[:3]):
            ask(symbol, ns("2026-11-20"), ns("2026-11-21"))
