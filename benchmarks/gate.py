"""``python -m benchmarks --gate``: what volflow may cost, in counts that no other load changes."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks import figures
from benchmarks.databases import Databases, opened
from benchmarks.watch import Counts
from benchmarks.worker import Worker, calls

COMMITS = 3
"""Of an attach, and of a detach."""

STATEMENTS = 14
"""Of each of them at most, reads included, BEGIN and COMMIT not."""

CALLS = {"attach": 0.315, "detach": 0.305}
"""Functions that volflow calls for one that TaskFlow's engine calls, which keeps nothing."""

MARGIN = 1.15
"""How much of that is allowed: versions of Python and of libraries differ by some per cent."""

OBSERVED = 5
CALIBRATION = 3


class Measured(NamedTuple):
    """A figure beside its limit.

    :ivar exact: less is wrong, too.
    """

    name: str
    value: float
    limit: float
    exact: bool = False
    details: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        """True where the figure is what it may be."""
        return self.value == self.limit if self.exact else self.value <= self.limit

    def __str__(self) -> str:
        verdict = "ok" if self.passes else "EXCEEDED"
        wanted = "wanted" if self.exact else "at most"
        line = f"{verdict:<9} {self.name}: {self.value:g} ({wanted} {self.limit:g})"
        return "\n".join([line, *(() if self.passes else (f"    {d}" for d in self.details))])


def judged(database: str, kind: str, counts: list[Counts]) -> list[Measured]:
    """The counts of some attaches or detaches on a database."""
    cost = figures.cost(counts)
    usual = next(c for c in counts if len(c.statements) == cost.statements)
    listed = tuple(" ".join(text.split())[:90] for text in usual.statements)
    name = f"{database}, {kind}"
    return [
        Measured(f"{name}, commits", cost.commits, COMMITS, exact=True, details=listed),
        Measured(f"{name}, statements", cost.statements, STATEMENTS, details=listed),
    ]


def database_costs(databases: Databases) -> list[Measured]:
    """What volflow asks of one kind of database."""
    with tempfile.TemporaryDirectory(prefix="volflow-bench-") as directory:
        place = Path(directory)
        worker = Worker("volflow", databases.create(place), place)
        try:
            worker.open(watched=True)
            seen = worker.ask("observe", OBSERVED)
            figures.durability(databases.name, seen.settings)
            worker.close()
        finally:
            worker.end()
    return [
        *judged(databases.name, "attach", seen.attaches),
        *judged(databases.name, "detach", seen.detaches),
    ]


def call_ratios() -> list[Measured]:
    """Functions called by an attach and a detach, on SQLite, beside the bare engine's."""
    from benchmarks.peers.bare import Bare  # noqa: PLC0415 - in this process
    from benchmarks.peers.volflow import Volflow  # noqa: PLC0415

    counts: dict[str, dict[str, list[int]]] = {}
    for name, peer in (("volflow", Volflow()), ("bare", Bare())):
        with tempfile.TemporaryDirectory(prefix="volflow-bench-") as directory:
            peer.open(f"sqlite:///{Path(directory) / 'bench.db'}", Path(directory), 0)
            counts[name] = {"attach": [], "detach": []}
            for _ in range(CALIBRATION + OBSERVED):
                counts[name]["attach"].append(calls(peer.attach))
                counts[name]["detach"].append(calls(peer.detach))
            peer.close()
    found = []
    for kind, limit in CALLS.items():
        ratio = middle(counts["volflow"][kind]) / middle(counts["bare"][kind])
        name = f"calls of functions, {kind}, times TaskFlow's engine"
        found.append(Measured(name, round(ratio, 3), round(limit * MARGIN, 3)))
    return found


def middle(counts: list[int]) -> float:
    """The median of what comes after the first few, which fill caches."""
    return statistics.median(counts[CALIBRATION:])


def measure(databases: list[str]) -> list[Measured]:
    """All figures of the gate."""
    found = call_ratios()
    for name in databases:
        with opened(name) as kind:
            found += database_costs(kind)
    return found
