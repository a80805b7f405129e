"""The board that needs no server but the database: the rows of queued operations are the jobs.

A job is posted by the transaction that queues its operation, and consumed by the one that settles
it. A claim is two columns of the row, taken with SKIP LOCKED where the database has that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Any, NoReturn

from taskflow import states
from taskflow.exceptions import JobFailure, NotFound, UnclaimableJob
from taskflow.jobs.base import Job, JobBoard, JobPriority, check_who

from volflow.clock import SYSTEM_CLOCK
from volflow.persistence import operations, queue
from volflow.persistence.engine import Database
from volflow.persistence.signals import Signal

CLAIM_SECONDS = 60.0
POLL_SECONDS = 0.02
POLL_SECONDS_MAX = 0.5


class SqlJob(Job):
    """An operation that is queued, or was; its id is the job's name and its UUID."""

    board: SqlJobBoard

    def __init__(self, board: SqlJobBoard, operation_id: str) -> None:
        super().__init__(board, operation_id, uuid=operation_id)

    @property
    def state(self) -> str:
        """UNCLAIMED or CLAIMED while it is queued; then COMPLETE."""
        found = self.board.row(self.name)
        if found is None:
            return str(states.COMPLETE)
        return str(states.CLAIMED if found.claimed else states.UNCLAIMED)

    @property
    def priority(self) -> JobPriority:
        """In TaskFlow's words; the operation's is a number."""
        found = self.board.row(self.name)
        number = found.priority if found else 0
        if number == 0:
            return JobPriority.NORMAL
        return JobPriority.HIGH if number > 0 else JobPriority.LOW

    @property
    def created_on(self) -> datetime | None:
        """When the operation was submitted."""
        return self.board.created(self.name)

    @property
    def last_modified(self) -> datetime | None:
        """The same: a job does not change."""
        return self.created_on


