"""A driver for conductors that are processes of their own: its calls stop at a gate of files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from volflow.drivers.local import LocalDriver
from volflow.models import DriverVolume

LIMIT_SECONDS = 60


class GatedDriver(LocalDriver):
    """LocalDriver that stops in ``create_export`` while there is a file ``closed``.

    It leaves a file ``reached`` when it does.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._directory = Path(directory)

    def create_export(self, context: Any, volume: DriverVolume, connector: Any) -> Any:
        found = super().create_export(context, volume, connector)
        left = LIMIT_SECONDS * 100
        while (self._directory / "closed").exists() and left:
            (self._directory / "reached").touch()
            threading.Event().wait(0.01)
            left -= 1
        return found
