"""A volume as a driver is given it."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from volflow.models import AttachStatus, DriverVolume, VolumeStatus

TEMPLATE = DriverVolume(
    id="",
    name=None,
    size_gib=1,
    backend="lab",
    status=VolumeStatus.ATTACHING,
    attach_status=AttachStatus.DETACHED,
    multiattach=False,
    readonly=False,
    provider_location=None,
    encryption_key_id=None,
    qos_specs=None,
    operation_id=None,
    created_at=None,
    updated_at=None,
)


def driver_volume(**changes: Any) -> DriverVolume:
    """Make a volume of 1 GiB with an id of its own."""
    return replace(TEMPLATE, **{"id": str(uuid.uuid4()), **changes})
