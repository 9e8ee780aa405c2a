"""What a reader has chosen, before and after, and what is different in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from babel import Locale
from babel.lists import format_list

from newsletter.audience.picks import KINDS
from newsletter.audience.subscribers import check_name
from newsletter.catalogue.themes import theme_name
from newsletter.controls import CONTROL
from newsletter.errors import InputError
from newsletter.languages import LANGUAGES
from subscribers.choices import language_name, name_of
from subscribers.fields import Sent
from subscribers.ordering import ordering
from subscribers.picking import Offer, PicksForm, form_of, read_form
from subscribers.rendering import say, schedule_line, speak


@dataclass(frozen=True)
class Chosen:
    """Everything that the preferences page lets choose; ``errors``: the word that says what is wrong, by field."""

    form: PicksForm
    page_language: str
    name: str
    errors: Mapping[str, str]

    @property
    def is_usable(self) -> bool:
        """Whether it can be saved."""
        return not self.errors and not self.form.errors

    @property
    def person(self) -> dict[str, str]:
        """What of it belongs to the subscriber, on whatever list."""
        return {"name": self.name, "language": self.page_language, "timezone": self.form.timezone}

    @property
    def version(self) -> str:
        """Sixteen hexadecimal digits that are others for other choices."""
        schedule = self.form.schedule
        values = [self.form.picks.columns(), schedule.frequency, schedule.hour, schedule.weekday, self.person]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Difference:
    """One thing that is different: the key of its label, both values in words, and for sets what came and went."""

    label: str
    was: str
    now: str
    added: str = ""
    removed: str = ""


def chosen_by(offer: Offer, member: Any) -> Chosen:
    """What a subscription (a row of ``memberships``) has."""
    return Chosen(form_of(offer, member), member.language, member.name, {})


def read_choices(offer: Offer, member: Any, sent: Sent) -> Chosen:
    """What was sent; what cannot be used is as it was before, and named in ``errors``."""
    errors = {}
    language = sent.one("page_language") or member.language
    if language not in (*LANGUAGES, member.language):
        language, errors["page_language"] = member.language, "page_language_error"
    name = sent.one("name")
    try:
        name = check_name(name)
    except InputError:
        errors["name"] = "name_error"
        name = " ".join(CONTROL.sub(" ", name).split())[:200]
    return Chosen(read_form(offer, sent.pairs), language, name, errors)


def with_picks(chosen: Chosen, picks: Any) -> Chosen:
    """The same with other picks."""
    kinds = {kind: getattr(picks, kind) for kind in KINDS}
    return replace(chosen, form=replace(chosen.form, **kinds))


def differences(before: Chosen, after: Chosen, language: str) -> list[Difference]:
    """What is different, in the order of the form, in one of the site's languages."""
    tongue = speak(language)
    old, new = before.form, after.form
    vocabulary = new.offer.vocabulary

    def theme(slug: str) -> str:
        return theme_name(vocabulary[slug], tongue) if slug in vocabulary else slug

    sets = [
        ("places", old.countries | old.regions, new.countries | new.regions, lambda code: name_of(code, tongue)),
        ("themes", old.themes, new.themes, theme),
        ("languages", old.languages, new.languages, lambda code: language_name(code, tongue)),
    ]
    found = [_of_sets(label, was, now, naming, tongue) for label, was, now, naming in sets if was != now]
    plain = [
        ("schedule", _schedule(before, tongue), _schedule(after, tongue)),
        ("timezone", old.zone_name(tongue), new.zone_name(tongue)),
        ("page_language", language_name(before.page_language, tongue), language_name(after.page_language, tongue)),
        ("your_name", before.name or say(tongue, "no_name"), after.name or say(tongue, "no_name")),
    ]
    return found + [Difference(label, was, now) for label, was, now in plain if was != now]


def _of_sets(label: str, was: Any, now: Any, naming: Any, language: str) -> Difference:
    def named(codes: Iterable[str]) -> str:
        return enumerated(sorted(map(naming, codes), key=lambda name: ordering(name, language)), language)

    everything = say(language, f"all_{label}")
    return Difference(
        label,
        named(was) or everything,
        named(now) or everything,
        # From or to all of them, that is the whole story.
        named(now - was) if was and now else "",
        named(was - now) if was and now else "",
    )


def _schedule(chosen: Chosen, language: str) -> str:
    key, filled = schedule_line(chosen.form, language)
    return say(language, key, **filled)


def enumerated(names: Iterable[str], language: str) -> str:
    """Names as a language strings them together: A, B and C."""
    return str(format_list(list(names), locale=Locale(speak(language))))
