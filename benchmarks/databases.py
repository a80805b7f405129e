"""The databases that are measured: SQLite files, and a PostgreSQL server that is started here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.conftest import find_binary
from tests.servers.postgresql import PostgresqlServer, running_server


class MissingServer(Exception):
    """A program that a database server needs is not installed."""


class Databases(Protocol):
    """One kind of database.

    :ivar name: ``sqlite`` or ``postgresql``.
    """

    name: str

    def create(self, directory: Path) -> str:
        """The URL of an empty one; a file is in ``directory``."""

    def cpu_seconds(self) -> dict[int, float] | None:
        """What the server's processes have used so far, by their ids; None without a server."""


class SqliteFiles:
    """A file each."""

    name = "sqlite"

    def create(self, directory: Path) -> str:
        return f"sqlite:///{directory / 'bench.db'}"

    def cpu_seconds(self) -> None:
        return None


class PostgresqlDatabases:
    """Databases of one server."""

    name = "postgresql"

    def __init__(self, server: PostgresqlServer) -> None:
        self._server = server

    def create(self, directory: Path) -> str:
        return self._server.create_database()

    def cpu_seconds(self) -> dict[int, float]:
        return {pid: _cpu_seconds(pid) for pid in _children(self._server.pid or 0)}


def used(before: dict[int, float] | None, after: dict[int, float] | None) -> float | None:
    """CPU seconds between two looks at a server's processes."""
    if before is None or after is None:
        return None
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


@contextmanager
def opened(name: str) -> Iterator[Databases]:
    """Have a kind of database as long as the block lasts.

    :raises MissingServer: its programs are not installed.
    """
    if name == SqliteFiles.name:
        yield SqliteFiles()
        return
    with running_server(require_binary) as server:
        yield PostgresqlDatabases(server)


def require_binary(name: str, package: str, *places: Path) -> Path:
    """Find a program.

    :raises MissingServer: it is not installed.
    """
    found = find_binary(name, *places)
    if found is None:
        raise MissingServer(f"{name} is not installed (Debian: {package})")
    return found


def _children(parent: int) -> Iterator[int]:
    """A server's processes are the children of its first one."""
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent:
            yield int(place.parent.name)


def _cpu_seconds(pid: int) -> float:
    """The first field of schedstat, in nanoseconds; ``stat`` has but hundredths of a second."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
