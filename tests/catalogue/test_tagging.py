"""The tags of items are found as rows, and the rows are those of the items, whatever happens to these."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

from alembic import command
from house import House
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, text

from newsletter.catalogue.items import Draft, retag, save_items, withdraw
from newsletter.catalogue.tagging import tags_of
from newsletter.database import connect
from newsletter.migrations import _config, upgrade
from newsletter.tables import item_tags, items

HYPOTHESIS = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
codes = st.lists(st.sampled_from(("GT", "HN", "FR")), max_size=3)
drafts = st.builds(
    lambda number, countries, language: Draft(
        "Title", "Text.", language, external_id=f"{number}", countries=tuple(countries)
    ),
    st.integers(0, 4),
    codes,
    st.sampled_from(("en", "es")),
)
happenings = st.one_of(drafts, st.tuples(st.integers(0, 4), codes), st.integers(0, 4))


def kept(connection: Connection) -> list[tuple[object, ...]]:
    return sorted(tuple(row) for row in connection.execute(select(item_tags)))


def expected(connection: Connection) -> list[tuple[object, ...]]:
    rows = connection.execute(select(items).where(items.c.withdrawn_at.is_(None))).all()
    return sorted((row.list_id, *tag, row.position) for row in rows for tag in tags_of(row._mapping))


@HYPOTHESIS
@given(st.lists(happenings, max_size=10))
def test_rows_follow(house: House, happens: list[Draft | tuple[int, list[str]] | int]) -> None:
    """Published, revised, retagged, withdrawn, in any order: the rows are what the items carry, and nothing else."""
    with house.engine.connect() as connection:
        for event in happens:
            ids = connection.scalars(select(items.c.id).order_by(items.c.id)).all()
            if isinstance(event, Draft):
                save_items(connection, house.list_id, [event, replace(event, external_id="other")], house.now)
            elif ids and isinstance(event, tuple):
                retag(connection, ids[event[0] % len(ids)], {"countries": event[1]}, house.now)
            elif ids:
                withdraw(connection, ids[event % len(ids)], house.now)
            assert kept(connection) == expected(connection)
        connection.rollback()


def save(house: House, *drafts: Draft) -> None:
    with house.engine.begin() as connection:
        save_items(connection, house.list_id, drafts, house.now)


def test_two_at_once(house: House) -> None:
    """Two who retag an item at the same time: the second waits, and nothing of the first is left."""
    (number,) = house.publish("one", countries=("GT",))
    first = house.engine.connect()
    first.begin()
    retag(first, number, {"countries": ["HN"]}, house.now)

    def second() -> None:
        with house.engine.begin() as connection:
            retag(connection, number, {"countries": ["FR"]}, house.now)

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(0.2)
    first.commit()
    first.close()
    thread.join()
    with house.engine.connect() as connection:
        assert kept(connection) == expected(connection)
        assert (house.list_id, "country", "FR", 1) in kept(connection)


def again(title: str, *countries: str) -> Draft:
    """An item of ``House.publish`` as its source gives it later."""
    return Draft(title, "Another summary.", "en", url=f"https://e.example/{title}", countries=countries)


def test_an_import_while_an_editor_retags(house: House) -> None:
    """An import that comes while an editor takes a tag away waits, and leaves the editor's tags."""
    (number,) = house.publish("one", countries=("GT", "HN"))
    with ThreadPoolExecutor() as pool, house.engine.begin() as connection:
        retag(connection, number, {"countries": ["GT"]}, house.now)
        coming = pool.submit(save, house, again("one", "GT", "HN"))
        wait([coming], 0.5)
        connection.commit()
        coming.result()
    with house.engine.connect() as connection:
        row = connection.execute(select(items)).one()
        assert (row.summary, row.countries, row.source_tags["countries"]) == ("Another summary.", ["GT"], ["GT", "HN"])
        assert kept(connection) == expected(connection)


def test_an_editor_retags_while_a_batch_is_saved(house: House) -> None:
    """An item can get a tag while a batch is saved that revises it later: neither has the other wait for ever."""
    _, number = house.publish("one", "two", countries=("GT",))

    def edit() -> None:
        with house.engine.begin() as connection:
            retag(connection, number, {"countries": ["GT", "HN"]}, house.now)

    with ThreadPoolExecutor() as pool, house.engine.begin() as connection:
        save_items(connection, house.list_id, [again("one", "GT")], house.now)
        editing = pool.submit(edit)
        wait([editing], 0.5)
        save_items(connection, house.list_id, [again("two", "GT")], house.now)
        connection.commit()
        editing.result()
    with house.engine.connect() as connection:
        rows = connection.execute(select(items).order_by(items.c.id)).all()
        assert [row.countries for row in rows] == [["GT"], ["GT", "HN"]]
        assert kept(connection) == expected(connection)


def test_earlier_items_get_rows(empty_url: str) -> None:
    """The migration notes the tags of all items that there are, and not those of withdrawn ones."""
    engine = connect(empty_url)
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        connection.execute(
            text(
                "INSERT INTO lists (id, slug, name, sender_name, sender_email, postal_address, languages, frequency,"
                " hour, weekday, timezone, max_items, created_at) VALUES (1, 'a', 'A', 'A', 'a@e.example', '1 St',"
                " '[]', 'daily', 8, 0, 'UTC', 30, '2026-01-01 00:00:00')"
            )
        )
        item = text(
            "INSERT INTO items (id, list_id, position, key, title, summary, language, published_at, countries, regions,"
            " themes, created_at, revised_at, withdrawn_at) VALUES (:id, 1, :id, :key, 'T', 'S', 'es', :at,"
            """ '["GT","HN","GT"]', '["013"]', '["trade"]', :at, :at, :gone)"""
        )
        for number in range(1, 1203):
            gone = "2026-01-02 00:00:00" if number == 7 else None
            connection.execute(item, {"id": number, "key": f"{number}", "at": "2026-01-01 00:00:00", "gone": gone})
    upgrade(engine)
    with engine.connect() as connection:
        assert len(kept(connection)) == 1201 * 5
        assert kept(connection) == expected(connection)
    engine.dispose()
