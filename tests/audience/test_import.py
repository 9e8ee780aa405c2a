"""Importing readers from CSV through the command line."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from commanding import CommandLine
from house import House
from sqlalchemy import Connection, select, text, update

from newsletter.audience import importing, merging
from newsletter.database import engine_for
from newsletter.settings import load_settings
from newsletter.tables import consents, subscribers

NUMBERS = ("read", "added", "changed", "unchanged", "confirmed", "unsubscribed", "merged", "suppressed", "left", "bad")


@pytest.fixture(params=["sqlite", "postgresql"])
def cli(request: pytest.FixtureRequest, newsletter: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """With a list, on either database."""
    if request.param == "postgresql":
        monkeypatch.setenv("NEWSLETTER_DATABASE_URL", request.getfixturevalue("postgresql_url"))
    newsletter(
        *("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@rutas.example"),
        *("--postal-address", "1 St", "--language", "es", "--language", "en"),
    )
    newsletter("themes", "add", "protection", "--name", "en=Protection", "--name", "es=Protección")
    return newsletter


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "readers.csv"


def run(cli: CommandLine, file: Path, *options: str, code: int = 0) -> dict:
    return cli("subscribers", "import", str(file), *options, "--json", code=code).json


def numbers(found: dict) -> dict[str, int]:
    return {name: found[name] for name in NUMBERS if found.get(name)}


def readers(cli: CommandLine) -> dict[str, dict]:
    return {r["email"]: r for r in cli("subscribers", "list", "--json").json}


MIXED = """correo;nombre;país;temas;frecuencia;hora;fecha de consentimiento;notas
ana@example.org;Ana Peña;Guatemala, HN;Protección;semanal;7:00;2025-03-01;x
BEN@example.org;Ben;;;;;;
ana@EXAMPLE.org;Ana María;;;;;;
not an address;Eve;;;;;;
cleo@example.org;Cleo;Atlantis;;;;;
dan@example.org;Dan;;;;;3/4/2026;
;;;;;;;
"""


def test_dry_run_says_what_apply_does(cli: CommandLine, file: Path) -> None:
    """A dry run changes nothing and gives the numbers that --apply then gives; bad rows go to the report."""
    file.write_text(MIXED, "utf-8")
    dry = run(cli, file, code=1)
    assert not dry["applied"]
    assert readers(cli) == {}
    assert not file.with_name("readers.csv.bad.csv").exists()
    done = run(cli, file, "--apply", "--source", "May fair", code=1)
    assert numbers(dry) == numbers(done) == {"read": 6, "added": 2, "merged": 1, "bad": 3}
    assert done["ignored"] == ["notas"]
    found = readers(cli)
    assert {email.lower() for email in found} == {"ana@example.org", "ben@example.org"}
    report = list(csv.reader(io.StringIO(Path(done["report"]).read_text("utf-8"))))
    assert [row[:2] for row in report] == [
        ["line", "column"],
        ["5", "correo"],
        ["6", "país"],
        ["7", "fecha de consentimiento"],
    ]
    assert "There is no country or region 'Atlantis'" in report[2][2]


def test_the_later_row_wins(cli: CommandLine, file: Path) -> None:
    """Rows of one address are one reader; the last row's values hold."""
    file.write_text("email,name\na@example.org,First\nA@example.org,Last\n")
    assert numbers(run(cli, file, "--apply")) == {"read": 2, "added": 1, "merged": 1}
    (found,) = readers(cli).values()
    assert found["name"] == "Last"


def test_repeats_far_apart(cli: CommandLine, file: Path) -> None:
    """Rows of one address thousands of rows apart are merged, and counted alike dry and applied."""
    rows = [f"r{n}@example.org,Name {n}" for n in range(2500)]
    file.write_text("email,name\n" + "\n".join([*rows, "R3@example.org,Later", *rows[:2]]) + "\n")
    dry, done = run(cli, file), run(cli, file, "--apply")
    assert numbers(dry) == numbers(done) == {"read": 2503, "added": 2500, "merged": 3}
    assert cli("subscribers", "show", "r3@example.org", "--json").json["subscriptions"][0]["name"] == "Later"


