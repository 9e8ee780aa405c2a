"""DNS records as people put them into a zone."""

from __future__ import annotations

STRING_BYTES = 255
"""The most that one string of a TXT record holds (RFC 1035, 3.3.14)."""


def zone_line(name: str, value: str) -> str:
    """A TXT record in zone file form; what is longer than a string is in several, which readers of it join."""
    # Values are ASCII; a quote or backslash in them would end the string early.
    escaped = [
        value[start : start + STRING_BYTES].replace("\\", "\\\\").replace('"', '\\"')
        for start in range(0, len(value), STRING_BYTES)
    ]
    strings = [f'"{part}"' for part in escaped]
    whole = strings[0] if len(strings) == 1 else "( " + "\n    ".join(strings) + " )"
    return f"{name}. IN TXT {whole}"


def same_key(published: str, wanted: str) -> bool:
    """Whether a DKIM record holds the key of another, however its tags are written (RFC 6376, 3.2, 3.6.1)."""
    there, ours = tags(published), tags(wanted)
    return (
        there.get("v", "DKIM1") == "DKIM1"
        and there.get("k", "rsa") == ours["k"]
        and "".join(there.get("p", "").split()) == ours["p"]
    )


def tags(record: str) -> dict[str, str]:
    """A tag list: DKIM and DMARC records (RFC 6376, 3.2)."""
    found: dict[str, str] = {}
    for part in record.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            found.setdefault(name.strip(), value.strip())
    return found
