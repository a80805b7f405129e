"""Exports and their ACLs as files, for a backend that keeps none itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

from volflow.drivers.base import Export
from volflow.drivers.directory import Directory
from volflow.drivers.identity import volume_uuid
from volflow.exceptions import DriverError, InvalidUUID

_SUFFIX = ".json"


class Ledger:
    """One file an export, ``<volume id>.json``: ``{"initiators": ["host-1"]}``.

    Each is replaced as a whole and is on disk when a call returns, so that after the death of a
    process the ledger still tells who has access.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Directory(directory)

    def prepare(self) -> None:
        """Make the directory where it is missing."""
        self.directory.prepare()

    def check(self) -> None:
        """Raise DriverError where the directory cannot be written."""
        self.directory.check()

    def add(self, volume_id: str) -> None:
        """Open an export with an empty ACL; one that is there keeps its ACL."""
        if self.initiators(volume_id) is None:
            self._write(volume_id, ())

    def remove(self, volume_id: str) -> None:
        """Close an export, ACL included; none is no error."""
        self.directory.delete(self._name(volume_id))

    def initiators(self, volume_id: str) -> tuple[str, ...] | None:
        """Return an export's ACL, sorted, or None where there is no export.

        :raises DriverError: the file cannot be read.
        """
        name = self._name(volume_id)
        text = self.directory.read(name)
        if text is None:
            return None
        try:
            return tuple(str(one) for one in json.loads(text)["initiators"])
        except (ValueError, KeyError, TypeError):
            raise DriverError(
                f"the export of volume {volume_id} cannot be read; look at or delete "
                f"{self.directory.path / name}"
            ) from None

    def grant(self, volume_id: str, initiator: str) -> None:
        """Add an initiator to an export's ACL.

        :raises DriverError: there is no such export.
        """
        found = self.initiators(volume_id)
        if found is None:
            raise DriverError(f"volume {volume_id} is not exported")
        if initiator not in found:
            self._write(volume_id, (*found, initiator))

    def revoke(self, volume_id: str, initiator: str) -> None:
        """Take an initiator off an export's ACL; one that is not there is no error."""
        found = self.initiators(volume_id) or ()
        if initiator in found:
            self._write(volume_id, tuple(one for one in found if one != initiator))

    def exports(self) -> list[Export]:
        """List all exports; nobody ever has a session."""
        found = []
        for name in self.directory.names():
            try:
                volume_id = volume_uuid(name.removesuffix(_SUFFIX))
            except InvalidUUID:
                continue
            initiators = self.initiators(volume_id)
            if name.endswith(_SUFFIX) and initiators is not None:
                found.append(Export(volume_id, initiators, ()))
        return found

    def _write(self, volume_id: str, initiators: tuple[str, ...]) -> None:
        text = json.dumps({"initiators": sorted(initiators)}).encode()
        self.directory.create(self._name(volume_id), lambda fd: _write_all(fd, text), replace=True)

    @staticmethod
    def _name(volume_id: str) -> str:
        return f"{volume_uuid(volume_id)}{_SUFFIX}"


def _write_all(fd: int, data: bytes) -> None:
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(data)
