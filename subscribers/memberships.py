"""What the pages of one reader read: a subscription together with its subscriber, list and picks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from newsletter.audience.holding import hold
from newsletter.audience.links import Keys, read_token
from newsletter.errors import UnknownName
from newsletter.tables import lists, profiles, subscribers, subscriptions


def _memberships() -> Any:
    """Columns: those of the subscription, of its profile, what is the subscriber's, and ``list_…``."""
    return (
        select(
            subscriptions,
            subscribers.c.email,
            subscribers.c.email_key,
            subscribers.c.name,
            subscribers.c.language,
            subscribers.c.timezone,
            subscribers.c.erased_at,
            lists.c.slug,
            lists.c.name.label("list_name"),
            lists.c.languages.label("list_languages"),
            lists.c.archived_at,
            lists.c.is_public,
            lists.c.last_position,
            profiles.c.countries,
            profiles.c.regions,
            profiles.c.themes,
            profiles.c.languages,
        )
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
        .join(lists, lists.c.id == subscriptions.c.list_id)
        .join(profiles, profiles.c.id == subscriptions.c.profile_id)
    )


def find_membership(connection: Connection, subscription_id: int) -> Any | None:
    """A subscription by its number, whatever its state; None if it is forgotten."""
    return connection.execute(_memberships().where(subscriptions.c.id == subscription_id)).one_or_none()


def preferred_by(connection: Connection, keys: Keys, token: str) -> Any:
    """The subscription that a link to preferences names.

    Raises:
        UnknownName: it is forgotten, or its reader is.
    """
    member = find_membership(connection, read_token(keys, "preferences", token))
    if member is None or member.erased_at is not None:
        raise UnknownName("There is no such subscription any more.")
    return member


def changed_by(connection: Connection, keys: Keys, token: str) -> Any:
    """The same, and nobody else changes anything of this person meanwhile."""
    member = preferred_by(connection, keys, token)
    # Two tabs that save at one moment: the second sees what the first did.
    hold(connection, subscribers.c.id == member.subscriber_id)
    return preferred_by(connection, keys, token)


def memberships_of(connection: Connection, subscriber_id: int) -> Sequence[Any]:
    """All subscriptions of a person that have not ended, on lists that still go out; by the list's name."""
    return connection.execute(
        _memberships()
        .where(
            subscriptions.c.subscriber_id == subscriber_id,
            subscriptions.c.state != "unsubscribed",
            lists.c.archived_at.is_(None),
        )
        .order_by(lists.c.name, subscriptions.c.id)
    ).all()
