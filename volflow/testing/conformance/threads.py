"""Volumes that are worked on at the same time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from volflow.drivers.base import Driver
from volflow.models import DriverVolume
from volflow.testing.conformance.bench import Bench
from volflow.testing.conformance.hooks import Hooks
from volflow.testing.scenarios import CONTEXT

WORKERS = 6
ROUNDS = 4


class ThreadTests(Hooks):
    """What holds while calls for several volumes overlap; calls for one volume never do."""

    @pytest.mark.parametrize("one_driver", [True, False], ids=["one driver", "a driver each"])
    def test_volumes_do_not_disturb_each_other(self, bench: Bench, one_driver: bool) -> None:
        """When threads or processes work on a volume each, all is as if they were alone."""
        bystander = bench.exported()
        info = bench.connect(bystander, bench.host_b)
        volumes = [bench.blank() for _ in range(WORKERS)]
        drivers = [bench.driver if one_driver else bench.next_driver() for _ in volumes]
        gate = threading.Barrier(WORKERS)

        def work(driver: Driver, volume: DriverVolume) -> None:
            gate.wait()
            for _ in range(ROUNDS):
                _live_once(bench, driver, volume)

        with _restless(), ThreadPoolExecutor(WORKERS + 1) as pool:
            works = [pool.submit(work, *each) for each in zip(drivers, volumes, strict=True)]
            looks = pool.submit(_look_meanwhile, bench.next_driver(), works)
            for done in (*works, looks):
                done.result()
        assert [bystander.id] == [export.volume_id for export in bench.exports()]
        assert {bench.key(bench.host_b)} == bench.acl(bystander)
        assert info == bench.connect(bystander, bench.host_b)


@contextmanager
def _restless() -> Iterator[None]:
    """Let threads meet each other often, between any two lines."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _look_meanwhile(driver: Driver, works: list[Future[None]]) -> None:
    """List all exports as long as others come and go, as recovery does."""
    while not all(work.done() for work in works):
        list(driver.list_exports())


def _live_once(bench: Bench, driver: Driver, volume: DriverVolume) -> None:
    """Take one volume through its life, and look at its ACL after each step."""

    def acl() -> list[str] | None:
        found = [e for e in driver.list_exports() if e.volume_id == volume.id]
        return sorted(found[0].acl) if found else None

    driver.create_volume(CONTEXT, volume)
    update = driver.create_export(CONTEXT, volume, bench.host_a)
    exported = replace(volume, **(update or {}))
    assert acl() == []
    for connector in (bench.host_a, bench.host_b):
        driver.initialize_connection(exported, connector)
    assert sorted([bench.key(bench.host_a), bench.key(bench.host_b)]) == acl()
    driver.terminate_connection(exported, bench.host_a, force=False)
    assert [bench.key(bench.host_b)] == acl()
    driver.ensure_export(CONTEXT, exported)
    driver.terminate_connection(exported, bench.host_b, force=False)
    assert acl() == []
    driver.remove_export(CONTEXT, exported)
    assert acl() is None
    driver.delete_volume(CONTEXT, exported)
