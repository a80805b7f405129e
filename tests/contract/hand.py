"""An operator's hand in the database: SQL beside every rule of volflow's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any


class Hand:
    """An operator with a shell on the database file, which checks no foreign key.

    :param path: the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def change(self, table: str, key: str, **values: Any) -> None:
        """Write columns of one row, whatever they mean."""
        columns = ", ".join(f"{name} = ?" for name in values)
        self.write(f"UPDATE {table} SET {columns} WHERE id = ?", *values.values(), key)

    def delete(self, table: str, key: str, column: str = "id") -> None:
        """Delete rows."""
        self.write(f"DELETE FROM {table} WHERE {column} = ?", key)

    def write(self, statement: str, *values: Any) -> None:
        """Run a statement; one that changes nothing fails the test."""
        with self._connected() as connection:
            assert connection.execute(statement, values).rowcount > 0, statement

    def read(self, query: str, *values: Any) -> Any:
        """The first column of the first row."""
        with self._connected() as connection:
            return connection.execute(query, values).fetchone()[0]

    def rows(self, table: str, column: str = "id") -> list[str]:
        """A column of all rows."""
        with self._connected() as connection:
            return [row[0] for row in connection.execute(f"SELECT {column} FROM {table}")]

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            yield connection
