"""What every mail has to be, whatever it says: checks of whole messages, each a function that gives its complaints.

python tests/mailcheck.py        writes all specimens into build/mailcheck/ and checks them (``make mailcheck``)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path

import dkim
import lxml.html
from lxml.html import HtmlElement

from newsletter.audience import brand
from newsletter.mail.templates import WIDTH

OUT = Path(__file__).parents[1] / "build" / "mailcheck"
HTML_LIMIT = 95_000
"""Bytes as encoded; Gmail hides what is beyond 102 KB."""
LINE, LONGEST_LINE = 78, 998
"""Characters of a line without CRLF: what should be kept and what must be (RFC 5322, 2.1.1)."""
SCHEMES = ("light", "dark")
INHERITED = ("color", "font-family", "font-size", "line-height")
STYLED = ("a", "blockquote", "h1", "h2", "h3", "hr", "li", "ol", "p", "td", "ul")
"""What mail programs give margins, sizes or colours of their own."""

Style = dict[str, str]


class Mail:
    """A message as a receiver sees it."""

    def __init__(self, content: bytes, keys: dict[str, str]) -> None:
        """``keys``: what DNS has, by name."""
        self.content = content
        self.keys = keys
        self.head = content.partition(b"\r\n\r\n")[0].decode("latin-1")
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.message = message
        self.parts = {part.get_content_type(): part for part in message.walk() if not part.is_multipart()}

    def part(self, kind: str) -> str:
        """The content of a part, decoded."""
        part = self.parts.get(kind)
        return part.get_content().replace("\r\n", "\n") if part else ""

    @cached_property
    def html(self) -> HtmlElement:
        """The HTML part, parsed."""
        return lxml.html.document_fromstring(self.part("text/html") or "<html></html>")

    @cached_property
    def dark(self) -> dict[str, Style]:
        """What the style sheet says for dark screens, by class."""
        sheet = "".join(style.text or "" for style in self.html.iter("style"))
        found: dict[str, Style] = {}
        for block in re.findall(r"@media[^{]*prefers-color-scheme: ?dark\)\s*{((?:[^{}]*{[^{}]*})*)\s*}", sheet):
            for selectors, rules in re.findall(r"([^{}]+){([^{}]*)}", block):
                for selector in selectors.split(","):
                    found.setdefault(selector.strip().removeprefix("."), {}).update(declarations(rules))
        return found

    def style(self, element: HtmlElement, scheme: str) -> Style:
        """What an element is shown with: its own declarations, and what it inherits of its parents."""
        found: Style = {}
        for one in (*reversed(list(element.iterancestors())), element):
            kept = {name: value for name, value in found.items() if name in (*INHERITED, "background-color", "display")}
            found = kept | declarations(one.get("style", ""))
            if scheme == "dark":
                for name in one.get("class", "").split():
                    found |= self.dark.get(name, {})
        return found

    def texts(self) -> Iterator[tuple[HtmlElement, str]]:
        """Each element of the body with the text that stands in it directly."""
        for element in self.html.body.iter() if self.html.find("body") is not None else ():
            if isinstance(element.tag, str):
                text = " ".join([element.text or "", *(child.tail or "" for child in element)]).strip()
                if text:
                    yield element, text


def declarations(text: str) -> Style:
    """``color: red; margin: 0`` by name."""
    pairs = (part.partition(":") for part in text.replace("!important", "").split(";"))
    found = {name.strip().lower(): value.strip() for name, _, value in pairs if value.strip()}
    if "background" in found:
        found["background-color"] = found["background"]
    if font := re.fullmatch(r"(?:bold )?(\d+px)/(\d+px) (.+)", found.pop("font", "")):
        found |= zip(("font-size", "line-height", "font-family"), font.groups(), strict=True)
    return found


def contrast_of(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21; ``#fff`` is what inlining makes of ``#ffffff``."""
    whole = [re.sub(r"^#(.)(.)(.)$", r"#\1\1\2\2\3\3", colour) for colour in (one, other)]
    return brand.contrast(*whole)


def structure(mail: Mail) -> Iterator[str]:
    """Lines end with CRLF and are short; text comes first, HTML second; nothing in it is malformed."""
    if re.search(rb"(?<!\r)\n|\r(?!\n)", mail.content):
        yield "a line does not end with CRLF"
    if max(map(len, mail.content.split(b"\r\n"))) > LONGEST_LINE:
        yield f"a line is longer than {LONGEST_LINE}"
    kinds = [part.get_content_type() for part in mail.message.walk()]
    if kinds != ["multipart/alternative", "text/plain", "text/html"]:
        yield f"parts are {kinds}"
    for part in mail.message.walk():
        yield from (f"{part.get_content_type()}: {type(defect).__name__}" for defect in part.defects)
        if not part.is_multipart() and (part.get_content_charset(), part["Content-Transfer-Encoding"]) != (
            "utf-8", "quoted-printable",
        ):  # fmt: skip
            yield f"{part.get_content_type()} is not UTF-8 in quoted-printable"


