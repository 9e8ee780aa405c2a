"""`newsletter templates preview --watch` in a real browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from commanding import CommandLine
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.browser


def test_what_is_saved_is_shown(newsletter: CommandLine, browser: Browser) -> None:
    """The mail stands there at phone and desktop width, light and dark, and what is saved is shown without a click:
    the new subject, and what is wrong with its file and line. So are preheader, pictures and text part. The
    policy of the page is never broken."""
    newsletter("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@r.example", "--postal-address", "X")
    newsletter("templates", "copy", "digest/subject.txt")
    file = newsletter.home / "templates/rutas/digest/subject.txt"
    command = [sys.executable, "-c", "from newsletter.cli import main; main()", "templates", "preview", "--watch"]
    with subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as running:
        try:
            address = re.search(r"http\S+", running.stdout.readline())
            assert address
            page = browser.new_page(viewport={"width": 1600, "height": 2200})
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text))
            page.goto(address[0])
            papers = [
                page.frame_locator(f"iframe >> nth={number}")
                .locator(".sheet")
                .evaluate("sheet => [getComputedStyle(sheet).backgroundColor, innerWidth]")
                for number in range(4)
            ]
            assert [width for _, width in papers] == [390, 390, 700, 700]
            (light, _), (dark, _) = papers[:2]
            assert light != dark
            assert [paper for paper, _ in papers] == [light, dark, light, dark]
            picture = page.frame_locator("iframe >> nth=0").locator(".image").first
            assert picture.evaluate("picture => [picture.naturalWidth > 0, picture.alt]") == [
                True,
                "Families at the desk",
            ]
            file.write_text("Ours: {{ first_title }}")
            expect(page.locator("#subject")).to_contain_text("Ours: ")
            expect(page.locator("#preheader")).to_contain_text("Mobile clinics")
            expect(page.locator("#shipped")).to_be_hidden()
            file.write_text("\n{{ nothing }}")
            expect(page.locator("#faults")).to_contain_text(
                "digest/subject.txt, line 2: There is no variable 'nothing'"
            )
            expect(page.locator("#shipped")).to_be_visible()
            page.get_by_text("The text part").click()
            expect(page.locator("#text")).to_contain_text("Rutas")
            assert said == []
            page.close()
        finally:
            running.terminate()
