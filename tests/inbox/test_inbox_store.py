from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from newsletter.errors import UnknownName
from newsletter.inbox.store import Store

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def mail(subject: str, to: str = "ana@example.org") -> bytes:
    return f"From: News <n@example.org>\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nHello\r\n".encode()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=3000))
def test_any_bytes_come_back_exactly_as_received(tmp_path: Path, raw: bytes) -> None:
    """Whatever arrives is kept byte for byte, and is listed."""
    store = Store(tmp_path)
    number = store.add(raw, "", ["a@example.org"], NOW)
    assert store.read(number).raw == raw
    assert store.entries(limit=1)[1][0].id == number
    assert Store(tmp_path).read(number).raw == raw


def test_a_restart_finds_everything_and_numbers_on(tmp_path: Path) -> None:
    """Messages, envelopes and order survive a restart, and numbers go on from the last."""
    first = Store(tmp_path)
    for n in range(12):
        first.add(mail(f"No {n}"), "bounce@example.org", [f"r{n}@example.org"], NOW)
    second = Store(tmp_path)
    assert second.entries() == first.entries()
    assert [entry.id for entry in second.entries()[1]] == list(range(12, 0, -1))
    assert second.read(3).mail_from == "bounce@example.org"
    assert second.read(3).entry.to == ("r2@example.org",)
    assert second.read(3).entry.date == NOW
    assert second.add(mail("later"), "", [], NOW) == 13


def test_a_torn_write_is_no_message(tmp_path: Path) -> None:
    """A process that died while it wrote leaves no half message behind."""
    Store(tmp_path).add(mail("whole"), "", [], NOW)
    (tmp_path / "00000002-abc.eml.part").write_bytes(b"Subject: ha")
    (tmp_path / "00000002-abc.json").write_text("{}")
    assert [entry.subject for entry in Store(tmp_path).entries()[1]] == ["whole"]


def test_a_message_without_its_envelope_is_still_shown(tmp_path: Path) -> None:
    """A file put into the folder by hand, or with a broken sidecar, is read from its headers."""
    (tmp_path / "00000007-x.eml").write_bytes(mail("by hand", "bo@example.org"))
    (tmp_path / "00000008-y.eml").write_bytes(mail("broken"))
    (tmp_path / "00000008-y.json").write_text('["no envelope"]')
    (tmp_path / "notes.eml").write_bytes(b"not numbered")
    total, entries = Store(tmp_path).entries()
    assert total == 2
    assert entries[1].to == ("bo@example.org",)
    assert entries[0].subject == "broken"


def test_search_finds_words_of_recipient_and_subject(tmp_path: Path) -> None:
    """Each word must occur in a recipient or the subject, in any case; paging counts what fits."""
    store = Store(tmp_path)
    store.add(mail("=?utf-8?q?Migraci=C3=B3n?= semanal"), "", ["ana@example.org"], NOW)
    store.add(mail("Trade weekly"), "", ["ana@example.org", "bo@example.org"], NOW)
    assert [entry.id for entry in store.entries("MIGRACIÓN ana")[1]] == [1]
    assert [entry.id for entry in store.entries("bo@")[1]] == [2]
    assert store.entries("nothing") == (0, [])
    assert store.entries("ana", offset=1, limit=5)[0] == 2
    assert [entry.id for entry in store.entries("ana", offset=1, limit=5)[1]] == [1]
    assert store.entries("  ")[0] == store.count() == 2


def test_many_at_once_each_get_a_number(tmp_path: Path) -> None:
    """Messages that arrive at the same moment all get numbers of their own."""
    store = Store(tmp_path)
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: numbers.append(store.add(mail(str(n)), "", [], NOW))) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 21))
    assert Store(tmp_path).count() == 20


def test_a_message_that_is_not_there_is_named(tmp_path: Path) -> None:
    """An unknown number, or a file removed meanwhile, gives a sentence."""
    store = Store(tmp_path)
    with pytest.raises(UnknownName, match="no message 5"):
        store.read(5)
    store.add(mail("x"), "", [], NOW)
    for path in tmp_path.glob("*.eml"):
        path.unlink()
    with pytest.raises(UnknownName, match="message 1 is no longer"):
        store.read(1)
