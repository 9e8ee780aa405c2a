"""What is said is said in every language, and a translation that is missing shows in the checks, never to a reader."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import translating
from commanding import CHECKOUT

from newsletter import translations
from newsletter.languages import LANGUAGES
from newsletter.translations import DOMAINS, FOLDER, Sentences

SPANISH = "nplurals=3; plural=(n == 1 ? 0 : n != 0 && n % 1000000 == 0 ? 1 : 2);"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The catalogues of the project, to be spoilt."""
    made = tmp_path / "locales"
    shutil.copytree(FOLDER, made)
    monkeypatch.setattr(translations, "FOLDER", made)
    translations._english.cache_clear()
    yield made
    translations._english.cache_clear()


def change(path: Path, old: str, new: str) -> None:
    """A catalogue with another text in one place."""
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_everything_is_translated(language: str) -> None:
    """Each sentence is there, with the placeholders of its English and all plural forms; nothing is fuzzy."""
    assert translating.problems(FOLDER, language) == []


def test_one_form_of_address() -> None:
    """Arabic addresses the reader in the plural throughout: no word ends in the pronoun of the singular."""
    others = re.compile(r".*(?:شتر|شترا|ذل|هنا|تر|مل)ك")
    for domain in DOMAINS:
        for message in translating.read_catalogue(FOLDER / "ar" / f"{domain}.po"):
            for text in translating.strings_of(message) if message.id else ():
                for word in re.findall(r"[\u0621-\u0652]*ك(?![\u0621-\u0652])", text):
                    assert others.fullmatch(word), (message.context, word)


def test_languages_have_catalogues() -> None:
    """Each language but English, whose sentences are the templates, has its folder."""
    assert set(translating.languages(FOLDER)) >= set(LANGUAGES[1:])


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_sentence_is_said(domain: str) -> None:
    """No sentence is left over: code or a template names each key, or puts it together from a beginning or an end."""
    paths = [path for pattern in translating.SOURCES[domain] for path in CHECKOUT.glob(pattern)]
    source = "\n".join(path.read_text("utf-8") for path in paths)
    named = set(translating.QUOTED.findall(source))
    beginnings = tuple(re.findall(r"""["'](\w+_)["'{]""", source))
    ends = tuple(re.findall(r"""["'}](_\w+)["']""", source))
    keys = {message.context for message in translating.read_catalogue(FOLDER / f"{domain}.pot") if message.id}
    assert [key for key in keys - named if not (key.startswith(beginnings) or key.endswith(ends))] == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('msgstr "Porque sigue {picks}"', 'msgstr ""', "because: is not translated."),
        ('msgstr "Porque sigue {picks}"', 'msgstr "Porque sigue"', "because: has the placeholders none, its English"),
        ('msgstr "Porque sigue {picks}"', 'msgstr "Porque sigue {temas}"', "because: has the placeholders {temas}"),
        ('msgstr "Porque sigue {picks}"', 'msgstr "Porque sigue {picks"', "because: has a brace"),
        ('msgstr "Porque sigue {picks}"', 'msgstr "Porque sigue {picks} "', "because: begins or ends with another"),
        ('msgid "Because you follow {picks}"', 'msgid "Because {picks}"', "because: the English is another by now"),
        ('msgctxt "because"', 'msgctxt "since"', "because: missing"),
        ('msgctxt "because"', 'msgctxt "since"', "since: there is no such sentence"),
        ('\nmsgctxt "because"', '\n#, fuzzy\nmsgctxt "because"', "because: fuzzy"),
        ('msgstr[2] "{n} novedades"', 'msgstr[2] ""', "items: form 2 is not translated."),
        ('msgstr[2] "{n} novedades"', 'msgstr[2] "novedades"', "items: form 2 has the placeholders none"),
        (SPANISH, "nplurals=3; plural=(n == 1 ? 0 : 2);", "Plural-Forms: not those of CLDR"),
        (SPANISH, "nplurals=2; plural=(n != 1);", "not in gettext's format"),
        ('msgstr "Porque sigue {picks}"', 'text "Porque"', "not in gettext's format"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, old: str, new: str, told: str) -> None:
    """Whatever a translation lacks is told with its file and key."""
    change(folder / "es" / "mails.po", old, new)
    lines = [line for line in translating.problems(folder, "es") if told in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"{folder / 'es' / 'mails.po'}: ")


def test_one_may_be_said_in_a_word(folder: Path) -> None:
    """A plural form for one number only may do without the digit; "0 or 1" of French may not."""
    change(folder / "es" / "mails.po", 'msgstr[0] "{n} novedad"', 'msgstr[0] "una novedad"')
    assert translating.problems(folder, "es") == []
    change(folder / "fr" / "mails.po", 'msgstr[0] "{n} nouveauté"', 'msgstr[0] "une nouveauté"')
    assert len(translating.problems(folder, "fr")) == 1


def test_a_missing_translation_is_english_to_the_reader(folder: Path) -> None:
    """Without a translation, or with a fuzzy one, the reader gets English, in the right plural form."""
    path = folder / "es" / "mails.po"
    change(path, 'msgstr "Porque sigue {picks}"', 'msgstr ""')
    change(path, '\nmsgctxt "general"', '\n#, fuzzy\nmsgctxt "general"')
    change(path, 'msgctxt "items"', 'msgctxt "things"')
    said = Sentences("mails", "es")
    assert said.say("because", picks="Guatemala") == "Because you follow Guatemala"
    assert said.say("general") == "Everywhere"
    assert (said.count("items", 1), said.count("items", 12_345)) == ("1 new item", "12.345 new items")
    assert said.say("preferences") == "Cambiar sus preferencias"
    shutil.rmtree(folder / "es")
    assert Sentences("mails", "es").say("preferences") == "Change your preferences"


