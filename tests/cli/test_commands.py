"""The command line as a whole: help, JSON, exit codes, errors, completion, pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
import typer
from commanding import CommandLine

from newsletter import __version__
from newsletter.cli import app
from newsletter.database import engine_for
from newsletter.digests import runs
from newsletter.settings import load_settings


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words."""
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, command


COMMANDS = dict(leaves(typer.main.get_command(app)))
PRINTS_DATA = [words for words in COMMANDS if words[-1] in ("list", "show", "explain", "export", "preview", "init")]

ISSUE = """init
lists create|show|list|edit|archive
themes import|add|list|rename
items import|add|list|show|retag|withdraw
subscribers add|import|export|list|show|edit|pause|unsubscribe|erase
digest preview
explain
runs start|list|show|approve|cancel
deliveries list|show|retry
relays list|test|pause|resume
worker|beat|inbox|up
demo"""


@pytest.fixture
def cli(newsletter: CommandLine) -> CommandLine:
    """With a list, a theme, an item and a reader."""
    newsletter(
        *("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@rutas.example"),
        *("--postal-address", "1 St"),
    )
    newsletter("themes", "add", "trade", "--name", "en=Trade")
    newsletter("items", "add", "[bold]T[/]", "--summary", "S", "-c", "GT", "-t", "trade")
    newsletter("subscribers", "add", "ana@example.org", "-c", "GT", "--confirmed", "--from-start", "--name", "[red]Ana")
    return newsletter


