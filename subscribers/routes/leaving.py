"""Leaving a list: a page with a button, and one click from the mail program (RFC 8058).

The link works as long as there are mails that carry it: after the list was archived or its reader erased it still
says that there will be no more mail. In a mail to an address that is no subscriber's, the link declines that mail and
touches no subscription (``declining``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from newsletter.audience import declining, leaving, notices
from newsletter.audience.consents import Proof
from newsletter.audience.forgetting import forget_sign_ups
from newsletter.audience.leaving import Left
from newsletter.audience.links import LinkError, make_token, read_token
from newsletter.database import reading
from newsletter.digests.calendar import next_due
from subscribers.branding import masthead_of
from subscribers.fields import Form, pause_days, pause_end
from subscribers.memberships import find_membership, memberships_of
from subscribers.proving import proof_of
from subscribers.rendering import long_day, next_line, page, schedule_line
from subscribers.site import SOURCE_LINK, Site, asked_language, done, kept_language, shown, spoken_language
from subscribers.timing import aside

ONE_CLICK = "List-Unsubscribe=One-Click"


def routes(site: Site) -> APIRouter:
    """``/u/TOKEN`` and what its buttons do."""
    router = APIRouter()

    def number_in(token: str) -> int:
        return read_token(site.keys, "unsubscribe", token)

    def declined_in(token: str) -> int | None:
        """The notice that a token declines; None if it is one to leave a list with."""
        try:
            return read_token(site.keys, "decline", token)
        except LinkError:
            return None

    def decline_page(request: Request, token: str, what: str, row: Any, *, ended: bool) -> Response:
        return page(
            "decline.html",
            asked_language(request),
            200,
            **({"request": request} if request.method != "POST" else {}),
            what=what,
            ended=ended,
            list_name=row.name if row else "",
            token=token,
            lang=kept_language(request),
        )

    def proof(request: Request, member: Any, key: str, **values: object) -> Proof:
        return proof_of(site, request, member, "leave.html", key, list=member.list_name, **values)

    def show(
        connection: Connection, request: Request, token: str, member: Any, state: str, status: int = 200, **values: Any
    ) -> Response:
        """The page in a state: ask, left, cancelled, less_ask, less, paused, back, back_pending, back_late."""
        known = member is not None and member.erased_at is None
        return page(
            "leave.html",
            language_of(request, member),
            status,
            # Only a page that can be asked for again has addresses in other languages.
            **({"request": request} if request.method != "POST" else {}),
            masthead=masthead_of(connection, member.list_id) if known else None,
            member=member,
            state=state,
            token=token,
            lang=kept_language(request),
            preferences=make_token(site.key, "preferences", member.id) if member else "",
            **values,
        )

    def language_of(request: Request, member: Any) -> str:
        known = member is not None and member.erased_at is None
        return spoken_language(request, member.language) if known else asked_language(request)

    def ask(request: Request, token: str, status: int = 200, wrong: str = "", state: str = "ask") -> Response:
        """What there is to choose; ``wrong`` names the field that was not filled in well.

        ``state``: ask, or less_ask where leaving is not what is asked.
        """
        with reading(site.engine) as connection:
            member = find_membership(connection, number_in(token))
            if member is None or member.state == "unsubscribed" or member.erased_at is not None:
                return show(connection, request, token, member, "left", marks=(), names=())
            others = [row for row in memberships_of(connection, member.subscriber_id) if row.id != member.id]
            first, last, proposed = pause_days(member.timezone, site.clock())
            return show(
                connection,
                request,
                token,
                member,
                state if member.state != "pending" else "ask",
                status,
                others=[row.list_name for row in others],
                frequencies=leaving.less_often(member.frequency) if member.state != "pending" else (),
                days={"first": first, "last": last, "proposed": proposed},
                wrong=wrong,
            )

    @shown(router, "/u/{token}")
    def choices(request: Request, token: str) -> Response:
        notice = declined_in(token)
        if notice is None:
            return ask(request, token)
        with reading(site.engine) as connection:
            what, row = declining.about(connection, notice, site.clock())
        return decline_page(request, token, what, row, ended=False)

    @shown(router, "/u/{token}/less")
    def less_often(request: Request, token: str) -> Response:
        return ask(request, token, state="less_ask")

    def say_goodbye(connection: Connection, member: Any, left: Sequence[Left], everywhere: bool) -> None:
        if any(one.before != "pending" for one in left):
            list_id = None if everywhere else member.list_id
            notices.ask(connection, "goodbye", subscriber_id=member.subscriber_id, list_id=list_id, now=site.clock())

    @done(router, "/u/{token}")
    async def body(request: Request, token: str) -> Response:
        # RFC 8058, 3.2: the token alone decides; no cookie, no redirect, and whatever the body is does no harm.
        one_click = b"One-Click" in await request.body()
        return await aside(lambda: leave(request, token, one_click))

    def leave(request: Request, token: str, one_click: bool) -> Response:
        notice = declined_in(token)
        if notice is not None:
            with site.engine.begin() as connection:
                what, row = declining.decline(connection, notice, site.clock())
            return decline_page(request, token, what, row, ended=True)
        number = number_in(token)
        with site.engine.begin() as connection:
            member = find_membership(connection, number)
            if member is None or member.erased_at is not None:
                return show(connection, request, token, member, "left", marks=(), names=())
            if member.state == "pending" and forget_sign_ups(connection, [number]):
                return show(connection, request, token, member, "cancelled")
            given = proof(request, member, "leave_button")
            if one_click:
                given = replace(given, page=None, wording=ONE_CLICK)
            left = leaving.leave(connection, number, SOURCE_LINK, site.clock(), given)
            if left and not one_click:
                say_goodbye(connection, member, [left], everywhere=False)
            marks = [left.mark(site.keys)] if left and member.archived_at is None else []
            return show(connection, request, token, member, "left", marks=marks, names=())

    @done(router, "/u/{token}/all")
    def leave_all(request: Request, token: str) -> Response:
        with site.engine.begin() as connection:
            member = find_membership(connection, number_in(token))
            if member is None or member.erased_at is not None:
                return show(connection, request, token, member, "left", marks=(), names=())
            members = memberships_of(connection, member.subscriber_id)
            names = [row.list_name for row in members]
            # What was never confirmed may not have been asked for by them, and is forgotten.
            forgotten = forget_sign_ups(connection, [row.id for row in members if row.state == "pending"])
            if forgotten and forgotten == len(members):
                return show(connection, request, token, member, "cancelled")
            given = proof(request, member, "leave_all_button")
            left = leaving.leave_all(connection, member.subscriber_id, SOURCE_LINK, site.clock(), given)
            say_goodbye(connection, member, left, everywhere=True)
            marks = [one.mark(site.keys) for one in left]
            return show(connection, request, token, member, "left", marks=marks, names=names if len(names) > 1 else ())

    @done(router, "/u/{token}/less")
    def less(request: Request, token: str, form: Form) -> Response:
        frequency = form.one("frequency")
        with site.engine.begin() as connection:
            member = find_membership(connection, number_in(token))
            if member is not None and frequency in leaving.less_often(member.frequency):
                given = proof(request, member, f"less_{frequency}")
                leaving.choose_less(
                    connection,
                    member.id,
                    frequency,
                    next_due=next_due,
                    source=SOURCE_LINK,
                    now=site.clock(),
                    proof=given,
                )
                member = find_membership(connection, member.id)
            # Sent again after it was done, it is done.
            if member is not None and member.state != "unsubscribed" and member.frequency == frequency:
                language = language_of(request, member)
                schedule, filled = schedule_line(member, language)
                upcoming = next_line(member, language)
                return show(
                    connection, request, token, member, "less", schedule=schedule, filled=filled, upcoming=upcoming
                )
        return ask(request, token, 422, "frequency")

    @done(router, "/u/{token}/pause")
    def pause(request: Request, token: str, form: Form) -> Response:
        with site.engine.begin() as connection:
            member = find_membership(connection, number_in(token))
            until = pause_end(form.one("until"), member.timezone, site.clock()) if member else None
            if member is not None and until is not None:
                day = long_day(until, member.timezone, language_of(request, member))
                given = proof(request, member, "pause_done_text", day=day)
                if leaving.pause_until(connection, member.id, until, SOURCE_LINK, site.clock(), given):
                    return show(connection, request, token, member, "paused", day=day)
        return ask(request, token, 422, "until")

    @done(router, "/u/{token}/back")
    def back(request: Request, token: str, form: Form) -> Response:
        with site.engine.begin() as connection:
            member = find_membership(connection, number_in(token))
            if member is None or member.erased_at is not None:
                return show(connection, request, token, member, "left", marks=(), names=())
            returned = leaving.come_back(
                connection,
                site.keys,
                member.subscriber_id,
                form.all("mark")[:100],
                next_due=next_due,
                source=SOURCE_LINK,
                now=site.clock(),
                proof=proof(request, member, "back_button"),
            )
            there = {row.id: row for row in memberships_of(connection, member.subscriber_id)}
            names = [row.list_name for row in there.values() if row.id in returned]
            if member.id in there and there[member.id].state == "pending":
                return show(connection, request, token, member, "back_pending", names=names or [member.list_name])
            # Pressed twice, they are there all the same.
            if returned or member.id in there:
                return show(connection, request, token, member, "back", names=names or [member.list_name])
            return show(connection, request, token, member, "back_late", 409)

    return router
