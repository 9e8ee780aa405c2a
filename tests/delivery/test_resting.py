"""The live state of relays: rests that grow, end by themselves and are counted once; pauses; nothing secret stored."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event

from newsletter.database import reading
from newsletter.delivery import resting
from newsletter.delivery.exchange import Errand, Exchange
from newsletter.delivery.relays import Relay
from newsletter.delivery.resting import State, rest_after
from newsletter.delivery.unsettled import Unsettled
from newsletter.settings import Settings

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
MAIN = Relay("main", "mail.example.org", 465, "tls", "news", "geheim-wort")
SPARE = Relay("spare", "10.0.0.7", 25)
BOTH = (MAIN, SPARE)


def seconds(number: float) -> datetime:
    return NOW + timedelta(seconds=number)


def usable(engine: Engine, now: datetime) -> list[str]:
    with reading(engine) as connection:
        return [relay.name for relay in resting.usable(resting.states(connection, BOTH), BOTH, now)]


def state(engine: Engine, relay: Relay = MAIN) -> State:
    with reading(engine) as connection:
        return resting.states(connection, BOTH)[relay.name]


def test_rests_grow_and_end(engine: Engine) -> None:
    """A relay that fails rests 20 s, then 40 s … at most 15 minutes, each time coming back by itself; a success after
    the rest makes the next one short again."""
    assert usable(engine, NOW) == ["main", "spare"]
    now, rests = NOW, []
    for _ in range(9):
        with engine.begin() as connection:
            until = resting.rest(connection, MAIN, "cannot be reached", now)
        rests.append((until - now).total_seconds())
        assert usable(engine, until - timedelta(seconds=1)) == ["spare"]
        assert usable(engine, until) == ["main", "spare"]
        now = until
    assert rests == [20, 40, 80, 160, 320, 640, 900, 900, 900]
    with engine.begin() as connection:
        assert resting.recovered(connection, MAIN, now, now)
        assert resting.rest(connection, MAIN, "again", now) == now + timedelta(seconds=20)
    assert (state(engine).failures, state(engine).last_error, state(engine).last_ok_at) == (1, "again", now)
    assert rest_after(10_000) == resting.LONGEST


def test_a_clock_that_was_ahead(engine: Engine) -> None:
    """A worker whose clock was an hour ahead does not keep the others from a relay for an hour: they find out anew."""
    with engine.begin() as connection:
        resting.rest(connection, MAIN, "cannot be reached", seconds(3600))
    assert usable(engine, NOW) == ["main", "spare"]
    with engine.begin() as connection:
        assert resting.rest(connection, MAIN, "cannot be reached", NOW) == seconds(40)
    assert usable(engine, NOW) == ["spare"]
    assert usable(engine, seconds(40)) == ["main", "spare"]


def test_failing_together_counts_once(engine: Engine) -> None:
    """Workers that find the same relay failing at the same moment make one rest of it."""

    def fail(number: int) -> datetime:
        with engine.begin() as connection:
            return resting.rest(connection, MAIN, f"worker {number}", seconds(number / 100))

    with ThreadPoolExecutor(6) as pool:
        untils = set(pool.map(fail, range(6)))
    assert len(untils) == 1
    assert state(engine).failures == 1


def test_whoever_comes_second_waits_and_sees(engine: Engine) -> None:
    """A worker that finds the relay failing while another is just writing its rest down joins that rest."""
    with engine.begin() as connection:
        resting.recovered(connection, MAIN, NOW, NOW)

    def fail() -> datetime:
        with engine.begin() as connection:
            return resting.rest(connection, MAIN, "second", seconds(1))

    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            resting._locked(connection, "main")
            second = pool.submit(fail)
            time.sleep(0.3)
            assert not second.done()
            until = resting.rest(connection, MAIN, "first", NOW)
        assert second.result() == until
    assert state(engine).last_error == "first"


def test_several_fail_together(engine: Engine, settings: Settings) -> None:
    """Workers that find the same relays failing, each in another order, do not wait for one another in a circle."""
    known = {relay.name: State() for relay in BOTH}
    failed = {SPARE: "no route to host", MAIN: "no route to host"}
    other = Exchange(engine, settings, BOTH, "other", lambda: NOW, {})
    with ThreadPoolExecutor(1) as threads:
        with engine.begin() as connection:
            resting.rest(connection, MAIN, "no route to host", NOW)
            telling = threads.submit(other.run, Errand(Unsettled(), failed, known, 0))
            # It waits by now; if not, nothing is proved this time.
            time.sleep(0.5)
            resting.rest(connection, SPARE, "no route to host", NOW)
        assert telling.result().usable == ()
    assert [state(engine, relay).failures for relay in BOTH] == [1, 1]


def test_success_under_way_does_not_end_a_rest(engine: Engine) -> None:
    """A message that was under way when the relay began to fail proves nothing: the rest goes on."""
    with engine.begin() as connection:
        resting.rest(connection, MAIN, "x", NOW)
        assert not resting.recovered(connection, MAIN, NOW, seconds(5))
    assert state(engine).failures == 1


def test_success_since_then_ends_a_rest(engine: Engine) -> None:
    """A relay that took what was begun after it had failed for another worker does not rest; whom it serves goes on
    meanwhile, but not if it is paused."""
    with engine.begin() as connection:
        resting.rest(connection, MAIN, "x", NOW)
        known = resting.states(connection, BOTH)
        assert resting.usable(known, BOTH, seconds(1)) == (SPARE,)
        assert resting.usable(known, BOTH, seconds(1), [MAIN]) == BOTH
        assert resting.recovered(connection, MAIN, seconds(1), seconds(5))
        assert resting.pause(connection, MAIN, NOW)
        assert resting.usable(resting.states(connection, BOTH), BOTH, seconds(5), [MAIN]) == (SPARE,)
    assert (state(engine).failures, state(engine).rests_until) == (0, None)


@pytest.mark.parametrize(
    ("last", "ours", "served"), [(None, None, False), (1, None, True), (1, 0, True), (1, 1, False), (-30, None, False)]
)
def test_serves_others(last: int | None, ours: int | None, served: bool) -> None:
    """That a relay took something lately, and since it took something of ours, shows that it serves others."""
    known = resting.State(last_ok_at=None if last is None else seconds(last))
    assert known.serves_others(None if ours is None else seconds(ours), seconds(2)) == served


def test_success_seldom_writes(engine: Engine) -> None:
    """A healthy relay costs one write in ten seconds, and otherwise nothing but a question."""
    written: list[str] = []
    event.listen(
        engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, *_: written.append(statement) if "SELECT" not in statement[:9] else None,
    )
    with engine.begin() as connection:
        assert resting.recovered(connection, MAIN, NOW, NOW)
    written.clear()
    with reading(engine) as connection:
        assert not any(resting.recovered(connection, MAIN, NOW, seconds(n)) for n in range(1, 10))
    assert [statement for statement in written if not statement.startswith("BEGIN")] == []
    with engine.begin() as connection:
        assert resting.recovered(connection, MAIN, NOW, seconds(10))
    assert written


def test_pause_and_resume(engine: Engine) -> None:
    """A paused relay stays so whatever time passes and whatever succeeds; resuming also ends a rest."""
    with engine.begin() as connection:
        assert resting.pause(connection, MAIN, NOW)
        assert not resting.pause(connection, MAIN, seconds(1))
        resting.recovered(connection, MAIN, NOW, seconds(2))
    assert usable(engine, NOW + timedelta(days=300)) == ["spare"]
    assert state(engine).paused_at == NOW
    with engine.begin() as connection:
        resting.rest(connection, MAIN, "x", NOW)
        assert resting.resume(connection, MAIN, NOW)
        assert not resting.resume(connection, MAIN, NOW)
    assert usable(engine, NOW) == ["main", "spare"]
    assert state(engine).failures == 0


def test_a_paused_relay_is_paused_rather_than_resting() -> None:
    """What admins decided is what they see."""
    both = State(paused_at=NOW, rests_until=seconds(60))
    assert both.word(NOW) == "paused"
    assert [State(rests_until=seconds(60)).word(now) for now in (NOW, seconds(60))] == ["resting", "ready"]


@pytest.mark.parametrize("reason", ["535 geheim-wort\r\nis wrong", "x" * 5000, "\x00\x1b[2J"])
def test_reasons_are_stored_safely(engine: Engine, reason: str) -> None:
    """What is stored of a relay's answer is one printable line without the password."""
    with engine.begin() as connection:
        resting.rest(connection, MAIN, reason, NOW)
    stored = state(engine).last_error
    assert stored is not None
    assert len(stored) <= 500
    assert stored.isprintable()
    assert "geheim" not in stored
