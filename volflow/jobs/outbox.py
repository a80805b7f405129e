"""The outbox: a job is posted after its operation's commit, and again where the board lost it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from volflow.exceptions import BoardError
from volflow.jobs.port import Board
from volflow.persistence import queue
from volflow.persistence.engine import Database
from volflow.persistence.operations import StoredOperation

LOG = logging.getLogger(__name__)

GRACE = timedelta(seconds=5)
"""How long a job may be on its way to the board before it is taken for lost."""


class Outbox:
    """Posts the jobs of queued operations."""

    def __init__(self, database: Database, board: Board) -> None:
        self._database = database
        self._board = board

    def post(self, operation_id: str) -> None:
        """Post the job of an operation that was just written.

        A board that cannot be reached is no failure of the call: the operation is durable, and
        recovery posts its job later.
        """
        if self._board.needs_posting:
            try:
                self._board.post(operation_id)
            except BoardError as e:
                LOG.warning("operation %s is queued, and posted later: %s", operation_id, e)

    def repost(self, queued: Sequence[StoredOperation], at_once: bool) -> list[str]:
        """Post the jobs again that the board does not have.

        :param at_once: also those that may be on their way.
        :returns: the ids of their operations.
        :raises BoardError: the board cannot be reached.
        """
        due = [s for s in queued if at_once or s.posted_at is None or s.posted_at + GRACE <= s.now]
        if not due or not self._board.needs_posting:
            return []
        there = {ticket.operation_id for ticket in self._board.listed()}
        posted = []
        for stored in due:
            if stored.id not in there and self._takes_it_on(stored):
                self._board.post(stored.id)
                posted.append(stored.id)
        return posted

    def _takes_it_on(self, stored: StoredOperation) -> bool:
        return self._database.write(
            lambda c: queue.repost(c, stored.id, stored.posted_at),
            landed=lambda c: True,  # at worst it is posted twice, or a little later
        )
