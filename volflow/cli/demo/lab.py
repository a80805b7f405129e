"""What the demo's processes share: a directory with a database and images, maybe a target."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from volflow.cli.demo.programs import CONTROL_PORT
from volflow.drivers.file import FileDriver
from volflow.drivers.local import LocalDriver
from volflow.manager import VolumeManager

BACKEND = "lab"
CONNECTOR = {"initiator": "iqn.1994-05.com.example:host-1", "host": "host-1"}

_CONFIG = """\
[volflow]
database = {database}
backends = {backend}

[{backend}]
"""


@dataclass(frozen=True)
class Lab:
    """Where the demo happens.

    :ivar portal: tgtd's; None: volumes are files of this host.
    :ivar socket: tgtd's management socket.
    """

    directory: str
    portal: str | None = None
    socket: str = ""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Write it for another process; there is no secret in it."""
        return json.dumps(asdict(self))

    @property
    def database(self) -> str:
        """The database's URL."""
        return f"sqlite:///{self.directory}/volflow.db"

    def driver(self) -> FileDriver | LocalDriver:
        """Make the driver."""
        options = {k: v for k, v in self._options().items() if k != "driver"}
        return FileDriver.from_options(**options) if self.portal else LocalDriver(**options)

    def open(self, wrap: Callable[[Any], Any] = lambda driver: driver) -> VolumeManager:
        """Open a manager, as a process of its own would.

        :param wrap: makes another driver of the driver.
        """
        return VolumeManager(self.database, {BACKEND: wrap(self.driver())}, recover=False)

    def write_config(self) -> None:
        """Write the configuration with which all other commands see what is here."""
        text = _CONFIG.format(database=self.database, backend=BACKEND)
        text += "".join(f"{name} = {value}\n" for name, value in self._options().items())
        (Path(self.directory) / "volflow.conf").write_text(text)

    def _options(self) -> dict[str, Any]:
        images = str(Path(self.directory) / "images")
        if self.portal is None:
            return {"driver": "local", "directory": images}
        return {
            "driver": "file",
            "directory": images,
            "portal": self.portal,
            "control_port": CONTROL_PORT,
            "socket": self.socket,
        }
