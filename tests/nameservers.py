"""A real DNS server, on UDP, for a handful of records."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.message
import dns.rcode
import dns.zonefile


@contextmanager
def answering(zone: str) -> Iterator[tuple[str, int]]:
    """Serve the records of a zone file with whole names; address and port. Other names do not exist."""
    sets = dns.zonefile.read_rrsets(zone, default_ttl=60, default_rdclass="IN", rdclass=None, relativize=False)
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            wire, peer = listener.recvfrom(4096)
            if wire == b"stop":
                return
            query = dns.message.from_wire(wire)
            asked = query.question[0]
            answer = dns.message.make_response(query, recursion_available=True)
            answer.answer = [one for one in sets if (one.name, one.rdtype) == (asked.name, asked.rdtype)]
            if not any(one.name == asked.name for one in sets):
                answer.set_rcode(dns.rcode.NXDOMAIN)
            listener.sendto(answer.to_wire(), peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    place = listener.getsockname()
    try:
        yield place
    finally:
        listener.sendto(b"stop", place)
        thread.join()
        listener.close()
