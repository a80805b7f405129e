"""The jobs of a manager: its board, what is submitted to it, and its conductors."""

from __future__ import annotations

from collections.abc import Sequence
from socket import gethostname
from typing import Any

from volflow import arguments as check
from volflow.calls import Calls
from volflow.exceptions import InvalidInput
from volflow.jobs.boards import board_of, sql_board
from volflow.jobs.conductor import Conductor
from volflow.jobs.outbox import Outbox
from volflow.joining import Joiner
from volflow.persistence.engine import Database
from volflow.persistence.records import Records
from volflow.queueing import Queue
from volflow.runner import Runner


class Jobs:
    """What a manager with a board has more than one without.

    :param url: the board's.
    :ivar outbox: posts jobs.
    :ivar queue: where operations are submitted; there once :meth:`open` was called.
    """

    queue: Queue

    def __init__(self, url: str, database: Database) -> None:
        """:raises InvalidInput: there is no such board."""
        self._board = board_of(url, database)
        self._fallback = sql_board(database)
        self._conductors: list[Conductor] = []
        self.outbox = Outbox(database, self._board)

    def open(self, runner: Runner, records: Records, joiner: Joiner, calls: Calls) -> None:
        """Take what operations are submitted and run with."""
        self._runner = runner
        self._joiner = joiner
        self.queue = Queue(runner, records, joiner, calls, self.outbox)

    def conductor(self, name: Any, backends: Sequence[str] | None, workers: Any) -> Conductor:
        """Make a conductor for backends of this process.

        :raises InvalidInput: an argument is wrong.
        :raises BackendNotFound: this process has no driver of a backend.
        """
        runner = self._runner
        served = tuple(runner.runs.backends if backends is None else dict.fromkeys(backends))
        if not served:
            raise InvalidInput("a conductor needs a backend to serve")
        for backend in served:
            runner.driver(backend)
        made = Conductor(
            check.text("name", name) or gethostname(),
            served,
            check.count("workers", workers),
            self.queue,
            self._joiner,
            self._board,
            self._fallback,
            runner.leases,
            runner.limits.lease,
        )
        self._conductors.append(made)
        return made

    def stop(self) -> None:
        """Let the conductors begin nothing any more."""
        for conductor in self._conductors:
            conductor.stop()

    def close(self, seconds: float) -> None:
        """Leave the board once the conductors have stopped, or after so many seconds."""
        for conductor in self._conductors:
            conductor.wait(seconds)
        self._board.close()
        self._fallback.close()
