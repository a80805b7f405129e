"""``python -m benchmarks.conductors``: how soon conductors begin, and how many operations they do.

Seconds of one run are comparable with each other only. Servers are started on free ports; the
driver is MemoryDriver, so that what is measured is volflow and its database.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from tests.servers.postgresql import PostgresqlServer, running_server
from tests.servers.process import running
from tests.servers.zookeeper import JARS, ZookeeperServer
from tests.soak.__main__ import require
from volflow import RequestContext, VolumeManager
from volflow.persistence import schema
from volflow.testing import MemoryDriver

ROUNDS = 50
WARM_UP = 5
OPERATIONS = 100
PROCESSES = (1, 2, 4)
WORKERS = 2
CONNECTOR = {"initiator": "iqn.2004-10.org.example:a", "host": "a"}
show = partial(print, flush=True)

CONTEXT = RequestContext(overwrite=False)
PATIENCE_SECONDS = 300


class Everywhere(MemoryDriver):
    """A driver whose backend has every volume, whichever process has made it."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> Any:
        self.create_volume(context, volume)
        return super().create_export(context, volume, connector)


class Begun(Everywhere):
    """A driver that tells when an operation's first call comes.

    :param told: takes the time of the host's monotonic clock, which its processes share.
    """

    def __init__(self, told: Any) -> None:
        super().__init__()
        self._told = told

    def validate_connector(self, connector: Any) -> None:
        self._told.send(time.monotonic())
        super().validate_connector(connector)


def opened(url: str, key_file: Path, driver: Any, board: str | None) -> VolumeManager:
    """Open a manager; the benchmark has nothing to recover."""
    return VolumeManager(
        url, drivers={"lab": driver}, board=board, key_file=key_file, recover=False
    )


def from_submit_to_start(url: str, board: str, key_file: Path) -> list[float]:
    """Milliseconds from the call of submit_attach to the first step, on an idle conductor."""
    spawning, times = multiprocessing.get_context("spawn"), []
    begun, told = spawning.Pipe(duplex=False)
    ready, end = spawning.Barrier(2), spawning.Event()
    child = spawning.Process(
        target=conduct_idly, args=(url, key_file, board, told, ready, end), daemon=True
    )
    child.start()
    with opened(url, key_file, MemoryDriver(), board) as manager:
        ready.wait()
        for round_ in range(WARM_UP + ROUNDS):
            volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
            threading.Event().wait(0.05)  # it becomes idle
            began = time.monotonic()
            operation = manager.submit_attach(CONTEXT, volume.id, CONNECTOR, host_name="a")
            if round_ >= WARM_UP:
                times.append((begun.recv() - began) * 1000)
            else:
                begun.recv()
            manager.wait(operation.id, PATIENCE_SECONDS)
    end.set()
    child.join()
    return times


def conduct_idly(url: str, key_file: Path, board: str, told: Any, ready: Any, end: Any) -> None:
    """A conductor that waits for operations, in a process of its own."""
    with opened(url, key_file, Begun(told), board) as manager:
        conductor = manager.conductor(workers=1)
        conductor.start()
        ready.wait()
        end.wait()
        conductor.stop()
        conductor.wait(PATIENCE_SECONDS)


def inline(url: str, key_file: Path) -> float:
    """Attaches in a second of one process that calls them itself."""
    with opened(url, key_file, MemoryDriver(), None) as manager:
        volumes = [manager.create_volume(CONTEXT, 1, "lab").id for _ in range(OPERATIONS)]
        began = time.perf_counter()
        for volume_id in volumes:
            manager.attach_volume(CONTEXT, volume_id, CONNECTOR, host_name="a")
        return OPERATIONS / (time.perf_counter() - began)


def conduct(url: str, key_file: Path, start: Any, end: Any) -> None:
    """One conductor, in a process of its own."""
    with opened(url, key_file, Everywhere(), "sql:") as manager:
        conductor = manager.conductor(workers=WORKERS)
        start.wait()
        conductor.start()
        end.wait()
        conductor.stop()
        conductor.wait(PATIENCE_SECONDS)


def queued(url: str, key_file: Path, processes: int) -> float:
    """Attaches in a second of so many conductors that find all of them queued."""
    spawning = multiprocessing.get_context("spawn")
    start, end = spawning.Barrier(processes + 1), spawning.Event()
    with opened(url, key_file, MemoryDriver(), "sql:") as manager:
        keys = []
        for _ in range(OPERATIONS):
            volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
            made = manager.submit_attach(CONTEXT, volume.id, CONNECTOR, host_name="a")
            keys.append(made.id)
        children = [
            spawning.Process(target=conduct, args=(url, key_file, start, end), daemon=True)
            for _ in range(processes)
        ]
        for child in children:
            child.start()
        start.wait()
        began = time.perf_counter()
        while settled(manager, keys) < OPERATIONS:
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        end.set()
        for child in children:
            child.join()
    return OPERATIONS / seconds


def settled(manager: VolumeManager, keys: list[str]) -> int:
    """How many of these operations have succeeded; none may fail."""
    columns = schema.operations.c
    query = select(columns.state, func.count()).where(columns.id.in_(keys))
    with manager.database.read() as connection:
        rows = connection.execute(query.group_by(columns.state)).all()
    found = {row[0]: int(row[1]) for row in rows}
    failed = found.keys() & {"rolled_back", "needs_attention"}
    if failed:
        raise SystemExit(f"operations have failed: {found}")
    return found.get("succeeded", 0)


@contextmanager
def database(server: PostgresqlServer, key_file: Path) -> Iterator[str]:
    """A migrated database of its own for one measurement."""
    url = server.create_database()
    VolumeManager(url, drivers={}, recover=False, key_file=key_file).close()
    yield url
    server.drop_database(url)


def main() -> None:
    """Measure, and print a table and one line of JSON."""
    with ExitStack() as stack:
        key_file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "volflow.key"
        server = stack.enter_context(running_server(require))
        java = require("java", "default-jre-headless")
        setpriv = require("setpriv", "util-linux")
        zookeeper = stack.enter_context(running(ZookeeperServer(java, setpriv, JARS)))
        path = zookeeper.url(zookeeper.create_path())
        medians, rates = {}, {}
        show(f"from submit to the first step, idle conductor, PostgreSQL, {ROUNDS} rounds")
        for name, board in (("sql:", "sql:"), ("zookeeper:", path)):
            with database(server, key_file) as url:
                found = sorted(from_submit_to_start(url, board, key_file))
            medians[name] = statistics.median(found)
            most = found[int(len(found) * 0.95)]
            show(f"  {name:<12} p50 {medians[name]:7.2f} ms   p95 {most:7.2f} ms")
        show(f"attaches in a second, {OPERATIONS} of them, MemoryDriver, PostgreSQL")
        with database(server, key_file) as url:
            rates["inline"] = inline(url, key_file)
        show(f"  one process, inline {rates['inline']:8.1f}")
        for processes in PROCESSES:
            with database(server, key_file) as url:
                rates[str(processes)] = rate = queued(url, key_file, processes)
            ratio = rate / rates["inline"]
            show(f"  {processes} conductors        {rate:8.1f}   {ratio:5.2f} times inline")
    show(json.dumps({"submit_to_start_p50_ms": medians, "attaches_per_second": rates}))


if __name__ == "__main__":
    main()
