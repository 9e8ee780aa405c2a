"""``newsletter mailbox``."""

from __future__ import annotations

from dataclasses import asdict

from newsletter.cli.output import counted, print_json, say
from newsletter.cli.shared import Json, now, opened
from newsletter.errors import StateError
from newsletter.feedback.mailbox import mailbox_of, read_mailbox


def mailbox(as_json: Json = False) -> None:
    """Read the mailbox of those who leave by mail, once; beat does it every two minutes.

    Example: `newsletter mailbox`
    """
    house = opened()
    found = mailbox_of(house.settings)
    if found is None:
        raise StateError("There is no mailbox for leaving by mail.", "Set NEWSLETTER_LEAVE_MAILBOX.")
    told = read_mailbox(house.engine, house.settings, found, now())
    if as_json:
        print_json(asdict(told))
        return
    say(f"{told.left} left now, {told.again} had left before; {told.alone} other messages were left alone.")
    if told.refused:
        say(f"The server does not give {counted(told.refused, 'message')} of the mailbox.")
