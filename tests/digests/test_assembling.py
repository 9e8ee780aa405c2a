"""Assembly by several workers at once, in shards, against an oracle that looks at one reader at a time."""

from __future__ import annotations

import random
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from house import START, THEMES, House
from sqlalchemy import Engine, event, func, insert, select, update

from newsletter.audience.lists import edit_list
from newsletter.audience.picks import Picks, profile_ids
from newsletter.audience.subscribers import unsubscribe
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.items import withdraw
from newsletter.database import connect, reading
from newsletter.digests import runs, shards, writing
from newsletter.digests.calendar import next_due
from newsletter.settings import Settings
from newsletter.tables import deliveries, editions, items, subscribers, subscriptions
from newsletter.tables import runs as runs_table

COUNTRIES = ("GT", "HN", "MX", "FR", "SN")
REGIONS = ("013", "150", "011")
ITEMS = 60


def some(dice: random.Random, values: tuple[str, ...], most: int) -> frozenset[str]:
    return frozenset(dice.sample(values, dice.randint(0, most)))


def fill(house: House, count: int) -> dict[int, Picks]:
    """Items and readers of all kinds, all due; the picks of each reader."""
    dice = random.Random(count)
    for number in range(ITEMS):
        house.publish(
            f"t{number}",
            countries=tuple(some(dice, COUNTRIES, 2)),
            regions=tuple(some(dice, REGIONS, 1)),
            themes=tuple(some(dice, THEMES, 2)),
        )
    with house.engine.begin() as connection:
        for number in (3, 4, 40):
            withdraw(connection, number, house.now)
        chosen = [Picks(some(dice, COUNTRIES, 2), some(dice, REGIONS, 1), some(dice, THEMES, 1)) for _ in range(150)]
        ids = profile_ids(connection, chosen)
        mine = {number: dice.choice(chosen) for number in range(1, count + 1)}
        connection.execute(insert(subscribers), [subscriber(dice, number, house.now) for number in mine])
        connection.execute(
            insert(subscriptions),
            [subscription(dice, number, ids[picks], house) for number, picks in mine.items()],
        )
    return mine


def subscriber(dice: random.Random, number: int, now: datetime) -> dict[str, Any]:
    email = f"r{number}@example.org"
    zone, language = dice.choice(("UTC", "Asia/Kathmandu")), dice.choice(("en", "es", "de"))
    return {"id": number, "email": email, "email_key": email, "language": language, "timezone": zone, "created_at": now}


def subscription(dice: random.Random, number: int, profile_id: int, house: House) -> dict[str, Any]:
    return {
        "id": number,
        "list_id": house.list_id,
        "subscriber_id": number,
        "profile_id": profile_id,
        "state": "active",
        "frequency": dice.choice(("immediate", "daily", "weekly", "monthly")),
        "hour": dice.randint(0, 23),
        "weekday": dice.randint(0, 6),
        "start": 0,
        "cursor": dice.choice((0, 0, 7, 30, ITEMS)),
        # Several moments, so that the order of due moments is not that of ids.
        "due_at": house.now - timedelta(minutes=dice.choice((0, 0, 10, 20))),
        "created_at": house.now,
    }


def fits(item: Any, wanted: Picks) -> bool:
    """The rule in words: docs/decisions/0009-matching.md."""
    here = set(item.countries) | {c for r in item.regions for c in countries_in(r)}
    followed = set(wanted.countries) | {c for r in wanted.regions for c in countries_in(r)}
    themes = {*wanted.themes} | ({"children"} if "protection" in wanted.themes else set())
    return (not followed or bool(here & followed)) and (not themes or bool(themes & set(item.themes)))


