"""Every driver of the lab passes the conformance kit, with a real kernel and real initiators."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.guest import kernel
from tests.lab.guest.backends import BACKENDS, Backend
from tests.lab.guest.hosts import IscsiHost, NvmeHost, run
from volflow.testing import DriverConformance

pytestmark = pytest.mark.slow

IQN = "iqn.1994-05.com.example:"
NQN = "nqn.2014-08.org.example:"
FOREIGN_BLOCK = kernel.TARGET / "core" / "fileio_77" / "theirs"
FOREIGN_NVME = kernel.NVMET / "subsystems" / "nqn.2003-01.org.example:theirs"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


class Conformance(DriverConformance):
    """One backend, named by ``backend``; the emulated machine takes its time."""

    backend: str
    crash_step = 17
    half_way_deaths = 3
    patience_seconds = 90

    @pytest.fixture(autouse=True)
    def hosts(self, request: pytest.FixtureRequest) -> Iterator[None]:
        self.kind.require()
        if self.kind.target == "tgt":
            request.getfixturevalue("tgtd")
        self.here = {name: self.kind.host(IscsiHost, NvmeHost, name) for name in ("alice", "bob")}
        yield
        for host in self.here.values():
            host.close()
        kernel.wipe()
        for name in kernel.volumes():
            run("lvremove", "--devices", kernel.DISK, "--yes", f"lab/{name}")

    @property
    def kind(self) -> Backend:
        return BACKENDS[self.backend]

    def make_driver(self, tmp_path: Path):
        return self.kind.make(tmp_path)

    def login(self, info, connector):
        self._host(connector).log_in(info)

    def logout(self, info, connector):
        name = info["data"].get("target_iqn") or info["data"]["target_nqn"]
        self._host(connector).log_out(name)

    def _host(self, connector):
        name = connector.get("initiator") or connector["nqn"]
        return self.here[name.rpartition(":")[2]]


class OnLio(Conformance):
    connectors = ({"initiator": f"{IQN}alice"}, {"initiator": f"{IQN}bob"})

    def restart_target(self):
        kernel.wipe()

    @contextmanager
    def foreign(self):
        FOREIGN_BLOCK.mkdir(parents=True)
        yield
        assert FOREIGN_BLOCK.is_dir()
        FOREIGN_BLOCK.rmdir()
        FOREIGN_BLOCK.parent.rmdir()


class OnNvmet(Conformance):
    tells_sessions = False
    connectors = (
        {"nqn": f"{NQN}alice", "nvme_hostid": "11111111-1111-4111-8111-111111111111"},
        {"nqn": f"{NQN}bob", "nvme_hostid": "22222222-2222-4222-8222-222222222222"},
    )
    bad_connectors = ({}, {"nqn": None}, {"nqn": ""}, {"nqn": 7}, {"nqn": "nqn.2014-08.x/.."})

    def restart_target(self):
        kernel.wipe()

    @contextmanager
    def foreign(self):
        FOREIGN_NVME.mkdir()
        yield
        assert FOREIGN_NVME.is_dir()
        FOREIGN_NVME.rmdir()


class TestFileLio(OnLio):
    backend = "file-lio"


class TestLvmLio(OnLio):
    backend = "lvm-lio"


class TestThinLio(OnLio):
    backend = "thin-lio"


class TestLvmTgt(Conformance):
    backend = "lvm-tgt"
    connectors = OnLio.connectors


class TestLvmNvmet(OnNvmet):
    backend = "lvm-nvmet"
