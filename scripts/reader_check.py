"""A reader of the running stack, for scripts/compose-check: through the site and Mailpit, with nothing but Python.

python3 scripts/reader_check.py subscribe SITE_PORT MAILPIT_PORT    from the form to the welcome
python3 scripts/reader_check.py leave SITE_PORT MAILPIT_PORT        from the first digest to one click
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from http.client import HTTPConnection
from urllib.parse import quote, urlencode, urlsplit

EMAIL = "cora@example.org"
PATIENCE = 60
BASE_URL = os.environ["NEWSLETTER_BASE_URL"]


def ask(port: int, path: str, form: dict[str, str] | None = None, host: str = "127.0.0.1") -> tuple[int, str, str]:
    """Status, Location and text; ``host``: what the server is called."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Host": host}
    if form is None:
        connection.request("GET", path, headers=headers)
    else:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request("POST", path, urlencode(form), headers)
    answer = connection.getresponse()
    return answer.status, answer.getheader("Location", ""), answer.read().decode()


def site(port: int, path: str, form: dict[str, str] | None = None, expected: int = 200) -> str:
    """A page of the site, by the name that it has for readers."""
    status, location, text = ask(port, path, form, urlsplit(BASE_URL).netloc)
    if status != expected:
        sys.exit(f"{path}: expected {expected}, got {status}")
    return location or text


def mailpit(port: int, path: str, *names: str) -> dict[str, list[dict[str, str]]]:
    """What Mailpit answers, with these names in it."""
    status, _, text = ask(port, f"/api/v1/{path}")
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    if status != 200 or not isinstance(answer, dict) or not answer.keys() >= set(names):
        sys.exit(f"What answers on port {port} is not Mailpit: /api/v1/{path} lacks {', '.join(names) or 'JSON'}")
    return answer


def mail(port: int, subject: str) -> dict[str, object]:
    """The reader's mail whose subject matches, as soon as it is there: its Text, and its headers as Headers."""
    for _ in range(PATIENCE):
        for one in mailpit(port, f"search?query={quote(f'to:{EMAIL}')}", "messages")["messages"]:
            if not one.keys() >= {"ID", "Subject"}:
                sys.exit(f"What answers on port {port} is not Mailpit: its messages lack ID or Subject")
            if re.search(subject, one["Subject"]):
                whole = mailpit(port, f"message/{one['ID']}", "Text")
                return {**whole, "Headers": mailpit(port, f"message/{one['ID']}/headers")}
        time.sleep(1)
    sys.exit(f"No mail to {EMAIL} with the subject {subject!r} within {PATIENCE} s")


def subscribe(site_port: int, mailpit_port: int) -> None:
    form = site(site_port, "/news?country=GT&lang=en")
    moment = re.search(r'name="moment" value="([^"]+)"', form)
    time.sleep(1.5)  # Faster than a person, the site takes one for a program.
    sent = {"email": EMAIL, "country": "GT", "frequency": "immediate", "lang": "en"}
    path = site(site_port, "/news", {**sent, "moment": moment[1] if moment else ""}, 303)
    assert EMAIL in site(site_port, urlsplit(path).path)
    link = re.search(rf"{re.escape(BASE_URL)}(/c/\S+)", str(mail(mailpit_port, "(?i)confirm")["Text"]))
    assert link, "no link to confirm with"
    site(site_port, link[1])
    assert "Welcome to News" in site(site_port, link[1], {})
    mail(mailpit_port, "(?i)welcome")


def leave(site_port: int, mailpit_port: int) -> None:
    headers = mail(mailpit_port, "Bridge")["Headers"]
    assert isinstance(headers, dict)
    assert headers["List-Unsubscribe-Post"] == ["List-Unsubscribe=One-Click"]
    link = re.search(rf"<{re.escape(BASE_URL)}(/u/[^>]+)>", headers["List-Unsubscribe"][0])
    assert link, "no link to leave by"
    for _ in range(2):
        site(site_port, link[1], {"List-Unsubscribe": "One-Click"})


if __name__ == "__main__":
    {"subscribe": subscribe, "leave": leave}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
