"""Subscribing: the lists there are, a list's page with its form, the same small enough for other sites, what then."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from newsletter.audience.addresses import parse_address
from newsletter.database import reading
from newsletter.errors import StateError
from subscribers.branding import masthead
from subscribers.enrolling import Wish, sign_up
from subscribers.forms import guard_token, is_marked, looks_automated
from subscribers.limiting import client_network
from subscribers.offering import public_list, public_lists
from subscribers.picking import FIELDS, PicksForm, offer_of, read_form
from subscribers.rendering import notice, page
from subscribers.sealing import open_up, seal_up
from subscribers.signing_up import Applicant, other_language, read_applicant, wish_of, wording
from subscribers.site import Site, asked_language, shown
from subscribers.timing import evenly

SENT_LASTS = timedelta(hours=24)
MOST_FIELDS = 1000
PAGE, EMBEDDED = "subscribe page", "form on another site"
Pairs = Sequence[tuple[str, Any]]


def routes(site: Site) -> APIRouter:
    """``/``, ``/LIST``, ``/LIST/embed`` and the page after each. They come last: a list's slug is any word."""
    router = APIRouter()

    def wished(
        request: Request, list_row: Any, applicant: Applicant, form: PicksForm, language: str, framed: bool
    ) -> Wish:
        host = request.client.host if request.client else None
        source = EMBEDDED if framed else PAGE
        return wish_of(site, list_row, applicant, form, language, source=source, host=host)

    def show_form(
        request: Request, slug: str, pairs: Pairs, applicant: Applicant, *, framed: bool, sent: bool = False
    ) -> Response:
        # What was sent with an error is answered in the language that it was filled in.
        language = asked_language(request, dict(pairs).get("lang"))
        with reading(site.engine) as connection:
            list_row = public_list(connection, slug)
            if list_row.archived_at is not None:
                return notice("closed", language, 410)
            form = read_form(offer_of(connection, list_row), pairs)
            sample = site.samples.count(connection, list_row, form.picks, site.clock())
        errors = {**applicant.errors, **form.errors}
        response = page(
            "embed.html" if framed else "subscribe.html",
            language,
            422 if sent else 200,
            request=request,
            kept=form.query() if sent else None,
            list=list_row,
            masthead=masthead(list_row),
            form=form,
            applicant=applicant,
            errors={name: errors[name] for name in ("email", "name", *FIELDS) if name in errors},
            sample=sample,
            framed=framed,
            consent=wording(language, list_row),
            digest_language=other_language(language, list_row),
            query=urlencode(form.query()),
            moment=guard_token(site.keys, site.clock()),
        )
        # A browser may keep what was typed for the way back: nothing here is about one reader.
        response.headers["Cache-Control"] = "no-store" if sent else "no-cache"
        response.headers["Vary"] = "Accept-Language"
        return response

    @shown(router, "/")
    def home(request: Request) -> Response:
        with reading(site.engine) as connection:
            lists = public_lists(connection)
        response = page("home.html", asked_language(request), request=request, lists=lists)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Vary"] = "Accept-Language"
        return response

    @shown(router, "/{slug}")
    def subscribe_page(request: Request, slug: str) -> Response:
        return show_form(request, slug, request.query_params.multi_items(), Applicant(), framed=False)

    @shown(router, "/{slug}/embed")
    def embedded(request: Request, slug: str) -> Response:
        request.state.framed = True
        return show_form(request, slug, request.query_params.multi_items(), Applicant(), framed=True)

    def subscribe(request: Request, slug: str, pairs: Pairs, framed: bool) -> Response:
        language = asked_language(request, dict(pairs).get("lang"))
        applicant = read_applicant(pairs)
        list_row, offer = site.offers.of(slug)
        form = read_form(offer, pairs)
        if form.errors or list_row.archived_at is not None:
            # It may name a theme that was added just now, or the list be open again.
            list_row, offer = site.offers.of(slug, afresh=True)
            form = read_form(offer, pairs)
        if any(name == "preview" for name, _ in pairs):
            return RedirectResponse(f"/{slug}/preview?{urlencode([*form.query(), ('lang', language)])}", 303)
        if list_row.archived_at is not None or applicant.errors or form.errors:
            return show_form(request, slug, pairs, applicant, framed=framed, sent=True)
        now = site.clock()
        assert applicant.address
        kind: Literal["signup", "signup_plain"] = "signup" if is_marked(site.keys, pairs, now) else "signup_plain"
        site.limiter.admit(kind, client_network(request), applicant.address.key)
        if not looks_automated(site.keys, pairs, now):
            try:
                sign_up(site, list_row, wished(request, list_row, applicant, form, language, framed), now)
            except StateError:
                # It was archived a moment ago.
                return show_form(request, slug, pairs, applicant, framed=framed, sent=True)
        told = [applicant.address.email, applicant.name, language, urlencode(form.query())]
        token = seal_up(site.key, f"sent.{slug}", told, now)
        return RedirectResponse(f"/{slug}/{'embed/' if framed else ''}sent/{token}", 303)

    async def answer(request: Request, work: Callable[[Pairs], Response]) -> Response:
        """Do the work in a thread, and answer when nobody can tell how long it took."""
        async with request.form(max_files=0, max_fields=MOST_FIELDS) as sent:
            pairs = sent.multi_items()
        return await evenly(lambda: work(pairs))

    @router.post("/{slug}", response_model=None)
    async def on_subscribe(request: Request, slug: str) -> Response:
        return await answer(request, lambda pairs: subscribe(request, slug, pairs, framed=False))

    @router.post("/{slug}/embed", response_model=None)
    async def on_embedded(request: Request, slug: str) -> Response:
        request.state.framed = True
        return await answer(request, lambda pairs: subscribe(request, slug, pairs, framed=True))

    def show_sent(request: Request, slug: str, token: str, framed: bool) -> Response:
        email, _, language, query = opened(slug, token)
        list_row, _ = site.offers.of(slug)
        return page(
            "sent.html",
            language,
            list=list_row,
            masthead=masthead(list_row),
            email=email,
            back=f"/{slug}{'/embed' if framed else ''}?{query}&lang={language}",
            again="again" in request.query_params,
            framed=framed,
        )

    def opened(slug: str, token: str) -> tuple[str, str, str, str]:
        email, name, language, query = open_up(site.keys, f"sent.{slug}", token, site.clock(), SENT_LASTS)
        return email, name, language, query

    def send_again(request: Request, slug: str, token: str, framed: bool) -> Response:
        email, name, language, query = opened(slug, token)
        list_row, offer = site.offers.of(slug)
        form = read_form(offer, parse_qsl(query))
        address = parse_address(email)
        site.limiter.admit("resend", client_network(request), address.key)
        applicant = Applicant(email, name, address)
        with contextlib.suppress(StateError):
            sign_up(site, list_row, wished(request, list_row, applicant, form, language, framed), site.clock())
        return RedirectResponse(f"{request.url.path}?again", 303)

    @shown(router, "/{slug}/sent/{token}")
    def sent(request: Request, slug: str, token: str) -> Response:
        return show_sent(request, slug, token, framed=False)

    @shown(router, "/{slug}/embed/sent/{token}")
    def sent_embedded(request: Request, slug: str, token: str) -> Response:
        request.state.framed = True
        return show_sent(request, slug, token, framed=True)

    @router.post("/{slug}/sent/{token}", response_model=None)
    async def again(request: Request, slug: str, token: str) -> Response:
        return await answer(request, lambda _: send_again(request, slug, token, framed=False))

    @router.post("/{slug}/embed/sent/{token}", response_model=None)
    async def again_embedded(request: Request, slug: str, token: str) -> Response:
        request.state.framed = True
        return await answer(request, lambda _: send_again(request, slug, token, framed=True))

    return router