def check(house: House, mine: dict[int, Picks], before: dict[int, Any], open_before: Set[int] = frozenset()) -> None:
    """Every reader stands where the rules, one by one, would have them stand, and has the digest that they say."""
    with reading(house.engine) as connection:
        published = connection.execute(select(items).where(items.c.withdrawn_at.is_(None)).order_by("position")).all()
        rows = connection.execute(
            select(deliveries, editions.c.item_ids, editions.c.language)
            .join(editions, editions.c.id == deliveries.c.edition_id)
            .where(deliveries.c.subscription_id.not_in(open_before))
        ).all()
        after = {row.id: row for row in connection.execute(select(subscriptions))}
    made = {row.subscription_id: row for row in rows}
    assert len(made) == len(rows)
    for number, picks in mine.items():
        old = before[number]
        new = [item for item in published if item.position > old.cursor]
        wanted = [item.id for item in new if fits(item, picks)] if number not in open_before else []
        assert (made[number].item_ids if number in made else []) == wanted
        if wanted:
            assert made[number].language == (old.language if old.language != "de" else "en")
            assert made[number].lower == old.cursor
            assert made[number].profile_id == old.profile_id
        due = next_due(old.frequency, old.hour, old.weekday, old.timezone, house.now)
        outcome = "nothing-fits" if new else "nothing-new"
        outcome = "open-delivery" if number in open_before else "digest" if wanted else outcome
        cursor = old.cursor if wanted or number in open_before else ITEMS
        now = after[number]
        assert (now.due_at, now.cursor, now.last_outcome) == (due, cursor, outcome)


def snapshot(house: House) -> dict[int, Any]:
    """Where every due reader stands."""
    joined = select(subscriptions, subscribers.c.language, subscribers.c.timezone).join(
        subscribers, subscribers.c.id == subscriptions.c.subscriber_id
    )
    with reading(house.engine) as connection:
        return {row.id: row for row in connection.execute(joined)}


def open_run(house: House) -> int:
    with house.engine.begin() as connection:
        number = runs.open_run(connection, house.list_id, house.now, "beat", house.now)
    assert number
    return number


def only_due(house: House, before: dict[int, Any]) -> set[int]:
    """An immediate reader who has everything is not due."""
    return {n for n, row in before.items() if row.frequency != "immediate" or row.cursor < ITEMS}


