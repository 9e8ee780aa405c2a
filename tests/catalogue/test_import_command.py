"""Files of items as editors really have them, through the command line, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from commanding import CommandLine

from newsletter.cli import items as items_command
from newsletter.database import engine_for

LIST = ("--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St")
GOOD = {"title": "Good", "summary": "S", "id": "good"}


@pytest.fixture
def cli(newsletter: CommandLine) -> CommandLine:
    newsletter("lists", "create", "n", *LIST)
    return newsletter


@pytest.fixture
def on_both(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """The command line over either database."""
    monkeypatch.setenv("NEWSLETTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NEWSLETTER_DATABASE_URL", database_url)
    command = CommandLine(tmp_path / "home")
    command("init")
    command("lists", "create", "n", *LIST)
    yield command
    engine_for(database_url).dispose()
    engine_for.cache_clear()


def on(day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands believe that it is this day."""
    moment = datetime.fromisoformat(f"{day}T09:00:00").replace(tzinfo=UTC)
    monkeypatch.setattr(items_command, "now", lambda: moment)


def listed(cli: CommandLine) -> dict[tuple[str, str], int]:
    """Title and summary → position."""
    return {(i["title"], i["summary"]): i["position"] for i in cli("items", "list", "--json").json}


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("id", "\ud800", "id"),
        ("id", "a\x00b", "id"),
        ("url", "https://a.b/\ud800", "URL"),
        ("url", "https://a.b/\0", "URL"),
    ],
)
def test_what_no_database_takes(on_both: CommandLine, field: str, value: str, name: str) -> None:
    """An id or URL with half a character or a control character is named; the items around it are kept."""
    bad = {"title": "Bad", "summary": "S", field: value}
    Path("a.jsonl").write_text("\n".join(json.dumps(record) for record in (GOOD, bad, GOOD | {"id": "2"})))
    shown = on_both("items", "import", "a.jsonl", "--json", code=1).json
    assert shown["added"] == 2
    (problem,) = shown["bad"]
    assert problem["line"] == 2
    assert f"Its {name}" in problem["reason"]


def test_what_is_stripped(on_both: CommandLine) -> None:
    """In texts for reading such characters are left out."""
    record = {"title": "T\x00\ud800", "summary": "S\x01", "body": "<p>\ud800B</p>", "source": "O\x00"}
    Path("a.jsonl").write_text(json.dumps(record))
    on_both("items", "import", "a.jsonl")
    (item,) = on_both("items", "list", "--json").json
    assert (item["title"], item["summary"], item["body"], item["source"]) == ("T", "S", "<p>B</p>", "O")


@pytest.mark.parametrize("names", [{"en": "a\ud800"}, {"en": "a\x00"}, {"en": "Ok", "\ud800": "x"}])
def test_names_of_themes(on_both: CommandLine, names: dict[str, str]) -> None:
    """A theme whose name no database takes is refused with a sentence that names it."""
    Path("themes.json").write_text(json.dumps([{"slug": "ok", "names": {"en": "Ok"}}, {"slug": "aid", "names": names}]))
    assert "'aid'" in on_both("themes", "import", "themes.json", code=1).err
    assert on_both("themes", "list", "--json").json == []


PRINTED = {
    "es": "Año nuevo en la frontera\nLa Comisión pidió más protección para niñas y niños en situación migratoria.\n",
    "fr": "Le nouveau départ des réfugiés\nÀ Genève, l’accord a été signé : « où aller ? », s’inquiètent les élèves.\n",
    "short": "Año nuevo\nEl niño pasó.\n",
}


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize("kind", ["txt", "json", "csv"])
def test_old_windows_files(cli: CommandLine, name: str, kind: str) -> None:
    """Spanish and French as Windows used to write it (cp1252) arrive as they were written."""
    title, summary = PRINTED[name].splitlines()
    text = {
        "txt": PRINTED[name],
        "json": json.dumps([{"title": title, "summary": summary}], ensure_ascii=False),
        "csv": f'title;summary\n"{title}";"{summary}"\n',
    }[kind]
    Path(f"a.{kind}").write_bytes(text.encode("cp1252"))
    cli("items", "import", f"a.{kind}")
    assert list(listed(cli)) == [(title, summary)]


def test_the_first_foreign_letter_comes_late(cli: CommandLine) -> None:
    """The encoding is told from where the file stops being UTF-8, not only from its beginning."""
    text = "A plain title\n" + "Plain words. " * 900 + "\n"
    lines = "".join(text.replace("A plain", f"{n} plain") for n in range(20)) + PRINTED["es"]
    Path("a.txt").write_bytes(lines.encode("cp1252"))
    cli("items", "import", "a.txt")
    assert tuple(PRINTED["es"].splitlines()) in listed(cli)


