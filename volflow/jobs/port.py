"""The port to job boards: what volflow wants of any of them.

A board makes queued operations known and keeps conductors from running for the same one. It is
trusted with nothing else: a job names its operation, and whether that is to be run, how urgent it
is and who runs it stands in our own database. A job may be lost, be there twice, or be claimed by
two: nothing is done twice for it, and what is lost is posted again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

from taskflow.jobs.base import Job


class Ticket(NamedTuple):
    """The job of an operation, on the board where it was found."""

    operation_id: str
    job: Job
    board: Board


class Board(Protocol):
    """Where operations are made known.

    Every method may raise BoardError: the board cannot be reached or used now.

    :ivar name: its URL without secrets, for messages.
    :ivar needs_posting: False where an operation's row is its job.
    :ivar wakes: True while :meth:`watch` hears of every job that is posted, by whomever.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs_posting(self) -> bool: ...

    @property
    def wakes(self) -> bool: ...

    def post(self, operation_id: str) -> None:
        """Post the job of an operation; there may be one already."""

    def listed(self) -> list[Ticket]:
        """All jobs, claimed or not, as the board has them at this moment."""

    def tickets(self, operation_ids: Collection[str]) -> dict[str, Ticket]:
        """Jobs of these operations, perhaps as they were a moment ago; not every one has one."""

    def claim(self, ticket: Ticket, who: str, seconds: float) -> bool:
        """Claim a job for so long, also one that is ours; False where it is gone, or another's."""

    def renew(self, ticket: Ticket, who: str, seconds: float) -> bool:
        """Claim it for so long from now on; False where the claim was lost."""

    def consume(self, ticket: Ticket, who: str) -> bool:
        """Remove a claimed job; False where the claim was lost, or the job is gone."""

    def abandon(self, ticket: Ticket, who: str) -> bool:
        """Let others claim it; False where the claim was lost, or the job is gone."""

    def watch(self, wake: Callable[[], None], waits: Callable[[], bool]) -> None:
        """Call ``wake``, in whatever thread, when a job may have come.

        :param waits: False while it need not be soon, since the database tells of it anyhow.
        """

    def close(self) -> None:
        """Leave the board."""


class Kind(Protocol):
    """A TaskFlow board of one kind, with what its interface lacks.

    A claim that is refused raises UnclaimableJob, and what is gone NotFound, as in TaskFlow.
    """

    @property
    def connected(self) -> bool: ...

    @property
    def wakes(self) -> bool: ...

    def connect(self) -> None:
        """Connect, or see whether it still answers; again after a failure."""

    def leave(self) -> None:
        """Close what was opened, for good."""

    def post(self, name: str) -> Any: ...

    def listed(self) -> list[Any]:
        """All jobs as the server has them now."""

    def known(self, operation_ids: Collection[str]) -> list[Any]:
        """The jobs of these operations, and perhaps others, perhaps as they were a moment ago."""

    def take(self, job: Any, who: str, seconds: float) -> None:
        """Claim a job for so long."""

    def keep(self, job: Any, who: str, seconds: float) -> bool:
        """Claim it for so long from now on; False where the claim was lost."""

    def consume(self, job: Any, who: str) -> None: ...

    def abandon(self, job: Any, who: str) -> None: ...

    def watch(self, wake: Callable[[], None], waits: Callable[[], bool]) -> None:
        """Call ``wake``, in whatever thread, when a job may have come, and soon where it waits."""