def test_two_workers(house: House) -> None:
    """Workers that start together share the readers: each is looked at once, and has exactly one, the right digest."""
    mine = fill(house, 3000)
    before = snapshot(house)
    run_id = open_run(house)
    with ThreadPoolExecutor(3) as pool:
        looked_at = list(pool.map(lambda _: runs.assemble(house.engine, run_id, house.now, 150), range(3)))
    due = only_due(house, before)
    assert sum(looked_at) == len(due)
    check(house, {number: mine[number] for number in due}, before)
    with reading(house.engine) as connection:
        run = connection.execute(select(runs_table)).one()
        keys = connection.execute(select(editions.c.language, editions.c.item_ids)).all()
    assert (run.state, run.examined) == ("sending", len(due))
    assert len({(row.language, *row.item_ids) for row in keys}) == len(keys)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that may remember next to nothing."""
    monkeypatch.setattr(shards, "REMEMBERED_BYTES", 1000)


def test_what_is_forgotten_is_found_again(house: House, forgetful: None) -> None:
    """Bounded memory changes nothing but the time it takes."""
    mine = fill(house, 400)
    before = snapshot(house)
    runs.assemble(house.engine, open_run(house), house.now, 60)
    check(house, {number: mine[number] for number in only_due(house, before)}, before)


def test_one_edition_from_different_starts(house: House) -> None:
    """Who begins when only late cursors are left writes the editions that are there already, not others."""
    fill(house, 300)
    with house.engine.begin() as connection:
        connection.execute(update(subscriptions).values(cursor=30, frequency="daily"))
        connection.execute(update(subscriptions).where(subscriptions.c.id == 1).values(cursor=0))
    run_id = open_run(house)
    early = runs._prepare(house.engine, run_id, house.now)
    assert early
    with house.engine.begin() as connection:
        assert shards.assemble_shard(connection, early, 150) == 150
    with house.engine.begin() as connection:
        connection.execute(update(subscriptions).where(subscriptions.c.cursor == 0).values(cursor=30))
    late = runs._prepare(house.engine, run_id, house.now)
    assert late
    assert len(late.index.items) < len(early.index.items)
    with house.engine.begin() as connection:
        assert shards.assemble_shard(connection, late, 150) == 150
    with reading(house.engine) as connection:
        keys = connection.execute(select(editions.c.language, editions.c.item_ids)).all()
        shared = connection.scalars(select(deliveries.c.edition_id).where(deliveries.c.subscription_id > 0)).all()
    assert len({(row.language, *row.item_ids) for row in keys}) == len(keys) < len(shared)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_shard_of_a_lost_worker(database_url: str, engine: Engine, settings: Settings) -> None:
    """What a worker held when it was lost is taken by the one that had passed it; SQLite has one at a time anyway."""
    house = House(engine, settings).create()
    mine = fill(house, 300)
    before = snapshot(house)
    run_id = open_run(house)
    other = connect(database_url)
    holding = other.connect()
    holding.begin()
    lost = runs._prepare(other, run_id, house.now)
    assert lost
    assert len(shards._take(holding, lost, 50)) == 50
    done: list[int] = []

    def on_shard() -> None:
        done.append(1)
        if len(done) == 2:
            holding.invalidate()

    assert runs.assemble(engine, run_id, house.now, 50, on_shard) == len(only_due(house, before))
    check(house, {number: mine[number] for number in only_due(house, before)}, before)
    with reading(engine) as connection:
        assert connection.scalar(select(runs_table.c.state)) == "sending"
    other.dispose()


def test_open_deliveries_get_no_second(house: House) -> None:
    """Whoever has an open delivery is moved on and keeps the cursor, and gets no second one."""
    mine = fill(house, 300)
    runs.assemble(house.engine, open_run(house), house.now, 100)
    with reading(house.engine) as connection:
        holders = set(connection.scalars(select(deliveries.c.subscription_id)))
    house.pass_time(hours=3)
    with house.engine.begin() as connection:
        connection.execute(update(subscriptions).values(due_at=house.now))
    before = snapshot(house)
    runs.assemble(house.engine, open_run(house), house.now, 100)
    due = only_due(house, before)
    check(house, {number: mine[number] for number in due}, before, holders)
    with reading(house.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(deliveries)) == len(holders)


def test_queued_again_meanwhile(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that is opened after a shard has looked does not stop it: that reader has one, the others theirs."""
    mine = fill(house, 100)
    before = snapshot(house)
    run_id = open_run(house)
    chosen = next(n for n in sorted(mine) if before[n].cursor == 0 and not any(mine[n].columns().values()))
    runs.assemble(house.engine, run_id, house.now, 30)
    with house.engine.begin() as connection:
        connection.execute(update(deliveries).where(deliveries.c.subscription_id != chosen).values(state="failed"))
        connection.execute(update(subscriptions).values(due_at=house.now))
    house.pass_time(hours=3)
    monkeypatch.setattr(shards, "with_open_delivery", lambda connection, ids: set())
    runs.assemble(house.engine, open_run(house), house.now, 30)
    with reading(house.engine) as connection:
        states = connection.execute(select(deliveries.c.subscription_id, deliveries.c.state)).all()
    assert [row.state for row in states if row.subscription_id == chosen] == ["queued"]
    again = {row.subscription_id for row in states if row.state == "queued"} - {chosen}
    assert again == {row.subscription_id for row in states if row.state == "failed"}
    assert len(again) > 30


def test_who_becomes_due_meanwhile(house: House) -> None:
    """Who comes in while a run is assembled, with a lower cursor than all before, is not passed over: an import of
    readers goes on for minutes."""
    house.subscribe("a@example.org", frequency="immediate", cursor=1)
    house.subscribe("b@example.org", frequency="immediate", cursor=1)
    house.publish("one", "two")
    house.pass_time(minutes=1)
    new: list[int] = []

    def come_in() -> None:
        if not new:
            due_at = house.now - timedelta(seconds=30)
            new.append(house.subscribe("c@example.org", frequency="immediate", due_at=due_at))

    runs.assemble(house.engine, open_run(house), house.now, 1, come_in)
    made = house.delivery(new[0])
    assert made.lower == 0
    with reading(house.engine) as connection:
        ids = connection.scalar(select(editions.c.item_ids).where(editions.c.id == made.edition_id))
    assert list(ids) == [1, 2]


