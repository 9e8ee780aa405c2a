"""Leaving: one page, one click, fewer mails or a pause instead, and a way back."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from house import START, House
from pydantic import SecretStr
from sqlalchemy import insert, select, update

from newsletter.audience import moving
from newsletter.audience.addresses import parse_address
from newsletter.audience.erasing import erase
from newsletter.audience.links import LIFETIME, make_expiring, make_token
from newsletter.audience.lists import archive_list, create_list
from newsletter.audience.subscribers import pause
from newsletter.settings import load_settings
from newsletter.tables import consents, deliveries, lists, metadata, notices, subscriptions
from subscribers.app import site_app
from subscribers.fields import pause_end

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def reader(house: House) -> int:
    return house.subscribe("ana@example.org")


def second(house: House, reader_email: str = "ana@example.org", **values: Any) -> int:
    """A subscription of the same person to another list."""
    first = house.list_id
    with house.engine.begin() as connection:
        row = connection.execute(select(lists).where(lists.c.id == first)).one()
        columns = ("sender_name", "sender_email", "postal_address", "languages", "frequency", "hour", "weekday")
        values_of = {name: getattr(row, name) for name in (*columns, "timezone", "max_items")}
        create_list(connection, {**values_of, "slug": "mares", "name": "Mares"}, house.now)
        house.list_id = connection.execute(select(lists.c.id).where(lists.c.slug == "mares")).scalar_one()
    made = house.subscribe(reader_email, **values)
    house.list_id = first
    return made


def path(house: House, number: int) -> str:
    return "/u/" + make_token(house.settings.key, "unsubscribe", number)


def row(house: House, number: int) -> Any:
    with house.engine.connect() as connection:
        return connection.execute(select(subscriptions).where(subscriptions.c.id == number)).one()


def events(house: House) -> list[Any]:
    with house.engine.connect() as connection:
        return list(connection.execute(select(consents).order_by(consents.c.id)))


def marks(page: str) -> list[str]:
    return re.findall(r'name="mark" value="([^"]+)"', page)


def contents(house: House) -> dict[str, list[Any]]:
    with house.engine.connect() as connection:
        return {t.name: sorted(map(tuple, connection.execute(select(t))), key=str) for t in metadata.sorted_tables}


def test_looking_is_inert(house: House, site: TestClient, reader: int) -> None:
    """GET and HEAD of the page and of what its buttons do change nothing, however often."""
    before = contents(house)
    for method in ("GET", "HEAD"):
        for page in ("", "/less"):
            assert site.request(method, path(house, reader) + page).status_code == 200
        for button in ("all", "pause", "back"):
            assert site.request(method, f"{path(house, reader)}/{button}").status_code == 405
    assert contents(house) == before


def test_one_click_again_and_again(house: House, site: TestClient, reader: int) -> None:
    """RFC 8058: 200 without cookie or redirect, whatever the body; the reader has left once, and gets no mail of it."""
    bodies: list[dict[str, Any]] = [
        {"data": ONE_CLICK},
        {"files": {"List-Unsubscribe": (None, "One-Click")}},
        {"data": ONE_CLICK},
        {"content": b"\xff\x00 One-Click", "headers": {"content-type": "multipart/form-data; boundary='"}},
    ]
    for body in bodies:
        answer = site.post(path(house, reader), **body)
        assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert row(house, reader).state == "unsubscribed"
    given = [event for event in events(house) if event.event == "unsubscribed"]
    assert [event.wording for event in given] == ["List-Unsubscribe=One-Click"]
    with house.engine.connect() as connection:
        assert connection.execute(select(notices)).all() == []


def test_what_is_proved(house: House, site: TestClient, reader: int) -> None:
    """The consent history has the button's words, the version of the page and whose address it was."""
    site.post(path(house, reader))
    event = events(house)[-1]
    assert (event.event, event.wording) == ("unsubscribed", "Unsubscribe")
    assert re.fullmatch(r"leave [0-9a-f]{12}", event.page)
    assert event.address_hash
    assert event.picks["frequency"] == "daily"


