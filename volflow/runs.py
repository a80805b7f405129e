"""Makes runs: gathers what one run of an operation works with, under the owner's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oslo_context.context import RequestContext

from volflow.coordination import VolumeLocks
from volflow.drivers.base import Host
from volflow.entitlement import entitlement
from volflow.exceptions import BackendNotFound, VolumeLocked
from volflow.leases import Leases, described
from volflow.locks import LockBusy
from volflow.models import Operation, OperationKind
from volflow.persistence.engine import Database
from volflow.persistence.secrets import Cipher
from volflow.persistence.snapshots import Snapshot
from volflow.persistence.work import Claim, UnitOfWork
from volflow.tasks.backend import Backend
from volflow.tasks.run import Run


@dataclass(frozen=True)
class Limits:
    """Times, in seconds."""

    lease: float
    deadline: float | None
    driver_call: float


class Runs:
    """Makes the runs of this process.

    :param drivers: backend name -> driver.
    :param host: the side of the host that uses volumes, where this process is one of it.
    """

    def __init__(
        self,
        database: Database,
        cipher: Cipher,
        drivers: Mapping[str, Any],
        leases: Leases,
        locks: VolumeLocks,
        limits: Limits,
        host: Host | None = None,
    ) -> None:
        self.database = database
        self.leases = leases
        self.locks = locks
        self.limits = limits
        self._cipher = cipher
        self._drivers = drivers
        self.host = host

    def driver(self, backend: str) -> Any:
        """The driver of a backend.

        :raises BackendNotFound: this process has none.
        """
        try:
            return self._drivers[backend]
        except KeyError:
            known = ", ".join(sorted(self._drivers)) or "none"
            raise BackendNotFound(
                f"no driver of this process serves backend {backend!r}; it has {known}"
            ) from None

    @property
    def backends(self) -> tuple[str, ...]:
        """The backends whose drivers this process has."""
        return tuple(self._drivers)

    def require_free_lock(self, operation: Operation) -> None:
        """Leave a volume to whoever has its lock: a hung driver call, or a command's child.

        :param operation: the volume's, whose last owner has it where another host has.
        :raises VolumeLocked: somebody has.
        """
        volume_id = operation.volume_id
        if operation.owner is None:
            lock = self.locks.of(volume_id)
        else:
            lock = self.locks.of(volume_id, described(operation.owner))
        try:
            lock.acquire()
        except LockBusy as e:
            raise VolumeLocked(f"volume {volume_id} cannot be changed now: {e}") from e
        lock.release()

    def claiming(
        self,
        context: RequestContext,
        snapshot: Snapshot,
        operation: Operation,
        arguments: dict[str, Any],
        wait_for_lock: bool = True,
        needs_driver: bool = True,
    ) -> Run:
        """A run that takes its resting operation with its first commit, unless that changed."""
        stored = snapshot.operation
        assert stored is not None
        claim = Claim(False, operation.epoch, stored.revision)
        return self.run(
            context,
            operation,
            arguments,
            snapshot,
            claim,
            operation.epoch + 1,
            stored.revision,
            wait_for_lock,
            needs_driver,
        )

    def run(
        self,
        context: RequestContext,
        operation: Operation,
        arguments: dict[str, Any],
        snapshot: Snapshot,
        claim: Claim | None,
        epoch: int,
        revision: int,
        wait_for_lock: bool = True,
        needs_driver: bool = True,
    ) -> Run:
        """A run of an operation.

        :param claim: how its first commit takes the operation; None: it is taken already.
        :param wait_for_lock: for as long as a driver call may take; else not at all.
        :param needs_driver: False: it changes the database alone.
        :raises BackendNotFound: this process lacks the driver that it needs.
        """
        driver = self.driver if needs_driver else self._drivers.get
        work = UnitOfWork(
            self.database,
            operation.id,
            self.leases.owner_of(operation.id),
            self.limits.lease,
            claim,
            epoch,
            revision,
        )
        mine = [a for a in snapshot.attachments if a.attachment.id == operation.attachment_id]
        run = Run(
            context=context,
            backend=Backend(
                driver(operation.backend),
                self.leases,
                operation.id,
                snapshot.volume.volume,
                self.database.clock,
            ),
            cipher=self._cipher,
            lock=self.locks.of(operation.volume_id),
            lock_seconds=self.limits.driver_call if wait_for_lock else 0.0,
            work=work,
            operation=operation,
            arguments=arguments,
            volume_revision=snapshot.volume.revision,
            attachment=mine[0] if mine else None,
            others=[a for a in snapshot.attachments if a not in mine],
        )
        owner = None if operation.kind is OperationKind.REPAIR else snapshot.operation
        run.entitlement = entitlement(snapshot.attachments, owner)
        if self.host is not None and arguments.get("host") == self.host.name:
            run.host = self.host
        run.compare_attempts = snapshot.volume.compare_attempts
        run.unsure_until = snapshot.volume.unsure_until
        run.unsure_seconds = self.limits.driver_call
        if snapshot.operation is not None:
            run.attempts = snapshot.operation.attempts
            if snapshot.operation.id == operation.id:
                run.flows = list(snapshot.operation.flows)
            work.far = snapshot.operation.posted_at is not None
        return run
