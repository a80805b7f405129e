"""What real targets leave behind: tgtd itself, and a double of what LIO does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import OpenManager
from tests.contract.lab import HOST_A, KEY_A
from tests.servers.tgtd import RequireBinary, Tgtd, running_tgtd
from volflow import RequestContext, VolumeManager
from volflow.drivers.file import FileDriver
from volflow.exceptions import DriverError, ExportFailed
from volflow.models import ConnectionInfo, Connector, DriverVolume
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver
from volflow.testing.invariants import violations


@pytest.fixture(scope="module")
def tgtd(require_binary: RequireBinary) -> Iterator[Tgtd]:
    with running_tgtd(require_binary) as tgtd:
        yield tgtd


@pytest.fixture
def files(tgtd: Tgtd, tmp_path: Path) -> Iterator[FileDriver]:
    """Images that the tgtd exports; it holds nothing before and after the test."""
    yield FileDriver(tmp_path / "images", tgtd.target())
    tgtd.wipe()


def left_in(tgtd: Tgtd) -> tuple[list[str], tuple[str, ...]]:
    """The targets and the accounts that tgtd has."""
    adm = tgtd.target().tgt
    return [target.iqn for target in adm.targets()], adm.accounts()


def end_free(manager: VolumeManager, driver: Any, volume_id: str) -> None:
    """Attach and detach the volume once, and look that nothing of it is left."""
    context = RequestContext(overwrite=False)
    manager.attach_volume(context, volume_id, HOST_A, host_name="a")
    assert [] == violations(manager, driver, "lab")
    assert "available" == manager.detach_volume(context, volume_id).status
    assert [] == list(driver.list_exports())
    assert [] == violations(manager, driver, "lab")


def test_tgt_a_the_backing_file_is_missing(
    open_manager: OpenManager, tgtd: Tgtd, files: FileDriver
) -> None:
    """Cinder leaves a target without a LUN, which its remove_export never finds, since the file
    that describes it is gone. volflow has no such file: the undo finds the target by its name.
    """
    context = RequestContext(overwrite=False)
    manager = open_manager(drivers={"lab": files})
    volume = manager.create_volume(context, 1, "lab")
    image = files.images.path(volume.id)
    seen: list[list[str]] = []
    new_lun = files.target.tgt.new_lun

    def on_a_missing_file(tid: int, lun: int, path: Path) -> None:
        seen.append(left_in(tgtd)[0])
        new_lun(tid, lun, path.rename(path.with_suffix(".gone")).with_suffix(".raw"))

    files.target.tgt.new_lun = on_a_missing_file
    manager.reserve_volume(context, volume.id)
    with pytest.raises(ExportFailed, match="cannot export volume"):
        manager.initialize_connection(context, volume.id, HOST_A)
    assert [[files.target.iqn_prefix + volume.id]] == seen  # the target had been made
    assert ([], ()) == left_in(tgtd)
    assert "attaching" == manager.get_volume(context, volume.id).status

    image.with_suffix(".gone").rename(image)
    files.target.tgt.new_lun = new_lun
    assert "available" == manager.unreserve_volume(context, volume.id).status
    end_free(manager, files, volume.id)
    assert ([], ()) == left_in(tgtd)


@pytest.mark.parametrize("recovered", [True, False], ids=["recovered", "at once"])
def test_tgt_b_a_death_before_the_location_is_saved(
    open_manager: OpenManager, tgtd: Tgtd, files: FileDriver, recovered: bool
) -> None:
    """Cinder leaves the target, which its remove_export skips for want of a recorded location.
    volflow finds the target by the volume's id, and the account by what was recorded before.
    """
    context = RequestContext(overwrite=False)
    faulty = FaultyDriver(files, [Fault("create_export", "after", Crash)])
    first = open_manager(drivers={"lab": faulty})
    volume = first.create_volume(context, 1, "lab")
    first.reserve_volume(context, volume.id)
    with pytest.raises(Crash):
        first.initialize_connection(context, volume.id, HOST_A)
    first.close()
    targets, accounts = left_in(tgtd)
    assert (1, 1) == (len(targets), len(accounts))
    second = open_manager(drivers={"lab": files})
    assert second.get_volume(context, volume.id).provider_location is None
    if recovered:
        second.recover()
        assert [(KEY_A,)] == [export.initiators for export in files.list_exports()]

    assert "available" == second.unreserve_volume(context, volume.id).status

    assert ([], ()) == left_in(tgtd)
    end_free(second, files, volume.id)


class HalfMaking(MemoryDriver):
    """A backend that makes a storage object and then a target, and believes the first.

    Where the storage object is there it reports success and does not look for the target, as
    cinder-rtstool does.

    :ivar objects: volumes that have a storage object.
    :ivar between: called between the two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objects: set[str] = set()
        self.between: Callable[[], None] = bool

    def create_export(
        self, context: Any, volume: DriverVolume, connector: Connector
    ) -> dict[str, Any]:
        if volume.id in self.objects:
            return {}
        self.objects.add(volume.id)
        self.between()
        return super().create_export(context, volume, connector)

    def remove_export(self, context: Any, volume: DriverVolume) -> None:
        super().remove_export(context, volume)
        self.objects.discard(volume.id)


@pytest.mark.parametrize("fault", ["error", "death"])
def test_lio_half_a_storage_object_is_left(open_manager: OpenManager, fault: str) -> None:
    """Cinder's LIO helper finds the storage object, reports success, and no attach ever finds a
    target again. volflow removes what a failing or dying create_export may have made, so that
    the next one begins anew.
    """
    context = RequestContext(overwrite=False)
    backend = HalfMaking()
    manager = open_manager(drivers={"lab": backend})
    volume = manager.create_volume(context, 1, "lab")
    manager.reserve_volume(context, volume.id)

    def fail() -> None:
        raise OSError("configfs is busy") if fault == "error" else Crash

    backend.between = fail
    with pytest.raises(DriverError if fault == "error" else Crash):
        connect(manager, volume.id)
    backend.between = bool
    if fault == "death":
        assert {volume.id} == backend.objects
        manager.close()
        manager = open_manager(drivers={"lab": backend})
        manager.recover()
    assert set() == backend.objects
    assert "attaching" == manager.get_volume(context, volume.id).status

    assert "iscsi" == connect(manager, volume.id)["driver_volume_type"]

    manager.unreserve_volume(context, volume.id)
    end_free(manager, backend, volume.id)
    assert set() == backend.objects


def connect(manager: VolumeManager, volume_id: str) -> ConnectionInfo:
    return manager.initialize_connection(RequestContext(overwrite=False), volume_id, HOST_A)
