"""Reading files of items: JSON Lines, JSON, CSV, and the plain text of a printed newsletter."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from newsletter.catalogue.cleaning import clean_html, has_controls, one_line, plain_text
from newsletter.catalogue.geography import parse_places
from newsletter.catalogue.items import Draft
from newsletter.catalogue.themes import Vocabulary, find_theme
from newsletter.checking import ascii_url
from newsletter.errors import InputError
from newsletter.given import parse_json
from newsletter.languages import is_language
from newsletter.resembling import fold
from newsletter.tabular import BadRecord, old_encoding, open_sheet

FIELDS: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "guid", "external id", "identifier", "identificador", "identifiant"),
    "title": ("title", "headline", "titulo", "titular", "titre"),
    "summary": ("summary", "description", "abstract", "resumen", "descripcion", "resume"),
    "body": ("body", "content", "text", "cuerpo", "contenido", "corps", "contenu"),
    "url": ("url", "link", "enlace", "lien"),
    "language": ("language", "lang", "idioma", "langue"),
    "source": ("source", "publisher", "fuente"),
    "published_at": ("published at", "published", "date", "pubdate", "fecha", "publie le"),
    "countries": ("countries", "country", "pais", "paises", "pays"),
    "regions": ("regions", "region", "regiones"),
    "themes": ("themes", "theme", "topics", "topic", "tags", "tema", "temas", "theme s"),
    "image": ("image", "image url", "picture", "imagen", "foto", "photo"),
    "image_alt": ("image alt", "alt", "alt text", "texto alternativo", "texte alternatif"),
}
LONGEST_URL = 2000
LONGEST = {
    "title": 500,
    "summary": 20_000,
    "body": 500_000,
    "id": 400,
    "source": 200,
    "url": LONGEST_URL,
    "image": LONGEST_URL,
    "image_alt": 500,
}
# What must not be mended in silence: with a letter less it would be another item's.
IDENTITY = {"id": "id", "url": "URL"}
YEARS = range(1900, 2100)
"""In which something can have been published."""
LINE_LIMIT = 5_000_000
FILE_LIMIT = 200_000_000
Records = Iterator[tuple[int, Mapping[str, Any] | str]]
READS = "Use JSON Lines, JSON, CSV or plain text (.jsonl, .json, .csv, .txt)."
UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class BadItem:
    """What could not be read: where it is if known (the line on which it starts, or which item it is), and why.

    ``kept``: it is only its picture; the item follows without it.
    """

    number: int | None
    reason: str
    kept: bool = False
    unit: str = "line"


@dataclass(frozen=True)
class Defaults:
    """What holds for every item of a file: language and date if it does not say, and tags added to its own."""

    language: str
    vocabulary: Vocabulary
    places: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()
    published_at: datetime | None = None


def read_items(path: Path, defaults: Defaults) -> Iterator[Draft | BadItem]:
    """The items of a file, in order; each that cannot be read as a BadItem, the others all the same.

    Raises:
        InputError: the file as a whole cannot be read, or nothing is in it.
    """
    number = 0
    unit, records = _records(path)
    for number, record in records:
        if isinstance(record, str):
            yield BadItem(number, record, unit=unit)
            continue
        try:
            draft = draft_of(record, defaults)
        except InputError as error:
            yield BadItem(number, str(error), unit=unit)
            continue
        if draft.left_out:
            yield BadItem(number, f"Its image is left out: {draft.left_out}", kept=True, unit=unit)
        yield draft
    if not number:
        raise InputError(f"{path.name} holds no items.")


def _records(path: Path) -> tuple[str, Records]:
    """What the records are counted in, and number and fields of each, or the sentence that says why it has none."""
    kind = path.suffix.lower() or _kind(path)
    if kind in (".csv", ".tsv", ".tab"):
        return "line", _csv_records(path)
    if kind in (".jsonl", ".ndjson"):
        return "line", _jsonl_records(path)
    if kind not in (".json", ".txt", ""):
        raise InputError(f"{path.name}: items are not read from {kind} files.", READS)
    if path.stat().st_size > FILE_LIMIT:
        raise InputError(f"{path.name} is larger than 200 MB.", "Give it as JSON Lines, which has no limit.")
    text = _decoded(path)
    if kind == ".json" or (kind != ".txt" and text.lstrip()[:1] in ("{", "[")):
        return "item", _json_records(path, text)
    if text.lstrip().startswith("<"):
        # Else each line of a feed or a page would be published as a title or a summary.
        raise InputError(f"{path.name} is HTML or XML, and no printed text.", READS)
    return "line", _printed_records(path, text)


def _kind(path: Path) -> str:
    """The ending that a file without one, as a pipe, would have by its first line."""
    with path.open("rb") as file:
        first = file.readline(LINE_LIMIT).decode("utf-8-sig", "replace")
    value = _json_object(first)
    if isinstance(value, dict) and "items" not in value:
        return ".jsonl"
    headers = {_FIELD_OF.get(fold(cell)) for cell in re.split(r"[,;\t|]", first)}
    return ".csv" if {"title", "summary"} <= headers else ""


def _decoded(path: Path) -> str:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-16" if raw[:2] in UTF16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        # Told from around the first letter that is not UTF-8: it may come late.
        text = raw.decode(old_encoding(raw[max(0, error.start - 100_000) : error.start + 100_000]), "replace")
    if "\x00" in text[:10_000]:
        raise InputError(f"{path.name} is not a text file.", READS)
    if not text.strip():
        raise InputError(f"{path.name} is empty.")
    return text


def _csv_records(path: Path) -> Records:
    for record in open_sheet(path, FIELDS, required=("title",)).records():
        if isinstance(record, BadRecord):
            yield record.line, f"{record.column}: {record.reason}" if record.column else record.reason
        else:
            yield record.line, record.cells


def _jsonl_records(path: Path) -> Records:
    if path.stat().st_size == 0:
        raise InputError(f"{path.name} is empty.")
    with _open_lines(path) as file:
        number = 0
        while line := file.readline(LINE_LIMIT):
            number += 1
            if len(line) == LINE_LIMIT:
                while line and not line.endswith("\n"):
                    line = file.readline(LINE_LIMIT)
                yield number, "The line is longer than 5 MB."
            elif line.strip("\ufeff \t\r\n"):
                yield number, _json_object(line)


@contextmanager
def _open_lines(path: Path) -> Iterator[io.TextIOWrapper]:
    """A UTF-8 file, or a UTF-16 one that says so; bytes that do not fit become surrogates."""
    with path.open("rb") as raw:
        wide = raw.read(2) in UTF16
        raw.seek(0)
        encoding, errors = ("utf-16", "replace") if wide else ("utf-8-sig", "surrogateescape")
        yield io.TextIOWrapper(raw, encoding, errors, newline="\n")


def _json_object(line: str) -> Mapping[str, Any] | str:
    try:
        line.encode()
        value = parse_json(line)
    except UnicodeEncodeError:
        return "It is not UTF-8."
    except InputError as error:
        return error.message
    return value if isinstance(value, dict) else "It is JSON, but not an object with a title."


def _json_records(path: Path, text: str) -> Records:
    try:
        content = parse_json(text)
    except InputError as error:
        raise InputError(f"{path.name}: {error.message}") from None
    if isinstance(content, dict):
        content = content.get("items", [content])
    if not isinstance(content, list):
        raise InputError(f"{path.name} holds no list of items.", 'Use [{"title": …}] or {"items": […]}.')
    for number, value in enumerate(content, 1):
        yield number, value if isinstance(value, dict) else "It is not an object with a title."


def _printed_records(path: Path, text: str) -> Records:
    # Not ``splitlines``, for which a separator of Unicode within a summary would begin the next title.
    numbered = enumerate(re.split(r"\r\n?|\n", text), 1)
    lines = [(number, line.strip()) for number, line in numbered if line.strip()]
    pairs = list(zip(lines[::2], lines[1::2], strict=False))
    if len(lines) % 2:
        # Below a line too many or too few titles are summaries, and who reads immediately would get them so.
        first = next((number for (number, title), (_, summary) in pairs if len(title) > len(summary)), lines[-1][0])
        raise InputError(
            f"{path.name} has {len(lines)} lines with text: titles and summaries must take turns, so that one is "
            "missing, or too many.",
            f"Look at line {first} and above it.",
        )
    for (number, title), (_, summary) in pairs:
        # A title and a summary that changed places are the sign of a line too many or too few above.
        if len(title) > LONGEST["title"]:
            yield number, "A title was expected here and this is longer than 500 characters: is a line missing?"
        else:
            yield number, {"title": title, "summary": summary}


def draft_of(record: Mapping[str, Any], defaults: Defaults) -> Draft:
    """An item from the fields of a record; names of fields may be in English, Spanish or French.

    A picture that is none is left out, and the item says so.

    Raises:
        InputError: says which field is wrong and how.
    """
    fields = _fields(record)
    texts = {name: _text(fields, name) for name in ("id", "title", "summary", "body", "url", "source")}
    title = one_line(texts["title"])
    if not title:
        raise InputError("It has no title.")
    summary = plain_text(texts["summary"])
    body = clean_html(texts["body"])
    if not summary and not body:
        raise InputError(f"{title[:60]!r} has no summary.")
    countries, regions = parse_places([*_several(fields, "countries"), *_several(fields, "regions"), *defaults.places])
    wanted = [*_several(fields, "themes"), *defaults.themes]
    image, image_alt, left_out = _image(fields)
    return Draft(
        title=title,
        summary=summary or _beginning(plain_text(body)),
        language=_language(fields, defaults.language),
        body=body,
        url=parse_url(texts["url"]) if texts["url"] else None,
        external_id=texts["id"] or None,
        source=one_line(texts["source"]),
        published_at=parse_moment(fields["published_at"]) if "published_at" in fields else defaults.published_at,
        countries=tuple(countries),
        regions=tuple(regions),
        themes=tuple(dict.fromkeys(find_theme(defaults.vocabulary, theme) for theme in wanted)),
        image=image,
        image_alt=image_alt,
        left_out=left_out,
    )


def _image(fields: Mapping[str, Any]) -> tuple[str | None, str, str]:
    """URL and text of a record's picture; or neither, and why it is left out."""
    if "image" not in fields:
        return None, "", ""
    try:
        url = _text(fields, "image")
        if has_controls(url):
            raise InputError(f"Its URL {url[:80]!r} has a control character or half a character in it.")
        return parse_url(url), one_line(_text(fields, "image_alt")), ""
    except InputError as error:
        return None, "", str(error)


