"""A digest as it was mailed made a page of the site: nothing in it needs a style that a strict policy forbids. Pure.

In a mail each element carries its style. Here equal styles become a class each, in one ``<style>`` whose hash the
Content-Security-Policy names (CSP 3, 6.7.4.4): neither ``unsafe-inline`` nor ``unsafe-hashes`` is needed.
"""

from __future__ import annotations

import hashlib
import html
import re
from base64 import b64encode
from typing import NamedTuple

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SHEET = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL)
_TAG = re.compile(r"""<[a-z][a-z0-9]*(?:[^<>"']|"[^"]*"|'[^']*')*>""", re.IGNORECASE)
_STYLE = re.compile(r"""\sstyle=(?:"([^"]*)"|'([^']*)')""")
_PICTURE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_CLASS = re.compile(r"""\sclass="([^"]*)\"""")


class WebCopy(NamedTuple):
    """A page, and what a policy has to name as a source of style for it to look as it should."""

    html: str
    style: str

    @property
    def policy(self) -> str:
        """The policy of a page of its own."""
        return (
            f"default-src 'none'; style-src 'self' {self.style}; img-src 'self'; form-action 'none'; "
            "base-uri 'none'; frame-ancestors 'none'"
        )


def web_copy(mail: str, head: str, top: str, site: str) -> WebCopy:
    """``mail``: the HTML of a digest, in which all that came from outside is escaped, so that tags are ours.

    Pictures that are not of ``site``, as those of items are, are left out: who reads a page of ours is told to nobody.
    ``head`` is put at the end of its head, ``top`` at the beginning of its body; the rest becomes ``<main>``.
    """
    classes: dict[str, str] = {}

    def restyled(found: re.Match[str]) -> str:
        tag = found[0]
        style = _STYLE.search(tag)
        if style is None:
            return tag
        declared = html.unescape(style[1] if style[1] is not None else style[2])
        name = classes.setdefault(declared, f"s{len(classes)}")
        tag = tag.replace(style[0], "", 1)
        if _CLASS.search(tag):
            return _CLASS.sub(lambda old: f' class="{name} {old[1]}"', tag, count=1)
        return re.sub(r"^<[a-zA-Z0-9]+", lambda start: f'{start[0]} class="{name}"', tag, count=1)

    # Outlook's conditional comments are for Outlook.
    page = _COMMENT.sub("", mail)
    page = _PICTURE.sub(lambda found: found[0] if f'src="{html.escape(site)}/' in found[0] else "", page)
    sheets = "".join(found[1] for found in _SHEET.finditer(page))
    page = _TAG.sub(restyled, _SHEET.sub("", page))
    # Before the sheets of the mail, which say !important where they differ.
    sheet = "".join(f".{name}{{{declared}}}" for declared, name in classes.items()) + sheets
    # A declaration that could end the element is not ours; without it the page is plain, and safe.
    sheet = "" if "<" in sheet else sheet
    page = page.replace("</head>", f"{head}<style>{sheet}</style>\n</head>", 1)
    page = re.sub(r"<body\b[^>]*>", lambda body: f"{body[0]}\n{top}<main>", page, count=1)
    page = page.replace("</body>", "</main>\n</body>", 1)
    return WebCopy(page, f"'sha256-{b64encode(hashlib.sha256(sheet.encode()).digest()).decode()}'")
