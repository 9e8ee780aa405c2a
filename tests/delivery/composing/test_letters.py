"""Deliveries become messages: the bytes of the slow way, no database while composing, edits noticed, memory bounded."""

from __future__ import annotations

import gc
import itertools
import pickle
import re
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from commanding import KEY
from house import House
from plainly import envelope_of, letter_of, plain_message
from sqlalchemy import Engine, event, select, update

import newsletter
from newsletter.audience.lists import edit_list
from newsletter.audience.picks import Picks, load_profiles
from newsletter.catalogue.items import retag, withdraw
from newsletter.catalogue.themes import all_themes, rename_theme
from newsletter.database import reading
from newsletter.delivery import outbox
from newsletter.delivery.composing import letters as module
from newsletter.delivery.composing import sections, shelves
from newsletter.delivery.composing.letters import Letters
from newsletter.delivery.composing.sections import Sections
from newsletter.delivery.outbox import Claimed
from newsletter.digests import oversight
from newsletter.digests.runs import as_item
from newsletter.languages import LANGUAGES
from newsletter.mail.templates import folder
from newsletter.settings import Settings, load_settings
from newsletter.tables import editions, items, lists

PICKS = (
    Picks(),
    Picks(countries=frozenset({"GT"})),
    Picks(countries=frozenset({"HN", "FR"}), themes=frozenset({"protection"})),
    Picks(regions=frozenset({"013", "019"})),
    Picks(countries=frozenset({"SN"}), regions=frozenset({"013"}), themes=frozenset({"children", "trade"})),
)


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create(max_items=4)


def fill(house: House) -> None:
    tags = [
        {"countries": ("GT", "HN"), "themes": ("protection",)},
        {"countries": ("FR",), "themes": ("children", "trade"), "language": "fr"},
        {"regions": ("013",), "themes": ("trade",)},
        {"countries": ("SN", "GT")},
        {},
    ]
    for number in range(10):
        house.publish(f"título {number} <é>", **dict(tags[number % 5]))
    # Some of them want the same.
    for who, number in enumerate((*range(10), 1, 2, 1)):
        name = ("", "Ana Peña", "Ben")[who % 3]
        language = LANGUAGES[number % 4]
        frequency = ("daily", "weekly")[number % 2]
        house.subscribe(f"r{who}@example.org", PICKS[number % 5], frequency, name=name, language=language)
    house.tick()


def claim(house: House) -> list[Claimed]:
    with house.engine.begin() as connection:
        return outbox.claim(connection, "worker", house.now, timedelta(minutes=5), 500)


def plainly(house: House, delivery: Claimed, gone: tuple[int, ...] = ()) -> bytes:
    """The message by the slow way, everything read anew."""
    with house.engine.connect() as connection:
        list_row = connection.execute(select(lists).where(lists.c.id == delivery.list_id)).one()
        edition = connection.execute(select(editions).where(editions.c.id == delivery.edition_id)).one()
        rows = connection.execute(select(items).where(items.c.id.in_(edition.item_ids))).all()
        letter = letter_of(
            house.settings.site,
            list_row,
            all_themes(connection, delivery.list_id),
            [as_item(row) for row in rows if row.id not in gone],
            load_profiles(connection, [delivery.profile_id])[delivery.profile_id],
            language=edition.language,
            day=delivery.slot.date(),
            frequency=delivery.frequency,
        )
        return plain_message(letter, envelope_of(house.settings, list_row, delivery)).content


def composed(letters: Letters, delivery: Claimed) -> bytes:
    message = letters.compose(delivery)
    assert message is not None
    return message.content


def test_bytes_of_the_slow_way_without_a_database(house: House) -> None:
    """A prepared batch is composed without asking the database, each as the slow way would, today and after edits."""
    fill(house)
    claimed = claim(house)
    assert len(claimed) >= 8
    letters = Letters(house.engine, house.settings)
    with house.engine.connect() as connection:
        asked: list[Any] = []
        event.listen(house.engine, "before_cursor_execute", lambda *told: asked.append(told))
        letters.prepare(connection, claimed)
        assert 0 < len(asked) <= 8
        del asked[:]
        made = [composed(letters, delivery) for delivery in claimed]
        assert asked == []
    assert made == [plainly(house, delivery) for delivery in claimed]


