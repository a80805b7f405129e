"""Submitted operations: put into the queue in one commit, taken out of it by conductors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from oslo_context.context import RequestContext
from sqlalchemy.engine import Connection

from volflow import rules
from volflow.backoff import backoff
from volflow.calls import Calls, new_operation
from volflow.exceptions import DatabaseError, Fenced, to_record
from volflow.flows.engine import begin
from volflow.flows.phases import PHASES, Phase
from volflow.jobs.outbox import Outbox
from volflow.joining import Joiner
from volflow.models import SETTLED, Operation, OperationKind, OperationState
from volflow.oneshots import attach_given, detach_given
from volflow.persistence import queue
from volflow.persistence.flows import StoredFlow
from volflow.persistence.operations import StoredOperation
from volflow.persistence.records import Records
from volflow.persistence.signals import Signal
from volflow.persistence.snapshots import Snapshot
from volflow.persistence.work import Cancelled, Claim, FromNow, Stale, new_id
from volflow.runner import AlreadyRunning, Runner, opening_values
from volflow.tasks.run import Run

LOG = logging.getLogger(__name__)

LOADS = 5
"""How often an operation that cannot be read is tried before it needs attention."""


class Queue:
    """Puts operations into the queue, and runs what is taken out of it.

    :param outbox: makes them known to conductors.
    """

    def __init__(
        self, runner: Runner, records: Records, joiner: Joiner, calls: Calls, outbox: Outbox
    ) -> None:
        self._runner = runner
        self._records = records
        self._joiner = joiner
        self._calls = calls
        self._outbox = outbox
        self._signals = runner.database.signals
        self.database = runner.database

    # In

    def submit_attach(
        self,
        context: RequestContext,
        volume_id: str,
        connector: Any,
        instance_uuid: Any,
        host_name: Any,
        mountpoint: Any,
        mode: Any,
        operation_id: str | None,
        priority: int,
    ) -> Operation:
        """Queue an attach."""
        given = attach_given(connector, instance_uuid, host_name, mountpoint, mode)

        def fresh() -> str:
            snapshot = self._joiner.live(volume_id)
            rules.require_mode(snapshot.volume.volume, mode)
            rules.require_reservable(snapshot)
            phase = PHASES["attach_volume"]
            return self._put(context, phase, operation_id, snapshot, new_id(), given, priority)

        return self._submit(OperationKind.ATTACH, volume_id, operation_id, given, fresh)

    def submit_detach(
        self,
        context: RequestContext,
        volume_id: str,
        attachment_id: str | None,
        force: bool,
        operation_id: str | None,
        priority: int,
    ) -> Operation:
        """Queue a detach."""
        given = detach_given(attachment_id, force)

        def fresh() -> str:
            snapshot = self._joiner.live(volume_id)
            attachment = self._calls.detachable(snapshot, attachment_id)
            phase = PHASES["detach_volume"]
            return self._put(
                context, phase, operation_id, snapshot, attachment.id, given, priority
            )

        return self._submit(OperationKind.DETACH, volume_id, operation_id, given, fresh)

    def _submit(
        self,
        kind: OperationKind,
        volume_id: str,
        operation_id: str | None,
        given: dict[str, Any],
        fresh: Callable[[], str],
    ) -> Operation:
        def known(stored: StoredOperation) -> str:
            self._joiner.require_same(stored, kind, volume_id, given)
            return stored.id

        found = self._joiner.once(operation_id, known, fresh)
        return self._records.operation(found).record

    def _put(
        self,
        context: RequestContext,
        phase: Phase,
        operation_id: str | None,
        snapshot: Snapshot,
        attachment_id: str,
        given: dict[str, Any],
        priority: int,
    ) -> str:
        """Write an operation whose first step is done, and make it known.

        :raises Stale: the volume changed since ``snapshot``; nothing was done.
        """
        volume = snapshot.volume.volume
        operation = new_operation(
            context,
            operation_id,
            phase.kind,
            phase.name,
            volume,
            attachment_id,
            OperationState.QUEUED,
        )

        def body() -> Run:
            new = Claim(new=True)
            run = self._runner.runs.run(
                context, operation, given, snapshot, new, 1, 0, needs_driver=False
            )
            run.work.set_operation(
                **opening_values(phase, operation, given), priority=priority, posted_at=FromNow()
            )
            run.work.event("operation", "begins", phase.name)
            flow = StoredFlow.new(phase.name, operation.kind, phase.tasks)
            run.enter([flow])
            begin(run, flow)
            run.work.event("operation", OperationState.QUEUED.value)
            run.work.far = True
            run.work.signal("queued", operation.backend)
            run.commit(release=True)
            return run

        self._runner.owning(operation.id, 1, body)
        self._outbox.post(operation.id)
        return operation.id

    # Out

    def run(self, operation_id: str, suspends: Callable[[], bool]) -> bool:
        """Run an operation that is queued, as far as it goes.

        :param suspends: asked at each barrier whether to stop there.
        :returns: True where it is settled, so that its job is done.
        :raises Full: its backend runs as many operations as it may.
        :raises Suspended: it stopped; others may go on with it.
        :raises VolflowError: it cannot be run now.
        """
        try:
            loaded = self._runner.load_queued(operation_id)
        except Stale:
            return self._records.operation(operation_id).record.settled
        except DatabaseError as e:
            self._not_loaded(operation_id, e)
            raise
        try:
            return self._runner.run_queued(*loaded, suspends, wait_for_lock=False).state in SETTLED
        except (AlreadyRunning, Cancelled, Fenced, Stale):
            return self._records.operation(operation_id).record.settled

    def _not_loaded(self, operation_id: str, error: DatabaseError) -> None:
        """Count that an operation could not be read; at last it needs attention.

        Where the database is away this is not written either, as it is no operation's fault.
        """
        parked = [Signal("settled", operation_id)]

        def count(connection: Connection) -> bool:
            record, pause = to_record(error), backoff(1)
            if not queue.not_loaded(connection, operation_id, record, pause, LOADS):
                return False
            self._signals.send(connection, parked)
            return True

        if self._runner.database.write(count, landed=lambda c: False):
            LOG.warning("operation %s needs attention: %s", operation_id, error)
            self._signals.tell(parked)
