"""What a soak does, for how long, and how often it makes trouble; workers read it from a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from volflow.drivers.registry import load_driver
from volflow.manager import VolumeManager

BACKEND = "soak"


@dataclass(frozen=True)
class Plan:
    """One soak.

    :ivar url: the database.
    :ivar directory: for key file, locks, journals and logs; it has to be there.
    :ivar driver: the driver's name, as in a configuration file, and its ``options``.
    :ivar volumes: how many there are; every fourth is multiattach.
    :ivar seconds: how long there is load and trouble.
    :ivar kill_seconds: the mean time between two SIGKILLs; None: there are none.
    :ivar stop_seconds: the mean time between two SIGSTOPs, each longer than a lease; where it
        can, one strikes in the middle of an operation.
    :ivar restart_seconds: service -> the mean time between two kills of it.
    """

    url: str
    directory: Path
    driver: str = "local"
    options: dict[str, str] = field(default_factory=dict)
    workers: int = 2
    threads: int = 3
    volumes: int = 12
    seconds: float = 20
    seed: int = 1
    lease_seconds: float = 2
    deadline_seconds: float = 4
    driver_call_seconds: float = 6
    comparison_seconds: float = 2
    kill_seconds: float | None = 3
    stop_seconds: float | None = 8
    restart_seconds: dict[str, float] = field(default_factory=dict)

    def write(self) -> Path:
        """Write it down for workers."""
        path = self.directory / "plan.json"
        path.write_text(json.dumps(asdict(self), default=str))
        return path

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read what :meth:`write` wrote."""
        values: dict[str, Any] = json.loads(path.read_text())
        return cls(**{**values, "directory": Path(values["directory"])})

    def journal(self, slot: int) -> Path:
        """The journal of a worker and of its successors."""
        return self.directory / f"worker-{slot}.journal"

    def log(self, slot: int) -> Path:
        """What that worker, and its successors, have logged."""
        return self.directory / f"worker-{slot}.log"

    def lock(self, volume_id: str) -> Path:
        """The lock of a volume."""
        return self.directory / "locks" / "volumes" / f"{volume_id}.lock"

    def make_driver(self) -> Any:
        """The driver, in this process."""
        return load_driver(self.driver, self.options)

    def open(self, driver: Any) -> VolumeManager:
        """A manager that recovers.

        :raises DatabaseError: the database is down.
        :raises DriverError: the driver cannot work now.
        """
        return VolumeManager(
            self.url,
            drivers={BACKEND: driver},
            lease_seconds=self.lease_seconds,
            reservation_deadline_seconds=self.deadline_seconds,
            driver_call_seconds=self.driver_call_seconds,
            comparison_seconds=self.comparison_seconds,
            key_file=self.directory / "volflow.key",
            lock_directory=self.directory / "locks",
        )
