"""volflow.drivers.targets.lio on a kernel that is a directory; the lab has the real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.drivers.targets.kernel import Death, FakeKernel, Mortal, let_die
from tests.unit.drivers.volumes import driver_volume
from volflow.drivers import Export
from volflow.drivers.targets import TellingTarget
from volflow.drivers.targets.lio import LioTarget
from volflow.drivers.targets.lio_parts import hba_number
from volflow.exceptions import (
    ConnectionFailed,
    ConnectionInUse,
    DriverError,
    ExportFailed,
    InvalidConnector,
    InvalidInput,
)
from volflow.models import DriverVolume

ALICE = "iqn.1994-05.com.example:alice"
BOB = "iqn.1994-05.com.example:bob"
PREFIX = "iqn.2010-10.org.openstack:volume-"


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path / "target")


@pytest.fixture
def target(kernel: FakeKernel) -> LioTarget:
    return made(kernel)


@pytest.fixture
def volume() -> DriverVolume:
    return driver_volume(provider_auth="CHAP user secret-of-the-volume")


def made(kernel: FakeKernel, **options: object) -> LioTarget:
    target = LioTarget(**options)
    target.fs, target.root = kernel, kernel.root
    return target


def mortal(kernel: FakeKernel, fatal: int) -> tuple[LioTarget, Mortal]:
    target = made(kernel)
    return target, let_die(target, fatal)


def who(name: str) -> dict[str, object]:
    return {"initiator": name}


def exported(target: LioTarget, volume: DriverVolume, path: Path) -> DriverVolume:
    return replace(volume, **target.create(volume, path))


def secret_of(kernel: FakeKernel, initiator: str) -> str:
    (found,) = kernel.root.glob(f"iscsi/*/tpgt_1/acls/{initiator}/auth/password")
    return found.read_text()


def test_it_tells_who_is_logged_in():
    """When a driver is given one, it can refuse logins before it looks for sessions."""
    target: TellingTarget = LioTarget()

    assert target.disconnect_unused


@pytest.mark.parametrize(
    "options",
    [{"portal": "nowhere"}, {"iqn_prefix": "volume-"}, {"iqn_prefix": "iqn.2010-10.org.x:a_b"}],
)
def test_a_wrong_option_is_refused_at_once(options):
    """When configuration cannot be, the constructor says so."""
    with pytest.raises(InvalidInput):
        LioTarget(**options)


@pytest.mark.parametrize("connector", [{}, {"initiator": "../../core"}, {"initiator": "a/b"}])
def test_a_connector_without_an_iscsi_name_is_refused(target, connector):
    """When a name could lead to another directory, it is refused."""
    with pytest.raises(InvalidConnector):
        target.validate_connector(connector)
    with pytest.raises(InvalidConnector):
        target.connect(driver_volume(), connector)


def test_a_portal_of_another_host_is_named(kernel):
    """When the configured address is not here, the check says so."""
    with pytest.raises(DriverError, match=r"'192\.0\.2\.1:3260' has no address of this host"):
        made(kernel, portal="192.0.2.1:3260").check()
    with pytest.raises(DriverError, match="has no IP address: the kernel resolves no names"):
        made(kernel, portal="target.example:3260").check()
    with pytest.raises(DriverError, match="is no address that an initiator can reach"):
        made(kernel, portal="0.0.0.0:3260").check()
    made(kernel, portal="127.0.0.1:3260;[::1]:3260").check()


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


def test_an_export_is_all_of_what_the_kernel_needs(kernel, target, volume, path):
    """When a volume is exported, the tree holds device, target, LUN and portal, and is open."""
    update = target.create(volume, path)

    assert update == {
        "provider_location": f"127.0.0.1:3260,1 {PREFIX}{volume.id} 0",
        "provider_auth": volume.provider_auth,
    }
    hba, iqn = f"fileio_{hba_number(volume.id)}", f"{PREFIX}{volume.id}"
    assert kernel.tree() == [
        f"core/{hba}",
        f"core/{hba}/{iqn}",
        f"iscsi/{iqn}",
        f"iscsi/{iqn}/tpgt_1",
        f"iscsi/{iqn}/tpgt_1/lun/lun_0",
        f"iscsi/{iqn}/tpgt_1/lun/lun_0/{volume.id}",
        f"iscsi/{iqn}/tpgt_1/np/127.0.0.1:3260",
    ]
    device = kernel.root / "core" / hba / iqn
    assert (device / "control").read_text() == f"fd_dev_name={path},fd_dev_size=4096"
    assert (device / "wwn" / "vpd_unit_serial").read_text().endswith(f": {volume.id}")
    assert (kernel.root / "iscsi" / iqn / "tpgt_1" / "enable").read_text() == "1"
    assert target.exports() == [Export(volume.id, (), ())]


def test_access_is_one_entry_with_the_volumes_credentials(kernel, target, volume, path):
    """When an initiator is connected, its entry has the secret, whatever the name's case."""
    volume = exported(target, volume, path)

    info = target.connect(volume, who("iqn.1994-05.com.example:Alice"))

    assert info["data"]["auth_password"] == "secret-of-the-volume"
    assert info["data"]["target_lun"] == 0
    assert secret_of(kernel, ALICE) == "secret-of-the-volume"
    assert target.exports() == [Export(volume.id, (ALICE,), ())]
    target.disconnect(volume, who(ALICE))
    assert target.exports() == [Export(volume.id, (), ())]
    target.remove(volume)
    assert kernel.tree() == []


