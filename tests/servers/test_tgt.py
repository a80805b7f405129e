"""TgtTarget against a real tgtd, with real initiators."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.servers.tgtd import Initiator, RequireBinary, Tgtd, running_tgtd, wait_for
from tests.unit.drivers.volumes import driver_volume
from volflow.drivers import Export
from volflow.drivers.chap import Credentials
from volflow.drivers.file import FileDriver
from volflow.drivers.targets.tgt_parts import target_id
from volflow.drivers.targets.tgtadm import REFUSALS, Reason, TgtAdm, TgtRefused, reason_of
from volflow.exceptions import (
    ConnectionFailed,
    ConnectionInUse,
    DriverError,
    ExportFailed,
    TransientDriverError,
)
from volflow.models import DriverVolume

ALICE = "iqn.1994-05.com.example:alice"
BOB = "iqn.1994-05.com.example:bob"


@pytest.fixture(scope="module")
def shared(require_binary: RequireBinary) -> Iterator[Tgtd]:
    with running_tgtd(require_binary) as tgtd:
        yield tgtd


@pytest.fixture
def tgtd(shared: Tgtd) -> Iterator[Tgtd]:
    """A tgtd that is empty before and after a test."""
    yield shared
    shared.wipe()


@pytest.fixture
def mortal(require_binary: RequireBinary) -> Iterator[Tgtd]:
    """A tgtd that a test may kill."""
    with running_tgtd(require_binary) as tgtd:
        yield tgtd


def started(tgtd: Tgtd, directory: Path, **options: object) -> FileDriver:
    driver = FileDriver(directory / "images", tgtd.target(**options))
    driver.do_setup(None)
    return driver


@pytest.fixture
def driver(tgtd: Tgtd, tmp_path: Path) -> FileDriver:
    return started(tgtd, tmp_path)


@pytest.fixture
def alice() -> Iterator[Initiator]:
    initiator = Initiator(ALICE)
    yield initiator
    initiator.log_out()


@pytest.fixture
def bob() -> Iterator[Initiator]:
    initiator = Initiator(BOB)
    yield initiator
    initiator.log_out()


def created(driver: FileDriver, **changes: Any) -> DriverVolume:
    """Create a volume with recorded credentials and without an export."""
    volume = driver_volume(provider_auth=Credentials.generate().provider_auth, **changes)
    driver.create_volume(None, volume)
    return volume


def exported(driver: FileDriver, volume: DriverVolume | None = None) -> DriverVolume:
    """Export a volume and record what the driver returns."""
    volume = volume or created(driver)
    update = driver.create_export(None, volume, {"initiator": ALICE})
    return replace(volume, **(update or {}))


def connected(driver: FileDriver, volume: DriverVolume, who: Initiator) -> dict[str, Any]:
    """Give access, and return connection_info's data."""
    return driver.initialize_connection(volume, who.connector)["data"]


def nothing_is_left(tgtd: Tgtd) -> bool:
    adm = tgtd.target().tgt
    return adm.targets() == () and adm.accounts() == ()


