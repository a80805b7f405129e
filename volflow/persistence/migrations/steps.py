"""What migrations do, each step only where it is still to do.

On MySQL every change of a table is a transaction of its own: a migration that dies half way leaves
the steps before, and the version as it was. Run again, it goes on where it stopped. So a migration
uses these functions, and statements that may be repeated; the other databases take all of it back.
"""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import Column, inspect

from volflow.exceptions import DatabaseError
from volflow.persistence.schema import TABLE_OPTIONS


def create_table(name: str, *columns: Column[Any]) -> None:
    """Make a table.

    :raises DatabaseError: there is one of this name that no migration of ours has made.
    """
    found = _columns(name)
    if not found:
        op.create_table(name, *columns, **TABLE_OPTIONS)
    elif found != {column.name for column in columns}:
        raise DatabaseError(f"there is a table {name} already, and it is not volflow's")


def drop_table(name: str) -> None:
    """Remove a table, and its indexes with it."""
    if _columns(name):
        op.drop_table(name)


def add_column(table: str, column: Column[Any]) -> None:
    """Add a column."""
    if column.name not in _columns(table):
        op.add_column(table, column)


def drop_column(table: str, name: str) -> None:
    """Remove a column."""
    if name in _columns(table):
        op.drop_column(table, name)


def create_index(name: str, table: str, columns: list[str], unique: bool = False) -> None:
    """Make an index."""
    if name not in _indexes(table):
        op.create_index(name, table, columns, unique=unique)


def drop_index(name: str, table: str) -> None:
    """Remove an index."""
    if name in _indexes(table):
        op.drop_index(name, table)


def _columns(table: str) -> set[str]:
    inspector = inspect(op.get_bind())
    if not inspector.has_table(table):
        return set()
    return {column["name"] for column in inspector.get_columns(table)}


def _indexes(table: str) -> set[str]:
    return {str(index["name"]) for index in inspect(op.get_bind()).get_indexes(table)}
