from __future__ import annotations

import hashlib
import signal
import smtplib
import socket
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from inboxes import Inbox

from newsletter.errors import StateError
from newsletter.inbox.server import run_inbox
from newsletter.inbox.smtp import listen


def mail(subject: str, html: str | None = "<p>Hello</p>", text: str | None = "Hello") -> bytes:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = "News <news@example.org>"
    if text is not None:
        message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    return message.as_bytes().replace(b"\n", b"\r\n")


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in sorted(folder.iterdir()))).hexdigest()


def test_a_mail_sent_is_there_in_list_page_and_api(inbox: Inbox) -> None:
    """What a client hands over appears in the list, on its page, in the API and as source, byte for byte."""
    raw = mail("Guatemala: 2 new items") + b".dot at the start\r\n"
    number = inbox.send(raw, "maria@example.org")
    assert inbox.web.get(f"/messages/{number}/raw").content == raw
    listed = inbox.web.get("/api/messages", params={"q": "maria guatemala"}).json()
    assert listed["total"] == 1
    assert set(listed["messages"][0]) == {"id", "to", "from", "subject", "date", "size"}
    assert listed["messages"][0]["to"] == "maria@example.org"
    assert listed["messages"][0]["size"] == len(raw)
    assert f'href="/messages/{number}"' in inbox.web.get("/", params={"q": "maria"}).text
    one = inbox.web.get(f"/api/messages/{number}").json()
    assert one["envelope"] == {"mail_from": "news@example.org", "rcpt_to": ["maria@example.org"]}
    assert "Hello" in one["html"]
    for tab in ("", "/text", "/headers", "/source"):
        page = inbox.web.get(f"/messages/{number}{tab}")
        assert page.status_code == 200
        assert "Guatemala: 2 new items" in page.text


def test_smtputf8_size_and_pipelining_are_offered(inbox: Inbox) -> None:
    """The server offers what a modern client looks for, and takes an address beyond ASCII."""
    with smtplib.SMTP("127.0.0.1", inbox.smtp) as client:
        client.ehlo()
        assert {"smtputf8", "8bitmime", "pipelining"} <= set(client.esmtp_features)
        assert client.esmtp_features["size"] == "10000000"
        client.sendmail("n@example.org", ["josé@example.org"], mail("x"), ["SMTPUTF8"])
    assert inbox.web.get("/api/messages", params={"q": "josé@"}).json()["total"] == 1


def test_pipelined_messages_arrive_in_order(inbox: Inbox) -> None:
    """The end of one message and the start of the next may travel together (RFC 2920)."""
    with socket.create_connection(("127.0.0.1", inbox.smtp)) as link, link.makefile("rwb") as talk:
        talk.readline()
        one = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<pipe@example.org>\r\nDATA\r\nSubject: pipe %d\r\n\r\nx\r\n.\r\n"
        talk.write(b"HELO me\r\n" + b"".join(one % n for n in range(3)) + b"QUIT\r\n")
        talk.flush()
        answers = talk.read().split(b"\r\n")
    assert [answer[:3] for answer in answers if answer] == [
        b"250",
        *[b"250", b"250", b"354", b"250"] * 3,
        b"221",
    ]
    found = inbox.web.get("/api/messages", params={"q": "pipe@"}).json()["messages"]
    assert [message["subject"] for message in found] == ["pipe 2", "pipe 1", "pipe 0"]


def test_lines_longer_than_the_standard_allows_are_kept(inbox: Inbox) -> None:
    """A line of 5,000 characters is a fault to be seen in the inbox, not refused by it."""
    raw = b"Subject: long\r\n\r\n" + b"x" * 5000 + b"\r\n"
    assert inbox.web.get(f"/messages/{inbox.send(raw)}/raw").content == raw


def test_hostile_mail_stays_harmless(inbox: Inbox) -> None:
    """A subject with markup is escaped everywhere; the HTML part can run nothing and load nothing from elsewhere."""
    number = inbox.send(
        mail("<script>alert(1)</script>\"'><b>", "<script>alert(2)</script><img src=https://t.example/p>")
    )
    for address in ("/", *(f"/messages/{number}{tab}" for tab in ("", "/text", "/headers", "/source"))):
        page = inbox.web.get(address)
        assert "<script>alert" not in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src 'self'" in policy
    page = inbox.web.get(f"/messages/{number}").text
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in page
    frame = inbox.web.get(f"/messages/{number}/html")
    policy = frame.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none';")
    assert "script" not in policy
    assert "img-src 'self' data:;" in policy
    assert frame.text.startswith('<base target="_blank">')
    assert inbox.web.get(f"/messages/{number}/raw").headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"", "text part is empty"),
        (b"\r\n\r\n", "text part is empty"),
        (b"Subject: x\r\nContent-Type: text/plain; charset=nonsense\r\n\r\ncaf\xe9\r\n", "café"),
        (mail("no html", html=None), "Hello"),
        (b"Content-Type: application/pdf; name=a.pdf\r\n\r\nx\r\n", "a.pdf"),
    ],
)
def test_an_odd_mail_shows_what_there_is(inbox: Inbox, raw: bytes, shown: str) -> None:
    """Empty, undecodable and HTML-less mails have a page that says what there is."""
    number = inbox.send(raw)
    page = inbox.web.get(f"/messages/{number}")
    assert page.status_code == 200
    assert shown in page.text
    assert "<iframe" not in page.text
    assert inbox.web.get(f"/messages/{number}/html").status_code == 404
    for tab in ("text", "headers", "source"):
        assert inbox.web.get(f"/messages/{number}/{tab}").status_code == 200