class TestContract:
    """What the core relies on."""

    def test_a_setup_that_works_is_silent(self, driver: FileDriver):
        """When tgtd answers at the portal, the check passes."""
        driver.check_for_setup_error()

    def test_a_portal_that_tgtd_does_not_serve_is_named(self, tgtd: Tgtd):
        """When tgtd listens elsewhere, the error says where and what to do."""
        with pytest.raises(DriverError, match=f"not listen at 127.0.0.1:9, but at {tgtd.portal}"):
            tgtd.target(portal="127.0.0.1:9").check()
        with pytest.raises(DriverError, match=r"start it with '--iscsi portal=192\.0\.2\.1:"):
            tgtd.target(portal=f"192.0.2.1:{tgtd.port}").check()

    def test_a_tgtd_of_another_number_is_a_clear_error(self, tgtd: Tgtd):
        """When no tgtd has the control port, the error says how to start one."""
        with pytest.raises(TransientDriverError, match="start tgtd with -C 9"):
            tgtd.target(control_port=9).check()

    def test_create_returns_the_location_and_the_credentials(self, tgtd: Tgtd, driver: FileDriver):
        """When a volume is exported, what is recorded is Cinder's form."""
        volume = created(driver)

        update = driver.create_export(None, volume, {"initiator": ALICE})

        assert update == {
            "provider_location": (
                f"{tgtd.portal},1 iqn.2010-10.org.openstack:volume-{volume.id} 1"
            ),
            "provider_auth": volume.provider_auth,
        }
        assert driver.list_exports() == [Export(volume.id, (), ())]

    def test_create_makes_credentials_where_there_are_none(self, driver, alice):
        """When nothing is recorded, the driver's own credentials work and are returned."""
        volume = exported(driver, replace(created(driver), provider_auth=None))

        data = connected(driver, volume, alice)

        assert volume.provider_auth == f"CHAP {data['auth_username']} {data['auth_password']}"
        assert "CONNECTED" in alice.inquire(data)

    def test_connection_info_has_cinders_form(self, tgtd: Tgtd, driver: FileDriver, alice):
        """When an initiator connects, the answer is what os-brick takes."""
        volume = exported(driver)
        _, user, secret = str(volume.provider_auth).split()

        info = driver.initialize_connection(volume, alice.connector)

        assert info == {
            "driver_volume_type": "iscsi",
            "data": {
                "target_discovered": False,
                "target_portal": tgtd.portal,
                "target_iqn": f"iqn.2010-10.org.openstack:volume-{volume.id}",
                "target_lun": 1,
                "volume_id": volume.id,
                "auth_method": "CHAP",
                "auth_username": user,
                "auth_password": secret,
            },
        }
        multipath = {**alice.connector, "multipath": True}
        data = driver.initialize_connection(volume, multipath)["data"]
        assert data["target_portals"] == [tgtd.portal]
        assert data["target_iqns"] == [data["target_iqn"]]
        assert data["target_luns"] == [1]

    def test_every_call_may_be_repeated(self, tgtd: Tgtd, driver: FileDriver, alice):
        """When each call is made twice, the second does nothing."""
        volume = exported(driver)
        before = tgtd.target().tgt.targets()
        again = exported(driver, volume)
        driver.ensure_export(None, volume)
        assert again == volume
        assert tgtd.target().tgt.targets() == before

        first = driver.initialize_connection(volume, alice.connector)
        assert driver.initialize_connection(volume, alice.connector) == first
        assert driver.list_exports() == [Export(volume.id, (ALICE,), ())]

        for _ in range(2):
            driver.terminate_connection(volume, alice.connector)
            driver.terminate_unused_connection(volume, alice.connector)
            assert driver.list_exports() == [Export(volume.id, (), ())]
        for _ in range(2):
            driver.remove_export(None, volume)
            assert nothing_is_left(tgtd)
        driver.terminate_connection(volume, alice.connector)
        driver.terminate_unused_connection(volume, alice.connector)
        for _ in range(2):
            driver.delete_volume(None, volume)

    def test_an_export_is_found_by_the_volume_alone(self, tgtd: Tgtd, driver, alice):
        """When nothing was recorded, terminate and remove find the export all the same."""
        volume = exported(driver)
        connected(driver, volume, alice)
        blank = replace(volume, provider_location=None, provider_auth=None)

        driver.terminate_connection(blank, alice.connector)
        assert driver.list_exports() == [Export(volume.id, (), ())]
        driver.remove_export(None, blank)

        assert nothing_is_left(tgtd)

    def test_a_volume_that_is_not_exported_connects_nobody(self, driver, alice):
        """When there is no export, initialize_connection does not invent one."""
        volume = created(driver)

        with pytest.raises(ConnectionFailed, match="is not exported"):
            driver.initialize_connection(volume, alice.connector)

        assert driver.list_exports() == []

    def test_an_acl_is_listed_in_lower_case_and_found_in_any(self, driver):
        """When a connector's name has capitals, tgtd keeps them and the core does not see them."""
        volume = exported(driver)
        driver.initialize_connection(volume, {"initiator": "iqn.1994-05.com.example:Alice"})

        assert driver.list_exports() == [Export(volume.id, (ALICE,), ())]
        driver.terminate_connection(volume, {"initiator": ALICE})
        assert driver.list_exports() == [Export(volume.id, (), ())]

    def test_only_volumes_are_listed(self, tgtd: Tgtd, driver: FileDriver):
        """When tgtd has other targets too, they are neither listed nor touched."""
        for tid, name in ((1, "iqn.2001-04.com.example:disk"), (2, f"{PREFIX}not-a-uuid")):
            tgtd.adm("--op", "new", "--mode", "target", "--tid", tid, "-T", name)
        volume = exported(driver)

        assert driver.list_exports() == [Export(volume.id, (), ())]
        driver.remove_export(None, volume)
        assert {target.tid for target in tgtd.target().tgt.targets()} == {1, 2}

    def test_an_address_on_the_acl_is_shown_and_goes_with_the_export(self, tgtd: Tgtd, driver):
        """When an operator opened a target to all, it is listed and can be taken away."""
        volume = exported(driver)
        (target,) = tgtd.target().tgt.targets()
        tgtd.adm("--op", "bind", "--mode", "target", "--tid", target.tid, "-I", "ALL")

        assert driver.list_exports() == [Export(volume.id, ("all",), ())]
        driver.terminate_connection(volume, {"initiator": "all"})
        assert driver.list_exports() == [Export(volume.id, (), ())]

    def test_two_tgtds_do_not_see_each_other(self, driver, mortal: Tgtd):
        """When two tgtds run, each has its own exports."""
        volume = exported(driver)

        assert mortal.target().exports() == []
        assert driver.list_exports() == [Export(volume.id, (), ())]


PREFIX = "iqn.2010-10.org.openstack:volume-"


