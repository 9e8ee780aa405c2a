"""Whole messages: readable by any mail program, never too large, safe whatever their texts hold."""

from __future__ import annotations

import base64
import itertools
import re
import subprocess
from dataclasses import replace
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from letters import ACTION, ENVELOPE, NOTICES, REPORT, card, compose, letter, letters, notices
from plainly import Group, Letter, plain_message
from specimens import specimens

from newsletter.audience.notices import REPORTS
from newsletter.languages import LANGUAGES
from newsletter.mail import headers
from newsletter.mail.compose import compose_notice
from newsletter.mail.frames import HTML_LIMIT
from newsletter.mail.letter import Choices, Masthead, Notice
from newsletter.mail.look import Look
from newsletter.mail.templates import LEAVABLE, load_programs, shipped_source
from newsletter.mail.values import REST_SHOWN
from newsletter.mail.words import words


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def part(content: bytes, kind: str) -> str:
    body = parsed(content).get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


@given(letters)
@settings(max_examples=60, deadline=None)
def test_any_letter_is_a_sound_message(made: Letter) -> None:
    """Any texts make a message without defects: CRLF, short lines, one of each header, both parts complete."""
    content = compose(made, ENVELOPE).content
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", content)
    assert max(map(len, content.split(b"\r\n"))) <= 998
    message = parsed(content)
    assert not message.defects
    names = [name.lower() for name in message]
    assert len(names) == len(set(names))
    text, html = part(content, "plain"), part(content, "html")
    for group in made.groups:
        for shown in group.cards:
            assert shown.url in text
    links = {a.get("href") for a in lxml.html.document_fromstring(html).iter("a")}
    assert {shown.url for group in made.groups for shown in group.cards} <= links
    assert ENVELOPE.unsubscribe_url in links
    assert ENVELOPE.unsubscribe_url in text


def test_a_picture() -> None:
    """An item's picture is in the HTML, no wider than its card, with words in its place if it has some; the text part
    says those words and where it is, and an item without one has no place for it in either."""
    url = "https://rutas.example/a.jpg?w=9&q=1"
    made = letter(groups=(Group("", (card(1, image=url, image_alt='A "bridge"'), card(2, image=url), card(3))),))
    content = compose(made, ENVELOPE).content
    pictures = list(lxml.html.document_fromstring(part(content, "html")).iter("img"))
    assert [(one.get("src"), one.get("alt")) for one in pictures] == [(url, 'A "bridge"'), (url, "")]
    for one in pictures:
        assert one.get("width") == "534"
        for declared in ("max-width:534px", "width:100%", "height:auto", "color:#56616b"):
            assert declared in one.get("style").replace(": ", ":")
    said = part(content, "plain")
    assert f'\nPicture: A "bridge"\n{url}\n' in said
    assert f"\nPicture:\n{url}\n" in said
    assert said.count("Picture") == said.count(url) == 2


@given(notices)
@settings(max_examples=60, deadline=None)
def test_any_notice_is_sound(made: Notice) -> None:
    """A notice of any kind is a message without defects, and can be left or declined with one click (RFC 8058).

    It has the link that it is sent for in both parts, and shows the other wherever there may be something to leave.
    """
    content = compose_notice(made, ENVELOPE).content
    message = parsed(content)
    assert not message.defects
    assert message["List-Id"]
    assert message["Auto-Submitted"] == "auto-generated"
    assert 10 <= len(str(message["Subject"])) <= 60 or len(made.masthead.list_name) > 40
    text, html = part(content, "plain"), part(content, "html")
    links = [a.get("href") for a in lxml.html.document_fromstring(html).iter("a")]
    assert links.count(ACTION) == text.count(ACTION) == (made.kind not in REPORTS)
    assert str(message["List-Unsubscribe"]) == f"<{ENVELOPE.unsubscribe_url}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    for place in (text, links):
        assert (ENVELOPE.unsubscribe_url in place) == (made.kind != "goodbye")
        assert (ENVELOPE.preferences_url in place) == (made.kind in LEAVABLE)
    if made.kind == "welcome":
        assert all(card.url in text and card.url in links for card in made.latest)


