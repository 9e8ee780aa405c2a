"""Promise 5: what a worker process knows of its claims outlives it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from house import House
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from newsletter.delivery import dispatch, outbox, settling, spell
from newsletter.delivery.journal import SLOTS, Entry, Journal, abandoned, journals, living_owners
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.smtp.conversation import Answer, Verdict
from newsletter.digests import runs
from newsletter.settings import Settings
from newsletter.tables import deliveries, editions
from worker import tasks

HASH = bytes(range(16))
ACCEPTED = Answer(Verdict.ACCEPTED, 250, "2.0.0 queued as 4bXq")


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create()


def leave(folder: Path, handed: list[int], answered: dict[int, Answer]) -> str:
    """A process writes a journal and is killed; its owner."""
    told = {number: (answer.verdict.value, answer.code, answer.text) for number, answer in answered.items()}
    script = f"""
import os, signal
from pathlib import Path
from newsletter.delivery.smtp.conversation import Answer, Verdict
from newsletter.delivery.journal import Journal
journal = Journal(Path({str(folder)!r}))
for number in {handed}:
    journal.note_handed(number, bytes(range(32)))
for number, (verdict, code, text) in {told!r}.items():
    journal.note_handed(number, bytes(range(32)))
    journal.note_answer(number, Answer(Verdict(verdict), code, text))
print(journal.owner, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


def test_outlives_its_process(tmp_path: Path) -> None:
    """After kill -9 the journal says what was accepted, and whose answer was outstanding."""
    owner = leave(tmp_path, [2], {3: ACCEPTED})
    with abandoned(tmp_path) as left:
        (said,) = left.values()
        assert owner in left
        assert sorted(said, key=lambda entry: entry.delivery_id) == [
            Entry(2, HASH.hex(), None),
            Entry(3, HASH.hex(), ACCEPTED),
        ]
    with abandoned(tmp_path) as left:
        assert left == {}
    assert list(tmp_path.iterdir()) == []


def test_kept_if_it_could_not_be_settled(tmp_path: Path) -> None:
    """A journal is removed only when what it says was settled."""
    owner = leave(tmp_path, [1], {})
    with pytest.raises(ZeroDivisionError), abandoned(tmp_path):
        raise ZeroDivisionError
    with abandoned(tmp_path) as left:
        assert owner in left


def test_the_living_keep_theirs(tmp_path: Path) -> None:
    """Nobody takes the journal of a process that lives; one that was closed with something in it is for the next."""
    journal = Journal(tmp_path)
    journal.note_handed(1, HASH)
    assert living_owners(tmp_path) == [journal.owner]
    with abandoned(tmp_path) as left:
        assert left == {}
    journal.close(settled=True)
    assert living_owners(tmp_path) == []
    with abandoned(tmp_path) as left:
        assert left == {journal.owner: [Entry(1, HASH.hex(), None)]}
    clean = Journal(tmp_path)
    clean.note_handed(2, HASH)
    clean.note_answer(2, ACCEPTED)
    clean.forget(2)
    clean.close(settled=True)
    assert list(tmp_path.iterdir()) == []


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from(["hold", "hand", "answer", "forget"]), st.text(max_size=300))
    )
)
def test_any_history(acts: list[tuple[int, str, str]]) -> None:
    """Whatever is noted and forgotten, in any order, the journal says exactly what stands, up to 212 bytes of text;
    what is only held has its place and is not said."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        journal, known, held = Journal(Path(folder)), {}, set()
        for number, act, text in acts:
            if act == "hold":
                journal.hold(number)
                held.add(number)
            elif act == "hand":
                journal.note_handed(number, HASH)
                known[number] = None
            elif act == "answer" and number in known:
                journal.note_answer(number, Answer(Verdict.DEFERRED, 451, text))
                known[number] = text.encode()[:212].decode(errors="ignore")
            elif act == "forget":
                journal.forget(number)
                known.pop(number, None)
                held.discard(number)
        assert journal.room == SLOTS - len(known.keys() | held)
        journal._slots[0] = -1  # as if it died: nothing is tidied up
        journal.close(settled=True)
        with abandoned(Path(folder)) as left:
            (entries,) = left.values()
        assert {entry.delivery_id: entry.answer and entry.answer.text for entry in entries} == known


def test_no_room(tmp_path: Path) -> None:
    """A disk without room for a journal is a sentence before anything is sent, and never a fault in the middle."""
    script = f"""
