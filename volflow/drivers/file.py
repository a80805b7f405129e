"""Volumes as files that a target exports to other hosts."""

from __future__ import annotations

from pathlib import Path

from volflow.drivers.exporting import ExportingDriver
from volflow.drivers.files import Images
from volflow.drivers.options import parameters
from volflow.drivers.targets import Target
from volflow.drivers.targets.choice import make_target


class FileDriver(ExportingDriver):
    """Images in one directory, exported by a target.

    :param directory: where the images are.
    :param target: what exports them.
    """

    def __init__(self, directory: str | Path, target: Target) -> None:
        self.images = Images(directory)
        super().__init__(self.images, target)

    @classmethod
    def from_options(cls, directory: str, target: str = "tgt", **options: object) -> FileDriver:
        """Build the driver.

        :param target: ``tgt``, ``lio`` or ``nvmet``.
        :param options: the target's, see :mod:`volflow.drivers.targets.choice`.
        :raises InvalidInput: one of them cannot be.
        """
        return cls(directory, make_target(target, options, "file", parameters(cls.from_options)))
