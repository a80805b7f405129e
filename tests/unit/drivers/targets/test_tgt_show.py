"""volflow.drivers.targets.tgt_show: what tgtadm prints, as records."""

from __future__ import annotations

import pytest

from volflow.drivers.targets import tgt_show
from volflow.drivers.targets.tgt_show import Lun, Session, ShownTarget
from volflow.exceptions import DriverError

SPECIMEN = """\
Target 5: iqn.2010-10.org.openstack:volume-a
    System information:
        Driver: iscsi
        State: ready
        Nop interval: 5
        Nop count: 3
    I_T nexus information:
    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: IET     00050000
            SCSI SN: beaf50
            Size: 0 MB, Block size: 1
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: null
            Backing store path: None
            Backing store flags: rw
    Account information:
    ACL information:
Target 2147483647: iqn.2010-10.org.openstack:volume-b
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 5
            Initiator: iqn.1994-05.com.example:h1 alias: none
            Connection: 0
                IP Address: 127.0.0.1
        I_T nexus: 6
            Initiator: iqn.1994-05.com.example:h2 alias: my host: two
            Connection: 1
                IP Address: [::1]
    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: chap:0123456789abcdef0123456789abcde
            SCSI SN: Jd7pVXsRqmAxkWb2eTnC
            Readonly: No
            Backing store path: None
        LUN: 1
            Type: disk
            SCSI ID: b
            SCSI SN: b
            Size: 67 MB, Block size: 512
            Readonly: Yes
            Backing store path: /images: all/b.raw
            Backing store flags: rw
    Account information:
        Jd7pVXsRqmAxkWb2eTnC
        second
        third (outgoing)
    ACL information:
        192.0.2.0/24
        iqn.1994-05.com.example:h1
"""


def test_the_specimen_is_read():
    """When tgtd shows an empty and a full target, every part is there in its order."""
    empty, full = tgt_show.parse_targets(SPECIMEN)

    assert empty == ShownTarget(
        5,
        "iqn.2010-10.org.openstack:volume-a",
        (5, 3),
        (),
        {0: Lun("IET     00050000", "beaf50", readonly=False, path=None)},
        (),
        (),
    )
    assert full == ShownTarget(
        2147483647,
        "iqn.2010-10.org.openstack:volume-b",
        (0, 0),
        (
            Session(5, 0, "iqn.1994-05.com.example:h1"),
            Session(6, 1, "iqn.1994-05.com.example:h2"),
        ),
        {
            0: Lun(
                "chap:0123456789abcdef0123456789abcde",
                "Jd7pVXsRqmAxkWb2eTnC",
                readonly=False,
                path=None,
            ),
            1: Lun("b", "b", readonly=True, path="/images: all/b.raw"),
        },
        ("Jd7pVXsRqmAxkWb2eTnC", "second"),
        ("192.0.2.0/24", "iqn.1994-05.com.example:h1"),
    )


def test_nothing_is_no_target():
    """When tgtd has no target it prints nothing."""
    assert tgt_show.parse_targets("") == ()


@pytest.mark.parametrize(
    "alias",
    [
        "x\n    ACL information:\n        iqn.1994-05.com.example:evil",
        "x\nTarget 5: iqn.2010-10.org.openstack:volume-c\n    ACL information:",
        "x\nTarget 9: iqn.2010-10.org.openstack:volume-a",
    ],
)
def test_an_alias_that_forges_lines_is_refused(alias: str):
    """When an initiator's alias looks like a section or a target, nothing is believed."""
    with pytest.raises(DriverError, match="look for an initiator with a line feed"):
        tgt_show.parse_targets(SPECIMEN.replace("alias: none", f"alias: {alias}"))


def test_connections_are_read():
    """When initiators are logged in, each connection has its ids and its name."""
    shown = (
        "Session: 5\n    Connection: 0\n        Initiator: iqn.1994-05.com.example:h1\n"
        "        IP Address: 127.0.0.1\n"
        "Session: 7\n    Connection: 1\n        Initiator: iqn.1994-05.com.example:h2\n"
        "        IP Address: 127.0.0.1\n"
    )

    assert tgt_show.parse_connections(shown) == (
        Session(5, 0, "iqn.1994-05.com.example:h1"),
        Session(7, 1, "iqn.1994-05.com.example:h2"),
    )
    assert tgt_show.parse_connections("") == ()


def test_accounts_are_read():
    """When there are accounts, their users are listed; without any, tgtd prints nothing."""
    assert tgt_show.parse_accounts("Account list:\n    u2\n    u1\n") == ("u2", "u1")
    assert tgt_show.parse_accounts("") == ()


def test_portals_are_read():
    """When tgtd listens, each portal is listed without its tag."""
    shown = "Portal: 0.0.0.0:3260,1\nPortal: [::]:3260,1\n"

    assert tgt_show.parse_portals(shown) == ("0.0.0.0:3260", "[::]:3260")
