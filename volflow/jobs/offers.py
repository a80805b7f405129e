"""The board as one conductor sees it: what it may run now, most urgent first.

Whatever order a board has, ours is by priority, then by age, and both stand in the database. A
board that cannot be reached wakes nobody and claims nothing; the rows of the operations then do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

from taskflow.exceptions import UnclaimableJob
from taskflow.jobs.base import JobBoard, JobPriority

from volflow.backoff import backoff
from volflow.clock import Clock
from volflow.exceptions import BoardError, DatabaseError
from volflow.jobs.port import Board, Ticket
from volflow.persistence import queue
from volflow.persistence.engine import Database

LOG = logging.getLogger(__name__)

SPARE = 64
"""How many operations more are looked at than there is room for: others may have claimed some."""


class Later:
    """Operations that are left alone for a while, since they could not be run a moment ago."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def __contains__(self, operation_id: str) -> bool:
        return self._until.get(operation_id, 0.0) > self._clock.monotonic()

    def put_off(self, operation_id: str, seconds: float) -> None:
        """Leave it alone for so long."""
        now = self._clock.monotonic()
        self._until = {k: until for k, until in self._until.items() if until > now}
        self._until[operation_id] = now + seconds

    def failed(self, operation_id: str) -> None:
        """Leave it alone, longer with each time."""
        count = self._failures[operation_id] = self._failures.get(operation_id, -1) + 1
        self.put_off(operation_id, backoff(count))

    def forget(self, operation_id: str) -> None:
        """It was run."""
        self._until.pop(operation_id, None)
        self._failures.pop(operation_id, None)

    def next(self) -> float:
        """Seconds until the first of them is due; infinite where there is none."""
        left = [until - self._clock.monotonic() for until in list(self._until.values())]
        return min((seconds for seconds in left if seconds > 0), default=float("inf"))