def test_alike_are_arranged_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the digests of a batch those with the same items and picks are put in order once, the others each."""
    claimed, letters, shelf = prepared(house)
    asked: list[tuple[Any, ...]] = []
    arranged = shelf.arranged
    monkeypatch.setattr(shelf, "arranged", lambda *what: asked.append(what) or arranged(*what))
    for delivery in claimed:
        assert composed(letters, delivery) == plainly(house, delivery)
    assert len(asked) == len(set(asked)) == len({(one.edition_id, one.profile_id) for one in claimed}) < len(claimed)


def test_leaving_by_mail_is_announced(house: House) -> None:
    """With a mailbox configured the digest names it before the one click, unencoded, as the slow way does."""
    mailbox = "imaps://u:p@imap.example.org/INBOX?address=leave@a-long-name-of-a-host.news.example.org"
    house.settings = load_settings(**{**house.settings.model_dump(), "leave_mailbox": mailbox})
    fill(house)
    delivery, *_ = claim(house)
    made = composed(Letters(house.engine, house.settings), delivery)
    assert made == plainly(house, delivery)
    head = made.partition(b"\r\n\r\n")[0].decode("ascii")
    pattern = (
        r"List-Unsubscribe: <mailto:leave@a-long-name-of-a-host\.news\.example\.org\?subject=leave%20"
        r"\d+\.[0-9a-f]{20}>,"
        r"\r\n <https://news\.example\.org/u/[\w.-]+>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    )
    assert re.search(pattern, head)


def test_edits_are_noticed_between_batches(house: House) -> None:
    """The next batch has the list, the vocabulary and the items as they are then."""
    fill(house)
    claimed = claim(house)
    letters = Letters(house.engine, house.settings)

    def check(gone: tuple[int, ...] = ()) -> None:
        with house.engine.connect() as connection:
            letters.prepare(connection, claimed)
        assert [composed(letters, one) for one in claimed] == [plainly(house, one, gone) for one in claimed]

    check()
    with house.engine.begin() as connection:
        edit_list(connection, "rutas", {"name": "Caminos & rutas", "max_items": 2})
    check()
    with house.engine.begin() as connection:
        rename_theme(connection, house.list_id, "protection", {"es": "Protección"})
    check()
    for layout in ({"sections": "theme"}, {"style": "compact"}, {"max_items": 30}, {"style": "full"}):
        with house.engine.begin() as connection:
            edit_list(connection, "rutas", layout)
        check()
    with house.engine.begin() as connection:
        retag(connection, 1, {"countries": ["PE"], "themes": ["trade"]}, house.now)
        values = {"title": "Otro título", "revision": items.c.revision + 1}
        connection.execute(update(items).where(items.c.id == 2).values(**values))
    check()
    with house.engine.begin() as connection:
        withdraw(connection, 5, house.now - timedelta(seconds=1))
        withdraw(connection, 4, house.now + timedelta(seconds=1))
    check((5,))


def test_what_still_waits_is_not_read_again(house: House) -> None:
    """What was prepared and is still in the queue asks for nothing but whether it was edited; what is new is read."""
    fill(house)
    waiting = claim(house)
    letters = Letters(house.engine, house.settings)
    asked: list[str] = []
    event.listen(house.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    with house.engine.connect() as connection:
        letters.prepare(connection, waiting[:3])
        letters._editions.clear()
        del asked[:]
        letters.prepare(connection, waiting[:3])
        assert not [one for one in asked if "FROM editions" in one or "FROM profiles" in one]
        assert len(asked) <= 3
        letters.prepare(connection, waiting)
    del asked[:]
    made = [composed(letters, one) for one in waiting]
    assert asked == []
    assert made == [plainly(house, one) for one in waiting]


def test_everything_withdrawn(house: House) -> None:
    """A digest of which every item was withdrawn before it was claimed is no message."""
    house.subscribe("ana@example.org")
    (number,) = house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        withdraw(connection, number, house.now)
    house.pass_time(seconds=1)
    (delivery,) = claim(house)
    assert Letters(house.engine, house.settings).compose(delivery) is None


def test_alone_or_in_a_batch_and_much_later(house: House) -> None:
    """A resend is the same message: composed alone, by another worker, after others."""
    fill(house)
    claimed = claim(house)
    letters = Letters(house.engine, house.settings)
    with house.engine.connect() as connection:
        letters.prepare(connection, claimed)
    made = [composed(letters, one) for one in claimed]
    alone = Letters(house.engine, house.settings)
    assert [composed(alone, one) for one in reversed(claimed)] == made[::-1]


# What is read is the same from either database; a process that starts takes a second.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_in_another_process(house: House) -> None:
    """A resend is the same message in another process, in whichever order it has sets."""
    fill(house)
    claimed = claim(house)
    letters = Letters(house.engine, house.settings)
    made = [composed(letters, one) for one in claimed]
    code = (
        "import sys, pickle; from newsletter.database import connect; from newsletter.settings import load_settings;"
        "from newsletter.delivery.composing.letters import Letters;"
        "url, key, claimed = pickle.load(sys.stdin.buffer);"
        "settings = load_settings(secret_key=key, base_url='https://news.example.org');"
        "letters = Letters(connect(url), settings);"
        "sys.stdout.buffer.write(b''.join(letters.compose(one).content for one in claimed))"
    )
    url = house.engine.url.render_as_string(hide_password=False)
    given = pickle.dumps((url, KEY, claimed))
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=given,
            stdout=subprocess.PIPE,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": str(Path(newsletter.__file__).parents[1])},
        )
        assert done.stdout == b"".join(made)


def test_what_is_kept_is_bounded(sqlite_engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest items are dropped when too much is kept, and read again when they are wanted; so are editions, by
    their size."""
    house = House(sqlite_engine, settings).create()
    monkeypatch.setattr(module, "BYTES_KEPT", 40_000)
    monkeypatch.setattr(module, "EDITION_BYTES_KEPT", 1000)
    letters = Letters(sqlite_engine, settings)
    claimed = []
    for number in range(12):
        house.publish(*(f"t{number}-{n}" for n in range(4)))
        house.subscribe(f"r{number}@example.org", due_at=house.now, cursor=number * 4)
        house.tick()
        claimed += claim(house)
        house.pass_time(seconds=1)
    assert len(claimed) == 12
    for _ in range(2):
        for delivery in claimed:
            assert composed(letters, delivery) == plainly(house, delivery)
            with sqlite_engine.connect() as connection:
                letters.prepare(connection, [delivery])
            (shelf,) = letters._shelves.values()
            assert len(shelf.revisions) <= 8
            assert len(letters._editions) <= 2
            assert sum(len(ids) for _, ids in letters._editions.values()) <= 8
    for number in list(shelf.revisions):
        shelf.drop(number)
    assert shelf._held == 0


