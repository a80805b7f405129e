"""Recovery: brings every operation on that nobody runs any more, and names what it cannot.

One code path, for the start of a process, the timer and an explicit call. Nobody is elected:
each operation is claimed by a conditional update that raises its epoch before anything about it
is read, so that several processes do each piece of work once.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from oslo_context.context import RequestContext

from volflow.exceptions import Fenced, InvalidVolume, VolflowError
from volflow.flows.phases import UNDOS
from volflow.joining import Joiner
from volflow.models import OperationKind, OperationState, RecoveryReport
from volflow.persistence.operations import StoredOperation
from volflow.persistence.records import Records, Snapshot
from volflow.persistence.work import Cancelled, Stale
from volflow.runner import AlreadyRunning, Runner
from volflow.tasks.run import Run

LOG = logging.getLogger(__name__)

SLEEP_SECONDS_MIN = 0.05
SLEEP_SECONDS_MAX = 5.0


class Recovery:
    """Finds operations that are due and brings them on."""

    def __init__(
        self, runner: Runner, records: Records, joiner: Joiner, lease_seconds: float
    ) -> None:
        self._runner = runner
        self._records = records
        self._joiner = joiner
        self._longest_sleep = min(lease_seconds, SLEEP_SECONDS_MAX)
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def run(self, all_due: bool = False) -> RecoveryReport:
        """Bring on what is due.

        :param all_due: do not wait for the backoff of what was refused before.
        """
        found: dict[str, list[str]] = defaultdict(list)
        for stored in self._records.unsettled():
            if not self._runner.serves(stored.record.backend):
                continue
            try:
                outcome = self._one(stored, all_due)
            except (Stale, AlreadyRunning, Fenced, Cancelled):
                continue  # somebody else has it now
            except VolflowError as e:
                LOG.warning("operation %s cannot be brought on now: %s", stored.id, e)
                outcome = "needs_attention"
            except Exception:
                LOG.exception("operation %s cannot be brought on", stored.id)
                outcome = "needs_attention"
            if outcome is not None:
                found[outcome].append(stored.id)
        return RecoveryReport(**{name: tuple(ids) for name, ids in found.items()})

    def start(self) -> None:
        """Go on in a thread that sleeps until the next thing is due."""
        self._thread = threading.Thread(target=self._loop, name="volflow-recovery", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; the operation that it works on ends first."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _one(self, stored: StoredOperation, all_due: bool) -> str | None:
        state = stored.record.state
        if stored.running:
            return self._running(stored) if self._joiner.is_dead(stored) else None
        if state is OperationState.WAITING:
            return self._waiting(stored) if _past(stored.record.deadline, stored.now) else None
        if state is OperationState.NEEDS_ATTENTION:
            if not all_due and not _past(stored.retry_at, stored.now):
                return "needs_attention"
            run = self._runner.resume(stored)
            return None if run is None else _outcome(run, "cleaned")
        return None

    def _running(self, stored: StoredOperation) -> str | None:
        undo = reason = None
        if stored.cancel_requested and stored.record.state is OperationState.RUNNING:
            undo = UNDOS["cancel_operation"]
            reason = InvalidVolume(f"operation {stored.id} was cancelled")
        run = self._runner.resume(stored, undo, reason)
        return None if run is None else _outcome(run, "resumed")

    def _waiting(self, stored: StoredOperation) -> str | None:
        """Undo an operation whose caller did not come back, unless it is in use (G4)."""
        snapshot = self._records.snapshot(stored.record.volume_id, stored.id)
        if self._in_use(snapshot):
            return "needs_attention"
        reason = InvalidVolume(f"operation {stored.id} passed its caller's deadline")
        context = RequestContext(request_id=stored.record.request_id, overwrite=False)
        run = self._runner.undo(context, UNDOS["expire"], snapshot, reason)
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
        for export in self._runner.driver(record.backend).list_exports():
            if export.volume_id == record.volume_id:
                sessions = export.sessions
                return sessions is None or initiator in [s.lower() for s in sessions]
        return False

    def _loop(self) -> None:
        while not self._closed:
            try:
                self._wake.wait(self._sleep())
                self._wake.clear()
                if not self._closed:
                    self.run()
            except VolflowError as e:
                LOG.warning("recovery goes on later: %s", e)
                self._wake.wait(self._longest_sleep)
            except Exception:
                LOG.exception("recovery failed, and goes on later")
                self._wake.wait(self._longest_sleep)

    def _sleep(self) -> float:
        due = [
            (when - stored.now).total_seconds()
            for stored in self._records.unsettled()
            for when in _due(stored)
        ]
        return min(self._longest_sleep, max(SLEEP_SECONDS_MIN, min(due, default=1e9) + 0.01))


def _due(stored: StoredOperation) -> Iterator[datetime]:
    record = stored.record
    for when in (record.lease_expires_at, record.deadline, stored.retry_at):
        if when is not None and when > stored.now:
            yield when


def _past(when: datetime | None, now: datetime) -> bool:
    return when is not None and when <= now


def _outcome(run: Run, forward: str) -> str:
    if run.state is OperationState.NEEDS_ATTENTION:
        return "needs_attention"
    if run.state is OperationState.ROLLED_BACK and forward != "cleaned":
        return "rolled_back"
    return forward
