"""A driver for the command line's tests: local files, secrets to hide, and faults on demand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from volflow.drivers.local import LocalDriver
from volflow.exceptions import ConnectionFailed, DriverError, InvalidConnector

KEYRING = "AQDkeyringsecretAQ=="


class FaultyDriver(LocalDriver):
    """LocalDriver with credentials, whose methods fail as the file ``faults`` says.

    Each of its lines is ``METHOD refuse``, ``METHOD interrupt`` or ``METHOD bug``.
    """

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self._faults = Path(directory).with_name("faults")

    def check_for_setup_error(self) -> None:
        self._strike("check_for_setup_error")
        super().check_for_setup_error()

    def create_volume(self, *arguments: Any) -> Any:
        self._strike("create_volume")
        return super().create_volume(*arguments)

    def delete_volume(self, *arguments: Any) -> Any:
        self._strike("delete_volume")
        return super().delete_volume(*arguments)

    def validate_connector(self, connector: Any) -> None:
        if "initiator" not in connector:
            raise InvalidConnector("the connector has no initiator")

    def create_export(self, context: Any, volume: Any, connector: Any) -> Any:
        found = super().create_export(context, volume, connector)
        self._strike("create_export")
        return found

    def initialize_connection(self, volume: Any, connector: Any) -> Any:
        super().initialize_connection(volume, connector)
        user, secret = volume.provider_auth.split()[1:]
        self._strike("initialize_connection", secret)
        return {
            "driver_volume_type": "iscsi",
            "data": {
                "target_portal": "192.0.2.1:3260",
                "target_iqn": f"iqn.2010-10.org.openstack:volume-{volume.id}",
                "target_lun": 1,
                "auth_method": "CHAP",
                "auth_username": user,
                "auth_password": secret,
                "keyring": KEYRING,
            },
        }

    def list_exports(self) -> Any:
        found = super().list_exports()
        known = self._faults.exists() and "sessions unknown" in self._faults.read_text()
        return [replace(export, sessions=None) if known else export for export in found]

    def terminate_connection(self, volume: Any, connector: Any, force: bool = False) -> None:
        self._strike("terminate_connection")
        super().terminate_connection(volume, connector, force)

    def _strike(self, method: str, secret: str = "") -> None:
        lines = self._faults.read_text().split("\n") if self._faults.exists() else []
        for line in lines:
            name, _, how = line.partition(" ")
            if name != method:
                continue
            if how == "interrupt":
                raise KeyboardInterrupt
            if how == "bug":
                raise RuntimeError(f"a bug with {secret}")
            raise (ConnectionFailed if "connection" in method else DriverError)(
                f"no {method} today {secret}".strip()
            )
