"""The fast way to a digest gives the bytes of the slow one: Jinja and `email`, whole templates, every time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from letters import ENVELOPE, card, compose, letter, letters, texts
from plainly import Group, Letter, PlainTemplates, plain_message
from specimens import BRANDS

from newsletter.mail.cards import ShownGroup
from newsletter.mail.frames import HTML_LIMIT, Frame
from newsletter.mail.letter import Envelope
from newsletter.mail.look import Look
from newsletter.mail.program import Loop, Value, nodes_of
from newsletter.mail.templates import environment, load_kind, load_programs, programs, source_of

envelopes = st.builds(
    Envelope,
    to_email=st.just("ana@example.org"),
    to_name=st.one_of(st.just(""), texts),
    return_path=st.just("bounces+1.abc@rutas.example"),
    message_id=st.integers(1, 10**12).map(lambda n: f"digest.{n}.abc@rutas.example"),
    dated_at=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    unsubscribe_url=st.integers(0, 60).map(lambda n: f'https://news.example.org/u/1.{"x" * n}?a=1&b="2"'),
    preferences_url=st.integers(0, 60).map(lambda n: f"https://news.example.org/p/1.{'=' * n}"),
    copy_url=st.one_of(st.just(""), st.integers(0, 60).map(lambda n: f"https://news.example.org/d/1.{'_' * n}")),
    feedback_id=st.just("1:rutas:digest:newsletter"),
)


@given(letters, envelopes)
@settings(max_examples=100, deadline=None)
def test_bytes_of_the_slow_way(made: Letter, envelope: Envelope) -> None:
    """Any items, names, scripts and readers: each byte is what rendering the whole mail would have written."""
    fast, slow = compose(made, envelope), plain_message(made, envelope)
    assert fast.head == slow.head
    assert fast.body == slow.body
    assert fast.return_path == slow.return_path
    assert fast.content == fast.head + fast.body
    assert fast.head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("count", "length", "rest"), [(120, 300, 600), (60, 5000, 0), (1, 300_000, 3), (40, 600, 2)])
def test_shortened_alike(count: int, length: int, rest: int) -> None:
    """What is too large is shortened to the same cards."""
    cards = tuple(card(n, summary=("Wörter " * (length // 7)).strip()) for n in range(count))
    half = count // 2 + 1
    groups = tuple(Group(name, part) for name, part in (("Mali", cards[:half]), ("", cards[half:])) if part)
    made = letter(groups=groups, rest=tuple(card(1000 + n) for n in range(rest)))
    assert compose(made).content == plain_message(made, ENVELOPE).content
    assert len(compose(made).body.split(b"\r\n--=_")[1]) < HTML_LIMIT + 200


@pytest.mark.parametrize("look", BRANDS.values(), ids=BRANDS)
@pytest.mark.parametrize("copy_url", ["", ENVELOPE.copy_url])
def test_lists_own_looks(look: Look, copy_url: str) -> None:
    """So it is for a list with logos, of a digest with a web copy and without."""
    usual = load_kind("digest", look)
    templates = PlainTemplates(source_of("digest/subject.txt"), usual.text, usual.html)
    made, envelope = letter(3, 4), replace(ENVELOPE, copy_url=copy_url)
    assert compose(made, envelope, load_programs(look)).content == plain_message(made, envelope, templates).content


CARD = "{% for card in group.cards %}"
ODD = {
    "counting": CARD + "<p>{{ loop.index }} {{ card.title }}</p>{% endfor %}",
    "counting outside": "{{ loop.index }}" + CARD + "<p>{{ card.title }}</p>{% endfor %}",
    "counting in a condition": CARD + "{% if loop.first %}{{ day }}{% endif %}{{ card.title }}{% endfor %}",
    "reader in a card": CARD + '<a href="{{ preferences_url }}">{{ card.title }}</a>{{ subject }}{% endfor %}',
    "day in a card": CARD + "{{ card.title }} {{ day }} {{ why }}{% endfor %}",
    "group in a card": CARD + "{{ group.heading }}: {{ card.title }} of {{ group.cards|length }}{% endfor %}",
    "setting": "{% set first = group.cards[0] %}{{ first.title }}",
    "setting in a loop": CARD + "{% set t = card.title %}{{ t|upper }}{% set day = t %}{{ day }}{% endfor %}{{ day }}",
    "setting in a condition": "{% if group.heading %}{% set day = 'x' %}{% endif %}{{ day }}",
    "filters": CARD + "{{ card.title|upper|truncate(9) }}{{ subject|lower|e }}{{ card.why|default('-') }}{% endfor %}",
    "safe": CARD + "{{ card.title|safe }}{{ preheader|safe }}{% endfor %}",
    "two ways": CARD + "{% if card.why %}{{ card.why }}{% elif card.meta %}!{% else %}{{ day }}{% endif %}{% endfor %}",
    "late condition": CARD
    + "{% if contents and card.why %}{{ card.why }}{% else %}{{ contents }}{% endif %}{% endfor %}",
    "with": CARD + "{% with t = card.title %}{{ t }}{% endwith %}{% endfor %}",
    "macro": "{% macro m(c) %}<b>{{ c.title }}</b>{% endmacro %}" + CARD + "{{ m(card) }}{% endfor %}",
    "whole card": CARD + "{{ card['title'] }}{% set c = card %}{{ c.url }}{% endfor %}",
    "hiding names": "{% for day in group.cards %}{{ day.title }}{% endfor %}{{ day }}",
    "hiding loops": "{% for group in group.cards %}{{ group.title }}{% endfor %}{{ group.heading }}",
    "cards in cards": CARD + "{% for c in group.cards %}{{ c.title }}{{ card.title }}{% endfor %}{% endfor %}",
    "cards twice": CARD + "{{ card.title }}\n{% endfor %}" + CARD + "<i>{{ card.url }}</i>{% endfor %}",
    "groups in groups": "{% for g in groups %}{{ g.heading }}{{ group.heading }}{% endfor %}",
    "rest in groups": "{% for card in rest %}{{ card.title }}{{ group.heading }}{% endfor %}",
    "else": CARD + "{{ card.title }}{% else %}none{% endfor %}{% for c in rest %}{{ c.url }}{% else %}none{% endfor %}",
    "only some": "{% for card in group.cards if card.why %}{{ card.why }}{% endfor %}",
    "part of them": "{% for card in group.cards[:1] %}{{ card.title }}{% endfor %}{{ groups|length }}",
    "unpacked": "{% for a, b in group.cards|map(attribute='title')|list|batch(2, '-') %}{{ a }}{{ b }}{% endfor %}",
    "namespace": "{% set n = namespace(k=0) %}" + CARD + "{% set n.k = n.k + 1 %}{{ n.k }}{% endfor %}",
    "unescaped": "{% autoescape false %}" + CARD + "{{ card.title }}{{ subject }}{% endfor %}{% endautoescape %}",
    "block": "{% filter upper %}" + CARD + "{{ card.title }}{% endfor %}{% endfilter %}",
    "no line ends": CARD + "{{ card.title }}{{ card.meta }}{{ card.why }}{{ card.url }}{% endfor %}",
    "line ends inside": CARD + "\n\n{{ card.long|join('\n') }}\n{% endfor %}\n\n",
    "calls": CARD + "{{ say('because', picks=card.title) }}{% for n in range(2) %}{{ n }}{% endfor %}{% endfor %}",
    "link of a group": '<a href="{{ preferences_url }}#{{ group.tally }}">{{ group.title }}</a>{{ group.tally }}\n',
    "late and long": "x {{ subject }}{{ group.heading }}\n" + CARD + "{{ card.themes|join(dot) }}\n{% endfor %}",
    "nothing of cards": "{{ group.heading }}" + CARD + "{% endfor %}; " + CARD + "{{ card.why }}{% endfor %}",
    "nothing": "",
}


@given(
    letters, st.sampled_from(("{{ subject }}", "{{ preferences_url }}", "{{ copy_url }}", "{{ group.cards[0].url }}"))
)
@settings(max_examples=40, deadline=None)
def test_one_late_value_in_groups(made: Letter, value: str) -> None:
    """A value of the reader's in the same place for each group, as in a list of links, is written as ever."""
    group = '<a href="' + value + '#{{ group.tally }}">{{ group.heading }}</a>&nbsp;{{ group.tally }}\n'
    whole = "{{ day }}\n{% for group in groups %}\n" + group + "{% endfor %}{{ why }}"
    templates = PlainTemplates(
        "{{ first_title }}", environment(False).from_string(whole), environment(True).from_string(whole)
    )
    fast = compose(made, ENVELOPE, programs("{{ first_title }}", whole, whole))
    assert fast.content == plain_message(made, ENVELOPE, templates).content


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
def test_odd_templates(body: str) -> None:
    """Template authors write what they like; what cannot be split is rendered late, and right."""
    whole = "{{ list_name }}{% for group in groups %}\n" + body + "{{ group.heading }}{% endfor %}{{ unsubscribe_url }}"
    subject = "{% if others %}{{ others|upper }}: {% endif %}{{ first_title }}"
    made = [
        letter(3, 4, list_name="Rutas & <Caminos>"),
        letter(groups=(Group("Perú", (card(1, title="Ünï = <b>" * 9), card(2, because=()))), Group("", (card(3),)))),
    ]
    split = programs(subject, whole, whole)
    templates = PlainTemplates(subject, environment(False).from_string(whole), environment(True).from_string(whole))
    for one in made:
        assert compose(one, ENVELOPE, split).content == plain_message(one, ENVELOPE, templates).content


