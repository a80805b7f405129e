"""volflow.drivers.targets.location: provider_location and connection_info."""

from __future__ import annotations

import pytest

from volflow.drivers.chap import Credentials
from volflow.drivers.targets.location import Location, split_portals
from volflow.exceptions import ExportFailed, InvalidInput

IQN = "iqn.2010-10.org.openstack:volume-6f0c"
LOGIN = Credentials("user", "hunter2")
ONE = Location(("192.0.2.1:3260",), IQN, 1)
TWO = Location(("192.0.2.1:3260", "[2001:db8::1]:3260"), IQN, 1)


def test_it_is_written_as_cinder_writes_it():
    """When a location is recorded, it is portals, tag, name and LUN."""
    assert str(ONE) == f"192.0.2.1:3260,1 {IQN} 1"
    assert str(TWO) == f"192.0.2.1:3260;[2001:db8::1]:3260,1 {IQN} 1"


@pytest.mark.parametrize("location", [ONE, TWO])
def test_it_is_read_back(location: Location):
    """When a recorded location is read, it is the same."""
    assert Location.parse(str(location)) == location


def test_the_tag_does_not_matter():
    """When another writer put a target's id behind the comma, the location is the same."""
    assert Location.parse(f"192.0.2.1:3260,42 {IQN} 1") == ONE


@pytest.mark.parametrize("text", ["", "x", f"{IQN} 1", f"192.0.2.1:3260 {IQN} 1", f"a,1 {IQN} x"])
def test_anything_else_is_refused(text: str):
    """When a record reads otherwise, the error shows it."""
    with pytest.raises(ExportFailed, match="does not read 'ip:port,1 iqn lun'"):
        Location.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:0",
        "h:65536",
        "::1:3260",
        "a:1;",
        "a b:1",
        "a,b:1",
    ],
)
def test_a_portal_without_host_or_port_is_refused(text: str):
    """When a configured portal is wrong, the error says which."""
    with pytest.raises(InvalidInput, match="does not read 'ip:port'"):
        split_portals(text)


def test_one_path_is_described_in_the_single_form():
    """When there is one portal and no multipath, only the single keys are there."""
    assert ONE.describe("6f0c", LOGIN, multipath=False) == {
        "target_discovered": False,
        "target_portal": "192.0.2.1:3260",
        "target_iqn": IQN,
        "target_lun": 1,
        "volume_id": "6f0c",
        "auth_method": "CHAP",
        "auth_username": "user",
        "auth_password": "hunter2",
    }


@pytest.mark.parametrize(
    ("location", "multipath", "portals"),
    [
        (ONE, True, ["192.0.2.1:3260"]),
        (TWO, False, ["192.0.2.1:3260", "[2001:db8::1]:3260"]),
        (TWO, True, ["192.0.2.1:3260", "[2001:db8::1]:3260"]),
    ],
)
def test_several_paths_are_lists_of_one_length(location, multipath, portals):
    """When the connector is multipath or there are several portals, the lists are there too."""
    data = location.describe("6f0c", LOGIN, multipath=multipath)

    assert data["target_portals"] == portals
    assert data["target_iqns"] == [IQN] * len(portals)
    assert data["target_luns"] == [1] * len(portals)
    assert data["target_portal"] == portals[0]
