"""Snapshots: a volume, its live attachments and an operation of it, read by one statement.

One statement sees one state of the database whatever the isolation level is, and costs one way
to the server and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Table, and_, bindparam, select
from sqlalchemy.engine import Connection, Result

from volflow.persistence import operations, schema
from volflow.persistence.attachments import LIVE, Attachments, StoredAttachment
from volflow.persistence.operations import StoredOperation
from volflow.persistence.volumes import StoredVolume, Volumes

_TABLES = (schema.volumes, schema.attachments, schema.operations)
_V, _A, _O = (table.c for table in _TABLES)


@dataclass(frozen=True)
class Snapshot:
    """A volume, its live attachments, and the operation that owns it or that was asked for."""

    volume: StoredVolume
    attachments: list[StoredAttachment]
    operation: StoredOperation | None


def _query(volume_id: Any, operation_id: Any) -> Select[Any]:
    """Its rows: the volume and the operation with each attachment, or once with none."""
    columns = [
        column.label(f"{table.name}_{column.name}")
        for table in _TABLES
        for column in schema.as_stored(table)
    ]
    # An operation of another volume may stand here where a hand wrote it.
    mine = and_(_O.id == operation_id, _O.volume_id == _V.id)
    joined = schema.volumes.outerjoin(schema.attachments, LIVE).outerjoin(schema.operations, mine)
    return (
        select(*columns, schema.now().label("now"))
        .select_from(joined)
        .where(_V.id == volume_id)
        .order_by(_A.created_at, _A.id)
    )


_VOLUME: Any = bindparam("volume_id")
_ID: Any = bindparam("operation_id")
_THEIRS = schema.operations.alias().c
_OWNED = _query(_VOLUME, _V.operation_id)
_ASKED = _query(_VOLUME, _ID)
_OPERATION = _query(select(_THEIRS.volume_id).where(_THEIRS.id == _ID).scalar_subquery(), _ID)


class Snapshots:
    """Reads them.

    :raises DatabaseError: (each method) a row makes no sense to this release, or a secret cannot
        be read.
    """

    def __init__(self, volumes: Volumes, attachments: Attachments) -> None:
        self._volumes = volumes
        self._attachments = attachments

    def of_volume(
        self, connection: Connection, volume_id: str, operation_id: str | None = None
    ) -> Snapshot | None:
        """A volume with its owner or with the operation asked for; None: there never was one."""
        given = {"volume_id": volume_id}
        if operation_id is None:
            return self._found(connection.execute(_OWNED, given))
        return self._found(connection.execute(_ASKED, given | {"operation_id": operation_id}))

    def of_operation(self, connection: Connection, operation_id: str) -> Snapshot | None:
        """An operation with its volume; None: one of them never was."""
        return self._found(connection.execute(_OPERATION, {"operation_id": operation_id}))

    def _found(self, result: Result[Any]) -> Snapshot | None:
        rows = result.all()
        if not rows:
            return None
        first, now = rows[0], rows[0][-1]
        live = [part for row in rows if (part := _part(schema.attachments, row))["id"]]
        operation = _part(schema.operations, first)
        return Snapshot(
            self._volumes.stored(_part(schema.volumes, first)),
            [self._attachments.stored(part) for part in live],
            operations.stored(operation, now) if operation["id"] else None,
        )


_PLACES: dict[str, tuple[int, tuple[str, ...]]] = {}
for _table in _TABLES:
    _PLACES[_table.name] = (
        sum(len(names) for _, names in _PLACES.values()),
        tuple(column.name for column in _table.c),
    )


def _part(table: Table, row: Any) -> dict[str, Any]:
    """What a row has of one table."""
    start, names = _PLACES[table.name]
    return dict(zip(names, row[start : start + len(names)], strict=True))
