"""Operations as rows: read, listed, found when they are due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, and_, bindparam, cast, or_, select, update
from sqlalchemy.engine import Connection

from volflow.exceptions import ErrorRecord
from volflow.models import SETTLED, Event, Operation, OperationKind, OperationState
from volflow.persistence import schema

_T = schema.operations.c
_BY_ID = select(schema.operations, schema.now().label("now")).where(_T.id == bindparam("id"))
_OWNED = (OperationState.RUNNING, OperationState.REVERTING)


@dataclass(frozen=True, slots=True)
class StoredOperation:
    """An operation with what only the core knows of it.

    :ivar arguments: what its calls were given, JSON.
    :ivar now: the database's clock when it was read.
    """

    record: Operation
    arguments: dict[str, Any]
    revision: int
    attempts: int
    retry_at: datetime | None
    cancel_requested: bool
    lease_length: timedelta
    now: datetime

    @property
    def id(self) -> str:
        """The operation's id."""
        return self.record.id

    @property
    def running(self) -> bool:
        """True while a run owns it, or should."""
        return self.record.state in _OWNED

    @property
    def lease_expired(self) -> bool:
        """True where the owner showed no life for its lease.

        A lease further ahead than its own length was given by a clock that was set back since.
        """
        end = self.record.lease_expires_at
        return end is None or end <= self.now or end > self.now + self.lease_length


def _stored(row: dict[str, Any]) -> StoredOperation:
    error, leftovers = row["error"], row["leftovers"] or []
    record = Operation(
        id=row["id"],
        kind=OperationKind(row["kind"]),
        state=OperationState(row["state"]),
        phase=row["phase"],
        volume_id=row["volume_id"],
        attachment_id=row["attachment_id"],
        backend=row["backend"],
        request_id=row["request_id"],
        error=None if error is None else ErrorRecord(*error),
        epoch=row["epoch"],
        owner=row["owner"],
        lease_expires_at=row["lease_expires_at"],
        deadline=row["deadline"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        leftovers=tuple(leftovers),
    )
    now = schema.Instant().process_result_value(row["now"], None)  # type: ignore[arg-type]
    assert now is not None
    return StoredOperation(
        record,
        row["arguments"],
        row["revision"],
        row["attempts"],
        row["retry_at"],
        row["cancel_requested"],
        timedelta(microseconds=row["lease_length"] or 0),
        now,
    )


def get(connection: Connection, operation_id: str) -> StoredOperation | None:
    """The operation, or None."""
    row = connection.execute(_BY_ID, {"id": operation_id}).mappings().one_or_none()
    return None if row is None else _stored(dict(row))


def find(
    connection: Connection,
    state: str | None = None,
    volume_id: str | None = None,
    limit: int | None = None,
    marker: str | None = None,
) -> list[Operation]:
    """Operations, oldest first; ``marker`` is the last id seen."""
    query = select(schema.operations, schema.now().label("now"))
    if state is not None:
        query = query.where(_T.state == state)
    if volume_id is not None:
        query = query.where(_T.volume_id == volume_id)
    if marker is not None:
        seen = select(_T.created_at).where(_T.id == marker).scalar_subquery()
        query = query.where(or_(_T.created_at > seen, and_(_T.created_at == seen, _T.id > marker)))
    query = query.order_by(_T.created_at, _T.id)
    if limit is not None:
        query = query.limit(limit)
    return [_stored(dict(row)).record for row in connection.execute(query).mappings().all()]


def unsettled(connection: Connection) -> list[StoredOperation]:
    """Every operation that is not settled, oldest first."""
    query = (
        select(schema.operations, schema.now().label("now"))
        .where(_T.state.in_([s.value for s in OperationState if s not in SETTLED]))
        .order_by(_T.created_at, _T.id)
    )
    return [_stored(dict(row)) for row in connection.execute(query).mappings().all()]


def take_over(
    connection: Connection, seen: StoredOperation, owner: str, lease_seconds: float
) -> bool:
    """Make an operation ours: raise its epoch, unless anything about it changed since ``seen``.

    A renewal of the lease changes its end, so that an owner that showed life keeps it.
    """
    lease = seen.record.lease_expires_at
    statement = (
        update(schema.operations)
        .where(
            _T.id == seen.id,
            _T.epoch == seen.record.epoch,
            _T.revision == seen.revision,
            _T.state == seen.record.state.value,
            _T.lease_expires_at.is_(None) if lease is None else _T.lease_expires_at == lease,
        )
        .values(
            epoch=_T.epoch + 1,
            revision=_T.revision + 1,
            owner=owner,
            lease_expires_at=schema.now() + cast(int(lease_seconds * 1e6), BigInteger),
            lease_length=int(lease_seconds * 1e6),
        )
    )
    return connection.execute(statement).rowcount == 1


def request_cancel(connection: Connection, operation_id: str, epoch: int) -> bool:
    """Flag a running operation, so that it undoes itself at its next barrier."""
    statement = (
        update(schema.operations)
        .where(_T.id == operation_id, _T.epoch == epoch, _T.state == OperationState.RUNNING.value)
        .values(cancel_requested=True)
    )
    return connection.execute(statement).rowcount == 1


def renew(connection: Connection, operation_id: str, epoch: int, lease_seconds: float) -> bool:
    """Extend the lease of a run; False where it lost its operation."""
    statement = (
        update(schema.operations)
        .where(
            _T.id == operation_id,
            _T.epoch == epoch,
            _T.state.in_([s.value for s in _OWNED]),
        )
        .values(lease_expires_at=schema.now() + cast(int(lease_seconds * 1e6), BigInteger))
    )
    return connection.execute(statement).rowcount == 1


def postpone(connection: Connection, seen: StoredOperation, seconds: float) -> bool:
    """Move the deadline of an operation that still waits as it did in ``seen``."""
    statement = (
        update(schema.operations)
        .where(
            _T.id == seen.id,
            _T.epoch == seen.record.epoch,
            _T.state == OperationState.WAITING.value,
        )
        .values(deadline=schema.now() + cast(int(seconds * 1e6), BigInteger))
    )
    return connection.execute(statement).rowcount == 1


def timeline(connection: Connection, operation_id: str) -> list[Event]:
    """The events of an operation, in the order they were written."""
    table = schema.events.c
    query = (
        select(table.operation_id, table.at, table.epoch, table.step, table.what, table.detail)
        .where(table.operation_id == operation_id)
        .order_by(table.id)
    )
    return [Event(*row) for row in connection.execute(query).all()]
