"""Joined pieces are the encoding of the whole text."""

from __future__ import annotations

import quopri

from hypothesis import example, given
from hypothesis import strategies as st

from newsletter.mail.pieces import Ready, Stretch, after, compact, encoded, joined, links_of, piece

# Rich in what quoted-printable treats in its own way (ends of lines, spaces before them, dots, equals signs), and ``%``
# in its own.
awkward = st.lists(
    st.one_of(
        st.sampled_from(
            ("\n", "\n\n", " ", "  ", ".", "=", "%b", "\t", "\r", "\r\n", "é", "م", "漢", "😀", "\x00", "\x7f")
        ),
        st.integers(60, 90).map(lambda n: "x" * n),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
    ),
    max_size=14,
).map("".join)


def plainly(text: str) -> bytes:
    """The standard library's quoted-printable, lines ended by CRLF."""
    return quopri.encodestring(text.replace("\r", "\n").encode()).replace(b"\n", b"\r\n")


@given(awkward)
@example("x" * 75 + "=")
@example("x" * 76)
@example("x" * 73 + "é")
@example("x" * 74 + "=\n")
@example("x" * 75 + " ")
@example(".")
@example("x" * 75 + ".")
@example("x" * 75 + ".é" + "y" * 100)
def test_encoded_as_the_standard_library_does(text: str) -> None:
    """Our quoted-printable is the standard library's, byte for byte."""
    assert encoded(text) == plainly(text)


@given(st.lists(st.integers(0, 200).flatmap(lambda n: st.sampled_from(("x" * n, "x" * n + "=", "é" + "x" * n)))))
def test_long_lines(parts: list[str]) -> None:
    """So it is where lines are cut: at any column, before and after codes."""
    text = "".join(parts)
    assert encoded(text) == plainly(text)


@given(st.lists(awkward, max_size=8), st.data())
def test_joined_is_the_whole(texts: list[str], data: st.DataObject) -> None:
    """However a text is cut into pieces and those into pieces again, joined they are the encoding of the whole."""
    parts = [data.draw(st.sampled_from((piece, str)))(text) for text in texts]
    cut = data.draw(st.integers(0, len(parts)))
    whole = joined([joined(parts[:cut]), *parts[cut:]])
    for one in (whole, compact(whole)):
        assert b"".join((*one.lines, encoded(one.tail))) == plainly("".join(texts))
        if one.lines:
            assert b"".join((*after("=é", one), encoded(one.tail))) == plainly("=é" + "".join(texts))


@given(st.lists(awkward, min_size=1, max_size=6), st.lists(awkward, min_size=7, max_size=7))
def test_ready_pieces(texts: list[str], values: list[str]) -> None:
    """Pieces made ready, with any values between them, come out as the encoding of the whole, also the second time."""
    pieces = [Ready(piece(text)) for text in texts]
    for change in ("", "é", "x" * 74):
        out: list[bytes] = []
        carry = ""
        for one, value in zip(pieces, values, strict=False):
            if carry:
                carry = one.put(out, carry)
            else:
                out += one.lines
                carry = one.tail
            carry += value + change
        whole = "".join(text + value + change for text, value in zip(texts, values, strict=False))
        assert b"".join((*out, encoded(carry))) == plainly(whole)


@given(
    st.integers(0, 160), st.sampled_from(("x", "=", "é", ".", " ")), st.sampled_from(("", "\n", "y", ".", ".\n", " \n"))
)
def test_ready_at_any_column(length: int, letter: str, value: str) -> None:
    """Wherever a line was begun, at whatever column it ends or goes on."""
    for begin in ("x" * length + letter, letter * length, "\n" + "x" * length + letter):
        first, second = Ready(piece(begin)), Ready(piece("</p>\n" + begin))
        out = list(first.lines)
        carry = second.put(out, first.tail + value) if first.tail + value else None
        if carry is not None:
            assert b"".join((*out, encoded(carry))) == plainly(begin + value + "</p>\n" + begin)


PLAIN = "abcXYZ019:/.?~_-"
links = st.one_of(
    st.integers(0, 160).map(lambda n: "x" * n),
    st.text(PLAIN, max_size=90),
    st.sampled_from((".", "a.", " ", "a b", "a=b", "a&b", "é", "\n", "\x7f", "a\n")),
)


@given(
    st.tuples(links, links, links), st.lists(st.tuples(awkward, st.lists(st.integers(0, 2), max_size=3)), max_size=5)
)
@example((".", "", ""), [("\n", [0])])
@example(("x" * 75 + ".", "", ""), [("", [0])])
@example(("x" * 76, "y" * 76, ""), [("\n", [1, 0, 1])])
def test_stretches(some: tuple[str, str, str], begins: list[tuple[str, list[int]]]) -> None:
    """A stretch with a reader's links is the encoding of the whole, also the second time, or they are no such links."""
    last = "before\nbehind"
    stretch = Stretch([*(part for text, places in begins for part in (piece(text), *places)), piece(last)])
    for made in (some, tuple("z" * len(link) for link in some), some):
        reader = links_of(*made)
        if reader is None:
            assert any(set(link) - set(PLAIN) or link.endswith(".") for link in made)
            continue
        out: list[bytes] = []
        stretch.put(out, reader)
        whole = "".join(text + "".join(made[place] for place in places) for text, places in begins) + last
        assert b"".join((*out, encoded(stretch.tail))) == plainly(whole)
