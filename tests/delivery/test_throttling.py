"""Which answers ask for a slower pace: texts as large providers send them."""

from __future__ import annotations

import pytest

from newsletter.delivery.throttling import is_throttle

SLOWER = [
    (421, "4.7.28", "[203.0.113.5] Gmail has detected an unusual rate of unsolicited mail. To protect our users"),
    (421, "4.7.0", "Our system has detected an unusual rate of unsolicited mail originating from your IP address."),
    (421, "4.7.0", "Try again later, closing connection. (EHLO)"),
    (421, "4.4.5", "Server busy, try again later."),
    (421, "4.7.0", "[TSS04] Messages from 203.0.113.5 temporarily deferred due to unexpected volume or complaints"),
    (421, "", "4.7.0 [TSS04] Messages from 203.0.113.5 temporarily deferred due to user complaints - 4.16.55.1"),
    (451, "", "Message temporarily deferred - [TS01]"),
    (451, "4.7.500", "Server busy. Please try again later from [203.0.113.5]. (S77719)"),
    (451, "4.7.650", "The mail server [203.0.113.5] has been temporarily rate limited due to IP reputation."),
    (421, "", "RP-001 (SNT004-MC1F47) Unfortunately, some messages from 203.0.113.5 weren't sent. Please try again. "
              "We have limits for how many messages can be sent per hour and per day."),
    (421, "4.3.2", "The maximum number of concurrent connections per resource forest has exceeded a limit"),
    (452, "4.3.2", "Connection rate limit exceeded."),
    (421, "", "Connection refused, too many sessions from 203.0.113.5. Please lower the number."),
    (421, "4.1.0", "203.0.113.5 Throttled - try again later. Please see https://postmaster.example/#RL000001"),
    (421, "", "Too many concurrent SMTP connections from this IP address"),
    (421, "#4.4.5", "Too many connections from your host"),
    (452, "4.5.3", "Too many recipients"),
    (452, "4.5.3", "Your message has too many recipients."),
    (450, "4.7.1", "Error: too much mail from 203.0.113.5"),
    (450, "", "Mail send limit exceeded"),
    (451, "", "Your sending rate is too high, slow down"),
    (454, "", "Throttling failure: Maximum sending rate exceeded."),
]  # fmt: skip

NOT_SLOWER = [
    (250, "2.0.0", "OK, rate unlimited"),
    (550, "5.7.1", "Too many connections"),
    (550, "5.7.28", "unusual rate of unsolicited mail"),
    (450, "4.2.0", "<ana@example.org>: Recipient address rejected: Greylisted, see http://postgrey.example"),
    (451, "4.7.1", "Greylisting in action, please come back later"),
    (450, "4.7.1", "Policyd gray-listed, try again later"),
    (450, "4.2.1", "The user you are trying to contact is receiving mail at a rate that prevents additional messages"),
    (452, "4.2.2", "The email account that you tried to reach is over quota. Try again later."),
    (450, "4.1.8", "<bounces@example.org>: Sender address rejected: Domain not found"),
    (451, "4.3.0", "Temporary lookup failure"),
    (451, "4.3.5", "Server configuration problem; try again later"),
    (452, "4.3.1", "Insufficient system storage"),
    (451, "", "Temporary local problem - please try later"),
    (421, "", "mail.example.org closing connection"),
    (421, "4.4.2", "mail.example.org Error: timeout exceeded"),
    (450, "4.7.25", "Client host rejected: cannot find your hostname"),
    (451, "4.7.5", "TLS handshake failed"),
    (454, "4.7.0", "TLS not available due to local problem"),
    (451, "", "Separate corporate moderated rated generated"),
]


@pytest.mark.parametrize(("code", "status", "text"), SLOWER)
def test_asks_for_less(code: int, status: str, text: str) -> None:
    """An answer that says too many, too fast, or try later slows its domain down."""
    assert is_throttle(code, status, text)


@pytest.mark.parametrize(("code", "status", "text"), NOT_SLOWER)
def test_asks_for_something_else(code: int, status: str, text: str) -> None:
    """Greylisting, one full mailbox, a server that is ill, and whatever is final does not."""
    assert not is_throttle(code, status, text)