def test_a_volume_that_is_not_exported_connects_nobody(target, volume):
    """When there is no export, none is invented."""
    with pytest.raises(ConnectionFailed, match="is not exported"):
        target.connect(volume, who(ALICE))


def test_credentials_that_lio_would_take_for_none_are_replaced(kernel, target, volume, path):
    """When a secret begins with the word that unsets it, another one is recorded."""
    volume = exported(target, replace(volume, provider_auth="CHAP user NULLandMore"), path)

    assert "NULL" not in str(volume.provider_auth)
    target.connect(volume, who(ALICE))
    assert f"CHAP user {secret_of(kernel, ALICE)}" != volume.provider_auth
    assert str(volume.provider_auth).endswith(secret_of(kernel, ALICE))


def test_new_credentials_replace_the_former_ones(kernel, target, volume, path):
    """When the record changed, who is logged in stays, and who is not loses its entry."""
    volume = exported(target, volume, path)
    for name in (ALICE, BOB):
        target.connect(volume, who(name))
    kernel.log_in(ALICE)
    volume = replace(volume, provider_auth="CHAP user new-secret")

    target.ensure(volume, path)

    assert target.exports() == [Export(volume.id, (ALICE,), (ALICE,))]
    assert secret_of(kernel, ALICE) == "new-secret"
    target.connect(volume, who(BOB))
    assert secret_of(kernel, BOB) == "new-secret"


def test_used_access_stays_and_works_again(kernel, target, volume, path):
    """When the initiator is logged in, it keeps its entry and its secret."""
    volume = exported(target, volume, path)
    target.connect(volume, who(ALICE))
    kernel.log_in(ALICE)

    with pytest.raises(ConnectionInUse):
        target.disconnect_unused(volume, who(ALICE))

    assert secret_of(kernel, ALICE) == "secret-of-the-volume"
    assert target.exports() == [Export(volume.id, (ALICE,), (ALICE,))]


def test_logins_are_refused_before_sessions_are_read(kernel, target, volume, path, monkeypatch):
    """When unused access is taken away, nobody can come between the look and the removal."""
    volume = exported(target, volume, path)
    target.connect(volume, who(ALICE))
    seen = []
    read = kernel.read

    def spy(asked: Path) -> str:
        if asked.name == "info":
            seen.append(secret_of(kernel, ALICE))
        return read(asked)

    monkeypatch.setattr(kernel, "read", spy)

    target.disconnect_unused(volume, who(ALICE))

    assert seen == ["NULL"]
    assert target.exports()[0].initiators == ()


