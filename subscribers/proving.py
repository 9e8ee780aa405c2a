"""What a page leaves in the consent history: where it came from, and exactly what its button said."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from fastapi import Request

from newsletter.audience.consents import Proof, consent_hash, network_of
from newsletter.translations import FOLDER
from subscribers.rendering import HERE, say, speak
from subscribers.site import Site, spoken_language


@cache
def version_of(page: str) -> str:
    """The name of a page and a short hash of its template and of all words: another version, another hash."""
    files = [HERE / "pages" / page, *sorted(FOLDER.rglob("site.po*"))]
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files))
    return f"{page.removesuffix('.html')} {digest.hexdigest()[:12]}"


def proof_of(site: Site, request: Request, person: Any, page: str, key: str, **placeholders: object) -> Proof:
    """The proof of what somebody did on a page by the button, or under the sentence, of this key.

    ``person``: a row with the subscriber's ``email_key`` and ``language``.
    """
    return Proof(
        address_hash=consent_hash(site.keys, person.email_key),
        network=network_of(request.client.host if request.client else None),
        page=version_of(page),
        wording=say(speak(spoken_language(request, person.language)), key, **placeholders),
    )
