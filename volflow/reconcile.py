"""Reconciling on request: everything that is not as it should be, named and put in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from sqlalchemy.engine import Connection

from volflow.comparison import Comparison, is_repaired
from volflow.exceptions import DatabaseError, InvalidVolume, VolflowError, to_record
from volflow.models import Difference, DifferenceKind
from volflow.persistence import audit
from volflow.persistence.records import Records
from volflow.persistence.work import Cancelled, Stale
from volflow.runner import AlreadyRunning, Runner
from volflow.tasks.repair import repaired_status

_LEFT = (DifferenceKind.EXPORT_UNKNOWN, DifferenceKind.ROW_UNREADABLE)
"""What nobody repairs but an operator: it may be somebody else's, or cannot be understood."""


class Reconciler:
    """Finds differences, and repairs them where that is asked for."""

    def __init__(self, runner: Runner, records: Records, comparison: Comparison) -> None:
        self._runner = runner
        self._records = records
        self._comparison = comparison

    def reconcile(self, backend: str | None, repair: bool, force: bool) -> list[Difference]:
        """Compare a backend, or all that this process serves, with the database.

        :raises BackendNotFound: this process has no driver of the backend.
        :raises DriverError: a backend cannot tell what it exports.
        """
        if backend is not None:
            self._runner.driver(backend)
        names = self._runner.runs.backends if backend is None else (backend,)
        found = [difference for name in names for difference in self._differences(name)]
        found += self._without_owner()
        return [self._repaired(d, force) for d in _ordered(found)] if repair else found

    # Find

    def _differences(self, backend: str) -> Iterator[Difference]:
        database = self._runner.database
        with database.read() as connection:
            unowned = set(audit.unowned(connection, backend))
            contradictory = set(audit.contradictory(connection, backend))
            ids = set(audit.volume_ids(connection, backend))
        yield from self._unreadable(backend, ids)
        for key in sorted(unowned | contradictory):
            yield from self._status(key, key in unowned)
        suspects = self._comparison.suspects(backend) | unowned
        for found in self._comparison.verified(backend, suspects - contradictory).values():
            yield from (d for d in found if d.kind is not DifferenceKind.ROW_UNREADABLE)
        with database.read() as connection:
            astray = audit.astray(connection, backend)
            crippled = dict(audit.crippled(connection, backend))
        kind = DifferenceKind.OPERATION_ASTRAY
        for key in astray:
            detail = f"operation {key} is not settled, and owns no volume"
            yield _difference(kind, backend, None, key, detail)
        for key, volume_id in crippled.items():
            if key not in astray:
                detail = f"operation {key} has lost its attachment or its flows: it cannot go on"
                yield _difference(kind, backend, volume_id, key, detail)

    def _unreadable(self, backend: str, ids: set[str]) -> Iterator[Difference]:
        for key in sorted(ids):
            try:
                self._records.find_snapshot(key)
            except DatabaseError as e:
                detail = f"volume {key} cannot be read: {e}"
                kind = DifferenceKind.ROW_UNREADABLE
                yield _difference(kind, backend, key, None, detail)

    def _status(self, volume_id: str, unowned: bool) -> Iterator[Difference]:
        try:
            found = self._records.find_snapshot(volume_id)
        except DatabaseError:
            return  # named already
        if found is None or (found.operation is not None and not found.operation.record.settled):
            return  # an operation has begun since
        volume = found.volume.volume
        if unowned:
            detail = f"volume {volume_id} is {volume.status}, and no operation brings it on"
            kind, owner = DifferenceKind.STATUS_UNOWNED, volume.operation_id
            yield _difference(kind, volume.backend, volume_id, owner, detail)
            return
        rests = repaired_status(volume, [a.attachment.attach_status for a in found.attachments])
        if (volume.status, volume.attach_status) != rests:
            detail = (
                f"volume {volume_id} is {volume.status}, and by its attachments {rests.status}"
            )
            kind = DifferenceKind.STATUS_WRONG
            yield _difference(kind, volume.backend, volume_id, None, detail)

    def _without_owner(self) -> Iterator[Difference]:
        """Rows of no backend: what they belong to is not there."""
        with self._runner.database.read() as connection:
            orphans = audit.orphans(connection)
        for key, volume_id in orphans:
            detail = f"volume {volume_id} is not there, but attachment {key} of it is"
            yield _difference(DifferenceKind.ROW_UNREADABLE, "", volume_id, None, detail)

    # Repair

    def _repaired(self, difference: Difference, force: bool) -> Difference:
        if difference.kind in _LEFT:
            return difference
        try:
            error = self._repair(difference, force)
        except (Stale, AlreadyRunning, Cancelled):
            error = InvalidVolume("something changed it meanwhile: reconcile again")
        except VolflowError as e:
            error = e
        if error is None:
            return replace(difference, repaired=True)
        return replace(difference, error=to_record(error))

    def _repair(self, difference: Difference, force: bool) -> Exception | None:
        owner = difference.operation_id or ""
        if difference.kind is DifferenceKind.OPERATION_ASTRAY:
            reason = to_record(InvalidVolume(difference.detail))
            error = self._write(lambda c: audit.end_astray(c, owner, reason))
            if error is not None or difference.volume_id is None:
                return error
            return self._restored(difference.volume_id, force)
        volume_id = difference.volume_id or ""
        if difference.volume_id and not self._is_still_wrong(difference):
            return None  # mended with another difference of the same volume
        return self._restored(volume_id, force)

    def _restored(self, volume_id: str, force: bool) -> Exception | None:
        run = self._comparison.repair(volume_id, cut=force)
        return None if is_repaired(run) else run.first_error

    def _is_still_wrong(self, difference: Difference) -> bool:
        volume_id = difference.volume_id or ""
        if difference.kind in (DifferenceKind.STATUS_UNOWNED, DifferenceKind.STATUS_WRONG):
            unowned = difference.kind is DifferenceKind.STATUS_UNOWNED
            with self._runner.database.read() as connection:
                look = audit.unowned if unowned else audit.contradictory
                return volume_id in look(connection, difference.backend)
        found = self._comparison.verified(difference.backend, [volume_id])
        return bool(found.get(volume_id, True))

    def _write(self, work: Callable[[Connection], bool]) -> Exception | None:
        if self._runner.database.write(work, landed=lambda c: False):
            return None
        return InvalidVolume("something changed it meanwhile: reconcile again")


def _ordered(found: list[Difference]) -> list[Difference]:
    """Operations that own nothing first: what they hold is free then."""
    return sorted(found, key=lambda d: d.kind is not DifferenceKind.OPERATION_ASTRAY)


def _difference(
    kind: DifferenceKind,
    backend: str,
    volume_id: str | None,
    operation_id: str | None,
    detail: str,
) -> Difference:
    return Difference(kind, backend, volume_id, None, operation_id, in_use=False, detail=detail)
