"""The archive of a list and its feeds, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from house import House
from httpx import Client
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree, html
from sqlalchemy import Engine, update
from visiting import visiting

from newsletter.audience.picks import Picks
from newsletter.catalogue.items import withdraw
from newsletter.catalogue.themes import Theme
from newsletter.digests.archive import Page
from newsletter.errors import InputError
from newsletter.settings import Settings
from newsletter.tables import lists
from subscribers.feed import clean, feed_of, matches
from subscribers.filters import Filter, read_filter
from subscribers.shelving import Named

ATOM = "{http://www.w3.org/2005/Atom}"
AT = datetime(2026, 11, 24, 8, 0, 0, 5, tzinfo=UTC)


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create(name="Rutas <b>")


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    with visiting(house) as client:
        yield client


def fill(house: House) -> list[int]:
    ids = house.publish(*(f"gt {n}" for n in range(22)), countries=("GT",), themes=("trade",))
    return (
        ids + house.publish("region", regions=("013",), themes=("children",)) + house.publish("sn", countries=("SN",))
    )


def titles(page: str) -> list[str]:
    return [heading.text_content() for heading in html.fromstring(page).xpath("//article/h2")]


def link(page: str, relation: str) -> str:
    (href,) = html.fromstring(page).xpath(f"//nav/a[@rel='{relation}']/@href")
    return str(href)


def test_leafing(house: House, client: Client) -> None:
    """Newest first, twenty to a page; the links to and fro carry the filter."""
    fill(house)
    page = client.get("/rutas/archive?country=GT&theme=trade&lang=en").text
    assert titles(page) == [f"gt {n}" for n in range(21, 1, -1)]
    assert "22 items" in page
    older = client.get(link(page, "next")).text
    assert titles(older) == ["gt 1", "gt 0"]
    assert "country=GT&theme=trade&lang=en" in link(older, "prev")
    assert titles(client.get(link(older, "prev")).text) == titles(page)
    assert titles(client.get("/rutas/archive?after=20").text) == titles(client.get("/rutas/archive").text)


def test_filters(house: House, client: Client) -> None:
    """A form without script: it offers what there is, keeps what is picked, and each pick can be taken back. A
    region's item concerns its countries, and a country's item the regions around it, as in digests."""
    fill(house)
    assert titles(client.get("/rutas/archive?country=HN").text) == ["region"]
    assert titles(client.get("/rutas/archive?region=202&country=&theme=").text) == ["sn"]
    assert titles(client.get("/rutas/archive?theme=protection").text) == ["region"]
    root = html.fromstring(client.get("/rutas/archive?country=sn", headers={"accept-language": "es"}).text)
    assert root.xpath("//form//input/@value")[0] == "SN"
    assert "GT" in root.xpath("//select[@name='country']/option/@value")
    assert "SN" not in root.xpath("//select[@name='country']/option/@value")
    assert "Guatemala" in [option.text.strip() for option in root.xpath("//select[@name='country']/option")]
    for label in root.xpath("//form//label"):
        assert root.xpath(f"//select[@id='{label.get('for')}']")
    assert root.xpath("//ul[@class='picked']//a/@href") == ["/rutas/archive"]
    assert root.xpath("//link[@rel='canonical']/@href") == ["https://news.example.org/rutas/archive?country=SN"]
    assert root.xpath("//link[@type='application/atom+xml']/@href") == ["/rutas/feed.atom?country=SN"]


def test_empty_states(house: House, client: Client) -> None:
    """An archive without items, a filter that nothing fits, an end that was passed: each says what it is."""
    assert "No items yet" in client.get("/rutas/archive").text
    fill(house)
    assert "Nothing fits" in client.get("/rutas/archive?country=SN&theme=trade").text
    assert "nothing further back" in client.get("/rutas/archive?before=1").text
    for query in ("country=XX", "theme=nothing", "language=%21", "region=9" * 90):
        answer = client.get(f"/rutas/archive?{query}")
        assert answer.status_code == 404
        assert "This filter does not exist" in answer.text
        assert client.get(f"/rutas/feed.atom?{query}").status_code == 404
    for query in ("before=x", "before=0", "after=-1", f"before={2**63}"):
        assert client.get(f"/rutas/archive?{query}").status_code == 404


@pytest.mark.parametrize("values", [{"is_public": False}, {"archived_at": AT}])
def test_not_for_everybody(house: House, client: Client, values: dict[str, Any]) -> None:
    """A list that is not public, or archived, has neither archive nor feed, as one that does not exist."""
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(**values))
    for path in ("/rutas/archive", "/rutas/feed.atom", "/other/archive", "/%00/archive"):
        assert client.get(path).status_code == 404


def test_withdrawn_items_are_gone(house: House, client: Client) -> None:
    """From one moment to the next, in archive and feed; and the feed's tag is another."""
    ids = fill(house)
    before = client.get("/rutas/feed.atom")
    with house.engine.begin() as connection:
        withdraw(connection, ids[-1], house.now)
    assert "sn" not in titles(client.get("/rutas/archive").text)
    after = client.get("/rutas/feed.atom", headers={"if-none-match": before.headers["etag"]})
    assert after.status_code == 200
    assert b">sn<" not in after.content