def test_a_death_before_the_door_was_opened_again_is_made_good(kernel, volume, path):
    """When the process died with the door shut, the next look opens it for who is logged in."""
    target, fs = mortal(kernel, -1)
    volume = exported(target, volume, path)
    target.connect(volume, who(ALICE))
    kernel.log_in(ALICE)
    fs.fatal = len(fs.changes)
    with pytest.raises(Death):
        target.disconnect_unused(volume, who(ALICE))
    assert secret_of(kernel, ALICE) == "NULL"

    with pytest.raises(ConnectionInUse):
        made(kernel).disconnect_unused(volume, who(ALICE))

    assert secret_of(kernel, ALICE) == "secret-of-the-volume"


def test_a_readonly_volume_is_write_protected(kernel, target, volume, path):
    """When a volume is readonly, or no longer is, every initiator's LUN says so."""
    volume = exported(target, replace(volume, readonly=True), path)
    target.connect(volume, who(ALICE))
    (protect,) = kernel.root.glob("iscsi/*/tpgt_1/acls/*/lun_0/write_protect")
    assert protect.read_text() == "1"

    target.ensure(replace(volume, readonly=False), path)

    assert protect.read_text() == "0"


def test_discard_is_offered_where_it_is_configured(kernel, volume, path):
    """When discard is on, the device offers it and the host is told."""
    target = made(kernel, discard=True)
    volume = exported(target, volume, path)

    assert target.connect(volume, who(ALICE))["data"]["discard"] is True
    (offered,) = kernel.root.glob("core/*/*/attrib/emulate_tpu")
    assert offered.read_text() == "1"


def test_several_portals_are_all_made_and_stale_ones_removed(kernel, volume, path):
    """When portals changed while nothing is recorded, the export has the configured ones."""
    exported(made(kernel, portal="127.0.0.1:3260;127.0.0.2:3260"), volume, path)
    target = made(kernel, portal="[::1]:3260;127.0.0.2:3260")
    volume = exported(target, volume, path)

    portals = {found.name for found in kernel.root.glob("iscsi/*/tpgt_1/np/*")}
    assert portals == {"[::1]:3260", "127.0.0.2:3260"}
    data = target.connect(volume, who(ALICE))["data"]
    assert data["target_portals"] == ["[::1]:3260", "127.0.0.2:3260"]


def test_ensure_refuses_a_location_that_it_does_not_serve(target, volume, path):
    """When the portal was configured anew, the error names both locations."""
    location = f"192.0.2.1:3260,1 {PREFIX}{volume.id} 0"

    with pytest.raises(ExportFailed, match=r"recorded at '192\.0\.2\.1.* exports it at '127\.0"):
        target.ensure(replace(volume, provider_location=location), path)
    with pytest.raises(ExportFailed, match="has no recorded credentials"):
        target.ensure(replace(volume, provider_auth=None), path)


def test_another_path_is_exported_unless_somebody_is_logged_in(
    kernel, target, volume, path, tmp_path
):
    """When the volume moved, its export follows, and a live session keeps it where it is."""
    other = tmp_path / "other.raw"
    other.write_bytes(bytes(8192))
    volume = exported(target, volume, path)
    target.connect(volume, who(ALICE))
    kernel.log_in(ALICE)
    with pytest.raises(ExportFailed, match="is logged in"):
        target.ensure(volume, other)
    target.disconnect(volume, who(ALICE))

    target.ensure(volume, other)

    (shown,) = kernel.root.glob("core/*/*/udev_path")
    assert shown.read_text() == str(other)


@pytest.mark.parametrize("name", ["a,b.raw", "a\nb.raw"])
def test_a_path_that_lio_cannot_take_is_refused(kernel, target, volume, tmp_path, name):
    """When a path would be cut at a comma, it is not exported at all."""
    with pytest.raises(ExportFailed, match="no path with a comma or a control character"):
        target.create(volume, tmp_path / name)
    assert kernel.tree() == []


def test_a_path_that_is_not_there_is_a_clear_error(target, volume, tmp_path):
    """When the volume is missing, or is a directory, the error says so."""
    with pytest.raises(ExportFailed, match="No such file or directory"):
        target.create(volume, tmp_path / "missing.raw")
    with pytest.raises(ExportFailed, match="neither a block device nor a file"):
        target.create(volume, tmp_path)


