"""`newsletter keys`: rotated without harm, shown by fingerprint only."""

from __future__ import annotations

from pathlib import Path

import pytest
from commanding import CommandLine

from newsletter.audience.links import LinkError, make_token, read_token
from newsletter.audience.suppressions import fingerprint
from newsletter.errors import SettingsError
from newsletter.settings import load_settings


def test_rotating(newsletter: CommandLine) -> None:
    """After a rotation a new key signs, what the old one signed is read, and no command prints a key."""
    old = load_settings().key
    token = make_token(old, "unsubscribe", 7)
    said = newsletter("keys", "rotate").out + newsletter("keys", "list").out
    settings = load_settings()
    assert settings.keys[1:] == (old,)
    assert settings.key != old
    assert read_token(settings.keys, "unsubscribe", token) == 7
    made = newsletter("keys", "rotate", "--json").json
    keys = load_settings().keys
    assert made == {"made": fingerprint(keys[0]), "keys": [fingerprint(key) for key in keys], "dropped": []}
    shown = newsletter("keys", "list", "--json").json
    assert [(row["fingerprint"], row["signs"]) for row in shown["keys"]] == [
        (fingerprint(key), number == 0) for number, key in enumerate(keys)
    ]
    said += newsletter("keys", "list", "--json").out + newsletter("keys", "list").out
    assert fingerprint(old) in said
    assert not any(key[start : start + 16] in said for key in keys for start in range(48))
    assert settings.key_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in newsletter.home.iterdir() if "key" in path.name] == ["secret.key"]


def test_dropping(newsletter: CommandLine) -> None:
    """Older keys are dropped only after saying what is lost with them: links, and suppressions, which are counted."""
    newsletter(
        "lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@e.example", "--postal-address", "1 St"
    )
    newsletter("subscribers", "add", "ana@example.org", "--confirmed")
    newsletter("subscribers", "erase", "ana@example.org", "--yes")
    old = load_settings().key
    assert newsletter("keys", "list", "--json").json["keys"][0]["suppressions"] == 1
    newsletter("keys", "rotate", "--drop-older", "2")
    refused = newsletter("keys", "rotate", "--drop-older", "2", code=1).err
    assert f"Drop {fingerprint(old)}?" in refused
    assert "1 suppressed address" in refused
    assert load_settings().keys[1:] == (old,)
    done = newsletter("keys", "rotate", "--drop-older", "1", "--yes").out
    assert f"Dropped: {fingerprint(load_settings().key)}" not in done
    assert fingerprint(old) in done
    assert len(load_settings().keys) == 1
    with pytest.raises(LinkError):
        read_token(load_settings().keys, "unsubscribe", make_token(old, "unsubscribe", 7))


def test_keys_of_the_environment(newsletter: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of the environment are listed; rotating them says what to do, and writes nothing."""
    before = load_settings().key_file.read_bytes()
    monkeypatch.setenv("NEWSLETTER_SECRET_KEY", f"{'n' * 40} {'o' * 40}")
    shown = newsletter("keys", "list", "--json").json
    assert shown["from"] == "NEWSLETTER_SECRET_KEY"
    assert [row["fingerprint"] for row in shown["keys"]] == [fingerprint(c * 40) for c in "no"]
    refused = newsletter("keys", "rotate", code=1).err
    assert "openssl rand -hex 32" in refused
    assert "nnnn" not in refused
    assert load_settings().key_file.read_bytes() == before


def test_a_key_that_is_lost(newsletter: CommandLine) -> None:
    """Where another key was used a new one is made only if asked for; the lost one is shown until it is back."""
    newsletter(
        "lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@e.example", "--postal-address", "1 St"
    )
    file, away = load_settings().key_file, newsletter.home / "away"
    file.rename(away)
    newsletter("init")
    (newsletter.home / "secret.key").unlink()
    away.rename(file)
    newsletter("subscribers", "add", "ana@example.org", "--confirmed")
    file.rename(away)
    assert "used with one." in newsletter("init", code=1).err
    away.rename(file)
    newsletter("subscribers", "erase", "ana@example.org", "--yes")
    (lost,) = (fingerprint(key) for key in load_settings().keys)
    file.rename(away)
    for command in ("init", "up"):
        refused = newsletter(command, code=1).err
        assert f"(fingerprint {lost})" in refused
        assert "Put the copy of it back" in refused
    assert "Put the copy of it back" in newsletter("keys", "list", code=1).err
    assert not file.exists()
    assert newsletter("init", "--new-key", "--json").json["key_made"]
    newsletter("init")
    assert newsletter("keys", "list", "--json").json["keys"][1:] == [
        {"fingerprint": lost, "use": "lost", "signs": False, "suppressions": 1}
    ]
    Path("dns").write_text("")
    found = newsletter("doctor", "--dns", "dns", "--json", code=1).json["findings"]
    assert [one["level"] for one in found if one["about"] == f"key {lost}"] == ["warning"]
    file.write_text(file.read_text() + away.read_text())
    assert [row["use"] for row in newsletter("keys", "list", "--json").json["keys"]] == ["signs", "opens"]


def test_a_rotation_that_is_killed(newsletter: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed while the file is written leaves the old one."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    before = load_settings().key_file.read_bytes()
    monkeypatch.setattr("os.replace", killed)
    newsletter("keys", "rotate", code=130)
    assert load_settings().key_file.read_bytes() == before
    assert [path.name for path in newsletter.home.iterdir() if "key" in path.name] == ["secret.key"]


def test_several_keys(newsletter: CommandLine) -> None:
    """Keys stand one a line, newest first; one given twice counts once, and one too short is refused by its file."""
    file = load_settings().key_file
    file.write_text(f"{'n' * 40}\n\n {'o' * 40} \r\n{'n' * 40}\n")
    assert load_settings().keys == ("n" * 40, "o" * 40)
    file.write_text(f"{'n' * 40}\nshort-one\n")
    with pytest.raises(SettingsError, match=r"secret\.key holds a key that is shorter") as caught:
        load_settings().keys  # noqa: B018
    assert "short-one" not in str(caught.value)
