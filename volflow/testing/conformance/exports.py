"""Exports: made, found again, restored and removed."""

from __future__ import annotations

from dataclasses import replace

from volflow.drivers.chap import Credentials
from volflow.models import DriverVolume
from volflow.testing.conformance.bench import Bench
from volflow.testing.conformance.hooks import Hooks, needs
from volflow.testing.conformance.stage import unreachable
from volflow.testing.scenarios import CONTEXT


class ExportTests(Hooks):
    """What the core relies on to make and to undo an export."""

    def test_an_export_gives_access_to_nobody(self, bench: Bench) -> None:
        """When a volume is exported, it is listed with an empty ACL and no session."""
        volume = bench.exported()
        export = bench.export(volume)
        assert export is not None, "create_export returned, and list_exports lists nothing"
        assert (export.acl, not export.sessions) == ((), True)

    def test_making_an_export_may_be_repeated(self, bench: Bench) -> None:
        """When create_export runs again, with what is recorded or without, nothing changes."""
        volume = bench.exported()
        info = bench.connect(volume, bench.host_a)
        for known in (volume, replace(volume, provider_location=None)):
            for driver in (bench.driver, bench.next_driver()):
                again = driver.create_export(CONTEXT, known, bench.host_b)
                assert volume == bench.recorded(volume, again), "another location or account"
        assert {bench.key(bench.host_a)} == bench.acl(volume), "create_export changed the ACL"
        assert info == bench.connect(volume, bench.host_a)

    def test_the_given_credentials_are_used(self, bench: Bench) -> None:
        """When the core has made credentials, the host is told those that are recorded."""
        volume = bench.exported()
        assert volume.provider_auth, "create_export took the credentials away"
        bench.connect(volume, bench.host_a)  # which compares them

    def test_credentials_are_made_where_there_are_none(self, bench: Bench) -> None:
        """When none are recorded, create_export makes its own and returns them."""
        volume = replace(bench.created(), provider_auth=None)
        volume = bench.recorded(volume, bench.driver.create_export(CONTEXT, volume, bench.host_a))
        bench.connect(volume, bench.host_a)

    def test_removing_an_export_may_be_repeated(self, bench: Bench) -> None:
        """When an export is gone, or never was, removing it is no error."""
        volume = bench.exported()
        bench.connect(volume, bench.host_a)
        for driver in (bench.driver, bench.driver, bench.next_driver()):
            driver.remove_export(CONTEXT, volume)
            assert bench.exports() == [], "remove_export left the export"
        bench.driver.remove_export(CONTEXT, bench.created())
        bench.driver.remove_export(CONTEXT, bench.blank())

    def test_an_export_is_found_by_the_volumes_id(self, bench: Bench) -> None:
        """When nothing was recorded, since the process died first, the undo finds it all."""
        volume = bench.exported()
        bench.connect(volume, bench.host_a)
        unrecorded = replace(volume, provider_location=None, provider_auth=None)
        bench.driver = bench.next_driver()
        bench.driver.terminate_connection(unrecorded, bench.host_a, force=False)
        assert set() == bench.acl(volume), "terminate_connection needs provider_location"
        bench.driver.remove_export(CONTEXT, unrecorded)
        assert bench.exports() == [], "remove_export needs provider_location"

    def test_a_removed_export_takes_its_acl_along(self, bench: Bench) -> None:
        """When a volume is exported again, who had access before has none."""
        volume = bench.exported()
        bench.connect(volume, bench.host_a)
        bench.driver.remove_export(CONTEXT, volume)
        bench.driver.create_export(CONTEXT, volume, bench.host_b)
        assert set() == bench.acl(volume), "remove_export left the ACL behind"

    def test_removing_one_export_leaves_the_others(self, bench: Bench) -> None:
        """When a volume's export is removed, another one's stays with its ACL."""
        volume, other = bench.exported(), bench.exported()
        info = bench.connect(other, bench.host_b)
        bench.driver.remove_export(CONTEXT, volume)
        assert {bench.key(bench.host_b)} == bench.acl(other)
        assert info == bench.connect(other, bench.host_b)

    def test_exactly_the_exports_are_listed(self, bench: Bench) -> None:
        """When two of three volumes are exported, any process lists the two."""
        exported = [bench.exported() for _ in range(2)]
        bench.created()
        for driver in (bench.driver, bench.next_driver()):
            listed = sorted(export.volume_id for export in driver.list_exports())
            assert sorted(volume.id for volume in exported) == listed

    def test_a_lost_export_is_restored_as_it_was(self, bench: Bench) -> None:
        """When an export is gone, ensure_export brings back location and credentials."""
        volume = bench.exported()
        info = bench.connect(volume, bench.host_a)
        bench.driver.remove_export(CONTEXT, volume)
        _ensure(bench, volume)
        assert set() == bench.acl(volume), "ensure_export gives access by itself"
        assert info == bench.connect(volume, bench.host_a), "another way to the volume"
        assert not unreachable(bench, info, bench.host_a), "the host cannot log in"

    def test_ensuring_what_is_there_changes_nothing(self, bench: Bench) -> None:
        """When the export is there, ensure_export keeps its ACL, and so does its repetition."""
        volume = bench.exported()
        info = bench.connect(volume, bench.host_a)
        for _ in range(2):
            _ensure(bench, volume)
            assert {bench.key(bench.host_a)} == bench.acl(volume), "it changed the ACL"
        assert info == bench.connect(volume, bench.host_a)

    def test_ensuring_restores_the_recorded_credentials(self, bench: Bench) -> None:
        """When the export has other credentials than are recorded, those that are recorded win."""
        volume = bench.exported()
        auth = Credentials.generate().provider_auth
        recorded = replace(volume, provider_auth=auth)
        _ensure(bench, recorded)
        info = bench.connect(recorded, bench.host_a)
        assert not unreachable(bench, info, bench.host_a), "the host cannot log in"

    @needs("restart_target")
    def test_exports_come_back_after_a_restart_of_the_target(self, bench: Bench) -> None:
        """When the target lost them, each comes back with the answer that its host has."""
        volumes = [bench.exported() for _ in range(2)]
        infos = [bench.connect(volume, bench.host_a) for volume in volumes]
        bench.hooks.restart_target()
        for volume, info in zip(volumes, infos, strict=True):
            _ensure(bench, volume)
            assert info == bench.connect(volume, bench.host_a), "another way to the volume"
            assert {bench.key(bench.host_a)} == bench.acl(volume)

    @needs("foreign")
    def test_what_is_not_volflows_is_left_alone(self, bench: Bench) -> None:
        """When the backend has exports of others, they are neither listed nor touched."""
        with bench.hooks.foreign():
            volume = bench.exported()
            bench.connect(volume, bench.host_a)
            assert [volume.id] == [export.volume_id for export in bench.exports()]
            _ensure(bench, volume)
            bench.driver.terminate_connection(volume, bench.host_a, force=True)
            bench.driver.remove_export(CONTEXT, volume)
            bench.driver.delete_volume(CONTEXT, volume)
            assert bench.exports() == []


def _ensure(bench: Bench, volume: DriverVolume) -> None:
    """Let the next process ensure an export; what it returns may only be what is recorded."""
    update = bench.next_driver().ensure_export(CONTEXT, volume)
    assert volume == bench.recorded(volume, update), "ensure_export changes what is recorded"
