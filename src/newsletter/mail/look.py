"""How the mails of a list look: its own files, colours, logo and style. A value; what looks alike is loaded once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape

ACCENT, ACCENTS_DARK = "#0b6e6e", ("#7fd1c7", "#4fb3a9")
"""The colours of the shipped stylesheet that a list's own take the place of, in light and in dark."""
NAME = "[[name]]"
"""Where a template wants the list's name, or its logo if there is one."""
_COLOURS = re.compile("|".join((ACCENT, *ACCENTS_DARK)), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Look:
    """What differs from the shipped templates.

    ``files``: name below ``templates/email/`` and content, in order; None if it could not be read. ``logo``: its URL,
    width and height in pixels. ``style`` of digests: full, or compact for who skims.
    """

    slug: str = ""
    files: tuple[tuple[str, bytes | None], ...] = ()
    accent: str = ""
    accent_dark: str = ""
    logo: tuple[str, int, int] | None = None
    style: str = "full"

    @property
    def own(self) -> Mapping[str, bytes | None]:
        """The files by name."""
        return dict(self.files)

    @property
    def shipped(self) -> Look:
        """The shipped templates in the list's colours."""
        return replace(self, files=())

    def dressed(self, source: str) -> str:
        """A template or stylesheet in the list's colours, its logo where the name may stand."""

        def colour(match: re.Match[str]) -> str:
            return (self.accent if match[0].lower() == ACCENT else self.accent_dark) or match[0]

        return _COLOURS.sub(colour, source).replace(NAME, self._name)

    @property
    def _name(self) -> str:
        if self.logo is None:
            return "{{ list_name }}"
        url, width, height = self.logo
        # Where pictures are blocked, the name stands in its place, in the heading's own type.
        return (
            f'<img src="{escape(url)}" alt="{{{{ list_name }}}}" width="{width}" height="{height}" '
            'style="display: block; border: 0; max-width: 100%; height: auto">'
        )


PLAIN = Look()
"""The shipped look."""
