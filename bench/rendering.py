"""Time a mail: ``rendering.py premailer-per-mail | jinja-per-mail | joined`` prints JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from letters import ENVELOPE, letter

from newsletter.mail.compose import digest_values, render_digest
from newsletter.mail.inlining import run_premailer
from newsletter.mail.templates import environment, flat_source, folder, load_templates
from newsletter.mail.words import words

CARDS = 20
MAILS = {"premailer-per-mail": 30, "jinja-per-mail": 1000, "joined": 20_000}


def measure(way: str) -> float:
    """Seconds for all mails of this way of making them, warmed up."""
    wanted, said = letter(CARDS), words("en")
    css = (folder() / "style.css").read_text("utf-8")
    template = environment(True).from_string(flat_source("digest"))
    load_templates()
    rendered = render_digest(wanted)
    began = time.perf_counter()
    for number in range(MAILS[way]):
        envelope = replace(ENVELOPE, to_email=f"reader{number}@example.org", message_id=f"digest.{number}@example.org")
        if way == "premailer-per-mail":
            run_premailer(template.render(digest_values(wanted, said)), css)
        elif way == "jinja-per-mail":
            render_digest(wanted).message(envelope)
        else:
            rendered.message(envelope)
    return time.perf_counter() - began


if __name__ == "__main__":
    way = sys.argv[1]
    seconds = measure(way)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    per_mail = round(seconds / MAILS[way] * 1e6, 1)
    print(
        json.dumps({"way": way, "cards": CARDS, "mails": MAILS[way], "us_per_mail": per_mail, "peak_mb": round(peak)})
    )
