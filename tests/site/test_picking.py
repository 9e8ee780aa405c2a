"""The picks form: whatever is sent gives a form, and what was good in it is kept."""

from __future__ import annotations

import random
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.audience.schedule import FREQUENCIES, WEEKDAYS, Schedule
from newsletter.catalogue.geography import all_places
from newsletter.catalogue.themes import Theme
from newsletter.languages import LANGUAGES
from subscribers.choices import CONTINENTS, choices
from subscribers.ordering import ordering
from subscribers.picking import FIELDS, Offer, form_of, read_form
from subscribers.rendering import pages, sentences

THEMES = [
    Theme("protection", {"en": "Protection", "ar": "الحماية"}, None, {"en": "Safety of <people>"}),
    Theme("children", {"en": "Children"}, "protection"),
    Theme("trade", {"en": "Trade"}, None),
]
OFFER = Offer({theme.slug: theme for theme in THEMES}, ("en", "es"), Schedule("weekly", 7, 2), "America/Guatemala")

some_pairs = st.lists(
    st.tuples(
        st.sampled_from(FIELDS) | st.text(max_size=5),
        st.sampled_from(("GT", "gt", "013", "protection", "en", "weekly", "sun", "23", "UTC"))
        | st.text(max_size=80)
        | st.binary(max_size=5),
    ),
    max_size=30,
)


def filled(form: object, language: str) -> str:
    said = sentences(language)
    source = '{% from "picks_form.html" import picks_fields with context %}{{ picks_fields(form) }}'
    return pages.from_string(source).render(form=form, say=said.say, count=said.count, language=language)


@given(some_pairs)
def test_anything_gives_a_form(pairs: list) -> None:
    """Any input gives a form whose values can be stored, and a page in every language."""
    form = read_form(OFFER, pairs)
    assert form.frequency in FREQUENCIES
    assert 0 <= form.hour <= 23
    assert 0 <= form.weekday <= 6
    assert form.picks.themes <= OFFER.vocabulary.keys()
    assert form.countries | form.regions <= set(all_places())
    assert set(form.errors) <= set(FIELDS)
    for language in LANGUAGES:
        for name, problem in form.errors.items():
            assert sentences(language).say(problem.key, **problem.values), name


@given(some_pairs)
def test_a_link_carries_it(pairs: list) -> None:
    """The query of a form, read again, is the same form without what was wrong."""
    form = read_form(OFFER, pairs)
    again = read_form(OFFER, parse_qsl(urlencode(form.query())))
    assert (again.picks, again.schedule, again.timezone) == (form.picks, form.schedule, form.timezone)
    assert not again.errors


def test_reading() -> None:
    """Values are read in any case; a region given as a country lands where it belongs."""
    form = read_form(
        OFFER,
        [
            *(("country", code) for code in ("gt", "HN", "013")),
            *(("theme", "Children"), ("language", "EN"), ("frequency", "Daily")),
            *(("weekday", "sun"), ("hour", "06:00"), ("timezone", "asia/kathmandu"), ("email", "x")),
        ],
    )
    assert (form.countries, form.regions, form.themes) == ({"GT", "HN"}, {"013"}, {"children"})
    assert (form.frequency, form.weekday, form.hour, form.timezone) == ("daily", 6, 6, "Asia/Kathmandu")
    assert not form.guesses
    assert not form.errors


def test_nothing_sent() -> None:
    """An empty form begins as the list does, and says that its zone is only a guess."""
    form = read_form(OFFER, [])
    assert (form.schedule, form.timezone, form.guesses) == (OFFER.schedule, "America/Guatemala", True)


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("country", "Atlantis", "unknown_country"),
        ("region", "999", "unknown_country"),
        ("theme", "gone", "unknown_theme"),
        ("language", "english", "unknown_language"),
        ("frequency", "hourly", "unknown_frequency"),
        ("weekday", "8", "unknown_weekday"),
        ("hour", "24", "unknown_hour"),
        ("timezone", "Mars/Olympus", "unknown_timezone"),
    ],
)
def test_errors(name: str, value: str, key: str) -> None:
    """Each field says what it could not read; the good values beside it are kept, and the page ties them together."""
    form = read_form(OFFER, [("country", "GT"), ("theme", "trade"), (name, value)])
    field = "country" if name == "region" else name
    assert form.errors[field].key == key
    assert form.countries == {"GT"}
    assert form.themes == {"trade"}
    page = filled(form, "en")
    assert f'id="{field}-error"' in page
    assert f'{field}-error"' in page.split(f'id="{field}-error"')[0] + page.split(f'id="{field}-error"')[1]
    assert value in page


def test_of_a_subscription() -> None:
    """A subscription's form shows all its picks: also a region that the form offers to nobody."""
    row = SimpleNamespace(
        countries=["GT"],
        regions=["419"],
        themes=["children", "retired"],
        languages=["pt"],
        frequency="daily",
        weekday=1,
        hour=5,
        timezone="Asia/Calcutta",
    )
    form = form_of(OFFER, row)
    page = filled(form, "en")
    for value in ("GT", "419", "children", "pt"):
        assert f'value="{value}" checked' in page
    assert page.count(" checked") == 5
    assert 'value="Asia/Calcutta" selected' in page
    assert "Safety of &lt;people&gt;" in page


@pytest.mark.parametrize("language", ["en", "es", "fr", "ar"])
def test_every_country_once(language: str) -> None:
    """Each country stands once on the form, under its own part of the world, in the order of the language."""
    page = filled(read_form(OFFER, []), language)
    for code in all_places():
        expected = 1 if not code.isdigit() or code in CONTINENTS or any(code in p for p in CONTINENTS.values()) else 0
        assert page.count(f'value="{code}"') == expected, code
    assert choices(language).zones.count("<option") > 400


@pytest.mark.parametrize(
    ("language", "names"),
    [
        ("es", ["Nauru", "Niue", "Nueva Zelanda", "Ñu", "Omán", "Órdenes", "Osaka"]),
        ("fr", ["Écosse", "Égypte", "Emirats", "Érythrée", "Île Z", "Iles Åland", "Œuvre", "Oman"]),
        ("ar", ["إثيوبيا", "أذربيجان", "آيسلندا", "بلجيكا", "تركيا", "مصر", "ميانمار"]),
    ],
)
def test_the_order_of_a_language(language: str, names: list[str]) -> None:
    """Names are looked for as in a dictionary of the language: ñ behind n, É with E, the alifs together."""
    shuffled = random.Random(1).sample(names, len(names))
    expected = sorted(names, key=lambda name: ordering(name, language))
    assert sorted(shuffled, key=lambda name: ordering(name, language)) == expected
    assert expected == names


def test_words_are_complete() -> None:
    """Every weekday and frequency that a form may hold has its words."""
    assert len(choices("ar").weekdays) == len(WEEKDAYS)
    assert all(f"picks_{word}" in sentences("ar").texts for word in FREQUENCIES)
