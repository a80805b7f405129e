"""Volumes that something is going on with, and that a hand is about to harm."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event

from tests.contract.hand import Hand
from tests.contract.lab import HOST_A, HOST_B, INSTANCE_1, is_clean
from volflow import RecoveryReport, RequestContext, VolumeManager
from volflow.clock import Clock
from volflow.exceptions import ConnectionFailed, RollbackIncomplete
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver

CONTEXT = RequestContext(overwrite=False)
Situation = Callable[[VolumeManager, str, FaultyDriver], None]


def waiting(manager: VolumeManager, volume_id: str, faulty: FaultyDriver) -> None:
    """An attach that waits for its caller, connected."""
    manager.reserve_volume(CONTEXT, volume_id)
    manager.initialize_connection(CONTEXT, volume_id, HOST_A)


def dying(manager: VolumeManager, volume_id: str, faulty: FaultyDriver) -> None:
    """An attach whose process died."""
    faulty.faults = [Fault("initialize_connection", "after", Crash)]
    with pytest.raises(Crash):
        manager.attach_volume(CONTEXT, volume_id, HOST_A, instance_uuid=INSTANCE_1)


def stopped(manager: VolumeManager, volume_id: str, faulty: FaultyDriver) -> None:
    """An attach whose undo was refused."""
    faulty.faults = [
        Fault("initialize_connection", "after", ConnectionFailed("the first")),
        Fault("remove_export", "before", OSError("the second")),
    ]
    with pytest.raises(RollbackIncomplete):
        manager.attach_volume(CONTEXT, volume_id, HOST_A, instance_uuid=INSTANCE_1)


def detaching(manager: VolumeManager, volume_id: str, faulty: FaultyDriver) -> None:
    """A detach that waits for its caller."""
    manager.attach_volume(CONTEXT, volume_id, HOST_A, instance_uuid=INSTANCE_1)
    manager.begin_detaching(CONTEXT, volume_id)


def resting(manager: VolumeManager, volume_id: str, faulty: FaultyDriver) -> None:
    """An attachment that nothing happens to."""
    manager.attach_volume(CONTEXT, volume_id, HOST_A, instance_uuid=INSTANCE_1)


MOVING: tuple[Situation, ...] = (waiting, dying, stopped, detaching)
ALL: tuple[Situation, ...] = (*MOVING, resting)


class Later(Clock):
    """A process's clock when every deadline and every lease that is set now has passed."""

    def microseconds(self) -> int:
        return super().microseconds() + 3600 * 1_000_000


class Victim(NamedTuple):
    """The ids of the rows that are harmed, by table."""

    volumes: str
    attachments: str
    operations: str


class Scene:
    """A volume to be harmed, and a healthy one beside it whose caller does not come back.

    It is made once for each situation, and each test has a copy of its own.
    """

    def __init__(self, home: Path, situation: Situation) -> None:
        self.home = home
        self.backend = MemoryDriver()
        faulty = FaultyDriver(self.backend)
        with self._open(faulty) as manager:
            victim = manager.create_volume(CONTEXT, 1, "lab", multiattach=True)
            situation(manager, victim.id, faulty)
            faulty.faults = []
            self.healthy = manager.create_volume(CONTEXT, 1, "lab").id
            self.owner = manager.reserve_volume(CONTEXT, self.healthy).operation_id
            manager.initialize_connection(CONTEXT, self.healthy, HOST_B)
            (attachment,) = manager.list_attachments(CONTEXT, victim.id)
            operation = manager.list_operations(CONTEXT, volume_id=victim.id)[-1].id
        self.victim = Victim(victim.id, attachment.id, operation)

    def copied(self, home: Path) -> Scene:
        """The same scene in another place."""
        found = copy(self)
        shutil.copytree(self.home, home)
        found.home, found.backend = home, deepcopy(self.backend)
        return found

    @property
    def hand(self) -> Hand:
        """An operator's, in this scene's database."""
        return Hand(self.home / "volflow.db")

    def later(self, **options: Any) -> VolumeManager:
        """A process that starts when every deadline and every lease has passed."""
        return self._open(self.backend, clock=Later(), **options)

    def _open(self, driver: Any, **options: Any) -> VolumeManager:
        given = {"database": f"sqlite:///{self.home}/volflow.db", "recover": False, **options}
        manager = VolumeManager(drivers={"lab": driver}, **given)
        event.listen(manager.database.engine, "connect", _do_not_sync)
        manager.database.close()
        return manager

    def look_at_all(self, manager: VolumeManager) -> None:
        """Everything that lists does, and shows what is healthy."""
        volumes = manager.list_volumes(CONTEXT)
        assert self.healthy in {volume.id for volume in volumes}
        found = manager.list_attachments(CONTEXT, live=False)
        assert self.healthy in {attachment.volume_id for attachment in found}
        manager.list_attachments(CONTEXT)
        operations = manager.list_operations(CONTEXT)
        assert self.owner in {operation.id for operation in operations}

    def assert_healthy_is_settled(self, manager: VolumeManager, report: RecoveryReport) -> None:
        """The operation beside it was rolled back, and its volume is free."""
        assert self.owner in report.rolled_back
        self.assert_healthy_is_free(manager)

    def assert_healthy_is_free(self, manager: VolumeManager) -> None:
        """The volume beside it is nobody's, on the backend too."""
        volume = manager.get_volume(CONTEXT, self.healthy)
        assert ("available", "detached", None) == (
            volume.status,
            volume.attach_status,
            volume.operation_id,
        )
        assert is_clean(self.backend, self.healthy)


def _do_not_sync(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")  # no machine dies here