def test_old_links(house: House, site: TestClient, reader: int) -> None:
    """A link works after its key was replaced, for an archived list, and for somebody erased; then nothing changes."""
    link = path(house, reader)
    newer = SecretStr(f"{'n' * 40} {house.settings.key}")
    rotated = load_settings(**{**house.settings.model_dump(), "secret_key": newer})
    later = TestClient(site_app(house.engine, rotated, house.clock), base_url="http://127.0.0.1")
    with house.engine.begin() as connection:
        archive_list(connection, "rutas", house.now)
    assert "Unsubscribe from Rutas?" in later.get(link).text
    assert later.post(link, data=ONE_CLICK).status_code == 200
    assert row(house, reader).state == "unsubscribed"
    with house.engine.begin() as connection:
        erase(connection, house.settings.keys, "ana@example.org", house.now)
    before = contents(house)
    for attempt in (site.get(link), site.post(link, data=ONE_CLICK), site.post(link), site.post(f"{link}/all")):
        assert attempt.status_code == 200
        assert "You are unsubscribed" in attempt.text
        assert not marks(attempt.text)
    assert contents(house) == before


def test_a_forgotten_subscription(house: House, site: TestClient) -> None:
    """The link of a sign-up that was deleted since says that there will be no more mail; it is no error."""
    for answer in (site.get(path(house, 999)), site.post(path(house, 999), data=ONE_CLICK)):
        assert (answer.status_code, "You are unsubscribed" in answer.text) == (200, True)


def test_a_sign_up_that_waits(house: House, site: TestClient) -> None:
    """The link in the mail that asks to confirm cancels the sign-up: nothing of it is kept, and it confirms nothing."""
    before = contents(house)
    reader = house.subscribe("ana@example.org", due_at=None)
    link = "/c/" + make_expiring(house.settings.key, "confirm", reader, house.now + LIFETIME["confirm"])
    asked = site.get(path(house, reader)).text
    assert "Cancel the sign-up to Rutas?" in asked
    assert "/pause" not in asked
    assert "The sign-up is cancelled" in site.post(path(house, reader)).text
    other = house.subscribe("eva@example.org", language="es", due_at=None)
    assert "La inscripción está cancelada" in site.post(path(house, other)).text
    for answer in (site.post(link), site.get(link)):
        assert answer.status_code == 404
    assert {**contents(house), "profiles": before["profiles"]} == before


def test_one_click_cancels_a_sign_up(house: House, site: TestClient) -> None:
    """So does one click, again and again. Who was on the list before has left it, as they had."""
    reader = house.subscribe("ana@example.org", due_at=None)
    back = house.subscribe("ben@example.org")
    site.post(path(house, back), data=ONE_CLICK)
    assert house.subscribe("ben@example.org", due_at=None) == back
    for number in (reader, back):
        for _ in range(2):
            assert site.post(path(house, number), data=ONE_CLICK).status_code == 200
    with house.engine.connect() as connection:
        assert connection.execute(select(subscriptions.c.id, subscriptions.c.state)).all() == [(back, "unsubscribed")]
        assert "goodbye" not in connection.scalars(select(notices.c.kind)).all()
    assert events(house)[-1].event == "unsubscribed"


def declining(house: House, kind: str) -> str:
    """The link in the only notice of a kind."""
    with house.engine.connect() as connection:
        number = connection.scalars(select(notices.c.id).where(notices.c.kind == kind)).one()
    return "/u/" + make_token(house.settings.key, "decline", number)


def move(house: House) -> None:
    with house.engine.begin() as connection:
        moving.ask(connection, house.settings.keys, 1, parse_address("new@example.org"), house.now)


