"""Attach and detach as one call, and what callers do with an operation afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oslo_context.context import RequestContext

from volflow import arguments as check
from volflow import rules
from volflow.calls import Calls, attach_arguments, new_operation
from volflow.drivers.base import Host
from volflow.exceptions import ConnectionFailed, InvalidInput, InvalidVolume
from volflow.flows.phases import PHASES, UNDOS
from volflow.joining import Joiner
from volflow.models import Attachment, Operation, OperationKind, OperationState, Volume
from volflow.persistence import operations
from volflow.persistence.operations import StoredOperation
from volflow.persistence.records import Records
from volflow.persistence.snapshots import Snapshot
from volflow.persistence.work import new_id
from volflow.runner import Runner, cancelled
from volflow.settling import raise_outcome
from volflow.texts import sentence

_RESTS = (
    OperationState.SUCCEEDED,
    OperationState.ROLLED_BACK,
    OperationState.NEEDS_ATTENTION,
)
POLL_SECONDS = 0.02
POLL_SECONDS_MAX = 0.5
POLL_SECONDS_FAR = 5.0
"""Where other processes say that an operation is settled; a word of theirs may be lost."""


def attach_given(
    connector: Any, instance_uuid: Any, host_name: Any, mountpoint: Any, mode: Any
) -> dict[str, Any]:
    """What a whole attach is given, checked.

    :raises InvalidInput: one of them is wrong.
    """
    given = {
        "call": "attach_volume",
        "connector": check.connector(connector),
        **attach_arguments(instance_uuid, host_name, mountpoint, mode),
    }
    if given["instance_uuid"] is None and given["host_name"] is None:
        given["host_name"] = check.text("the connector's host", given["connector"].get("host"))
    return given


def detach_given(attachment_id: str | None, force: bool) -> dict[str, Any]:
    """What a whole detach is given."""
    return {"call": "detach_volume", "wanted": attachment_id, "force": force or None}


def _connector_of(host: Host) -> dict[str, Any]:
    """Who a host says that it is, under the name that its attachments record.

    :raises ConnectionFailed: it cannot tell.
    """
    try:
        return {**host.connector(), "host": host.name}
    except Exception as e:
        said = f"{type(e).__name__}: {sentence(e)}".rstrip(": ")
        raise ConnectionFailed(f"host {host.name} cannot say who it is: {said}") from e


class OneShots:
    """Whole operations: run here, waited for, cancelled."""

    def __init__(self, runner: Runner, records: Records, joiner: Joiner, calls: Calls) -> None:
        self._runner = runner
        self._records = records
        self._joiner = joiner
        self._calls = calls

    def attach_volume(
        self,
        context: RequestContext,
        volume_id: str,
        connector: Any,
        instance_uuid: Any,
        host_name: Any,
        mountpoint: Any,
        mode: Any,
        operation_id: str | None,
    ) -> Attachment:
        given = attach_given(connector, instance_uuid, host_name, mountpoint, mode)
        return self._attach(context, volume_id, given, operation_id)

    def _attach(
        self,
        context: RequestContext,
        volume_id: str,
        given: dict[str, Any],
        operation_id: str | None,
    ) -> Attachment:
        def known(stored: StoredOperation) -> Attachment:
            same = self._joiner.same(stored, OperationKind.ATTACH, volume_id, given)
            return self._records.attachment(same.record.attachment_id)

        def fresh() -> Attachment:
            snapshot = self._joiner.live(volume_id)
            volume = snapshot.volume.volume
            self._runner.driver(volume.backend)
            rules.require_mode(volume, given["mode"])
            rules.require_reservable(snapshot)
            phase = PHASES[given["call"]]
            operation = new_operation(
                context, operation_id, phase.kind, phase.name, volume, new_id()
            )
            run = self._runner.start(context, phase, operation, snapshot, given)
            raise_outcome(run)
            return self._records.attachment(operation.attachment_id)

        return self._joiner.once(operation_id, known, fresh)

    def detach_volume(
        self,
        context: RequestContext,
        volume_id: str,
        attachment_id: str | None,
        force: bool,
        operation_id: str | None,
    ) -> Volume:
        given = detach_given(attachment_id, force)
        return self._detach(context, volume_id, given, operation_id, lambda _: attachment_id)

    def _detach(
        self,
        context: RequestContext,
        volume_id: str,
        given: dict[str, Any],
        operation_id: str | None,
        choose: Callable[[Snapshot], str | None],
    ) -> Volume:
        def known(stored: StoredOperation) -> Volume:
            self._joiner.same(stored, OperationKind.DETACH, volume_id, given)
            return self._records.volume(volume_id)

        def fresh() -> Volume:
            snapshot = self._joiner.live(volume_id)
            volume = snapshot.volume.volume
            self._runner.driver(volume.backend)
            attachment = self._calls.detachable(snapshot, choose(snapshot))
            phase = PHASES[given["call"]]
            operation = new_operation(
                context, operation_id, phase.kind, phase.name, volume, attachment.id
            )
            run = self._runner.start(context, phase, operation, snapshot, given)
            raise_outcome(run)
            return self._records.volume(volume_id)

        return self._joiner.once(operation_id, known, fresh)

    def connect_volume(
        self,
        context: RequestContext,
        volume_id: str,
        instance_uuid: Any,
        mode: Any,
        operation_id: str | None,
    ) -> Attachment:
        host = self._host()
        given = attach_given(_connector_of(host), instance_uuid, host.name, None, mode)
        given |= {"call": "connect_volume", "host": host.name}
        return self._attach(context, volume_id, given, operation_id)

    def disconnect_volume(
        self,
        context: RequestContext,
        volume_id: str,
        attachment_id: str | None,
        force: bool,
        operation_id: str | None,
    ) -> Volume:
        host = self._host()
        given = detach_given(attachment_id, force)
        given |= {"call": "disconnect_volume", "host": host.name}

        def choose(snapshot: Snapshot) -> str | None:
            live = [a.attachment for a in snapshot.attachments]
            mine = [a.id for a in live if a.attached_host == host.name]
            if live and (not mine or attachment_id not in (None, *mine)):
                wanted = attachment_id or f"of volume {volume_id}"
                raise InvalidVolume(f"host {host.name} has no attachment {wanted}")
            return attachment_id or (mine[0] if len(mine) == 1 else None)

        return self._detach(context, volume_id, given, operation_id, choose)

    def _host(self) -> Host:
        host = self._runner.runs.host
        if host is None:
            raise InvalidInput("this process is no host that uses volumes")
        return host

    def wait(self, operation_id: str, timeout: float | None) -> Operation:
        """Wait until the operation is settled, or needs attention.

        :raises TimeoutError: it did not settle in time.
        """
        clock, signals = self._runner.clock, self._runner.database.signals
        until = None if timeout is None else clock.monotonic() + timeout
        pause = POLL_SECONDS
        with signals.waiting(lambda signal: signal.name == operation_id) as wait:
            while True:
                limit = POLL_SECONDS_FAR if signals.far else POLL_SECONDS_MAX
                found = self._records.operation(operation_id)
                if found.record.state in _RESTS:
                    return found.record
                if found.posted_at is None:
                    limit = POLL_SECONDS_MAX  # other processes say nothing of its end
                pause = min(pause * 1.5, limit)
                left = pause if until is None else min(pause, until - clock.monotonic())
                if left <= 0:
                    state = found.record.state
                    raise TimeoutError(f"operation {operation_id} is still {state}")
                wait(left)

    def cancel_operation(self, context: RequestContext, operation_id: str) -> Operation:
        """Undo what is not settled: now, or at the next barrier of the run that has it."""

        def attempt() -> Operation:
            stored = self._records.operation(operation_id)
            record = stored.record
            if record.settled or stored.cancel_requested:
                return record
            if stored.arguments.get("force") and record.kind is OperationKind.DETACH:
                raise InvalidInput(f"operation {operation_id} is a forced detach: it goes on")
            if record.kind is OperationKind.DELETE:
                raise InvalidInput(f"operation {operation_id} deletes its volume: it goes on")
            self._cancel(context, stored)
            return self._records.operation(operation_id).record

        return self._joiner.repeat(attempt)

    def _cancel(self, context: RequestContext, stored: StoredOperation) -> None:
        undo = UNDOS["cancel_operation"]
        state, reason = stored.record.state, cancelled(stored)
        if state in (OperationState.WAITING, OperationState.QUEUED):
            snapshot = self._records.snapshot(stored.record.volume_id, stored.id)
            run = self._runner.undo(context, undo, snapshot, reason)
        elif (
            state is OperationState.RUNNING
            and self._joiner.is_dead(stored)
            and self._runner.serves(stored.record.backend)
        ):
            taken = self._runner.resume(stored, undo, reason, wait_for_lock=True)
            if taken is None:
                return
            run = taken
        else:
            epoch = stored.record.epoch
            self._runner.database.write(
                lambda c: operations.request_cancel(c, stored.id, epoch),
                landed=lambda c: False,  # asking again changes nothing
            )
            return
        if run.leftovers:
            raise_outcome(run)
