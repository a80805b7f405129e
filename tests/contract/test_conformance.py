"""The drivers that need no server pass the conformance kit."""

from __future__ import annotations

import logging

import pytest

from volflow.drivers.local import LocalDriver
from volflow.testing import DriverConformance, MemoryDriver


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


class TestMemoryDriver(DriverConformance):
    crash_step = 3  # tests/faults tries all of its points
    make_broken_driver = None
    foreign = None

    def make_driver(self, tmp_path):
        self.backend = getattr(self, "backend", None) or MemoryDriver()
        return self.backend

    def login(self, info, connector):
        self.backend.login(info, connector["initiator"])

    def logout(self, info, connector):
        self.backend.logout(info["data"]["volume_id"], connector["initiator"])

    def restart_target(self):
        self.backend.restart_target()


class TestLocalDriver(DriverConformance):
    login = None
    logout = None
    restart_target = None
    foreign = None

    def make_driver(self, tmp_path):
        return LocalDriver(tmp_path / "images")

    def make_broken_driver(self, tmp_path):
        (tmp_path / "file").touch()
        return LocalDriver(tmp_path / "file")