def test_again_changes_nothing(cli: CommandLine, file: Path) -> None:
    """Importing a file again changes nothing; a changed cell changes that reader, an empty one nothing."""
    file.write_text("email,name,country,frequency\na@example.org,Ana,GT,weekly\nb@example.org,Ben,,\n")
    run(cli, file, "--apply")
    assert numbers(run(cli, file, "--apply")) == {"read": 2, "unchanged": 2}
    file.write_text("email,name,country,frequency\na@example.org,,HN,\nb@example.org,,,\n")
    assert numbers(run(cli, file, "--apply")) == {"read": 2, "changed": 1, "unchanged": 1}
    found = readers(cli)["a@example.org"]
    assert (found["name"], found["countries"], found["frequency"]) == ("Ana", ["HN"], "weekly")


def test_nobody_who_left_comes_back(cli: CommandLine, file: Path) -> None:
    """Who unsubscribed here, is suppressed, or is marked as gone in the file stays out."""
    file.write_text("email\nleft@example.org\nerased@example.org\n")
    run(cli, file, "--apply")
    cli("subscribers", "unsubscribe", "left@example.org")
    cli("subscribers", "erase", "erased@example.org", "--yes")
    file.write_text(
        "Email Address,Status\nleft@example.org,subscribed\nerased@example.org,subscribed\n"
        "c@example.org,Unsubscribed\nd@example.org,cleaned\ne@example.org,subscribed\nf@example.org,whatever\n"
    )
    dry, done = run(cli, file, code=1), run(cli, file, "--apply", code=1)
    assert numbers(dry) == numbers(done) == {"read": 6, "added": 1, "suppressed": 1, "left": 3, "bad": 1}
    assert {email for email, r in readers(cli).items() if r["state"] == "active"} == {"e@example.org"}


def test_consent_is_recorded(cli: CommandLine, file: Path) -> None:
    """Source and date of consent come from the row, else from the options, else from file name and moment."""
    file.write_text("email,consent date,consent source\na@example.org,2024-02-03,web form\nb@example.org,,\n")
    run(cli, file, "--apply", "--source", "May fair", "--consent-date", "2025-05-01")
    history = [cli("subscribers", "show", f"{who}@example.org", "--json").json["consents"] for who in "ab"]
    assert [(h[0]["event"], h[0]["source"], h[0]["at"][:10]) for h in history] == [
        ("imported", "web form", "2024-02-03"),
        ("imported", "May fair", "2025-05-01"),
    ]


def test_sources_that_no_record_can_hold(cli: CommandLine, file: Path) -> None:
    """Where consent was given is a line of at most 200 characters; a row that says more is bad, the others are kept."""
    cells = {"long": "x" * 201, "most": "x" * 200, "lines": '"May fair,\n stand 7"', "odd": "\x1b[31mred"}
    file.write_text("email,consent source\n" + "".join(f"{who}@example.org,{cell}\n" for who, cell in cells.items()))
    assert numbers(run(cli, file, "--apply", code=1)) == {"read": 4, "added": 2, "bad": 2}
    bad = file.with_name("readers.csv.bad.csv").read_text("utf-8")
    assert "has 201 characters. Write 1 to 200." in bad
    assert "control character" in bad
    (consent,) = cli("subscribers", "show", "lines@example.org", "--json").json["consents"]
    assert consent["source"] == "May fair, stand 7"
    assert "1 to 200" in cli("subscribers", "import", str(file), "--source", "x" * 201, code=1).err


def test_ask(cli: CommandLine, file: Path) -> None:
    """With --ask nobody is active before they have confirmed."""
    file.write_text("email\na@example.org\n")
    run(cli, file, "--apply", "--ask")
    assert readers(cli)["a@example.org"]["state"] == "pending"


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred rows are several batches."""
    monkeypatch.setattr(importing, "BATCH", 100)


KILLED = """
import os, sys
from newsletter.audience import importing
merge, calls = importing.merge, []
def dying(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), 9)
    merge(*arguments)
