"""A TaskFlow board as our port: connected when it is needed, and again when it was lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from taskflow.exceptions import JobFailure, NotFound, TaskFlowException, UnclaimableJob

from volflow.backoff import jitter
from volflow.clock import Clock
from volflow.exceptions import BoardError, VolflowError
from volflow.jobs.port import Kind, Ticket

LOG = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 5.0
TEXT_LENGTH = 200


class Boarded:
    """One board; threads share it.

    :param name: its URL without secrets.
    :param make: makes the TaskFlow board, without connecting it.
    :param needs_posting: False where an operation's row is its job.
    """

    def __init__(
        self, name: str, make: Callable[[], Kind], clock: Clock, needs_posting: bool = True
    ) -> None:
        self.name = name
        self.needs_posting = needs_posting
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._kind: Kind | None = None
        self._watchers: list[tuple[Callable[[], None], Callable[[], bool]]] = []
        self._doubted = False
        self._failures = 0
        self._retry_at = 0.0
        self._reason = ""
        self._closed = False

    @property
    def wakes(self) -> bool:
        """True while the board tells of new jobs."""
        kind = self._kind
        return kind is not None and kind.connected and kind.wakes

    def post(self, operation_id: str) -> None:
        with self._using() as kind:
            kind.post(operation_id)

    def listed(self) -> list[Ticket]:
        with self._using() as kind:
            return [Ticket(job.name, job, self) for job in kind.listed()]

    def tickets(self, operation_ids: Collection[str]) -> dict[str, Ticket]:
        wanted = set(operation_ids)
        with self._using() as kind:
            found = kind.known(operation_ids)
        return {job.name: Ticket(job.name, job, self) for job in found if job.name in wanted}

    def claim(self, ticket: Ticket, who: str, seconds: float) -> bool:
        with self._using() as kind:
            try:
                kind.take(ticket.job, who, seconds)
                return True
            except NotFound:
                return False
            except UnclaimableJob:
                pass
        # It may be ours already: its job could not be consumed while the board was away.
        return self.renew(ticket, who, seconds)

    def renew(self, ticket: Ticket, who: str, seconds: float) -> bool:
        with self._using() as kind:
            try:
                return kind.keep(ticket.job, who, seconds)
            except NotFound:
                return False

    def consume(self, ticket: Ticket, who: str) -> bool:
        with self._using() as kind:
            return _owned(lambda: kind.consume(ticket.job, who))

    def abandon(self, ticket: Ticket, who: str) -> bool:
        with self._using() as kind:
            return _owned(lambda: kind.abandon(ticket.job, who))

    def watch(self, wake: Callable[[], None], waits: Callable[[], bool]) -> None:
        with self._lock:
            self._watchers.append((wake, waits))
            if self._kind is not None:
                self._kind.watch(wake, waits)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            kind, self._kind = self._kind, None
        self._leave(kind)

    def _leave(self, kind: Kind | None) -> None:
        if kind is not None:
            try:
                kind.leave()
            except Exception as e:  # noqa: BLE001 - it is left anyway
                LOG.debug("%s could not be left in order: %s", self.name, e)

    @contextmanager
    def _using(self) -> Iterator[Kind]:
        """The board, connected; what it raises becomes one sentence.

        :raises BoardError: it cannot be reached, or refuses.
        """
        kind = self._connected()
        try:
            yield kind
        except VolflowError:
            raise
        except Exception as e:
            self._doubted = True  # it is asked whether it is there, before it is used again
            raise BoardError(f"the job board {self.name} failed: {reason(e)}") from e

    def _connected(self) -> Kind:
        with self._lock:
            if self._closed:
                raise BoardError(f"the job board {self.name} was closed")
            kind = self._kind
            if kind is not None and kind.connected and not self._doubted:
                return kind
            if self._clock.monotonic() < self._retry_at:
                # Not every caller is to wait for a server that is away.
                raise BoardError(f"the job board {self.name} cannot be reached: {self._reason}")
            return self._connect(kind)

    def _connect(self, known: Kind | None) -> Kind:
        kind = known
        try:
            kind = kind or self._make()
            kind.connect()
        except Exception as e:
            if known is None:
                self._leave(kind)
            self._reason = reason(e)
            pause = min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2**self._failures)
            self._failures = min(self._failures + 1, 8)
            self._retry_at = self._clock.monotonic() + pause / 2 + jitter(pause / 2)
            raise BoardError(f"the job board {self.name} cannot be reached: {self._reason}") from e
        self._failures, self._doubted = 0, False
        if self._kind is None:
            self._kind = kind
            for wake, waits in self._watchers:
                kind.watch(wake, waits)
        for wake, _ in self._watchers:
            wake()
        return kind


def _owned(act: Callable[[], None]) -> bool:
    """Do what only the owner of a claim may; False where one is not."""
    try:
        act()
    except NotFound:
        return False
    except JobFailure as e:
        if e.cause is None:  # refused, and not failed
            return False
        raise
    return True


def reason(error: BaseException) -> str:
    """What is at the bottom of an error, in one line.

    TaskFlow says ``Failed to connect to redis``; what helps is below it:
    ``Error 111 connecting to 127.0.0.1:6379. Connection refused.``
    """
    found = str(error)
    link: BaseException | None = error
    passed: set[int] = set()
    while link is not None and id(link) not in passed:
        passed.add(id(link))
        found = str(link) or found or type(link).__name__
        below = link.cause if isinstance(link, TaskFlowException) else None
        link = below or link.__cause__ or link.__context__
    line = " ".join(found.split()) or type(error).__name__
    return line if len(line) <= TEXT_LENGTH else line[: TEXT_LENGTH - 3] + "..."
