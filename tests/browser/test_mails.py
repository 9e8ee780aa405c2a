"""Mails on real screens: whatever their texts, they fit a small phone and can be read in light and in dark."""

from __future__ import annotations

import pytest
from mailcheck import Mail
from observing import too_wide_or_small, violations
from playwright.sync_api import Browser
from specimens import specimens

from newsletter.languages import LANGUAGES

pytestmark = pytest.mark.browser

SEEN = [f"digest-7-{language}" for language in ("en", "es", "fr", "ar")] + ["welcome-ar", "confirm-fr"]


LINES = """(one) => {
  const range = document.createRange();
  range.selectNodeContents(one);
  return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
}"""
"""On how many lines a text stands."""
OUTSIDE = "(one) => [...one.childNodes].filter((node) => !node.tagName).map((node) => node.data).join('')"
"""What stands in no element of it."""


@pytest.mark.parametrize("language", LANGUAGES)
def test_sections_at_the_head(browser: Browser, language: str) -> None:
    """In the head of a long digest no name breaks away from its number or inside, and no line begins with a dot; on any
    phone, by country and by theme, and nothing scrolls sideways."""
    with browser.new_context() as context:
        page = context.new_page()
        for kind in ("digest-30", "digest-themes"):
            page.set_content(Mail(specimens()[f"{kind}-{language}"].content, {}).part("text/html"))
            for width in range(320, 480, 16):
                page.set_viewport_size({"width": width, "height": 640})
                assert {name.evaluate(LINES) for name in page.locator(".sections .whole").all()} == {1}
                assert "·" not in page.locator(".sections").evaluate(OUTSIDE)
                assert too_wide_or_small(page)["overflow"] == 0


@pytest.mark.parametrize("name", SEEN)
def test_a_small_phone(browser: Browser, name: str) -> None:
    """At 320 px nothing scrolls sideways, not even for a title of 80 characters without a space; axe-core finds nothing
    in light or in dark."""
    found = {}
    with browser.new_context(viewport={"width": 320, "height": 640}) as context:
        page = context.new_page()
        page.set_content(Mail(specimens()[name].content, {}).part("text/html"))
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            # Mail programs put a mail into a page of their own, which has the landmarks.
            found[scheme] = [line for line in violations(page) if not line.startswith(("region", "landmark"))]
        overflow = too_wide_or_small(page)["overflow"]
    assert (found, overflow) == ({"light": [], "dark": []}, 0)
