"""The sample list is as large and as varied as the demo promises."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest
from commanding import KEY
from house import House
from servers import Relay
from sqlalchemy import Engine

from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import find_place, parse_places
from newsletter.catalogue.importing import Defaults, draft_of
from newsletter.catalogue.themes import Theme
from newsletter.cli import demo
from newsletter.settings import load_settings

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FOLDER = files("newsletter").joinpath("samples")


@pytest.fixture
def house(sqlite_engine: Engine, relay: Relay, tmp_path: Path) -> House:
    """A list over SQLite, and a relay for its mails."""
    url = f"smtp://127.0.0.1:{relay.port}"
    return House(
        sqlite_engine, load_settings(home=tmp_path, smtp_url=url, base_url="https://news.example.org", secret_key=KEY)
    ).create()


def test_numbers() -> None:
    """At least 60 items in three languages, over 25 countries, with regions, under 12 themes and more; 200 readers."""
    themes = json.loads((FOLDER / "themes.json").read_text("utf-8"))
    vocabulary = {t["slug"]: Theme(t["slug"], t["names"], t["parent"]) for t in themes}
    records = [json.loads(line) for line in (FOLDER / "items.jsonl").read_text("utf-8").splitlines()]
    drafts = [draft_of(record, Defaults("en", vocabulary)) for record in records]
    assert len(drafts) >= 60
    assert {d.language for d in drafts} == {"en", "es", "fr"}
    assert len({country for d in drafts for country in d.countries}) >= 25
    assert sum(bool(d.regions) for d in drafts) >= 5
    assert len({theme for d in drafts for theme in d.themes}) >= 12
    assert sum(d.url is None for d in drafts) >= 3
    assert len({d.key(NOW) for d in drafts}) == len({d.title for d in drafts}) == len(drafts)
    assert all(len(t["names"]) == 3 for t in themes)
    rows = (FOLDER / "subscribers.csv").read_text("utf-8").splitlines()
    assert len(rows) - 1 == 200
    assert len({row.partition(",")[0] for row in rows}) == len(rows)


def test_the_demos_total(house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's total counts those without a digest by the words of its table; languages are told from places."""
    house.publish("one", countries=("GT",))
    house.subscribe("got@example.org")
    house.subscribe("nothing@example.org", Picks(countries=("HN",), languages=("es",)))
    for number, state in enumerate(("pending", "unsubscribed", "unsubscribed")):
        house.set(house.subscribe(f"{number}@example.org", due_at=None), state=state)
    house.tick()
    house.send()
    monkeypatch.setattr(demo.console, "width", 160)
    demo.show_readers(house.engine, house.list_id)
    demo._tell_totals(house.engine, house.list_id)
    out = capsys.readouterr().out
    told = Counter(re.findall(r"none: (.+?)\s*$", out, re.MULTILINE))
    assert told == {"nothing new fits": 1, "pending": 1, "unsubscribed": 2}
    assert "1 digest sent; 4 readers got none (" in out
    for why, number in told.items():
        assert f"{number} {why}" in out
    assert "Honduras, in Spanish" in out


def test_oldest_first() -> None:
    """The sample begins with its oldest item: the archive, newest first as items were added, is so by days, too."""
    ages = [json.loads(line)["days_ago"] for line in (FOLDER / "items.jsonl").read_text("utf-8").splitlines()]
    assert ages == sorted(ages, reverse=True)


def test_hosts_that_nobody_owns() -> None:
    """No address and no link of the sample can reach anybody (RFC 2606)."""
    text = (FOLDER / "items.jsonl").read_text("utf-8") + (FOLDER / "subscribers.csv").read_text("utf-8")
    hosts = {part.split("/")[0].split('"')[0].split(",")[0] for part in text.replace("@", "://").split("://")[1:]}
    assert all(host.endswith((".example", "example.org", "example.com", "example.net")) for host in hosts), hosts


def test_regions_are_places() -> None:
    """Every tag of the sample is a place that exists."""
    for line in (FOLDER / "items.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        parse_places([*record.get("countries", []), *record.get("regions", [])])
    assert find_place("013") == "013"
