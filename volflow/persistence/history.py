"""History: what has ended long ago, and is written elsewhere and taken away.

A batch is one short transaction. It is read, written to the archive and made durable there before
it is deleted: a death in between leaves rows that the next purge archives again, and loses none.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

from sqlalchemy import Select, Table, delete, exists, select
from sqlalchemy.engine import Connection

from volflow.models import SETTLED
from volflow.persistence import schema
from volflow.persistence.engine import Database

BATCH = 500
"""How many operations, attachments or volumes go in one transaction."""

Archive = Callable[[str, Sequence[dict[str, Any]]], None]

_V, _A, _O = schema.volumes.c, schema.attachments.c, schema.operations.c
_SECRET = {"provider_auth", "connection_info"}


class JsonLines:
    """An archive: one row a line, ``{"table": ..., <its columns as they are stored>}``.

    :param file: open for writing text; what is written is synced.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __call__(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            kept = {key: value for key, value in row.items() if key not in _SECRET}
            self._file.write(json.dumps({"table": table} | kept, ensure_ascii=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def purge(
    database: Database, seconds: float, archive: Archive | None
) -> Iterator[tuple[str, int]]:
    """Take away what ended so long ago, one batch at a time.

    Operations that are settled, with their flows and events; then attachments that are detached
    and volumes that are deleted, of which no operation tells any more.

    :returns: the table, and how many of its rows a batch had.
    :raises DatabaseError: the database cannot be read or written; what was yielded is done.
    """
    with database.read() as connection:
        before = int(connection.execute(select(schema.now())).scalar_one()) - int(seconds * 1e6)
    for state in sorted(SETTLED):
        yield from _batches(database, schema.operations, _settled(state, before), archive)
    yield from _batches(database, schema.attachments, _detached(before), archive)
    yield from _batches(database, schema.volumes, _deleted(before), archive)


def _settled(state: str, before: int) -> Select[Any]:
    owned = exists().where(_V.operation_id == _O.id)
    return (
        select(_O.id)
        .where(_O.state == state, schema.microseconds(_O.created_at) < before)
        .where(schema.microseconds(_O.finished_at) < before, ~owned)
        .order_by(_O.created_at, _O.id)
    )


def _detached(before: int) -> Select[Any]:
    told = exists().where(_O.volume_id == _A.volume_id, _O.attachment_id == _A.id)
    return (
        select(_A.id)
        .where(_A.detached_at.is_not(None), schema.microseconds(_A.detached_at) < before, ~told)
        .order_by(_A.detached_at, _A.id)
    )


def _deleted(before: int) -> Select[Any]:
    told = exists().where(_O.volume_id == _V.id)
    used = exists().where(_A.volume_id == _V.id)
    return (
        select(_V.id)
        .where(_V.deleted_at.is_not(None), schema.microseconds(_V.deleted_at) < before)
        .where(schema.unindexed(_V.compare_at).is_(None), ~told, ~used)
        .order_by(_V.deleted_at, _V.created_at, _V.id)
    )


def _batches(
    database: Database, table: Table, due: Select[Any], archive: Archive | None
) -> Iterator[tuple[str, int]]:
    query = due.limit(BATCH)
    while True:
        with database.read() as connection:
            ids = list(connection.execute(query).scalars())
            rows = _rows(connection, table, ids) if archive is not None else {}
        if not ids:
            return
        if archive is not None:
            for name, found in rows.items():
                archive(name, found)
        database.write(lambda c: _delete(c, table, ids), landed=lambda c: False)  # noqa: B023
        yield table.name, len(ids)


def _parts(table: Table) -> Iterable[tuple[Table, Any]]:
    """A table's rows and those that belong to them, the latter first, each by the id of theirs."""
    if table is schema.operations:
        yield schema.events, schema.events.c.operation_id
    yield table, table.c.id


def _rows(connection: Connection, table: Table, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for part, key in reversed(list(_parts(table))):
        query = select(*schema.as_stored(part)).where(key.in_(ids)).order_by(part.c.id)
        found[part.name] = [dict(row) for row in connection.execute(query).mappings()]
    return found


def _delete(connection: Connection, table: Table, ids: list[str]) -> None:
    for part, key in _parts(table):
        connection.execute(delete(part).where(key.in_(ids)))