class TestAccess:
    """Who gets in."""

    def test_what_is_written_is_read_back(self, driver: FileDriver, alice: Initiator):
        """When an initiator logs in with CHAP, 8 MiB survive the way to the image and back."""
        volume = exported(driver)
        data = connected(driver, volume, alice)

        wrote = alice.io(data, "write -P 0xa5 1M 8M", "flush")
        read = alice.io(data, "read -P 0xa5 1M 8M")

        assert "wrote 8388608/8388608" in wrote
        assert "read 8388608/8388608" in read
        assert "verification failed" not in read
        with driver.images.path(volume.id).open("rb") as image:
            image.seek(1 << 20)
            assert image.read(8 << 20) == b"\xa5" * (8 << 20)

    def test_the_disk_has_the_volumes_size(self, driver: FileDriver, alice: Initiator):
        """When a host reads the capacity, it is the volume's."""
        data = connected(driver, exported(driver), alice)

        assert alice.io(data, "length").strip().endswith("1 GiB")

    def test_a_wrong_password_is_refused(self, driver: FileDriver, alice: Initiator):
        """When the secret or the user is another one, the login fails."""
        data = connected(driver, exported(driver), alice)

        assert "Authentication failure(513)" in alice.inquire(data, auth_password="wrong")
        assert "Authentication failure(513)" in alice.inquire(data, auth_username="wrong")

    def test_another_initiator_is_refused(self, driver: FileDriver, alice, bob):
        """When an initiator is not on the ACL, the right secret does not help it."""
        volume = exported(driver)
        data = connected(driver, volume, alice)

        assert "Target not found(515)" in bob.inquire(data)
        assert data["target_iqn"] not in bob.discover(data["target_portal"])
        assert data["target_iqn"] in alice.discover(data["target_portal"])

    def test_an_export_lets_nobody_in(self, driver: FileDriver, alice: Initiator):
        """When a volume is exported and connected to nobody, the credentials alone do not help."""
        volume = exported(driver)
        data = connected(driver, volume, alice)
        driver.terminate_connection(volume, alice.connector)

        assert "Target not found(515)" in alice.inquire(data)

    def test_another_volumes_credentials_are_refused(self, driver, alice):
        """When a host knows one volume's secret, it does not open another one."""
        first, second = (connected(driver, exported(driver), alice) for _ in range(2))
        mixed = {**second, **{k: first[k] for k in ("auth_username", "auth_password")}}

        assert "Authentication failure(513)" in alice.inquire(mixed)

    def test_a_readonly_volume_takes_no_write(self, driver: FileDriver, alice: Initiator):
        """When a volume is readonly, tgtd tells the host that it is write-protected."""
        volume = exported(driver, created(driver, readonly=True))
        data = connected(driver, volume, alice)

        assert "read 512/512" in alice.io(data, "read 0 512", readonly=True)
        assert "LUN is write protected" in alice.io(data, "write 0 512")
        assert driver.images.path(volume.id).stat().st_blocks == 0

    def test_readonly_follows_the_record(self, tgtd: Tgtd, driver: FileDriver):
        """When a volume became readonly, or no longer is, ensure_export says so to tgtd."""
        volume = exported(driver)
        for readonly in (True, False):
            driver.ensure_export(None, replace(volume, readonly=readonly))
            (target,) = tgtd.target().tgt.targets()
            assert target.luns[1].readonly is readonly

    def test_no_command_line_shows_the_secret(self, driver: FileDriver, tmp_path, monkeypatch):
        """When an export is made, no program that is run is given the secret."""
        seen: list[str] = []
        from volflow.drivers import command

        real = command.run

        def watch(argv, **options):
            seen.append(" ".join(argv))
            return real(argv, **options)

        monkeypatch.setattr(command, "run", watch)
        volume = exported(driver)

        assert len(seen) > 3
        assert str(volume.provider_auth).split()[2] not in " ".join(seen)


