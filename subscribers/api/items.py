"""Items for machines: publish and revise, list, show, withdraw."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Connection

from newsletter.catalogue.geography import find_place
from newsletter.catalogue.importing import Defaults, parse_moment
from newsletter.catalogue.items import Draft, find_by_key, find_item, save_items, withdraw
from newsletter.catalogue.themes import all_themes, descendants, find_theme
from newsletter.database import reading
from newsletter.errors import InputError, StateError, UnknownName
from newsletter.machines.answers import Answer, body_hash, earlier_answer, keep_answer
from newsletter.machines.tokens import Machine
from subscribers.api.access import list_of, needs, open_list_of
from subscribers.api.drafting import Unusable, read_draft
from subscribers.api.listing import Filter, page_of_items
from subscribers.api.problems import Fault, Refused
from subscribers.api.pruning import Pruner
from subscribers.api.schemas import (
    Batch,
    Item,
    ItemPage,
    ManyResult,
    ManyResults,
    NewItem,
    OneResult,
    Outcome,
    Place,
    Published,
)
from subscribers.api.schemas import Fault as ShownFault
from subscribers.api.schemas import Slug as SlugText
from subscribers.site import Number, Site

ListSlug = Annotated[
    SlugText | None, Query(alias="list", description="The list. Not needed if the token or the house has only one.")
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern="^[!-~]+$",
        description="Sent again within 24 hours with the same body, nothing is done and the same answer given.",
    ),
]
Several = Annotated[list[Place], Query(max_length=50)]
Mark = Annotated[str | None, Query(pattern="^[0-9]{1,18}$", description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=100)]
Moment = Annotated[str | None, Query(max_length=64, description="Added, revised or withdrawn then or later: ISO 8601.")]


def routes(site: Site) -> APIRouter:
    """``/items`` and what is below it."""
    router = APIRouter(tags=["items"])
    pruner = Pruner(site.engine)

    @router.post(
        "/items",
        status_code=200,
        response_model=OneResult | ManyResults,
        responses={201: {"model": OneResult, "description": "Added"}},
        operation_id="publishItems",
        summary="Publish or revise one item, or up to 100",
    )
    async def publish(
        request: Request,
        body: Published,
        slug: ListSlug = None,
        key: Key = None,
        machine: Machine = needs(site, "items:write"),
    ) -> Response:
        """Needs the scope `items:write`. An item is known by its `external_id`, else its `url`, else title and date.

        One item: 201 if it is new, 200 if it was there. Several: 200, and `results` says what became of each.
        """
        raw = await request.body()
        return await run_in_threadpool(_publish, site, pruner, machine, slug, body, key, raw)

    @router.get(
        "/items", response_model=ItemPage, operation_id="listItems", summary="Items of a list, latest first, in pages"
    )
    def list_items(
        slug: ListSlug = None,
        country: Several = [],  # noqa: B006 - FastAPI copies it
        theme: Several = [],  # noqa: B006
        since: Moment = None,
        withdrawn: Annotated[bool, Query(description="Withdrawn ones too.")] = False,
        after: Mark = None,
        limit: Limit = 50,
        machine: Machine = needs(site, "items:read"),
    ) -> Response:
        """Needs the scope `items:read`. `country` takes countries and regions, as codes or names; an item of a region
        concerns each country in it. `theme` takes what is below it, too. Several values of one kind mean any of them.
        Pages stay as they are while items are added.
        """
        with reading(site.engine) as connection:
            list_row = list_of(connection, machine, slug)
            wanted = _filter(connection, list_row.id, country, theme, since, withdrawn)
            rows, following = page_of_items(connection, list_row.id, wanted, int(after) if after else None, limit)
        shown = [_item(row, list_row.slug) for row in rows]
        return _json(ItemPage(items=shown, next=None if following is None else str(following)).model_dump_json())

    @router.get("/items/{item_id}", response_model=Item, operation_id="showItem", summary="One item")
    def show(item_id: Number, machine: Machine = needs(site, "items:read")) -> Response:
        """Needs the scope `items:read`. A withdrawn item is still shown here, with `withdrawn_at`."""
        with reading(site.engine) as connection:
            return _json(_shown(connection, machine, item_id).model_dump_json())

    @router.post(
        "/items/{item_id}/withdraw", response_model=Item, operation_id="withdrawItem", summary="Withdraw an item"
    )
    def take_out(item_id: Number, machine: Machine = needs(site, "items:write")) -> Response:
        """Needs the scope `items:write`. The item leaves every digest that is not yet sent, and its page. It is not
        deleted, and does not come back when it is sent again. Withdrawing it twice does no harm.
        """
        with site.engine.begin() as connection:
            _shown(connection, machine, item_id)
            withdraw(connection, item_id, site.clock())
            return _json(_shown(connection, machine, item_id).model_dump_json())

    return router


def _json(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, media_type="application/json")


def _item(row: Any, slug: str) -> Item:
    return Item.model_validate({**row._mapping, "list": slug})


def _shown(connection: Connection, machine: Machine, item_id: int) -> Item:
    try:
        row = find_item(connection, item_id)
    except UnknownName:
        row = None
    if row is None or machine.list_id not in (None, row.list_id):
        raise Refused(404, f"There is no item {item_id} for this token.")
    return _item(row, row.slug)


def _filter(
    connection: Connection, list_id: int, country: list[str], theme: list[str], since: str | None, withdrawn: bool
) -> Filter:
    vocabulary = all_themes(connection, list_id)
    faults: list[Fault] = []

    def read(name: str, values: list[str], one: Any) -> list[Any]:
        found = []
        for value in values:
            try:
                found.append(one(value))
            except InputError as error:
                faults.append({"detail": str(error), "parameter": name})
                break
        return found

    places = read("country", country, find_place)
    themes = read("theme", theme, lambda text: descendants(vocabulary, find_theme(vocabulary, text)))
    moments = read("since", [since] if since else [], parse_moment)
    if faults:
        raise Refused(422, "The items cannot be chosen. See `errors`.", faults)
    return Filter(frozenset(places), frozenset().union(*themes), moments[0] if moments else None, withdrawn)


def _publish(
    site: Site,
    pruner: Pruner,
    machine: Machine,
    slug: str | None,
    body: NewItem | Batch,
    key: str | None,
    raw: bytes,
) -> Response:
    """Publish in one transaction, with the answer kept beside what was done if there is a key."""
    now = site.clock()
    if key:
        pruner.prune(now)
    with site.engine.begin() as connection:
        list_row = open_list_of(connection, machine, slug)
        if key:
            try:
                kept = earlier_answer(connection, machine.id, key, body_hash(list_row.slug.encode(), raw), now)
            except StateError as error:
                fault = {"detail": str(error), "header": "Idempotency-Key"}
                raise Refused(422, str(error), [fault]) from None
            if kept is not None:
                return _json(kept.text, kept.status, {"Idempotency-Replayed": "true"})
        answer = _saved(connection, site, list_row, body)
        if key:
            keep_answer(connection, machine.id, key, answer)
    return _json(answer.text, answer.status)


def _saved(connection: Connection, site: Site, list_row: Any, body: NewItem | Batch) -> Answer:
    defaults = Defaults(list_row.languages[0], all_themes(connection, list_row.id))
    if isinstance(body, NewItem):
        try:
            result = _save(connection, site, list_row, read_draft(body, defaults), "/image", set())
        except Unusable as error:
            raise Refused(422, "The item cannot be published. See `errors`.", error.faults) from None
        return Answer(201 if result.outcome == "added" else 200, result.model_dump_json())
    results = []
    seen: set[str] = set()
    for number, sent in enumerate(body.items):
        try:
            draft = read_draft(sent, defaults, ("items", number))
            one = _save(connection, site, list_row, draft, f"/items/{number}/image", seen)
            results.append(ManyResult(outcome=one.outcome, id=one.item.id, left_out=one.left_out))
        except Unusable as error:
            faults = [ShownFault(**fault) for fault in error.faults]
            results.append(ManyResult(outcome="refused", errors=faults))
        except StateError as error:
            fault = ShownFault(detail=str(error), pointer=f"/items/{number}/title")
            results.append(ManyResult(outcome="refused", errors=[fault]))
    told = [result.outcome for result in results]
    counts = {name: told.count(name) for name in ("added", "revised", "unchanged", "refused")}
    return Answer(200, ManyResults(**counts, results=results).model_dump_json(exclude_none=True))


def _save(connection: Connection, site: Site, list_row: Any, draft: Draft, image: str, seen: set[str]) -> OneResult:
    """Save one; ``image``: where its picture stands in the body; ``seen``: of ``save_items``."""
    saved = save_items(connection, list_row.id, [draft], site.clock(), seen)
    if saved.ambiguous:
        before = "comes twice under one date" if draft.published_at else "was published today"
        raise StateError(
            f"{draft.title[:60]!r} {before} with another text.",
            "Is it a correction, or another item? Give its own external_id, url or published_at.",
        )
    row = find_by_key(connection, list_row.id, saved.keys.pop())
    outcome: Outcome = "added" if saved.added else "revised" if saved.revised else "unchanged"
    left_out = [ShownFault(detail=f"Its image is left out: {draft.left_out}", pointer=image)] if draft.left_out else []
    return OneResult(outcome=outcome, item=_item(row, list_row.slug), left_out=left_out)
