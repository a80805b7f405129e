"""A driver that keeps its backend in memory, and that outlives the "process" that used it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from copy import copy
from typing import Any

from volflow.drivers.base import Export, ModelUpdate, VolumeDriver
from volflow.exceptions import ConnectionFailed, ExportFailed
from volflow.models import ConnectionInfo, Connector, DriverVolume

PORTAL = "127.0.0.1:3260"
IQN_PREFIX = "iqn.2010-10.org.openstack:volume-"


class MemoryHost:
    """A host whose disks are names; its sessions are its backend's.

    :param backend: a driver with ``login`` and ``logout``, as :class:`MemoryDriver` has them.
    """

    def __init__(self, backend: Any, name: str = "a") -> None:
        self.backend = backend
        self.name = name

    @property
    def initiator(self) -> str:
        """Its iSCSI name."""
        return f"iqn.2004-10.org.example:{self.name}"

    def connector(self) -> Connector:
        return {"initiator": self.initiator, "host": self.name, "multipath": False}

    def connect_volume(self, connection_info: ConnectionInfo) -> dict[str, str]:
        volume_id = connection_info["data"]["volume_id"]
        if not self._is_logged_in(volume_id):
            self.backend.login(connection_info, self.initiator)
        return {"type": "block", "path": f"/dev/disk/by-id/{volume_id}"}

    def disconnect_volume(self, connection_info: ConnectionInfo) -> None:
        self.backend.logout(connection_info["data"]["volume_id"], self.initiator)

    def _is_logged_in(self, volume_id: str) -> bool:
        found = {e.volume_id: e.sessions for e in self.backend.list_exports()}
        return self.initiator in (found.get(volume_id) or ())


class MemoryDriver(VolumeDriver):
    """Volumes, exports, ACLs and sessions in dictionaries.

    :ivar volumes: volume id -> size in GiB.
    :ivar exports: volume id -> ``CHAP user secret``.
    :ivar acls: volume id -> initiators that may log in.
    :ivar sessions: volume id -> initiators that are logged in, one entry a session.
    """

    def __init__(self) -> None:
        self.volumes: dict[str, int] = {}
        self.exports: dict[str, str] = {}
        self.acls: dict[str, set[str]] = {}
        self.sessions: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> MemoryDriver:
        copied = copy(self)
        vars(copied)["_lock"] = threading.Lock()
        with self._lock:
            copied.volumes = dict(self.volumes)
            copied.exports = dict(self.exports)
            copied.acls = {key: set(found) for key, found in self.acls.items()}
            copied.sessions = {key: list(found) for key, found in self.sessions.items()}
        return copied

    def create_volume(self, context: Any, volume: DriverVolume) -> None:
        self.volumes[volume.id] = volume.size_gib

    def delete_volume(self, context: Any, volume: DriverVolume) -> None:
        if volume.id in self.exports:
            raise ExportFailed(f"volume {volume.id} is exported")
        self.volumes.pop(volume.id, None)

    def create_export(
        self, context: Any, volume: DriverVolume, connector: Connector
    ) -> ModelUpdate:
        return self._export(volume)

    def ensure_export(self, context: Any, volume: DriverVolume) -> ModelUpdate:
        return self._export(volume)

    def remove_export(self, context: Any, volume: DriverVolume) -> None:
        with self._lock:
            self.exports.pop(volume.id, None)
            self.acls.pop(volume.id, None)
            self.sessions.pop(volume.id, None)

    def initialize_connection(self, volume: DriverVolume, connector: Connector) -> ConnectionInfo:
        with self._lock:
            if volume.id not in self.exports:
                raise ConnectionFailed(f"volume {volume.id} is not exported")
            self.acls[volume.id].add(connector["initiator"].lower())
            # What is recorded is what a repair brings back, whatever the target has by now.
            _, user, secret = (volume.provider_auth or self.exports[volume.id]).split()
        data: dict[str, Any] = {
            "target_discovered": False,
            "target_portal": PORTAL,
            "target_iqn": IQN_PREFIX + volume.id,
            "target_lun": 1,
            "volume_id": volume.id,
            "auth_method": "CHAP",
            "auth_username": user,
            "auth_password": secret,
        }
        if connector.get("multipath"):
            paths = ("target_portal", "target_iqn", "target_lun")
            data |= {f"{name}s": [data[name]] for name in paths}
        return {"driver_volume_type": "iscsi", "data": data}

    def terminate_connection(
        self, volume: DriverVolume, connector: Connector, force: bool = False
    ) -> None:
        initiator = connector["initiator"].lower()
        with self._lock:
            self.acls.get(volume.id, set()).discard(initiator)
            left = [s for s in self.sessions.get(volume.id, []) if s != initiator]
            if volume.id in self.sessions:
                self.sessions[volume.id] = left

    def list_exports(self) -> Iterable[Export]:
        with self._lock:
            return [
                Export(
                    key,
                    tuple(sorted(self.acls.get(key, ()))),
                    tuple(self.sessions.get(key, ())),
                )
                for key in sorted(self.exports)
            ]

    def login(self, info: ConnectionInfo, initiator: str) -> None:
        """Log an initiator in, as a host does with the connection_info that it was given.

        :raises ConnectionFailed: the target, the account or the ACL does not let it in.
        """
        data = info["data"]
        volume_id, initiator = data["volume_id"], initiator.lower()
        with self._lock:
            if initiator not in self.acls.get(volume_id, ()):
                raise ConnectionFailed(f"{initiator} finds no target of volume {volume_id}")
            account = f"CHAP {data['auth_username']} {data['auth_password']}"
            if account != self.exports[volume_id]:
                raise ConnectionFailed(f"{initiator} is not authenticated")
            self.sessions.setdefault(volume_id, []).append(initiator)

    def logout(self, volume_id: str, initiator: str) -> None:
        """End one session of an initiator; none is no error."""
        with self._lock:
            found = self.sessions.get(volume_id, [])
            if initiator.lower() in found:
                found.remove(initiator.lower())

    def restart_target(self) -> None:
        """Lose every export, ACL and session, as a target daemon does that is restarted."""
        with self._lock:
            self.exports.clear()
            self.acls.clear()
            self.sessions.clear()

    def _export(self, volume: DriverVolume) -> ModelUpdate:
        if volume.id not in self.volumes:
            raise ExportFailed(f"the backend has no volume {volume.id}")
        with self._lock:
            self.exports[volume.id] = volume.provider_auth or "CHAP user secret"
            self.acls.setdefault(volume.id, set())
            return {
                "provider_location": f"{PORTAL},1 {IQN_PREFIX}{volume.id} 1",
                "provider_auth": self.exports[volume.id],
            }
