"""What can be said of a request before anything of it is believed: whether it is one that this site may get. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import Scope

from newsletter.hosts import is_ours

Fault = Literal[
    "broken",
    "broken_off",
    "elsewhere",
    "headers",
    "host",
    "long",
    "missing",
    "slow",
    "too_large",
    "type",
    "unreadable",
]
"""Why a request is refused; ``refusing.STATUS`` has the status of each."""
TARGET_LIMIT = 16 * 1024
"""Bytes of path and query. A link that picks each country has 4 KB."""
HEADERS_LIMIT = 32 * 1024
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by machines, which call the site by the address that they know: RFC 1918, a container's name."""
ONE_CLICK = re.compile(r"/u/[^/]*")
"""RFC 8058: whatever a mail program sends along, the token alone decides."""
OWN_FORMS = re.compile(r"/account|/(a|address|c|p)/.*")
"""Only our own pages have these forms; others may have a form to subscribe, and mail programs one to leave."""
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
CHARSETS = ("utf-8", "us-ascii")
UNKNOWN = "application/octet-stream"
KIND_LIMIT = 256
"""Characters of a media type with its parameters, which the standard library reads in the square of its length."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Rules:
    """What the site is called (none: anything), and where its interface for machines begins, which takes no forms."""

    hosts: Collection[str] = ()
    machines: str = "/api/v1"


def vet(scope: Scope, rules: Rules) -> Fault | None:
    """What is wrong with a request without its body, if anything is."""
    path, query, headers = scope["path"], scope.get("query_string", b""), Headers(scope=scope)
    if len(headers.getlist("host")) > 1 or not (path in PROBES or is_ours(headers.get("host", ""), rules.hosts)):
        return "host"
    if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_LIMIT:
        return "headers"
    if len(scope.get("raw_path") or path.encode("utf-8", "replace")) + len(query) > TARGET_LIMIT:
        return "long"
    if CONTROL.search(path):
        return "missing"
    # The interface for machines names the parameter itself.
    if not path.startswith(rules.machines) and not is_text(query):
        return "unreadable"
    if not _sends_form(scope, rules):
        return None
    # A form with a token in its address needs no more. This is for the one that anybody may send for any address:
    # no other site is to make its visitors, each from a network of their own, have us write to somebody.
    if headers.get("sec-fetch-site") == "cross-site" and OWN_FORMS.fullmatch(path):
        return "elsewhere"
    return None if _is_form(headers) else "type"


def vet_body(scope: Scope, body: bytes, rules: Rules) -> Fault | None:
    """What is wrong with the body of a form, if anything is."""
    if not body or not _sends_form(scope, rules):
        return None
    kind, _ = _content_type(Headers(scope=scope).get("content-type", ""))
    if not kind:
        return "type"
    return None if kind != FORMS[0] or is_text(body, controls=True) else "unreadable"


def is_text(escaped: bytes, controls: bool = False) -> bool:
    """Whether what is percent-encoded (RFC 3986, 2.1) is UTF-8 without control characters; ``controls``: or NUL."""
    if BROKEN_ESCAPE.search(escaped):
        return False
    try:
        text = unquote_to_bytes(escaped).decode()
    except UnicodeDecodeError:
        return False
    return "\0" not in text if controls else not CONTROL.search(text)


def _sends_form(scope: Scope, rules: Rules) -> bool:
    path = scope["path"]
    return scope["method"] == "POST" and not path.startswith(rules.machines) and not ONE_CLICK.fullmatch(path)


def _is_form(headers: Headers) -> bool:
    kind, charset = _content_type(headers.get("content-type", ""))
    return not kind or (kind in FORMS and charset in CHARSETS)


@lru_cache(maxsize=64)
def _content_type(said: str) -> tuple[str, str]:
    """Media type, empty if none is named, and character set, both in small letters."""
    if not said.strip():
        return "", CHARSETS[0]
    if len(said) > KIND_LIMIT:
        return UNKNOWN, ""
    message = Message()
    message["content-type"] = CONTROL.sub(" ", said)
    try:
        parameters = message.get_params([])
    except Exception:  # noqa: BLE001 - the standard library raises this and that for what it cannot read
        return UNKNOWN, ""
    found = [value for name, value in parameters if name.lower() == "charset"] or list(CHARSETS[:1])
    # Of several the parser of the form might take another.
    charset = found[0] if len(found) == 1 and isinstance(found[0], str) else ""
    return message.get_content_type(), charset.lower()
