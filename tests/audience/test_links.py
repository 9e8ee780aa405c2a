"""Signed tokens: each opens one thing."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from newsletter.audience.links import make_token, read_token, seal
from newsletter.errors import InputError

KEY, OTHER = "k" * 40, "o" * 40
purposes = st.sampled_from(("unsubscribe", "confirm", "preferences"))


@given(number=st.integers(1, 2**62), purpose=purposes)
def test_a_token_opens_its_own_thing(number: int, purpose: str) -> None:
    """A token gives back its number, in characters that need no escaping, to its purpose and key only."""
    token = make_token(KEY, purpose, number)
    assert read_token(KEY, purpose, token) == number
    assert all(c.isalnum() or c in "-_." for c in token)
    for other in {"unsubscribe", "confirm", "preferences"} - {purpose}:
        with pytest.raises(InputError):
            read_token(KEY, other, token)
    with pytest.raises(InputError):
        read_token(OTHER, purpose, token)


@given(number=st.integers(0, 2**62), purpose=purposes, key=st.text(st.characters(codec="utf-8"), max_size=90))
def test_tokens_are_those_of_itsdangerous(number: int, purpose: str, key: str) -> None:
    """A token is the one that itsdangerous makes, so that links in old mails go on working."""
    signer = Signer(key, salt=f"newsletter.{purpose}", sep=".", digest_method=hashlib.sha256)
    assert make_token(key, purpose, number) == signer.sign(str(number)).decode()


@given(number=st.integers(0, 2**62), key=st.text(st.characters(codec="utf-8"), max_size=90))
def test_seals_are_hmac(number: int, key: str) -> None:
    """A seal is the beginning of HMAC-SHA-256 of what it names, whatever the key's length."""
    proof = hmac.new(key.encode(), f"delivery {number}".encode(), hashlib.sha256).hexdigest()
    assert seal(key, "delivery", number) == f"{number}.{proof[:20]}"


@given(data=st.data(), number=st.integers(1, 2**40))
def test_a_changed_token_opens_nothing(data: st.DataObject, number: int) -> None:
    """A token of which any character is changed, missing or added opens nothing."""
    token = make_token(KEY, "unsubscribe", number)
    place = data.draw(st.integers(0, len(token) - 1))
    instead = data.draw(st.one_of(st.just(""), st.characters(codec="ascii"), st.just(token[place] * 2)))
    changed = token[:place] + instead + token[place + 1 :]
    try:
        # The last character of base64 holds bits that mean nothing; whoever knows the token may change them.
        assert read_token(KEY, "unsubscribe", changed) == number
        assert changed[:-1] == token[:-1]
    except InputError:
        assert changed != token


@given(st.text(max_size=100))
def test_any_text(text: str) -> None:
    """Any text is refused with a sentence."""
    with pytest.raises(InputError):
        read_token(KEY, "confirm", text)


def test_seals_survive_small_letters() -> None:
    """What stands in return paths and Message-IDs survives systems that fold case."""
    assert seal(KEY, "delivery", 7) == seal(KEY, "delivery", 7).lower()
    assert len({seal(KEY, "delivery", 7), seal(KEY, "confirm", 7), seal(OTHER, "delivery", 7)}) == 3
