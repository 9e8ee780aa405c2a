"""One error tree: whatever a user can mend reaches them as a sentence, never as a traceback."""

LONGEST = 1000
"""Characters of a message: it repeats what was given, which may be a cell of a million."""


class NewsletterError(Exception):
    """Something a user can understand and mend.

    The message says what went wrong and where; ``hint`` says how to mend it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        message = message if len(message) <= LONGEST else message[:LONGEST] + "…"
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class SettingsError(NewsletterError):
    """A configuration value is missing or cannot be used."""


class InputError(NewsletterError):
    """What was given (an address, a pick, a file, a row) cannot be read."""


class UnknownName(InputError):
    """A place, theme, list or reader that does not exist; ``suggestions`` are the nearest that do."""

    def __init__(self, message: str, suggestions: tuple[str, ...] = ()) -> None:
        hint = f"Did you mean {' or '.join(suggestions)}?" if suggestions else ""
        super().__init__(message, hint)
        self.suggestions = suggestions


class StateError(NewsletterError):
    """The request is sound, but not in the present state (archived list, cancelled run, no database)."""
