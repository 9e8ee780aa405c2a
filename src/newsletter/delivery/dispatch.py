"""Dispatch: claim deliveries, compose them, hand them to the relay, settle each with the relay's answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jinja2 import TemplateError
from sqlalchemy import Engine

from newsletter.database import reading
from newsletter.delivery import outbox
from newsletter.delivery.letters import Letters
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.relays import Relay, relays_of
from newsletter.delivery.smtp import Answer, Conversation, RelayDown, Verdict
from newsletter.digests import runs
from newsletter.errors import NewsletterError
from newsletter.mail.templates import load_templates
from newsletter.settings import Settings

BATCH = 50
SPELL = timedelta(seconds=50)
RELAY_PAUSE = timedelta(seconds=20)


@dataclass
class Tally:
    """What one call did: deliveries by state, and whether more are ready."""

    counts: Counter[str] = field(default_factory=Counter)
    more: bool = False

    @property
    def total(self) -> int:
        """How many deliveries were handled."""
        return self.counts.total()


def relay_of(settings: Settings) -> Relay:
    """The first configured relay, else the built-in inbox."""
    return relays_of(settings)[0]


def open_conversation(settings: Settings) -> Conversation:
    """A conversation with the configured relay; it connects when the first message is sent."""
    relay = relay_of(settings)
    return Conversation(relay, settings.smtp_timeout, relay.ca_file)


def warm_up(settings: Settings) -> None:
    """Load and inline the templates, and refuse unusable settings before work begins."""
    relay_of(settings)
    assert settings.key
    load_templates()


def assemblies(engine: Engine, workers: int) -> list[tuple[int, int]]:
    """Runs to assemble, each with how many workers are worth calling."""
    with reading(engine) as connection:
        return [
            (run_id, max(1, min(workers, runs.due_count(connection, run_id) // runs.SHARD)))
            for run_id in runs.unfinished(connection)
        ]


def sweep(engine: Engine, now: datetime, workers: int) -> int:
    """Close what is over, and say how many workers are worth calling for what is ready."""
    with engine.begin() as connection:
        outbox.sweep(connection, now)
    with reading(engine) as connection:
        return -(-outbox.ready_count(connection, now, workers * BATCH) // BATCH)


def dispatch(engine: Engine, settings: Settings, clock: Callable[[], datetime]) -> Tally:
    """Send what is ready for about a minute, over one connection."""
    tally = Tally()
    began = clock()
    lease = timedelta(seconds=settings.lease_seconds)
    letters = Letters(engine, settings)
    with open_conversation(settings) as conversation:
        while clock() - began < SPELL:
            with engine.begin() as connection:
                claimed = outbox.claim(connection, clock(), lease, BATCH)
            if claimed:
                try:
                    _send_all(engine, conversation, letters, claimed, clock, tally)
                except RelayDown as error:
                    tally.counts["relay down"] += 1
                    tally.more = False
                    letters.log_relay_down(str(error))
                    return tally
            with reading(engine) as connection:
                tally.more = outbox.ready_count(connection, clock(), 1) > 0
            if not tally.more:
                break
    with engine.begin() as connection:
        outbox.sweep(connection, clock())
    return tally


def _send_all(
    engine: Engine,
    conversation: Conversation,
    letters: Letters,
    claimed: list[Claimed],
    clock: Callable[[], datetime],
    tally: Tally,
) -> None:
    for number, delivery in enumerate(claimed):
        try:
            message = letters.compose(delivery)
        except (NewsletterError, TemplateError, ValueError, LookupError) as error:
            answer = Answer(Verdict.DEFERRED, 0, f"It could not be composed: {type(error).__name__}: {error}"[:500])
            with engine.begin() as connection:
                tally.counts[outbox.settle(connection, delivery, answer, "", clock())] += 1
            continue
        if message is None:
            with engine.begin() as connection:
                outbox.settle_withdrawn(connection, delivery, clock())
            tally.counts["withdrawn"] += 1
            continue
        # Half a lease is kept in hand, so that a slow relay's answer still comes within it. Asked after composing:
        # the first digest of a process can take seconds on a busy machine.
        half = (delivery.expires - delivery.claimed_at) / 2
        if clock() > delivery.expires - half:
            with engine.begin() as connection:
                outbox.give_back(connection, claimed[number:], timedelta(0), "", clock())
            return
        try:
            answer = conversation.send(message.return_path, delivery.email, message.content)
        except RelayDown as error:
            with engine.begin() as connection:
                outbox.give_back(connection, claimed[number:], RELAY_PAUSE, str(error), clock())
            raise
        body_hash = outbox.content_hash(message.content)
        with engine.begin() as connection:
            tally.counts[outbox.settle(connection, delivery, answer, body_hash, clock())] += 1
