"""Pictures of every page and state, and of every mail: phone and desktop, light and dark, for a designer's eye
(``make screenshots``).

    python tests/browser/screenshots.py [STATE … | mails | gallery]

All states in English and Arabic, the main ones in Spanish and French, too; all mails in each language, also with their
images blocked. ``gallery`` renews the few pictures that the README shows.
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
from playwright.sync_api import Browser, Route
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
IMAGE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1068 560">
<path fill="#cfe3e6" d="M0 0h1068v560H0z"/>
<circle cx="790" cy="190" r="74" fill="#f6e3b4"/>
<path fill="#8fb9b5" d="M0 380 250 190l210 170 190-120 418 220v100H0z"/>
<path fill="#3c7f7c" d="M0 470q270-110 540-20t528-50v160H0z"/></svg>"""
LOGO = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 168 56"><circle cx="28" cy="28" r="22" fill="none"
stroke="%s" stroke-width="6"/>
<text x="62" y="37" font-family="Georgia, serif" font-size="27" fill="%s">Rutas</text></svg>"""
"""What stands for the pictures in mails, which nobody has drawn: a landscape, and a logo in its ink."""


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


def show(route: Route) -> None:
    """Answer for an image of a mail."""
    ink = "#ffffff" if "logo-dark" in route.request.url else "#8a1c1c"
    route.fulfill(content_type="image/svg+xml", body=LOGO % (ink, ink) if "logo" in route.request.url else IMAGE)


def take_mail(browser: Browser, name: str, size: str, scheme: str, path: Path, *, whole: bool) -> None:
    """A picture of one mail, ``whole`` or as far as the screen goes.

    ``scheme``: light, dark, or blocked, which is light without its images.
    """
    colours = "dark" if scheme == "dark" else "light"
    with browser.new_context(offline=True, color_scheme=colours, viewport=MAIL_SIZES[size]) as context:  # type: ignore[arg-type]
        if scheme != "blocked":
            context.route("**/*", show)
        page = context.new_page()
        page.set_content(Mail(specimens()[name].content, {}).part("text/html"))
        page.screenshot(path=path, full_page=whole)


def take_mails(browser: Browser) -> int:
    """Pictures of all mails, as OUT/mails/LANGUAGE/MAIL-SIZE-SCHEME.png; how many."""
    wanted = list(itertools.product(specimens(), MAIL_SIZES, ("light", "dark", "blocked")))
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
    states = [name for name in wanted if name not in ("mails", "gallery")]
    unknown = [name for name in states if name not in STATES]
    if unknown:
        sys.stderr.write(f"There is no state {', '.join(unknown)}. There are mails, gallery, {', '.join(STATES)}.\n")
        return 2
    taken = 0
    if wanted == ["gallery"]:
        with chromium() as browser:
            taken = take_gallery(browser)
    if not wanted or "mails" in wanted:
        with chromium() as browser:
            taken = take_mails(browser)
    if states or not wanted:
        taken += take_pages(states)
    sys.stdout.write(f"{taken} pictures in {OUT if wanted != ['gallery'] else GALLERY_OUT}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
