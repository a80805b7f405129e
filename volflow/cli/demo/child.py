"""The process that dies in the middle of an attach: ``python -m volflow.cli.demo.child``."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from oslo_context.context import RequestContext

from volflow.cli.demo.lab import CONNECTOR, Lab


class DiesAfterExport:
    """A driver whose process is killed once an export is made, before anybody hears of it."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def create_export(self, *arguments: Any) -> None:
        """Make the export, and die."""
        self._driver.create_export(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)


def main(lab: str, volume_id: str, operation_id: str) -> None:
    """Begin an attach; there is no end."""
    with Lab.from_json(lab).open(DiesAfterExport) as manager:
        manager.attach_volume(
            RequestContext(overwrite=False),
            volume_id,
            CONNECTOR,
            host_name=CONNECTOR["host"],
            operation_id=operation_id,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
