"""Promises 2 to 6: claim, send, settle against a real SMTP server, on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from email import message_from_bytes, policy

import pytest
from house import House
from sqlalchemy import Engine, String, delete, func, select, type_coerce, update

from newsletter import tables
from newsletter.audience import subscribers as audience
from newsletter.audience.erasing import erase
from newsletter.audience.lists import edit_list
from newsletter.audience.picks import Picks
from newsletter.audience.suppressions import suppress
from newsletter.catalogue.items import retag, withdraw
from newsletter.columns import Moment
from newsletter.delivery import dispatch, ledger, outbox, settling
from newsletter.delivery.composing.letters import Letters
from newsletter.delivery.journal import journals
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.pace import Pace
from newsletter.delivery.settling import Outcome
from newsletter.delivery.smtp.conversation import Answer, Verdict
from newsletter.digests import oversight, runs, shards
from newsletter.digests.upkeep import keep_up
from newsletter.errors import StateError
from newsletter.mail.letter import Message
from newsletter.settings import Settings
from newsletter.tables import deliveries, subscribers


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create()


def test_sent_moves_cursor(house: House, relay) -> None:
    """The cursor moves when the relay has accepted the digest, and the next run has nothing to send."""
    reader = house.subscribe("ana@example.org", Picks(countries=frozenset({"GT"})))
    house.publish("one", countries=("GT",))
    house.publish("two", countries=("HN",))
    house.tick()
    assert house.cursor(reader) == 0
    house.send()
    assert (house.states(reader), house.cursor(reader)) == (["sent"], 2)
    house.pass_time(days=1)
    house.tick()
    house.send()
    assert relay.recipients == ["ana@example.org"]
    text = message_from_bytes(relay.messages[0][2], policy=policy.default).get_body(("plain",)).get_content()
    assert "https://e.example/one" in text
    assert "https://e.example/two" not in text


def test_nothing_new(house: House, relay) -> None:
    """Nothing that fits: no mail, the cursor moves on, and the reason is kept."""
    reader = house.subscribe("ana@example.org", Picks(countries=frozenset({"GT"})))
    house.publish("two", countries=("HN",))
    house.tick()
    house.send()
    assert relay.messages == []
    assert house.cursor(reader) == 1
    with house.engine.connect() as connection:
        assert oversight.unserved_counts(connection, 1) == {"nothing-fits": 1}


def test_deferred_until_deadline(house: House, relay) -> None:
    """A 4xx is tried again with growing pauses until the deadline; then its items are in the next digest."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    relay.at_recipient["ana@example.org"] = ["451 4.7.1 later"] * 100
    house.tick()
    pauses = []
    while house.states(reader)[-1] in ("queued", "deferred"):
        house.send()
        row = house.delivery(reader)
        if row.state == "deferred":
            pauses.append(row.due_at - house.now)
            house.now = row.due_at
    assert pauses == sorted(pauses)
    assert pauses[0] == timedelta(minutes=1)
    assert (house.states(reader), house.cursor(reader)) == (["expired"], 0)
    assert house.delivery(reader).code == 451
    relay.at_recipient.clear()
    house.now = house.delivery(reader).deadline
    house.publish("two")
    house.tick()
    house.send()
    text = relay.messages[0][2].decode()
    assert "https://e.example/one" in text
    assert "https://e.example/two" in text


@pytest.mark.parametrize("place", ["at_recipient", "at_dot"])
def test_refused(house: House, relay, place: str) -> None:
    """A 5xx fails the delivery with its code; the cursor stays, and other readers are served over the same line."""
    ana = house.subscribe("ana@example.org")
    ben = house.subscribe("ben@example.org")
    house.publish("one")
    getattr(relay, place)["ana@example.org"] = ["550 5.1.1 nobody here"]
    house.tick()
    house.send()
    row = house.delivery(ana)
    assert (row.state, row.code, row.answer) == ("failed", 550, "5.1.1 nobody here")
    assert (house.cursor(ana), house.states(ben)) == (0, ["sent"])
    assert relay.connections == 1


