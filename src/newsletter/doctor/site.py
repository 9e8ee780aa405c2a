"""Whether readers, and their providers by one click, reach the page to leave by."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import Engine, func, select

from newsletter.audience.links import make_token
from newsletter.audience.subscribers import LIVE
from newsletter.database import reading
from newsletter.delivery.relays import LOCAL
from newsletter.doctor.findings import Finding, Level, clock_said
from newsletter.doctor.resolving import Resolver
from newsletter.doctor.sending import addresses_of, is_public
from newsletter.settings import Settings
from newsletter.tables import subscriptions

ANSWER_SECONDS = 8
MOST_BYTES = 1_000_000
FORM = re.compile(rb"<form[^>]+method=[\"']?post", re.IGNORECASE)
LOST = "Readers cannot leave by one click: they press “spam” instead, and providers refuse what comes next."


class _Answer(NamedTuple):
    status: int
    location: str
    date: str
    body: bytes


def one_click(settings: Settings, engine: Engine, resolver: Resolver) -> Iterator[Finding]:
    """GET the page of one reader's unsubscribe link, which changes nothing; what a mail offers is a POST to it."""
    if not settings.base_url:
        yield Finding(
            "one-click", Level.WARNING, "", "There is no address of the site: links open in the built-in inbox only.",
            LOST, "NEWSLETTER_BASE_URL=https://news.example.org",
        )  # fmt: skip
        return
    place = urlsplit(settings.site)
    host = place.hostname or ""
    local = host in LOCAL
    address = "127.0.0.1" if host == "localhost" else host
    if not local:
        addresses = addresses_of(host, resolver)
        hidden = [one for one in addresses if not is_public(one)]
        if not addresses or hidden:
            what = (
                f"{host} leads to {hidden[0]}, which nobody outside reaches." if hidden else f"{host} has no address."
            )
            mend = f"{host}. IN A (the public address of your proxy)"
            yield Finding("one-click", Level.ERROR, settings.site, what, LOST, mend)
            return
        address = addresses[0]
    with reading(engine) as connection:
        # The page of who has left has no form to leave by.
        number = connection.scalar(select(func.min(subscriptions.c.id)).where(subscriptions.c.state.in_(LIVE)))
    path = f"{place.path}/u/{make_token(settings.key, 'unsubscribe', number or 0)}"
    try:
        answer = _get(address, place.port or (443 if place.scheme == "https" else 80), place, path)
    except ssl.SSLCertVerificationError as error:
        mend = f"Give the proxy a certificate for {host}."
        found = f"Its certificate is not trusted: {error.verify_message}."
        yield Finding("one-click", Level.ERROR, settings.site, found, LOST, mend)
        return
    except (OSError, http.client.HTTPException) as error:
        mend = "Start `newsletter site`, and let your proxy hand requests on to it."
        found = f"It does not answer at {address}: {error}."
        yield Finding("one-click", Level.ERROR, settings.site, found, LOST, mend)
        return
    yield _judged(settings.site, answer, local, number is not None)
    if answer.date:
        yield from clock_said("the site", answer.date)


def _judged(site: str, answer: _Answer, local: bool, with_reader: bool) -> Finding:
    if 300 <= answer.status < 400:
        return Finding(
            "one-click", Level.ERROR, site, f"It leads elsewhere: {answer.location or answer.status}.",
            "One click does not follow (RFC 8058, 3.2). " + LOST,
            f"NEWSLETTER_BASE_URL={answer.location.partition('/u/')[0] or 'where it leads'}",
        )  # fmt: skip
    if not with_reader and answer.status < 500:
        return Finding("one-click", Level.OK, site, "It answers; with a first reader, their page can be looked at.")
    if answer.status != 200 or not FORM.search(answer.body):
        return Finding(
            "one-click", Level.ERROR, site, f"The page to leave by answers {answer.status} without a form to send.",
            LOST, "Let the proxy hand all paths on to `newsletter site`; it has to have the same secret key.",
        )  # fmt: skip
    if local:
        return Finding(
            "one-click", Level.WARNING, site, "It answers, to this machine only.", LOST,
            "NEWSLETTER_BASE_URL=https://news.example.org",
        )  # fmt: skip
    return Finding("one-click", Level.OK, site, "The page to leave by answers, and takes a POST.")


def _get(address: str, port: int, place: SplitResult, path: str) -> _Answer:
    # To the address that was looked at, and not to what the name means a moment later.
    sock = socket.create_connection((address, port), ANSWER_SECONDS)
    connection = http.client.HTTPConnection(address, port, timeout=ANSWER_SECONDS)
    connection.sock = sock
    try:
        if place.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(sock, server_hostname=place.hostname)
        connection.request("GET", path, headers={"Host": place.netloc, "User-Agent": "newsletter-doctor"})
        answer = connection.getresponse()
        body = answer.read(MOST_BYTES)
        return _Answer(answer.status, answer.headers.get("Location", ""), answer.headers.get("Date", ""), body)
    finally:
        connection.close()
