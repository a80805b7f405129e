"""volflow.drivers.lvm: volumes, their names and their end, on an LVM that is a dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.drivers.test_file import FakeTarget
from tests.unit.drivers.volumes import driver_volume
from volflow.drivers import Driver
from volflow.drivers.lvm import LogicalVolumes, LvmDriver, Wipe, require_name, split_devices
from volflow.drivers.lvm_commands import LvmRefused, Reason
from volflow.drivers.lvm_report import LogicalVolume, VolumeGroup
from volflow.exceptions import DriverError, InvalidInput, InvalidUUID

EXTENT = 4 << 20
GIB = 1 << 30
CONNECTOR = {"initiator": "iqn.1994-05.com.example:a"}


class FakeLvm:
    """One volume group."""

    group = "vg"

    def __init__(self) -> None:
        self.found: dict[str, LogicalVolume] = {}
        self.did: list[tuple[Any, ...]] = []
        self.attributes = "wz--n-"

    def volume(self, name: str) -> LogicalVolume | None:
        return self.found.get(name)

    def read_group(self) -> VolumeGroup:
        return VolumeGroup(self.group, self.attributes, EXTENT, GIB)

    def new_thick(self, name: str, size: int) -> None:
        self.did.append(("thick", name, size))
        self.add(name, -(-size // EXTENT) * EXTENT)

    def new_thin(self, name: str, size: int, pool: str) -> None:
        self.did.append(("thin", name, size, pool))
        self.add(name, size, "Vwi-a-tz--")

    def activate(self, name: str) -> None:
        self.did.append(("activate", name))

    def remove(self, name: str) -> None:
        self.did.append(("remove", name))
        del self.found[name]

    def wipe(self, device: Path, *options: str) -> None:
        self.did.append(("wipe", str(device), *options))

    def add(self, name: str, size: int = GIB, attributes: str = "-wi-a-----",
            tags: tuple[str, ...] = ("volflow",), zeroes: bool = True) -> None:  # fmt: skip
        path = Path(f"/dev/vg/{name}")
        self.found[name] = LogicalVolume(name, size, attributes, path, tags, "", zeroes, EXTENT)


@pytest.fixture
def lvm() -> FakeLvm:
    return FakeLvm()


@pytest.fixture
def volume_id() -> str:
    return driver_volume().id


def made(lvm: Any, pool: str = "", wipe: Wipe = Wipe.ZERO) -> LogicalVolumes:
    return LogicalVolumes(lvm, pool, "volume-", wipe)


def test_a_volume_is_made_once(lvm, volume_id):
    """When create is repeated, the logical volume of the right size is left."""
    volumes = made(lvm)
    volumes.create(volume_id, 1)
    volumes.create(volume_id, 1)

    assert lvm.did == [("thick", f"volume-{volume_id}", GIB)]
    assert volumes.path(volume_id) == Path(f"/dev/vg/volume-{volume_id}")


def test_a_thin_volume_comes_from_the_pool(lvm, volume_id):
    """When a pool is configured, volumes are thin, and need no wiping."""
    volumes = made(lvm, "pool")
    volumes.create(volume_id, 2)
    volumes.delete(volume_id)

    name = f"volume-{volume_id}"
    assert lvm.did == [("thin", name, 2 * GIB, "pool"), ("remove", name)]


@pytest.mark.parametrize("size", [GIB, GIB + EXTENT - 1])
def test_a_size_that_was_rounded_up_is_the_right_one(lvm, volume_id, size):
    """When extents are larger than the rest of the size, the volume is a little larger."""
    lvm.add(f"volume-{volume_id}", size)
    made(lvm).create(volume_id, 1)
    assert lvm.did == []


@pytest.mark.parametrize("size", [GIB - EXTENT, GIB + EXTENT])
def test_another_size_is_refused(lvm, volume_id, size):
    """When the volume has another size, nothing is changed, and the error tells both."""
    lvm.add(f"volume-{volume_id}", size)
    with pytest.raises(DriverError, match=f"has {size} bytes where 1 GiB are {GIB}"):
        made(lvm).create(volume_id, 1)


def test_a_volume_that_appears_meanwhile_is_taken(lvm, volume_id, monkeypatch):
    """When the command of a process that died made it just then, that is no error."""

    def late(name: str, size: int) -> None:
        raise LvmRefused("exists", Reason.VOLUME_EXISTS)

    monkeypatch.setattr(lvm, "new_thick", late)
    made(lvm).create(volume_id, 1)

    def full(name: str, size: int) -> None:
        raise LvmRefused("full", Reason.FULL)

    monkeypatch.setattr(lvm, "new_thick", full)
    with pytest.raises(LvmRefused, match="full"):
        made(lvm).create(volume_id, 1)


@pytest.mark.parametrize(
    ("wipe", "did"),
    [
        (Wipe.NONE, []),
        (Wipe.ZERO, ["--zeroout"]),
        (Wipe.DISCARD, []),
        (Wipe.SECURE, ["--secure"]),
    ],
)
def test_a_thick_volume_is_wiped_as_configured_before_it_goes(lvm, volume_id, wipe, did):
    """When a volume is deleted, its data go first; one that is inactive is activated for it."""
    name = f"volume-{volume_id}"
    lvm.add(name, attributes="-wi-------")
    made(lvm, wipe=wipe).delete(volume_id)

    wiped = [("activate", name), ("wipe", f"/dev/vg/{name}", *did)] if wipe != "none" else []
    assert lvm.did == [*wiped, ("remove", name)]


def test_deleting_what_is_gone_is_no_error(lvm, volume_id):
    """When there is no logical volume, delete does nothing, and path says so."""
    made(lvm).delete(volume_id)
    assert lvm.did == []
    with pytest.raises(
        DriverError, match=r"has no logical volume volume-.* in the volume group vg"
    ):
        made(lvm).path(volume_id)


def test_what_is_not_volflows_is_left_alone(lvm, volume_id):
    """When a logical volume lacks the tag, it is neither used nor removed."""
    lvm.add(f"volume-{volume_id}", tags=("theirs",))
    volumes = made(lvm)
    for call in (
        lambda: volumes.create(volume_id, 1),
        lambda: volumes.path(volume_id),
        lambda: volumes.delete(volume_id),
    ):
        with pytest.raises(DriverError, match="has no tag 'volflow'"):
            call()
    assert lvm.did == []


def test_a_volume_with_snapshots_is_left_alone(lvm, volume_id):
    """When snapshots would go with it, a volume is not deleted."""
    lvm.add(f"volume-{volume_id}", attributes="owi-a-s---")
    with pytest.raises(DriverError, match="has snapshots"):
        made(lvm).delete(volume_id)
    assert lvm.did == []


def test_an_id_that_is_no_uuid_is_refused(lvm):
    """When an id could lead elsewhere, no command is run."""
    with pytest.raises(InvalidUUID):
        made(lvm).delete("../x")


def test_the_check_names_what_is_wrong(lvm):
    """When group or pool cannot be used, the check says which and why."""
    made(lvm).check()
    with pytest.raises(DriverError, match="no thin pool 'pool'"):
        made(lvm, "pool").check()
    lvm.add("pool")
    with pytest.raises(DriverError, match="no thin pool 'pool'"):
        made(lvm, "pool").check()
    lvm.add("pool", attributes="twi-aotz--", zeroes=False)
    with pytest.raises(DriverError, match="does not zero new blocks"):
        made(lvm, "pool").check()
    made(lvm, "pool", Wipe.NONE).check()
    lvm.attributes = "rz--n-"
    with pytest.raises(DriverError, match="is read-only"):
        made(lvm).check()


def test_the_target_is_asked_with_the_device(lvm):
    """When the core calls, the target gets the volume and its device's path."""
    target, volume = FakeTarget(), driver_volume()
    driver = LvmDriver(made(lvm), target)
    driver.do_setup(None)
    driver.create_volume(None, volume)
    driver.create_export(None, volume, CONNECTOR)
    driver.remove_export(None, volume)
    driver.delete_volume(None, volume)

    assert isinstance(driver, Driver)
    path = Path(f"/dev/vg/volume-{volume.id}")
    assert target.calls == [("create", volume.id, path), ("remove", volume.id)]


