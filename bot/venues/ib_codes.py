"""What each of the broker's message codes means for us: one reaction per code (broker's page of message codes, read 2026-11).

A code is never a fact about an order. The client library marks an order cancelled on any code that names it; here a code
that concerns an order is a hint, and what became of the order is then asked.
"""

from __future__ import annotations

from enum import StrEnum


class Reaction(StrEnum):
    """What a code makes us do."""

    NOTE = "write it down"
    LINK_LOST = "the broker is not reached: the venue is down"
    LINK_BACK = "the broker is reached again: ask for everything, then the venue is up"
    LINK_BACK_BARE = "the broker is reached again without our subscriptions: subscribe, ask for everything, then the venue is up"
    RECONNECT = "this connection is of no more use: build a new one"
    ID_TAKEN = "another session has our client id: a person must end one of the two"
    DATA_PAUSED = "prices have stopped: none is passed on until they are live again"
    DATA_BACK = "prices flow again"
    NO_DATA = "no live prices of this contract: none is passed on, a person must look"
    DEPTH_RESET = "the depth of a book begins anew from nothing"
    DEPTH_HALTED = "the depth of a book moves no more: forget it and ask anew"
    CHECK = "something happened to an order: ask what"
    REFUSED = "the gateway did not take an order, or not a cancel: ask whether it exists; an order that never appeared is rejected"
    TELL = "the order lives; a person should know"
    TOO_FAST = "a message was thrown away: send nothing for a second"
    FAIL_REQUEST = "a question has no answer: it fails"
    UNKNOWN = "a code we have no reaction for: a person should know; if it names an order, ask what became of it"


_R = Reaction
CODES: dict[int, Reaction] = {
    # The line between gateway and broker.
    1100: _R.LINK_LOST, 2110: _R.LINK_LOST, 1101: _R.LINK_BACK_BARE, 1102: _R.LINK_BACK,
    # The line between us and the gateway.
    1300: _R.RECONNECT, 502: _R.RECONNECT, 504: _R.RECONNECT, 507: _R.RECONNECT, 326: _R.ID_TAKEN, 100: _R.TOO_FAST,
    # Farms that serve prices and history.
    2103: _R.DATA_PAUSED, 2104: _R.DATA_BACK, 2105: _R.NOTE, 2106: _R.NOTE, 2107: _R.NOTE, 2108: _R.NOTE, 2119: _R.NOTE, 2158: _R.NOTE,
    # Market data of one request.
    354: _R.NO_DATA, 10089: _R.NO_DATA, 10167: _R.NO_DATA, 10168: _R.NO_DATA, 10186: _R.NO_DATA, 10197: _R.NO_DATA,
    300: _R.NOTE, 309: _R.FAIL_REQUEST, 310: _R.NOTE, 316: _R.DEPTH_HALTED, 317: _R.DEPTH_RESET, 322: _R.FAIL_REQUEST, 10092: _R.FAIL_REQUEST,
    # Questions.
    162: _R.FAIL_REQUEST, 165: _R.NOTE, 200: _R.REFUSED, 320: _R.UNKNOWN, 321: _R.REFUSED, 366: _R.FAIL_REQUEST,
    # Orders: what became of them is asked.
    201: _R.REFUSED, 202: _R.CHECK, 161: _R.CHECK, 10147: _R.CHECK, 10148: _R.CHECK, 104: _R.CHECK, 105: _R.CHECK, 10268: _R.REFUSED,
    103: _R.REFUSED, 110: _R.REFUSED, 203: _R.REFUSED, 387: _R.REFUSED, 434: _R.REFUSED, 463: _R.REFUSED, 10318: _R.REFUSED,
    # Notices about orders that live.
    399: _R.TELL, 404: _R.TELL, 2109: _R.NOTE, 10349: _R.TELL,
}  # fmt: skip
WARNINGS = range(2100, 2200)
"""Codes that the broker calls warnings; one we do not know is written down."""


def reaction(code: int) -> Reaction:
    """Return what a code makes us do.

    >>> reaction(1100).name, reaction(10148).name, reaction(2150).name, reaction(77_777).name
    ('LINK_LOST', 'CHECK', 'NOTE', 'UNKNOWN')
    """
    return CODES.get(code) or (_R.NOTE if code in WARNINGS else _R.UNKNOWN)