@pytest.mark.parametrize("number", ["999999", "0", "-1", "abc", "9" * 400, "1e3", "%00", "..%2f..%2fetc"])
def test_a_bad_number_gets_a_readable_page(inbox: Inbox, number: str) -> None:
    """Numbers that no message has end in a 404 that can be read, not in a fault."""
    for address in (f"/messages/{number}", f"/messages/{number}/html", f"/api/messages/{number}"):
        answer = inbox.web.get(address)
        assert answer.status_code == 404
        assert "Traceback" not in answer.text
        assert len(answer.text) > 30


def test_pages_part_the_list_by_fifty(starter: Callable[[Path], Inbox], tmp_path: Path) -> None:
    """The newest fifty come first; the rest are one link away; a page too far is the last one."""
    running = starter(tmp_path)
    assert "Nothing has arrived yet" in running.web.get("/").text
    with smtplib.SMTP("127.0.0.1", running.smtp) as client:
        for n in range(53):
            client.sendmail("n@example.org", ["a@example.org"], mail(f"No {n}."))
    first = running.web.get("/").text
    assert first.count("<li>") == 50
    assert "No 52." in first
    assert "No 2." not in first
    assert 'href="/?page=2"' in first
    assert running.web.get("/?page=2").text.count("<li>") == 3
    assert running.web.get("/?page=999").text == running.web.get("/?page=2").text
    assert "No message has these words" in running.web.get("/?q=zzz").text
    assert running.web.get("/?page=x").status_code == 422


def test_get_changes_nothing_and_nothing_else_is_taken(inbox: Inbox) -> None:
    """Every address can be opened without a trace in the folder; other methods are refused."""
    number = inbox.send(mail("still"))
    before = digest(inbox.folder)
    for address in (
        "/",
        "/api/messages",
        f"/messages/{number}",
        f"/messages/{number}/html",
        f"/api/messages/{number}",
    ):
        assert inbox.web.get(address).status_code == 200
        assert inbox.web.head(address).status_code == 200
        for method in ("POST", "PUT", "DELETE"):
            assert inbox.web.request(method, address).status_code == 405
    assert inbox.web.get("/livez").text == "ok"
    assert digest(inbox.folder) == before


def test_it_answers_to_this_machines_names_alone(inbox: Inbox) -> None:
    """A page of the web whose name leads here (DNS rebinding) reads no mail."""
    number = inbox.send(b"Subject: secret\r\n\r\nToken.")
    for path in ("/", "/api/messages", f"/messages/{number}/raw", "/livez"):
        for host, status in (("localhost:8025", 200), ("127.0.0.1", 200), ("[::1]:8025", 200), ("evil.example", 400)):
            answer = inbox.web.get(path, headers={"host": host})
            assert answer.status_code == status
            assert ("secret" in answer.text) == (status == 200 and path != "/livez")


def test_pages_name_no_other_host(inbox: Inbox) -> None:
    """Nothing on the inbox's own pages is fetched from elsewhere."""
    number = inbox.send(mail("local"))
    for address in ("/", f"/messages/{number}", "/inbox/inbox.css", "/inbox/inbox.js"):
        answer = inbox.web.get(address)
        assert answer.status_code == 200
        assert "://" not in answer.text


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_good_order_and_nothing_is_lost(
    starter: Callable[[Path], Inbox], tmp_path: Path, stop: signal.Signals
) -> None:
    """SIGTERM and SIGINT end the process without a traceback; started again, it has everything."""
    running = starter(tmp_path)
    running.send(mail("kept"))
    running.process.send_signal(stop)
    _, errors = running.process.communicate(timeout=10)
    assert errors == ""
    assert starter(tmp_path).web.get("/api/messages").json()["messages"][0]["subject"] == "kept"


@pytest.mark.parametrize(("kind", "setting"), [("SMTP", "INBOX_SMTP_PORT"), ("web", "INBOX_WEB_PORT")])
def test_a_port_in_use_is_named_with_its_setting(tmp_path: Path, kind: str, setting: str) -> None:
    """A taken port ends in a sentence with the port and the setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = (port, 0) if kind == "SMTP" else (0, port)
        with pytest.raises(StateError, match=f"{kind} port {port} on 127.0.0.1 is in use.*NEWSLETTER_{setting}"):
            run_inbox("127.0.0.1", *ports, tmp_path)


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    """A host that is not this machine's ends in a sentence too."""
    with pytest.raises(StateError, match=r"SMTP port 0 on 192.0.2.1 cannot be used"):
        run_inbox("192.0.2.1", 0, 0, tmp_path)


@pytest.mark.parametrize(
    ("settings", "mend"),
    [
        (("--host", "--port"), "Set --host to an address of this machine, --port to a port that is free for you."),
        (("--port",), "Set --port to a port that is free for you."),
    ],
)
def test_what_can_be_set_is_said(settings: tuple[str, ...], mend: str) -> None:
    """Of an address that cannot be used nothing is said to be set but what the command has."""
    with pytest.raises(StateError) as refused:
        listen("192.0.2.1", 0, "The preview's", settings)
    assert refused.value.hint == mend
