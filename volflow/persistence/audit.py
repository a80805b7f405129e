"""Questions to the whole database: what does not fit together, and what is to be compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    and_,
    bindparam,
    cast,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from volflow.models import SETTLED, TRANSITIONAL, AttachStatus, OperationState, VolumeStatus
from volflow.persistence import schema
from volflow.persistence.attachments import LIVE

_V = schema.volumes.c
_A = schema.attachments.c
_O = schema.operations.c
_SETTLED = [state.value for state in SETTLED]

OPEN = schema.other_than(_O.state, _SETTLED)
"""What an operation is that is not settled."""

_IS_CRIPPLED = and_(
    OPEN,
    _O.state != OperationState.QUEUED.value,
    or_(
        _O.owner.is_(None),
        _O.lease_expires_at.is_(None),
        _O.lease_expires_at <= cast(schema.now(), BigInteger),
    ),
    or_(
        _O.flows.is_(None),
        and_(_O.attachment_id.is_not(None), ~exists().where(_A.id == _O.attachment_id)),
    ),
)
_BATCH = 1000
_OF_BACKEND = _V.backend == bindparam("backend")

# What recovery asks each time it runs: made once, they are compiled and looked up once.
_ASKED = (
    select(
        _V.backend,
        _V.id,
        schema.microseconds(_V.compare_at),
        schema.microseconds(_V.unsure_until),
        schema.now(),
        exists().where(LIVE),
    )
    .where(
        _V.compare_at.is_not(None),
        schema.unindexed(_V.backend).in_(bindparam("backends", expanding=True)),
    )
    .order_by(_V.compare_at)
    .limit(_BATCH)
)
_WAITING = select(_V.id).where(
    schema.unindexed(_V.backend) == bindparam("backend"),
    _V.compare_attempts > 0,
    _V.compare_at > cast(schema.now(), BigInteger),
)
_ACCESSES = (
    select(_A.volume_id, _A.initiator)
    .join(schema.volumes, _V.id == _A.volume_id)
    .where(
        _OF_BACKEND,
        _A.detached_at.is_(None),
        _A.initiator.is_not(None),
        _A.attach_status.not_in([AttachStatus.RESERVED.value, AttachStatus.DETACHED.value]),
    )
)


class Asked(NamedTuple):
    """A volume that is to be compared with its backend; times are microseconds.

    :ivar at: when, as it is stored.
    :ivar doubt: until when an effect may still come; None: none may.
    :ivar now: the database's clock.
    :ivar attached: somebody needs its export.
    """

    backend: str
    volume_id: str
    at: int
    doubt: int | None
    now: int
    attached: bool


def asked_comparisons(connection: Connection, backends: Iterable[str]) -> list[Asked]:
    """The volumes that are to be compared, now or later, also deleted ones; the next ones first.

    A time that a hand wrote and that is none is left out.
    """
    found = connection.execute(_ASKED, {"backends": list(backends)})
    asked = [Asked(*row) for row in found]
    return [
        one._replace(attached=bool(one.attached))
        for one in asked
        if isinstance(one.at, int) and isinstance(one.doubt, int | None)
    ]


def waiting_repairs(connection: Connection, backend: str) -> set[str]:
    """The volumes of a backend whose repair has failed, and is to be tried again later."""
    return set(connection.execute(_WAITING, {"backend": backend}).scalars())


def accesses(connection: Connection, backend: str) -> dict[str, set[str]]:
    """``{volume id: keys of initiators}`` that were let in, or may have been, by the rows."""
    found: dict[str, set[str]] = defaultdict(set)
    for volume_id, initiator in connection.execute(_ACCESSES, {"backend": backend}):
        found[volume_id].add(initiator)
    return found


def unowned(connection: Connection, backend: str) -> list[str]:
    """Volumes on their way, or owned, without an operation that brings them on."""
    owner = exists().where(
        _O.id == _V.operation_id, _O.volume_id == _V.id, _O.state.not_in(_SETTLED)
    )
    moving = _V.status.in_([status.value for status in TRANSITIONAL])
    query = select(_V.id).where(
        _V.backend == backend,
        _V.deleted_at.is_(None),
        or_(_V.operation_id.is_not(None), moving),
        ~owner,
    )
    return list(connection.execute(query).scalars())


def contradictory(connection: Connection, backend: str) -> list[str]:
    """Volumes at rest whose status may not be what their attachments say."""
    attached = exists().where(LIVE, _A.attach_status == AttachStatus.ATTACHED.value)
    moving = exists().where(LIVE, _A.attach_status != AttachStatus.ATTACHED.value)
    in_use = _V.status == VolumeStatus.IN_USE.value
    query = select(_V.id).where(
        _V.backend == backend,
        _V.deleted_at.is_(None),
        _V.operation_id.is_(None),
        _V.status.not_in([status.value for status in TRANSITIONAL]),
        or_(moving, and_(in_use, ~attached), and_(~in_use, attached)),
    )
    return list(connection.execute(query).scalars())


def astray(connection: Connection, backend: str) -> list[str]:
    """Operations that are not settled and own no volume."""
    query = (
        select(_O.id)
        .join(schema.volumes, _V.id == _O.volume_id, isouter=True)
        .where(
            _O.backend == backend,
            OPEN,
            or_(_V.id.is_(None), _V.operation_id.is_(None), _V.operation_id != _O.id),
        )
    )
    return list(connection.execute(query).scalars())


def crippled(connection: Connection, backend: str) -> list[tuple[str, str]]:
    """``(operation, volume)`` where the rows are gone by which an operation would be brought on.

    Only what nobody runs now; what is queued has none of them yet.
    """
    query = select(_O.id, _O.volume_id).where(_O.backend == backend, _IS_CRIPPLED)
    return [(key, volume_id) for key, volume_id in connection.execute(query)]


def end_astray(connection: Connection, operation_id: str, reason: Sequence[str]) -> bool:
    """Settle an operation that owns no volume, or that nothing can bring on.

    Its epoch rises, so that no run of it goes on.

    :param reason: class name and message of the error to keep.
    """
    owned = exists().where(_V.operation_id == operation_id)
    statement = (
        update(schema.operations)
        .where(_O.id == operation_id, _O.state.not_in(_SETTLED), or_(~owned, _IS_CRIPPLED))
        .values(
            state=OperationState.ROLLED_BACK.value,
            epoch=_O.epoch + 1,
            revision=_O.revision + 1,
            error=list(reason),
            owner=None,
            lease_expires_at=None,
            deadline=None,
            retry_at=None,
            finished_at=schema.now(),
        )
    )
    return connection.execute(statement).rowcount == 1


def orphans(connection: Connection) -> list[tuple[str, str]]:
    """``(attachment, volume)`` of live attachments whose volume the database never had."""
    missing = ~exists().where(_V.id == _A.volume_id)
    query = select(_A.id, _A.volume_id).where(_A.detached_at.is_(None), missing).order_by(_A.id)
    return [(key, volume_id) for key, volume_id in connection.execute(query)]


def volume_ids(connection: Connection, backend: str) -> list[str]:
    """All volumes of a backend that are not deleted."""
    query = select(_V.id).where(_V.backend == backend, _V.deleted_at.is_(None)).order_by(_V.id)
    return list(connection.execute(query).scalars())
