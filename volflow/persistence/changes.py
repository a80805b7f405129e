"""Changes: what is not as it was when somebody looked last, at the cost of a few short looks.

Every commit of a run writes events, and their ids rise. Two transactions may commit in another
order than they took their ids, so that the last few ids are looked at again. What changes without
an event (a request to cancel, a deadline, a conductor's end) is seen in the rows of what is not
settled, the oldest ones, and of what somebody watches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Connection

from volflow.models import SETTLED, OperationState
from volflow.persistence import schema

WINDOW = 256
"""So many of the last events are looked at again."""

EVENTS = 2000
"""More events than these are no longer told apart: anything may have changed."""

UNSETTLED = 200
"""The rows of so many operations of each state that is not settled are compared."""

_E, _O, _V, _C = (
    table.c for table in (schema.events, schema.operations, schema.volumes, schema.conductors)
)
_LAST = select(func.max(_E.id))
_EVENTS = (
    select(_E.id, _E.operation_id).where(_E.id > bindparam("seen")).order_by(_E.id).limit(EVENTS)
)
_ROW = (
    _O.id,
    _O.volume_id,
    _O.state,
    _O.revision,
    _O.cancel_requested,
    schema.microseconds(_O.deadline),
    schema.microseconds(_O.retry_at),
)
_OPEN = (
    select(*_ROW)
    .where(_O.state == bindparam("state"))
    .order_by(_O.created_at, _O.id)
    .limit(UNSETTLED)
)
_THESE = select(*_ROW).where(_O.id.in_(bindparam("ids", expanding=True)))
_VOLUMES = select(_V.id, _V.revision).where(_V.id.in_(bindparam("ids", expanding=True)))
_CONDUCTORS = select(_C.id, _C.owner, (_C.seen_at + _C.lease_length <= schema.now())).limit(
    UNSETTLED
)


class Mark(NamedTuple):
    """What somebody saw when he looked.

    :ivar last: the highest id of an event.
    :ivar events: the ids of the last events.
    :ivar operations: id -> what may change in its row.
    :ivar volumes: id -> revision, of those that are watched.
    :ivar conductors: who lives.
    """

    last: int
    events: frozenset[int]
    operations: dict[str, tuple[Any, ...]]
    volumes: dict[str, int]
    conductors: frozenset[Any]


class Changes(NamedTuple):
    """What changed between two looks.

    :ivar mark: for the next look.
    :ivar everything: too much to be told apart.
    """

    mark: Mark
    operations: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    conductors: bool = False
    everything: bool = False

    def __bool__(self) -> bool:
        told = self.operations or self.volumes or self.conductors
        return bool(told or self.everything)


def look(
    connection: Connection,
    since: Mark | None,
    operations: Collection[str] = (),
    volumes: Collection[str] = (),
) -> Changes:
    """Say what changed.

    :param since: None: this is the first look, and nothing has changed.
    :param operations: ids of settled ones, too, that are watched; and so ``volumes``.
    """
    last = since.last if since is not None else connection.execute(_LAST).scalar() or 0
    fresh = _events(connection, last - WINDOW)
    ids = [key for key, _ in fresh]
    mark = Mark(
        max([last, *ids]),
        frozenset(ids[-WINDOW:]),
        _rows(connection, operations),
        _revisions(connection, volumes),
        frozenset(map(tuple, connection.execute(_CONDUCTORS))),
    )
    return Changes(mark) if since is None else _compared(connection, since, mark, fresh)


def _compared(
    connection: Connection, since: Mark, mark: Mark, fresh: list[tuple[int, str]]
) -> Changes:
    floor = since.last - WINDOW
    told = {owner for key, owner in fresh if key > floor and key not in since.events}
    told |= _different(since.operations, mark.operations)
    moved = _rows_of(connection, told - mark.operations.keys()) | mark.operations
    volumes = {moved[key][0] for key in told if key in moved}
    return Changes(
        mark,
        frozenset(told),
        frozenset(volumes | _different(since.volumes, mark.volumes)),
        since.conductors != mark.conductors,
        everything=len(fresh) == EVENTS,
    )


def _different(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """What is in both and differs: the other side of a page's end is no change."""
    return {key for key in before.keys() & after.keys() if before[key] != after[key]}


def _events(connection: Connection, seen: int) -> list[tuple[int, str]]:
    return [(key, owner) for key, owner in connection.execute(_EVENTS, {"seen": seen})]


def _rows(connection: Connection, watched: Collection[str]) -> dict[str, tuple[Any, ...]]:
    found = _rows_of(connection, watched)
    for state in OperationState:
        if state not in SETTLED:
            found |= _by_id(connection.execute(_OPEN, {"state": state.value}))
    return found


def _rows_of(connection: Connection, ids: Collection[str]) -> dict[str, tuple[Any, ...]]:
    return _by_id(connection.execute(_THESE, {"ids": list(ids)})) if ids else {}


def _by_id(rows: Iterable[Any]) -> dict[str, tuple[Any, ...]]:
    return {row[0]: tuple(row[1:]) for row in rows}


def _revisions(connection: Connection, ids: Collection[str]) -> dict[str, int]:
    if not ids:
        return {}
    found = connection.execute(_VOLUMES, {"ids": list(ids)})
    return {row.id: row.revision for row in found}
