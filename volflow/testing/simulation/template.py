"""What every simulation begins with: an empty database of this release, and some volumes."""

from __future__ import annotations

import gc
import shutil
import tempfile
import uuid
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from volflow.manager import VolumeManager
from volflow.testing.scenarios import BACKEND, CONTEXT
from volflow.testing.simulation.backend import Backend
from volflow.testing.simulation.stock import Stock

FAST = Path("/dev/shm")  # noqa: S108 - a file system in memory, where fsync costs nothing


@dataclass(frozen=True)
class Kind:
    """What a volume is like."""

    name: str
    multiattach: bool = False
    readonly: bool = False


VOLUMES = (
    Kind("one"),
    Kind("two"),
    Kind("reading", readonly=True),
    Kind("many", multiattach=True),
    Kind("more", multiattach=True),
)


def volume_id(number: int) -> str:
    """The id of one of the volumes."""
    return str(uuid.UUID(int=number + 1, version=4))


class Template:
    """A database and a backend that simulations begin with copies of.

    One simulation at a time uses it.

    :ivar root: a directory for the copies; it is removed at the end.
    :ivar stock: the databases that its simulations use again.
    """

    def __init__(self) -> None:
        where = FAST if FAST.is_dir() else None
        self.stock = Stock()
        self.root = Path(tempfile.mkdtemp(prefix="volflow-simulation-", dir=where))
        self._directory = self.root / "template"
        self._directory.mkdir()
        self._backend = Backend()
        with VolumeManager(
            f"sqlite:///{self._directory / 'volflow.db'}",
            drivers={BACKEND: self._backend},
            recover=False,
            key_file=self._directory / "volflow.key",
        ) as manager:
            for number, kind in enumerate(VOLUMES):
                manager.create_volume(
                    CONTEXT,
                    size_gib=1,
                    backend=BACKEND,
                    name=kind.name,
                    multiattach=kind.multiattach,
                    readonly=kind.readonly,
                    volume_id=volume_id(number),
                )
        # What is there by now stays: each simulation collects what the one before it has left.
        gc.collect()
        gc.freeze()

    def copy(self) -> tuple[Path, Backend]:
        """The file of a database, which is new, and a backend."""
        directory = self.root / "run"
        if directory.exists():
            shutil.rmtree(directory)
        shutil.copytree(self._directory, directory)
        backend = Backend()
        vars(backend).update(vars(deepcopy(self._backend)))
        return directory / "volflow.db", backend

    def close(self) -> None:
        """Remove everything."""
        gc.unfreeze()
        shutil.rmtree(self.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
