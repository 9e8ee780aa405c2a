"""The SMTP conversation as a state machine: whatever a relay does, each message gets its one true verdict."""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
import ssl

import pytest
import trustme
from aiosmtpd.smtp import AuthResult, LoginPassword
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_model import TROUBLE, RelayModel
from servers import Relay, serving

from newsletter.delivery.smtp.commands import dot_stuffed
from newsletter.delivery.smtp.conversation import Answer, Conversation, Credentials, Verdict
from newsletter.delivery.smtp.outcomes import Answered, Closed, Down, Event, Ready, Step, Unsent, UpgradeToTls

MESSAGE = b"Subject: x\r\n\r\nHi\r\n"
FROM, TO = "bounces@e.example", "b@e.example"
PASSWORD = "s3cr3t: with signs"
LOGIN = Credentials("news", PASSWORD)


# A model relay, driven in pieces

LINES = [b"", b".", b"..", b".x", b"x.", b"plain", b"nul\0.", "ünï".encode()]
contents = st.builds(
    lambda lines, end: b"\r\n".join(lines) + end,
    st.lists(st.sampled_from(LINES), max_size=12),
    st.sampled_from([b"", b"\r\n"]),
)
offers = st.lists(
    st.sampled_from(["8BITMIME", "SIZE 60", "SIZE", "SMTPUTF8"]), unique_by=lambda offer: offer.split()[0]
)


@settings(max_examples=400)
@given(
    offered=offers,
    pipelining=st.booleans(),
    messages=st.lists(contents, min_size=1, max_size=8),
    trouble=st.sampled_from([0.0, 0.1, 0.5]),
    fault=st.sampled_from(["none", "lost", "hang up", "quit"]),
    seed=st.integers(0, 2**32),
)
def test_every_message_gets_one_true_verdict(offered, pipelining, messages, trouble, fault, seed) -> None:
    """Random offers, verdicts, contents, pieces and losses: one event a message, and never an untrue one.

    What was accepted is said to be accepted or unknown; what never came is never called accepted; the relay (see
    ``RelayModel``) checks that at most one dot is unanswered and that nothing is sent ahead without PIPELINING.
    """
    chance = random.Random(seed)
    script = (chance.choice(TROUBLE) if chance.random() < trouble else "ok" for _ in itertools.count())
    faulty_step = chance.randrange(150)
    relay = RelayModel([*(["PIPELINING"] if pipelining else []), *offered], script)
    conversation = Conversation(local_name="news.example", starttls=False, credentials=None)
    events: list[Event] = []
    waiting = list(enumerate(messages))
    submitted: dict[int, bytes] = {}
    unwritten, flying = bytearray(), bytearray()
    written = behind_dot = 0
    for step in range(5000):
        if step == faulty_step:
            if fault == "lost":
                break
            if fault == "hang up":
                relay.hang_up()
            if fault == "quit":
                conversation.quit()
        move, count = chance.choice(["submit", "write", "carry", "hear"]), chance.choice([1, 20, 100, 1000, 1000])
        if move == "submit" and waiting and conversation.wants_message:
            tag, content = waiting.pop(0)
            submitted[tag] = content
            events += conversation.submit(tag, FROM, f"r{tag}@e.example", content)
        elif move == "write":
            for buffer in conversation.outgoing():
                unwritten += buffer
                behind_dot = written + len(unwritten) if buffer == b".\r\n" else behind_dot
            written += min(count, len(unwritten))
            flying += unwritten[:count]
            del unwritten[:count]
        elif move == "carry":
            relay.hear(bytes(flying[:count]))
            del flying[:count]
        elif move == "hear":
            events += conversation.receive(relay.say(count))
        over = any(isinstance(event, Down | Closed) for event in events)
        done = not waiting and conversation.waiting_for is Step.NOTHING
        if over or done or (relay.closed and not relay.unheard):
            break
    else:
        raise AssertionError("it stands still")
    events += conversation.lost("it broke", dot_written=written >= behind_dot)

    settled = [event for event in events if isinstance(event, Answered | Unsent)]
    assert sorted(event.tag for event in settled) == sorted(submitted)
    for event in settled:
        recipient, content = f"r{event.tag}@e.example", submitted[event.tag]
        verdict = event.answer.verdict if isinstance(event, Answered) else None
        if recipient in relay.accepted:
            assert verdict in (Verdict.ACCEPTED, Verdict.UNKNOWN)
        else:
            assert verdict is not Verdict.ACCEPTED
        if verdict is Verdict.UNKNOWN:
            assert recipient in relay.received or written >= behind_dot
        if recipient in relay.received:
            assert relay.received[recipient] == content + (b"" if content.endswith(b"\r\n") else b"\r\n")
            assert relay.received[recipient].isascii() or "8BITMIME" in offered
    # Nothing is left to say, and nothing more is heard.
    assert not conversation.wants_message
    assert conversation.receive(b"250 what for\r\n") == [] == conversation.outgoing()


