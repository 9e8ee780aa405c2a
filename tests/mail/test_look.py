"""A list's own look in mails: which logo is seen when, and the band that the name stands on."""

from __future__ import annotations

import re
from dataclasses import replace

import lxml.html
import pytest
from letters import ENVELOPE, compose
from mailcheck import Mail, contrast_of, declarations
from specimens import BRANDS, digest, records, specimens

from newsletter.audience.brand import ENOUGH
from newsletter.mail.auditing import blemishes
from newsletter.mail.faults import breaks
from newsletter.mail.look import HEAD, PLAIN, Look
from newsletter.mail.samples import sample_message
from newsletter.mail.templates import KINDS, flat_source, html_source, load_programs, shipped_source


def mail(brand: str, language: str = "en") -> Mail:
    return Mail(specimens()[f"digest-{brand}-{language}"].content, records())


def test_one_logo_at_a_time() -> None:
    """Two logos are in the mail and one is seen: the light one wherever nothing is known of the dark, Outlook's Word
    engine included; the dark one in dark mode, and where Outlook on the web turns colours around."""
    found = mail("logos")
    light, dark = found.html.xpath("//h1//img")
    assert (light.get("src")[-8:], dark.get("src")[-13:]) == ("logo?v=1", "logo-dark?v=1")
    shown, hidden = (declarations(span.get("style")) for span in found.html.xpath("//h1/span"))
    assert shown["display"] == "block"
    assert (hidden["display"], hidden["mso-hide"]) == ("none", "all")
    source = found.part("text/html")
    assert re.search(r'<!--\[if !mso\]><!--><span class="logo-dark".*logo-dark\?v=1.*</span><!--<!\[endif\]-->', source)
    sheets = "".join(style.text or "" for style in found.html.iter("style"))
    for shown, gone in (("logo-dark", "logo-light"),):
        for before in ("", "[data-ogsc] "):
            assert f"\n{before}.{shown} {{ display: block !important; }}" in sheets
            assert f"\n{before}.{gone} {{ display: none !important; }}" in sheets
    assert {image.get("alt") for image in (light, dark)} == {"Routes & Rights"}


@pytest.mark.parametrize("brand", BRANDS)
def test_a_logo_leads_to_the_web_copy(brand: str) -> None:
    """Each logo of a digest is a link to its web copy, which the text part names, too; without a copy it is none, as in
    notices. The name in a blocked logo's place has the heading's ink, also where ``inherit`` is not known."""
    found = mail(brand)
    (title,) = found.html.xpath("//h1")
    for link in title.iter("a"):
        assert link.get("href") == ENVELOPE.copy_url
        ink = found.style(title, "light")["color"].replace("#fff", "#ffffff")
        assert link.get("style").startswith(f"color: {ink}; color: inherit; ")
    assert not found.html.xpath("//h1//img[not(parent::a)]")
    masthead = replace(digest("en", 1).masthead, look=BRANDS[brand])
    for content in (
        compose(digest("en", 1), replace(ENVELOPE, copy_url=""), load_programs(BRANDS[brand])).content,
        *(sample_message(kind, masthead).content for kind in KINDS[1:]),
    ):
        html = Mail(content, {}).html
        assert html.xpath("//h1//img")
        assert not html.xpath("//h1//a")


def test_the_band() -> None:
    """On the band, which is the accent by day and night, stands the logo for the dark, or the name in white."""
    found = mail("band")
    (image,) = found.html.xpath("//h1//img")
    assert "logo-dark" in image.get("src")
    assert "logo-light" not in found.part("text/html")
    (title,) = found.html.xpath("//h1")
    for scheme in ("light", "dark"):
        style = found.style(title, scheme)
        band = found.style(title.getparent(), scheme)
        assert band["background-color"] == "#8a1c1c"
        assert contrast_of(style["color"], band["background-color"]) >= ENOUGH
    # What follows is on paper, as without a band.
    assert found.html.xpath("//td[contains(@class, 'top')]")[0].getparent() is not title.getparent().getparent()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_band(kind: str) -> None:
    """Each kind of mail has the band where its list has one, and the check finds nothing wrong with it."""
    look = replace(BRANDS["band"], logo=None, logo_dark=None)
    assert HEAD.search(shipped_source(f"{kind}/body.html"))
    title = lxml.html.document_fromstring(html_source(kind, look)).xpath("//td[@class='band']/h1")
    assert len(title) == 1
    assert breaks(kind, look) == []
    assert [str(fault) for fault in blemishes(kind, look)] == []
    # An author is told the lines of the files as they are.
    assert flat_source(kind, "html", look).count("\n") == flat_source(kind, "html", PLAIN).count("\n")


def test_a_mail_without_a_second_logo_is_as_before() -> None:
    """Nothing of this is in the mails of lists that have one logo or none."""
    for look in (PLAIN, Look(logo=("https://rutas.example/rutas/logo?v=1", 168, 56))):
        assert "logo-light" not in html_source("digest", look)
        assert "data-ogsc" not in html_source("digest", look)
