"""The driver `file` with LIO and nvmet passes the conformance kit, on a directory as kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.drivers.targets.kernel import FakeKernel
from volflow.drivers.file import FileDriver
from volflow.drivers.targets.lio import LioTarget
from volflow.drivers.targets.nvmet import NvmetTarget
from volflow.testing import DriverConformance

FOREIGN = (
    "iscsi/iqn.2003-01.org.example:theirs",
    "subsystems/nqn.2003-01.org.example:theirs",
)


class OnFakeKernel(DriverConformance):
    half_way_deaths = 8
    crash_step = 7
    patience_seconds = 1
    target: Callable[[], Any]

    @pytest.fixture(autouse=True)
    def kernel(self, tmp_path: Path) -> None:
        self.fake = FakeKernel(tmp_path / "kernel")

    def make_driver(self, tmp_path: Path) -> FileDriver:
        target = self.target()
        target.fs, target.root = self.fake, self.fake.root
        return FileDriver(tmp_path / "images", target)

    def make_broken_driver(self, tmp_path: Path) -> FileDriver:
        driver = self.make_driver(tmp_path)
        driver.target.root = tmp_path / "missing"
        return driver

    def restart_target(self):
        self.fake.wipe()

    @contextmanager
    def foreign(self):
        for path in FOREIGN:
            self.fake.make(self.fake.root / path)
        before = [p for p in self.fake.tree() if "theirs" in p]
        yield
        assert before == [p for p in self.fake.tree() if "theirs" in p]


class TestFileOnLio(OnFakeKernel):
    target = LioTarget

    def login(self, info, connector):
        self.fake.log_in_iscsi(info["data"], connector["initiator"].lower())

    def logout(self, info, connector):
        self.fake.log_out_iscsi(info["data"], connector["initiator"].lower())


class TestFileOnNvmet(OnFakeKernel):
    target = NvmetTarget
    tells_sessions = False
    connectors = ({"nqn": "nqn.2014-08.org.example:a"}, {"nqn": "nqn.2014-08.org.example:b"})
    bad_connectors = ({}, {"nqn": None}, {"nqn": ""}, {"nqn": 7}, {"nqn": "nqn.2014-08.x/.."})

    def login(self, info, connector):
        self.fake.connect_nvme(info["data"], connector["nqn"])

    def logout(self, info, connector):
        pass
