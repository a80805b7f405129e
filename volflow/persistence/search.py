"""Search: pages of operations and volumes, newest first, each at the cost of one page.

A page follows an index of one condition, in the order of ``(created_at, id)``, and looks at so
many rows at most: where the other conditions are met by few of them the page is short, and its
marker leads on from the last row that was looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Table, and_, cast, func, or_, select
from sqlalchemy.engine import Connection

from volflow.models import OWNED, SETTLED, OperationState
from volflow.persistence import schema
from volflow.persistence.pages import order

EXAMINED = 2000
"""How many rows of an index a page looks at."""

VOLUMES_NAMED = 20
"""Of how many volumes that a text finds the operations are looked for."""

ID_CHARACTERS = 4
"""A shorter text is no beginning of an id: too many would be found."""

COUNTED = 1000
"""A count ends there."""

_V, _O = schema.volumes.c, schema.operations.c
_LIVE = _V.deleted_at.is_(None)

Key = tuple[int, str]
"""``(created_at, id)``, the order of a page."""


class Found(NamedTuple):
    """The ids of a page.

    :ivar marker: the id after which the next page begins; None: there is none.
    :ivar cut: more is found by the text than is shown on any page.
    """

    ids: list[str]
    marker: str | None
    cut: bool


class _Source(NamedTuple):
    """A part of what is found.

    :ivar until: where it ends, though there may be more; None: that is all.
    """

    keys: list[Key]
    until: Key | None
    cut: bool = False


def operations(
    connection: Connection,
    wanted: dict[str, str],
    text: str | None,
    limit: int,
    marker: str | None,
) -> Found:
    """Find operations.

    :param wanted: ``state``, ``kind``, ``backend``, ``volume_id``: those that are to be met.
    :param text: the beginning of an id, of their volume's id or of its name.
    :raises LookupError: there is no operation ``marker``.
    """
    after = _key_of(connection, schema.operations, marker)
    conditions = {name: _O[name] == value for name, value in wanted.items()}
    if text is None:
        driving = _driving(wanted)
        index = [] if driving is None else [conditions.pop(driving)]
        rest = list(conditions.values())
        return _merged([_source(connection, schema.operations, index, rest, limit, after)], limit)
    rest = list(conditions.values())
    named, cut = _named(connection, text)
    sources = [
        _source(connection, schema.operations, [_O.volume_id == volume_id], rest, limit, after)
        for volume_id in named
    ]
    beginning = _id_range(_O.id, text)
    if beginning is not None:
        sources.append(_unordered(connection, schema.operations, beginning, rest, after))
    found = _merged(sources, limit)
    return found._replace(cut=found.cut or cut)


def _driving(wanted: dict[str, str]) -> str | None:
    """The condition whose index is followed: the one that the fewest are likely to meet."""
    if "volume_id" in wanted:
        return "volume_id"
    if wanted.get("state", OperationState.SUCCEEDED) != OperationState.SUCCEEDED:
        return "state"
    return next((name for name in ("kind", "backend", "state") if name in wanted), None)


def volumes(
    connection: Connection,
    wanted: dict[str, str],
    text: str | None,
    limit: int,
    marker: str | None,
) -> Found:
    """Find volumes that are not deleted.

    :param wanted: ``status``, ``backend``: those that are to be met.
    :param text: the beginning of an id or a name.
    :raises LookupError: there is no volume ``marker``.
    """
    after = _key_of(connection, schema.volumes, marker)
    conditions = {name: _V[name] == value for name, value in wanted.items()}
    if text is None:
        driving = next((name for name in ("status", "backend") if name in wanted), None)
        index = [_LIVE, *([] if driving is None else [conditions.pop(driving)])]
        rest = list(conditions.values())
        return _merged([_source(connection, schema.volumes, index, rest, limit, after)], limit)
    rest = [_LIVE, *conditions.values()]
    sources = [
        _unordered(connection, schema.volumes, beginning, rest, after)
        for beginning in (_name_range(connection, text), _id_range(_V.id, text))
        if beginning is not None
    ]
    return _merged(sources, limit)


def stranded(connection: Connection, limit: int) -> list[str]:
    """Operations that somebody should have brought on by now, the oldest first.

    Those whose owner showed no life for its lease, and those whose caller did not come back.
    """
    now = cast(schema.now(), BigInteger)
    abandoned = and_(
        _O.state.in_([state.value for state in OWNED]),
        or_(_O.lease_expires_at.is_(None), schema.microseconds(_O.lease_expires_at) <= now),
    )
    overdue = and_(
        _O.state == OperationState.WAITING.value, schema.microseconds(_O.deadline) <= now
    )
    query = select(*_key(schema.operations)).where(or_(abandoned, overdue))
    # They are few, as all that is not settled: see operations.unsettled. A hand may have written
    # a time that is none.
    rows = connection.execute(query).all()
    found = sorted(rows, key=lambda row: (str(row.created).zfill(20), row.id))
    return [row.id for row in found[:limit]]


def volume_names(connection: Connection, volume_ids: Iterable[str]) -> dict[str, str | None]:
    """The names of volumes, also of deleted ones."""
    query = select(_V.id, _V.name).where(_V.id.in_(set(volume_ids)))
    return {row.id: row.name for row in connection.execute(query)}


def backends(connection: Connection) -> list[str]:
    """The backends that have volumes, one look into an index each."""
    found: list[str] = []
    query = select(func.min(_V.backend)).where(_LIVE)
    name = connection.execute(query).scalar()
    while name is not None:
        found.append(name)
        name = connection.execute(query.where(_V.backend > name)).scalar()
    return found


def count(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> int:
    """Count rows that an index finds; more than ``COUNTED`` are counted as one more."""
    some = select(table.c.id).where(*conditions).limit(COUNTED + 1).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def count_operations(connection: Connection, since: int) -> dict[str, int]:
    """How many operations are in each state; of those that are settled, by when they began.

    :param since: microseconds since 1970.
    """
    settled = {state.value for state in SETTLED}
    return {
        state.value: count(
            connection,
            schema.operations,
            _O.state == state.value,
            *([schema.microseconds(_O.created_at) >= since] if state.value in settled else []),
        )
        for state in OperationState
    }


def count_volumes(connection: Connection, statuses: Iterable[str]) -> dict[str, int]:
    """How many volumes that are not deleted have each status."""
    return {
        status: count(connection, schema.volumes, _LIVE, _V.status == status)
        for status in statuses
    }


def count_of_volumes(connection: Connection, backend: str) -> int:
    """How many volumes of a backend are not deleted."""
    return count(connection, schema.volumes, _LIVE, _V.backend == backend)


def count_of_backend(
    connection: Connection, backend: str, states: Iterable[OperationState]
) -> int:
    """How many operations of a backend are in one of some states."""
    return sum(
        count(connection, schema.operations, _O.state == state.value, _O.backend == backend)
        for state in states
    )


# Pages


def _source(
    connection: Connection,
    table: Table,
    index: list[ColumnElement[bool]],
    rest: list[ColumnElement[bool]],
    limit: int,
    after: Key | None,
) -> _Source:
    """The next ones in the order of an index, whose first columns ``index`` names."""
    conditions = [*index, *([] if after is None else [_before(table, after)])]
    newest_first = [column.desc() for column in order(table)]
    if not rest:
        query = select(*_key(table)).where(*conditions).order_by(*newest_first).limit(limit + 1)
        keys = [_as_key(row) for row in connection.execute(query)]
        return _Source(keys, keys[-1] if len(keys) > limit else None)
    met = and_(*rest).label("met")
    query = select(*_key(table), met).where(*conditions).order_by(*newest_first)
    rows = connection.execute(query.limit(EXAMINED)).all()
    keys = [_as_key(row) for row in rows if row.met][: limit + 1]
    if len(keys) > limit:
        return _Source(keys, keys[-1])
    return _Source(keys, _as_key(rows[-1]) if len(rows) == EXAMINED else None)


def _unordered(
    connection: Connection,
    table: Table,
    beginning: ColumnElement[bool],
    rest: list[ColumnElement[bool]],
    after: Key | None,
) -> _Source:
    """All that begins with a text, in the order of a page."""
    query = select(*_key(table), and_(True, *rest).label("met")).where(beginning)
    rows = connection.execute(query.limit(EXAMINED)).all()
    keys = {_as_key(row) for row in rows if row.met}
    shown = [key for key in sorted(keys, reverse=True) if after is None or key < after]
    return _Source(shown, None, cut=len(rows) == EXAMINED)


def _merged(sources: list[_Source], limit: int) -> Found:
    """One page of all sources; where one ends early nothing behind its end is shown yet."""
    until = max((source.until for source in sources if source.until), default=None)
    keys = {key for source in sources for key in source.keys}
    shown = sorted((key for key in keys if until is None or key >= until), reverse=True)
    last = shown[limit - 1] if len(shown) > limit else until
    cut = any(source.cut for source in sources)
    return Found([key[1] for key in shown[:limit]], None if last is None else last[1], cut)


def _key(table: Table) -> tuple[Any, Any]:
    return table.c.id, schema.microseconds(table.c.created_at).label("created")


def _as_key(row: Any) -> Key:
    return row.created, row.id


def _key_of(connection: Connection, table: Table, marker: str | None) -> Key | None:
    if marker is None:
        return None
    row = connection.execute(select(*_key(table)).where(table.c.id == marker)).one_or_none()
    if row is None:
        raise LookupError(marker)
    return _as_key(row)


def _before(table: Table, key: Key) -> ColumnElement[bool]:
    """What stands behind a key; spelled so that an index begins there and not at its end."""
    created = schema.microseconds(table.c.created_at)
    return and_(created <= key[0], or_(created < key[0], table.c.id < key[1]))


# Texts


def _named(connection: Connection, text: str) -> tuple[list[str], bool]:
    """The volumes that a text begins the name or the id of, also deleted ones."""
    found: dict[str, None] = {}
    for beginning in (_name_range(connection, text), _id_range(_V.id, text)):
        if beginning is not None:
            query = select(_V.id).where(beginning).limit(VOLUMES_NAMED + 1)
            found |= dict.fromkeys(connection.execute(query).scalars())
    ids = list(found)
    return ids[:VOLUMES_NAMED], len(ids) > VOLUMES_NAMED


def _id_range(column: Any, text: str) -> ColumnElement[bool] | None:
    """Ids that begin with a text; None: none does. In any collation, "g" follows all digits."""
    beginning = text.lower()
    if len(beginning) < ID_CHARACTERS or not re.fullmatch(r"[0-9a-f-]{1,36}", beginning):
        return None
    return and_(column >= beginning, column < beginning + "g")


def _name_range(connection: Connection, text: str) -> ColumnElement[bool]:
    """Names that begin with a text, byte by byte: the order of the index on two databases."""
    name: Any = _V.name
    if connection.dialect.name == "postgresql":
        name = name.collate("C")  # a language's order is no order of beginnings
    return and_(name >= text, name < text + "\U0010ffff")
