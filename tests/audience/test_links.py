"""Signed tokens: each opens one thing, for as long as it should, also after its key is no longer the newest."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from newsletter.audience.links import (
    LinkError,
    Purpose,
    make_expiring,
    make_token,
    read_expiring,
    read_seal,
    read_token,
    seal,
)

KEY, OTHER = "k" * 40, "o" * 40
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PURPOSES = get_args(Purpose)
purposes = st.sampled_from(PURPOSES)
numbers = st.integers(1, 2**62)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=90)


@given(number=numbers, purpose=purposes)
def test_a_token_opens_its_own_thing(number: int, purpose: Purpose) -> None:
    """A token gives back its number, in characters that need no escaping, to its purpose and key only."""
    token = make_token(KEY, purpose, number)
    assert read_token([KEY], purpose, token) == number
    assert all(c.isalnum() or c in "-_." for c in token)
    for other in {*PURPOSES} - {purpose}:
        with pytest.raises(LinkError):
            read_token([KEY], other, token)
    with pytest.raises(LinkError):
        read_token([OTHER], purpose, token)


made = st.tuples(st.sampled_from((KEY, OTHER)), purposes, st.integers(1, 12), st.one_of(st.none(), moments))


@given(st.lists(made, min_size=2, max_size=6, unique=True))
def test_no_token_opens_what_another_does(ways: list[tuple[str, Purpose, int, datetime | None]]) -> None:
    """No token of one key, purpose, number and sort (lasting or expiring) opens anything else."""

    def opened(token: str, key: str, purpose: Purpose, lasting: bool) -> int | None:
        try:
            return (
                read_token([key], purpose, token)
                if lasting
                else read_expiring([key], purpose, token, NOW.replace(year=2019))
            )
        except LinkError:
            return None

    for key, purpose, number, until in ways:
        token = make_token(key, purpose, number) if until is None else make_expiring(key, purpose, number, until)
        for other_key, other_purpose, *_, other_until in ways:
            same = (key, purpose, until is None) == (other_key, other_purpose, other_until is None)
            assert opened(token, other_key, other_purpose, other_until is None) == (number if same else None)


@given(number=numbers, purpose=purposes, until=moments, seconds=st.integers(-(10**9), 10**9))
def test_expiring(number: int, purpose: Purpose, until: datetime, seconds: int) -> None:
    """A token that expires opens its thing up to its last second, and then says that it is over."""
    token, now = make_expiring(KEY, purpose, number, until), until.replace(microsecond=0) + timedelta(seconds=seconds)
    if seconds <= 0:
        assert read_expiring([KEY], purpose, token, now) == number
    else:
        with pytest.raises(LinkError) as caught:
            read_expiring([KEY], purpose, token, now)
        assert caught.value.kind == "expired"
    with pytest.raises(LinkError) as caught:
        read_expiring([OTHER], purpose, token, now)
    assert caught.value.kind == "bad"


@given(number=numbers, purpose=purposes, ring=st.lists(keys, min_size=1, max_size=5, unique=True), data=st.data())
def test_old_keys_go_on_reading(number: int, purpose: Purpose, ring: list[str], data: st.DataObject) -> None:
    """What any of the keys made is read, and nothing any more once its key is dropped."""
    key = data.draw(st.sampled_from(ring))
    lasting, expiring = make_token(key, purpose, number), make_expiring(key, purpose, number, NOW)
    sealed = seal(key, purpose, number)
    assert read_token(ring, purpose, lasting) == read_expiring(ring, purpose, expiring, NOW) == number
    assert read_seal(ring, purpose, sealed) == number
    # HMAC fills keys up with zero bytes, and hashes those longer than a block: no such pair is drawn or made by us.
    others = [other for other in ring if other != key and other.rstrip("\0") != key.rstrip("\0")]
    for read in (
        lambda: read_token(others, purpose, lasting),
        lambda: read_expiring(others, purpose, expiring, NOW),
        lambda: read_seal(others, purpose, sealed),
    ):
        with pytest.raises(LinkError):
            read()


@given(number=st.integers(0, 2**62), purpose=purposes, key=keys)
def test_tokens_are_those_of_itsdangerous(number: int, purpose: Purpose, key: str) -> None:
    """A token is the one that itsdangerous makes, so that links in old mails go on working."""
    signer = Signer(key, salt=f"newsletter.{purpose}", sep=".", digest_method=hashlib.sha256)
    assert make_token(key, purpose, number) == signer.sign(str(number)).decode()
    assert make_expiring(key, purpose, number, NOW) == signer.sign(f"{number}.{int(NOW.timestamp())}").decode()


@given(number=st.integers(0, 2**62), key=keys)
def test_seals_are_hmac(number: int, key: str) -> None:
    """A seal is the beginning of HMAC-SHA-256 of what it names, whatever the key's length."""
    proof = hmac.new(key.encode(), f"delivery {number}".encode(), hashlib.sha256).hexdigest()
    assert seal(key, "delivery", number) == f"{number}.{proof[:20]}"


@given(data=st.data(), number=st.integers(1, 2**40), lasting=st.booleans())
def test_a_changed_token_opens_nothing(data: st.DataObject, number: int, lasting: bool) -> None:
    """A token of which any character is changed, missing or added opens nothing."""
    token = make_token(KEY, "account", number) if lasting else make_expiring(KEY, "account", number, NOW)
    place = data.draw(st.integers(0, len(token) - 1))
    instead = data.draw(st.one_of(st.just(""), st.characters(codec="ascii"), st.just(token[place] * 2)))
    changed = token[:place] + instead + token[place + 1 :]
    try:
        # The last character of base64 holds bits that mean nothing; whoever knows the token may change them.
        if lasting:
            assert read_token([KEY], "account", changed) == number
        else:
            assert read_expiring([KEY], "account", changed, NOW) == number
        assert changed[:-1] == token[:-1]
    except LinkError:
        assert changed != token


@given(st.text(max_size=100))
@pytest.mark.parametrize("odd", ["", "\udcff", "1.2.\udcff", "٣.x", "1" * 5000 + ".x"])
def test_any_text(odd: str, text: str) -> None:
    """Any text is refused with a sentence, halves of characters included."""
    for given_text in (odd, text):
        for read in (
            lambda t=given_text: read_token([KEY], "confirm", t),
            lambda t=given_text: read_expiring([KEY], "confirm", t, NOW),
            lambda t=given_text: read_seal([KEY], "confirm", t),
        ):
            with pytest.raises(LinkError, match="not complete"):
                read()


def test_seals_survive_small_letters() -> None:
    """What stands in return paths and Message-IDs survives systems that fold case, either way."""
    assert seal(KEY, "delivery", 7) == seal(KEY, "delivery", 7).lower()
    assert len({seal(KEY, "delivery", 7), seal(KEY, "confirm", 7), seal(OTHER, "delivery", 7)}) == 3
    assert read_seal([OTHER, KEY], "delivery", seal(KEY, "delivery", 7).upper()) == 7
    with pytest.raises(LinkError):
        read_seal([KEY], "confirm", seal(KEY, "delivery", 7))