def headers(mail: Mail) -> Iterator[str]:
    """Who, when, which, of what list, how to leave: each field once, well formed, folded; both signatures hold."""
    message = mail.message
    forms = {
        "From": r".+ <[^<>@\s]+@[\w.-]+>",
        "To": r"(.+ <)?[^<>@\s]+@[\w.-]+>?",
        "Subject": r".{10,60}",
        "Date": r"\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}",
        "Message-ID": r"<[^<>@\s]+@[\w.-]+>",
        "List-Id": r'("[^"]+" )?<[\w.-]+>',
        "Feedback-ID": r"[^:\s]*:[^:\s]*:[^:\s]*:[^:\s]{5,15}",
        "Auto-Submitted": r"auto-generated",
    }
    forms |= {
        "List-Unsubscribe": r"(<mailto:[^<>\s]+>,\s*)?<https://[^<>\s]+>",
        "List-Unsubscribe-Post": r"List-Unsubscribe=One-Click",
    }
    for name, form in forms.items():
        values = message.get_all(name, [])
        if len(values) != 1:
            yield f"{name} stands {len(values)} times"
        elif not re.fullmatch(form, str(values[0])):
            yield f"{name}: {values[0]}"
    for line in mail.head.split("\r\n"):
        # Behind the name a field is not folded: some readers take the rest for empty.
        if len(line) > LINE and " " in re.sub(r"^[\w-]+: ", "", line).strip():
            yield f"not folded: {line[:40]}…"
    count = len(message.get_all("DKIM-Signature", []))
    if not count:
        yield "no DKIM-Signature"
    verifier = dkim.DKIM(mail.content)
    for number in range(count):
        try:
            holds = verifier.verify(
                number, dnsfunc=lambda name, timeout=5: mail.keys[name.decode().rstrip(".")].encode()
            )
        except dkim.DKIMException as error:
            yield f"DKIM: {error}"
        else:
            if not holds:
                yield f"DKIM: signature {number + 1} does not hold"


def size(mail: Mail) -> Iterator[str]:
    """The encoded HTML stays clear of what Gmail cuts off, the style sheet of what it drops."""
    part = mail.parts.get("text/html")
    encoded = len(str(part.get_payload())) if part else 0
    if encoded > HTML_LIMIT:
        yield f"the HTML has {encoded:,} bytes"
    if any(len(style.text or "") > 8192 for style in mail.html.iter("style")):
        yield "a style sheet has more than 8192 characters"


def contrast(mail: Mail) -> Iterator[str]:
    """Each text can be read on what lies behind it, on light and on dark screens."""
    found = set()
    for element, _ in mail.texts():
        for scheme in SCHEMES:
            style = mail.style(element, scheme)
            if style.get("display") != "none":
                pair = scheme, style.get("color", "#000000"), style.get("background-color", "#ffffff")
                found.add((*pair, element.get("class") or element.tag))
    for scheme, colour, behind, name in sorted(found):
        if (ratio := contrast_of(colour, behind)) < brand.ENOUGH:
            yield f"{scheme}: .{name} {colour} on {behind} has {ratio:.2f}"


def links(mail: Mail) -> Iterator[str]:
    """Each link leads somewhere from a mail, says where, and a mail has at least one; no two places have one id."""
    found = list(mail.html.iter("a"))
    ids = mail.html.xpath("//@id")
    if len(ids) != len(set(ids)):
        yield f"two places have one id: {ids}"
    if not found:
        yield "there is no link"
    for link in found:
        href = link.get("href", "")
        if not re.match(r"https://[^/\s]+|mailto:[^@\s]+@", href):
            yield f"a link leads to {href!r}"
        if not link.text_content().strip() and not link.xpath(".//img[@alt!='']"):
            yield f"the link to {href} has no words"


def text(mail: Mail) -> Iterator[str]:
    """Who reads the text part misses no title, picture, address or line of the end, in short lines without HTML."""
    said = " ".join(mail.part("text/plain").split())
    for element in mail.html.xpath("//h1|//h2|//h3|//p[@class='small' or not(@class)]"):
        words = " ".join(re.sub(r"<br ?/?>", " ", lxml.html.tostring(element, encoding="unicode")).split())
        plain = " ".join(lxml.html.fromstring(words).text_content().split())
        if not element.xpath(".//a[@class='link']") and plain.removesuffix("…") not in said:
            yield f"not in the text: {plain[:50]}"
    for href in mail.html.xpath("//a/@href"):
        if href not in said:
            yield f"not in the text: {href}"
    for picture in mail.html.xpath("//img[@class='image']"):
        for what in (picture.get("src", ""), " ".join(picture.get("alt", "").split())):
            if what not in said:
                yield f"not in the text: the picture {what[:50]}"
    for line in mail.part("text/plain").split("\n"):
        # What has no space, as an address, stays whole.
        if len(line) > WIDTH and " " in line:
            yield f"a line of the text has {len(line)} characters: {line[:40]}…"
    if found := re.search(r"</?(td|tr|p|div|span|a|br)\b|&(nbsp|amp|lt|#\d+);", said):
        yield f"the text has {found[0]}"


