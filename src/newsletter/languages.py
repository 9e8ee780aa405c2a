"""The languages that mails, pages and names come in."""

from newsletter.errors import InputError

LANGUAGES = ("en", "es", "fr")


def check_languages(codes: list[str]) -> list[str]:
    """Languages that a list may come in, without repeats, the default first.

    Raises:
        InputError: one that we have no words for.
    """
    wanted = [code.strip().lower() for code in codes]
    for code in wanted:
        if code not in LANGUAGES:
            raise InputError(f"Mails do not come in {code!r} yet.", f"Use one or more of {', '.join(LANGUAGES)}.")
    return list(dict.fromkeys(wanted))
