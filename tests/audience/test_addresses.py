"""Addresses: what is one, and when two are the same."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.audience.addresses import parse_address
from newsletter.errors import InputError


def isemail(material: Path) -> list[tuple[str, str]]:
    """Address and category of each case; control characters stand there as their pictures."""
    tests = ET.parse(material / "addresses/isemail_tests.xml").getroot().iter("test")
    pictures = {0x2400 + n: chr(n) for n in range(32)}
    return [((t.findtext("address") or "").translate(pictures), t.findtext("category") or "") for t in tests]


def accepted(text: str) -> bool:
    try:
        parse_address(text)
    except InputError:
        return False
    return True


def test_isemail(material: Path) -> None:
    """Of isemail's cases, no invalid address is taken, and every plain valid one is."""
    cases = isemail(material)
    assert len(cases) > 150
    wrongly_taken = [text for text, kind in cases if kind == "ISEMAIL_ERR" and accepted(text)]
    # We strip what stands around an address; isemail judges it as part of it.
    assert [text for text in wrongly_taken if text == text.strip()] == []
    plain = [text for text, kind in cases if kind == "ISEMAIL_VALID_CATEGORY"]
    # A host without a dot, or of digits only, is no address on the Internet (RFC 5321, 2.3.5).
    refused = [text for text in plain if not accepted(text) and "." in text.rpartition("@")[2]]
    assert all(text.rpartition(".")[2].isdigit() or text.startswith('"') for text in refused), refused


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ana@Example.org", "ana@example.ORG"),
        ("ana@bücher.example", "ana@xn--bcher-kva.example"),
        (" ana@example.org ", "ana@example.org"),
        ("PEÑA@example.org", "peña@example.org"),
    ],
)
def test_same_reader(one: str, other: str) -> None:
    """Case, and the spelling of an international domain, make no second reader."""
    assert parse_address(one).key == parse_address(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [("straße", "strasse"), ("ſmith", "smith"), ("ﬁona", "fiona"), ("νίκος", "νίκοσ"), ("ŉ", "ʼn")],
)
def test_letters_that_resemble(one: str, other: str) -> None:
    """Letters that fold to the same are other mailboxes all the same: nobody is taken for another."""
    assert parse_address(f"{one}@example.org").key != parse_address(f"{other}@example.org").key


def test_no_letter_passes_for_another() -> None:
    """Whatever letter stands in an address: only one that is written in ASCII is compared with those in ASCII."""
    for number in range(0x80, 0x30000):
        try:
            address = parse_address(f"a{chr(number)}b@example.org")
        except InputError:
            continue
        assert not address.key.isascii() or address.email.isascii(), hex(number)


@pytest.mark.parametrize("other", ["a.na@example.org", "ana+news@example.org"])
def test_other_reader(other: str) -> None:
    """Dots and tags are other mailboxes."""
    assert parse_address("ana@example.org").key != parse_address(other).key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ana",
        "ana@",
        "@e.org",
        "a b@e.org",
        "ana@e",
        "Ana <ana@e.org>",
        "a@e.org\r\nBcc: b@e.org",
        "a@e.org,b@e.org",
    ],
)
def test_refused(text: str) -> None:
    """What is no single address gets a sentence, which holds no line end of it."""
    with pytest.raises(InputError) as caught:
        parse_address(text)
    assert "\n" not in caught.value.message
    assert "\r" not in caught.value.message


@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    """Any text is an address that can stand in a header and a command, or gets a sentence."""
    try:
        address = parse_address(text)
    except InputError:
        return
    assert not any(c.isspace() or c in "<>\0" for c in address.email)
    assert parse_address(address.email).key == address.key
