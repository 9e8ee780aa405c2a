"""A list's colours and logo, checked before they are kept: everybody must be able to read what stands in them.

Contrast as WCAG 2.2 defines it (relative luminance, success criterion 1.4.3: 4.5 to 1 for text).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, update

from newsletter.audience.lists import find_list
from newsletter.errors import InputError
from newsletter.tables import lists

ENOUGH = 4.5
PAPERS: Mapping[str, tuple[str, ...]] = {"accent": ("#ffffff", "#f6f3ee"), "accent_dark": ("#1b2226", "#12181b")}
"""What stands behind a colour: paper and background of the pages in light and in dark (``site.css``)."""
MODES = {"accent": "light", "accent_dark": "dark"}
LARGEST_LOGO = 100_000
"""Bytes: a page has 60 KB in all, and a logo that is larger was not made for it."""
HEADERS = ("plain", "band")
"""What a list's name or logo stands on: the paper, or a band in its accent, which is the same in the dark."""

_HEX = re.compile(r"#?([0-9a-f]{3}|[0-9a-f]{6})", re.ASCII)
_SIGNS: Mapping[str, tuple[bytes, bytes]] = {
    "image/png": (b"\x89PNG\r\n\x1a\n", b""),
    "image/jpeg": (b"\xff\xd8\xff", b""),
    "image/webp": (b"RIFF", b"WEBP"),
}


