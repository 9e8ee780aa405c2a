"""The lock, the wheel and the languages: what is shipped is whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from commanding import CHECKOUT
from packaging.requirements import Requirement


def locked(name: str) -> dict[str, str]:
    text = (CHECKOUT / "requirements" / name).read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE))


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    """`make install` with a Python that there is none of says so, and what to try."""
    command = ["make", "-C", str(CHECKOUT), "install", "PYTHON=python9", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "There is no python9 here; try make PYTHON=python3.12" in done.stderr


def test_what_is_no_mailpit() -> None:
    """The check of the compose stack says so, if what answers lacks what it needs."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"messages": [{"Subject": "Bridge"}]}')

    server = HTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    command = [sys.executable, CHECKOUT / "scripts/reader_check.py", "leave", "1", str(server.server_port)]
    environment = {**os.environ, "NEWSLETTER_BASE_URL": "https://news.example.org"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    server.shutdown()
    assert done.stderr.splitlines()[-1].endswith("is not Mailpit: its messages lack ID or Subject")


@pytest.mark.parametrize(
    ("file", "groups"), [("base.txt", ()), ("build.txt", ("build",)), ("dev.txt", ("build", "dev"))]
)
def test_the_lock_agrees_with_the_project(file: str, groups: tuple[str, ...]) -> None:
    """Each requirement of pyproject.toml is locked to a version that it allows, with hashes, from no named host."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
    wanted = list(project["project"]["dependencies"]) if file != "build.txt" else []
    for group in groups:
        wanted += [line for line in project["dependency-groups"][group] if isinstance(line, str)]
    versions = locked(file)
    for line in wanted:
        requirement = Requirement(line)
        name = requirement.name.lower().replace("_", "-")
        assert requirement.specifier.contains(versions[name], prereleases=True), line
    text = (CHECKOUT / "requirements" / file).read_text("utf-8")
    assert "http" not in re.sub(r"#.*|^[a-z].*", "", text, flags=re.MULTILINE)
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_everything(wheel: Path) -> None:
    """Three packages; templates, samples, words, places, pages and migrations among them; no test."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for name in (
        *("newsletter/cli/__init__.py", "worker/tasks.py", "subscribers/pages/leave.html"),
        *("newsletter/templates/email/base.html", "newsletter/samples/items.jsonl", "newsletter/locales/site.pot"),
        *("newsletter/locales/mails.pot", "newsletter/locales/es/mails.po", "newsletter/locales/es/site.po"),
        *(
            "newsletter/catalogue/territories.json",
            "newsletter/cli/preview/page.js",
            "newsletter/migrations/versions/0001_first_tables.py",
        ),
    ):
        assert name in names, name
    assert not [name for name in names if "test" in name or name.startswith(("bench", "docs"))]


def test_the_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Installed elsewhere it makes a list, imports an item and renders a digest from its own templates."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # The dependencies of the environment that runs the tests, but not its editable newsletter.
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    environment = {
        "PATH": os.environ["PATH"],
        "NEWSLETTER_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join([str(site), *dependencies]),
    }

    def newsletter(*arguments: str) -> str:
        command = [str(python), "-m", "newsletter", *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    newsletter("init")
    newsletter("lists", "create", "news", "--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St")
    newsletter("items", "add", "Away", "--summary", "From the checkout.", "-c", "Guatemala")
    newsletter("subscribers", "add", "a@e.example", "--confirmed", "--from-start")
    newsletter("digest", "preview", "a@e.example", "--output", "digest.html")
    assert "style=" in (tmp_path / "digest.html").read_text("utf-8")
    code = "import newsletter, worker, subscribers; print(newsletter.__file__, worker.__file__, subscribers.__file__)"
    found = subprocess.run([str(python), "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert all(path.startswith(str(site)) for path in found.stdout.split())
