"""Two hosts on one database and one storage backend: managers that share no lock directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import volflow
from tests.contract.lab import HOST_A, HOST_B, KEY_A, Call, Gate, Telling, is_clean, new_id, until
from volflow import RequestContext, Volume, VolumeManager, exceptions
from volflow.drivers.local import LocalDriver
from volflow.locks import LockBusy
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver, pause_heartbeat
from volflow.testing.invariants import violations

CONTEXT = RequestContext(overwrite=False)
SHORT_SECONDS = 0.3
END_SECONDS = 60


class Hosts:
    """The hosts a and b, and what they share.

    :ivar coordination: the lock server's URL.
    :ivar backend: the storage itself.
    :ivar driver: what both hosts are given: it tells its calls.
    """

    def __init__(self, directory: Path, coordination: str) -> None:
        self._directory = directory
        self._opened: list[VolumeManager] = []
        self.coordination = coordination
        self.backend = MemoryDriver()
        self.faulty = FaultyDriver(self.backend)
        self.driver = Telling(self.faulty)

    def open(self, host: str, **options: Any) -> VolumeManager:
        """Open a manager on a host; it recovers when it is told to."""
        given = {
            "database": f"sqlite:///{self._directory}/volflow.db",
            "drivers": {"lab": self.driver},
            "recover": False,
            "lock_directory": self._directory / host,
            "coordination": self.coordination,
            **options,
        }
        self._opened.append(VolumeManager(**given))
        return self._opened[-1]

    def volume(self) -> Volume:
        """Make a volume, by a process that is gone then."""
        manager = self.open("a")
        made = manager.create_volume(CONTEXT, 1, "lab")
        manager.close()
        self.driver.forget()
        return made

    @contextmanager
    def elsewhere(self, **options: Any) -> Iterator[tuple[VolumeManager, LocalDriver]]:
        """Host b, with a driver whose backend other processes share."""
        driver = LocalDriver(self._directory / "backend")
        manager = self.open("b", drivers={"lab": driver}, **options)
        yield manager, driver

    @contextmanager
    def stopped(self, manager: VolumeManager) -> Iterator[OtherHost]:
        """A process of host a that has stopped itself in a driver call of an attach."""
        volume, key = manager.create_volume(CONTEXT, 1, "lab"), new_id()
        words = [
            f"sqlite:///{self._directory}/volflow.db",
            self._directory / "volflow.db.key",
            self._directory / "a",
            self.coordination,
            self._directory / "backend",
            volume.id,
            key,
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.other_host", *words],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(volflow.__file__).parents[1],
        )
        try:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            yield OtherHost(process, volume.id, key)
        finally:
            process.kill()
            process.communicate()

    def close(self) -> None:
        """Close whatever is open."""
        for manager in self._opened:
            manager.close()


class OtherHost(NamedTuple):
    """A process of another host, in the middle of an attach of a volume."""

    process: subprocess.Popen[str]
    volume_id: str
    key: str

    def goes_on(self) -> str:
        """Let it go on after it has stopped, and return what it says at its end."""
        self.process.send_signal(signal.SIGCONT)
        said, _ = self.process.communicate(timeout=END_SECONDS)
        return said.strip()


@contextmanager
def stalled(hosts: Hosts, volume: Volume, key: str) -> Iterator[tuple[Gate, Call]]:
    """Host a stands still in a driver call of an attach, and its lease is not renewed."""
    manager = hosts.open("a", lease_seconds=SHORT_SECONDS)
    gate = Gate()
    hosts.driver.on["create_export"] = gate.stop
    call = Call(manager.attach_volume, CONTEXT, volume.id, HOST_A, host_name="a", operation_id=key)
    gate.wait()
    pause_heartbeat(manager)
    try:
        yield gate, call
    finally:
        gate.opened.set()
        call.join()


def past_lease(manager: VolumeManager, key: str) -> None:
    """Wait until the lease of an operation is over."""
    until(
        lambda: manager._records.operation(key).lease_expired,
        f"the lease of operation {key} is over",
    )


class BetweenHosts:
    """What holds on every lock server; a subclass has a fixture ``hosts``."""

    def test_nobody_works_beside_a_driver_call_of_another_host(
        self, hosts: Hosts, caplog: pytest.LogCaptureFixture
    ) -> None:
        """When its lease is over: the holder is named, and other volumes are brought on."""
        volume, other, key = hosts.volume(), hosts.volume(), new_id()
        b = hosts.open("b")
        with stalled(hosts, volume, key) as (gate, call):
            past_lease(b, key)
            brief = hosts.open("a", reservation_deadline_seconds=0.01)
            waiting = brief.reserve_volume(CONTEXT, other.id).operation_id
            assert waiting is not None

            reports = [b.recover()]
            until(
                lambda: waiting in reports[-1].rolled_back or reports.append(b.recover()),
                "it is rolled back",
            )

            assert {(key,)} == {report.needs_attention for report in reports}
            assert {()} == {report.resumed for report in reports}
            assert b.get_volume(CONTEXT, other.id).status == "available"
            assert hosts.driver.names == ["create_export"]
            gate.opened.set()
            assert call.value().attach_status == "attached"
        said = [r.getMessage() for r in caplog.records if key in r.getMessage()]
        assert f"is held by process {os.getpid()} of host " in said[0]
        assert b.get_volume(CONTEXT, volume.id).status == "in-use"
        assert b.detach_volume(CONTEXT, volume.id).status == "available"
        assert is_clean(hosts.backend, volume.id)
        assert [] == violations(b, hosts.backend, "lab")

    def test_the_other_host_goes_on_once_the_lock_is_free(self, hosts: Hosts) -> None:
        """When a process of one host died, and its lease is over, the other host finishes."""
        volume, key = hosts.volume(), new_id()
        a, b = hosts.open("a", lease_seconds=SHORT_SECONDS), hosts.open("b")
        hosts.faulty.faults = [Fault("create_export", "after", Crash)]
        with pytest.raises(Crash):
            a.attach_volume(CONTEXT, volume.id, HOST_A, host_name="a", operation_id=key)

        until(lambda: key in b.recover().resumed, "host b takes the operation over")

        assert b.get_volume(CONTEXT, volume.id).status == "in-use"
        assert {KEY_A} == hosts.backend.acls[volume.id]
        assert [] == violations(b, hosts.backend, "lab")

    def test_a_killed_host_loses_its_lock(self, hosts: Hosts) -> None:
        """When it is killed in a driver call; until then the lock is its own, and it is named."""
        with hosts.elsewhere() as (b, driver), hosts.stopped(b) as other:
            lock = b._locks.of(other.volume_id)
            with pytest.raises(LockBusy, match="another host"):
                lock.acquire()
            other.process.kill()
            lock.acquire(END_SECONDS)
            lock.release()
            until(lambda: other.key in b.recover().resumed, "host b takes the operation over")
            assert b.get_volume(CONTEXT, other.volume_id).status == "in-use"
            assert [] == violations(b, driver, "lab")

    def test_a_caller_waits_for_a_driver_call_of_another_host(self, hosts: Hosts) -> None:
        """When the same call comes on another host while the first one stands still."""
        volume, key = hosts.volume(), new_id()
        b = hosts.open("b")
        with stalled(hosts, volume, key) as (gate, call):
            past_lease(b, key)
            same = Call(
                b.attach_volume, CONTEXT, volume.id, HOST_A, host_name="a", operation_id=key
            )
            until(lambda: b._records.operation(key).record.epoch > 1, "host b takes it over")
            assert hosts.driver.names == ["create_export"]
            gate.opened.set()
            assert isinstance(call.outcome(), exceptions.Fenced)
            assert same.value().attach_status == "attached"
        assert [] == violations(b, hosts.backend, "lab")

    def test_two_hosts_on_one_volume_keep_it_in_order(self, hosts: Hosts) -> None:
        """When both attach and detach it all the time, their driver calls never overlap."""
        volume = hosts.volume()
        inside, overlaps = threading.Semaphore(1), []

        def enter(*_: Any, **__: Any) -> None:
            if not inside.acquire(blocking=False):
                overlaps.append(1)
                return
            threading.Event().wait(0.001)
            inside.release()

        for name in ("create_export", "initialize_connection", "terminate_connection"):
            hosts.driver.on[name] = enter

        def work(host: str, connector: dict[str, str]) -> int:
            manager, won = hosts.open(host), 0
            for _ in range(8):
                with suppress(exceptions.InvalidVolume):
                    made = manager.attach_volume(CONTEXT, volume.id, connector, host_name=host)
                    manager.detach_volume(CONTEXT, volume.id, made.id)
                    won += 1
            return won

        calls = [Call(work, "a", HOST_A), Call(work, "b", HOST_B)]
        assert sum(call.value() for call in calls) >= 1
        assert [] == overlaps
        assert is_clean(hosts.backend, volume.id)

    def test_what_is_closed_leaves_no_thread_and_no_connection(self, hosts: Hosts) -> None:
        """When managers of both hosts have worked and are closed."""
        hosts.volume()  # what is loaded and opened once
        threads, descriptors = set(threading.enumerate()), open_descriptors()
        for host in ("a", "b"):
            manager = hosts.open(host)
            volume = manager.create_volume(CONTEXT, 1, "lab")
            manager.attach_volume(CONTEXT, volume.id, HOST_A, host_name="a")
            manager.detach_volume(CONTEXT, volume.id)
            manager.delete_volume(CONTEXT, volume.id)
            manager.close()
        until(lambda: set(threading.enumerate()) <= threads, "all threads have ended")
        until(lambda: open_descriptors() <= descriptors, "all connections are closed")


def open_descriptors() -> int:
    """How many files and connections this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))
