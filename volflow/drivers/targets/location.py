"""Where an iSCSI export is reached, as ``provider_location`` records it."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Any

from volflow.drivers.chap import Credentials
from volflow.exceptions import DriverError, ExportFailed, InvalidInput

GROUP_TAG = 1
"""The portal group tag, as a discovery shows it behind the portal."""

_LOCATION = re.compile(r"([^,\s]+),\d+ (\S+) (\d+)")
_PORTAL = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:;,\s]+):([0-9]{1,5})")


def split_portals(text: str) -> tuple[str, ...]:
    """Split ``ip:port[;ip2:port...]``.

    :raises InvalidInput: one of them reads otherwise.

    >>> split_portals("192.0.2.1:3260;[2001:db8::1]:3260")
    ('192.0.2.1:3260', '[2001:db8::1]:3260')
    """
    portals = tuple(text.split(";"))
    for portal in portals:
        found = _PORTAL.fullmatch(portal)
        if not found or not 0 < int(found[2]) < 65536:
            raise InvalidInput(f"the portal {portal!r} does not read 'ip:port' or '[ipv6]:port'")
    return portals


@dataclass(frozen=True, slots=True)
class Location:
    """An export's portals, name and LUN.

    It is written ``ip:port[;ip2:port...],1 iqn lun``, as Cinder writes it. The number after the
    comma is the portal group's tag and not the target's id, which a restart of the target may
    change.

    >>> str(Location(("192.0.2.1:3260",), "iqn.2010-10.org.openstack:volume-6f0c", 1))
    '192.0.2.1:3260,1 iqn.2010-10.org.openstack:volume-6f0c 1'
    """

    portals: tuple[str, ...]
    iqn: str
    lun: int

    @classmethod
    def parse(cls, text: str) -> Location:
        """Read a recorded location, whatever its tag.

        :raises ExportFailed: it reads otherwise.
        """
        found = _LOCATION.fullmatch(text)
        if not found:
            raise ExportFailed(f"the location {text!r} does not read 'ip:port,1 iqn lun'")
        return cls(tuple(found[1].split(";")), found[2], int(found[3]))

    def __str__(self) -> str:
        return f"{';'.join(self.portals)},{GROUP_TAG} {self.iqn} {self.lun}"

    def describe(self, volume_id: str, login: Credentials, *, multipath: bool) -> dict[str, Any]:
        """Build connection_info's data: the first portal, and with several paths all of them."""
        data: dict[str, Any] = {
            "target_discovered": False,
            "target_portal": self.portals[0],
            "target_iqn": self.iqn,
            "target_lun": self.lun,
            "volume_id": volume_id,
            "auth_method": "CHAP",
            "auth_username": login.user,
            "auth_password": login.secret,
        }
        if multipath or len(self.portals) > 1:
            data["target_portals"] = list(self.portals)
            data["target_iqns"] = [self.iqn] * len(self.portals)
            data["target_luns"] = [self.lun] * len(self.portals)
        return data


def require_local(portals: tuple[str, ...]) -> None:
    """Check that a host can listen at the portals' addresses, and that others can be told them.

    :raises DriverError: one is an address of another host, or of none.
    """
    for portal in portals:
        host = portal.rpartition(":")[0].strip("[]")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise DriverError(
                f"the portal {portal!r} has no IP address: the kernel resolves no names"
            ) from None
        if address.is_unspecified:
            raise DriverError(f"the portal {portal!r} is no address that an initiator can reach")
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.bind((host, 0))
        except OSError:
            raise DriverError(f"the portal {portal!r} has no address of this host") from None
