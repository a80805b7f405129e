"""The drivers that need no server pass the conformance kit."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace

import pytest

from volflow.drivers.local import LocalDriver
from volflow.exceptions import InvalidConnector
from volflow.testing import DriverConformance, MemoryDriver
from volflow.testing.conformance.connections import ConnectionTests
from volflow.testing.conformance.deaths import DeathTests
from volflow.testing.conformance.errors import ErrorTests
from volflow.testing.conformance.sessions import SessionTests


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


class CannotTell(MemoryDriver):
    def list_exports(self):
        return [replace(export, sessions=None) for export in super().list_exports()]


class TestDriverThatCannotTellSessions(SessionTests, DeathTests):
    tells_sessions = False
    crash_step = 7

    def make_driver(self, tmp_path):
        self.backend = getattr(self, "backend", None) or CannotTell()
        return self.backend

    login = TestMemoryDriver.login
    logout = TestMemoryDriver.logout


class ByNqn(MemoryDriver):
    """Its hosts have an nqn, and no initiator."""

    def validate_connector(self, connector):
        if not isinstance(connector.get("nqn"), str) or not connector["nqn"]:
            raise InvalidConnector("the connector has no nqn")

    def initiator_of(self, connector):
        return connector["nqn"].lower()

    def connector_of(self, initiator):
        return {"nqn": initiator}

    def initialize_connection(self, volume, connector):
        return super().initialize_connection(
            volume, {**connector, "initiator": self.initiator_of(connector)}
        )

    def terminate_connection(self, volume, connector, force=False):
        super().terminate_connection(volume, {"initiator": self.initiator_of(connector)}, force)


class TestDriverWithOtherConnectors(ConnectionTests, ErrorTests, DeathTests):
    crash_step = 11
    connectors = ({"nqn": "nqn.2014-08.org.example:a"}, {"nqn": "nqn.2014-08.org.example:b"})
    bad_connectors = ({}, {"nqn": ""}, {"initiator": "iqn.2004-10.org.example:a"})
    make_broken_driver = None

    def make_driver(self, tmp_path):
        self.backend = getattr(self, "backend", None) or ByNqn()
        return self.backend


class TestLocalDriver(DriverConformance):
    login = None
    logout = None
    restart_target = None

    def make_driver(self, tmp_path):
        self.directory = tmp_path / "images"
        return LocalDriver(self.directory)

    def make_broken_driver(self, tmp_path):
        (tmp_path / "file").touch()
        return LocalDriver(tmp_path / "file")

    @contextmanager
    def foreign(self):
        theirs = [self.directory / name for name in ("notes.raw", "exports/notes.json", "notes")]
        for path in theirs:
            path.write_text("not volflow's")
        yield
        assert {path.read_text() for path in theirs} == {"not volflow's"}
