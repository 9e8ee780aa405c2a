"""What holds of every mail, on mails like real ones; and that each check sees what it is there for."""

from __future__ import annotations

import re

import pytest
from mailcheck import CHECKS, Mail, complaints
from specimens import BRANDS, LAYOUTS, LENGTHS, notice, records, specimens

from newsletter.languages import LANGUAGES
from newsletter.mail.letter import Notice
from newsletter.mail.look import PLAIN
from newsletter.mail.samples import AT, sample_masthead, sample_notice
from newsletter.mail.templates import KINDS


@pytest.mark.parametrize("language", LANGUAGES)
def test_mails_have_nothing_to_complain_of(language: str) -> None:
    """Digests of each length, compact, by theme, in a list's own look, and each notice pass, in every language."""
    mails = {name: message for name, message in specimens().items() if name.endswith(f"-{language}")}
    assert len(mails) == len(LENGTHS) + len(LAYOUTS) + len(BRANDS) + len(KINDS[1:])
    found = {name: complaints(Mail(message.content, records())) for name, message in mails.items()}
    assert found == {name: {check.__name__: [] for check in CHECKS} for name in mails}


@pytest.mark.parametrize(
    "made", [sample_notice("welcome", sample_masthead(PLAIN), "weekly"), notice("welcome", "fr", AT)]
)
def test_a_welcome_agrees_with_itself(made: Notice) -> None:
    """In samples the next digest is due on the day and at the hour that stand above it."""
    assert made.choices
    assert made.next_at
    assert (made.next_at.weekday(), made.next_at.hour) == (made.choices.weekday, made.choices.hour)


SEEN = (
    ("structure", rb"\r\n--", b"\n--", "CRLF"),
    ("structure", rb"text/plain", b"text/x-odd", "parts are"),
    ("headers", rb"List-Unsubscribe-Post: [^\r]*\r\n", b"", "List-Unsubscribe-Post stands 0 times"),
    ("headers", rb"\r\nMessage-ID: <", b"\r\nMessage-ID: <a b", "Message-ID"),
    ("headers", rb"\r\nSubject: ", b"\r\nSubject: Another ", "does not hold"),
    ("headers", rb"\r\nFeedback-ID: ", b"\r\nX-Long: a " + 80 * b"b" + b"\r\nFeedback-ID: ", "not folded"),
    ("size", rb"</h1>", b"</h1>" + 1300 * (70 * b"x" + b"=\r\n"), "bytes"),
    ("contrast", rb"#56616b", b"#b6c1cb", "light: .day #b6c1cb on #fff has 1."),
    ("contrast", rb"#a9b4bd", b"#49545d", "dark: .day #49545d on #1b2227 has 2."),
    ("links", rb'href=3D"https://rutas', b'href=3D"http://rutas', "a link leads to 'http://rutas"),
    ("links", rb'href=3D"https://rutas', b'href=3D"#s-GT" title=3D"', "a link leads to '#s-GT'"),
    ("links", rb"<h2", b'<p id=3D"a"></p><p id=3D"a"></p><h2', "two places have one id"),
    ("text", rb"\r\nCorinto crossing", b"\r\nCorint crossing", "not in the text: Corinto"),
    ("text", rb"\r\nCorinto", b"\r\n" + 20 * b"long " + b"Corinto", "a line of the text has 1"),
    ("text", rb"</h1>", b'</h1><img class=3D"image" src=3D"https://x.example">', "the picture https://x.example"),
    ("text", rb"</h1>", b'</h1><img class=3D"image" alt=3D"A bridge">', "the picture A bridge"),
    ("addresses", rb"</h1>", b'</h1><img src=3D"https://x.example/1.jpg">', "addresses"),
    ("marks", rb"</h1>", b"</h1>" + 60 * b" x=D9=8F", "text/html has 60 vowel marks"),
    ("styled", rb"</h1>", b"</h1><p>Bare</p>", "<p> 'Bare' has no style"),
    ("images", rb"</h1>", b'</h1><img src=3D"http://x.example">', "no alt, width or height"),
    ("outline", rb"<h1", b'<h4 style=3D"margin:0"></h4><h1', "headings are [4, 1"),
)


@pytest.mark.parametrize(("check", "what", "by", "complaint"), SEEN, ids=[f"{row[0]}-{row[3][:20]}" for row in SEEN])
def test_what_is_wrong_is_seen(check: str, what: bytes, by: bytes, complaint: str) -> None:
    """Each check complains of a mail that breaks its rule, in words that say what."""
    sound = specimens()["digest-1-en"].content
    # Without soft line breaks what is to be replaced stands in one piece.
    broken, count = re.subn(what, lambda _: by, sound if check == "headers" else sound.replace(b"=\r\n", b""))
    assert count
    (one,) = (found for found in CHECKS if found.__name__ == check)
    assert complaint in "\n".join(one(Mail(broken, records())))
