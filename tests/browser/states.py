"""Every page of the site in every state that it has: by name, how to bring a browser there.

``STATES[name](page, world, language)`` leaves the page at the state. What it changes is about readers of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode

from playwright.sync_api import Page
from sqlalchemy import insert, select, update
from world import World

from newsletter.audience import moving
from newsletter.audience.addresses import parse_address
from newsletter.audience.erasing import erase_subscriber
from newsletter.audience.picks import Picks
from newsletter.catalogue.items import withdraw
from newsletter.tables import address_changes, deliveries, items, lists, notices
from subscribers.rendering import beside_inbox

State = Callable[[Page, World, str], None]
STATES: dict[str, State] = {}
MAIN = (
    "home",
    "subscribe",
    "subscribe-errors",
    "preview",
    "sent",
    "confirm",
    "welcome",
    "preferences",
    "leave",
    "left",
)
"""What most readers see: pictures of these are taken in all four languages."""


def state(function: State) -> State:
    STATES[function.__name__.replace("_", "-")] = function
    return function


def go(page: Page, world: World, path: str, language: str, **query: str | list[str]) -> None:
    answer = page.goto(f"{world.url}{path}?{urlencode({**query, 'lang': language}, doseq=True)}")
    assert answer is not None
    assert answer.status < 500 or "busy" in path


def press(page: Page, selector: str) -> None:
    """Press a button that leads to another page (and not one that only some script listens to)."""
    with page.expect_navigation():
        page.locator(selector).click()


def _seen(path: str, **query: str | list[str]) -> State:
    return lambda page, world, language: go(page, world, path, language, **query)


STATES |= {
    "home": _seen("/"),
    "subscribe": _seen("/rutas"),
    "subscribe-picked": _seen(
        "/rutas", country=["GT", "MX", "FR"], region="005", theme="protection", frequency="weekly"
    ),
    "subscribe-unknown": _seen("/rutas", country="XX", theme="astrology"),
    "subscribe-brand": _seen("/mares"),
    "preview": _seen("/rutas/preview", country=["GT", "HN"]),
    "preview-none": _seen("/rutas/preview", country="TV"),
    "preview-unknown": _seen("/rutas/preview", country=["GT", "XX"], theme="astrology"),
    "embed": _seen("/rutas/embed", country="GT"),
    "embed-unknown": _seen("/rutas/embed", country="XX", theme="astrology"),
    "archive": _seen("/rutas/archive"),
    "archive-picked": _seen("/rutas/archive", country=["GT", "HN"], theme="protection"),
    "archive-nothing": _seen("/rutas/archive", country="TV", theme="trade"),
    "archive-empty": _seen("/mares/archive"),
    "archive-unknown": _seen("/rutas/archive", theme="astrology"),
    "account-link": _seen("/account"),
    "missing": _seen("/no/such/page"),
    "bad-link": _seen("/p/broken"),
}


@state
def home_empty(page: Page, world: World, language: str) -> None:
    other = world.house.list_id
    world.house.list_id, first = world.other_list, other
    try:
        with world.list_with(is_public=False):
            world.house.list_id = first
            with world.list_with(is_public=False):
                go(page, world, "/", language)
            world.house.list_id = world.other_list
    finally:
        world.house.list_id = first


@state
def subscribe_open(page: Page, world: World, language: str) -> None:
    """With branches laid open and ticked, and a word to find by."""
    go(page, world, "/rutas", language, region="013")
    page.locator("details:has(input[value='013']) > summary").first.click()
    page.locator("#find-place").fill("gua")


@state
def subscribe_errors(page: Page, world: World, language: str) -> None:
    go(page, world, "/rutas", language, country="GT")
    page.locator("#email").fill("not an address")
    page.locator("#name").fill("x" * 300)
    press(page, "form button:not([name], [type])")


@state
def closed(page: Page, world: World, language: str) -> None:
    with world.list_with(archived_at=world.house.now):
        go(page, world, "/rutas", language)


@state
def sent(page: Page, world: World, language: str) -> None:
    go(page, world, "/rutas", language, country="GT")
    page.locator("#email").fill(world.address())
    press(page, "form button:not([name], [type])")


@state
def sent_again(page: Page, world: World, language: str) -> None:
    sent(page, world, language)
    press(page, "form button")


@state
def embed_errors(page: Page, world: World, language: str) -> None:
    go(page, world, "/rutas/embed", language)
    press(page, "form button")


@state
def embed_sent(page: Page, world: World, language: str) -> None:
    go(page, world, "/rutas/embed", language)
    page.locator("#email").fill(world.address())
    press(page, "form button")


@state
def trial(page: Page, world: World, language: str) -> None:
    """With the way to the inbox, as the demo has it."""
    beside_inbox("/")
    try:
        go(page, world, "/rutas", language)
    finally:
        beside_inbox("")


# Confirming --------------------------------------------------------------------------------------------------------


@state
def confirm(page: Page, world: World, language: str) -> None:
    number = world.reader(language, due_at=None)
    go(page, world, world.link("confirm", number), language)


@state
def welcome(page: Page, world: World, language: str) -> None:
    confirm(page, world, language)
    press(page, "form button")


@state
def confirmed_already(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("confirm", world.reader(language)), language)


@state
def confirm_left(page: Page, world: World, language: str) -> None:
    number = world.reader(language)
    world.house.set(number, state="unsubscribed")
    go(page, world, world.link("confirm", number), language)


@state
def confirm_expired(page: Page, world: World, language: str) -> None:
    link = world.link("confirm", world.reader(language, due_at=None))
    with world.later(days=8):
        go(page, world, link, language)


@state
def confirm_expired_sent(page: Page, world: World, language: str) -> None:
    confirm_expired(page, world, language)
    press(page, "form button")


@state
def confirm_forgotten(page: Page, world: World, language: str) -> None:
    link = world.link("confirm", 10**6)
    with world.later(days=8):
        go(page, world, link, language)


# Preferences -------------------------------------------------------------------------------------------------------


@state
def preferences(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("preferences", world.reader_of_two(language)), language)


@state
def preferences_pending(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("preferences", world.reader(language, due_at=None)), language)


@state
def preferences_mute(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("preferences", world.reader(language)), language, mute_country="GT")


@state
def preferences_mute_unknown(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("preferences", world.reader(language)), language, mute_theme="astrology")


@state
def mute(page: Page, world: World, language: str) -> None:
    picks = Picks(frozenset({"CO"}), frozenset({"013"}), frozenset({"protection"}))
    go(page, world, world.link("preferences", world.reader(language, picks=picks)) + "/mute", language)
    page.locator("summary").first.click()


@state
def mute_nothing(page: Page, world: World, language: str) -> None:
    mute(page, world, language)
    press(page, "form button")


@state
def mute_last(page: Page, world: World, language: str) -> None:
    mute(page, world, language)
    page.locator("input[name=theme]").first.check()
    press(page, "form button")


@state
def mute_saved(page: Page, world: World, language: str) -> None:
    mute(page, world, language)
    page.locator("input[value=CO]").check()
    press(page, "form button")


@state
def mute_everything(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("preferences", world.reader(language, picks=Picks())) + "/mute", language)


@state
def less_often(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("unsubscribe", world.reader(language)) + "/less", language)


@state
def less_often_least(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("unsubscribe", world.reader(language, frequency="monthly")) + "/less", language)


@state
def preferences_saved(page: Page, world: World, language: str) -> None:
    preferences(page, world, language)
    page.locator("input[value=weekly]").check()
    press(page, "#choices button:not([name], [type])")


@state
def preferences_counted(page: Page, world: World, language: str) -> None:
    preferences(page, world, language)
    press(page, "#choices button[name=do]")


@state
def preferences_errors(page: Page, world: World, language: str) -> None:
    preferences(page, world, language)
    page.locator("#name").evaluate("field => { field.removeAttribute('maxlength'); field.value = 'x'.repeat(300); }")
    press(page, "#choices button:not([name], [type])")


@state
def preferences_conflict(page: Page, world: World, language: str) -> None:
    number = world.reader(language)
    go(page, world, world.link("preferences", number), language)
    world.house.set(number, hour=17, frequency="weekly")
    page.locator("#hour").select_option("6")
    press(page, "#choices button:not([name], [type])")


@state
def preferences_paused(page: Page, world: World, language: str) -> None:
    preferences(page, world, language)
    press(page, "form[action*='/pause'] button")


@state
def preferences_ended(page: Page, world: World, language: str) -> None:
    number = world.reader(language)
    world.house.set(number, state="unsubscribed")
    go(page, world, world.link("preferences", number), language)


# Leaving -----------------------------------------------------------------------------------------------------------


@state
def leave(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("unsubscribe", world.reader_of_two(language)), language)


@state
def leave_wrong(page: Page, world: World, language: str) -> None:
    leave(page, world, language)
    page.locator("#until").evaluate("field => { field.removeAttribute('min'); field.value = '2020-01-01'; }")
    press(page, "form[action*='/pause'] button")


@state
def left(page: Page, world: World, language: str) -> None:
    leave(page, world, language)
    press(page, "main form button >> nth=0")


@state
def left_all(page: Page, world: World, language: str) -> None:
    leave(page, world, language)
    press(page, "form[action*='/all'] button")


@state
def left_before(page: Page, world: World, language: str) -> None:
    number = world.reader(language)
    world.house.set(number, state="unsubscribed")
    go(page, world, world.link("unsubscribe", number), language)


@state
def less(page: Page, world: World, language: str) -> None:
    leave(page, world, language)
    press(page, "form[action*='/less'] button")


@state
def leave_paused(page: Page, world: World, language: str) -> None:
    leave(page, world, language)
    press(page, "form[action*='/pause'] button")


@state
def back(page: Page, world: World, language: str) -> None:
    left(page, world, language)
    press(page, "form[action*='/back'] button")


@state
def back_late(page: Page, world: World, language: str) -> None:
    left(page, world, language)
    with world.later(days=3):
        press(page, "form[action*='/back'] button")


@state
def leave_pending(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("unsubscribe", world.reader(language, due_at=None)), language)


@state
def cancelled(page: Page, world: World, language: str) -> None:
    leave_pending(page, world, language)
    press(page, "main form button")


@state
def decline(page: Page, world: World, language: str) -> None:
    _change(world, language)
    go(page, world, world.link("decline", _notice(world, "address_new")), language)


@state
def declined(page: Page, world: World, language: str) -> None:
    decline(page, world, language)
    press(page, "main form button")


@state
def declined_before(page: Page, world: World, language: str) -> None:
    declined(page, world, language)
    go(page, world, world.link("decline", _notice(world, "address_new")), language)


@state
def decline_reports(page: Page, world: World, language: str) -> None:
    email, list_id = world.address(), world.house.list_id
    with world.house.engine.begin() as connection:
        connection.execute(update(lists).where(lists.c.id == list_id).values(reports_to=[email]))
        values = {"kind": "run_done", "list_id": list_id, "email": email, "data": {"run": 1}}
        connection.execute(insert(notices).values(**values, asked_at=world.house.now))
    go(page, world, world.link("decline", _notice(world, "run_done")), language)


@state
def declined_reports(page: Page, world: World, language: str) -> None:
    decline_reports(page, world, language)
    press(page, "main form button")


def _notice(world: World, kind: str) -> int:
    """The number of the latest notice of a kind."""
    return int(world.one(select(notices.c.id).where(notices.c.kind == kind).order_by(notices.c.id.desc())))


# The account -------------------------------------------------------------------------------------------------------


@state
def account_link_wrong(page: Page, world: World, language: str) -> None:
    go(page, world, "/account", language)
    press(page, "form button")


@state
def account_sent(page: Page, world: World, language: str) -> None:
    go(page, world, "/account", language)
    page.locator("#email").fill(world.address())
    press(page, "form button")


@state
def account(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("account", world.person(world.reader_of_two(language))), language)


@state
def account_wrong(page: Page, world: World, language: str) -> None:
    account(page, world, language)
    page.locator("#email").fill("not an address")
    press(page, "form[action*='/address'] button")


@state
def account_asked(page: Page, world: World, language: str) -> None:
    account(page, world, language)
    page.locator("#email").fill(world.address())
    press(page, "form[action*='/address'] button")


@state
def account_expired(page: Page, world: World, language: str) -> None:
    link = world.link("account", world.person(world.reader(language)))
    with world.later(hours=25):
        go(page, world, link, language)


@state
def account_expired_sent(page: Page, world: World, language: str) -> None:
    account_expired(page, world, language)
    with world.later(hours=25):
        press(page, "form button")


@state
def account_erase(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("account", world.person(world.reader(language))) + "/erase", language)


@state
def account_erase_wrong(page: Page, world: World, language: str) -> None:
    account_erase(page, world, language)
    page.locator("form").evaluate("form => form.noValidate = true")
    press(page, "form button")


@state
def account_erased(page: Page, world: World, language: str) -> None:
    account_erase(page, world, language)
    page.locator("#sure").check()
    press(page, "form button")


def _change(world: World, language: str) -> int:
    """A change of address that was asked for: its number."""
    person = world.person(world.reader(language))
    with world.house.engine.begin() as connection:
        moving.ask(connection, world.house.settings.keys, person, parse_address(world.address()), world.house.now)
    return int(world.one(select(address_changes.c.id).order_by(address_changes.c.id.desc())))


@state
def address(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("address", moving.number_of(_change(world, language), "old")), language)


@state
def address_waiting(page: Page, world: World, language: str) -> None:
    address(page, world, language)
    press(page, "form button")


@state
def address_done(page: Page, world: World, language: str) -> None:
    number = _change(world, language)
    for end in ("old", "new"):
        go(page, world, world.link("address", moving.number_of(number, end)), language)  # type: ignore[arg-type]
        press(page, "form button")


@state
def address_gone(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("address", 10**6), language)


# Reading -----------------------------------------------------------------------------------------------------------


def digest(world: World, language: str) -> int:
    """The number of a delivery that was sent."""
    # A list has one run a slot.
    world.house.pass_time(minutes=2)
    number = world.reader(language, due_at=world.house.now - timedelta(minutes=1), cursor=0)
    world.send()
    return int(world.one(select(deliveries.c.id).where(deliveries.c.subscription_id == number)))


@state
def copy(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("copy", digest(world, language)), language)


@state
def copy_gone(page: Page, world: World, language: str) -> None:
    delivery = digest(world, language)
    subscription = world.one(select(deliveries.c.subscription_id).where(deliveries.c.id == delivery))
    person = world.person(subscription)
    with world.house.engine.begin() as connection:
        erase_subscriber(connection, world.house.settings.keys, person, world.house.now)
    go(page, world, world.link("copy", delivery), language)


@state
def archive_second_page(page: Page, world: World, language: str) -> None:
    go(page, world, "/rutas/archive", language)
    press(page, "a[rel=next]")


@state
def archive_past(page: Page, world: World, language: str) -> None:
    go(page, world, "/rutas/archive", language, before="1")


@state
def item(page: Page, world: World, language: str) -> None:
    go(page, world, f"/items/{world.one(select(items.c.id).where(items.c.url.is_(None)))}", language)


@state
def item_withdrawn(page: Page, world: World, language: str) -> None:
    (number,) = world.house.publish(f"Withdrawn {language} {world.address()}", countries=("TV",))
    with world.house.engine.begin() as connection:
        withdraw(connection, number, world.house.now)
    go(page, world, f"/items/{number}", language)


# What goes wrong ---------------------------------------------------------------------------------------------------


@state
def wrong_method(page: Page, world: World, language: str) -> None:
    go(page, world, world.link("unsubscribe", world.reader(language)) + "/all", language)


@state
def too_large(page: Page, world: World, language: str) -> None:
    go(page, world, "/rutas/embed", language)
    page.locator("#email").evaluate("field => field.value = 'x'.repeat(80000)")
    press(page, "form button")


@state
def busy(page: Page, world: World, language: str) -> None:
    with world.busy():
        page.goto(f"{world.url}/rutas?lang={language}")
