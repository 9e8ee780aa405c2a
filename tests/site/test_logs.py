"""The log of the site after a whole journey: what was asked for and how it went, and nobody's address or link."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from commanding import KEY
from house import House
from sites import asking
from sqlalchemy import Engine, select
from stack import wait_until

from newsletter.audience.links import make_expiring, make_token
from newsletter.cli.supervising import free_port, is_listening
from newsletter.settings import load_settings
from newsletter.tables import subscriptions
from subscribers.site import utc_now


def test_a_journey_in_the_log(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign up, confirm, choose, leave, and ask for what is broken or missing: routes, statuses and times only."""
    values = {"home": tmp_path / "home", "database_url": str(sqlite_engine.url), "secret_key": KEY}
    house = House(sqlite_engine, load_settings(**values)).create()
    for name, value in values.items():
        monkeypatch.setenv(f"NEWSLETTER_{name.upper()}", str(value))
    port, log = free_port("127.0.0.1"), tmp_path / "log"
    command = [sys.executable, "-m", "newsletter", "site", "--port", str(port)]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            wait_until(lambda: is_listening("127.0.0.1", port), 60)
            secrets = _journey(house, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
    text = log.read_text()
    assert not [secret for secret in secrets if secret in text]
    assert "127.0.0.1 " not in text
    told = re.sub(r"\x1b\[[0-9;]*m", "", text)
    for method, route, status in (
        ("POST", "/{slug}", 303),
        ("GET", "/{slug}/sent/{token}", 200),
        ("POST", "/c/{token}", 200),
        ("POST", "/u/{token}", 200),
        ("POST", "/account", 200),
        ("GET", "none", 414),
    ):
        wanted = (f"route={route} ", f"status={status}", f"method={method} ")
        lines = [line for line in told.splitlines() if all(part in line for part in wanted)]
        assert lines, wanted
        assert re.search(r"ms=\d", lines[0])
    assert "refused=long" in told
    assert told.count("NEWSLETTER_TRUSTED_PROXIES") == 0


def _journey(house: House, url: str) -> list[str]:
    """What a reader does; what must not be in a log after it."""
    email, agent = "ana.secret@example.org", "Agent-of-Ana"
    with asking(url, headers={"user-agent": agent}) as client:
        sent = client.post("/rutas?utm=query-of-ana", data={"email": email, "name": "Ana Secreta", "country": "GT"})
        where = urlsplit(sent.headers["location"]).path
        client.get(where)
        with house.engine.connect() as connection:
            reader = connection.execute(select(subscriptions.c.id)).scalar_one()
        # The site has the clock of this machine.
        confirm = make_expiring(KEY, "confirm", reader, utc_now().replace(microsecond=0).replace(year=2099))
        leave, choose = make_token(KEY, "unsubscribe", reader), make_token(KEY, "preferences", reader)
        for path in (f"/c/{confirm}", f"/p/{choose}", f"/u/{leave}"):
            assert client.get(path).status_code == 200
        assert client.post(f"/c/{confirm}").status_code == 200
        assert client.post(f"/u/{leave}", data={"List-Unsubscribe": "One-Click"}).status_code == 200
        client.post("/account", data={"email": email})
        client.get(f"/u/{leave}x")
        client.get("/rutas?email=" + email * 1000)
        client.get("/api/v1/items", headers={"authorization": "Bearer nl_token_of_ana"})
    return [email, "ana.secret", "Secreta", agent, "query-of-ana", confirm, leave, choose, where, "token_of_ana"]
