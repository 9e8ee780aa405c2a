"""The site as readers meet it: a real server over the sample list, mails by the real sender into the capture inbox."""

from __future__ import annotations

import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import inboxes
import uvicorn
from house import House
from sqlalchemy import event, select, update
from sqlalchemy.exc import OperationalError

from newsletter.audience.brand import set_brand
from newsletter.audience.links import make_expiring, make_token
from newsletter.audience.lists import create_list
from newsletter.audience.picks import Picks
from newsletter.cli.demo import load_sample
from newsletter.database import connect
from newsletter.migrations import upgrade
from newsletter.settings import load_settings
from newsletter.tables import lists, subscriptions
from subscribers.app import site_app
from subscribers.serving import served

KEY = "k" * 40
PICKS = Picks(countries=frozenset({"GT", "HN"}), themes=frozenset({"protection", "education"}))
MAILED = ("confirm", "account", "address")
"""Links that expire."""


@dataclass
class World:
    """A running site and what is behind it. Its clock stands still until it is moved (``world.house.pass_time``)."""

    house: House
    url: str
    inbox: inboxes.Inbox
    other_list: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def address(self) -> str:
        """An address that nobody has used yet."""
        return f"reader{next(self.numbers)}@example.org"

    def reader(self, language: str = "en", **values: Any) -> int:
        """A new subscription of a new reader; its number. ``due_at=None``: not confirmed yet."""
        values = {
            "picks": PICKS,
            "language": language,
            "timezone": "America/Guatemala",
            "due_at": self.house.now + timedelta(days=1),
            **values,
        }
        return self.house.subscribe(values.pop("email", None) or self.address(), **values)

    def reader_of_two(self, language: str = "en") -> int:
        """The number of a new reader's subscription to the sample list; they read another list, too."""
        email, first = self.address(), self.house.list_id
        number = self.reader(language, email=email)
        self.house.list_id = self.other_list
        try:
            self.reader(language, email=email, picks=Picks())
        finally:
            self.house.list_id = first
        return number

    def link(self, purpose: str, number: int) -> str:
        """The path of a link that a mail would carry, by its purpose."""
        letter = {
            "unsubscribe": "u",
            "decline": "u",
            "preferences": "p",
            "confirm": "c",
            "account": "a",
            "address": "address",
            "copy": "d",
        }
        key, now = self.house.settings.key, self.house.now
        if purpose in MAILED:
            return f"/{letter[purpose]}/{make_expiring(key, purpose, number, now + timedelta(hours=24))}"  # type: ignore[arg-type]
        return f"/{letter[purpose]}/{make_token(key, purpose, number)}"  # type: ignore[arg-type]

    def person(self, subscription: int) -> int:
        """The subscriber behind a subscription."""
        return int(self.one(select(subscriptions.c.subscriber_id).where(subscriptions.c.id == subscription)))

    def one(self, statement: Any) -> Any:
        """The one value that a statement finds."""
        with self.house.engine.connect() as connection:
            return connection.execute(statement).scalars().first()

    def send(self) -> None:
        """Assemble and send all that is due."""

        def work() -> None:
            self.house.tick()
            self.house.send()

        # In a thread of its own: Playwright's loop runs in this one.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(work).result()

    def mails(self, to: str) -> list[dict[str, Any]]:
        """What has come for ``to`` after everything due was sent, the newest first."""
        self.send()
        found = self.inbox.web.get("/api/messages", params={"q": to}).json()["messages"]
        return [self.inbox.web.get(f"/api/messages/{one['id']}").json() for one in found if one["to"] == to]

    def mailed_link(self, to: str, letter: str) -> str:
        """The link that is ``/letter/TOKEN`` and no more, in the newest mail to ``to``."""
        mail = self.mails(to)[0]
        found = re.search(rf"{re.escape(self.url)}/{letter}/[^\s/]+$", mail["text"], re.MULTILINE)
        assert found, mail["text"]
        return found[0]

    @contextmanager
    def list_with(self, **values: Any) -> Iterator[None]:
        """The sample list with other values for a while."""
        table = lists.c
        where = table.id == self.house.list_id
        with self.house.engine.begin() as connection:
            row = connection.execute(select(lists).where(where)).one()
            connection.execute(update(lists).where(where).values(values))
        try:
            yield
        finally:
            with self.house.engine.begin() as connection:
                connection.execute(update(lists).where(where).values({name: getattr(row, name) for name in values}))

    @contextmanager
    def busy(self) -> Iterator[None]:
        """A database that answers nothing."""

        def refuse(*_: Any) -> None:
            raise OperationalError("", {}, Exception("database is locked"))

        event.listen(self.house.engine, "before_cursor_execute", refuse)
        try:
            yield
        finally:
            event.remove(self.house.engine, "before_cursor_execute", refuse)

    @contextmanager
    def later(self, **delta: int) -> Iterator[None]:
        """Another time, for a while."""
        self.house.pass_time(**delta)
        try:
            yield
        finally:
            self.house.pass_time(**{unit: -value for unit, value in delta.items()})


@contextmanager
def serving(app: Callable[..., Any], listener: socket.socket) -> Iterator[None]:
    """Serve an app by a real server in a thread."""
    server = uvicorn.Server(served(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(5)


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """The sample list behind a site on a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        inbox = inboxes.start(folder / "inbox")
        settings = load_settings(
            home=folder / "home",
            database_url=f"sqlite:///{folder / 'newsletter.db'}",
            smtp_url=f"smtp://127.0.0.1:{inbox.smtp}",
            base_url=url,
            secret_key=KEY,
            relays="none",
        )
        engine = connect(settings.database)
        upgrade(engine)
        house = House(engine, settings, now=datetime.now(UTC).replace(microsecond=0))
        house.list_id = load_sample(engine, settings.keys)
        world = World(house, url, inbox)
        _settle(world)
        with serving(site_app(engine, settings, house.clock), listener):
            yield world
        inbox.process.kill()
        inbox.process.wait()
        engine.dispose()


def _settle(world: World) -> None:
    """The sample's own readers stay quiet, and there is a second list, in colours of its own."""
    house = world.house
    with house.engine.begin() as connection:
        connection.execute(update(subscriptions).values(due_at=None))
        row = connection.execute(select(lists).where(lists.c.id == house.list_id)).one()
        kept = ("sender_email", "postal_address", "languages", "frequency", "hour", "weekday", "timezone", "max_items")
        values = {name: getattr(row, name) for name in kept}
        name = "Mares"
        text = "Ports, ships and those aboard."
        create_list(
            connection, {**values, "slug": "mares", "name": name, "sender_name": name, "description": text}, house.now
        )
        world.other_list = connection.execute(select(lists.c.id).where(lists.c.slug == "mares")).scalar_one()
        set_brand(connection, "mares", accent="#7a1f5c", header="band")