@given(contents)
def test_dots_are_stuffed(content: bytes) -> None:
    """Taking one dot from each line that begins with one gives the content back, with its last line ended."""
    stuffed = dot_stuffed(content)
    assert stuffed.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in stuffed
    assert not stuffed.startswith(b".\r\n")
    plain = b"\r\n".join(line.removeprefix(b".") for line in stuffed.split(b"\r\n"))
    assert plain == content + (b"" if content.endswith(b"\r\n") else b"\r\n")


def test_contents_without_dots_are_not_copied() -> None:
    """A large content goes out as the very bytes that came in."""
    content = b"0123456789 abcdef.\r\n" * 2500
    conversation = ready("PIPELINING")
    submit(conversation, content)
    conversation.outgoing()
    conversation.receive(ENVELOPE_TAKEN)
    assert any(buffer is content for buffer in conversation.outgoing())


@given(
    st.binary(max_size=300) | st.lists(st.sampled_from([b"250", b"-", b" ", b"\r\n", b"\n", b"x", b"4"])).map(b"".join)
)
def test_noise_never_breaks_it(noise: bytes) -> None:
    """Whatever bytes a relay sends, no exception leaves the conversation, and the message is settled once."""
    conversation = ready("PIPELINING")
    submit(conversation)
    conversation.outgoing()
    events = conversation.receive(noise) + conversation.lost("it broke", dot_written=True)
    assert sum(isinstance(event, Answered | Unsent) for event in events) == 1


# By hand

ENVELOPE_TAKEN = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on\r\n"


def ready(*offered: str, **options) -> Conversation:
    """A conversation that is past EHLO."""
    conversation = Conversation(**{"local_name": "news.example", "starttls": False, "credentials": None, **options})
    assert hear(conversation, b"220 hello\r\n") == []
    assert said(conversation) == b"EHLO news.example\r\n"
    assert hear(conversation, ehlo(*offered)) == [Ready()]
    return conversation


def ehlo(*offered: str) -> bytes:
    return b"".join(b"250-%b\r\n" % line.encode() for line in ("relay.test", *offered)) + b"250 HELP\r\n"


def said(conversation: Conversation) -> bytes:
    return b"".join(conversation.outgoing())


def hear(conversation: Conversation, data: bytes) -> list[Event]:
    return conversation.receive(data)


def submit(conversation: Conversation, content: bytes = MESSAGE, sender: str = FROM, to: str = TO, tag: object = 1):
    return conversation.submit(tag, sender, to, content)


def at_dot(*offered: str) -> Conversation:
    """A conversation that awaits the answer to the dot of message 1."""
    conversation = ready(*offered or ("PIPELINING",))
    submit(conversation)
    said(conversation)
    assert hear(conversation, ENVELOPE_TAKEN) == []
    said(conversation)
    return conversation


def verdict(event: Event) -> tuple[object, Verdict, int]:
    assert isinstance(event, Answered)
    return event.tag, event.answer.verdict, event.answer.code


def test_one_round_trip_a_message() -> None:
    """With PIPELINING, a content, its dot and the next envelope are one write, and one reading answers them."""
    conversation = ready("PIPELINING", "SIZE 1000")
    for tag in range(3):
        assert conversation.wants_message
        submit(conversation, to=f"r{tag}@e.example", tag=tag)
        before = b"" if tag == 0 else MESSAGE + b".\r\n"
        envelope = b"MAIL FROM:<bounces@e.example> SIZE=%d\r\nRCPT TO:<r%d@e.example>\r\nDATA\r\n" % (len(MESSAGE), tag)
        assert said(conversation) == before + envelope
        assert not conversation.wants_message
        events = hear(conversation, (b"250 2.0.0 taken\r\n" if tag else b"") + ENVELOPE_TAKEN)
        taken = Answer(Verdict.ACCEPTED, 250, "2.0.0 taken", "2.0.0")
        assert events == ([Answered(tag - 1, taken)] if tag else [])


