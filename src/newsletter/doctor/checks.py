"""All that is looked at, in the order in which it is told."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from sqlalchemy import Engine

from newsletter.audience.lists import sending_domains
from newsletter.database import connect, reading
from newsletter.delivery.relays import relays_of
from newsletter.doctor import house, mails, site
from newsletter.doctor.domains import Domains
from newsletter.doctor.findings import Check, Level
from newsletter.doctor.resolving import Resolver
from newsletter.doctor.sending import Sender, senders
from newsletter.errors import StateError
from newsletter.migrations import require_current
from newsletter.settings import Settings


def checks(settings: Settings, resolver: Resolver, addresses: Sequence[str]) -> list[Check]:
    """The checks of an installation; ``addresses`` that mails come from, if somebody named them.

    Raises:
        SettingsError: the database's URL cannot be used.
    """
    engine = connect(settings.database)

    def opened() -> Engine:
        require_current(engine)
        return engine

    def by_list() -> dict[str, str]:
        with reading(opened()) as connection:
            return sending_domains(connection)

    def domains() -> list[str]:
        return sorted(set(by_list().values()))

    def known_domains() -> dict[str, str]:
        # Relays can be tried without a database, of which another check tells.
        with contextlib.suppress(StateError):
            return by_list()
        return {}

    def sending() -> list[Sender]:
        return senders(relays_of(settings), addresses, resolver)

    names = Domains(settings, resolver, domains, sending)
    return [
        Check("settings", lambda: house.configuration(settings), Level.ERROR),
        Check("database", lambda: house.database(opened(), settings), Level.ERROR),
        Check("redis", lambda: house.bell(settings), Level.ERROR),
        Check("relay", lambda: house.relays(settings, known_domains()), Level.ERROR),
        Check("lists", lambda: house.carriers(settings, opened())),
        Check("SPF", names.spf),
        Check("DKIM", names.dkim),
        Check("DMARC", names.dmarc),
        Check("MX", names.mx),
        Check("PTR", names.ptr),
        Check("one-click", lambda: site.one_click(settings, opened(), resolver)),
        Check("templates", lambda: mails.templates(opened(), settings)),
    ]
