"""Pictures of every page and state: phone and desktop, light and dark, for a designer's eye (``make screenshots``).

    python tests/browser/screenshots.py [STATE …]

All states in English and Arabic, the main ones in Spanish and French, too.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

# Its own folder is on the path already.
sys.path.insert(0, str(Path(__file__).parents[1]))

from browsing import NONE, chromium, obtainable
from playwright.sync_api import Browser
from states import MAIN, STATES
from world import World, running

OUT = Path(__file__).parents[2] / "build" / "screenshots"
SIZES = {"phone": {"width": 375, "height": 740}, "desktop": {"width": 1280, "height": 860}}


def take(browser: Browser, world: World, language: str, names: list[str]) -> int:
    """Pictures of these states, as OUT/LANGUAGE/STATE-SIZE-SCHEME.png; how many."""
    taken = 0
    with browser.new_context(locale=language, reduced_motion="reduce", timezone_id="America/Guatemala") as context:
        page = context.new_page()
        for name in names:
            page.set_viewport_size(SIZES["desktop"])
            STATES[name](page, world, language)
            page.wait_for_load_state("networkidle")
            for (size, viewport), scheme in itertools.product(SIZES.items(), ("light", "dark")):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                page.set_viewport_size(viewport)
                page.screenshot(path=OUT / language / f"{name}-{size}-{scheme}.png", full_page=True)
                taken += 1
    return taken


def main(wanted: list[str]) -> int:
    if not obtainable():
        sys.stderr.write(f"{NONE}\n")
        return 1
    taken = 0
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as world, chromium() as browser:
        for language in ("en", "ar", "es", "fr"):
            names = wanted or list(STATES if language in ("en", "ar") else MAIN)
            taken += take(browser, world, language, names)
    sys.stdout.write(f"{taken} pictures in {OUT}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
