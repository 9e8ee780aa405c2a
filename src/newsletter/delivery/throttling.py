"""Whether a relay's answer says "slower": too many, too fast, try later. Pure.

Enhanced status codes are those of RFC 3463 and its registry; the words are those that large providers use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from newsletter.delivery.smtp.outcomes import Answer, Verdict

CODES = (421, 450, 451, 452)

# X.3.2 takes no messages now, X.5.3 too many recipients, X.7.0 and X.7.1 policy, X.7.28 flood; Microsoft's X.7.5xx on.
STATUSES = re.compile(r"4\.(3\.2|5\.3|7\.(0|1|28|[5-9]\d\d))")
# About one mailbox, the sender's name, or a server that is ill: slower would not help.
ELSEWHERE = re.compile(r"4\.(1\.\d+|2\.\d+|3\.[015]|4\.[1-4]|7\.([2-9]|1\d|2[0-7]|30))")

GREYLIST = re.compile(r"gr[ea]y[ -]?list|postgrey", re.IGNORECASE)
CERTAIN = re.compile(
    r"throttl|rate[ -]?limit|too many (concurrent |simultaneous |smtp )*(connections|sessions|messages|emails|mails)"
    r"|unexpected volume|unusual rate|sending rate|send(ing)? (limit|quota) exceeded|slow down",
    re.IGNORECASE,
)
LIKELY = re.compile(
    r"too many|\brate\b|limits? (has been |was )?exceeded|exceeded (a|the|your) .{0,40}(limit|number)"
    r"|limits? for how many|maximum number of|server busy|(try( your message)? again|retry) later|TSS?\d\d\]",
    re.IGNORECASE,
)


def is_throttle(code: int, status: str, text: str) -> bool:
    """Whether the answer asks us to send less to this domain for a while.

    Args:
        code: the reply code; only 421, 450, 451, 452 ask, and any other 4xx if its words leave no doubt.
        status: the enhanced status code, ``4.7.28``; empty if the answer has none (one at the text's start is found).
        text: the answer's text, of one line or several.

    Greylisting wants patience and not a slower pace; an answer about one mailbox says nothing of its domain.
    """
    if not 400 <= code < 500 or GREYLIST.search(text):
        return False
    if not status and (match := re.match(r"\s*(4\.\d{1,3}\.\d{1,3})\b", text)):
        status = match[1]
    if CERTAIN.search(text):
        return True
    if code not in CODES or ELSEWHERE.fullmatch(status):
        return False
    return bool(STATUSES.fullmatch(status) or LIKELY.search(text))


def throttled(answers: Iterable[tuple[str, Answer]]) -> set[str]:
    """The domains of which one of these answers asks us to send less."""
    return {
        domain
        for domain, answer in answers
        if answer.verdict is Verdict.DEFERRED and is_throttle(answer.code, answer.status, answer.text)
    }
