"""Themes: a list's vocabulary. A theme has a slug for ever, names per language, and perhaps a parent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, insert, select, update

from newsletter.catalogue.cleaning import has_controls
from newsletter.errors import InputError, StateError, UnknownName
from newsletter.languages import LANGUAGES, is_language
from newsletter.resembling import fold, nearest
from newsletter.slugs import check_slug
from newsletter.tables import themes

LONGEST = {"name": 100, "description": 300}
"""Characters: names stand in headings of mails and in requests of machines, descriptions are a sentence."""
DEEPEST = 20
"""Themes above one another: pages nest them, and who picks one picks all below it."""
ISO = "Use codes of ISO 639: en, es, fr."


@dataclass(frozen=True)
class Theme:
    """An entry of the vocabulary; ``names`` and ``descriptions`` (a sentence each) by language code."""

    slug: str
    names: Mapping[str, str]
    parent: str | None
    descriptions: Mapping[str, str] = field(default_factory=dict)


Vocabulary = Mapping[str, Theme]
"""Themes by slug."""


def all_themes(connection: Connection, list_id: int) -> dict[str, Theme]:
    """The vocabulary of a list, by slug."""
    rows = connection.execute(select(themes).where(themes.c.list_id == list_id).order_by(themes.c.slug))
    return {row.slug: Theme(row.slug, row.names, row.parent_slug, row.descriptions) for row in rows}


def theme_name(theme: Theme, language: str) -> str:
    """Its name in ``language``, else in English, else any, else the slug."""
    return theme.names.get(language) or theme.names.get("en") or next(iter(theme.names.values()), theme.slug)


def descendants(vocabulary: Vocabulary, slug: str) -> frozenset[str]:
    """A theme and all below it: who picks a parent picks its children."""
    found = {slug}
    while True:
        below = {theme.slug for theme in vocabulary.values() if theme.parent in found} - found
        if not below:
            return frozenset(found)
        found |= below


def find_theme(vocabulary: Vocabulary, text: str) -> str:
    """The slug of a theme given as slug or name in any language.

    Raises:
        UnknownName: none is called so, or several; with suggestions.
        InputError: nothing was given.
    """
    word = text.strip()
    if not word:
        raise InputError("A theme is empty.", "`newsletter themes list` shows those there are.")
    if word in vocabulary:
        return word
    called: dict[str, set[str]] = {}
    for theme in vocabulary.values():
        for name in (theme.slug, *theme.names.values()):
            called.setdefault(fold(name), set()).add(theme.slug)
    slugs = called.get(fold(word), set())
    if len(slugs) == 1:
        return next(iter(slugs))
    if slugs:
        raise UnknownName(f"{word!r} may mean more than one theme.", tuple(sorted(slugs)))
    if not vocabulary:
        raise UnknownName(f"There is no theme {word!r}: the list has none yet. See `newsletter themes --help`.")
    near = nearest(word, {name: min(slugs) for name, slugs in called.items()})
    others = "" if near else " `newsletter themes list` shows those there are."
    raise UnknownName(f"There is no theme {word!r}.{others}", near)


def add_themes(connection: Connection, list_id: int, wanted: Iterable[Theme]) -> tuple[int, int]:
    """Add themes, or bring those there are up to date; how many were added and changed.

    Descriptions stay where none is given; names and parent become what is given.

    Raises:
        InputError: a slug, name or parent is not usable; nothing is kept.
    """
    present = all_themes(connection, list_id)
    return _keep(
        connection,
        list_id,
        (
            replace(theme, descriptions=present[theme.slug].descriptions)
            if not theme.descriptions and theme.slug in present
            else theme
            for theme in wanted
        ),
    )


def _keep(connection: Connection, list_id: int, wanted: Iterable[Theme]) -> tuple[int, int]:
    present = all_themes(connection, list_id)
    after = dict(present)
    for theme in wanted:
        check_slug(theme.slug)
        if not any(name.strip() for name in theme.names.values()):
            raise InputError(f"Theme {theme.slug!r} has no name.", f"Give it one in {', '.join(LANGUAGES)}.")
        if any(has_controls(text) for words in (theme.names, theme.descriptions) for text in (*words, *words.values())):
            raise InputError(f"Theme {theme.slug!r} has a name with a control character or half a character in it.")
        for code in (*theme.names, *theme.descriptions):
            if not is_language(code.replace("_", "-").partition("-")[0].lower()):
                raise InputError(f"Theme {theme.slug!r} has a name in {code!r}, which is no language.", ISO)
        for what, texts in (("name", theme.names), ("description", theme.descriptions)):
            if any(len(text) > LONGEST[what] for text in texts.values()):
                raise InputError(f"Theme {theme.slug!r} has a {what} of more than {LONGEST[what]} characters.")
        after[theme.slug] = theme
    for theme in after.values():
        _check_parent(after, theme)
    added = changed = 0
    for slug, theme in after.items():
        values = {
            "names": dict(theme.names),
            "parent_slug": theme.parent,
            "descriptions": dict(theme.descriptions),
        }
        if slug not in present:
            connection.execute(insert(themes).values(list_id=list_id, slug=slug, **values))
            added += 1
        elif theme != present[slug]:
            connection.execute(
                update(themes).where(themes.c.list_id == list_id, themes.c.slug == slug).values(**values)
            )
            changed += 1
    return added, changed


def _check_parent(vocabulary: Vocabulary, theme: Theme) -> None:
    seen = {theme.slug}
    parent = theme.parent
    while parent is not None:
        if parent not in vocabulary:
            raise InputError(f"Theme {theme.slug!r} has a parent {parent!r} that does not exist.")
        if parent in seen:
            raise InputError(f"Theme {theme.slug!r} is its own ancestor through {parent!r}.")
        if len(seen) == DEEPEST:
            raise InputError(f"Theme {theme.slug!r} stands below more than {DEEPEST - 1} others.")
        seen.add(parent)
        parent = vocabulary[parent].parent


def amend_theme(
    connection: Connection,
    list_id: int,
    slug: str,
    names: Mapping[str, str],
    descriptions: Mapping[str, str],
    parent: str | None,
) -> tuple[Theme, Theme | None]:
    """Add a theme, or change what is given of one that is there; how it is now, and how it was.

    An empty name, description or parent takes away the one there is.

    Raises:
        InputError: what would result is not usable; nothing is kept.
    """
    was = all_themes(connection, list_id).get(slug)
    before = was or Theme(slug, {}, None)
    theme = Theme(
        slug,
        _with(before.names, names),
        before.parent if parent is None else parent or None,
        _with(before.descriptions, descriptions),
    )
    _keep(connection, list_id, [theme])
    return theme, was


def _with(texts: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    return {code: text for code, text in {**texts, **given}.items() if text}


def rename_theme(connection: Connection, list_id: int, slug: str, names: Mapping[str, str]) -> None:
    """Change names; those in other languages stay. The slug never changes: items and picks hold it.

    Raises:
        InputError: a name is not usable, or the last one would go.
        StateError: there is no such theme.
    """
    if slug not in all_themes(connection, list_id):
        raise StateError(f"There is no theme {slug!r}.", "`newsletter themes list` shows those there are.")
    amend_theme(connection, list_id, slug, names, {}, None)
