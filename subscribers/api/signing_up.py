"""Sign-up through another's form: double opt-in, and the same for every address as far as can be seen from outside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from newsletter.audience import notices
from newsletter.audience.addresses import Address, parse_address
from newsletter.audience.consents import Proof, agreed, consent_hash, network_of, note
from newsletter.audience.picks import Picks, language_code
from newsletter.audience.schedule import WEEKDAYS, Schedule, parse_language, parse_timezone
from newsletter.audience.subscribers import check_name, edit, subscribe, subscriptions_of
from newsletter.audience.suppressions import suppressed
from newsletter.catalogue.cleaning import has_controls
from newsletter.catalogue.geography import parse_places
from newsletter.catalogue.themes import all_themes, find_theme
from newsletter.digests.calendar import next_due
from newsletter.errors import InputError
from subscribers.api.problems import Fault, Refused, pointer
from subscribers.api.schemas import SignUp
from subscribers.site import Site


@dataclass(frozen=True)
class Request:
    """A sign-up as it was read."""

    address: Address
    name: str
    language: str
    timezone: str
    picks: Picks
    schedule: Schedule
    source: str
    proof: Proof


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


def read_request(connection: Connection, site: Site, list_row: Any, sent: SignUp, by: str) -> Request:
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
    source = fields.read(("consent", "source"), lambda: check_name(consent.source), "")
    page = fields.read(("consent", "page"), lambda: _plain(consent.page or "") or None, None)
    network = network_of(consent.ip)
    if consent.ip and network is None:
        fields.faults.append({"detail": "It is no IP address.", "pointer": "/consent/ip"})
    found = Request(
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


def sign_up(site: Site, list_row: Any, request: Request, now: datetime) -> None:
    """Do what the address needs, and never say what that was.

    Nobody yet, or somebody who left: pending, with a mail that asks to confirm. Pending: the newer picks hold, and the
    mail is sent again, though not twice in an hour. On the list: nothing but a mail to its owner. Suppressed: nothing.
    """
    try:
        with site.engine.begin() as connection:
            _sign_up(connection, site, list_row, request, now)
    except IntegrityError:
        # The same address came twice at once, and the other was quicker.
        with site.engine.begin() as connection:
            _sign_up(connection, site, list_row, request, now)


def _sign_up(connection: Connection, site: Site, list_row: Any, request: Request, now: datetime) -> None:
    if suppressed(connection, site.keys, [request.address.key]):
        return
    known = [row for row in subscriptions_of(connection, request.address.email) if row.list_id == list_row.id]
    if not known or known[0].state == "unsubscribed":
        subscribe(
            connection,
            list_row.id,
            request.address,
            request.picks,
            request.schedule,
            keys=site.keys,
            name=request.name,
            language=request.language,
            timezone=request.timezone,
            cursor=list_row.last_position,
            due_at=None,
            source=request.source,
            now=now,
            proof=request.proof,
        )
        return
    row = known[0]
    ids = {"subscriber_id": row.subscriber_id, "list_id": list_row.id}
    if row.state != "pending":
        notices.ask(connection, "known", **ids, now=now)
        return
    edit(
        connection,
        row,
        person={},
        picks=request.picks,
        schedule=request.schedule,
        next_due=next_due,
        source=request.source,
        now=now,
        proof=request.proof,
    )
    note(connection, row.subscriber_id, list_row.id, "asked", request.source, now, request.proof)
    notices.ask(connection, "confirm", **ids, now=now)