class TestSessions:
    """Live initiators."""

    def test_a_session_is_listed(self, driver: FileDriver, alice, bob):
        """When initiators are logged in, each session is listed."""
        volume = exported(driver)
        for host in (alice, bob):
            host.log_in(connected(driver, volume, host))

        (export,) = driver.list_exports()

        assert sorted(export.initiators) == [ALICE, BOB]
        assert sorted(export.sessions or ()) == [ALICE, BOB]

    def test_terminate_ends_one_initiator_and_not_the_other(self, driver, alice, bob):
        """When an initiator's access is taken away, it is out at once and stays out."""
        volume = exported(driver)
        data = {host: connected(driver, volume, host) for host in (alice, bob)}
        for host in (alice, bob):
            host.log_in(data[host])

        driver.terminate_connection(volume, alice.connector)

        assert driver.list_exports() == [Export(volume.id, (BOB,), (BOB,))]
        assert "Target not found(515)" in alice.inquire(data[alice])
        assert bob.command("write -P 7 0 4k").startswith("wrote 4096/4096")

    def test_terminate_ends_an_initiator_that_is_writing(self, driver: FileDriver, alice):
        """When commands are on their way, the session ends all the same."""
        volume = exported(driver)
        data = connected(driver, volume, alice)
        alice.log_in(data)
        writer = threading.Thread(target=alice.command, args=("write -q 0 512M",))
        writer.start()

        driver.terminate_connection(volume, alice.connector)

        assert driver.list_exports() == [Export(volume.id, (), ())]
        alice.kill()
        writer.join(10)
        assert not writer.is_alive()

    def test_repeated_create_and_ensure_cut_no_session(self, driver, alice):
        """When an export is right, making it again leaves its sessions and its ACL."""
        volume = exported(driver)
        alice.log_in(connected(driver, volume, alice))
        before = driver.target.tgt.targets()[0].sessions

        exported(driver, volume)
        driver.ensure_export(None, volume)

        assert driver.target.tgt.targets()[0].sessions == before
        assert driver.list_exports() == [Export(volume.id, (ALICE,), (ALICE,))]
        assert alice.command("read 0 512").startswith("read 512/512")

    def test_new_credentials_shut_the_door_and_cut_no_session(self, driver, alice, bob):
        """When other credentials are recorded, the old ones no longer work, sessions go on."""
        volume = exported(driver)
        old = connected(driver, volume, alice)
        alice.log_in(old)
        changed = replace(volume, provider_auth=Credentials.generate().provider_auth)

        driver.ensure_export(None, changed)

        assert driver.list_exports() == [Export(volume.id, (), (ALICE,))]
        new = connected(driver, changed, bob)
        assert "CONNECTED" in bob.inquire(new)
        auth = {key: old[key] for key in ("auth_username", "auth_password")}
        assert "Authentication failure(513)" in bob.inquire(new, **auth)
        assert alice.command("read 0 512").startswith("read 512/512")
        assert driver.target.tgt.accounts() == (new["auth_username"],)

    def test_a_new_secret_of_the_same_user_replaces_the_old_one(self, driver, alice):
        """When only the secret differs, which tgtd never shows, it is replaced too."""
        volume = exported(driver, replace(created(driver), provider_auth="CHAP same old-secret"))
        changed = replace(volume, provider_auth="CHAP same new-secret")

        driver.ensure_export(None, changed)

        data = connected(driver, changed, alice)
        assert "CONNECTED" in alice.inquire(data)
        assert "Authentication failure(513)" in alice.inquire(data, auth_password="old-secret")

    def test_remove_ends_every_session(self, tgtd: Tgtd, driver: FileDriver, alice, bob):
        """When an export is removed, whoever is logged in is out, and nothing is left."""
        volume = exported(driver)
        for host in (alice, bob):
            host.log_in(connected(driver, volume, host))
        other = exported(driver)

        driver.remove_export(None, volume)

        assert driver.list_exports() == [Export(other.id, (), ())]
        assert len(tgtd.target().tgt.accounts()) == 1
        driver.remove_export(None, other)
        assert nothing_is_left(tgtd)

    def test_remove_ends_an_initiator_that_is_writing(self, tgtd: Tgtd, driver, alice):
        """When commands are on their way, the export goes all the same, and tgtd lives."""
        volume = exported(driver)
        alice.log_in(connected(driver, volume, alice))
        writer = threading.Thread(target=alice.command, args=("write -q 0 512M",))
        writer.start()

        driver.remove_export(None, volume)

        assert nothing_is_left(tgtd)
        alice.kill()
        writer.join(10)
        assert not writer.is_alive()

    def test_remove_ends_an_initiator_that_hangs(self, tgtd: Tgtd, driver, alice):
        """When a host hangs and does not take its answers, the export goes all the same."""
        volume = exported(driver)
        alice.log_in(connected(driver, volume, alice))
        alice.stall(tgtd.port)

        driver.remove_export(None, volume)

        assert nothing_is_left(tgtd)

    def test_terminate_ends_an_initiator_that_hangs(self, tgtd: Tgtd, driver, alice):
        """When a host hangs and does not take its answers, its session ends all the same."""
        volume = exported(driver)
        alice.log_in(connected(driver, volume, alice))
        alice.stall(tgtd.port)

        driver.terminate_connection(volume, alice.connector)

        assert driver.list_exports() == [Export(volume.id, (), ())]

    def test_unused_access_is_taken_away(self, driver: FileDriver, alice, bob):
        """When the initiator is not logged in, its access goes; another's session is no matter."""
        volume = exported(driver)
        bob.log_in(connected(driver, volume, bob))
        connected(driver, volume, alice)

        driver.terminate_unused_connection(volume, alice.connector)

        assert driver.list_exports() == [Export(volume.id, (BOB,), (BOB,))]

    def test_used_access_stays(self, driver: FileDriver, alice: Initiator):
        """When the initiator is logged in, it stays and may log in again."""
        volume = exported(driver)
        data = connected(driver, volume, alice)
        alice.log_in(data)

        for _ in range(2):
            with pytest.raises(ConnectionInUse, match=f"{ALICE} is logged in to volume"):
                driver.terminate_unused_connection(volume, alice.connector)

        assert driver.list_exports() == [Export(volume.id, (ALICE,), (ALICE,))]
        assert alice.command("read 0 512").startswith("read 512/512")
        assert "CONNECTED" in alice.inquire(data)

    def test_a_death_before_the_door_was_opened_again_is_made_good(self, tgtd, driver, alice):
        """When a process died with the initiator off the ACL, the next try puts it back."""
        volume = exported(driver)
        alice.log_in(connected(driver, volume, alice))
        (target,) = tgtd.target().tgt.targets()
        tgtd.adm("--op", "unbind", "--mode", "target", "--tid", target.tid, "-Q", ALICE)

        with pytest.raises(ConnectionInUse):
            driver.terminate_unused_connection(volume, alice.connector)

        assert driver.list_exports() == [Export(volume.id, (ALICE,), (ALICE,))]

    def test_a_host_that_hangs_loses_its_session_and_not_its_access(self, tgtd, driver, alice):
        """When a host answers no ping, its session ends by itself; it may come back."""
        volume = exported(driver)
        data = connected(driver, volume, alice)
        alice.log_in(data)
        alice.stall(tgtd.port)

        wait_for(lambda: driver.list_exports()[0].sessions == (), "the session is gone")

        assert driver.list_exports() == [Export(volume.id, (ALICE,), ())]
        assert "CONNECTED" in alice.inquire(data)

    def test_pings_do_not_disturb_a_host_that_answers(self, driver: FileDriver, alice):
        """When a host is idle but answers, its session stays through many pings."""
        volume = exported(driver)
        alice.log_in(connected(driver, volume, alice))
        before = driver.target.tgt.targets()[0].sessions
        end = time.monotonic() + 5

        wait_for(lambda: time.monotonic() > end, "five pings")

        assert driver.target.tgt.targets()[0].sessions == before
        assert alice.command("read 0 512").startswith("read 512/512")

    def test_a_host_that_died_has_no_session(self, driver: FileDriver, alice: Initiator):
        """When a host's connection broke, its access may be taken away."""
        volume = exported(driver)
        alice.log_in(connected(driver, volume, alice))
        alice.log_out()

        wait_for(lambda: driver.list_exports()[0].sessions == (), "the session is gone")
        driver.terminate_unused_connection(volume, alice.connector)

        assert driver.list_exports() == [Export(volume.id, (), ())]


