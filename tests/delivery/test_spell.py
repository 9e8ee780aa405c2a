"""A spell of sending over several relays: what a connection leaves unsent, and relays that are paused meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from commanding import KEY
from house import House
from misbehaving import Misbehaving, misbehaving
from sqlalchemy import Engine, event, insert, select, text, update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from valkeys import running_valkey

from newsletter.audience.picks import Picks
from newsletter.catalogue.items import withdraw
from newsletter.database import connect
from newsletter.delivery import dispatch, outbox, resting, spell
from newsletter.delivery.demand import BATCH
from newsletter.delivery.exchange import RELAY_PAUSE, Exchange
from newsletter.delivery.kept import Kept
from newsletter.delivery.relays import relays_of
from newsletter.delivery.settling import Outcome, settle
from newsletter.delivery.smtp import pools
from newsletter.delivery.smtp.conversation import Answer, Verdict
from newsletter.delivery.smtp.outcomes import HUNG_UP
from newsletter.migrations import upgrade
from newsletter.settings import load_settings
from newsletter.tables import deliveries, lists, notices


@contextmanager
def served(
    engine: Engine, home: Path, relays: dict[str, tuple[Misbehaving, str]], redis_url: str = ""
) -> Iterator[House]:
    """A list that is sent through these relays: name → server and its options in the URL."""
    with ExitStack() as running:
        urls = []
        for name, (server, options) in relays.items():
            running.enter_context(misbehaving(server))
            urls.append(f"smtp://127.0.0.1:{server.port}?name={name}{options}")
        settings = load_settings(
            home=home,
            database_url=str(engine.url),
            redis_url=redis_url,
            smtp_url=" ".join(urls),
            base_url="https://news.example.org",
            secret_key=KEY,
        )
        yield House(engine, settings).create()


def fill(house: House, readers: int) -> None:
    """One item, and its delivery for each of these."""
    house.publish("one", countries=("GT",))
    for number in range(readers):
        house.subscribe(f"r{number}@example.org")
    house.tick()


def running(house: House) -> Callable[[], datetime]:
    """The house's clock, which does not stand still any more."""
    began, at = house.now, time.monotonic()
    return lambda: began + timedelta(seconds=time.monotonic() - at)


