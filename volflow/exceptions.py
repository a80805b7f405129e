"""The errors of volflow.

::

    VolflowError
    ├── NotFound
    │   ├── VolumeNotFound
    │   ├── AttachmentNotFound
    │   ├── OperationNotFound
    │   └── BackendNotFound
    ├── InvalidInput             an argument is wrong; nothing was done
    │   ├── InvalidConnector
    │   ├── InvalidUUID
    │   └── InvalidVolumeAttachMode
    ├── InvalidVolume            the volume's state forbids it; nothing was done
    ├── OperationConflict        an operation id came back with other arguments
    ├── DriverError              the backend refused; what was done is undone
    │   ├── ExportFailed
    │   ├── ConnectionFailed
    │   ├── ConnectionInUse      an undo would cut a live session
    │   ├── VolumeLocked         somebody holds the volume's lock; nothing was begun
    │   └── TransientDriverError retried with backoff before it is an error
    ├── RollbackIncomplete       an undo is refused; recovery goes on
    ├── Fenced                   another run owns this operation now
    ├── DatabaseError
    └── BoardError

Every class is constructible from one message and survives pickling and JSON
(:func:`to_record`, :func:`from_record`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from volflow.texts import sentence, storable


class VolflowError(Exception):
    """Any error that volflow raises on purpose."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = str(message)

    def __str__(self) -> str:
        return self.message


class NotFound(VolflowError):
    """The id is unknown."""


class VolumeNotFound(NotFound):
    """No volume has this id."""


class AttachmentNotFound(NotFound):
    """No attachment has this id."""


class OperationNotFound(NotFound):
    """No operation has this id."""


class BackendNotFound(NotFound):
    """No driver of this process serves the backend."""


class InvalidInput(VolflowError):
    """An argument is wrong; nothing was done."""


class InvalidConnector(InvalidInput):
    """The connector is no dict, or lacks what the driver needs."""


class InvalidUUID(InvalidInput):
    """An id that has to be a UUID is none."""


class InvalidVolumeAttachMode(InvalidInput):
    """The mode is neither ``rw`` nor ``ro``, or ``rw`` on a readonly volume."""


class InvalidVolume(VolflowError):
    """The volume's state does not allow the call; nothing was done."""


class OperationConflict(VolflowError):
    """An operation id was used again with other arguments."""


class DriverError(VolflowError):
    """The storage backend refused; what was done is undone."""


class ExportFailed(DriverError):
    """An export could not be made or removed."""


class ConnectionFailed(DriverError):
    """An initiator's access could not be given or taken away."""


class ConnectionInUse(DriverError):
    """An undo would cut an initiator that is logged in."""


class VolumeLocked(DriverError):
    """Somebody holds the volume's lock, and nothing was begun: a driver call that hangs, say."""


class TransientDriverError(DriverError):
    """The backend was busy; the core repeats the call with backoff first."""


class RollbackIncomplete(VolflowError):
    """An undo is being refused by the backend; recovery goes on with it.

    :ivar first_error: the error that began the rollback, or None; also ``__cause__``.
    :ivar leftovers: the steps that are still to be undone, as sentences.
    """

    def __init__(
        self,
        message: str = "",
        first_error: BaseException | None = None,
        leftovers: Iterable[str] = (),
    ) -> None:
        super().__init__(message)
        self.first_error = first_error
        self.leftovers = tuple(leftovers)
        self.__cause__ = first_error

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.message, self.first_error, self.leftovers))


class Fenced(VolflowError):
    """Another run owns this operation now; this one stopped and changed nothing more."""


class DatabaseError(VolflowError):
    """The database could not be reached, read or written; nothing is lost."""


class BoardError(VolflowError):
    """The job board could not be reached; nothing is lost."""


class ErrorRecord(NamedTuple):
    """An error as it is kept on an operation."""

    class_name: str
    message: str

    def __str__(self) -> str:
        return f"{self.class_name}: {self.message}"


def to_record(error: BaseException) -> ErrorRecord:
    """Reduce an error to its message and the nearest class of this module."""
    ours = (c for c in type(error).__mro__ if c.__module__ == __name__)
    return ErrorRecord(next(ours, type(error)).__name__, storable(sentence(error)))


def from_record(record: ErrorRecord) -> VolflowError:
    """Build the error again; a class that this release does not know becomes VolflowError."""
    cls = globals().get(record.class_name)
    if isinstance(cls, type) and issubclass(cls, VolflowError):
        return cls(record.message)
    return VolflowError(str(record))
