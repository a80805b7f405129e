"""Volumes as logical volumes of LVM, thick or thin, that a target exports to other hosts."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from volflow.drivers.exporting import ExportingDriver
from volflow.drivers.files import GIB
from volflow.drivers.identity import volume_uuid
from volflow.drivers.lvm_commands import TAG, Lvm, LvmRefused, Reason
from volflow.drivers.lvm_report import LogicalVolume
from volflow.drivers.options import parameters
from volflow.drivers.targets import Target
from volflow.drivers.targets.choice import make_target
from volflow.exceptions import DriverError, InvalidInput

_NAME = re.compile(r"[A-Za-z0-9+_.][A-Za-z0-9+_.-]*")
"""lvm(8), "Valid names"; a hyphen is none at the beginning."""

_RESERVED_BEGINNINGS = ("snapshot", "pvmove")
_RESERVED_PARTS = (
    "_cdata",
    "_cmeta",
    "_corig",
    "_cpool",
    "_cvol",
    "_imeta",
    "_iorig",
    "_mimage",
    "_mlog",
    "_pmspare",
    "_rimage",
    "_rmeta",
    "_tdata",
    "_tmeta",
    "_vdata",
    "_vorigin",
    "_vpool",
    "_wcorig",
)
_NAME_LENGTH = 127
_UUID_LENGTH = 36


class Wipe(StrEnum):
    """What happens to a thick volume's data before its space is given back.

    ``zero`` writes zeros, by the device itself where it can. ``discard`` tells the device that the
    data are no longer needed, which few devices take for a promise to forget them. ``secure``
    makes the device erase them, where it can. ``none`` leaves them to the next volume.
    """

    NONE = "none"
    ZERO = "zero"
    DISCARD = "discard"
    SECURE = "secure"


_BLKDISCARD = {Wipe.ZERO: ("--zeroout",), Wipe.DISCARD: (), Wipe.SECURE: ("--secure",)}


class LogicalVolumes:
    """Logical volumes in one volume group; every method may be repeated.

    Each is named after its volume and tagged. One that has the name and not the tag is somebody
    else's, and is neither exported nor removed.

    :param lvm: the volume group.
    :param pool: the thin pool to take space from; an empty string: thick volumes.
    :param prefix: what a logical volume's name begins with; the volume's id follows.
    :param wipe: what to do before a thick volume is removed.
    """

    def __init__(self, lvm: Lvm, pool: str, prefix: str, wipe: Wipe) -> None:
        self.lvm = lvm
        self.pool = pool
        self.prefix = prefix
        self.wipe = wipe

    def prepare(self) -> None:
        """Nothing is missing that volflow may make."""

    def check(self) -> None:
        """Raise DriverError where the volume group or the thin pool cannot be used."""
        group = self.lvm.read_group()
        if not group.is_writable:
            raise DriverError(f"the volume group {group.name} is read-only")
        if not self.pool:
            return
        pool = self.lvm.volume(self.pool)
        if pool is None or not pool.is_thin_pool:
            raise DriverError(f"the volume group {group.name} has no thin pool {self.pool!r}")
        if not pool.zeroes and self.wipe is not Wipe.NONE:
            raise DriverError(
                f"the thin pool {self.pool!r} does not zero new blocks, so that volumes show what "
                f"deleted ones held: run 'lvchange --zero y {group.name}/{self.pool}', or "
                "configure wipe = none"
            )

    def create(self, volume_id: str, size_gib: int) -> None:
        """Make the logical volume, rounded up to whole extents; one of this size is left.

        :raises DriverError: there is one of another size, or of somebody else, or LVM refused.
        """
        size = size_gib * GIB
        found = self._mine(volume_id)
        if found is None:
            self._new(volume_id, size)
        elif not size <= found.size < size + found.extent:
            raise DriverError(
                f"the logical volume {self._name(volume_id)} has {found.size} bytes where "
                f"{size_gib} GiB are {size}; nothing was changed"
            )

    def delete(self, volume_id: str) -> None:
        """Wipe and remove the logical volume; one that is gone already is no error.

        :raises DriverError: it has snapshots, or is somebody else's, or LVM refused.
        """
        found = self._mine(volume_id)
        if found is None:
            return
        if found.is_origin:
            raise DriverError(
                f"the logical volume {found.name} has snapshots, which would be removed with it"
            )
        if self.wipe is not Wipe.NONE and not found.is_thin:
            self.lvm.wipe(self._activated(found), *_BLKDISCARD[self.wipe])
        self.lvm.remove(found.name)

    def path(self, volume_id: str) -> Path:
        """Return the logical volume's device, which is there.

        :raises DriverError: there is no such logical volume, or it is somebody else's.
        """
        found = self._mine(volume_id)
        if found is None:
            raise DriverError(
                f"volume {volume_id} has no logical volume {self._name(volume_id)} in the volume "
                f"group {self.lvm.group}"
            )
        return self._activated(found)

    def _mine(self, volume_id: str) -> LogicalVolume | None:
        found = self.lvm.volume(self._name(volume_id))
        if found is not None and TAG not in found.tags:
            raise DriverError(
                f"the logical volume {self.lvm.group}/{found.name} has no tag {TAG!r}: volflow "
                "did not make it, and leaves it alone"
            )
        return found

    def _new(self, volume_id: str, size: int) -> None:
        name = self._name(volume_id)
        try:
            if self.pool:
                self.lvm.new_thin(name, size, self.pool)
            else:
                self.lvm.new_thick(name, size)
        except LvmRefused as refused:
            # A command of a process that died made it meanwhile.
            if refused.reason is not Reason.VOLUME_EXISTS:
                raise

    def _activated(self, found: LogicalVolume) -> Path:
        if not found.is_active:
            self.lvm.activate(found.name)
        return found.path

    def _name(self, volume_id: str) -> str:
        return self.prefix + volume_uuid(volume_id)


class LvmDriver(ExportingDriver):
    """Logical volumes, exported by a target.

    :param volumes: what makes and removes them.
    :param target: what exports them.
    """

    def __init__(self, volumes: LogicalVolumes, target: Target) -> None:
        self.volumes = volumes
        super().__init__(volumes, target)

    @classmethod
    def from_options(
        cls,
        volume_group: str,
        thin_pool: str = "",
        devices: str = "",
        name_prefix: str = "volume-",
        wipe: str = "zero",
        command_seconds: float = 60.0,
        wipe_seconds: float = 3600.0,
        target: str = "lio",
        **options: object,
    ) -> LvmDriver:
        """Build the driver.

        :param volume_group: where the logical volumes are.
        :param thin_pool: make thin volumes in this pool; without, thick ones.
        :param devices: the physical volumes of the volume group, separated by commas: LVM then
            looks at no other device. Needed where this host logs in to volumes itself.
        :param name_prefix: what a logical volume's name begins with; the volume's id follows.
        :param wipe: before a thick volume is removed: ``none``, ``zero``, ``discard``, ``secure``.
        :param command_seconds: the limit of one command of LVM's.
        :param wipe_seconds: the limit of one wipe; ``driver_call_seconds`` has to be above it.
        :param target: ``tgt``, ``lio`` or ``nvmet``.
        :param options: the target's, see :mod:`volflow.drivers.targets.choice`.
        :raises InvalidInput: one of them cannot be.
        """
        require_name("volume_group", volume_group, 0)
        require_name("name_prefix", name_prefix, _UUID_LENGTH)
        if thin_pool:
            require_name("thin_pool", thin_pool, 0)
        if wipe not in list(Wipe):
            raise InvalidInput(f"wipe = {wipe!r} is none of {', '.join(Wipe)}")
        for name, seconds in (
            ("command_seconds", command_seconds),
            ("wipe_seconds", wipe_seconds),
        ):
            if seconds <= 0:
                raise InvalidInput(f"{name} of {seconds} is not above 0")
        volumes = LogicalVolumes(
            Lvm(volume_group, split_devices(devices), command_seconds, wipe_seconds),
            thin_pool,
            name_prefix,
            Wipe(wipe),
        )
        return cls(volumes, make_target(target, options, "lvm", parameters(cls.from_options)))


def split_devices(text: str) -> tuple[str, ...]:
    """Split ``/dev/sdb,/dev/sdc``.

    :raises InvalidInput: one is no absolute path.
    """
    devices = tuple(filter(None, (word.strip() for word in text.split(","))))
    for device in devices:
        if not device.startswith("/") or not device.isprintable():
            raise InvalidInput(f"devices = {text!r}: {device!r} is no absolute path")
    return devices


def require_name(option: str, name: str, more: int) -> None:
    """Check that LVM takes a name.

    :param more: how many characters follow it.
    :raises InvalidInput: it has characters that LVM forbids, is too long, or is reserved.

    >>> require_name("name_prefix", "snapshot-", 36)
    Traceback (most recent call last):
    ...
    volflow.exceptions.InvalidInput: name_prefix = 'snapshot-': LVM reserves names with 'snapshot'
    """
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise InvalidInput(
            f"{option} = {name!r}: LVM takes letters, digits and + _ . - alone, and no - first"
        )
    if len(name) + more > _NAME_LENGTH:
        raise InvalidInput(f"{option} = {name!r} has more than {_NAME_LENGTH - more} characters")
    reserved = [word for word in _RESERVED_BEGINNINGS if name.startswith(word)]
    reserved += [part for part in _RESERVED_PARTS if part in name]
    if reserved:
        raise InvalidInput(f"{option} = {name!r}: LVM reserves names with {reserved[0]!r}")
