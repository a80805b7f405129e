"""Waiting for runs of others, and taking over those whose owner is dead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from volflow.backoff import jitter
from volflow.exceptions import (
    Fenced,
    InvalidVolume,
    OperationConflict,
    RollbackIncomplete,
    VolumeLocked,
    from_record,
)
from volflow.flows.phases import RESTORE
from volflow.models import Conductor, OperationKind, OperationState
from volflow.persistence.operations import StoredOperation
from volflow.persistence.queue import Full
from volflow.persistence.records import Records
from volflow.persistence.snapshots import Snapshot
from volflow.persistence.work import Cancelled, Stale
from volflow.runner import AlreadyRunning, Runner

T = TypeVar("T")

REPAIRS = ("repair", RESTORE)
"""Phases that recovery runs between the calls of callers, who wait for them."""

PAUSE_SECONDS = 0.005
PAUSE_SECONDS_MAX = 0.25
REPEATS = 100


class Joiner:
    """How a call meets other runs of its volume or of its operation."""

    def __init__(self, runner: Runner, records: Records) -> None:
        self._runner = runner
        self._records = records

    def is_dead(self, stored: StoredOperation) -> bool:
        """True where a running operation has nobody who runs it."""
        owner = stored.record.owner
        if owner is None or stored.lease_expired:
            return True
        leases = self._runner.leases
        if leases.is_dead(owner, stored.id):
            return True
        return stored.lease_is_off and not leases.is_alive(owner)

    def live(self, volume_id: str) -> Snapshot:
        """Read a volume for a call that begins something; a repair that runs is waited for.

        :raises VolumeNotFound: there is none.
        """
        while True:
            snapshot = self._records.live(volume_id)
            owner = snapshot.operation
            if owner is None or not owner.running or owner.record.phase not in REPAIRS:
                return snapshot
            self.join(owner)

    def join(self, stored: StoredOperation, until: float | None = None) -> StoredOperation:
        """Wait until the operation rests; go on with it where its owner died.

        One that is queued is run here where no conductor lives that would.

        :param until: on the monotonic clock; None waits as long as it takes.
        :raises TimeoutError: it did not rest in time.
        :raises BackendNotFound: nobody runs it, and this process cannot.
        """
        clock, pause = self._runner.clock, PAUSE_SECONDS
        while stored.running or stored.record.state is OperationState.QUEUED:
            if until is not None and clock.monotonic() >= until:
                raise TimeoutError(f"operation {stored.id} is still {stored.record.state}")
            if not self._bring_on(stored):
                clock.sleep(pause)
                pause = min(pause * 2, PAUSE_SECONDS_MAX)
            stored = self._records.operation(stored.id)
        return stored

    def repeat(self, attempt: Callable[[], T]) -> T:
        """Call until what the attempt read was still so when it wrote.

        :raises InvalidVolume: the volume changes all the time.
        """
        for turn in range(REPEATS):
            try:
                return attempt()
            except AlreadyRunning as e:
                self._runner.leases.wait_for_end(e.operation_id)
            except Stale:
                self._runner.clock.sleep(jitter(min(0.001 * 2**turn, PAUSE_SECONDS_MAX)))
        raise InvalidVolume("the volume is changed by others all the time; try again")

    def once(
        self,
        operation_id: str | None,
        known: Callable[[StoredOperation], T],
        fresh: Callable[[], T],
    ) -> T:
        """Do something once under a key of the caller's.

        :param known: answers from the operation that has the key.
        :param fresh: begins it.
        """

        def attempt() -> T:
            if operation_id is None:
                return fresh()
            if stored := self._records.find_operation(operation_id):
                return known(stored)
            try:
                return fresh()
            except (InvalidVolume, VolumeLocked):
                # Perhaps because the same call, made at the same time, was first.
                if self._records.find_operation(operation_id) is None:
                    raise
                raise Stale(f"operation {operation_id} has begun meanwhile") from None

        return self.repeat(attempt)

    def require_same(
        self,
        stored: StoredOperation,
        kind: OperationKind,
        volume_id: str,
        arguments: dict[str, Any],
    ) -> None:
        """Check that an operation id that comes again is used as it was.

        :raises OperationConflict: it was used with other arguments.
        """
        record, given = stored.record, stored.arguments
        if (
            record.kind is not kind
            or record.volume_id != volume_id
            or any(given.get(k) != v for k, v in arguments.items() if k in _IDENTITY)
        ):
            raise OperationConflict(f"operation {stored.id} exists already, with other arguments")

    def same(
        self,
        stored: StoredOperation,
        kind: OperationKind,
        volume_id: str,
        arguments: dict[str, Any],
    ) -> StoredOperation:
        """Answer a repeated operation id: wait for its end, or for its caller's turn.

        :raises OperationConflict: the id was used with other arguments.
        :raises VolflowError: the error with which it was rolled back.
        """
        self.require_same(stored, kind, volume_id, arguments)
        found = self.join(stored).record
        if found.state is OperationState.ROLLED_BACK:
            if found.error is None:
                raise InvalidVolume(f"operation {found.id} was rolled back")
            raise from_record(found.error)
        if found.state is OperationState.NEEDS_ATTENTION:
            first = from_record(found.error) if found.error else None
            raise RollbackIncomplete(
                f"operation {found.id} is not settled: {'; '.join(found.leftovers)}",
                first,
                found.leftovers,
            )
        return self._records.operation(found.id)

    def is_served(self, backend: str) -> bool:
        """True where a conductor lives that runs what is queued for the backend."""
        return any(found.alive and backend in found.backends for found in self.conductors())

    def conductors(self) -> list[Conductor]:
        """All conductors, oldest first; on this host the dead are known at once."""
        gone = self._runner.leases.is_gone
        return [
            replace(found, alive=found.alive and not gone(found.owner))
            for found in self._records.conductors()
        ]

    def _bring_on(self, stored: StoredOperation) -> bool:
        """Go on with an operation that nobody brings on; False where somebody does."""
        if not self._is_left(stored):
            return False
        self._runner.driver(stored.record.backend)
        try:
            if stored.running:
                return self._runner.resume(stored, wait_for_lock=True) is not None
            self._runner.run_queued(*self._runner.load_queued(stored.id))
        except (AlreadyRunning, Cancelled, Fenced, Full, Stale):
            return False
        except VolumeLocked:
            if self._is_left(self._records.operation(stored.id)):
                raise
            return False  # whoever had the lock has brought it on
        return True

    def _is_left(self, stored: StoredOperation) -> bool:
        """True where nobody brings on an operation that does not rest."""
        if stored.running:
            return self.is_dead(stored)
        queued = stored.record.state is OperationState.QUEUED
        return queued and not self.is_served(stored.record.backend)


_IDENTITY = frozenset(
    {
        "call",
        "connector",
        "instance_uuid",
        "host_name",
        "mountpoint",
        "mode",
        "wanted",
        "force",
        "volume",
    }
)
"""Arguments that make two calls with one operation id the same; the rest is our own notes."""
