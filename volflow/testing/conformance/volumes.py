"""Setting up, and volumes: made, deleted, and named in odd ways."""

from __future__ import annotations

import pytest

from volflow.drivers.base import Driver
from volflow.models import Attachment, AttachStatus
from volflow.testing.conformance.bench import Bench
from volflow.testing.conformance.hooks import Hooks
from volflow.testing.scenarios import CONTEXT

ODD_NAMES = {
    "none": None,
    "empty": "",
    "a path": "../../../etc/passwd",
    "a shell's": "$(reboot) `reboot`; reboot | reboot & 'a' \"b\" *",
    "an option": "--force",
    "spaces": "  a\tb\nc  ",
    "other scripts": "том-音量-🗄️",
    "long": "x" * 255,
    "separators": "a,b=c:d;e %s {} \\n",
}


class VolumeTests(Hooks):
    """What holds before anything is exported."""

    def test_it_has_every_method(self, bench: Bench) -> None:
        """When the core is given it, it is a driver."""
        assert isinstance(bench.driver, Driver)

    def test_setting_up_may_be_repeated(self, bench: Bench) -> None:
        """When a process sets the driver up twice, and another one beside it, nothing changes."""
        volume = bench.exported()
        for driver in (bench.driver, bench.driver, bench.next_driver()):
            driver.do_setup(CONTEXT)
            driver.check_for_setup_error()
        assert set() == bench.acl(volume), "do_setup changed what is exported"

    def test_making_a_volume_may_be_repeated(self, bench: Bench) -> None:
        """When a volume is made again after a death, it is there once, and is not exported."""
        volume = bench.blank()
        updates = [bench.driver.create_volume(CONTEXT, volume) for _ in range(2)]
        for update in updates:
            bench.recorded(volume, update)
        assert updates[0] == updates[1], "the second create_volume returns something else"
        assert bench.exports() == [], "create_volume exports the volume"

    def test_deleting_a_volume_may_be_repeated(self, bench: Bench) -> None:
        """When a volume is gone, or never was, deleting it is no error."""
        volume = bench.created()
        for _ in range(2):
            bench.driver.delete_volume(CONTEXT, volume)
        bench.driver.delete_volume(CONTEXT, bench.blank())

    def test_a_deleted_volume_may_be_made_again(self, bench: Bench) -> None:
        """When an id comes back, the volume works as any other."""
        volume = bench.created()
        bench.driver.delete_volume(CONTEXT, volume)
        bench.driver.create_volume(CONTEXT, volume)
        volume = bench.recorded(volume, bench.driver.create_export(CONTEXT, volume, bench.host_a))
        bench.connect(volume, bench.host_a)
        assert {bench.key(bench.host_a)} == bench.acl(volume)

    def test_deleting_leaves_other_volumes(self, bench: Bench) -> None:
        """When one volume is deleted, another one's export and ACL stay."""
        volume, other = bench.created(), bench.exported()
        bench.connect(other, bench.host_a)
        bench.driver.delete_volume(CONTEXT, volume)
        assert {bench.key(bench.host_a)} == bench.acl(other)

    @pytest.mark.parametrize("odd_name", ODD_NAMES.values(), ids=ODD_NAMES)
    def test_a_name_is_only_a_name(self, bench: Bench, odd_name: str | None) -> None:
        """When a volume has an odd name, that changes nothing."""
        volume = bench.exported(name=odd_name)
        bench.connect(volume, bench.host_a)
        assert {bench.key(bench.host_a)} == bench.acl(volume)
        bench.driver.terminate_connection(volume, bench.host_a, force=False)
        bench.driver.remove_export(CONTEXT, volume)
        bench.driver.delete_volume(CONTEXT, volume)
        assert bench.exports() == []

    def test_notifications_may_be_repeated(self, bench: Bench) -> None:
        """When the driver is told of an attach or a detach, twice, access stays as it is."""
        volume = bench.exported()
        bench.connect(volume, bench.host_a)
        gone = Attachment(
            id=volume.id,
            volume_id=volume.id,
            instance_uuid=None,
            attached_host="a",
            mountpoint=None,
            attach_mode="rw",
            attach_status=AttachStatus.DETACHED,
            connector=bench.host_a,
            connection_info=None,
            attached_at=None,
            detached_at=None,
        )
        for _ in range(2):
            bench.driver.attach_volume(CONTEXT, volume, None, "a", "/dev/vdb")
            bench.driver.attach_volume(CONTEXT, volume, volume.id, None, None)
            bench.driver.detach_volume(CONTEXT, volume, gone)
        assert {bench.key(bench.host_a)} == bench.acl(volume)
