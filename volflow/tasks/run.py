"""One run of an operation: what its tasks read, change, call and leave behind."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from taskflow import states as tf_states
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from volflow import states
from volflow.coordination import VolumeLock
from volflow.drivers.base import Export, initiator_of
from volflow.entitlement import Entitlement, sessions_of
from volflow.exceptions import (
    ConnectionInUse,
    DriverError,
    InvalidConnector,
    InvalidVolume,
    TransientDriverError,
    VolflowError,
    to_record,
)
from volflow.locks import LockBusy
from volflow.models import (
    Attachment,
    AttachStatus,
    Connector,
    DriverVolume,
    Operation,
    OperationKind,
    OperationState,
    derive_status,
)
from volflow.persistence.attachments import StoredAttachment
from volflow.persistence.flows import StoredFlow, collect
from volflow.persistence.secrets import Cipher
from volflow.persistence.work import FromNow, UnitOfWork
from volflow.tasks.redaction import Redactor
from volflow.texts import is_storable, sentence

if TYPE_CHECKING:
    from volflow.leases import Leases
    from volflow.tasks.base import Step

LOG = logging.getLogger(__name__)

TRANSIENT_ATTEMPTS = 4

_EFFECTS = frozenset(
    {
        "create_export",
        "ensure_export",
        "remove_export",
        "initialize_connection",
        "terminate_connection",
        "terminate_unused_connection",
    }
)
"""Calls whose failure leaves open whether the effect is there, or comes yet."""

_CORE_ONLY = frozenset({"deleted_at", "compare_at", "compare_attempts"})
"""Columns of a volume that no driver is shown."""


class Run:
    """The world of the tasks of one run.

    :ivar volume: the volume as this run left it; so is ``attachment``.
    :ivar others: the volume's other live attachments. The operation owns the volume, so that
        they stay as they are while it runs.
    :ivar arguments: what the operation's calls were given.
    :ivar leftovers: effects whose undo (or, when forced, whose doing) was refused.
    :ivar first_error: what the first step to fail raised.
    :ivar entitlement: what the backend should hold of the volume while nothing changes it.
    :ivar compare_attempts: how often a repair of the volume has failed in a row.
    :ivar unsure_seconds: how long the effect of a driver call that failed may still come.
    """

    def __init__(
        self,
        *,
        context: Any,
        driver: Any,
        cipher: Cipher,
        leases: Leases,
        lock: VolumeLock,
        lock_seconds: float,
        work: UnitOfWork,
        operation: Operation,
        arguments: dict[str, Any],
        volume: DriverVolume,
        volume_revision: int,
        attachment: StoredAttachment | None,
        others: Sequence[StoredAttachment],
    ) -> None:
        self.context = context
        self.driver = driver
        self.work = work
        self.operation = operation
        self.arguments = arguments
        self.volume = volume
        self.others = tuple(others)
        self.leftovers: list[str] = []
        self.first_error: Exception | None = None
        self.connection_info: dict[str, Any] | None = None
        self.state = operation.state
        self.attempts = 0
        self.entitlement = Entitlement((), frozenset(), None)
        self.compare_attempts = 0
        self.unsure_seconds: float | None = None
        self._unsure = False
        self._attachment = attachment.attachment if attachment else None
        self._cipher = cipher
        self._leases = leases
        self._lock = lock
        self._lock_seconds = lock_seconds
        self._volume_revision = volume_revision
        self._volume_changed = False
        self._flows: list[StoredFlow] = []
        self._flow_id = ""
        self._steps: Mapping[str, Step] = {}
        self._kept: dict[str, dict[str, tuple[str, str]]] = {}

    # What tasks read

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
        return initiator_of(self.driver, self.connector)

    @property
    def forced(self) -> bool:
        """True where a refusal is recorded and the operation goes on."""
        return bool(self.arguments.get("force"))

    @property
    def cuts_sessions(self) -> bool:
        """True where a live session does not hold an undo, or a repair, back."""
        rests = self.arguments.get("rests") or {}
        return self.forced or bool(self.arguments.get("cut") or rests.get("cut"))

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
        self.volume = replace(self.volume, **seen)

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

    # What tasks call

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call the driver; what is transient is tried again with backoff.

        :raises DriverError: it refused; what is no error of ours is its ``__cause__``.
        :raises InvalidConnector: the driver wants another connector.
        """
        attempts = Retrying(
            retry=retry_if_exception_type(TransientDriverError),
            stop=stop_after_attempt(TRANSIENT_ATTEMPTS),
            wait=wait_random_exponential(0.02, max=0.5),
            sleep=self.work.clock.sleep,
            reraise=True,
        )
        try:
            with self._leases.driver_call(self.operation.id):
                return attempts(getattr(self.driver, method), *arguments, **options)
        except Exception as e:  # noqa: BLE001 - a driver may raise anything
            self._unsure = self._unsure or method in _EFFECTS
            error = self._translate(method, e)
            raise error from error.__cause__

    def notify(self, method: str, *arguments: Any) -> None:
        """Tell the driver something; a failure is logged and changes nothing."""
        try:
            self.call(method, *arguments)
        except VolflowError as e:
            LOG.warning("%s of volume %s failed: %s", method, self.volume.id, e)
            self.work.event(method, "notification failed", str(e))

    def export(self) -> Export | None:
        """The volume's export, as the backend has it now; None where it has none."""
        found = self.call("list_exports")
        return next((export for export in found if export.volume_id == self.volume.id), None)

    def connector_of(self, initiator: str) -> Connector:
        """A connector by which the driver finds an initiator's access again.

        :param initiator: the key of an ACL entry. A driver whose keys are no iSCSI initiators
            has a method ``connector_of(key)``.
        """
        for known in self.entitlement.known:
            if known.initiator == initiator and known.attachment.connector:
                return dict(known.attachment.connector)
        own = getattr(self.driver, "connector_of", None)
        return {"initiator": initiator} if own is None else dict(own(initiator))

    def require_unused(self, initiator: str | None = None) -> None:
        """Refuse to go on where an initiator that was let in is logged in, or may be.

        That the backend cannot tell counts only once the caller was told how to log in.

        :param initiator: only this one counts; None: any.
        :raises ConnectionInUse: a session is live, or the backend cannot tell.
        """
        if self.cuts_sessions:
            return
        found = sessions_of(self.call("list_exports"), self.volume.id, initiator)
        if found is None and (self.arguments.get("handed_out") or self.repairs):
            raise ConnectionInUse(
                f"the backend cannot tell whether volume {self.volume.id} is in use; "
                "terminate_connection with force goes on"
            )
        if found:
            raise ConnectionInUse(f"{found[0]} is logged in to volume {self.volume.id}")

    @property
    def repairs(self) -> bool:
        """True where the run repairs the backend: of what it finds it knows no caller."""
        return self.operation.kind is OperationKind.REPAIR or bool(self.arguments.get("rests"))

    def terminate_unused(self, connector: Connector | None = None) -> None:
        """Take the initiator's access away unless it is logged in.

        A driver that can (``terminate_unused_connection``) refuses new logins first; for others
        one may come between the look and the call.

        :param connector: whose; None: that of the operation's attachment.
        :raises ConnectionInUse: a session is live, or the backend cannot tell.
        """
        method = "terminate_unused_connection"
        whose = self.connector if connector is None else connector
        if self.cuts_sessions:
            self.call("terminate_connection", self.volume, whose, force=True)
        elif callable(getattr(self.driver, method, None)):
            self.call(method, self.volume, whose)
        else:
            self.require_unused(initiator_of(self.driver, whose))
            self.call("terminate_connection", self.volume, whose)

    def checked(self, method: str, value: Any) -> Any:
        """What the driver returned, as it is after a round trip through JSON.

        :raises DriverError: it cannot make one.
        """
        try:
            found = json.loads(json.dumps(value, allow_nan=False))
            if not is_storable(json.dumps(found, ensure_ascii=False).replace("\\u0000", "\0")):
                raise ValueError
        except (TypeError, ValueError, RecursionError):
            raise DriverError(
                f"{method} of backend {self.volume.backend} returned what is no storable JSON"
            ) from None
        return found

    # What the flow's engine reports

    def enter(self, flows: Sequence[StoredFlow]) -> None:
        """Take the flows whose states are written at each barrier from now on."""
        self._flows = list(flows)
        self._kept = {flow.id: {} for flow in flows}

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
        if release and self._unsure and self.unsure_seconds is not None:
            self.update_volume(compare_at=FromNow(self.unsure_seconds))
        for flow in self._flows:
            collect(self.work, flow, self._kept[flow.id])
        self.work.commit(release)
        for flow in self._flows:
            flow.stored = True
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
            error = self._ours(task, e)
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
            error = self._ours(task, e)
            self._leave(task, error, (tf_states.SUCCESS, tf_states.REVERT))
        finally:
            self._lock.release()

    def _barrier(self, step: Step, undo: bool) -> None:
        if undo:
            self.work.cancellable = False
            self.work.set_operation(state=OperationState.REVERTING.value, **self.error_values())
            step.prepare_undo(self)
        else:
            step.prepare(self)
        try:
            self._lock.acquire(self._lock_seconds, f"process {os.getpid()}, {self.operation.id}")
        except (LockBusy, OSError) as e:
            raise self._blocked(e) from None
        try:
            self.commit()
        except BaseException:
            self._lock.release()
            raise

    def _blocked(self, error: Exception) -> Exception:
        """Leave the run before an effect that must not be made; recovery undoes what was."""
        blocked = DriverError(f"volume {self.volume.id} cannot be changed now: {error}")
        if not self.work.started:
            return blocked
        first = self._first(blocked)
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

    def _ours(self, task: str, error: Exception) -> Exception:
        return error if isinstance(error, VolflowError) else self._translate(task, error)

    def _translate(self, what: str, error: Exception) -> Exception:
        redact = Redactor(self.volume.provider_auth)
        if isinstance(error, (DriverError, InvalidConnector)):
            return redact.error(error)
        text = redact.text(f"{type(error).__name__}: {sentence(error)}".rstrip(": "))
        found = DriverError(f"{what} of backend {self.volume.backend} failed: {text}")
        found.__cause__ = redact.cause(error)
        return found
