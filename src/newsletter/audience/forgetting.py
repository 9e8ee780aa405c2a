"""Forgetting sign-ups that were never confirmed: of somebody who may never have asked for anything, nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, exists, or_, select

from newsletter.tables import address_changes, consents, deliveries, notices, subscribers, subscriptions


def forget_sign_ups(connection: Connection, ids: Sequence[int]) -> int:
    """Delete those of these subscriptions that are pending and never were anything else; how many.

    Their history and notices go with them, and the subscriber if nothing else refers to one.
    """
    # In the order of all that locks both (``holding``); who is just being written to is not to be forgotten by half.
    theirs = subscribers.c.id.in_(select(subscriptions.c.subscriber_id).where(subscriptions.c.id.in_(ids)))
    connection.execute(
        select(subscribers.c.id).where(theirs).order_by(subscribers.c.id).with_for_update(key_share=True)
    )
    same = (consents.c.subscriber_id == subscriptions.c.subscriber_id) & (consents.c.list_id == subscriptions.c.list_id)
    was_there = or_(
        exists().where(deliveries.c.subscription_id == subscriptions.c.id),
        exists().where(same, consents.c.event.in_(("confirmed", "imported", "unsubscribed"))),
    )
    gone = connection.execute(
        delete(subscriptions)
        .where(subscriptions.c.id.in_(ids), subscriptions.c.state == "pending", ~was_there)
        .returning(subscriptions.c.subscriber_id, subscriptions.c.list_id)
    ).all()
    by_list: dict[int, list[int]] = {}
    for subscriber_id, list_id in gone:
        by_list.setdefault(list_id, []).append(subscriber_id)
    for list_id, people in by_list.items():
        for table in (consents, notices):
            connection.execute(delete(table).where(table.c.list_id == list_id, table.c.subscriber_id.in_(people)))
    _forget_people(connection, sorted({subscriber_id for subscriber_id, _ in gone}))
    return len(gone)


def _forget_people(connection: Connection, ids: Sequence[int]) -> None:
    """Forget those of these subscribers to whom nothing else refers."""
    if not ids:
        return
    # Locked first: somebody who subscribes at this moment keeps them.
    locked = list(
        connection.scalars(select(subscribers.c.id).where(subscribers.c.id.in_(ids)).with_for_update(skip_locked=True))
    )
    referring = (subscriptions, consents)
    referred = or_(*(exists().where(table.c.subscriber_id == subscribers.c.id) for table in referring))
    alone = list(
        connection.scalars(
            select(subscribers.c.id).where(
                subscribers.c.id.in_(locked), subscribers.c.suppressed_at.is_(None), ~referred
            )
        )
    )
    for table in (notices, address_changes):
        connection.execute(delete(table).where(table.c.subscriber_id.in_(alone)))
    connection.execute(delete(subscribers).where(subscribers.c.id.in_(alone)))
