"""The rows of the peers that bring none, over the plain drivers: sqlite3 and psycopg."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy import make_url

from benchmarks.work import TABLES, Backend, Execute, add_volume

BUSY_SECONDS = 30


def is_sqlite(url: str) -> bool:
    """Tell a file from a server."""
    return make_url(url).get_backend_name() == "sqlite"


def plain(url: str) -> str:
    """The URL of a server without the name of SQLAlchemy's driver, as libpq takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def connected(url: str) -> Any:
    """Connect; on SQLite transactions are begun by hand, with the durability that all have."""
    if not is_sqlite(url):
        return psycopg.connect(plain(url))
    connection = sqlite3.connect(
        str(make_url(url).database),
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


@lru_cache
def _pyformat(statement: str) -> str:
    return re.sub(r":(\w+)", r"%(\1)s", statement)


class Rows:
    """A connection with the tables of the work, and the backend's volume in them."""

    def __init__(self, url: str, backend: Backend) -> None:
        self._is_sqlite = is_sqlite(url)
        self._connection = connected(url)
        self._backend = backend
        with self.transaction() as execute:
            for statement in TABLES:
                execute(statement, {})
            add_volume(execute, backend.disk.id)

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """A transaction that commits where its block ends."""
        if self._is_sqlite:
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._execute
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def scalar(self, statement: str, values: Mapping[str, Any]) -> int:
        """The one number that a query returns."""
        statement = statement if self._is_sqlite else _pyformat(statement)
        found = int(self._connection.execute(statement, values).fetchone()[0])
        self._connection.rollback()
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _execute(self, statement: str, values: Mapping[str, Any]) -> int:
        statement = statement if self._is_sqlite else _pyformat(statement)
        return int(self._connection.execute(statement, values).rowcount)
