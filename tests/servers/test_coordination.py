"""The volume's lock between hosts on Redis, ZooKeeper and etcd, also while those are away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kazoo.exceptions import NoNodeError

from tests.contract.hosts import CONTEXT, BetweenHosts, Hosts
from tests.contract.lab import HOST_A, is_clean, is_one_clear_sentence, scene, until
from volflow import Volume, VolumeManager, exceptions
from volflow.testing.invariants import violations

TTL_SECONDS = 3
"""How long a lock outlives its holder's last sign of life."""


class LockServer(NamedTuple):
    """A real server, and what tooz and a look at it need to know."""

    server: Any
    url: str
    namespace: str

    def keys(self) -> list[str]:
        """What is stored of locks, and of those who take them."""
        if self.server.name == "redis":
            with self.server.client(int(self.namespace)) as client:
                return [key.decode() for key in client.scan_iter()]
        if self.server.name == "etcd":
            found: list[bytes] = self.server.keys()
            return [key.decode() for key in found]
        try:
            return list(self.server.admin.get_children(f"/{self.namespace}/locks"))
        except NoNodeError:
            return []


def redis_lock_server(server: Any, url: str) -> LockServer:
    number = url.rpartition("/")[2]
    options = f"db={number}&lock_timeout={TTL_SECONDS}"
    return LockServer(server, f"redis://127.0.0.1:{server.port}?{options}", number)


def zookeeper_lock_server(server: Any, url: str) -> LockServer:
    path = url.rpartition("/")[2]
    options = f"namespace={path}&timeout={TTL_SECONDS}"
    return LockServer(server, f"zookeeper://127.0.0.1:{server.port}?{options}", path)


def etcd_lock_server(server: Any, url: str) -> LockServer:
    return LockServer(
        server, f"etcd3+http://127.0.0.1:{server.port}?lock_timeout={TTL_SECONDS}", ""
    )


@pytest.fixture(params=["redis", "zookeeper", "etcd"])
def lock_server(request: pytest.FixtureRequest) -> LockServer:
    server = request.getfixturevalue(f"{request.param}_server")
    url = request.getfixturevalue(f"{request.param}_url")
    make = {
        "redis": redis_lock_server,
        "zookeeper": zookeeper_lock_server,
        "etcd": etcd_lock_server,
    }[request.param]
    return make(server, url)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a lock server up sooner, so that nobody waits for those that are away on purpose."""
    monkeypatch.setattr("volflow.lockserver.ANSWER_SECONDS", 3.0)
    monkeypatch.setattr("volflow.lockserver.SILENCE_SECONDS", 0.1)


@pytest.fixture
def hosts(tmp_path: Path, lock_server: LockServer) -> Iterator[Hosts]:
    found = Hosts(tmp_path, lock_server.url)
    yield found
    found.close()


class TestLockServers(BetweenHosts):
    """All of it, on each lock server."""

    def test_a_closed_manager_leaves_no_key(self, hosts: Hosts, lock_server: LockServer) -> None:
        """When its volumes are deleted: no lock, no node, no member of the lock server."""
        manager = hosts.open("a")
        volume = manager.create_volume(CONTEXT, 1, "lab")
        manager.attach_volume(CONTEXT, volume.id, HOST_A, host_name="a")
        manager.detach_volume(CONTEXT, volume.id)
        manager.delete_volume(CONTEXT, volume.id)
        manager.close()
        assert [] == lock_server.keys()


class Away:
    """A lock server that goes away in one of two ways, and comes back."""

    def __init__(self, server: Any, how: str) -> None:
        self._server = server
        self._how = how
        self._gone = False

    def go(self, *_: Any, **__: Any) -> None:
        """Die, or hang."""
        self._gone = True
        self._server.kill() if self._how == "kill" else self._server.pause()

    def back(self) -> None:
        """Start again, or go on."""
        if self._gone:
            self._gone = False
            self._server.restart() if self._how == "kill" else self._server.resume()


@pytest.fixture
def away(request: pytest.FixtureRequest, lock_server: LockServer) -> Iterator[Away]:
    found = Away(lock_server.server, request.param)
    yield found
    found.back()


dying = pytest.mark.parametrize("away", ["kill"], indirect=True)
hanging = pytest.mark.parametrize("away", ["pause"], indirect=True)
both = pytest.mark.parametrize("away", ["kill", "pause"], indirect=True)


def refusal(hosts: Hosts, manager: VolumeManager, volume: Volume) -> exceptions.DriverError:
    """Let an attach be refused, in one sentence that names the lock server."""
    with pytest.raises(exceptions.DriverError) as caught:
        manager.attach_volume(CONTEXT, volume.id, HOST_A, host_name="a")
    is_one_clear_sentence(caught.value)
    assert f"the lock server {hosts.coordination.partition('?')[0]} " in str(caught.value)
    return caught.value


@dying
def test_nothing_is_done_while_the_lock_server_is_away(hosts: Hosts, away: Away) -> None:
    """When it was killed before the call; and what was asked then is not held later."""
    volume = hosts.volume()
    a, b = hosts.open("a"), hosts.open("b")
    a.attach_volume(CONTEXT, hosts.volume().id, HOST_A, host_name="a")
    before = scene(a, hosts.backend)
    away.go()

    refusal(hosts, a, volume)
    refusal(hosts, b, volume)

    assert before == scene(a, hosts.backend)
    away.back()

    def attached() -> Any:
        try:
            return b.attach_volume(CONTEXT, volume.id, HOST_A, host_name="a")
        except exceptions.DriverError:
            return None

    assert until(attached, "host b attaches the volume").attach_status == "attached"
    b.detach_volume(CONTEXT, volume.id)
    assert is_clean(hosts.backend, volume.id)


@both
def test_what_began_is_undone_once_the_lock_server_is_back(hosts: Hosts, away: Away) -> None:
    """When it goes away in the middle of a driver call, and the volume's export is made."""
    volume = hosts.volume()
    a, b = hosts.open("a"), hosts.open("b")
    hosts.driver.on["create_export"] = away.go
    refusal(hosts, a, volume)
    hosts.driver.on.clear()
    (operation,) = a.list_operations(CONTEXT, volume_id=volume.id)[1:]
    assert volume.id in hosts.backend.exports
    assert operation.id in b.recover().needs_attention
    away.back()

    until(lambda: operation.id in b.recover().rolled_back, "host b undoes it")
    assert b.get_volume(CONTEXT, volume.id).status == "available"
    assert is_clean(hosts.backend, volume.id)
    assert [] == violations(b, hosts.backend, "lab")