@pytest.mark.parametrize("own", [False, True])
def test_own_cards_are_counted(sqlite_engine: Engine, settings: Settings, own: bool) -> None:
    """What is said to be held is about what is, also where a list's own template has the reason inside a line, and each
    card so bytes of its own; they go with the cards."""
    house = House(sqlite_engine, settings).create()
    if own:
        mine = settings.home / "templates" / "rutas" / "digest"
        mine.mkdir(parents=True)
        body = (folder() / "digest" / "body.html").read_text("utf-8").replace("<br>{{ card.why }}\n", "")
        (mine / "body.html").write_text(
            body.replace("{{ card.meta }}\n", "{{ card.meta }} ({{ card.why }})\n"), "utf-8"
        )
    countries = ("GT", "HN", "FR", "SN", "US", "MX")
    for number in range(40):
        house.publish(f"título {number} " + "<é> " * 20, countries=[countries[(number + n) % 6] for n in range(4)])
    for number, some in enumerate(itertools.chain(*(itertools.combinations(countries, n) for n in (1, 2, 3, 4, 5)))):
        house.subscribe(f"r{number}@example.org", Picks(countries=frozenset(some)))
    house.tick()
    claimed = claim(house)
    letters = Letters(sqlite_engine, settings)
    with reading(sqlite_engine) as connection:
        letters.prepare(connection, claimed)
    composed(letters, claimed[0])
    (shelf,) = letters._shelves.values()
    before = shelf.held
    tracemalloc.start()
    for delivery in claimed:
        composed(letters, delivery)
    gc.collect()
    used, held = tracemalloc.get_traced_memory()[0], shelf.held - before
    tracemalloc.stop()
    assert used / 2 < held + 100_000 < used * 2
    for _ in range(2):
        shelf.age()
    assert all(cards.held == 0 for cards in shelf._cards.values())


def prepared(house: House) -> tuple[list[Claimed], Letters, shelves.Shelf]:
    """Deliveries of many readers, claimed and prepared, with the shelf of their list."""
    fill(house)
    claimed = claim(house)
    letters = Letters(house.engine, house.settings)
    with house.engine.connect() as connection:
        letters.prepare(connection, claimed)
    (shelf,) = letters._shelves.values()
    return claimed, letters, shelf