def test_an_envelope_may_follow_a_content_late() -> None:
    """The next message may also come when the content has long been written, before its answer."""
    conversation = at_dot()
    assert conversation.wants_message
    submit(conversation, tag=2)
    assert said(conversation).startswith(b"MAIL FROM:")
    assert [verdict(event) for event in hear(conversation, b"250 ok\r\n" + ENVELOPE_TAKEN)] == [
        (1, Verdict.ACCEPTED, 250)
    ]
    assert said(conversation) == MESSAGE + b".\r\n"


def test_step_by_step() -> None:
    """Without PIPELINING each command waits for its answer, and the next message for the last."""
    conversation = ready()
    assert submit(conversation) == []
    for says, hears, awaited in [
        (b"MAIL FROM:<bounces@e.example>\r\n", b"250 ok\r\n", Step.ENVELOPE),
        (b"RCPT TO:<b@e.example>\r\n", b"250 ok\r\n", Step.ENVELOPE),
        (b"DATA\r\n", b"354 ok\r\n", Step.DATA),
    ]:
        assert not conversation.wants_message
        assert said(conversation) == says
        assert conversation.waiting_for is awaited
        assert hear(conversation, hears) == []
    assert said(conversation) == MESSAGE + b".\r\n"
    assert conversation.waiting_for is Step.DOT
    assert not conversation.wants_message
    with pytest.raises(RuntimeError):
        submit(conversation, tag=2)
    assert [verdict(event) for event in hear(conversation, b"250 ok\r\n")] == [(1, Verdict.ACCEPTED, 250)]
    assert conversation.waiting_for is Step.NOTHING
    assert conversation.wants_message


@pytest.mark.parametrize("refusal", [b"450 4.2.2 full\r\n", b"452 4.5.3 too many\r\n", b"550 5.1.1 no\r\n"])
@pytest.mark.parametrize("step", [0, 1, 2, 3])
@pytest.mark.parametrize("offered", [(), ("PIPELINING",)])
def test_refusal_at_each_step(offered, step: int, refusal: bytes) -> None:
    """4xx defers and 5xx refuses at RCPT, DATA and the dot, and both decline at MAIL, where no recipient was spoken of;
    then RSET, and the next message goes on."""
    conversation = ready(*offered)
    submit(conversation)
    replies = [b"250 ok\r\n", b"250 ok\r\n", b"354 ok\r\n", b"250 ok\r\n"]
    replies[step] = refusal
    if offered and step < 2:
        replies[step + 1 : 3] = [b"503 first things first\r\n"] * (2 - step)
    events = []
    for reply in replies if offered else replies[: step + 1]:
        if conversation.wants_message:
            break
        said(conversation)
        events += hear(conversation, reply)
    if step == 3 and not events:  # pipelined: a message was wanted before the dot's answer
        said(conversation)
        events += hear(conversation, refusal)
    expected = Verdict.REFUSED if refusal.startswith(b"5") else Verdict.DEFERRED
    expected = expected if step else Verdict.DECLINED
    code, status, _ = refusal.decode().split(maxsplit=2)
    assert [verdict(event) for event in events] == [(1, expected, int(code))]
    assert events[0].answer.status == status
    submit(conversation, tag=2)
    assert said(conversation).startswith(b"MAIL" if step == 3 else b"RSET\r\nMAIL" if offered else b"RSET\r\n")
    if not offered and step < 3:
        hear(conversation, b"250 ok\r\n")
        assert said(conversation).startswith(b"MAIL")


@pytest.mark.parametrize("after_dot", [b"554 nobody\r\n", b"250 taken, for nobody\r\n"])
def test_content_wanted_for_nobody(after_dot: bytes) -> None:
    """DATA answered 354 though the recipient was refused: a lone dot, whose answer concerns no message."""
    conversation = ready("PIPELINING")
    submit(conversation)
    said(conversation)
    events = hear(conversation, b"250 ok\r\n550 5.1.1 no\r\n354 go on\r\n")
    assert [verdict(event) for event in events] == [(1, Verdict.REFUSED, 550)]
    submit(conversation, tag=2)
    assert said(conversation).startswith(b".\r\nRSET\r\nMAIL FROM")
    assert hear(conversation, after_dot + b"250 ok\r\n" + ENVELOPE_TAKEN) == []
    assert said(conversation) == MESSAGE + b".\r\n"


