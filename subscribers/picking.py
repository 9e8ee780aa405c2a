"""The picks form: which countries, themes and languages, and when. Read from a form or a link, or from a subscription.

Whatever is sent gives a form: what can be used is kept, and each field that held anything else says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from newsletter.audience.picks import Picks, language_code
from newsletter.audience.schedule import FREQUENCIES, WEEKDAYS, Schedule, parse_hour, parse_timezone
from newsletter.catalogue.geography import countries_in, zone_name
from newsletter.catalogue.themes import Theme, Vocabulary, all_themes, theme_name
from newsletter.errors import InputError
from newsletter.tables import items, lists
from subscribers.choices import OFFERED, Choices, Place, choices, known_places, language_name, name_of
from subscribers.filters import MOST_LANGUAGES, Filter
from subscribers.ordering import ordering

LONGEST = 64
"""Characters of a value that are looked at: no code, slug or zone has more."""
FIELDS = ("country", "region", "theme", "language", "frequency", "weekday", "hour", "timezone")
"""Names of the form's fields, and of the parameters of a link that carries picks."""

_WRITTEN: dict[tuple[str, int, datetime], tuple[int, tuple[str, ...]]] = {}
"""The languages that a list's items are in, up to a position."""


@dataclass(frozen=True)
class Offer:
    """What a list offers to choose from, and the schedule that new subscriptions begin with."""

    vocabulary: Vocabulary
    languages: tuple[str, ...]
    """Of its items."""
    schedule: Schedule
    timezone: str


@dataclass(frozen=True)
class Branch:
    """A theme on the form, with those below it."""

    slug: str
    name: str
    description: str
    parts: tuple[Branch, ...]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a field: a key of the site's words and what to fill in."""

    key: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PicksForm:
    """What a reader picked, or is to begin with; ``errors`` by field: country, theme, language, frequency,
    weekday, hour, timezone. ``guesses``: the time zone is the list's, and the browser may know better."""

    offer: Offer
    countries: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    themes: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()
    frequency: str = "daily"
    weekday: int = 0
    hour: int = 8
    timezone: str = "UTC"
    guesses: bool = False
    errors: Mapping[str, Problem] = field(default_factory=dict)

    @property
    def picks(self) -> Picks:
        """As a profile holds them."""
        return Picks(self.countries, self.regions, self.themes, self.languages)

    @property
    def schedule(self) -> Schedule:
        """Frequency, hour and weekday."""
        return Schedule(self.frequency, self.hour, self.weekday)

    @property
    def day(self) -> str:
        """The weekday as the form writes it: mon … sun."""
        return WEEKDAYS[self.weekday]

    def query(self) -> list[tuple[str, str]]:
        """The picks as parameters of a link, in an order that depends on the picks alone."""
        pairs = Filter(self.picks).pairs()
        pairs += [("frequency", self.frequency), ("weekday", self.day), ("hour", str(self.hour))]
        return pairs if self.guesses else [*pairs, ("timezone", self.timezone)]

    # What the page shows ------------------------------------------------------------------------------------

    def choices(self, language: str) -> Choices:
        """What there is to choose from, named in ``language``."""
        return choices(language)

    def zone_name(self, language: str) -> str:
        """What people call the time zone."""
        return zone_name(self.timezone, language)

    def wider(self, language: str) -> list[tuple[str, str]]:
        """Picked regions that the form does not show by itself: code and name."""
        named = [(code, name_of(code, language)) for code in self.regions - OFFERED]
        return sorted(named, key=lambda pair: ordering(pair[1], language))

    def holds(self, codes: Iterable[Any]) -> bool:
        """Whether any of these places, or what they are divided into, is picked."""
        return any(
            place.code in self.countries or place.code in self.regions or self.holds(place.parts) for place in codes
        )

    def followed_places(self, language: str) -> tuple[Place, ...]:
        """The countries and regions that are picked, each region with its countries; none if that is all."""

        def named(codes: Iterable[str]) -> tuple[Place, ...]:
            found = [Place(code, name_of(code, language), named(countries_in(code))) for code in codes]
            return tuple(sorted(found, key=lambda place: ordering(place.name, language)))

        return named(self.countries | self.regions)

    def followed_themes(self, language: str) -> list[Branch]:
        """The themes that are picked, each with those below it; none if that is all."""
        trees, found = list(self.theme_tree(language)), []
        while trees:
            branch = trees.pop(0)
            if branch.slug in self.themes:
                found.append(branch)
            else:
                trees += branch.parts
        return sorted(found, key=lambda branch: ordering(branch.name, language))

    def theme_tree(self, language: str) -> tuple[Branch, ...]:
        """The list's themes, named in ``language``, parents with their children."""
        below: dict[str | None, list[Theme]] = {}
        for theme in self.offer.vocabulary.values():
            below.setdefault(theme.parent, []).append(theme)

        def branches(parent: str | None) -> tuple[Branch, ...]:
            found = [
                Branch(
                    theme.slug,
                    theme_name(theme, language),
                    theme.descriptions.get(language, ""),
                    branches(theme.slug),
                )
                for theme in below.get(parent, ())
            ]
            return tuple(sorted(found, key=lambda branch: ordering(branch.name, language)))

        return branches(None)

    def item_languages(self, language: str) -> list[tuple[str, str]]:
        """Languages of items to pick from: code and name."""
        named = [(code, language_name(code, language)) for code in {*self.offer.languages, *self.languages}]
        return sorted(named, key=lambda pair: ordering(pair[1], language))


