"""The records that callers see, and the one function that derives a volume's status.

All records are frozen; times are timezone-aware UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

from volflow.exceptions import ErrorRecord

JSON = Any
Connector = dict[str, Any]
ConnectionInfo = dict[str, Any]
T = TypeVar("T")


class VolumeStatus(StrEnum):
    """What a volume is doing, in Cinder's spelling."""

    AVAILABLE = "available"
    ATTACHING = "attaching"
    IN_USE = "in-use"
    DETACHING = "detaching"
    MAINTENANCE = "maintenance"
    CREATING = "creating"
    DELETING = "deleting"
    ERROR = "error"


TRANSITIONAL = frozenset(
    {
        VolumeStatus.ATTACHING,
        VolumeStatus.DETACHING,
        VolumeStatus.CREATING,
        VolumeStatus.DELETING,
    }
)
"""Statuses that only a volume with an ``operation_id`` may have."""


class AttachStatus(StrEnum):
    """Where an attachment stands; a volume shows the furthest of its attachments."""

    DETACHED = "detached"
    RESERVED = "reserved"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"


class OperationKind(StrEnum):
    """What an operation does to its volume."""

    ATTACH = "attach"
    DETACH = "detach"
    CREATE = "create"
    DELETE = "delete"
    REPAIR = "repair"


class OperationState(StrEnum):
    """Where an operation stands; the last three are where :meth:`VolumeManager.wait` returns."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    REVERTING = "reverting"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    NEEDS_ATTENTION = "needs_attention"


SETTLED = frozenset({OperationState.SUCCEEDED, OperationState.ROLLED_BACK})
"""States that no run ever leaves again."""

OWNED = (OperationState.RUNNING, OperationState.REVERTING)
"""States in which a run owns the operation, or should."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A block-storage volume; sizes are in GiB."""

    id: str
    name: str | None
    size_gib: int
    backend: str
    status: VolumeStatus
    attach_status: AttachStatus
    multiattach: bool
    readonly: bool
    provider_location: str | None
    encryption_key_id: str | None
    qos_specs: JSON
    operation_id: str | None
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class DriverVolume(Volume):
    """What a driver is given: a Volume and its credentials, by attribute and by key."""

    provider_auth: str | None = field(default=None, repr=False)

    def __getitem__(self, key: str) -> Any:
        if key in self.keys():
            return getattr(self, key)
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the field, or ``default`` where there is none of this name."""
        return getattr(self, key) if key in self.keys() else default

    def keys(self) -> tuple[str, ...]:
        """The names of all fields."""
        return _DRIVER_VOLUME_FIELDS

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())


_DRIVER_VOLUME_FIELDS = tuple(f.name for f in fields(DriverVolume))


@dataclass(frozen=True, slots=True)
class Attachment:
    """One host's (or instance's) use of a volume; a detached one is kept as history."""

    id: str
    volume_id: str
    instance_uuid: str | None
    attached_host: str | None
    mountpoint: str | None
    attach_mode: str | None
    attach_status: AttachStatus
    connector: Connector | None
    connection_info: ConnectionInfo | None = field(repr=False)
    attached_at: datetime | None
    detached_at: datetime | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One attach, detach, create, delete or repair, from its first call to its last."""

    id: str
    kind: OperationKind
    state: OperationState
    phase: str
    volume_id: str
    attachment_id: str | None
    backend: str
    request_id: str | None
    error: ErrorRecord | None
    epoch: int
    owner: str | None
    lease_expires_at: datetime | None
    deadline: datetime | None
    created_at: datetime | None
    finished_at: datetime | None
    leftovers: tuple[str, ...] = ()
    priority: int = 0

    @property
    def settled(self) -> bool:
        """True once no run will ever change this operation again."""
        return self.state in SETTLED

    def abandoned_by(self, now: datetime) -> bool:
        """True where its owner showed no life for its lease."""
        end = self.lease_expires_at
        return self.state in OWNED and (end is None or end <= now)

    def overdue_by(self, now: datetime) -> bool:
        """True where its caller did not come back in time, and it was not undone yet."""
        waits = self.state is OperationState.WAITING
        return waits and self.deadline is not None and self.deadline <= now


@dataclass(frozen=True, slots=True)
class Conductor:
    """A process that runs queued operations of some backends.

    :ivar owner: the name under which it owns the operations that it runs.
    :ivar alive: it showed life within its lease; False: it died, or its host did.
    :ivar running: the ids of the operations that it owns now.
    """

    id: str
    name: str
    owner: str
    host: str
    pid: int
    backends: tuple[str, ...]
    workers: int
    started_at: datetime
    seen_at: datetime
    alive: bool
    running: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an operation's timeline."""

    operation_id: str
    at: datetime
    epoch: int
    step: str
    what: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """An operation as it stands, and what is to happen to it next.

    :ivar volume_name: of its volume, which may be deleted.
    :ivar retry_at: when recovery tries again what was refused.
    :ivar attempts: how often that was tried in vain.
    :ivar cancel_requested: it is undone at its next step.
    :ivar now: the database's clock when this was read.
    """

    operation: Operation
    volume_name: str | None
    attempts: int
    retry_at: datetime | None
    cancel_requested: bool
    now: datetime

    @property
    def abandoned(self) -> bool:
        """True where its owner showed no life for its lease."""
        return self.operation.abandoned_by(self.now)

    @property
    def overdue(self) -> bool:
        """True where its caller did not come back in time, and it was not undone yet."""
        return self.operation.overdue_by(self.now)


