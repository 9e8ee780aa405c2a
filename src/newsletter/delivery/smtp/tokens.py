"""What a relay is shown at login: its password, or a token that a command prints; and keeping both out of sentences."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from newsletter.delivery.relays import Relay
from newsletter.delivery.smtp.conversation import Credentials
from newsletter.delivery.smtp.replies import without
from newsletter.errors import StateError

KEPT_SECONDS = 300.0
PATIENCE = 10.0
LONGEST_REASON = 500

FAILED_SECONDS = 5.0
"""So long a command that failed is not run again: all connections of a relay ask for it at once."""

_tokens: dict[tuple[str, ...], tuple[str, float]] = {}
_failures: dict[tuple[str, ...], tuple[StateError, float]] = {}
_locks: defaultdict[tuple[str, ...], threading.Lock] = defaultdict(threading.Lock)


def credentials_of(relay: Relay) -> Credentials | None:
    """What it asks for at login; None without a user. It blocks as ``secret_of`` does.

    Raises:
        StateError: the token command failed.
    """
    if not relay.user:
        return None
    return Credentials(relay.user, secret_of(relay), "token" if relay.token_command else "password")


def secret_of(relay: Relay, clock: Callable[[], float] = time.monotonic) -> str:
    """The password, or an access token (RFC 6750) from the relay's command; empty without a login.

    The command runs without a shell and has 10 seconds; its token is kept for 5 minutes in this process. It blocks.

    Raises:
        StateError: the command failed; without anything that it printed.
    """
    if not relay.token_command:
        return relay.password
    command = relay.token_command
    with _locks[command]:
        token, until = _tokens.get(command, ("", 0.0))
        if clock() < until:
            return token
        failure, until = _failures.get(command, (None, 0.0))
        if failure is not None and clock() < until:
            raise failure
        try:
            token = _run(relay)
        except StateError as error:
            _failures[command] = error, clock() + FAILED_SECONDS
            raise
        _tokens[command] = token, clock() + KEPT_SECONDS
        return token


def forget_token(relay: Relay) -> None:
    """After a refused login: the next one asks for a fresh token. It waits for nothing."""
    _tokens.pop(relay.token_command, None)


def safe_reason(relay: Relay, text: str) -> str:
    """A text about a relay as one line of at most 500 characters, without its secrets, also if the relay echoed them.

    Also their base64 forms, as AUTH PLAIN, LOGIN and XOAUTH2 carry them, are taken out.
    """
    token, _ = _tokens.get(relay.token_command, ("", 0.0))
    forms = []
    for secret in filter(None, (relay.password, token)):
        login = f"user={relay.user}\1auth=Bearer {secret}\1\1"
        encoded = (f"\0{relay.user}\0{secret}", secret, login)
        forms += [*(base64.b64encode(form.encode()).decode() for form in encoded), secret]
    line = " ".join(without(forms, text).split())
    return "".join(character for character in line if character.isprintable())[:LONGEST_REASON]


def _run(relay: Relay) -> str:
    problem, output = "", b""
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command, no shell
            relay.token_command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        problem = f"cannot be run: {error.strerror}"
    else:
        with process:
            try:
                output, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                # The whole group: a child of the command may hold its output open.
                os.killpg(process.pid, signal.SIGKILL)
                problem = f"took more than {PATIENCE:.0f} seconds"
    token = output.strip()
    if not problem and process.returncode:
        problem = f"ended with {process.returncode}"
    if not problem and not re.fullmatch(rb"[\x21-\x7e]+", token):
        problem = "printed no token (one word)"
    if problem:
        raise StateError(f"The token command of relay {relay.name} {problem}.", "Run it by hand to see why.")
    return token.decode("ascii")