def test_no_lone_dot_to_a_recipient_that_was_taken() -> None:
    """A relay that refuses the sender, takes the recipient and wants a content gets none: it would be an empty mail."""
    conversation = ready("PIPELINING")
    submit(conversation)
    said(conversation)
    events = hear(conversation, b"550 no\r\n250 ok\r\n354 go on\r\n")
    assert verdict(events[0]) == (1, Verdict.DECLINED, 550)
    assert isinstance(events[1], Down)
    assert said(conversation) == b""


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_421_in_the_envelope(taken: int) -> None:
    """421 at MAIL, RCPT or DATA ends the connection and blames no message."""
    conversation = ready("PIPELINING")
    submit(conversation)
    said(conversation)
    events = hear(conversation, b"250 ok\r\n" * taken + b"421 4.3.2 closing\r\n")
    assert events == [Unsent(1), Closed("The relay ended the connection: 421 4.3.2 closing.")]


def test_421_after_the_dot() -> None:
    """421 to the dot defers its message; the next one, of which only the envelope went, comes back."""
    conversation = at_dot()
    submit(conversation, tag=2)
    said(conversation)
    events = hear(conversation, b"421 4.7.0 enough\r\n")
    assert verdict(events[0]) == (1, Verdict.DEFERRED, 421)
    assert events[1] == Unsent(2)
    assert isinstance(events[2], Closed)


@pytest.mark.parametrize("reply", [b"421 4.4.2 idle\r\n", b"451 4.7.0 Timeout waiting for client input\r\n"])
def test_421_before_the_content_left(reply: bytes) -> None:
    """An end that comes before the content was written cannot be the answer to its dot."""
    conversation = ready("PIPELINING")
    submit(conversation)
    said(conversation)
    assert [type(event) for event in hear(conversation, ENVELOPE_TAKEN + reply)] == [Unsent, Closed]


@pytest.mark.parametrize("reply", [b"421 4.4.2 idle\r\n", b"451 4.7.0 Timeout waiting for client input\r\n"])
def test_closed_while_idle(reply: bytes) -> None:
    """A relay that ends an idle connection is not down: another connection may be opened."""
    conversation = ready("PIPELINING")
    events = hear(conversation, reply)
    assert len(events) == 1
    assert isinstance(events[0], Closed)
    assert not conversation.wants_message


def test_lost_after_the_dot() -> None:
    """Lost while the dot's answer is awaited: unknown if the dot was written, else certainly not accepted."""
    for written in (True, False):
        conversation = at_dot()
        submit(conversation, tag=2)
        first, second = conversation.lost("connection reset", dot_written=written)
        assert second == Unsent(2)
        if written:
            assert verdict(first) == (1, Verdict.UNKNOWN, 0)
            assert first.answer.text == "The answer to the final dot was lost: connection reset"
        else:
            assert first == Unsent(1)
        assert conversation.lost("again", dot_written=True) == []


def test_lost_before_the_content_was_fetched() -> None:
    """A content that never left ``outgoing`` cannot have arrived, whatever the driver believes."""
    conversation = ready("PIPELINING")
    submit(conversation)
    said(conversation)
    hear(conversation, ENVELOPE_TAKEN)
    assert conversation.lost("reset", dot_written=True) == [Unsent(1)]


@pytest.mark.parametrize("code", [530, 535, 538])
@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_login_asked_for(code: int, step: int) -> None:
    """A relay that wants a login is down; the message is given back, since it was certainly not accepted."""
    conversation = ready("PIPELINING")
    submit(conversation)
    for reply in [*[b"250 ok\r\n", b"250 ok\r\n", b"354 ok\r\n"][:step], b"%d 5.7.0 who are you\r\n" % code]:
        said(conversation)
        events = hear(conversation, reply)
    assert events == [Unsent(1), Down(f"The relay asks for a login: {code} 5.7.0 who are you.")]


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n",
        b"25x ok\r\n",
        b"250_ok\r\n",
        b"999 ok\r\n",
        b"250-one\r\n251 two\r\n",
        b"250-more\r\n" * 201,
        b"250 " + b"x" * 5000 + b"\r\n",
        b"x" * 5000,
        b"\r\n",
        b"354 once more\r\n",
        b"\xff\xfe\x00\r\n",
    ],
)
def test_garbage(garbage: bytes) -> None:
    """What is no answer brings the relay down; what was in flight is settled as if the connection were lost."""
    conversation = at_dot()
    submit(conversation, tag=2)
    said(conversation)
    first, second, third = hear(conversation, garbage)
    assert verdict(first) == (1, Verdict.UNKNOWN, 0)
    assert second == Unsent(2)
    assert isinstance(third, Down)
    assert third.reason.startswith("The relay does not speak SMTP")


