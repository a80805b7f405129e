"""What a conformance test works with: drivers onto one backend, and volumes on it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from volflow.drivers.base import Driver, Export, initiator_of
from volflow.drivers.chap import Credentials
from volflow.models import AttachStatus, ConnectionInfo, Connector, DriverVolume, VolumeStatus
from volflow.testing.conformance.shapes import connection_info_faults, model_update_faults
from volflow.testing.scenarios import BACKEND, CONTEXT

if TYPE_CHECKING:
    from volflow.testing.conformance.hooks import Hooks

_BLANK = DriverVolume(
    id="",
    name=None,
    size_gib=1,
    backend=BACKEND,
    status=VolumeStatus.ATTACHING,
    attach_status=AttachStatus.DETACHED,
    multiattach=False,
    readonly=False,
    provider_location=None,
    encryption_key_id=None,
    qos_specs=None,
    operation_id=None,
    created_at=None,
    updated_at=None,
)


class Bench:
    """Calls the driver as the core does: credentials are made first, what it returns is recorded.

    :ivar driver: the first process's driver, set up.
    :ivar host_a: a connector; so is ``host_b``.
    """

    def __init__(self, hooks: Hooks, place: Path) -> None:
        self.hooks = hooks
        self.place = place
        self.host_a, self.host_b = hooks.connectors
        self._made: list[DriverVolume] = []
        self.driver = self.next_driver()
        assert self.exports() == [], "make_driver() has to lead to a backend without exports"

    @property
    def can_log_in(self) -> bool:
        """True where the hooks can log a host in."""
        return self.hooks.has("login") and self.hooks.has("logout")

    def next_driver(self) -> Driver:
        """The driver of the next process, set up."""
        driver = self.hooks.make_driver(self.place)
        driver.do_setup(CONTEXT)
        driver.check_for_setup_error()
        return driver

    def blank(self, **changes: Any) -> DriverVolume:
        """A volume that the backend does not have, with credentials of its own."""
        auth = Credentials.generate().provider_auth
        volume = replace(_BLANK, id=str(uuid.uuid4()), provider_auth=auth, **changes)
        self._made.append(volume)
        return volume

    def created(self, **changes: Any) -> DriverVolume:
        """A volume that the backend has, not exported."""
        volume = self.blank(**changes)
        return self.recorded(volume, self.driver.create_volume(CONTEXT, volume))

    def exported(self, **changes: Any) -> DriverVolume:
        """A volume that is exported, with access for nobody."""
        volume = self.created(**changes)
        return self.recorded(volume, self.driver.create_export(CONTEXT, volume, self.host_a))

    def connect(self, volume: DriverVolume, connector: Connector) -> ConnectionInfo:
        """Give a host access; return the answer once it is found to be one."""
        info = self.driver.initialize_connection(volume, connector)
        found = connection_info_faults(info, volume, connector)
        assert not found, f"initialize_connection: {'; '.join(found)}"
        return info

    def recorded(self, volume: DriverVolume, update: Any) -> DriverVolume:
        """The volume with what a call returned, once that is found to be a model update."""
        found = model_update_faults(update)
        assert not found, "; ".join(found)
        return replace(volume, **(update or {}))

    def key(self, connector: Connector) -> str:
        """The ACL's key of a connector."""
        return initiator_of(self.driver, connector)

    def exports(self) -> list[Export]:
        """All exports, sorted by volume."""
        found = list(self.driver.list_exports())
        for export in found:
            assert isinstance(export, Export), f"list_exports returns a {type(export).__name__}"
        return sorted(found, key=lambda export: export.volume_id)

    def export(self, volume: DriverVolume) -> Export | None:
        """The volume's export, or None."""
        found = [export for export in self.exports() if export.volume_id == volume.id]
        assert len(found) < 2, f"list_exports lists volume {volume.id} {len(found)} times"
        return found[0] if found else None

    def acl(self, volume: DriverVolume) -> set[str] | None:
        """The keys of the volume's ACL; None: it is not exported."""
        export = self.export(volume)
        return None if export is None else set(export.acl)

    def sessions(self, volume: DriverVolume) -> list[str] | None:
        """Who is logged in; None: the backend cannot tell. No export, no session."""
        export = self.export(volume)
        if export is None:
            return []
        return None if export.sessions is None else sorted(export.sessions)

    def until(self, holds: Callable[[], object], promise: str) -> None:
        """Poll until something holds."""
        end = time.monotonic() + self.hooks.patience_seconds
        while not holds():
            if time.monotonic() > end:
                pytest.fail(f"it never came true that {promise}", pytrace=False)
            time.sleep(0.01)

    def clear(self) -> None:
        """Take away what the test made, also where the driver is not in order."""
        for volume in self._made:
            for connector in (self.host_a, self.host_b):
                with suppress(Exception):
                    self.driver.terminate_connection(volume, connector, force=True)
            with suppress(Exception):
                self.driver.remove_export(CONTEXT, volume)
            with suppress(Exception):
                self.driver.delete_volume(CONTEXT, volume)
