"""The driver `file` on a real tgtd passes the conformance kit, with real initiators."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.tgtd import Initiator, RequireBinary, Tgtd, running_tgtd
from volflow.drivers.file import FileDriver
from volflow.testing import DriverConformance

FOREIGN = ("iqn.2001-04.com.example:disk", "iqn.2010-10.org.openstack:volume-not-a-uuid")


@pytest.fixture(scope="module")
def shared(require_binary: RequireBinary) -> Iterator[Tgtd]:
    with running_tgtd(require_binary) as tgtd:
        yield tgtd


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


class TestFileOnTgt(DriverConformance):
    half_way_deaths = 8

    @pytest.fixture(autouse=True)
    def target(self, shared: Tgtd) -> Iterator[None]:
        self.tgtd = shared
        self.logged_in: dict[str, Initiator] = {}
        yield
        for initiator in self.logged_in.values():
            initiator.log_out()
        shared.wipe()

    def make_driver(self, tmp_path: Path) -> FileDriver:
        return FileDriver(tmp_path / "images", self.tgtd.target())

    def make_broken_driver(self, tmp_path: Path) -> FileDriver:
        return FileDriver(tmp_path / "images", self.tgtd.target(control_port=9))

    def login(self, info, connector):
        initiator = Initiator(connector["initiator"])
        try:
            initiator.log_in(info["data"])
        except BaseException:
            initiator.log_out()
            raise
        self.logged_in[connector["initiator"]] = initiator

    def logout(self, info, connector):
        self.logged_in.pop(connector["initiator"]).log_out()

    def restart_target(self):
        self.tgtd.kill()
        self.tgtd.start()

    @contextmanager
    def foreign(self):
        for tid, name in enumerate(FOREIGN, 1):
            self.tgtd.adm("--op", "new", "--mode", "target", "--tid", tid, "-T", name)
            self.tgtd.adm("--op", "bind", "--mode", "target", "--tid", tid, "-I", "ALL")
        before = self._theirs()
        assert len(before) == len(FOREIGN)
        yield
        assert before == self._theirs()

    def _theirs(self):
        targets = self.tgtd.target().tgt.targets()
        return [target for target in targets if target.iqn in FOREIGN]
