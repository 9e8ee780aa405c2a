"""A small IMAP server (RFC 3501, and UIDPLUS): one folder, as much as reading and deleting its messages needs."""

from __future__ import annotations

import re
import shlex
import socketserver
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import Any


@dataclass
class Folder:
    """Messages by UID; those in ``marked`` are deleted but not expunged, somebody has read those in ``seen``, and those
    in ``damaged`` cannot be fetched; every command that came in.
    """

    password: str
    user: str = "leave"
    can: str = "IMAP4rev1"
    has_uidplus: bool = True
    messages: dict[int, bytes] = field(default_factory=dict)
    marked: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    damaged: set[int] = field(default_factory=set)
    commands: list[str] = field(default_factory=list)
    port: int = 0

    def put(self, subject: str, to: str = "leave@news.example", raw: bytes = b"") -> int:
        number = max(self.messages, default=0) + 1
        self.messages[number] = raw or f"From: a@b.example\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nHello\r\n".encode()
        return number


class _Session(socketserver.StreamRequestHandler):
    folder: Folder
    is_known = False

    def say(self, *lines: bytes) -> None:
        self.wfile.write(b"".join(line + b"\r\n" for line in lines))

    def handle(self) -> None:
        self.say(b"* OK ready")
        for line in self.rfile:
            tag, _, command = line.decode().strip().partition(" ")
            self.folder.commands.append(command)
            name, *words = shlex.split(command)
            if name == "UID":
                name, *words = words
            if name == "AUTHENTICATE":
                self.say(b"+ ")
                words = b64decode(self.rfile.readline()).decode().split("\0")
            known = self.answer(name.upper(), words, command)
            self.say(tag.encode() + (b" OK done" if known else b" NO refused"))
            if name == "LOGOUT":
                return

    def answer(self, name: str, words: list[str], command: str) -> bool:
        folder = self.folder
        if name == "CAPABILITY":
            # As Dovecot does: what it can do with messages it says to those it knows.
            uidplus = " UIDPLUS" if folder.has_uidplus and self.is_known else ""
            self.say(f"* CAPABILITY {folder.can}{uidplus}".encode())
        elif name in ("LOGIN", "AUTHENTICATE"):
            self.is_known = words[-2:] == [folder.user, folder.password]
            return self.is_known
        elif name == "SELECT":
            if words[0] != "INBOX":
                return False
            self.say(f"* {len(folder.messages)} EXISTS".encode())
        elif name == "SEARCH":
            left_out = folder.marked | (folder.seen if "UNSEEN" in words else set())
            found = " ".join(str(number) for number in folder.messages if number not in left_out)
            self.say(f"* SEARCH {found}".encode())
        elif name == "FETCH":
            return all(self.fetch(int(number), command) for number in words[0].split(","))
        elif name == "STORE":
            folder.marked |= {int(number) for number in words[0].split(",")}
        elif name == "EXPUNGE":
            for number in map(int, words[0].split(",")):
                del folder.messages[number]
        elif name == "LOGOUT":
            self.say(b"* BYE")
        return True

    def fetch(self, number: int, command: str) -> bool:
        if number in self.folder.damaged:
            return False
        fields = re.findall(r"[\w-]+", command.partition("FIELDS (")[2].partition(")")[0])
        message = message_from_bytes(self.folder.messages[number])
        lines = [f"{k}: {v}" for k, v in message.items() if k.lower() in {name.lower() for name in fields}]
        head = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
        partial = re.search(r"<0\.(\d+)>", command)
        head = head[: int(partial[1])] if partial else head
        # Servers name the number where they like.
        before, after = (f"UID {number} ", ")") if number % 2 else ("", f" UID {number})")
        self.say(f"* 1 FETCH ({before}BODY[HEADER] {{{len(head)}}}".encode(), head + after.encode())
        return True


@contextmanager
def serving_imap(folder: Folder) -> Iterator[Folder]:
    """The server on a free port of this machine."""
    handler: Any = type("Session", (_Session,), {"folder": folder})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        folder.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield folder
        server.shutdown()