class Offers(JobBoard):
    """TaskFlow's interface, as its conductor uses it, to our port.

    :param fallback: the board of the database, for while the other one is away.
    :param room: how many operations more may be begun now.
    :ivar held: the jobs that are claimed, by operation.
    :ivar held_back: there may be more to do as soon as another operation ends.
    :ivar alone: no other conductor serves the same backends: the first commit of a run is claim
        enough, and nobody has to wait until its job is on the board.
    """

    def __init__(
        self,
        board: Board,
        fallback: Board,
        database: Database,
        backends: tuple[str, ...],
        claim_seconds: float,
        room: Callable[[], int],
    ) -> None:
        super().__init__(board.name, {})
        self._board = board
        self._fallback = fallback
        self._database = database
        self._backends = backends
        self._claim_seconds = claim_seconds
        self._room = room
        self._away = False
        self._guard = threading.Lock()
        self._claimed: set[str] = set()
        self._dead: dict[str, float] = {}
        self.held: dict[str, Ticket] = {}
        self.held_back = False
        self.alone = False
        self.later = Later(database.clock)

    def iterjobs(self, only_unclaimed: bool = False, ensure_fresh: bool = False) -> Iterator[Any]:
        """Jobs that may be claimed now, most urgent first; nothing where one cannot tell."""
        room = self._room()
        if room <= 0:
            return
        try:
            wanted = self._wanted(room + len(self.held) + SPARE)
            tickets = self._tickets(wanted)
        except (BoardError, DatabaseError) as e:
            LOG.warning("nothing can be begun now: %s", e)
            return
        yield from (tickets[found] for found in wanted if found in tickets)

    def claim(self, job: Any, who: str) -> None:
        """Claim a job.

        :raises UnclaimableJob: another conductor has it, or nobody can tell.
        """
        written = not self.alone
        if written:
            try:
                mine = job.board.claim(job, who, self._claim_seconds) or self._inherits(job, who)
            except (BoardError, DatabaseError) as e:
                LOG.warning("operation %s is not claimed: %s", job.operation_id, e)
                mine = False
            if not mine:
                self.later.put_off(job.operation_id, 0.2)
                raise UnclaimableJob(f"the job of operation {job.operation_id} is another one's")
        with self._guard:
            self.held[job.operation_id] = job
            if written:
                self._claimed.add(job.operation_id)

    def bury(self, dead: Collection[str]) -> None:
        """Learn who has died: nobody else would give their claims back before these end.

        :raises DatabaseError: it cannot be written that their claims have ended.
        """
        now = self._database.clock.monotonic()
        known = {name: until for name, until in self._dead.items() if until > now}
        if new := [name for name in dead if name not in known]:
            self._database.write(lambda c: queue.give_back(c, new), landed=lambda c: True)
        self._dead = known | dict.fromkeys(new, now + self._claim_seconds)

    def _inherits(self, job: Any, who: str) -> bool:
        """Claim a job that a conductor had claimed which died."""
        gone = any(job.board.abandon(job, name) for name in self._dead)
        return gone and bool(job.board.claim(job, who, self._claim_seconds))

    def renew(self, who: str) -> list[str]:
        """Hold all claims for longer; return the operations whose claim was lost."""
        with self._guard:
            held = [self.held[key] for key in self._claimed]
        lost = [t for t in held if not t.board.renew(t, who, self._claim_seconds)]
        with self._guard:
            self._claimed.difference_update(ticket.operation_id for ticket in lost)
        return [ticket.operation_id for ticket in lost]

    def consume(self, job: Any, who: str) -> None:
        """Remove the job of an operation that is settled; at worst :meth:`sweep` does it later."""
        if not self._end(job, job.board.consume, who) and self._board.needs_posting:
            with suppress(BoardError):
                self._remove(self._board.tickets([job.operation_id]).values(), who)

    def abandon(self, job: Any, who: str) -> None:
        """Let others claim a job; at worst its claim ends by itself."""
        self._end(job, job.board.abandon, who)

    def sweep(self, who: str) -> None:
        """Consume the jobs of operations that were settled without them, or have two."""
        if not self._board.needs_posting:
            return
        try:
            tickets = self._board.listed()
            with self._database.read() as connection:
                settled = queue.settled(connection, {t.operation_id for t in tickets})
            done = [t for t in tickets if t.operation_id in settled]
            self._remove([t for t in done if t.operation_id not in self.held], who)
        except BoardError as e:
            self._miss(e)
        else:
            self._found_again()

    def _remove(self, tickets: Iterable[Ticket], who: str) -> None:
        for ticket in tickets:
            if self._board.claim(ticket, who, self._claim_seconds):
                self._board.consume(ticket, who)

    def _wanted(self, limit: int) -> list[str]:
        with self._database.read() as connection:
            ids, self.held_back = queue.offered(connection, self._backends, limit)
        return [found for found in ids if found not in self.held and found not in self.later]

    def _tickets(self, wanted: list[str]) -> dict[str, Ticket]:
        if self.alone:
            return self._fallback.tickets(wanted)
        try:
            found = self._board.tickets(wanted)
        except BoardError as e:
            self._miss(e)
            return self._fallback.tickets(wanted)
        self._found_again()
        return found

    def _miss(self, error: BoardError) -> None:
        if not self._away:
            LOG.warning("%s; operations are taken from the database meanwhile", error)
        self._away = True

    def _found_again(self) -> None:
        if self._away:
            LOG.info("the job board %s is there again", self._board.name)
        self._away = False

    def _end(self, job: Ticket, act: Callable[[Ticket, str], bool], who: str) -> bool:
        """End a claim; False where there was none."""
        with self._guard:
            claimed = job.operation_id in self._claimed
        try:
            if claimed:
                act(job, who)
        except (BoardError, DatabaseError) as e:
            LOG.warning("the job of operation %s stays for now: %s", job.operation_id, e)
        finally:
            with self._guard:
                self._claimed.discard(job.operation_id)
                self.held.pop(job.operation_id, None)
        return claimed

    # What TaskFlow's interface has, and its conductor does not use

    def post(
        self,
        name: str,
        book: Any = None,
        details: Any = None,
        priority: JobPriority = JobPriority.NORMAL,
    ) -> NoReturn:
        """Submitting is the manager's."""
        raise NotImplementedError("operations are submitted by a manager")

    def trash(self, job: Any, who: str) -> None:
        """Nothing that was accepted is thrown away."""
        self.abandon(job, who)

    def wait(self, timeout: float | None = None) -> Iterator[Any]:
        """The conductor waits in a way of its own."""
        return self.iterjobs()

    @property
    def job_count(self) -> int:
        """How many jobs the board has."""
        return len(self._board.listed())

    def find_owner(self, job: Any) -> str | None:
        """Nobody asks."""
        return None

    def register_entity(self, entity: Any) -> None:
        """Conductors have a table of their own."""

    @property
    def connected(self) -> bool:
        """The board is connected when it is needed."""
        return True

    def connect(self) -> None:
        """The board is connected when it is needed."""

    def close(self) -> None:
        """The board is the manager's."""