class SqlJobBoard(JobBoard):
    """TaskFlow's job board over the table of operations.

    :param conf: ``database``: the database's URL, where none is handed over.
    """

    def __init__(
        self,
        name: str,
        conf: Mapping[str, Any],
        persistence: Any = None,
        database: Database | None = None,
    ) -> None:
        super().__init__(name, conf)
        self._own = database is None
        self._database = database or Database(conf["database"])
        self._watches = ExitStack()

    # What TaskFlow's interface lacks

    @property
    def wakes(self) -> bool:
        """True while other processes' signals are heard."""
        return self._database.signals.far

    def listed(self) -> list[SqlJob]:
        """All jobs, most urgent first."""
        with self._database.read() as connection:
            return [SqlJob(self, found.id) for found in queue.everything(connection)]

    def known(self, operation_ids: Collection[str]) -> list[SqlJob]:
        """The jobs of operations of which one knows that they are queued."""
        return [SqlJob(self, operation_id) for operation_id in operation_ids]

    def take(self, job: Job, who: str, seconds: float) -> None:
        """Claim a job for so long.

        :raises NotFound: another one has it, or has had it and runs the operation by now: what is
            our own is claimed again, so that there is nothing else to ask.
        """
        try:
            self.claim(job, who, seconds)
        except UnclaimableJob as e:
            raise NotFound(str(e)) from e

    def keep(self, job: Job, who: str, seconds: float) -> bool:
        """Claim a job for longer; one that runs needs no claim, its lease says whose it is."""
        self._database.write(
            lambda c: queue.renew(c, [job.name], who, seconds), landed=lambda c: True
        )
        found = self.row(job.name)
        return found is None or (found.claimed and found.claimed_by == who)

    def watch(self, wake: Callable[[], None], waits: Callable[[], bool]) -> None:
        """Call ``wake`` when an operation was queued."""

        def heard(signal: Signal) -> None:
            if signal.what in ("queued", "anything"):
                wake()

        self._watches.enter_context(self._database.signals.heard_by(heard))

    def row(self, operation_id: str) -> queue.Queued | None:
        """The operation, while it is queued."""
        with self._database.read() as connection:
            return queue.find(connection, operation_id)

    def created(self, operation_id: str) -> datetime | None:
        """When the operation was submitted."""
        with self._database.read() as connection:
            found = operations.get(connection, operation_id)
        return None if found is None else found.record.created_at

    # TaskFlow's interface

    @property
    def connected(self) -> bool:
        """Connections are made when they are needed."""
        return True

    def connect(self) -> None:
        """There is nothing to connect."""

    def leave(self) -> None:
        """End what :meth:`watch` began."""
        self._watches.close()
        self.close()

    def close(self) -> None:
        """Close the database, where it is one's own."""
        if self._own:
            self._database.close()

    def iterjobs(
        self, only_unclaimed: bool = False, ensure_fresh: bool = False
    ) -> Iterator[SqlJob]:
        """Jobs, most urgent first."""
        with self._database.read() as connection:
            found = queue.everything(connection)
        return iter([SqlJob(self, o.id) for o in found if not (only_unclaimed and o.claimed)])

    def wait(self, timeout: float | None = None) -> Iterator[SqlJob]:
        """Wait until there are jobs.

        :raises NotFound: none came in time.
        """
        clock, pause = SYSTEM_CLOCK, POLL_SECONDS
        until = None if timeout is None else clock.monotonic() + timeout
        with self._database.signals.waiting(lambda signal: signal.what == "queued") as wait:
            while not self.job_count:
                left = pause if until is None else min(pause, until - clock.monotonic())
                if left <= 0:
                    raise NotFound(f"no job came within {timeout} seconds")
                wait(left)
                pause = min(2 * pause, POLL_SECONDS_MAX)
        return self.iterjobs()

    @property
    def job_count(self) -> int:
        """How many operations are queued."""
        with self._database.read() as connection:
            return len(queue.everything(connection))

    def find_owner(self, job: Job) -> str | None:
        """Who has claimed it; None: nobody, or it is not queued any more."""
        found = self.row(job.name)
        return found.claimed_by if found and found.claimed else None

    def post(
        self,
        name: str,
        book: Any = None,
        details: Any = None,
        priority: JobPriority = JobPriority.NORMAL,
    ) -> SqlJob:
        """The job of an operation: queueing the operation has posted it.

        :param name: the operation's id.
        :raises JobFailure: it is not queued.
        """
        if self.row(name) is None:
            raise JobFailure(f"operation {name} is not queued: a job is posted with its operation")
        return SqlJob(self, name)

    @check_who
    def claim(self, job: Job, who: str, expiry: float | None = None) -> None:
        """Claim a job.

        :param expiry: for how many seconds.
        :raises UnclaimableJob: another one has it.
        :raises NotFound: it is not queued any more.
        """
        seconds = expiry or CLAIM_SECONDS
        if not self._database.write(
            lambda c: queue.claim(c, job.name, who, seconds),
            landed=lambda c: False,  # claiming again what is ours changes nothing
        ):
            owner = self.find_owner(job)
            if owner is None and self.row(job.name) is None:
                raise NotFound(f"operation {job.name} is not queued any more")
            raise UnclaimableJob(f"operation {job.name} is claimed by {owner or 'another one'}")

    @check_who
    def consume(self, job: Job, who: str) -> None:
        """Acknowledge a job: settling its operation has removed it.

        :raises JobFailure: the operation is not settled.
        """
        with self._database.read() as connection:
            if not queue.settled(connection, [job.name]):
                raise JobFailure(f"operation {job.name} is not settled: its job stays")

    @check_who
    def abandon(self, job: Job, who: str) -> None:
        """Let others claim a job.

        :raises NotFound: ``who`` has not claimed it, or it is not queued any more.
        """
        if not self._database.write(
            lambda c: queue.abandon(c, job.name, who), landed=lambda c: True
        ):
            raise NotFound(f"{who} has not claimed operation {job.name}")

    @check_who
    def trash(self, job: Job, who: str) -> NoReturn:
        """Refuse: an operation that was accepted is not thrown away.

        :raises JobFailure: always.
        """
        raise JobFailure(f"operation {job.name} was accepted: its job is not thrown away")

    def register_entity(self, entity: Any) -> None:
        """Conductors have a table of their own."""
