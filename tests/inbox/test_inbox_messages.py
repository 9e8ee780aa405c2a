from __future__ import annotations

from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.inbox.messages import decode_text, decode_words, for_frame, header, read_headers, view


@given(st.binary(max_size=2000))
def test_any_bytes_have_a_view(raw: bytes) -> None:
    """There are no bytes that cannot be shown, and nothing shown that a page cannot carry."""
    seen = view(raw)
    for text in (seen.html, seen.text, *[part for pair in seen.headers for part in pair]):
        (text or "").encode()


CHARSETS = [
    "utf-7",
    "unicode_escape",
    "raw-unicode-escape",
    "idna",
    "punycode",
    "rot13",
    "utf-16",
    "x-none",
    "undefined",
]


@given(
    st.sampled_from(CHARSETS),
    st.binary(max_size=60),
    st.sampled_from(["8bit", "base64", "quoted-printable", "uuencode"]),
)
def test_any_charset_and_encoding_has_a_view(charset: str, body: bytes, encoding: str) -> None:
    """A charset that is unknown, hostile or wrong, under any transfer encoding, still shows something."""
    raw = (
        f"Subject: =?{charset}?b?2AA=?= =?{charset}?q?=D8\\ud800?=\n"
        f"Content-Type: text/html; charset={charset}\nContent-Transfer-Encoding: {encoding}\n"
        f"Content-Disposition: inline; filename*={charset}''%ff%D8\n\n"
    ).encode() + body
    seen = view(raw)
    assert seen.html is not None
    (seen.html + header(seen.headers, "subject")).encode()
    view(raw.replace(b"text/html", b"application/pdf")).attachments[0].name.encode()


@pytest.mark.parametrize("value", ["*=utf-8''a; {}*0*=utf-8''b", "*=undefined''a"])
def test_any_parameter_has_a_view(value: str) -> None:
    """A parameter given twice, or in a charset that fails on it, keeps no message from being shown."""
    named, charset, boundary = (name + value.format(name) for name in ("filename", "charset", "boundary"))
    seen = view(f"Content-Type: application/pdf\nContent-Disposition: attachment; {named}\n\nx".encode())
    assert seen.attachments[0].size == 1
    assert view(f"Content-Type: text/plain; {charset}\n\nday".encode()).text == "day"
    seen = view(f"Subject: day\nContent-Type: multipart/mixed; {boundary}\n\n--a\n\nx\n--a--".encode())
    assert header(seen.headers, "subject") == "day"
    assert "source" in seen.note


def test_a_usual_message_is_taken_apart() -> None:
    """Text, HTML and attachments of a usual message are found and decoded."""
    mail = EmailMessage()
    mail["Subject"] = "Migración: 7 noticias"
    mail.set_content("Hola\r\n¿qué tal?\n")
    mail.add_alternative("<p>¡Hola!</p>", subtype="html")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="informe ñ.pdf")
    seen = view(mail.as_bytes())
    assert header(seen.headers, "subject") == "Migración: 7 noticias"
    assert seen.text == "Hola\n¿qué tal?\n"
    assert seen.html is not None
    assert "¡Hola!" in seen.html
    assert [(a.name, a.type, a.size) for a in seen.attachments] == [("informe ñ.pdf", "application/pdf", 4)]


def test_a_text_file_attached_is_not_taken_for_the_text() -> None:
    """A text attachment stays an attachment, and a second text part too."""
    mail = EmailMessage()
    mail.add_attachment("log", filename="log.txt")
    seen = view(mail.as_bytes())
    assert seen.text is None
    assert seen.attachments[0].name == "log.txt"


def test_parts_nested_beyond_counting_are_said_so() -> None:
    """A message built to exhaust the parser shows its headers and a sentence."""
    nest = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(3000))
    seen = view(b"Subject: deep\n" + nest)
    assert header(seen.headers, "subject") == "deep"
    assert "source" in seen.note


def test_headers_in_raw_utf8_and_folded_are_read() -> None:
    """SMTPUTF8 headers (RFC 6532) and folded ones come out whole, on one line."""
    headers = read_headers("Subject: día\n uno\nTo: josé@example.org\n\n".encode())
    assert header(headers, "subject") == "día uno"
    assert header(headers, "to") == "josé@example.org"
    assert header(headers, "cc") == ""


def test_unreadable_words_stay_as_they_are() -> None:
    """Broken encoded words are shown as written; broken bytes byte by byte."""
    assert decode_words("=?utf-8?b?a?= x") == "=?utf-8?b?a?= x"
    assert decode_text(b"caf\xe9", "utf-8") == "café"


def test_links_in_the_frame_open_a_new_tab_and_the_doctype_stays_first() -> None:
    """The base element goes into the head, or to the start; quirks mode is not brought about."""
    base = '<base target="_blank">'
    assert for_frame("<!doctype html><html><head lang=en><p>") == f"<!doctype html><html><head lang=en>{base}<p>"
    assert for_frame("<!DOCTYPE html>\n<p>") == f"<!DOCTYPE html>{base}\n<p>"
    assert for_frame("<header>x</header>") == f"{base}<header>x</header>"


def test_what_is_of_the_site_comes_from_the_inbox() -> None:
    """Links and logos of the readers' site are those that the inbox serves; what is of others stays as it is."""
    ours = '<a href="https://news.example/p/1"><img src="https://news.example/rutas/logo?v=1"></a>'
    other = '<a href="https://news.example.org/"><img src="https://other.example/picture.png"></a>'
    shown = for_frame(ours + other, "https://news.example")
    assert shown == f'<base target="_blank"><a href="/p/1"><img src="/rutas/logo?v=1"></a>{other}'
    assert for_frame(ours).endswith(ours)