class Death(BaseException):
    """The process dies here."""


EXPORT_STEPS = [
    "targets",
    "new_target",
    "update_target",
    "update_target",
    "new_lun",
    "update_lun",
    "update_lun",
    "new_account",
    "bind_account",
]
REMOVE_STEPS = [
    "targets",
    "unbind",
    "connections",
    "delete_account",
    "connections",
    "delete_target",
    "delete_account",
]


class Mortal(TgtAdm):
    """Dies before or after its n-th request."""

    def __init__(self, adm: TgtAdm, fatal: int = -1, after: bool = False) -> None:
        super().__init__(adm.control_port, adm.socket, adm.timeout)
        self._fatal = fatal
        self._after = after
        self.steps: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in set(EXPORT_STEPS + REMOVE_STEPS):
            return found

        def step(*arguments: Any, **named: Any) -> Any:
            number = len(self.steps)
            self.steps.append(name)
            if number == self._fatal and not self._after:
                raise Death
            try:
                return found(*arguments, **named)
            finally:
                if number == self._fatal:
                    raise Death

        return step


def mortal_driver(driver: FileDriver, fatal: int = -1, after: bool = False) -> FileDriver:
    """Build the same driver with a process that dies."""
    mine = driver.target
    dying = FileDriver(
        driver.images.directory.path, type(mine)(";".join(mine.portals), ping_seconds=1)
    )
    dying.target.tgt = dying.target.parts.tgt = Mortal(mine.tgt, fatal, after)
    return dying


class TestDeaths:
    """A process that dies between any two requests."""

    def test_the_steps_are_those_that_are_tested(self, driver: FileDriver, alice):
        """When the driver's steps change, the deaths below have to as well."""
        whole = mortal_driver(driver)
        volume = exported(whole)
        assert whole.target.tgt.steps == EXPORT_STEPS
        connected(driver, volume, alice)

        again = mortal_driver(driver)
        again.remove_export(None, volume)
        assert again.target.tgt.steps == REMOVE_STEPS

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("fatal", range(len(EXPORT_STEPS)))
    @pytest.mark.parametrize("finish", ["create", "ensure", "create with new credentials"])
    def test_a_half_made_export_is_finished(self, tgtd, driver, alice, fatal, after, finish):
        """When create_export died anywhere, the next call makes it whole, with one account."""
        volume = created(driver)
        with pytest.raises(Death):
            exported(mortal_driver(driver, fatal, after), volume)

        if finish == "create with new credentials":
            volume = replace(volume, provider_auth=Credentials.generate().provider_auth)
        if finish == "ensure":
            driver.ensure_export(None, volume)
        else:
            volume = exported(driver, volume)

        data = connected(driver, volume, alice)
        assert "CONNECTED" in alice.inquire(data)
        assert "Authentication failure" in alice.inquire(data, auth_password="wrong")
        assert driver.target.tgt.accounts() == (data["auth_username"],)
        (target,) = driver.target.tgt.targets()
        assert target.luns[1].path == str(driver.images.path(volume.id))
        assert (target.luns[1].scsi_id, target.luns[1].scsi_sn) == (volume.id, volume.id)

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("fatal", range(len(EXPORT_STEPS)))
    @pytest.mark.parametrize("known", [True, False], ids=["credentials", "no-credentials"])
    def test_a_half_made_export_is_removed(self, tgtd, driver, fatal, after, known):
        """When create_export died anywhere, remove_export leaves no target and no account."""
        volume = created(driver)
        with pytest.raises(Death):
            exported(mortal_driver(driver, fatal, after), volume)
        if not known:
            volume = replace(volume, provider_auth=None)

        driver.remove_export(None, volume)

        assert nothing_is_left(tgtd)

    @pytest.mark.parametrize("fatal", range(len(EXPORT_STEPS)))
    def test_a_half_made_export_lets_nobody_in(self, tgtd, driver, alice, fatal):
        """When the account is not bound yet, initialize_connection gives no access."""
        volume = created(driver)
        with pytest.raises(Death):
            exported(mortal_driver(driver, fatal), volume)

        with pytest.raises(ConnectionFailed, match="is not exported with its recorded"):
            driver.initialize_connection(volume, alice.connector)

        assert all(export.initiators == () for export in driver.list_exports())

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("fatal", range(len(REMOVE_STEPS)))
    def test_a_half_removed_export_is_removed(self, tgtd, driver, alice, fatal, after):
        """When remove_export died anywhere, the next one leaves nothing."""
        volume = exported(driver)
        connected(driver, volume, alice)
        with pytest.raises(Death):
            mortal_driver(driver, fatal, after).remove_export(None, volume)

        driver.remove_export(None, replace(volume, provider_auth=None))

        assert nothing_is_left(tgtd)

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("fatal", range(6))
    def test_a_half_replaced_account_is_replaced(self, tgtd, driver, alice, fatal, after):
        """When new credentials were half way in, the next call makes exactly one account."""
        volume = exported(driver)
        connected(driver, volume, alice)
        changed = replace(volume, provider_auth=Credentials.generate().provider_auth)
        with pytest.raises(Death):
            mortal_driver(driver, fatal, after).ensure_export(None, changed)

        (target,) = driver.target.tgt.targets()
        assert target.accounts or not target.acl  # an ACL without an account asks for no password
        driver.ensure_export(None, changed)

        data = connected(driver, changed, alice)
        assert "CONNECTED" in alice.inquire(data)
        assert driver.target.tgt.accounts() == (data["auth_username"],)


