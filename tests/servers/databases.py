"""Databases for tests that promise the same on every kind: empty, or with volflow's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from volflow.persistence import migrate, schema
from volflow.persistence.engine import Database

SERVERS = ("postgresql", "mariadb")
KINDS = ("sqlite", *SERVERS)
TEMPLATE = "migrated"

MakeUrl = Callable[[], str]


class Databases:
    """Where the databases of one kind come from; all of them are dropped in the end.

    :ivar kind: one of :data:`KINDS`.
    :ivar server: the process; None for SQLite.
    """

    def __init__(self, kind: str, server: Any, directory: Path) -> None:
        self.kind = kind
        self.server = server
        self._directory = directory
        self._made: list[str] = []
        self._emptied: str | None = None

    def empty(self) -> str:
        """Make a database without tables."""
        if self.server is None:
            return f"sqlite:///{self._directory}/{len(self._made)}.db"
        url: str = self.server.create_database()
        self._made.append(url)
        return url

    def migrated(self) -> str:
        """A database with volflow's tables and no rows; the one before it is not used any more."""
        if self.kind == "postgresql":
            url: str = self.server.create_database(self.server.template(TEMPLATE, _migrate))
            self._made.append(url)
            return url
        if self.kind == "mariadb":
            # A migration takes it a second, and it cannot copy a database.
            if self._emptied is None:
                self._emptied = self.empty()
                _migrate(self._emptied)
            _clear(self._emptied)
            return self._emptied
        url = self.empty()
        _migrate(url)
        return url

    def drop(self) -> None:
        """Drop what was made."""
        for url in self._made:
            self.server.drop_database(url)


def _migrate(url: str) -> None:
    database = Database(url)
    migrate.prepare(database)
    database.close()


def _clear(url: str) -> None:
    database = Database(url)
    tables = reversed(schema.metadata.sorted_tables)
    database.write(lambda c: [c.execute(delete(table)) for table in tables])
    database.close()


def databases_of(
    kind: str, request: pytest.FixtureRequest, directory: Path
) -> Iterator[Databases]:
    """Databases of a kind for one test."""
    server = None if kind == "sqlite" else request.getfixturevalue(f"{kind}_server")
    found = Databases(kind, server, directory)
    yield found
    found.drop()


@pytest.fixture(params=SERVERS)
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """Databases of each server in turn."""
    yield from databases_of(request.param, request, tmp_path)


@pytest.fixture(params=KINDS)
def all_databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """Databases of each kind in turn, SQLite's among them."""
    yield from databases_of(request.param, request, tmp_path)