@given(letters, st.sampled_from(sorted(ODD)), st.sampled_from(sorted(ODD)))
@settings(max_examples=40, deadline=None)
def test_odd_templates_with_any_letter(made: Letter, first: str, second: str) -> None:
    """So it is whatever the letter says, and whatever stands beside it."""
    whole = "{% for group in groups %}" + ODD[first] + "</td>\n" + ODD[second] + "{% endfor %}{{ why }}"
    templates = PlainTemplates(
        "{{ first_title }}", environment(False).from_string(whole), environment(True).from_string(whole)
    )
    fast = compose(made, ENVELOPE, programs("{{ first_title }}", whole, whole))
    assert fast.content == plain_message(made, ENVELOPE, templates).content


def test_our_templates_are_split() -> None:
    """Of our own templates nothing but the reader's values is left for the last moment, and none of it to Jinja."""
    for program in (load_programs().html, load_programs().text):
        loops = [loop for loop in nodes_of(program, Loop) if isinstance(loop, Loop)]
        assert sorted(loop.source for loop in loops)[:2] == ["group.cards", "groups"]
        assert not [value for value in nodes_of(program, Value) if "?" in value.needs]


def test_the_same_frame_another_day() -> None:
    """A frame used before gives what a fresh one gives, for other days, rhythms and readers."""
    one, other = letter(2, 7), letter(2, 7, frequency="weekly", day=datetime(2027, 1, 5, tzinfo=UTC).date())
    for body in (None, *ODD.values()):
        whole = "{% for group in groups %}" + (body or "") + "{{ day }}{{ why }}{% endfor %}"
        split = programs("{{ first_title }}", whole, whole) if body is not None else None
        frame = Frame(one.masthead, split)
        item = frame.cards.set_item(one.groups[0].cards[0])
        made = frame.cards.set_card(item, "Guatemala", frame.cards.reason(one.groups[0].cards[0].because))
        group = ShownGroup(one.section(Group("Guatemala", ())), ((0, b"", "", *made),))
        for made in (one, other, one):
            fast = frame.compose((group,), (), made.day, made.frequency, ENVELOPE)
            small = Group("Guatemala", (made.groups[0].cards[0],))
            fresh = letter(groups=(small,), frequency=made.frequency, day=made.day)
            assert fast.content == compose(fresh, ENVELOPE, split).content
