"""The TWS protocol byte by byte: messages built by hand from the layouts, and requests as the public clients write them."""

from __future__ import annotations

import msgspec
import pytest
from tws_rig import MBT, START, D

from bot.model.event import OrderFilled
from bot.model.order import Side
from bot.wire.tws_codec import ContractFields, Fields, Frames, OrderFields, ProtocolError, frame, read_contract, read_order, text
from bot.wire.tws_contracts import Row
from bot.wire.tws_history import Asked, read_request
from bot.wire.tws_layouts import Held, Told, commission, exec_details, order_status

MAX = "1.7976931348623157E308"
ROW = Row(
    instrument=MBT.id, root="MBT", con_id=708_015_661, symbol="MBT", expiry="20261127", expiry_ns=MBT.expiry_ns or 0, multiplier="0.1",
    local_symbol="MBTX6", tick=D(5),
)  # fmt: skip
CONTRACT = ContractFields(con_id=708_015_661, symbol="MBT", sec_type="FUT", expiry="20261127", strike="0.0", multiplier="0.1", exchange="CME",
                          currency="USD", local_symbol="MBTX6", trading_class="MBT")  # fmt: skip
ASKED = OrderFields(
    order_id=7, contract=CONTRACT, action="BUY", qty="3", order_type="LMT", limit=70_010.0, tif="DAY", account="DU7654321",
    order_ref="P00001L00000001", transmit=True, outside_rth=False, what_if=False,
)  # fmt: skip
HELD = Held(client=1, order_id=7, perm_id=1_100_000_001, asked=ASKED, row=ROW, qty=D(3), price=D(70_010), completed="Filled Size: 3", completed_ns=START)
FILL = OrderFilled(ts=START, venue="cme", instrument=MBT.id, client_id="P00001L00000001", exec_id="cme-e1", side=Side.BUY, qty=D(2), price=D(70_005),
                   fee=D("5.0"), fee_currency="USD", maker=False)  # fmt: skip
NAMED = "708015661|MBT|FUT|20261127|0|?|0.1|CME|USD|MBTX6|MBT"


def wire(fields: str) -> bytes:
    """Return the bytes of fields written with | for NUL: length, then the fields."""
    body = fields.replace("|", "\0").encode() + b"\0"
    return len(body).to_bytes(4, "big") + body


def same(made: list[object], fields: str) -> None:
    """Compare a message with fields written by hand, so that a difference shows its field."""
    assert frame(made)[4:].decode().split("\0")[:-1] == fields.split("|")
    assert frame(made) == wire(fields)


# Frames.


def test_a_frame_is_its_length_and_its_fields_each_with_a_nul() -> None:
    assert frame([15, 1, "DU1"]) == b"\x00\x00\x00\x0915\x001\x00DU1\x00"
    assert frame([]) == b"\x00\x00\x00\x00"
    assert frame(["é", None]) == b"\x00\x00\x00\x04\xc3\xa9\x00\x00"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, ""), (True, "1"), (False, "0"), (7, "7"), (70_010.0, "70010"), (0.1, "0.1"), (-1.0, "-1"), (1e300, "1e+300"), (D("0.10"), "0.1"),
        (D("1E+3"), "1000"), (D(0), "0"), (D("-0.00"), "0"), ("a b", "a b"),
    ],
)  # fmt: skip
def test_fields_are_text(value: object, told: str) -> None:
    assert text(value) == told


def test_messages_are_cut_wherever_the_stream_is() -> None:
    stream = wire("49|1") + wire("") + wire("4|1|7")
    for at in range(len(stream)):
        frames = Frames()
        assert [*frames.feed(stream[:at]), *frames.feed(stream[at:])] == [["49", "1"], [""], ["4", "1", "7"]]


def test_a_length_beyond_any_request_ends_the_conversation() -> None:
    assert Frames().feed(b"\x00\x10\x00\x00") == []
    with pytest.raises(ProtocolError):
        Frames().feed(b"\x00\x10\x00\x01")


@pytest.mark.parametrize(
    ("greeting", "spoken"),
    [(b"API\0\0\0\0\x09v157..178", (157, 178)), (b"API\0\0\0\0\x04v176", (176, 176)), (b"API\0\0\0\0\x0cv100..157 +x", (100, 157))],
)  # fmt: skip
def test_a_greeting_comes_in_any_number_of_pieces(greeting: bytes, spoken: tuple[int, int]) -> None:
    frames = Frames()
    assert [frames.handshake(greeting[n : n + 1]) for n in range(len(greeting))] == [None] * (len(greeting) - 1) + [spoken]


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n", b"API\0\0\0\1\1", b"API\0\0\0\0\4what", b"\x16\x03\x01\x02"])
def test_what_is_no_greeting(greeting: bytes) -> None:
    with pytest.raises(ProtocolError):
        Frames().handshake(greeting)


# What clients write.

