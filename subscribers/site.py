"""What every route of the site stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial, wraps
from inspect import iscoroutinefunction
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from sqlalchemy import Engine

from newsletter.delivery.composing.sampling import Samples
from newsletter.delivery.composing.shelves import Pages
from newsletter.languages import LANGUAGES
from newsletter.mail.overriding import looks_of
from newsletter.settings import Settings
from subscribers.limiting import Limiter
from subscribers.offering import Offers
from subscribers.rendering import preferred
from subscribers.timing import aside

Clock = Callable[[], datetime]
Handler = Callable[..., Any]
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
SOURCE_LINK = "link in a mail"
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""When every link that expires still worked."""


def utc_now() -> datetime:
    """The moment, aware."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Site:
    """The database, the configuration and the clock of a running site."""

    engine: Engine
    settings: Settings
    clock: Clock = utc_now

    @cached_property
    def samples(self) -> Samples:
        """What readers would have received, kept ready."""
        return Samples(Pages(self.settings.site, self.key), looks_of(self.settings))

    @cached_property
    def offers(self) -> Offers:
        """What lists offer, kept for a moment."""
        return Offers(self.engine)

    @cached_property
    def limiter(self) -> Limiter:
        """How often somebody may have us send mail."""
        return Limiter(self.settings.key, self.settings.redis_url)

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
    """Something done by a button, in a thread of the forms' own."""

    def register(handler: Handler) -> Handler:
        @wraps(handler)
        async def answered(*given: Any, **named: Any) -> Any:
            if iscoroutinefunction(handler):
                return await handler(*given, **named)
            return await aside(partial(handler, *given, **named))

        return router.post(path, response_model=None)(answered)

    return register


def asked_language(request: Request, sent: object = None) -> str:
    """The language that a link or form names (``lang``), else the one that the browser asks for, among ours."""
    named = sent if isinstance(sent, str) else request.query_params.get("lang", "")
    return named if named in LANGUAGES else preferred(request.headers.get("accept-language", ""))


def spoken_language(request: Request, own: str) -> str:
    """The language of a page about one reader: what the link names (``lang``), else the reader's own."""
    named = request.query_params.get("lang", "")
    return named if named in LANGUAGES else own


def kept_language(request: Request) -> str:
    """What the addresses of a page's buttons end with, so that its answer speaks the language that its link named."""
    named = request.query_params.get("lang", "")
    return f"?lang={named}" if named in LANGUAGES else ""