def test_unsent_messages_keep_their_relay(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A relay that hangs up on each message after its fifth sends those by its next connection: another relay, which
    may carry them too, still gets no more than its weight and its rate allow."""
    first, second = Misbehaving(), Misbehaving(closes_after=5)
    relays = {"first": (first, "&weight=1&rate=1/day"), "second": (second, "&weight=99")}
    with served(sqlite_engine, tmp_path, relays) as house:
        fill(house, 100)
        tally = house.send()
    assert tally.counts["sent"] == 100
    assert (len(first.accepted), len(second.accepted)) == (1, 99)


def test_paused_in_the_middle(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A relay that is paused while messages go out gets nothing more from then on, no confirmation mail either."""

    def pause(number: int, recipient: str) -> str:
        if number == 5:
            with house.engine.begin() as connection:
                assert resting.pause(connection, relays_of(house.settings)[0], house.now)
            house.subscribe("late@example.org", due_at=None)
        return "ok"

    first, second = Misbehaving(), Misbehaving(mood=pause)
    with served(sqlite_engine, tmp_path, {"first": (first, ""), "second": (second, "&connections=1")}) as house:
        fill(house, 100)
        house.send()
        before = len(first.accepted)
        house.send()
    assert "late@example.org" in [recipient for recipient, _ in second.accepted]
    assert "late@example.org" not in [recipient for recipient, _ in first.accepted]
    assert len(first.accepted) == before


def test_unused_leave_is_given_back(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Of what a relay may take in a day, nothing is used up by messages that did not go: not when it is paused before
    they do, nor by digests of which nothing is left."""

    def pause(number: int, recipient: str) -> str:
        if number == 5:
            with house.engine.begin() as connection:
                assert resting.pause(connection, relays_of(house.settings)[0], house.now)
        return "ok"

    relay = Misbehaving(mood=pause)
    with (
        running_valkey(tmp_path) as valkey,
        served(sqlite_engine, tmp_path, {"only": (relay, "&connections=1&rate=60/day")}, valkey.url) as house,
    ):
        house.publish("one", countries=("GT",))
        (gone,) = house.publish("two", countries=("HN",))
        for number in range(50):
            house.subscribe(f"r{number}@example.org", Picks(countries=frozenset({"GT"})))
        for number in range(10):
            house.subscribe(f"none{number}@example.org", Picks(countries=frozenset({"HN"})))
        house.tick()
        with house.engine.begin() as connection:
            withdraw(connection, gone, house.now)
        house.send()
        assert 5 <= len(relay.accepted) < 50
        with house.engine.begin() as connection:
            assert resting.resume(connection, relays_of(house.settings)[0], house.now)
        house.pass_time(minutes=1)
        house.send()
        assert len({recipient for recipient, _ in relay.accepted}) == len(relay.accepted) == 50
        for number in range(10):
            house.subscribe(f"more{number}@example.org", Picks(countries=frozenset({"GT"})))
        house.pass_time(days=1)
        house.publish("three", countries=("GT",))
        house.tick()
        house.send()
        assert len(relay.accepted) == 60


def test_database_that_takes_its_time(engine: Engine, tmp_path: Path) -> None:
    """While the database thinks about a claim, what was claimed before goes out and is answered."""
    relay = Misbehaving()
    claims: list[int] = []

    def think(*arguments: Any) -> None:
        if "SET state = 'claimed'" in arguments[2]:
            limit = time.monotonic() + 10
            # The first batch is of fifty; the second is claimed while the last of it wait.
            while len(claims) == 1 and len(relay.accepted) < 50 and time.monotonic() < limit:
                time.sleep(0.01)
            claims.append(len(relay.accepted))

    with served(engine, tmp_path, {"only": (relay, "")}) as house:
        fill(house, 120)
        event.listen(engine, "before_cursor_execute", think)
        try:
            assert house.send().counts["sent"] == 120
        finally:
            event.remove(engine, "before_cursor_execute", think)
    assert claims[1] == 50


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


def test_hangs_up_on_one_reader(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A reader at whom the relay hangs up each time waits, with an attempt counted; everybody else is served at once,
    over hardly more connections than usual."""
    for readers in (5, 60):
        relay = Misbehaving(mood=lambda number, recipient: "leave" if recipient.startswith("r0@") else "ok")
        folder = tmp_path / str(readers)
        engine = connect(f"sqlite:///{folder}.db")
        upgrade(engine)
        with served(engine, folder, {"only": (relay, "")}) as house:
            fill(house, readers)
            tally = house.send()
            row = house.delivery(1)
        assert (tally.counts["sent"], tally.counts["relay down"]) == (readers - 1, 0)
        assert (row.state, row.attempts, row.code, row.doubtful) == ("deferred", 1, None, False)
        assert "ended the connection" in row.answer
        assert relay.connections <= 20
        engine.dispose()


def test_hangs_up_on_several_readers(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Several such readers, side by side or not, when they come again too, hold up nobody else and no relay."""
    gone = {f"r{number}@example.org" for number in (*range(12), *range(20, 200, 20))}
    relay = Misbehaving(mood=lambda number, recipient: "leave" if recipient in gone else "ok")
    with served(sqlite_engine, tmp_path, {"only": (relay, "")}) as house:
        fill(house, 200)
        tally = house.send()
        assert (tally.counts["sent"], tally.counts["relay down"]) == (200 - len(gone), 0)
        for _ in range(3):
            house.pass_time(minutes=5)
            house.subscribe(f"late{house.now.minute}@example.org", due_at=None)
            assert house.send().counts["relay down"] == 0
    assert sum(recipient.startswith("late") for recipient, _ in relay.accepted) == 3


def test_hangs_up_on_one_confirmation(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A transactional mail at which the relay hangs up each time waits, too, and holds up nothing."""
    relay = Misbehaving(mood=lambda number, recipient: "leave" if recipient.startswith("late") else "ok")
    with served(sqlite_engine, tmp_path, {"only": (relay, "")}) as house:
        fill(house, 20)
        house.subscribe("late@example.org", due_at=None)
        assert house.send().counts["sent"] == 20
        with house.engine.connect() as connection:
            notice = connection.execute(select(notices)).one()
    assert "ended the connection" in notice.answer
    assert notice.due_at > house.now
    assert relay.connections <= 12


def test_hangs_up_on_several_confirmations(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Several transactional mails at which the relay hangs up cost one rest at most, and do not come first after it."""
    relay = Misbehaving(mood=lambda number, recipient: "leave" if recipient.startswith("bad") else "ok")
    with served(sqlite_engine, tmp_path, {"only": (relay, "")}) as house:
        fill(house, 20)
        for number in range(4):
            house.subscribe(f"bad{number}@example.org", due_at=None)
        downs = house.send().counts["relay down"]
        house.pass_time(seconds=21)
        downs += house.send().counts["relay down"]
        assert downs <= 1
        assert all(house.states(number) == ["sent"] for number in range(1, 21))


def test_one_reader_and_a_far_relay(sqlite_engine: Engine, tmp_path: Path) -> None:
    """One reader at whom the relay hangs up takes nothing from the connections of the others."""
    relay = Misbehaving(thinks=0.05, mood=lambda number, recipient: "leave" if recipient.startswith("r50@") else "ok")
    with served(sqlite_engine, tmp_path, {"only": (relay, "")}) as house:
        fill(house, 400)
        began = time.monotonic()
        tally = house.send()
        assert tally.counts["sent"] == 399
        # One connection after the other would take twenty seconds.
        assert time.monotonic() - began < 12
        assert house.delivery(51).answer == HUNG_UP.text


def test_hangs_up_on_all_who_were_put_off(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A relay that is ill is down after three connections, and costs those whom another answer put off no attempt."""
    relay = Misbehaving(mood=lambda number, recipient: "452" if number <= 60 else "leave")
    with served(sqlite_engine, tmp_path, {"only": (relay, "&connections=1")}) as house:
        fill(house, 60)
        assert house.send().counts["deferred"] == 60
        house.pass_time(minutes=5)
        tally = house.send()
        assert tally.counts["relay down"] == 1
        assert tally.counts["deferred"] <= 3
        with house.engine.connect() as connection:
            attempts = Counter(connection.scalars(select(deliveries.c.attempts)))
    assert attempts[1] >= 57


def test_rate_of_one_relay_of_two(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What a relay's rate leaves over goes through the other, at once; nobody waits for the day to end."""
    first, second = Misbehaving(), Misbehaving()
    with served(sqlite_engine, tmp_path, {"first": (first, "&rate=5/day"), "second": (second, "")}) as house:
        fill(house, 400)
        tally = house.send()
    assert tally.counts["sent"] == 400
    assert 1 <= len(first.accepted) <= 5


def state_of(house: House) -> resting.State:
    """What is known of the only relay."""
    with house.engine.connect() as connection:
        (known,) = resting.states(connection, relays_of(house.settings)).values()
    return known


@pytest.mark.parametrize("allows", [1, 3])
def test_no_room_for_another_worker(engine: Engine, tmp_path: Path, allows: int) -> None:
    """A relay that allows fewer connections than there are workers is not put to rest: who is served goes on, and a
    confirmation that the other one took is not late."""
    relay = Misbehaving(allows=allows, thinks=0.01)
    with served(engine, tmp_path, {"only": (relay, "")}) as house, ThreadPoolExecutor(2) as workers:
        fill(house, 300)
        clock = running(house)
        first = workers.submit(dispatch.dispatch, house.engine, house.settings, clock)
        while not state_of(house).last_ok_at:
            time.sleep(0.01)
        house.subscribe("ana@example.org", due_at=None)
        second = workers.submit(dispatch.dispatch, house.engine, house.settings, clock)
        waited = time.monotonic()
        while not any(recipient == "ana@example.org" for recipient, _ in relay.accepted):
            assert time.monotonic() < waited + 3
            time.sleep(0.01)
        counts = first.result().counts + second.result().counts
        known = state_of(house)
        with house.engine.connect() as connection:
            later = connection.scalars(select(deliveries.c.due_at).where(deliveries.c.state != "sent")).all()
    assert relay.refused
    assert (known.failures, known.rests_until) == (0, None)
    assert counts["relay down"] == 0
    assert counts["sent"] + len(later) == 300
    assert len(later) <= BATCH[0]
    assert all(due_at <= clock() + RELAY_PAUSE for due_at in later)
    assert len({recipient for recipient, _ in relay.accepted}) == len(relay.accepted)


def test_workers_that_begin_at_once(engine: Engine, tmp_path: Path) -> None:
    """Who was turned away before anybody was served puts such a relay to rest; whom it serves goes on, and ends it."""
    relay = Misbehaving(allows=1, thinks=0.005)
    with served(engine, tmp_path, {"only": (relay, "")}) as house, ThreadPoolExecutor(2) as workers:
        fill(house, 300)
        clock = running(house)
        first = workers.submit(dispatch.dispatch, house.engine, house.settings, clock)
        while not relay.accepted:
            time.sleep(0.001)
        with house.engine.begin() as connection:
            resting.rest(connection, *relays_of(house.settings), "too many connections", clock())
        assert first.result().counts["sent"] == 300
        assert (state_of(house).failures, state_of(house).rests_until) == (0, None)


def test_thinks_longer_than_the_spell(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a spell a relay that thinks is waited for as long as ever: nothing is sent twice. Who is asked to
    stop waits for the grace only."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 0.5)
    monkeypatch.setattr(spell, "GRACE_SECONDS", 0.2)
    relay = Misbehaving(thinks=1.0)
    with served(sqlite_engine, tmp_path, {"only": (relay, "&connections=1")}) as house:
        fill(house, 4)
        while house.send().more:
            pass
        assert len({recipient for recipient, _ in relay.accepted}) == len(relay.accepted) == 4
        with house.engine.connect() as connection:
            assert not any(connection.scalars(select(deliveries.c.doubtful)))
        house.publish("two")
        house.pass_time(days=1)
        house.tick()
        relay.thinks, began = 30.0, time.monotonic()
        dispatch.dispatch(house.engine, house.settings, house.clock, lambda: time.monotonic() > began + 0.3)
        assert time.monotonic() < began + 10


class Silent(Misbehaving):
    """Greets, answers EHLO, and then never says anything."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 silent ESMTP\r\n")
        while line := await reader.readline():
            if line[:4].upper() == b"EHLO":
                writer.write(b"250-silent\r\n250 PIPELINING\r\n")
                await writer.drain()


class Mute(Misbehaving):
    """Takes connections and never says anything."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()


class Impatient(Misbehaving):
    """Ends connections that are idle for a moment, as Postfix under stress does after ten seconds."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read = reader.readline

        async def readline() -> bytes:
            try:
                return await asyncio.wait_for(read(), 0.2)
            except TimeoutError:
                writer.write(b"421 4.4.2 idle for too long\r\n")
                await writer.drain()
                return b""

        reader.readline = readline  # type: ignore[method-assign]
        await super()._talk(reader, writer)


@pytest.fixture
def sped_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spell of three seconds, in which a relay that stands still is soon known."""
    monkeypatch.setattr(spell, "SPELL_SECONDS", 3.0)
    monkeypatch.setattr(spell, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(pools, "STANDSTILL_SECONDS", 0.2)


@pytest.mark.usefixtures("sped_up")
@pytest.mark.parametrize("kind", [Silent, Mute])
def test_hangs_beside_another(sqlite_engine: Engine, tmp_path: Path, kind: type[Misbehaving]) -> None:
    """A relay that hangs holds up no other: what waits for it goes through that; and it is soon known to be down."""
    good, bad = Misbehaving(), kind()
    with served(sqlite_engine, tmp_path, {"good": (good, ""), "bad": (bad, "")}) as house:
        fill(house, 1000)
        settings = house.settings.model_copy(update={"smtp_timeout": 2})
        began = time.monotonic()
        good.mood = lambda number, recipient: "451" if time.monotonic() > began + 2 else "ok"
        tally = dispatch.dispatch(house.engine, settings, running(house))
        assert len(good.accepted) > 900
        assert tally.counts["relay down"] == 1


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


def test_paused_while_it_thinks(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no relay can be used any more, an answer that is outstanding is waited for without asking the database
    over and over."""
    turns: list[Any] = []
    run = Exchange.run
    monkeypatch.setattr(Exchange, "run", lambda self, errand: turns.append(errand) or run(self, errand))

    def pause(number: int, recipient: str) -> str:
        if number == 5:
            with house.engine.begin() as connection:
                assert resting.pause(connection, relays_of(house.settings)[0], house.now)
            relay.thinks = 1.5
        return "ok"

    relay = Misbehaving(mood=pause)
    with served(sqlite_engine, tmp_path, {"only": (relay, "&connections=1")}) as house:
        fill(house, 300)
        began = time.monotonic()
        house.send()
    assert len(turns) < 10 * (time.monotonic() - began)


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
    """Who stands behind many readers of a domain that is held back does not wait for them."""
    relay = Misbehaving()
    with served(sqlite_engine, tmp_path, {"only": (relay, "")}) as house:
        house.publish("one", countries=("GT",))
        for number in range(500):
            house.subscribe(f"r{number}@slow.example")
        for number in range(50):
            house.subscribe(f"r{number}@good.example")
        house.tick()
        kept = Kept(house.engine, house.settings)
        kept.pace.slow_down("slow.example", 0.8)
        dispatch.dispatch(house.engine, house.settings, running(house), kept=kept)
    assert sum(recipient.endswith("@good.example") for recipient, _ in relay.accepted) == 50


def second_list(house: House) -> None:
    """Another list, for the relays of which ``lists`` names it."""
    with house.engine.begin() as connection:
        row = dict(connection.execute(select(lists)).one()._mapping)
        connection.execute(insert(lists).values(row | {"id": 77, "slug": "mares", "last_position": 0}))


def unsent(house: House) -> list[Any]:
    with house.engine.connect() as connection:
        return list(connection.execute(select(deliveries).where(deliveries.c.state != "sent")))


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
def test_for_a_relay_that_hangs_alone(sqlite_engine: Engine, tmp_path: Path, what: str) -> None:
    """Neither confirmations nor digests that only a hanging relay carries, nor its rate, keep another list's back."""
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
        began = time.monotonic()
        dispatch.dispatch(house.engine, house.settings, running(house), lambda: time.monotonic() > began + 2.5)
    assert len(good.accepted) > 150


def test_no_room_and_another_relay(engine: Engine, tmp_path: Path) -> None:
    """A worker for which a relay has no room takes nothing that only that carries, while it sends through another:
    whom the relay serves finds it due."""
    first, good = Misbehaving(allows=1, standing=1), Misbehaving(thinks=0.02)
    relays = {"first": (first, "&lists=rutas"), "good": (good, "&lists=mares&connections=1")}
    with served(engine, tmp_path, relays) as house:
        second_list(house)
        fill(house, 300)
        house.subscribe("ana@example.org", due_at=None)
        house.list_id = 77
        house.publish("two")
        for number in range(40):
            house.subscribe(f"m{number}@example.org")
        house.tick()
        with house.engine.begin() as connection:
            connection.execute(update(notices).where(notices.c.list_id == 77).values(due_at=None))
            assert resting.recovered(connection, relays_of(house.settings)[0], house.now, house.now)
        dispatch.dispatch(house.engine, house.settings, house.clock)
        assert sum(row.due_at > house.now for row in unsent(house)) <= BATCH[0]
        with house.engine.connect() as connection:
            assert connection.scalar(select(notices.c.due_at).where(notices.c.list_id == 1).limit(1)) == house.now
    assert first.refused
    assert len(good.accepted) == 40


def test_a_turn_that_takes_long(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a turn with the database takes seconds, answers lie unread: that is no standstill of the relay."""
    monkeypatch.setattr(pools, "STANDSTILL_SECONDS", 0.2)
    relay, done = Misbehaving(), []
    run = Exchange.run

    def slow(self: Exchange, errand: Any) -> Any:
        brought = run(self, errand)
        if len(brought.claimed) > 50 and len(relay.accepted) > 100 and not done:
            time.sleep(0.5)
            done.append(errand)
        return brought

    monkeypatch.setattr(Exchange, "run", slow)
    with served(sqlite_engine, tmp_path, {"only": (relay, "")}) as house:
        fill(house, 1500)
        assert dispatch.dispatch(house.engine, house.settings, running(house)).counts["sent"] == 1500
    assert done


def test_no_room_and_only_confirmations(engine: Engine, tmp_path: Path) -> None:
    """Confirmations show, too, that a relay serves others: whom it turns away does not put it to rest."""
    relay = Misbehaving(allows=1, thinks=0.01)
    with served(engine, tmp_path, {"only": (relay, "")}) as house, ThreadPoolExecutor(2) as workers:
        for number in range(120):
            house.subscribe(f"a{number}@example.org", due_at=None)
        clock = running(house)
        first = workers.submit(dispatch.dispatch, house.engine, house.settings, clock)
        while not state_of(house).last_ok_at:
            time.sleep(0.01)
        dispatch.dispatch(house.engine, house.settings, clock)
        first.result()
        assert (relay.refused > 0, state_of(house).failures) == (True, 0)


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


def test_answer_of_a_commit_is_lost(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was claimed by a transaction whose answer was lost is free at once, and none of it is in doubt."""
    run, lost = Exchange.run, []

    def committed(exchange: Exchange, errand: Any) -> Any:
        brought = run(exchange, errand)
        if brought.claimed and not lost:
            lost.append(len(brought.claimed))
            raise OperationalError("COMMIT", None, Exception("the connection was lost"))
        return brought

    monkeypatch.setattr(Exchange, "run", committed)
    relay = Misbehaving()
    with served(engine, tmp_path, {"only": (relay, "")}) as house:
        fill(house, 60)
        for _ in range(2):
            house.send()
        with house.engine.connect() as connection:
            rows = connection.execute(select(deliveries)).all()
    assert lost == [50]
    assert {(row.state, row.doubtful, row.attempts) for row in rows} == {("sent", False, 1)}
    assert len(relay.accepted) == 60


def test_lost_answer_at_the_deadline(engine: Engine, tmp_path: Path) -> None:
    """A digest whose answer was lost and that has no time left expires in doubt, and no code is made up for it."""
    with served(engine, tmp_path, {"only": (Misbehaving(), "")}) as house:
        fill(house, 1)
        with engine.begin() as connection:
            (delivery,) = outbox.claim(connection, "here", house.now, timedelta(minutes=5), 50)
            lost = Outcome(delivery, Answer(Verdict.UNKNOWN, 0, "The answer to the final dot was lost"), "only")
            assert settle(connection, [lost], delivery.deadline) == {"expired": 1}
        row = house.delivery(1)
    assert (row.state, row.code, row.doubtful, row.relay) == ("expired", None, True, "only")


def test_logs_name_no_reader(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A relay that names whom it was asked for in what it says of itself is not quoted with that."""
    relay = Misbehaving(mood=lambda number, recipient: "login")
    with served(sqlite_engine, tmp_path, {"only": (relay, "")}) as house, capture_logs() as logs:
        fill(house, 1)
        house.send()
        with house.engine.connect() as connection:
            said = connection.scalar(text("SELECT last_error FROM relays"))
    assert "asks for a login" in said
    assert "r0@" not in said + repr(logs)