def test_english_that_changed_is_looked_at_again(folder: Path) -> None:
    """New English keeps the translation, marked fuzzy with what it was made from; what is gone goes, new is empty."""
    template = folder / "mails.pot"
    change(template, 'msgid "Because you follow {picks}"', 'msgid "As you follow {picks}"')
    change(template, 'msgctxt "general"', 'msgctxt "nowhere"')
    translating.update(folder)
    text = (folder / "es" / "mails.po").read_text("utf-8")
    (entry,) = [part for part in text.split("\n\n") if 'msgctxt "because"' in part]
    for line in ('#| msgid "Because you follow {picks}"', "fuzzy", '"As you follow {picks}"', '"Porque sigue {picks}"'):
        assert line in entry
    assert 'msgctxt "general"' not in text
    translating.update(folder)
    assert (folder / "es" / "mails.po").read_text("utf-8") == text
    told = translating.problems(folder, "es")
    assert [line.partition("mails.po: ")[2].partition(":")[0] for line in told] == ["nowhere", "because"]


def test_the_mark_goes_with_the_old_english(folder: Path) -> None:
    """Who takes the word fuzzy out is done with it: the old English goes, what a translator noted stays."""
    path = folder / "fr" / "mails.po"
    change(folder / "mails.pot", 'msgid "Because you follow {picks}"', 'msgid "As you follow {picks}"')
    translating.update(folder)
    change(path, "#, fuzzy, python-brace-format", "# Looked at.\n#, python-brace-format")
    translating.update(folder)
    text = path.read_text("utf-8")
    assert "#|" not in text
    assert "\n# Looked at.\n" in text
    assert translating.problems(folder, "fr") == []


def test_nothing_changes_twice(folder: Path) -> None:
    """What is up to date stays as it is, byte for byte."""
    translating.update(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*.po*")}
    translating.update(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.po*")} == before


def test_a_new_language(tmp_path: Path) -> None:
    """A language is there by two catalogues and one entry: mails and pages speak it, the right way round."""
    for part in ("src", "subscribers", "worker", "templates", "scripts"):
        shutil.copytree(CHECKOUT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    path = os.pathsep.join([str(tmp_path / "src"), str(tmp_path)])

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        environment = {**os.environ, "PYTHONPATH": path, "NEWSLETTER_HOME": str(tmp_path / "home")}
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    begun = python("scripts/translating.py", "fa")
    assert begun.returncode == 1
    assert "fa/mails.po: because: is not translated." in begun.stdout
    for domain in DOMAINS:
        file = tmp_path / "src/newsletter/locales/fa" / f"{domain}.po"
        text = re.sub(r'(msgid (".*"))\nmsgstr ""\n', r"\1\nmsgstr \2\n", file.read_text("utf-8"))
        text = re.sub(r'(msgid_plural (".*"))\nmsgstr\[0\] ""\nmsgstr\[1\] ""', r"\1\nmsgstr[0] \2\nmsgstr[1] \2", text)
        file.write_text(text.replace('msgstr "Unsubscribe"', 'msgstr "لغو اشتراک"'), "utf-8")
    assert python("scripts/translating.py", "--check").stdout == "All is said in en, ar, es, fa, fr.\n"
    change(tmp_path / "src/newsletter/languages.py", '"ar")', '"ar", "fa")')
    seen = python(
        "-c",
        "from datetime import date; from newsletter.mail.words import words; from subscribers.rendering import fill\n"
        "said = words('fa'); print(said.direction, said.say('unsubscribe'), said.count('items', 1))\n"
        "print(said.long_day(date(2026, 11, 24)))\n"
        "print(fill('archive_unknown.html', 'fa-IR', list=type('L', (), {'slug': 'a'})))",
    )
    assert seen.returncode == 0, seen.stderr
    mail, day, page = seen.stdout.split("\n", 2)
    assert mail == "rtl لغو اشتراک 1 new items"
    assert day != date(2026, 11, 24).isoformat()
    assert '<html lang="fa" dir="rtl">' in page
    made = python("-m", "newsletter", "init")
    assert made.returncode == 0, made.stderr
    options = ("--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St", "--language", "fa")
    made = python("-m", "newsletter", "lists", "create", "news", *options)
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("code", ["xx", "not a code", "", "PT", "pt_BR", "../es"])
def test_a_code_that_is_no_language(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A language that CLDR does not know is refused with a sentence, and nothing is made."""
    before = sorted(FOLDER.iterdir())
    assert translating.main([code]) == 2
    assert "is no language that CLDR knows. Give" in capsys.readouterr().err
    assert sorted(FOLDER.iterdir()) == before


@pytest.mark.parametrize(
    "code",
    [
        "be",
        "br",
        "cs",
        "cy",
        "fa",
        "ga",
        "gv",
        "he",
        "ja",
        "lt",
        "lv",
        "mt",
        "pl",
        "pt",
        "ro",
        "ru",
        "sl",
        "ta",
        "uk",
        "zh",
    ],
)
def test_other_languages_can_begin(code: str, tmp_path: Path) -> None:
    """A catalogue begins with the plural forms that are asked of it, whatever their number and kind."""
    translating.begin(tmp_path, code)
    catalogue = translating.read_catalogue(tmp_path / code / "mails.po")
    assert translating.values_of_forms(catalogue, code)
