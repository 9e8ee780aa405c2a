"""How a list looks: its logo and colours, checked so that everybody can read what stands in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from newsletter.errors import UnknownName
from newsletter.tables import lists


@dataclass(frozen=True)
class Masthead:
    """What stands at the head of a list's pages: its name, where that leads, logo and stylesheet (or nothing)."""

    name: str
    home: str
    logo: str
    sheet: str
    logo_dark: str = ""
    header: str = "plain"
    postal_address: str = ""


def masthead_of(connection: Connection, list_id: int) -> Masthead:
    """The masthead of a list, for any page about it. The addresses change with what is behind them."""
    columns = ("slug", "name", "brand", "logo_type", "is_public", "archived_at", "postal_address", "header")
    row = connection.execute(
        select(*(lists.c[name] for name in columns), lists.c.logo, lists.c.logo_dark).where(lists.c.id == list_id)
    ).one()
    return masthead(row)


def masthead(row: Any) -> Masthead:
    """The masthead of a list whose row is at hand."""
    seen = row.is_public and row.archived_at is None
    return Masthead(
        name=row.name,
        home=f"/{row.slug}" if seen else "",
        logo=f"/{row.slug}/logo?v={version(row.logo)}" if row.logo else "",
        sheet=f"/{row.slug}/brand.css?v={version(brand_css(row.brand).encode())}" if brand_css(row.brand) else "",
        logo_dark=f"/{row.slug}/logo-dark?v={version(row.logo_dark)}" if row.logo_dark else "",
        header=row.header,
        postal_address=row.postal_address,
    )


def find_brand(connection: Connection, slug: str) -> Any:
    """The logos, their types and the colours of a list: those that are not public have mails and preferences, too.

    Raises:
        UnknownName: there is none.
    """
    row = connection.execute(
        select(lists.c.brand, lists.c.logo, lists.c.logo_type, lists.c.logo_dark, lists.c.logo_dark_type).where(
            lists.c.slug == slug
        )
    ).one_or_none()
    if row is None:
        raise UnknownName(f"There is no list {slug!r}.")
    return row


def version(content: bytes) -> str:
    """What an address carries so that a browser may keep what is behind it."""
    return hashlib.sha256(content).hexdigest()[:10]


def brand_css(brand: Mapping[str, Any]) -> str:
    """The colours of a list as a stylesheet: ``accent`` in light and of its band, ``accent_dark`` in dark."""
    light, dark = brand.get("accent"), brand.get("accent_dark")
    text = f":root {{ --accent: {light}; --band: {light}; }}\n" if light else ""
    if dark:
        text += f"@media (prefers-color-scheme: dark) {{ :root {{ --accent: {dark}; }} }}\n"
    return text
