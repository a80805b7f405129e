"""volflow itself: one call an attach, one a detach."""

from __future__ import annotations

from pathlib import Path

from benchmarks.work import CONNECTOR, HOST
from volflow import RequestContext, VolumeManager
from volflow.testing import MemoryDriver


class Volflow:
    """``attach_volume`` and ``detach_volume`` of a manager, in the calling process."""

    title = "volflow"
    databases = ("sqlite", "postgresql")
    packages = ("volflow", "taskflow", "oslo.db", "SQLAlchemy", "psycopg")
    durable = True

    def open(self, url: str, directory: Path, index: int) -> None:
        self._context = RequestContext(overwrite=False)
        self._manager = VolumeManager(
            url, drivers={"lab": MemoryDriver()}, key_file=directory / "volflow.key"
        )
        self._volume = self._manager.create_volume(self._context, 1, "lab").id

    def attach(self) -> None:
        self._manager.attach_volume(self._context, self._volume, CONNECTOR, host_name=HOST)

    def detach(self) -> None:
        self._manager.detach_volume(self._context, self._volume)

    def finished(self) -> int:
        if self._manager.get_volume(self._context, self._volume).status != "available":
            return 0
        rows = self._manager.list_attachments(self._context, self._volume, live=False)
        return sum(row.attach_status == "detached" for row in rows)

    def close(self) -> None:
        self._manager.close()