def offer_of(connection: Connection, list_row: Any) -> Offer:
    """What a list (a row of the table) offers."""
    # Which languages there are changes with items, and to look through all of them takes longer than the rest.
    kept = str(connection.engine.url), list_row.id, list_row.created_at
    written = _WRITTEN.get(kept)
    if written is None or written[0] != list_row.last_position:
        found = connection.scalars(select(items.c.language).where(items.c.list_id == list_row.id).distinct())
        written = _WRITTEN[kept] = list_row.last_position, tuple(sorted(found))
    return Offer(
        vocabulary=all_themes(connection, list_row.id),
        languages=tuple(dict.fromkeys((*list_row.languages, *written[1]))),
        schedule=Schedule(list_row.frequency, list_row.hour, list_row.weekday),
        timezone=list_row.timezone,
    )


def offer_to(connection: Connection, member: Any) -> Offer:
    """What the list of a subscription (a row of ``memberships``) offers."""
    return offer_of(connection, connection.execute(select(lists).where(lists.c.id == member.list_id)).one())


def form_of(offer: Offer, subscription: Any) -> PicksForm:
    """The form of a subscription: a row with the columns of its profile, its schedule and ``timezone``."""
    return PicksForm(
        offer,
        frozenset(subscription.countries),
        frozenset(subscription.regions),
        frozenset(subscription.themes),
        frozenset(subscription.languages),
        subscription.frequency,
        subscription.weekday,
        subscription.hour,
        subscription.timezone,
    )


def read_form(offer: Offer, pairs: Sequence[tuple[str, Any]]) -> PicksForm:
    """The form that was sent, or that a link carries; ``pairs`` as they came, other fields among them.

    What is not named begins as the list does.
    """
    sent: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in FIELDS and isinstance(value, str) and value.strip():
            sent.setdefault(name, []).append(value.strip())
    errors: dict[str, Problem] = {}
    places = _known(sent, ("country", "region"), known_places(), errors)
    slugs = {slug: slug for slug in offer.vocabulary}
    frequency = _one(sent, "frequency", {word: word for word in FREQUENCIES}, offer.schedule.frequency, errors)
    days = {word: number for number, word in enumerate(WEEKDAYS)}
    return PicksForm(
        offer=offer,
        countries=frozenset(place for place in places if not place.isdigit()),
        regions=frozenset(place for place in places if place.isdigit()),
        themes=_known(sent, ("theme",), slugs, errors),
        languages=_languages(sent.get("language", ()), errors),
        frequency=frequency,
        weekday=_one(sent, "weekday", days, offer.schedule.weekday, errors),
        hour=_hour(sent, offer.schedule.hour, errors),
        timezone=_timezone(sent, offer.timezone, errors),
        guesses="timezone" not in sent,
        errors=errors,
    )


def _shown(value: str) -> str:
    """A value as a message may repeat it."""
    plain = "".join(character if character.isprintable() else " " for character in value)
    return plain if len(plain) <= 40 else plain[:39] + "…"


def _known(
    sent: Mapping[str, Sequence[str]], names: Sequence[str], known: Mapping[str, str], errors: dict[str, Problem]
) -> frozenset[str]:
    found = set()
    for value in dict.fromkeys(value for name in names for value in sent.get(name, ())):
        code = known.get(value[: LONGEST + 1].lower())
        if code is None:
            errors.setdefault(names[0], Problem(f"unknown_{names[0]}", {"value": _shown(value)}))
        else:
            found.add(code)
    return frozenset(found)


def _languages(values: Iterable[str], errors: dict[str, Problem]) -> frozenset[str]:
    found: set[str] = set()
    for value in values:
        try:
            found.add(language_code(value[: LONGEST + 1]))
        except InputError:
            errors.setdefault("language", Problem("unknown_language", {"value": _shown(value)}))
        if len(found) > MOST_LANGUAGES:
            errors["language"] = Problem("many_languages", {"most": str(MOST_LANGUAGES)})
            return frozenset()
    return frozenset(found)


def _one(
    sent: Mapping[str, Sequence[str]], name: str, known: Mapping[str, Any], default: Any, errors: dict[str, Problem]
) -> Any:
    if name not in sent:
        return default
    value = sent[name][-1]
    chosen = known.get(value[: LONGEST + 1].lower())
    if chosen is None:
        errors[name] = Problem(f"unknown_{name}", {"value": _shown(value)})
        return default
    return chosen


def _hour(sent: Mapping[str, Sequence[str]], default: int, errors: dict[str, Problem]) -> int:
    for value in sent.get("hour", ())[-1:]:
        try:
            return parse_hour(value[: LONGEST + 1])
        except InputError:
            errors["hour"] = Problem("unknown_hour", {"value": _shown(value)})
    return default


def _timezone(sent: Mapping[str, Sequence[str]], default: str, errors: dict[str, Problem]) -> str:
    for value in sent.get("timezone", ())[-1:]:
        try:
            return parse_timezone(value[: LONGEST + 1])
        except InputError:
            errors["timezone"] = Problem("unknown_timezone", {"value": _shown(value)})
    return default