_FIELD_OF = {fold(name): field for field, names in FIELDS.items() for name in (field, *names)}


def _fields(record: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in record.items():
        field = _FIELD_OF.get(fold(str(name)))
        if field and value not in (None, "", []):
            fields.setdefault(field, value)
    return fields


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"Its {name} is not text.")
    text = str(value).strip()
    if len(text) > LONGEST[name]:
        raise InputError(f"Its {name} is longer than {LONGEST[name]} characters.")
    if name in IDENTITY and has_controls(text):
        raise InputError(f"Its {IDENTITY[name]} {text[:80]!r} has a control character or half a character in it.")
    return text


def _several(fields: Mapping[str, Any], name: str) -> list[str]:
    value = fields.get(name, [])
    if isinstance(value, str):
        value = re.split(r"[;,|]", value)
    if not isinstance(value, list) or not all(isinstance(part, (str, int)) for part in value):
        raise InputError(f'Its {name} are not a list of texts such as ["GT", "HN"].')
    return [str(part).strip() for part in value if str(part).strip()]


def _language(fields: Mapping[str, Any], default: str) -> str:
    text = _language_code(str(fields["language"])) if "language" in fields else default
    if not is_language(text):
        raise InputError(f"Its language {text!r} is not a code of ISO 639.", "Use ISO 639: en, es, fr.")
    return text


