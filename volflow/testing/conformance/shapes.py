"""What a driver may return, checked; each function lists what is wrong, in sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from volflow.models import Connector, DriverVolume

COLUMNS = ("provider_location", "provider_auth")
ISCSI = ("iscsi", "iser")

_PORTAL = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:;,\s]+):[0-9]{1,5}")
_TARGET = re.compile(r"(iqn|eui|naa)\.\S+")


def model_update_faults(update: Any) -> list[str]:
    """Check what create_volume, create_export or ensure_export returned."""
    if update is None:
        return []
    if not isinstance(update, dict):
        return [f"a model update is a dict or None, not a {type(update).__name__}"]
    found = [f"a model update has no {key!r}, only {COLUMNS}" for key in set(update) - {*COLUMNS}]
    for key, value in update.items():
        if value is not None and not isinstance(value, str):
            found.append(f"{key} is a {type(value).__name__}, not a string or None")
    auth = update.get("provider_auth")
    if isinstance(auth, str) and len(auth.split(" ")) != 3:
        found.append("provider_auth does not read 'CHAP user secret'")
    return found


def connection_info_faults(info: Any, volume: DriverVolume, connector: Connector) -> list[str]:
    """Check what initialize_connection returned for a volume as it is recorded."""
    if not isinstance(info, dict) or set(info) != {"driver_volume_type", "data"}:
        return [f"it is no {{'driver_volume_type': ..., 'data': ...}}: {_outline(info)}"]
    kind, data = info["driver_volume_type"], info["data"]
    if not isinstance(kind, str) or not isinstance(data, dict):
        return ["driver_volume_type has to be a string, data a dict"]
    found = list(_json_faults(data))
    if data.get("volume_id", volume.id) != volume.id:
        found.append(f"its volume_id is {data['volume_id']}, the volume's is {volume.id}")
    if volume.readonly and data.get("access_mode", "ro") != "ro":
        found.append("the volume is readonly, its access_mode is not 'ro'")
    if kind in ISCSI:
        found += _path_faults(data)
        found += _credential_faults(data, volume)
        if connector.get("multipath") or "target_portals" in data:
            found += _multipath_faults(data)
    return found


def _json_faults(data: dict[str, Any]) -> Iterator[str]:
    try:
        again = json.loads(json.dumps(data, allow_nan=False))
    except (TypeError, ValueError) as e:
        yield f"data is no JSON: {e}"
        return
    for key, value in data.items():
        if again.get(key) != value:
            yield f"JSON does not keep data[{key!r}], a {type(value).__name__}, as it is"


def _path_faults(data: Mapping[str, Any]) -> Iterator[str]:
    portal, iqn, lun = (data.get(f"target_{part}") for part in ("portal", "iqn", "lun"))
    if not isinstance(portal, str) or not _PORTAL.fullmatch(portal):
        yield f"target_portal does not read 'ip:port': {portal!r}"
    if not isinstance(iqn, str) or not _TARGET.fullmatch(iqn):
        yield f"target_iqn is no iSCSI name: {iqn!r}"
    if not isinstance(lun, int) or isinstance(lun, bool):
        yield f"target_lun is no int: {lun!r}"
    if not isinstance(data.get("target_discovered", False), bool):
        yield "target_discovered is no bool"


def _credential_faults(data: Mapping[str, Any], volume: DriverVolume) -> Iterator[str]:
    if volume.provider_auth is None:
        return
    told = [data.get(f"auth_{part}") for part in ("method", "username", "password")]
    if told != volume.provider_auth.split(" "):
        # Neither is shown: they are secrets also in a test's report.
        yield "auth_method, auth_username and auth_password are not the recorded provider_auth"


def _multipath_faults(data: Mapping[str, Any]) -> Iterator[str]:
    lengths = set()
    for part in ("portal", "iqn", "lun"):
        main, several = data.get(f"target_{part}"), data.get(f"target_{part}s")
        if not isinstance(several, list) or main not in several:
            yield f"target_{part}s is no list that has target_{part} in it: {several!r}"
        else:
            lengths.add(len(several))
    if len(lengths) > 1:
        yield "target_portals, target_iqns and target_luns have several lengths"


def _outline(info: Any) -> str:
    return f"a dict with {sorted(map(str, info))}" if isinstance(info, dict) else f"{type(info)}"
