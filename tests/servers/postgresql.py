"""A real PostgreSQL server for tests: one a pytest worker, started when first asked for."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.servers.process import RequireBinary, ServerProcess, running

USER = "volflow"


class PostgresqlServer(ServerProcess):
    """One cluster in a temporary directory; the port is also the suffix of its socket's name."""

    name = "postgresql"
    user = "postgres"
    parent_death = "INT"
    # Fast, then immediate shutdown; then no shutdown at all.
    endings = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)

    def __init__(self, binaries: Path, setpriv: Path, fsync: bool = True) -> None:
        super().__init__(setpriv)
        self._binaries = binaries
        self._fsync = fsync
        self._admin: psycopg.Connection[tuple[object, ...]] | None = None
        self._templates: dict[str, str] = {}
        self._count = 0

    def url(self, database: str) -> str:
        """Name a database as SQLAlchemy does."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template1") -> str:
        """Create a database and return its URL.

        :param template: a database without connections to copy, see :meth:`template`.
        """
        self._count += 1
        name = f"test_{self._count}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, and its connections with it."""
        self._execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def template(self, name: str, fill: Callable[[str], None]) -> str:
        """Make a template once: ``fill`` is called with its URL and has to disconnect."""
        if name not in self._templates:
            self._execute(f'CREATE DATABASE "{name}"')
            fill(self.url(name))
            self._templates[name] = name
        return name

    def initialise(self) -> None:
        self.prepare(
            str(self._binaries / "initdb"),
            *("--pgdata", str(self.directory / "data"), "--username", USER),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "max_connections": "100",
            "shared_buffers": "32MB",
        }
        if not self._fsync:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._binaries / "postgres"), "-D", str(self.directory / "data"), *options]

    def answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def disconnect(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.directory), port=self.port, user=USER, dbname="postgres"
        )

    def _execute(self, statement: str) -> None:
        if self._admin is None:
            self._admin = self._connect()
            self._admin.autocommit = True
        self._admin.execute(statement.encode())


def server_binaries(require_binary: RequireBinary) -> Path:
    """Find the directory of the newest server's programs."""
    installed = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    newest_first = sorted(installed, key=lambda path: int(path.parent.name), reverse=True)
    return require_binary("initdb", "postgresql", *newest_first).resolve().parent


@contextlib.contextmanager
def running_server(
    require_binary: RequireBinary, fsync: bool = True
) -> Iterator[PostgresqlServer]:
    """Run a server as long as the block lasts."""
    binaries = server_binaries(require_binary)
    setpriv = require_binary("setpriv", "util-linux")
    with running(PostgresqlServer(binaries, setpriv, fsync)) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_server(
    request: pytest.FixtureRequest, require_binary: RequireBinary
) -> Iterator[PostgresqlServer]:
    """The worker's PostgreSQL server."""
    fsync = not request.config.getoption("--no-fsync")
    with running_server(require_binary, fsync) as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """An empty database of its own for one test."""
    url = postgresql_server.create_database()
    yield url
    postgresql_server.drop_database(url)
