"""Kernel objects as directories: configfs, by which LIO and nvmet are told what to export.

A directory that is made is an object, and comes with the attributes and directories that the
kernel puts into it; removing it is enough to remove those. A link between two objects keeps both
from being removed. Each method here is one system call, or none where what is wanted is so.

The kernel answers with an error number alone. What one means depends on what was asked, so that
:data:`REFUSALS` tells it for each kind of request; the specimens are Linux 6.1's.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from volflow.drivers import command
from volflow.exceptions import DriverError

MODPROBE_SECONDS = 30.0


class Reason(StrEnum):
    """Why the kernel refused."""

    MISSING = "the object is not there"
    BUSY = "something else uses it"
    IN_USE_ELSEWHERE = "the device or file is used by something else"
    NO_BACKING = "the device or file is not there"
    NO_ADDRESS = "the address is none of this host's"
    ADDRESS_TAKEN = "something else listens at the address"
    LOCKED = "it cannot be changed while it is in use"
    INVALID_NAME = "the kernel takes no such name, or cannot listen at such an address"
    INVALID = "the kernel takes no such value"
    UNSUPPORTED = "the kernel or the device does not support it"
    NOT_ALLOWED = "only root may do that"
    UNKNOWN = "for a reason that is not known"


class Request(StrEnum):
    """What was asked of the kernel."""

    MAKE = "make"
    REMOVE = "remove"
    WRITE = "write"
    READ = "read"
    LINK = "link"


class Refusal(NamedTuple):
    """One error number, what it means for these requests, and where it was met."""

    number: int
    requests: tuple[Request, ...]
    reason: Reason
    specimen: str


_ANY = tuple(Request)

REFUSALS = (
    Refusal(
        errno.ENOENT,
        (Request.WRITE,),
        Reason.NO_BACKING,
        "write '1' to namespaces/1/enable: No such file or directory",
    ),
    Refusal(
        errno.ENODEV,
        _ANY,
        Reason.NO_BACKING,
        "write '1' to core/iblock_7/volume/enable: No such device",
    ),
    Refusal(errno.ENOENT, _ANY, Reason.MISSING, "make tpgt_1: No such file or directory"),
    Refusal(
        errno.ENOTEMPTY,
        (Request.REMOVE,),
        Reason.BUSY,
        "remove core/iblock_7: Directory not empty",
    ),
    Refusal(
        errno.EBUSY,
        (Request.REMOVE, Request.LINK, Request.MAKE),
        Reason.BUSY,
        "remove hosts/nqn: Device or resource busy",
    ),
    Refusal(
        errno.EBUSY,
        (Request.WRITE,),
        Reason.IN_USE_ELSEWHERE,
        "write '1' to core/iblock_7/volume/enable: Device or resource busy",
    ),
    Refusal(
        errno.EADDRNOTAVAIL,
        _ANY,
        Reason.NO_ADDRESS,
        "link ports/7/subsystems/nqn: Cannot assign requested address",
    ),
    Refusal(
        errno.EADDRINUSE,
        _ANY,
        Reason.ADDRESS_TAKEN,
        "link ports/7/subsystems/nqn: Address already in use",
    ),
    Refusal(
        errno.EACCES,
        (Request.WRITE,),
        Reason.LOCKED,
        "write 'tcp' to ports/1/addr_trtype: Permission denied",
    ),
    Refusal(
        errno.EINVAL,
        (Request.MAKE,),
        Reason.INVALID_NAME,
        "make np/127.0.0.1:22: Invalid argument",
    ),
    Refusal(errno.EINVAL, _ANY, Reason.INVALID, "write 'x' to enable: Invalid argument"),
    Refusal(
        errno.EOPNOTSUPP,
        _ANY,
        Reason.UNSUPPORTED,
        "write '1' to attrib/emulate_tpu: Operation not supported",
    ),
    Refusal(errno.ENOSYS, _ANY, Reason.UNSUPPORTED, "Function not implemented"),
    Refusal(errno.EACCES, _ANY, Reason.NOT_ALLOWED, "make target/iscsi: Permission denied"),
    Refusal(errno.EPERM, _ANY, Reason.NOT_ALLOWED, "make target/iscsi: Operation not permitted"),
)


class KernelRefused(DriverError):
    """The kernel refused a request."""

    def __init__(self, message: str = "", reason: Reason = Reason.UNKNOWN) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[KernelRefused], tuple[str, Reason]]:
        return (type(self), (self.message, self.reason))


def reason_of(number: int | None, request: Request) -> Reason:
    """Find what an error number means as the answer to a request."""
    for refusal in REFUSALS:
        if refusal.number == number and request in refusal.requests:
            return refusal.reason
    return Reason.UNKNOWN


@contextmanager
def tolerate(*reasons: Reason) -> Iterator[None]:
    """Pass over refusals for one of the reasons."""
    try:
        yield
    except KernelRefused as refused:
        if refused.reason not in reasons:
            raise


class Configfs:
    """Makes, links, reads and removes kernel objects; an object is named by its path."""

    def make(self, path: Path) -> None:
        """Make an object; one that is there is left."""
        with _translated(Request.MAKE, path):
            try:
                os.mkdir(path)  # noqa: PTH102 - one call, without a look before it
            except FileExistsError:
                return

    def remove(self, path: Path) -> None:
        """Remove an object; one that is gone already is no error."""
        with _translated(Request.REMOVE, path):
            try:
                os.rmdir(path)  # noqa: PTH106
            except FileNotFoundError:
                return

    def write(self, path: Path, value: object) -> None:
        """Write an attribute; an error does not show the value, which may be a secret."""
        with _translated(Request.WRITE, path):
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, str(value).encode())
            finally:
                os.close(fd)

    def put(self, path: Path, value: object) -> None:
        """Write an attribute unless it reads so."""
        if self.read(path) != str(value):
            self.write(path, value)

    def read(self, path: Path) -> str:
        """Read an attribute, without what the kernel pads it with."""
        with _translated(Request.READ, path):
            return path.read_bytes().decode(errors="replace").strip("\0\n ")

    def link(self, source: Path, path: Path) -> None:
        """Link one object into another; a link that is there is left."""
        with _translated(Request.LINK, path):
            try:
                os.symlink(source, path)  # noqa: PTH211
            except FileExistsError:
                return

    def unlink(self, path: Path) -> None:
        """Remove a link; one that is gone already is no error."""
        with _translated(Request.REMOVE, path):
            path.unlink(missing_ok=True)

    def links(self, path: Path) -> list[Path]:
        """Return an object's links; one that is not there has none."""
        return [entry for entry in self._entries(path) if entry.is_symlink()]

    def objects(self, path: Path) -> list[str]:
        """Return the names of the objects in a directory; one that is not there has none."""
        return [
            entry.name
            for entry in self._entries(path)
            if entry.is_dir() and not entry.is_symlink()
        ]

    def exists(self, path: Path) -> bool:
        """True where the object is there."""
        return path.is_dir()

    def require(self, path: Path, *modules: str) -> None:
        """Load the kernel modules without which a directory is not there.

        :raises DriverError: one sentence that says what to do.
        """
        if path.is_dir():
            return
        for module in modules:
            command.run(["modprobe", module], timeout=MODPROBE_SECONDS)
        if not path.is_dir():
            raise DriverError(
                f"there is no {path}: mount configfs with 'mount -t configfs none "
                "/sys/kernel/config', and use it as root"
            )

    def _entries(self, path: Path) -> list[Path]:
        with _translated(Request.READ, path):
            try:
                return sorted(path.iterdir())
            except FileNotFoundError:
                return []


@contextmanager
def _translated(request: Request, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = reason_of(error.errno, request)
        said = "" if reason is not Reason.UNKNOWN else f" ({error.strerror})"
        raise KernelRefused(
            f"the kernel refused to {request} {path}: {reason}{said}", reason
        ) from error
