"""Runs the peers beside each other, each in a process of its own, round by round."""

from __future__ import annotations

import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.databases import Databases, used
from benchmarks.figures import (
    Result,
    Round,
    cost,
    durability,
    growth_mib,
    speed,
    summed_up,
)
from benchmarks.worker import Batch, PeerFailed, Worker

CALIBRATION_CYCLES = 5
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    :ivar seconds: how long a peer's batch takes in each round; one cycle takes longer for some.
    :ivar observed: so many cycles are counted.
    :ivar processes: how many there are on one database for the throughput, in turn.
    :ivar memory_cycles: after how many the memory is compared, for volflow.
    """

    rounds: int = 30
    seconds: float = 0.3
    observed: int = 21
    processes: tuple[int, ...] = (1, 2, 4)
    throughput_rounds: int = 3
    throughput_seconds: float = 2.0
    memory_cycles: int = 5000
    seed: int = 1


QUICK = Plan(
    rounds=5,
    seconds=0.1,
    observed=11,
    # Four processes of each take as long to start as all else; of few operations growth is noise.
    throughput_rounds=0,
    memory_cycles=0,
)


class Coordinator:
    """Measures some peers on one kind of database.

    :ivar results: what was found, by the peers' names.
    """

    def __init__(self, names: list[str], databases: Databases, plan: Plan, tell: Tell) -> None:
        self._databases, self._plan, self._tell = databases, plan, tell
        self._rng = random.Random(plan.seed)  # noqa: S311 - it orders batches
        self.results: dict[str, Result] = {}
        self._names = [name for name in names if self._is_known(name)]

    def measure(self) -> dict[str, Result]:
        """Measure all that the plan says."""
        self._tell(f"{self._databases.name}: commits and statements")
        self._observe()
        self._tell(f"{self._databases.name}: {self._plan.rounds} rounds")
        self._time()
        if self._plan.throughput_rounds:
            self._tell(f"{self._databases.name}: throughput")
            self._load()
        if self._plan.memory_cycles and peers.NAMES[0] in self._names:
            self._tell(f"{self._databases.name}: memory")
            self._grow(peers.NAMES[0])
        return self.results

    def _is_known(self, name: str) -> bool:
        """Take a peer's part in the results, unless it does not know this database."""
        try:
            peer = peers.load(name)
        except ImportError as e:
            self.results[name] = Result(name, durable=False)
            self.results[name].failures["open"] = f"not installed: {e.name or e}"
            return False
        if self._databases.name not in peer.databases:
            return False
        self.results[name] = Result(peer.title, peer.durable)
        return True

    def _observe(self) -> None:
        for name in list(self._names):
            with self._failing("open", name), self._worker(name) as worker:
                worker.open(watched=True)
                seen = worker.ask("observe", self._plan.observed)
                result = self.results[name]
                result.attach, result.detach = cost(seen.attaches), cost(seen.detaches)
                result.durability = durability(self._databases.name, seen.settings)
                worker.close()
            if "open" in self.results[name].failures:
                self._names.remove(name)

    def _time(self) -> None:
        """Take the times, a batch of each peer in each round, in an order of its own."""
        with tempfile.TemporaryDirectory(prefix="volflow-bench-") as directory:
            workers = dict(self._opened(Path(directory)))
            cycles = {name: self._calibrate(worker) for name, worker in workers.items()}
            rounds: dict[str, list[Round]] = {name: [] for name in workers}
            for number in range(self._plan.rounds):
                order = self._rng.sample(list(workers), len(workers))
                for name in order:
                    with self._failing("rounds", name):
                        rounds[name].append(self._batch(workers[name], cycles[name]))
                    if len(rounds[name]) <= number:
                        del workers[name], rounds[name]
            reference = rounds.get(peers.NAMES[0], [])
            for name, worker in workers.items():
                with self._failing("rounds", name):
                    worker.close()
                    done = len(rounds[name]) * cycles[name]
                    self.results[name].speed = speed(rounds[name], reference, done)

    def _opened(self, directory: Path) -> Iterator[tuple[str, Worker]]:
        for name in self._names:
            with self._failing("rounds", name):
                place = directory / name
                place.mkdir()
                worker = Worker(name, self._databases.create(place), place)
                worker.open()
                yield name, worker

    def _calibrate(self, worker: Worker) -> int:
        batch: Batch = worker.ask("run", CALIBRATION_CYCLES)
        return max(1, round(self._plan.seconds * CALIBRATION_CYCLES / batch.seconds))

    def _batch(self, worker: Worker, cycles: int) -> Round:
        before = self._databases.cpu_seconds()
        batch: Batch = worker.ask("run", cycles)
        served = used(before, self._databases.cpu_seconds())
        return summed_up(batch.attaches, batch.detaches, batch.cpu_seconds, served)

    def _load(self) -> None:
        """Let several processes work on one database, on volumes of their own."""
        rates: dict[str, dict[int, list[float]]] = {name: {} for name in self._names}
        for _ in range(self._plan.throughput_rounds):
            for name in self._rng.sample(self._names, len(self._names)):
                if "throughput" not in self.results[name].failures:
                    with self._failing("throughput", name):
                        self._load_one(name, rates[name])
        for name, found in rates.items():
            self.results[name].throughput = {
                count: statistics.median(each) for count, each in found.items()
            }

    def _load_one(self, name: str, rates: dict[int, list[float]]) -> None:
        with tempfile.TemporaryDirectory(prefix="volflow-bench-") as directory:
            place, workers = Path(directory), list[Worker]()
            url = self._databases.create(place)
            try:
                for index in range(max(self._plan.processes)):
                    workers.append(Worker(name, url, place, index))
                    workers[-1].open()
                for count in self._rng.sample(self._plan.processes, len(self._plan.processes)):
                    for worker in workers[:count]:
                        worker.tell("run_for", self._plan.throughput_seconds)
                    batches = [worker.answer() for worker in workers[:count]]
                    rate = sum(len(batch.attaches) / batch.seconds for batch in batches)
                    rates.setdefault(count, []).append(rate)
                for worker in workers:
                    worker.close()
            finally:
                for worker in workers:
                    worker.end()

    def _grow(self, name: str) -> None:
        cycles = self._plan.memory_cycles
        with self._failing("memory", name), self._worker(name) as worker:
            worker.open()
            worker.ask("run", cycles // 5)  # caches fill
            before, after = worker.ask("memory", cycles)
            self.results[name].growth_mib = growth_mib(before, after, 2 * cycles)
            worker.close()

    @contextmanager
    def _worker(self, name: str) -> Iterator[Worker]:
        """A worker on a database of its own."""
        with tempfile.TemporaryDirectory(prefix="volflow-bench-") as directory:
            place = Path(directory)
            worker = Worker(name, self._databases.create(place), place)
            try:
                yield worker
            finally:
                worker.end()

    @contextmanager
    def _failing(self, what: str, name: str) -> Iterator[Any]:
        """Write a peer's failure down, and go on with the others."""
        try:
            yield
        except (PeerFailed, ValueError) as e:
            self.results[name].failures[what] = str(e)
            self._tell(f"{self._databases.name}: {name}: {e}")
