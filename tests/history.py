"""Years of use: what a database holds is doubled, again and again, by statements of its own.

A row's copy differs from it in one character of its ids and is younger by a while, so that all
that belongs together stays together.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, Table, case, func, insert, literal, null, select

from volflow import RequestContext, VolumeManager
from volflow.models import SETTLED
from volflow.persistence import schema
from volflow.persistence.schema import Instant

PLACES = [place for place in range(1, 37) if place not in (9, 14, 15, 19, 20, 24)]
"""Of an id's characters those that a copy may change, so that it stays one of a UUID."""

_PARTS = (schema.operations, schema.events)
_YOUNGER = 1_000_000
"""Microseconds by which the first copies are younger; those of each doubling twice as much."""


HOST = {"initiator": "iqn.1994-05.org.example:years", "host": "years"}


def use(manager: VolumeManager, context: RequestContext, cycles: int, deleted: bool) -> str:
    """Make a volume, attach and detach it so many times, and delete it or not; return its id."""
    volume = manager.create_volume(context, 1, "lab")
    for _ in range(cycles):
        manager.attach_volume(context, volume.id, HOST, host_name="years")
        manager.detach_volume(context, volume.id)
    if deleted:
        manager.delete_volume(context, volume.id)
    return volume.id


def grow(connection: Connection, rounds: range, volumes: bool = True) -> None:
    """Double everything, a round at a time; no database may have the same round twice.

    :param volumes: the volumes too, with what is not settled; else only what has ended.
    """
    for round_ in rounds:
        for table in (schema.volumes, schema.attachments, *_PARTS)[not volumes :]:
            _double(connection, table, round_, volumes)


def _double(connection: Connection, table: Table, round_: int, volumes: bool) -> None:
    columns = [column for column in table.c if column is not schema.events.c.id]
    copies = select(*(_copied(column, round_, volumes) for column in columns))
    if not volumes:
        copies = _ended(copies, table)
    connection.execute(insert(table).from_select(columns, copies, include_defaults=False))


def _copied(column: Any, round_: int, volumes: bool) -> Any:
    keys = {"id", "attachment_id", "operation_id"} | ({"volume_id"} if volumes else set())
    if column.name in keys:
        return _other(column, PLACES[round_])
    if column.name in ("compare_at", "unsure_until"):
        return null()  # of a copy there is no doubt
    if isinstance(column.type, Instant):
        return schema.microseconds(column) + _YOUNGER * 2**round_
    return column


def _other(column: Any, place: int) -> Any:
    here = func.substr(column, place, 1)
    other = case((here == "0", literal("1")), else_=literal("0"))
    return func.substr(column, 1, place - 1) + other + func.substr(column, place + 1)


def _ended(copies: Select[Any], table: Table) -> Select[Any]:
    operations, attachments = schema.operations.c, schema.attachments.c
    ended = select(operations.id).where(operations.state.in_([s.value for s in SETTLED]))
    if table is schema.operations:
        return copies.where(operations.id.in_(ended))
    if table is schema.attachments:
        return copies.where(attachments.detached_at.is_not(None))
    return copies.where(table.c.operation_id.in_(ended))
