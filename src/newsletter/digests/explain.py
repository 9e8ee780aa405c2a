"""Why a reader gets, got or does not get an item: one sentence a rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from newsletter.catalogue.geography import countries_in, place_name
from newsletter.catalogue.themes import Vocabulary, all_themes, descendants, theme_name
from newsletter.digests.matching import concerned
from newsletter.tables import OPEN, deliveries, editions, runs

SHOWN = "en"


@dataclass(frozen=True)
class Rule:
    """One rule and what it says of this reader and item; ``holds`` is None where it only informs."""

    name: str
    holds: bool | None
    sentence: str


def explain(connection: Connection, reader: Any, item: Any) -> list[Rule]:
    """Every rule that decides; ``reader`` is a row of ``find_subscription``, ``item`` one of the same list.

    The last rule is the outcome: it holds if the reader got the item or will.
    """
    vocabulary = all_themes(connection, reader.list_id)
    rules = [
        _place(reader, item),
        _theme(reader, item, vocabulary),
        _language(reader, item),
        _list(reader),
        _state(reader),
        _withdrawn(item),
    ]
    rows = _deliveries(connection, reader, item)
    history = [_history(row, item) for row in rows if item.id in row.item_ids]
    waiting = next((row for row in rows if row.state in OPEN), None)
    return [*rules, *history, _outcome(reader, item, rules, history, waiting)]


def _named(codes: Iterable[str]) -> str:
    return ", ".join(place_name(code, SHOWN) for code in codes)


def _place(reader: Any, item: Any) -> Rule:
    tagged = _named((*item.countries, *item.regions))
    picked = (*reader.countries, *reader.regions)
    if not picked:
        about = f"the item is about {tagged}" if tagged else "the item names none"
        return Rule("place", True, f"The reader picks no places, which means all; {about}.")
    if not tagged:
        return Rule("place", False, f"The reader follows {_named(picked)}; the item names no place.")
    here = concerned(item.countries, item.regions, countries_in)
    met = [code for code in reader.countries if code in here]
    met += [code for code in reader.regions if countries_in(code) & here]
    if met:
        return Rule("place", True, f"The reader follows {_named(met)}; the item is about {tagged}.")
    return Rule("place", False, f"The reader follows {_named(picked)}; the item is about {tagged} only.")


def _theme(reader: Any, item: Any, vocabulary: Vocabulary) -> Rule:
    def named(slugs: Iterable[str]) -> str:
        return ", ".join(theme_name(vocabulary[slug], SHOWN) for slug in slugs if slug in vocabulary)

    tagged = named(item.themes) or "no theme"
    if not reader.themes:
        return Rule("theme", True, f"The reader picks no themes, which means all; the item has {tagged}.")
    met = [slug for slug in reader.themes if descendants(vocabulary, slug) & {*item.themes}]
    if met:
        return Rule("theme", True, f"The reader follows {named(met)}; the item has {tagged}.")
    return Rule("theme", False, f"The reader follows {named(reader.themes)}; the item has {tagged}.")


def _language(reader: Any, item: Any) -> Rule:
    if not reader.languages:
        return Rule("language", True, f"The reader takes items in any language; this one is in {item.language}.")
    takes = ", ".join(reader.languages)
    return Rule(
        "language",
        item.language in reader.languages,
        f"The reader takes items in {takes}; this one is in {item.language}.",
    )


def _list(reader: Any) -> Rule:
    if reader.archived_at is None:
        return Rule("list", True, f"The list {reader.slug} is open.")
    return Rule("list", False, f"The list {reader.slug} is archived.")


def _state(reader: Any) -> Rule:
    if reader.suppressed_at is not None:
        return Rule("state", False, f"The address must not be mailed, since {reader.suppressed_at:%Y-%m-%d %H:%M} UTC.")
    if reader.state == "paused":
        until = f" until {reader.paused_until:%Y-%m-%d %H:%M} UTC" if reader.paused_until else ""
        return Rule("state", None, f"The subscription is paused{until}; what is missed comes when it is resumed.")
    return Rule("state", reader.state == "active", f"The subscription is {reader.state}.")


def _withdrawn(item: Any) -> Rule:
    if item.withdrawn_at is None:
        return Rule("item", True, f"The item is published, at position {item.position}.")
    return Rule("item", False, f"The item was withdrawn on {item.withdrawn_at:%Y-%m-%d %H:%M} UTC.")


def _deliveries(connection: Connection, reader: Any, item: Any) -> list[Any]:
    """The reader's deliveries that cover the item, in them or not, with the slot of their run."""
    statement = (
        select(deliveries, runs.c.slot, editions.c.item_ids)
        .join(runs, runs.c.id == deliveries.c.run_id)
        .join(editions, editions.c.id == deliveries.c.edition_id)
        .where(deliveries.c.subscription_id == reader.id, deliveries.c.lower < item.position)
        .where(runs.c.upper >= item.position)
        .order_by(deliveries.c.id)
    )
    return list(connection.execute(statement))


def _history(row: Any, item: Any) -> Rule:
    # An item that was withdrawn before the digest was sent is in its edition, but was not in the mail.
    left_out = item.withdrawn_at is not None and (row.claimed_at or row.slot) > item.withdrawn_at
    if row.state == "sent" and not left_out:
        return Rule("history", True, f"It was sent on {row.closed_at:%Y-%m-%d %H:%M} UTC (delivery {row.id}).")
    return Rule("history", None, f"It is in delivery {row.id} of {row.slot:%Y-%m-%d}, which is {row.state}.")


def _waits(row: Any) -> str:
    """What an open delivery waits for."""
    if row.state == "held":
        return f"waits for approval: `newsletter runs approve {row.run_id}`"
    if row.state == "deferred":
        return f"is tried again from {row.due_at:%Y-%m-%d %H:%M} UTC"
    return "is being sent" if row.state == "claimed" else "waits for a worker"


def _outcome(reader: Any, item: Any, rules: list[Rule], history: list[Rule], waiting: Any) -> Rule:
    if any(rule.holds for rule in history):
        return Rule("outcome", True, "The reader got it.")
    failing = [rule.name for rule in rules if rule.holds is False]
    # What a delivery was made for holds for it, whatever the picks and tags are now.
    is_in = waiting is not None and item.id in waiting.item_ids
    if is_in and reader.state == "active" and not {"list", "state", "item"} & {*failing}:
        return Rule("outcome", True, f"The reader will get it in delivery {waiting.id}, which {_waits(waiting)}.")
    if failing:
        return Rule("outcome", False, f"The reader does not get it, because of: {', '.join(failing)}.")
    if item.position <= reader.start:
        begins = f"which begins at position {reader.start + 1}"
        return Rule("outcome", False, f"It is from before this subscription, {begins}.")
    if item.position <= reader.cursor:
        return Rule(
            "outcome",
            False,
            f"The cursor ({reader.cursor}) has passed it: picks or tags did not fit at that time.",
        )
    if waiting is not None and reader.state == "active":
        passed = f"Delivery {waiting.id}, which {_waits(waiting)}, covers its position and was made without it"
        return Rule(
            "outcome", False, f"{passed}: picks or tags did not fit at that time. Sent, it passes the item over."
        )
    if reader.state == "paused":
        return Rule("outcome", True, "The reader will get it once the subscription is resumed.")
    return Rule("outcome", True, f"The reader will get it in the next digest, due {reader.due_at:%Y-%m-%d %H:%M} UTC.")
