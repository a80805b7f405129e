"""Access: given to one initiator, described, and taken away from it alone."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from volflow.exceptions import DriverError
from volflow.models import Connector
from volflow.testing.conformance.bench import Bench
from volflow.testing.conformance.hooks import Hooks
from volflow.testing.scenarios import CONTEXT


class ConnectionTests(Hooks):
    """What holds of ACLs and of connection_info."""

    @pytest.mark.parametrize("has_multipath", [False, True], ids=["one path", "multipath"])
    def test_the_answer_is_a_connection_info(self, bench: Bench, has_multipath: bool) -> None:
        """When a host connects, it is told all that it needs, in JSON."""
        volume = bench.exported()
        bench.connect(volume, {**bench.host_a, "multipath": has_multipath})  # which checks it
        assert {bench.key(bench.host_a)} == bench.acl(volume)

    def test_connecting_may_be_repeated(self, bench: Bench) -> None:
        """When any process asks again, the answer and its credentials are the same."""
        volume = bench.exported()
        info = bench.connect(volume, bench.host_a)
        for driver in (bench.driver, bench.next_driver()):
            assert info == driver.initialize_connection(volume, bench.host_a)
        export = bench.export(volume)
        assert export is not None
        assert (bench.key(bench.host_a),) == export.acl

    def test_a_readonly_volume_connects(self, bench: Bench) -> None:
        """When a volume is readonly, the answer does not say otherwise."""
        volume = bench.exported(readonly=True)
        bench.connect(volume, {**bench.host_a, "mode": "rw"})  # which checks it

    def test_hosts_have_access_independently(self, bench: Bench) -> None:
        """When one of two hosts goes, the other one stays; when it comes back, so."""
        volume = bench.exported(multiattach=True)
        key_a, key_b = bench.key(bench.host_a), bench.key(bench.host_b)
        bench.connect(volume, bench.host_a)
        info = bench.connect(volume, bench.host_b)
        assert {key_a, key_b} == bench.acl(volume)
        bench.driver.terminate_connection(volume, bench.host_a, force=False)
        assert {key_b} == bench.acl(volume), "terminate_connection is of one initiator"
        assert info == bench.connect(volume, bench.host_b)
        bench.connect(volume, bench.host_a)
        bench.driver.terminate_connection(volume, bench.host_b, force=True)
        assert {key_a} == bench.acl(volume), "terminate_connection is of one initiator"

    def test_access_is_of_one_volume(self, bench: Bench) -> None:
        """When a host loses one volume, it keeps the other one."""
        volume, other = bench.exported(), bench.exported()
        for each in (volume, other):
            bench.connect(each, bench.host_a)
        bench.driver.terminate_connection(volume, bench.host_a, force=False)
        assert (set(), {bench.key(bench.host_a)}) == (bench.acl(volume), bench.acl(other))

    @pytest.mark.parametrize("is_forced", [False, True], ids=["plain", "forced"])
    def test_taking_access_away_may_be_repeated(self, bench: Bench, is_forced: bool) -> None:
        """When there is no access, no export or no volume any more, that is no error."""
        volume = bench.exported()
        bench.connect(volume, bench.host_a)
        for driver in (bench.driver, bench.driver, bench.next_driver()):
            driver.terminate_connection(volume, bench.host_a, force=is_forced)
            assert set() == bench.acl(volume)
        bench.driver.terminate_connection(volume, bench.host_b, force=is_forced)
        bench.driver.remove_export(CONTEXT, volume)
        bench.driver.terminate_connection(volume, bench.host_a, force=is_forced)
        bench.driver.delete_volume(CONTEXT, volume)
        bench.driver.terminate_connection(volume, bench.host_a, force=is_forced)
        bench.driver.terminate_connection(bench.blank(), bench.host_a, force=is_forced)
        assert bench.exports() == []

    def test_the_case_of_an_initiator_makes_no_other_one(self, bench: Bench) -> None:
        """When the key is the same, access that was given to ``ABC`` is taken from ``abc``."""
        for given, taken in (
            (bench.host_a, _upper(bench.host_a)),
            (
                _upper(bench.host_a),
                bench.host_a,
            ),
        ):
            key = bench.key(given)
            if key != bench.key(taken):
                continue
            volume = bench.exported()
            bench.connect(volume, given)
            assert {key} == bench.acl(volume), "the ACL's key is not initiator_of(connector)"
            bench.connect(volume, taken)
            assert {key} == bench.acl(volume)
            bench.driver.terminate_connection(volume, taken, force=False)
            assert set() == bench.acl(volume), "another case of the name kept its access"

    def test_a_volume_that_is_not_exported_connects_nobody(self, bench: Bench) -> None:
        """When there is no export, none is invented: the host could log in without credentials."""
        for volume in (bench.created(), bench.blank()):
            with pytest.raises(DriverError):
                bench.driver.initialize_connection(volume, bench.host_a)
        assert bench.exports() == []

    def test_a_removed_export_connects_nobody(self, bench: Bench) -> None:
        """When the export is gone, what is recorded of it does not bring it back."""
        volume = bench.exported()
        bench.driver.remove_export(CONTEXT, volume)
        with pytest.raises(DriverError):
            bench.driver.initialize_connection(volume, bench.host_a)
        assert bench.exports() == []

    def test_the_next_process_goes_on(self, bench: Bench) -> None:
        """When a process died, the next one sees its exports and ACLs and undoes them."""
        volume = bench.exported()
        bench.connect(volume, bench.host_a)
        bench.driver = bench.next_driver()
        assert {bench.key(bench.host_a)} == bench.acl(volume)
        bench.driver.terminate_connection(volume, bench.host_a, force=False)
        bench.driver = bench.next_driver()
        assert set() == bench.acl(volume)
        bench.driver.remove_export(CONTEXT, volume)
        assert list(bench.next_driver().list_exports()) == []

    def test_arguments_are_left_as_they_are(self, bench: Bench) -> None:
        """When the driver is given a connector, it changes nothing in it."""
        connector = deepcopy(bench.host_a)
        volume = bench.created()
        before = replace(volume)
        bench.driver.validate_connector(connector)
        bench.driver.create_export(CONTEXT, volume, connector)
        bench.driver.initialize_connection(volume, connector)
        bench.driver.terminate_connection(volume, connector, force=False)
        assert (bench.host_a, before) == (connector, volume)


def _upper(connector: Connector) -> dict[str, Any]:
    """The connector of the same host that spells its names in capitals behind the first dot."""
    changed = dict(connector)
    for key in ("initiator", "nqn", "host"):
        name = changed.get(key)
        if isinstance(name, str):
            head, dot, tail = name.partition(":")
            changed[key] = head + dot + tail.upper() if dot else name.upper()
    return changed
