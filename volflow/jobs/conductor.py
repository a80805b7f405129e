"""Conductors: they run what is queued for some backends, as TaskFlow's do, with other policies.

TaskFlow's conductor finds jobs, claims them and hands them to workers. What it makes of them is
ours: an operation is run by its own flow, under its own lease; a job is consumed when, and only
when, its operation is settled; nothing is ever thrown away.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.engine import Connection
from taskflow.conductors.backends.impl_executor import ExecutorConductor
from taskflow.exceptions import UnclaimableJob
from taskflow.types.timing import Timeout

from volflow.exceptions import VolflowError
from volflow.jobs.offers import Offers
from volflow.jobs.port import Board, Ticket
from volflow.joining import Joiner
from volflow.leases import Leases
from volflow.models import Conductor as Living
from volflow.persistence import conductors
from volflow.persistence.queue import Full
from volflow.persistence.signals import Signal
from volflow.persistence.work import Suspended, new_id
from volflow.queueing import Queue

LOG = logging.getLogger(__name__)

PAUSE_SECONDS = 0.01
PAUSE_SECONDS_POLLING = 0.25
PAUSE_SECONDS_WOKEN = 2.0
"""How long a conductor with nothing to do waits at most before it looks by itself."""

BEAT_SECONDS_MAX = 5.0
ELSEWHERE_SECONDS = 1.0
REMEMBERED = timedelta(days=1)
"""How long a conductor that died without a word is listed."""


class Wakeup(Timeout):
    """How the dispatching loop waits: until it is woken, or for a while that grows.

    :param longest: how long at most, asked each time.
    """

    def __init__(self, longest: Callable[[], float]) -> None:
        super().__init__(0)
        self._longest = longest
        self._woken = threading.Event()
        self._pause = PAUSE_SECONDS

    def wake(self) -> None:
        """Let the loop look whether there is something to do."""
        self._woken.set()

    def interrupt(self) -> None:
        """End the loop."""
        super().interrupt()
        self._woken.set()

    def wait(self) -> None:
        """Wait."""
        if self._woken.wait(min(self._pause, self._longest())):
            self._pause = PAUSE_SECONDS
        else:
            self._pause = min(2 * self._pause, PAUSE_SECONDS_WOKEN)
        self._woken.clear()


class Conductor(ExecutorConductor):
    """Runs queued operations of some backends until it is stopped.

    :param name: what operators call it; need not be unique.
    :param backends: the backends it serves; this process has their drivers.
    :param workers: how many operations it runs at a time.
    :ivar error: what ended it, where :meth:`start` began it and it was not stopped.
    """

    def __init__(
        self,
        name: str,
        backends: Sequence[str],
        workers: int,
        queue: Queue,
        joiner: Joiner,
        board: Board,
        fallback: Board,
        leases: Leases,
        lease_seconds: float,
    ) -> None:
        self.id = new_id()
        self.label = name
        self.backends = tuple(backends)
        self.workers = workers
        self._queue = queue
        self._joiner = joiner
        self._board = board
        self._database = queue.database
        self._leases = leases
        self._lease_seconds = lease_seconds
        self._wakeup = Wakeup(self._longest_pause)
        self._offers = Offers(
            board, fallback, self._database, self.backends, lease_seconds, self._room
        )
        self._begun = False
        self._still = threading.Event()
        self._stirred = threading.Event()
        self._ended = threading.Event()
        self.error: Exception | None = None
        super().__init__(
            _claimant(name, self.id),
            self._offers,
            wait_timeout=self._wakeup,
            max_simultaneous_jobs=workers,
            log=LOG,
        )

    def start(self) -> None:
        """Run in a thread of its own."""
        self._begun = True
        threading.Thread(target=self._run, name="volflow-conductor", daemon=True).start()

    def _run(self) -> None:
        with suppress(Exception):  # who waits for it finds the error
            self.run()

    def run(self, max_dispatches: int | None = None) -> None:
        """Run until it is stopped; a run that goes on then ends at its next barrier."""
        self._begun = True
        try:
            self._register()
            heart = threading.Thread(
                target=self._live, name="volflow-conductor-heart", daemon=True
            )
            heart.start()
            try:
                with self._database.signals.heard_by(self._hear):
                    self._board.watch(self._wakeup.wake, lambda: not self._offers.alone)
                    super().run(max_dispatches)
            finally:
                self._still.set()
                self._stirred.set()
                heart.join()
            self._forget([self.id])
        except Exception as e:
            self.error = e
            raise
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Begin nothing any more; :meth:`wait` tells when what was begun has stopped, too."""
        self._wakeup.interrupt()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has stopped; False where it has not in so many seconds."""
        return not self._begun or self._ended.wait(timeout)

    # For who has a loop of its own

    def turn(self) -> bool:
        """Run the most urgent operation that can be claimed, in the calling thread.

        Who uses it in place of :meth:`run` calls :meth:`tend` every few seconds, too.

        :returns: False where there is none.
        """
        for job in self._offers.iterjobs():
            try:
                self._offers.claim(job, self._name)
            except UnclaimableJob:
                continue
            self._finish(job, partial(self._dispatch_job, job))
            return True
        return False

    def tend(self) -> None:
        """Show life, hold the claims and sweep the board; what fails is tried the next time."""
        for duty in (self._beat, self._renew, self._look_around, self._sweep):
            try:
                duty()
            except VolflowError as e:
                LOG.warning("conductor %s: %s", self.label, e)
            except Exception:
                LOG.exception("conductor %s goes on", self.label)

    # What TaskFlow's conductor asks

    def _executor_factory(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.workers, thread_name_prefix="volflow-worker")

    def _dispatch_job(self, job: Ticket) -> bool:
        """Run the operation; True where its job is done."""
        operation_id, later = job.operation_id, self._offers.later
        try:
            settled = self._queue.run(operation_id, self._wakeup.is_stopped)
        except Suspended:
            LOG.info("operation %s is handed back", operation_id)
            return False
        except Full as e:
            LOG.debug("operation %s waits: %s", operation_id, e)
            return False
        except VolflowError as e:
            LOG.warning("operation %s is not run now: %s", operation_id, e)
            later.failed(operation_id)
            return False
        if settled:
            later.forget(operation_id)
        else:
            later.put_off(operation_id, ELSEWHERE_SECONDS)
        return settled

    def _on_job_done(self, job: Ticket, fut: Future[bool]) -> None:
        self._dispatched.discard(fut)
        self._finish(job, fut.result)
        self._wakeup.wake()

    def _finish(self, job: Ticket, result: Callable[[], bool]) -> None:
        """Consume a job that is done, or hand it back."""
        consume = False
        try:
            consume = result()
        except Exception:
            LOG.exception("operation %s could not be run", job.operation_id)
            self._offers.later.failed(job.operation_id)
        self._try_finish_job(job, consume)

    # What wakes it

    def _room(self) -> int:
        return 0 if self._wakeup.is_stopped() else self.workers - len(self._dispatched)

    def _hear(self, signal: Signal) -> None:
        if signal.what in ("conductor", "anything") and signal.name != self.id:
            self._offers.alone = False  # until a look around says how it is
            self._stirred.set()
        mine = signal.what == "queued" and signal.name in self.backends
        if (
            mine
            or signal.what == "anything"
            or (signal.what == "settled" and self._offers.held_back)
        ):
            self._wakeup.wake()

    def _longest_pause(self) -> float:
        board = self._board
        woken = board.wakes if board.needs_posting else self._database.signals.far
        most = PAUSE_SECONDS_WOKEN if woken else PAUSE_SECONDS_POLLING
        return min(most, max(PAUSE_SECONDS, self._offers.later.next()))

    # How others know that it lives

    @property
    def _row(self) -> conductors.Row:
        return conductors.Row(
            self.id,
            self.label,
            self._leases.owner,
            socket.gethostname(),
            os.getpid(),
            self.backends,
            self.workers,
        )

    def _register(self) -> None:
        here = [Signal("conductor", self.id)]

        def register(connection: Connection) -> None:
            conductors.register(connection, self._row, self._lease_seconds)
            self._database.signals.send(connection, here)

        self._database.write(register, landed=self._is_registered)
        self._database.signals.tell(here)
        self._look_around()

    def _is_registered(self, connection: object) -> bool:
        return any(found.id == self.id for found in self._joiner.conductors())

    def _live(self) -> None:
        pause = min(self._lease_seconds / 3, BEAT_SECONDS_MAX)
        while not self._still.is_set():
            self._stirred.wait(pause)
            self._stirred.clear()
            if not self._still.is_set():
                self.tend()

    def _beat(self) -> None:
        if not self._database.write(
            lambda c: conductors.beat(c, self._row), landed=lambda c: True
        ):
            self._register()

    def _renew(self) -> None:
        for operation_id in self._offers.renew(self._name):
            # Its lease says who runs it: another conductor that claims the job sees that.
            LOG.warning("the claim of operation %s was lost", operation_id)

    def _look_around(self) -> None:
        """See who else serves the same backends, and forget who is long dead."""
        everybody = self._joiner.conductors()
        others, mine = [c for c in everybody if c.id != self.id], set(self.backends)
        self._offers.alone = not any(c.alive and mine.intersection(c.backends) for c in others)
        self._offers.bury([_claimant(c.name, c.id) for c in others if not c.alive])
        now = max((c.seen_at for c in everybody), default=None)
        self._forget([c.id for c in others if not c.alive and self._is_past(c, now)])

    def _is_past(self, dead: Living, now: datetime | None) -> bool:
        """True where nobody asks any more what has become of it."""
        replaced = dead.name == self.label and dead.host == socket.gethostname()
        return replaced or (now is not None and now - dead.seen_at > REMEMBERED)

    def _sweep(self) -> None:
        self._offers.sweep(self._name)

    def _forget(self, ids: list[str]) -> None:
        if not ids:
            return
        try:
            self._database.write(lambda c: conductors.forget(c, ids), landed=lambda c: True)
        except VolflowError as e:
            LOG.warning("conductor %s is not taken off the list: %s", self.label, e)


def _claimant(name: str, conductor_id: str) -> str:
    """The name under which a conductor claims jobs."""
    return f"{name}:{conductor_id}"
