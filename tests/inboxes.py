"""The capture inbox in a process of its own."""

from __future__ import annotations

import smtplib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
from sites import asking

PROGRAM = """
import sys
from pathlib import Path
from newsletter.inbox.server import run_inbox
run_inbox("127.0.0.1", 0, 0, Path(sys.argv[1]), on_ready=lambda smtp, web: print(smtp, web, flush=True))
"""


@dataclass
class Inbox:
    """A running inbox in a process of its own."""

    process: subprocess.Popen[str]
    folder: Path
    smtp: int
    web: httpx.Client

    def send(self, raw: bytes, to: str = "ana@example.org", sender: str = "news@example.org") -> int:
        """Hand over ``raw`` and give the number of the message."""
        with smtplib.SMTP("127.0.0.1", self.smtp) as client:
            client.ehlo()
            client.mail(sender, ["SMTPUTF8"])
            assert client.rcpt(to)[0] == 250
            code, answer = client.data(raw)
        assert code == 250
        return int(answer.split()[-1])


def start(folder: Path) -> Inbox:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    smtp, web = map(int, process.stdout.readline().split())
    return Inbox(process, folder, smtp, asking(f"http://127.0.0.1:{web}"))
