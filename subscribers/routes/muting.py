"""Leaving out what one no longer wants to read of, by the link at the end of every digest."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import Connection

from newsletter.audience import subscribers as audience
from newsletter.audience.links import make_token
from newsletter.database import reading
from newsletter.digests.calendar import next_due
from subscribers.branding import masthead_of
from subscribers.choices import known_places
from subscribers.choosing import chosen_by, differences, with_picks
from subscribers.fields import Form, pause_days
from subscribers.memberships import changed_by, preferred_by
from subscribers.muting import without
from subscribers.picking import offer_to
from subscribers.proving import proof_of
from subscribers.rendering import page
from subscribers.site import SOURCE_LINK, Site, done, kept_language, shown, spoken_language


def routes(site: Site) -> APIRouter:
    """``/p/TOKEN/mute``."""
    router = APIRouter()

    def show(
        request: Request, connection: Connection, token: str, member: Any, state: str, status: int = 200, **values: Any
    ) -> Response:
        """The page; ``state``: ask, none (nothing was ticked), last (nothing would be left), saved or unchanged."""
        return page(
            "mute.html",
            spoken_language(request, member.language),
            status,
            state=state,
            member=member,
            token=token,
            form=chosen_by(offer_to(connection, member), member).form,
            leave=make_token(site.key, "unsubscribe", member.id),
            days=dict(zip(("first", "last", "proposed"), pause_days(member.timezone, site.clock()), strict=True)),
            lang=kept_language(request),
            masthead=masthead_of(connection, member.list_id),
            # Only a page that can be asked for again has addresses in other languages.
            **({"request": request} if request.method != "POST" else {}),
            **values,
        )

    def nothing_to_choose(member: Any) -> bool:
        return member.state == "unsubscribed" or member.archived_at is not None

    @shown(router, "/p/{token}/mute")
    def ask(request: Request, token: str) -> Response:
        with reading(site.engine) as connection:
            member = preferred_by(connection, site.keys, token)
            if nothing_to_choose(member):
                return RedirectResponse(f"/p/{token}{kept_language(request)}", 303)
            return show(request, connection, token, member, "ask")

    @done(router, "/p/{token}/mute")
    def mute(request: Request, token: str, sent: Form) -> Response:
        with site.engine.begin() as connection:
            member = changed_by(connection, site.keys, token)
            if nothing_to_choose(member):
                return RedirectResponse(f"/p/{token}{kept_language(request)}", 303)
            saved = chosen_by(offer_to(connection, member), member)
            vocabulary, known = saved.form.offer.vocabulary, set(known_places().values())
            muted = {
                "countries": [code for code in sent.all("country") if code in known and not code.isdigit()],
                "regions": [code for code in sent.all("region") if code in known],
                "themes": [slug for slug in sent.all("theme") if slug in vocabulary],
            }
            if not any(muted.values()):
                return show(request, connection, token, member, "none", 422)
            left = without(saved.form.picks, vocabulary, **muted)
            if left is None:
                return show(request, connection, token, member, "last", 422)
            chosen = with_picks(saved, left)
            changed = audience.edit(
                connection,
                member,
                person=chosen.person,
                picks=left,
                schedule=chosen.form.schedule,
                next_due=next_due,
                source=SOURCE_LINK,
                now=site.clock(),
                proof=proof_of(site, request, member, "mute.html", "mute_button"),
            )
            changes = differences(saved, chosen, spoken_language(request, member.language))
            member = preferred_by(connection, site.keys, token)
            return show(request, connection, token, member, "saved" if changed else "unchanged", changes=changes)

    return router