def test_unknown_answer(house: House, relay) -> None:
    """A connection lost after the final dot leaves the delivery doubtful; its second copy has the same Message-ID."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    relay.drop_after_dot.add("ana@example.org")
    house.tick()
    house.send()
    row = house.delivery(reader)
    assert (row.state, row.doubtful, house.cursor(reader)) == ("deferred", True, 0)
    house.now = row.due_at
    house.send()
    ids = {message_from_bytes(m[2])["Message-ID"] for m in relay.messages}
    assert (len(relay.messages), len(ids)) == (2, 1)
    assert relay.messages[0][2] == relay.messages[1][2]


def test_dead_relay(house: House, relay) -> None:
    """A relay that cannot be reached costs no attempt; when it is back everything goes out once."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    alive = house.settings
    house.settings = alive.model_copy(update={"smtp_url": "smtp://127.0.0.1:9"})
    house.send()
    row = house.delivery(reader)
    assert (row.state, row.attempts) == ("queued", 0)
    house.settings = alive
    house.pass_time(seconds=30)
    house.send()
    assert relay.recipients == ["ana@example.org"]


def test_killed_worker(house: House, relay) -> None:
    """What a worker took and never settled is due again when its lease is over, and marked doubtful."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        assert len(outbox.claim(connection, "elsewhere", house.now, timedelta(minutes=5), 50)) == 1
    house.send()
    assert relay.messages == []
    house.pass_time(minutes=5)
    house.send()
    assert relay.recipients == ["ana@example.org"]
    assert house.delivery(reader).doubtful


def test_late_acceptance(house: House) -> None:
    """An acceptance counts although the lease ran out meanwhile, so that nobody sends it again."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        first = outbox.claim(connection, "elsewhere", house.now, timedelta(minutes=5), 50)[0]
    house.pass_time(minutes=6)
    with house.engine.begin() as connection:
        second = outbox.claim(connection, "here", house.now, timedelta(minutes=5), 50)[0]
        settling.settle(connection, [Outcome(first, Answer(Verdict.ACCEPTED, 250, "ok"))], house.now)
        settling.settle(connection, [Outcome(second, Answer(Verdict.DEFERRED, 451, "no"))], house.now)
    assert (house.states(reader), house.cursor(reader)) == (["sent"], 1)


def test_moments_written_alike(sqlite_engine, settings, relay) -> None:
    """SQLite compares moments as text: each is written in one way, with its microseconds, whoever writes it."""
    house = House(sqlite_engine, settings).create()
    house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    house.send()
    assert house.now.microsecond == 0
    columns = [column for table in tables.metadata.sorted_tables for column in table.c]
    with sqlite_engine.connect() as connection:
        for column in columns:
            if isinstance(column.type, Moment):
                texts = connection.scalars(select(type_coerce(column, String)).where(column.is_not(None))).all()
                assert {len(one) for one in texts} <= {len("2026-11-24 08:00:00.000000")}, column


