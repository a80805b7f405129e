"""volflow.drivers.targets.nvmet on a kernel that is a directory; the lab has the real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.drivers.targets.kernel import Death, FakeKernel, Mortal, let_die
from tests.unit.drivers.volumes import driver_volume
from volflow.drivers import Export
from volflow.drivers.targets import Target
from volflow.drivers.targets.nvmet import NvmetTarget
from volflow.drivers.targets.nvmet_parts import host_mark, port_number
from volflow.exceptions import (
    ConnectionFailed,
    DriverError,
    ExportFailed,
    InvalidConnector,
    InvalidInput,
    TransientDriverError,
)
from volflow.models import DriverVolume

ALICE = "nqn.2014-08.org.nvmexpress:uuid:6f0c8d3e-0000-4000-8000-00000000000a"
BOB = "nqn.2014-08.org.example:Bob"
PREFIX = "nqn.2010-10.org.openstack:volume-"
PORT = port_number("127.0.0.1:4420")


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path / "nvmet")


@pytest.fixture
def target(kernel: FakeKernel) -> NvmetTarget:
    return made(kernel)


@pytest.fixture
def volume() -> DriverVolume:
    return driver_volume()


def made(kernel: FakeKernel, **options: object) -> NvmetTarget:
    target = NvmetTarget(**options)
    target.fs, target.root = kernel, kernel.root
    return target


def mortal(kernel: FakeKernel, fatal: int) -> tuple[NvmetTarget, Mortal]:
    target = made(kernel)
    return target, let_die(target, fatal)


def who(name: str) -> dict[str, object]:
    return {"nqn": name}


def exported(target: NvmetTarget, volume: DriverVolume, path: Path) -> DriverVolume:
    return replace(volume, **target.create(volume, path))


def test_it_is_a_target_that_cannot_tell_who_is_connected():
    """When a driver is given one, the question who is connected is left to the core."""
    target: Target = NvmetTarget()

    assert not hasattr(target, "disconnect_unused")


@pytest.mark.parametrize(
    "options",
    [
        {"portal": "nowhere"},
        {"portal": "target.example:4420"},
        {"nqn_prefix": "volume-"},
        {"nqn_prefix": "nqn.2010-10.org.x:a/b"},
    ],
)
def test_a_wrong_option_is_refused_at_once(options):
    """When configuration cannot be, the constructor says so."""
    with pytest.raises(InvalidInput):
        NvmetTarget(**options)


@pytest.mark.parametrize("connector", [{}, {"nqn": 7}, {"nqn": "nqn.2014-08.a/../../hosts"}])
def test_a_connector_without_an_nvme_name_is_refused(target, connector):
    """When a name is missing or could lead to another directory, it is refused."""
    with pytest.raises(InvalidConnector):
        target.validate_connector(connector)
    with pytest.raises(InvalidConnector):
        target.connect(driver_volume(), connector)


def test_the_key_of_the_acl_is_the_hosts_name_as_it_is(target):
    """When a name has capitals, they count: the kernel compares them."""
    assert target.initiator_of(who(BOB)) == BOB


def test_a_portal_of_another_host_is_named(kernel):
    """When the configured address is not here, the check says so."""
    with pytest.raises(DriverError, match=r"'192\.0\.2\.1:4420' has no address of this host"):
        made(kernel, portal="192.0.2.1:4420").check()


def test_a_kernel_that_cannot_be_asked_exports_not_nothing(target, volume, path, monkeypatch):
    """When the directory is away, no call takes that for a backend without exports."""
    monkeypatch.setattr(target, "root", path.parent / "away")
    monkeypatch.setattr("volflow.drivers.command.run", lambda *_, **__: None)
    for call in (
        target.check,
        target.exports,
        lambda: target.create(volume, path),
        lambda: target.remove(volume),
        lambda: target.connect(volume, who(ALICE)),
        lambda: target.disconnect(volume, who(ALICE)),
    ):
        with pytest.raises(DriverError, match="mount configfs"):
            call()


def test_an_export_is_a_subsystem_that_no_port_shows(kernel, target, volume, path):
    """When a volume is exported, it is held open and nobody can connect."""
    update = target.create(volume, path)

    nqn = f"{PREFIX}{volume.id}"
    assert update == {"provider_location": f"127.0.0.1:4420 tcp {nqn} 1"}
    assert kernel.tree() == [f"subsystems/{nqn}", f"subsystems/{nqn}/namespaces/1"]
    namespace = kernel.root / "subsystems" / nqn / "namespaces" / "1"
    assert (namespace / "device_uuid").read_text() == volume.id
    assert (namespace / "enable").read_text() == "1"
    assert target.exports() == [Export(volume.id, (), ())]


def test_each_host_has_a_subsystem_of_its_own(kernel, target, volume, path):
    """When two hosts connect, each may connect to its own subsystem alone."""
    volume = exported(target, volume, path)

    info = target.connect(volume, who(ALICE))
    target.connect(volume, who(BOB))

    nqn = f"{PREFIX}{volume.id}:{host_mark(ALICE)}"
    assert info == {
        "driver_volume_type": "nvmeof",
        "data": {
            "target_nqn": nqn,
            "vol_uuid": volume.id,
            "ns_id": 1,
            "portals": [["127.0.0.1", 4420, "tcp"]],
            "volume_id": volume.id,
        },
    }
    allowed = kernel.root / "subsystems" / nqn / "allowed_hosts"
    assert [link.name for link in allowed.iterdir()] == [ALICE]
    assert (kernel.root / "ports" / str(PORT) / "subsystems" / nqn).is_symlink()
    (export,) = target.exports()
    assert (export.volume_id, set(export.initiators), export.sessions) == (
        volume.id,
        {ALICE, BOB},
        None,
    )

    target.disconnect(volume, who(ALICE))
    assert target.exports() == [Export(volume.id, (BOB,), None)]
    target.disconnect(volume, who(BOB))
    assert target.exports() == [Export(volume.id, (), ())]
    assert not [path for path in kernel.tree() if path.startswith(("ports", "hosts"))]
    target.remove(volume)
    assert kernel.tree() == []


def test_an_export_goes_with_all_its_hosts(kernel, target, volume, path):
    """When the export is removed, no host's subsystem stays, and other volumes' do."""
    other = exported(target, driver_volume(), path)
    target.connect(other, who(ALICE))
    before = kernel.tree()
    volume = exported(target, volume, path)
    for name in (ALICE, BOB):
        target.connect(volume, who(name))

    target.remove(volume)

    assert kernel.tree() == before


def test_a_volume_that_is_not_exported_connects_nobody(kernel, target, volume):
    """When there is no export, none is invented."""
    with pytest.raises(ConnectionFailed, match="is not exported"):
        target.connect(volume, who(ALICE))
    assert kernel.tree() == []


def test_ensure_refuses_a_location_that_it_does_not_serve(target, volume, path):
    """When the portal was configured anew, the error names both locations."""
    with pytest.raises(ExportFailed, match=r"recorded at '192\.0\.2\.1.* exports it at '127\.0"):
        target.ensure(replace(volume, provider_location=f"192.0.2.1:4420 tcp {PREFIX}x 1"), path)


def test_ipv6_and_several_portals(kernel, volume, path):
    """When there are several portals, the subsystem is shown at each."""
    target = made(kernel, portal="127.0.0.1:4420;[::1]:4421", discard=True)
    volume = exported(target, volume, path)

    data = target.connect(volume, who(ALICE))["data"]

    assert data["portals"] == [["127.0.0.1", 4420, "tcp"], ["::1", 4421, "tcp"]]
    assert data["discard"] is True
    port = kernel.root / "ports" / str(port_number("[::1]:4421"))
    assert (port / "addr_adrfam").read_text() == "ipv6"
    assert (port / "addr_traddr").read_text() == "::1"
    target.remove(volume)
    assert kernel.tree() == []


def test_a_port_of_somebody_else_is_used_and_left(kernel, target, volume, path):
    """When an operator made a port for the address, there is no second one."""
    theirs = kernel.root / "ports" / "1"
    kernel.make(theirs)
    values = {"trtype": "tcp", "adrfam": "ipv4", "traddr": "127.0.0.1", "trsvcid": "4420"}
    for name, value in values.items():
        kernel.write(theirs / f"addr_{name}", value)
    volume = exported(target, volume, path)
    target.connect(volume, who(ALICE))

    assert [port.name for port in (kernel.root / "ports").iterdir()] == ["1"]
    target.remove(volume)

    assert kernel.tree() == ["ports/1"]


def test_a_port_that_goes_away_meanwhile_is_made_again(kernel, target, volume, path, monkeypatch):
    """When another process removes the empty port just then, it is made once more."""
    volume = exported(target, volume, path)
    link, gone = kernel.link, []

    def racing(source: Path, where: Path) -> None:
        if where.parent.name == "subsystems" and not gone:
            gone.append(where)
            kernel.remove(where.parent.parent)
        link(source, where)

    monkeypatch.setattr(kernel, "link", racing)

    target.connect(volume, who(ALICE))

    assert gone
    assert target.exports() == [Export(volume.id, (ALICE,), None)]


def test_a_port_that_never_stays_is_a_transient_error(kernel, target, volume, path, monkeypatch):
    """When the port is removed again and again, the call may be repeated later."""
    volume = exported(target, volume, path)
    link = kernel.link

    def racing(source: Path, where: Path) -> None:
        if where.parent.name == "subsystems":
            kernel.remove(where.parent.parent)
        link(source, where)

    monkeypatch.setattr(kernel, "link", racing)

    with pytest.raises(TransientDriverError, match="changes all the time"):
        target.connect(volume, who(ALICE))


def test_what_is_not_volflows_is_neither_listed_nor_touched(kernel, target, volume, path):
    """When others use nvmet too, their objects stay as they are."""
    for nqn in ("nqn.2014-08.org.example:disk", f"{PREFIX}not-a-uuid"):
        kernel.make(kernel.root / "subsystems" / nqn)
    kernel.make(kernel.root / "hosts" / ALICE)
    kernel.link(
        kernel.root / "hosts" / ALICE,
        kernel.root / "subsystems" / "nqn.2014-08.org.example:disk" / "allowed_hosts" / ALICE,
    )
    before = kernel.tree()
    volume = exported(target, volume, path)
    target.connect(volume, who(ALICE))

    assert target.exports() == [Export(volume.id, (ALICE,), None)]
    target.remove(volume)

    assert kernel.tree() == before


def test_another_path_is_exported_unless_a_host_has_access(target, volume, path, tmp_path):
    """When the volume moved, its export follows, and a host with access keeps it where it is."""
    other = tmp_path / "other.raw"
    other.write_bytes(bytes(4096))
    volume = exported(target, volume, path)
    target.connect(volume, who(ALICE))
    with pytest.raises(ExportFailed, match="has access"):
        target.ensure(volume, other)
    target.disconnect(volume, who(ALICE))

    target.ensure(volume, other)
    target.connect(volume, who(ALICE))

    assert target.exports() == [Export(volume.id, (ALICE,), None)]


def test_a_path_that_is_not_there_is_a_clear_error(target, volume, tmp_path):
    """When the volume is missing, the kernel's answer is told in words."""
    with pytest.raises(ExportFailed, match="the device or file is not there"):
        target.create(volume, tmp_path / "missing.raw")


