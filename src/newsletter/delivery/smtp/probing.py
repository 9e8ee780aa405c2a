"""Trying a relay without sending a message: connection, encryption, login, and what it offers."""

from __future__ import annotations

import base64
import smtplib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from newsletter.delivery.relays import Relay
from newsletter.delivery.smtp.commands import with_ascii_domain
from newsletter.delivery.smtp.meaning import says_ill, verdict_of
from newsletter.delivery.smtp.outcomes import Answer, Verdict
from newsletter.delivery.smtp.replies import Reply
from newsletter.delivery.smtp.tokens import forget_token, safe_reason, secret_of
from newsletter.errors import SettingsError, StateError

STRANGER = "postmaster@example.com"
"""A recipient of nobody's (RFC 2606), named to see whether a relay sends for us; nothing is sent to it."""
_WHOEVER_RUNS_IT = "Ask whoever runs it whether this machine may send through it."


@dataclass
class Probed:
    """What was found; ``problem`` is a sentence, and empty if the relay can be used; ``mend`` says what to do.

    ``seconds`` holds how long each step took: connect, tls, login.
    """

    relay: Relay
    problem: str = ""
    mend: str = ""
    greeting: str = ""
    tls: str = ""
    login: str = ""
    capabilities: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    """Those that it takes mail from."""
    seconds: dict[str, float] = field(default_factory=dict)


def probe(relay: Relay, timeout: float, senders: Sequence[str] = ()) -> Probed:
    """Connect, encrypt, log in, say EHLO, begin a message of each of these ``senders`` and take it back, say QUIT.

    ``timeout`` in seconds holds for each answer.
    """
    found = Probed(relay)
    try:
        _converse(relay, timeout, senders, found)
    except ssl.SSLCertVerificationError as error:
        found.problem = f"{relay} has a certificate that is not trusted: {error.verify_message}."
        found.mend = (
            "Call the relay as its certificate does; NEWSLETTER_SMTP_CA_FILE or the relay's ca_file names an authority "
            "of your own."
        )
    except smtplib.SMTPAuthenticationError as error:
        forget_token(relay)
        found.problem = f"{relay} refused the login: {error.smtp_code} {_text(error.smtp_error)}."
        found.mend = "Check its user and password, or token_command."
    except smtplib.SMTPNotSupportedError as error:
        found.problem = f"{relay} cannot be used: {error}"
        found.mend = "Choose what it offers: smtp://, smtp+starttls:// or smtps://, and another login or none."
    except smtplib.SMTPResponseException as error:
        found.problem = f"{relay} refused: {error.smtp_code} {_text(error.smtp_error)}."
        found.mend = _WHOEVER_RUNS_IT
    except (StateError, SettingsError) as error:
        found.problem, found.mend = error.message, error.hint
    except (OSError, ValueError) as error:
        found.problem = f"{relay} cannot be reached: {error}."
        found.mend = (
            "Check its host, port and security (smtp://, smtp+starttls://, smtps://), whether it runs, and what "
            "firewalls let through."
        )
    found.problem = safe_reason(relay, found.problem)
    return found


def trusting(relay: Relay) -> ssl.SSLContext:
    """What certificates of a relay are verified by: the system's authorities, and its own.

    Raises:
        SettingsError: the file of its own cannot be used.
    """
    context = ssl.create_default_context()
    if relay.ca_file and relay.security != "none":
        try:
            context.load_verify_locations(relay.ca_file)
        except OSError as error:
            raise SettingsError(
                f"The CA certificates in {relay.ca_file} cannot be used: {error.strerror or error}.",
                "Set NEWSLETTER_SMTP_CA_FILE, or the relay's ca_file, to a file in PEM format.",
            ) from None
    return context


def _text(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer


def _converse(relay: Relay, timeout: float, senders: Sequence[str], found: Probed) -> None:
    context = trusting(relay)
    began = time.perf_counter()

    def note(step: str) -> None:
        nonlocal began
        now = time.perf_counter()
        found.seconds[step], began = now - began, now

    # Connecting by hand: smtplib drops the greeting if it connects by itself.
    client = smtplib.SMTP(timeout=timeout)
    if relay.security == "tls":
        client = smtplib.SMTP_SSL(timeout=timeout, context=context)
    # The name that the certificate has to bear; smtplib only sets it when it connects by itself.
    client._host = relay.host  # type: ignore[attr-defined]
    try:
        code, greeting = client.connect(relay.host, relay.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, greeting)
        found.greeting = safe_reason(relay, greeting.decode("utf-8", "replace"))
        client.ehlo_or_helo_if_needed()
        note("connect")
        if relay.security == "starttls":
            client.starttls(context=context)
            client.ehlo_or_helo_if_needed()
        if isinstance(client.sock, ssl.SSLSocket):
            found.tls = client.sock.version() or ""
            if relay.security == "starttls":
                note("tls")
        if relay.user:
            found.login = _log_in(client, relay)
            note("login")
        found.capabilities = tuple(
            safe_reason(relay, f"{name.upper()} {value}".strip()) for name, value in client.esmtp_features.items()
        )
        if not any(_declines(client, sender, found) for sender in senders):
            note("envelope")
        client.quit()
    finally:
        client.close()


def _declines(client: smtplib.SMTP, sender: str, found: Probed) -> bool:
    """Whether the relay takes no mail from this sender; what it says of the recipient is the recipient's affair."""
    code, text = client.mail(with_ascii_domain(sender))
    of_sender = code // 100 != 2
    if not of_sender:
        code, text = client.rcpt(STRANGER)
    client.rset()
    reply = Reply(code, text.split(b"\n"))
    status = reply.status(reply.text)
    answer = Answer(verdict_of(code, status, reply.text, of_sender=of_sender), code, reply.text, status)
    if answer.verdict is not Verdict.DECLINED:
        found.senders += (sender,)
        return False
    found.problem = f"{found.relay} takes no mail from {sender}: {code} {reply.text}."
    if code == 530:
        found.mend = "Set its user and password, or token_command: it wants a login."
    elif says_ill(answer):
        found.mend = _WHOEVER_RUNS_IT
    else:
        found.mend = "Have this address, or its domain, allowed there as a sender."
    return True


def _log_in(client: smtplib.SMTP, relay: Relay) -> str:
    """Log in as sending does; the mechanism."""
    offered = client.esmtp_features.get("auth", "").upper().split()
    usable = ("XOAUTH2",) if relay.token_command else ("PLAIN", "LOGIN")
    mechanism = next((name for name in usable if name in offered), None)
    if mechanism is None:
        raise smtplib.SMTPNotSupportedError(
            f"it offers no login by {' or '.join(usable)}, but {' '.join(offered) or 'none at all'}."
        )
    secret = secret_of(relay)
    if mechanism == "PLAIN":
        answers = [f"\0{relay.user}\0{secret}"]
    elif mechanism == "LOGIN":
        answers = ["", relay.user, secret]
    else:
        # An error comes as a challenge, and the refusal after an empty answer to it.
        answers = [f"user={relay.user}\1auth=Bearer {secret}\1\1", ""]
    encoded = [base64.b64encode(answer.encode()).decode() for answer in answers]
    code, text = client.docmd("AUTH", f"{mechanism} {encoded[0]}".strip())
    for answer in encoded[1:]:
        if code != 334:
            break
        code, text = client.docmd(answer)
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, text)
    return mechanism
