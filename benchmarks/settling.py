"""``python -m benchmarks.settling``: how soon after its lease a dead host's volume is settled.

A worker "of another host" (with a lock directory of its own, so that nothing but its lease tells
that it is dead) is killed in the middle of an attach, many times. A survivor takes it over. Both
times are the database's: the end of the lease as the dead left it, and the operation's end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.servers.postgresql import running_server
from tests.soak.__main__ import require
from volflow import RequestContext, VolumeManager
from volflow.drivers.local import LocalDriver
from volflow.models import OperationState

CONNECTOR = {"initiator": "iqn.2004-10.org.example:a", "host": "a"}
CONTEXT = RequestContext(overwrite=False)
MEMORY = "/dev/shm"  # noqa: S108 - it is meant: no disk
SERVER = multiprocessing.get_context("forkserver")


class Stuck(LocalDriver):
    """A driver that says that an effect was made, and never returns."""

    def __init__(self, directory: Path, said: Connection) -> None:
        super().__init__(directory)
        self._said = said

    def initialize_connection(self, volume: Any, connector: Any) -> Any:
        super().initialize_connection(volume, connector)
        self._said.send("in the middle")
        time.sleep(3600)


def open_manager(url: str, home: Path, name: str, driver: Any, **options: Any) -> VolumeManager:
    """A manager of a host of this name."""
    return VolumeManager(
        url,
        drivers={"lab": driver},
        key_file=home / "volflow.key",
        lock_directory=home / name,
        **options,
    )


def victim(url: str, home: Path, lease: float, volume_id: str, key: str, said: Connection) -> None:
    """Begin an attach, in a process of its own."""
    driver = Stuck(home / "images", said)
    manager = open_manager(url, home, "victim", driver, lease_seconds=lease, recover=False)
    manager.attach_volume(CONTEXT, volume_id, CONNECTOR, operation_id=key)


def death(url: str, home: Path, lease: float, survivor: VolumeManager) -> tuple[float, float]:
    """Kill one worker; return when it had settled after its lease, and the driver's part of it."""
    volume_id = survivor.create_volume(CONTEXT, size_gib=1, backend="lab").id
    key = str(uuid.uuid4())
    ours, theirs = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=victim, args=(url, home, lease, volume_id, key, theirs))
    process.start()
    theirs.close()
    ours.recv()
    time.sleep(lease / 2)  # its heartbeat renews the lease
    process.kill()
    process.join()
    ours.close()
    left = survivor.get_operation(CONTEXT, key).lease_expires_at
    settled = survivor.wait(key, timeout=60 + lease)
    assert settled.state is OperationState.SUCCEEDED
    assert settled.epoch == 2
    assert left is not None
    assert settled.finished_at is not None
    taken = next(
        event.at
        for event in survivor.operation_timeline(CONTEXT, key)
        if (event.step, event.what) == ("operation", "taken over")
    )
    return (
        (settled.finished_at - left).total_seconds(),
        (settled.finished_at - taken).total_seconds(),
    )


def measure(url: str, home: Path, lease: float, times: int) -> dict[str, float]:
    """Kill so many workers, one after the other; seconds."""
    driver = LocalDriver(home / "images")
    with open_manager(url, home, "survivor", driver, lease_seconds=lease) as survivor:
        found = [death(url, home, lease, survivor) for _ in range(times)]
    after, driven = zip(*found, strict=True)
    return {
        "settled_after_lease_p50": statistics.median(after),
        "settled_after_lease_p90": statistics.quantiles(after, n=10)[-1],
        "settled_after_lease_max": max(after),
        "of_that_the_run_p50": statistics.median(driven),
        "of_that_the_run_max": max(driven),
    }


@contextmanager
def databases(home: Path, fsync: bool) -> Iterator[dict[str, str]]:
    """Name -> URL of an empty database."""
    with running_server(require, fsync) as server:
        yield {
            "SQLite": f"sqlite:///{home / 'volflow.db'}",
            "PostgreSQL": server.create_database(),
        }


def main() -> None:
    """Measure, and print a table and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.settling")
    parser.add_argument("--times", type=int, default=20, help="deaths on each database")
    parser.add_argument("--lease", type=float, default=1.0, help="seconds")
    parser.add_argument("--directory", help="for the SQLite file; by default in /tmp")
    parser.add_argument(
        "--no-fsync",
        action="store_true",
        help="all data in memory, and a PostgreSQL that waits for no disk: what is left is ours",
    )
    given = parser.parse_args()
    if given.no_fsync:
        # Also where the servers' directories are made.
        tempfile.tempdir = given.directory = MEMORY
    SERVER.set_forkserver_preload(["benchmarks.settling"])
    results = {}
    with (
        tempfile.TemporaryDirectory(dir=given.directory) as directory,
        databases(Path(directory), not given.no_fsync) as urls,
    ):
        for name, url in urls.items():
            home = Path(directory) / name
            home.mkdir()
            results[name] = measure(url, home, given.lease, given.times)
    print(f"{given.times} deaths of another host's worker, lease of {given.lease:g} s; in ms")
    for name, found in results.items():
        print(f"  {name}")
        for what, seconds in found.items():
            print(f"    {what.replace('_', ' '):<28}{seconds * 1000:9.1f}")
    json.dump(results, sys.stdout)
    print()


if __name__ == "__main__":
    main()
