"""One volume, one backend, processes that follow each other: where Cinder's faults are played."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from sqlalchemy import event

from tests.contract.lab import HOST_A, INSTANCE_1, Telling, is_clean
from tests.faults.victims import Later
from volflow import (
    Attachment,
    Difference,
    Operation,
    RecoveryReport,
    RequestContext,
    Volume,
    VolumeManager,
)
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver
from volflow.testing.invariants import violations

Connector = dict[str, Any]


class Play:
    """A caller's view of one volume: the calls, the deaths, and how it all ended.

    :ivar manager: the process that lives now.
    """

    def __init__(
        self,
        open_manager: Callable[..., VolumeManager],
        backend: MemoryDriver,
        faulty: FaultyDriver,
        driver: Telling,
        multiattach: bool = False,
        readonly: bool = False,
    ) -> None:
        self.context = RequestContext(overwrite=False)
        self.backend = backend
        self.faulty = faulty
        self.driver = driver
        self._open = open_manager
        self.manager = open_manager()
        self.id = self.manager.create_volume(
            self.context, 1, "lab", multiattach=multiattach, readonly=readonly
        ).id
        driver.forget()

    # Faults

    def refuse(self, call: str, when: str, error: BaseException, times: int | None = 1) -> None:
        """Let the driver raise an error before or after a call's effect."""
        self.faulty.faults.append(Fault(call, when, error, times))

    def die(self, call: str, when: str, work: Callable[..., Any], *arguments: Any) -> None:
        """Let the process die in a driver's call; whoever called it hears nothing."""
        self.refuse(call, when, Crash())
        with pytest.raises(Crash):
            work(*arguments)

    @contextmanager
    def database_fails_in(self, call: str) -> Iterator[None]:
        """Let the database fail from a driver's call on, until the end of the block."""
        broken = Event()
        engine = self.manager.database.engine

        def refuse(*_: Any) -> None:
            if broken.is_set():
                raise sqlite3.OperationalError("disk I/O error")

        event.listen(engine, "before_cursor_execute", refuse)
        self.driver.on[call] = lambda *_, **__: broken.set()
        try:
            yield
        finally:
            assert broken.is_set(), f"{call} was not called"
            del self.driver.on[call]
            event.remove(engine, "before_cursor_execute", refuse)

    def next_process(self, **options: Any) -> VolumeManager:
        """End the process that lives, and start another one."""
        self.manager.close()
        self.manager = self._open(**options)
        return self.manager

    def another_process(self, **options: Any) -> VolumeManager:
        """Start a process beside the one that lives."""
        return self._open(**options)

    def reboot(self) -> RecoveryReport:
        """Restart the host: the target has lost everything, a new process recovers."""
        self.backend.restart_target()
        return self.next_process().recover()

    def recover_late(self) -> RecoveryReport:
        """Recover in a new process, when the caller's deadline has passed."""
        return self.next_process(clock=Later()).recover()

    def reconcile(self, force: bool = False) -> list[Difference]:
        """Repair what differs between backend and database."""
        return self.manager.reconcile(self.context, repair=True, force=force)

    # Calls

    def reserve(self) -> Volume:
        return self.manager.reserve_volume(self.context, self.id)

    def initialize(self, host: Connector = HOST_A) -> dict[str, Any]:
        return self.manager.initialize_connection(self.context, self.id, host)

    def attach(self, instance: str | None = INSTANCE_1, mode: str = "rw") -> Attachment:
        return self.manager.attach(self.context, self.id, instance, None, "/dev/vdb", mode)

    def unreserve(self) -> Volume:
        return self.manager.unreserve_volume(self.context, self.id)

    def begin(self, attachment_id: str | None = None) -> Volume:
        return self.manager.begin_detaching(self.context, self.id, attachment_id)

    def terminate(self, host: Connector | None = HOST_A) -> None:
        self.manager.terminate_connection(self.context, self.id, host)

    def detach(self, attachment_id: str | None = None) -> Volume:
        return self.manager.detach(self.context, self.id, attachment_id)

    def roll(self) -> Volume:
        return self.manager.roll_detaching(self.context, self.id)

    def attach_volume(self, host: Connector = HOST_A, **options: Any) -> Attachment:
        return self.manager.attach_volume(self.context, self.id, host, **options)

    def detach_volume(self, attachment_id: str | None = None, **options: Any) -> Volume:
        return self.manager.detach_volume(self.context, self.id, attachment_id, **options)

    # How it stands

    def volume(self) -> Volume:
        return self.manager.get_volume(self.context, self.id)

    def status(self) -> tuple[str, str]:
        volume = self.volume()
        return volume.status, volume.attach_status

    def owner(self) -> Operation:
        """The operation that owns the volume."""
        owner = self.volume().operation_id
        assert owner is not None, "nobody owns the volume"
        return self.manager.get_operation(self.context, owner)

    def last_operation(self) -> Operation:
        return self.manager.list_operations(self.context, volume_id=self.id)[-1]

    def attachments(self, live: bool = True) -> list[Attachment]:
        return self.manager.list_attachments(self.context, self.id, live)

    def acl(self) -> set[str]:
        return self.backend.acls.get(self.id, set())

    def sessions(self) -> list[str]:
        return self.backend.sessions.get(self.id, [])

    def log_in(self, attachment: Attachment) -> None:
        """Let the attachment's initiator in as a host does: by what it was told."""
        assert attachment.connector is not None
        assert attachment.connection_info is not None
        self.backend.login(attachment.connection_info, attachment.connector["initiator"])

    def assert_free(self) -> None:
        """Nobody has the volume, nothing of it is left anywhere, and anybody may attach it."""
        self.assert_clean("available")
        assert [] == self.attachments()
        for gone in self.attachments(live=False):
            assert ("detached", None) == (gone.attach_status, gone.connection_info)
            assert gone.detached_at is not None
        assert self.volume().operation_id is None
        mode = "ro" if self.volume().readonly else "rw"
        attachment = self.attach_volume(host_name="somebody", mode=mode)
        self.log_in(attachment)
        self.backend.logout(self.id, HOST_A["initiator"])
        assert "available" == self.detach_volume().status
        self.assert_clean("available")

    def assert_reserved(self) -> None:
        """The volume is its caller's, who may go on or give up; the backend holds nothing."""
        self.assert_clean("attaching")
        owner = self.owner()
        assert ("attach", "waiting") == (owner.kind, owner.state)
        assert owner.deadline is not None
        (attachment,) = self.attachments()
        assert (owner.attachment_id, "reserved") == (attachment.id, attachment.attach_status)
        assert attachment.connection_info is None

    def assert_clean(self, status: str) -> None:
        """The volume has the status, and the backend holds nothing of it but the volume."""
        volume = self.volume()
        assert (status, None) == (volume.status, volume.provider_location)
        assert is_clean(self.backend, self.id)
        assert [] == self.violations()

    def assert_used_by(self, *initiators: str) -> None:
        """These initiators have the volume, can log in, and nobody else can."""
        volume = self.volume()
        assert ("in-use", "attached", None) == (*self.status(), volume.operation_id)
        assert set(initiators) == self.acl()
        found = {a.connector["initiator"]: a for a in self.attachments() if a.connector}
        assert set(initiators) == set(found)
        for initiator, attachment in found.items():
            assert "attached" == attachment.attach_status
            self.log_in(attachment)
            self.backend.logout(self.id, initiator)
        assert [] == self.violations()

    def violations(self) -> list[str]:
        """The guarantees that are broken."""
        return violations(self.manager, self.backend, "lab")
