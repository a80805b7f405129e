"""Many volumes by one call: so many at a time, each an operation of its own.

A refusal of one keeps no other from going on, and a death in the middle is a death of those that
were going on: recovery brings them on, and the same call again does the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from volflow.exceptions import VolflowError
from volflow.models import Attachment, Volume
from volflow.persistence.records import Records

T = TypeVar("T")

JOBS = 8
"""How many operations of a call go on at a time."""


Step = tuple[str, Callable[[], Any]]
"""Its name, and the call."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How one of many ended.

    :ivar volume_id: whose it was.
    :ivar result: what its last step returned; None where one was refused.
    :ivar error: why a step was refused, and undone; those before it stay done.
    :ivar step: the name of the step that was refused.
    """

    volume_id: str
    result: T | None
    error: VolflowError | None = None
    step: str | None = None


class Mass:
    """Attaches and detaches many volumes, by the calls that do it with one.

    :param attach: :meth:`VolumeManager.attach_volume` with its context.
    """

    def __init__(
        self, attach: Callable[..., Attachment], detach: Callable[..., Volume], records: Records
    ) -> None:
        self._attach = attach
        self._detach = detach
        self._records = records

    def attach(
        self, volume_ids: Iterable[str], jobs: int, *given: Any
    ) -> Iterator[Outcome[Attachment]]:
        """Attach volumes as ``given`` says, what attach_volume takes after the volume's id."""
        return each(
            ((key, [("attach", partial(self._attach, key, *given))]) for key in volume_ids), jobs
        )

    def detach(self, host: str | None, force: bool, jobs: int) -> Iterator[Outcome[Volume]]:
        """Detach all that a host has."""
        found = self._records.attachments_of(host)
        return each(((a.volume_id, [self._off(a, force)]) for a in found), jobs)

    def move(
        self, host: str | None, connector: Any, to: str | None, force: bool, jobs: int
    ) -> Iterator[Outcome[Attachment]]:
        """Detach all that a host has, and attach each at once to another one, as it was."""
        found = self._records.attachments_of(host)
        work = ((a.volume_id, [self._off(a, force), self._on(a, connector, to)]) for a in found)
        return each(work, jobs)

    def _off(self, found: Attachment, force: bool) -> Step:
        return "detach", partial(self._detach, found.volume_id, found.id, force)

    def _on(self, found: Attachment, connector: Any, to: str | None) -> Step:
        mode = found.attach_mode or "rw"
        given = (connector, found.instance_uuid, to, found.mountpoint, mode)
        return "attach", partial(self._attach, found.volume_id, *given)


def each(work: Iterable[tuple[str, Sequence[Step]]], jobs: int) -> Iterator[Outcome[T]]:
    """Take the steps of each volume one after another; tell of each volume once it has ended.

    Whoever stops listening stops the rest: what has begun then ends, and nothing else begins.

    :param work: volumes, and what is to be done with each.
    :param jobs: how many volumes at a time.
    """
    left = iter(work)
    with ThreadPoolExecutor(jobs, thread_name_prefix="volflow-mass") as pool:

        def begin(count: int) -> set[Future[Outcome[T]]]:
            return {pool.submit(_one, key, steps) for key, steps in itertools.islice(left, count)}

        going = begin(jobs)
        while going:
            done, going = wait(going, return_when=FIRST_COMPLETED)
            going |= begin(len(done))
            for future in done:
                yield future.result()


def _one(volume_id: str, steps: Sequence[Step]) -> Outcome[T]:
    result = None
    for name, step in steps:
        try:
            result = step()
        except VolflowError as e:
            return Outcome(volume_id, None, e, name)
    return Outcome(volume_id, result)
