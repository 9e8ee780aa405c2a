"""Dispatch: what the tasks call. What is ready is sent, spell by spell; what dead workers left is settled first."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy import Engine

from newsletter.database import reading
from newsletter.delivery import notices, outbox, settling
from newsletter.delivery.composing.signatures import check_key
from newsletter.delivery.demand import BATCH
from newsletter.delivery.exchange import SOON
from newsletter.delivery.journal import Journal, abandoned, journals, living_owners
from newsletter.delivery.kept import Kept
from newsletter.delivery.relays import relays_of
from newsletter.delivery.shares import carries
from newsletter.delivery.smtp.loops import run
from newsletter.delivery.smtp.probing import trusting
from newsletter.delivery.spell import Spell
from newsletter.delivery.unsettled import Tally
from newsletter.digests import runs
from newsletter.mail.templates import load_templates
from newsletter.settings import Settings

log = structlog.get_logger("newsletter.delivery")


def warm_up(settings: Settings) -> None:
    """Load and inline the templates, and refuse unusable settings before work begins.

    Raises:
        SettingsError: a relay, the site's address, the secret key or a file of certificates cannot be used.
    """
    for relay in relays_of(settings):
        trusting(relay)
    assert settings.site
    assert settings.key
    check_key(settings)
    load_templates()


def assemblies(engine: Engine, workers: int) -> list[tuple[int, int]]:
    """Runs to assemble, each with how many workers are worth calling."""
    with reading(engine) as connection:
        return [
            (run_id, max(1, min(workers, runs.due_count(connection, run_id) // runs.SHARD)))
            for run_id in runs.unfinished(connection)
        ]


def sweep(engine: Engine, settings: Settings, now: datetime) -> int:
    """Close what is over, settle what dead workers left, and say how many workers are worth calling."""
    recover(engine, settings, now)
    with engine.begin() as connection:
        outbox.sweep(connection, now, living_owners(journals(settings)))
    with reading(engine) as connection:
        ready = outbox.ready_count(connection, now, settings.workers * BATCH[0])
        return max(-(-ready // BATCH[0]), int(notices.any_due(connection, now)))


def recover(engine: Engine, settings: Settings, now: datetime) -> None:
    """Settle what the journals of dead worker processes say, before anything is claimed anew (promise 5)."""
    with abandoned(journals(settings)) as left:
        for owner, entries in left.items():
            with engine.begin() as connection:
                states = settling.recover(connection, owner, entries, now)
            if states.total():
                log.warning("a worker process died; its journal was settled", **states)


def dispatch(
    engine: Engine,
    settings: Settings,
    clock: Callable[[], datetime],
    stopping: Callable[[], bool] = lambda: False,
    kept: Kept | None = None,
) -> Tally:
    """Send what is ready for about a minute; sooner if ``stopping`` says so, with nothing left in hand.

    ``kept`` is what this process has from its last call.

    Raises:
        DBAPIError: the database was away for a minute. What it could not be told is in the journal.
        StateError: no journal can be written, and nothing was sent.
    """
    recover(engine, settings, clock())
    journal = Journal(journals(settings))
    settled = False
    try:
        spell = Spell(engine, settings, kept or Kept(engine, settings), journal, clock, stopping)
        run(_cast(spell))
        settled = spell.is_certain
    finally:
        journal.close(settled=settled)
    with engine.begin() as connection:
        outbox.sweep(connection, clock(), living_owners(journals(settings)))
    with reading(engine) as connection:
        spell.tally.more = outbox.ready_count(connection, clock() + SOON, 1, partial(carries, spell.able_soon())) > 0
    return spell.tally


async def _cast(spell: Spell) -> None:
    with _stopped_by_sigterm(spell.stop):
        await spell.run()


@contextlib.contextmanager
def _stopped_by_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM ends the spell in good order; what was to happen at one before is put back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
