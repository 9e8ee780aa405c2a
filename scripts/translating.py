"""Keep the catalogues in src/newsletter/locales in step with the sentences in English, and say what they lack.

    python scripts/translating.py           bring every catalogue up to date, then check them all
    python scripts/translating.py pt        the same, and begin Portuguese if it is not there
    python scripts/translating.py --check   only check; exit code 1 if anything is wrong

docs/translating.md says how to add a sentence or a language.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from gettext import c2py
from io import BytesIO
from pathlib import Path
from string import Formatter

from babel import Locale, localedata
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po, write_po
from babel.plural import PluralRule, to_gettext

from newsletter.errors import InputError
from newsletter.translations import DOMAINS, FOLDER, read_catalogue

CHECKOUT = Path(__file__).parents[1]
SOURCES = {
    "mails": ("src/newsletter/mail/*.py", "templates/email/**/*.html", "templates/email/**/*.txt"),
    "site": ("subscribers/**/*.py", "subscribers/pages/*.html"),
}
QUOTED = re.compile(r"""["'](\w+)["']""")
LINE = 10_000
"""Characters of a line at most: more than any sentence, as Babel breaks an old one (``#|``) within its quotes."""
NUMBERS = (*range(1001), 10**6, 2 * 10**6)
"""Enough to meet every plural form of every language."""


def languages(folder: Path) -> list[str]:
    """The languages with a folder of catalogues."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


# Bring up to date -----------------------------------------------------------------------------------------------


def begin(folder: Path, language: str) -> None:
    """Empty catalogues for a language, with the plural forms that CLDR has for it.

    Raises:
        InputError: CLDR does not know the code.
    """
    forms = plural_forms(language)
    (folder / language).mkdir(exist_ok=True)
    for domain in DOMAINS:
        path = folder / language / f"{domain}.po"
        if not path.exists():
            fields = (
                f"Language: {language}",
                "Content-Type: text/plain; charset=utf-8",
                "Content-Transfer-Encoding: 8bit",
                f"Plural-Forms: {forms}",
            )
            head = ['msgid ""', 'msgstr ""', *(f'"{field}\\n"' for field in fields)]
            path.write_text("\n".join(head) + "\n\n", "utf-8")


def update(folder: Path) -> None:
    """Note in the template where each sentence is said, and bring its sentences into each language.

    A translation whose English has changed since stays, but is marked fuzzy, with the English that it was made from.
    """
    for domain in DOMAINS:
        path = folder / f"{domain}.pot"
        template, places = read_catalogue(path), said_in(domain)
        for message in template:
            message.locations = [(place, 0) for place in places.get(message.context, ())]
        write(path, template)
        for language in languages(folder):
            path = folder / language / f"{domain}.po"
            if path.exists():
                merge(path, template)


def merge(path: Path, template: Catalog) -> None:
    """One language's catalogue with the sentences, and in the order, of the template."""
    catalogue = read_catalogue(path)
    known = {message.context: message for message in catalogue if message.id}
    for message in known.values():
        catalogue.delete(message.id, message.context)
    for message in template:
        if message.id:
            before = known.get(message.context, Message(message.id, context=message.context))
            changed = before.id != message.id and any(strings_of(before))
            catalogue.add(
                message.id,
                before.string if isinstance(before.id, str) == isinstance(message.id, str) else None,
                locations=message.locations,
                flags={"fuzzy"} if changed or before.fuzzy else (),
                auto_comments=message.auto_comments,
                user_comments=[line for line in before.user_comments if not line.startswith("|")],
                previous_id=before.id if changed else old_english(before) if before.fuzzy else (),
                context=message.context,
            )
    write(path, catalogue)


def old_english(message: Message) -> str | tuple[str, ...]:
    """What a fuzzy translation was made from (``#|``), which Babel reads as comments of the translator."""
    lines = [line[1:].strip() for line in message.user_comments if line.startswith("|")]
    entry = read_po(BytesIO("\n".join([*lines, 'msgstr ""']).encode()))
    return next((tuple(old.id) if old.pluralizable else str(old.id) for old in entry if old.id), ())


def write(path: Path, catalogue: Catalog) -> None:
    """A catalogue under the head that its file has, a sentence to a line."""
    head = path.read_text("utf-8").partition("\n\n")[0]
    body = BytesIO()
    write_po(body, catalogue, width=LINE, omit_header=True, ignore_obsolete=True, include_previous=True)
    path.write_text(f"{head}\n\n{body.getvalue().decode()}", "utf-8")


def said_in(domain: str) -> dict[str, list[str]]:
    """The files that name a key of this domain, by key; a key that is put together from parts has none."""
    places: dict[str, list[str]] = {}
    for path in sorted(path for pattern in SOURCES[domain] for path in CHECKOUT.glob(pattern)):
        for key in sorted(set(QUOTED.findall(path.read_text("utf-8")))):
            places.setdefault(key, []).append(path.relative_to(CHECKOUT).as_posix())
    return places


# Check ----------------------------------------------------------------------------------------------------------


def problems(folder: Path, language: str) -> list[str]:
    """What is wrong with a language's catalogues, each with its file and key; nothing if all is said, and rightly."""
    found = []
    for domain in DOMAINS:
        path = folder / language / f"{domain}.po"
        try:
            told = wrong_in(read_catalogue(path), read_catalogue(folder / f"{domain}.pot"), language)
            found += [f"{path}: {line}" for line in told]
        except FileNotFoundError:
            found.append(f"{path}: missing. `make words ARGS={language}` makes it.")
        except InputError as error:
            found.append(str(error))
    return found


def wrong_in(catalogue: Catalog, template: Catalog, language: str) -> Iterator[str]:
    """What is wrong with a catalogue, by the template and by CLDR."""
    values = values_of_forms(catalogue, language)
    if not values:
        yield f"Plural-Forms: not those of CLDR, which are {plural_forms(language)}"
        return
    ours = {message.context: message for message in catalogue if message.id}
    english = {message.context: message for message in template if message.id}
    for key in ours.keys() - english.keys():
        yield f"{key}: there is no such sentence (any more). `make words` takes it out."
    for key, message in english.items():
        if key not in ours:
            yield f"{key}: missing. `make words` puts it in, to be translated."
        elif ours[key].id != message.id:
            yield f"{key}: the English is another by now. `make words` puts it in; then look at the translation."
        elif ours[key].fuzzy:
            yield f"{key}: fuzzy. Look at it, and take the word fuzzy out."
        else:
            yield from (f"{key}: {line}" for line in wrong_with(ours[key], values))


def wrong_with(message: Message, values: list[set[int]]) -> Iterator[str]:
    """What is wrong with a translation; ``values``: the numbers that each plural form stands for."""
    counted, texts = not isinstance(message.id, str), strings_of(message)
    source = message.id if isinstance(message.id, str) else message.id[-1]
    if len(texts) != (len(values) if counted else 1):
        yield f"has {len(texts)} plural forms of {len(values)}."
        return
    needed = placeholders(source)
    for number, text in enumerate(texts):
        where = f"form {number} " if counted else ""
        # One item, two items: a form for one number only can say it in a word.
        optional = {"n"} if counted and len(values[number]) == 1 else set()
        try:
            has = placeholders(text)
        except ValueError as error:
            yield f"{where}has a brace that belongs to no placeholder: {error}."
            continue
        if not text.strip():
            yield f"{where}is not translated."
        elif not needed - optional <= has <= needed:
            yield f"{where}has the placeholders {listed(has)}, its English {listed(needed)}."
        elif edges(text) != edges(source):
            yield f"{where}begins or ends with another space than its English."


def plural_forms(language: str) -> str:
    """CLDR's plural forms of whole numbers as a catalogue's head has them.

    Raises:
        InputError: CLDR does not know the code.
    """
    if not re.fullmatch("[a-z]{2,3}", language) or not localedata.exists(language):
        raise InputError(f"{language!r} is no language that CLDR knows.", "Give two or three small letters, as pt.")
    form = Locale(language).plural_form
    met = {form(n) for n in NUMBERS}
    rules = {name: rule for name, rule in form.rules.items() if name in met}
    if "other" not in met:
        # Only fractions take it, as in Russian; what is left of whole numbers is called "many" there.
        rules.pop("many")
    # CLDR's e is the power of ten in "1.2 million"; a number that is counted has none.
    return re.sub(r"\be\b", "0", str(to_gettext(PluralRule(rules))))


def values_of_forms(catalogue: Catalog, language: str) -> list[set[int]]:
    """The numbers that each form stands for; nothing if these are not the plural forms of CLDR."""
    category, form = Locale(language).plural_form, c2py(catalogue.plural_expr)
    pairs = {(category(n), form(n)) for n in NUMBERS}
    names, forms = {name for name, _ in pairs}, {number for _, number in pairs}
    if not len(pairs) == len(names) == len(forms) or forms != set(range(catalogue.num_plurals)):
        return []
    return [{n for n in NUMBERS if form(n) == number} for number in sorted(forms)]


def strings_of(message: Message) -> tuple[str, ...]:
    """A translation in each of its plural forms, or in the one that it has."""
    return (message.string,) if isinstance(message.string, str) else tuple(message.string or ())


def placeholders(text: str) -> set[str]:
    """The names in braces.

    Raises:
        ValueError: a brace that is left alone.
    """
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def edges(text: str) -> tuple[bool, bool]:
    """Whether a text begins and ends with a space."""
    return text[:1].isspace(), text[-1:].isspace()


def listed(names: Iterable[str]) -> str:
    """Placeholders as they are written."""
    return ", ".join(f"{{{name}}}" for name in sorted(names)) or "none"


def main(arguments: list[str]) -> int:
    """Do what is asked, and print what is wrong."""
    try:
        if arguments != ["--check"]:
            for language in arguments:
                begin(FOLDER, language)
            update(FOLDER)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    told = [line for language in languages(FOLDER) for line in problems(FOLDER, language)]
    found = [line.removeprefix(f"{CHECKOUT}/") for line in told]
    print("\n".join(found) or f"All is said in {', '.join(['en', *languages(FOLDER)])}.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
