"""From what was read to a page in the reader's language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_time
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from newsletter.catalogue.cleaning import clean_html
from newsletter.languages import LANGUAGES, direction
from newsletter.translations import Sentences
from subscribers.reading import Story

HERE = Path(__file__).parent
A_MONDAY = date(2024, 1, 1)

pages = Environment(
    loader=FileSystemLoader(HERE / "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
pages.globals["inbox"] = ""


def beside_inbox(address: str) -> None:
    """Have every page that this process serves lead to the capture inbox at ``address``, where its mails go."""
    pages.globals["inbox"] = address


@cache
def sentences(tongue: str) -> Sentences:
    """What the site says in one of its languages."""
    return Sentences("site", tongue)


def say(tongue: str, key: str, **placeholders: object) -> str:
    """The words of a key in one of the site's languages."""
    return sentences(tongue).say(key, **placeholders)


def speak(language: str) -> str:
    """The site's language nearest to ``language`` ("es-GT" is "es"); English if there is none."""
    short = language.replace("_", "-").partition("-")[0].lower()
    return short if short in LANGUAGES else LANGUAGES[0]


def preferred(accept_language: str) -> str:
    """The first of our languages that a browser asks for (RFC 9110, 12.5.4), English if none."""
    asked: list[tuple[float, str]] = []
    for choice in accept_language.split(",")[:20]:
        tag, _, parameter = choice.strip().partition(";")
        weight = parameter.strip().removeprefix("q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue
        short = tag.strip().partition("-")[0].lower()
        if quality > 0 and short in LANGUAGES:
            asked.append((-quality, short))
    return min(asked, key=lambda pair: pair[0])[1] if asked else LANGUAGES[0]


def in_other_languages(path: str, query: Sequence[tuple[str, str]], tongue: str) -> list[tuple[str, str, str]]:
    """Code, own name and address of a page in each of the site's languages but this one."""
    kept = [(name, value) for name, value in query if name != "lang"]
    return [
        (code, str(Locale(code).languages[code]).capitalize(), f"{path}?{urlencode([*kept, ('lang', code)])}")
        for code in LANGUAGES
        if code != tongue
    ]


def page(name: str, language: str, status: int = 200, **values: Any) -> HTMLResponse:
    """``name`` filled in; ``say(key, **placeholders)`` and ``count(key, n)`` in it give the site's words.

    Any page may be given ``masthead`` (``branding.masthead_of``), which brings the list's name, logo and colours, and
    ``request``, which brings the page's other languages; it must then take ``asked_language`` as its own. Their
    addresses carry the parameters ``kept`` in place of the request's own, if that is given: a form's are in its body.
    """
    return HTMLResponse(fill(name, language, **values), status)


def fill(name: str, language: str, **values: Any) -> str:
    """The text of a page, or of a part of one."""
    tongue = speak(language)

    values.setdefault("masthead", None)
    values.setdefault("framed", False)
    request, kept = values.pop("request", None), values.pop("kept", None)
    if request and kept is None:
        kept = request.query_params.multi_items()
    tongues = in_other_languages(request.url.path, kept, tongue) if request else ()
    said = sentences(tongue)
    return pages.get_template(name).render(
        values,
        say=said.say,
        count=said.count,
        language=tongue,
        direction=direction(tongue),
        tongues=tongues,
    )


def notice(kind: str, language: str, status: int, **values: object) -> HTMLResponse:
    """A page that only says something: missing, withdrawn, too_large, method, busy … (``words``); ``values`` for it."""
    return page("notice.html", language, status, kind=kind, values=values)


def schedule_line(reader: Any, language: str = "") -> tuple[str, dict[str, str]]:
    """The key of the sentence that says when mails come, and what to fill in, in the reader's or another language.

    ``reader``: anything with ``frequency``, ``hour`` and ``weekday``.
    """
    locale = speak(language or reader.language)
    if reader.frequency == "immediate":
        return "immediate", {}
    time = format_time(datetime(2024, 1, 1, reader.hour, tzinfo=UTC).timetz(), "short", locale=locale)
    weekday = format_date(A_MONDAY + timedelta(days=reader.weekday), "EEEE", locale=locale)
    return reader.frequency, {"time": time, "weekday": weekday}


def next_line(reader: Any, language: str = "") -> str:
    """The next slot in the reader's own time, or nothing if it has none to name.

    ``reader``: anything with ``due_at``, ``state``, ``frequency`` and ``timezone``.
    """
    if reader.due_at is None or reader.state != "active" or reader.frequency == "immediate":
        return ""
    locale = speak(language or reader.language)
    local = reader.due_at.astimezone(ZoneInfo(reader.timezone))
    day = format_date(local.date(), "full", locale=locale)
    return f"{day}{say(locale, 'comma')}{format_time(local.time(), 'short', locale=locale)}"


def long_day(moment: datetime, timezone: str, language: str) -> str:
    """The day that a moment lies on in a zone, as ``language`` writes it: November 24, 2026."""
    return str(format_date(moment.astimezone(ZoneInfo(timezone)).date(), "long", locale=speak(language)))


def language_names(codes: Iterable[str], language: str) -> tuple[str, ...]:
    """Names of languages in ``language``; a code that has none stays a code."""
    names = Locale(speak(language)).languages
    return tuple(str(names.get(code, code)) for code in codes)


def story_page(story: Story, language: str, site: str, **values: Any) -> HTMLResponse:
    """An item's own page: its body if it has one, else the summary; ``site``: where ours is."""
    return page(
        "item.html",
        language,
        story=story,
        canonical=story.url or f"{site}/items/{story.item_id}",
        # Cleaned on its way in already; what is marked safe here does not rely on it.
        body=Markup(clean_html(story.body)),  # noqa: S704
        paragraphs=[text for text in story.summary.split("\n\n") if text.strip()],
        day=format_date(story.day, "long", locale=speak(language)),
        host=urlsplit(story.url).hostname if story.url else "",
        **values,
    )
