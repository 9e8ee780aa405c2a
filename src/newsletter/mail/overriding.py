"""Template files of a list's own: read when they change, tried before they are used, and left when they fail.

A mail is never held up by them: if those of one kind are broken, mails of that kind have the shipped look.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import structlog

from newsletter.errors import SettingsError
from newsletter.mail.faults import Fault, breaks
from newsletter.mail.look import Logo, Look
from newsletter.mail.templates import FILES
from newsletter.settings import Settings

CHECKED_FOR = 3.0
"""Seconds for which files are taken to be as they were."""
LOOKS_KEPT = 200

log = structlog.get_logger("newsletter.mail")

_Made = TypeVar("_Made")
_Stamp = tuple[tuple[str, int, int], ...]


def own_folder(home: Path, slug: str) -> Path:
    """Where a list has its own template files, by the names that they have in ``templates/email/``."""
    return home / "templates" / slug


def look_of(settings: Settings, row: Any) -> Look:
    """How a list's mails look now, whether or not its files can be used; ``row``: slug, brand, header, style."""
    folder = own_folder(settings.home, row.slug)
    return _branded(row, settings.site, _contents(folder, _stamp(folder)))


def looks_of(settings: Settings) -> Looks:
    """The looks of an installation's lists, one a process."""
    return _looks(settings.home.absolute(), settings.site)


@cache
def _looks(home: Path, site: str) -> Looks:
    return Looks(home, site)


def _branded(row: Any, site: str, files: tuple[tuple[str, bytes | None], ...]) -> Look:
    brand = row.brand

    def logo(name: str, path: str) -> Logo | None:
        shown = brand.get(name)
        # A page over https, as webmail is, shows no picture over http.
        if not shown or not site.startswith("https://"):
            return None
        return f"{site}/{row.slug}/{path}?v={shown['version']}", shown["width"], shown["height"]

    return Look(
        row.slug if files else "", files, brand.get("accent", ""), brand.get("accent_dark", ""),
        logo("logo", "logo"), logo("logo_dark", "logo-dark"), header=row.header, style=row.style,
    )  # fmt: skip


def _stamp(folder: Path) -> _Stamp:
    """Which files of its own a list has, when each was changed, and their sizes in bytes."""
    if not folder.is_dir():
        return ()
    found = []
    for name in FILES:
        try:
            status = (folder / name).stat()
        except OSError:
            continue
        found.append((name, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _contents(folder: Path, stamp: _Stamp) -> tuple[tuple[str, bytes | None], ...]:
    return tuple((name, _content(folder / name)) for name, _, _ in stamp)


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


class Looks:
    """The looks of all lists. It lives as long as its process, and may be asked from several threads."""

    def __init__(self, home: Path, site: str) -> None:
        """``home``: the folder of state; ``site``: the URL that the logo is under."""
        self._home = home
        self._site = site
        self._files: dict[str, tuple[float, _Stamp, tuple[tuple[str, bytes | None], ...]]] = {}
        self._tried: dict[tuple[str, Look], bool] = {}
        """Whether the templates of a kind can be used in a look."""

    def of(self, row: Any, kind: str) -> Look:
        """How a list's mails of a kind look: its own way if that can be used.

        ``row``: the list's slug, brand, header and style.
        """
        look = _branded(row, self._site, self._read(row.slug))
        if not look.files:
            return look
        if (kind, look) not in self._tried:
            found = breaks(kind, look)
            self._tried[kind, look] = not found
            for key in list(self._tried)[: max(0, len(self._tried) - LOOKS_KEPT)]:
                self._tried.pop(key, None)
            if found:
                _warn(look, kind, found[0])
        return look if self._tried.get((kind, look)) else look.shipped

    def failed(self, look: Look, kind: str, error: Exception) -> bool:
        """Whether a mail can be made anew in the shipped look, after ``error`` came of making it in the list's own."""
        if not look.files:
            return False
        if self._tried.get((kind, look), True):
            _warn(look, kind, Fault(kind, 0, f"{type(error).__name__}: {error}"))
            self._tried[kind, look] = False
        return True

    def made(self, look: Look, kind: str, make: Callable[[], _Made], again: Callable[[], _Made]) -> _Made:
        """What ``make`` gives; if a list's own templates are why it cannot, what ``again`` gives without them.

        Raises:
            Exception: it can be made in neither look.
        """
        try:
            return make()
        except SettingsError:
            # Keys that cannot sign are no template's fault.
            raise
        except Exception as error:
            # Templates of a list's own may raise anything.
            if not self.failed(look, kind, error):
                raise
        return again()

    def _read(self, slug: str) -> tuple[tuple[str, bytes | None], ...]:
        now = time.monotonic()
        known = self._files.get(slug)
        if known is not None and now - known[0] < CHECKED_FOR:
            return known[2]
        folder = own_folder(self._home, slug)
        stamp = _stamp(folder)
        files = known[2] if known is not None and known[1] == stamp else _contents(folder, stamp)
        self._files[slug] = now, stamp, files
        return files


def _warn(look: Look, kind: str, fault: Fault) -> None:
    log.warning(
        "a list's own template cannot be used; its mails of this kind have the shipped look",
        list=look.slug, kind=kind, file=fault.file, line=fault.line, reason=fault.found,
    )  # fmt: skip