class StepStanding(NamedTuple):
    """Where a step of a flow stands.

    :ivar state: TaskFlow's word: ``PENDING RUNNING SUCCESS FAILURE REVERTING REVERTED
        REVERT_FAILURE``.
    :ivar undo: it is to be undone.
    """

    name: str
    state: str
    undo: bool


@dataclass(frozen=True, slots=True)
class FlowAttempt:
    """One attempt of the part of an operation that one call runs, or a call that is still to come.

    :ivar state: TaskFlow's word for the flow; None: its caller has not called yet.
    """

    phase: str
    state: str | None
    steps: tuple[StepStanding, ...]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many, newest first.

    :ivar marker: the id after which the next page begins; None: this is the last one.
    :ivar cut: the text finds more than is shown on any page: a longer one finds it.
    :ivar unreadable: the ids of rows that make no sense to this release.
    """

    items: tuple[T, ...]
    marker: str | None = None
    cut: bool = False
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are; a count ends at :attr:`most`, and one that is higher means more.

    :ivar operations: by state; of those that are settled, of the last 24 hours.
    :ivar volumes: by status.
    """

    operations: dict[OperationState, int]
    volumes: dict[VolumeStatus, int]
    most: int


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend that has volumes, limits or conductors; for the counts see :class:`Counts`.

    :ivar max_running: how many operations it may run at a time; None: any number.
    :ivar conductors: the names of the living ones that serve it.
    """

    name: str
    volumes: int
    running: int
    queued: int
    max_running: int | None
    conductors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What one run of recovery did; every field is a tuple of operation ids."""

    resumed: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()
    cleaned: tuple[str, ...] = ()
    reposted: tuple[str, ...] = ()
    needs_attention: tuple[str, ...] = ()


class DifferenceKind(StrEnum):
    """How a backend and the database may differ, or the database's rows among themselves."""

    EXPORT_MISSING = "export-missing"
    EXPORT_UNJUSTIFIED = "export-unjustified"
    EXPORT_UNKNOWN = "export-unknown"
    ACCESS_MISSING = "access-missing"
    ACCESS_UNJUSTIFIED = "access-unjustified"
    STATUS_UNOWNED = "status-unowned"
    STATUS_WRONG = "status-wrong"
    OPERATION_ASTRAY = "operation-astray"
    ROW_UNREADABLE = "row-unreadable"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be, found by ``reconcile``.

    :ivar initiator: whose access it is about, where it is about one.
    :ivar operation_id: the operation that it is about, or that owns the volume.
    :ivar in_use: a session is live on it, or the backend cannot tell.
    :ivar detail: a sentence for the operator.
    :ivar repaired: it was put in order.
    :ivar error: why it was not, though that was asked for.
    """

    kind: DifferenceKind
    backend: str
    volume_id: str | None
    initiator: str | None
    operation_id: str | None
    in_use: bool
    detail: str
    repaired: bool = False
    error: ErrorRecord | None = None


class DerivedStatus(NamedTuple):
    """A volume's pair of statuses."""

    status: VolumeStatus
    attach_status: AttachStatus


def derive_status(attachments: Iterable[AttachStatus]) -> DerivedStatus:
    """Derive a volume's status from the statuses of its attachments.

    An attachment that moves decides the status, since one operation at a time owns the
    volume; one that is attached decides the attach status.

    >>> derive_status([AttachStatus.ATTACHED, AttachStatus.RESERVED])
    DerivedStatus(status=<VolumeStatus.ATTACHING: 'attaching'>, \
attach_status=<AttachStatus.ATTACHED: 'attached'>)
    """
    found = set(attachments) - {AttachStatus.DETACHED}
    if not found:
        return DerivedStatus(VolumeStatus.AVAILABLE, AttachStatus.DETACHED)
    if found & {AttachStatus.RESERVED, AttachStatus.ATTACHING}:
        status = VolumeStatus.ATTACHING
    elif AttachStatus.DETACHING in found:
        status = VolumeStatus.DETACHING
    else:
        status = VolumeStatus.IN_USE
    for candidate in (
        AttachStatus.ATTACHED,
        AttachStatus.ATTACHING,
        AttachStatus.DETACHING,
        AttachStatus.RESERVED,
    ):
        if candidate in found:
            return DerivedStatus(status, candidate)
    raise AssertionError(found)