def _language_code(text: str) -> str:
    return text.strip().replace("_", "-").partition("-")[0].lower()


def _beginning(text: str, most: int = 400) -> str:
    if len(text) <= most:
        return text
    return text[:most].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"


def parse_url(text: str) -> str:
    """An absolute http or https URL, as ASCII (RFC 3986; 3987 for what was not).

    Raises:
        InputError: it is something else, or longer than ``LONGEST_URL``.
    """
    mend = "It looks like https://example.org/page, with %20 for a space and nobody's name before the host."
    wrong = InputError(f"Its URL {text[:80]!r} is not a web address.", mend)
    try:
        url = ascii_url(text)
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").encode("idna"), parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or re.search(r"[\s<>\"]", text):
        raise wrong
    if len(url) > LONGEST_URL:
        raise InputError(f"Its URL {text[:80]!r} is longer than {LONGEST_URL} characters as mails write it.")
    return url


def parse_moment(value: Any) -> datetime:
    """A moment from ISO 8601 or RFC 5322; a date alone is its midnight in UTC.

    Raises:
        InputError: it is neither, counts hours by AM and PM, or is in a year that nobody can mean.
    """
    text = str(value).strip()
    # RFC 5322 would have us take it for the name of a zone that we do not know, and evening for morning.
    if re.search(r"\d\s*[ap]\.?\s*m\b", text, re.IGNORECASE):
        raise InputError(f"The date {text[:40]!r} has AM or PM.", "Count hours up to 23: 2026-11-24T20:00:00Z.")
    readers: tuple[Callable[[str], datetime], ...] = (
        lambda given: datetime.combine(date.fromisoformat(given), time()),
        datetime.fromisoformat,
        parsedate_to_datetime,
    )
    for read in readers:
        try:
            moment = read(text)
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError, TypeError):
            continue
        if moment.year not in YEARS:
            raise InputError(f"The date {text[:40]!r} is in the year {moment.year}.", "Is a digit wrong?")
        return moment
    raise InputError(f"The date {text[:40]!r} cannot be read.", "Use 2026-11-24 or 2026-11-24T08:00:00Z.")
