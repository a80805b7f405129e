"""Records as JSON: the shapes that scripts rely on, and what is masked in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from volflow.models import Attachment, Operation, RecoveryReport, Volume

MASK = "***"

PLAIN_DATA = frozenset(
    {
        "access_mode",
        "auth_method",
        "device_path",
        "discard",
        "encrypted",
        "qos_specs",
        "target_discovered",
        "target_iqn",
        "target_iqns",
        "target_lun",
        "target_luns",
        "target_portal",
        "target_portals",
        "volume_id",
    }
)
"""What a connection_info shows. Everything else is masked: no driver's secret has to be known."""

PLAIN_CONNECTOR = frozenset(
    {
        "do_local_attach",
        "host",
        "initiator",
        "ip",
        "mode",
        "mountpoint",
        "multipath",
        "nqn",
        "os_type",
        "platform",
        "wwnns",
        "wwpns",
    }
)
"""What a connector shows."""


def masked(values: Mapping[str, Any], plain: frozenset[str]) -> dict[str, Any]:
    """Mask every value that is not known to be harmless; the shape stays.

    >>> masked({"target_lun": 1, "auth_password": "secret"}, PLAIN_DATA)
    {'target_lun': 1, 'auth_password': '***'}
    """
    return {k: v if k in plain or v is None else MASK for k, v in values.items()}


def volume_json(volume: Volume) -> dict[str, Any]:
    """Make a volume JSON."""
    return asdict(volume)


def attachment_json(attachment: Attachment, *, secrets: bool) -> dict[str, Any]:
    """Make an attachment JSON.

    :param secrets: show connection_info and connector as they are.
    """
    found = asdict(attachment)
    info, connector = found["connection_info"], found["connector"]
    if not secrets and info is not None:
        found["connection_info"] = {
            **masked(info, frozenset({"driver_volume_type"})),
            "data": masked(info.get("data") or {}, PLAIN_DATA),
        }
    if not secrets and connector is not None:
        found["connector"] = masked(connector, PLAIN_CONNECTOR)
    return found


def operation_json(operation: Operation) -> dict[str, Any]:
    """Make an operation JSON; its error is an object, or null."""
    found = asdict(operation)
    error = operation.error
    found["error"] = error and {"type": error.class_name, "message": error.message}
    found["leftovers"] = list(operation.leftovers)
    return found


def report_json(report: RecoveryReport, left_out: Mapping[str, str]) -> dict[str, Any]:
    """Make what recovery did JSON.

    :param left_out: backend -> why its operations were left alone.
    """
    return {**{k: list(v) for k, v in asdict(report).items()}, "left_out": dict(left_out)}