@pytest.mark.parametrize("meanwhile", ["cancelled", "dropped"])
def test_acceptance_after_the_end(house: House, meanwhile: str) -> None:
    """An acceptance counts although the delivery was closed for good meanwhile: the next digest does not repeat it."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        (one,) = outbox.claim(connection, "elsewhere", house.now, timedelta(minutes=5), 50)
        if meanwhile == "cancelled":
            oversight.cancel(connection, 1, house.now)
        else:
            audience.pause(connection, reader, house.now)
    house.pass_time(minutes=6)
    with house.engine.begin() as connection:
        assert outbox.claim(connection, "here", house.now, timedelta(minutes=5), 50) == []
        outbox.sweep(connection, house.now, [])
    assert house.states(reader) == [meanwhile]
    with house.engine.begin() as connection:
        settling.settle(connection, [Outcome(one, Answer(Verdict.ACCEPTED, 250, "ok"))], house.now)
    assert (house.states(reader), house.cursor(reader)) == (["sent"], 1)


def test_acceptance_after_coming_back(house: House) -> None:
    """A late acceptance does not move a cursor that was set back meanwhile over items that it did not bring."""
    reader = house.subscribe("ana@example.org", cursor=1)
    house.publish("one", "two")
    house.tick()
    with house.engine.begin() as connection:
        (one,) = outbox.claim(connection, "elsewhere", house.now, timedelta(minutes=5), 50)
        audience.unsubscribe(connection, reader, "test", house.now)
    assert house.subscribe("ana@example.org", cursor=0) == reader
    with house.engine.begin() as connection:
        settling.settle(connection, [Outcome(one, Answer(Verdict.ACCEPTED, 250, "ok"))], house.now)
    assert (house.states(reader), house.cursor(reader)) == (["sent"], 0)


@pytest.mark.parametrize("leaving", ["unsubscribe", "pause", "erase", "suppress", "suppress as before"])
def test_nobody_who_left_is_mailed(house: House, relay, leaving: str) -> None:
    """Who left, paused, was erased or suppressed after assembly gets nothing."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        if leaving == "unsubscribe":
            audience.unsubscribe(connection, reader, "test", house.now)
        elif leaving == "pause":
            audience.pause(connection, reader, house.now)
        elif leaving == "erase":
            erase(connection, house.settings.keys, "ana@example.org", house.now)
        elif leaving == "suppress":
            suppress(connection, house.settings.keys, "ana@example.org", "complaint", house.now)
        else:
            suppress(connection, house.settings.keys, "ana@example.org", "complaint", house.now)
    house.send()
    assert (relay.messages, house.states(reader), house.cursor(reader)) == ([], ["dropped"], 0)


def test_withdrawn_item_leaves(house: House, relay) -> None:
    """A withdrawn item is in no digest sent later; one that held only it is not sent, and the cursor moves."""
    ana = house.subscribe("ana@example.org", Picks(countries=frozenset({"GT"})))
    ben = house.subscribe("ben@example.org")
    wrong = house.publish("wrong", "right", countries=("GT",))[0]
    house.publish("other", countries=("HN",))
    with house.engine.begin() as connection:
        retag(connection, wrong + 1, {"countries": ["HN"]}, house.now)
    house.tick()
    with house.engine.begin() as connection:
        withdraw(connection, wrong, house.now)
    house.pass_time(seconds=1)
    house.send()
    assert (house.states(ana), house.cursor(ana)) == (["withdrawn"], 3)
    assert relay.recipients == ["ben@example.org"]
    assert "e.example/wrong" not in relay.messages[0][2].decode()
    assert house.states(ben) == ["sent"]


def test_rendered_again_is_the_same(house: House, relay) -> None:
    """What was sent is rendered again byte for byte, also after an item of it was withdrawn."""
    reader = house.subscribe("ana@example.org", name="Ana Peña", timezone="Pacific/Auckland", language="fr")
    one = house.publish("one", "two", countries=("GT",))[0]
    house.tick()
    house.send()
    house.pass_time(days=2)
    delivery_id = house.delivery(reader).id
    with house.engine.begin() as connection:
        withdraw(connection, one, house.now)
        row = ledger.find_delivery(connection, delivery_id)
    again = Letters(house.engine, house.settings).compose(ledger.as_claimed(row, house.now))
    assert again is not None
    assert again.content == relay.messages[0][2]
    assert ledger.content_hash(again.content) == row.body_hash


