"""volflow.drivers.targets.tgt: what needs no tgtd."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.drivers.volumes import driver_volume
from volflow.drivers.targets import Target
from volflow.drivers.targets.tgt import TgtTarget
from volflow.exceptions import (
    ConnectionFailed,
    DriverError,
    ExportFailed,
    InvalidConnector,
    InvalidInput,
    TransientDriverError,
)

CONNECTOR = {"initiator": "iqn.1994-05.com.example:a"}
NOWHERE = "/nowhere/socket"


def test_it_is_a_target():
    """When a driver is given one, it has the port's methods."""
    target: Target = TgtTarget()

    assert target.exports


@pytest.mark.parametrize(
    "options",
    [
        {"portal": "nowhere"},
        {"iqn_prefix": "volume-"},
        {"iqn_prefix": "iqn.2010-10.org.example:a_b"},
        {"control_port": -1},
        {"control_port": 32768},
        {"timeout": 0},
        {"ping_seconds": 0},
    ],
)
def test_a_wrong_option_is_refused_at_once(options):
    """When configuration cannot be, the constructor says so."""
    with pytest.raises(InvalidInput):
        TgtTarget(**options)


@pytest.mark.parametrize("connector", [{}, {"initiator": "a,initiator-address=ALL"}])
def test_a_connector_without_an_iscsi_name_is_refused(connector):
    """When the name is missing or could open the door to all, it is refused."""
    with pytest.raises(InvalidConnector):
        TgtTarget().validate_connector(connector)


def test_every_call_without_tgtd_is_transient():
    """When tgtd does not answer, every call may be repeated later."""
    target = TgtTarget(socket=NOWHERE)
    volume = driver_volume(provider_auth="CHAP user hunter2")
    for call in (
        target.exports,
        target.check,
        lambda: target.create(volume, Path("/x")),
        lambda: target.ensure(volume, Path("/x")),
        lambda: target.remove(volume),
        lambda: target.connect(volume, CONNECTOR),
        lambda: target.disconnect(volume, CONNECTOR),
        lambda: target.disconnect_unused(volume, CONNECTOR),
    ):
        with pytest.raises(TransientDriverError, match="start tgtd") as caught:
            call()
        assert "hunter2" not in str(caught.value)


def test_a_missing_tgtadm_is_named(monkeypatch):
    """When tgtadm is not installed, the error says what to install."""
    monkeypatch.setattr("volflow.drivers.targets.tgtadm.PROGRAM", "volflow-no-such-tgtadm")

    with pytest.raises(DriverError, match=r"not installed.*Debian package tgt"):
        TgtTarget().check()


@pytest.mark.parametrize("path", ["/images,old/a.raw", "/images\n/a.raw"])
def test_a_path_that_tgtd_cannot_take_is_refused(path):
    """When a path would be cut at a comma, it is not exported at all."""
    volume = driver_volume()

    with pytest.raises(ExportFailed, match="no path with a comma or a control character"):
        TgtTarget(socket=NOWHERE).create(volume, Path(path))


def test_ensure_needs_recorded_credentials():
    """When nothing is recorded to export it with, ensure does not invent credentials."""
    with pytest.raises(ExportFailed, match="has no recorded credentials"):
        TgtTarget(socket=NOWHERE).ensure(driver_volume(), Path("/x"))


def test_ensure_refuses_a_location_that_it_does_not_serve():
    """When the portal was configured anew, the error names both locations."""
    volume = driver_volume(
        provider_location="192.0.2.1:3260,1 iqn.2010-10.org.openstack:volume-x 1",
        provider_auth="CHAP user hunter2",
    )

    with pytest.raises(ExportFailed, match=r"recorded at '192\.0\.2\.1.* exports it at '127\.0"):
        TgtTarget(socket=NOWHERE).ensure(volume, Path("/x"))


def test_malformed_credentials_are_refused_without_being_shown():
    """When provider_auth reads otherwise, no call shows it."""
    volume = driver_volume(provider_auth="hunter2")
    target = TgtTarget(socket=NOWHERE)
    for call in (
        lambda: target.create(volume, Path("/x")),
        lambda: target.ensure(volume, Path("/x")),
        lambda: target.connect(volume, CONNECTOR),
    ):
        with pytest.raises((ExportFailed, ConnectionFailed)) as caught:
            call()
        assert "hunter2" not in str(caught.value)
