"""``python -m benchmarks.scale``: what calls cost after a million operations.

Two databases of one kind, an empty one and one with years of use, are asked in turn, so that
whatever else the machine does hits both alike; the ratio is what counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks.databases import Databases, opened
from tests.contract.test_scale import CALLS
from tests.history import grow, use
from volflow import RequestContext, VolumeManager
from volflow.persistence import schema
from volflow.testing import MemoryDriver

show = partial(print, flush=True)

CONTEXT = RequestContext(overwrite=False)
VOLUMES, CYCLES = 3, 2
"""Of the first volumes, of which one is deleted; with them 16 operations are made."""
DOUBLINGS = 16
ROUNDS = 40
WARM_UP = 3


class Side:
    """One of the two databases, open."""

    def __init__(self, databases: Databases, directory: Path) -> None:
        directory.mkdir()
        self.manager = VolumeManager(
            databases.create(directory),
            {"lab": MemoryDriver()},
            board="sql:",
            key_file=directory / "key",
            recover=False,
        )
        used = [use(self.manager, CONTEXT, CYCLES, not number) for number in range(VOLUMES)]
        self.volume = used[-1]
        self.operation = self.manager.list_operations(CONTEXT, volume_id=self.volume)[1].id

    def grow(self, doublings: int) -> None:
        """Live through years."""
        for round_ in range(doublings):
            self.manager.database.write(lambda c: grow(c, range(round_, round_ + 1)))  # noqa: B023
            show(f"  {self.count():9} operations")

    def count(self) -> int:
        """How many operations there are."""
        with self.manager.database.read() as connection:
            query = select(func.count()).select_from(schema.operations)
            return int(connection.execute(query).scalar_one())

    def milliseconds(self, call: Callable[..., Any]) -> float:
        """Call, and time it."""
        began = time.perf_counter()
        call(self.manager, CONTEXT, self.volume, self.operation)
        return (time.perf_counter() - began) * 1000


def measure(kind: str, doublings: int, rounds: int) -> dict[str, Any]:
    """Ask both, and print a line a call."""
    found: dict[str, Any] = {}
    with opened(kind) as databases, tempfile.TemporaryDirectory() as directory:
        few, many = (Side(databases, Path(directory) / name) for name in ("few", "many"))
        many.grow(doublings)
        settle(many.manager)
        counts = few.count(), many.count()
        show(f"{kind}: median ms of {rounds} rounds with {counts[0]} and {counts[1]} operations")
        for name, call in CALLS.items():
            times: tuple[list[float], list[float]] = ([], [])
            for round_ in range(WARM_UP + rounds):
                for side, kept in zip((few, many), times, strict=True):
                    took = side.milliseconds(call)
                    if round_ >= WARM_UP:
                        kept.append(took)
            medians = [statistics.median(kept) for kept in times]
            ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
            found[name] = {"ms": medians, "ratio": ratio}
            show(f"  {name:<26}{medians[0]:9.2f}{medians[1]:9.2f}{ratio:7.2f}")
        for side in (few, many):
            side.manager.close()
    return {"operations": counts, "calls": found}


def settle(manager: VolumeManager) -> None:
    """Tell the server what it holds, as its own housekeeping does in time."""
    with manager.database.session() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()


def main() -> None:
    """Measure, and print a table and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--doublings", type=int, default=DOUBLINGS, help="16: a million")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    show(json.dumps(measure(options.database, options.doublings, options.rounds)))


if __name__ == "__main__":
    main()