@pytest.mark.parametrize("early", [b"250 ok\r\n", b"221 bye\r\n", b"550 5.7.1 no\r\n"])
def test_answers_nobody_asked_for(early: bytes) -> None:
    """An answer before its command has left is none: it could be taken for the answer to the dot."""
    conversation = ready("PIPELINING")
    assert isinstance(hear(conversation, early)[0], Down)
    conversation = ready("PIPELINING")
    submit(conversation)
    said(conversation)
    assert [type(event) for event in hear(conversation, ENVELOPE_TAKEN + early)] == [Unsent, Down]


@pytest.mark.parametrize("reply", [b"250 ok\r\n", b"334 what?\r\n"])
def test_senseless_answers(reply: bytes) -> None:
    """An answer that DATA cannot have means that the two have lost each other: nothing more is sent."""
    conversation = ready("PIPELINING")
    submit(conversation)
    said(conversation)
    events = hear(conversation, b"250 ok\r\n250 ok\r\n" + reply)
    assert [type(event) for event in events] == [Unsent, Down]
    assert said(conversation) == b""


def test_texts_are_one_safe_line() -> None:
    """Lines of an answer are joined, a repeated enhanced code is there once, what cannot be shown is left out."""
    conversation = at_dot()
    (event,) = hear(
        conversation, b"550-5.7.1 not\r\n550-5.7.1 \x1b[31m h\xc3\xa9re\xff\r\n550 5.7.1 " + b"y" * 900 + b"\r\n"
    )
    assert event.answer.text.startswith("5.7.1 not [31m hére� yyy")
    assert len(event.answer.text) == 500
    assert event.answer.status == "5.7.1"


@pytest.mark.parametrize(("text", "status"), [("5.1.1", "5.1.1"), ("4.2.2 full", ""), ("5.1.1.9 no", ""), ("no", "")])
def test_enhanced_codes(text: str, status: str) -> None:
    """An enhanced code counts if it is one and agrees with the code before it (RFC 2034)."""
    (event,) = hear(at_dot(), f"550 {text}\r\n".encode())
    assert (event.answer.text, event.answer.status) == (text, status)


@pytest.mark.parametrize("reply", [b"500 what\r\n", b"502 no\r\n"])
def test_old_relays_are_greeted_with_helo(reply: bytes) -> None:
    """A relay that knows no EHLO gets HELO, and offers nothing."""
    conversation = Conversation(local_name="news.example", starttls=False, credentials=None)
    hear(conversation, b"220 hello\r\n")
    said(conversation)
    assert hear(conversation, reply) == []
    assert said(conversation) == b"HELO news.example\r\n"
    assert conversation.waiting_for is Step.EHLO
    assert hear(conversation, b"250 relay.test\r\n") == [Ready()]
    submit(conversation)
    assert said(conversation) == b"MAIL FROM:<bounces@e.example>\r\n"


@pytest.mark.parametrize("greeting", [b"554 5.3.2 no service\r\n", b"421 too many connections\r\n", b"250 ok\r\n"])
def test_greeting_refused(greeting: bytes) -> None:
    """A relay that does not want to talk is down, also if it only has too many connections."""
    conversation = Conversation(local_name="news.example", starttls=False, credentials=None)
    assert conversation.waiting_for is Step.GREETING
    assert [type(event) for event in hear(conversation, greeting)] == [Down]


def test_sizes() -> None:
    """SIZE counts the bytes without stuffing; what is larger than the relay takes does not trouble it."""
    conversation = ready("SIZE 30", "PIPELINING")
    (event,) = submit(conversation, b"." * 29)
    assert verdict(event) == (1, Verdict.REFUSED, 552)
    assert event.answer.status == "5.3.4"
    assert said(conversation) == b""
    assert submit(conversation, b"." * 28) == []
    assert b" SIZE=30\r\n" in said(conversation)
    for unlimited in ("SIZE", "SIZE 0", "SIZE x"):
        assert submit(ready(unlimited), b"x" * 100_000) == []


def test_eight_bits() -> None:
    """Content that is not ASCII is declared where that is offered, else refused without troubling the relay."""
    conversation = ready("8BITMIME", "PIPELINING")
    submit(conversation, "é\r\n".encode())
    assert b"> BODY=8BITMIME\r\n" in said(conversation)
    conversation = ready("8BITMIME")
    submit(conversation)
    assert b"BODY" not in said(conversation)
    (event,) = submit(ready(), "é\r\n".encode())
    assert (verdict(event), event.answer.status) == ((1, Verdict.REFUSED, 554), "5.6.3")