def test_separators_within_a_line(cli: CommandLine) -> None:
    """What parts lines within a summary, as word processors write it, does not take summaries for titles."""
    Path("a.txt").write_bytes("One\r\nFirst\u2028second.\r\nTwo\r\nThird\x0bfourth.\r\n".encode())
    cli("items", "import", "a.txt")
    assert set(listed(cli)) == {("One", "First second."), ("Two", "Third fourth.")}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_json_lines_from_windows(cli: CommandLine, encoding: str) -> None:
    """JSON Lines with a byte order mark are read, line separators inside texts and all."""
    records = [{"title": f"Año {n}", "summary": "a\u2028b", "id": str(n)} for n in (1, 2)]
    Path("a.jsonl").write_bytes("\r\n".join(json.dumps(r, ensure_ascii=False) for r in records).encode(encoding))
    assert cli("items", "import", "a.jsonl", "--json").json["added"] == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", "\n \n"), ("a.json", "[]"), ("b.json", '{"items": []}'), ("a.csv", "title,summary\n")],
)
def test_files_without_items(cli: CommandLine, name: str, content: str) -> None:
    """A file in which nothing is to be found gets a sentence and exit code 1."""
    Path(name).write_text(content)
    assert f"{name} holds no items." in cli("items", "import", name, code=1).err