def test_what_is_not_volflows_is_neither_listed_nor_touched(kernel, target, volume, path):
    """When others use LIO too, their objects stay as they are."""
    for name in ("iqn.2003-01.org.linux-iscsi.lab:sn.1", f"{PREFIX}not-a-uuid"):
        kernel.make(kernel.root / "iscsi" / name)
    kernel.make(kernel.root / "core" / "iblock_0")
    for name in ("disk", "6f0c8d3e-0000-4000-8000-00000000000a"):
        kernel.make(kernel.root / "core" / "iblock_0" / name)
    before = kernel.tree()
    volume = exported(target, volume, path)

    assert target.exports() == [Export(volume.id, (), ())]
    target.remove(volume)

    assert kernel.tree() == before


def test_two_volumes_with_the_same_number_share_the_hba(kernel, target, path, monkeypatch):
    """When two ids give one number, removing one volume leaves the other's device."""
    monkeypatch.setattr("volflow.drivers.targets.lio_parts.hba_number", lambda _: 2**30)
    first, second = (exported(target, driver_volume(), path) for _ in range(2))

    target.remove(first)

    assert target.exports() == [Export(second.id, (), ())]
    target.remove(second)
    assert kernel.tree() == []


def steps(volume: DriverVolume, path: Path, tmp_path: Path) -> list[str]:
    """The changes of an export and one initiator's access, then of removing both."""
    target, fs = mortal(FakeKernel(tmp_path / "counted"), -1)
    target.connect(exported(target, volume, path), who(ALICE))
    target.remove(volume)
    return fs.changes


class TestDeaths:
    """A process that dies after any change of the kernel's state."""

    def play(self, kernel: FakeKernel, volume: DriverVolume, path: Path, fatal: int) -> bool:
        target, _ = mortal(kernel, fatal)
        try:
            target.connect(exported(target, volume, path), who(ALICE))
            target.remove(volume)
        except Death:
            return True
        return False

    def test_what_was_left_is_finished(self, tmp_path, volume, path):
        """When the calls are made again, access is complete, and nothing is twice."""
        whole = FakeKernel(tmp_path / "whole")
        self.finish(whole, volume, path)
        count = len(steps(volume, path, tmp_path))
        assert count > 25
        for fatal in range(count):
            kernel = FakeKernel(tmp_path / f"{fatal}")
            assert self.play(kernel, volume, path, fatal)

            self.finish(kernel, volume, path)

            assert kernel.tree() == whole.tree()
            assert secret_of(kernel, ALICE) == "secret-of-the-volume"

    def finish(self, kernel: FakeKernel, volume: DriverVolume, path: Path) -> None:
        target = made(kernel)
        target.connect(exported(target, volume, path), who(ALICE))
        assert target.exports() == [Export(volume.id, (ALICE,), ())]

    def test_what_was_left_is_removed(self, tmp_path, volume, path):
        """When the export is removed instead, nothing is left, whatever was recorded."""
        for fatal in range(len(steps(volume, path, tmp_path))):
            kernel = FakeKernel(tmp_path / f"{fatal}")
            assert self.play(kernel, volume, path, fatal)
            left = kernel.tree()

            listed = {export.volume_id for export in made(kernel).exports()}
            made(kernel).disconnect(volume, who(ALICE))
            made(kernel).remove(replace(volume, provider_auth=None))

            assert kernel.tree() == []
            assert listed == ({volume.id} if any(volume.id in each for each in left) else set())

    def test_what_was_left_lets_nobody_in_without_the_secret(self, tmp_path, volume, path):
        """When an export is half made, an entry has the whole secret or none."""
        for fatal in range(len(steps(volume, path, tmp_path))):
            kernel = FakeKernel(tmp_path / f"{fatal}")
            self.play(kernel, volume, path, fatal)

            found = [p.read_text() for p in kernel.root.glob("iscsi/*/*/acls/*/auth/password")]
            assert set(found) <= {"NULL", "secret-of-the-volume"}
            for attribute in kernel.root.glob("iscsi/*/*/attrib/authentication"):
                assert attribute.read_text() == "1"
