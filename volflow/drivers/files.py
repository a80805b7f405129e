"""The directory of images: one raw sparse file for each volume, named after its id."""

from __future__ import annotations

import os
from pathlib import Path

from volflow.drivers.directory import Directory
from volflow.drivers.identity import volume_uuid
from volflow.exceptions import DriverError

GIB = 1024**3


class Images:
    """Raw images in one directory; every method may be repeated.

    Calls for one volume do not overlap: the core holds the volume's lock.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Directory(directory)

    def prepare(self) -> None:
        """Make the directory where it is missing."""
        self.directory.prepare()

    def check(self) -> None:
        """Raise DriverError where the directory cannot be written."""
        self.directory.check()

    def create(self, volume_id: str, size_gib: int) -> Path:
        """Make the image, which takes no space until it is written; one of this size is left.

        :returns: its path.
        :raises DriverError: there is one of another size, or it cannot be made.
        """
        name, size = self._name(volume_id), size_gib * GIB
        found = self.directory.size(name)
        if found is None:
            self.directory.create(name, lambda fd: os.ftruncate(fd, size), replace=False)
        elif found != size:
            raise DriverError(
                f"the image of volume {volume_id} has {found} bytes where {size_gib} GiB are "
                f"{size}; nothing was changed ({self.directory.path / name})"
            )
        return self.directory.path / name

    def delete(self, volume_id: str) -> None:
        """Delete the image; one that is gone already is no error."""
        self.directory.delete(self._name(volume_id))

    def path(self, volume_id: str) -> Path:
        """Return where the image is.

        :raises DriverError: there is none, or it is no regular file.
        """
        name = self._name(volume_id)
        if self.directory.size(name) is None:
            raise DriverError(f"volume {volume_id} has no image ({self.directory.path / name})")
        return self.directory.path / name

    @staticmethod
    def _name(volume_id: str) -> str:
        return f"{volume_uuid(volume_id)}.raw"