def test_addresses_beyond_ascii() -> None:
    """A domain travels as A-labels; a local part needs SMTPUTF8, and is refused where that is not offered."""
    conversation = ready("PIPELINING")
    assert submit(conversation, to="ana@ÑANDÚ.example") == []
    assert b"RCPT TO:<ana@xn--and-6ma2c.example>\r\n" in said(conversation)
    conversation = ready("SMTPUTF8", "PIPELINING")
    submit(conversation, to="añá@ñandú.example")
    assert said(conversation) == (
        "MAIL FROM:<bounces@e.example> SMTPUTF8\r\nRCPT TO:<añá@xn--and-6ma2c.example>\r\nDATA\r\n".encode()
    )
    for address in ("añá@e.example", "a@\u2022.example"):
        (event,) = submit(ready(), to=address)
        assert (verdict(event), event.answer.status) == ((1, Verdict.REFUSED, 553), "5.6.7")


@pytest.mark.parametrize(
    "address",
    [
        "a@e.example>\r\nRSET\r\nMAIL FROM:<x@y.example",
        "a b@e.example",
        "<a@e.example>",
        "a@e.example\0",
        "a\u2028b@e.example",
        "a\x85b@e.example",
        "\ud800@e.example",
        "a" * 65 + "@e.example",
        "é" * 33 + "@e.example",
        "a@" + "b" * 253,
        "nobody",
        "@e.example",
        "a@",
    ],
)
def test_addresses_that_cannot_be_written(address: str) -> None:
    """An address that could break out of its command, or is too long, never reaches the wire."""
    conversation = ready("PIPELINING", "SMTPUTF8")
    for event, status in [
        (submit(conversation, to=address)[0], "5.1.3"),
        (submit(conversation, sender=address)[0], "5.1.7"),
    ]:
        assert (verdict(event), event.answer.status) == ((1, Verdict.REFUSED, 553), status)
    assert submit(conversation, to="")[0].answer.status == "5.1.3"
    assert said(conversation) == b""
    assert conversation.wants_message


def test_empty_sender() -> None:
    """The null reverse-path of notifications can be written."""
    conversation = ready()
    assert submit(conversation, sender="") == []
    assert said(conversation) == b"MAIL FROM:<>\r\n"


def test_local_name_is_checked() -> None:
    """A name that would end the EHLO command is a mistake of ours."""
    with pytest.raises(ValueError):
        Conversation(local_name="a\r\nb", starttls=False, credentials=None)


# STARTTLS and logins


def starting(**options) -> Conversation:
    conversation = Conversation(**{"local_name": "news.example", "starttls": True, "credentials": LOGIN, **options})
    hear(conversation, b"220 hello\r\n")
    said(conversation)
    return conversation


def test_starttls() -> None:
    """After STARTTLS all is asked again, and only what is offered then holds."""
    conversation = starting()
    assert hear(conversation, ehlo("STARTTLS", "PIPELINING", "SMTPUTF8", "AUTH LOGIN")) == []
    assert said(conversation) == b"STARTTLS\r\n"
    assert conversation.waiting_for is Step.TLS
    assert hear(conversation, b"220 go\r\n") == [UpgradeToTls()]
    assert said(conversation) == b""
    assert conversation.waiting_for is Step.TLS
    assert conversation.encrypted() == []
    assert said(conversation) == b"EHLO news.example\r\n"
    assert hear(conversation, ehlo("AUTH PLAIN")) == []
    assert said(conversation) == b"AUTH PLAIN " + base64.b64encode(f"\0news\0{PASSWORD}".encode()) + b"\r\n"
    assert conversation.waiting_for is Step.AUTH
    assert hear(conversation, b"235 welcome\r\n") == [Ready()]
    submit(conversation)
    assert said(conversation) == b"MAIL FROM:<bounces@e.example>\r\n"


@pytest.mark.parametrize("injected", [b"250 ok\r\n", b"2", b"\x16\x03\x01"])
@pytest.mark.parametrize("together", [True, False])
def test_injection_before_tls(injected: bytes, together: bool) -> None:
    """Bytes in clear after the answer to STARTTLS are an attack, not the beginning of the encrypted answers."""
    conversation = starting()
    hear(conversation, ehlo("STARTTLS"))
    said(conversation)
    if together:
        events = hear(conversation, b"220 go\r\n" + injected)
    else:
        assert hear(conversation, b"220 go\r\n") == [UpgradeToTls()]
        events = hear(conversation, injected)
    assert [type(event) for event in events] == [Down]
    assert conversation.encrypted() == []
    assert said(conversation) == b""


