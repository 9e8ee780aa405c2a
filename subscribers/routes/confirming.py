"""Confirming a subscription: the link opens a page, its button confirms and leads to the welcome."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, select

from newsletter.audience import notices
from newsletter.audience import subscribers as audience
from newsletter.audience.consents import Proof, network_of
from newsletter.audience.links import LinkError, make_token, read_expiring
from newsletter.database import reading
from newsletter.errors import UnknownName
from newsletter.tables import subscriptions
from subscribers.branding import masthead_of
from subscribers.limiting import client_network
from subscribers.reading import Reader, due, find_reader
from subscribers.rendering import language_names, next_line, page, say, schedule_line, speak
from subscribers.signing_up import page_version
from subscribers.site import SOURCE_LINK, Site, asked_language, done, shown

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def routes(site: Site) -> APIRouter:
    """``/c/TOKEN``, and a new link for one that has expired."""
    router = APIRouter()

    def show(connection: Connection, reader: Reader, token: str, state: str) -> Response:
        key, filled = schedule_line(reader)
        return page(
            "confirm.html",
            reader.language,
            reader=reader,
            state=state,
            masthead=masthead_of(connection, reader.list_id),
            token=token,
            languages=language_names(reader.languages, reader.language),
            schedule_key=key,
            schedule_values=filled,
            upcoming=next_line(reader),
            preferences="/p/" + make_token(site.key, "preferences", reader.subscription_id),
        )

    def expired(request: Request, token: str, asked: bool) -> Response:
        """For a link that is too old: a way to a new one, or to the beginning if the request has vanished since."""
        number = read_expiring(site.keys, "confirm", token, LONG_AGO)
        with reading(site.engine) as connection:
            try:
                reader = find_reader(connection, number)
            except UnknownName:
                return page("expired.html", asked_language(request), 410, token="", sent=False)
            if reader.state != "pending":
                return show(connection, reader, token, reader.state)
            brand = masthead_of(connection, reader.list_id)
        return page("expired.html", reader.language, 200 if asked else 410, masthead=brand, token=token, sent=asked)

    @shown(router, "/c/{token}")
    def ask(request: Request, token: str) -> Response:
        try:
            number = read_expiring(site.keys, "confirm", token, site.clock())
        except LinkError as error:
            if error.kind == "expired":
                return expired(request, token, asked=False)
            raise
        with reading(site.engine) as connection:
            reader = find_reader(connection, number)
            return show(connection, reader, token, reader.state)

    @done(router, "/c/{token}")
    def confirm(request: Request, token: str) -> Response:
        now = site.clock()
        try:
            number = read_expiring(site.keys, "confirm", token, now)
        except LinkError as error:
            if error.kind == "expired":
                return expired(request, token, asked=False)
            raise
        with site.engine.begin() as connection:
            reader = find_reader(connection, number)
            # A link from an old mail must not bring back somebody who has left since.
            if reader.state != "pending":
                return show(connection, reader, token, reader.state)
            tongue = speak(reader.language)
            proof = Proof(
                network=network_of(request.client.host if request.client else None),
                page=page_version(tongue),
                wording=f"{say(tongue, 'confirm_text', list=reader.list_name)} {say(tongue, 'confirm_button')}",
            )
            audience.confirm(connection, site.keys, number, SOURCE_LINK, due(reader, now), now, proof)
            return show(connection, find_reader(connection, number), token, "welcome")

    @done(router, "/c/{token}/again")
    def again(request: Request, token: str) -> Response:
        number = read_expiring(site.keys, "confirm", token, LONG_AGO)
        site.limiter.admit("resend", client_network(request), f"subscription {number}")
        with site.engine.begin() as connection:
            reader = find_reader(connection, number)
            if reader.state == "pending":
                subscriber_id = whose(connection, number)
                notices.ask(
                    connection, "confirm", subscriber_id=subscriber_id, list_id=reader.list_id, now=site.clock()
                )
        return expired(request, token, asked=True)

    def whose(connection: Connection, number: int) -> int:
        statement = select(subscriptions.c.subscriber_id).where(subscriptions.c.id == number)
        return int(connection.execute(statement).scalar_one())

    return router
