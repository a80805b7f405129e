"""One directory of small or large files, and never anything outside it.

Every name is opened relative to the directory's own descriptor and without following a symbolic
link, and only regular files are touched: whoever plants a link or a device there gains nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from volflow.exceptions import DriverError

_MEANING = {
    errno.ENOSPC: "its filesystem is full",
    errno.EDQUOT: "the quota there is used up",
    errno.EROFS: "its filesystem is read-only",
    errno.EACCES: "this user may not do that there",
    errno.EPERM: "this user may not do that there",
    errno.ENOENT: "it does not exist",
    errno.EFBIG: "its filesystem takes no file of this size",
    errno.ELOOP: "it is a symbolic link, and none is followed",
    errno.EIO: "the disk reports an input/output error",
}


@contextmanager
def translated(action: str, where: object) -> Iterator[None]:
    """Turn an OSError into a DriverError of one sentence.

    :raises DriverError: such as ``cannot make the image of volume 6f0c...: its filesystem is
        full (/var/lib/volflow/images)``.
    """
    try:
        yield
    except OSError as error:
        meaning = _MEANING.get(error.errno or 0, error.strerror or str(error))
        raise DriverError(f"cannot {action}: {meaning} ({where})") from error


class Directory:
    """Regular files by name, written so that a crash leaves the old file, the new one or none."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()

    def prepare(self) -> None:
        """Make the directory, readable by its owner alone, where it is missing."""
        with translated("make the directory", self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def check(self) -> None:
        """Try to write into the directory.

        :raises DriverError: one sentence that says why not.
        """
        with translated("write into the directory", self.path), self.opened() as at:
            name = f".check-{os.getpid()}"
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=at)
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=at))
            os.unlink(name, dir_fd=at)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open the directory itself; what is done through the descriptor stays in it."""
        at = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield at
        finally:
            os.close(at)

    def names(self) -> list[str]:
        """List the names there, sorted; a directory that is missing is empty."""
        with translated("list the directory", self.path):
            try:
                return sorted(entry.name for entry in self.path.iterdir())
            except FileNotFoundError:
                return []

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or None where there is no such name.

        :raises DriverError: the name is no regular file.
        """
        with translated("read the file", self.path / name), self.opened() as at:
            found = self._stat(name, at)
        return None if found is None else found.st_size

    def read(self, name: str) -> bytes | None:
        """Read a file, or return None where there is none."""
        with translated("read the file", self.path / name), self.opened() as at:
            if self._stat(name, at) is None:
                return None
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            except FileNotFoundError:
                return None  # removed since: a listing meets others' exports that go
            with os.fdopen(fd, "rb") as file:
                return file.read()

    def create(self, name: str, fill: Callable[[int], object], *, replace: bool) -> None:
        """Make a file that appears under its name only once it is whole and on disk.

        :param fill: writes the contents to the descriptor that it is given.
        :param replace: take the place of a file of this name; otherwise one is an error.
        """
        with translated("write the file", self.path / name), self.opened() as at:
            self._stat(name, at)
            temporary = f".{name}.new"
            # A link, since a death after os.link below leaves both names on the one image: it
            # must be unlinked, never opened and truncated.
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=at)
            fd = os.open(
                temporary,
                os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=at,
            )
            try:
                try:
                    fill(fd)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                if replace:
                    os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
                else:
                    os.link(temporary, name, src_dir_fd=at, dst_dir_fd=at)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=at)
            os.fsync(at)

    def delete(self, name: str) -> None:
        """Remove a file, and what an interrupted :meth:`create` left of it; none is no error.

        :raises DriverError: the name is no regular file.
        """
        with translated("delete the file", self.path / name):
            try:
                with self.opened() as at:
                    self._stat(name, at)
                    for each in (f".{name}.new", name):
                        with suppress(FileNotFoundError):
                            os.unlink(each, dir_fd=at)
                    os.fsync(at)
            except FileNotFoundError:
                return

    def _stat(self, name: str, at: int) -> os.stat_result | None:
        try:
            found = os.stat(name, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise DriverError(f"{self.path / name} is no regular file, and is left alone")
        return found
