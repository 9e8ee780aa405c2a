"""From an item as a machine sends it to a draft, read as the lines of an imported file are; every wrong field named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from newsletter.catalogue.importing import Defaults, draft_of
from newsletter.catalogue.items import Draft
from newsletter.errors import InputError
from subscribers.api.problems import Fault, pointer
from subscribers.api.schemas import NewItem

SOUND = {"title": "Title", "summary": "Summary."}


class Unusable(Exception):
    """An item that cannot be published; ``faults`` by field."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("unusable")
        self.faults = faults


def read_draft(sent: NewItem, defaults: Defaults, where: tuple[str | int, ...] = ()) -> Draft:
    """The item as it can be saved.

    Raises:
        Unusable: says which fields are wrong and how; ``where`` is the item's place in the body.
    """
    record = {name: value for name, value in sent.model_dump().items() if value not in (None, [])}
    try:
        return draft_of(record, defaults)
    except InputError as error:
        raise Unusable(_faults(record, defaults, where) or [_fault(str(error), where, "summary")]) from None


def _faults(record: Mapping[str, Any], defaults: Defaults, where: tuple[str | int, ...]) -> list[Fault]:
    """Each field by itself, beside what is sound: an import names the first fault only."""
    found = []
    for name, value in record.items():
        try:
            draft_of({**SOUND, name: value}, defaults)
        except InputError as error:
            found.append(_fault(str(error), where, name))
    return found


def _fault(detail: str, where: tuple[str | int, ...], name: str) -> Fault:
    return {"detail": detail, "pointer": pointer(*where, name)}
