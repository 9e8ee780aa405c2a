"""The main job, end to end: real items in, through real processes, into an inbox."""

from __future__ import annotations

import json
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from commanding import CommandLine
from servers import Postgres
from stack import Stack, wait_until

EXPECTED = {
    "gt@example.org": {"01", "02", "05", "07", "10"},
    "hn@example.org": {"09"},
    "region@example.org": {"03", "04", "05", "07", "10"},
    "all@example.org": {f"{n:02}" for n in range(1, 11)},
}
PICKS = {
    "gt@example.org": ["--country", "GT"],
    "hn@example.org": ["--country", "Honduras", "--theme", "Counter trafficking"],
    "region@example.org": ["--region", "Amérique centrale", "--theme", "protection"],
    "all@example.org": [],
}


def make_list(newsletter: CommandLine, file: Path) -> None:
    """A list with the vocabulary that the items use, the items, and the four readers."""
    newsletter(
        *("lists", "create", "iom", "--name", "IOM Regional", "--sender-email", "news@iom.example"),
        *("--postal-address", "1 Main Street, San José", "--timezone", "America/Guatemala"),
    )
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    for slug in sorted({theme for record in records for theme in record["themes"]}):
        newsletter("themes", "add", slug, "--name", f"en={slug.replace('-', ' ').capitalize()}")
    assert newsletter("items", "import", str(file), "--json").json["added"] == 10
    assert newsletter("items", "import", str(file), "--json").json["unchanged"] == 10
    for email, picks in PICKS.items():
        newsletter("subscribers", "add", email, *picks, "--confirmed", "--from-start")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_digests_hold_what_the_labels_say(
    database: str, postgres: Postgres, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten real items and four readers: each digest holds exactly the items that labels and picks say, in the inbox."""
    file = material / "iom-2018-06.jsonl"
    titles = {r["id"][-2:]: " ".join(r["title"].split()) for r in map(json.loads, file.read_text("utf-8").splitlines())}
    home = tmp_path / "home"
    monkeypatch.setenv("NEWSLETTER_HOME", str(home))
    if database == "postgresql":
        monkeypatch.setenv("NEWSLETTER_DATABASE_URL", postgres.create())
    newsletter = CommandLine(home)
    newsletter("init")
    make_list(newsletter, file)
    with Stack(home, {}) as stack:
        stack.start_inbox()
        stack.start("worker", "beat")
        wait_until(lambda: len(stack.get("/api/messages").json()["messages"]) >= 4)
        listed = stack.get("/api/messages").json()["messages"]
        got = {}
        for entry in listed:
            message = message_from_bytes(stack.get(f"/messages/{entry['id']}/raw").content, policy=policy.default)
            html = message.get_body(("html",)).get_content()
            assert "2018" in html
            text = " ".join(message.get_body(("plain",)).get_content().split())
            got[entry["to"]] = {number for number, title in titles.items() if title in text}
            # Items without URL have their own page, which the inbox serves.
            number = next(part for part in text.split() if "/items/" in part).partition("/items/")[2]
            assert stack.get(f"/items/{number}").status_code == 200
        assert got == EXPECTED
    delivered = newsletter("deliveries", "list", "--json").json
    assert {d["email"]: d["state"] for d in delivered} == dict.fromkeys(EXPECTED, "sent")
    for entry in delivered:
        newsletter("deliveries", "show", str(entry["id"]), "--eml")
    rules = newsletter("explain", "hn@example.org", "iom-2018-06-02", "--json").json["rules"]
    assert [r["rule"] for r in rules if r["holds"] is False] == ["theme", "outcome"]


def test_printed_newsletter(newsletter: CommandLine, material: Path) -> None:
    """The plain text of the printed newsletter is ten items, each with the places given for all of it."""
    newsletter(
        *("lists", "create", "iom", "--name", "IOM", "--sender-email", "news@iom.example"),
        *("--postal-address", "1 Main Street"),
    )
    newsletter("themes", "add", "protection", "--name", "en=Protection")
    file = str(material / "iom-2018-06.txt")
    options = ("--region", "Central America", "--country", "mx", "--theme", "Protection")
    assert newsletter("items", "import", file, *options, "--json").json["added"] == 10
    assert newsletter("items", "import", file, *options, "--json").json["unchanged"] == 10
    found = newsletter("items", "list", "--json").json
    assert {(tuple(i["countries"]), tuple(i["regions"]), tuple(i["themes"])) for i in found} == {
        (("MX",), ("013",), ("protection",))
    }
    assert len(newsletter("items", "list", "--country", "Nicaragua", "--json").json) == 0
    assert len(newsletter("items", "list", "--region", "013", "--json").json) == 10
