"""What a machine is told when it is refused: RFC 9457 problem details, in sentences, with each field that is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from newsletter.errors import InputError, StateError
from subscribers.limiting import TooMany
from subscribers.watching import note_failure

MEDIA_TYPE = "application/problem+json"
SENTENCES = {
    "missing": "It is missing.",
    "extra_forbidden": "There is no such field.",
    "string_type": "It is not text.",
    "string_unicode": "It holds half a character (a lone surrogate).",
    "string_too_short": "It is empty or too short: at least {min_length} characters.",
    "string_too_long": "It is too long: at most {max_length} characters.",
    "too_short": "It has too few parts: at least {min_length}.",
    "too_long": "It has too many parts: at most {max_length}.",
    "list_type": "It is not a list.",
    "model_attributes_type": "It is not a JSON object.",
    "model_type": "It is not a JSON object.",
    "bool_parsing": "It is neither true nor false.",
    "int_parsing": "It is not a whole number.",
    "int_parsing_size": "It is not a whole number of that size.",
    "int_type": "It is not a whole number.",
    "int_from_float": "It is not a whole number.",
    "greater_than_equal": "It is too small: at least {ge}.",
    "less_than_equal": "It is too large: at most {le}.",
    "literal_error": "It is none of {expected}.",
    "string_pattern_mismatch": "It does not fit the pattern {pattern}.",
}
"""What pydantic finds, in our words; it names what it looked for in braces."""
WHERE = {"query": "parameter", "path": "parameter", "header": "header"}
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""As RFC 9110 has them; older Pythons have older words."""
TAGS = ("item", "batch")
"""Marks of a body that may be one of several kinds; they are no part of where a field is."""
Fault = Mapping[str, str]
"""One thing that is wrong: ``detail``, and where: ``pointer`` (RFC 6901, in the body), ``parameter`` or ``header``."""


class Refused(Exception):
    """A request is answered with a problem: status, a sentence, what is wrong field by field, and headers."""

    def __init__(
        self, status: int, detail: str, faults: Sequence[Fault] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = faults
        self.headers = headers or {}


def problem(error: Refused) -> Response:
    """The answer that says so."""
    told = {
        "type": "about:blank",
        "title": TITLES.get(error.status) or HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
    }
    if error.faults:
        told["errors"] = list(error.faults)
    # In ASCII: what was sent may hold what is no UTF-8.
    return Response(json.dumps(told), error.status, dict(error.headers), media_type=MEDIA_TYPE)


def too_large(limit: int) -> Response:
    """The answer to a body beyond ``limit`` bytes."""
    return problem(Refused(413, f"The body is larger than {limit:,} bytes. Send less at once."))


def too_many(error: TooMany) -> Refused:
    """What is said to who asks too often."""
    return Refused(
        429, "That was too often. Retry-After says when to go on.", headers={"Retry-After": error.retry_after}
    )


def pointer(*parts: str | int) -> str:
    """Where something is in the body, as a JSON pointer (RFC 6901): ``/items/3/themes``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _fault(error: Mapping[str, Any]) -> Fault:
    where, *path = error["loc"]
    try:
        detail = SENTENCES[error["type"]].format(**error.get("ctx", {}))
    except KeyError:
        detail = str(error["msg"]).rstrip(".") + "."
    path = [part for part in path if part not in TAGS or where != "body"]
    if where in WHERE:
        return {"detail": detail, WHERE[where]: str(path[0]) if path else ""}
    return {"detail": detail, "pointer": pointer(*path)}


def _misread(error: RequestValidationError) -> Refused:
    errors = error.errors()
    if any(one["type"] == "json_invalid" for one in errors):
        return Refused(400, "The body is not JSON.")
    if any(one["loc"][0] == "body" and isinstance(one.get("input"), bytes) for one in errors):
        return Refused(422, "The body was not read: send a JSON object, with Content-Type: application/json.")
    return Refused(422, "The request does not fit. See `errors`.", [_fault(one) for one in errors[:100]])


def answer_problems(app: FastAPI) -> None:
    """Have whatever goes wrong in ``app`` answered as a problem."""

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> Response:
        return problem(error)

    @app.exception_handler(RequestValidationError)
    def misread(request: Request, error: RequestValidationError) -> Response:
        return problem(_misread(error))

    @app.exception_handler(InputError)
    def unusable(request: Request, error: InputError) -> Response:
        return problem(Refused(422, str(error)))

    @app.exception_handler(StateError)
    def conflict(request: Request, error: StateError) -> Response:
        return problem(Refused(409, str(error)))

    @app.exception_handler(TooMany)
    def many(request: Request, error: TooMany) -> Response:
        return problem(too_many(error))

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return problem(Refused(404, "There is nothing at this address. See /api/v1/openapi.json."))
        if error.status_code == 405:
            methods = ", ".join(_methods(app, request))
            return problem(Refused(405, f"This address takes {methods}.", headers={"Allow": methods}))
        detail = "The body is not JSON." if error.status_code == 400 else "The request cannot be read."
        return problem(Refused(error.status_code, detail, headers=error.headers))

    @app.exception_handler(DBAPIError)
    def busy(request: Request, error: DBAPIError) -> Response:
        note_failure(request, error)
        return problem(Refused(503, "The database does not answer. Try again later.", headers={"Retry-After": "120"}))


def _methods(app: FastAPI, request: Request) -> list[str]:
    """What an address can be asked with (RFC 9110, 15.5.6: all of it, though each method is a route of its own)."""
    found: set[str] = set()
    for route in app.routes:
        for method in ("GET", "POST", "HEAD"):
            if route.matches({**request.scope, "method": method})[0] is Match.FULL:
                found.add(method)
    return sorted(found)