@pytest.mark.parametrize("language", LANGUAGES)
def test_colons(language: str) -> None:
    """In the text part of every mail a colon above an address is set as its language does: in French behind a space
    that does not break, in the others behind the word."""
    before = "\u00a0" if language == "fr" else ""
    for name, message in specimens().items():
        if name.endswith(f"-{language}"):
            text = part(message.content, "plain")
            found = re.findall(r"(\s?):\nhttps:", text)
            assert found, name
            assert set(found) == {before}, name


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", NOTICES)
def test_notices_speak_one_language(kind: str, language: str) -> None:
    """A notice says which language it is in and which way that is written, and every sentence is in it."""
    masthead = Masthead(language, "Rutas", "rutas", "Rutas", "digest@rutas.example", "1 Main Street")
    choices = Choices(("Guatemala",), ("Trade",), "weekly", 8, 2, "America/Guatemala")
    report = replace(REPORT, refusals=())
    made = Notice(
        kind, masthead, "", ACTION, choices, ENVELOPE.dated_at, ENVELOPE.dated_at, everywhere=True, report=report
    )
    content = compose_notice(made, ENVELOPE).content
    root = lxml.html.document_fromstring(part(content, "html"))
    assert (root.get("lang"), root.get("dir")) == (language, "rtl" if language == "ar" else "ltr")
    assert parsed(content)["Content-Language"] == language
    text = part(content, "plain")
    # Commands are English everywhere.
    words_of = re.sub(r"https://\S+|  newsletter .*|Newsletter|Rutas|Guatemala|America|Trade|Main Street", "", text)
    assert bool(re.search("[a-z]{2}", words_of)) == (language != "ar")
    assert bool(re.search("[\u0621-\u064a]", words_of)) == (language == "ar")


def test_each_script_its_own_way() -> None:
    """In a digest written from right to left a card in another script goes its own way, but for its facts. What is in
    the digest's language need not say so."""
    one = card(1, language="en")
    content = compose(
        letter(language="ar", groups=(Group("Guatemala", (one, card(2, language="ar"))),)), ENVELOPE
    ).content
    root = lxml.html.document_fromstring(part(content, "html"))
    assert [next(h3.iterancestors("div")).get("dir") for h3 in root.iter("h3")] == ["ltr", "rtl"]
    (apart,) = root.xpath("//td/div[@lang]")
    assert (apart.get("lang"), apart.get("dir")) == ("en", "ltr")
    assert [(span.get("lang"), span.get("dir")) for span in apart.xpath("./p/span[@dir]")] == [("ar", "rtl")]


def sections(*counts: int, **values: object) -> Letter:
    """A letter with so many cards under each country."""
    numbers = itertools.count()
    cards = [tuple(card(next(numbers)) for _ in range(count)) for count in counts]
    groups = tuple(Group(name, part) for name, part in zip(("Guatemala", "Honduras", ""), cards, strict=False))
    return letter(groups=groups, **values)


def test_contents_above_eight_items() -> None:
    """From nine items on the sections are listed with their numbers, parted by dots; with fewer there is a line, and
    with one section only the number of items.
    """
    content = compose(sections(5, 2, 1, rest=(card(99),)), ENVELOPE).content
    root = lxml.html.document_fromstring(part(content, "html"))
    (listed,) = root.xpath('//p[@class="sections"]')
    said = "9 new items · Guatemala 5 · Honduras 2 · Everywhere 1 · 1 more"
    assert " ".join(listed.text_content().split()) == said
    headings = ["Guatemala · 5", "Honduras · 2", "Everywhere · 1", "1 more"]
    assert [h.text_content().strip() for h in root.iter("h2")] == headings
    text = part(content, "plain")
    assert "9 new items: Guatemala 5 · Honduras 2 · Everywhere 1\n" in text
    assert all(f"\n{heading}\n{'=' * len(heading)}\n" in text for heading in headings)
    for made, line in ((sections(6, 2), "8 new items: Guatemala 6 · Honduras 2"), (sections(12), "12 new items")):
        root = lxml.html.document_fromstring(part(compose(made, ENVELOPE).content, "html"))
        assert not root.xpath('//p[@class="sections"]')
        assert root.xpath('string(//p[@class="contents"])') == line
    assert root.xpath("string(//h2)").strip() == "Guatemala"


