"""`newsletter templates`: what an author is told, and what they see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commanding import CommandLine, Result
from fastapi.testclient import TestClient

from newsletter.audience.lists import find_list
from newsletter.cli.preview import preview_app
from newsletter.database import engine_for, reading
from newsletter.mail.look import ACCENT, ACCENTS_DARK
from newsletter.mail.overriding import look_of
from newsletter.mail.templates import shipped_source
from newsletter.settings import load_settings


@pytest.fixture
def author(newsletter: CommandLine) -> CommandLine:
    newsletter("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@r.example", "--postal-address", "X")
    return newsletter


def write(cli: CommandLine, name: str, text: str) -> None:
    file = cli.home / "templates" / "rutas" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def faults(cli: CommandLine, code: int) -> list[tuple[str, int, str]]:
    """What is told of all kinds of mail."""
    return told(cli("templates", "check", "--list", "rutas", "--json", code=code))


def faults_of_one(cli: CommandLine, name: str, code: int) -> list[tuple[str, int, str]]:
    """What is told of the kind of mail that a file is of, which takes a tenth of the time."""
    kind = name.partition("/")[0] if "/" in name else "digest"
    return told(cli("templates", "preview", kind, "--list", "rutas", "--json", code=code))


def told(result: Result) -> list[tuple[str, int, str]]:
    return [(one["file"], one["line"], one["found"]) for one in result.json["faults"]]


def test_nothing_wrong(author: CommandLine) -> None:
    """The shipped templates have no fault, and neither has a list that copied them all, in full or compact style."""
    assert "nothing wrong" in author("templates", "check").out
    author("templates", "copy", "digest/body.html", "digest/preheader.txt", "style.css", "base.html")
    assert faults(author, 0) == []
    author("lists", "edit", "rutas", "--style", "compact")
    assert "with 4 files of its own: nothing wrong" in author("templates", "check", "--list", "rutas").out
    assert "digest/subject.txt" in author("templates", "copy", "../x", code=1).err


def test_copying_what_is_there(author: CommandLine) -> None:
    """A file that is there stays as it is and is named; the others that were asked for are copied."""
    write(author, "style.css", "mine")
    shown = author("templates", "copy", "style.css", "base.txt", "base.txt", code=1)
    assert "style.css" in shown.err
    assert "base.txt" not in shown.err
    own = author.home / "templates" / "rutas"
    assert shown.out.split() == [str(own / "base.txt")]
    assert (own / "style.css").read_text() == "mine"
    assert (own / "base.txt").read_text("utf-8") == shipped_source("base.txt")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("digest/subject.txt", "{{ first_titel }}", ("digest/subject.txt", 1, "no variable 'first_titel'")),
        ("digest/preheader.txt", "{{ teaser }}\n{{ others }} {{ mor }}", ("digest/preheader.txt", 2, "'mor'")),
        ("confirm/preheader.txt", "{{ subject }}\n{{ teaser }}", ("confirm/preheader.txt", 2, "'teaser'")),
        ("digest/preheader.txt", "{% if others %}", ("digest/preheader.txt", 1, "no Jinja")),
        ("digest/body.html", "<tr>\n<td>{% endif %}</td></tr>", ("digest/body.html", 2, "no Jinja")),
        (
            "digest/body.txt",
            "{% for group in groups %}\n{{ group.titel }}\n{% endfor %}",
            ("digest/body.txt", 2, "titel"),
        ),
        ("base.txt", "{{ list_name }}\n[[content]]\n\n{{ whi }}", ("base.txt", 4, "'whi'")),
        ("style.css", ".page { margin: 0; }\n\n.a > .b { margin: 0; }", ("style.css", 3, "'.a > .b'")),
        ("base.html", "<html><body>[[content]]{{ unsubscribe_url }}</body></html>", ("base.html", 0, "postal address")),
        ("base.html", "<html><body>[[content]]{{ postal_address }}</body></html>", ("base.html", 0, "unsubscribe")),
        ("digest/body.html", "<tr><td>{{ day }}</td></tr>", ("digest/body.html", 0, "no items")),
        ("confirm/body.txt", "Hello", ("confirm/body.txt", 0, "action_url")),
        ("digest/subject.txt", " ", ("digest/subject.txt", 0, "empty")),
        (
            "style.css",
            ".page { background-color: #fff; }\n.title, .headline { color: #cccccc; }",
            ("style.css", 2, "faint in light"),
        ),
        (
            "style.css",
            ".page { color: #000; background-color: #fff; }\n"
            "@media (prefers-color-scheme: dark) {\n .page { background-color: #111111 !important; }\n}",
            ("digest/body.html", 0, "faint in dark"),
        ),
    ],
)
def test_errors(author: CommandLine, name: str, text: str, expected: tuple[str, int, str]) -> None:
    """What is wrong with a kind of mail is told with its file and line, and ends with exit code 1."""
    write(author, name, text)
    found = faults_of_one(author, name, 1)
    file, line, words = expected
    assert [one for one in found if one[:2] == (file, line) and words in one[2]], found


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("style.css", ".page { margin: 0; }\n.x { display: flex; }", 2),
        ("style.css", ".page {\n position: absolute; }", 2),
        ("style.css", "\n\n.page { color: var(--x); }", 3),
        ("digest/body.html", '<tr><td>\n<div style="display:grid"></div></td></tr>', 2),
        ("digest/body.html", "<tr><td>\n<img src='x'></td></tr>", 2),
    ],
)
def test_warnings(author: CommandLine, name: str, text: str, line: int) -> None:
    """What some clients ignore is told with what to use instead, and is no error."""
    write(author, name, text + shipped_source(name) if name == "digest/body.html" else text)
    assert [one[:2] for one in faults_of_one(author, name, 0)] == [(name, line)]


def test_all_kinds(author: CommandLine) -> None:
    """`check` tells what is wrong with any kind of mail, and of files that no mail is made of."""
    write(author, "style.css", shipped_source("style.css") + "\n.x { display: flex; }")
    write(author, "digest/bodi.html", "")
    warned = faults(author, 0)
    assert {(one[0], bool(one[1])) for one in warned} == {("style.css", True), ("digest/bodi.html", False)}
    write(author, "digest/subject.txt", "{{ first_titel }}")
    write(author, "confirm/body.txt", "Hello")
    write(author, "goodbye/body.html", "<tr>\n<td>{% endif %}</td></tr>")
    assert {one[:2] for one in faults(author, 1)} >= {
        ("digest/subject.txt", 1), ("confirm/body.txt", 0), ("goodbye/body.html", 2), ("digest/bodi.html", 0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "confirm/body.html",
            '<tr><td><h1 class="name">[[name]]</h1><a class="link" href="{{ action_url }}">Yes</a></td></tr>',
            "none",
        ),
        ("style.css", ".page { margin: 0; }\n.band { color: #000000; }", ".banded, .under"),
    ],
)
def test_a_band_that_cannot_be_there(author: CommandLine, name: str, text: str, words: str) -> None:
    """Where a list has a band, the check warns of a file of its own that leaves it out, and says what it takes."""
    write(author, name, text)
    assert faults(author, 0) == []
    author("lists", "brand", "rutas", "--header", "band")
    (found,) = author("templates", "check", "--list", "rutas", "--json").json["faults"]
    assert (found["file"], found["warning"]) == (name, True)
    assert words in found["found"]
    assert "--header plain" in found["mend"]


def test_size(author: CommandLine) -> None:
    """A template that is too long for thirty items is told of."""
    author("templates", "copy", "digest/body.html")
    file = author.home / "templates/rutas/digest/body.html"
    file.write_text(file.read_text().replace("<h3>", f'<h3 title="{"x" * 3000}">'))
    assert any("95,000" in one[2] for one in faults(author, 1))


def test_preview_files(author: CommandLine, tmp_path: Path) -> None:
    """`preview` writes the mail in light and dark, in the list's own look."""
    write(author, "confirm/subject.txt", "Say yes")
    author("lists", "brand", "rutas", "--accent", "#8a1c1c")
    author("templates", "preview", "confirm", "--language", "es", "--output", "out")
    light, dark = (Path(f"out/confirm-es-{mode}.html").read_text() for mode in ("light", "dark"))
    assert "#8a1c1c" in light
    assert "@media not all" in light
    assert "@media all" in dark
    told = author("templates", "preview", "confirm", "--output", "out", "--json").json
    assert (told["subject"], told["faults"]) == ("Say yes", [])
    assert "cannot be written" in author("templates", "preview", "--output", "/dev/null/x", code=1).err
    assert "no kind" in author("templates", "preview", "confirn", code=1).err


