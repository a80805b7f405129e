"""The names that come from outside and end up in paths and commands, checked."""

from __future__ import annotations

import re
import uuid

from volflow.exceptions import InvalidConnector, InvalidUUID
from volflow.models import Connector

_INITIATOR = re.compile(
    r"iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9._:-]+"
    r"|eui\.[0-9a-f]{16}"
    r"|naa\.(?:[0-9a-f]{16}|[0-9a-f]{32})",
    re.IGNORECASE,
)
"""RFC 7143, 4.2.7; the underscore is none of it but is met in the field."""

_NQN = re.compile(r"nqn\.[0-9]{4}-[0-9]{2}\.[A-Za-z0-9._:-]+")
"""NVMe base specification, 4.5, without what is no part of a file name."""

_INITIATOR_BYTES = 223


def volume_uuid(volume_id: str) -> str:
    """Return the volume's id, which is safe as a part of a file name or an IQN.

    :raises InvalidUUID: it is no UUID in lower case with hyphens.
    """
    try:
        if str(uuid.UUID(volume_id)) == volume_id:
            return volume_id
    except (ValueError, AttributeError, TypeError):
        pass
    raise InvalidUUID(f"the volume id {volume_id!r} is no UUID in lower case with hyphens")


def iscsi_initiator(connector: Connector) -> str:
    """Return the connector's iSCSI name, in its own spelling.

    A target may take a comma or an equals sign in it for the next of its own parameters (tgtd
    finds ``initiator-address=ALL`` anywhere), so that only the standard's alphabet passes.

    :raises InvalidConnector: there is none, or it is no iSCSI name.
    """
    name = connector.get("initiator") if isinstance(connector, dict) else None
    if not isinstance(name, str) or not name:
        raise InvalidConnector("the connector has no initiator")
    if len(name) > _INITIATOR_BYTES or not _INITIATOR.fullmatch(name):
        raise InvalidConnector(f"the connector's initiator {name!r} is no iSCSI name")
    return name


def iscsi_key(connector: Connector) -> str:
    """Return what an ACL finds the connector's iSCSI name by: it, in lower case, or nothing."""
    return str(connector.get("initiator", "")).lower()


def nvme_host(connector: Connector) -> str:
    """Return the connector's NVMe name.

    :raises InvalidConnector: there is none, or it is no NVMe qualified name.
    """
    name = connector.get("nqn") if isinstance(connector, dict) else None
    if not isinstance(name, str) or not name:
        raise InvalidConnector("the connector has no nqn")
    if len(name) > _INITIATOR_BYTES or not _NQN.fullmatch(name):
        raise InvalidConnector(f"the connector's nqn {name!r} is no NVMe qualified name")
    return name