@dying
def test_what_was_submitted_goes_on_once_the_lock_server_is_back(hosts: Hosts, away: Away) -> None:
    """When it goes away in the middle of a driver call: nobody waits for an error at once."""
    volume = hosts.volume()
    a, b = hosts.open("a", board="sql:"), hosts.open("b", board="sql:")
    hosts.driver.on["create_export"] = away.go
    operation = a.submit_attach(CONTEXT, volume.id, HOST_A, host_name="a")
    conductor = a.conductor(workers=1)
    assert conductor.turn()
    hosts.driver.on.clear()
    assert volume.id in hosts.backend.exports
    assert "running" == a.get_operation(CONTEXT, operation.id).state
    assert operation.id in b.recover().needs_attention
    away.back()

    until(lambda: operation.id in b.recover().resumed, "host b goes on")
    assert "succeeded" == b.get_operation(CONTEXT, operation.id).state
    assert "in-use" == b.get_volume(CONTEXT, volume.id).status
    assert [] == violations(b, hosts.backend, "lab")
    b.detach_volume(CONTEXT, volume.id)


@hanging
def test_a_manager_is_closed_while_the_lock_server_is_away(hosts: Hosts, away: Away) -> None:
    """When it has been used before; tooz's own heart would never stop."""
    manager = hosts.open("a")
    manager.attach_volume(CONTEXT, hosts.volume().id, HOST_A, host_name="a")
    away.go()
    manager.close()


def test_a_stopped_host_loses_its_lock_and_its_operation(hosts: Hosts) -> None:
    """When a host hangs in a driver call: its lock ends with its time, another one takes over.

    The call that it was in has its effect when the host goes on, after the volume was detached.
    So the volume is compared with the backend once more when a driver call has to be over.
    """
    with hosts.elsewhere(driver_call_seconds=5) as (b, driver), hosts.stopped(b) as other:
        until(lambda: other.key in b.recover().resumed, "host b takes the operation over")
        assert b.get_volume(CONTEXT, other.volume_id).status == "in-use"
        b.detach_volume(CONTEXT, other.volume_id)
        assert b._records.find_volume(other.volume_id).unsure_until is not None
        assert "Fenced" == other.goes_on()
        assert b.get_volume(CONTEXT, other.volume_id).status == "available"
        until(lambda: b.recover() and not list(driver.list_exports()), "its export is removed")
        assert [] == violations(b, driver, "lab")
