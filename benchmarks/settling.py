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
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import event

from tests.servers.postgresql import running_server
from tests.soak.__main__ import require
from volflow import RequestContext, VolumeManager
from volflow.drivers.local import LocalDriver
from volflow.models import OperationState
from volflow.persistence.engine import Database

COUNTS = ("commits", "statements", "connections")
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


class Work:
    """What recovery asks of the database, counted from :meth:`begin` on.

    :ivar connections: how many it made.
    :ivar statements: how many it executed, reads included.
    :ivar commits: how long each took, in seconds.
    """

    def __init__(self, database: Database) -> None:
        self.begin()
        engine, dialect = database.engine, database.engine.dialect
        event.listen(engine, "connect", lambda *_: self._count("connections"))
        event.listen(engine, "after_cursor_execute", lambda *_: self._count("statements"))
        commit = dialect.do_commit

        def timed(connection: Any) -> None:
            began = time.perf_counter()
            commit(connection)
            if self._counts:
                self.commits.append(time.perf_counter() - began)

        dialect.do_commit = timed  # type: ignore[method-assign]

    def begin(self) -> None:
        """Count from zero."""
        self.connections = self.statements = 0
        self.commits: list[float] = []

    @property
    def _counts(self) -> bool:
        return threading.current_thread().name.startswith("volflow-recovery")

    def _count(self, what: str) -> None:
        if self._counts:
            setattr(self, what, getattr(self, what) + 1)


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


class Sample(NamedTuple):
    """One death; as columns, all of them.

    :ivar after_lease: from the end of the lease until it was settled, in seconds.
    :ivar run: from the takeover until then.
    :ivar connections: what recovery asked of the database from the death until then.
    :ivar committing: the time of the commits of that, in seconds.
    """

    after_lease: Any
    run: Any
    connections: Any
    statements: Any
    commits: Any
    committing: Any


def death(url: str, home: Path, lease: float, survivor: VolumeManager, work: Work) -> Sample:
    """Kill one worker."""
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
    work.begin()
    ours.close()
    left = _last_lease(survivor, key)
    settled = survivor.wait(key, timeout=60 + lease)
    counted = (work.connections, work.statements, len(work.commits), sum(work.commits))
    assert settled.state is OperationState.SUCCEEDED
    assert settled.epoch == 2
    assert left is not None
    assert settled.finished_at is not None
    taken = next(
        event.at
        for event in survivor.operation_timeline(CONTEXT, key)
        if (event.step, event.what) == ("operation", "taken over")
    )
    return Sample(
        (settled.finished_at - left).total_seconds(),
        (settled.finished_at - taken).total_seconds(),
        *counted,
    )


def _last_lease(survivor: VolumeManager, key: str) -> datetime | None:
    """When the lease ended that was taken over.

    Not the one that the database shows at the death: a server goes on with a renewal whose
    client died while it waited for the disk.
    """
    left = None
    while (found := survivor.get_operation(CONTEXT, key)).epoch == 1:
        left = found.lease_expires_at
        time.sleep(0.005)
    return left


def measure(url: str, home: Path, lease: float, times: int) -> dict[str, float]:
    """Kill so many workers, one after the other; seconds."""
    driver = LocalDriver(home / "images")
    with open_manager(url, home, "survivor", driver, lease_seconds=lease) as survivor:
        work = Work(survivor.database)
        found = [death(url, home, lease, survivor, work) for _ in range(times)]
    columns = Sample(*zip(*found, strict=True))
    return {
        "settled_after_lease_p50": statistics.median(columns.after_lease),
        "settled_after_lease_p90": statistics.quantiles(columns.after_lease, n=10)[-1],
        "settled_after_lease_max": max(columns.after_lease),
        "of_that_the_run_p50": statistics.median(columns.run),
        "of_that_the_run_max": max(columns.run),
        "of_that_commits_p50": statistics.median(columns.committing),
        "of_that_commits_max": max(columns.committing),
        "commits": statistics.median(columns.commits),
        "statements": statistics.median(columns.statements),
        "connections": max(columns.connections),
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
    # Not this module: it is __main__ already, and Python warns where one is loaded twice.
    SERVER.set_forkserver_preload(["volflow", "volflow.drivers.local", "tests.soak.__main__"])
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
        for what, number in found.items():
            shown = f"{number:9g}" if what in COUNTS else f"{number * 1000:9.1f}"
            print(f"    {what.replace('_', ' '):<28}{shown}")
    json.dump(results, sys.stdout)
    print()


if __name__ == "__main__":
    main()
