"""The order table: total over states and triggers, and an order that is done stays done."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bot.model.order import TRANSITIONS, Order, OrderSpec, OrderStatus, Outcome, Purpose, Side, TimeInForce, Trigger, advance, book_fill, end

S, T = OrderStatus, Trigger
REFUSED = {
    (S.SENT, T.ABSENT): "absence needs a question first, and a question means UNKNOWN",
    (S.WORKING, T.ABSENT): "the venue has acknowledged it",
    (S.CLOSING, T.ABSENT): "the venue has reported its end",
    (S.WORKING, T.DENIED): "it left",
    (S.UNKNOWN, T.DENIED): "it may have left",
    (S.CLOSING, T.DENIED): "it left",
    (S.DONE, T.DENIED): "it is over",
}
"""Every pair that the table leaves out, with the reason. Silence (NO_ANSWER) is never an end: no row of it leads to DONE."""


def order(qty: str = "10") -> Order:
    """Return a new record."""
    spec = OrderSpec(client_id="P00001L00000001", pair="conv", venue="cme", instrument="MBTX26", side=Side.BUY, qty=Decimal(qty),
                     limit=Decimal(70_000), tif=TimeInForce.IOC, purpose=Purpose.LEAD)  # fmt: skip
    return Order(spec=spec, sent_ns=1)


@pytest.mark.parametrize("status", list(S))
@pytest.mark.parametrize("trigger", list(T))
def test_total(status: OrderStatus, trigger: Trigger) -> None:
    """A pair is in the table, or it raises by name and leaves the order as it was; which of the two is written down here."""
    record = order()
    record.status = status
    if (status, trigger) in REFUSED:
        with pytest.raises(ValueError, match=rf"P00001L00000001: no transition from {status} on {trigger}"):
            advance(record, trigger)
        assert record.status is status
    else:
        advance(record, trigger)
        assert record.status is TRANSITIONS[status, trigger]


@pytest.mark.parametrize("trigger", [t for t in T if (S.DONE, t) in TRANSITIONS])
def test_done_is_absorbing(trigger: Trigger) -> None:
    """Whatever arrives after the end is booked elsewhere; the state stays."""
    assert TRANSITIONS[S.DONE, trigger] is S.DONE


@pytest.mark.parametrize("status", [s for s in S if s is not S.DONE])
def test_silence_never_ends_an_order(status: OrderStatus) -> None:
    """A timeout is not a reject: no answer leads to UNKNOWN, or waits on for the fills an end has promised."""
    assert TRANSITIONS[status, T.NO_ANSWER] is (S.CLOSING if status is S.CLOSING else S.UNKNOWN)


def test_only_venue_evidence_ends_unknown() -> None:
    """UNKNOWN leaves by an acknowledgement, an end, complete fills or proven absence, and by nothing of our own."""
    left = {t for t in T if (S.UNKNOWN, t) in TRANSITIONS and TRANSITIONS[S.UNKNOWN, t] is not S.UNKNOWN}
    assert left == {T.ACK, T.FILLED, T.ENDED, T.ENDED_SHORT, T.ABSENT}


def test_end_waits_for_the_fills_it_counts() -> None:
    """An end that reports more than has been booked closes nothing until deduplicated fills reach its count."""
    record = order()
    end(record, Outcome.CANCELLED, Decimal(4), "ioc")
    assert record.status is S.CLOSING and record.live and record.leaves == 4
    book_fill(record, Decimal(3))
    assert record.status is S.CLOSING and record.leaves == 1
    book_fill(record, Decimal(1))
    assert record.status is S.DONE and record.outcome is Outcome.CANCELLED and record.leaves == 0


def test_leaves_are_the_worst_case() -> None:
    """All that was asked may still fill until the venue reports less; unknown counts whole; over-fills leave nothing."""
    record = order()
    assert record.leaves == 10
    advance(record, T.NO_ANSWER)
    assert record.leaves == 10
    book_fill(record, Decimal(4))
    assert record.status is S.UNKNOWN and record.leaves == 6
    book_fill(record, Decimal(8))
    assert record.status is S.DONE and record.filled == 12 and record.leaves == 0


def test_rejected_and_empty_ends_at_once() -> None:
    """An end without fills is an end, and the first one told stands."""
    record = order()
    end(record, Outcome.REJECTED, Decimal(0), "no margin")
    assert record.status is S.DONE and record.outcome is Outcome.REJECTED and record.reason == "no margin"
    end(record, Outcome.CANCELLED, Decimal(0), "again")
    assert record.outcome is Outcome.REJECTED
