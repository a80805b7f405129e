"""LVM itself: what volflow makes, what it leaves alone, and what LVM says when it refuses."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guest import kernel
from tests.lab.guest.backends import GROUP, POOL
from tests.lab.guest.hosts import run
from tests.unit.drivers.volumes import driver_volume
from volflow.drivers import lvm_commands
from volflow.drivers.lvm import LogicalVolumes, LvmDriver
from volflow.drivers.lvm_commands import Lvm, LvmRefused, Reason, reason_of
from volflow.exceptions import DriverError, TransientDriverError

GIB = 1 << 30


def made(**options: str) -> LogicalVolumes:
    return LvmDriver.from_options(GROUP, devices=kernel.DISK, **options).volumes


@pytest.fixture
def volume_id() -> Iterator[str]:
    """A volume's id; its logical volume is removed afterwards."""
    found = driver_volume().id
    yield found
    for name in kernel.volumes():
        lvm("lvremove", "--yes", f"{GROUP}/{name}")


def lvm(program: str, *words: str) -> str:
    return run(program, "--devices", kernel.DISK, *words)


def size_of(name: str) -> int:
    words = ("--noheadings", "--units", "b", "--nosuffix", "-o", "lv_size", f"{GROUP}/{name}")
    return int(lvm("lvs", *words))


@pytest.mark.parametrize("pool", ["", POOL])
def test_sizes_are_whole_extents_and_at_least_what_was_asked(volume_id: str, pool: str) -> None:
    """When a volume is made twice, there is one, in extents; another size is refused."""
    volumes = made(thin_pool=pool)

    volumes.create(volume_id, 1)
    volumes.create(volume_id, 1)

    assert size_of(f"volume-{volume_id}") == GIB
    assert volumes.path(volume_id) == Path(f"/dev/{GROUP}/volume-{volume_id}")
    with pytest.raises(DriverError, match="has 1073741824 bytes where 2 GiB are 2147483648"):
        volumes.create(volume_id, 2)
    volumes.delete(volume_id)
    volumes.delete(volume_id)
    assert kernel.volumes() == []


def test_a_volume_that_is_not_active_becomes_active(volume_id: str) -> None:
    """When the device is not there, as after a reboot, asking for its path brings it."""
    volumes = made()
    volumes.create(volume_id, 1)
    name = f"{GROUP}/volume-{volume_id}"
    lvm("lvchange", "--activate", "n", name)
    assert not Path(f"/dev/{name}").exists()

    assert volumes.path(volume_id).exists()

    lvm("lvchange", "--activate", "n", name)
    volumes.delete(volume_id)
    assert kernel.volumes() == []


def test_a_volume_of_somebody_else_is_neither_used_nor_removed(volume_id: str) -> None:
    """When a logical volume has the name and not the tag, every call refuses."""
    lvm("lvcreate", "--yes", "--size", "4m", "--name", f"volume-{volume_id}", GROUP)
    volumes = made()
    for call in (
        lambda: volumes.create(volume_id, 1),
        lambda: volumes.delete(volume_id),
        lambda: volumes.path(volume_id),
    ):
        with pytest.raises(DriverError, match="has no tag 'volflow': volflow did not make it"):
            call()

    assert size_of(f"volume-{volume_id}") == 4 << 20
    lvm("lvremove", "--yes", f"{GROUP}/volume-{volume_id}")


def test_a_volume_with_snapshots_is_not_removed(volume_id: str) -> None:
    """When an operator made a snapshot, it is not removed behind their back."""
    volumes = made()
    volumes.create(volume_id, 1)
    lvm("lvcreate", "--yes", "--snapshot", "--size", "8m", "--name", "theirs",
        f"{GROUP}/volume-{volume_id}")  # fmt: skip

    with pytest.raises(DriverError, match="has snapshots, which would be removed with it"):
        volumes.delete(volume_id)

    lvm("lvremove", "--yes", f"{GROUP}/theirs")
    volumes.delete(volume_id)


@pytest.mark.parametrize(
    ("wipe", "found"), [("zero", bytes(4096)), ("discard", bytes(4096)), ("none", b"\xa5" * 4096)]
)
def test_data_are_wiped_as_configured(volume_id: str, wipe: str, found: bytes) -> None:
    """When a volume is deleted, the next one in its place shows zeros, or what was there."""
    volumes = made(wipe=wipe)
    volumes.create(volume_id, 1)
    offset = 1 << 20  # past what lvcreate zeroes
    with volumes.path(volume_id).open("r+b", buffering=0) as device:
        device.seek(offset)
        device.write(b"\xa5" * 4096)
        subprocess.run(["sync"], check=True)
    volumes.delete(volume_id)
    again = driver_volume().id
    volumes.create(again, 1)

    with volumes.path(again).open("rb", buffering=0) as device:
        device.seek(offset)
        assert device.read(4096) == found


