"""``python -m benchmarks``: volflow beside TaskFlow's own engine, interleaved in one run.

Seconds of one run are comparable with each other only: the two are measured in turn, so that
whatever else the machine does hits both alike.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskflow import engines, task
from taskflow.patterns import linear_flow

from volflow import RequestContext, VolumeManager
from volflow.testing import MemoryDriver
from volflow.testing.points import Points

ROUNDS = 100
WARM_UP = 10
CONNECTOR = {"initiator": "iqn.2004-10.org.example:a", "host": "a"}
ATTACH_TASKS, DETACH_TASKS = 6, 5


class Nothing(task.Task):
    """A task that does nothing."""

    def execute(self) -> None: ...

    def revert(self, **_: Any) -> None: ...


def bare() -> None:
    """Run the two flows of an attach and a detach, empty, and keep nothing."""
    for count in (ATTACH_TASKS, DETACH_TASKS):
        flow = linear_flow.Flow("bare").add(*[Nothing(str(n)) for n in range(count)])
        engines.run(flow)


def measure(competitors: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Time each in turn; seconds."""
    times: dict[str, list[float]] = {name: [] for name in competitors}
    for round_ in range(WARM_UP + ROUNDS):
        for name, run in competitors.items():
            began = time.perf_counter()
            run()
            if round_ >= WARM_UP:
                times[name].append(time.perf_counter() - began)
    return times


def count(manager: VolumeManager, pair: Callable[[], None]) -> dict[str, int]:
    """Commits and statements of one attach and one detach."""
    points = Points()
    with points.watching(manager.database):
        pair()
    return {
        "commits": points.reached.count("commit after"),
        "statements": sum(
            name.startswith("statement") and name != "statement BEGIN" for name in points.reached
        ),
    }


def main() -> None:
    """Measure, and print a table and one line of JSON."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory) / 'volflow.db'}"
        with VolumeManager(url, drivers={"lab": MemoryDriver()}) as manager:
            context = RequestContext()
            volume = manager.create_volume(context, size_gib=1, backend="lab")

            def pair() -> None:
                manager.attach_volume(context, volume.id, CONNECTOR, host_name="a")
                manager.detach_volume(context, volume.id)

            times = measure({"volflow, SQLite": pair, "TaskFlow, not durable": bare})
            counts = count(manager, pair)
    median = {name: statistics.median(found) * 1000 for name, found in times.items()}
    reference = median["TaskFlow, not durable"]
    print(f"attach and detach, MemoryDriver, median of {ROUNDS} interleaved rounds")
    for name, found in median.items():
        print(f"  {name:<24}{found:8.2f} ms   {found / reference:5.2f} times the bare engine")
    print(f"  volflow: {counts['commits']} commits, {counts['statements']} statements")
    json.dump({"median_ms": median, **counts}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
