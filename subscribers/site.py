"""What every route of the site stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy import Engine

from newsletter.settings import Settings
from subscribers.rendering import preferred

Clock = Callable[[], datetime]
Handler = Callable[..., Response]
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
SOURCE_LINK = "link in a mail"


def utc_now() -> datetime:
    """The moment, aware."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Site:
    """The database, the configuration and the clock of a running site."""

    engine: Engine
    settings: Settings
    clock: Clock = utc_now

    @property
    def key(self) -> str:
        """What links are signed with."""
        return self.settings.key

    @property
    def keys(self) -> tuple[str, ...]:
        """What links are read with."""
        return self.settings.keys


def shown(router: APIRouter, path: str) -> Callable[[Handler], Handler]:
    """A page that only shows: GET and HEAD, which change nothing."""
    return router.api_route(path, methods=["GET", "HEAD"], response_model=None)


def done(router: APIRouter, path: str) -> Callable[[Handler], Handler]:
    """Something done by a button."""
    return router.post(path, response_model=None)


def asked_language(request: Request) -> str:
    """The language that the browser asks for, among ours."""
    return preferred(request.headers.get("accept-language", ""))
