"""Insight: what operators ask about many operations and volumes, each answer at a page's cost."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.engine import Connection

from volflow.exceptions import InvalidInput
from volflow.flows.phases import PHASES, Phase
from volflow.models import (
    OWNED,
    Attachment,
    Backend,
    Conductor,
    Counts,
    FlowAttempt,
    Operation,
    OperationState,
    Page,
    Standing,
    StepStanding,
    Volume,
    VolumeStatus,
)
from volflow.persistence import changes, conductors, operations, queue, schema, search
from volflow.persistence.attachments import Attachments
from volflow.persistence.changes import Changes, Mark
from volflow.persistence.engine import Database
from volflow.persistence.flows import StoredFlow
from volflow.persistence.operations import StoredOperation
from volflow.persistence.records import Records
from volflow.persistence.search import Found
from volflow.persistence.secrets import Cipher
from volflow.persistence.volumes import Volumes

T = TypeVar("T")
Wanted = dict[str, str | None]

PAGE = 50
PAGE_MAX = 500
RECENT = timedelta(hours=24)


class Insight:
    """Reads; each call on one connection, and it changes nothing."""

    def __init__(self, database: Database, cipher: Cipher, records: Records) -> None:
        self._database = database
        self._records = records
        self._volumes = Volumes(cipher)
        self._attachments = Attachments(cipher)

    def search_operations(
        self,
        wanted: Wanted,
        text: str | None,
        limit: int | None,
        marker: str | None,
    ) -> Page[Standing]:
        """Operations, newest first.

        :raises InvalidInput: the marker is no operation's.
        """
        with self._database.read() as connection:
            found = _found(connection, search.operations, wanted, text, limit, marker)
            stored, unreadable = operations.of_ids(connection, found.ids)
            items = self._standings(connection, stored)
        return _page(found, items, unreadable)

    def search_volumes(
        self,
        wanted: Wanted,
        text: str | None,
        limit: int | None,
        marker: str | None,
    ) -> Page[Volume]:
        """Volumes, newest first.

        :raises InvalidInput: the marker is no volume's.
        """
        with self._database.read() as connection:
            found = _found(connection, search.volumes, wanted, text, limit, marker)
            items, unreadable = self._volumes.of_ids(connection, found.ids)
        return _page(found, items, unreadable)

    def stranded(self, limit: int | None) -> list[Standing]:
        """What somebody should have brought on by now, the oldest first."""
        with self._database.read() as connection:
            ids = search.stranded(connection, _limited(limit))
            stored, _ = operations.of_ids(connection, ids)
            return self._standings(connection, stored)

    def standing(self, operation_id: str) -> Standing:
        """The operation, and what is to happen to it next.

        :raises OperationNotFound: there is none.
        """
        stored = self._records.operation(operation_id)
        with self._database.read() as connection:
            return self._standings(connection, [stored])[0]

    def flow(self, operation_id: str) -> list[FlowAttempt]:
        """Where each step stands, first attempt first, and the calls that are still to come."""
        found = self._records.operation(operation_id)
        return [*map(_attempt, found.flows), *_to_come(found.record, found.flows)]

    def past_attachments(self, volume_id: str, limit: int | None) -> list[Attachment]:
        """The detached attachments of a volume, the last one first."""
        with self._database.read() as connection:
            return list(self._attachments.past(connection, volume_id, _limited(limit)))

    def counts(self) -> Counts:
        """How many there are, by state and status."""
        with self._database.read() as connection:
            now = int(connection.execute(select(schema.now())).scalar_one())
            since = now - RECENT // schema.MICROSECOND
            found = search.count_operations(connection, since)
            volumes = search.count_volumes(connection, list(VolumeStatus))
        return Counts(
            {OperationState(state): count for state, count in found.items()},
            {VolumeStatus(status): count for status, count in volumes.items()},
            search.COUNTED,
        )

    def backend_names(self) -> list[str]:
        """The names of :meth:`backends`, without counting what they have."""
        with self._database.read() as connection:
            living = [c for c in conductors.find(connection) if c.alive]
            return _names(connection, queue.limits(connection), living)

    def backends(self) -> list[Backend]:
        """The backends that have volumes, limits or conductors, by name."""
        with self._database.read() as connection:
            limits = queue.limits(connection)
            living = [c for c in conductors.find(connection) if c.alive]
            return [
                Backend(
                    name,
                    search.count_of_volumes(connection, name),
                    search.count_of_backend(connection, name, OWNED),
                    search.count_of_backend(connection, name, [OperationState.QUEUED]),
                    limits.get(name),
                    tuple(c.name for c in living if name in c.backends),
                )
                for name in _names(connection, limits, living)
            ]

    def changes(
        self, since: Mark | None, watched: Collection[str], volumes: Collection[str]
    ) -> Changes:
        """What changed since a look before."""
        with self._database.read() as connection:
            return changes.look(connection, since, watched, volumes)

    def _standings(
        self, connection: Connection, stored: Collection[StoredOperation]
    ) -> list[Standing]:
        names = search.volume_names(connection, (s.record.volume_id for s in stored))
        return [
            Standing(
                s.record,
                names.get(s.record.volume_id),
                s.attempts,
                s.retry_at,
                s.cancel_requested,
                s.now,
            )
            for s in stored
        ]


def _found(
    connection: Connection,
    look: Any,
    wanted: Wanted,
    text: str | None,
    limit: int | None,
    marker: str | None,
) -> Found:
    given = {name: value for name, value in wanted.items() if value is not None}
    try:
        found: Found = look(connection, given, text or None, _limited(limit), marker)
    except LookupError:
        raise InvalidInput(f"there is nothing that a page could go on after: {marker}") from None
    return found


def _names(
    connection: Connection, limits: Collection[str], living: Collection[Conductor]
) -> list[str]:
    served = {name for conductor in living for name in conductor.backends}
    return sorted({*search.backends(connection), *limits, *served})


def _limited(limit: int | None) -> int:
    return min(limit or PAGE, PAGE_MAX)


def _page(found: Found, items: Collection[T], unreadable: Collection[str]) -> Page[T]:
    return Page(tuple(items), found.marker, found.cut, tuple(unreadable))


def _attempt(flow: StoredFlow) -> FlowAttempt:
    steps = (
        StepStanding(name, state, intention == "REVERT")
        for name, (state, intention) in flow.atoms.items()
    )
    return FlowAttempt(flow.phase, flow.state, tuple(steps))


def _to_come(record: Operation, stored: list[StoredFlow]) -> Iterator[FlowAttempt]:
    """The calls that the caller of a waiting operation has not made, or has to make again."""
    done = {flow.phase for flow in stored if flow.state == "SUCCESS"}
    parts = _parts(record)
    if record.state not in _ONWARD or record.phase not in {part.name for part in parts}:
        return
    begun = {record.phase} if record.state is OperationState.RUNNING else set()
    for part in parts:
        if part.name not in done | begun:
            steps = (StepStanding(name, "PENDING", False) for name in part.tasks)
            yield FlowAttempt(part.name, None, tuple(steps))


_ONWARD = (OperationState.RUNNING, OperationState.WAITING)


def _parts(record: Operation) -> list[Phase]:
    """The calls that make up an operation which waits for its caller in between."""
    return [p for p in PHASES.values() if p.kind is record.kind and not (p.opens and p.settles)]
