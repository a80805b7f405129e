"""A driver whose calls take a while, as those of real targets do."""

from __future__ import annotations

import threading
from typing import Any

from volflow.drivers.local import LocalDriver
from volflow.models import ConnectionInfo, Connector, DriverVolume

CALL_SECONDS = 0.05


class SlowDriver(LocalDriver):
    """LocalDriver with the patience of a target."""

    def create_export(self, context: Any, volume: DriverVolume, connector: Any) -> Any:
        threading.Event().wait(CALL_SECONDS)
        return super().create_export(context, volume, connector)

    def initialize_connection(self, volume: DriverVolume, connector: Connector) -> ConnectionInfo:
        found = super().initialize_connection(volume, connector)
        threading.Event().wait(CALL_SECONDS)
        return found

    def remove_export(self, context: Any, volume: DriverVolume) -> None:
        super().remove_export(context, volume)
        threading.Event().wait(CALL_SECONDS)
