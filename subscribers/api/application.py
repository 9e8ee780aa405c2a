"""The interface for machines, put together, with its description (OpenAPI 3.1)."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Mount

from subscribers.api import items, lists
from subscribers.api.problems import MEDIA_TYPE, answer_problems
from subscribers.api.schemas import Problem
from subscribers.site import Site

PREFIX = "/api/v1"
VERSION = "1"
ITEMS_LIMIT = 2_000_000
"""Bytes of a request that brings items."""
LIMIT = 64 * 1024
"""Bytes of any other."""
LIMITS = {
    PREFIX + "/items": ITEMS_LIMIT,
    PREFIX: LIMIT,
}
"""What an address begins with → bytes that a body may have."""
DESCRIPTION = (
    "Publish items, read lists, and sign readers up. A token stands in the Authorization header. What goes wrong is "
    "answered as a problem (RFC 9457): a sentence, and for each field that is wrong another."
)
PROBLEMS = {
    "400": "What was sent cannot be read: a body that is no JSON, another host, a broken address",
    "401": "There is no token, or it is not known",
    "403": "The token has not this scope",
    "404": "There is no such thing for this token",
    "409": "Not in the present state: an archived list, another text under the same title",
    "408": "The body took too long to come",
    "413": "The body is too large",
    "414": "The address is too long",
    "415": "The body is of another type",
    "422": "Something that was sent cannot be used; `errors` says what",
    "429": "The token, or somebody for this address, asked too often",
    "431": "The headers are too large",
    "503": "The database does not answer",
}
CHALLENGED = ("401", "403")


def api(site: Site) -> FastAPI:
    """The application that answers below ``/api/v1``."""
    app = FastAPI(
        title="Newsletter",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        root_path_in_servers=False,
    )
    answer_problems(app)
    app.include_router(items.routes(site))
    app.include_router(lists.routes(site))

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    return app


def mounted(site: Site) -> Mount:
    """``/api/v1``, whatever stands below it: a Mount takes no line end, and machines are not to be given pages."""
    mount = Mount(PREFIX, api(site))
    mount.path_regex = re.compile(mount.path_regex.pattern, re.DOTALL)
    return mount


def _described(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title="Newsletter", version=VERSION, description=DESCRIPTION, routes=app.routes, servers=[{"url": PREFIX}]
    )
    parts = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        parts.pop(name, None)
    parts["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts["Problem"].pop("$defs", None)
    schema["components"]["responses"] = {status: _response(status, said) for status, said in PROBLEMS.items()}
    for path in schema["paths"].values():
        for operation in path.values():
            for status in _possible(operation):
                operation["responses"][status] = {"$ref": f"#/components/responses/{status}"}
    return schema


def _possible(operation: dict[str, Any]) -> list[str]:
    """The problems that a request may meet."""
    bodiless = "requestBody" not in operation
    never = {"408", "409", "413", "415"} if bodiless else set()
    if bodiless and not operation.get("parameters"):
        never |= {"404", "422"}
    return [status for status in PROBLEMS if status not in never]


def _response(status: str, said: str) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": said,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in CHALLENGED:
        response["headers"] = {
            "WWW-Authenticate": {"required": True, "schema": {"type": "string"}, "description": "RFC 6750, section 3"}
        }
    if status in ("429", "503"):
        response["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds"}}
    return response
