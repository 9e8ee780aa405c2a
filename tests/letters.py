"""Letters made up by Hypothesis, and one that looks like real ones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import strategies as st
from plainly import Group, Letter

from newsletter.languages import LANGUAGES
from newsletter.mail.cards import Placed, ShownGroup
from newsletter.mail.compose import OUTCOMES
from newsletter.mail.frames import Frame
from newsletter.mail.letter import Card, Choices, Envelope, Masthead, Message, Notice, Report
from newsletter.mail.templates import KINDS, Programs

ENVELOPE = Envelope(
    to_email="ana@example.org",
    to_name="Ana Peña",
    return_path="bounces+1.abc@rutas.example",
    message_id="digest.1.abc@rutas.example",
    dated_at=datetime(2026, 11, 24, 8, 0, tzinfo=UTC),
    unsubscribe_url="https://news.example.org/u/1.abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQ",
    preferences_url="https://news.example.org/p/1.abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQ",
    copy_url="https://news.example.org/d/1.abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQ",
    feedback_id="1:rutas:digest:newsletter",
)

texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn")), min_size=1, max_size=60).filter(
    lambda text: bool(text.strip()) and " ".join(text.split()) == text
)
urls = st.integers(0, 99999).map(lambda n: f"https://example.org/{n}?a=1&b=<{n}>")
languages = st.sampled_from(LANGUAGES)
days = st.dates(date(2000, 1, 1), date(2030, 1, 1))
names = st.lists(texts, max_size=3).map(tuple)
cards = st.builds(
    Card,
    title=texts,
    summary=st.lists(texts, min_size=1, max_size=3).map("\n\n".join),
    url=urls,
    language=st.sampled_from((*LANGUAGES, "fa", "zh-Hant", "qq")),
    source=st.one_of(st.just(""), texts),
    day=days,
    places=names,
    themes=names,
    because=names,
    image=st.one_of(st.just(""), urls),
    image_alt=st.one_of(st.just(""), texts),
)
groups = st.builds(
    Group,
    heading=st.one_of(st.just(""), texts),
    cards=st.lists(cards, min_size=1, max_size=4).map(tuple),
)
letters = st.builds(
    Letter,
    language=languages,
    list_name=texts,
    list_slug=st.just("rutas"),
    sender_name=texts,
    sender_email=st.just("digest@rutas.example"),
    postal_address=texts,
    day=days,
    frequency=st.sampled_from(("immediate", "daily", "weekly", "monthly")),
    groups=st.lists(groups, min_size=1, max_size=4).map(tuple),
    rest=st.lists(cards, max_size=8).map(tuple),
    note=st.sampled_from(("", "*Dear* readers,\n\n- see [it](https://e.example/?a=b)\n- <ü> & so on.")),
    style=st.sampled_from(("full", "compact")),
    sections=st.sampled_from(("country", "theme")),
)
NOTICES = KINDS[1:]
ACTION = "https://news.example.org/c/1.1796198400.abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQ"
mastheads = st.builds(
    Masthead,
    language=languages,
    list_name=texts,
    list_slug=st.just("rutas"),
    sender_name=texts,
    sender_email=st.just("digest@rutas.example"),
    postal_address=texts,
)
notices = st.builds(
    Notice,
    kind=st.sampled_from(NOTICES),
    masthead=mastheads,
    description=st.one_of(st.just(""), texts),
    action_url=st.just(ACTION),
    choices=st.builds(
        Choices,
        places=names,
        themes=names,
        frequency=st.sampled_from(("immediate", "daily", "weekly", "monthly")),
        hour=st.integers(0, 23),
        weekday=st.integers(0, 6),
        timezone=st.just("America/Guatemala"),
    ),
    until=st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)),
    next_at=st.one_of(st.none(), st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1))),
    latest=st.lists(cards, max_size=3).map(tuple),
    new_address=st.just("new@example.org"),
    paused=st.booleans(),
    everywhere=st.booleans(),
    report=st.builds(
        Report,
        run=st.integers(1, 10**9),
        slot=st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)),
        counts=st.dictionaries(st.sampled_from((*OUTCOMES, "held")), st.integers(0, 10**6)),
        items=st.integers(0, 10**5),
        took=st.one_of(st.none(), st.timedeltas(timedelta(0), timedelta(days=9))),
        refusals=st.lists(st.tuples(texts, st.integers(1, 10**6)), max_size=3).map(tuple),
    ),
)
REPORT = Report(
    run=7,
    slot=datetime(2026, 11, 24, 8, 0, tzinfo=UTC),
    counts={"sent": 9204, "failed": 17, "expired": 4, "dropped": 2, "withdrawn": 1},
    items=12,
    took=timedelta(minutes=3),
    refusals=(("550 5.1.1 … User unknown", 17), ("452 4.2.2 … The mailbox is full", 4)),
)


def card(number: int, **values: object) -> Card:
    """A card like real ones."""
    return Card(
        **{  # type: ignore[arg-type]
            "title": f"Crossing {number} opens a shared desk for families",
            "summary": "Officers on both sides share one queue, one form & one interpreter. The wait fell to <3 hours.",
            "url": f"https://rutas.example/2026/{number}?a=1&b=2",
            "language": "en",
            "source": "Rutas Desk",
            "day": date(2026, 11, 20),
            "places": ("Guatemala", "Honduras"),
            "themes": ("Protection",),
            "because": ("Guatemala", "Protection"),
            **values,
        }
    )


def letter(count: int = 3, named: int = 0, **values: object) -> Letter:
    """A letter like real ones."""
    return Letter(
        **{  # type: ignore[arg-type]
            "language": "en",
            "list_name": "Rutas",
            "list_slug": "rutas",
            "sender_name": "Rutas",
            "sender_email": "digest@rutas.example",
            "postal_address": "24 Calle Segunda, Guatemala City",
            "day": date(2026, 11, 24),
            "frequency": "daily",
            "groups": (Group("Guatemala", tuple(card(n) for n in range(count))),),
            "rest": tuple(card(1000 + n) for n in range(named)),
            **values,
        }
    )


def compose(made: Letter, envelope: Envelope = ENVELOPE, programs: Programs | None = None) -> Message:
    """A letter's message by the fast way, each card set for it; the same when it is asked for again."""
    frame = Frame(made.masthead, programs)

    def placed(one: Card, heading: str) -> Placed:
        made = frame.cards.set_card(frame.cards.set_item(one), heading, frame.cards.reason(one.because))
        return 0, b"", heading, *made

    groups = tuple(
        ShownGroup(made.section(group), tuple(placed(one, group.heading) for one in group.cards))
        for group in made.groups
    )
    rest = tuple(frame.cards.set_item(one).plain.named for one in made.rest)
    made_of = groups, [one for one in rest if one], made.day, made.frequency, envelope, made.note
    message = frame.compose(*made_of)
    # What is kept is made the first time, and used the second.
    assert frame.compose(*made_of).content == message.content
    return message
