"""Identifiers. Client order ids are minted from journalled counters, so a replay mints the same ones."""

from __future__ import annotations

VenueId = str
InstrumentId = str
PairId = str
ClientId = str

CLIENT_ID_MAX = 32
"""Characters: the tightest venue limit (OKX clOrdId, 32; Binance newClientOrderId allows 36)."""


def client_id(mode: str, run: int, purpose: str, number: int) -> ClientId:
    """Return the id of one order: mode letter, run number, purpose letter, counter. Alphanumeric, <= 32 long.

    >>> client_id("P", 12, "H", 345)
    'P00012H00000345'
    """
    minted = f"{mode}{run:05d}{purpose}{number:08d}"
    if len(minted) > CLIENT_ID_MAX or not minted.isalnum():
        raise ValueError(f"client id {minted!r} is not 1..{CLIENT_ID_MAX} alphanumeric characters")
    return minted
