"""Inlining a template once gives what inlining each rendered mail would give."""

from __future__ import annotations

import re

import lxml.html
import pytest
from hypothesis import given, settings
from letters import ENVELOPE, letters, notices
from plainly import Letter, letter_values_of

from newsletter.mail.compose import link_values, notice_values
from newsletter.mail.inlining import TemplateError, _tight, inline, run_premailer, split_rules
from newsletter.mail.letter import Notice
from newsletter.mail.templates import environment, flat_source, folder, load_templates
from newsletter.mail.words import words

CSS = (folder() / "style.css").read_text("utf-8")


def tree(html: str) -> list[tuple[str, dict[str, str], str, str]]:
    """A page as comparable parts: tags, attributes, texts."""
    document = lxml.html.document_fromstring(html)
    return [
        (str(e.tag), dict(e.attrib), re.sub(r"\s+", " ", e.text or ""), re.sub(r"\s+", " ", e.tail or ""))
        for e in document.iter()
    ]


def rendered_then_inlined(kind: str, values: dict[str, object]) -> str:
    rules, kept = split_rules(CSS)
    source = flat_source(kind).replace("[[styles]]", f'<style data-premailer="ignore">{_tight(kept)}</style>')
    return run_premailer(environment(True).from_string(source).render(values), rules)


@given(letters)
@settings(max_examples=25, deadline=None)
def test_digest_is_the_same(letter: Letter) -> None:
    """A digest rendered from the inlined template is DOM-identical to one rendered first and inlined then."""
    values = letter_values_of(letter, ENVELOPE)
    assert tree(load_templates()["digest"].html.render(values)) == tree(rendered_then_inlined("digest", values))


@given(notices)
@settings(max_examples=25, deadline=None)
def test_notice_is_the_same(notice: Notice) -> None:
    """So is a notice of any kind."""
    values = notice_values(notice, words(notice.masthead.language)) | {"subject": "s", "preheader": "p"}
    kind = notice.kind
    values |= link_values(kind, ENVELOPE.unsubscribe_url, ENVELOPE.preferences_url)
    assert tree(load_templates()[kind].html.render(values)) == tree(rendered_then_inlined(kind, values))


def test_values_side_by_side() -> None:
    """Two values with nothing between them stay two."""
    source = "<html><body><p>{{ one }}{{ other }}</p></body></html>"
    assert "<p>{{ one }}{{ other }}</p>" in inline(source, ".a { color: red; }")


def test_no_spaces_in_styles() -> None:
    """Styles are as short as they can be; names of fonts, and text that looks like a style, stay as they are."""
    css = ".a { font: bold 16px 'Segoe, UI' , Arial; color: red; }"
    made = inline('<html><body><p class="a" style="margin: 0; top: 1px">style="a; b"</p></body></html>', css)
    assert """style='font:bold 16px "Segoe, UI",Arial;color:red;margin:0;top:1px'>style="a; b"<""" in made


@pytest.mark.parametrize(
    ("source", "css"),
    [
        ('<p class="{{ kind }}">x</p>', ".a { color: red; }"),
        ('<p style="color: {{ colour }}">x</p>', ".a { color: red; }"),
        ("<p>x</p>", "p:first-child { color: red; }"),
        ("<p>x</p>", ".a .b { color: red; }"),
        ("<p>x</p>", ".a + .b { color: red; }"),
        ("<p>x</p>", '@import "https://example.org/x.css";'),
    ],
)
def test_refused(source: str, css: str) -> None:
    """What would be decided differently before and after rendering is refused."""
    with pytest.raises(TemplateError):
        inline(f"<!DOCTYPE html><html><head>[[styles]]</head><body>{source}</body></html>", css)


def test_tags_survive_everywhere() -> None:
    """Tags in text, in attribute values, between attributes and between rows come back as they were."""
    source = (
        "<!DOCTYPE html><html><head><title>{{ a }}</title></head><body><table>{% for r in rows if r < 3 %}"
        '<tr {% if r %}lang="x"{% endif %}><td class="c" title="{{ r }} & co">'
        '<a href="{{ url }}?a=1&amp;b={{ r }}">{{ r }}</a>'
        "</td></tr>{% endfor %}</table>{# note #}</body></html>"
    )
    inlined = inline(source, ".c { color: red; }")
    for tag in (
        "{% for r in rows if r < 3 %}",
        "{% if r %}",
        "{% endif %}",
        'href="{{ url }}?a=1&amp;b={{ r }}"',
        "{# note #}",
    ):
        assert tag in inlined
    assert 'style="color:red"' in inlined
    assert inlined.startswith("<!DOCTYPE html>")
