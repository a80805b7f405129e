"""Operations as rows: read, listed, found when they are due."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import BigInteger, bindparam, cast, select, update
from sqlalchemy.engine import Connection, RowMapping

from volflow.exceptions import DatabaseError, ErrorRecord
from volflow.models import OWNED, Event, Operation, OperationKind, OperationState
from volflow.persistence import flows, schema, volumes
from volflow.persistence.audit import OPEN
from volflow.persistence.flows import StoredFlow
from volflow.persistence.pages import page
from volflow.persistence.work import FromNow, conditional_update

LOG = logging.getLogger(__name__)

_T = schema.operations.c
_ALL = select(*schema.as_stored(schema.operations), schema.now().label("now"))
_BY_ID = _ALL.where(_T.id == bindparam("id"))

_UNSETTLED = _ALL.where(OPEN)
_TIMELINE = (
    select(*schema.as_stored(schema.events))
    .where(schema.events.c.operation_id == bindparam("operation_id"))
    .order_by(schema.events.c.id)
)
_RUN_OF = select(_T.run_id, _T.epoch).where(_T.id == bindparam("id"))


@dataclass(frozen=True)
class StoredOperation:
    """An operation with what only the core knows of it.

    :ivar arguments: what its calls were given, JSON.
    :ivar now: the database's clock when it was read.
    :ivar posted_at: when its job was last posted; None: it was never submitted.
    :ivar document: its flows, as they are stored.
    """

    record: Operation
    arguments: dict[str, Any]
    revision: int
    attempts: int
    retry_at: datetime | None
    cancel_requested: bool
    lease_length: timedelta
    now: datetime
    posted_at: datetime | None = None
    document: str | None = None

    @cached_property
    def flows(self) -> list[StoredFlow]:
        """The attempts of its phases, first one first; a run goes on with these.

        :raises DatabaseError: they make no sense to this release.
        """
        return flows.read(self.document, self.id)

    @property
    def id(self) -> str:
        """The operation's id."""
        return self.record.id

    @property
    def resting_state(self) -> OperationState:
        """Its state, or the one that it comes back to once its volume is restored."""
        rests = self.arguments.get("rests") if self.running else None
        return OperationState(rests["state"]) if rests else self.record.state

    @property
    def running(self) -> bool:
        """True while a run owns it, or should."""
        return self.record.state in OWNED

    @property
    def lease_expired(self) -> bool:
        """True where the owner showed no life for its lease."""
        end = self.record.lease_expires_at
        return end is None or end <= self.now

    @property
    def lease_is_off(self) -> bool:
        """True where the clock was set back since the lease was given: it ends too far ahead."""
        end = self.record.lease_expires_at
        return end is not None and end - self.now > 2 * self.lease_length


def _stored(row: dict[str, Any], now: int) -> StoredOperation:
    """A row that is understood.

    :raises ValueError, TypeError, LookupError: it makes no sense to this release.
    """
    error, leftovers = row["error"], row["leftovers"] or []
    _require_shape(row["arguments"], error, leftovers)
    at = schema.Instant.read(now)
    assert at is not None
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
        priority=row["priority"],
    )
    return StoredOperation(
        record,
        row["arguments"],
        row["revision"],
        row["attempts"],
        row["retry_at"],
        row["cancel_requested"],
        timedelta(microseconds=row["lease_length"] or 0),
        at,
        row["posted_at"],
        row["flows"],
    )


def _require_shape(arguments: Any, error: Any, leftovers: Any) -> None:
    """Check what is JSON, and so may be anything."""
    if not isinstance(arguments, dict):
        raise ValueError("arguments is no JSON object")
    if rests := arguments.get("rests"):
        OperationState(rests["state"])
        str(rests["phase"])
    if error is not None and not (_are_texts(error) and len(error) == len(ErrorRecord._fields)):
        raise ValueError("error is no pair of a class's name and a message")
    if not _are_texts(leftovers):
        raise ValueError("leftovers is no list of sentences")


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def get(connection: Connection, operation_id: str) -> StoredOperation | None:
    """The operation, or None.

    :raises DatabaseError: its row makes no sense to this release.
    """
    row = connection.execute(_BY_ID, {"id": operation_id}).mappings().one_or_none()
    return None if row is None else stored(row, row["now"])


def stored(row: Mapping[Any, Any], now: int) -> StoredOperation:
    """The operation of a row, as it is stored.

    :param now: the database's clock.
    :raises DatabaseError: it makes no sense to this release.
    """
    try:
        return _stored(schema.understood(schema.operations, row), now)
    except (ValueError, TypeError, LookupError) as e:
        LOG.error("operation %s cannot be read: %s", row["id"], e)  # noqa: TRY400
        raise DatabaseError(
            f"the row of operation {row['id']} makes no sense to this release"
        ) from None


def find(
    connection: Connection,
    state: str | None = None,
    volume_id: str | None = None,
    limit: int | None = None,
    marker: str | None = None,
) -> list[Operation]:
    """Operations, oldest first; ``marker`` is the last id seen.

    :raises InvalidInput: there is no operation of that id.
    """
    query = _ALL
    if state is not None:
        query = query.where(_T.state == state)
    if volume_id is not None:
        query = query.where(_T.volume_id == volume_id)
    found, _ = _readable(page(connection, query, schema.operations, marker, limit))
    return [stored.record for stored in found]


