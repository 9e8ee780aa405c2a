"""An SMTP server that speaks PIPELINING and misbehaves on demand; it keeps what it accepted."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

OK = b"250 2.0.0 ok\r\n"


@dataclass
class Misbehaving:
    """``mood(number, recipient)`` says what happens to the number-th message that is begun.

    ``ok``; ``452`` at RCPT; ``leave``: 421 at RCPT; ``login``: 530 at RCPT; ``451`` after the dot; ``hang``: stops
    reading in the middle of the content; ``drop``: accepts and hangs up without an answer; ``garbage``: accepts and
    answers nonsense; ``twice``: answers two times; ``early``: also before the content has come.
    """

    mood: Callable[[int, str], str] = lambda number, recipient: "ok"
    refuses: Callable[[bytes], bytes] = lambda line: b""
    """What it answers to a command instead of taking it; nothing if it takes it."""
    closes_after: int = 0
    thinks: float = 0.0
    """Seconds before it answers a final dot."""
    allows: int = 0
    """Connections at once, if it refuses more."""
    standing: int = 0
    refused: int = 0
    port: int = 0
    connections: int = 0
    accepted: list[tuple[str, bytes]] = field(default_factory=list)
    unanswered: int = 0
    """Messages that were accepted without saying so: each may come again."""
    begun: int = 0
    misbehaved: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.standing += 1
        try:
            if self.allows and self.standing > self.allows:
                self.refused += 1
                writer.write(b"421 4.7.0 too many connections\r\n")
            else:
                await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.standing -= 1
            writer.close()

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """The next command; nothing ends the conversation."""
        return await reader.readline()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"220 misbehaving ESMTP\r\n")
        recipient, mood, mails, has_sender = "", "ok", 0, False
        while line := await self.hear(reader, writer):
            verb = line[:4].upper().strip()
            if refusal := self.refuses(line):
                self.misbehaved += 1
                recipient, has_sender = "", has_sender and verb != b"MAIL"
                writer.write(refusal)
            elif verb == b"EHLO":
                writer.write(b"250-misbehaving\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n")
            elif verb == b"MAIL":
                if self.closes_after and mails >= self.closes_after:
                    self.misbehaved += 1
                    writer.write(b"421 4.3.2 enough for one connection\r\n")
                    return
                mails += 1
                recipient, has_sender = "", True
                writer.write(OK)
            elif verb == b"RCPT" and not has_sender:
                writer.write(b"503 5.5.1 no sender\r\n")
            elif verb == b"RCPT":
                self.begun += 1
                recipient = line.partition(b"<")[2].partition(b">")[0].decode()
                mood = self.mood(self.begun, recipient)
                self.misbehaved += mood != "ok"
                if mood in ("leave", "login"):
                    refusal = "421 4.3.2 not" if mood == "leave" else "530 5.7.1"
                    writer.write(f"{refusal} <{recipient}>: go away\r\n".encode())
                    await writer.drain()
                    return
                if mood == "452":
                    recipient = ""
                    writer.write(b"452 4.2.2 mailbox full\r\n")
                else:
                    writer.write(OK)
            elif verb == b"DATA":
                if not recipient:
                    writer.write(b"503 5.5.1 no recipient\r\n")
                    continue
                writer.write(b"354 go\r\n")
                if mood == "early":
                    await writer.drain()
                    await asyncio.sleep(0.01)
                    writer.write(OK)
                if mood == "hang":
                    await reader.read(100)
                    await asyncio.sleep(30)
                    return
                content = await reader.readuntil(b"\r\n.\r\n")
                if not await self._answer(mood, recipient, content, writer):
                    return
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                await writer.drain()
                return
            else:
                writer.write(OK)
            await writer.drain()

    async def _answer(self, mood: str, recipient: str, content: bytes, writer: asyncio.StreamWriter) -> bool:
        if mood == "451":
            writer.write(b"451 4.3.0 not now\r\n")
            return True
        self.accepted.append((recipient, content))
        await asyncio.sleep(self.thinks)
        if mood in ("drop", "garbage"):
            self.unanswered += 1
            if mood == "garbage":
                writer.write(b"\x00\xff what? \r\n" * 3)
                await writer.drain()
            return False
        writer.write(OK * 2 if mood == "twice" else OK)
        return True


def refusing(verb: bytes, reply: bytes, part: bytes = b"") -> Misbehaving:
    """A server that answers this to each such command, or to those with ``part`` in them."""
    return Misbehaving(refuses=lambda line: reply if line.upper().startswith(verb) and part in line else b"")


@contextmanager
def misbehaving(server: Misbehaving) -> Iterator[Misbehaving]:
    """Run it on a free port, in a thread."""
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    server.port = listener.getsockname()[1]

    async def start() -> asyncio.Server:
        return await asyncio.start_server(server.serve, sock=listener, limit=2**22)

    running = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(running.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
