"""volflow.drivers.file: images and a target."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.drivers.volumes import driver_volume
from volflow.drivers import Driver, Export
from volflow.drivers.file import FileDriver
from volflow.exceptions import DriverError

CONNECTOR = {"initiator": "iqn.1994-05.com.example:a"}


class FakeTarget:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.found: list[Export] = []

    def check(self):
        self.calls.append(("check",))

    def validate_connector(self, connector):
        self.calls.append(("validate", connector))

    def create(self, volume, path):
        self.calls.append(("create", volume.id, path))
        return {"provider_location": "here"}

    def ensure(self, volume, path):
        self.calls.append(("ensure", volume.id, path))

    def remove(self, volume):
        self.calls.append(("remove", volume.id))

    def connect(self, volume, connector):
        return {"driver_volume_type": "iscsi", "data": {}}

    def disconnect(self, volume, connector):
        self.calls.append(("disconnect", volume.id, connector))

    def disconnect_unused(self, volume, connector):
        self.calls.append(("disconnect_unused", volume.id, connector))

    def exports(self):
        return self.found


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget()


@pytest.fixture
def driver(tmp_path: Path, target: FakeTarget) -> FileDriver:
    driver = FileDriver(tmp_path / "images", target)
    driver.do_setup(None)
    return driver


def test_the_target_is_asked_with_the_image(driver, target):
    """When the core calls, the target gets the volume and its image's path."""
    volume = driver_volume()
    driver.check_for_setup_error()
    driver.create_volume(None, volume)
    path = driver.images.path(volume.id)

    driver.validate_connector(CONNECTOR)
    update = driver.create_export(None, volume, CONNECTOR)
    driver.ensure_export(None, volume)
    info = driver.initialize_connection(volume, CONNECTOR)
    driver.terminate_connection(volume, CONNECTOR, force=True)
    driver.terminate_unused_connection(volume, CONNECTOR)
    driver.remove_export(None, volume)

    assert isinstance(driver, Driver)
    assert update == {"provider_location": "here"}
    assert info["driver_volume_type"] == "iscsi"
    assert target.calls == [
        ("check",),
        ("validate", CONNECTOR),
        ("create", volume.id, path),
        ("ensure", volume.id, path),
        ("disconnect", volume.id, CONNECTOR),
        ("disconnect_unused", volume.id, CONNECTOR),
        ("remove", volume.id),
    ]


def test_an_exported_volume_is_not_deleted(driver, target):
    """When a target still serves the image, deleting it would only hide it."""
    volume = driver_volume()
    driver.create_volume(None, volume)
    target.found = [Export(volume.id)]

    with pytest.raises(DriverError, match="is still exported"):
        driver.delete_volume(None, volume)

    assert driver.images.path(volume.id).exists()
    assert driver.list_exports() == [Export(volume.id)]
    target.found = []
    driver.delete_volume(None, volume)
    driver.delete_volume(None, volume)


def test_a_volume_without_image_reaches_no_target(driver, target):
    """When there is no image, the target is not asked to export one."""
    with pytest.raises(DriverError, match="has no image"):
        driver.create_export(None, driver_volume(), CONNECTOR)

    assert target.calls == []
