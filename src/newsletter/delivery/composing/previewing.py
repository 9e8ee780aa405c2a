"""A reader's digest as it would go out now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, select

from newsletter.audience.picks import load_profiles
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.themes import all_themes, descendants
from newsletter.database import reading
from newsletter.delivery.composing.letters import Letters
from newsletter.delivery.ledger import as_claimed, find_delivery
from newsletter.delivery.outbox import Claimed
from newsletter.digests.matching import Index
from newsletter.digests.runs import load_items
from newsletter.mail.letter import Message
from newsletter.settings import Settings
from newsletter.tables import OPEN, deliveries, lists


def preview(engine: Engine, settings: Settings, reader: Any, now: datetime) -> Message | None:
    """What ``reader`` (a row of ``find_subscription``) would get now; None if nothing new fits.

    A digest that is assembled and waits is shown as it waits.
    """
    with reading(engine) as connection:
        waiting = connection.scalar(
            select(deliveries.c.id).where(deliveries.c.subscription_id == reader.id, deliveries.c.state.in_(OPEN))
        )
        if waiting is not None:
            row = find_delivery(connection, waiting)
            return Letters(engine, settings).compose(as_claimed(row, now))
        list_row = connection.execute(select(lists).where(lists.c.id == reader.list_id)).one()
        vocabulary = all_themes(connection, reader.list_id)
        picks = load_profiles(connection, [reader.profile_id])[reader.profile_id]
        found = load_items(connection, reader.list_id, reader.cursor, list_row.last_position)
        index = Index(found, countries_in, lambda slug: descendants(vocabulary, slug))
        fitting = [item.id for item in index.of(index.fitting(picks))]
        if not fitting:
            return None
        language = reader.language if reader.language in list_row.languages else list_row.languages[0]
        pretended = _pretended(reader, list_row.last_position, now)
        return Letters(engine, settings).compose_unassembled(connection, pretended, language, fitting)


def _pretended(reader: Any, upper: int, now: datetime) -> Claimed:
    return Claimed(
        id=0,
        claim="",
        expires=now + timedelta(hours=1),
        run_id=0,
        list_id=reader.list_id,
        slug=reader.slug,
        slot=now,
        upper=upper,
        subscription_id=reader.id,
        profile_id=reader.profile_id,
        edition_id=0,
        frequency=reader.frequency,
        attempts=0,
        deadline=now + timedelta(hours=1),
        dated_at=now,
        claimed_at=now,
        email=reader.email,
        name=reader.name,
        timezone=reader.timezone,
    )
