"""One run of an operation: what its tasks read, change, call and leave behind."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from taskflow import states as tf_states

from volflow import states
from volflow.coordination import VolumeLock
from volflow.entitlement import Entitlement
from volflow.exceptions import (
    ConnectionFailed,
    DriverError,
    InvalidConnector,
    InvalidVolume,
    VolflowError,
    VolumeLocked,
    to_record,
)
from volflow.locks import LockBusy
from volflow.models import (
    Attachment,
    AttachStatus,
    Connector,
    DriverVolume,
    Operation,
    OperationState,
    derive_status,
)
from volflow.persistence.attachments import StoredAttachment
from volflow.persistence.flows import StoredFlow, written
from volflow.persistence.secrets import Cipher
from volflow.persistence.work import FromNow, Suspended, UnitOfWork
from volflow.tasks.backend import Backend

if TYPE_CHECKING:
    from volflow.tasks.base import Step

LOG = logging.getLogger(__name__)

PASSING_SECONDS = 10.0
"""How long a run waits for the lock of its volume between two of its own steps."""

_CORE_ONLY = frozenset({"deleted_at", "unsure_until", "compare_at", "compare_attempts"})
"""Columns of a volume that no driver is shown."""


class Run:
    """The world of the tasks of one run.

    :ivar backend: calls the driver; ``volume`` and ``attachment`` are as this run left them.
    :ivar others: the volume's other live attachments. The operation owns the volume, so that
        they stay as they are while it runs.
    :ivar arguments: what the operation's calls were given.
    :ivar leftovers: effects whose undo (or, when forced, whose doing) was refused.
    :ivar first_error: what the first step to fail raised.
    :ivar entitlement: what the backend should hold of the volume while nothing changes it.
    :ivar compare_attempts: how often a repair of the volume has failed in a row.
    :ivar unsure_until: how long the effect of an earlier run's call may still come.
    :ivar unsure_seconds: how long the effect of a driver call that failed may still come.
    :ivar host: the side of the host that uses the volume; None in a process of another host.
    :ivar suspends: asked at each barrier whether the run is to stop there.
    """

    def __init__(
        self,
        *,
        context: Any,
        backend: Backend,
        cipher: Cipher,
        lock: VolumeLock,
        lock_seconds: float,
        work: UnitOfWork,
        operation: Operation,
        arguments: dict[str, Any],
        volume_revision: int,
        attachment: StoredAttachment | None,
        others: Sequence[StoredAttachment],
    ) -> None:
        self.context = context
        self.backend = backend
        self.work = work
        self.operation = operation
        self.arguments = arguments
        self.others = tuple(others)
        self.leftovers: list[str] = []
        self.first_error: Exception | None = None
        self.connection_info: dict[str, Any] | None = None
        self.state = operation.state
        self.attempts = 0
        self.entitlement = Entitlement((), frozenset(), None)
        self.compare_attempts = 0
        self.unsure_until: datetime | None = None
        self.unsure_seconds: float | None = None
        self._compares = False
        self.host: Any = None
        self.suspends: Callable[[], bool] | None = None
        self._attachment = attachment.attachment if attachment else None
        self._cipher = cipher
        self._lock = lock
        self._lock_seconds = lock_seconds
        self._volume_revision = volume_revision
        self._volume_changed = False
        self.flows: list[StoredFlow] = []
        self._flow_id = ""
        self._steps: Mapping[str, Step] = {}
        self._kept: dict[str, dict[str, tuple[str, str]]] = {}

    # What tasks read

    @property
    def volume(self) -> DriverVolume:
        """The volume as this run left it."""
        return self.backend.volume

    @property
    def attachment(self) -> Attachment:
        """The attachment that the operation makes or ends."""
        if self._attachment is None:
            raise InvalidVolume(f"operation {self.operation.id} has lost its attachment")
        return self._attachment

    @property
    def connector(self) -> Connector:
        """Who asks: the calls' connector, else the one that the attachment was made with."""
        found = self.arguments.get("connector")
        if found is None and self._attachment is not None:
            found = self._attachment.connector
        if found is None:
            raise InvalidConnector(f"operation {self.operation.id} has no connector")
        return dict(found)

    @property
    def initiator(self) -> str:
        """The key of the ACL of this operation's connector."""
        return self.backend.initiator_of(self.connector)

    @property
    def forced(self) -> bool:
        """True where a refusal is recorded and the operation goes on."""
        return bool(self.arguments.get("force"))

    def call_host(self, method: str, *arguments: Any) -> Any:
        """Call the side of the host that uses the volume.

        :raises ConnectionFailed: it failed, or this process is another host's.
        """
        if self.host is None:
            raise ConnectionFailed(f"only host {self.arguments.get('host')} does {method}")
        return self.backend.call_host(self.host, method, *arguments)

    def shares_access(self) -> bool:
        """True where another attachment has the same initiator, whose ACL it needs."""
        mine = self.initiator
        return any(other.initiator == mine for other in self.others)

    # What tasks change

    def insert_volume(self) -> None:
        """Make the volume's row, from ``volume``."""
        v = self.volume
        self.work.insert(
            "volumes",
            v.id,
            name=v.name,
            size_gib=v.size_gib,
            backend=v.backend,
            status=v.status.value,
            attach_status=v.attach_status.value,
            multiattach=v.multiattach,
            readonly=v.readonly,
            encryption_key_id=v.encryption_key_id,
            qos_specs=v.qos_specs,
            operation_id=v.operation_id,
            revision=0,
            created_at=FromNow(),
            updated_at=FromNow(),
        )

    def update_volume(self, **values: Any) -> None:
        """Change the volume's row: the one place where a volume's status changes.

        The row has to look as it was read, status, owner and revision; else nothing of the
        barrier is written.
        """
        before, after = self.volume.status, values.get("status", self.volume.status)
        if not states.allowed(before, after):
            raise InvalidVolume(f"volume {self.volume.id} cannot go from {before} to {after}")
        expected = {
            "revision": self._volume_revision,
            "status": before.value,
            "operation_id": self.volume.operation_id,
        }
        stored = dict(values)
        if "provider_auth" in stored:
            stored["provider_auth"] = self._cipher.encrypt(stored["provider_auth"])
        self.work.update(
            "volumes",
            self.volume.id,
            expected,
            revision=self._volume_revision + 1,
            updated_at=FromNow(),
            **stored,
        )
        self._volume_changed = True
        seen = {k: v for k, v in values.items() if k not in _CORE_ONLY}
        self.backend.volume = replace(self.volume, **seen)

    def derive_volume(self, mine: AttachStatus, owned: bool, **values: Any) -> None:
        """Give the volume the status that follows from its attachments.

        :param mine: where this operation's attachment stands now.
        :param owned: whether the operation keeps the volume.
        """
        found = [other.attachment.attach_status for other in self.others]
        status, attach_status = derive_status([*found, mine])
        self.update_volume(
            status=status,
            attach_status=attach_status,
            operation_id=self.operation.id if owned else None,
            **values,
        )

    def insert_attachment(self) -> None:
        """Make the attachment's row, reserved."""
        operation = self.operation
        assert operation.attachment_id is not None
        self._attachment = Attachment(
            id=operation.attachment_id,
            volume_id=self.volume.id,
            instance_uuid=None,
            attached_host=None,
            mountpoint=None,
            attach_mode=None,
            attach_status=AttachStatus.RESERVED,
            connector=None,
            connection_info=None,
            attached_at=None,
            detached_at=None,
        )
        self.work.insert(
            "attachments",
            operation.attachment_id,
            volume_id=self.volume.id,
            attach_status=AttachStatus.RESERVED.value,
            created_at=FromNow(),
        )

    def update_attachment(self, **values: Any) -> None:
        """Change the attachment's row; ``initiator`` is the row's alone."""
        stored = dict(values)
        if "connection_info" in stored:
            stored["connection_info"] = self._cipher.seal(stored["connection_info"])
        self.work.update("attachments", self.attachment.id, {}, **stored)
        seen: dict[str, Any] = {
            name: None if isinstance(value, FromNow) else value
            for name, value in values.items()
            if name != "initiator"
        }
        self._attachment = replace(self.attachment, **seen)

    def compared(self) -> None:
        """Note that the backend is as it should be; it is looked at again while that is unsure."""
        doubt = self.unsure_until
        self._compares = doubt is not None
        self.update_volume(compare_at=doubt, unsure_until=doubt, compare_attempts=0)

    def compare_again(self, seconds: float) -> None:
        """Have the volume compared with its backend again, since a repair of it failed."""
        self._compares = True
        self.update_volume(compare_at=FromNow(seconds), compare_attempts=self.compare_attempts + 1)

    def rest_attachment(self, attachment: Attachment, status: AttachStatus) -> None:
        """Give another attachment of the volume a status at rest: attached or detached."""
        values: dict[str, Any] = {"attach_status": status.value}
        if status is AttachStatus.DETACHED:
            values |= {"detached_at": FromNow(), "connection_info": None}
        self.work.update("attachments", attachment.id, {}, **values)

    def set_argument(self, name: str, value: Any) -> None:
        """Remember something with the operation; None forgets it."""
        self.arguments = {k: v for k, v in self.arguments.items() if k != name}
        if value is not None:
            self.arguments[name] = value
        self.work.set_operation(arguments=self.arguments)

    # What tasks tell

    def notify(self, method: str, *arguments: Any) -> None:
        """Tell the driver something; a failure is logged and changes nothing."""
        try:
            self.backend.call(method, *arguments)
        except VolflowError as e:
            LOG.warning("%s of volume %s failed: %s", method, self.volume.id, e)
            self.work.event(method, "notification failed", str(e))

    # What the flow's engine reports

    def enter(self, flows: Sequence[StoredFlow]) -> None:
        """Take the flows that are driven from now on, new ones among them."""
        known = {flow.id for flow in self.flows}
        self.flows += [flow for flow in flows if flow.id not in known]
        self._kept |= {flow.id: {} for flow in flows}

    def begin(self, flow: StoredFlow, steps: Sequence[Step]) -> None:
        """Take the flow that the engine drives next."""
        self._flow_id = flow.id
        self._steps = {step.name: step for step in steps}

    def moved(self, flow: StoredFlow, task: str, state: str) -> None:
        """Hear of a task's new state; before an outside effect, write everything."""
        if task in self._kept[flow.id]:
            return
        self.work.event(task, state.lower(), self._failure(state))
        if state not in (tf_states.RUNNING, tf_states.REVERTING) or self.leftovers:
            return
        step = self._steps[task]
        if step.outside:
            self._barrier(step, state == tf_states.REVERTING)

    def commit(self, release: bool = False) -> None:
        """Write what was collected, the flows included.

        :param release: the run ends here. Where the outcome of a driver call is not known, the
            volume is compared with the backend once more when it has to be.
        """
        if release and self.backend.unsure and self.unsure_seconds is not None:
            later = {"unsure_until": FromNow(self.unsure_seconds)}
            if not self._compares:
                later["compare_at"] = FromNow(self.unsure_seconds)
            self.update_volume(**later)
        if self._kept:
            self.work.set_operation(flows=written(self.flows, self._kept))
        self.work.commit(release)
        if self._volume_changed:
            self._volume_revision += 1
            self._volume_changed = False

    @contextmanager
    def executing(self, task: str) -> Iterator[bool]:
        """Run a task's effect; what it raises becomes one of our errors."""
        if self.leftovers:
            self._kept[self._flow_id][task] = (tf_states.PENDING, tf_states.EXECUTE)
            yield False
            return
        try:
            yield True
        except Exception as e:  # noqa: BLE001 - so may a step
            error = self.backend.ours(task, e)
            self._first(error)
            if not self.forced:
                raise error from error.__cause__
            self._leave(task, error, (tf_states.PENDING, tf_states.EXECUTE))
        finally:
            self._lock.release()

    @contextmanager
    def reverting(self, task: str) -> Iterator[bool]:
        """Run a task's undo; never raises: a refusal becomes a leftover."""
        if self.leftovers:
            self._kept[self._flow_id][task] = (tf_states.SUCCESS, tf_states.REVERT)
            yield False
            return
        try:
            yield True
        except Exception as e:  # noqa: BLE001 - an undo that raised would be lost
            error = self.backend.ours(task, e)
            self._leave(task, error, (tf_states.SUCCESS, tf_states.REVERT))
        finally:
            self._lock.release()

    def _barrier(self, step: Step, undo: bool) -> None:
        if self.suspends is not None and self.suspends():
            raise Suspended(f"operation {self.operation.id} stops before {step.name}")
        if undo:
            self.work.cancellable = False
            self.work.set_operation(state=OperationState.REVERTING.value, **self.error_values())
            step.prepare_undo(self)
        else:
            step.prepare(self)
        seconds = self._lock_seconds
        if self.work.started:
            # Who has it now has it in passing: to see whether it is free, or to find out that
            # the operation is ours.
            seconds = max(seconds, PASSING_SECONDS)
        try:
            self._lock.acquire(seconds, f"process {os.getpid()}, {self.operation.id}")
        except (LockBusy, OSError) as e:
            raise self._blocked(e) from None
        try:
            self.commit()
        except BaseException:
            self._lock.release()
            raise

    def _blocked(self, error: Exception) -> Exception:
        """Leave the run before an effect that must not be made.

        Recovery goes on later with what was submitted. Whoever called waits for an answer: it
        gets the error, and recovery undoes what was done.
        """
        sentence = f"volume {self.volume.id} cannot be changed now: {error}"
        if self.work.far or not self.work.started:
            return VolumeLocked(sentence)
        first = self._first(DriverError(sentence))
        self.work.cancellable = False
        self.work.set_operation(state=OperationState.REVERTING.value, **self.error_values())
        self.commit()
        return first

    def release_lock(self) -> None:
        """Give the volume's lock back, where an interruption left it taken."""
        self._lock.release()

    def error_values(self) -> dict[str, Any]:
        """The column of the first error, where there is one."""
        if self.first_error is None:
            return {}
        return {"error": list(to_record(self.first_error))}

    def _first(self, error: Exception) -> Exception:
        if self.first_error is None:
            self.first_error = error
        return self.first_error

    def _leave(self, task: str, error: Exception, kept: tuple[str, str]) -> None:
        LOG.warning("%s of operation %s is refused: %s", task, self.operation.id, error)
        self.leftovers.append(f"{task}: {to_record(error)}")
        self.work.event(task, "refused", str(to_record(error)))
        self._kept[self._flow_id][task] = kept
        self._first(error)

    def _failure(self, state: str) -> str | None:
        if state != tf_states.FAILURE or self.first_error is None:
            return None
        return str(to_record(self.first_error))
