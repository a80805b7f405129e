"""volflow.drivers.identity: names from outside."""

from __future__ import annotations

import pytest

from volflow.drivers.identity import iscsi_initiator
from volflow.exceptions import InvalidConnector


@pytest.mark.parametrize(
    "name",
    [
        "iqn.1994-05.com.redhat:abcdef012345",
        "IQN.1991-05.com.microsoft:Host_1",
        "eui.02004567A425678D",
        "naa.52004567ba64678d",
        "naa.62004567ba64678d0123456789abcdef",
    ],
)
def test_iscsi_names_pass_in_their_own_spelling(name: str):
    """When a connector has an iSCSI name, it is taken as it is: targets compare bytes."""
    assert iscsi_initiator({"initiator": name}) == name


@pytest.mark.parametrize(
    "connector",
    [
        {},
        {"initiator": None},
        {"initiator": ""},
        {"initiator": 5},
        {"initiator": "host-1"},
        {"initiator": "iqn.1994-05.com.example:a,initiator-address=ALL"},
        {"initiator": "iqn.1994-05.com.example:a b"},
        {"initiator": "iqn.1994-05.com.example:a\n"},
        {"initiator": "iqn.1994-05." + "a" * 220},
        {"initiator": "eui.12"},
        "iqn.1994-05.com.example:a",
        None,
    ],
)
def test_anything_else_is_refused(connector):
    """When the name could mean something else to a target's parser, it goes no further."""
    with pytest.raises(InvalidConnector):
        iscsi_initiator(connector)