def test_themes_of_a_card() -> None:
    """A card shows its themes as chips, in the text part in a line; not the one that it stands under."""
    one = card(1, themes=("Protection", "Health"), because=())
    for heading, chips in (("Guatemala", ["Protection", "Health"]), ("Health", ["Protection"])):
        content = compose(letter(groups=(Group(heading, (one,)),)), ENVELOPE).content
        root = lxml.html.document_fromstring(part(content, "html"))
        assert [chip.text_content().strip() for chip in root.xpath('//span[@class="chip"]')] == chips
        assert f"\n{' · '.join(chips)}\n{one.url}\n" in part(content, "plain")


def test_compact() -> None:
    """A compact digest says title, source, day and link of each item in both parts, and nothing more of it."""
    content = compose(letter(3, style="compact"), ENVELOPE).content
    html = lxml.html.document_fromstring(part(content, "html")).text_content()
    text = part(content, "plain")
    for said in (html, text):
        assert [said.count(f"Crossing {n} opens a shared desk") for n in range(3)] >= [1, 1, 1]
        assert said.count("Rutas Desk · Nov 20, 2026") == 3
        assert not re.search("interpreter|Because you follow|Protection", said)
    assert all(f"2026/{n}?" in text for n in range(3))


HOSTILE = "Evil\r\nBcc: victim@example.org\r\n\r\n<script>alert(1)</script>\x00\u2028"


def test_header_injection() -> None:
    """Line ends in names, titles and addresses start no header field and no body."""
    made = letter(1, list_name=HOSTILE, sender_name=HOSTILE, groups=(Group(HOSTILE, (card(1, title=HOSTILE),)),))
    message = parsed(compose(made, replace(ENVELOPE, to_name=HOSTILE)).content)
    assert message["Bcc"] is None
    assert "script" not in {
        e.tag for e in lxml.html.document_fromstring(message.get_body(("html",)).get_content()).iter()
    }
    assert [a.addr_spec for a in message["To"].addresses] == ["ana@example.org"]


@pytest.mark.parametrize(
    "name",
    [
        *("A house of many words " * 8 + "for all", 'Those who, \\ as they say, "count" ' * 5 + "everyone"),
        *('Peña, Ana "la jefa"', "O'Brien (work)", "=?utf-8?q?x?=", "名前" * 40, "a" * 190, "\\"),
        *("علی\u200cرضا", "Familias \U0001f468\u200d\U0001f469\u200d\U0001f467", "مكتب\u200f (IOM)"),
    ],
)
def test_names_come_back(name: str) -> None:
    """A name of any letters is read back as it was written (RFC 5322, 2047)."""
    # Not by the parser's own reading of addresses: it keeps the space between encoded words (RFC 2047, 6.2).
    message = message_from_bytes(compose(letter(sender_name=name), replace(ENVELOPE, to_name=name)).content)
    for field, address in (("From", "digest@rutas.example"), ("To", "ana@example.org")):
        display, found = parseaddr(re.sub(r"\r\n ", " ", message[field]))
        assert (str(make_header(decode_header(display))) if "=?utf-8?b" in display else display, found) == (
            name,
            address,
        )


@pytest.mark.parametrize(
    ("title", "read"),
    [
        ("می\u200cخواهیم به خانه برگردیم", None),
        ("Famille \U0001f468\u200d\U0001f469\u200d\U0001f467 réunie à Corinto", None),
        ("ශ\u200dරී ලංකාව නව නීතිය ගැන", None),
        ("Interoperabilitäts\u00adprüfung an der Grenze", "Interoperabilitätsprüfung an der Grenze"),
        ("One =\u00ad?utf-8?q?x?= desk", "One =?utf-8?q?x?= desk"),
        ("One\u2028desk\u202e for\x85\ud800 all", "One desk for all"),
    ],
)
def test_what_joins_characters(title: str, read: str | None) -> None:
    """What joins characters stays in a subject, and soft hyphens part no word; controls and what turns the order of
    the rest around are spaces."""
    # Not by the parser's own reading: it tells no encoded word from what one says.
    (subject,) = re.findall(r"Subject: (.*?)\r\n(?! )", headers.unstructured("Subject", title), re.DOTALL)
    assert str(make_header(decode_header(subject))) == (read or title)