class TestDeaths:
    """A process that dies after any change of the kernel's state."""

    def play(self, target: NvmetTarget, volume: DriverVolume, path: Path) -> bool:
        try:
            target.connect(exported(target, volume, path), who(ALICE))
            target.remove(volume)
        except Death:
            return True
        return False

    def count(self, volume: DriverVolume, path: Path, tmp_path: Path) -> int:
        target, fs = mortal(FakeKernel(tmp_path / "counted"), -1)
        self.play(target, volume, path)
        return len(fs.changes)

    def finish(self, kernel: FakeKernel, volume: DriverVolume, path: Path) -> None:
        target = made(kernel)
        target.connect(exported(target, volume, path), who(ALICE))
        assert target.exports() == [Export(volume.id, (ALICE,), None)]

    def test_what_was_left_is_finished(self, tmp_path, volume, path):
        """When the calls are made again, access is complete, and nothing is twice."""
        whole = FakeKernel(tmp_path / "whole")
        self.finish(whole, volume, path)
        count = self.count(volume, path, tmp_path)
        assert count >= 30
        for fatal in range(count):
            kernel = FakeKernel(tmp_path / f"{fatal}")
            assert self.play(mortal(kernel, fatal)[0], volume, path)

            self.finish(kernel, volume, path)

            assert kernel.tree() == whole.tree()

    def test_what_was_left_is_removed(self, tmp_path, volume, path):
        """When access and export are removed instead, nothing is left."""
        for fatal in range(self.count(volume, path, tmp_path)):
            kernel = FakeKernel(tmp_path / f"{fatal}")
            assert self.play(mortal(kernel, fatal)[0], volume, path)

            made(kernel).disconnect(volume, who(ALICE))
            made(kernel).remove(volume)

            assert kernel.tree() == []

    def test_what_was_left_lets_nobody_in_but_the_host(self, tmp_path, volume, path):
        """When access is half made, a subsystem allows its host or nobody."""
        for fatal in range(self.count(volume, path, tmp_path)):
            kernel = FakeKernel(tmp_path / f"{fatal}")
            self.play(mortal(kernel, fatal)[0], volume, path)

            for attribute in kernel.root.glob("subsystems/*/attr_allow_any_host"):
                assert attribute.read_text() == "0"