def parse_colour(text: str) -> str:
    """A colour as ``#rrggbb``.

    Raises:
        InputError: it is not written in hexadecimal.
    """
    found = _HEX.fullmatch(text.strip().lower())
    if not found:
        raise InputError(f"{text!r} is not a colour.", "Write it in hexadecimal: #0b6e6e.")
    digits = found[1]
    return "#" + (digits if len(digits) == 6 else "".join(2 * digit for digit in digits))


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, 0 (black) to 1 (white)."""
    shares = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def least_contrast(name: str, colour: str) -> float:
    """How well ``accent`` or ``accent_dark`` stands out, where it does so least."""
    return min(contrast(colour, paper) for paper in PAPERS[name])


def check_colour(name: str, text: str) -> str:
    """A colour that is readable where it will stand.

    Raises:
        InputError: it is none, or too faint; with the nearest that is not.
    """
    colour = parse_colour(text)
    found = least_contrast(name, colour)
    if found < ENOUGH:
        raise InputError(
            f"{colour} is too faint on {MODES[name]} pages: its contrast is {found:.1f} to 1, and text needs {ENOUGH}.",
            f"The nearest that can be read is {readable(name, colour)}.",
        )
    return colour


def readable(name: str, colour: str) -> str:
    """The colour, darkened or lightened until it can be read."""
    goal = 0 if name == "accent" else 255
    parts = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    for step in range(101):
        mixed = "#" + "".join(f"{round(part + (goal - part) * step / 100):02x}" for part in parts)
        if least_contrast(name, mixed) >= ENOUGH:
            return mixed
    raise AssertionError(f"{colour} cannot be made readable")


def logo_type(content: bytes) -> str:
    """The media type of a logo, by what is in it: PNG, JPEG or WebP.

    No SVG: it may hold scripts, and a page opened from its address would run them as ours.

    Raises:
        InputError: it is something else, or too large.
    """
    if len(content) > LARGEST_LOGO:
        raise InputError(
            f"The logo has {len(content) // 1000} KB; it may have {LARGEST_LOGO // 1000}.",
            "It is shown at most 56 pixels high: scale it to 112.",
        )
    for kind, (start, further) in _SIGNS.items():
        if content.startswith(start) and content[8:12].startswith(further):
            return kind
    raise InputError("The logo is neither PNG nor JPEG nor WebP.", "Save it as PNG, with a transparent background.")


def logo_size(content: bytes) -> tuple[int, int]:
    """Width and height of a logo in pixels, as its header says.

    PNG: section 11.2.1 of the W3C's specification; JPEG: ITU-T T.81, B.2.2; WebP: RFC 9649, section 2.

    Raises:
        InputError: there is none, or it is no size.
    """
    width = height = 0
    if content.startswith(b"\x89PNG"):
        width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    elif content.startswith(b"RIFF"):
        kind, data = content[12:16], content[20:]
        if kind == b"VP8X":
            width, height = int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
        elif kind == b"VP8L":
            bits = int.from_bytes(data[1:5], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"VP8 ":
            width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    else:
        at = 2
        while at + 9 <= len(content) and content[at] == 0xFF:
            # SOF0 to SOF15, but for DHT, JPG and DAC, which stand among them.
            if 0xC0 <= content[at + 1] <= 0xCF and content[at + 1] not in (0xC4, 0xC8, 0xCC):
                height, width = (int.from_bytes(content[at + by : at + by + 2]) for by in (5, 7))
                break
            at += 2 + int.from_bytes(content[at + 2 : at + 4])
    if not (0 < width <= 10_000 and 0 < height <= 10_000):
        raise InputError("The logo does not say how large it is.", "Save it anew as PNG.")
    return width, height


def shown_logo(content: bytes) -> Mapping[str, Any]:
    """What mails say of a logo: ``width`` and ``height`` as they show it, in CSS pixels, and its ``version``.

    At most 56 high, as on the pages, and 300 wide.
    """
    width, height = logo_size(content)
    scale = min(1, 56 / height, 300 / width)
    digest = hashlib.sha256(content).hexdigest()[:10]
    return {"width": max(1, round(width * scale)), "height": max(1, round(height * scale)), "version": digest}


def set_brand(
    connection: Connection,
    slug: str,
    *,
    accent: str | None = None,
    accent_dark: str | None = None,
    logo: bytes | None = None,
    logo_dark: bytes | None = None,
    header: str | None = None,
) -> Mapping[str, str]:
    """Change a list's colours, logo and header; what is None stays. The colours that it has then.

    ``logo_dark`` takes the logo's place on what is dark: pages and mails in dark mode, and the band.

    A new accent without one for dark pages brings its own, lightened until it can be read there.

    Raises:
        InputError: a colour is too faint, a logo is none, or there is one for the dark alone.
        UnknownName: there is no such list.
    """
    row = find_list(connection, slug)
    brand = dict(row.brand)
    if accent is not None:
        brand["accent"] = check_colour("accent", accent)
        brand["accent_dark"] = readable("accent_dark", brand["accent"])
    if accent_dark is not None:
        brand["accent_dark"] = check_colour("accent_dark", accent_dark)
    values: dict[str, Any] = {"brand": brand}
    if logo is not None:
        values |= {"logo": logo, "logo_type": logo_type(logo)}
        brand["logo"] = shown_logo(logo)
    if logo_dark is not None:
        if "logo" not in brand:
            raise InputError("The list has no logo for light pages.", "Name one, too: --logo.")
        values |= {"logo_dark": logo_dark, "logo_dark_type": logo_type(logo_dark)}
        brand["logo_dark"] = shown_logo(logo_dark)
    if header is not None:
        if header not in HEADERS:
            raise InputError(f"There is no header {header!r}.", f"There are: {', '.join(HEADERS)}.")
        values["header"] = header
    connection.execute(update(lists).where(lists.c.id == row.id).values(**values))
    return {name: brand[name] for name in MODES if name in brand}


UNBRANDED: Mapping[str, Any] = {
    "brand": {}, "logo": None, "logo_type": None, "logo_dark": None, "logo_dark_type": None, "header": HEADERS[0]
}  # fmt: skip


def clear_brand(connection: Connection, slug: str) -> None:
    """Give a list the house's own look again.

    Raises:
        UnknownName: there is no such list.
    """
    row = find_list(connection, slug)
    connection.execute(update(lists).where(lists.c.id == row.id).values(**UNBRANDED))