def test_answer_to_starttls_before_it_was_asked() -> None:
    """An answer to STARTTLS that came with the one to EHLO was put there by somebody else."""
    conversation = starting()
    assert [type(event) for event in hear(conversation, ehlo("STARTTLS") + b"220 go\r\n")] == [Down]


@pytest.mark.parametrize("reply", [ehlo("PIPELINING"), ehlo("STARTTLS") + b"", b"502 no\r\n"])
def test_starttls_is_never_left_out(reply: bytes) -> None:
    """Not offered, refused, or a relay that knows no EHLO: nothing goes in clear."""
    conversation = starting()
    events = hear(conversation, reply)
    if not events:
        heard = said(conversation)
        events = hear(conversation, b"454 4.7.0 not now\r\n" if heard == b"STARTTLS\r\n" else b"250 hello\r\n")
    assert [type(event) for event in events] == [Down]
    assert "STARTTLS" in events[0].reason
    assert said(conversation) == b""


def test_no_password_in_clear() -> None:
    """Without TLS a login is not sent, unless asked for; with TLS from the start it is."""
    for options, tls, sent in [({}, False, False), ({"allow_clear_login": True}, False, True), ({}, True, True)]:
        conversation = Conversation(local_name="news.example", starttls=False, credentials=LOGIN, **options)
        if tls:
            assert conversation.encrypted() == []
        hear(conversation, b"220 hello\r\n")
        assert said(conversation) == b"EHLO news.example\r\n"
        events = hear(conversation, ehlo("AUTH PLAIN"))
        assert [type(event) for event in events] == ([] if sent else [Down])
        assert said(conversation).startswith(b"AUTH PLAIN " if sent else b"")


def logging_in(credentials: Credentials, *offered: str) -> Conversation:
    conversation = starting(starttls=False, credentials=credentials, allow_clear_login=True)
    assert hear(conversation, ehlo(*offered)) == []
    return conversation


def test_login_mechanisms() -> None:
    """PLAIN before LOGIN, whatever the order and spelling of the offer; LOGIN answers two challenges."""
    assert said(logging_in(LOGIN, "auth=login plain")).startswith(b"AUTH PLAIN ")
    assert said(logging_in(LOGIN, "AUTH LOGIN", "AUTH=PLAIN")).startswith(b"AUTH PLAIN ")
    conversation = logging_in(LOGIN, "AUTH LOGIN CRAM-MD5")
    assert said(conversation) == b"AUTH LOGIN\r\n"
    hear(conversation, b"334 VXNlcm5hbWU6\r\n")
    assert said(conversation) == base64.b64encode(b"news") + b"\r\n"
    hear(conversation, b"334 UGFzc3dvcmQ6\r\n")
    assert said(conversation) == base64.b64encode(PASSWORD.encode()) + b"\r\n"
    assert hear(conversation, b"235 2.7.0 ok\r\n") == [Ready()]


