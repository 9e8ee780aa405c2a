"""Countries and regions, as people name them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.catalogue.geography import all_places, countries_in, find_place, parse_places, place_name
from newsletter.errors import InputError, UnknownName
from newsletter.languages import LANGUAGES


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("GT", "GT"),
        ("gt", "GT"),
        ("GTM", "GT"),
        ("320", "GT"),
        ("Guatemala", "GT"),
        ("Bolivia, Plurinational State of", "BO"),
        ("013", "013"),
        ("13", "013"),
        ("Central America", "013"),
        ("Amérique centrale", "013"),
        ("amerique  CENTRALE", "013"),
        ("América Central", "013"),
        ("Centroamérica", "013"),
        ("États-Unis", "US"),
        ("Côte d’Ivoire", "CI"),
        ("Cote d'Ivoire", "CI"),
        ("República Dominicana", "DO"),
        ("Kosovo", "XK"),
        ("Türkiye", "TR"),
        ("غواتيمالا", "GT"),
        ("الاردن", "JO"),
        ("أمريكا الوسطى", "013"),
        ("World", "001"),
        ("Mundo", "001"),
    ],
)
def test_names_work_as_well_as_codes(text: str, code: str) -> None:
    """A place is found by alpha-2, alpha-3, M49 and by its name in any of our languages."""
    assert find_place(text) == code


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("Congo", "(CD)"),
        ("Korea", "(KP)"),
        ("Gutemala", "Guatemala (GT)"),
        ("Hondurass", "Honduras (HN)"),
        ("Centralamerica", "Central America (013)"),
        ("Mexi", "Mexico (MX)"),
    ],
)
def test_suggestions(text: str, suggestion: str) -> None:
    """An ambiguous or misspelt name is refused with what may have been meant."""
    with pytest.raises(UnknownName, match="Did you mean") as caught:
        find_place(text)
    assert suggestion in caught.value.hint


@pytest.mark.parametrize("text", ["", "  ", "Atlantis", "999", "ZZ", "🇬🇹", "x" * 10_000])
def test_no_place(text: str) -> None:
    """What is no place gets a sentence."""
    with pytest.raises(InputError):
        find_place(text)


@given(st.sampled_from(all_places()), st.sampled_from(LANGUAGES))
def test_every_place_is_found_by_its_own_name(code: str, language: str) -> None:
    """Each place is found by its name in each language, or, if another is called so too, by suggestion."""
    name = place_name(code, language)
    assert name != code
    try:
        found = {find_place(name)}
    except UnknownName as error:
        found = {suggestion.rpartition("(")[2].rstrip(")") for suggestion in error.suggestions}
    assert code in found


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    """Any text is a place or gets a sentence."""
    try:
        assert find_place(text) in all_places()
    except InputError:
        return


def test_regions_hold_countries() -> None:
    """A region is the countries in it, also through the regions in it; the world is all of them."""
    assert countries_in("013") == {"BZ", "CR", "GT", "HN", "MX", "NI", "PA", "SV"}
    assert countries_in("013") < countries_in("419") < countries_in("019") < countries_in("001")
    assert len(countries_in("001")) > 240
    assert countries_in("GT") == frozenset()


def test_places_go_where_they_belong() -> None:
    """Countries and regions are told apart by what they are, keep their order and come once."""
    assert parse_places(["Honduras", "013", "gt", "HN", "Caribbean"]) == (["HN", "GT"], ["013", "029"])
