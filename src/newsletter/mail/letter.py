"""What a mail says, in names instead of codes, and the reader's few values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from newsletter.mail.look import PLAIN, Look


@dataclass(frozen=True, slots=True)
class Card:
    """An item in a digest. ``because``: the reader's picks it met; empty if they follow everything."""

    title: str
    summary: str
    """Plain text, paragraphs parted by a blank line."""
    url: str
    language: str
    source: str
    day: date
    places: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    image: str = ""
    image_alt: str = ""


@dataclass(frozen=True, slots=True)
class Masthead:
    """What every digest of a list says in one language."""

    language: str
    list_name: str
    list_slug: str
    sender_name: str
    sender_email: str
    postal_address: str
    look: Look = PLAIN


@dataclass(frozen=True, slots=True)
class Choices:
    """What a subscription gets and when; empty ``places`` or ``themes`` mean all. ``weekday``: 0 is Monday."""

    places: tuple[str, ...]
    themes: tuple[str, ...]
    frequency: str
    hour: int
    weekday: int
    timezone: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to, for the admins of its list."""

    run: int
    slot: datetime
    """In the list's own zone."""
    counts: Mapping[str, int]
    """Its digests by the state of their delivery."""
    items: int = 0
    """In all of its digests together."""
    took: timedelta | None = None
    """From when it was opened or approved, until its last digest was settled; None if it is not done."""
    refusals: tuple[tuple[str, int], ...] = ()
    """What relays and the servers behind them said most often, without addresses, and how often."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a transactional mail says; ``kind`` is the name of its templates.

    Moments are in the reader's own zone. What a kind does not speak of is left empty.
    """

    kind: str
    masthead: Masthead
    description: str
    action_url: str
    """Where its one button leads: always to a page, since link scanners follow links. Empty for a report."""
    choices: Choices | None = None
    until: datetime | None = None
    """When its link stops working."""
    next_at: datetime | None = None
    """When the next digest is due."""
    latest: tuple[Card, ...] = ()
    new_address: str = ""
    paused: bool = False
    everywhere: bool = False
    """Whether every list was left, and not only this one."""
    report: Report | None = None


@dataclass(slots=True)
class Envelope:
    """One reader's values: addresses, identity of the message (``message_id`` without <>), links.

    Not frozen only because one is made for each message, and that takes four times as long.
    """

    to_email: str
    to_name: str
    return_path: str
    message_id: str
    dated_at: datetime
    unsubscribe_url: str
    preferences_url: str
    feedback_id: str
    copy_url: str = ""
    """The digest on the site; empty if it is not in the database."""
    leave_mail: str = ""
    """Where one can leave by mail: a mailto URI, or nothing."""


@dataclass(slots=True)
class Message:
    """What goes to the relay: the envelope's sender, and the message, lines ended by CRLF."""

    return_path: str
    content: bytes
    head_size: int

    @property
    def head(self) -> bytes:
        """The header fields and the empty line after them."""
        return self.content[: self.head_size]

    @property
    def body(self) -> bytes:
        """What follows the head."""
        return self.content[self.head_size :]