def test_feed(house: House, client: Client) -> None:
    """A feed of any picks: what RFC 4287 asks for is there, the links lead where they say, pages follow each other."""
    fill(house)
    answer = client.get("/rutas/feed.atom?theme=trade&country=GT&before=20")
    assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
    root = ElementTree.fromstring(answer.content)
    assert root.tag == f"{ATOM}feed"
    assert [len(root.findall(f"{ATOM}{name}")) for name in ("id", "title", "updated", "author")] == [1, 1, 1, 1]
    assert root.findtext(f"{ATOM}id") == "tag:news.example.org,2026-11-24:rutas?country=GT&theme=trade"
    assert root.findtext(f"{ATOM}title") == "Rutas <b>: Guatemala · Trade"
    hrefs = {one.get("rel"): str(one.get("href")) for one in root.findall(f"{ATOM}link")}
    assert hrefs["self"] == "https://news.example.org/rutas/feed.atom?country=GT&theme=trade&before=20"
    for name in ("self", "alternate", "first"):
        parts = urlsplit(hrefs[name])
        assert client.get(f"{parts.path}?{parts.query}").status_code == 200
    entries = root.findall(f"{ATOM}entry")
    assert [entry.findtext(f"{ATOM}title") for entry in entries] == [f"gt {n}" for n in range(18, -1, -1)]
    assert len({entry.findtext(f"{ATOM}id") for entry in entries}) == 19
    (first, *_), links = entries, entries[0].findall(f"{ATOM}link")
    assert [(one.get("rel"), one.get("href")) for one in links] == [("alternate", "https://e.example/gt%2018")]
    assert [one.get("label") for one in first.findall(f"{ATOM}category")] == ["Guatemala", "Trade"]
    everything = ElementTree.fromstring(client.get("/rutas/feed.atom?language=en").content)
    assert len(everything.findall(f"{ATOM}entry")) == 24


def test_feed_is_fetched_once(house: House, client: Client) -> None:
    """Who has it already gets 304 without a body; it has an honest date."""
    fill(house)
    first = client.get("/rutas/feed.atom")
    assert first.headers["last-modified"] == "Tue, 24 Nov 2026 08:00:00 GMT"
    for tag in (first.headers["etag"], f'W/{first.headers["etag"]}, "x"', "*"):
        again = client.get("/rutas/feed.atom", headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    house.publish("new")
    assert client.get("/rutas/feed.atom", headers={"if-none-match": first.headers["etag"]}).status_code == 200
    assert not matches("", '"a"')


anything = st.text(st.characters(exclude_categories=()), max_size=30)


@given(anything, anything, anything, st.sampled_from(("en", "ar", "a b", "")), st.booleans())
def test_feeds_are_xml(title: str, summary: str, name: str, language: str, dated: bool) -> None:
    """Any text, control characters and halves of characters too: two parsers read back what XML can carry of it."""
    row = SimpleNamespace(id=7, position=3, title=title, summary=summary, body=f"<p>{summary}</p>", url=None)
    row.language, row.source, row.published_at, row.revised_at = language, name, AT, AT
    row.countries, row.regions, row.themes = ["GT"], ["013"], ["a"]
    list_row = SimpleNamespace(slug="rutas", name=name, description=title, created_at=AT)
    vocabulary = {"a": Theme("a", {"en": title}, None)}
    chosen = Filter(Picks(themes=frozenset({"a"})))
    page = Page([row] if dated else [], newer=False, older=dated)
    named = [Named("theme", "a", title)]
    made = feed_of("https://x.example", list_row, vocabulary, chosen, named, page, before=9, language="en")
    root = ElementTree.fromstring(made.content)
    assert etree.fromstring(made.content).findtext(f"{ATOM}id") == root.findtext(f"{ATOM}id")
    for entry in root.findall(f"{ATOM}entry"):
        assert entry.findtext(f"{ATOM}title") == clean(title)
        assert (entry.findtext(f"{ATOM}summary") or "") == clean(summary)


codes = st.sampled_from(("GT", "HN", "013", "001", "a", "b", "es", "", "x", "gt", "é", "0"))


@given(st.lists(st.tuples(st.sampled_from(("country", "region", "theme", "language", "lang", "q")), codes), max_size=6))
def test_a_filter_is_its_address(pairs: list[tuple[str, str]]) -> None:
    """An address is read to a filter that writes an address which is read to the same; or it is refused."""
    vocabulary = {slug: Theme(slug, {"en": slug}, None) for slug in "ab"}
    try:
        chosen = read_filter(vocabulary, pairs)
    except InputError:
        return
    assert read_filter(vocabulary, chosen.pairs()).picks == chosen.picks
    assert {code.lower() for _, code in chosen.pairs()} == {
        code.lower() for name, code in pairs if code and name not in ("lang", "q")
    }