def test_a_change_of_address_is_declined(house: House, site: TestClient, reader: int) -> None:
    """At the new address a click ends the change, once; it leaves no list, whoever reads that mailbox."""
    move(house)
    link = declining(house, "address_new")
    before = contents(house)
    assert "Give up the change of address?" in site.get(link).text
    assert contents(house) == before
    answer = site.post(link, data=ONE_CLICK)
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert "The change of address is given up" in answer.text
    assert "ana@example.org" not in answer.text
    with house.engine.begin() as connection:
        old = moving.number_of(1, "old")
        assert moving.confirm(connection, house.settings.keys, old, house.now)[0] == "gone"
    before = contents(house)
    for button in ("", "/all", "/less", "/pause", "/back"):
        assert site.post(link + button, data=ONE_CLICK).status_code == (404 if button else 200)
    assert "There is nothing left to stop" in site.get(link).text
    assert contents(house) == before
    assert row(house, reader).state == "active"


def test_a_change_that_is_done_is_not_declined(house: House, site: TestClient, reader: int) -> None:
    """Once both ends have confirmed, the click changes nothing, and the page tells where one can leave."""
    move(house)
    with house.engine.begin() as connection:
        for end in ("old", "new"):
            moving.confirm(connection, house.settings.keys, moving.number_of(1, end), house.now)
    before = contents(house)
    answer = site.post(declining(house, "address_new"), data=ONE_CLICK)
    assert (answer.status_code, "a link of their own to unsubscribe" in answer.text) == (200, True)
    assert contents(house) == before


def test_reports_are_declined(house: House, site: TestClient) -> None:
    """An admin's click takes that address alone off those that get reports; again, or forgotten, it is no error."""
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(reports_to=["ana@example.org", "ben@example.org"]))
        values = {"kind": "run_done", "list_id": house.list_id, "email": "ben@example.org", "data": {"run": 1}}
        connection.execute(insert(notices).values(**values, asked_at=house.now))
    link = declining(house, "run_done")
    assert "Stop the reports of Rutas?" in site.get(link).text
    assert "The reports are stopped" in site.post(link).text
    for _ in range(2):
        assert site.post(link, data=ONE_CLICK).status_code == 200
        with house.engine.connect() as connection:
            assert connection.execute(select(lists.c.reports_to)).scalar_one() == ["ana@example.org"]
    gone = "/u/" + make_token(house.settings.key, "decline", 999)
    assert (site.post(gone).status_code, "nothing left" in site.get(gone).text) == (200, True)


def test_leaving_everything(house: House, site: TestClient, reader: int) -> None:
    """One button leaves all lists and names them; one goodbye goes out, and one press brings all back as they were."""
    other = second(house)
    with house.engine.begin() as connection:
        pause(connection, other, house.now)
    house.set(other, paused_until=datetime(2026, 12, 24, tzinfo=UTC))
    assert "You also get Mares." in site.get(path(house, reader)).text
    left = site.post(path(house, reader) + "/all")
    assert "Mares, Rutas" in left.text
    assert [row(house, number).state for number in (reader, other)] == ["unsubscribed"] * 2
    with house.engine.connect() as connection:
        assert [(one.kind, one.list_id) for one in connection.execute(select(notices))] == [("goodbye", None)]
    assert len(marks(left.text)) == 2
    back = site.post(path(house, reader) + "/back", data={"mark": marks(left.text)})
    assert "You are subscribed again" in back.text
    assert [row(house, number).state for number in (reader, other)] == ["active", "paused"]
    assert row(house, reader).due_at > house.now
    assert row(house, other).paused_until == datetime(2026, 12, 24, tzinfo=UTC)


def test_leaving_everything_that_waits(house: House, site: TestClient) -> None:
    """What was never confirmed is forgotten by the button that leaves all lists, too, with its person."""
    before = contents(house)
    reader = house.subscribe("ana@example.org", due_at=None)
    second(house, due_at=None)
    assert "The sign-up is cancelled" in site.post(path(house, reader) + "/all").text
    after = contents(house)
    assert {name: after[name] for name in ("subscribers", "subscriptions", "consents", "notices")} == {
        name: before[name] for name in ("subscribers", "subscriptions", "consents", "notices")
    }


