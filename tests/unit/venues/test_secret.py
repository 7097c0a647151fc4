"""Credentials are masked wherever they could be shown or written."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from bot.venues.perp_endpoint import PerpEndpoint, plain
from bot.venues.secret import Secret

WORD = "very-secret"


def test_a_secret_shows_a_mask_everywhere_and_itself_only_when_asked() -> None:
    secret = Secret(WORD)
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>20}", repr([secret]), repr({"k": secret})):
        assert WORD not in shown
    assert secret.reveal() == WORD and bool(secret) and not Secret()
    assert secret == Secret(WORD) and secret != Secret("other") and secret != WORD


def test_it_is_not_written_anywhere() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(WORD))
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret(WORD))


def test_an_endpoint_masks_what_it_was_given_in_plain() -> None:
    endpoint = PerpEndpoint(exchange="binanceusdm", key=WORD, secret=WORD, password=WORD)
    assert WORD not in repr(endpoint) and WORD not in str(endpoint)
    assert plain(endpoint.key) == WORD and endpoint.keyed
    assert not PerpEndpoint(exchange="binanceusdm").keyed
    with pytest.raises(TypeError):
        msgspec.json.encode(endpoint)
    assert WORD not in repr(msgspec.structs.replace(endpoint, sandbox=False))