importing.merge, importing.BATCH = dying, 100
from newsletter.cli import main
sys.argv = ["newsletter", *sys.argv[1:]]
main()
"""


def test_killed_and_started_again(cli: CommandLine, file: Path, small_batches: None) -> None:
    """An import that was killed goes on after its last whole batch; report and numbers are those of all of it."""
    rows = [f"r{n}@example.org" if n % 100 != 5 else f"bad {n}" for n in range(350)]
    file.write_text("email\n" + "\n".join([*rows, "r7@example.org"]) + "\n")
    dry = run(cli, file, code=1)
    died = subprocess.run(
        [sys.executable, "-c", KILLED, "subscribers", "import", str(file), "--apply"], capture_output=True, check=False
    )
    assert died.returncode == -9, died
    assert len(cli("subscribers", "export").out.splitlines()) == 201
    report = file.with_name("readers.csv.bad.csv")
    lines = report.read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["line", "7", "107", "207", "307"]
    done = cli("subscribers", "import", str(file), "--apply", code=1)
    assert "Went on after row" in done.out
    assert report.read_text().splitlines() == lines
    expected = {"read": 351, "added": 346, "merged": 1, "bad": 4}
    assert numbers(dry) == expected
    assert "351 rows: 346 new, " in done.out
    assert "1 merged into another row" in done.out
    assert "4 bad" in done.out
    assert numbers(run(cli, file, "--apply", code=1)) == {"read": 351, "unchanged": 346, "merged": 1, "bad": 4}


def test_another_vocabulary_begins_anew(
    cli: CommandLine, file: Path, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were bad when an import broke off and are good now are not passed over when it goes on."""
    file.write_text("email,theme\nlate@example.org,trade\n" + "".join(f"r{n}@example.org,\n" for n in range(150)))
    merge, calls = importing.merge, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return merge(*arguments)

    monkeypatch.setattr(importing, "merge", dying)
    run_ = ("subscribers", "import", str(file), "--apply", "--json")
    cli(*run_, code=130)
    monkeypatch.setattr(importing, "merge", merge)
    cli("themes", "add", "trade", "--name", "en=Trade")
    assert numbers(cli(*run_).json) == {"read": 151, "added": 51, "unchanged": 100}


def test_the_last_row_decides(cli: CommandLine, file: Path, small_batches: None) -> None:
    """Whom the last row of their address says to have left is not subscribed, however far apart the rows are."""
    filler = [f"r{n}@example.org,subscribed" for n in range(120)]
    rows = [
        "left@example.org,subscribed",
        "far@example.org,subscribed",
        "back@example.org,unsubscribed",
        "wait@example.org,subscribed",
        "left@example.org,unsubscribed",
        *filler,
        "Far@example.org,unsubscribed",
        "far@example.org,",
        "back@example.org,subscribed",
        "wait@example.org,pending",
    ]
    file.write_text("email,status\n" + "\n".join(rows) + "\n")
    dry, done = run(cli, file), run(cli, file, "--apply")
    assert numbers(dry) == numbers(done) == {"read": 129, "added": 121, "merged": 5, "left": 3}
    found = {line.partition(",")[0] for line in cli("subscribers", "export").out.splitlines()}
    assert found & {f"{who}@example.org" for who in ("left", "far", "back", "wait")} == {"back@example.org"}


def test_whom_a_file_says_to_have_left_is_unsubscribed(cli: CommandLine, file: Path) -> None:
    """A row that says unsubscribed ends an active, paused or pending subscription, with its line in the history."""
    for who in ("active", "paused", "pending", "kept"):
        cli("subscribers", "add", f"{who}@example.org", *(() if who == "pending" else ("--confirmed",)))
    cli("subscribers", "pause", "paused@example.org")
    rows = [f"{who}@example.org,unsubscribed" for who in ("active", "paused", "pending", "stranger")]
    file.write_text("email,status\n" + "\n".join([*rows, "kept@example.org,cleaned"]) + "\n")
    dry = run(cli, file)
    assert {r["state"] for r in readers(cli).values()} == {"active", "paused", "pending"}
    assert "3 unsubscribed" in cli("subscribers", "import", str(file)).out
    done = run(cli, file, "--apply")
    assert numbers(dry) == numbers(done) == {"read": 5, "unsubscribed": 3, "left": 2}
    found = readers(cli)
    assert {e.partition("@")[0]: (r["state"], bool(r["due_at"])) for e, r in found.items()} == {
        "active": ("unsubscribed", False),
        "paused": ("unsubscribed", False),
        "pending": ("unsubscribed", False),
        "kept": ("active", True),
    }
    *_, last = cli("subscribers", "show", "active@example.org", "--json").json["consents"]
    assert (last["event"], last["source"]) == ("unsubscribed", "import of readers.csv")
    assert numbers(run(cli, file, "--apply")) == {"read": 5, "left": 5}