def test_login_with_a_token() -> None:
    """XOAUTH2: the token goes with the command if it fits; the challenge that tells of an error gets an empty line."""
    token = Credentials("news@e.example", "ya29.token", "token")
    conversation = logging_in(token, "AUTH PLAIN XOAUTH2")
    blob = base64.b64encode(b"user=news@e.example\1auth=Bearer ya29.token\1\1")
    assert said(conversation) == b"AUTH XOAUTH2 " + blob + b"\r\n"
    assert hear(conversation, b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n") == []
    assert said(conversation) == b"\r\n"
    (event,) = hear(conversation, b"535 5.7.8 bad ya29.token\r\n")
    assert event == Down("The relay refused the login: 535 5.7.8 bad [secret].")

    conversation = logging_in(Credentials("news", "x" * 2000, "token"), "AUTH XOAUTH2")
    assert said(conversation) == b"AUTH XOAUTH2\r\n"
    hear(conversation, b"334 \r\n")
    assert base64.b64decode(said(conversation)).endswith(b"x" * 2000 + b"\1\1")
    assert hear(conversation, b"235 ok\r\n") == [Ready()]


@pytest.mark.parametrize("credentials", [LOGIN, Credentials("news", "tok", "token")])
def test_no_way_to_log_in(credentials: Credentials) -> None:
    """A relay without a mechanism for what we have is down."""
    conversation = starting(starttls=False, credentials=credentials, allow_clear_login=True)
    assert [type(event) for event in hear(conversation, ehlo("AUTH CRAM-MD5"))] == [Down]


@pytest.mark.parametrize("code", [454, 501, 530, 534, 535, 538, 421])
def test_refused_login_shows_no_secret(code: int) -> None:
    """A refused login blames the relay's settings; no password is in the reason, even if the relay repeats it."""
    conversation = logging_in(LOGIN, "AUTH PLAIN")
    blob = said(conversation).split()[2]
    shown = base64.b64encode(PASSWORD.encode())
    (event,) = hear(conversation, b"%d not %b %b %b\r\n" % (code, PASSWORD.encode(), blob, shown))
    assert isinstance(event, Down)
    for secret in (PASSWORD, blob.decode(), shown.decode()):
        assert secret not in event.reason
    assert PASSWORD not in repr(LOGIN)


# The end


def test_quit_waits_for_what_was_submitted() -> None:
    """QUIT is said when all is settled; until then no message is wanted."""
    conversation = at_dot()
    submit(conversation, tag=2)
    said(conversation)
    conversation.quit()
    assert [verdict(event)[0] for event in hear(conversation, b"250 ok\r\n" + ENVELOPE_TAKEN)] == [1]
    assert not conversation.wants_message
    assert said(conversation) == MESSAGE + b".\r\n"
    assert [verdict(event)[0] for event in hear(conversation, b"250 ok\r\n")] == [2]
    assert said(conversation) == b"QUIT\r\n"
    assert conversation.waiting_for is Step.QUIT
    assert hear(conversation, b"221 bye\r\n") == [Closed("The relay said goodbye.")]
    assert conversation.waiting_for is Step.NOTHING


def test_quit_while_idle() -> None:
    """An idle conversation says QUIT at once."""
    conversation = ready("PIPELINING")
    conversation.quit()
    assert said(conversation) == b"QUIT\r\n"


def test_refused_reset() -> None:
    """A relay that cannot forget a refused recipient gets a fresh connection, and the message comes back."""
    conversation = ready("PIPELINING")
    submit(conversation)
    said(conversation)
    hear(conversation, b"250 ok\r\n550 no\r\n503 no\r\n")
    submit(conversation, tag=2)
    said(conversation)
    assert [type(event) for event in hear(conversation, b"502 what\r\n")] == [Unsent, Closed]


# Real sockets


async def deliver(port: int, authority: trustme.CA, messages: dict[str, bytes]) -> list[Event]:
    """The smallest driver: STARTTLS, login, one connection."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    conversation = Conversation(local_name="news.example", starttls=True, credentials=LOGIN)
    waiting, events = dict(messages), []
    while data := await reader.read(65536):
        new = conversation.receive(data)
        events += new
        if UpgradeToTls() in new:
            await writer.start_tls(context, server_hostname="relay.test")
            events += conversation.encrypted()
        while waiting and conversation.wants_message:
            recipient = next(iter(waiting))
            events += conversation.submit(recipient, FROM, recipient, waiting.pop(recipient))
        if not waiting:
            conversation.quit()
        writer.writelines(conversation.outgoing())
        if any(isinstance(event, Closed | Down) for event in events):
            break
    writer.close()
    return events


def test_against_a_real_server() -> None:
    """Over TLS to a real server with a login: refusals in between, and every content arrives as it was."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("relay.test").configure_cert(context)

    def authenticate(server, session, envelope, mechanism, data) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"news", PASSWORD.encode())
        return AuthResult(success=good, handled=False)

    relay = Relay(at_recipient={"r2@e.example": ["450 4.2.2 full"]}, at_dot={"r3@e.example": ["554 5.6.0 no"]})
    messages = {f"r{n}@e.example": b"Subject: x\r\n\r\n" + b".dots\r\n." * n + b"end\r\n" for n in range(6)}
    with serving(
        relay, tls_context=context, require_starttls=True, authenticator=authenticate, auth_required=True
    ) as running:
        events = asyncio.run(asyncio.wait_for(deliver(running.port, authority, messages), 20))
    verdicts = {event.tag: event.answer.verdict for event in events if isinstance(event, Answered)}
    refused = {"r2@e.example": Verdict.DEFERRED, "r3@e.example": Verdict.REFUSED}
    assert verdicts == {recipient: refused.get(recipient, Verdict.ACCEPTED) for recipient in messages}
    assert {to[0]: content for _, to, content in relay.messages} == {
        recipient: content for recipient, content in messages.items() if recipient not in refused
    }
    assert isinstance(events[-1], Closed)
