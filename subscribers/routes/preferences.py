"""A reader's preferences, by the link in every mail: what to get, when, in which language; and taking a break.

The form carries the version of what it showed. If that was changed since, nothing is overwritten: the page shows both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from newsletter.audience import leaving
from newsletter.audience import subscribers as audience
from newsletter.audience.consents import Proof
from newsletter.audience.links import make_token
from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.themes import descendants, theme_name
from newsletter.database import reading
from newsletter.digests.calendar import next_due
from newsletter.digests.matching import Index, Item
from newsletter.digests.runs import load_items
from newsletter.languages import LANGUAGES
from subscribers.branding import masthead_of
from subscribers.choices import known_places, language_name, name_of
from subscribers.choosing import Chosen, chosen_by, differences, read_choices, with_picks
from subscribers.fields import Form, pause_days, pause_end
from subscribers.memberships import changed_by, memberships_of, preferred_by
from subscribers.muting import without_country, without_theme
from subscribers.picking import FIELDS, Offer, Problem, offer_to
from subscribers.proving import proof_of
from subscribers.rendering import long_day, next_line, page, speak
from subscribers.site import SOURCE_LINK, Site, done, kept_language, shown, spoken_language

SAMPLES = 5
"""Titles of waiting items that the page names."""


def routes(site: Site) -> APIRouter:
    """``/p/TOKEN`` and what its buttons do."""
    router = APIRouter()

    def proof(request: Request, member: Any, key: str, **values: object) -> Proof:
        return proof_of(site, request, member, "preferences.html", key, **values)

    def show(
        request: Request,
        connection: Connection,
        token: str,
        member: Any,
        chosen: Chosen | None = None,
        *,
        notice: str = "",
        status: int = 200,
        wrong: str = "",
        seen: str = "",
        **values: Any,
    ) -> Response:
        """The page. ``chosen``: what the form shows if that is not what is saved; ``seen``: the version that it was
        filled from, if not the present one; ``notice``: what is said first; ``wrong``: ``until`` if that is."""
        language = spoken_language(request, member.language)
        others = [
            (row.list_name, "" if row.id == member.id else make_token(site.key, "preferences", row.id))
            for row in memberships_of(connection, member.subscriber_id)
        ]
        common = {
            "member": member,
            "token": token,
            "others": others if len(others) > 1 else [],
            "leave": make_token(site.key, "unsubscribe", member.id),
            "lang": kept_language(request),
            "masthead": masthead_of(connection, member.list_id),
            # Only a page that can be asked for again has addresses in other languages.
            **({"request": request} if request.method != "POST" else {}),
        }
        if member.state == "unsubscribed" or member.archived_at is not None:
            return page("preferences.html", language, status, ended=True, **common)
        offer = offer_to(connection, member)
        saved = chosen_by(offer, member)
        chosen = chosen or saved
        first, last, proposed = pause_days(member.timezone, site.clock())
        until = member.paused_until
        return page(
            "preferences.html",
            language,
            status,
            ended=False,
            form=chosen.form,
            chosen=chosen,
            seen=seen or saved.version,
            query=urlencode(chosen.form.query()),
            problems=_problems(chosen, wrong),
            wrong=wrong,
            offered=_offered(chosen.page_language, language),
            until=long_day(until, member.timezone, language) if until and member.state == "paused" else "",
            upcoming=next_line(member, language),
            waiting=_waiting(connection, member, offer, chosen.form.picks),
            samples=SAMPLES,
            days={"first": first, "last": last, "proposed": proposed},
            notice=notice,
            **{"changes": (), "muted": "", "filled": {}, **values},
            **common,
        )

    @shown(router, "/p/{token}")
    def preferences(request: Request, token: str) -> Response:
        with reading(site.engine) as connection:
            member = preferred_by(connection, site.keys, token)
            asked = [
                (kind, value[:64])
                for kind in ("country", "theme")
                for value in request.query_params.getlist(f"mute_{kind}")
            ]
            if not asked or member.state == "unsubscribed" or member.archived_at is not None:
                return show(request, connection, token, member)
            language = spoken_language(request, member.language)
            saved = chosen_by(offer_to(connection, member), member)
            chosen, problem, muted = _muted(saved, asked[:20], speak(language))
            changes = differences(saved, chosen, language)
            if problem and not changes:
                return show(request, connection, token, member, notice=problem, muted=muted)
            return show(request, connection, token, member, chosen, notice="ready_notice", changes=changes)

    @done(router, "/p/{token}")
    def save(request: Request, token: str, sent: Form) -> Response:
        with site.engine.begin() as connection:
            member = changed_by(connection, site.keys, token)
            if member.state == "unsubscribed" or member.archived_at is not None:
                return show(request, connection, token, member, status=409)
            offer = offer_to(connection, member)
            saved, chosen = chosen_by(offer, member), read_choices(offer, member, sent)
            if not chosen.is_usable:
                return show(request, connection, token, member, chosen, notice="errors_notice", status=422)
            changes = differences(saved, chosen, spoken_language(request, member.language))
            if sent.one("do") == "preview":
                # The version stays that of what the form was filled from: this looks, it does not settle a conflict.
                return show(
                    request, connection, token, member, chosen, notice="preview_notice", seen=sent.one("version")
                )
            if chosen.version == saved.version:
                return show(request, connection, token, member, notice="unchanged_notice")
            if sent.one("version") != saved.version:
                return show(request, connection, token, member, chosen, notice="conflict", status=409, changes=changes)
            audience.edit(
                connection,
                member,
                person=chosen.person,
                picks=chosen.form.picks,
                schedule=chosen.form.schedule,
                next_due=next_due,
                source=SOURCE_LINK,
                now=site.clock(),
                proof=proof(request, member, "save_button"),
            )
            member = preferred_by(connection, site.keys, token)
            # Said in the language that was chosen just now.
            changes = differences(saved, chosen, spoken_language(request, member.language))
            return show(request, connection, token, member, notice="saved_notice", changes=changes)

    @done(router, "/p/{token}/pause")
    def pause(request: Request, token: str, sent: Form) -> Response:
        with site.engine.begin() as connection:
            member = changed_by(connection, site.keys, token)
            until = pause_end(sent.one("until"), member.timezone, site.clock())
            if until is None:
                return show(request, connection, token, member, wrong="until", notice="errors_notice", status=422)
            day = long_day(until, member.timezone, spoken_language(request, member.language))
            given = proof(request, member, "paused_notice", day=day)
            if not leaving.pause_until(connection, member.id, until, SOURCE_LINK, site.clock(), given):
                return show(request, connection, token, member, status=409)
            return show(
                request,
                connection,
                token,
                preferred_by(connection, site.keys, token),
                notice="paused_notice",
                filled={"day": day},
            )

    @done(router, "/p/{token}/resume")
    def resume(request: Request, token: str) -> Response:
        with site.engine.begin() as connection:
            member = changed_by(connection, site.keys, token)
            if member.state == "paused":
                leaving.resume(connection, member, next_due, site.clock(), proof(request, member, "resume_button"))
            notice = "resumed_notice" if member.state == "paused" else ""
            return show(request, connection, token, preferred_by(connection, site.keys, token), notice=notice)

    return router


def _offered(chosen: str, language: str) -> list[tuple[str, str]]:
    """Languages of mails and pages: code and name; one that was set elsewhere stays to be kept."""
    return [(code, language_name(code, speak(language))) for code in dict.fromkeys((*LANGUAGES, chosen))]


def _problems(chosen: Chosen, wrong: str) -> dict[str, Problem]:
    """What is wrong, by the id of its field, in the order of the page."""
    own = {name: Problem(key) for name, key in chosen.errors.items()} | (
        {"until": Problem("pause_error")} if wrong else {}
    )
    found = {**chosen.form.errors, **own}
    return {name: found[name] for name in (*FIELDS, "page_language", "name", "until") if name in found}


def _waiting(connection: Connection, member: Any, offer: Offer, picks: Picks) -> Sequence[Item]:
    """The items that the next digest would bring with these picks, the newest first."""
    found = load_items(connection, member.list_id, member.cursor, member.last_position)
    index = Index(found, countries_in, lambda slug: descendants(offer.vocabulary, slug))
    return list(index.of(index.fitting(picks)))[::-1]


def _muted(saved: Chosen, asked: Sequence[tuple[str, str]], language: str) -> tuple[Chosen, str, str]:
    """Choices without these countries and themes; if one cannot be left out, which word says so, and its name."""
    chosen, problem, name = saved, "", ""
    vocabulary = saved.form.offer.vocabulary
    for kind, value in asked:
        code = known_places().get(value.lower(), "") if kind == "country" else value
        if (not code or code.isdigit()) if kind == "country" else code not in vocabulary:
            problem = "unknown_mute"
            continue
        if kind == "country":
            left, named = without_country(chosen.form.picks, code), name_of(code, language)
        else:
            left = without_theme(chosen.form.picks, vocabulary, code)
            named = theme_name(vocabulary[code], language)
        if left is None or left == chosen.form.picks:
            problem, name = ("muted_last" if left is None else "muted_already"), named
        else:
            chosen = with_picks(chosen, left)
    return chosen, problem, name
