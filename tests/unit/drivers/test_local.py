"""volflow.drivers.local: exports that outlive the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.drivers.volumes import driver_volume
from volflow.drivers import Driver, Export, initiator_of
from volflow.drivers.local import LocalDriver
from volflow.exceptions import ConnectionFailed, DriverError, ExportFailed, InvalidConnector

CONNECTOR = {"initiator": "iqn.1994-05.com.example:Host-1", "host": "host-1"}
KEY = "iqn.1994-05.com.example:host-1"


@pytest.fixture
def driver(tmp_path: Path) -> LocalDriver:
    return started(tmp_path)


def started(directory: Path) -> LocalDriver:
    driver = LocalDriver(directory)
    driver.do_setup(None)
    driver.check_for_setup_error()
    return driver


@pytest.fixture
def volume(driver: LocalDriver):
    volume = driver_volume()
    driver.create_volume(None, volume)
    return volume


def test_it_is_a_driver(driver: LocalDriver):
    """When the core asks, every method is there."""
    assert isinstance(driver, Driver)


def test_an_export_gives_access_to_nobody(driver, volume):
    """When an export is made, its ACL is empty."""
    update = driver.create_export(None, volume, CONNECTOR)

    assert update == {"provider_location": str(driver.images.path(volume.id))}
    assert driver.list_exports() == [Export(volume.id, (), ())]


def test_a_connection_tells_the_path_and_is_recorded(driver, volume):
    """When an initiator is given access, the answer has the path and the ACL has the key."""
    driver.create_export(None, volume, CONNECTOR)

    info = driver.initialize_connection(volume, CONNECTOR)

    assert info == {
        "driver_volume_type": "local",
        "data": {"device_path": str(driver.images.path(volume.id)), "volume_id": volume.id},
    }
    assert driver.list_exports() == [Export(volume.id, (KEY,), ())]


def test_exports_outlive_the_process(driver, volume, tmp_path: Path):
    """When the process dies, the next one lists the same exports and ACLs."""
    driver.create_export(None, volume, CONNECTOR)
    driver.initialize_connection(volume, CONNECTOR)

    assert started(tmp_path).list_exports() == [Export(volume.id, (KEY,), ())]


def test_every_call_may_be_repeated(driver, volume):
    """When each call is made twice, the second changes nothing."""
    for _ in range(2):
        driver.create_volume(None, volume)
        driver.create_export(None, volume, CONNECTOR)
    for _ in range(2):
        driver.initialize_connection(volume, CONNECTOR)
        driver.create_export(None, volume, CONNECTOR)
        driver.ensure_export(None, volume)
    assert driver.list_exports() == [Export(volume.id, (KEY,), ())]

    for _ in range(2):
        driver.terminate_connection(volume, CONNECTOR)
    assert driver.list_exports() == [Export(volume.id, (), ())]

    for _ in range(2):
        driver.remove_export(None, volume)
    assert driver.list_exports() == []
    driver.terminate_connection(volume, CONNECTOR)
    for _ in range(2):
        driver.delete_volume(None, volume)


def test_one_initiator_leaves_and_the_other_stays(driver, volume):
    """When an initiator's access is taken away, nobody else's is."""
    driver.create_export(None, volume, CONNECTOR)
    driver.initialize_connection(volume, CONNECTOR)
    driver.initialize_connection(volume, {"host": "Other"})

    driver.terminate_connection(volume, CONNECTOR)

    assert driver.list_exports() == [Export(volume.id, ("other",), ())]


def test_a_volume_that_is_not_exported_connects_nobody(driver, volume):
    """When there is no export, there is no connection."""
    with pytest.raises(ConnectionFailed, match="is not exported"):
        driver.initialize_connection(volume, CONNECTOR)


def test_ensure_refuses_another_location(driver, volume):
    """When the recorded path is another one, the error names both."""
    moved = driver_volume(id=volume.id, provider_location="/elsewhere")

    with pytest.raises(ExportFailed, match="is recorded at /elsewhere, but its image is /"):
        driver.ensure_export(None, moved)

    assert driver.list_exports() == []


def test_a_volume_without_image_is_not_exported(driver):
    """When the image is gone, neither call pretends that there is one."""
    volume = driver_volume()

    with pytest.raises(DriverError, match="has no image"):
        driver.create_export(None, volume, CONNECTOR)
    with pytest.raises(DriverError, match="has no image"):
        driver.ensure_export(None, volume)

    assert driver.list_exports() == []


@pytest.mark.parametrize(
    ("connector", "key"),
    [
        (CONNECTOR, KEY),
        ({"host": "Node-7"}, "node-7"),
        ({"initiator": "", "host": "node-7"}, "node-7"),
    ],
)
def test_the_key_is_the_initiator_else_the_host(driver, connector, key):
    """When a connector names either, the key is that in lower case."""
    driver.validate_connector(connector)

    assert initiator_of(driver, connector) == key


@pytest.mark.parametrize("connector", [{}, {"host": None}, {"ip": "192.0.2.1"}, None])
def test_a_connector_without_a_name_is_refused(driver, connector):
    """When a connector names nobody, there is nothing to put on an ACL."""
    with pytest.raises(InvalidConnector, match="neither an initiator nor a host"):
        driver.validate_connector(connector)
