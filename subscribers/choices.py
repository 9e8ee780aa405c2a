"""What there is to choose from on a picks form, in each language: found once, whoever reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property

from babel import Locale
from babel.dates import format_date, format_time
from markupsafe import Markup

from newsletter.audience.schedule import WEEKDAYS
from newsletter.catalogue.geography import all_places, countries_in, place_name, zone_names
from subscribers.ordering import ordering
from subscribers.rendering import A_MONDAY, speak

# UN M49: continents, and what each is divided into there.
CONTINENTS = {
    "002": ("011", "014", "015", "017", "018"),
    "019": ("005", "013", "021", "029"),
    "142": ("030", "034", "035", "143", "145"),
    "150": ("039", "151", "154", "155"),
    "009": ("053", "054", "057", "061"),
}
OFFERED = frozenset(CONTINENTS).union(*CONTINENTS.values())
"""The regions that the form shows by itself; others only if they are picked."""
ANTARCTICA = "AQ"


@dataclass(frozen=True)
class Place:
    """A country or region by its name, and what it is divided into on the form."""

    code: str
    name: str
    parts: tuple[Place, ...] = ()

    @cached_property
    def box(self) -> tuple[Markup, Markup]:
        """A country's check-box, before and after the place where it is ticked: there are 250 on each form."""
        before = Markup('<li><label class="check"><input type="checkbox" name="country" value="{}"').format(self.code)
        return before, Markup("><span>{}</span></label>").format(self.name)


@dataclass(frozen=True)
class Choices:
    """Everything that a picks form offers, in one language; ``zones`` are HTML options."""

    places: tuple[Place, ...]
    zones: Markup
    hours: tuple[tuple[int, str], ...]
    weekdays: tuple[tuple[str, str], ...]


@cache
def choices(language: str) -> Choices:
    """What a form offers in ``language`` (one of the site's)."""
    zones = sorted(zone_names(language).items(), key=lambda pair: ordering(pair[1], language))
    options = [Markup('<option value="{}">{}').format(zone, name) for zone, name in (("UTC", "UTC"), *zones)]
    return Choices(
        places=_places(language),
        zones=Markup("\n").join(options),
        hours=tuple(
            (hour, format_time(datetime(2024, 1, 1, hour, tzinfo=UTC).timetz(), "short", locale=language))
            for hour in range(24)
        ),
        weekdays=tuple(
            (word, format_date(A_MONDAY + timedelta(days=number), "EEEE", locale=language))
            for number, word in enumerate(WEEKDAYS)
        ),
    )


def name_of(code: str, language: str) -> str:
    """The name of a country or region in one of the site's languages."""
    return place_name(code, speak(language))


@cache
def language_name(code: str, language: str) -> str:
    """The name of a language in one of the site's languages, with a capital where it stands alone."""
    name = str(Locale(speak(language)).languages.get(code, code))
    return name[:1].upper() + name[1:]


def _sorted(places: list[Place], language: str) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda place: ordering(place.name, language)))


def _places(language: str) -> tuple[Place, ...]:
    def region(code: str, parts: list[Place]) -> Place:
        return Place(code, name_of(code, language), _sorted(parts, language))

    def countries(code: str) -> list[Place]:
        return [Place(country, name_of(country, language)) for country in countries_in(code)]

    continents = [
        region(continent, [region(part, countries(part)) for part in parts]) for continent, parts in CONTINENTS.items()
    ]
    return (*_sorted(continents, language), Place(ANTARCTICA, name_of(ANTARCTICA, language)))


@cache
def known_places() -> dict[str, str]:
    """Codes of places as a link may write them, to codes as we do."""
    return {place.lower(): place for place in all_places()}