def test_two_workers_send_once(house: House, relay) -> None:
    """However many workers and ticks run at once, each reader gets one digest."""
    for number in range(120):
        house.subscribe(f"r{number}@example.org")
    house.publish("one")
    threads = [threading.Thread(target=lambda: (house.tick(), house.send())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    house.send()
    assert sorted(relay.recipients) == sorted({f"r{n}@example.org" for n in range(120)})
    with house.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(deliveries)) == 120


def test_open_delivery_blocks_the_next(house: House, relay) -> None:
    """A subscription with an open delivery gets no second one; its cursor waits."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    relay.at_recipient["ana@example.org"] = ["451 later"]
    house.tick()
    house.send()
    house.publish("two")
    house.set(reader, due_at=house.now)
    house.pass_time(seconds=1)
    house.tick()
    assert house.states(reader) == ["deferred"]
    house.pass_time(minutes=2)
    house.send()
    house.set(reader, due_at=house.now)
    house.tick()
    house.send()
    bodies = [message[2].decode() for message in relay.messages]
    assert ["e.example/two" in body for body in bodies] == [False, True]


def test_missed_slots_coalesce(house: House, relay) -> None:
    """After an outage over three slots a reader gets one digest with everything."""
    house.subscribe("ana@example.org")
    house.publish("one")
    house.pass_time(days=1)
    house.publish("two")
    house.pass_time(days=2)
    house.tick()
    house.send()
    house.pass_time(minutes=1)
    house.tick()
    house.send()
    assert len(relay.messages) == 1
    assert all(f"e.example/{title}" in relay.messages[0][2].decode() for title in ("one", "two"))


def test_approval_and_cancelling(house: House, relay) -> None:
    """A held run sends nothing until approved; a cancelled one leaves its items for the next."""
    with house.engine.begin() as connection:
        edit_list(connection, "rutas", {"needs_approval": True})
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    house.send()
    assert (relay.messages, house.states(reader)) == ([], ["held"])
    with house.engine.begin() as connection:
        assert oversight.cancel(connection, 1, house.now) == 1
    assert (house.states(reader), house.cursor(reader)) == (["cancelled"], 0)
    house.pass_time(days=1)
    house.tick()
    with house.engine.begin() as connection:
        assert oversight.approve(connection, 2, house.now) == 1
    house.send()
    assert "e.example/one" in relay.messages[0][2].decode()


def test_editors_note(house: House, relay) -> None:
    """A note stands above the digests of its run and language, in HTML and text, with the same bytes each time; once
    the run is approved it stands fast."""
    with house.engine.begin() as connection:
        edit_list(connection, "rutas", {"needs_approval": True})
    house.subscribe("ana@example.org")
    house.subscribe("eva@example.org", language="es")
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        oversight.note(connection, 1, "es", "otra")
        assert oversight.note(connection, 1, "es", "") == {}
        oversight.note(connection, 1, "en", "Read **this** first.")
        oversight.approve(connection, 1, house.now)
        with pytest.raises(StateError):
            oversight.note(connection, 1, "en", "Too late.")
    house.send()
    sent = {
        recipient: message_from_bytes(content, policy=policy.default) for _, (recipient,), content in relay.messages
    }
    parts = [sent["ana@example.org"].get_body((kind,)).get_content() for kind in ("html", "plain")]
    assert "Read <strong>this</strong> first." in parts[0]
    assert "Read this first." in parts[1].splitlines()
    assert "first." not in sent["eva@example.org"].get_body(("plain",)).get_content()


def test_retry_after_refusal(house: House, relay) -> None:
    """A failed delivery can be retried, but not after its items went out with a later digest."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    relay.at_recipient["ana@example.org"] = ["550 no"]
    house.tick()
    house.send()
    with house.engine.begin() as connection:
        assert ledger.retry(connection, house.now, run_id=1) == 1
    house.send()
    assert house.states(reader) == ["sent"]
    with house.engine.begin() as connection:
        assert ledger.retry(connection, house.now, run_id=1) == 0


def test_retry_in_a_cancelled_run(house: House) -> None:
    """What failed in a run that was cancelled is not tried again, and not counted."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        connection.execute(update(deliveries).values(state="failed", closed_at=house.now))
        oversight.cancel(connection, 1, house.now)
        assert ledger.retry(connection, house.now, run_id=1) == 0
        assert ledger.retry(connection, house.now, delivery_id=1) == 0
    assert house.states(reader) == ["failed"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_retry_while_the_run_is_closed(house: House, relay) -> None:
    """A delivery that is tried again at the moment at which its run would be done is sent."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        connection.execute(update(deliveries).values(state="failed", closed_at=house.now))
    with house.engine.begin() as connection:
        assert ledger.retry(connection, house.now, run_id=1) == 1
        with house.engine.begin() as beat:
            beat.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
            outbox.sweep(beat, house.now, [])
    house.send()
    assert house.states(reader) == ["sent"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_retry_during_an_assembly(house: House) -> None:
    """A reader for whom a shard is writing another digest at this moment is left to it, and others are not."""
    house.subscribe("ana@example.org")
    house.subscribe("ben@example.org", hour=20)
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        connection.execute(update(deliveries).values(state="failed", closed_at=house.now))
    house.pass_time(days=1)
    house.set(2, due_at=house.now + timedelta(hours=12))
    runs.open_due_runs(house.engine, house.now)
    assembly = runs._prepare(house.engine, 2, house.now)
    assert assembly is not None
    with house.engine.begin() as shard, house.engine.begin() as connection:
        assert shards.assemble_shard(shard, assembly, 10) == 1
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        assert ledger.retry(connection, house.now, run_id=1) == 1
    assert (house.states(1), house.states(2)) == (["failed", "queued"], ["queued"])


def test_run_started_by_hand(house: House, relay) -> None:
    """`runs start` serves every active reader now, whatever their hour, and not again at their hour."""
    house.subscribe("ana@example.org", due_at=house.now + timedelta(hours=5), hour=13)
    house.publish("one")
    with house.engine.begin() as connection:
        run_id = runs.start_run(connection, house.list_id, house.now)
    runs.assemble(house.engine, run_id, house.now)
    house.send()
    house.pass_time(hours=5)
    house.tick()
    house.send()
    assert relay.recipients == ["ana@example.org"]


def test_huge_digest_and_long_queue_keep_the_lease(house: House, relay) -> None:
    """A worker that comes near the end of its lease gives back what it has not sent, and claims it anew."""
    for number in range(5):
        house.subscribe(f"r{number}@example.org")
    house.publish("one")
    house.tick()
    relay.before_answer = lambda recipient: house.pass_time(seconds=70)
    dispatch.dispatch(house.engine, house.settings.model_copy(update={"lease_seconds": 600}), house.clock)
    with house.engine.connect() as connection:
        states = list(connection.scalars(select(deliveries.c.state).order_by(deliveries.c.id)))
        doubtful = connection.scalar(select(func.count()).where(deliveries.c.doubtful))
        attempts = set(connection.scalars(select(deliveries.c.attempts)))
        claims = set(connection.scalars(select(deliveries.c.claimed_at)))
    assert states == ["sent"] * 5
    assert (doubtful, attempts) == (0, {1})
    assert len(claims) > 1
    assert len(relay.messages) == 5


def test_composing_fails_for_one_only(house: House, relay) -> None:
    """A digest that cannot be composed is deferred with the reason; the others go out."""
    ana = house.subscribe("ana@example.org")
    ben = house.subscribe("ben@example.org", Picks(countries=frozenset({"GT"})))
    house.publish("one", countries=("GT",))
    house.tick()
    with house.engine.begin() as connection:
        connection.execute(update(deliveries).where(deliveries.c.subscription_id == ana).values(profile_id=1))
        connection.execute(
            update(subscribers).where(subscribers.c.email == "ana@example.org").values(timezone="No/Where")
        )
    house.send()
    assert house.states(ben) == ["sent"]
    row = house.delivery(ana)
    assert row.state == "deferred"
    assert "could not be composed" in row.answer


def test_composing_fails_as_nobody_foresaw(house: House, relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is whatever goes wrong: no connection is lost with it, and no claim."""
    ana, ben = house.subscribe("ana@example.org"), house.subscribe("ben@example.org")
    house.publish("one", countries=("GT",))
    house.tick()
    compose = Letters.compose

    def broken(letters: Letters, delivery: Claimed) -> Message | None:
        if delivery.email == "ana@example.org":
            raise TypeError("a defect of ours")
        return compose(letters, delivery)

    monkeypatch.setattr(Letters, "compose", broken)
    house.send()
    assert (house.states(ana), house.states(ben)) == (["deferred"], ["sent"])
    assert "a defect of ours" in house.delivery(ana).answer


def test_preparing_fails_for_one_only(house: House, relay) -> None:
    """What cannot be read for one digest of a batch holds up that one only, and its items come with the next."""
    ana = house.subscribe("ana@example.org", Picks(countries=frozenset({"GT"})))
    ben = house.subscribe("ben@example.org")
    house.publish("one", countries=("GT",))
    house.publish("two", countries=("HN",))
    house.tick()
    hers = house.delivery(ana).edition_id
    with house.engine.begin() as connection:
        connection.execute(delete(tables.editions).where(tables.editions.c.id == hers))
    house.send()
    row = house.delivery(ana)
    assert (row.state, house.states(ben)) == ("deferred", ["sent"])
    assert "could not be composed" in row.answer
    house.now = row.deadline + timedelta(seconds=1)
    house.send()
    assert (house.states(ana), house.cursor(ana)) == (["expired"], 0)
    house.tick()
    house.send()
    assert house.states(ana) == ["expired", "sent"]
    assert "https://e.example/one" in relay.messages[-1][2].decode()


def test_lost_in_a_cancelled_run(house: House, relay) -> None:
    """What a machine that is gone had in hand of a cancelled run does not keep its reader from all digests to come."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        assert outbox.claim(connection, "a" * 32, house.now, timedelta(minutes=5), 10)
        oversight.cancel(connection, 1, house.now)
    house.send()
    assert house.states(reader) == ["claimed"]
    house.pass_time(minutes=5)
    house.send()
    assert (house.states(reader), house.delivery(reader).doubtful) == (["cancelled"], True)
    house.pass_time(days=1)
    house.tick()
    house.send()
    assert house.states(reader) == ["cancelled", "sent"]


def test_every_delivery_keeps_what_it_refers_to(house: House, relay) -> None:
    """Whatever is withdrawn, cancelled, forgotten or erased: no run, profile or edition of a delivery goes with it."""
    house.subscribe("ana@example.org", Picks(countries=frozenset({"GT"})))
    house.subscribe("ben@example.org")
    house.publish("one", countries=("GT",))
    house.tick()
    house.send()
    house.pass_time(days=1)
    house.publish("two", countries=("GT",))
    house.tick()
    with house.engine.begin() as connection:
        oversight.cancel(connection, 2, house.now)
        withdraw(connection, 2, house.now)
        erase(connection, house.settings.keys, "ana@example.org", house.now)
    keep_up(house.engine, house.now + timedelta(days=400))
    with house.engine.connect() as connection:
        whole = (
            select(func.count())
            .select_from(deliveries)
            .join(tables.runs, tables.runs.c.id == deliveries.c.run_id)
            .join(tables.profiles, tables.profiles.c.id == deliveries.c.profile_id)
            .join(tables.editions, tables.editions.c.id == deliveries.c.edition_id)
        )
        assert connection.scalar(whole) == connection.scalar(select(func.count()).select_from(deliveries)) == 4


def test_spell_that_breaks(house: House, relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spell that a defect of ours ends keeps nobody waiting: what it had claimed and not sent is free at once."""
    ana = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()

    def broken(*_: object) -> None:
        raise TypeError("a defect of ours")

    with monkeypatch.context() as patched:
        patched.setattr(Pace, "grant", broken)
        with pytest.raises(TypeError):
            house.send()
    assert (house.states(ana), relay.messages) == (["claimed"], [])
    house.send()
    assert relay.recipients == ["ana@example.org"]
    assert (house.states(ana), house.delivery(ana).doubtful, house.delivery(ana).attempts) == (["sent"], False, 1)
    assert not list(journals(house.settings).iterdir())
