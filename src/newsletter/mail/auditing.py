"""What mail clients will not show as an author meant it: styles and tags, faint text, size. Such a mail still goes out.

Support of CSS and HTML as caniemail.com has it, in Outlook on Windows, Gmail, Apple Mail and Yahoo.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lxml import html as lxml_html

from newsletter.audience.brand import ENOUGH, contrast, parse_colour
from newsletter.errors import InputError
from newsletter.mail.faults import Fault
from newsletter.mail.frames import HTML_LIMIT
from newsletter.mail.inlining import split_rules
from newsletter.mail.look import BAND_STYLES, HEAD, Look
from newsletter.mail.samples import ITEMS, parts_of, sample_digest, sample_masthead, sample_message
from newsletter.mail.templates import STYLE, source_of
from newsletter.mail.values import SUBJECT_LIMIT
from newsletter.settings import PLACEHOLDER_SITE

# Declarations, and what to write instead.
_CSS: Mapping[str, str] = {
    r"display\s*:\s*(?:inline-)?(?:flex|grid)": "Outlook and Gmail ignore it: use a table.",
    r"(?<![-\w])position\s*:": "Mail clients take it away: use rows of a table and padding.",
    r"var\(|(?<![-\w])--[\w-]+\s*:": "Outlook and Gmail ignore variables: write the value.",
    r"(?<![-\w])(?:gap|grid-[\w-]+|flex(?:-[\w-]+)?|align-items|justify-content)\s*:": "Use padding of table cells.",
    r"(?<![-\w])(?:transform|animation(?:-[\w-]+)?|transition|filter)\s*:": "Gmail and Outlook ignore it: do without.",
    r"calc\(|clamp\(|min\(|max\(": "Outlook ignores it: write the value in px, or a percentage.",
    r"\d(?:rem|vw|vh|ch)\b": "Outlook ignores this unit: use px.",
    r"@import|@charset": "Mail clients load nothing: write the rules here.",
    r"@font-face": "Few clients load fonts; Outlook then takes Times New Roman: name fonts that readers have.",
    r"(?<![-\w])object-fit\s*:": "Outlook ignores it: scale the picture itself.",
    r"background(?:-image)?\s*:[^;}]*url\(": "Outlook shows none: set background-color, and pictures as <img>.",
}
_TAGS: Mapping[str, str] = {
    "script": "Every client takes it away.",
    "link": "Mail clients load no stylesheet: write rules into style.css.",
    "iframe": "Every client takes it away: link to a page.",
    "form": "Most clients take it away, and warn of it: link to a page.",
    "video": "Link to a page from a picture.",
    "audio": "Link to a page.",
    "svg": "Gmail and Outlook show none: use a PNG.",
    "object": "Every client takes it away.",
    "embed": "Every client takes it away.",
}
_JINJA = re.compile(r"{#.*?#}", re.DOTALL)


class Colours(NamedTuple):
    """What text stands in and on, as #rrggbb."""

    ink: str = "#000000"
    paper: str = "#ffffff"


def blemishes(kind: str, look: Look) -> Iterator[Fault]:
    """What is better mended in the templates of a kind that can be used otherwise."""
    yield from _styles(STYLE, source_of(STYLE, look))
    for name in ("base.html", f"{kind}/body.html"):
        source = source_of(name, look)
        yield from _styles(name, source, r'style\s*=\s*"[^"]*"')
        yield from _tags(name, source)
    yield from _band(kind, look)
    masthead = sample_masthead(look)
    subject, _, html = parts_of(sample_message(kind, masthead))
    shown = [html]
    if len(subject) > SUBJECT_LIMIT:
        what = f"The subject has {len(subject)} characters; few clients show {SUBJECT_LIMIT}."
        yield Fault(f"{kind}/subject.txt", 0, what, "", True)
    if kind == "digest":
        full = parts_of(sample_digest(masthead, ITEMS))[2]
        shown.append(full)
        if f'href="{PLACEHOLDER_SITE}/{ITEMS - 1}"' not in full:
            yield Fault(
                "digest/body.html", 0,
                f"{ITEMS} items do not fit into {HTML_LIMIT:,} bytes, where Gmail cuts off: the last are only named.",
                "Make what stands inside the loop over cards shorter, styles included.",
            )  # fmt: skip
    yield from dict.fromkeys(fault for one in shown for fault in _faint(kind, one, look))