def test_leaving_everything_of_which_some_waits(house: House, site: TestClient, reader: int) -> None:
    """Who leaves all lists leaves those that they confirmed, and only those can be had back."""
    other = second(house, due_at=None)
    left = site.post(path(house, reader) + "/all")
    assert len(marks(left.text)) == 1
    assert row(house, reader).state == "unsubscribed"
    with house.engine.connect() as connection:
        assert connection.execute(select(subscriptions).where(subscriptions.c.id == other)).all() == []
        assert [one.kind for one in connection.execute(select(notices))] == ["goodbye"]


def test_back_only_undoes_this_leaving(house: House, site: TestClient, reader: int) -> None:
    """An old page brings nobody back who left anew, or a day ago, or is another; pressed twice it does no harm."""
    first = marks(site.post(path(house, reader)).text)
    assert "subscribed again" in site.post(path(house, reader) + "/back", data={"mark": first}).text
    count = len(events(house))
    assert "subscribed again" in site.post(path(house, reader) + "/back", data={"mark": first}).text
    assert len(events(house)) == count
    again = marks(site.post(path(house, reader)).text)
    assert site.post(path(house, reader) + "/back", data={"mark": first}).status_code == 409
    stranger = house.subscribe("bea@example.org")
    site.post(path(house, stranger))
    assert site.post(path(house, stranger) + "/back", data={"mark": again}).status_code == 409
    house.pass_time(days=1, seconds=1)
    assert site.post(path(house, reader) + "/back", data={"mark": again}).status_code == 409
    forged = again[0].replace("active.", "active.1", 1)
    assert site.post(path(house, reader) + "/back", data={"mark": forged}).status_code == 404
    assert [row(house, number).state for number in (reader, stranger)] == ["unsubscribed"] * 2


def test_back_after_a_slot(house: House, site: TestClient) -> None:
    """Who comes back has the digest of a slot that went by meanwhile: once a month there would be none until the next.
    That of a slot before they left does not come again."""
    house.now = datetime(2026, 12, 1, 7, 59, tzinfo=UTC)
    reader = house.subscribe("ana@example.org", frequency="monthly", due_at=datetime(2026, 12, 1, 8, tzinfo=UTC))
    house.publish("one")
    for _ in range(2):
        left = marks(site.post(path(house, reader)).text)
        house.pass_time(minutes=2)
        house.tick()
        site.post(path(house, reader) + "/back", data={"mark": left})
        house.tick()
        assert house.states(reader) == ["queued"]
    assert row(house, reader).due_at == datetime(2027, 1, 1, 8, tzinfo=UTC)


def test_back_confirms_nobody(house: House, site: TestClient) -> None:
    """Who asked anew and had not confirmed when they left again has still to confirm when they come back."""
    waiting = house.subscribe("eva@example.org")
    site.post(path(house, waiting))
    assert house.subscribe("eva@example.org", due_at=None) == waiting
    found = marks(site.post(path(house, waiting)).text)
    answer = site.post(path(house, waiting) + "/back", data={"mark": found})
    assert "please confirm" in answer.text
    assert row(house, waiting).state == "pending"


def test_less_often(house: House, site: TestClient, reader: int) -> None:
    """Only fewer mails can be chosen here; the page says when they come, and the next one is reckoned anew."""
    page = site.get(path(house, reader)).text
    assert re.findall(r'name="frequency" value="(\w+)"', page) == ["weekly", "monthly"]
    for wrong in ("immediate", "x", ""):
        answer = site.post(path(house, reader) + "/less", data={"frequency": wrong})
        assert (answer.status_code, "Please choose how often" in answer.text) == (422, True)
    for _ in range(2):
        answer = site.post(path(house, reader) + "/less", data={"frequency": "weekly"})
        assert "Every Monday at 8:00" in answer.text
    assert (row(house, reader).frequency, row(house, reader).due_at) == (
        "weekly",
        datetime(2026, 11, 30, 8, tzinfo=UTC),
    )
    assert [event.wording for event in events(house)[1:]] == ["Once a week"]