def test_consent_confirms_who_is_pending(cli: CommandLine, file: Path) -> None:
    """A consent that is proven, and not to be asked for, activates a reader who has not confirmed yet."""
    cases = (
        (",", (), "pending"),
        ("2024-02-03,", (), "active"),
        (",web form", (), "active"),
        (",", ("--source", "May fair"), "active"),
        (",", ("--consent-date", "2024-02-03"), "active"),
        ("2024-02-03,web form", ("--ask",), "pending"),
    )
    for who in ("gone", "erased", *range(len(cases))):
        cli("subscribers", "add", f"{who}@example.org")
    cli("subscribers", "unsubscribe", "gone@example.org")
    cli("subscribers", "erase", "erased@example.org", "--yes")
    for who, (cells, options, state) in enumerate(cases):
        rows = [f"{name}@example.org,{cells}" for name in (who, "gone", "erased")]
        file.write_text("email,consent date,consent source\n" + "\n".join(rows) + "\n")
        dry, done = run(cli, file, *options), run(cli, file, *options, "--apply")
        outcome = "confirmed" if state == "active" else "unchanged"
        assert numbers(dry) == numbers(done) == {"read": 3, outcome: 1, "left": 1, "suppressed": 1}, cells
        found = readers(cli)[f"{who}@example.org"]
        assert (found["state"], bool(found["due_at"])) == (state, state == "active"), cells
        history = cli("subscribers", "show", f"{who}@example.org", "--json").json["consents"]
        assert [h["event"] for h in history] == (["asked", "imported"] if state == "active" else ["asked"])
    assert readers(cli)["gone@example.org"]["state"] == "unsubscribed"
    (_, last) = cli("subscribers", "show", "1@example.org", "--json").json["consents"]
    assert last["at"].startswith("2024-02-03")


def test_empty_cells_of_a_later_row(cli: CommandLine, file: Path) -> None:
    """Rows of one address are one: an empty cell of the later leaves what the earlier said; evidence is not mixed."""
    file.write_text(
        "email,name,country,hour,consent date,consent source\n"
        "a@example.org,Ana,GT,7,2024-02-03,web form\na@example.org,,HN,,,fair\n"
    )
    run(cli, file, "--apply")
    found = readers(cli)["a@example.org"]
    assert (found["name"], found["countries"], found["hour"]) == ("Ana", ["HN"], 7)
    (consent,) = cli("subscribers", "show", "a@example.org", "--json").json["consents"]
    assert consent["source"] == "fair"
    assert not consent["at"].startswith("2024-02-03")


def test_days_that_cannot_be(cli: CommandLine, file: Path) -> None:
    """A day on which nobody can have consented is a bad row, or a refused option, with a sentence."""
    days = {
        "0001-01-01T00:00:00+14:00": "There is no day",
        "9999-12-31T23:59:59-14:00": "There is no day",
        "0001-01-01": "lies before 1970",
        "2999-01-01": "is in the future",
        "31/02/2026": "There is no day",
    }
    rows = [f"a{n}@example.org,{day}" for n, day in enumerate(days)]
    file.write_text("email,consent date\n" + "\n".join([*rows, "b@example.org,2024-02-03"]) + "\n")
    done = run(cli, file, "--apply", code=1)
    assert numbers(done) == {"read": 6, "added": 1, "bad": 5}
    for bad, (day, sentence) in zip(done["first_bad"], days.items(), strict=True):
        assert sentence in bad["reason"], day
        assert sentence in cli("subscribers", "import", str(file), "--consent-date", day, code=1).err


