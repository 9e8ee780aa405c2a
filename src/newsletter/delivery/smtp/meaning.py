"""Whose affair an answer is: the recipient's, or that of the sender and the relay itself. Pure.

Enhanced status codes are those of RFC 3463 and its registry; the words are those of Postfix, Exim, sendmail, qmail,
Exchange and the large providers of sending.
"""

from __future__ import annotations

import re

from newsletter.delivery.smtp.outcomes import Answer, Verdict
from newsletter.delivery.throttling import GREYLIST

TOO_LARGE = 552
# Whatever the text quotes: the recipient's address or mailbox.
RECIPIENT = re.compile(r"[45]\.(1\.([1-6]|10)|2\.([1-4]|1\d\d))")
SENDER = re.compile(r"[45]\.1\.[78]|5\.2\.252|5\.7\.60")
SENDER_WORDS = re.compile(
    r"sender (address|domain)|sender verify|send (mail )?as this sender|SendAsDenied|envelope sender is in my"
    r"|address is not verified|from address does not match|unconfigured sending domain"
    r"|domain \S{1,255} is not allowed to send",
    re.IGNORECASE,
)
# The mail system: something else, full, not set up. Not X.3.2, which relays also say of the recipient's. Microsoft's
# for an account that is banned, a tenant that has sent enough or whose address or domain is not wanted.
ILL = re.compile(r"4\.3\.[015]|5\.7\.(50[1-3]|70[58]|750)")
ILL_WORDS = re.compile(
    r"temporary local problem|insufficient (system )?(storage|resources)"
    # It knows us, and has sent enough for us.
    r"|daily .{0,40}(quota|limit)|credits exceeded|tenant has exceeded|sending (paused|suspended) for this account"
    r"|not authorized to perform|invalid credentials for relay"
    # It does not know us, or has us on a list.
    r"|relay(ing)? (access )?(is )?(denied|prohibited|not (permitted|allowed))"
    r"|(unable|not permitted|not allowed) to relay|do(es)? not relay|allowed rcpthosts"
    r"|helo command rejected|client (host|was)\b.{0,200}\b(blocked|rejected|not authenticated)",
    re.IGNORECASE,
)


def verdict_of(code: int, status: str, text: str, *, of_sender: bool) -> Verdict:
    """What a reply of 2xx, 4xx or 5xx means for a message.

    Args:
        code: the reply code.
        status: the enhanced status code, empty if there is none.
        text: the reply's text.
        of_sender: whether it answers MAIL, of which no recipient is part.
    """
    if code < 300:
        return Verdict.ACCEPTED
    if code != TOO_LARGE and (of_sender or _is_of_sender(status, text) or _is_ill(status, text)):
        return Verdict.DECLINED
    return Verdict.DEFERRED if code < 500 else Verdict.REFUSED


def says_ill(answer: Answer) -> bool:
    """Whether a relay that declined a message says that it takes nothing now, whoever the sender is.

    One that greylists says that it will.
    """
    if answer.verdict is not Verdict.DECLINED or _is_of_sender(answer.status, answer.text):
        return False
    return _is_ill(answer.status, answer.text) or (answer.code < 500 and not GREYLIST.search(answer.text))


def _is_of_sender(status: str, text: str) -> bool:
    return not RECIPIENT.fullmatch(status) and bool(SENDER.fullmatch(status) or SENDER_WORDS.search(text))


def _is_ill(status: str, text: str) -> bool:
    return not RECIPIENT.fullmatch(status) and bool(ILL.fullmatch(status) or ILL_WORDS.search(text))
