"""An installation whose conductors are on hosts of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from taskflow import states

from tests.chaos.conftest import Boarded
from tests.chaos.hosts import Host, Wire, running_hosts
from tests.crash.conductors import Installation
from tests.servers.redis import RedisServer
from volflow import VolumeManager

SESSION_SECONDS = 4
"""ZooKeeper's; ten seconds is much for a test."""

SLEEP = """\
# Beside a library that sets the clock, the system call below time.sleep() fails (EINVAL).
import select, time
time.sleep = lambda seconds: select.select([], [], [], max(0, seconds))
"""


class Hosted(Installation):
    """Conductors on hosts that reach ``database``, ``board`` and ``locks`` by a wire each.

    :param hosts: by name.
    :param ports: of those servers, on the loopback interface of the tests.
    :param clock: the library that lets a host's wall clock be set; None: it is not.
    """

    def __init__(
        self,
        directory: Path,
        hosts: dict[str, Host],
        ports: dict[str, int],
        clock: Path | None,
        **options: Any,
    ) -> None:
        super().__init__(directory, **options)
        self.hosts = hosts
        self._ports = ports
        self._clock = clock
        if clock is not None:
            (directory / "site" / "sitecustomize.py").write_text(SLEEP)

    @classmethod
    @contextmanager
    def running(
        cls,
        names: str,
        boarded: Boarded,
        locks: RedisServer,
        directory: Path,
        clock: Path | None = None,
        **options: Any,
    ) -> Iterator[Hosted]:
        """Hosts, named by one letter each, for as long as the block lasts."""
        ports = {"database": boarded.database.port, "locks": locks.port}
        board = boarded.board
        if boarded.kind != "sql":
            ports["board"] = boarded.server.port
        if boarded.kind == "zookeeper":
            board += f"?timeout={SESSION_SECONDS}"
        with running_hosts(names, ports) as hosts:
            yield cls(
                directory,
                hosts,
                ports,
                clock,
                url=boarded.url,
                board=board,
                coordination=locks.locks_url(options["lease_seconds"]),
                **options,
            )

    def wire(self, host: str, server: str) -> Wire:
        """What leads from a host to a server; where the board is the database, to that."""
        wires = self.hosts[host].wires
        return wires.get(server) or wires["database"]

    def on(self, host: str) -> AbstractContextManager[subprocess.Popen[str]]:
        """A conductor on a host, which serves; its name is the host's."""
        return self.conductor(host, **self._seat(host))

    def begin_on(self, host: str, name: str) -> subprocess.Popen[str]:
        """Start a conductor on a host."""
        return self.start(name, workers=4, **self._seat(host))

    def set_clock(self, host: str, seconds: int) -> None:
        """Set the wall clock of a host so far ahead of the true time."""
        self._shift(host).write_text(f"{seconds:+d}s")

    def claimed(self, manager: VolumeManager, operation_id: str) -> bool:
        """True while somebody has claimed the job of an operation."""
        jobs = manager._jobs
        assert jobs is not None
        found = [t.job.state for t in jobs._board.listed() if t.operation_id == operation_id]
        return found == [states.CLAIMED]

    def _shift(self, host: str) -> Path:
        return self.directory / f"{host}.clock"

    def _seat(self, host: str) -> dict[str, Any]:
        place = self.hosts[host]
        assert self.coordination is not None
        settings = {
            "database": place.seen(self.url, "database", self._ports["database"]),
            "coordination": place.seen(self.coordination, "locks", self._ports["locks"]),
        }
        if "board" in self._ports:
            settings["board"] = place.seen(self.board, "board", self._ports["board"])
        prefix = list(place.prefix)
        if self._clock is not None:
            self.set_clock(host, 0)
            prefix += [
                "env",
                f"LD_PRELOAD={self._clock}",
                f"FAKETIME_TIMESTAMP_FILE={self._shift(host)}",
                "FAKETIME_NO_CACHE=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1",  # no host's steady clock ever jumps
                "FAKETIME_DONT_RESET=1",
            ]
        return {"host": host, "prefix": prefix, **settings}
