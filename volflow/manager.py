"""The public interface: volumes, the six calls, the one-shots, queries and recovery."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from oslo_context.context import RequestContext

from volflow import arguments as check
from volflow.calls import Calls
from volflow.clock import SYSTEM_CLOCK, Clock
from volflow.comparison import Comparison
from volflow.coordination import VolumeLocks
from volflow.drivers.base import Host
from volflow.exceptions import DriverError, InvalidInput, VolflowError
from volflow.insight import Insight
from volflow.inventory import Inventory, checked_volume
from volflow.jobs.conductor import Conductor
from volflow.jobs.service import Jobs
from volflow.joining import Joiner
from volflow.leases import Leases
from volflow.mass import JOBS, Mass, Outcome
from volflow.models import (
    Attachment,
    Backend,
    ConnectionInfo,
    Connector,
    Counts,
    Difference,
    Event,
    FlowAttempt,
    Operation,
    OperationKind,
    OperationState,
    Page,
    RecoveryReport,
    Standing,
    Volume,
    VolumeStatus,
)
from volflow.models import Conductor as LivingConductor
from volflow.oneshots import OneShots
from volflow.opening import open_store
from volflow.persistence import queue
from volflow.persistence.changes import Changes, Mark
from volflow.persistence.history import JsonLines, purge
from volflow.persistence.records import Records
from volflow.persistence.rekey import reencrypt
from volflow.reconcile import Reconciler
from volflow.recovery import Recovery
from volflow.runner import Runner
from volflow.runs import Limits, Runs
from volflow.settings import load_settings

LOG = logging.getLogger(__name__)

PURGE_SECONDS_MIN = 3600
"""So long an operation is kept at least, for callers that repeat their call."""


class VolumeManager:
    """Attaches volumes to hosts and detaches them, durably; may be shared by threads.

    :param database: a SQLAlchemy URL. A SQLite file is created and migrated; a server's empty
        database is, too, and an older one has to be upgraded with ``volflow db upgrade``.
    :param drivers: backend name -> driver.
    :param board: URL of the job board where ``submit_attach`` and ``submit_detach`` queue, such
        as ``sql:``. It is connected when it is needed; while it is away nothing is lost.
    :param lease_seconds: how long a run owns an operation without a sign of life.
    :param reservation_deadline_seconds: how long an operation waits for its caller's next
        call; None: for ever.
    :param key_file: Fernet keys, one a line. For SQLite it is made beside the database.
    :param driver_call_seconds: the limit of one driver call.
    :param recover: run recovery at start and in a thread; else only :meth:`recover` does.
    :param comparison_seconds: how often that thread looks whether a backend has lost exports, as
        a target daemon does that is restarted.
    :param lock_directory: locks and owner files of this host, shared by all its processes that
        use the database; by default beside the key file.
    :param coordination: URL of the tooz backend whose locks all hosts share that use one storage
        backend, such as ``redis://host:6379``; None: they are one host.
    :param max_running: backend name -> how many operations it may run at a time: conductors
        leave the others queued; None: any number. It is kept in the database, and counts for
        all processes; a backend that is not named keeps what it has.
    :param host: the side of the host that this process runs on, for :meth:`connect_volume`.
    :param clock: the time to live by, for tests and simulations.
    :raises DatabaseError: the database, or its key file, cannot be used.
    :raises InvalidInput: an argument is wrong.
    :raises DriverError: a driver cannot work as it is configured.
    """

    _open_store = staticmethod(open_store)

    def __init__(
        self,
        database: str,
        drivers: Mapping[str, Any],
        board: str | None = None,
        lease_seconds: float = 60,
        reservation_deadline_seconds: float | None = 900,
        key_file: str | Path | None = None,
        driver_call_seconds: float = 300,
        recover: bool = True,
        comparison_seconds: float = 60,
        lock_directory: str | Path | None = None,
        coordination: str | None = None,
        max_running: Mapping[str, int | None] | None = None,
        host: Host | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        limits = self._limits = _limits(
            lease_seconds, reservation_deadline_seconds, driver_call_seconds
        )
        self._drivers = _checked_drivers(drivers)
        store = self._open_store(database, key_file, lock_directory, limits.lease, clock)
        self.database = store.database
        self.leases = Leases(store.database, store.locks, limits.lease, limits.driver_call)
        self._closed = False
        self._locks: VolumeLocks | None = None
        self._jobs: Jobs | None = None
        try:
            self._jobs = None if board is None else Jobs(board, store.database)
            self._locks = VolumeLocks(
                store.locks / "volumes", coordination, self.leases.owner, clock
            )
            self._set_up_drivers()
            records = Records(store.database, store.cipher)
            runs = Runs(
                store.database,
                store.cipher,
                self._drivers,
                self.leases,
                self._locks,
                limits,
                host,
            )
            runner = Runner(runs, records)
            joiner = Joiner(runner, records)
            self._records = records
            self._insight = Insight(store.database, store.cipher, records)
            self._joiner = joiner
            self._cipher = store.cipher
            self._calls = Calls(runner, records, joiner)
            if self._jobs is not None:
                self._jobs.open(runner, records, joiner, self._calls)
            self._one_shots = OneShots(runner, records, joiner, self._calls)
            self._inventory = Inventory(runner, records, joiner)
            comparison = Comparison(runner, records)
            self._reconciler = Reconciler(runner, records, comparison)
            self._recovery = Recovery(
                runner,
                records,
                joiner,
                comparison,
                None if self._jobs is None else self._jobs.outbox,
                check.seconds("comparison_seconds", comparison_seconds) or 0.0,
            )
            self._limit(check.max_running(max_running))
            if recover:
                self._recovery.start()
        except BaseException:
            self._release()
            raise

    @property
    def drivers(self) -> Mapping[str, Any]:
        """The drivers of this process, by backend."""
        return dict(self._drivers)

    @property
    def driver_call_seconds(self) -> float:
        """The limit of one driver call."""
        return self._limits.driver_call

    @classmethod
    def from_config(cls, path: str | Path) -> Self:
        """Open what an oslo.config file describes.

        :raises InvalidInput: the file is missing, or something in it is wrong.
        """
        settings = load_settings(Path(path))
        return cls(drivers=settings.make_drivers(), **settings.arguments)

    def stop(self) -> None:
        """Begin nothing any more by itself: neither recovery nor conductors do.

        What they hand back then is for other processes; :meth:`close` waits for what still runs.
        """
        self._recovery.stop()
        if self._jobs is not None:
            self._jobs.stop()

    def close(self) -> None:
        """Stop the threads and close the database; a run that goes on is waited for."""
        if self._closed:
            return
        self._closed = True
        self.stop()
        self._recovery.close()
        self._release()

    def _release(self) -> None:
        self.leases.close()
        if self._jobs is not None:
            self._jobs.close(self._limits.driver_call)
        if self._locks is not None:
            self._locks.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Volumes

    def create_volume(
        self,
        context: RequestContext,
        size_gib: int,
        backend: str,
        name: str | None = None,
        multiattach: bool = False,
        readonly: bool = False,
        qos_specs: dict[str, Any] | None = None,
        encryption_key_id: str | None = None,
        volume_id: str | None = None,
    ) -> Volume:
        """Make a volume of ``size_gib`` GiB.

        :param volume_id: a UUID of the caller's: with the same one the call returns the same
            volume after a lost reply.
        :raises InvalidInput: an argument is wrong.
        :raises BackendNotFound: no driver of this process serves the backend.
        :raises OperationConflict: the id was used with other arguments.
        :raises DriverError: the backend refused; nothing is left.
        """
        wanted = checked_volume(
            size_gib, backend, name, multiattach, readonly, qos_specs, encryption_key_id
        )
        key = check.optional_uuid("volume_id", volume_id)
        return self._inventory.create_volume(context, key, wanted)

    def get_volume(self, context: RequestContext, volume_id: str) -> Volume:
        """The volume.

        :raises VolumeNotFound: there is none, or it was deleted.
        """
        return self._records.volume(_volume_id(volume_id))

    def list_volumes(
        self,
        context: RequestContext,
        status: str | None = None,
        backend: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> list[Volume]:
        """Volumes, oldest first; ``marker`` is the last id of the page before."""
        after = check.optional_uuid("marker", marker)
        wanted = check.text("backend", backend)
        found = check.choice("status", status, VolumeStatus)
        return self._records.volumes(found, wanted, check.limit(limit), after)

    def delete_volume(self, context: RequestContext, volume_id: str) -> None:
        """Delete a volume that is available or in error, and has no attachment.

        :raises InvalidVolume: its state forbids it.
        :raises DriverError: the backend refused; the volume is in ``error``, delete it again.
        """
        self._inventory.delete_volume(context, _volume_id(volume_id))

    def list_attachments(
        self, context: RequestContext, volume_id: str | None = None, live: bool = True
    ) -> list[Attachment]:
        """Attachments, oldest first; with ``live=False`` also the detached ones."""
        wanted = check.optional_uuid("volume_id", volume_id)
        return self._records.attachments(wanted, check.flag("live", live))

    def get_attachment(self, context: RequestContext, attachment_id: str) -> Attachment:
        """The attachment, also a detached one.

        :raises AttachmentNotFound: there is none.
        """
        return self._records.attachment(check.uuid_of("attachment_id", attachment_id))

    def set_maintenance(self, context: RequestContext, volume_id: str, on: bool) -> Volume:
        """Take an available volume out of use, or back.

        :raises InvalidVolume: it is neither available nor in maintenance.
        """
        return self._inventory.set_maintenance(_volume_id(volume_id), check.flag("on", on))

    # The six calls, and their two inverses

    def reserve_volume(
        self, context: RequestContext, volume_id: str, operation_id: str | None = None
    ) -> Volume:
        """Reserve a volume for one initiator: available -> attaching.

        :param operation_id: a UUID of the caller's: the same one gets the same answer.
        :raises InvalidVolume: the volume is not available (multiattach: nor in-use).
        """
        key = check.optional_uuid("operation_id", operation_id)
        return self._calls.reserve_volume(context, _volume_id(volume_id), key)

    def initialize_connection(
        self, context: RequestContext, volume_id: str, connector: Connector
    ) -> ConnectionInfo:
        """Export the volume, let the initiator in, and say how to reach it.

        :returns: ``{"driver_volume_type": "iscsi", "data": {...}}``.
        :raises InvalidConnector: the connector lacks what the driver needs.
        :raises InvalidVolume: there is no reservation, or it serves another initiator.
        :raises DriverError: the backend refused; the volume keeps its reservation.
        """
        return self._calls.initialize_connection(context, _volume_id(volume_id), connector)

    def attach(
        self,
        context: RequestContext,
        volume_id: str,
        instance_uuid: str | None,
        host_name: str | None,
        mountpoint: str | None,
        mode: str = "rw",
    ) -> Attachment:
        """Make the attachment count: attaching -> in-use.

        :raises InvalidVolumeAttachMode: ``rw`` on a readonly volume.
        :raises InvalidVolume: there is no connection yet.
        """
        return self._calls.attach(
            context, _volume_id(volume_id), instance_uuid, host_name, mountpoint, mode
        )

    def unreserve_volume(self, context: RequestContext, volume_id: str) -> Volume:
        """Undo everything since reserve_volume, export and ACL included.

        :raises InvalidVolume: the volume is not attaching.
        :raises ConnectionInUse: the initiator is logged in; undone as soon as it is not.
        """
        return self._calls.unreserve_volume(context, _volume_id(volume_id))

    def begin_detaching(
        self,
        context: RequestContext,
        volume_id: str,
        attachment_id: str | None = None,
        operation_id: str | None = None,
    ) -> Volume:
        """Take a volume for a detach: in-use -> detaching.

        :param attachment_id: which attachment; needed where there are several.
        :param operation_id: a UUID of the caller's: the same one gets the same answer.
        :raises InvalidVolume: the volume is not in-use, or has several attachments.
        """
        attachment = check.optional_uuid("attachment_id", attachment_id)
        key = check.optional_uuid("operation_id", operation_id)
        return self._calls.begin_detaching(context, _volume_id(volume_id), attachment, key)

    def terminate_connection(
        self,
        context: RequestContext,
        volume_id: str,
        connector: Connector | None,
        force: bool = False,
    ) -> None:
        """Take the initiator's access away; on an attaching volume, undo the connection.

        :param connector: the attachment's own, or None for it.
        :param force: go on over a backend that refuses.
        :raises InvalidVolume: no detach has begun, or the connector is another one's.
        :raises DriverError: the backend refused; the access is as it was.
        """
        self._calls.terminate_connection(context, _volume_id(volume_id), connector, force)

    def detach(
        self, context: RequestContext, volume_id: str, attachment_id: str | None = None
    ) -> Volume:
        """Do what of the detach is still to do: detaching -> available, or in-use.

        :raises InvalidVolume: no detach has begun.
        :raises DriverError: the backend refused; this step is undone.
        """
        attachment = check.optional_uuid("attachment_id", attachment_id)
        return self._calls.detach(context, _volume_id(volume_id), attachment)

    def roll_detaching(self, context: RequestContext, volume_id: str) -> Volume:
        """Undo everything since begin_detaching; the connection works again.

        :raises InvalidVolume: the volume is not detaching.
        """
        return self._calls.roll_detaching(context, _volume_id(volume_id))

    # One-shots

    def attach_volume(
        self,
        context: RequestContext,
        volume_id: str,
        connector: Connector,
        instance_uuid: str | None = None,
        host_name: str | None = None,
        mountpoint: str | None = None,
        mode: str = "rw",
        operation_id: str | None = None,
    ) -> Attachment:
        """Attach in one call; whatever fails is undone, and the first error is raised.

        :param operation_id: a UUID of the caller's, the key under which the call is done once.
        :param host_name: where both are None, the connector's ``host``.
        :returns: the attachment, with its connection_info.
        :raises InvalidVolume: the volume's state forbids it.
        :raises RollbackIncomplete: the backend refuses the undo, too; recovery goes on.
        :raises OperationConflict: the operation id was used with other arguments.
        """
        key = check.optional_uuid("operation_id", operation_id)
        return self._one_shots.attach_volume(
            context,
            _volume_id(volume_id),
            connector,
            instance_uuid,
            host_name,
            mountpoint,
            mode,
            key,
        )

    def detach_volume(
        self,
        context: RequestContext,
        volume_id: str,
        attachment_id: str | None = None,
        force: bool = False,
        operation_id: str | None = None,
    ) -> Volume:
        """Detach in one call; a failure brings the connection back, unless forced.

        :param force: go on over a backend that refuses.
        :raises RollbackIncomplete: the backend refuses; the volume is ``detaching`` until
            recovery has cleaned up.
        """
        attachment = check.optional_uuid("attachment_id", attachment_id)
        key = check.optional_uuid("operation_id", operation_id)
        return self._one_shots.detach_volume(
            context, _volume_id(volume_id), attachment, check.flag("force", force), key
        )

    def attach_volumes(
        self,
        context: RequestContext,
        volume_ids: Iterable[str],
        connector: Connector,
        host_name: str | None = None,
        mode: str = "rw",
        jobs: int = JOBS,
    ) -> Iterator[Outcome[Attachment]]:
        """Attach many volumes to one host, each by an operation of its own.

        :param jobs: how many at a time.
        :returns: how each of them ended, as soon as it has; what was refused is undone.
        :raises InvalidInput: ``jobs`` is less than 1.
        """
        jobs = check.count("jobs", jobs)
        given = (connector, None, host_name, None, mode)
        return self._mass(context).attach(volume_ids, jobs, *given)

    def detach_volumes(
        self,
        context: RequestContext,
        host_name: str,
        force: bool = False,
        jobs: int = JOBS,
    ) -> Iterator[Outcome[Volume]]:
        """Detach all that a host has, as after its death, each by an operation of its own.

        :param force: cut the host where it is logged in, and go on over a backend that refuses.
        :param jobs: how many at a time.
        :returns: how each of them ended, as soon as it has; those that were refused are as before.
        :raises InvalidInput: ``jobs`` is less than 1.
        """
        host = check.text("host_name", host_name, optional=False)
        cut, jobs = check.flag("force", force), check.count("jobs", jobs)
        return self._mass(context).detach(host, cut, jobs)

    def move_volumes(
        self,
        context: RequestContext,
        host_name: str,
        connector: Connector,
        to: str,
        force: bool = False,
        jobs: int = JOBS,
    ) -> Iterator[Outcome[Attachment]]:
        """Detach all that a host has, and attach each at once to another host, as it was.

        The instance, the mount point and the mode stay. What a death interrupts between the two
        is detached: at most ``jobs`` volumes.

        :param connector: the other host's; ``to`` is its name.
        :param force: cut the host where it is logged in, and go on over a backend that refuses.
        :param jobs: how many at a time.
        :returns: how each of them ended, as soon as it has; what was refused at ``detach`` is as
            before, and at ``attach`` it is detached.
        :raises InvalidInput: ``jobs`` is less than 1.
        """
        host = check.text("host_name", host_name, optional=False)
        other = check.text("to", to, optional=False)
        cut, jobs = check.flag("force", force), check.count("jobs", jobs)
        return self._mass(context).move(host, connector, other, cut, jobs)

    def _mass(self, context: RequestContext) -> Mass:
        attach, detach = partial(self.attach_volume, context), partial(self.detach_volume, context)
        return Mass(attach, detach, self._records)

    def connect_volume(
        self,
        context: RequestContext,
        volume_id: str,
        instance_uuid: str | None = None,
        mode: str = "rw",
        operation_id: str | None = None,
    ) -> Attachment:
        """Attach a volume to this host and log in to it, as one operation.

        It is undone as a whole: also where this process dies before it returns, as soon as
        another one of the host recovers. One of another host leaves a disk alone that is in use,
        and names the operation.

        :returns: the attachment, whose ``mountpoint`` is the path of the block device.
        :raises InvalidInput: the manager was given no ``host``, or an argument is wrong.
        :raises ConnectionFailed: the host could not log in, or found no disk; nothing is left.
        """
        return self._one_shots.connect_volume(
            context,
            _volume_id(volume_id),
            instance_uuid,
            mode,
            check.optional_uuid("operation_id", operation_id),
        )

    def disconnect_volume(
        self,
        context: RequestContext,
        volume_id: str,
        attachment_id: str | None = None,
        force: bool = False,
        operation_id: str | None = None,
    ) -> Volume:
        """Remove the disk of this host, log out and detach, as one operation.

        A failure brings the disk back, unless forced.

        :param attachment_id: one of this host's; None: its only one.
        :raises InvalidInput: the manager was given no ``host``, or an argument is wrong.
        :raises InvalidVolume: the host has no such attachment, or a status forbids it.
        """
        return self._one_shots.disconnect_volume(
            context,
            _volume_id(volume_id),
            check.optional_uuid("attachment_id", attachment_id),
            check.flag("force", force),
            check.optional_uuid("operation_id", operation_id),
        )

    def submit_attach(
        self,
        context: RequestContext,
        volume_id: str,
        connector: Connector,
        instance_uuid: str | None = None,
        host_name: str | None = None,
        mountpoint: str | None = None,
        mode: str = "rw",
        operation_id: str | None = None,
        priority: int = 0,
    ) -> Operation:
        """Queue an attach for a conductor; the volume is ``attaching`` from now on.

        The backend's driver is not needed here, so that a connector that lacks what it wants is
        found by the conductor. :meth:`wait` tells how it ended.

        :param operation_id: a UUID of the caller's, the key under which the call is done once.
        :param priority: what is higher is run first; among equals the oldest.
        :raises InvalidInput: the manager has no board, or an argument is wrong.
        :raises InvalidVolume: the volume's state forbids it.
        :raises OperationConflict: the operation id was used with other arguments.
        """
        return self._with_board("submit_attach").queue.submit_attach(
            context,
            _volume_id(volume_id),
            connector,
            instance_uuid,
            host_name,
            mountpoint,
            mode,
            check.optional_uuid("operation_id", operation_id),
            check.priority(priority),
        )

    def submit_detach(
        self,
        context: RequestContext,
        volume_id: str,
        attachment_id: str | None = None,
        force: bool = False,
        operation_id: str | None = None,
        priority: int = 0,
    ) -> Operation:
        """Queue a detach for a conductor; the volume is ``detaching`` from now on.

        :param priority: what is higher is run first; among equals the oldest.
        :raises InvalidInput: the manager has no board, or an argument is wrong.
        :raises InvalidVolume: the volume's state forbids it.
        :raises OperationConflict: the operation id was used with other arguments.
        """
        return self._with_board("submit_detach").queue.submit_detach(
            context,
            _volume_id(volume_id),
            check.optional_uuid("attachment_id", attachment_id),
            check.flag("force", force),
            check.optional_uuid("operation_id", operation_id),
            check.priority(priority),
        )

    def conductor(
        self, name: str | None = None, backends: Sequence[str] | None = None, workers: int = 4
    ) -> Conductor:
        """Make a conductor, which runs what is queued for backends of this process.

        ``run()`` runs it in the calling thread, ``start()`` in one of its own, until ``stop()``.

        :param name: what operators call it; by default the host's name.
        :param backends: whom it serves; by default all whose drivers this process has.
        :param workers: how many operations it runs at a time.
        :raises InvalidInput: the manager has no board, or an argument is wrong.
        :raises BackendNotFound: this process has no driver of a backend.
        """
        return self._with_board("conductor").conductor(name, backends, workers)

    def list_conductors(self, context: RequestContext) -> list[LivingConductor]:
        """The conductors that live, or died without a word, oldest first."""
        return self._joiner.conductors()

    def _with_board(self, call: str) -> Jobs:
        if self._jobs is None:
            raise InvalidInput(f"{call} needs a manager with a board")
        return self._jobs

    def wait(self, operation_id: str, timeout: float | None = None) -> Operation:
        """Wait until an operation is settled, or needs attention.

        :param timeout: in seconds; None: as long as it takes.
        :raises TimeoutError: it did not settle in time.
        """
        limit = check.seconds("timeout", timeout, optional=True) if timeout != 0 else 0.0
        return self._one_shots.wait(_operation_id(operation_id), limit)

    def get_operation(self, context: RequestContext, operation_id: str) -> Operation:
        """The operation.

        :raises OperationNotFound: there is none.
        """
        return self._records.operation(_operation_id(operation_id)).record

    def list_operations(
        self,
        context: RequestContext,
        state: str | None = None,
        volume_id: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> list[Operation]:
        """Operations, oldest first; ``marker`` is the last id of the page before."""
        volume = check.optional_uuid("volume_id", volume_id)
        after = check.optional_uuid("marker", marker)
        found = check.choice("state", state, OperationState)
        return self._records.operations(found, volume, check.limit(limit), after)

    def operation_timeline(
        self, context: RequestContext, operation_id: str, last: int | None = None
    ) -> list[Event]:
        """What happened in an operation, in order; times are the database's.

        :param last: only so many of the last events: recovery retries for as long as it takes.
        """
        found = self._records.operation(_operation_id(operation_id))
        return self._records.timeline(found.id, check.limit(last))

    # What operators ask; each at the cost of what it shows

    def search_operations(
        self,
        context: RequestContext,
        state: str | None = None,
        kind: str | None = None,
        backend: str | None = None,
        volume_id: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> Page[Standing]:
        """Operations, newest first.

        :param text: the beginning of an id (four characters at least), of their volume's id, or
            of its name.
        :param limit: of a page; None: 50.
        :param marker: the page before's.
        :raises InvalidInput: an argument is wrong.
        """
        return self._insight.search_operations(
            {
                "state": check.choice("state", state, OperationState),
                "kind": check.choice("kind", kind, OperationKind),
                "backend": check.text("backend", backend),
                "volume_id": check.optional_uuid("volume_id", volume_id),
            },
            check.text("text", text),
            check.limit(limit),
            check.optional_uuid("marker", marker),
        )

    def search_volumes(
        self,
        context: RequestContext,
        status: str | None = None,
        backend: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> Page[Volume]:
        """Volumes, newest first.

        :param text: the beginning of an id (four characters at least) or of a name.
        :param limit: of a page; None: 50.
        :param marker: the page before's.
        :raises InvalidInput: an argument is wrong.
        """
        return self._insight.search_volumes(
            {
                "status": check.choice("status", status, VolumeStatus),
                "backend": check.text("backend", backend),
            },
            check.text("text", text),
            check.limit(limit),
            check.optional_uuid("marker", marker),
        )

    def stranded_operations(
        self, context: RequestContext, limit: int | None = None
    ) -> list[Standing]:
        """Operations that somebody should have brought on by now, the oldest first.

        Their owner showed no life for its lease, or their caller did not come back in time.

        :param limit: None: 50.
        """
        return self._insight.stranded(check.limit(limit))

    def operation_standing(self, context: RequestContext, operation_id: str) -> Standing:
        """The operation, and what is to happen to it next.

        :raises OperationNotFound: there is none.
        """
        return self._insight.standing(_operation_id(operation_id))

    def operation_flow(self, context: RequestContext, operation_id: str) -> list[FlowAttempt]:
        """Where each step of an operation stands, with the calls that are still to come.

        :raises OperationNotFound: there is none.
        """
        return self._insight.flow(_operation_id(operation_id))

    def past_attachments(
        self, context: RequestContext, volume_id: str, limit: int | None = None
    ) -> list[Attachment]:
        """The detached attachments of a volume, the last one first; by default 50."""
        return self._insight.past_attachments(_volume_id(volume_id), check.limit(limit))

    def counts(self, context: RequestContext) -> Counts:
        """How many operations and volumes there are, by state and status."""
        return self._insight.counts()

    def list_backend_names(self, context: RequestContext) -> list[str]:
        """The names of :meth:`list_backends`, at less cost."""
        return self._insight.backend_names()

    def list_backends(self, context: RequestContext) -> list[Backend]:
        """The backends that have volumes, limits or conductors, by name."""
        return self._insight.backends()

    def changes(
        self,
        since: Mark | None = None,
        operations: Collection[str] = (),
        volumes: Collection[str] = (),
    ) -> Changes:
        """What changed since a look before, for who asks often; the first one gives a mark.

        :param since: the ``mark`` of the look before.
        :param operations: ids that are watched; what is not settled is seen anyway.
        :param volumes: ids that are watched; those of changed operations are seen anyway.
        """
        return self._insight.changes(since, operations, volumes)

    def retry_operation(self, context: RequestContext, operation_id: str) -> Operation:
        """Bring an operation on that is due, now: what was refused, or what its owner left.

        One that runs, that waits for its caller, or that is settled is left as it is.

        :returns: the operation afterwards; it may still need attention.
        :raises OperationNotFound: there is none.
        :raises BackendNotFound: no driver of this process serves its backend.
        """
        key = _operation_id(operation_id)
        self._recovery.retry(key)
        return self._records.operation(key).record

    def cancel_operation(self, context: RequestContext, operation_id: str) -> Operation:
        """Roll back what is not settled; a running operation at its next barrier.

        :raises InvalidInput: a forced detach, or a deletion, only goes forward.
        """
        return self._one_shots.cancel_operation(context, _operation_id(operation_id))

    def recover(self) -> RecoveryReport:
        """Bring on what is due, without waiting for backoff or locks; leave live leases alone."""
        return self._recovery.run(all_due=True)

    def reconcile(
        self,
        context: RequestContext,
        backend: str | None = None,
        repair: bool = False,
        force: bool = False,
    ) -> list[Difference]:
        """Compare backends with the database in both directions, and its rows with each other.

        Targets that are not volflow's are never looked at; an export of a volume that the
        database never had is reported, and left.

        :param backend: one backend; None: all that this process serves.
        :param repair: put in order what differs.
        :param force: with ``repair``: also where a session is live.
        :returns: what differs, or did; see :class:`~volflow.models.Difference`.
        :raises BackendNotFound: no driver of this process serves the backend.
        :raises DriverError: a backend cannot tell what it exports.
        """
        named = check.text("backend", backend)
        return self._reconciler.reconcile(
            named, check.flag("repair", repair), check.flag("force", force)
        )

    def reencrypt_secrets(self) -> int:
        """Move every stored secret to the first key of the key file, and forget the others.

        Every process that uses the database has to have that key by now.

        :returns: how many secrets were written.
        """
        return reencrypt(self.database, self._cipher)

    def purge(
        self, older_than: float, archive: IO[str] | None = None
    ) -> Iterator[tuple[str, int]]:
        """Delete what ended so many seconds ago: it is an iterator, one step a batch.

        Settled operations with their flows and timelines go, and then detached attachments and
        deleted volumes that no operation tells of. What a caller repeats with the id of an
        operation that is gone is done anew: keep them for longer than any caller repeats.

        :param older_than: seconds, at least an hour.
        :param archive: where each row is written first, as JSON, one a line; secrets are left out.
        :returns: the table and the number of its rows that each batch took away.
        :raises InvalidInput: it is less than an hour.
        """
        if not older_than >= PURGE_SECONDS_MIN:
            raise InvalidInput(f"older_than has to be at least {PURGE_SECONDS_MIN} seconds")
        return purge(self.database, older_than, None if archive is None else JsonLines(archive))

    def _limit(self, wanted: Mapping[str, int | None]) -> None:
        if not wanted:
            return
        with self.database.read() as connection:
            limits = queue.limits(connection)
        changed = {name: most for name, most in wanted.items() if limits.get(name) != most}
        if changed:
            self.database.write(lambda c: queue.limit(c, changed), landed=lambda c: False)

    def _set_up_drivers(self) -> None:
        context = RequestContext(overwrite=False)
        for name, driver in self._drivers.items():
            try:
                driver.do_setup(context)
                driver.check_for_setup_error()
            except VolflowError:
                raise
            except Exception as e:
                raise DriverError(f"backend {name!r} cannot be set up: {e}") from e


def _volume_id(value: Any) -> str:
    return check.uuid_of("volume_id", value)


def _operation_id(value: Any) -> str:
    return check.uuid_of("operation_id", value)


def _limits(lease: Any, deadline: Any, driver_call: Any) -> Limits:
    return Limits(
        check.seconds("lease_seconds", lease) or 0.0,
        check.seconds("reservation_deadline_seconds", deadline, optional=True),
        check.seconds("driver_call_seconds", driver_call) or 0.0,
    )


def _checked_drivers(drivers: Any) -> dict[str, Any]:
    if not isinstance(drivers, Mapping):
        raise InvalidInput("drivers has to map backend names to drivers")
    for name, driver in drivers.items():
        check.text("a backend's name", name, optional=False)
        missing = [m for m in _DRIVER_METHODS if not callable(getattr(driver, m, None))]
        if missing:
            raise InvalidInput(f"the driver of backend {name!r} has no {', '.join(missing)}")
    return dict(drivers)


_DRIVER_METHODS = (
    "do_setup",
    "check_for_setup_error",
    "create_volume",
    "delete_volume",
    "validate_connector",
    "create_export",
    "ensure_export",
    "remove_export",
    "initialize_connection",
    "terminate_connection",
    "attach_volume",
    "detach_volume",
    "list_exports",
)