def test_bulk_headers() -> None:
    """List, unsubscribe, feedback and automation headers are there, unencoded (RFC 2919, 2369, 8058, 3834)."""
    content = compose(letter(), ENVELOPE).content
    head = content.split(b"\r\n\r\n", 1)[0].decode()
    for line in (
        'List-Id: "Rutas" <rutas.rutas.example>',
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "Auto-Submitted: auto-generated",
        "Feedback-ID: 1:rutas:digest:newsletter",
        f"Message-ID: <{ENVELOPE.message_id}>",
        "Content-Language: en",
        "List-Help: <mailto:digest@rutas.example?subject=help>",
    ):
        assert f"\r\n{line}\r\n" in head + "\r\n"
    assert f"<{ENVELOPE.unsubscribe_url}>" in head


@pytest.mark.parametrize("name", ["A house of many words " * 8 + "for all", "One, of those who count, " * 7 + "all"])
def test_long_names_are_folded(name: str) -> None:
    """However long the names, no line of the head is longer than RFC 5322 wants (2.1.1), and they are read whole."""
    content = compose(letter(list_name=name, sender_name=name), replace(ENVELOPE, to_name=name)).content
    head = content.split(b"\r\n\r\n", 1)[0].decode()
    lines = head.split("\r\n")
    assert max(len(line) for line in lines if "https://" not in line) <= 78
    assert not any(line.endswith(":") for line in lines)
    assert f'List-Id: "{name}" <rutas.rutas.example>\r\n' in head.replace("\r\n ", " ")


def test_help_at_any_address() -> None:
    """What an address may hold and a URL may not is percent-encoded in List-Help (RFC 6068)."""
    content = compose(letter(sender_email="d+a?b%c@rutas.example"), ENVELOPE).content
    assert b"\r\nList-Help: <mailto:d+a%3Fb%25c@rutas.example?subject=help>\r\n" in content


def test_same_input_same_bytes() -> None:
    """The same letter and envelope are the same bytes, and another reader's differ only in their own values."""
    one = compose(letter(5, 3), ENVELOPE).content
    assert one == compose(letter(5, 3), ENVELOPE).content
    assert one != compose(letter(5, 3), replace(ENVELOPE, to_email="ben@example.org")).content


