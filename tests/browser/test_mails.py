"""Mails on real screens: whatever their texts, they fit a small phone and can be read in light and in dark."""

from __future__ import annotations

import pytest
from mailcheck import Mail
from observing import too_wide_or_small, violations
from playwright.sync_api import Browser
from specimens import specimens

pytestmark = pytest.mark.browser

SEEN = [f"digest-7-{language}" for language in ("en", "es", "fr", "ar")] + ["welcome-ar", "confirm-fr"]


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
