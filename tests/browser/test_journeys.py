"""What readers do, from the first page to the last: with a script and without, left to right and right to left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select
from states import digest, go, press
from world import World

from newsletter.tables import deliveries, subscribers, subscriptions, suppressions
from subscribers.rendering import say

pytestmark = pytest.mark.browser

WAYS = [("en", True), ("es", False), ("ar", True), ("ar", False)]
GUATEMALA = {"en": "guatemala", "es": "guatemala", "ar": "غواتيمالا"}


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{'script' if way[1] else 'plain'}")
def way(request: pytest.FixtureRequest) -> tuple[str, bool]:
    """A language, and whether scripts run."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def language(way: tuple[str, bool]) -> str:
    return way[0]


@pytest.fixture
def page(browser: Browser, way: tuple[str, bool]) -> Iterator[Page]:
    with browser.new_context(locale=way[0], java_script_enabled=way[1], timezone_id="America/Guatemala") as context:
        page = context.new_page()
        page.set_default_timeout(15_000)
        yield page
        assert context.cookies() == []


def has(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text))


def button(page: Page, language: str, key: str) -> None:
    with page.expect_navigation():
        page.get_by_role("button", name=say(language, key), exact=True).first.click()


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def row(world: World, number: int) -> Any:
    with world.house.engine.connect() as connection:
        return connection.execute(select(subscriptions).where(subscriptions.c.id == number)).one()


def email_of(world: World, number: int) -> str:
    return str(world.one(select(subscribers.c.email).where(subscribers.c.id == world.person(number))))


