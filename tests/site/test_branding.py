"""A list's own look: only what everybody can read, and only pictures that cannot run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commanding import CHECKOUT, CommandLine
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from newsletter.audience.brand import ENOUGH, PAPERS, contrast, least_contrast, logo_type, parse_colour, readable
from newsletter.database import engine_for
from newsletter.errors import InputError
from newsletter.settings import load_settings
from newsletter.slugs import RESERVED, check_list_slug
from subscribers.app import site_app

PNG = b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IHDR" + (224).to_bytes(4) + (112).to_bytes(4) + bytes(10)


def test_contrast() -> None:
    """Contrast is that of WCAG 2.2: black on white 21 to 1, #767676 on white just enough, #777777 not."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") >= ENOUGH > contrast("#777777", "#ffffff")
    assert parse_colour(" #0BF ") == "#00bbff"


@given(st.integers(0, 0xFFFFFF), st.sampled_from(sorted(PAPERS)))
def test_any_colour_can_be_made_readable(number: int, name: str) -> None:
    """From any colour there is a way to one that can be read."""
    assert least_contrast(name, readable(name, f"#{number:06x}")) >= ENOUGH


def test_the_papers_are_those_of_the_pages() -> None:
    """Colours are checked against what the stylesheet really has behind them, whose own colours pass as well."""
    css = (CHECKOUT / "subscribers/static/site.css").read_text()
    for name, block in zip(("accent", "accent_dark"), re.findall(r":root \{([^}]+--paper[^}]+)\}", css), strict=True):
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        assert PAPERS[name] == (colours["paper"], colours["back"])
        for ink in ("accent", "ink", "soft", "wrong"):
            assert least_contrast(name, colours[ink]) >= ENOUGH, ink
        assert contrast(colours["edge"], colours["paper"]) >= 3
        assert contrast(colours["wrong"], colours["wrong-back"]) >= ENOUGH


@pytest.mark.parametrize(
    "content", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a", b"RIFF0000AVI ", PNG + bytes(200_000)]
)
def test_what_is_no_logo(content: bytes) -> None:
    """No SVG, which may hold scripts, nothing unknown and nothing large."""
    with pytest.raises(InputError):
        logo_type(content)


def test_the_command(newsletter: CommandLine, tmp_path: Path) -> None:
    """`lists brand` keeps readable colours and a logo, which the pages then have, and webmail on any host
    may show; it refuses faint ones with a hint."""
    newsletter("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@r.example", "--postal-address", "X")
    logo = tmp_path / "logo.png"
    logo.write_bytes(PNG)
    faint = newsletter("lists", "brand", "rutas", "--accent", "#ffcc00", code=1)
    assert "light pages" in faint.err
    assert "nearest" in faint.err
    assert "dark pages" in newsletter("lists", "brand", "rutas", "--accent-dark", "#0b6e6e", code=1).err
    newsletter("lists", "brand", "rutas", code=2)
    assert "--logo" in newsletter("lists", "brand", "rutas", "--logo-dark", str(logo), code=1).err
    done = newsletter("lists", "brand", "rutas", "--accent", "#0b6e6e", "--logo", str(logo))
    assert "accent dark" in done.out
    settings = load_settings()
    with TestClient(site_app(engine_for(settings.database), settings)) as site:
        page = site.get("/rutas").text
        sheet = re.search(r'href="(/rutas/brand.css[^"]+)"', page)
        picture = re.search(r'src="(/rutas/logo[^"]+)"', page)
        assert sheet
        assert picture
        assert "--accent: #0b6e6e" in site.get(sheet[1]).text
        answer = site.get(picture[1])
        assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert "<picture>" not in page
        dark = tmp_path / "dark.png"
        dark.write_bytes(PNG + b"dark")
        newsletter("lists", "brand", "rutas", "--logo-dark", str(dark))
        page = site.get("/rutas").text
        picture = re.search(r'srcset="(/rutas/logo-dark[^"]+)" media="\(prefers-color-scheme: dark\)"', page)
        assert picture
        answer = site.get(picture[1])
        assert (answer.content, answer.headers["cross-origin-resource-policy"]) == (PNG + b"dark", "cross-origin")
        assert newsletter("lists", "brand", "rutas", "--header", "stripe", code=1).err.count("plain, band") == 1
        newsletter("lists", "brand", "rutas", "--header", "band")
        page = site.get("/rutas").text
        assert 'class="masthead band"' in page
        assert re.findall(r'<img src="(/rutas/logo[^"?]*)', page) == ["/rutas/logo-dark"]
        assert "--band: #0b6e6e" in site.get(sheet[1]).text
        newsletter("lists", "brand", "rutas", "--clear")
        assert site.get("/rutas/logo-dark").status_code == 404
        assert newsletter("lists", "show", "rutas", "--json").json["header"] == "plain"
        assert site.get("/rutas/logo").status_code == 404
        assert "brand.css" not in site.get("/rutas").text


def test_reserved_slugs() -> None:
    """No list is called like a part of the site."""
    for slug in sorted(RESERVED):
        with pytest.raises(InputError):
            check_list_slug(slug)
    assert check_list_slug("rutas") == "rutas"


def test_theme_descriptions(newsletter: CommandLine) -> None:
    """Themes have a sentence in each language, which stays when names change."""
    newsletter("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@r.example", "--postal-address", "X")
    newsletter("themes", "add", "protection", "--name", "en=Protection", "--description", "en=Asylum and returns")
    newsletter("themes", "rename", "protection", "--name", "es=Protección")
    (theme,) = newsletter("themes", "list", "--json").json
    assert theme["descriptions"] == {"en": "Asylum and returns"}
    assert theme["names"]["es"] == "Protección"
