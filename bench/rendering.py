"""Time a mail: ``rendering.py premailer-per-mail | jinja-per-mail | joined [MAILS]`` prints JSON.

Each reader has picks of their own and gets 20 items of their own, of about 30 KB together. ``joined`` is what the
workers do, from a claimed delivery to the message; the others start with the letter in hand, which spares them the
arranging. ``prepare_us`` is what reading a batch from the database costs, for one mail of it.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from plainly import envelope_of, letter_of, letter_values_of, plain_message
from population import SLOT, THEMES, drafts, picks
from sqlalchemy import Connection, insert, select

from newsletter.audience.lists import create_list
from newsletter.audience.picks import Picks, load_profiles, profile_ids
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.items import save_items
from newsletter.catalogue.themes import Theme, add_themes, all_themes, descendants
from newsletter.collecting import collect_seldom
from newsletter.database import connect
from newsletter.delivery.composing.letters import Letters
from newsletter.delivery.outbox import Claimed
from newsletter.digests.matching import Index, Item
from newsletter.digests.runs import load_items
from newsletter.mail.inlining import run_premailer
from newsletter.mail.templates import environment, flat_source, folder
from newsletter.migrations import upgrade
from newsletter.settings import load_settings
from newsletter.tables import editions, lists, runs

CARDS, BATCH = 20, 500
SUMMARY = "Officers on both sides share one queue, one form and one interpreter."
MAILS = {"premailer-per-mail": 50, "jinja-per-mail": 500, "joined": 100_000}
LANGUAGES = ("en", "es", "fr")


def fill(connection: Connection) -> tuple[Any, list[Item]]:
    """A list with its items."""
    values = {"slug": "bench", "name": "Bench", "sender_name": "Bench", "sender_email": "bench@example.org"}
    values |= {"postal_address": "1 Main Street", "frequency": "daily", "timezone": "UTC"}
    values |= {"languages": list(LANGUAGES), "hour": 8, "weekday": 0, "max_items": 30}
    create_list(connection, values, SLOT)
    row = connection.execute(select(lists)).one()
    add_themes(connection, row.id, [Theme(f"theme-{n}", {"en": f"Theme {n}"}, None) for n in range(THEMES)])
    made = [replace(draft, summary=SUMMARY) for draft in drafts(random.Random(1), 300)]
    save_items(connection, row.id, made, SLOT)
    connection.execute(
        insert(runs).values(list_id=row.id, slot=SLOT, upper=1, state="sending", started_by="beat", opened_at=SLOT)
    )
    return row, load_items(connection, row.id, 0, 10**9)


def readers(index: Index) -> Iterator[tuple[Picks, list[int]]]:
    """Picks, none twice, with 20 items that fit them."""
    dice = random.Random(2)
    # A set of them would grow, and what is measured is whether the memory of composing does.
    seen = bytearray(1 << 24)
    while True:
        chosen = picks(dice)
        mask = index.fitting(chosen)
        mark = int(chosen.key[:6], 16)
        if mask.bit_count() >= CARDS and not seen[mark]:
            seen[mark] = 1
            yield chosen, sorted(item.id for item in dice.sample(list(index.of(mask)), CARDS))


def batches(connection: Connection, row: Any, index: Index, count: int) -> Iterator[list[Claimed]]:
    """Claimed deliveries, their editions and profiles written."""
    source = readers(index)
    for start in range(0, count, BATCH):
        chosen = [next(source) for _ in range(min(BATCH, count - start))]
        profiles = profile_ids(connection, [picked for picked, _ in chosen])
        numbers = range(start + 1, start + len(chosen) + 1)
        rows = [
            {"id": n, "run_id": 1, "key": str(n).encode(), "language": LANGUAGES[n % 3], "item_ids": ids}
            for n, (_, ids) in zip(numbers, chosen, strict=True)
        ]
        connection.execute(insert(editions), rows)
        yield [
            Claimed(
                **{"id": n, "claim": "claim", "expires": SLOT, "run_id": 1, "list_id": row.id, "slug": "bench"},
                **{"slot": SLOT, "upper": 1, "subscription_id": n, "profile_id": profiles[picked], "edition_id": n},
                **{"frequency": ("daily", "daily", "weekly", "monthly")[n % 4], "attempts": 1, "deadline": SLOT},
                **{"dated_at": SLOT + timedelta(milliseconds=start), "claimed_at": SLOT},
                **{"email": f"reader{n}@example.org", "name": ("Ana Lopez", "Ana Peña")[n % 2], "timezone": "UTC"},
            )
            for n, (picked, _) in zip(numbers, chosen, strict=True)
        ]


def measure(way: str, mails: int, folder_name: str) -> dict[str, Any]:
    """CPU of all mails of this way of making them."""
    collect_seldom()
    engine = connect(f"sqlite:///{folder_name}/bench.db")
    upgrade(engine)
    settings = load_settings(home=folder_name, secret_key="k" * 40, base_url="https://news.example.org")
    with engine.begin() as connection:
        row, found = fill(connection)
        vocabulary = all_themes(connection, row.id)
    index = Index(found, countries_in, lambda slug: descendants(vocabulary, slug))
    by_id = {item.id: item for item in found}
    letters = Letters(engine, settings)
    css = (folder() / "style.css").read_text("utf-8")
    template = environment(True).from_string(flat_source("digest"))
    total = spent = preparing = 0.0
    made = 0
    with engine.connect() as connection:
        for batch in batches(connection, row, index, mails):
            began = time.process_time()
            letters.prepare(connection, batch)
            preparing += time.process_time() - began
            if way != "joined":
                wanted = [plain_input(connection, row, vocabulary, by_id, settings, one) for one in batch]
            began = time.process_time()
            if way == "joined":
                for delivery in batch:
                    total += len(letters.compose(delivery).content)
            elif way == "jinja-per-mail":
                for letter, envelope in wanted:
                    total += len(plain_message(letter, envelope).content)
            else:
                for letter, envelope in wanted:
                    total += len(run_premailer(template.render(letter_values_of(letter, envelope)), css))
            spent += time.process_time() - began
            made += len(batch)
    return {
        "way": way,
        "cards": CARDS,
        "mails": made,
        "us_per_mail": round(spent / made * 1e6, 1),
        "prepare_us": round(preparing / made * 1e6, 1),
        "kb_per_mail": round(total / made / 1000, 1),
    }


def plain_input(connection: Connection, row: Any, vocabulary: Any, by_id: Any, settings: Any, one: Claimed) -> Any:
    """The letter and envelope of a delivery."""
    edition = connection.execute(select(editions).where(editions.c.id == one.edition_id)).one()
    letter = letter_of(
        settings.site,
        row,
        vocabulary,
        [by_id[number] for number in edition.item_ids],
        load_profiles(connection, [one.profile_id])[one.profile_id],
        language=edition.language,
        day=SLOT.date(),
        frequency=one.frequency,
    )
    return letter, envelope_of(settings, row, one)


if __name__ == "__main__":
    way = sys.argv[1]
    with TemporaryDirectory() as made_folder:
        result = measure(way, int(sys.argv[2]) if len(sys.argv) > 2 else MAILS[way], made_folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result | {"peak_mb": round(peak)}))