@pytest.mark.parametrize(
    ("until", "is_fine"),
    [
        ("2026-12-24", True),
        ("2026-11-25", True),
        ("2027-11-25", True),
        ("2026-11-24", False),
        ("2027-11-26", False),
        ("9999-12-31", False),
        ("2026-02-30", False),
        ("20261224", False),
        ("٢٠٢٦-١٢-٢٤", False),
        ("", False),
    ],
)
def test_the_end_of_a_pause(until: str, is_fine: bool) -> None:
    """It is the start of a day in the reader's zone, from tomorrow on and within a year."""
    found = pause_end(until, "America/Guatemala", START)
    assert found == (datetime.fromisoformat(until + "T06:00:00Z") if is_fine else None)


def test_pausing(house: House, site: TestClient, reader: int) -> None:
    """A pause is named with its end; a day that cannot be it is said at the field, and nothing changes."""
    wrong = site.post(path(house, reader) + "/pause", data={"until": "2026-11-24"})
    assert (wrong.status_code, 'id="until-error"' in wrong.text) == (422, True)
    assert row(house, reader).state == "active"
    assert "before December 24, 2026" in site.post(path(house, reader) + "/pause", data={"until": "2026-12-24"}).text
    assert (row(house, reader).state, row(house, reader).paused_until) == ("paused", datetime(2026, 12, 24, tzinfo=UTC))


def test_nothing_goes_out_after_leaving(house: House, site: TestClient, reader: int) -> None:
    """A digest that was assembled before the click is not sent after it."""
    house.publish("one")
    house.tick()
    site.post(path(house, reader), data=ONE_CLICK)
    house.send()
    with house.engine.connect() as connection:
        assert "sent" not in connection.scalars(select(deliveries.c.state)).all()


def test_every_state_in_every_language(house: House, site: TestClient, reader: int) -> None:
    """Each state of the page has its words in the language that its link names, and keeps to it."""
    second(house)
    for language, direction in (("en", "ltr"), ("es", "ltr"), ("fr", "ltr"), ("ar", "rtl")):
        house.set(reader, state="active", frequency="daily", due_at=house.now)
        link, lang = path(house, reader), f"?lang={language}"
        for answer in (
            site.get(f"{link}{lang}"),
            site.post(f"{link}/pause{lang}", data={"until": "x"}),
            site.post(f"{link}/less{lang}", data={"frequency": "monthly"}),
            site.post(f"{link}/pause{lang}", data={"until": "2026-12-24"}),
            left := site.post(f"{link}/all{lang}"),
            site.get(f"{link}{lang}"),
            site.post(f"{link}/back{lang}", data={"mark": marks(left.text)}),
        ):
            assert f'<html lang="{language}" dir="{direction}"' in answer.text
            assert all(action.endswith(lang) for action in re.findall(r'action="([^"]+)"', answer.text))


def test_less_often_from_the_mail(house: House, site: TestClient, reader: int) -> None:
    """The link for less mail opens a page that asks how often, not whether to leave; it changes nothing by itself."""
    before = contents(house)
    page = site.get(path(house, reader) + "/less").text
    assert re.findall(r'name="frequency" value="([^"]+)"', page) == ["weekly", "monthly"]
    assert "Get Rutas less often?" in page
    assert "You will get no more mail" not in page
    assert contents(house) == before
    house.set(reader, frequency="monthly")
    assert "there is no less than that" in site.get(path(house, reader) + "/less").text
    house.set(reader, state="unsubscribed")
    assert site.get(path(house, reader) + "/less").status_code == 200