class TestTampering:
    """Exports that somebody else changed."""

    def test_an_account_that_is_left_over_is_replaced(self, tgtd, driver, alice):
        """When an unbound account has the user's name and another secret, ours takes its place."""
        volume = created(driver)
        user = str(volume.provider_auth).split()[1]
        tgtd.adm("--op", "new", "--mode", "account", "--user", user, "--password", "other")

        volume = exported(driver, volume)

        assert "CONNECTED" in alice.inquire(connected(driver, volume, alice))

    def test_an_account_that_is_left_over_is_removed(self, tgtd: Tgtd, driver: FileDriver):
        """When the target is gone and the account is not, remove_export takes it."""
        volume = exported(driver)
        (target,) = tgtd.target().tgt.targets()
        tgtd.adm("--op", "delete", "--mode", "target", "--tid", target.tid)

        driver.remove_export(None, volume)

        assert nothing_is_left(tgtd)

    def test_a_user_of_another_target_is_refused(self, tgtd: Tgtd, driver: FileDriver):
        """When two volumes have the same user, neither loses its account to the other."""
        first = exported(driver)
        second = replace(created(driver), provider_auth=first.provider_auth)

        with pytest.raises(ExportFailed, match="belongs to another target"):
            exported(driver, second)
        driver.remove_export(None, second)

        assert driver.list_exports() == [Export(first.id, (), ())]
        assert driver.target.tgt.accounts() == (str(first.provider_auth).split()[1],)

    def test_accounts_of_others_are_taken_off(self, tgtd: Tgtd, driver: FileDriver, alice):
        """When somebody bound more accounts, they go in an order that tgtd survives."""
        volume = exported(driver)
        (target,) = tgtd.target().tgt.targets()
        for user in ("u1", "u2", "u3"):
            tgtd.adm("--op", "new", "--mode", "account", "--user", user, "--password", user)
            tgtd.adm("--op", "bind", "--mode", "account", "--tid", target.tid, "--user", user)

        driver.ensure_export(None, volume)

        data = connected(driver, volume, alice)
        assert "CONNECTED" in alice.inquire(data)
        assert driver.target.tgt.accounts() == (data["auth_username"],)

    @pytest.mark.parametrize("fatal", range(10))
    def test_a_death_among_accounts_of_others_does_not_end_tgtd(self, tgtd, driver, fatal):
        """When a process died while it took accounts off, tgtd still shows its targets."""
        volume = exported(driver)
        (target,) = tgtd.target().tgt.targets()
        for user in ("u1", "u2", "u3"):
            tgtd.adm("--op", "new", "--mode", "account", "--user", user, "--password", user)
            tgtd.adm("--op", "bind", "--mode", "account", "--tid", target.tid, "--user", user)

        with suppress(Death):
            mortal_driver(driver, fatal).ensure_export(None, volume)

        assert driver.list_exports() == [Export(volume.id, (), ())]
        driver.remove_export(None, volume)
        assert nothing_is_left(tgtd)

    def test_a_lun_of_another_file_is_replaced(self, tgtd: Tgtd, driver, tmp_path):
        """When another file is behind the LUN and nobody is logged in, it is put right."""
        volume = exported(driver)
        (target,) = tgtd.target().tgt.targets()
        other = tmp_path / "other.raw"
        other.write_bytes(b"\0" * 4096)
        where = ("--mode", "logicalunit", "--tid", target.tid, "--lun", 1)
        tgtd.adm("--op", "delete", *where)
        tgtd.adm("--op", "new", *where, "-b", other)

        driver.ensure_export(None, volume)

        (target,) = tgtd.target().tgt.targets()
        assert target.luns[1].path == str(driver.images.path(volume.id))
        assert target.luns[1].scsi_id == volume.id

    def test_a_lun_of_another_file_in_use_is_an_error(self, tgtd, driver, alice, tmp_path):
        """When somebody is logged in to the wrong file, nothing is pulled away under it."""
        volume = exported(driver)
        data = connected(driver, volume, alice)
        other = tmp_path / "other.raw"
        other.write_bytes(b"\0" * 4096)
        (target,) = tgtd.target().tgt.targets()
        where = ("--mode", "logicalunit", "--tid", target.tid, "--lun", 1)
        tgtd.adm("--op", "delete", *where)
        tgtd.adm("--op", "new", *where, "-b", other)
        alice.log_in(data)

        with pytest.raises(ExportFailed, match=f"instead of .*{ALICE} is logged in"):
            driver.ensure_export(None, volume)

    def test_a_missing_image_is_a_clear_error(self, tgtd: Tgtd, driver: FileDriver):
        """When the image is gone, tgtd is not asked to export it."""
        volume = created(driver)
        driver.images.delete(volume.id)

        with pytest.raises(DriverError, match="has no image"):
            exported(driver, volume)

        assert nothing_is_left(tgtd)


