"""How fast the page answers where there is much to show, and how much a route looks at.

    python -m benchmarks.web [--operations 100000] [--volumes 5000]

Each route is asked in this process, without a network; what is printed are milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx2 as httpx

from volflow import VolumeManager
from volflow.flows.phases import PHASES
from volflow.web.access import Access
from volflow.web.app import make_app
from volflow.web.doors import Doors

TOKEN = "a token for measurements"  # noqa: S105 - of a server that nobody reaches
ROUNDS = 20
LIMIT_MS = 200

Row = tuple[Any, ...]


def fill(path: Path, operations: int, volumes: int, seed: int = 1) -> None:
    """Write settled operations with their events, directly.

    Of a hundred operations five were undone; the rest are attaches and detaches that succeeded.

    :param path: a database that is migrated.
    """
    rng = random.Random(seed)  # noqa: S311 - nobody is to be surprised
    with sqlite3.connect(path) as connection:
        now = int(time.time() * 1e6)
        owned = [_id(rng) for _ in range(volumes)]
        _insert(connection, "volumes", _VOLUME, _volumes(owned, now, rng))
        for batch in _batches(range(operations), 5000):
            rows = [_operation(n, operations, owned, now, rng) for n in batch]
            _insert(connection, "operations", _OPERATION, rows)
            events = itertools.chain.from_iterable(map(_events, rows))
            _insert(connection, "events", _EVENT, events)
    connection.close()


def _id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _batches(numbers: range, size: int) -> Iterator[range]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _insert(connection: sqlite3.Connection, table: str, columns: str, rows: Any) -> None:
    marks = ", ".join("?" * len(columns.split()))
    names = ", ".join(columns.split())
    connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608


_VOLUME = (
    "id name size_gib backend status attach_status multiattach readonly revision created_at "
    "updated_at"
)
_OPERATION = (
    "id kind state phase volume_id attachment_id backend flows arguments error leftovers attempts "
    "epoch revision cancel_requested created_at finished_at"
)
_EVENT = "operation_id at epoch step what detail"


def _volumes(ids: list[str], now: int, rng: random.Random) -> Iterator[Row]:
    for n, key in enumerate(ids):
        at = now - (len(ids) - n) * 1_000_000
        backend = rng.choice(["lab", "ssd", "archive"])
        yield key, f"vol-{n}", 10, backend, "available", "detached", 0, 0, 1, at, at


def _operation(n: int, total: int, owned: list[str], now: int, rng: random.Random) -> Row:
    kind = rng.choice(["attach", "detach"])
    undone = rng.random() < 0.05
    error = json.dumps(["ConnectionFailed", "the portal does not answer"]) if undone else None
    state = "rolled_back" if undone else "succeeded"
    at = now - (total - n) * 500_000
    place = (rng.choice(owned), _id(rng), rng.choice(["lab", "ssd", "archive"]))
    told = ("{}", error, "[]", 0, 1, 4, 0, at, at + 30_000)
    flow = _flow(f"{kind}_volume", kind, "REVERTED" if undone else "SUCCESS", rng)
    return _id(rng), kind, state, f"{kind}_volume", *place, json.dumps([flow]), *told


def _flow(phase: str, kind: str, state: str, rng: random.Random) -> dict[str, Any]:
    atoms = {task: [state, "EXECUTE"] for task in PHASES[phase].tasks}
    return {"id": _id(rng), "phase": phase, "name": kind, "state": state, "atoms": atoms}


def _events(operation: Row) -> Iterator[Row]:
    key, _, state, phase, *_, began, ended = operation
    yield key, began, 1, "operation", "begins", phase
    at = began
    for task in PHASES[phase].tasks:
        yield key, at + 1000, 1, task, "running", None
        at += 4000
        yield key, at, 1, task, "success", None
    yield key, ended, 1, "operation", state, None


def routes(path: Path) -> dict[str, str]:
    """What is measured: a name, and a path with ids that are there, early ones and late ones."""
    with sqlite3.connect(path) as connection:
        (old,) = connection.execute(
            "SELECT id FROM operations ORDER BY created_at LIMIT 1"
        ).fetchone()
        middle, volume = connection.execute(
            "SELECT id, volume_id FROM operations ORDER BY created_at"
            " LIMIT 1 OFFSET (SELECT count(*) / 2 FROM operations)"
        ).fetchone()
        (among,) = connection.execute(
            "SELECT id FROM volumes ORDER BY created_at"
            " LIMIT 1 OFFSET (SELECT count(*) / 2 FROM volumes)"
        ).fetchone()
    connection.close()
    return {
        "overview": "/",
        "operations": "/operations",
        "operations, deep": f"/operations?after={middle}",
        "operations, undone": "/operations?state=rolled_back",
        "operations, undone, deep": f"/operations?state=rolled_back&after={middle}",
        "operations, of a kind": "/operations?kind=detach",
        "operations, of no kind": "/operations?kind=repair",
        "operations, of a backend": "/operations?backend=archive",
        "operations, three filters": "/operations?state=rolled_back&kind=attach&backend=ssd",
        "operations, filters that few meet": "/operations?state=succeeded&backend=none",
        "operations, by id": f"/operations?q={middle[:8]}",
        "operations, by name": "/operations?q=vol-17",
        "operations, by a common name": "/operations?q=vol-",
        "operations, of a volume": f"/operations?volume={volume}",
        "operation": f"/operations/{old}",
        "volumes": "/volumes",
        "volumes, deep": f"/volumes?after={among}",
        "volumes, by status": "/volumes?status=available",
        "volumes, of a backend": "/volumes?backend=ssd",
        "volumes, by name": "/volumes?q=vol-17",
        "volumes, by a common name": "/volumes?q=vol-",
        "volume": f"/volumes/{volume}",
        "conductors": "/conductors",
    }


async def measure(manager: VolumeManager, wanted: dict[str, str]) -> dict[str, list[float]]:
    """How many milliseconds each route took, in each round."""
    app = make_app(Doors(manager, lambda backends: nullcontext(manager)), Access(TOKEN))
    found: dict[str, list[float]] = {name: [] for name in wanted}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for _ in range(ROUNDS + 1):
            for name, path in wanted.items():
                began = time.perf_counter()
                answer = await client.get(path)
                found[name].append((time.perf_counter() - began) * 1000)
                answer.raise_for_status()
    return {name: times[1:] for name, times in found.items()}  # the first one compiles


def look_for_changes(manager: VolumeManager) -> list[float]:
    """How many milliseconds a look of the feed takes."""
    mark, found = manager.changes().mark, []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        mark = manager.changes(mark).mark
        found.append((time.perf_counter() - began) * 1000)
    return found


def main() -> None:
    """Fill a database, ask each route, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--volumes", type=int, default=5_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="volflow-web-") as directory:
        path = Path(directory) / "volflow.db"
        with VolumeManager(f"sqlite:///{path}", drivers={}, recover=False) as manager:
            fill(path, given.operations, given.volumes)
            print(f"{given.operations} operations, {given.volumes} volumes, {ROUNDS} rounds")
            found = asyncio.run(measure(manager, routes(path)))
            found["(a look for changes)"] = look_for_changes(manager)
    print(f"{'milliseconds':<36}{'median':>8}{'worst':>8}")
    for name, times in found.items():
        print(f"{name:<36}{statistics.median(times):>8.1f}{max(times):>8.1f}")
    slow = [name for name, times in found.items() if statistics.median(times) > LIMIT_MS]
    if slow:
        raise SystemExit(f"slower than {LIMIT_MS} ms: {', '.join(slow)}")


if __name__ == "__main__":
    main()
