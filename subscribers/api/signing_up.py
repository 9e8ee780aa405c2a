"""A sign-up as a machine sends it, read field by field."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from newsletter.audience.addresses import Address, parse_address
from newsletter.audience.consents import Proof, agreed, check_source, consent_hash, network_of
from newsletter.audience.picks import Picks, language_code
from newsletter.audience.schedule import WEEKDAYS, Schedule, parse_language, parse_timezone
from newsletter.audience.subscribers import check_name
from newsletter.catalogue.cleaning import has_controls
from newsletter.catalogue.geography import parse_places
from newsletter.catalogue.themes import all_themes, find_theme
from newsletter.errors import InputError
from subscribers.api.problems import Fault, Refused, pointer
from subscribers.api.schemas import SignUp
from subscribers.enrolling import Wish
from subscribers.site import Site


class _Fields:
    """Reads one field after the other, and keeps what is wrong with each."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def read(self, where: tuple[str, ...], read: Any, otherwise: Any) -> Any:
        try:
            return read()
        except InputError as error:
            self.faults.append({"detail": str(error), "pointer": pointer(*where)})
            return otherwise


def _plain(text: str) -> str:
    if has_controls(text):
        raise InputError("It holds a control character.", "Send plain text.")
    return text


def read_request(connection: Connection, site: Site, list_row: Any, sent: SignUp, by: str) -> Wish:
    """What was sent, field by field; ``by``: the token's name, which becomes part of the source.

    Raises:
        Refused: 422, naming each field that is wrong.
    """
    fields = _Fields()
    vocabulary = all_themes(connection, list_row.id)
    languages, begins = list_row.languages, list_row
    address = fields.read(("email",), lambda: parse_address(sent.email), Address("", ""))
    countries, regions = fields.read(("countries",), lambda: parse_places(sent.countries), ([], []))
    more = fields.read(("regions",), lambda: parse_places(sent.regions), ([], []))
    themes = fields.read(("themes",), lambda: [find_theme(vocabulary, text) for text in sent.themes], [])
    reads = fields.read(("item_languages",), lambda: [language_code(text) for text in sent.item_languages], [])
    picks = Picks(
        frozenset((*countries, *more[0])), frozenset((*regions, *more[1])), frozenset(themes), frozenset(reads)
    )
    schedule = Schedule(
        sent.frequency or begins.frequency,
        begins.hour if sent.hour is None else sent.hour,
        begins.weekday if sent.weekday is None else WEEKDAYS.index(sent.weekday),
    )
    consent = sent.consent
    wording = fields.read(("consent", "wording"), lambda: _plain(consent.wording), "")
    source = fields.read(("consent", "source"), lambda: check_source(consent.source), "")
    page = fields.read(("consent", "page"), lambda: _plain(consent.page or "") or None, None)
    network = network_of(consent.ip)
    if consent.ip and network is None:
        fields.faults.append({"detail": "It is no IP address.", "pointer": "/consent/ip"})
    found = Wish(
        address=address,
        name=fields.read(("name",), lambda: check_name(sent.name or ""), ""),
        language=fields.read(
            ("language",), lambda: parse_language(sent.language, languages) if sent.language else languages[0], ""
        ),
        timezone=fields.read(
            ("timezone",), lambda: parse_timezone(sent.timezone) if sent.timezone else begins.timezone, ""
        ),
        picks=picks,
        schedule=schedule,
        source=f"{source} (token {by})",
        proof=Proof(consent_hash(site.keys, address.key), network, page, wording, agreed(picks, schedule)),
    )
    if fields.faults:
        raise Refused(422, "The sign-up cannot be taken. See `errors`.", fields.faults)
    return found
