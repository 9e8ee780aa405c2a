"""A spell of sending over several relays: what a connection leaves unsent, and relays that are paused meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from misbehaving import Misbehaving
from spells import fill, running, second_list, served, state_of, unsent
from sqlalchemy import Engine, event, select, text, update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from valkeys import running_valkey

from newsletter.audience.picks import Picks
from newsletter.catalogue.items import withdraw
from newsletter.database import connect
from newsletter.delivery import demand, dispatch, journal, outbox, resting, spell
from newsletter.delivery.demand import BATCH
from newsletter.delivery.exchange import Exchange
from newsletter.delivery.relays import relays_of
from newsletter.delivery.settling import Outcome, settle
from newsletter.delivery.smtp import pools
from newsletter.delivery.smtp.conversation import Answer, Verdict
from newsletter.delivery.smtp.outcomes import HUNG_UP
from newsletter.migrations import upgrade
from newsletter.tables import deliveries, notices


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
        # Slow enough that the worker has a turn before all have gone.
        time.sleep(0.05 if number > 5 else 0)
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
        assert relay.connections <= 30
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


@pytest.mark.parametrize("allows", [1, 3])
def test_no_room_for_another_worker(engine: Engine, tmp_path: Path, allows: int) -> None:
    """A relay that allows fewer connections than there are workers is not put to rest: who is served goes on, and what
    the other one took is not late, neither digests nor a confirmation."""
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
    assert all(due_at <= clock() for due_at in later)
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
    monkeypatch.setattr(pools, "GRACE_SECONDS", 0.2)
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
        assert all(row.due_at <= house.now for row in unsent(house))
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


class Together(Misbehaving):
    """Answers to recipients only once there are so many of them."""

    of = 40
    there = 0

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        line = await reader.readline()
        if line[:4] == b"RCPT":
            self.there += 1
            until = time.monotonic() + 1
            while self.there < self.of and time.monotonic() < until:
                await asyncio.sleep(0.01)
        return line


def test_many_envelopes_at_once(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections wait for an answer to an envelope, each message has its place in the journal when it is
    handed over, and no connection is lost for want of one."""
    monkeypatch.setattr(journal, "SLOTS", 35)
    for module in (demand, spell):
        monkeypatch.setattr(module, "UNSETTLED", 5)
    monkeypatch.setattr(pools, "PER_CONNECTION", 1)
    relay = Together()
    with served(sqlite_engine, tmp_path, {"only": (relay, f"&connections={Together.of}")}) as house:
        fill(house, 200)
        tally = house.send()
    assert tally.counts["sent"] == 200
    assert relay.connections <= Together.of
