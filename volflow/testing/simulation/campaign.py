"""Many seeds, in several processes at once, and what they showed together."""

from __future__ import annotations

import gc
import multiprocessing
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue

from volflow.testing.simulation.plan import Schedule
from volflow.testing.simulation.simulation import Simulation
from volflow.testing.simulation.template import Template
from volflow.testing.simulation.world import Violation


@dataclass(frozen=True)
class Result:
    """What one seed showed.

    :ivar schedule: what it did; None where it kept every promise.
    """

    seed: int
    violations: tuple[Violation, ...]
    fingerprint: str
    schedule: Schedule | None
    tally: Counter[str]
    struck: Counter[str]


@dataclass
class Summary:
    """What all seeds showed.

    :ivar operations: how many the seed had that had the fewest; ``faults`` alike.
    :ivar failed: the results of those that broke a promise.
    """

    seeds: int = 0
    operations: int | None = None
    faults: int | None = None
    tally: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count one more."""
        self.seeds += 1
        if not result.violations:
            self.operations = _fewer(self.operations, result.tally["operations"])
            self.faults = _fewer(self.faults, result.struck.total())
        self.tally += result.tally
        self.struck += result.struck
        if result.violations:
            self.failed.append(result)


def _fewer(before: int | None, number: int) -> int:
    return number if before is None else min(before, number)


def play(template: Template, seed: int, kinds: Iterable[str]) -> Result:
    """Play one seed."""
    outcome = Simulation(template, seed, kinds=kinds).run()
    return Result(
        seed,
        outcome.violations,
        outcome.fingerprint,
        outcome.schedule if outcome.violations else None,
        outcome.tally,
        outcome.struck,
    )


def campaign(seeds: Sequence[int], kinds: frozenset[str], jobs: int) -> Iterator[Result]:
    """Play seeds, and give each one's result as soon as it is there.

    :raises RuntimeError: one of the processes ended before its last seed.
    """
    if jobs == 1:
        with Template() as template:
            for seed in seeds:
                yield play(template, seed, kinds)
        return
    context = multiprocessing.get_context("spawn")
    results: SimpleQueue[Result | str] = context.SimpleQueue()
    players = [
        context.Process(target=_player, args=(seeds[n::jobs], kinds, results), daemon=True)
        for n in range(jobs)
    ]
    for player in players:
        player.start()
    try:
        for _ in seeds:
            result = results.get()
            if isinstance(result, str):
                raise RuntimeError(f"a seed could not be played:\n{result}")
            yield result
    finally:
        for player in players:
            player.terminate()
            player.join()


def _player(
    seeds: Sequence[int], kinds: frozenset[str], results: SimpleQueue[Result | str]
) -> None:
    try:
        with Template() as template:
            gc.freeze()  # each seed collects its garbage: not all modules, again and again
            for seed in seeds:
                results.put(play(template, seed, kinds))
    except Exception:  # noqa: BLE001 - whoever waits for the result hears of it
        results.put(traceback.format_exc())
