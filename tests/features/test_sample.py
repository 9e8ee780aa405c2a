"""The sample list is as large and as varied as the demo promises."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files

from newsletter.catalogue.geography import find_place, parse_places
from newsletter.catalogue.importing import Defaults, draft_of
from newsletter.catalogue.themes import Theme

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FOLDER = files("newsletter").joinpath("samples")


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
