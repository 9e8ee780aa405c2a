"""What `up`, `worker` and `site` start, and what they refuse to start with."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from commanding import CommandLine
from fastapi import FastAPI
from fastapi.testclient import TestClient

from newsletter.cli import services
from newsletter.cli.supervising import Child, Supervisor
from newsletter.errors import StateError
from newsletter.inbox import server
from newsletter.settings import PLACEHOLDER_SITE, Settings, load_settings
from subscribers.rendering import pages


class Recorder(Supervisor):
    """Notes what it is asked to start."""

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        child = Child(name, command, environment, self.home / "log")
        self.children.append(child)
        return child

    def wait_for(self, child: Child, ready: Callable[[], bool], patience: float = 0) -> None:
        """All is there at once."""


def started(settings: Settings) -> dict[str, Child]:
    recorder = Recorder(settings.home)
    services.start_house(recorder, services.with_ports(settings), {})
    return {child.name: child for child in recorder.children}


@pytest.fixture
def site_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port for the readers' site."""
    port = services.free_port("127.0.0.1")
    monkeypatch.setattr(services, "SITE_PORT", port)
    return port


@pytest.fixture
def inbox_ports(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Free ports for the inbox: SMTP and web."""
    ports = services.free_port("127.0.0.1"), services.free_port("127.0.0.1")
    for name, port in zip(("SMTP", "WEB"), ports, strict=True):
        monkeypatch.setenv(f"NEWSLETTER_INBOX_{name}_PORT", str(port))
    return ports


@pytest.mark.usefixtures("site_port")
@pytest.mark.parametrize(
    ("smtp_url", "front"),
    [
        ("", "inbox"),
        ("smtp://127.0.0.1:2599", "site"),
        ("smtp://127.0.0.1:{port}", "inbox"),
        ("smtp://localhost:{port}", "inbox"),
        ("smtp://mail.example.org:{port}", "site"),
        ("smtps://mail.example.org smtp://127.0.0.1:{port}", "inbox"),
    ],
)
def test_inbox_or_site(tmp_path: Path, inbox_ports: tuple[int, int], smtp_url: str, front: str) -> None:
    """The capture inbox is started where mail goes to it; beside any other relay, on this machine too, the site."""
    smtp_url = smtp_url.format(port=inbox_ports[0])
    settings = load_settings(home=tmp_path, smtp_url=smtp_url, base_url="https://news.example.org")
    assert list(started(settings)) == ["valkey", front, "worker", "beat"]


def test_ports_of_zero(tmp_path: Path) -> None:
    """Port 0 is a free port, the same for the inbox and for the workers that send to it."""
    children = started(load_settings(home=tmp_path, inbox_web_port=0, inbox_smtp_port=0))
    names = ("NEWSLETTER_INBOX_WEB_PORT", "NEWSLETTER_INBOX_SMTP_PORT")
    web, smtp = (int(children["inbox"].environment[name]) for name in names)
    assert web != smtp
    assert min(web, smtp) > 0
    assert [int(children["worker"].environment[name]) for name in names] == [web, smtp]


def test_the_sites_port_is_taken(tmp_path: Path, site_port: int) -> None:
    """`up` does not take another program's page for the readers' site."""
    with socket.create_server(("127.0.0.1", site_port)), pytest.raises(StateError, match=str(site_port)):
        started(load_settings(home=tmp_path, smtp_url="smtp://127.0.0.1:2599", base_url="https://news.example.org"))


@pytest.mark.parametrize("which", [0, 1])
def test_the_inboxs_port_is_taken(tmp_path: Path, inbox_ports: tuple[int, int], which: int) -> None:
    """`up` takes no other program for its inbox: it says which port is in use before anything is started."""
    name = ("NEWSLETTER_INBOX_SMTP_PORT", "NEWSLETTER_INBOX_WEB_PORT")[which]
    recorder = Recorder(tmp_path)
    with socket.create_server(("127.0.0.1", inbox_ports[which])), pytest.raises(StateError, match="is in use") as said:
        services.start_house(recorder, load_settings(home=tmp_path), {})
    assert name in said.value.hint
    assert recorder.children == []


class Passing(Recorder):
    """Stops as soon as all is started."""

    def watch(self) -> None:
        """Nobody has to press Ctrl-C."""


@pytest.mark.usefixtures("inbox_ports")
def test_what_up_says(newsletter: CommandLine, site_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` says where the inbox and the readers' site are, and that a Redis of one's own does not answer."""
    monkeypatch.setattr(services, "Supervisor", Passing)
    inbox = f"http://127.0.0.1:{load_settings().inbox_web_port}/"
    shown = newsletter("up")
    assert f"Inbox: {inbox} " in shown.out
    assert f"Readers' site: {inbox}LIST, once there is a public list\n" in shown.out
    assert shown.err == ""
    newsletter("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@r.example", "--postal-address", "X")
    assert f"Readers' site: {inbox}rutas\n" in newsletter("up").out
    monkeypatch.setenv("NEWSLETTER_REDIS_URL", "redis://user:geheim@127.0.0.1:1/0")
    monkeypatch.setenv("NEWSLETTER_SMTP_URL", "smtp://127.0.0.1:2599")
    monkeypatch.setenv("NEWSLETTER_BASE_URL", "https://news.example.org")
    shown = newsletter("up")
    assert shown.err == (
        "Warning: Redis at NEWSLETTER_REDIS_URL does not answer. No digest is sent until it does; nothing is lost.\n"
    )
    assert f"Readers' site: http://127.0.0.1:{site_port}/rutas\n" in shown.out


@pytest.mark.parametrize(("base_url", "told"), [("", True), ("https://news.example.org", False)])
def test_the_way_to_the_inbox(
    newsletter: CommandLine, monkeypatch: pytest.MonkeyPatch, base_url: str, told: bool
) -> None:
    """In a trial each page of the site leads to the inbox that its mails come to; a site with an address does not."""
    newsletter("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@r.example", "--postal-address", "X")
    monkeypatch.setenv("NEWSLETTER_BASE_URL", base_url)
    monkeypatch.setitem(pages.globals, "inbox", "")
    served: list[FastAPI] = []
    monkeypatch.setattr(server, "run_inbox", lambda *_, mount, **__: served.append(mount))
    newsletter("inbox")
    with TestClient(served[0], base_url=base_url or PLACEHOLDER_SITE) as site:
        for path in ("/rutas", "/account", "/nothing/here"):
            assert ('<a href="/">Open the inbox</a>' in site.get(path).text) == told
        assert "Open the inbox" not in site.get("/rutas/embed").text
        # The inbox stands where the newsletters would.
        assert ("To the newsletters" in site.get("/nothing/here").text) != told


def test_site_on_a_busy_port(newsletter: CommandLine) -> None:
    """`site` on a port or a host that it cannot have ends with a sentence that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        shown = newsletter("site", "--port", port, code=1)
    assert shown.err.startswith("Error:")
    assert port in shown.err
    assert "--port" in shown.err
    for host in ("192.0.2.1", "a..b"):
        assert "NEWSLETTER_INBOX" not in newsletter("site", "--host", host, code=1).err


@pytest.mark.parametrize("command", ["worker", "up"])
def test_refused_at_the_start(newsletter: CommandLine, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links that lead nowhere, and certificates that are not there, are known before the first mail fails."""
    monkeypatch.setattr(services, "start_house", lambda *_: pytest.fail("it was started"))
    monkeypatch.setenv("NEWSLETTER_SMTP_URL", "smtps://mail.example.org")
    assert "NEWSLETTER_BASE_URL is not set" in newsletter(command, code=1).err
    monkeypatch.setenv("NEWSLETTER_BASE_URL", "https://news.example.org")
    for content in (None, "no certificate", "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"):
        if content is not None:
            Path("ca.pem").write_text(content)
        monkeypatch.setenv("NEWSLETTER_SMTP_CA_FILE", "ca.pem")
        shown = newsletter(command, code=1).err
        assert shown.startswith("Error:")
        assert "ca.pem" in shown
