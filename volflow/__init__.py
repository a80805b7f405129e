"""volflow: volumes attached and detached as durable flows; never stuck, nothing leaks."""

from oslo_context.context import RequestContext

from volflow import exceptions
from volflow import quiet as _quiet  # noqa: F401 - before futurist is
from volflow.manager import VolumeManager
from volflow.models import (
    Attachment,
    AttachStatus,
    Difference,
    DifferenceKind,
    Event,
    Operation,
    OperationKind,
    OperationState,
    RecoveryReport,
    Volume,
    VolumeStatus,
)

__version__ = "0.1.0"

__all__ = [
    "AttachStatus",
    "Attachment",
    "Difference",
    "DifferenceKind",
    "Event",
    "Operation",
    "OperationKind",
    "OperationState",
    "RecoveryReport",
    "RequestContext",
    "Volume",
    "VolumeManager",
    "VolumeStatus",
    "exceptions",
]
