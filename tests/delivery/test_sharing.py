"""Several relays that are slow, hang, have no leave, or carry some lists only: none holds up what is for another."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from misbehaving import Misbehaving
from spells import Impatient, Mute, Silent, fill, running, second_list, served, state_of, two_lists, unsent, until
from sqlalchemy import Engine, event, insert, select, update
from valkeys import running_valkey

from newsletter.delivery import dispatch, outbox, resting, sharing, spell
from newsletter.delivery.demand import BATCH
from newsletter.delivery.kept import Kept
from newsletter.delivery.relays import relays_of
from newsletter.delivery.smtp import pools
from newsletter.delivery.waiting import Waiting
from newsletter.tables import deliveries, lists, notices


@dataclass
class Leisurely(Misbehaving):
    """Thinks before it greets."""

    greets_after: float = 0.3

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.greets_after)
        await super()._talk(reader, writer)


def test_rate_that_leaves_nothing(sqlite_engine: Engine, tmp_path: Path) -> None:
    """While a relay's rate leaves nothing to send, the database is asked a few times a second and no more."""
    turns: list[float] = []

    def count(*_: Any) -> None:
        turns.append(time.monotonic())

    relay = Misbehaving()
    with served(sqlite_engine, tmp_path, {"only": (relay, "&rate=30/s")}) as house:
        fill(house, 70)
        clock, until = running(house), time.monotonic() + 30
        event.listen(sqlite_engine, "begin", count)
        try:
            while len(relay.accepted) < 70:
                dispatch.dispatch(house.engine, house.settings, clock)
                assert time.monotonic() < until
                time.sleep(0.25)
        finally:
            event.remove(sqlite_engine, "begin", count)
    assert len(turns) < 15 * (turns[-1] - turns[0])


