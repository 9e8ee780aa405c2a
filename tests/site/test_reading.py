"""Web copies of digests and pages of items: what was mailed, for anybody who has the address, and nobody's links."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from email import message_from_bytes, policy

import markupsafe
import pytest
from commanding import KEY
from house import House
from httpx import Client
from hypothesis import given
from hypothesis import strategies as st
from letters import texts
from lxml import html
from sqlalchemy import Engine, select, update
from visiting import visiting

from newsletter.audience.links import make_token
from newsletter.audience.lists import edit_list
from newsletter.audience.picks import Picks
from newsletter.catalogue.items import retag, withdraw
from newsletter.database import reading
from newsletter.delivery.composing.letters import Letters
from newsletter.delivery.ledger import as_claimed, find_delivery
from newsletter.digests import oversight
from newsletter.settings import Settings
from newsletter.tables import deliveries, items, lists, subscribers
from subscribers.copying import web_copy


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Of one kind only: what is asked here the archive's tests ask of both."""
    return sqlite_url


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create(name='Rutas "<b>', max_items=3)


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    with visiting(house) as client:
        yield client


def mailed(house: House, **values: str) -> tuple[int, str]:
    """A reader's digest: its number and the HTML that was mailed."""
    reader = house.subscribe("ana@example.org", Picks(countries=frozenset({"GT"})), name="Ana", **values)
    house.tick()
    number = house.delivery(reader).id
    with reading(house.engine) as connection:
        delivery = as_claimed(find_delivery(connection, number), house.now)
    message = Letters(house.engine, house.settings).compose(delivery)
    assert message
    body = message_from_bytes(message.content, policy=policy.default).get_body(("html",))
    assert body
    return number, body.get_content()


def copy_of(number: int) -> str:
    return f"/d/{make_token(KEY, 'copy', number)}"


def words(page: str) -> list[str]:
    """What there is to read, in order."""
    body = html.fromstring(page).find("body")
    assert body is not None
    return [" ".join(text.split()) for text in body.itertext() if text.strip()]


def test_no_picture_of_another_host(house: House, client: Client) -> None:
    """The web copy and the preview leave out items' pictures, so that nobody else hears who reads; mails have them."""
    url = "https://pictures.example/a.jpg"
    house.publish("one", countries=("GT",), image=url, image_alt="A bridge", published_at=house.now)
    number, mail = mailed(house)
    assert f'src="{url}"' in mail
    for path in (copy_of(number), "/rutas/preview/digest"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert ">one</a>" in answer.text
        assert "pictures.example" not in answer.text
        assert "A bridge" not in answer.text


def test_as_it_was_mailed(house: House, client: Client) -> None:
    """The copy has the text of the mail and looks like it; it lacks its reader's links, name and address, and names
    all that the mail left to its text version."""
    house.publish(*(f"title {n} <&>" for n in range(12)), countries=("GT",))
    number, mail = mailed(house)
    assert f'href="https://news.example.org{copy_of(number)}"' in mail
    answer = client.get(copy_of(number))
    assert answer.status_code == 200
    page = answer.text
    mine = {
        "Read in the browser",
        "Change your preferences",
        "·",
        "Less often",
        "Mute a country or theme",
        "Unsubscribe",
    }
    because = {'You receive this because you subscribed to the daily digest of Rutas "<b>.'}
    lost = [text for text in words(mail) if text not in words(page)]
    assert {*lost} == (mine | because | {"The text version of this mail lists them all."}) & {*lost}
    assert {*lost} >= because | {"Read in the browser", "Unsubscribe"}
    for text in ("/u/", "/p/", "/d/", "ana@example.org", "Ana"):
        assert text not in page
    assert all(f"title {n} &lt;&amp;&gt;" in page for n in range(12))
    assert len(html.fromstring(page).xpath("//main")) == 1
    old = set(re.findall(r"""style=["'](.*?)["']>""", mail))
    assert len(old) > 10
    assert "style=" not in page


def test_a_note_of_later(house: House, client: Client) -> None:
    """An editor who looks at a web copy before they write the note finds it there then, as readers do."""
    with house.engine.begin() as connection:
        edit_list(connection, "rutas", {"needs_approval": True})
    house.publish("one", countries=("GT",))
    number, _ = mailed(house)
    for text in ("", "A note.", "Another note."):
        if text:
            with house.engine.begin() as connection:
                oversight.note(connection, 1, "en", text)
        house.pass_time(seconds=1)
        page = client.get(copy_of(number)).text
        assert [said for said in words(page) if "note." in said] == [text] * bool(text)
    with house.engine.begin() as connection:
        oversight.approve(connection, 1, house.now)
    assert "Another note." in client.get(copy_of(number)).text


def test_its_policy(house: House, client: Client) -> None:
    """No inline style and nothing unsafe: the one sheet is named by its hash. Nobody indexes, keeps or frames it."""
    house.publish("one", countries=("GT",))
    number, _ = mailed(house)
    for answer in (client.get(copy_of(number)), client.head(copy_of(number))):
        headers = answer.headers
        given_policy = headers["content-security-policy"]
        assert "unsafe" not in given_policy
        assert headers["x-robots-tag"] == "noindex"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
    (sheet,) = re.findall(r"<style>(.*?)</style>", client.get(copy_of(number)).text, re.DOTALL)
    assert f"'sha256-{b64encode(hashlib.sha256(sheet.encode()).digest()).decode()}'" in given_policy
    assert "prefers-color-scheme: dark" in sheet


@given(st.lists(texts, min_size=1, max_size=5), st.booleans())
def test_only_our_tags_are_styled(shown: list[str], double: bool) -> None:
    """Whatever the text, also what looks like a style: it is read as before, and each element has the same style."""
    quote = '"' if double else "'"
    texts_in = [*shown, "style=\"x\" <p style='y'>", "</style><script>"]
    body = "".join(
        f'<p class="a" title="{markupsafe.escape(t)}" style={quote}margin:{n % 2}px{quote}>{markupsafe.escape(t)}</p>'
        for n, t in enumerate(texts_in)
    )
    mail = f"<html><head><style>@media print{{.a{{color:red}}}}</style></head><body>{body}</body></html>"
    copied = web_copy(mail, "", "", "https://news.example.org")
    found = html.fromstring(copied.html).xpath("//p")
    plain = html.fromstring(mail).xpath("//p")
    assert [(p.text, p.get("title")) for p in found] == [(p.text, p.get("title")) for p in plain]
    assert all(p.get("style") is None for p in found)
    (sheet,) = html.fromstring(copied.html).xpath("//style")
    for p, old in zip(found, plain, strict=True):
        name, _, others = p.get("class").partition(" ")
        assert others == "a"
        assert f".{name}{{{old.get('style')}}}" in sheet.text


def test_withdrawn_since(house: House, client: Client) -> None:
    """What was withdrawn after the mail went out is left out, and a sentence says so; nothing left is a page, too."""
    ids = house.publish("one", "two", "three", countries=("GT",))
    number, _ = mailed(house)
    for gone, sentence in ((ids[:1], "One item has been"), (ids[:2], "2 items have been")):
        with house.engine.begin() as connection:
            for item in gone:
                withdraw(connection, item, house.now)
        page = client.get(copy_of(number)).text
        assert sentence in page
        assert "https://e.example/one" not in page
        assert "https://e.example/three" in page
    with house.engine.begin() as connection:
        withdraw(connection, ids[2], house.now)
    answer = client.get(copy_of(number))
    assert answer.status_code == 410
    assert "Nothing is left of this digest" in answer.text


def test_erased_and_unknown(house: House, client: Client) -> None:
    """The copy goes with its reader; a token for another purpose, or another delivery, opens nothing."""
    house.publish("one", countries=("GT",))
    number, _ = mailed(house)
    for path in (f"/d/{make_token(KEY, 'preferences', number)}", f"/d/{number}", copy_of(number) + "x", "/d/x"):
        assert client.get(path).status_code == 404
    gone = client.get(copy_of(number + 5))
    assert gone.status_code == 410
    with house.engine.begin() as connection:
        connection.execute(update(subscribers).values(erased_at=house.now, email="erased", email_key="erased"))
    erased = client.get(copy_of(number), headers={"accept-language": "ar"})
    assert erased.status_code == 410
    assert 'dir="rtl"' in erased.text
    with house.engine.connect() as connection:
        assert connection.scalar(select(deliveries.c.id)) == number


@pytest.mark.parametrize("language", ["es", "ar"])
def test_in_the_language_of_the_digest(house: House, client: Client, language: str) -> None:
    """The copy is in the language in which it was mailed, whoever opens it."""
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(languages=["en", "es", "ar"]))
    house.publish("one", countries=("GT",))
    number, _ = mailed(house, language=language)
    page = client.get(copy_of(number), headers={"accept-language": "fr"}).text
    root = html.fromstring(page)
    assert root.get("lang") == language
    assert root.get("dir") == ("rtl" if language == "ar" else "ltr")
    assert {"es": "Suscribirse a", "ar": "الاشتراك في"}[language] in page


