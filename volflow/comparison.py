"""Compares backends with the database, and repairs volumes whose backend is not as it should be.

A comparison reads the database, the backend and the database again, and drops every volume that
was changed between; what an operation is changing is never looked at. A repair is an operation
that owns its volume, or a run of the operation that owns it already and rests.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from oslo_context.context import RequestContext
from sqlalchemy.engine import Connection

from volflow.calls import new_operation
from volflow.doubts import Doubts
from volflow.drivers.base import Export
from volflow.entitlement import differences, entitlement
from volflow.exceptions import DatabaseError, DriverError, VolflowError
from volflow.flows.phases import PHASES
from volflow.models import Difference, DifferenceKind, OperationState
from volflow.persistence import audit, schema, volumes
from volflow.persistence.audit import Asked
from volflow.persistence.records import Records
from volflow.persistence.snapshots import Snapshot
from volflow.persistence.work import Cancelled, Stale
from volflow.runner import AlreadyRunning, Runner
from volflow.tasks.redaction import Redactor
from volflow.tasks.run import Run
from volflow.texts import sentence

LOG = logging.getLogger(__name__)


class Comparison:
    """Compares and repairs."""

    def __init__(self, runner: Runner, records: Records) -> None:
        self._runner = runner
        self._records = records
        self._doubts = Doubts(runner.clock, runner.limits.driver_call)

    # Compare

    def exports(self, backend: str) -> dict[str, Export]:
        """What the backend exports now, by volume.

        :raises DriverError: it cannot tell.
        """
        driver = self._runner.driver(backend)
        try:
            return {export.volume_id: _copy(export) for export in driver.list_exports()}
        except DriverError:
            raise
        except Exception as e:
            said = Redactor(None).text(f"{type(e).__name__}: {sentence(e)}".rstrip(": "))
            raise DriverError(f"backend {backend} cannot list its exports: {said}") from e

    def suspects(self, backend: str) -> set[str]:
        """Volumes whose export or ACL may not be as it should be.

        :raises DriverError: the backend cannot tell.
        """
        exports = self.exports(backend)
        with self._runner.database.read() as connection:
            wanted = audit.accesses(connection, backend)
        found = {key for key in wanted if key not in exports}
        for key, export in exports.items():
            acl = wanted.get(key) if export.initiators is None else set(export.initiators)
            if key not in wanted or acl != wanted[key]:
                found.add(key)
        return found

    def verified(self, backend: str, suspects: Iterable[str]) -> dict[str, list[Difference]]:
        """Look at volumes twice, and at the backend between.

        :returns: volume id -> what is wrong, empty where nothing is; a volume that is being
            changed is left out.
        :raises DriverError: the backend cannot tell.
        """
        before = {key: self._look(backend, key) for key in sorted(suspects)}
        if not before:
            return {}
        exports = self.exports(backend)
        found: dict[str, list[Difference]] = {}
        for key, seen in before.items():
            if isinstance(seen, Difference):
                found[key] = [seen]
            elif seen is None:
                if key in exports and self._look(backend, key) is None:
                    found[key] = [_unknown(backend, exports[key], "the database never had it")]
            elif _rests(seen) and _marks(self._look(backend, key)) == _marks(seen):
                found[key] = _differences(backend, seen, exports.get(key))
        return found

    def _look(self, backend: str, volume_id: str) -> Snapshot | Difference | None:
        try:
            return self._records.find_snapshot(volume_id)
        except DatabaseError as e:
            kind, detail = DifferenceKind.ROW_UNREADABLE, f"volume {volume_id} cannot be read: {e}"
            return Difference(kind, backend, volume_id, None, None, in_use=False, detail=detail)

    # Repair

    def repair(self, volume_id: str, cut: bool = False, ended: int | None = None) -> Run:
        """Bring a volume's backend, and its status, to what its attachments and operation say.

        :param cut: end sessions whose access nothing justifies.
        :param ended: the doubt that is over once this has succeeded, as it is stored.
        :raises Stale: something changed the volume meanwhile; nothing was done.
        :raises DriverError: somebody holds the volume's lock.
        """
        snapshot = self._records.snapshot(volume_id)
        if ended is not None and snapshot.volume.unsure_until == schema.Instant.read(ended):
            snapshot = replace(snapshot, volume=replace(snapshot.volume, unsure_until=None))
        owner = snapshot.operation
        if owner is not None and not owner.record.settled:
            return self._runner.restore(snapshot, cut)
        context = RequestContext(overwrite=False)
        phase = PHASES["repair"]
        volume = snapshot.volume.volume
        operation = new_operation(context, None, phase.kind, phase.name, volume, None)
        given = {"call": "repair", "cut": cut, "deleted": snapshot.volume.deleted}
        alone = Snapshot(snapshot.volume, snapshot.attachments, None)
        return self._runner.start(context, phase, operation, alone, given, wait_for_lock=False)

    def recover(self, backend: str, whole: bool, eager: bool) -> Iterator[tuple[str, str]]:
        """Compare what is due, or the whole backend, and repair what differs.

        What a restarted target has lost is made again; what a request in doubt, or a hand, has
        left behind is taken away unless it is in use. A volume in doubt that is attached is made
        right anyhow: a request that came late may have changed credentials, which nobody lists.

        :param whole: look at all volumes of the backend, and not only at those that are due.
        :param eager: do not wait for the backoff of repairs that failed before.
        :returns: (``cleaned`` or ``needs_attention``, operation id) of each repair.
        :raises DriverError: the backend cannot tell.
        """
        with self._runner.database.read() as connection:
            asked = self._asked(connection, frozenset([backend]))
            waiting = set() if eager else audit.waiting_repairs(connection, backend)
        due = {a.volume_id: a for a in asked if not self._doubts.seconds_to(a)}
        suspects = self.suspects(backend) - waiting if whole else set()
        for key, found in self.verified(backend, suspects | set(due)).items():
            if not found and key in due and not due[key].attached:
                self._end(due[key])
            elif key in due or any(d.kind is not DifferenceKind.EXPORT_UNKNOWN for d in found):
                outcome = self._recovered(key, found, due.get(key))
                if outcome is not None:
                    yield outcome

    def next_due(self) -> float | None:
        """Seconds until the next comparison of a volume; None where none is to come."""
        with self._runner.database.read() as connection:
            asked = self._asked(connection, frozenset(self._runner.runs.backends))
        return min(map(self._doubts.seconds_to, asked), default=None)

    def _asked(self, connection: Connection, backends: frozenset[str]) -> list[Asked]:
        asked = audit.asked_comparisons(connection, backends)
        self._doubts.see(asked, backends)
        return asked

    def _recovered(
        self, volume_id: str, found: list[Difference], asked: Asked | None
    ) -> tuple[str, str] | None:
        ended = asked.doubt if asked is not None and self._doubts.is_over(asked) else None
        try:
            run = self.repair(volume_id, ended=ended)
        except (Stale, AlreadyRunning, Cancelled):
            return None  # somebody changes it, or repairs it
        except VolflowError as e:
            LOG.warning("volume %s cannot be repaired now: %s", volume_id, e)
            return None
        for difference in found:
            LOG.warning("%s; %s", difference.detail, run.first_error or "repaired")
        return ("cleaned" if is_repaired(run) else "needs_attention", run.operation.id)

    def _end(self, asked: Asked) -> None:
        over = self._doubts.is_over(asked)
        self._runner.database.write(
            lambda c: volumes.end_comparison(c, asked, over), landed=lambda c: True
        )


def is_repaired(run: Run) -> bool:
    """True where a repair did all it had to."""
    return run.first_error is None and run.state is not OperationState.ROLLED_BACK


def _copy(export: Export) -> Export:
    """What a driver listed, as far as it is an export at all."""
    sessions = None if export.sessions is None else tuple(export.sessions)
    initiators = None if export.initiators is None else tuple(export.initiators)
    return Export(export.volume_id, initiators, sessions)


def _rests(snapshot: Snapshot) -> bool:
    return snapshot.operation is None or not snapshot.operation.running


def _marks(snapshot: Any) -> Any:
    """What changes whenever anything about a volume does."""
    if not isinstance(snapshot, Snapshot):
        return None
    owner = snapshot.operation
    return snapshot.volume.revision, owner and (owner.id, owner.record.epoch, owner.revision)


def _differences(backend: str, seen: Snapshot, export: Export | None) -> list[Difference]:
    volume = seen.volume.volume
    found = list(differences(volume, entitlement(seen.attachments, seen.operation), export))
    if volume.backend == backend or not found:
        return found  # two backends may share a target, and each list what is the other's
    return [] if export is None else [_unknown(backend, export, f"{volume.backend} has it")]


def _unknown(backend: str, export: Export, why: str) -> Difference:
    return Difference(
        DifferenceKind.EXPORT_UNKNOWN,
        backend,
        export.volume_id,
        None,
        None,
        in_use=bool(export.sessions is None or export.sessions),
        detail=f"volume {export.volume_id} is exported, and {why}: the export is left as it is",
    )
