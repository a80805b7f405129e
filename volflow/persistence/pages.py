"""Pages: rows in the order in which they were made, so many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, Table, or_, select
from sqlalchemy.engine import Connection

from volflow.exceptions import InvalidInput


def order(table: Table) -> list[ColumnElement[Any]]:
    """What puts the rows of a table, of volumes those that are not deleted, oldest first.

    To PostgreSQL a column that is NULL in all rows of a query is no constant: it sorts them,
    unless the order is said to begin as the index does.
    """
    leading = [table.c.deleted_at] if "deleted_at" in table.c else []
    return [*leading, table.c.created_at, table.c.id]


def page(
    connection: Connection, query: Select[Any], table: Table, marker: str | None, limit: int | None
) -> Sequence[RowMapping]:
    """The rows of a query that were made after the one whose id is ``marker``.

    What comes before is not read: an index over (created_at, id) leads to the first row.

    :raises InvalidInput: there is no such row any more, so that nobody can go on from there.
    """
    made, key = table.c.created_at, table.c.id
    if marker is not None:
        seen = select(made).where(key == marker).scalar_subquery()
        # One range, which every database takes from an index; a pair compared with a pair is not.
        query = query.where(made >= seen, or_(made > seen, key > marker))
    query = query.order_by(*order(table))
    if limit is not None:
        query = query.limit(limit)
    rows = connection.execute(query).mappings().all()
    if marker is not None and not rows and not _is_there(connection, table, marker):
        raise InvalidInput(f"marker {marker} is not there: begin with the first page")
    return rows


def _is_there(connection: Connection, table: Table, key: str) -> bool:
    query = select(table.c.id).where(table.c.id == key)
    return connection.execute(query).scalar() is not None
