"""Pictures of every page and state, and of every mail: phone and desktop, light and dark, for a designer's eye
(``make screenshots``).

    python tests/browser/screenshots.py [STATE … | mails | gallery]

All states in English and Arabic, the main ones in Spanish and French, too; all mails in each language. ``gallery``
renews the few pictures that the README shows.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

# Its own folder is on the path already.
sys.path.insert(0, str(Path(__file__).parents[1]))

from browsing import NONE, chromium, obtainable
from mailcheck import Mail
from playwright.sync_api import Browser
from specimens import specimens
from states import MAIN, STATES
from world import World, running

CHECKOUT = Path(__file__).parents[2]
OUT = CHECKOUT / "build" / "screenshots"
GALLERY_OUT = CHECKOUT / "docs" / "gallery"
SIZES = {"phone": {"width": 375, "height": 740}, "desktop": {"width": 1280, "height": 860}}

MAIL_SIZES = {"phone": {"width": 390, "height": 780}, "desktop": {"width": 660, "height": 780}}
GALLERY = (
    ("digest", "digest-7-en", "desktop", "light"),
    ("digest-ar", "digest-7-ar", "phone", "dark"),
    ("digest-es", "digest-30-es", "phone", "light"),
    ("confirm-fr", "confirm-fr", "phone", "dark"),
)


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


def take_mail(browser: Browser, name: str, size: str, scheme: str, path: Path, *, whole: bool) -> None:
    """A picture of one mail, ``whole`` or as far as the screen goes; its pictures are never fetched."""
    with browser.new_context(offline=True, color_scheme=scheme, viewport=MAIL_SIZES[size]) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.set_content(Mail(specimens()[name].content, {}).part("text/html"))
        page.screenshot(path=path, full_page=whole)


def take_mails(browser: Browser) -> int:
    """Pictures of all mails, as OUT/mails/LANGUAGE/MAIL-SIZE-SCHEME.png; how many."""
    wanted = list(itertools.product(specimens(), MAIL_SIZES, ("light", "dark")))
    for full, size, scheme in wanted:
        name, _, language = full.rpartition("-")
        path = OUT / "mails" / language / f"{name}-{size}-{scheme}.png"
        take_mail(browser, full, size, scheme, path, whole=True)
    return len(wanted)


def take_gallery(browser: Browser) -> int:
    """The pictures of the README, in docs/gallery; how many."""
    for picture, name, size, scheme in GALLERY:
        take_mail(browser, name, size, scheme, GALLERY_OUT / f"{picture}.png", whole=False)
    return len(GALLERY)


def take_pages(states: list[str]) -> int:
    """Pictures of these states of the site, or of all; how many."""
    taken = 0
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as world, chromium() as browser:
        for language in ("en", "ar", "es", "fr"):
            names = states or list(STATES if language in ("en", "ar") else MAIN)
            taken += take(browser, world, language, names)
    return taken


def main(wanted: list[str]) -> int:
    if not obtainable():
        sys.stderr.write(f"{NONE}\n")
        return 1
    taken = 0
    if wanted == ["gallery"]:
        with chromium() as browser:
            taken = take_gallery(browser)
    if not wanted or "mails" in wanted:
        with chromium() as browser:
            taken = take_mails(browser)
    states = [name for name in wanted if name not in ("mails", "gallery")]
    if states or not wanted:
        taken += take_pages(states)
    sys.stdout.write(f"{taken} pictures in {OUT if wanted != ['gallery'] else GALLERY_OUT}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
