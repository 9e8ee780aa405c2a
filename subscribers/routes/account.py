"""What a link in a digest must not do: change the address, download, erase. A fresh mailed link does, for a day."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, select

from newsletter.audience import moving, notices
from newsletter.audience.accounts import ask_link, open_account
from newsletter.audience.addresses import parse_address
from newsletter.audience.erasing import erase_subscriber
from newsletter.audience.exporting import person_data
from newsletter.audience.holding import hold
from newsletter.audience.links import LinkError, make_token, read_expiring
from newsletter.database import empty_log, reading
from newsletter.errors import InputError, StateError
from newsletter.tables import subscribers
from subscribers.fields import Form, Sent
from subscribers.forms import guard_token, looks_automated
from subscribers.limiting import client_network
from subscribers.memberships import memberships_of
from subscribers.picking import Problem
from subscribers.proving import proof_of
from subscribers.rendering import page
from subscribers.site import LONG_AGO, Site, asked_language, done, kept_language, shown, spoken_language
from subscribers.timing import evenly

LONGEST_ADDRESS = 320


def routes(site: Site) -> APIRouter:
    """``/account``, ``/a/TOKEN`` and ``/address/TOKEN``, and what their buttons do."""
    router = APIRouter()

    # A fresh link -------------------------------------------------------------------------------------------

    def link_page(
        request: Request, status: int = 200, *, problem: str = "", email: str = "", sent: bool = False
    ) -> Response:
        errors = {"email": Problem(problem)} if problem else {}
        return page(
            "account_link.html",
            asked_language(request),
            status,
            **({} if sent else {"request": request}),
            errors=errors,
            email=email,
            sent=sent,
            moment=guard_token(site.keys, site.clock()),
            lang=kept_language(request),
        )

    @shown(router, "/account")
    def ask_for_link(request: Request) -> Response:
        response = link_page(request)
        response.headers["Vary"] = "Accept-Language"
        return response

    @done(router, "/account")
    async def send_link(request: Request, sent: Form) -> Response:
        return await evenly(lambda: send_link_to(request, sent))

    def send_link_to(request: Request, sent: Sent) -> Response:
        # The same answer whether the address is known or not, and for programs.
        email = sent.one("email")[: LONGEST_ADDRESS + 1]
        try:
            address = parse_address(email)
        except InputError:
            return link_page(request, 422, problem="email_wrong" if email else "email_missing", email=email)
        site.limiter.admit("account", client_network(request), address.key)
        if not looks_automated(site.keys, sent.pairs, site.clock()):
            with site.engine.begin() as connection:
                ask_link(connection, address, site.clock())
        return link_page(request, sent=True)

    # The account --------------------------------------------------------------------------------------------

    def person_of(connection: Connection, number: int) -> Any | None:
        statement = select(subscribers).where(subscribers.c.id == number, subscribers.c.erased_at.is_(None))
        return connection.execute(statement).one_or_none()

    def expired(request: Request, token: str, *, sent: bool = False, status: int = 410) -> Response:
        """For a link that is too old: one button brings a new one."""
        number = read_expiring(site.keys, "account", token, LONG_AGO)
        with reading(site.engine) as connection:
            person = person_of(connection, number)
        if person is None:
            return gone(request)
        language = spoken_language(request, person.language)
        return page("account_expired.html", language, status, token=token, sent=sent, lang=kept_language(request))

    def gone(request: Request) -> Response:
        return page("account_erased.html", asked_language(request))

    def opened(request: Request, token: str) -> int | Response:
        """The subscriber that a link names, or the page for a link that has expired."""
        try:
            with reading(site.engine) as connection:
                return open_account(connection, site.keys, token, site.clock())
        except LinkError as error:
            if error.kind == "expired":
                return expired(request, token)
            raise

    def show(
        connection: Connection, request: Request, token: str, person: Any, status: int = 200, **values: Any
    ) -> Response:
        """The account; ``problem``: what is wrong with the new address, ``asked``: the one that was asked for."""
        members = memberships_of(connection, person.id)
        return page(
            "account.html",
            spoken_language(request, person.language),
            status,
            **({"request": request} if request.method != "POST" else {}),
            person=person,
            token=token,
            lang=kept_language(request),
            lists=[(row.list_name, make_token(site.key, "preferences", row.id)) for row in members],
            **{"errors": {}, "email": "", "asked": "", **values},
        )

    @shown(router, "/a/{token}")
    def account(request: Request, token: str) -> Response:
        number = opened(request, token)
        if isinstance(number, Response):
            return number
        with reading(site.engine) as connection:
            person = person_of(connection, number)
            return show(connection, request, token, person) if person else gone(request)

    @done(router, "/a/{token}/again")
    def again(request: Request, token: str) -> Response:
        # Signed, and for one person: whoever holds it learns nothing, and the mail goes to that person alone.
        number = read_expiring(site.keys, "account", token, LONG_AGO)
        site.limiter.admit("resend", client_network(request), f"subscriber {number}")
        with site.engine.begin() as connection:
            person = person_of(connection, number)
            if person is not None and person.suppressed_at is None:
                notices.ask(connection, "account", subscriber_id=number, list_id=None, now=site.clock())
        return expired(request, token, sent=True, status=200)

    @done(router, "/a/{token}/address")
    async def change_address(request: Request, token: str, sent: Form) -> Response:
        return await evenly(lambda: change_address_to(request, token, sent))

    def change_address_to(request: Request, token: str, sent: Sent) -> Response:
        # The same answer, and data, whether the new address is known or not.
        number = opened(request, token)
        if isinstance(number, Response):
            return number
        email = sent.one("email")[: LONGEST_ADDRESS + 1]
        address, problem, status = None, "", 422
        try:
            address = parse_address(email)
        except InputError:
            problem = "email_wrong" if email else "email_missing"
        else:
            # Also of several readers who name it: each of them can ask for some.
            site.limiter.admit("account", client_network(request), address.key)
        with site.engine.begin() as connection:
            # Who is erased at this moment asks for nothing.
            hold(connection, subscribers.c.id == number)
            person = person_of(connection, number)
            if person is None:
                return gone(request)
            if address:
                try:
                    moving.ask(connection, site.keys, number, address, site.clock())
                except InputError:
                    problem = "address_same"
                except StateError:
                    problem, status = "address_often", 429
            if not address or problem:
                return show(connection, request, token, person, status, errors={"email": Problem(problem)}, email=email)
            return show(connection, request, token, person, asked=address.email)

    @shown(router, "/a/{token}/data")
    def download(request: Request, token: str) -> Response:
        number = opened(request, token)
        if isinstance(number, Response):
            return number
        with reading(site.engine) as connection:
            data = person_data(connection, site.keys, number)
        if not data:
            return gone(request)
        text = json.dumps(data, ensure_ascii=False, indent=2)
        headers = {"Content-Disposition": 'attachment; filename="newsletter-data.json"'}
        return Response(text, media_type="application/json", headers=headers)

    # Erasure ------------------------------------------------------------------------------------------------

    def ask_to_erase(request: Request, token: str, status: int, *, wrong: bool) -> Response:
        number = opened(request, token)
        if isinstance(number, Response):
            return number
        with reading(site.engine) as connection:
            person = person_of(connection, number)
        if person is None:
            return gone(request)
        language = spoken_language(request, person.language)
        values = {"person": person, "token": token, "wrong": wrong, "lang": kept_language(request)}
        return page("account_erase.html", language, status, **values)

    @shown(router, "/a/{token}/erase")
    def erasing(request: Request, token: str) -> Response:
        return ask_to_erase(request, token, 200, wrong=False)

    @done(router, "/a/{token}/erase")
    def erase(request: Request, token: str, sent: Form) -> Response:
        number = opened(request, token)
        if isinstance(number, Response):
            return number
        if sent.one("sure") != "yes":
            return ask_to_erase(request, token, 422, wrong=True)
        with site.engine.begin() as connection:
            person = person_of(connection, number)
            erase_subscriber(connection, site.keys, number, site.clock())
        empty_log(site.engine)
        language = spoken_language(request, person.language) if person else asked_language(request)
        return page("account_erased.html", language)

    # Another address, confirmed at each end -----------------------------------------------------------------

    def end_page(request: Request, token: str, change: moving.Change | None, state: str) -> Response:
        """``ask``, ``waiting`` for the other end, ``done`` or ``gone``."""
        language = spoken_language(request, change.language) if change else asked_language(request)
        status = 410 if state == "gone" else 200
        return page(
            "address.html", language, status, change=change, state=state, token=token, lang=kept_language(request)
        )

    def number_in(token: str) -> int | None:
        try:
            return read_expiring(site.keys, "address", token, site.clock())
        except LinkError as error:
            if error.kind == "expired":
                return None
            raise

    @shown(router, "/address/{token}")
    def one_end(request: Request, token: str) -> Response:
        number = number_in(token)
        if number is None:
            return end_page(request, token, None, "gone")
        with reading(site.engine) as connection:
            change = moving.find(connection, number, site.clock())
        state: str = "gone" if change is None else change.state
        if change is not None and state == "waiting" and not change.is_confirmed:
            state = "ask"
        return end_page(request, token, change, state)

    @done(router, "/address/{token}")
    def confirm_end(request: Request, token: str) -> Response:
        number = number_in(token)
        if number is None:
            return end_page(request, token, None, "gone")
        with site.engine.begin() as connection:
            change = moving.find(connection, number, site.clock())
            person = person_of(connection, change.subscriber_id) if change else None
            proof = proof_of(site, request, person, "address.html", "address_button") if person else None
            outcome, _ = moving.confirm(connection, site.keys, number, site.clock(), proof)
        return end_page(request, token, change, outcome)

    return router
