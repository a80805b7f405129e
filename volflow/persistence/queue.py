"""The queue: operations that wait for a conductor, most urgent first, and who is about to run one.

The rows of the operations are the queue. A claim only keeps conductors from running for the same
job: who runs an operation is decided by the first commit of its run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Select, bindparam, cast, func, insert, or_, select, text, update
from sqlalchemy.engine import Connection

from volflow.exceptions import ErrorRecord
from volflow.models import OWNED, SETTLED, OperationState
from volflow.persistence import schema

_T = schema.operations.c
_B = schema.backends.c
_OWNED = [state.value for state in OWNED]
_QUEUED = _T.state == OperationState.QUEUED.value
_BATCH = 500


class Full(Exception):
    """A backend runs as many operations as it may; nothing was done."""

    def __init__(self, backend: str, limit: int) -> None:
        super().__init__(f"backend {backend} runs {limit} operations already")
        self.backend = backend


class Queued(NamedTuple):
    """An operation that waits for a conductor.

    :ivar claimed_by: who is about to run it, or was; see ``claimed``.
    """

    id: str
    backend: str
    priority: int
    claimed_by: str | None
    claimed: bool


def _later(seconds: float) -> Any:
    return schema.now() + cast(int(seconds * 1e6), BigInteger)


def _free(who: str | None) -> Any:
    """Nobody has claimed it, or not long enough ago, or ``who`` has."""
    ended = [_T.claim_expires_at.is_(None), _T.claim_expires_at <= cast(schema.now(), BigInteger)]
    return or_(*ended, *([_T.claimed_by == who] if who else []))


# What there is to do


class Offered(NamedTuple):
    """What may be run now.

    :ivar ids: of operations, most urgent first: by priority, then by age.
    :ivar held_back: there may be more as soon as another operation ends.
    """

    ids: list[str]
    held_back: bool


def _full() -> Select[Any]:
    """Those of the backends that run as many operations as they may."""
    run = schema.operations.alias()
    return (
        select(_B.name)
        .join_from(schema.backends, run, run.c.backend == _B.name)
        .where(_B.name.in_(_BACKENDS), _B.max_running.is_not(None), run.c.state.in_(_OWNED))
        .group_by(_B.name, _B.max_running)
        .having(func.count() >= _B.max_running)
    )


def _offered() -> Select[Any]:
    query = select(_T.id, _full().exists().label("held_back")).where(
        _QUEUED,
        _T.backend.in_(_BACKENDS),
        _T.backend.not_in(_full()),
        _T.cancel_requested.is_(False),
        or_(_T.retry_at.is_(None), _T.retry_at <= cast(schema.now(), BigInteger)),
        _free(None),
    )
    return _by_urgency(query).limit(bindparam("most"))


def _by_urgency(query: Select[Any]) -> Select[Any]:
    return query.order_by(_T.priority.desc(), _T.created_at, _T.id)


_BACKENDS: Any = bindparam("backends", expanding=True)
_FULL, _OFFERED = _full(), _offered()  # made once: that takes longer than the database does


def offered(connection: Connection, backends: Collection[str], limit: int) -> Offered:
    """What may be run now of the operations of some backends.

    Left out is what a conductor has claimed, what could not be read a moment ago, what is to be
    cancelled, and what belongs to a backend that runs as many operations as it may.
    """
    given = {"backends": list(backends)}
    rows = connection.execute(_OFFERED, given | {"most": limit}).all()
    if rows:
        return Offered([row.id for row in rows], bool(rows[0].held_back))
    return Offered([], connection.execute(_FULL, given).first() is not None)


def everything(connection: Connection) -> list[Queued]:
    """All operations that are queued, most urgent first."""
    query = _by_urgency(
        select(_T.id, _T.backend, _T.priority, _T.claimed_by, ~_free(None)).where(_QUEUED)
    )
    return [Queued._make(row) for row in connection.execute(query)]


def find(connection: Connection, operation_id: str) -> Queued | None:
    """An operation, where it is queued."""
    query = select(_T.id, _T.backend, _T.priority, _T.claimed_by, ~_free(None))
    row = connection.execute(query.where(_QUEUED, _T.id == operation_id)).one_or_none()
    return None if row is None else Queued._make(row)


def settled(connection: Connection, operation_ids: Iterable[str]) -> set[str]:
    """Those of the operations that no run will ever change again."""
    ids, found = list(operation_ids), set[str]()
    states = [state.value for state in SETTLED]
    for start in range(0, len(ids), _BATCH):
        query = select(_T.id).where(_T.id.in_(ids[start : start + _BATCH]), _T.state.in_(states))
        found.update(connection.execute(query).scalars())
    return found


# Claims


def claim(connection: Connection, operation_id: str, who: str, seconds: float) -> bool:
    """Keep other conductors from running for an operation that is queued.

    :returns: False where another one has it, or it is not queued any more.
    """
    if connection.dialect.name == "postgresql":
        # A claim that is lost with the server costs nothing: it need not wait for the disk.
        connection.execute(text("SET LOCAL synchronous_commit TO OFF"))
    mine = [_T.id == operation_id, _QUEUED, _free(who)]
    query = select(_T.id).where(*mine)
    if _skips_locked(connection):
        query = query.with_for_update(skip_locked=True)
        if connection.execute(query).one_or_none() is None:
            return False
    statement = (
        update(schema.operations)
        .where(*mine)
        .values(claimed_by=who, claim_expires_at=_later(seconds))
    )
    return connection.execute(statement).rowcount == 1


def renew(connection: Connection, operation_ids: Collection[str], who: str, seconds: float) -> int:
    """Claim operations for longer that are still queued; return how many are."""
    statement = (
        update(schema.operations)
        .where(_T.id.in_(list(operation_ids)), _QUEUED, _T.claimed_by == who)
        .values(claim_expires_at=_later(seconds))
    )
    return connection.execute(statement).rowcount


def abandon(connection: Connection, operation_id: str, who: str) -> bool:
    """Let others claim an operation that is queued."""
    statement = (
        update(schema.operations)
        .where(_T.id == operation_id, _QUEUED, _T.claimed_by == who)
        .values(claimed_by=None, claim_expires_at=None)
    )
    return connection.execute(statement).rowcount == 1


def give_back(connection: Connection, names: Collection[str]) -> None:
    """Let others claim what some have claimed."""
    statement = update(schema.operations).where(_QUEUED, _T.claimed_by.in_(list(names)))
    connection.execute(statement.values(claimed_by=None, claim_expires_at=None))


def _skips_locked(connection: Connection) -> bool:
    dialect: Any = connection.dialect
    if dialect.name == "postgresql":
        return True
    if dialect.name not in ("mysql", "mariadb"):
        return False
    oldest = (10, 6) if dialect.is_mariadb else (8, 0, 1)
    return bool(dialect.server_version_info >= oldest)


# How many at a time


def limits(connection: Connection) -> dict[str, int | None]:
    """How many operations backends may run at a time; None: any number."""
    found = connection.execute(select(_B.name, _B.max_running)).all()
    return {row.name: row.max_running for row in found}


def limit(connection: Connection, limits: Mapping[str, int | None]) -> None:
    """Set how many operations backends may run at a time."""
    for name, most in sorted(limits.items()):
        statement = update(schema.backends).where(_B.name == name).values(max_running=most)
        if connection.execute(statement).rowcount == 0:
            connection.execute(insert(schema.backends).values(name=name, max_running=most))


def admit(connection: Connection, backend: str) -> None:
    """Check that one more operation of a backend may run; the first thing of a transaction.

    Whoever begins one changes the backend's row first, so that no two count at the same time.

    :raises Full: as many run as may.
    """
    statement = (
        update(schema.backends)
        .where(_B.name == backend, _B.max_running.is_not(None))
        .values(claims=_B.claims + 1)
    )
    if connection.execute(statement).rowcount == 0:
        return
    limit = connection.execute(select(_B.max_running).where(_B.name == backend)).scalar_one()
    if running(connection, backend) >= limit:
        raise Full(backend, limit)


def running(connection: Connection, backend: str) -> int:
    """How many operations of a backend run now."""
    query = select(func.count()).where(_T.backend == backend, _T.state.in_(_OWNED))
    return int(connection.execute(query).scalar_one())


# What is not on the board, and what cannot be read


def repost(connection: Connection, operation_id: str, seen: datetime | None) -> bool:
    """Take it on oneself to post an operation's job anew; False where another one has.

    :param seen: when it was posted, as far as one knows.
    """
    statement = (
        update(schema.operations)
        .where(_T.id == operation_id, _QUEUED, _T.posted_at == seen)
        .values(posted_at=schema.now())
    )
    return connection.execute(statement).rowcount == 1


def not_loaded(
    connection: Connection, operation_id: str, error: ErrorRecord, seconds: float, most: int
) -> bool:
    """Count that a queued operation could not be read; at last it needs attention.

    :param seconds: how long until it is tried again.
    :param most: how often it is tried.
    :returns: True where it needs attention now.
    """
    mine = [_T.id == operation_id, _QUEUED]
    later = _later(seconds)
    park = (
        update(schema.operations)
        .where(*mine, _T.attempts >= most - 1)
        .values(
            state=OperationState.NEEDS_ATTENTION.value,
            error=list(error),
            epoch=_T.epoch + 1,
            revision=_T.revision + 1,
            attempts=_T.attempts + 1,
            retry_at=later,
            claimed_by=None,
            claim_expires_at=None,
        )
    )
    if connection.execute(park).rowcount == 1:
        return True
    count = update(schema.operations).where(*mine)
    connection.execute(count.values(attempts=_T.attempts + 1, retry_at=later))
    return False
