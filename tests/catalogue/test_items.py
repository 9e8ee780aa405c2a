"""Positions, revisions, and files of items through the command line."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from commanding import CommandLine
from house import House
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from newsletter.catalogue.importing import BadItem, Defaults, draft_of, parse_moment, parse_url, read_items
from newsletter.catalogue.items import Draft, day_of, save_items
from newsletter.catalogue.themes import Theme
from newsletter.errors import InputError
from newsletter.tables import items

DEFAULTS = Defaults("en", {"protection": Theme("protection", {"en": "Protection"}, None)})


@pytest.fixture
def house(engine: Engine, settings) -> House:
    return House(engine, settings).create()


def rows(house: House) -> dict[str, tuple[int, int]]:
    """Title → position and revision."""
    with house.engine.connect() as connection:
        found = connection.execute(select(items).where(items.c.list_id == house.list_id)).all()
    return {row.title: (row.position, row.revision) for row in found}


def save(house: House, *drafts: Draft) -> tuple[int, int, int]:
    with house.engine.begin() as connection:
        saved = save_items(connection, house.list_id, drafts, house.now)
    return saved.added, saved.revised, saved.unchanged


def test_numbers_that_are_ids_too(newsletter: CommandLine) -> None:
    """A number is looked for among numbers and ids, on the list that was named; which of two is meant is asked."""
    for name in ("norte", "sur"):
        newsletter("lists", "create", name, "--name", name, "--sender-email", "d@e.example", "--postal-address", "1 St")
    newsletter("items", "add", "First", "--summary", "S", "--list", "norte", "--id", "a")
    newsletter("items", "add", "Second", "--summary", "S", "--list", "sur", "--id", "1")
    newsletter("items", "add", "Third", "--summary", "S", "--list", "sur", "--id", "1000")
    for words in (("withdraw", "1", "--yes"), ("retag", "1", "-c", "GT"), ("show", "1")):
        refused = newsletter("items", *words, code=1).err
        assert "1 'First' of norte; 2 'Second' of sur" in refused
        assert "--list" in refused

    def shown(*words: str) -> str:
        return newsletter("items", "show", *words, "--json").json["title"]

    assert [shown("1", "--list", name) for name in ("norte", "sur")] == ["First", "Second"]
    assert [shown(called) for called in ("01", "2", "a", "1000")] == ["First", "Second", "First", "Third"]
    assert "no item '2' on this list" in newsletter("items", "withdraw", "2", "--list", "norte", "--yes", code=1).err
    assert "Withdraw item 3 'Third' of sur?" in newsletter("items", "withdraw", "1000", code=1).err
    newsletter("subscribers", "add", "ana@example.org", "--list", "norte", "--confirmed", "--from-start")
    assert newsletter("explain", "ana@example.org", "1", "--list", "norte", "--json").json["item"] == 1


def test_identity_and_revision(house: House) -> None:
    """An item is known by its id, else its URL, else title and date; a changed one keeps its position."""
    first = (
        Draft("by id", "s", "en", external_id="7", url="https://a.example/1"),
        Draft("by url", "s", "en", url="https://a.example/2"),
        Draft("by title", "s", "en", published_at=parse_moment("2026-11-01")),
    )
    assert save(house, *first) == (3, 0, 0)
    assert save(house, *first) == (0, 0, 3)
    second = (
        Draft("by id, new title", "s", "en", external_id="7", url="https://a.example/moved"),
        Draft("by url, new title", "s", "en", url="https://a.example/2"),
        Draft("by title", "other", "en", published_at=parse_moment("2026-11-01")),
        Draft("by title", "another day", "en", published_at=parse_moment("2026-11-02")),
    )
    assert save(house, *second) == (1, 3, 0)
    assert rows(house)["by id, new title"] == (1, 2)
    assert rows(house)["by url, new title"] == (2, 2)


def test_repeats_in_one_file(house: House) -> None:
    """An item that stands twice in a file is one item, as it stood last."""
    twice = [Draft("a", text, "en", external_id="1") for text in ("first", "second")]
    assert save(house, *twice) == (1, 0, 1)
    with house.engine.connect() as connection:
        assert connection.scalar(select(items.c.summary)) == "second"


def test_withdrawn_stays_withdrawn(house: House) -> None:
    """Importing a withdrawn item again does not bring it back."""
    from newsletter.catalogue.items import withdraw

    draft = Draft("a", "s", "en", external_id="1")
    save(house, draft)
    with house.engine.begin() as connection:
        assert withdraw(connection, 1, house.now)
        assert not withdraw(connection, 1, house.now)
    assert save(house, Draft("a", "changed", "en", external_id="1")) == (0, 0, 1)


def test_positions_are_dense_under_many_writers(house: House) -> None:
    """Positions given by writers at the same time are each given once, without a gap, in order of commit."""

    def publish(writer: int) -> None:
        for number in range(10):
            save(house, Draft(f"{writer}-{number}", "s", "en", external_id=f"{writer}-{number}"))

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(publish, range(5)))
    assert sorted(position for position, _ in rows(house).values()) == list(range(1, 51))


def read(path: Path, content: bytes | str) -> tuple[list[Draft], list[BadItem]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = list(read_items(path, DEFAULTS))
    return [d for d in found if isinstance(d, Draft)], [b for b in found if isinstance(b, BadItem)]


RECORD = {"title": "T", "summary": "S", "countries": ["Guatemala"], "themes": ["Protection"], "date": "2026-11-24"}


def test_formats_agree(tmp_path: Path) -> None:
    """JSON Lines, JSON (with or without a wrapper) and CSV of the same item read the same."""
    csv = "título,resumen,país,temas,fecha\nT,S,Guatemala,Protection,2026-11-24\n"
    files = {
        "a.jsonl": json.dumps(RECORD),
        "a.json": json.dumps([RECORD]),
        "b.json": json.dumps({"items": [RECORD]}),
        "c.json": json.dumps(RECORD),
        "a.csv": csv,
        "l.csv": csv.encode("cp1252"),
    }
    expected = ("T", "S", ("GT",), ("protection",), parse_moment("2026-11-24"))
    for name, content in files.items():
        (draft,), bad = read(tmp_path / name, content)
        assert (draft.title, draft.summary, draft.countries, draft.themes, draft.published_at) == expected, name
        assert not bad


def test_a_picture(tmp_path: Path) -> None:
    """An item may have a picture, in words, too; one that is none is left out and named, and its item is kept."""
    url = "https://rutas.example/a.jpg?w=9"
    for name, content in {
        "a.jsonl": json.dumps(RECORD | {"image": f" {url} ", "image_alt": "A\nbridge"}),
        "a.csv": f"title,summary,Imagen,Alt text\nT,S,{url},A bridge\n",
    }.items():
        (draft,), bad = read(tmp_path / name, content)
        assert (draft.image, draft.image_alt, draft.left_out, bad) == (url, "A bridge", "", [])
    for image, alt in (
        ("javascript:alert(1)", ""),
        ("data:image/png;base64,AAAA", ""),
        ("/a.jpg", ""),
        ("https://x/" + "a" * 2000, ""),
        ({"href": url}, ""),
        ("https://rutas.example/a\u0007.jpg", ""),
        (url, "a" * 501),
    ):
        (draft,), (bad,) = read(tmp_path / "b.jsonl", json.dumps(RECORD | {"image": image, "image_alt": alt}))
        assert (draft.title, draft.image, draft.image_alt) == ("T", None, "")
        assert (bad.number, bad.kept, bad.reason) == (1, True, f"Its image is left out: {draft.left_out}")


def test_another_picture_is_a_revision(house: House) -> None:
    """A picture that comes, changes or goes is a change of its item, as another title is."""
    draft = Draft("a", "s", "en", external_id="1")
    pictures = (("https://e.example/1.png", ""), ("https://e.example/1.png", "One"), ("https://e.example/2.png", "One"))
    assert save(house, draft) == (1, 0, 0)
    for image, alt in (*pictures, (None, "")):
        changed = replace(draft, image=image, image_alt=alt, left_out="" if image else "It is none.")
        assert save(house, changed) == (0, 1, 0)
        assert save(house, changed) == (0, 0, 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "It is not JSON"),
        ("[1]", "not an object"),
        ('{"summary": "S"}', "It has no title."),
        ('{"title": "T"}', "'T' has no summary."),
        ('{"title": "T", "summary": "S", "countries": ["Gutemala"]}', "Did you mean Guatemala (GT)?"),
        ('{"title": "T", "summary": "S", "countries": 7}', "not a list of texts"),
        ('{"title": "T", "summary": "S", "themes": ["protecton"]}', "Did you mean protection?"),
        ('{"title": "T", "summary": "S", "url": "javascript:alert(1)"}', "not a web address"),
        ('{"title": "T", "summary": "S", "url": "https://user@host/"}', "not a web address"),
        ('{"title": "T", "summary": "S", "date": "yesterday"}', "cannot be read"),
        ('{"title": "T", "summary": "S", "language": "english"}', "not a code"),
        ('{"title": true, "summary": "S"}', "Its title is not text."),
        (json.dumps({"title": "x" * 501, "summary": "S"}), "longer than 500"),
        ("[" * 100_000, "It is not JSON"),
        (b"\xff\xfe\xfd".decode("latin-1"), "It is not JSON"),
    ],
)
def test_bad_records_are_named_and_the_good_kept(tmp_path: Path, line: str, reason: str) -> None:
    """A record that cannot be read is named with its line and reason; those around it are kept."""
    good = json.dumps(RECORD)
    drafts, (bad,) = read(tmp_path / "a.jsonl", f"{good}\n{line}\n{good}\n")
    assert len(drafts) == 2
    assert bad.number == 2
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b"", "empty"),
        ("a.json", b"", "empty"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b"7", "no list of items"),
        ("a.csv", b"name\nx\n", "no column for title"),
        ("a.txt", b"\x00\x01\x02", "not a text file"),
        ("a.md", b"# One\n\nTwo\n", "not read from .md files. Use"),
        ("a.xml", b"<rss>\n<channel>\n", "not read from .xml files"),
        ("a.txt", b"\n <!doctype html>\n<p>\n", "is HTML or XML"),
        ("a", b"<?xml version='1.0'?>\n<rss>\n", "is HTML or XML"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    """A file that is no list of items gets a sentence."""
    with pytest.raises(InputError, match=sentence):
        read(tmp_path / name, content)


@given(content=st.binary(max_size=300), suffix=st.sampled_from((".jsonl", ".json", ".csv", ".txt", "")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path: Path, content: bytes, suffix: str) -> None:
    """Any bytes are items, bad items, or a sentence."""
    try:
        read(tmp_path / f"a{suffix}", content)
    except InputError:
        return


def test_printed_text(tmp_path: Path) -> None:
    """Lines take turns."""
    drafts, bad = read(tmp_path / "june.txt", "One\n\nIts summary.\nTwo\nAnother.\n\n")
    assert [(d.title, d.summary) for d in drafts] == [("One", "Its summary."), ("Two", "Another.")]
    assert not bad


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("One\n\nIts summary.\nTwo\nAnother.\n\nThree\n", 7),
        ("One\nTwo\nIts summary.\nThree\nAnother summary.\n", 3),
    ],
)
def test_printed_text_with_a_line_missing(tmp_path: Path, text: str, line: int) -> None:
    """With a line missing nobody knows what is a title: nothing is read, and where it begins to look so is said."""
    with pytest.raises(InputError, match="titles and summaries must take turns") as caught:
        read(tmp_path / "june.txt", text)
    assert f"line {line} " in caught.value.hint


@pytest.mark.parametrize(
    ("moment", "zone", "day"),
    [
        ("2026-11-29T04:00:00+00:00", "America/Guatemala", "2026-11-28"),
        ("2026-11-29T00:00:00+00:00", "America/Guatemala", "2026-11-29"),
        ("2026-11-28T20:00:00+00:00", "Asia/Manila", "2026-11-29"),
    ],
)
def test_days_of_items(moment: str, zone: str, day: str) -> None:
    """An item is of the day that it is where its list is; what was given as a day is of that day everywhere."""
    assert day_of(datetime.fromisoformat(moment), zone).isoformat() == day


def test_urls_become_ascii() -> None:
    """Addresses with letters beyond ASCII are written so that every mail program opens them (RFC 3987)."""
    assert parse_url("https://exämple.org/niño?q=año#é") == "https://xn--exmple-cua.org/ni%C3%B1o?q=a%C3%B1o#%C3%A9"
    assert parse_url("https://straße.example") == "https://xn--strae-oqa.example"
    assert parse_url("http://[::1]:80/ñ") == "http://[::1]:80/%C3%B1"
    assert parse_url("https://e.org/a%20b") == "https://e.org/a%20b"


def test_long_urls() -> None:
    """How long an address may be is measured as it is written: one of Chinese letters has nine times as many, and a
    digest of such is clipped."""
    host = "https://e.org/"
    for letter, most in (("a", 2000 - len(host)), ("é", (2000 - len(host)) // 6), ("新", (2000 - len(host)) // 9)):
        assert len(parse_url(host + letter * most)) <= 2000
        with pytest.raises(InputError, match="longer than 2000"):
            parse_url(host + letter * (most + 1))
    draft = draft_of({"title": "T", "summary": "S", "image": host + "新" * 400}, Defaults("zh", {}))
    assert draft.image is None
    assert "longer than 2000" in draft.left_out


@pytest.mark.parametrize("url", ["https://a@evil.example/", "https://@evil.example/", "https://:pw@evil.example/"])
def test_urls_with_somebody_in_them(url: str) -> None:
    """An address that pretends to be another's is refused."""
    with pytest.raises(InputError, match="is not a web address"):
        parse_url(url)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-24", "2026-11-24T00:00:00+00:00"),
        ("2026-11-24T08:00:00Z", "2026-11-24T08:00:00+00:00"),
        ("2026-11-24T08:00:00-06:00", "2026-11-24T14:00:00+00:00"),
        ("Tue, 24 Nov 2026 08:00:00 -0600", "2026-11-24T14:00:00+00:00"),
    ],
)
def test_moments(text: str, moment: str) -> None:
    """Dates come in ISO 8601 or as feeds write them."""
    assert parse_moment(text).isoformat() == moment