def _band(kind: str, look: Look) -> Iterator[Fault]:
    """What keeps the band of a list from being there, or from being seen."""
    if look.header != "band":
        return
    name, plain = f"{kind}/body.html", "Or do without: `newsletter lists brand LIST --header plain`."
    if not HEAD.search(source_of(name, look)):
        yield Fault(
            name, 0, "The list's header is a band, and mails of this kind have none.",
            f"Begin with <tr><td class=\"top\"> and <h1 class=\"name\">[[name]]</h1>, as the shipped one does. {plain}",
            True,
        )  # fmt: skip
    css = source_of(STYLE, look)
    if missing := [f".{one}" for one in BAND_STYLES if not re.search(rf"\.{one}\b", css)]:
        what = f"The list's header is a band, and there is no style for {', '.join(missing)}."
        yield Fault(STYLE, 0, what, f"Copy the rules from the shipped file. {plain}", True)


def _styles(name: str, source: str, within: str = "") -> Iterator[Fault]:
    plain = re.sub(r"/\*.*?\*/|{#.*?#}", lambda found: re.sub(r"[^\n]", " ", found[0]), source, flags=re.DOTALL)
    spans = [found.span() for found in re.finditer(within, plain)] if within else [(0, len(plain))]
    for pattern, mend in _CSS.items():
        for start, end in spans:
            for found in re.compile(pattern, re.IGNORECASE).finditer(plain, start, end):
                line = plain[: found.start()].count("\n") + 1
                yield Fault(name, line, f"{found[0].strip()} is not shown by all mail clients.", mend, True)


def _tags(name: str, source: str) -> Iterator[Fault]:
    plain = _JINJA.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)
    for found in re.finditer(r"<([a-z]+)\b([^>]*)>", plain, re.IGNORECASE):
        tag, line = found[1].lower(), plain[: found.start()].count("\n") + 1
        if tag in _TAGS:
            yield Fault(name, line, f"<{tag}> does not work in mails.", _TAGS[tag], True)
        if tag == "img":
            missing = [one for one in ("alt", "width") if not re.search(rf"\b{one}\s*=", found[2])]
            if missing:
                what = " and ".join(missing)
                yield Fault(name, line, f"<img> without {what}.", "alt is read where pictures are blocked.", True)


def _faint(kind: str, html: str, look: Look) -> Iterator[Fault]:
    """Text that does not stand out from what it stands on, in light and in dark."""
    css = look.dressed(source_of(STYLE, look))
    root = lxml_html.document_fromstring(html)
    told = set()
    for mode, dark in (("light", {}), ("dark", _dark(css))):
        for element, colours in _texts(root.body, Colours(), dark):
            found = contrast(*colours)
            # Colours are checked to two places: paper may differ by a shade from the site's.
            if found >= ENOUGH - 0.01:
                continue
            name = next(iter(element.get("class", "").split()), element.tag)
            if (name, mode, colours) not in told:
                told.add((name, mode, colours))
                line = css[: css.find(f".{name} ")].count("\n") + 1 if f".{name} " in css else 0
                yield Fault(
                    STYLE if line else f"{kind}/body.html", line,
                    f"{colours.ink} on {colours.paper} in .{name} is too faint in {mode}: "
                    f"{found:.1f} to 1, and text needs {ENOUGH}.",
                    "Make the text darker." if mode == "light" else
                    "Make the text lighter in @media (prefers-color-scheme: dark), with !important.",
                )  # fmt: skip


def _texts(element: Any, above: Colours, dark: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[Any, Colours]]:
    """Each element with text that is seen, and its colours."""
    style = _declared(element.get("style", ""))
    for name in element.get("class", "").split():
        style |= dark.get(name, {})
    if style.get("display") == "none":
        return
    paper = _colour(style.get("background-color") or style.get("background") or element.get("bgcolor"))
    colours = Colours(_colour(style.get("color")) or above.ink, paper or above.paper)
    children = [child for child in element if isinstance(child.tag, str)]
    if any(text and text.strip() for text in (element.text, *(child.tail for child in element))):
        yield element, colours
    for child in children:
        yield from _texts(child, colours, dark)


def _dark(css: str) -> dict[str, dict[str, str]]:
    """What each class has in dark."""
    found: dict[str, dict[str, str]] = {}
    for rule in re.findall(r"@media[^{]*prefers-color-scheme:\s*dark[^{]*{((?:[^{}]*{[^{}]*})*)", split_rules(css)[1]):
        for selectors, body in re.findall(r"([^{}]+){([^{}]*)}", rule):
            for name in re.findall(r"\.([\w-]+)\s*(?:,|$)", selectors.strip()):
                found.setdefault(name, {}).update(_declared(body))
    return found


def _declared(style: str) -> dict[str, str]:
    pairs = (declaration.partition(":") for declaration in style.split(";"))
    return {name.strip().lower(): value.replace("!important", "").strip().lower() for name, _, value in pairs if value}


def _colour(value: str | None) -> str:
    names = {"white": "#ffffff", "black": "#000000"}
    try:
        return parse_colour(names.get(value or "", value or ""))
    except InputError:
        # Another notation: nothing is said of it.
        return ""