def test_cards_grow_old(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards are kept for two generations of uses: one that is asked for in each is made once, others are dropped."""
    monkeypatch.setattr(shelves, "GENERATION", 25)
    claimed, letters, shelf = prepared(house)
    often = claimed[0]
    made: list[tuple[Any, ...]] = []
    card = shelf._card
    monkeypatch.setattr(shelf, "_card", lambda *asked: made.append(asked) or card(*asked))
    composed(letters, often)
    for delivery in claimed[1:] * 3:
        assert composed(letters, delivery) == plainly(house, delivery)
        before = len(made)
        composed(letters, often)
        assert len(made) == before
        assert all(len(cards) + len(cards.older) <= 2 * shelves.GENERATION for cards in shelf._cards.values())
    assert len(made) > 2 * shelves.GENERATION


def test_sections_are_joined_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that several digests have is joined once, for two generations of uses; none differs for it."""
    monkeypatch.setattr(sections, "KEPT", 6)
    claimed, letters, shelf = prepared(house)
    joined = 0
    for delivery in [one for one in claimed for _ in range(3)] + claimed:
        assert composed(letters, delivery) == plainly(house, delivery)
        for kept in shelf._sections.values():
            assert len(kept._known) + len(kept._older) <= 12
            joined += kept.held > 0
    assert joined
    held = shelf.held
    freed = shelf.age() + shelf.age()
    assert freed == held - shelf.held > 0
    assert not any(kept.held for kept in shelf._sections.values())


def test_sections_of_unlike_readers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hardly a section is asked for twice, none is kept for a while, and then tried again; no digest differs."""
    monkeypatch.setattr(sections, "KEPT", 2)
    monkeypatch.setattr(sections, "ASKED_AGAIN", 1000)
    monkeypatch.setattr(sections, "UNKEPT", 7)
    groups = Sections.groups
    unkept: list[bool] = []

    def watched(kept: Sections, found: dict[str, list[Any]]) -> Any:
        before, left = dict(kept._known), kept._unkept
        made = groups(kept, found)
        assert left <= 0 or kept._known == before
        unkept.append(left > 0)
        return made

    monkeypatch.setattr(Sections, "groups", watched)
    claimed, letters, _ = prepared(house)
    for delivery in claimed * 2:
        assert composed(letters, delivery) == plainly(house, delivery)
    assert sum(one != other for one, other in itertools.pairwise(unkept)) > 3


def test_cards_that_grew_old_are_kept(house: House) -> None:
    """Where all cards have grown old at once, they are asked for again and not made again; what is held stays true."""
    claimed, letters, shelf = prepared(house)
    for delivery in claimed:
        composed(letters, delivery)
    held = shelf._held
    shelf.age()
    with house.engine.connect() as connection:
        letters.prepare(connection, claimed)
    for delivery in claimed:
        assert composed(letters, delivery) == plainly(house, delivery)
    assert shelf._held == held
    assert not any(cards.older for cards in shelf._cards.values())


def test_notes_of_many_runs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery of a run whose note was forgotten since is composed with it, beside those of later runs."""
    monkeypatch.setattr(module, "NOTES_KEPT", 0)
    with house.engine.begin() as connection:
        edit_list(connection, "rutas", {"needs_approval": True})
    for hours in (0, 1):
        house.subscribe(f"r{hours}@example.org", due_at=house.now + timedelta(hours=hours))
    house.publish("one")
    for run in (1, 2):
        house.tick()
        with house.engine.begin() as connection:
            oversight.note(connection, run, "en", f"Note {run}.")
            oversight.approve(connection, run, house.now)
        house.pass_time(hours=1)
    first, second = claim(house)
    letters = Letters(house.engine, house.settings)
    with house.engine.connect() as connection:
        for prepared in ([first], [], [first, second]):
            letters.prepare(connection, prepared)
    for run, delivery in ((1, first), (2, second)):
        assert f"Note {run}.".encode() in composed(letters, delivery)


def test_fewer_items_with_the_next_claim(house: House) -> None:
    """A digest that its worker claims again has no item that the reader has got meanwhile by another, though nothing
    else was to be composed in between."""
    reader = house.subscribe("ana@example.org")
    house.publish("first", "second")
    house.tick()
    letters = Letters(house.engine, house.settings)
    with house.engine.connect() as connection:
        letters.prepare(connection, claim(house))
    house.pass_time(minutes=10)
    # As when a machine that was lost brings the answer to an older digest.
    house.set(reader, cursor=1)
    (delivery,) = claim(house)
    with house.engine.connect() as connection:
        letters.prepare(connection, [delivery])
    assert composed(letters, delivery) == plainly(house, delivery)
    assert b"first" not in composed(letters, delivery)


def test_dates_are_the_readers(house: House) -> None:
    """The day is that of the slot where the reader lives; the Date header is the first claim's."""
    reader = house.subscribe("ana@example.org", timezone="Pacific/Auckland")
    house.publish("one")
    house.now = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
    house.set(reader, due_at=house.now)
    house.tick()
    (delivery,) = claim(house)
    letters = Letters(house.engine, house.settings)
    dated = delivery._replace(dated_at=datetime(2026, 11, 24, 12, 45, 7, 999_999, tzinfo=UTC))
    content = composed(letters, dated)
    assert b"\r\nDate: Tue, 24 Nov 2026 12:45:07 +0000\r\n" in content
    assert b"Wednesday, November 25, 2026" in content