class TestConcurrency:
    """Several volumes at once."""

    def test_eight_processes_get_distinct_target_ids(self, tgtd: Tgtd, tmp_path: Path):
        """When 8 processes export 3 volumes each at once, each has a target and an account."""
        argv = [sys.executable, "-c", EXPORT, tgtd.portal, tgtd.socket, str(tmp_path / "images")]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        made = done.stdout.split()

        driver = started(tgtd, tmp_path)
        targets = driver.target.tgt.targets()
        assert len({target.tid for target in targets}) == 24
        assert {export.volume_id for export in driver.list_exports()} == set(made)
        assert len(driver.target.tgt.accounts()) == 24
        for volume_id in made:
            driver.remove_export(None, driver_volume(id=volume_id))
        assert nothing_is_left(tgtd)

    def test_a_target_id_that_is_taken_is_passed_over(self, tgtd: Tgtd, driver, alice):
        """When another target has the number, the volume gets its next one."""
        volume = created(driver)
        for attempt in range(3):
            tid = target_id(volume.id, attempt)
            name = f"iqn.2001-04.com.example:taken{attempt}"
            tgtd.adm("--op", "new", "--mode", "target", "--tid", tid, "-T", name)

        volume = exported(driver, volume)

        tids = [target.tid for target in driver.target.tgt.targets()]
        assert target_id(volume.id, 3) in tids
        assert "CONNECTED" in alice.inquire(connected(driver, volume, alice))

    def test_a_target_id_that_is_taken_meanwhile_is_passed_over(self, tgtd, driver, monkeypatch):
        """When another process takes the number after it was seen free, the next one is tried."""
        volume = created(driver)
        adm = driver.target.tgt
        real = adm.new_target

        def late(tid: int, iqn: str) -> None:
            monkeypatch.setattr(adm, "new_target", real)
            real(tid, "iqn.2001-04.com.example:first")
            real(tid, iqn)

        monkeypatch.setattr(adm, "new_target", late)
        exported(driver, volume)

        assert {target.tid for target in adm.targets()} == {
            target_id(volume.id, 0),
            target_id(volume.id, 1),
        }


EXPORT = """
import multiprocessing, sys
from tests.unit.drivers.volumes import driver_volume
from tests.servers.tgtd import Tgtd
from volflow.drivers.file import FileDriver

driver = FileDriver.from_options(
    sys.argv[3], portal=sys.argv[1], control_port=Tgtd.control_port, socket=sys.argv[2]
)
driver.do_setup(None)

def work(number):
    together.wait(30)
    volumes = [driver_volume() for _ in range(3)]
    for volume in volumes:
        driver.create_volume(None, volume)
        driver.create_export(None, volume, {})
    return [volume.id for volume in volumes]

context = multiprocessing.get_context("fork")
together = context.Barrier(8)
with context.Pool(8) as pool:
    for made in pool.map(work, range(8), chunksize=1):
        print(*made)
"""


class TestRestart:
    """tgtd dies."""

    def test_ensure_brings_an_export_back_as_it_was(self, mortal: Tgtd, tmp_path: Path, alice):
        """When tgtd was killed, ensure_export and initialize_connection give the same answer."""
        driver = started(mortal, tmp_path)
        volume = exported(driver)
        info = driver.initialize_connection(volume, alice.connector)
        assert "wrote" in alice.io(info["data"], "write -P 9 0 4k", "flush")
        (before,) = driver.target.tgt.targets()

        mortal.kill()
        with pytest.raises(TransientDriverError, match="start tgtd with -C"):
            driver.list_exports()
        mortal.start()
        assert driver.list_exports() == []
        driver.ensure_export(None, volume)

        assert driver.list_exports() == [Export(volume.id, (), ())]
        assert driver.initialize_connection(volume, alice.connector) == info
        assert driver.target.tgt.targets() == (before,)
        assert "read 4096/4096" in alice.io(info["data"], "read -P 9 0 4k")

    def test_a_session_survives_the_restart(self, mortal: Tgtd, tmp_path: Path, alice):
        """When a host tries again until its export is back, it goes on reading and writing."""
        driver = started(mortal, tmp_path)
        volume = exported(driver)
        alice.log_in(connected(driver, volume, alice))

        mortal.kill()
        mortal.start()
        driver.ensure_export(None, volume)
        connected(driver, volume, alice)

        wait_for(
            lambda: alice.command("write -P 1 0 4k").startswith("wrote 4096/4096"),
            "the host is back",
        )

    def test_removing_what_died_with_tgtd_is_no_error(self, mortal: Tgtd, tmp_path: Path, alice):
        """When tgtd lost everything, terminate and remove have nothing to do."""
        driver = started(mortal, tmp_path)
        volume = exported(driver)
        connected(driver, volume, alice)
        mortal.kill()
        mortal.start()

        driver.terminate_connection(volume, alice.connector)
        driver.terminate_unused_connection(volume, alice.connector)
        driver.remove_export(None, volume)

        assert nothing_is_left(mortal)

    def test_a_tgtd_that_hangs_is_a_transient_error(self, mortal: Tgtd, tmp_path: Path):
        """When tgtd does not answer in time, the call ends and may be repeated."""
        driver = started(mortal, tmp_path, timeout=0.2)
        volume = created(driver)
        mortal.pause()
        try:
            with pytest.raises(TransientDriverError, match=r"within 0\.2 seconds and was killed"):
                driver.list_exports()
            with pytest.raises(TransientDriverError, match="timed out") as caught:
                driver.target.tgt.new_account(Credentials.parse(str(volume.provider_auth)))
            assert str(volume.provider_auth).split()[2] not in str(caught.value)
        finally:
            mortal.resume()

        driver = started(mortal, tmp_path)
        exported(driver, volume)
        assert driver.list_exports() == [Export(volume.id, (), ())]