import os, resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from pathlib import Path
from newsletter.delivery.journal import Journal
from newsletter.errors import StateError
for _ in range(3):
    try:
        Journal(Path({str(tmp_path)!r}))
    except StateError as error:
        print(error, len(os.listdir("/proc/self/fd")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"The journal in {tmp_path} cannot be written" in done.stdout
    assert len(set(done.stdout.splitlines())) == 1
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_settled_by_the_next(house: House, relay) -> None:
    """The next to claim settles what a dead worker's journal says: accepted is sent, not twice; unanswered is doubtful;
    what was only claimed goes back at once, without a doubt and without waiting for the lease."""
    readers = [house.subscribe(f"r{n}@example.org") for n in range(4)]
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        claimed = outbox.claim(connection, "dead", house.now, timedelta(hours=1), 50)
    accepted, handed, refused, only_claimed = (delivery.id for delivery in claimed)
    folder = journals(house.settings)
    refusal = Answer(Verdict.REFUSED, 550, "5.1.1 nobody here")
    owner = leave(folder, [handed], {accepted: ACCEPTED, refused: refusal})
    with house.engine.begin() as connection:
        connection.execute(deliveries.update().values(claim=owner))
    house.send()
    with house.engine.connect() as connection:
        rows = {row.id: row for row in connection.execute(select(deliveries))}
    assert [rows[n].state for n in (accepted, handed, refused, only_claimed)] == ["sent", "sent", "failed", "sent"]
    assert [rows[n].doubtful for n in (accepted, handed, refused, only_claimed)] == [False, True, False, False]
    assert (rows[accepted].answer, rows[accepted].body_hash) == (ACCEPTED.text, HASH.hex())
    assert sorted(relay.recipients) == ["r1@example.org", "r3@example.org"]
    assert [house.cursor(reader) for reader in readers] == [1, 1, 0, 1]


@pytest.mark.parametrize("left", ["its claims", "an acceptance", "nothing"])
def test_back_after_the_next_slot(house: House, relay, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    """A reader whose digest a machine had in hand when it was lost gets the one of the next slot at that slot, whatever
    is left of its journal."""
    reader = house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        (one,) = outbox.claim(connection, "dead", house.now, timedelta(minutes=5), 50)
    if left != "nothing":
        owner = leave(journals(house.settings), [], {one.id: ACCEPTED} if left == "an acceptance" else {})
        with house.engine.begin() as connection:
            connection.execute(deliveries.update().values(claim=owner))
    house.pass_time(days=1)
    house.publish("two")

    def ring(name: str, *args: int) -> None:
        if name == "assemble":
            runs.assemble(house.engine, *args, house.now)

    for name, value in (("_engine", house.engine), ("_settings", house.settings), ("now", house.now)):
        monkeypatch.setattr(tasks, name, lambda value=value: value)
    monkeypatch.setattr(tasks, "ring", ring)
    tasks.tick()
    with house.engine.connect() as connection:
        first = connection.execute(select(deliveries).where(deliveries.c.id == one.id)).one()
    assert (first.state, first.doubtful) == ("sent" if left == "an acceptance" else "expired", left == "nothing")
    house.send()
    assert (house.states(reader), house.cursor(reader)) == ([first.state, "sent"], 2)


@pytest.fixture
def lost(house: House) -> Claimed:
    """A delivery of the first item that a lost machine had in hand until the day after."""
    house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        (claimed,) = outbox.claim(connection, "lost", house.now, timedelta(minutes=5), 50)
    house.pass_time(days=1)
    return claimed


def come_back(house: House, lost: Claimed) -> None:
    """The machine's journal is found, and says that the relay took the message."""
    owner = leave(journals(house.settings), [], {lost.id: ACCEPTED})
    with house.engine.begin() as connection:
        connection.execute(deliveries.update().where(deliveries.c.id == lost.id).values(claim=owner))
    dispatch.recover(house.engine, house.settings, house.now)


@pytest.mark.parametrize("new", [True, False])
def test_back_when_the_next_is_made(house: House, relay, lost: Claimed, new: bool) -> None:
    """If a lost machine's acceptance comes when the reader's next digest waits already, that has no item of it again,
    and is dropped if there is no other."""
    reader = lost.subscription_id
    if new:
        house.publish("two")
    house.tick()
    assert house.states(reader) == ["expired", "queued"]
    come_back(house, lost)
    house.send()
    assert house.states(reader) == ["sent", "sent" if new else "dropped"]
    house.publish("three")
    house.pass_time(days=1)
    house.tick()
    house.send()
    assert house.states(reader)[2:] == ["sent"]
    with house.engine.connect() as connection:
        digests = select(editions.c.item_ids).join(deliveries, deliveries.c.edition_id == editions.c.id)
        got = connection.scalars(digests.where(deliveries.c.state == "sent").order_by(deliveries.c.id)).all()
    assert [list(ids) for ids in got] == ([[1], [2], [3]] if new else [[1], [2]])
    assert len(relay.messages) == len(got) - 1
    assert house.cursor(reader) == len(got)


@pytest.mark.parametrize("sent", [True, False])
def test_back_when_the_next_is_in_hand(house: House, relay, lost: Claimed, sent: bool) -> None:
    """If a worker has the next digest in hand when a lost machine's acceptance comes, its items come twice, which the
    first one says; if that worker gives it back unsent, they do not."""
    house.publish("two")
    house.tick()
    with house.engine.begin() as connection:
        (following,) = outbox.claim(connection, "here", house.now, timedelta(minutes=5), 50)
    come_back(house, lost)
    with house.engine.begin() as connection:
        if sent:
            settling.settle(connection, [settling.Outcome(following, ACCEPTED)], house.now)
        else:
            settling.give_back(connection, [following], timedelta(0), "", house.now)
    house.send()
    with house.engine.connect() as connection:
        told = select(deliveries.c.state, deliveries.c.doubtful, editions.c.item_ids).order_by(deliveries.c.id)
        rows = connection.execute(told.join(editions, editions.c.id == deliveries.c.edition_id)).all()
    assert [(row.state, row.doubtful, list(row.item_ids)) for row in rows] == [
        ("sent", True, [1]),
        ("sent", False, [1, 2] if sent else [2]),
    ]
    assert house.cursor(lost.subscription_id) == 2


def test_the_living_keep_their_claims(house: House, relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that ran out is left to its worker as long as that lives: a clock that jumps doubles nothing."""
    # While somebody else holds what is due, a spell waits for it to its end.
    monkeypatch.setattr(spell, "SPELL_SECONDS", 1.0)
    house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    journal = Journal(journals(house.settings))
    with house.engine.begin() as connection:
        assert outbox.claim(connection, journal.owner, house.now, timedelta(minutes=5), 50)
    house.pass_time(hours=3)
    house.send()
    assert relay.messages == []
    journal.close(settled=True)
    house.send()
    assert relay.recipients == ["ana@example.org"]


def test_asked_to_stop(house: House, relay) -> None:
    """A worker that is asked to stop settles what it sent and gives back the rest, and nothing is doubtful."""
    for number in range(100):
        house.subscribe(f"r{number}@example.org")
    house.publish("one")
    house.tick()
    dispatch.dispatch(house.engine, house.settings, house.clock, lambda: len(relay.messages) > 10)
    sent = len(relay.messages)
    assert 10 < sent < 100
    with house.engine.connect() as connection:
        rows = connection.execute(select(deliveries.c.state, deliveries.c.doubtful, deliveries.c.attempts)).all()
    assert sum(row.state == "sent" for row in rows) == sent
    assert {tuple(row) for row in rows} == {("sent", False, 1), ("queued", False, 0)}
    assert os.listdir(journals(house.settings)) == []
    house.send()
    assert sorted(relay.recipients) == sorted(f"r{n}@example.org" for n in range(100))


def test_forgets_texts(tmp_path: Path) -> None:
    """What a relay said is gone from the file once it stands in the database: an erased address does not stay there."""
    journal = Journal(tmp_path)
    journal.note_handed(7, HASH)
    journal.note_answer(7, Answer(Verdict.REFUSED, 550, "no such user ana@example.org"))
    (file,) = tmp_path.glob("*.journal")
    assert b"ana@example.org" in file.read_bytes()
    journal.forget(7)
    assert not any(file.read_bytes())
    journal.close(settled=True)
