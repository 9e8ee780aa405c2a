"""One row of an imported file: understanding it, and folding a later row of the same address into it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from newsletter.audience.addresses import Address, parse_address
from newsletter.audience.consents import check_source
from newsletter.audience.merging import ImportContext, Row
from newsletter.audience.picks import language_code
from newsletter.audience.schedule import (
    parse_frequency,
    parse_hour,
    parse_language,
    parse_timezone,
    parse_weekday,
)
from newsletter.audience.subscribers import check_name
from newsletter.errors import InputError
from newsletter.languages import LANGUAGES
from newsletter.resembling import fold
from newsletter.tabular import BadRecord, Record

# What other systems write in a column of states: who reads, who left, and who just is not mailed.
STATES: Mapping[str, tuple[str, ...]] = {
    "active": ("active", "subscribed", "confirmed"),
    "unsubscribed": ("unsubscribed",),
    "waiting": ("pending", "paused", "unconfirmed", "cleaned", "bounced"),
}
LONGEST_NAME = 4
"""Parts between commas that one name may take up."""
EARLIEST_CONSENT = datetime(1970, 1, 1, tzinfo=UTC)


def read_row(record: Record, headers: Mapping[str, str], context: ImportContext) -> Row | BadRecord:
    """Understand one record, or say in which column it cannot be understood."""
    list_row = context.list_row
    values: dict[str, Any] = {}
    readers: dict[str, Callable[[str], Any]] = {
        "email": parse_address,
        "name": check_name,
        "language": lambda text: _language(text, list_row.languages),
        "timezone": parse_timezone,
        "countries": lambda text: _several(text, context.find_place),
        "regions": lambda text: _several(text, context.find_place),
        "themes": lambda text: _several(text, context.find_theme),
        "item_languages": lambda text: _several(text, language_code),
        "frequency": parse_frequency,
        "hour": parse_hour,
        "weekday": parse_weekday,
        "state": _state,
        "consent_date": lambda text: parse_day(text, context.now),
        # A cell may have lines.
        "consent_source": lambda text: check_source(" ".join(text.split())),
    }
    for name, read in readers.items():
        text = record.cells.get(name, "")
        if not text and name != "email":
            values[name] = None
            continue
        try:
            values[name] = read(text)
        except InputError as error:
            return BadRecord(record.line, headers.get(name, name), str(error))
    places = (values.pop("countries"), values.pop("regions"))
    return Row(
        address=values.pop("email"),
        places=None if places == (None, None) else (places[0] or ()) + (places[1] or ()),
        consent_at=values.pop("consent_date"),
        source=values.pop("consent_source"),
        **values,
    )


def _language(text: str, languages: Sequence[str]) -> str:
    """A language of mails: notices come in their reader's, and digests in the list's first if it has no such.

    Raises:
        InputError: it is none; says the ``languages`` of the list.
    """
    try:
        return parse_language(text, LANGUAGES)
    except InputError:
        return parse_language(text, languages)


def _several(text: str, find: Callable[[str], str]) -> tuple[str, ...]:
    """The values in a cell, parted by ``;``, ``,`` or ``|``; a comma may also be part of a name.

    Raises:
        InputError: of the first that is none.
    """
    found: list[str] = []
    for stretch in re.split(r"[;|]", text):
        parts, at = [part.strip() for part in stretch.split(",")], 0
        while at < len(parts):
            # As a rule a comma parts two values; to look up what is none is a thousand times slower.
            length, code = _leading(parts[at : at + LONGEST_NAME], find)
            found += [code] if code else []
            at += length
    return tuple(found)


def _leading(parts: list[str], find: Callable[[str], str]) -> tuple[int, str]:
    """How many of ``parts`` the first value takes up, and its code: ``Congo, Kinshasa`` is one value of two parts."""
    if not parts[0]:
        return 1, ""
    try:
        code, refused = find(parts[0]), None
    except InputError as error:
        code, refused = "", error
    # What follows may belong to this name only if it is none itself.
    if code and (len(parts) == 1 or not parts[1] or _is_known(parts[1], find)):
        return 1, code
    for length in range(len(parts), 1, -1):
        try:
            return length, find(", ".join(parts[:length]))
        except InputError:
            continue
    if refused:
        raise refused
    return 1, code


def _is_known(text: str, find: Callable[[str], str]) -> bool:
    try:
        find(text)
    except InputError:
        return False
    return True


def _state(text: str) -> str:
    word = fold(text)
    for state, words in STATES.items():
        if word in words:
            return state
    known = [word for words in STATES.values() for word in words]
    raise InputError(f"The state {text!r} is not known.", f"Use one of {', '.join(known)}.")


def parse_day(text: str, now: datetime) -> datetime:
    """A day or moment of consent in UTC, which it is taken to be in if it names no zone.

    Raises:
        InputError: it cannot be read in one way only, or nobody can have consented then.
    """
    moment = _moment(text)
    try:
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:  # next to the years 1 and 9999
        raise InputError(f"There is no day {text!r}.", "Write it as 2026-11-24.") from None
    if moment < EARLIEST_CONSENT:
        raise InputError(f"The date {text!r} lies before 1970.", "Give the day on which consent was given.")
    # A day, because the clock that wrote it may be in another zone.
    if moment > now + timedelta(days=1):
        raise InputError(f"The date {text!r} is in the future.", "Give the day on which consent was given.")
    return moment


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        parts = re.fullmatch(r"(\d{1,2})[/.](\d{1,2})[/.](\d{4})", text)
        day, month = (int(parts[1]), int(parts[2])) if parts else (0, 0)
        # 3/4/2026 is March to some and April to others.
        if not parts or (day <= 12 and day != month):
            raise InputError(f"The date {text!r} is not clear.", "Write it as 2026-11-24.") from None
        try:
            return datetime.combine(date(int(parts[3]), month, day), time())
        except ValueError:
            raise InputError(f"There is no day {text!r}.", "Write it as 2026-11-24.") from None


def folded(earlier: Row, later: Row) -> Row:
    """Two rows of one address as one: what the later says holds, its empty cells leave the earlier's alone."""
    said = {f.name: getattr(later, f.name) for f in fields(Row) if getattr(later, f.name) is not None}
    if "consent_at" in said or "source" in said:
        # Date and place of consent are one piece of evidence: they are not mixed.
        said |= {"consent_at": later.consent_at, "source": later.source}
    return replace(earlier, **said)


def dumped(row: Row) -> str:
    """A row as text: equal rows are equal texts."""
    address, *values = vars(row).values()
    return json.dumps(
        [address.email, address.key, *values], ensure_ascii=False, separators=(",", ":"), default=datetime.isoformat
    )


def loaded(text: str) -> Row:
    """The row that ``dumped`` made a text of."""
    email, key, *rest = json.loads(text)
    values: list[Any] = [tuple(value) if isinstance(value, list) else value for value in rest]
    row = Row(Address(email, key), *values)
    return replace(row, consent_at=datetime.fromisoformat(str(row.consent_at))) if row.consent_at else row