def test_preview_in_the_browser(author: CommandLine) -> None:
    """The watched preview shows what was just saved, with its errors by file and line, to this machine alone; a strict
    policy keeps scripts of a mail from running."""
    settings = load_settings()
    with reading(engine_for(settings.database)) as connection:
        row = find_list(connection, "rutas")
    app = preview_app("Rutas", lambda: look_of(settings, row), {})
    with TestClient(app, base_url="http://127.0.0.1") as browser:
        page = browser.get("/")
        assert page.text.count("<iframe") == 4
        assert "'unsafe" not in page.headers["content-security-policy"]
        before = browser.get("/state/digest/en").json()
        assert before["faults"] == []
        write(author, "digest/subject.txt", "Ours: {{ first_title }}")
        after = browser.get("/state/digest/en").json()
        assert after["subject"].startswith("Ours: ")
        assert after["version"] != before["version"]
        write(author, "digest/subject.txt", "\n{{ nothing }}")
        (fault,) = browser.get("/state/digest/en").json()["faults"]
        assert fault["place"] == "digest/subject.txt, line 2"
        mail = browser.get("/mail/digest/ar/dark")
        assert 'dir="rtl"' in mail.text
        assert "sandbox allow-popups;" in mail.headers["content-security-policy"]
        assert browser.get("/mail/nothing/en/dark").status_code == 404
        assert browser.get("/", headers={"Host": "elsewhere.example"}).status_code == 400


def test_the_doctor_sees_it(author: CommandLine) -> None:
    """The doctor shows what keeps a list's own files from being used, as an error with file and line."""
    write(author, "welcome/body.txt", "Hello\n{{ nobody }}")
    Path("dns").write_text("")
    out = author("doctor", "--dns", "dns", "--json", code=1).out
    found = json.loads(out[out.index("{\n") :])["findings"]
    (finding,) = [one for one in found if one["check"] == "templates" and one["level"] == "error"]
    assert finding["about"] == "rutas: welcome/body.txt, line 2"
    assert "nobody" in finding["found"]
    assert "shipped look" in finding["meaning"]


def test_the_shipped_colours() -> None:
    """The colours that a list's own take the place of are those of the shipped stylesheet, in light and in dark."""
    light, _, dark = shipped_source("style.css").partition("prefers-color-scheme: dark")
    assert ACCENT in light
    for colour in ACCENTS_DARK:
        assert colour in dark
        assert colour not in light