def of_ids(connection: Connection, ids: Sequence[str]) -> tuple[list[StoredOperation], list[str]]:
    """The operations of these ids, in their order; and the ids of those that are unreadable."""
    rows = connection.execute(_ALL.where(_T.id.in_(ids))).mappings().all() if ids else []
    return _readable(sorted(rows, key=lambda row: ids.index(row["id"])))


def unsettled(connection: Connection) -> tuple[list[StoredOperation], list[str]]:
    """Every operation that is not settled, oldest first; and the ids of those that are unreadable.

    One row that another release wrote, or a hand, does not hide the others.
    """
    # They are few: SQLite, asked for them in order, would read all there are instead.
    found, unreadable = _readable(connection.execute(_UNSETTLED).mappings().all())
    return sorted(found, key=lambda s: (s.record.created_at, s.id)), sorted(unreadable)


def _readable(rows: Iterable[RowMapping]) -> tuple[list[StoredOperation], list[str]]:
    found: list[StoredOperation] = []
    unreadable: list[str] = []
    for row in rows:
        try:
            found.append(stored(row, row["now"]))
        except DatabaseError:
            unreadable.append(row["id"])
    return found, unreadable


def take_over(
    connection: Connection,
    seen: StoredOperation,
    owner: str,
    run_id: str,
    lease_seconds: float,
    state: OperationState,
    unsure_seconds: float | None = None,
) -> bool:
    """Make an operation ours: raise its epoch, unless anything about it changed since ``seen``.

    A renewal of the lease changes its end, so that an owner that showed life keeps it. What is
    settled stays so.

    :param run_id: tells this takeover from those of other threads under the same name.
    :param state: running or reverting, as the run that follows goes.
    :param unsure_seconds: how long an effect of its former owner's may still come, after which
        the volume is compared with its backend; None: there is none.
    """
    if seen.record.settled:
        return False
    record = seen.record
    values = {
        "state": state.value,
        "epoch": record.epoch + 1,
        "revision": seen.revision + 1,
        "run_id": run_id,
        "owner": owner,
        "lease_expires_at": FromNow(lease_seconds),
        "lease_length": int(lease_seconds * 1e6),
    }
    expected = {
        "epoch": record.epoch,
        "revision": seen.revision,
        "state": record.state.value,
        "lease_expires_at": record.lease_expires_at,
    }
    if conditional_update(connection, "operations", seen.id, values, expected) != 1:
        return False
    if unsure_seconds is not None:
        volumes.compare_later(connection, seen.record.volume_id, unsure_seconds)
    return True


def run_of(connection: Connection, operation_id: str) -> tuple[str | None, int] | None:
    """The run that committed last, or took the operation over, and its epoch."""
    row = connection.execute(_RUN_OF, {"id": operation_id}).one_or_none()
    return None if row is None else (row.run_id, row.epoch)


def request_cancel(connection: Connection, operation_id: str, epoch: int) -> bool:
    """Flag an operation, so that it undoes itself at its next barrier, or where it would wait."""
    states = (*OWNED, OperationState.NEEDS_ATTENTION)
    statement = (
        update(schema.operations)
        .where(_T.id == operation_id, _T.epoch == epoch, _T.state.in_([s.value for s in states]))
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
            _T.state.in_([s.value for s in OWNED]),
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
            _T.revision == seen.revision,
            _T.state == OperationState.WAITING.value,
        )
        .values(
            revision=seen.revision + 1,
            deadline=schema.now() + cast(int(seconds * 1e6), BigInteger),
        )
    )
    return connection.execute(statement).rowcount == 1


def release(connection: Connection, operation_id: str, epoch: int, owner: str) -> bool:
    """Give an operation up whose run ended before its end, so that nobody waits for its lease."""
    statement = (
        update(schema.operations)
        .where(
            _T.id == operation_id,
            _T.epoch == epoch,
            _T.owner == owner,
            _T.state.in_([s.value for s in OWNED]),
        )
        .values(owner=None, lease_expires_at=None)
    )
    return connection.execute(statement).rowcount == 1


def timeline(connection: Connection, operation_id: str, last: int | None = None) -> list[Event]:
    """The events of an operation, in the order they were written, without unreadable ones.

    :param last: only so many of the last ones.
    """
    query = _TIMELINE
    if last is not None:
        query = _TIMELINE.order_by(None).order_by(schema.events.c.id.desc()).limit(last)
    rows = connection.execute(query, {"operation_id": operation_id}).mappings().all()
    found = []
    for row in rows if last is None else reversed(rows):
        try:
            found.append(_event(schema.understood(schema.events, row)))
        except (ValueError, TypeError) as e:
            LOG.error("event %s cannot be read: %s", row["id"], e)  # noqa: TRY400
    return found


def _event(row: dict[str, Any]) -> Event:
    del row["id"]
    return Event(**row)
