"""LVM, asked and told by its commands (LVM 2.03.16).

The commands exit with 5 for every refusal, so that what they write on their standard error is what
counts. They are run in the C locale, never ask, and wait for each other by LVM's own locks.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from volflow.drivers import command, lvm_report
from volflow.exceptions import DriverError, TransientDriverError

TAG = "volflow"
"""The LVM tag of every logical volume that volflow made: others are never touched."""


class Reason(StrEnum):
    """Why LVM refused."""

    NO_GROUP = "there is no such volume group"
    NO_VOLUME = "there is no such logical volume"
    VOLUME_EXISTS = "a logical volume of this name exists"
    NO_POOL = "there is no such thin pool"
    FULL = "the volume group or the thin pool is full"
    IN_USE = "the logical volume is in use"
    RESERVED = "LVM reserves or forbids the name"
    LOCKED = "another command holds LVM's lock"
    NOT_ALLOWED = "only root may do that"
    UNSUPPORTED = "the device does not support it"
    UNKNOWN = "for a reason that is not known"


class Refusal(NamedTuple):
    """One message of LVM or blkdiscard and what it means."""

    pattern: re.Pattern[str]
    reason: Reason
    specimen: str


def _refusal(pattern: str, reason: Reason, specimen: str) -> Refusal:
    return Refusal(re.compile(pattern), reason, specimen)


REFUSALS = (
    _refusal(r'Volume group "\S+" not found', Reason.NO_GROUP, 'Volume group "vg" not found'),
    _refusal(
        r"Failed to find logical volume",
        Reason.NO_VOLUME,
        'Failed to find logical volume "vg/volume"',
    ),
    _refusal(
        r"Logical [Vv]olume \S+ already exists",
        Reason.VOLUME_EXISTS,
        'Logical Volume "volume" already exists in volume group "vg"',
    ),
    _refusal(
        r"Pool \S+ not found in Volume group",
        Reason.NO_POOL,
        "Pool pool not found in Volume group vg.",
    ),
    _refusal(
        r"is not a thin pool", Reason.NO_POOL, "Logical volume vg/volume is not a thin pool."
    ),
    _refusal(
        r"insufficient free space",
        Reason.FULL,
        'Volume group "vg" has insufficient free space (209 extents): 1280 required.',
    ),
    _refusal(
        r"free space in thin pool \S+ reached threshold",
        Reason.FULL,
        "Cannot create new thin volume, free space in thin pool vg/pool reached threshold.",
    ),
    _refusal(
        r"Logical volume \S+ (in use|contains a filesystem in use|is used by another device)",
        Reason.IN_USE,
        "Logical volume vg/volume in use.",
    ),
    _refusal(
        r"Device or resource busy",
        Reason.IN_USE,
        "blkdiscard: cannot open /dev/vg/volume: Device or resource busy",
    ),
    _refusal(
        r"Names (starting|including) \S+ are reserved",
        Reason.RESERVED,
        'Names starting "snapshot" are reserved. Please choose a different LV name.',
    ),
    _refusal(
        r"Logical volume name .* is invalid",
        Reason.RESERVED,
        'Logical volume name "a b" is invalid.',
    ),
    _refusal(r"Can't get lock for", Reason.LOCKED, "Can't get lock for vg"),
    _refusal(
        r"Permission denied",
        Reason.NOT_ALLOWED,
        "/run/lock/lvm/V_vg:aux: open failed: Permission denied",
    ),
    _refusal(
        r"ioctl failed: Operation not supported",
        Reason.UNSUPPORTED,
        "blkdiscard: /dev/vg/volume: BLKSECDISCARD ioctl failed: Operation not supported",
    ),
)


class LvmRefused(DriverError):
    """LVM refused a command."""

    def __init__(self, message: str = "", reason: Reason = Reason.UNKNOWN) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[LvmRefused], tuple[str, Reason]]:
        return (type(self), (self.message, self.reason))


def reason_of(stderr: str) -> Reason:
    """Find what a message of LVM means."""
    for refusal in REFUSALS:
        if refusal.pattern.search(stderr):
            return refusal.reason
    return Reason.UNKNOWN


class Lvm:
    """One volume group; each method is one command.

    :param group: the volume group's name.
    :param devices: the group's physical volumes, the only devices that LVM then looks at; none:
        LVM looks at all that its own configuration allows.
    :param command_seconds: the limit of one command.
    :param wipe_seconds: the limit of one wipe.
    """

    def __init__(
        self,
        group: str,
        devices: tuple[str, ...] = (),
        command_seconds: float = 60.0,
        wipe_seconds: float = 3600.0,
    ) -> None:
        self.group = group
        self.devices = devices
        self.command_seconds = command_seconds
        self.wipe_seconds = wipe_seconds

    def volume(self, name: str) -> lvm_report.LogicalVolume | None:
        """Read a logical volume; None: there is none."""
        try:
            text = self._report("lvs", lvm_report.VOLUME_FIELDS, f"{self.group}/{name}")
        except LvmRefused as refused:
            if refused.reason is not Reason.NO_VOLUME:
                raise
            return None
        return lvm_report.parse_volume(text)

    def read_group(self) -> lvm_report.VolumeGroup:
        """Read the volume group."""
        return lvm_report.parse_group(self._report("vgs", lvm_report.GROUP_FIELDS, self.group))

    def new_thick(self, name: str, size: int) -> None:
        """Make a logical volume of at least ``size`` bytes, in whole extents."""
        wipe = ("--wipesignatures", "y", "--zero", "y")
        self._lvm("lvcreate", *_NEW, *wipe, "--size", f"{size}b", "--name", name, self.group)

    def new_thin(self, name: str, size: int, pool: str) -> None:
        """Make a thin volume of at least ``size`` bytes, in whole extents."""
        where = ("--thinpool", f"{self.group}/{pool}")
        self._lvm("lvcreate", *_NEW, *where, "--virtualsize", f"{size}b", "--name", name)

    def activate(self, name: str) -> None:
        """Make a logical volume's device appear."""
        self._lvm("lvchange", "--activate", "y", f"{self.group}/{name}")

    def remove(self, name: str) -> None:
        """Remove a logical volume."""
        self._lvm("lvremove", "--yes", f"{self.group}/{name}")

    def wipe(self, device: Path, *options: str) -> None:
        """Overwrite or discard a whole device that nobody has mounted."""
        self._run("blkdiscard", *options, str(device), seconds=self.wipe_seconds)

    def _report(self, program: str, fields: tuple[str, ...], what: str) -> str:
        units = ("--reportformat", "json", "--units", "b", "--nosuffix")
        return self._lvm(program, *units, "--options", ",".join(fields), what)

    def _lvm(self, program: str, *arguments: str) -> str:
        devices = [word for device in self.devices for word in ("--devices", device)]
        return self._run(program, *devices, *arguments, seconds=self.command_seconds)

    def _run(self, *argv: str, seconds: float) -> str:
        try:
            # The volume's lock is inherited on purpose, and LVM would complain about it.
            done = command.run(argv, timeout=seconds, env={"LVM_SUPPRESS_FD_WARNINGS": "1"})
        except command.CommandMissing as missing:
            raise DriverError(
                f"{missing}: install LVM's tools (Debian packages lvm2, thin-provisioning-tools)"
            ) from missing
        except command.CommandFailed as failed:
            raise self._refused(argv, failed.stderr.strip() or failed.message) from failed
        return done.stdout

    @staticmethod
    def _refused(argv: tuple[str, ...], said: str) -> DriverError:
        reason = reason_of(said)
        text = f"{' '.join(argv)}: {' '.join(said.split())} ({reason})"
        # udev holds a device open for a moment after its last user closed it.
        if reason in (Reason.IN_USE, Reason.LOCKED):
            return TransientDriverError(text)
        return LvmRefused(text, reason)


_NEW = ("--yes", "--addtag", TAG)
