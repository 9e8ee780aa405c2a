"""Postfix's smtp-sink and smtp-source, where they are installed or can be unpacked from Debian's package."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

UNPACKED = Path(__file__).parent.parent / "build" / "postfix"
PLACES = ("/usr/sbin", "/usr/lib/postfix/sbin", "/usr/libexec/postfix", str(UNPACKED / "usr/sbin"))


@cache
def find_tool(name: str) -> str | None:
    """The path of a tool; unpacking needs neither root nor an installation."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
    if found := shutil.which(name, path=path):
        return found
    if shutil.which("apt-get") and not UNPACKED.exists():
        UNPACKED.mkdir(parents=True)
        for command in (["apt-get", "download", "postfix"], ["sh", "-c", "dpkg -x postfix_*.deb ."]):
            subprocess.run(command, cwd=UNPACKED, capture_output=True, check=False)
    return shutil.which(name, path=path)


def tool_environment() -> dict[str, str]:
    """Where unpacked tools find their libraries."""
    return {**os.environ, "LD_LIBRARY_PATH": str(UNPACKED / "usr/lib/postfix")}
