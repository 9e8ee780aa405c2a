"""Who else works on the machine reads nothing of our readers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commanding import CommandLine

from newsletter.database import connect, engine_for
from newsletter.inbox.store import Store
from newsletter.settings import load_settings


@pytest.fixture
def umask() -> Iterator[None]:
    """As most machines have it: what is made can be read by all."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


@pytest.mark.usefixtures("umask")
def test_what_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State folder, database, its log and captured mails are for the owner's eyes, wherever the database is."""
    home, other = tmp_path / "home", tmp_path / "other"
    monkeypatch.setenv("NEWSLETTER_HOME", str(home))
    CommandLine(home)("init")
    Store(home / "inbox").add(b"Subject: S\r\n\r\n", "", [], None)
    engine = engine_for(load_settings().database)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
        assert {"newsletter.db-wal", "newsletter.db-shm"} < modes(home).keys()
        assert {mode for name, mode in modes(home).items() if "newsletter.db" in name} == {0o600}
    engine.dispose()
    assert {home.stat().st_mode & 0o777, (home / "inbox").stat().st_mode & 0o777} == {0o700}
    assert {*modes(home / "inbox").values()} == {0o600}
    connect(f"sqlite:///{other / 'x.db'}").connect().close()
    assert (other.stat().st_mode & 0o777, modes(other)["x.db"]) == (0o700, 0o600)


def test_what_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that finds no database makes none, and no folder for it."""
    refused = CommandLine(tmp_path)("lists", "list", code=1).err
    assert "There is no database yet." in refused
    monkeypatch.setenv("NEWSLETTER_DATABASE_URL", f"sqlite:///{tmp_path / 'other' / 'x.db'}")
    assert CommandLine(tmp_path)("items", "list", code=1).err == refused
    assert list(tmp_path.iterdir()) == []


def test_what_is_there(newsletter: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor warns of a folder, or of a database that is elsewhere, that others can read."""
    Path("dns").write_text("")

    def warned() -> dict[str, str]:
        found = newsletter("doctor", "--dns", "dns", "--json", code=None).json["findings"]
        return {one["about"]: one["mend"] for one in found if "Others on this machine" in one["found"]}

    assert warned() == {}
    newsletter.home.chmod(0o755)
    assert warned() == {str(newsletter.home): f"chmod 700 {newsletter.home}"}
    newsletter.home.chmod(0o700)
    elsewhere = tmp_path / "elsewhere.db"
    elsewhere.write_bytes((newsletter.home / "newsletter.db").read_bytes())
    elsewhere.chmod(0o640)
    monkeypatch.setenv("NEWSLETTER_DATABASE_URL", f"sqlite:///{elsewhere}")
    assert warned() == {str(elsewhere): f"chmod 600 {elsewhere}"}