def test_subscribing(page: Page, world: World, way: tuple[str, bool]) -> None:
    """Pick, see what it would bring, go wrong without losing a pick, sign up, confirm from the mail, be welcome."""
    language, script = way
    email = world.address()
    go(page, world, "/rutas", language, theme="protection")
    if script:
        page.locator("#find-place").fill(GUATEMALA[language])
        page.locator("input[name=country][value=GT]").check()
        expect(page.locator("#sample iframe")).to_have_attribute("src", has("country=GT"))
        expect(page.locator("#timezone")).to_have_value("America/Guatemala")
        # The region that it lies in is half ticked.
        assert page.locator("input[name=region][value='013']").evaluate("box => box.indeterminate")
    else:
        for region in ("019", "013"):
            page.locator(f"li:has(> label > input[value='{region}']) > details > summary").click()
        page.locator("input[name=country][value=GT]").check()
        press(page, "button[name=preview]")
        heading(page, say(language, "preview_heading"))
        expect(page.frame_locator("iframe").locator("h1, h2").first).to_be_visible()
        page.get_by_role("link", name=say(language, "preview_change")).click()
    page.locator("#email").fill("nobody at all")
    button(page, language, "subscribe_button")
    expect(page.locator("#email")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#email")).to_have_attribute("aria-describedby", has("email-error"))
    expect(page.locator("#email-error")).to_contain_text(say(language, "email_wrong"))
    expect(page.locator("#email")).to_have_value("nobody at all")
    for picked in ("[name=country][value=GT]", "[name=theme][value=protection]"):
        expect(page.locator(f"input{picked}")).to_be_checked()
    if script:
        expect(page.locator("#summary")).to_be_focused()
    page.locator("#summary a").click()
    page.locator("#email").fill(email)
    button(page, language, "subscribe_button")
    heading(page, say(language, "sent_title"))
    expect(page.locator("main")).to_contain_text(email)
    assert len(world.mails(email)) == 1
    page.goto(world.mailed_link(email, "c"))
    button(page, language, "confirm_button")
    heading(page, say(language, "welcome_title", list="Rutas"))
    assert len(world.mails(email)) == 2
    page.get_by_role("link", name=say(language, "welcome_preferences")).click()
    expect(page.locator("input[name=country][value=GT]")).to_be_checked()


def test_changing(page: Page, world: World, way: tuple[str, bool]) -> None:
    """Other picks and another hour, said and saved; another window does not overwrite; a mail's link leaves out one
    country; a pause until a day, and its end."""
    language, _ = way
    number = world.reader(language)
    link = world.link("preferences", number)
    go(page, world, link, language)
    other = page.context.new_page()
    go(other, world, link, language)
    page.locator("input[name=theme][value=policy]").check()
    page.locator("#hour").select_option("18")
    button(page, language, "save_button")
    expect(page.locator(".done")).to_contain_text(say(language, "saved_notice"))
    assert row(world, number).hour == 18
    other.locator("input[name=frequency][value=weekly]").check()
    button(other, language, "save_button")
    expect(other.locator("main")).to_contain_text(say(language, "conflict_title"))
    assert row(world, number).frequency == "daily"
    button(other, language, "save_button")
    assert row(world, number).frequency == "weekly"
    go(page, world, link, language, mute_country="GT")
    expect(page.locator("input[name=country][value=GT]")).not_to_be_checked()
    button(page, language, "save_button")
    expect(page.locator("input[name=country][value=HN]")).to_be_checked()
    page.locator("#until").fill((world.house.now + timedelta(days=30)).date().isoformat())
    button(page, language, "pause_button")
    assert row(world, number).state == "paused"
    button(page, language, "resume_button")
    assert row(world, number).state == "active"


def test_account(page: Page, world: World, way: tuple[str, bool], tmp_path: Path) -> None:
    """A fresh link from the mail; another address, confirmed at both ends; one's data as a file; erasure."""
    language, _ = way
    number = world.reader(language)
    old, new = email_of(world, number), world.address()
    go(page, world, "/account", language)
    page.locator("#email").fill(old)
    button(page, language, "account_link_button")
    heading(page, say(language, "account_sent_title"))
    account = world.mailed_link(old, "a")
    page.goto(account)
    page.locator("#email").fill(new)
    button(page, language, "address_ask_button")
    for end, after in ((old, "address_waiting_title"), (new, "address_done_title")):
        page.goto(world.mailed_link(end, "address"))
        button(page, language, "address_button")
        heading(page, say(language, after))
    assert email_of(world, number) == new
    with world.later(hours=2):
        go(page, world, "/account", language)
        page.locator("#email").fill(new)
        button(page, language, "account_link_button")
        account = world.mailed_link(new, "a")
        page.goto(account)
        with page.expect_download() as waiting:
            page.get_by_role("link", name=say(language, "data_button"), exact=True).click()
        waiting.value.save_as(tmp_path / "data.json")
        assert new in json.dumps(json.loads((tmp_path / "data.json").read_text("utf-8")))
        page.get_by_role("link", name=say(language, "erase_link")).click()
        page.locator("#sure").check()
        button(page, language, "erase_button")
        heading(page, say(language, "erased_title"))
    with world.house.engine.connect() as connection:
        assert connection.execute(select(subscribers.c.id).where(subscribers.c.email == new)).first() is None
        assert connection.execute(select(suppressions)).first()


def test_leaving(page: Page, world: World, way: tuple[str, bool]) -> None:
    """Leave by the page of the mail's link, come back at once, leave by one click, and subscribe again."""
    language, _ = way
    number = world.one(select(deliveries.c.subscription_id).where(deliveries.c.id == digest(world, language)))
    link = world.mailed_link(email_of(world, number), "u")
    page.goto(link)
    button(page, language, "leave_button")
    heading(page, say(language, "left_title"))
    button(page, language, "back_button")
    heading(page, say(language, "back_title"))
    assert row(world, number).state == "active"
    for _ in range(2):
        answer = httpx.post(link, data={"List-Unsubscribe": "One-Click"})
        assert (answer.status_code, answer.cookies) == (200, httpx.Cookies())
    assert row(world, number).state == "unsubscribed"
    page.goto(link)
    heading(page, say(language, "left_title"))
    page.get_by_role("link", name=say(language, "subscribe_anew", list="Rutas")).click()
    page.locator("#email").fill(email_of(world, number))
    button(page, language, "subscribe_button")
    page.goto(world.mailed_link(email_of(world, number), "c"))
    button(page, language, "confirm_button")
    assert row(world, number).state == "active"


def test_reading(page: Page, world: World, way: tuple[str, bool]) -> None:
    """The web copy of a digest leads to the archive; there one leafs and filters, opens an item, and finds the feed."""
    language, _ = way
    page.goto(f"{world.url}{world.link('copy', digest(world, language))}?lang={language}")
    # A copy speaks the language of its digest.
    own = str(page.locator("html").get_attribute("lang"))
    page.get_by_role("link", name=say(own, "copy_archive")).click()
    go(page, world, "/rutas/archive", language)
    first = page.locator(".entries h2").first.inner_text()
    page.locator("a[rel=next]").click()
    expect(page.locator(".entries h2").first).not_to_have_text(first)
    page.locator("a[rel=prev]").click()
    expect(page.locator(".entries h2").first).to_have_text(first)
    page.locator("#country").select_option("GT")
    button(page, language, "archive_show")
    page.locator("#theme").select_option("education")
    button(page, language, "archive_show")
    expect(page.locator(".picked a")).to_have_count(3)
    feed = page.get_by_role("link", name=say(language, "archive_feed")).get_attribute("href")
    atom = httpx.get(f"{world.url}{feed}")
    assert atom.headers["content-type"].startswith("application/atom+xml")
    assert atom.text.count("</entry>") == page.locator(".entries li").count() > 0
    go(page, world, "/rutas/archive", language)
    own_page = page.locator(".entries h2 a[href^='/items/']").first
    title = own_page.inner_text()
    own_page.click()
    heading(page, title)


def test_links_that_work_no_more(page: Page, world: World, way: tuple[str, bool]) -> None:
    """A link that has expired brings a new one to the same address; one that is broken says what to do."""
    language, _ = way
    number = world.reader(language, due_at=None)
    link = world.link("confirm", number)
    with world.later(days=2):
        go(page, world, link, language)
        heading(page, say(language, "expired_title"))
        button(page, language, "expired_button")
        heading(page, say(language, "expired_sent_title"))
        page.goto(world.mailed_link(email_of(world, number), "c"))
        button(page, language, "confirm_button")
        assert row(world, number).state == "active"
    go(page, world, link[:-3], language)
    heading(page, say(language, "missing_title"))