def addresses(mail: Mail) -> Iterator[str]:
    """HTML and text together have an even number of addresses: rspamd takes an odd one for parts that differ.

    URI_COUNT_ODD: each address as often as it stands; a link of the HTML only if the text has its address.
    """
    said = re.findall(r"https?://[^\s()<>]+", mail.part("text/plain"))
    found = [*said, *mail.html.xpath("//img/@src"), *(href for href in mail.html.xpath("//a/@href") if href in said)]
    if len(found) % 2:
        yield f"{len(found)} addresses"


def marks(mail: Mail) -> Iterator[str]:
    """Arabic with few vowel marks, as newspapers set it: rspamd takes more than one in ten words for a disguise.

    R_MIXED_CHARSET, its plugin chartable: marks in words of up to ten letters, by the words of a part; in a subject by
    one word more, with the sender's name.
    """
    said = {"text/plain": mail.part("text/plain"), "text/html": mail.html.text_content()}
    said["Subject"] = f"{mail.message['Subject']} {str(mail.message['From']).partition('<')[0]} x"
    for where, content in said.items():
        words = re.findall(r"[^\W_](?:[^\W_]|[\u064b-\u0652])*", re.sub(r"\w+://\S+", "", content))
        found = sum(len(re.findall(r"[\u064b-\u0652]", word)) for word in words if len(word) <= 10)
        if found > len(words) / 10:
            yield f"{where} has {found} vowel marks in {len(words)} words"


def styled(mail: Mail) -> Iterator[str]:
    """Nothing is left to a mail program's taste: fonts, sizes, colours and margins are said in the element itself."""
    for element in mail.html.body.iter(*STYLED):
        if not element.get("style") and not (element.tag == "td" and not element.get("class")):
            yield f"<{element.tag}> {element.text_content().strip()[:30]!r} has no style"
    for element, words in mail.texts():
        style = mail.style(element, "light")
        if style.get("display") != "none" and (missing := [name for name in INHERITED if name not in style]):
            yield f"<{element.tag}> {words[:30]!r} has no {', '.join(missing)}"
    if re.search(r"\{\{|\{%|\[\[|zj\d+jz|>\s*None\s*<", mail.part("text/html") + mail.part("text/plain")):
        yield "something of a template is left"


def images(mail: Mail) -> Iterator[str]:
    """An image keeps its room and says what it shows before it is fetched."""
    for image in mail.html.iter("img"):
        # How high an item's picture is, nobody has said.
        own = image.get("height", "").isdigit() or image.get("class") == "image"
        if not (image.get("alt") is not None and image.get("width", "").isdigit() and own):
            yield f"{image.get('src')} has no alt, width or height"
        if not image.get("src", "").startswith("https://"):
            yield f"{image.get('src')} is not https"


def outline(mail: Mail) -> Iterator[str]:
    """It can be listened to: one h1, no level left out, language and direction said, layout tables marked as such."""
    levels = [int(element.tag[1]) for element in mail.html.iter("h1", "h2", "h3", "h4")]
    if levels.count(1) != 1 or any(after - before > 1 for before, after in zip((0, *levels), levels, strict=False)):
        yield f"headings are {levels}"
    for element in (mail.html, *mail.html.xpath("//body/div[@role='article']")):
        if not element.get("lang") or element.get("dir") not in ("ltr", "rtl"):
            yield f"<{element.tag}> says no language or direction"
    if mail.html.xpath("//table[not(@role='presentation')]"):
        yield "a table is not marked as layout"


Check = Callable[[Mail], Iterator[str]]
CHECKS: tuple[Check, ...] = (structure, headers, size, contrast, links, text, addresses, marks, styled, images, outline)


def complaints(mail: Mail) -> dict[str, list[str]]:
    """What each check has to say, by its name; an empty list is praise."""
    return {check.__name__: list(check(mail)) for check in CHECKS}


def main() -> int:
    from specimens import records, specimens

    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.*"):
        old.unlink()
    made = specimens(datetime.now(UTC))
    for name, record in records().items():
        (OUT / f"{name}.txt").write_text(f"{record}\n")
    failed = []
    names = [check.__name__ for check in CHECKS]
    width = max(map(len, made))
    print(f"{'mail':{width}} {'HTML':>8}  {'  '.join(names)}")
    for name, message in made.items():
        mail = Mail(message.content, records())
        (OUT / f"{name}.eml").write_bytes(message.content)
        (OUT / f"{name}.html").write_text(mail.part("text/html"), "utf-8")
        found = complaints(mail)
        failed += [f"{name}: {check}: {line}" for check, lines in found.items() for line in lines]
        size_kb = len(str(mail.parts["text/html"].get_payload())) / 1000
        marks = "  ".join(f"{len(found[check]) or 'ok':<{len(check)}}" for check in names)
        print(f"{name:{width}} {size_kb:5.1f} KB  {marks}")
    print("\n".join(["", *failed, f"{len(made)} mails in {OUT}: {len(failed) or 'no'} complaints"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
