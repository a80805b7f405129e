"""Conductors as rows: who lives, whom each serves, and who has gone without a word."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from volflow.models import OWNED, Conductor
from volflow.persistence import schema

_T = schema.conductors.c
_O = schema.operations.c
_OWNED = [state.value for state in OWNED]


class Row(NamedTuple):
    """What a conductor says of itself.

    :ivar owner: the name under which it owns operations; another one after each death that only
        a test plays.
    """

    id: str
    name: str
    owner: str
    host: str
    pid: int
    backends: tuple[str, ...]
    workers: int


def register(connection: Connection, row: Row, lease_seconds: float) -> None:
    """Note that a conductor has begun."""
    values: dict[str, Any] = row._asdict() | {"backends": list(row.backends)}
    now = schema.now()
    connection.execute(
        insert(schema.conductors).values(
            started_at=now, seen_at=now, lease_length=int(lease_seconds * 1e6), **values
        )
    )


def beat(connection: Connection, row: Row) -> bool:
    """Note that a conductor lives; False where somebody took it for dead and forgot it."""
    statement = (
        update(schema.conductors)
        .where(_T.id == row.id)
        .values(seen_at=schema.now(), owner=row.owner)
    )
    return connection.execute(statement).rowcount == 1


def forget(connection: Connection, conductor_ids: Sequence[str]) -> None:
    """Remove conductors that have ended."""
    if conductor_ids:
        connection.execute(delete(schema.conductors).where(_T.id.in_(list(conductor_ids))))


def find(connection: Connection) -> list[Conductor]:
    """All conductors, oldest first; ``alive`` is what their last sign of life says."""
    ended = _T.seen_at + _T.lease_length <= schema.now()
    query = select(schema.conductors, ended.label("ended")).order_by(_T.started_at, _T.id)
    rows = connection.execute(query).mappings().all()
    owners = [row["owner"] for row in rows]
    running = _running(connection, owners) if owners else {}
    return [
        Conductor(
            id=row["id"],
            name=row["name"],
            owner=row["owner"],
            host=row["host"],
            pid=row["pid"],
            backends=tuple(row["backends"]),
            workers=row["workers"],
            started_at=row["started_at"],
            seen_at=row["seen_at"],
            alive=not row["ended"],
            running=tuple(running.get(row["owner"], ())),
        )
        for row in rows
    ]


def _running(connection: Connection, owners: list[str]) -> dict[str, list[str]]:
    query = select(_O.owner, _O.id).where(_O.state.in_(_OWNED), _O.owner.in_(owners))
    found: dict[str, list[str]] = defaultdict(list)
    for owner, operation_id in connection.execute(query.order_by(_O.created_at)):
        found[owner].append(operation_id)
    return found
