"""What is answered when a request cannot be served: a page in the reader's language, or a problem for machines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta

from babel.dates import format_timedelta
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from newsletter.errors import InputError, StateError
from subscribers.api.application import PREFIX
from subscribers.api.problems import Refused, problem, too_large
from subscribers.limiting import TooMany
from subscribers.rendering import notice, speak
from subscribers.site import asked_language
from subscribers.vetting import Fault
from subscribers.watching import note_failure

STATUS: Mapping[Fault, int] = {
    "broken": 500,
    "broken_off": 400,
    "elsewhere": 403,
    "headers": 431,
    "host": 400,
    "long": 414,
    "missing": 404,
    "slow": 408,
    "too_large": 413,
    "type": 415,
    "unreadable": 400,
}
SENTENCES: Mapping[Fault, str] = {
    "broken": "Something went wrong here. Try again later.",
    "elsewhere": "This can only be sent from a page of this site.",
    "headers": "The headers are larger than this site reads.",
    "host": "This site is not called so: use the address that it was given.",
    "long": "The address is longer than this site reads.",
    "missing": "There is nothing at this address. See /api/v1/openapi.json.",
    "slow": "The body took too long to come.",
}
"""For machines; whatever else there is cannot be read."""
WORDS: Mapping[int, str] = {404: "missing", 405: "method", 413: "too_large", 403: "elsewhere"}
"""Status → the words of its page; ``unreadable`` for any other."""


def refusal(scope: Scope, fault: Fault, limit: int) -> Response:
    """The answer to a request with this fault; ``limit``: bytes of a body."""
    status = STATUS[fault]
    if scope["path"].startswith(PREFIX):
        if fault == "too_large":
            return too_large(limit)
        return problem(Refused(status, SENTENCES.get(fault, "The request cannot be read.")))
    words = fault if fault in ("host", "broken") else WORDS.get(status, "unreadable")
    return say(Request(scope), words, status)


def say(request: Request, words: str, status: int, **values: object) -> Response:
    """A page that only says something, in the language that is asked for."""
    return notice(words, asked_language(request), status, **values)


def wait_words(seconds: float, language: str) -> str:
    """How long to wait: "in 5 minutes"."""
    waited = timedelta(minutes=max(1, math.ceil(seconds / 60)))
    return format_timedelta(waited, add_direction=True, threshold=1.5, locale=speak(language))


def answer_problems(app: FastAPI) -> None:
    """Have whatever goes wrong in ``app`` answered by a page."""

    @app.exception_handler(InputError)
    @app.exception_handler(RequestValidationError)
    def missing(request: Request, error: Exception) -> Response:
        return say(request, "missing", 404)

    @app.exception_handler(StateError)
    def conflict(request: Request, error: StateError) -> Response:
        return say(request, "state_changed", 409)

    @app.exception_handler(TooMany)
    def many(request: Request, error: TooMany) -> Response:
        response = say(request, "many", 429, wait=wait_words(error.seconds, asked_language(request)))
        response.headers["Retry-After"] = error.retry_after
        return response

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> Response:
        response = say(request, WORDS.get(error.status_code, "unreadable"), error.status_code)
        response.headers.update(error.headers or {})
        return response

    # Characters that no database keeps, numbers that none can hold.
    @app.exception_handler(DataError)
    def unreadable(request: Request, error: DataError) -> Response:
        return say(request, "unreadable", 400)

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeoutError)
    def busy(request: Request, error: DBAPIError) -> Response:
        note_failure(request, error)
        response = say(request, "busy", 503)
        response.headers["Retry-After"] = "120"
        return response
