"""What ``lvs`` and ``vgs --reportformat json`` say, as records.

The specimen is LVM 2.03.16's, asked with ``--units b --nosuffix``::

    {
        "report": [
            {
                "lv": [
                    {"lv_name":"volume-6f0c...", "lv_size":"1073741824", "lv_attr":"-wi-a-----",
                     "lv_path":"/dev/vg/volume-6f0c...", "lv_tags":"volflow", "pool_lv":"",
                     "zero":"unknown", "vg_extent_size":"4194304"}
                ]
            }
        ]
    }
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volflow.exceptions import DriverError

VOLUME_FIELDS = (
    "lv_name",
    "lv_size",
    "lv_attr",
    "lv_path",
    "lv_tags",
    "pool_lv",
    "zero",
    "vg_extent_size",
)
GROUP_FIELDS = ("vg_name", "vg_attr", "vg_extent_size", "vg_free")

_TYPE = 0
"""The first character of ``lv_attr``."""

_STATE = 4
"""The fifth, which is ``a`` where the device is there."""

_ORIGINS = "oO"
_THIN = "V"
_THIN_POOL = "t"


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """One logical volume.

    :ivar size: in bytes; so is ``extent``, of which the size is a multiple.
    :ivar pool: the thin pool that it takes its space from, or an empty string.
    :ivar zeroes: for a thin pool, whether it zeroes blocks before it gives them out.
    """

    name: str
    size: int
    attributes: str
    path: Path
    tags: tuple[str, ...]
    pool: str
    zeroes: bool
    extent: int

    @property
    def is_active(self) -> bool:
        """True where its device is there."""
        return self.attributes[_STATE] == "a"

    @property
    def is_origin(self) -> bool:
        """True where snapshots depend on it, which would be removed with it."""
        return self.attributes[_TYPE] in _ORIGINS

    @property
    def is_thin(self) -> bool:
        """True where a thin pool zeroes what it takes."""
        return self.attributes[_TYPE] == _THIN

    @property
    def is_thin_pool(self) -> bool:
        """True where it is no volume, but a pool of thin ones."""
        return self.attributes[_TYPE] == _THIN_POOL


@dataclass(frozen=True, slots=True)
class VolumeGroup:
    """One volume group; sizes in bytes."""

    name: str
    attributes: str
    extent: int
    free: int

    @property
    def is_writable(self) -> bool:
        """True where volumes can be made in it."""
        return self.attributes.startswith("w")


def parse_volume(text: str) -> LogicalVolume:
    """Read the one logical volume of a report.

    :raises DriverError: it reads otherwise.
    """
    row = _one(text, "lv")
    try:
        return LogicalVolume(
            row["lv_name"],
            int(row["lv_size"]),
            row["lv_attr"].ljust(_STATE + 1),
            Path(row["lv_path"]),
            tuple(filter(None, row["lv_tags"].split(","))),
            row["pool_lv"],
            row["zero"] == "zero",
            int(row["vg_extent_size"]),
        )
    except (KeyError, ValueError) as error:
        raise _unreadable("lvs", text) from error


def parse_group(text: str) -> VolumeGroup:
    """Read the one volume group of a report.

    :raises DriverError: it reads otherwise.
    """
    row = _one(text, "vg")
    try:
        return VolumeGroup(
            row["vg_name"], row["vg_attr"], int(row["vg_extent_size"]), int(row["vg_free"])
        )
    except (KeyError, ValueError) as error:
        raise _unreadable("vgs", text) from error


def _one(text: str, kind: str) -> dict[str, Any]:
    try:
        (row,) = json.loads(text)["report"][0][kind]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _unreadable(f"{kind}s", text) from error
    return dict(row)


def _unreadable(program: str, text: str) -> DriverError:
    return DriverError(f"{program} reports what cannot be read: {' '.join(text.split())[:200]}")
