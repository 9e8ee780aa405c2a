"""Configuration: where it comes from, what it refuses, and that the docs name all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commanding import CHECKOUT, CommandLine

from newsletter.errors import SettingsError
from newsletter.settings import Settings, load_settings


def test_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment goes before .env, .env before newsletter.toml, and that before the default."""
    assert load_settings().tick_seconds == 60
    (tmp_path / "newsletter.toml").write_text("tick_seconds = 50\nworkers = 5\nlease_seconds = 900\n")
    (tmp_path / ".env").write_text("NEWSLETTER_TICK_SECONDS=40\nNEWSLETTER_WORKERS=4\n")
    monkeypatch.setenv("NEWSLETTER_TICK_SECONDS", "30")
    found = load_settings()
    assert (found.tick_seconds, found.workers, found.lease_seconds) == (30, 4, 900)
    monkeypatch.setenv("NEWSLETTER_TICK_SECONDS", "")
    assert load_settings().tick_seconds == 40


HOSTS = {"BASE_URL": "https://", "REDIS_URL": "redis://", "SITE_HOSTS": "", "INBOX_HOST": ""}
"""Values with the name of a host, and what stands before it."""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TICK_SECONDS", "0"),
        ("TICK_SECONDS", "soon"),
        ("WORKERS", "-1"),
        ("REDIS_URL", "localhost:6379"),
        ("BASE_URL", "news.example.org"),
        ("BASE_URL", "javascript:alert(1)"),
        ("BASE_URL", "https://x y"),
        ("BASE_URL", "https://x.org\t/a"),
        ("BASE_URL", "https://x.org/path?x=1"),
        ("BASE_URL", "https://x.org/?"),
        ("BASE_URL", "https://x.org/#f"),
        ("BASE_URL", "https://u:p@x.org"),
        ("BASE_URL", 'https://x.org"><b>'),
        ("BASE_URL", "https://x.org:port"),
        ("BASE_URL", "https://:443"),
        ("BASE_URL", "https://ñandú..example"),
        ("REDIS_URL", "redis://localhost:abc"),
        ("REDIS_URL", "redis://localhost:99999"),
        ("REDIS_URL", "redis://localhost:0"),
        ("REDIS_URL", "redis://localhost/abc"),
        *((name, f"{scheme}{host}") for host in ("a..b", "a" * 64) for name, scheme in HOSTS.items()),
        ("SITE_HOSTS", "https://x.org"),
        ("SITE_HOSTS", "news.example.org a/b"),
        ("SITE_HOSTS", "news.example.org:443"),
        ("SMTP_CA_FILE", "none.pem"),
        ("LOG_LEVEL", "chatty"),
        ("INBOX_WEB_PORT", "99999"),
    ],
)
def test_refused_early(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be used is refused at the start, by its name."""
    monkeypatch.setenv(f"NEWSLETTER_{name}", value)
    with pytest.raises(SettingsError, match=f"NEWSLETTER_{name} is not usable"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INBOX_HOST", "::"),
        ("BASE_URL", "https://news.example.org:8443/mail/"),
        ("BASE_URL", "https://xn--and-6ma2c.example/bolet%C3%ADn"),
        ("BASE_URL", "http://[::1]:8026"),
        ("REDIS_URL", "redis://:pass%2Fword@redis:6379/0"),
        ("REDIS_URL", "rediss://user:p@redis?ssl_cert_reqs=none"),
        ("SITE_HOSTS", "news.example.org xn--andu-gqa.example 192.0.2.1 [::1] ::1"),
    ],
)
def test_taken(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be used is taken as it is."""
    monkeypatch.setenv(f"NEWSLETTER_{name}", value)
    assert getattr(load_settings(), name.lower()) == value


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("https://boletín.rutas.example", "https://xn--boletn-7va.rutas.example"),
        ("https://أخبار.rutas.example:8443/x/", "https://xn--igbicxr.rutas.example:8443/x/"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("https://rutas.example/boletín", "https://rutas.example/bolet%C3%ADn"),
    ],
)
def test_an_address_of_other_letters(given: str, written: str) -> None:
    """Where readers reach the site is read in any letters and written in ASCII: List-Unsubscribe holds no others."""
    assert load_settings(base_url=given).base_url == written


def test_secret_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is made once, for the owner's eyes only; a short one is refused; repr shows none."""
    home = tmp_path / "home"
    with pytest.raises(SettingsError, match="no secret key"):
        assert load_settings(home=home).key
    assert load_settings(home=home).make_key()
    assert not load_settings(home=home).make_key()
    made = load_settings(home=home)
    assert len(made.key) == 64
    assert made.key_file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("NEWSLETTER_SECRET_KEY", "short-secret")
    with pytest.raises(SettingsError, match="shorter than 32") as caught:
        assert load_settings(home=home).key
    assert "short-secret" not in f"{caught.value} {load_settings(home=home)!r}"


def test_links_need_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a relay there are readers, and so the site's address is needed."""
    assert load_settings().site == "https://newsletter.example"
    monkeypatch.setenv("NEWSLETTER_SMTP_URL", "smtp://mail.example.org")
    with pytest.raises(SettingsError, match="NEWSLETTER_BASE_URL is not set"):
        assert load_settings().site
    monkeypatch.setenv("NEWSLETTER_BASE_URL", "https://news.example.org/")
    assert load_settings().site == "https://news.example.org"