def test_private_lists(house: House, client: Client) -> None:
    """What is not for everybody leads nowhere: its items are found by who got them, not by counting, and are not to
    be indexed."""
    (item,) = house.publish("one", countries=("GT",), themes=("trade",))
    with house.engine.begin() as connection:
        connection.execute(update(items).values(url=None))
    number, _ = mailed(house)
    assert 'href="/rutas/archive"' in client.get(copy_of(number)).text
    page = client.get(f"/items/{item}").text
    assert 'href="/rutas/archive?country=GT"' in page
    assert 'href="/rutas/archive?theme=trade"' in page
    assert "noindex" not in page
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(is_public=False))
    copy = client.get(copy_of(number)).text
    assert "/rutas" not in copy
    for guess in (f"{item}", f"{item}.", make_token(KEY, "copy", item), make_token("o" * 40, "item", item)):
        assert client.get(f"/items/{guess}").status_code == 404
    (link,) = set(re.findall(r'href="https://news\.example\.org(/items/[^"]+)"', copy))
    page = client.get(link)
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    assert "/rutas/archive" not in page.text
    assert "noindex" in page.text
    assert f'/items/{item}"' not in page.text


def test_item_page(house: House, client: Client) -> None:
    """An item's own language and direction, the date and the names in the page's; one address for search engines."""
    (item,) = house.publish("خبر", language="ar", regions=("013",))
    page = client.get(f"/items/{item}", headers={"accept-language": "fr"}).text
    root = html.fromstring(page)
    assert root.get("lang") == "fr"
    (title,) = root.xpath("//h1")
    assert (title.get("lang"), title.get("dir")) == ("ar", "auto")
    assert "24 novembre 2026" in page
    assert [a.get("href") for a in root.xpath("//dd//a")] == ["/rutas/archive?region=013"]
    assert root.xpath("//link[@rel='canonical']/@href") == ["https://e.example/خبر"]
    with house.engine.begin() as connection:
        retag(connection, item, {"regions": []}, house.now)
    assert "<dl" not in client.get(f"/items/{item}").text