def test_a_wipe_that_the_device_cannot_do_is_an_error_and_the_volume_stays(volume_id: str) -> None:
    """When secure erasure is configured and not there, nothing is removed unwiped."""
    volumes = made(wipe="secure")
    volumes.create(volume_id, 1)

    with pytest.raises(LvmRefused, match="the device does not support it"):
        volumes.delete(volume_id)

    assert kernel.volumes() == [f"volume-{volume_id}"]


def test_a_setup_that_works_is_silent_and_one_that_does_not_is_named() -> None:
    """When group or pool are wrong, the check says which."""
    made().check()
    made(thin_pool=POOL).check()
    with pytest.raises(DriverError, match="has no thin pool 'nope'"):
        made(thin_pool="nope").check()
    with pytest.raises(DriverError, match="there is no such volume group"):
        LvmDriver.from_options("nope", devices=kernel.DISK).volumes.check()


def test_a_pool_that_shows_old_data_is_refused() -> None:
    """When a pool does not zero what it gives out, the check says what to do."""
    lvm("lvchange", "--zero", "n", f"{GROUP}/{POOL}")
    try:
        with pytest.raises(DriverError, match=f"run 'lvchange --zero y {GROUP}/{POOL}'"):
            made(thin_pool=POOL).check()
        made(thin_pool=POOL, wipe="none").check()
    finally:
        lvm("lvchange", "--zero", "y", f"{GROUP}/{POOL}")


def test_a_lock_that_a_command_inherits_is_no_complaint(volume_id: str, tmp_path: Path) -> None:
    """When the volume's lock is held, LVM's commands hold it too and say nothing."""
    from volflow.locks import locked

    with locked(tmp_path / "lock", 1):
        made().create(volume_id, 1)
        made().delete(volume_id)


class TestSpecimens:
    """What LVM really says."""

    def said(self, capture: list[str], call: object, *arguments: object) -> Reason:
        try:
            call(*arguments)
        except LvmRefused as refused:
            capture.append(str(refused))
            return refused.reason
        except TransientDriverError as refused:
            capture.append(str(refused))
            return reason_of(str(refused))
        raise AssertionError("LVM did not refuse")

    def test_every_refusal_that_can_be_made_is_understood(self, volume_id: str) -> None:
        """When LVM refuses, the reason is the table's, by a message that reads so."""
        group = Lvm(GROUP, (kernel.DISK,))
        other = Lvm("nope", (kernel.DISK,))
        name = f"volume-{volume_id}"
        group.new_thick(name, GIB)
        said: list[str] = []
        for wanted, call, *arguments in (
            (Reason.NO_GROUP, other.read_group),
            (Reason.NO_VOLUME, group.remove, "missing"),
            (Reason.NO_VOLUME, group.activate, "missing"),
            (Reason.VOLUME_EXISTS, group.new_thick, name, GIB),
            (Reason.FULL, group.new_thick, "big", 64 * GIB),
            (Reason.NO_POOL, group.new_thin, "thin", GIB, "missing"),
            (Reason.NO_POOL, group.new_thin, "thin", GIB, name),
            (Reason.RESERVED, group.new_thick, "snapshot-1", GIB),
            (Reason.RESERVED, group.new_thick, "a_tdata", GIB),
            (Reason.RESERVED, group.new_thick, "a b", GIB),
            (Reason.UNSUPPORTED, group.wipe, Path(f"/dev/{GROUP}/{name}"), "--secure"),
        ):
            assert self.said(said, call, *arguments) is wanted, said[-1]
        with Path(f"/dev/{GROUP}/{name}").open("rb"):
            assert self.said(said, group.remove, name) is Reason.IN_USE
        met = {r.reason for r in lvm_commands.REFUSALS if any(r.pattern.search(s) for s in said)}
        assert met >= {
            Reason.NO_GROUP, Reason.NO_VOLUME, Reason.VOLUME_EXISTS, Reason.FULL, Reason.NO_POOL,
            Reason.RESERVED, Reason.UNSUPPORTED, Reason.IN_USE,
        }  # fmt: skip
