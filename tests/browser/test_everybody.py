"""Every page in every state: for everybody's eyes and hands, and without telling anybody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from observing import FLOWING, Observer, too_wide_or_small, violations
from playwright.sync_api import Browser, Page
from states import MAIN, STATES
from world import World

pytestmark = pytest.mark.browser

PHONE, DESKTOP = {"width": 320, "height": 640}, {"width": 1280, "height": 900}
ALL_BOXES = ("subscribe-picked", "subscribe-open", "preferences")
MOST = 60_000
"""Bytes that a page and what belongs to it may take on the way."""


@pytest.fixture(scope="module", params=["en", "ar"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def page(browser: Browser, language: str) -> Iterator[Page]:
    with browser.new_context(reduced_motion="reduce", locale=language) as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def observer(page: Page) -> Observer:
    return Observer().watch(page.context)


@pytest.mark.parametrize("name", STATES)
def test_page(page: Page, observer: Observer, world: World, language: str, name: str) -> None:
    """axe-core finds nothing in light, in dark, at 320 px, and on main pages in Arabic. Nothing scrolls sideways
    there, nor with letters of twice the size; targets have 24 px. Nothing is asked of anybody else, no cookie is set,
    no policy is broken."""
    observer.clear()
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP if language == "en" else PHONE)
    STATES[name](page, world, language)
    direction = page.evaluate("() => [document.documentElement.lang, document.documentElement.dir]")
    # Most pages with picks have the same boxes, 249 and more: three times is enough.
    without = "" if name in ALL_BOXES else ".tree ul ul"
    found = {}
    # All rules once; what a narrow screen, the dark or the other direction can change, there. axe takes most of the
    # time, and from right to left the pages that are no main ones are built of the same parts.
    if language == "en":
        found["light"] = violations(page, without=without)
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size(PHONE)
    if language == "en" or name in MAIN:
        found["narrow"] = violations(page, FLOWING, without)
    narrow = too_wide_or_small(page)
    page.set_viewport_size({"width": 640, "height": 900})
    page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
    zoomed = too_wide_or_small(page)["overflow"]
    assert {where: what for where, what in found.items() if what} == {}
    assert (narrow["overflow"], narrow["small"], zoomed) == (0, [], 0)
    # A list that is not written in Arabic has no digests in it.
    spoken = "en" if name == "copy" else language
    assert direction == [spoken, "rtl" if spoken == "ar" else "ltr"]
    assert observer.elsewhere(world.url) == []
    assert observer.complaints == []
    assert page.context.cookies() == []


@pytest.mark.parametrize("name", ["subscribe", "subscribe-picked", "preview", "preferences", "archive", "copy"])
def test_weight(browser: Browser, world: World, name: str) -> None:
    """A page with all that belongs to it takes less than 60 KB on the way, the first time."""
    with browser.new_context() as context:
        page = context.new_page()
        session = context.new_cdp_session(page)
        sizes: list[int] = []
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        session.send("Network.enable")
        STATES[name](page, world, "en")
        page.wait_for_load_state("networkidle")
        assert 1_000 < sum(sizes) < MOST
