"""Whose affair an answer is, by what real servers say."""

from __future__ import annotations

import pytest

from newsletter.delivery.smtp.meaning import says_ill, verdict_of
from newsletter.delivery.smtp.outcomes import Answer, Verdict
from newsletter.delivery.smtp.replies import Reply


def answer_to(reply: str, *, of_sender: bool = False) -> Answer:
    read = Reply(int(reply[:3]), [reply[4:].encode()])
    status = read.status(read.text)
    return Answer(verdict_of(read.code, status, read.text, of_sender=of_sender), read.code, read.text, status)


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 <x@example.org>: Recipient address rejected: User unknown in virtual mailbox table",
        "450 4.2.0 <x@example.org>: Recipient address rejected: Greylisted, see https://postgrey.example",
        "451 4.7.1 Greylisting in action, please come back later",
        "552 5.2.2 The email account that you tried to reach is over quota",
        "452 4.2.2 The recipient has reached the daily limit of its mailbox",
        "550 5.7.1 Message rejected as spam",
        "554 5.7.1 This message has been blocked because it contains a link to a bad host",
        "450 4.1.1 <x@example.org>: Recipient address rejected: unverified address: host mx.example.org[192.0.2.1] "
        "said: 554 5.7.1 <x@example.org>: Relay access denied (in reply to RCPT TO command)",
        "450 4.4.1 <x@example.org>: Domain not reachable",
        "451 4.4.4 Temporary server error. Please try again later",
        "552 5.3.4 Message size exceeds fixed limit",
        "554 Transaction failed",
        "454 4.7.0 Throttling failure: Maximum sending rate exceeded.",
        "550 5.7.504 [x@example.org]: Recipient address rejected: Access denied",
        "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; the sender was not "
        "authenticated when sending to this group",
        "554 5.2.122 Recipient's daily message receive limit exceeded",
        "554 Message rejected: Address is on the suppression list for your account",
    ],
)
def test_of_the_recipient(reply: str) -> None:
    """What is said of a recipient or of a message defers or refuses it, whatever it quotes."""
    answer = answer_to(reply)
    assert answer.verdict is (Verdict.DEFERRED if answer.code < 500 else Verdict.REFUSED)
    assert not says_ill(answer)


@pytest.mark.parametrize(
    "reply",
    [
        "452 4.3.1 Insufficient system storage",
        "452 4.3.1 Insufficient system resources (UsedVersionBuckets[D:])",
        "451 4.3.0 Error: queue file write error",
        "451 4.3.5 Server configuration error",
        "451 Temporary local problem - please try later",
        "454 4.7.1 <x@example.org>: Relay access denied",
        "554 5.7.1 <x@example.org>: Relay access denied",
        "550 relay not permitted",
        "550 5.7.1 <x@example.org>... Relaying denied. Proper authentication required.",
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
        "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "450 4.7.1 Client host rejected: cannot find your hostname, [192.0.2.1]",
        "454 Throttling failure: Daily message quota exceeded.",
        "550 5.4.5 Daily SMTP relay limit exceeded for customer. For more information visit https://support.example",
        "550 5.4.5 Daily user sending limit exceeded.",
        "550 5.7.705 Access denied, tenant has exceeded threshold",
        "451 Maximum credits exceeded",
        "554 Message rejected: Sending paused for this account. For more information, please check the inbox",
        "554 Access denied: User `arn:aws:iam::1:user/x' is not authorized to perform `ses:SendRawEmail' on resource",
        "550 5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've registered doesn't match",
        "550 5.7.501 Access denied, spam abuse detected. The sending account has been banned",
        "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP",
        "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains",
        "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname",
        "450 4.7.1 <mx.example.org>: Helo command rejected: Host not found",
    ],
)
def test_of_the_relay(reply: str) -> None:
    """Who says that it takes nothing from us now has declined, at whatever step, and is ill."""
    for of_sender in (False, True):
        answer = answer_to(reply, of_sender=of_sender)
        assert answer.verdict is Verdict.DECLINED
        assert says_ill(answer)


@pytest.mark.parametrize(
    "reply",
    [
        "553 5.7.1 <news@example.org>: Sender address rejected: not owned by user bob",
        "450 4.1.8 <news@example.org>: Sender address rejected: Domain not found",
        "550 Sender verify failed",
        "501 5.1.7 Bad sender address syntax",
        "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
        "554 Message rejected: Email address is not verified. The following identities failed: news@example.org",
        "554 5.2.252 SendAsDenied; a@example.org not allowed to send as b@example.org; STOREDRV.Submission.Exception",
        "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process",
        "550 The from address does not match a verified Sender Identity. Mail cannot be sent until this is resolved",
        "550 5.7.1 Unconfigured Sending Domain <example.org>",
        "550 Domain mg.example.org is not allowed to send: The domain is unverified and requires DNS configuration",
        "553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)",
    ],
)
def test_of_the_sender(reply: str) -> None:
    """Who does not want a sender has declined, at whatever step, and is not ill: others may be welcome."""
    for of_sender in (False, True):
        answer = answer_to(reply, of_sender=of_sender)
        assert answer.verdict is Verdict.DECLINED
        assert not says_ill(answer)


@pytest.mark.parametrize(
    ("reply", "is_ill"),
    [
        ("450 4.7.1 Error: too much mail from 192.0.2.1", True),
        ("451 4.7.1 Greylisted, please try again in 5 minutes", False),
        ("550 5.7.1 No", False),
    ],
)
def test_answers_to_mail(reply: str, is_ill: bool) -> None:
    """What answers MAIL speaks of no recipient: it is declined, and a 4xx means everybody, but for greylisting."""
    answer = answer_to(reply, of_sender=True)
    assert (answer.verdict, says_ill(answer)) == (Verdict.DECLINED, is_ill)


def test_too_large() -> None:
    """A message that is too large is refused at MAIL, too: to try it again would not help."""
    assert answer_to("552 5.3.4 Message size exceeds limit", of_sender=True).verdict is Verdict.REFUSED