def test_every_command_that_was_promised() -> None:
    """All nouns and verbs are there."""
    for line in ISSUE.splitlines():
        *noun, verbs = line.split()
        for verb in verbs.split("|"):
            assert (*noun, verb) in COMMANDS


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help(newsletter: CommandLine, words: tuple[str, ...]) -> None:
    """Every command explains itself, with an example that it itself understands, and exits 0."""
    shown = newsletter(*words, "--help")
    assert "Usage" in shown.out
    assert "Example" in shown.out
    example = (COMMANDS[words].help or "").partition("Example: `")[2].partition("`")[0]
    assert f"newsletter {' '.join(words)}" in " ".join(example.split())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_that_is_no_list(newsletter: CommandLine, words: tuple[str, ...]) -> None:
    """The hyphen of standard input does not begin a list, brackets come once, and no limit of the machine is told."""
    shown = newsletter(*words, "--help").out
    for odd in ("•", "[[", "9223372036854775807"):
        assert odd not in shown


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_names_of_options_are_whole(
    newsletter: CommandLine, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal of 80 columns no name of an option is cut."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = newsletter(*words, "--help").out.split()
    for option in COMMANDS[words].params:
        names = [*option.opts, *option.secondary_opts]
        assert [name for name in names if name.startswith("-") and name not in shown] == []


@pytest.mark.parametrize("number", ["abc", "0", "²", "1.5", "9223372036854775808", "9" * 5000])
def test_numbers_that_are_none(newsletter: CommandLine, number: str) -> None:
    """What is no number of a row is said so, as a mistake in the command line."""
    for words in (("runs", "show", number), ("deliveries", "show", number), ("runs", "list", "--limit", number)):
        assert "is not a number" in newsletter(*words, code=2).err


@pytest.mark.parametrize("words", PRINTS_DATA, ids=" ".join)
def test_json_everywhere(words: tuple[str, ...]) -> None:
    """Whatever prints data prints it as JSON too."""
    assert any("--json" in option.opts for option in COMMANDS[words].params)


JSON_CALLS = (
    ("init",),
    ("lists", "list"),
    ("lists", "show", "rutas"),
    ("themes", "list"),
    ("items", "list"),
    ("items", "show", "1"),
    ("subscribers", "list"),
    ("subscribers", "show", "ana@example.org"),
    ("subscribers", "export"),
    ("digest", "preview", "ana@example.org"),
    ("explain", "ana@example.org", "1"),
    ("runs", "list"),
    ("deliveries", "list"),
    ("relays", "list"),
)


@pytest.mark.parametrize("words", JSON_CALLS, ids=" ".join)
def test_json_and_words(cli: CommandLine, words: tuple[str, ...]) -> None:
    """JSON is one document on standard output and nothing else; without it there is something for people."""
    shown = cli(*words, "--json")
    assert shown.json is not None
    assert shown.err == ""
    people = cli(*words)
    assert people.out.strip()
    with pytest.raises(json.JSONDecodeError):
        json.loads(people.out)


def test_markup_in_texts_is_shown(cli: CommandLine) -> None:
    """What looks like terminal markup in titles and names is shown as it was written."""
    assert "[bold]T[/]" in cli("items", "list").out
    assert "[bold]T[/]" in cli("explain", "ana@example.org", "1").out
    assert "[red]Ana" in cli("subscribers", "show", "ana@example.org").out


@pytest.mark.parametrize(
    "words",
    [
        ("lists", "show", "ruta"),
        ("items", "show", "7"),
        ("items", "show", "x" * 5000),
        ("subscribers", "show", "ben@example.org"),
        ("subscribers", "show", "no address"),
        ("runs", "show", "9"),
        ("runs", "approve", "9", "--yes"),
        ("runs", "cancel", "9", "--yes"),
        ("deliveries", "show", "9"),
        ("deliveries", "retry", "9"),
        ("deliveries", "list", "--state", "lost"),
        ("subscribers", "list", "--state", "lost"),
        ("explain", "ana@example.org", "99"),
        ("items", "import", "nowhere.csv"),
        ("themes", "import", "nowhere.json"),
        ("subscribers", "import", "nowhere.csv"),
        ("themes", "add", "Bad Slug", "--name", "en=x"),
        ("themes", "add", "x", "--name", "x"),
        ("themes", "add", "x", "--name", "en=X", "--parent", "none"),
        ("themes", "rename", "none", "--name", "en=X"),
        ("lists", "create", "rutas", "--name", "x", "--sender-email", "a@b.example", "--postal-address", "x"),
        ("lists", "create", "neu", "--name", "x", "--sender-email", "a b", "--postal-address", "x"),
        ("lists", "create", "neu", "--name", " ", "--sender-email", "a@b.example", "--postal-address", "x"),
        ("lists", "edit", "rutas", "--max-items", "0"),
        ("lists", "edit", "rutas", "--language", "de"),
        ("lists", "edit", "rutas", "--reports-to", "not an address"),
        ("lists", "edit", "rutas", "--style", "tight"),
        ("lists", "edit", "rutas", "--sections", "region"),
        ("lists", "archive", "rutas"),
        ("runs", "start", "rutas"),
        ("digest", "preview", "ana@example.org", "--output", "nowhere/x.html"),
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_refusals(cli: CommandLine, words: tuple[str, ...]) -> None:
    """What cannot be done ends with exit code 1 and a sentence on standard error, never with a traceback."""
    shown = cli(*words, code=1)
    assert shown.err.startswith("Error:")
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("words", [("nonsense",), ("lists", "creat"), ("items", "show"), ("lists", "list", "--jsn")])
def test_usage(newsletter: CommandLine, words: tuple[str, ...]) -> None:
    """A command line that is not understood ends with exit code 2."""
    assert "Usage" in newsletter(*words, code=2).err


@pytest.mark.parametrize(
    "words",
    [
        ("lists", "edit", "rutas"),
        ("lists", "brand", "rutas"),
        ("lists", "brand", "rutas", "--clear", "--accent", "#0b6e6e"),
        ("themes", "add", "protection"),
        ("items", "retag", "1"),
        ("items", "retag", "1", "--no-places", "--country", "GT"),
        ("subscribers", "edit", "ana@example.org"),
        ("subscribers", "edit", "ana@example.org", "--all-places", "--country", "GT"),
        ("subscribers", "add", "ben@example.org", "--backfill", "3", "--from-start"),
        ("runs", "note", "1"),
        ("runs", "note", "1", "text", "--remove"),
        ("deliveries", "retry"),
        ("deliveries", "retry", "1", "--run", "1"),
        ("tokens", "create", "feed"),
        ("tokens", "create", "feed", "--list", "rutas", "--all"),
    ],
    ids=" ".join,
)
def test_nothing_or_too_much_named(newsletter: CommandLine, words: tuple[str, ...]) -> None:
    """Options that name nothing to do, or exclude each other, are a mistake in the command line: exit code 2."""
    said = newsletter(*words, code=2).err
    assert said.startswith("Error:")
    assert f"`newsletter {words[0]} {words[1]} --help`" in said


def test_before_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `init` every command says what to do first, and makes nothing."""
    monkeypatch.setenv("NEWSLETTER_HOME", str(tmp_path / "none"))
    shown = CommandLine(tmp_path / "none")("lists", "list", code=1)
    assert "Run `newsletter init`" in shown.err


def test_init_twice(newsletter: CommandLine) -> None:
    """A second `init` keeps everything and says so."""
    key = (newsletter.home / "secret.key").read_text()
    assert newsletter("init", "--json").json["migrated"] is False
    assert (newsletter.home / "secret.key").read_text() == key
    assert "newsletter lists create" in newsletter("init").out


def test_which_list(cli: CommandLine) -> None:
    """With one list it need not be named; with two it has to be; an archived one takes nothing in."""
    cli("lists", "create", "zwei", "--name", "Z", "--sender-email", "z@e.example", "--postal-address", "1 St")
    assert "Which list?" in cli("items", "add", "T", "--summary", "S", code=1).err
    cli("lists", "archive", "zwei", "--yes")
    cli("items", "add", "T2", "--summary", "S")
    assert "is archived" in cli("items", "add", "T", "--summary", "S", "--list", "zwei", code=1).err
    cli("lists", "archive", "zwei", "--undo")
    cli("items", "add", "T", "--summary", "S", "--list", "zwei")


@pytest.mark.parametrize(
    "words",
    ["runs list", "deliveries list", "subscribers list", "subscribers show ana@example.org", "templates check"],
)
def test_of_every_list(cli: CommandLine, words: str) -> None:
    """What is about every list if none is named says so in its help, and asks for none where there are several."""
    cli("lists", "create", "andere", "--name", "A", "--sender-email", "a@b.example", "--postal-address", "X")
    cli(*words.split())
    assert "Default: every list" in cli(*words.split()[:2], "--help").out


def test_all_lists_are_archived(cli: CommandLine) -> None:
    """If every list is archived, that is said, and how to open one again."""
    cli("lists", "archive", "rutas", "--yes")
    refused = cli("items", "add", "T", "--summary", "S", code=1).err
    assert "Every list is archived." in refused
    assert "rutas" in refused
    assert "--undo" in refused


def test_texts_of_a_list(cli: CommandLine) -> None:
    """What stands in headers and in every mail is one line of plain text, of a length that fits there."""
    longest = {"--name": 200, "--sender-name": 200, "--postal-address": 500, "--description": 2000}
    before = cli("lists", "show", "rutas", "--json").json
    bad = ("One\nBcc: x@example.org", "One\x1b[31m", "One\u2028two", "One\u202etwo", "One \udcff")
    for option, most in longest.items():
        sentences = dict.fromkeys(bad, "a line end or control character") | {"x" * (most + 1): f"It may have {most}."}
        for text, sentence in sentences.items():
            assert sentence in cli("lists", "edit", "rutas", option, text, code=1).err
            given = {"--name": "N", "--postal-address": "1 St", "--sender-email": "n@e.example"} | {option: text}
            options = [part for pair in given.items() for part in pair]
            assert sentence in cli("lists", "create", "neu", *options, code=1).err
    assert cli("lists", "show", "rutas", "--json").json == before
    assert len(cli("lists", "list", "--json").json) == 1
    # What has its full length, or accents and joins characters, is welcome.
    for option, most in longest.items():
        cli("lists", "edit", "rutas", option, "\u00e9" * most)
        cli("lists", "edit", "rutas", option, "L\u2019Info\u00a0: \U0001f469\u200d\U0001f33e")


def test_who_hears_of_runs(cli: CommandLine) -> None:
    """Who gets reports on runs is named, each once, shown, kept by other edits, and taken away by an empty address."""

    def named() -> list[str]:
        return cli("lists", "show", "rutas", "--json").json["reports_to"]

    assert named() == []
    to = [
        part
        for address in ("Ana@Example.ORG", "ana@example.org", "ben@example.org")
        for part in ("--reports-to", address)
    ]
    cli("lists", "edit", "rutas", *to)
    cli("lists", "edit", "rutas", "--max-items", "9")
    assert named() == ["ana@example.org", "ben@example.org"]
    assert "ana@example.org, ben@example.org" in cli("lists", "show", "rutas").out
    cli("lists", "edit", "rutas", "--reports-to", "")
    assert named() == []
    cli("lists", "create", "mares", "--name", "M", "--sender-email", "m@e.example", "--postal-address", "1 St", *to)
    assert len(cli("lists", "show", "mares", "--json").json["reports_to"]) == 2


def test_layout_of_a_list(cli: CommandLine) -> None:
    """Digests of a list are full and by country until it says otherwise, and show it; what is neither is refused."""

    def layout() -> tuple[str, str]:
        shown = cli("lists", "show", "rutas", "--json").json
        return shown["style"], shown["sections"]

    assert layout() == ("full", "country")
    cli("lists", "edit", "rutas", "--style", "compact", "--sections", "theme")
    assert layout() == ("compact", "theme")
    assert "full or compact" in cli("lists", "edit", "rutas", "--style", "tight", code=1).err
    assert layout() == ("compact", "theme")
    assert "Nothing to change was named." in cli("lists", "edit", "rutas", code=2).err


def test_themes_from_files(cli: CommandLine, tmp_path: Path) -> None:
    """JSON and CSV bring the same vocabulary; a bad entry keeps nothing; the slug outlives a new name."""
    (tmp_path / "a.json").write_text('[{"slug": "aid", "names": {"en": "Aid", "fr": "Aide"}}]')
    (tmp_path / "a.csv").write_text("slug;en;fr;parent\naid;Aid;Aide;\ncash;Cash;;aid\n")
    assert cli("themes", "import", "a.json").out.startswith("1 added")
    assert cli("themes", "import", "a.csv").out.startswith("1 added, 0 changed, 1 unchanged")
    (tmp_path / "bad.json").write_text('[{"slug": "ok", "names": {"en": "Ok"}}, {"slug": 7}]')
    assert "bad.json, entry 2" in cli("themes", "import", "bad.json", code=1).err
    (tmp_path / "loop.json").write_text('[{"slug": "aid", "names": {"en": "Aid"}, "parent": "cash"}]')
    assert "its own ancestor" in cli("themes", "import", "loop.json", code=1).err
    cli("themes", "rename", "aid", "--name", "es=Ayuda")
    themes = {t["slug"]: t for t in cli("themes", "list", "--json").json}
    assert themes["aid"]["names"] == {"en": "Aid", "es": "Ayuda", "fr": "Aide"}
    assert themes["cash"]["parent"] == "aid"
    assert "ok" not in themes


def test_themes_that_no_mail_or_page_can_show(cli: CommandLine, tmp_path: Path) -> None:
    """A theme with a name that fills a mail, or on so many others that no page can nest it, is refused."""
    long = [{"slug": "aid", "names": {"en": "x" * 101}}]
    deep = [{"slug": f"t{n}", "names": {"en": f"T{n}"}, "parent": f"t{n - 1}" if n else None} for n in range(700)]
    for themes, said in ((long, "'aid' has a name of more than 100"), (deep, "'t20' stands below more than 19 others")):
        (tmp_path / "a.json").write_text(json.dumps(themes))
        assert said in " ".join(cli("themes", "import", "a.json", code=1).err.split())
    (tmp_path / "a.json").write_text(json.dumps([{"slug": "aid", "names": {"en": "x" * 100}}, *deep[:20]]))
    assert cli("themes", "import", "a.json").out.startswith("21 added")


def test_words_in_place_of_columns(cli: CommandLine) -> None:
    """What is shown of readers, runs and deliveries stands under words, places by name; JSON keeps its names."""
    cli("subscribers", "edit", "ana@example.org", "-c", "GT", "-r", "013", "--item-language", "es")
    cli("runs", "start", "rutas", "--yes")
    shown = cli("subscribers", "show", "ana@example.org").out
    for part in ("Guatemala (GT)", "Central America (013)", "Spanish", "served up to position"):
        assert part in shown
    run = cli("runs", "show", "1").out
    assert "looked at" in run
    assert "examined" not in run
    assert cli("runs", "show", "1", "--json").json["examined"] == 0
    engine = engine_for(load_settings().database)
    runs.assemble(engine, 1, datetime.now(UTC))
    assert cli("subscribers", "show", "ana@example.org").out.count("nothing new fits") == 1
    assert "1 nothing new fits" in cli("runs", "show", "1").out
    cli("subscribers", "add", "ben@example.org", "--confirmed", "--from-start")
    cli("runs", "start", "rutas", "--yes")
    runs.assemble(engine, 2, datetime.now(UTC))
    shown = cli("deliveries", "show", "1").out
    for word in ("tries", "may come twice", "up to position"):
        assert word in shown
    for name in ("run id", "item ids", "body hash", "closed at"):
        assert name not in shown


def test_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`init` names `newsletter up` only where nothing else runs worker and site, as compose does."""
    monkeypatch.setenv("NEWSLETTER_HOME", str(tmp_path / "new"))
    assert "  newsletter up" in CommandLine(tmp_path / "new")("init").out
    monkeypatch.setenv("NEWSLETTER_REDIS_URL", "redis://redis:6379/0")
    assert "newsletter up" not in CommandLine(tmp_path / "new")("init").out


def test_themes_that_are_added_again(cli: CommandLine) -> None:
    """`themes add` changes what is given of a theme that is there, and says what; an empty text takes away."""

    def aid() -> tuple[object, ...]:
        (found,) = (theme for theme in cli("themes", "list", "--json").json if theme["slug"] == "aid")
        return found["names"], found["parent"], found["descriptions"]

    described = ("--description", "en=Help", "--description", "es=Ayuda")
    assert cli("themes", "add", "aid", "--name", "en=Aid", "--parent", "trade", *described).out == "Added aid.\n"
    told = cli("themes", "add", "aid", "--name", "fr=Aide", "--description", "es=").out
    assert told == "Changed aid: description es is taken away; name fr is Aide.\n"
    assert aid() == ({"en": "Aid", "fr": "Aide"}, "trade", {"en": "Help"})
    assert cli("themes", "add", "aid", "--name", "fr=Aide").out == "aid was there already, just so.\n"
    told = cli("themes", "add", "aid", "--name", "en=Relief", "--name", "fr=", "--parent", "").out
    assert told == "Changed aid: name en is Relief; name fr is taken away; parent is taken away.\n"
    assert aid() == ({"en": "Relief"}, None, {"en": "Help"})
    assert "has no name" in cli("themes", "add", "aid", "--name", "en=", code=1).err
    cli("themes", "add", "aid", code=2)


def test_preview_writes_files(cli: CommandLine, tmp_path: Path) -> None:
    """A preview goes to the screen, or to a file of the kind its name says; nothing is sent and nothing moves."""
    assert cli("digest", "preview", "ana@example.org").out.startswith("Subject: ")
    for name, beginning in (("d.html", "<!doctype html>"), ("d.txt", "R"), ("d.eml", "From: ")):
        cli("digest", "preview", "ana@example.org", "--output", name)
        assert (tmp_path / name).read_text("utf-8").lower().startswith(beginning.lower()), name
    assert cli("deliveries", "list", "--json").json == []
    assert cli("subscribers", "show", "ana@example.org", "--json").json["subscriptions"][0]["cursor"] == 0
    cli("subscribers", "add", "ben@example.org", "-c", "FR", "--confirmed", "--from-start")
    assert "Nothing new fits" in cli("digest", "preview", "ben@example.org").out


def test_explain_in_words(cli: CommandLine) -> None:
    """Each rule is one sentence; an item that does not fit names the rule that it fails."""
    cli("items", "add", "Away", "--summary", "S", "-c", "FR")
    rules = cli("explain", "ana@example.org", "2", "--json").json["rules"]
    assert next(r["rule"] for r in rules if r["holds"] is False) == "place"
    assert all(r["why"].endswith(".") for r in rules)
    assert all(r["holds"] is not False for r in cli("explain", "ana@example.org", "1", "--json").json["rules"])


def test_retry_and_approve(cli: CommandLine) -> None:
    """A run opened by hand is shown; approving what is not held is refused; cancelling works once, and leaves nothing
    to be tried again."""
    run = cli("runs", "start", "rutas", "--yes", "--json").json["id"]
    assert cli("runs", "show", str(run), "--json").json["state"] == "assembling"
    assert "not waiting for approval" in cli("runs", "approve", str(run), "--yes", code=1).err
    cli("runs", "cancel", str(run), "--yes")
    assert "cannot be cancelled" in cli("runs", "cancel", str(run), "--yes", code=1).err
    assert "was cancelled" in cli("deliveries", "retry", "--run", str(run), code=1).err


def test_note_of_a_run(cli: CommandLine, tmp_path: Path) -> None:
    """A note is written, read from a file, shown and removed while its run waits for approval; else it is refused."""
    run = str(cli("runs", "start", "rutas", "--yes", "--json").json["id"])
    assert "--approval" in cli("runs", "note", run, "Hello", code=1).err
    cli("runs", "cancel", run, "--yes")
    cli("lists", "edit", "rutas", "--approval", "--language", "en", "--language", "es")
    run = str(cli("runs", "start", "rutas", "--yes", "--json").json["id"])
    (tmp_path / "note.md").write_text("*Hola*\r\n", "utf-8")
    assert cli("runs", "note", run, "--file", "note.md", "--language", "es", "--json").json == {"es": "*Hola*"}
    assert "Readers of" in cli("runs", "note", run, "--file", "note.md", "--language", "es").out
    assert "Hello" in cli("runs", "note", run, "Hello", "--json").json.values()
    assert "*Hola*" in cli("runs", "show", run).out
    assert "es" not in cli("runs", "note", run, "--remove", "--language", "es", "--json").json
    for bad in (("",), ("x", "--language", "xx"), ("--file", "none.md"), ("[x](/y)",)):
        assert cli("runs", "note", run, *bad, code=1).err


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "newsletter", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_version_and_completion() -> None:
    """--version says it; bash, zsh and fish can complete commands and options."""
    assert process("--version").stdout == f"newsletter {__version__}\n"
    asked = {"_NEWSLETTER_COMPLETE": "complete_bash", "COMP_WORDS": "newsletter subscribers im", "COMP_CWORD": "2"}
    script = str(Path(sys.executable).with_name("newsletter"))
    completed = subprocess.run([script], capture_output=True, text=True, env={**os.environ, **asked}, check=False)
    assert completed.stdout.split() == ["import"]


def test_no_command_waits_for_another() -> None:
    """A command reads its own file and what that needs: neither the other commands nor the site, mails and workers."""
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from newsletter.cli import main; main()"
    command = [sys.executable, "-c", code, "lists", "--help"]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "newsletter.cli.lists" in loaded
    assert loaded & {f"newsletter.cli.{noun}" for noun in ("doctor", "deliveries", "services", "templates")} == set()
    assert loaded & {"celery", "dns.resolver", "fastapi", "jinja2", "premailer", "redis"} == set()


def test_broken_pipe(cli: CommandLine, tmp_path: Path) -> None:
    """`newsletter … | head` ends quietly."""
    for number in range(30):
        cli("items", "add", f"T{number}", "--summary", "S" * 3000)
    command = f"{sys.executable} -m newsletter items list --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "[\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words", [("lists", "list"), ("items", "list", "--json"), ("subscribers", "export"), ("--help",)]
)
def test_a_full_disk_behind_the_output(
    cli: CommandLine, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output that cannot be written ends with a sentence and exit code 1, so that no half file is taken for whole."""
    # With it each word is written at once, and not as the process ends.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "newsletter", *words], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "Error: A file, or the output: No space left on device.",
        "       Check path, permissions and free space.",
    ]


def test_bad_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that cannot be used ends any command with a sentence."""
    urls = ("mysql://x/y", "postgresql://u:p@a..b/x")
    wrong = (*(("DATABASE_URL", url) for url in urls), ("TICK_SECONDS", "0"), ("HOME", "/proc/none/x"))
    for name, value in wrong:
        done = process("init", **{f"NEWSLETTER_{name}": value})
        assert done.returncode == 1, done
        assert done.stderr.startswith("Error:"), done.stderr
        assert "Traceback" not in done.stderr


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A database file that is none gets a sentence."""
    (tmp_path / "x.db").write_text("this is no database" * 100)
    done = process("lists", "list", NEWSLETTER_DATABASE_URL=f"sqlite:///{tmp_path / 'x.db'}")
    assert done.returncode == 1
    assert done.stderr.startswith("Error:"), done.stderr
