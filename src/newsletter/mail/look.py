"""How the mails of a list look: its files, colours, logo, header, style. A value; what looks alike is loaded once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape

ACCENT, ACCENTS_DARK = "#0b6e6e", ("#7fd1c7", "#4fb3a9")
"""The colours of the shipped stylesheet that a list's own take the place of, in light and in dark."""
NAME = "[[name]]"
"""Where a template wants the list's name, or its logo if there is one."""
HEAD = re.compile(r'<td class="top">(\s*)<h1 class="name">\[\[name\]\]</h1>')
"""How a template begins that can have a band."""
_BAND = r'<td class="band"><h1 class="name banded">[[name]]</h1></td></tr>\1<tr><td class="top under">'
BAND_STYLES = ("band", "banded", "under")
"""Classes of the band, of the name on it, and of what stands under it."""
_LOGOS = """<style>
@media (prefers-color-scheme: dark) {
.logo-light { display: none !important; }
.logo-dark { display: block !important; }
}
[data-ogsc] .logo-light { display: none !important; }
[data-ogsc] .logo-dark { display: block !important; }
</style>
</head>"""
"""Which of two logos is seen; Outlook on the web says ``data-ogsc`` where it turns colours around."""
_COLOURS = re.compile("|".join((ACCENT, *ACCENTS_DARK)), re.IGNORECASE)


Logo = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """What differs from the shipped templates.

    ``files``: name below ``templates/email/`` and content, in order; None if it could not be read. ``logo`` and
    ``logo_dark``, which takes its place on what is dark: URL, width and height in pixels. ``header``: what the name
    stands on, plain or band. ``style`` of digests: full, or compact for who skims.
    """

    slug: str = ""
    files: tuple[tuple[str, bytes | None], ...] = ()
    accent: str = ""
    accent_dark: str = ""
    logo: Logo | None = None
    logo_dark: Logo | None = None
    header: str = "plain"
    style: str = "full"

    @property
    def own(self) -> Mapping[str, bytes | None]:
        """The files by name."""
        return dict(self.files)

    @property
    def shipped(self) -> Look:
        """The shipped templates in the list's colours."""
        return replace(self, files=())

    def headed(self, source: str) -> str:
        """An HTML template with the band that the name stands on, if that is the header; lines stay where they are."""
        return HEAD.sub(_BAND, source) if self.header == "band" else source

    def dressed(self, source: str) -> str:
        """A template or stylesheet in the list's colours, its logo where the name may stand."""

        def colour(match: re.Match[str]) -> str:
            return (self.accent if match[0].lower() == ACCENT else self.accent_dark) or match[0]

        if self._toggles and NAME in source:
            source = source.replace("</head>", _LOGOS, 1)
        return _COLOURS.sub(colour, source).replace(NAME, self._name)

    @property
    def _toggles(self) -> bool:
        # A band is dark by day, too.
        return self.logo_dark is not None and self.header != "band"

    @property
    def _name(self) -> str:
        if self.logo is None:
            return "{{ list_name }}"
        if self.logo_dark is None or not self._toggles:
            return self._linked(self.logo_dark or self.logo)
        # Hidden where nothing is known of the dark: styles in the head may be gone, and Outlook's Word engine has none.
        return (
            f'<span class="logo-light" style="display: block">{self._linked(self.logo)}</span><!--[if !mso]><!-->'
            f'<span class="logo-dark" style="display: none; mso-hide: all">{self._linked(self.logo_dark)}</span>'
            "<!--<![endif]-->"
        )

    def _linked(self, logo: Logo) -> str:
        """A logo that leads to the web copy, if there is one.

        Where pictures are blocked, the list's name stands in its place, in the heading's own type.
        """
        url, width, height = logo
        # Outlook's Word engine does not know ``inherit``, and keeps to what was said before.
        ink = "#ffffff" if self.header == "band" else "#16212b"
        style = f"color: {ink}; color: inherit; text-decoration: none"
        return (
            f'{{% if copy_url %}}<a href="{{{{ copy_url }}}}" style="{style}">{{% endif %}}'
            f'<img src="{escape(url)}" alt="{{{{ list_name }}}}" width="{width}" height="{height}"'
            ' style="display: block; border: 0; max-width: 100%; height: auto">'
            "{% if copy_url %}</a>{% endif %}"
        )


PLAIN = Look()
"""The shipped look."""