def test_a_sign_up_meanwhile(cli: CommandLine, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who signs up while they are imported is on the list once, with one consent; the rest comes in."""
    file.write_text("email,name\nana@example.org,Ana\nben@example.org,Ben\n")
    present = merging._present
    engine = engine_for(load_settings().database)

    def meanwhile(connection: Connection, list_id: int, rows: Mapping[str, Any]) -> dict[str, Any]:
        found = present(connection, list_id, rows)
        # SQLite lets nobody else write at this moment.
        if engine.dialect.name == "postgresql" and "ana@example.org" not in found:
            house = House(engine, load_settings())
            house.list_id = list_id
            house.subscribe("ana@example.org", due_at=None)
        return found

    monkeypatch.setattr(merging, "_present", meanwhile)
    run(cli, file, "--apply")
    assert readers(cli).keys() == {"ana@example.org", "ben@example.org"}
    with engine.connect() as connection:
        events = connection.execute(select(consents.c.subscriber_id, consents.c.event)).all()
    assert len(events) == len({row.subscriber_id for row in events}) == 2


def test_two_at_once(newsletter: CommandLine, file: Path, monkeypatch: pytest.MonkeyPatch, postgresql_url: str) -> None:
    """Who holds the same readers in another order, to settle answers or to import them, breaks no import off."""
    monkeypatch.setenv("NEWSLETTER_DATABASE_URL", postgresql_url)
    newsletter(
        "lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@e.example", "--postal-address", "1 St"
    )
    file.write_text("email,name\na@example.org,A\nb@example.org,B\n")
    run(newsletter, file, "--apply")
    file.write_text("email,name\na@example.org,Ana\nb@example.org,Bea\nc@example.org,Cleo\n")
    engine = engine_for(load_settings().database)
    done: list[dict[str, Any]] = []
    importing_them = threading.Thread(target=lambda: done.append(run(newsletter, file, "--apply")))
    held = update(subscribers).values(created_at=subscribers.c.created_at)
    with engine.begin() as connection:
        connection.execute(held.where(subscribers.c.email_key == "b@example.org"))
        importing_them.start()
        waits = text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watching:
            while not watching.scalar(waits):
                time.sleep(0.02)
        # PostgreSQL breaks off whoever waited first for a second.
        connection.execute(held.where(subscribers.c.email_key == "a@example.org"))
    importing_them.join()
    assert numbers(done[0]) == {"read": 3, "added": 1, "changed": 2}
    assert [found["name"] for found in readers(newsletter).values()] == ["Ana", "Bea", "Cleo"]


def test_tomorrow_elsewhere(cli: CommandLine, file: Path) -> None:
    """A consent of today in a zone that is ahead of UTC is fine."""
    moment = datetime.now(UTC) + timedelta(hours=13)
    file.write_text(f"email,consent date\na@example.org,{moment:%Y-%m-%d %H:%M}\n")
    assert numbers(run(cli, file, "--apply")) == {"read": 1, "added": 1}


def test_report_over_the_file_itself(cli: CommandLine, file: Path, tmp_path: Path) -> None:
    """A report that would overwrite the file is refused, under whatever name, and nothing is touched."""
    file.write_text("email\na@example.org\nbad\n")
    (tmp_path / "soft.csv").symlink_to(file)
    (tmp_path / "hard.csv").hardlink_to(file)
    for name in ("readers.csv", "./readers.csv", "soft.csv", "hard.csv"):
        for options in ((), ("--apply",)):
            refused = cli("subscribers", "import", str(file), "--report", name, *options, code=1)
            assert "is the file that is to be imported" in refused.err
    assert file.read_text() == "email\na@example.org\nbad\n"
    assert readers(cli) == {}


def test_report_that_cannot_be_written(cli: CommandLine, file: Path, tmp_path: Path) -> None:
    """A report that cannot be written is found before anything is imported."""
    (tmp_path / "folder").mkdir()
    file.write_text("email\na@example.org\nbad\n")
    for target in ("none/report.csv", "folder"):
        assert cli("subscribers", "import", str(file), "--report", target, "--apply", code=1).err.startswith("Error:")
    assert readers(cli) == {}


def test_no_report_without_bad_rows(cli: CommandLine, file: Path) -> None:
    """An import without bad rows leaves no report behind, and not a word in one that is there."""
    file.write_text("email\na@example.org\n")
    run(cli, file, "--apply")
    assert not file.with_name("readers.csv.bad.csv").exists()


def test_what_is_said_of_a_file(cli: CommandLine, file: Path) -> None:
    """One sentence with what there is of each, new and bad in any case; a bad row by line, and by its column if any."""
    file.write_text('email,hour\nana@example.org,8\nana@example.org,9\nben@example.org,25\n"cleo@example.org\n')
    done = cli("subscribers", "import", "readers.csv", code=1)
    assert "4 rows: 1 new, 1 merged into another row, 2 bad." in done.out
    assert "line 4 hour: '25' is not" in done.err
    assert "line 5: A quote is opened" in done.err


def test_commas_in_names(cli: CommandLine, file: Path) -> None:
    """A comma parts places, unless it is part of a name."""
    cells = {
        "a@example.org": ("Congo, Kinshasa", ["CD"]),
        "b@example.org": ("Guatemala, Congo, Kinshasa; HN", ["CD", "GT", "HN"]),
        "c@example.org": ("GT,,HN", ["GT", "HN"]),
        "d@example.org": ("Honduras | Guatemala,", ["GT", "HN"]),
    }
    file.write_text("email,country\n" + "".join(f'{email},"{cell}"\n' for email, (cell, _) in cells.items()))
    run(cli, file, "--apply")
    assert {e: r["countries"] for e, r in readers(cli).items()} == {e: codes for e, (_, codes) in cells.items()}


def test_very_many_values_in_a_cell(cli: CommandLine, file: Path) -> None:
    """A cell takes time in proportion to its values."""
    file.write_text(f'email,country\na@example.org,"{"GT," * 300_000}"\n')
    began = time.monotonic()
    assert numbers(run(cli, file)) == {"read": 1, "added": 1}
    assert time.monotonic() - began < 5


def test_bad_item_language(cli: CommandLine, file: Path) -> None:
    """A language of items that is none costs its own row."""
    file.write_text("email,item_languages\na@example.org,español\nb@example.org,es;en\n", "utf-8")
    assert numbers(run(cli, file, "--apply", code=1)) == {"read": 2, "added": 1, "bad": 1}


@pytest.mark.parametrize("column", ["country", "theme", "timezone", "frequency", "hour", "consent_date"])
def test_a_cell_that_is_a_book(cli: CommandLine, file: Path, column: str) -> None:
    """What is said of a cell of any length stays a sentence, and does not fill report and terminal."""
    file.write_text(f"email,{column}\nana@example.org,{'x' * 100_000}\n")
    (bad,) = run(cli, file, code=1)["first_bad"]
    assert len(bad["reason"]) < 1200


def test_a_language_that_the_list_has_not(cli: CommandLine, file: Path) -> None:
    """A reader's language may be one in which notices come and digests of this list do not, as exports have it; what no
    mail comes in costs its own row."""
    file.write_text("email,language\na@example.org,fr-CA\nb@example.org,de\n")
    found = run(cli, file, "--apply", code=1)
    assert numbers(found) == {"read": 2, "added": 1, "bad": 1}
    assert "It comes in es, en." in found["first_bad"][0]["reason"]
    file.write_bytes(cli("subscribers", "export").raw)
    assert b",fr," in file.read_bytes()
    assert numbers(run(cli, file, "--apply")) == {"read": 1, "unchanged": 1}


def test_export_reads_back(cli: CommandLine, file: Path) -> None:
    """What is exported, formulas and all, can be imported elsewhere and is the same."""
    cli(
        *("subscribers", "add", "=cmd@example.org", "--name", '=1+1;"x"', "-c", "GT", "-c", "HN"),
        *("-t", "protection", "--frequency", "weekly", "--weekday", "fri", "--hour", "17", "--confirmed"),
    )
    cli("subscribers", "add", "pending@example.org")
    before = readers(cli)["=cmd@example.org"]
    out = cli("subscribers", "export")
    assert "'=1+1" in out.out
    file.write_bytes(out.raw)
    cli(
        "lists",
        "create",
        "zwei",
        "--name",
        "Z",
        "--sender-email",
        "z@e.example",
        "--postal-address",
        "1",
        "--language",
        "es",
    )
    cli("themes", "add", "protection", "--name", "en=Protection", "--list", "zwei")
    assert numbers(run(cli, file, "--apply", "--list", "zwei")) == {"read": 2, "added": 1, "left": 1}
    (after,) = cli("subscribers", "list", "--list", "zwei", "--json").json
    same = ("email", "name", "countries", "themes", "frequency", "hour", "weekday", "timezone", "language")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("", "is empty"), ("name\nAna\n", "no column for email"), ("PK\x00\x03", "not a text file")],
)
def test_unusable_files(cli: CommandLine, file: Path, content: str, sentence: str) -> None:
    """A file that cannot be used gets a sentence, and nothing changes."""
    file.write_text(content)
    assert sentence in cli("subscribers", "import", str(file), "--apply", code=1).err
    assert readers(cli) == {}