def test_who_comes_last(house: House) -> None:
    """So it is for a worker who had found nobody to be due."""
    house.subscribe("a@example.org", frequency="immediate")
    house.publish("one", "two")
    house.pass_time(minutes=1)
    run_id = open_run(house)
    first = runs._prepare(house.engine, run_id, house.now)
    assert first is not None
    assert runs._pass(house.engine, first, 5000, lambda: None) == 1
    second = runs._prepare(house.engine, run_id, house.now)
    assert second is not None
    new = house.subscribe("b@example.org", frequency="immediate", due_at=house.now - timedelta(seconds=30))
    assert runs._pass(house.engine, second, 5000, lambda: None) == 1
    assert house.states(new) == ["queued"]


@pytest.mark.parametrize("frequency", ["daily", "monthly"])
def test_assembled_late(house: House, frequency: str) -> None:
    """What the workers assemble days after the run was opened is sent, and not past its deadline from the start."""
    house.pass_time(days=7)
    reader = house.subscribe("a@example.org", frequency=frequency)
    house.publish("one")
    runs.open_due_runs(house.engine, house.now)
    house.pass_time(days=5, hours=2)
    house.tick()
    house.send()
    assert house.states(reader) == ["sent"]


def test_nothing_in_a_run_that_is_assembled_late(house: House) -> None:
    """Whom a run of before an outage had nothing for gets what came since as soon as it is over, if a slot of theirs
    went by meanwhile, and not a week later; and gets it once."""
    reader = house.subscribe("ana@example.org", frequency="weekly", due_at=START + timedelta(days=6))
    with house.engine.begin() as connection:
        runs.start_run(connection, house.list_id, house.now)
    house.publish("one")
    house.pass_time(days=6, hours=1)
    for _ in range(2):
        house.tick()
    assert house.states(reader) == ["queued"]
    with house.engine.connect() as connection:
        due_at = connection.scalar(select(subscriptions.c.due_at).where(subscriptions.c.id == reader))
    assert due_at == START + timedelta(days=13)


def test_who_begins_anew_from_the_start(house: House) -> None:
    """What waits for approval of somebody who left and began anew from the start does not go out: the next digest has
    its items as far as they fit what is followed now, and each once."""
    with house.engine.begin() as connection:
        edit_list(connection, "rutas", {"needs_approval": True})
    house.publish("one", countries=("GT",))
    (both,) = house.publish("both", countries=("GT", "HN"))
    reader = house.subscribe("ana@example.org", Picks(countries=frozenset({"GT"})))
    house.tick()
    with house.engine.begin() as connection:
        unsubscribe(connection, reader, "test", house.now)
    assert house.subscribe("ana@example.org", Picks(countries=frozenset({"HN"}))) == reader
    house.pass_time(minutes=1)
    house.tick()
    assert house.states(reader) == ["dropped", "held"]
    with house.engine.connect() as connection:
        (edition,) = connection.scalars(select(editions.c.item_ids).where(editions.c.run_id == 2))
    assert edition == [both]


def test_shards_cost_the_same(house: House) -> None:
    """Each shard goes on from where the one before it ended, and does not visit again what is done."""
    fill(house, 600)
    seen: list[str] = []

    @event.listens_for(house.engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        if "FROM subscriptions JOIN subscribers" in statement:
            seen.append(statement)

    runs.assemble(house.engine, open_run(house), house.now, 100)
    assert len(seen) >= 6
    assert all(("due_at, subscriptions.id) >" in statement) == (n > 0) for n, statement in enumerate(seen))


def test_array_literals() -> None:
    """The array literals that PostgreSQL is given carry any language and byte."""
    assert writing._quoted('a"b\\c') == '"a\\"b\\\\c"'
    assert writing._byte_array([b"\x00\xff"]) == '{"\\\\x00ff"}'