@pytest.mark.parametrize("hour", ["8:00 PM", "8:00 p.m.", "8:00:00 a. m.", "8 pm", "8:00\u202fAM"])
def test_hours_that_come_twice_a_day(hour: str) -> None:
    """A moment with AM or PM is refused with what to write; it is not taken for one in the morning."""
    with pytest.raises(InputError, match=r"has AM or PM.*T20:00:00Z"):
        parse_moment(f"24 Nov 2026 {hour}")


def test_hostile_summaries_are_cleaned(newsletter: CommandLine, tmp_path: Path) -> None:
    """HTML in a summary arrives as its words, HTML in a body without what could run."""
    newsletter("lists", "create", "n", "--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St")
    record = {"title": "<b>T</b>", "summary": "<p onclick=x>Hi<script>1</script></p>", "body": "<p onclick=x>B</p>"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    newsletter("items", "import", str(tmp_path / "a.jsonl"))
    (item,) = newsletter("items", "list", "--json").json
    assert (item["title"], item["summary"], item["body"]) == ("T", "Hi", "<p>B</p>")


def test_retag_and_withdraw(newsletter: CommandLine) -> None:
    """Tags are set anew by kind, what is not named stays; withdrawing asks first."""
    newsletter("lists", "create", "n", "--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St")
    newsletter("themes", "add", "trade", "--name", "en=Trade")
    newsletter("items", "add", "T", "--summary", "S", "-c", "GT", "-t", "trade", "--id", "x1")
    newsletter("items", "retag", "x1", "-c", "Honduras", "-r", "Caribbean")
    item = newsletter("items", "show", "x1", "--json").json
    assert (item["countries"], item["regions"], item["themes"], item["revision"]) == (["HN"], ["029"], ["trade"], 2)
    newsletter("items", "retag", "1", "--no-themes")
    assert newsletter("items", "show", "1", "--json").json["themes"] == []
    assert "Add --yes" in newsletter("items", "withdraw", "1", code=1).err
    newsletter("items", "withdraw", "1", "--yes")
    assert newsletter("items", "list", "--json").json == []
    assert len(newsletter("items", "list", "--withdrawn", "--json").json) == 1
    shown = newsletter("items", "list", "--withdrawn").out
    assert re.search(r" language\s*$", shown.splitlines()[0])
    assert re.search(r" en withdrawn\s*$", shown, re.MULTILINE)
