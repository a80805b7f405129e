"""Many volumes by one call: so many at a time, each an operation of its own.

A refusal of one keeps no other from going on, and a death in the middle is a death of those that
were going on: recovery brings them on, and the same call again does the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from volflow.exceptions import VolflowError

T = TypeVar("T")

JOBS = 8
"""How many operations of a call go on at a time."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How one of many ended.

    :ivar volume_id: whose it was.
    :ivar result: what its own call returns; None where it was refused.
    :ivar error: why it was refused, and undone.
    """

    volume_id: str
    result: T | None
    error: VolflowError | None


def each(calls: Iterable[tuple[str, Callable[[], T]]], jobs: int) -> Iterator[Outcome[T]]:
    """Make each call, of which the volume is told first; tell of each as soon as it has ended.

    Whoever stops listening stops the rest: what has begun then ends, and nothing else begins.
    """
    left = iter(calls)
    with ThreadPoolExecutor(jobs, thread_name_prefix="volflow-mass") as pool:

        def begin(count: int) -> set[Future[Outcome[T]]]:
            return {pool.submit(_one, key, call) for key, call in itertools.islice(left, count)}

        going = begin(jobs)
        while going:
            done, going = wait(going, return_when=FIRST_COMPLETED)
            going |= begin(len(done))
            for future in done:
                yield future.result()


def _one(volume_id: str, call: Callable[[], T]) -> Outcome[T]:
    try:
        return Outcome(volume_id, call(), None)
    except VolflowError as e:
        return Outcome(volume_id, None, e)
