"""A real MariaDB server for tests: one a pytest worker, started when first asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pymysql
import pytest

from tests.servers.process import RequireBinary, RequireFile, ServerProcess, running

USER = "volflow"
SYSTEM_TABLES = Path("/usr/share/mysql/mysql_system_tables.sql")


class MariadbServer(ServerProcess):
    """One MariaDB with its own defaults: latin1, REPEATABLE READ, 50 seconds' wait for a lock."""

    name = "mariadb"

    def __init__(
        self, binary: Path, setpriv: Path, system_tables: Path, fsync: bool = True
    ) -> None:
        super().__init__(setpriv)
        self._binary = binary
        self._system_tables = system_tables
        self._fsync = fsync
        self._numbers = count(1)
        self._admin: pymysql.Connection | None = None

    def url(self, database: str) -> str:
        """Name a database as SQLAlchemy does."""
        return f"mysql+pymysql://{USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Create a database and return its URL."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, and end its connections, which may hold it."""
        name = url.rpartition("/")[2]
        for (number,) in self.execute(
            f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"
        ):
            with contextlib.suppress(pymysql.OperationalError):  # it ended by itself
                self.execute(f"KILL {number}")
        self.execute(f"DROP DATABASE IF EXISTS {name}")

    def execute(self, statement: str) -> tuple[tuple[object, ...], ...]:
        """Run a statement beside the code under test; returns its rows."""
        if self._admin is None:
            self._admin = self._connect()
            self._admin.autocommit(True)
        with self._admin.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    def initialise(self) -> None:
        self.give(self._data)
        statements = [
            "CREATE DATABASE mysql;",
            "USE mysql;",
            # There is no root to make an account for.
            "SET @auth_root_socket = NULL;",
            self._system_tables.read_text(),
            "FLUSH PRIVILEGES;",
            f"CREATE USER {USER}@'127.0.0.1';",
            f"GRANT ALL ON *.* TO {USER}@'127.0.0.1' WITH GRANT OPTION;",
            "",
        ]
        self.prepare(*self._program("--bootstrap"), text="\n".join(statements))

    def command(self) -> list[str]:
        return self._program(
            *("--port", str(self.port), "--bind-address=127.0.0.1", "--skip-name-resolve"),
            f"--socket={self.directory}/socket",
        )

    def answers(self) -> bool:
        try:
            self._connect().close()
        except pymysql.OperationalError:
            return False
        return True

    def disconnect(self) -> None:
        if self._admin is not None:
            with contextlib.suppress(pymysql.Error):  # the server may be gone
                self._admin.close()
            self._admin = None

    @property
    def _data(self) -> Path:
        path = self.directory / "data"
        path.mkdir(exist_ok=True)
        return path

    def _program(self, *options: str) -> list[str]:
        quick = [] if self._fsync else ["--innodb-flush-method=nosync"]
        return [
            *(str(self._binary), "--no-defaults", f"--datadir={self._data}"),
            # One that starts removes every temporary table that it finds, others' too.
            f"--tmpdir={self.directory}",
            *("--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M"),
            # Three table spaces less to write.
            *("--innodb-temp-data-file-path=ibtmp1:3M:autoextend",),
            *quick,
            *options,
        ]

    def _connect(self) -> pymysql.Connection:
        return pymysql.connect(host="127.0.0.1", port=self.port, user=USER)


@pytest.fixture(scope="session")
def make_mariadb(
    request: pytest.FixtureRequest,
    require_binary: RequireBinary,
    require_file: RequireFile,
) -> Callable[[], MariadbServer]:
    """Make a MariaDB that is not started yet."""
    binary = require_binary("mariadbd", "mariadb-server-core")
    setpriv = require_binary("setpriv", "util-linux")
    tables = require_file(SYSTEM_TABLES, "mariadb-server-core")
    fsync = not request.config.getoption("--no-fsync")
    return lambda: MariadbServer(binary, setpriv, tables, fsync)


@pytest.fixture(scope="session")
def mariadb_server(make_mariadb: Callable[[], MariadbServer]) -> Iterator[MariadbServer]:
    """The worker's MariaDB."""
    with running(make_mariadb()) as server:
        yield server


@pytest.fixture
def mariadb_url(mariadb_server: MariadbServer) -> Iterator[str]:
    """An empty database of its own for one test."""
    url = mariadb_server.create_database()
    yield url
    mariadb_server.drop_database(url)