def test_a_title_that_comes_each_month(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """July's editorial is a new item beside June's; the same text again, whenever, is not."""
    Path("june.txt").write_text("Editorial\nOn June.\nBorders\nOpen.\n")
    Path("july.txt").write_text("Editorial\nOn July.\n")
    on("2026-06-30", monkeypatch)
    assert cli("items", "import", "june.txt", "--json").json["added"] == 2
    assert cli("items", "import", "june.txt", "--json").json["unchanged"] == 2
    on("2026-07-31", monkeypatch)
    assert cli("items", "import", "july.txt", "--json").json["added"] == 1
    assert cli("items", "import", "june.txt", "--json").json["unchanged"] == 2
    assert listed(cli) == {("Editorial", "On June."): 1, ("Borders", "Open."): 2, ("Editorial", "On July."): 3}


def test_two_issues_on_one_day(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one day nobody can tell a correction from the next issue: the editor is asked, and nothing is lost."""
    on("2026-07-31", monkeypatch)
    Path("june.txt").write_text("Editorial\nOn June.\nBorders\nOpen.\n")
    Path("july.txt").write_text("Editorial\nOn July.\nRoads\nClosed.\n")
    cli("items", "import", "june.txt")
    refused = cli("items", "import", "july.txt", "--json", code=1).json
    assert refused["added"] == 1
    assert "'Editorial'" in refused["bad"][0]["reason"]
    assert "--date" in refused["bad"][0]["reason"]
    assert "--date" in cli("items", "import", "july.txt", code=1).err
    assert "--date" in cli("items", "add", "Editorial", "--summary", "Third.", code=1).err
    assert ("Editorial", "On June.") in listed(cli)
    Path("july.txt").write_text("Editorial\nOn July.\n")
    assert cli("items", "import", "july.txt", "--date", "2026-07-01", "--json").json["added"] == 1
    Path("june.txt").write_text("Editorial\nOn June, corrected.\n")
    assert cli("items", "import", "june.txt", "--date", "2026-07-31", "--json").json["revised"] == 1
    found = listed(cli)
    assert (found["Editorial", "On June, corrected."], found["Editorial", "On July."]) == (1, 4)
    assert "cannot be read" in cli("items", "import", "june.txt", "--date", "soon", code=1).err


def test_a_title_twice_in_a_file(cli: CommandLine) -> None:
    """The second of two undated texts under one title is named, not lost without a word."""
    Path("a.txt").write_text("In brief\nOne.\nIn brief\nTwo.\nIn brief\nOne.\n")
    shown = cli("items", "import", "a.txt", "--json", code=1).json
    assert (shown["added"], shown["unchanged"], len(shown["bad"])) == (1, 1, 1)
    assert list(listed(cli)) == [("In brief", "One.")]


@pytest.mark.parametrize("batch", [1, 500])
def test_a_title_twice_in_a_dated_issue(cli: CommandLine, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Of two rubrics of one title in a dated file the second is named, in whichever batch; a later file corrects."""
    monkeypatch.setattr(items_command, "BATCH", batch)
    issue = ("items", "import", "june.txt", "--date", "2026-06-30")
    Path("june.txt").write_text("In brief\nOne.\nIn brief\nTwo.\nIn brief\nOne.\nBorders\nOpen.\n")
    for added, unchanged in ((2, 1), (0, 3)):
        shown = cli(*issue, "--json", code=1).json
        assert (shown["added"], shown["revised"], shown["unchanged"], len(shown["bad"])) == (added, 0, unchanged, 1)
        assert "'In brief' of 2026-06-30 comes twice" in shown["bad"][0]["reason"]
    Path("june.txt").write_text("In brief\nOne, corrected.\nIn brief\nTwo.\n")
    assert cli(*issue, "--json", code=1).json["revised"] == 1
    assert list(listed(cli)) == [("Borders", "Open."), ("In brief", "One, corrected.")]


@pytest.mark.parametrize("url", ["https://x.example/a b", "https://ana@x.example/", "ftp://x.example", "https://"])
def test_what_a_url_looks_like(cli: CommandLine, url: str) -> None:
    """How to mend a URL is said of each thing that can be wrong with it, also of one that begins as it should."""
    refused = " ".join(cli("items", "add", "T", "--summary", "S", "--url", url, code=1).err.split())
    assert "It looks like https://example.org/page, with %20 for a space and nobody's name before the host." in refused


@pytest.mark.parametrize("batch", [1, 500])
def test_a_dry_run(on_both: CommandLine, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """A dry run says what the import then does, whatever its batches, and leaves no item, tag or position behind."""
    monkeypatch.setattr(items_command, "BATCH", batch)
    lines = [GOOD, GOOD | {"summary": "New", "countries": ["GT"]}, {"title": "One", "summary": "S"}, {"title": ""}]
    Path("a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dry = on_both("items", "import", "a.jsonl", "--dry-run", "--json", code=1).json
    assert "nothing is published" in on_both("items", "import", "a.jsonl", "--dry-run", code=1).out
    assert on_both("items", "list", "--json").json == []
    done = on_both("items", "import", "a.jsonl", "--json", code=1).json
    assert (dry.pop("applied"), done.pop("applied")) == (False, True)
    assert dry == done
    assert done["added"] == 2
    assert {item["position"] for item in on_both("items", "list", "--json").json} == {1, 2}


def test_add_says_what_it_found(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same item added again on a later day is there already."""
    on("2026-07-30", monkeypatch)
    cli("items", "add", "T", "--summary", "S")
    on("2026-07-31", monkeypatch)
    assert "there already" in cli("items", "add", "T", "--summary", "S").out
    assert cli("items", "add", "T", "--summary", "S", "--json").json["position"] == 1


def test_an_editors_tags_outlive_the_source(on_both: CommandLine) -> None:
    """What an editor retagged stays until the source itself says otherwise; other changes still come in."""
    on_both("themes", "add", "trade", "--name", "en=Trade")

    def feed(**values: Any) -> Any:
        Path("a.jsonl").write_text(json.dumps(GOOD | {"countries": ["GT"], "themes": ["trade"]} | values))
        done = on_both("items", "import", "a.jsonl", "--json").json
        item = on_both("items", "show", "good", "--json").json
        return done["revised"], item["countries"], item["themes"], item["summary"], item["revision"]

    assert feed() == (0, ["GT"], ["trade"], "S", 1)
    on_both("items", "retag", "good", "--country", "HN")
    assert feed() == (0, ["HN"], ["trade"], "S", 2)
    assert feed(summary="New") == (1, ["HN"], ["trade"], "New", 3)
    assert feed(summary="New", themes=[]) == (1, ["HN"], [], "New", 4)
    assert feed(summary="New", themes=[], countries=["MX"]) == (1, ["MX"], [], "New", 5)
    on_both("items", "retag", "good", "--country", "SV")
    assert feed(summary="New", themes=[], countries=["SV"]) == (0, ["SV"], [], "New", 6)
    assert feed(summary="New", themes=[], countries=["MX"]) == (1, ["MX"], [], "New", 7)


def test_a_picture_that_is_none(cli: CommandLine) -> None:
    """A picture that cannot be fetched is named, and its item kept: the import has not failed."""
    Path("a.jsonl").write_text(
        '{"title": "A", "summary": "S", "id": "1", "image": "https://rutas.example/a.jpg", "image_alt": "A bridge"}\n'
        '{"title": "B", "summary": "S", "id": "2", "image": "a.jpg"}\n'
    )
    done = cli("items", "import", "a.jsonl")
    assert "2 added, 0 revised, 0 unchanged, 0 not read." in done.out
    assert "line 2: Its image is left out" in done.err
    told = cli("items", "import", "a.jsonl", "--json").json
    assert (told["unchanged"], told["bad"], told["left_out"][0]["line"]) == (2, [], 2)
    shown = cli("items", "show", "1", "--json").json
    assert (shown["image"], shown["image_alt"]) == ("https://rutas.example/a.jpg", "A bridge")
    refused = cli("items", "add", "C", "--summary", "S", "--image", "c.jpg", code=1)
    assert "not a web address" in refused.err