class TestRefusals:
    """Each message that the driver understands, made by the real tgtadm and tgtd."""

    def message(self, tgtd: Tgtd, reason: Reason, *options: object) -> str:
        said = tgtd.try_adm(*options).stderr.strip()
        assert reason_of(said) is reason
        return said

    def test_every_specimen_is_what_tgtadm_says(self, tgtd: Tgtd, driver, alice, tmp_path):
        """When tgtd refuses, tgtadm prints the specimen, letter by letter."""
        volume = exported(driver)
        data = connected(driver, volume, alice)
        alice.log_in(data)
        (target,) = tgtd.target().tgt.targets()
        tid, (session,), (user,) = target.tid, target.sessions, target.accounts
        tgt = ("--mode", "target", "--tid")
        lun = ("--mode", "logicalunit", "--tid")
        acc = ("--mode", "account")
        requests = [
            (Reason.TARGET_EXISTS, "new", *tgt, tid, "-T", "iqn.2001-04.com.example:x"),
            (Reason.TARGET_EXISTS, "new", *tgt, 5, "-T", target.iqn),
            (Reason.NO_TARGET, "delete", *tgt, 5),
            (Reason.NO_TARGET, "show", "--mode", "conn", "--tid", 5),
            (Reason.TARGET_BUSY, "delete", *tgt, tid),
            (Reason.LUN_EXISTS, "new", *lun, tid, "--lun", 1, "-b", "/dev/null"),
            (Reason.NO_LUN, "delete", *lun, tid, "--lun", 9),
            (Reason.INVALID, "new", *lun, tid, "--lun", 2, "-b", tmp_path / "none"),
            (Reason.INVALID, "new", *tgt, 5, "-T", "iqn.2001-04.com.example:a_b"),
            (Reason.ACL_EXISTS, "bind", *tgt, tid, "-Q", ALICE),
            (Reason.NO_ACL, "unbind", *tgt, tid, "-Q", BOB),
            (Reason.ACCOUNT_EXISTS, "new", *acc, "--user", user, "--password", "x"),
            (Reason.ACCOUNT_EXISTS, "bind", *acc, "--tid", tid, "--user", user),
            (Reason.NO_ACCOUNT, "bind", *acc, "--tid", tid, "--user", "nobody"),
            (Reason.NO_ACCOUNT, "delete", *acc, "--user", "nobody"),
            (Reason.NO_SESSION, "delete", "--mode", "conn", "--tid", tid, "--sid", 999),
            (
                *(Reason.NO_CONNECTION, "delete", "--mode", "conn", "--tid", tid),
                *("--sid", session.sid, "--cid", 9),
            ),
            (Reason.UNREACHABLE, "show", *tgt[:2], "-C", 9),
        ]
        said = {self.message(tgtd, reason, "--op", *rest) for reason, *rest in requests}
        said.add(self.lun_busy(tgtd, alice, tid))
        said |= self.hung_up(tmp_path)

        assert said == {refusal.specimen for refusal in REFUSALS}

    def lun_busy(self, tgtd: Tgtd, alice: Initiator, tid: int) -> str:
        """Delete a LUN while an initiator has not taken what it asked for."""
        alice.stall(tgtd.port)
        where = ("--mode", "logicalunit", "--tid", tid, "--lun", 1)
        return self.message(tgtd, Reason.LUN_BUSY, "--op", "delete", *where)

    def hung_up(self, tmp_path: Path) -> set[str]:
        """Ask a tgtd that closes the socket: at once, and after it has read the request."""
        return {answer_of(tmp_path / f"s{size}", size) for size in (1, 4096)}

    def test_the_socket_tells_that_an_account_exists(self, tgtd: Tgtd):
        """When an account is made twice, tgtd's number means the same as tgtadm's message."""
        adm = tgtd.target().tgt
        login = Credentials("user", "hunter2")
        adm.new_account(login)

        with pytest.raises(TgtRefused) as caught:
            adm.new_account(login)

        assert caught.value.reason is Reason.ACCOUNT_EXISTS
        assert "hunter2" not in str(caught.value)

    def test_the_socket_and_tgtadm_make_the_same_account(self, tgtd: Tgtd, driver, alice):
        """When an account is made by tgtadm or by the socket, the same secret logs in."""
        secret = "a,b=c:d!"
        volume = exported(driver, replace(created(driver), provider_auth=f"CHAP user {secret}"))
        data = connected(driver, volume, alice)
        by_socket = alice.inquire(data)
        (target,) = tgtd.target().tgt.targets()
        tgtd.adm("--op", "delete", "--mode", "account", "--user", "user")
        tgtd.adm("--op", "new", "--mode", "account", "--user", "user", "--password", secret)
        tgtd.adm("--op", "bind", "--mode", "account", "--tid", target.tid, "--user", "user")

        assert "CONNECTED" in by_socket
        assert by_socket == alice.inquire(data)


def answer_of(path: Path, size: int) -> str:
    """Return what tgtadm says where its peer reads so many bytes and closes."""
    fake = Tgtd()
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{fake.socket}.{fake.control_port}")
            server.listen()

            def close() -> None:
                peer, _ = server.accept()
                peer.recv(size)
                peer.close()

            thread = threading.Thread(target=close)
            thread.start()
            said = fake.try_adm("--op", "show", "--mode", "target").stderr.strip()
            thread.join(10)
    finally:
        fake.close()
    assert reason_of(said) is Reason.UNREACHABLE
    return said
