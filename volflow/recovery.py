"""Recovery: brings every operation on that nobody runs any more, and names what it cannot.

One code path, for the start of a process, the timer and an explicit call. Nobody is elected:
each operation is claimed by a conditional update that raises its epoch before anything about it
is read, so that several processes do each piece of work once.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta

from oslo_context.context import RequestContext

from volflow.backoff import RETRY_SECONDS_MAX
from volflow.comparison import Comparison
from volflow.entitlement import sessions_of
from volflow.exceptions import Fenced, InvalidVolume, VolflowError
from volflow.flows.phases import UNDOS
from volflow.jobs.outbox import Outbox
from volflow.joining import Joiner
from volflow.models import OperationKind, OperationState, RecoveryReport
from volflow.persistence.operations import StoredOperation
from volflow.persistence.records import Records
from volflow.persistence.signals import Signal
from volflow.persistence.snapshots import Snapshot
from volflow.persistence.work import Cancelled, Stale
from volflow.rounds import Rounds
from volflow.runner import AlreadyRunning, Runner, cancelled
from volflow.tasks.run import Run

LOG = logging.getLogger(__name__)

SLEEP_SECONDS_MAX = 5.0
BOARD = ""
"""Where jobs are posted; no backend's name is empty."""


class Recovery:
    """Finds operations that are due and brings them on."""

    def __init__(
        self,
        runner: Runner,
        records: Records,
        joiner: Joiner,
        comparison: Comparison,
        outbox: Outbox | None,
        comparison_seconds: float,
    ) -> None:
        self._runner = runner
        self._records = records
        self._joiner = joiner
        self._comparison = comparison
        self._outbox = outbox
        self._comparison_seconds = comparison_seconds
        self._next_comparison = -math.inf
        self._awaited: tuple[float, frozenset[str]] | None = None
        limits = runner.limits
        self._longest_sleep = min(
            limits.lease, limits.deadline or SLEEP_SECONDS_MAX, SLEEP_SECONDS_MAX
        )
        self._rounds = Rounds(
            runner.clock, self._round, self._longest_sleep, (*runner.runs.backends, BOARD)
        )
        self._heard = ExitStack()

    def run(self, all_due: bool = False) -> RecoveryReport:
        """Bring on what is due, one after the other, in the calling thread.

        :param all_due: do not wait for the backoff of what was refused before.
        """
        found: dict[str, list[str]] = defaultdict(list)
        unsettled, unreadable = self._records.unsettled()
        for stored in unsettled:
            outcome = self._try(stored, all_due)
            if outcome is not None:
                found[outcome].append(stored.id)
        found["reposted"] += self._repost(unsettled, all_due)
        for backend in self._runner.runs.backends:
            for outcome, operation_id in self._compare(backend, whole=True, eager=True):
                found[outcome].append(operation_id)
        found["needs_attention"] += [*unreadable, *self._runner.leases.overdue()]
        return RecoveryReport(**{name: tuple(ids) for name, ids in found.items()})

    def retry(self, operation_id: str) -> None:
        """Bring one operation on that is due, without waiting for its backoff.

        :raises OperationNotFound: there is none.
        :raises BackendNotFound: this process has no driver of its backend.
        """
        stored = self._records.operation(operation_id)
        self._runner.driver(stored.record.backend)
        self._try(stored, all_due=True)

    def start(self) -> None:
        """Go on in a thread that sleeps until the next thing is due.

        Returns after the first round, or when that takes long: a driver that hangs keeps nobody
        from opening.
        """
        if self._outbox is not None:
            self._heard.enter_context(self._runner.database.signals.heard_by(self._hear))
        self._rounds.start()

    def stop(self) -> None:
        """Begin nothing any more in the thread."""
        self._heard.close()
        self._rounds.stop()

    def close(self) -> None:
        """End the thread; the operations that are being brought on end first."""
        self.stop()
        self._rounds.close()

    def _hear(self, signal: Signal) -> None:
        if signal.what == "released":
            self._rounds.wake()

    def _try(self, stored: StoredOperation, all_due: bool) -> str | None:
        if not self._runner.serves(stored.record.backend):
            return None
        try:
            return self._one(stored, all_due)
        except (Stale, AlreadyRunning, Fenced, Cancelled):
            return None  # somebody else has it now
        except VolflowError as e:
            LOG.warning("operation %s cannot be brought on now: %s", stored.id, e)
        except Exception:
            LOG.exception("operation %s cannot be brought on", stored.id)
        return "needs_attention"

    def _compare(self, backend: str, whole: bool, eager: bool = False) -> list[tuple[str, str]]:
        """Repair what differs between a backend and the database."""
        done: list[tuple[str, str]] = []
        try:
            done.extend(self._comparison.recover(backend, whole, eager))
        except VolflowError as e:
            LOG.warning("backend %s cannot be compared now: %s", backend, e)
        except Exception:
            LOG.exception("backend %s cannot be compared", backend)
        return done

    def _repost(self, unsettled: Iterable[StoredOperation], all_due: bool) -> list[str]:
        """Post the jobs that the board has lost, or never had."""
        queued = [s for s in unsettled if s.record.state is OperationState.QUEUED]
        if self._outbox is None or not queued:
            return []
        try:
            return self._outbox.repost(queued, at_once=all_due)
        except VolflowError as e:
            LOG.warning("jobs cannot be posted now: %s", e)
        return []

    def _one(self, stored: StoredOperation, all_due: bool) -> str | None:
        state = stored.record.state
        if stored.running:
            run = self._runner.resume(stored) if self._joiner.is_dead(stored) else None
            return None if run is None else _outcome(run, "resumed")
        if state is OperationState.WAITING:
            due = stored.cancel_requested or _past(stored.record.deadline, stored.now)
            return self._waiting(stored) if due else None
        if state is OperationState.QUEUED:
            return self._waiting(stored) if stored.cancel_requested else None
        if state is OperationState.NEEDS_ATTENTION:
            if not all_due and not _is_due(stored):
                return "needs_attention"
            run = self._runner.resume(stored)
            return None if run is None else _outcome(run, "cleaned")
        return None

    def _waiting(self, stored: StoredOperation) -> str | None:
        """Undo an operation whose caller did not come back, unless it is in use (G4)."""
        snapshot = self._records.snapshot(stored.record.volume_id, stored.id)
        now = snapshot.operation
        if now is None or now.revision != stored.revision:
            return None  # its caller came back
        if stored.cancel_requested:
            name, reason = "cancel_operation", cancelled(stored)
        else:
            reason = InvalidVolume(f"operation {stored.id} passed its caller's deadline")
            name = "expire"
            if self._in_use(snapshot):
                return "needs_attention"
        context = RequestContext(request_id=stored.record.request_id, overwrite=False)
        run = self._runner.undo(context, UNDOS[name], snapshot, reason, wait_for_lock=False)
        return _outcome(run, "rolled_back")

    def _in_use(self, snapshot: Snapshot) -> bool:
        """True where an initiator that a waiting attach let in is logged in, or may be."""
        stored = snapshot.operation
        assert stored is not None
        record = stored.record
        if record.kind is not OperationKind.ATTACH or not stored.arguments.get("handed_out"):
            return False
        mine = [a for a in snapshot.attachments if a.attachment.id == record.attachment_id]
        initiator = mine[0].initiator if mine else None
        if any(a.initiator == initiator for a in snapshot.attachments if a not in mine):
            return False
        try:
            exports = list(self._runner.driver(record.backend).list_exports())
        except Exception as e:  # noqa: BLE001 - a driver may raise anything
            LOG.warning(
                "the sessions of volume %s cannot be read: %s", record.volume_id, type(e).__name__
            )
            return True
        found = sessions_of(exports, record.volume_id, initiator)
        return found is None or bool(found)

    # What the thread does

    def _round(self) -> float:
        """Have done what is due; return in how many seconds something else will be."""
        unsettled, _ = self._records.unsettled()
        busy = self._rounds.at_work
        for stored in unsettled:
            if stored.id not in busy and self._is_candidate(stored):
                backend = stored.record.backend
                self._rounds.offer(stored.id, _mark(stored), backend, self._try, stored, False)
        if self._outbox is not None:
            self._rounds.offer(BOARD, object(), BOARD, self._repost, unsettled, False, wakes=False)
        busy = self._rounds.at_work & {stored.id for stored in unsettled}
        due = self._offer_comparisons(busy)
        due += [(when - s.now).total_seconds() for s in unsettled for when in _due(s)]
        # A clock that is a little ahead of the database's would wake too early.
        return min(due, default=math.inf) + 0.01

    def _offer_comparisons(self, busy: frozenset[str]) -> list[float]:
        """Have each backend looked at, now or for a volume; else tell in how many seconds.

        A comparison leaves out what changes meanwhile: operations that are being brought on come
        first, but are not waited for without end.

        :param busy: their ids.
        """
        now = self._runner.clock.monotonic()
        whole, next_due = now >= self._next_comparison, self._comparison.next_due()
        if not whole and next_due != 0:
            self._awaited = None
            return [self._next_comparison - now, math.inf if next_due is None else next_due]
        until, others = self._awaited = self._awaited or (now + self._longest_sleep, busy)
        if now < until and others & busy:
            return [until - now]
        self._awaited = None
        if whole:
            self._next_comparison = now + self._comparison_seconds
        for backend in self._runner.runs.backends:
            mark = object() if whole else "due"
            self._rounds.offer(f"backend {backend}", mark, backend, self._compare, backend, whole)
        return [self._next_comparison - now]

    def _is_candidate(self, stored: StoredOperation) -> bool:
        if not self._runner.serves(stored.record.backend):
            return False
        if stored.running:
            return self._joiner.is_dead(stored)
        if stored.record.state in (OperationState.WAITING, OperationState.QUEUED):
            return stored.cancel_requested or _past(stored.record.deadline, stored.now)
        return stored.record.state is OperationState.NEEDS_ATTENTION and _is_due(stored)


def _mark(stored: StoredOperation) -> Hashable:
    """What changes with all that is done to an operation."""
    record = stored.record
    return record.epoch, stored.revision, record.lease_expires_at, stored.cancel_requested


def _due(stored: StoredOperation) -> Iterator[datetime]:
    record = stored.record
    for when in (record.lease_expires_at, record.deadline, stored.retry_at):
        if when is not None and when > stored.now:
            yield when


def _past(when: datetime | None, now: datetime) -> bool:
    return when is not None and when <= now


def _is_due(stored: StoredOperation) -> bool:
    """True where a refused undo is to be tried; also where the clock was set back since."""
    when = stored.retry_at
    if when is None or when <= stored.now:
        return True
    return when > stored.now + 2 * timedelta(seconds=RETRY_SECONDS_MAX)


def _outcome(run: Run, forward: str) -> str:
    if run.state is OperationState.NEEDS_ATTENTION:
        return "needs_attention"
    if run.state is OperationState.ROLLED_BACK and forward != "cleaned":
        return "rolled_back"
    return forward