def test_options_build_the_driver():
    """When only the group is named, volumes are thick, wiped with zeros, and exported by LIO."""
    driver = LvmDriver.from_options("vg")

    assert (driver.volumes.lvm.group, driver.volumes.pool) == ("vg", "")
    assert driver.volumes.wipe is Wipe.ZERO
    assert type(driver.target).__name__ == "LioTarget"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"volume_group": "a b"}, "volume_group = 'a b': LVM takes letters"),
        ({"volume_group": "-a"}, "no - first"),
        ({"name_prefix": ""}, "name_prefix = ''"),
        ({"name_prefix": "snapshot-"}, "LVM reserves names with 'snapshot'"),
        ({"name_prefix": "pvmove"}, "LVM reserves names with 'pvmove'"),
        ({"name_prefix": "x_tdata"}, "LVM reserves names with '_tdata'"),
        ({"name_prefix": "x" * 92}, "has more than 91 characters"),
        ({"thin_pool": "a/b"}, "thin_pool = 'a/b'"),
        ({"wipe": "shred"}, "wipe = 'shred' is none of none, zero, discard, secure"),
        ({"command_seconds": 0}, "command_seconds of 0 is not above 0"),
        ({"wipe_seconds": -1}, "wipe_seconds of -1 is not above 0"),
        ({"devices": "sdb"}, "devices = 'sdb': 'sdb' is no absolute path"),
        ({"target": "scst"}, "the driver 'lvm' has no target 'scst'; there are lio, nvmet, tgt"),
        (
            {"control_port": "1"},
            (
                "neither the driver 'lvm' nor its target 'lio' has an option 'control_port'; they "
                "have volume_group, thin_pool, devices, name_prefix, wipe, command_seconds, "
                "wipe_seconds, target, portal, iqn_prefix, discard"
            ),
        ),
    ],
)
def test_a_mistake_in_the_options_is_named(options, message):
    """When an option cannot be, the error says which and what would be right."""
    with pytest.raises(InvalidInput) as caught:
        LvmDriver.from_options(**{"volume_group": "vg", **options})
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["volume-", "a", "+_.x-y", "snap", "_tdat"])
def test_names_that_lvm_takes_pass(name):
    """When a name is allowed, nothing is said."""
    require_name("name_prefix", name, 36)


def test_devices_are_split():
    """When several are named, spaces around them do not count."""
    assert split_devices(" /dev/sdb, /dev/disk/by-id/x ") == ("/dev/sdb", "/dev/disk/by-id/x")
    assert split_devices("") == ()