HEAD = "708015661|MBT|FUT|20261127|0.0||0.1|CME||USD|MBTX6|MBT"
ORDER = f"7|{HEAD}|||BUY|3|LMT|70010.0||DAY||DU7654321|O|0|P00001L00000001|1|0|0|0|0|0|0|0||0.0|||||"
MIDDLE = "||0||-1|0|||0|||0|0||0||||||0|||||0|||||||||||0|||0|0|||{what_if}||0|0|0|0|||||||0|||||||||0|0|0|0"
PLAIN = {
    157: f"{ORDER}|{MIDDLE}",  # ib_insync 0.9.86 and ibapi 9.81.1.post1
    176: f"{ORDER}|{MIDDLE}|||0||",  # ib_insync 0.9.86
    178: f"{ORDER}{MIDDLE}|||0||",  # ib_async 2.1.0: no faProfile from 177 on
}
"""placeOrder without its number, by version, as the clients wrote it (2026-11)."""


@pytest.mark.parametrize("version", PLAIN)
def test_an_order_is_read_as_the_clients_write_it(version: int) -> None:
    for what_if in (False, True):
        fields = PLAIN[version].format(what_if=int(what_if)).split("|")
        assert read_order(Fields(fields), version) == msgspec.structs.replace(ASKED, what_if=what_if)


def test_an_order_with_every_optional_part_is_read_to_the_right_field() -> None:
    told = (
        f"9|{HEAD}|||SELL|3|LMT|70010.0||IOC|||O|0|R|1|0|0|0|0|0|0|0||0.0||||||||0||-1|0|||0|||0|0||0||||||0|||MKT||0|||||0|0||0||||||5.0||||0|||0||||"
        "D|1|0|||0|0|Adaptive|1|adaptivePriority|Normal||1||0|0|0|0|||||||0|||||||||0|0|0|0|||0||"
    )
    order = read_order(Fields(told.split("|")), 176)
    assert (order.action, order.tif, order.order_ref, order.what_if) == ("SELL", "IOC", "R", True)


@pytest.mark.parametrize("version", PLAIN)
def test_an_order_that_ends_too_early_is_an_error_wherever_it_ends(version: int) -> None:
    fields = PLAIN[version].format(what_if=1).split("|")
    needed = next(n for n in range(len(fields)) if _reads(fields[:n], version))
    assert fields[needed - 1] == "1" and needed == (84 if version >= 177 else 85)  # up to whatIf
    assert all(_reads(fields[:n], version) for n in range(needed, len(fields)))


def _reads(fields: list[str], version: int) -> bool:
    try:
        return read_order(Fields(fields), version) is not None
    except ProtocolError:
        return False


def test_a_combination_is_refused() -> None:
    with pytest.raises(ProtocolError):
        read_order(Fields(PLAIN[176].replace("FUT", "BAG").split("|")), 176)


def test_a_contract_and_a_request_for_bars() -> None:
    assert read_contract(Fields(HEAD.split("|"))) == CONTRACT
    told = f"10|{HEAD}|0|20261103 14:30:00 UTC|1 min|600 S|0|MIDPOINT|2|0|"
    assert read_request(Fields(told.split("|"))) == Asked(10, CONTRACT, "20261103 14:30:00 UTC", "1 min", "600 S", "MIDPOINT", 2, False)


@pytest.mark.parametrize(("field", "value"), [("", 5), ("7", 7), ("7.0", 7), ("-3", -3)])
def test_a_whole_number(field: str, value: int) -> None:
    assert Fields([field]).whole(5) == value


@pytest.mark.parametrize("field", ["x", "nan", "inf", "1e999"])
def test_what_is_no_whole_number(field: str) -> None:
    with pytest.raises(ProtocolError):
        Fields([field]).whole()


# What the server writes.


def test_order_status() -> None:
    same(order_status(HELD, "Submitted", D(2), [FILL]), "3|7|Submitted|2|1|70005|1100000001|0|70005|1||0")
    same(order_status(HELD, "Inactive", D(0), []), "3|7|Inactive|0|3|0|1100000001|0|0|1||0")


@pytest.mark.parametrize(("version", "tail"), [(157, ""), (176, ""), (178, "|0")])
def test_exec_details(version: int, tail: str) -> None:
    told = Told(order_id=7, client=1, perm_id=1_100_000_001, order_ref="P00001L00000001", cum=D(2), average=70_005.0)
    same(
        exec_details(FILL, ROW, told, -1, "DU7654321", version),
        f"11|-1|7|{NAMED}|cme-e1|20261103 14:30:00 UTC|DU7654321|CME|BOT|2|70005|1100000001|1|0|2|70005|P00001L00000001||||2{tail}",
    )


def test_commission() -> None:
    same(commission(FILL, None), f"59|1|cme-e1|5|USD|{MAX}|{MAX}|")
    same(commission(FILL, D("-12.50")), f"59|1|cme-e1|5|USD|-12.5|{MAX}|")