def test_postgres_as_hosts_write_it() -> None:
    """postgres:// is read as postgresql://."""
    assert load_settings(database_url="postgres://u@h/d").database == "postgresql://u@h/d"


def test_the_docs_name_every_value() -> None:
    """docs/configuration.md has each value with its default, and no other."""
    page = (CHECKOUT / "docs/configuration.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `NEWSLETTER_(\w+)` \| (.*?) \|", page, re.MULTILINE))
    assert rows.keys() == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, int):
            assert f"`{field.default}`" in rows[name.upper()], name


@pytest.mark.parametrize("name", [".env", "newsletter.toml"])
def test_files_that_are_not_utf8(name: str, newsletter: CommandLine) -> None:
    """A file of settings in another encoding is named in a sentence."""
    Path(name).write_bytes("# año\n".encode("cp1252"))
    shown = newsletter("lists", "list", code=1).err
    assert shown.startswith(f"Error: {name} is not UTF-8")
    Path(name).unlink()


@pytest.mark.parametrize(("name", "line"), [(".env", "NEWSLETTER_WORKERS=7"), ("newsletter.toml", "workers = 7")])
def test_the_mark_of_windows(name: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of settings may begin with a byte order mark and have Windows' line ends."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(f"{line}\r\n# año\r\n".encode("utf-8-sig"))
    assert load_settings().workers == 7


def test_unknown_names_in_the_file(newsletter: CommandLine) -> None:
    """A name in newsletter.toml that means nothing is refused, with the one that was meant."""
    for written, meant in (("tick_second", "tick_seconds"), ("NEWSLETTER_WORKERS", "workers")):
        Path("newsletter.toml").write_text(f"{written} = 5\n")
        shown = newsletter("lists", "list", code=1).err
        assert f"'{written}'" in shown
        assert f"Did you mean {meant}?" in shown
    Path("newsletter.toml").write_text("colour = 5\n")
    assert "See docs/configuration.md" in newsletter("lists", "list", code=1).err
    Path("newsletter.toml").unlink()


@pytest.mark.parametrize("broken", ["NEWSLETTER_WORKERS 3", "=3", "NEWSLETTER_SMTP_URL='secret"])
def test_broken_lines_of_dotenv(newsletter: CommandLine, broken: str) -> None:
    """A line of .env that is no assignment is refused by its number, and not repeated."""
    Path(".env").write_text(f"# ours\nPOSTGRES_PASSWORD=x\n\n\n{broken}\n")
    shown = newsletter("lists", "list", code=1).err
    assert shown.startswith("Error: .env, line 5, cannot be read.")
    assert "secret" not in shown
    Path(".env").unlink()


def test_unknown_names_in_the_environment(newsletter: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of ours that means nothing is warned of, with the nearest that does; the command goes on."""
    monkeypatch.setenv("NEWSLETTER_SMPT_URL", "smtp://user:secret@x")
    monkeypatch.setenv("newsletter_workers", "3")
    Path(".env").write_text("NEWSLETTER_COLOUR=red\nPOSTGRES_PASSWORD=x\nNEWSLETTER_LOG_LEVEL=error\n")
    shown = newsletter("lists", "list", "--json")
    assert shown.json == []
    assert shown.err.splitlines() == [
        "Warning: NEWSLETTER_COLOUR is no setting. See docs/configuration.md.",
        "Warning: NEWSLETTER_SMPT_URL is no setting. Did you mean NEWSLETTER_SMTP_URL?",
    ]
    Path("dns").write_text("")
    found = newsletter("doctor", "--dns", "dns", "--json", code=None).json["findings"]
    names = [one["about"] for one in found if one["found"] == "It is no setting."]
    assert names == ["NEWSLETTER_COLOUR", "NEWSLETTER_SMPT_URL"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff" * 40])
def test_a_broken_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """An empty key file is as good as none and is filled by `init`; one that is no text gets a sentence and is kept."""
    home = tmp_path / "home"
    monkeypatch.setenv("NEWSLETTER_HOME", str(home))
    home.mkdir()
    (home / "secret.key").write_bytes(content)
    if content.strip():
        assert "secret.key" in CommandLine(home)("init", code=1).err
        assert (home / "secret.key").read_bytes() == content
        return
    with pytest.raises(SettingsError, match="There is no secret key"):
        assert load_settings().key
    assert CommandLine(home)("init", "--json").json["key_made"] is True
    assert len(load_settings().key) == 64
    assert load_settings().key_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.glob("secret*")] == ["secret.key"]


def test_a_key_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed while writing the key leaves no key file."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    home = tmp_path / "home"
    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        load_settings(home=home).make_key()
    assert not (home / "secret.key").exists()


def test_lease_outlasts_answers() -> None:
    """A lease that a slow relay's answer may outlast is refused: another worker would send the mail again."""
    with pytest.raises(SettingsError, match="less than 20 times NEWSLETTER_SMTP_TIMEOUT"):
        load_settings(lease_seconds=300, smtp_timeout=30)
    assert load_settings(lease_seconds=300, smtp_timeout=15).lease_seconds == 300
