"""Confirming a subscription: the link opens a page, its button confirms and leads to the welcome."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from newsletter.audience import notices
from newsletter.audience import subscribers as audience
from newsletter.audience.consents import Proof, network_of
from newsletter.audience.holding import hold
from newsletter.audience.links import LinkError, make_token, read_expiring
from newsletter.catalogue.themes import all_themes, theme_name
from newsletter.database import reading
from newsletter.digests.calendar import next_due
from newsletter.errors import UnknownName
from newsletter.tables import subscribers
from subscribers.branding import masthead_of
from subscribers.choices import name_of
from subscribers.limiting import client_network
from subscribers.memberships import find_membership
from subscribers.rendering import language_names, next_line, page, say, schedule_line, speak
from subscribers.signing_up import page_version
from subscribers.site import LONG_AGO, SOURCE_LINK, Site, asked_language, done, shown


def routes(site: Site) -> APIRouter:
    """``/c/TOKEN``, and a new link for one that has expired."""
    router = APIRouter()

    def found(connection: Connection, number: int) -> Any:
        member = find_membership(connection, number)
        if member is None:
            raise UnknownName(f"There is no subscription {number}.")
        return member

    def show(connection: Connection, member: Any, token: str, state: str) -> Response:
        key, filled = schedule_line(member)
        vocabulary = all_themes(connection, member.list_id)
        return page(
            "confirm.html",
            member.language,
            list_name=member.list_name,
            state=state,
            masthead=masthead_of(connection, member.list_id),
            token=token,
            places=[name_of(code, member.language) for code in (*member.countries, *member.regions)],
            themes=[theme_name(vocabulary[slug], member.language) for slug in member.themes if slug in vocabulary],
            languages=language_names(member.languages, member.language),
            schedule_key=key,
            schedule_values=filled,
            upcoming=next_line(member),
            preferences="/p/" + make_token(site.key, "preferences", member.id),
        )

    def expired(request: Request, token: str, asked: bool) -> Response:
        """For a link that is too old: a way to a new one, or to the beginning if the request has vanished since."""
        number = read_expiring(site.keys, "confirm", token, LONG_AGO)
        with reading(site.engine) as connection:
            member = find_membership(connection, number)
            if member is None:
                return page("expired.html", asked_language(request), 410, token="", sent=False)
            if member.state != "pending":
                return show(connection, member, token, member.state)
            brand = masthead_of(connection, member.list_id)
        return page("expired.html", member.language, 200 if asked else 410, masthead=brand, token=token, sent=asked)

    @shown(router, "/c/{token}")
    def ask(request: Request, token: str) -> Response:
        try:
            number = read_expiring(site.keys, "confirm", token, site.clock())
        except LinkError as error:
            if error.kind == "expired":
                return expired(request, token, asked=False)
            raise
        with reading(site.engine) as connection:
            member = found(connection, number)
            return show(connection, member, token, member.state)

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
            member = found(connection, number)
            # A link from an old mail must not bring back somebody who has left since.
            if member.state != "pending":
                return show(connection, member, token, member.state)
            tongue = speak(member.language)
            proof = Proof(
                network=network_of(request.client.host if request.client else None),
                page=page_version(tongue),
                wording=f"{say(tongue, 'confirm_text', list=member.list_name)} {say(tongue, 'confirm_button')}",
            )
            due_at = next_due(member.frequency, member.hour, member.weekday, member.timezone, now)
            audience.confirm(connection, site.keys, number, SOURCE_LINK, due_at, now, proof)
            return show(connection, found(connection, number), token, "welcome")

    @done(router, "/c/{token}/again")
    def again(request: Request, token: str) -> Response:
        number = read_expiring(site.keys, "confirm", token, LONG_AGO)
        site.limiter.admit("resend", client_network(request), f"subscription {number}")
        with site.engine.begin() as connection:
            hold(connection, subscribers.c.id == found(connection, number).subscriber_id)
            member = found(connection, number)
            if member.state == "pending":
                notices.ask(
                    connection, "confirm", subscriber_id=member.subscriber_id, list_id=member.list_id, now=site.clock()
                )
        return expired(request, token, asked=True)

    return router
