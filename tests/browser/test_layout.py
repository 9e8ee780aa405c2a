"""What stands where on a page, measured: nothing is cut off, sticks to its neighbour or flips to the other side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from states import STATES, go
from world import World

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 900}
LINES = """(one) => {
  const range = document.createRange();
  range.selectNodeContents(one);
  return [...range.getClientRects()].map((box) => Math.round(box.top));
}"""
"""Where the lines of a text are."""
BEGINS = """(one) => {
  const range = document.createRange();
  range.selectNodeContents(one);
  const drawn = range.getBoundingClientRect(), own = one.getBoundingClientRect();
  return [Math.abs(drawn.right - own.right), Math.abs(drawn.left - own.left)];
}"""
"""How far the text of a paragraph is from its right and left end."""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(reduced_motion="reduce", locale="en") as context:
        yield context.new_page()


@pytest.mark.parametrize("language", ["en", "ar"])
def test_strip_of_a_trial(page: Page, world: World, language: str) -> None:
    """The strip of the demo has air above and below its text, and its link does not break into two lines, on any
    screen."""
    STATES["trial"](page, world, language)
    for width in (*range(320, 460, 10), 1280):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.locator(".trial").evaluate("(one) => getComputedStyle(one).paddingTop") == "8px"
        lines = page.locator(".trial a").evaluate(LINES)
        assert len(set(lines)) == 1, (width, lines)


def test_zone_of_who_gets_items_at_once(page: Page, world: World) -> None:
    """Where mails come at once, so that no hour is asked for, the time zone keeps its distance from what is above."""
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    STATES["subscribe"](page, world, "en")
    page.locator("[name=frequency][value=immediate]").check()
    last = page.locator(".check:has([name=frequency])").last.bounding_box()
    label = page.locator("label[for=timezone]").bounding_box()
    assert last
    assert label
    assert label["y"] - last["y"] - last["height"] >= 12


def test_english_on_an_arabic_page(page: Page, world: World) -> None:
    """A description and a postal address in English begin where the lines of an Arabic page begin, on the right, and
    read from left to right."""
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    with world.list_with(description="News on the move.", postal_address="24 Calle Segunda, 01001 Guatemala."):
        for path, places in (
            ("/", ("main .card p",)),
            ("/rutas", ("main > .lead:has(bdi)", "footer p")),
            ("/rutas/archive", ("main > p:has(bdi)", "footer p")),
        ):
            go(page, world, path, "ar")
            for place in places:
                paragraph = page.locator(place).first
                right, left = paragraph.evaluate(BEGINS)
                assert right < 1 < left, (path, place)
                assert paragraph.locator("bdi").evaluate("(one) => getComputedStyle(one).direction") == "ltr"