def test_rate_within_a_spell(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What a relay's rate puts off by a second or two is waited for, and goes out in the same spell."""
    relay = Misbehaving()
    with served(sqlite_engine, tmp_path, {"only": (relay, "&rate=10/s")}) as house:
        fill(house, 15)
        tally = dispatch.dispatch(house.engine, house.settings, running(house))
    assert tally.counts["sent"] == 15


def test_rate_after_a_wait(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What waited for a relay that was long to answer does not go together with all that its rate allowed meanwhile."""
    at: list[float] = []

    def mood(number: int, recipient: str) -> str:
        at.append(time.monotonic())
        return "ok"

    relay = Leisurely(mood=mood, greets_after=3.5)
    relays = {"only": (relay, "&rate=10/s")}
    with running_valkey(tmp_path) as valkey, served(sqlite_engine, tmp_path, relays, valkey.url) as house:
        fill(house, 60)
        done = until(lambda: len(relay.accepted) >= 30, 8)
        dispatch.dispatch(house.engine, house.settings, running(house), done)
    assert max(sum(moment <= other < moment + 1 for other in at) for moment in at) <= 20


def test_rate_of_one_relay_of_two(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What a relay's rate leaves over goes through the other, at once; nobody waits for the day to end."""
    first, second = Misbehaving(), Misbehaving()
    with served(sqlite_engine, tmp_path, {"first": (first, "&rate=5/day"), "second": (second, "")}) as house:
        fill(house, 400)
        tally = house.send()
    assert tally.counts["sent"] == 400
    assert 1 <= len(first.accepted) <= 5


@pytest.fixture
def sped_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spell of three seconds, in which a relay that stands still is soon known."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 3.0)
    monkeypatch.setattr(pools, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(pools, "STANDSTILL_SECONDS", 0.2)


def test_rate_within_a_spell_beside_another(sqlite_engine: Engine, tmp_path: Path) -> None:
    """So it is if another relay, which has nothing more to do, could carry more at once."""
    first, second = Misbehaving(), Misbehaving()
    relays = {"first": (first, "&rate=10/s&lists=rutas"), "second": (second, "&lists=mares")}
    with served(sqlite_engine, tmp_path, relays) as house:
        two_lists(house, 8, 5)
        tally = dispatch.dispatch(house.engine, house.settings, running(house))
    assert (tally.counts["sent"], tally.more) == (13, False)


@pytest.mark.usefixtures("sped_up")
@pytest.mark.parametrize("kind", [Silent, Mute])
def test_hangs_beside_another(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Misbehaving]
) -> None:
    """A relay that hangs holds up no other: what waits for it goes through that; and it is soon known to be down."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 20.0)
    good, bad = Misbehaving(), kind()
    sent: list[int] = []
    relay_down = spell.Spell.relay_down

    def noted(self: spell.Spell, *what: Any) -> None:
        sent.append(len(good.accepted))
        relay_down(self, *what)

    monkeypatch.setattr(spell.Spell, "relay_down", noted)
    with served(sqlite_engine, tmp_path, {"good": (good, ""), "bad": (bad, "")}) as house:
        fill(house, 500)
        settings = house.settings.model_copy(update={"smtp_timeout": 4})
        tally = dispatch.dispatch(house.engine, settings, running(house), lambda: bool(sent))
    assert tally.counts["relay down"] == 1
    assert sent[0] > 400


def test_hangs_for_longer_than_a_spell(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay with one connection, which hangs over each message, is known to be down after three of them, though no
    spell is as long as that."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 1.1)
    with served(sqlite_engine, tmp_path, {"only": (Silent(), "&connections=1")}) as house:
        fill(house, 10)
        settings = house.settings.model_copy(update={"smtp_timeout": 1})
        kept, clock = Kept(house.engine, settings), running(house)
        tallies = [dispatch.dispatch(house.engine, settings, clock, kept=kept) for _ in range(3)]
        assert sum(tally.counts["relay down"] for tally in tallies) == 1
        assert state_of(house).failures == 1


@pytest.mark.usefixtures("sped_up")
def test_confirmations_of_another_list(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A confirmation does not wait behind those of a list whose relay is slow; nor is its own relay taken for down for
    ending the connections that those opened."""
    slow, good = Misbehaving(thinks=1), Impatient()
    relays = {"slow": (slow, "&lists=rutas&connections=1"), "good": (good, "&lists=mares")}
    with served(sqlite_engine, tmp_path, relays) as house, ThreadPoolExecutor(1) as worker:
        with house.engine.begin() as connection:
            row = dict(connection.execute(select(lists)).one()._mapping)
            connection.execute(insert(lists).values(row | {"id": 77, "slug": "mares"}))
        for number in range(3):
            house.subscribe(f"a{number}@example.org", due_at=None)
        sending = worker.submit(dispatch.dispatch, house.engine, house.settings, running(house))
        time.sleep(0.5)
        house.list_id = 77
        house.subscribe("late@example.org", due_at=None)
        asked = time.monotonic()
        while not good.accepted:
            assert time.monotonic() < asked + 1
            time.sleep(0.01)
        assert sending.result().counts["relay down"] == 0
    assert good.connections == 1


@pytest.mark.usefixtures("sped_up")
def test_many_of_a_domain_that_is_held_back(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Who stands behind many readers of a domain that is held back does not wait for them: the more of these are put
    off, the more are claimed at a time."""
    relay = Misbehaving()
    claims: list[int] = []

    def note(*told: Any) -> None:
        if "SET state = 'claimed'" in told[2] and len(relay.accepted) < 50:
            claims.append(len(relay.accepted))

    with served(sqlite_engine, tmp_path, {"only": (relay, "")}) as house:
        house.publish("one", countries=("GT",))
        for number in range(1000):
            house.subscribe(f"r{number}@slow.example")
        for number in range(50):
            house.subscribe(f"r{number}@good.example")
        house.tick()
        kept = Kept(house.engine, house.settings)
        kept.pace.slow_down("slow.example", 0.8)
        event.listen(house.engine, "before_cursor_execute", note)
        dispatch.dispatch(house.engine, house.settings, running(house), kept=kept)
    assert sum(recipient.endswith("@good.example") for recipient, _ in relay.accepted) == 50
    assert len(claims) < 10


@pytest.mark.usefixtures("sped_up")
def test_stands_still_beside_one_whose_rate_is_used_up(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What a relay that thinks would carry is not put off to the day when another's rate allows it."""
    slow, full = Misbehaving(thinks=0.5), Misbehaving()
    relays = {"slow": (slow, "&connections=4"), "full": (full, "&rate=5/day")}
    with served(sqlite_engine, tmp_path, relays) as house:
        fill(house, 40)
        clock, kept = running(house), Kept(house.engine, house.settings)
        for _ in range(2):
            dispatch.dispatch(house.engine, house.settings, clock, kept=kept)
        assert not [row for row in unsent(house) if row.due_at > clock() + timedelta(minutes=1)]
    assert len(slow.accepted) > 10


@pytest.mark.usefixtures("sped_up")
@pytest.mark.parametrize("what", ["confirmations", "digests"])
def test_for_a_relay_that_hangs_alone(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Neither confirmations nor digests that only a hanging relay carries, nor its rate, keep another list's back."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 12.0)
    bad, good = Silent(), Misbehaving(thinks=0.02)
    relays = {"bad": (bad, "&lists=rutas&connections=1&rate=5/h"), "good": (good, "&lists=mares&connections=4")}
    with served(sqlite_engine, tmp_path, relays) as house:
        second_list(house)
        if what == "digests":
            fill(house, 500)
        for number in range(60):
            house.subscribe(f"a{number}@example.org", due_at=None)
        house.list_id = 77
        house.publish("two")
        for number in range(200):
            house.subscribe(f"m{number}@example.org")
        with house.engine.begin() as connection:
            unwanted = notices.c.list_id == 77 if what == "confirmations" else notices.c.id > 0
            connection.execute(update(notices).where(unwanted).values(due_at=None))
        house.tick()
        dispatch.dispatch(house.engine, house.settings, running(house), until(lambda: len(good.accepted) > 150, 10))
    assert len(good.accepted) > 150


def test_digests_that_no_relay_carries_now(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Digests that no relay may carry now are left alone, and those for other lists go; the spell ends with them."""
    first, second = Misbehaving(), Misbehaving()
    relays = {"first": (first, "&lists=rutas"), "second": (second, "&lists=mares")}
    with served(sqlite_engine, tmp_path, relays) as house:
        fill(house, 60)
        house.pass_time(minutes=5)
        with house.engine.begin() as connection:
            row = dict(connection.execute(select(lists)).one()._mapping)
            connection.execute(insert(lists).values(row | {"id": 77, "slug": "mares", "last_position": 0}))
            assert resting.pause(connection, relays_of(house.settings)[0], house.now)
        house.list_id = 77
        house.publish("two")
        for number in range(40):
            house.subscribe(f"m{number}@example.org")
        house.tick()
        began = time.monotonic()
        tally = house.send()
        assert time.monotonic() < began + 5
        with house.engine.connect() as connection:
            left = connection.execute(select(deliveries).where(deliveries.c.state != "sent")).all()
    assert (tally.counts["sent"], tally.more, first.connections) == (40, False, 0)
    assert {(one.state, one.attempts, one.claimed_at) for one in left} == {("queued", 0, None)}
    assert len(left) == 60


def test_list_that_no_relay_carries_now(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A confirmation that no relay may carry now waits in the database, and those for other lists go at once."""
    first, second = Misbehaving(), Misbehaving()
    relays = {"first": (first, "&lists=rutas"), "second": (second, "&lists=mares")}
    with served(sqlite_engine, tmp_path, relays) as house:
        with house.engine.begin() as connection:
            row = dict(connection.execute(select(lists)).one()._mapping)
            connection.execute(insert(lists).values(row | {"id": 77, "slug": "mares"}))
            assert resting.pause(connection, relays_of(house.settings)[1], house.now)
        house.list_id = 77
        house.subscribe("ana@example.org", due_at=None)
        house.list_id = 1
        began = time.monotonic()
        house.send()
        house.subscribe("ben@example.org", due_at=None)
        house.send()
        assert time.monotonic() < began + 15
        with house.engine.connect() as connection:
            (waiting,) = connection.execute(select(notices).where(notices.c.due_at.is_not(None))).all()
    assert [recipient for recipient, _ in first.accepted] == ["ben@example.org"]
    assert (waiting.list_id, waiting.due_at) == (77, house.now)


@pytest.mark.usefixtures("sped_up")
def test_slow_relay_of_another_list(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits behind digests for a relay that is slow, but not so slow that it would stand still."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 20.0)
    slow, good = Misbehaving(thinks=0.15), Misbehaving()
    relays = {"slow": (slow, "&lists=rutas&connections=1"), "good": (good, "&lists=mares")}
    with served(sqlite_engine, tmp_path, relays) as house:
        two_lists(house, 300, 50)
        dispatch.dispatch(house.engine, house.settings, running(house), until(lambda: len(good.accepted) == 50, 10))
    assert len(good.accepted) == 50
    assert len(slow.accepted) < 70


def test_many_digests_of_another_list(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Nobody waits, with a relay that has nothing to do, behind all that another one carries, however fast that is."""
    busy, idle = Misbehaving(thinks=0.05), Misbehaving()
    relays = {"busy": (busy, "&lists=rutas&connections=2"), "idle": (idle, "&lists=mares")}
    with served(sqlite_engine, tmp_path, relays) as house:
        two_lists(house, 600, 90)
        dispatch.dispatch(house.engine, house.settings, running(house), until(lambda: len(idle.accepted) == 90, 20))
    assert len(idle.accepted) == 90
    assert 20 < len(busy.accepted) < 300


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages waited, each time that some were queued."""
    seen: list[int] = []
    add = Waiting.add

    def noted(self: Waiting, *what: Any) -> None:
        add(self, *what)
        seen.append(len(self))

    monkeypatch.setattr(Waiting, "add", noted)
    return seen


@pytest.mark.usefixtures("sped_up")
def test_slow_relay_beside_one_whose_rate_is_used_up(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: list[int]
) -> None:
    """While the rates of all others are used up, no more is claimed for a relay that lags than a few."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 5.0)
    slow, full = Misbehaving(thinks=0.15), Misbehaving()
    with served(sqlite_engine, tmp_path, {"slow": (slow, "&connections=1"), "full": (full, "&rate=5/day")}) as house:
        fill(house, 600)
        dispatch.dispatch(house.engine, house.settings, running(house))
    assert len(slow.accepted) > 20
    assert max(waited) < 3 * BATCH[0]


@pytest.mark.usefixtures("sped_up")
def test_slow_relay_beside_one_that_has_leave_again(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: list[int]
) -> None:
    """What waits for a relay that lags, beyond a few, goes through another as soon as that has leave again."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 6.0)
    slow, other = Misbehaving(thinks=0.15), Misbehaving()
    relays = {"slow": (slow, "&connections=1"), "other": (other, "&rate=20/s")}
    with served(sqlite_engine, tmp_path, relays) as house:
        fill(house, 600)
        dispatch.dispatch(house.engine, house.settings, running(house))
    assert len(other.accepted) >= 40
    assert max(waited) < 3 * BATCH[0]


@pytest.mark.usefixtures("sped_up")
def test_slow_relay_of_the_same_list(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay is not brought down to the speed of a slower one that carries the same list."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 20.0)
    slow, good = Misbehaving(thinks=0.15), Misbehaving()
    with served(sqlite_engine, tmp_path, {"slow": (slow, "&connections=1"), "good": (good, "")}) as house:
        fill(house, 600)
        dispatch.dispatch(house.engine, house.settings, running(house), until(lambda: len(good.accepted) > 400, 15))
    assert len(good.accepted) > 400
    assert len(slow.accepted) < 200


def test_what_a_slow_relay_keeps(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Of what others may carry a relay that lags keeps no more than it answers in two seconds: nobody waits longer."""
    slow, good = Misbehaving(thinks=0.4), Misbehaving()
    with served(sqlite_engine, tmp_path, {"slow": (slow, "&connections=1"), "good": (good, "")}) as house:
        fill(house, 300)
        dispatch.dispatch(house.engine, house.settings, running(house))
    assert len(slow.accepted) + len(good.accepted) == 300
    assert len(slow.accepted) < 20


@pytest.mark.parametrize("connections", [1, 10])
def test_what_a_dead_relay_leaves(sqlite_engine: Engine, tmp_path: Path, connections: int) -> None:
    """What a relay had in hand until it was known to be down goes through another at once, confirmations too."""
    good, bad = Misbehaving(), Silent()
    relays = {"good": (good, ""), "bad": (bad, f"&connections={connections}")}
    with served(sqlite_engine, tmp_path, relays) as house:
        fill(house, 90)
        for number in range(5):
            house.subscribe(f"late{number}@example.org", due_at=None)
        settings = house.settings.model_copy(update={"smtp_timeout": 1})
        done = until(lambda: len(good.accepted) == 95, 15)
        dispatch.dispatch(house.engine, settings, running(house), done)
    assert len(good.accepted) == 95


def test_what_a_relay_hangs_up_over(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What one relay hangs up over another tries at once, a confirmation too: nothing is put off for minutes."""
    good, bad = Leisurely(), Misbehaving(mood=lambda number, recipient: "leave")
    with served(sqlite_engine, tmp_path, {"bad": (bad, ""), "good": (good, "")}) as house:
        fill(house, 2)
        with house.engine.begin() as connection:
            connection.execute(update(notices).values(due_at=None))
        house.subscribe("late@example.org", due_at=None)
        done = until(lambda: len(good.accepted) == 3, 5)
        dispatch.dispatch(house.engine, house.settings, running(house), done)
    assert len(good.accepted) == 3
    assert bad.begun <= 3


def test_who_is_not_offered_it_again(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What a relay hung up over while digests were shared out waits for the next turn, not for its next connection."""
    with served(sqlite_engine, tmp_path, {"bad": (Misbehaving(), "")}) as house:
        fill(house, 2)
        with house.engine.begin() as connection:
            claimed = outbox.claim(connection, "one", house.now, timedelta(minutes=10), 2)
        (bad,) = relays_of(house.settings)
        waiting = Waiting([bad])
        for delivery in claimed:
            waiting.suspect(bad, delivery)
        assert waiting.next_delivery(bad, lambda _, delivery: delivery == claimed[0]) == claimed[1]
        assert waiting.next_delivery(bad, lambda *_: True) is None
        assert waiting.next_delivery(bad, lambda *_: False) == claimed[0]


def test_slow_relay_that_ends_connections(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits behind digests for a slow relay that ends each connection after a few messages."""
    monkeypatch.setattr(pools, "STANDSTILL_SECONDS", 1.0)
    slow, good = Misbehaving(thinks=0.15), Misbehaving()
    relays = {"slow": (slow, "&lists=rutas&connections=1&messages=5"), "good": (good, "&lists=mares")}
    with served(sqlite_engine, tmp_path, relays) as house:
        two_lists(house, 300, 50)
        dispatch.dispatch(house.engine, house.settings, running(house), until(lambda: len(good.accepted) == 50, 8))
    assert len(good.accepted) == 50


class Clinging(Misbehaving):
    """Does not answer goodbyes."""

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        line = await reader.readline()
        return line if line[:4] != b"QUIT" else await reader.readline()


def test_relay_that_does_not_say_goodbye(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does anybody wait for a relay that takes its time over the end of each connection."""
    monkeypatch.setattr(pools, "STANDSTILL_SECONDS", 0.5)
    clinging, good = Clinging(), Misbehaving()
    relays = {"clinging": (clinging, "&connections=1&messages=2"), "good": (good, "")}
    with served(sqlite_engine, tmp_path, relays) as house:
        fill(house, 60)
        dispatch.dispatch(house.engine, house.settings, running(house))
    assert len(clinging.accepted) + len(good.accepted) == 60
    assert len(clinging.accepted) < 10


@pytest.mark.usefixtures("sped_up")
def test_confirmations_beside_a_slow_relay(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A confirmation does not wait behind those for a relay that is slow, however many they are."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 20.0)
    slow, good = Misbehaving(thinks=0.15), Misbehaving()
    relays = {"slow": (slow, "&lists=rutas&connections=1"), "good": (good, "&lists=mares")}
    with served(sqlite_engine, tmp_path, relays) as house:

        def subscribe_late(number: int, recipient: str) -> str:
            if number == 10:
                house.list_id = 77
                house.subscribe("late@example.org", due_at=None)
            return "ok"

        slow.mood = subscribe_late
        second_list(house)
        for number in range(90):
            house.subscribe(f"a{number}@example.org", due_at=None)
        dispatch.dispatch(house.engine, house.settings, running(house), until(lambda: bool(good.accepted), 15))
    assert good.accepted
    assert len(slow.accepted) < 40


@pytest.mark.usefixtures("sped_up")
def test_confirmations_where_all_are_slow(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A confirmation waits for none of another relay's, also where its own does not keep up with its digests."""
    slow, busy = Misbehaving(thinks=0.4), Misbehaving(thinks=0.2)
    relays = {"slow": (slow, "&lists=rutas&connections=1"), "busy": (busy, "&lists=mares&connections=1")}
    with served(sqlite_engine, tmp_path, relays) as house:

        def subscribe_late(number: int, recipient: str) -> str:
            if number == 10:
                house.subscribe("late@example.org", due_at=None)
            return "ok"

        busy.mood = subscribe_late
        two_lists(house, 0, 60)
        house.list_id = 1
        for number in range(50):
            house.subscribe(f"a{number}@example.org", due_at=None)
        house.list_id = 77
        done = until(lambda: any(recipient == "late@example.org" for recipient, _ in busy.accepted), 10)
        dispatch.dispatch(house.engine, house.settings, running(house), done)
    assert "late@example.org" in dict(busy.accepted)
    assert len(slow.accepted) < 20


@pytest.mark.usefixtures("sped_up")
def test_confirmation_at_the_end_of_a_spell(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits until a relay has thought over what it was given before the spell was over; it gets no more, and
    the rest of what is for it is left for the next spell."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 0.5)
    slow, good = Misbehaving(thinks=3), Misbehaving()
    relays = {"slow": (slow, "&lists=rutas&connections=1"), "good": (good, "&lists=mares")}
    with served(sqlite_engine, tmp_path, relays) as house, ThreadPoolExecutor(1) as other:
        two_lists(house, 9, 5)
        sent = other.submit(dispatch.dispatch, house.engine, house.settings, running(house))
        time.sleep(1.5)
        house.subscribe("late@example.org", due_at=None)
        time.sleep(1)
        assert "late@example.org" in dict(good.accepted)
        assert sent.result().more
        left = unsent(house)
    assert len(slow.accepted) == 2
    assert [(one.state, one.answer) for one in left] == [("queued", None)] * 7


@pytest.mark.usefixtures("sped_up")
def test_end_of_a_spell_where_all_are_slow(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does who waits with a relay that does not keep up with its digests, but moves."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 1.0)
    slow, busy = Misbehaving(thinks=5), Misbehaving(thinks=0.1)
    relays = {"slow": (slow, "&lists=rutas&connections=1"), "busy": (busy, "&lists=mares&connections=1")}
    with served(sqlite_engine, tmp_path, relays) as house, ThreadPoolExecutor(1) as other:
        two_lists(house, 40, 200)
        sent = other.submit(dispatch.dispatch, house.engine, house.settings, running(house))
        time.sleep(1.5)
        house.subscribe("late@example.org", due_at=None)
        time.sleep(2)
        assert "late@example.org" in dict(busy.accepted)
        assert len(slow.accepted) == 1
        assert sent.result().more


@pytest.mark.usefixtures("sped_up")
def test_a_list_of_which_one_relay_hangs_and_one_has_no_leave(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What neither a hanging relay nor one whose rate is used up will carry soon is not claimed: other lists go on."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 20.0)
    most = 0
    add = Waiting.add

    def noted(self: Waiting, *what: Any) -> None:
        nonlocal most
        add(self, *what)
        most = max(most, len(self))

    monkeypatch.setattr(Waiting, "add", noted)
    bad, full, good = Silent(), Misbehaving(), Misbehaving()
    relays = {
        "bad": (bad, "&lists=rutas&connections=1"),
        "full": (full, "&lists=rutas&rate=5/day"),
        "good": (good, "&lists=mares"),
    }
    with served(sqlite_engine, tmp_path, relays) as house:
        two_lists(house, 400, 60)
        dispatch.dispatch(house.engine, house.settings, running(house), until(lambda: len(good.accepted) == 60, 15))
    assert len(good.accepted) == 60
    assert most < 250


@pytest.mark.usefixtures("sped_up")
def test_leave_in_hand_is_not_asked_for_twice(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What moves away from a relay that stands still, and finds no room elsewhere, has its leave still: it is not put
    off until the relay has new one."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 1.5)
    slow, other = Misbehaving(thinks=0.6), Misbehaving()
    relays = {"slow": (slow, "&connections=1&rate=30/day&weight=100"), "other": (other, "&rate=3/day&weight=1")}
    with running_valkey(tmp_path) as valkey, served(sqlite_engine, tmp_path, relays, valkey.url) as house:
        fill(house, 30)
        clock, kept = running(house), Kept(house.engine, house.settings)
        for _ in range(2):
            dispatch.dispatch(house.engine, house.settings, clock, kept=kept)
        assert not [row for row in unsent(house) if row.due_at > clock() + timedelta(minutes=1)]


@pytest.mark.usefixtures("sped_up")
def test_confirmations_after_a_relay_stands_still(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a relay is known to stand still, it gets no confirmation that another may carry."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 8.0)
    bad, good = Silent(), Misbehaving(thinks=0.05)
    with served(sqlite_engine, tmp_path, {"bad": (bad, ""), "good": (good, "&connections=1")}) as house:
        given: list[int] = []

        def subscribe_more(number: int, recipient: str) -> str:
            # The last of the first ones: long after the other relay has begun to hang over its own.
            if number == 30:
                given.append(bad.connections)
                for late in range(30):
                    house.subscribe(f"b{late}@example.org", due_at=None)
            return "ok"

        good.mood = subscribe_more
        for number in range(45):
            house.subscribe(f"a{number}@example.org", due_at=None)
        dispatch.dispatch(house.engine, house.settings, running(house), until(lambda: len(good.accepted) > 55, 7))
        given.append(bad.connections)
    assert given[0] == given[1]


def test_rate_that_is_used_up_for_long(engine: Engine, tmp_path: Path) -> None:
    """Nothing is claimed for a relay that may carry nothing for minutes: not to be put off, nor spell after spell; and
    another list's digests go out first."""
    full, good = Misbehaving(), Misbehaving()
    relays = {"full": (full, "&lists=rutas&rate=5/h"), "good": (good, "&lists=mares")}
    with running_valkey(tmp_path) as valkey, served(engine, tmp_path, relays, valkey.url) as house:
        two_lists(house, 300, 50)
        clock, kept = running(house), Kept(house.engine, house.settings)
        assert not dispatch.dispatch(engine, house.settings, clock, kept=kept).more
        assert len(good.accepted) == 50
        late = [row for row in unsent(house) if row.due_at > clock()]
        assert len(late) <= 2 * BATCH[0]
        assert not dispatch.dispatch(engine, house.settings, clock, kept=kept).more
        assert len([row for row in unsent(house) if row.due_at > clock()]) == len(late)


def test_leave_that_others_gave_back(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that saw a rate used up soon learns that others gave back leave of which they made no use."""
    monkeypatch.setattr(sharing, "TRUSTED_SECONDS", 3.0)
    monkeypatch.setattr(sharing, "SOON", timedelta(0))
    relay = Misbehaving()
    with (
        running_valkey(tmp_path) as valkey,
        served(sqlite_engine, tmp_path, {"only": (relay, "&rate=5/day")}, valkey.url) as house,
    ):
        fill(house, BATCH[0] + 10)
        (only,) = relays_of(house.settings)
        clock, kept, other = running(house), Kept(house.engine, house.settings), Kept(house.engine, house.settings)
        assert other.pace.grant(only, {"example.org": 5}).by_domain == {"example.org": 5}
        dispatch.dispatch(house.engine, house.settings, clock, kept=kept)
        assert not relay.accepted
        other.pace.refund(only, {"example.org": 5})
        time.sleep(3)
        dispatch.dispatch(house.engine, house.settings, clock, kept=kept)
    assert len(relay.accepted) == 5


def test_few_messages_a_connection(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Who ends each connection after a few messages does not wait for the next one."""
    relay = Misbehaving()
    with served(sqlite_engine, tmp_path, {"only": (relay, "&connections=1&messages=2")}) as house:
        fill(house, 60)
        began = time.monotonic()
        assert house.send().counts["sent"] == 60
    assert time.monotonic() < began + 8


def test_many_connections_to_a_slow_relay(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A relay that takes long over each message gets as many connections as it may have."""
    relay = Misbehaving(thinks=0.2)
    with served(sqlite_engine, tmp_path, {"only": (relay, "&connections=20")}) as house:
        fill(house, 150)
        assert dispatch.dispatch(house.engine, house.settings, running(house)).counts["sent"] == 150
    assert relay.connections == 20


class Recovers(Silent):
    """Hangs until it is well, and then hangs up over one reader."""

    well = False

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (Misbehaving._talk if self.well else Silent._talk)(self, reader, writer)


def test_what_is_left_of_a_hang(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that hung, rested, and is well is not down as soon as it hangs up over one reader."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 4.0)
    relay = Recovers(mood=lambda number, recipient: "leave" if recipient.startswith("r0@") else "ok")
    with served(sqlite_engine, tmp_path, {"only": (relay, "&connections=8")}) as house:
        fill(house, 100)
        settings = house.settings.model_copy(update={"smtp_timeout": 1})
        kept = Kept(house.engine, settings)
        assert dispatch.dispatch(house.engine, settings, house.clock, kept=kept).counts["relay down"] == 1
        with house.engine.begin() as connection:
            connection.execute(update(deliveries).where(deliveries.c.id > 5).values(state="cancelled"))
        house.pass_time(minutes=30)
        relay.well = True
        assert dispatch.dispatch(house.engine, settings, house.clock, kept=kept).counts["relay down"] == 0