@pytest.mark.parametrize(("count", "length"), [(200, 300), (200, 100_000), (1, 3_000_000), (3, 200_000)])
def test_never_clipped(count: int, length: int) -> None:
    """However much there is, the encoded HTML stays below 95 KB and every item is named in the text part."""
    summary = ("Wörter " * (length // 7)).strip()
    cards = tuple(card(n, summary=summary) for n in range(count))
    groups = tuple(
        Group(name, part)
        for name, part in (("Guatemala", cards[: count // 2 + 1]), ("Honduras", cards[count // 2 + 1 :]))
        if part
    )
    content = compose(letter(groups=groups)).content
    assert len(content.split(b"\r\n--=_")[2]) <= HTML_LIMIT + 100
    text = part(content, "plain")
    assert all(f"2026/{n}?" in text for n in range(count))
    if count == 200:
        more = re.search(r"(\d+) more\n=", text)
        assert more
        html = lxml.html.document_fromstring(part(content, "html"))
        assert len(html.xpath("//h3")) + int(more[1]) == count


@pytest.mark.parametrize("named", ["listed_rest", "rest"])
@pytest.mark.parametrize("count", [1, 30])
def test_own_templates_are_never_clipped(count: int, named: str) -> None:
    """Where a list's own template names more of the rest than fits, it names the first few in HTML; its cards stay."""
    body = shipped_source("digest/body.html").replace("in shown_rest", f"in {named}")
    own = load_programs(Look(slug="rutas", files=(("digest/body.html", body.encode()),)))
    assert "2026/1019?" in part(compose(letter(count, 20), ENVELOPE, own).content, "html")
    content = compose(letter(count, 600), ENVELOPE, own).content
    assert len(content.split(b"\r\n--=_")[2]) <= HTML_LIMIT + 100
    html = lxml.html.document_fromstring(part(content, "html"))
    assert len(html.xpath("//h3")) == count
    assert len(html.xpath("//p[@class='more']/a")) == REST_SHOWN
    assert "2026/1499?" in part(content, "plain")


@pytest.mark.parametrize("letters_of", ["&", "="])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_long_addresses_are_never_clipped(count: int, letters_of: str) -> None:
    """Items of the longest titles and addresses, in letters that take much room, are named in the text part where the
    HTML has none for even five, and it says so."""
    kept = {"title": "😀" * 500, "summary": "😀" * 9000, "source": "😀" * 200, "because": (), "themes": ()}
    cards = tuple(card(n, url=f"https://e.example/?{n}{letters_of * 1970}", **kept) for n in range(count + 9))
    made = letter(groups=(Group("Guatemala", cards[:count]),), rest=cards[count:])
    content = compose(made).content
    assert content == plain_message(made, ENVELOPE).content
    assert len(content.split(b"\r\n--=_")[2]) <= HTML_LIMIT + 100
    assert f"{count + 8} more" in part(content, "html")
    assert "The text version of this mail lists them all." in part(content, "html")
    assert all(f"/?{n}{letters_of}" in part(content, "plain") for n in range(count + 9))


def test_the_rest_is_named() -> None:
    """Beyond the cap the digest says how many more there are, and lists them all in the text part."""
    content = compose(letter(3, 14), ENVELOPE).content
    assert "14 more" in part(content, "html")
    assert all(f"2026/{1000 + n}?" in part(content, "plain") for n in range(14))


@given(st.integers(1, 12), st.sampled_from(LANGUAGES))
@settings(max_examples=30, deadline=None)
def test_subject_length(count: int, language: str) -> None:
    """A subject has 10 to 60 characters, whatever the titles, and ends with how many more there are, in the plural that
    the language has for them."""
    for title in ("Hi", "word " * 60, "x" * 300):
        made = letter(language=language, groups=(Group("", tuple(card(n, title=title) for n in range(count))),))
        subject = str(parsed(compose(made, ENVELOPE).content)["Subject"])
        assert 10 <= len(subject) <= 60
        if count > 1:
            assert subject.endswith(" " + words(language).count("others", count - 1))


def test_quoted_printable_not_base64() -> None:
    """The parts are quoted-printable, so that an operator can read a message's source."""
    content = compose(letter(), ENVELOPE).content
    assert b"base64" not in content
    assert base64.b64encode(b"Officers") not in content


def test_what_the_judge_says(judge: Path, tmp_path: Path) -> None:
    """Each kind of mail in each language passes the judge, but for signatures."""
    for language in LANGUAGES:
        masthead = Masthead(language, "Rutas", "rutas", "Rutas", "digest@rutas.example", "24 Calle Segunda, Guatemala")
        choices = Choices(("Guatemala", "Honduras"), ("Trade",), "weekly", 8, 2, "America/Guatemala")
        moment = ENVELOPE.dated_at
        for kind in NOTICES:
            made = Notice(kind, masthead, "", ACTION, choices, moment, moment, (card(1),), report=REPORT)
            (tmp_path / f"{kind}-{language}.eml").write_bytes(compose_notice(made, ENVELOPE).content)
        (tmp_path / f"digest-{language}.eml").write_bytes(compose(letter(3, 9, language=language)).content)
    mails = sorted(tmp_path.glob("*.eml"))
    told = subprocess.run([judge, "--fast", *mails], capture_output=True, text=True, check=False).stdout
    mail, failures = "", []
    for line in told.splitlines():
        if ".eml: " in line:
            mail = line.partition(".eml: ")[0]
        elif line.strip().startswith("FAIL") and "DKIM" not in line:
            failures.append(f"{mail}: {line}")
    assert len(mails) == 4 * (1 + len(NOTICES)) == told.count(".eml: ")
    assert failures == []
