"""Importing readers from CSV through the command line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from commanding import CommandLine

NUMBERS = ("read", "added", "changed", "unchanged", "merged", "suppressed", "left", "bad")


@pytest.fixture(params=["sqlite", "postgresql"])
def cli(request: pytest.FixtureRequest, newsletter: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """With a list, on either database."""
    if request.param == "postgresql":
        monkeypatch.setenv("NEWSLETTER_DATABASE_URL", request.getfixturevalue("postgres").create())
        newsletter("init")
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
    return {name: found[name] for name in NUMBERS if found[name]}


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


def test_ask(cli: CommandLine, file: Path) -> None:
    """With --ask nobody is active before they have confirmed."""
    file.write_text("email\na@example.org\n")
    run(cli, file, "--apply", "--ask")
    assert readers(cli)["a@example.org"]["state"] == "pending"


def test_goes_on_where_it_stopped(cli: CommandLine, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that broke off goes on after its last whole batch; the report keeps its rows."""
    rows = [f"r{n}@example.org" if n != 5 else "bad" for n in range(3500)]
    file.write_text("email\n" + "\n".join(rows) + "\n")
    from newsletter.audience import importing

    merge, calls = importing.merge, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 5:  # twice a batch: rows, then repeats
            raise KeyboardInterrupt
        return merge(*arguments)

    monkeypatch.setattr(importing, "merge", dying)
    cli("subscribers", "import", str(file), "--apply", "--json", code=130)
    monkeypatch.setattr(importing, "merge", merge)
    assert numbers(run(cli, file, "--apply")) == {"read": 3500, "added": 1500}
    assert len(cli("subscribers", "export").out.splitlines()) == 3500
    assert file.with_name("readers.csv.bad.csv").read_text().splitlines()[1].startswith("7,email,")
    assert numbers(run(cli, file, "--apply", code=1)) == {"read": 3500, "unchanged": 3499, "bad": 1}


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
