"""What the core relies on, for each backend, with real hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.lab.guest.backends import Lab
from tests.lab.guest.hosts import Refused, wait_for
from volflow.drivers import Export
from volflow.exceptions import ConnectionFailed, ConnectionInUse, DriverError

PATTERN = bytes(range(256)) * 1024


class Contract:
    """One backend, named by ``backend``."""

    def test_what_is_written_is_read_back_until_access_ends(self, lab: Lab) -> None:
        """When a host is given access it reads and writes; without, it does not get in."""
        volume = lab.exported()
        assert [Export(volume.id, (), ())] == lab.driver.list_exports()
        info = lab.connected(volume, lab.alice)
        with pytest.raises(Refused):
            lab.bob.log_in(info)

        disk = lab.alice.log_in(info)
        disk.write(PATTERN, offset=1 << 20)

        assert disk.size == 1 << 30
        assert disk.read(len(PATTERN), offset=1 << 20) == PATTERN
        name = lab.name_of(info)
        lab.driver.terminate_connection(volume, lab.alice.connector)
        wait_for("the end of the session", lambda: _is_cut(lab.alice.sessions(name)))
        lab.alice.log_out(name)
        with pytest.raises(Refused):
            lab.alice.log_in(info)
        lab.removed(volume)

    def test_every_call_may_be_repeated(self, lab: Lab) -> None:
        """When each call is made twice, also by another process, the second changes nothing."""
        first, second = lab.driver, lab.again()
        volume = lab.exported()
        key = first.initiator_of(lab.alice.connector)
        for driver in (first, second):
            driver.create_volume(None, volume)
            driver.create_export(None, volume, lab.alice.connector)
            driver.ensure_export(None, volume)
            assert driver.list_exports() == [Export(volume.id, (), ())]
        answers = [d.initialize_connection(volume, lab.alice.connector) for d in (first, second)]
        assert answers[0] == answers[1]
        assert lab.acl(volume) == {key}
        for driver in (first, second):
            driver.terminate_connection(volume, lab.alice.connector)
            assert driver.list_exports() == [Export(volume.id, (), ())]
        for driver in (first, second):
            driver.remove_export(None, volume)
            assert driver.list_exports() == []
        for driver in (first, second):
            driver.terminate_connection(volume, lab.alice.connector)
            driver.delete_volume(None, volume)

    def test_one_host_is_cut_and_not_the_other(self, lab: Lab) -> None:
        """When one of two hosts loses its access, the other's session goes on."""
        volume = lab.exported()
        alices, bobs = (lab.connected(volume, host) for host in (lab.alice, lab.bob))
        disk = lab.alice.log_in(alices)
        disk.write(PATTERN)
        getattr(lab.bob, "connect", lab.bob.log_in)(bobs)
        assert lab.acl(volume) == {
            lab.driver.initiator_of(host.connector) for host in (lab.alice, lab.bob)
        }

        lab.driver.terminate_connection(volume, lab.bob.connector)

        wait_for("bob's end", lambda: _is_cut(lab.bob.sessions(lab.name_of(bobs))))
        assert disk.read(len(PATTERN)) == PATTERN
        assert not _is_cut(lab.alice.sessions(lab.name_of(alices)))
        assert lab.acl(volume) == {lab.driver.initiator_of(lab.alice.connector)}
        lab.removed(volume)

    def test_a_live_session_is_seen_or_unknown(self, lab: Lab) -> None:
        """When a host is logged in, the export says so, or that it cannot tell."""
        volume = lab.exported()
        info = lab.connected(volume, lab.alice)
        lab.alice.log_in(info)

        (export,) = lab.driver.list_exports()
        unused = getattr(lab.driver, "terminate_unused_connection", None)
        if unused is None:
            assert export.sessions is None
        else:
            assert export.sessions == (lab.alice.name,)
            with pytest.raises(ConnectionInUse):
                unused(volume, lab.alice.connector)
            assert lab.acl(volume) == {lab.alice.name}
            lab.alice.log_out(lab.name_of(info))
            lab.alice.log_in(info)
            lab.alice.log_out(lab.name_of(info))
            wait_for("the end of the session", lambda: lab.driver.list_exports()[0].sessions == ())
            unused(volume, lab.alice.connector)
            assert lab.acl(volume) == set()
        lab.removed(volume)

    def test_an_export_is_found_by_the_volume_alone(self, lab: Lab) -> None:
        """When nothing was recorded, terminate and remove find the export all the same."""
        volume = lab.exported()
        lab.connected(volume, lab.alice)
        blank = replace(volume, provider_location=None, provider_auth=None)

        lab.driver.terminate_connection(blank, lab.alice.connector)
        assert lab.driver.list_exports() == [Export(volume.id, (), ())]
        lab.driver.remove_export(None, blank)

        assert lab.driver.list_exports() == []
        lab.driver.delete_volume(None, volume)

    def test_what_is_not_there_is_refused(self, lab: Lab) -> None:
        """When a volume is not exported it connects nobody, and exported it is not deleted."""
        volume = lab.volume()
        with pytest.raises(ConnectionFailed, match="is not exported"):
            lab.connected(volume, lab.alice)
        assert lab.driver.list_exports() == []
        update = lab.driver.create_export(None, volume, lab.alice.connector)
        with pytest.raises(DriverError, match="still exported"):
            lab.driver.delete_volume(None, volume)
        lab.removed(replace(volume, **update))
        with pytest.raises(DriverError):
            lab.driver.create_export(None, volume, lab.alice.connector)


def _is_cut(states: list[str]) -> bool:
    """Whether no session is in order: they are gone, or try to come back."""
    return not any(state in ("LOGGED_IN", "live") for state in states)


class TestLvmLio(Contract):
    backend = "lvm-lio"


class TestThinLio(Contract):
    backend = "thin-lio"


class TestLvmTgt(Contract):
    backend = "lvm-tgt"


class TestFileLio(Contract):
    backend = "file-lio"


class TestLvmNvmet(Contract):
    backend = "lvm-nvmet"


class TestFileNvmet(Contract):
    backend = "file-nvmet"
