"""What is sent and answered, as the OpenAPI description shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from newsletter.catalogue.importing import LONGEST

MANY = 100
"""Items in one request."""
LONGEST_BODY = 100_000

Place = Annotated[str, Field(min_length=1, max_length=100)]
Places = Annotated[list[Place], Field(max_length=300)]
Slug = Annotated[str, Field(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Frequency = Literal["immediate", "daily", "weekly", "monthly"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Outcome = Literal["added", "revised", "unchanged"]
Texts = list[str]

ITEM: dict[str, Any] = {
    "external_id": "nota-1841",
    "title": "Corinto crossing opens one shared desk",
    "summary": "One queue instead of two, and one form.",
    "url": "https://rutas.example/notas/1841",
    "language": "en",
    "source": "Rutas",
    "published_at": "2026-11-24T08:00:00Z",
    "countries": ["GT", "Honduras"],
    "regions": [],
    "themes": ["protection"],
}
SIGN_UP: dict[str, Any] = {
    "email": "ana@example.org",
    "name": "Ana",
    "language": "en",
    "timezone": "America/Guatemala",
    "countries": ["GT"],
    "themes": ["protection"],
    "frequency": "weekly",
    "weekday": "mon",
    "hour": 8,
    "consent": {
        "wording": "Send me the Rutas digest. I can leave at any time.",
        "source": "form on rutas.example",
        "page": "2026-11",
        "ip": "203.0.113.7",
    },
}
PROBLEM: dict[str, Any] = {
    "type": "about:blank",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "The item cannot be published. See `errors`.",
    "errors": [{"detail": "There is no theme 'protecton'. Did you mean protection?", "pointer": "/themes"}],
}


class _Sent(BaseModel):
    # A field that is misspelt is named, not passed over; true is no number.
    model_config = ConfigDict(extra="forbid", strict=True)


class NewItem(_Sent):
    """An item to publish, or to revise if it is known: by `external_id`, else `url`, else title and date."""

    model_config = ConfigDict(json_schema_extra={"examples": [ITEM]})

    title: str = Field(min_length=1, max_length=LONGEST["title"])
    summary: str | None = Field(None, max_length=LONGEST["summary"], description="Plain text. Needed without a body.")
    body: str | None = Field(None, max_length=LONGEST_BODY, description="HTML, which is cleaned, for its own page.")
    url: str | None = Field(None, max_length=LONGEST["url"], description="Without one it gets a page of its own.")
    external_id: str | None = Field(None, max_length=LONGEST["id"], description="Your own id for it.")
    language: str | None = Field(None, max_length=35, description="ISO 639. Default: the list's first.")
    source: str | None = Field(None, max_length=LONGEST["source"], description="Who says it.")
    published_at: str | None = Field(None, max_length=64, description="ISO 8601; without zone UTC. Default: now.")
    countries: Places = Field([], description="Codes or names, in any language that mails come in.")
    regions: Places = Field([], description="UN M49 codes or names.")
    themes: Places = Field([], description="Slugs or names in the list's vocabulary.")
    image: str | None = Field(None, max_length=LONGEST["image"], description="URL of a picture, for mails.")
    image_alt: str | None = Field(None, max_length=LONGEST["image_alt"], description="What it shows, in words.")


class Batch(_Sent):
    """Several items, up to 100. One that cannot be published is refused alone; the others are kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [ITEM]}]})

    items: list[NewItem] = Field(min_length=1, max_length=MANY)


def _kind(body: Any) -> str:
    return "batch" if (isinstance(body, dict) and "items" in body) or isinstance(body, Batch) else "item"


Published = Annotated[Annotated[NewItem, Tag("item")] | Annotated[Batch, Tag("batch")], Discriminator(_kind)]


class Item(BaseModel):
    """An item as it is now."""

    id: int = Field(description="Ours; given once.")
    list: str
    position: int = Field(description="Its place in the list's publish sequence.")
    external_id: str | None
    title: str
    summary: str
    body: str
    url: str | None
    language: str
    source: str
    published_at: datetime
    countries: Texts
    regions: Texts
    themes: Texts
    image: str | None
    image_alt: str
    revision: int
    created_at: datetime
    revised_at: datetime
    withdrawn_at: datetime | None


class Fault(BaseModel):
    """One thing that is wrong, and where."""

    detail: str = Field(description="A sentence.")
    pointer: str | None = Field(None, description="Where in the body (RFC 6901).")
    parameter: str | None = None
    header: str | None = None


class OneResult(BaseModel):
    """What became of an item."""

    outcome: Outcome
    item: Item
    left_out: list[Fault] = Field([], description="What is wrong with its picture; the item is kept without it.")


class ManyResult(BaseModel):
    """What became of one item of a batch: `id` if it is kept, `errors` if refused, `left_out` if its picture is."""

    outcome: Literal["added", "revised", "unchanged", "refused"]
    id: int | None = None
    errors: list[Fault] = []
    left_out: list[Fault] = []


class ManyResults(BaseModel):
    """How many items were added, revised, unchanged and refused; `results` in the order in which they were sent."""

    added: int
    revised: int
    unchanged: int
    refused: int
    results: list[ManyResult]


class ItemPage(BaseModel):
    """Items, latest first; `next`: what `after` has to be for the following page, null on the last."""

    items: list[Item]
    next: str | None


class Theme(BaseModel):
    """A theme of a list's vocabulary, its names and descriptions by language."""

    slug: str
    names: dict[str, str]
    descriptions: dict[str, str]
    parent: str | None


class List(BaseModel):
    """A list and what new subscriptions begin with."""

    slug: str
    name: str
    description: str
    languages: list[str]
    frequency: Frequency
    hour: int
    weekday: Weekday
    timezone: str
    archived: bool


class WholeList(List):
    """A list with its vocabulary."""

    themes: list[Theme]


class Lists(BaseModel):
    """The lists that the token is for."""

    lists: list[List]


class Consent(_Sent):
    """What proves that the reader wants it. It is kept with the subscription and never altered."""

    wording: str = Field(min_length=1, max_length=5000, description="Exactly what they agreed to.")
    source: str = Field(min_length=1, max_length=200, description="Where: the form, the event, the paper.")
    page: str | None = Field(None, max_length=64, description="The version of the page that said so.")
    ip: str | None = Field(None, max_length=45, description="Theirs. Only its network is kept (/24, or /48 of IPv6).")


class SignUp(_Sent):
    """A reader who asks to be subscribed. What is not said begins as the list does; no picks mean everything."""

    model_config = ConfigDict(json_schema_extra={"examples": [SIGN_UP]})

    email: str = Field(min_length=3, max_length=320)
    name: str | None = Field(None, max_length=200)
    language: str | None = Field(None, max_length=35, description="Of mails; one of the list's.")
    timezone: str | None = Field(None, max_length=64, description="IANA: America/Guatemala.")
    countries: Places = Field([], description="Codes or names.")
    regions: Places = Field([], description="UN M49 codes or names.")
    themes: Places = Field([], description="Slugs or names in the list's vocabulary.")
    item_languages: Annotated[list[Place], Field(max_length=20)] = Field([], description="ISO 639.")
    frequency: Frequency | None = None
    weekday: Weekday | None = None
    hour: int | None = Field(None, ge=0, le=23, description="Local.")
    consent: Consent


class Accepted(BaseModel):
    """The same for every address, known or not."""

    detail: str


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"examples": [PROBLEM]})

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    errors: list[Fault] = []
