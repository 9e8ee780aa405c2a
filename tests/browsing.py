"""A real Chromium: the system's own if there is one, else Playwright's.

python tests/browsing.py        finds one, or fetches Playwright's (``make browser``)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Containers often have a small /dev/shm and never a screen.
ARGUMENTS = ("--disable-dev-shm-usage", "--disable-gpu")
NONE = (
    "No browser: the pages were not tried in one. `make browser` fetches Chromium (170 MB); without that network, "
    "install `chromium` or `google-chrome` so that it is found in PATH."
)


def installed() -> str | None:
    """Where the system's Chromium is."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def own(playwright: Playwright) -> bool:
    """Whether Playwright's Chromium, or its small one without windows, has been fetched."""
    # …/chromium-1255/chrome-linux64/chrome
    fetched = Path(playwright.chromium.executable_path).parents[1]
    return any(fetched.parent.glob(f"chromium*-{fetched.name.rpartition('-')[2]}"))


def obtainable() -> bool:
    """Whether there is a browser to start."""
    if installed():
        return True
    with sync_playwright() as playwright:
        return own(playwright)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser. One that is there but does not start is an error, not a reason to skip."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed(), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def fetch() -> int:
    """Fetch Playwright's Chromium unless there is one; 1 if that cannot be done."""
    if obtainable():
        return 0
    command = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
    if subprocess.run(command, check=False).returncode == 0:
        return 0
    sys.stderr.write(f"{NONE}\n")
    return 1


if __name__ == "__main__":
    sys.exit(fetch())
