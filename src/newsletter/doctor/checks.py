"""All that is looked at, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, select

from newsletter.database import connect, reading
from newsletter.delivery.relays import relays_of
from newsletter.doctor import house, mails, site
from newsletter.doctor.domains import Domains
from newsletter.doctor.findings import Check, Level
from newsletter.doctor.resolving import Resolver
from newsletter.doctor.sending import Sender, senders
from newsletter.migrations import require_current
from newsletter.settings import Settings
from newsletter.tables import lists


def checks(settings: Settings, resolver: Resolver, addresses: Sequence[str]) -> list[Check]:
    """The checks of an installation; ``addresses`` that mails come from, if somebody named them.

    Raises:
        SettingsError: the database's URL cannot be used.
    """
    engine = connect(settings.database)

    def opened() -> Engine:
        require_current(engine)
        return engine

    def domains() -> list[str]:
        with reading(opened()) as connection:
            found = connection.scalars(select(lists.c.sender_email).where(lists.c.archived_at.is_(None)))
            return sorted({email.rpartition("@")[2] for email in found})

    def sending() -> list[Sender]:
        return senders(relays_of(settings), addresses, resolver)

    names = Domains(settings, resolver, domains, sending)
    return [
        Check("settings", lambda: house.configuration(settings), Level.ERROR),
        Check("database", lambda: house.database(opened(), settings), Level.ERROR),
        Check("redis", lambda: house.bell(settings), Level.ERROR),
        Check("relay", lambda: house.relays(settings), Level.ERROR),
        Check("lists", lambda: house.carriers(settings, opened())),
        Check("SPF", names.spf),
        Check("DKIM", names.dkim),
        Check("DMARC", names.dmarc),
        Check("MX", names.mx),
        Check("PTR", names.ptr),
        Check("one-click", lambda: site.one_click(settings, opened(), resolver)),
        Check("templates", lambda: mails.templates(opened(), settings)),
    ]
