"""Conductors that are processes of their own, run by the command line on one configuration."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.contract.lab import until
from volflow import RequestContext, VolumeManager
from volflow.drivers.local import LocalDriver

CONTEXT = RequestContext(overwrite=False)
START_SECONDS = 120
STOP_SECONDS = 60
ROOT = Path(__file__).parents[2]


class Installation:
    """A directory with a configuration, its backend and the driver that it names.

    :param url: of the database; None: SQLite in the directory.
    :param driver: the class behind the backend ``lab``, by ``module:name``.
    :param coordination: the lock server of conductors that are on other hosts.
    """

    def __init__(
        self,
        directory: Path,
        url: str | None = None,
        board: str = "sql:",
        driver: str = "tests.crash.gated:GatedDriver",
        lease_seconds: float = 60,
        coordination: str | None = None,
    ) -> None:
        self.directory = directory
        self.config = directory / "volflow.conf"
        self.images = directory / "images"
        self.coordination = coordination
        self.config.write_text(
            f"[volflow]\ndatabase = {url or f'sqlite:///{directory}/volflow.db'}\n"
            f"key_file = {directory}/volflow.key\nboard = {board}\nbackends = lab\n"
            f"lease_seconds = {lease_seconds}\n[lab]\ndriver = tested\n"
            f"directory = {self.images}\n"
        )
        info = directory / "site" / "volflow_tested-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: volflow-tested\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[volflow.drivers]\ntested = {driver}\n")
        self.board = board
        self.lease_seconds = lease_seconds
        self.url = url or f"sqlite:///{directory}/volflow.db"
        self.driver = LocalDriver(self.images)

    def open(self) -> VolumeManager:
        """A manager of this process, without a gate."""
        return VolumeManager(
            self.url,
            drivers={"lab": self.driver},
            board=self.board,
            key_file=self.directory / "volflow.key",
            lease_seconds=self.lease_seconds,
            coordination=self.coordination,
            recover=False,
        )

    @contextmanager
    def conductor(
        self,
        name: str,
        workers: int = 2,
        host: str | None = None,
        prefix: Sequence[str] = (),
        **settings: str,
    ) -> Iterator[subprocess.Popen[str]]:
        """A conductor that serves; killed at the end where it still runs."""
        process = self.start(name, workers, host, prefix, **settings)
        try:
            with self.open() as manager:
                until(lambda: _serves(manager, process), f"{name} serves", START_SECONDS)
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def start(
        self,
        name: str,
        workers: int = 2,
        host: str | None = None,
        prefix: Sequence[str] = (),
        **settings: str,
    ) -> subprocess.Popen[str]:
        """Start a conductor, and do not wait until it serves.

        :param host: where it is: hosts share no lock directory. None: where this process is.
        :param prefix: what its command begins with, so that it runs there.
        :param settings: of that host: ``database`` or ``board``, as it reaches them.
        """
        log = (self.directory / f"{name}.log").open("a")
        with log:
            return subprocess.Popen(
                [
                    *prefix,
                    *(sys.executable, "-m", "volflow.cli", "conductor", "run"),
                    *("--backend", "lab", "--workers", str(workers), "--name", name),
                ],
                env=os.environ
                | {
                    "VOLFLOW_CONFIG": str(self._config(host, settings)),
                    "PYTHONPATH": f"{self.directory / 'site'}:{ROOT}",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )

    def _config(self, host: str | None, settings: Mapping[str, str]) -> Path:
        if host is None:
            return self.config
        assert self.coordination is not None, "hosts need a lock server"
        own = {
            "lock_directory": str(self.directory / host),
            "coordination": self.coordination,
            **settings,
        }
        common = self.config.read_text().splitlines()
        lines = [line for line in common if line.partition(" = ")[0] not in own]
        lines[1:1] = [f"{key} = {value}" for key, value in own.items()]
        found = self.directory / f"{host}.conf"
        found.write_text("\n".join(lines) + "\n")
        return found

    def log(self, name: str) -> str:
        """What a conductor wrote."""
        return (self.directory / f"{name}.log").read_text()


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    """Stop a conductor in order, and return its exit code."""
    process.send_signal(number)
    return process.wait(STOP_SECONDS)


def _serves(manager: VolumeManager, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, "the conductor ended"
    return any(c.pid == process.pid and c.alive for c in manager.list_conductors(CONTEXT))
