"""Without a mouse, in a frame on another site, without a connection, and under a page that the browser kept."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from observing import Observer
from playwright.sync_api import Browser, Page, expect
from states import go
from world import World, serving

from subscribers.rendering import say

pytestmark = pytest.mark.browser

FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  return { what: one.name || one.id || one.tagName, value: one.value || '',
           outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
           seen: box.bottom > 0 && box.top < innerHeight };
}"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(locale="en", reduced_motion="reduce") as context:
        page = context.new_page()
        page.set_default_timeout(15_000)
        yield page


def tab_to(page: Page, what: str, value: str = "") -> None:
    """Go on by the Tab key to a control of this name; whatever has the focus on the way shows it."""
    for _ in range(60):
        page.keyboard.press("Tab")
        here = page.evaluate(FOCUSED)
        # The focus is nowhere if the frame that it was in is just being loaded anew.
        if here["what"] not in ("IFRAME", "BODY"):
            assert here["outline"], here
            assert here["seen"], here
        if here["what"] == what and (not value or here["value"] == value):
            return
    raise AssertionError(f"no {what} by Tab")


def test_by_keyboard(page: Page, world: World) -> None:
    """Subscribe with Tab, Space, Enter and arrows alone; the focus is always seen, and goes to what was wrong."""
    email = world.address()
    go(page, world, "/rutas", "en")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)["what"] == "A"
    page.keyboard.press("Enter")
    tab_to(page, "find-place")
    page.keyboard.type("guatemala")
    tab_to(page, "country", "GT")
    page.keyboard.press("Space")
    expect(page.locator("input[name=country][value=GT]")).to_be_checked()
    tab_to(page, "theme", "protection")
    page.keyboard.press("Space")
    tab_to(page, "frequency")
    page.keyboard.press("ArrowDown")
    expect(page.locator("input[name=frequency][value=weekly]")).to_be_checked()
    tab_to(page, "hour")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#hour")).to_have_value("9")
    tab_to(page, "email")
    page.keyboard.type("nobody")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#email")).to_be_focused()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(email)
    tab_to(page, "name")
    tab_to(page, "BUTTON")
    with page.expect_navigation():
        page.keyboard.press("Space")
    page.goto(world.mailed_link(email, "c"))
    tab_to(page, "BUTTON")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(say("en", "welcome_title", list="Rutas"))


def test_in_a_frame(page: Page, world: World) -> None:
    """The small form works in a frame on another site, which no other page lets itself be put into."""
    other = FastAPI()
    frames = "".join(
        f'<iframe src="{world.url}{path}" width="400" height="500"></iframe>' for path in ("/rutas/embed", "/")
    )
    other.add_api_route("/", lambda: HTMLResponse(f"<!doctype html><title>Elsewhere</title>{frames}"))
    with socket.create_server(("127.0.0.1", 0)) as listener, serving(other, listener):
        # Another name is another site.
        page.goto(f"http://localhost:{listener.getsockname()[1]}/")
        small, refused = page.frames[1:]
        email = world.address()
        small.locator("#email").fill(email)
        small.locator("form button").click()
        expect(small.get_by_role("heading", level=1)).to_have_text(say("en", "sent_title"))
        assert len(world.mails(email)) == 1
        assert refused.url.startswith("chrome-error:")
        assert page.context.cookies() == []


def test_offline(page: Page, world: World) -> None:
    """Without a connection a form is not lost to the browser's own page: it says so, and works once there is one."""
    observer = Observer().watch(page.context)
    email = world.address()
    go(page, world, "/rutas", "en", country="GT")
    page.locator("#email").fill(email)
    page.context.set_offline(True)
    page.locator("form button:not([name], [type])").click()
    expect(page.get_by_role("alert")).to_have_text(say("en", "offline"))
    expect(page.locator("#email")).to_have_value(email)
    page.context.set_offline(False)
    expect(page.get_by_role("alert")).to_have_count(0)
    with page.expect_navigation():
        page.locator("form button:not([name], [type])").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(say("en", "sent_title"))
    assert [one for one in observer.complaints if "ERR_INTERNET" not in one] == []


def test_going_back(page: Page, world: World) -> None:
    """What was picked is still there after the browser's button for going back."""
    go(page, world, "/rutas", "en")
    page.locator("#find-place").fill("guatemala")
    page.locator("input[name=country][value=GT]").check()
    page.locator("input[name=frequency][value=weekly]").check()
    page.locator("#email").fill(world.address())
    with page.expect_navigation():
        page.locator("form button:not([name], [type])").click()
    page.go_back()
    expect(page.locator("input[name=country][value=GT]")).to_be_checked()
    expect(page.locator("input[name=frequency][value=weekly]")).to_be_checked()
