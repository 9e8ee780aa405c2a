"""Atom feeds of an archive (RFC 4287), with links from page to page (RFC 5005, 3). Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as xml

from newsletter.catalogue.cleaning import clean_html
from newsletter.catalogue.themes import Vocabulary, theme_name
from newsletter.digests.archive import Page
from subscribers.choices import name_of
from subscribers.filters import Filter
from subscribers.shelving import Named

ATOM = "http://www.w3.org/2005/Atom"
COUNTRIES = "urn:iso:std:iso:3166:-1"
REGIONS = "https://unstats.un.org/unsd/methodology/m49/"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
# What is no Char of XML 1.0 (2.2), however it is written; and line ends that a parser would change (2.11).
_NO_CHARACTER = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# What cannot stand in an IRI as it is (RFC 3987, 2.2).
_NO_ADDRESS = re.compile(r"""[\s<>"{}|\\^`]""")
_NO_LANGUAGE = re.compile(r"[^a-zA-Z0-9-]")

xml.register_namespace("", ATOM)


@dataclass(frozen=True)
class Feed:
    """A feed as it is sent; ``tag``: an entity tag (RFC 9110, 8.8.3)."""

    content: bytes
    tag: str
    last_modified: str


def matches(given: str, tag: str) -> bool:
    """Whether an ``If-None-Match`` names ``tag``, by the weak comparison that it asks for (RFC 9110, 13.1.2)."""
    named = [one.strip().removeprefix("W/") for one in given.split(",")]
    return tag in named or "*" in named


def clean(text: str) -> str:
    """Text as XML can carry it."""
    return _NO_CHARACTER.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def feed_of(
    site: str,
    list_row: Any,
    vocabulary: Vocabulary,
    chosen: Filter,
    named: Sequence[Named],
    page: Page,
    *,
    before: int | None,
    language: str,
) -> Feed:
    """The feed of a page of an archive; ``site``: where ours is; ``language``: of what the feed says of itself.

    Ids are tag URIs (RFC 4151) of the site's host, of the day on which the list was made, and of numbers that never
    change: they stay when titles, tags and addresses are edited.
    """
    base = f"{site}/{list_row.slug}"
    mark = f"tag:{urlsplit(site).hostname},{list_row.created_at:%Y-%m-%d}:{list_row.slug}"
    picks = chosen.query()
    updated = max((row.revised_at for row in page.items), default=list_row.created_at)
    feed = xml.Element(f"{{{ATOM}}}feed", {_LANG: language})
    name = list_row.name + (": " + " · ".join(one.name for one in named) if named else "")
    _add(feed, "id", f"{mark}{picks}")
    _add(feed, "title", name)
    if list_row.description:
        _add(feed, "subtitle", list_row.description)
    _add(feed, "updated", _moment(updated))
    _add(_add(feed, "author"), "name", list_row.name)
    _add(feed, "generator", "Newsletter")
    _link(feed, "self", f"{base}/feed.atom{chosen.query(before=before)}", "application/atom+xml")
    _link(feed, "alternate", f"{base}/archive{picks}", "text/html")
    if before is not None:
        _link(feed, "first", f"{base}/feed.atom{picks}", "application/atom+xml")
    if page.older and page.items:
        following = chosen.query(before=page.items[-1].position)
        _link(feed, "next", f"{base}/feed.atom{following}", "application/atom+xml")
    for row in page.items:
        _entry(feed, row, f"{mark}/{row.position}", site, base, vocabulary, language)
    content = b'<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(feed, "utf-8", xml_declaration=False)
    tag = hashlib.sha256(content).hexdigest()[:32]
    return Feed(content, f'"{tag}"', format_datetime(updated.replace(microsecond=0), usegmt=True))


def _entry(feed: xml.Element, row: Any, mark: str, site: str, base: str, vocabulary: Vocabulary, language: str) -> None:
    entry = _add(feed, "entry")
    if row.language and not _NO_LANGUAGE.search(row.language):
        entry.set(_LANG, row.language)
    _add(entry, "id", mark)
    _add(entry, "title", row.title)
    _add(entry, "updated", _moment(row.revised_at))
    _add(entry, "published", _moment(row.published_at))
    if row.source:
        _add(_add(entry, "author"), "name", row.source)
    _link(entry, "alternate", row.url or f"{site}/items/{row.id}", "text/html")
    for scheme, code, label in (
        *((COUNTRIES, code, name_of(code, language)) for code in row.countries),
        *((REGIONS, code, name_of(code, language)) for code in row.regions),
        *(
            (f"{base}/archive", slug, theme_name(vocabulary[slug], language))
            for slug in row.themes
            if slug in vocabulary
        ),
    ):
        xml.SubElement(entry, f"{{{ATOM}}}category", {"scheme": scheme, "term": code, "label": clean(label)})
    if row.summary:
        _add(entry, "summary", row.summary)
    if row.body:
        # Cleaned on its way in already; whoever shows it does not have to rely on that.
        _add(entry, "content", clean_html(row.body)).set("type", "html")


def _add(parent: xml.Element, name: str, text: str = "") -> xml.Element:
    element = xml.SubElement(parent, f"{{{ATOM}}}{name}")
    element.text = clean(text)
    return element


def _link(parent: xml.Element, relation: str, href: str, kind: str) -> None:
    address = _NO_ADDRESS.sub(lambda found: quote(found[0]), clean(href))
    xml.SubElement(parent, f"{{{ATOM}}}link", {"rel": relation, "href": address, "type": kind})


def _moment(at: datetime) -> str:
    """RFC 3339, whole seconds."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
