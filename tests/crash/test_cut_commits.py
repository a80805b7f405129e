"""Connections to PostgreSQL that break at a COMMIT, so that its outcome is unknown."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from tests.contract.lab import Call, Gate, Telling
from tests.crash.conftest import migrate_database
from tests.servers.postgresql import USER, PostgresqlServer
from tests.servers.proxy import Cut, Proxy, running_proxy
from volflow.models import Attachment, Operation, RecoveryReport
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver, pause_heartbeat
from volflow.testing.crash import Place
from volflow.testing.invariants import violations
from volflow.testing.scenarios import BACKEND, CONTEXT, HOST_A

EVERY_CUT = pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.value)


class Lab:
    """A manager behind the proxy, and a backend that tells what it was asked for."""

    def __init__(self, server: PostgresqlServer, proxy: Proxy, directory: Path) -> None:
        self.proxy = proxy
        self.backend = MemoryDriver()
        self.driver = Telling(self.backend)
        self._direct = server.create_database(server.template("migrated", migrate_database))
        self._directory = directory
        url = proxy.url(self._direct)
        self.manager = Place(directory, url).open(self.driver)
        pause_heartbeat(self.manager)  # every commit is one of the call's

    def die_in_an_attach(self, volume_id: str, operation_id: str) -> None:
        """Let another process, which is not behind the proxy, die half way."""
        dying = FaultyDriver(self.backend, [Fault("initialize_connection", "after", Crash)])
        with (
            Place(self._directory, self._direct).open(dying) as other,
            suppress(Crash),
        ):
            other.attach_volume(CONTEXT, volume_id, HOST_A, operation_id=operation_id)

    def new_volume(self) -> str:
        """An available volume; what was heard of before is forgotten."""
        volume = self.manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND)
        self.driver.forget()
        return volume.id

    def attach(self, volume_id: str, operation_id: str) -> Attachment:
        return self.manager.attach_volume(CONTEXT, volume_id, HOST_A, operation_id=operation_id)

    def lease(self, operation_id: str) -> datetime:
        """Until when the operation's run owns it."""
        found = self.manager.get_operation(CONTEXT, operation_id).lease_expires_at
        assert found is not None
        return found

    @contextmanager
    def cut(self, number: int, how: Cut) -> Iterator[None]:
        """Break the connection at one of the block's commits; 1 is the first."""
        before = self.proxy.cuts
        self.proxy.cut(number, how)
        yield
        assert before + 1 == self.proxy.cuts, f"there is no commit {number}"

    def done(self, operation_id: str, epoch: int = 1) -> Operation:
        """The operation has succeeded in this epoch, and everything is in order."""
        found = self.manager.get_operation(CONTEXT, operation_id)
        assert ("succeeded", epoch, None) == (found.state, found.epoch, found.error)
        events = self.manager.operation_timeline(CONTEXT, operation_id)
        steps = [(e.epoch, e.step, e.what) for e in events]
        assert len(steps) == len(set(steps)), "the timeline tells something twice"
        assert [] == violations(self.manager, self.backend, BACKEND)
        assert RecoveryReport() == self.manager.recover()
        return found


@pytest.fixture(scope="module")
def shared(
    postgresql_server: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with psycopg.connect(
        host="127.0.0.1", port=postgresql_server.port, user=USER, dbname="postgres"
    ) as watch:
        watch.autocommit = True

        def is_waited_for() -> bool:
            return watch.execute(query).fetchone() != (0,)

        with running_proxy(postgresql_server.port, is_waited_for) as proxy:
            found = Lab(postgresql_server, proxy, tmp_path_factory.mktemp("lab"))
            yield found
            found.manager.close()


@pytest.fixture
def lab(shared: Lab) -> Lab:
    """The same one for all tests, which each have a volume of their own."""
    shared.driver.on.clear()
    return shared


@EVERY_CUT
@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_attach_is_done_once_whichever_commit_is_cut(number: int, how: Cut, lab: Lab) -> None:
    """The call returns its attachment, and the same one again to the same operation id."""
    volume_id, operation_id = lab.new_volume(), str(uuid.uuid4())
    with lab.cut(number, how):
        found = lab.attach(volume_id, operation_id)
    assert "attached" == found.attach_status
    assert lab.driver.names == ["create_export", "initialize_connection", "attach_volume"]
    assert found.id == lab.done(operation_id).attachment_id
    assert found == lab.attach(volume_id, operation_id)
    assert found.connection_info is not None
    lab.backend.login(found.connection_info, HOST_A["initiator"])


@EVERY_CUT
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_detach_is_done_once_whichever_commit_is_cut(number: int, how: Cut, lab: Lab) -> None:
    """The call returns the volume, and so it does to the same operation id."""
    volume_id, operation_id = lab.new_volume(), str(uuid.uuid4())
    lab.attach(volume_id, str(uuid.uuid4()))
    lab.driver.forget()
    with lab.cut(number, how):
        found = lab.manager.detach_volume(CONTEXT, volume_id, operation_id=operation_id)
    assert ("available", None) == (found.status, found.operation_id)
    assert lab.driver.names == ["terminate_connection", "remove_export", "detach_volume"]
    lab.done(operation_id)
    again = lab.manager.detach_volume(CONTEXT, volume_id, operation_id=operation_id)
    assert found == again


@EVERY_CUT
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_takeover_is_done_once_whichever_commit_is_cut(number: int, how: Cut, lab: Lab) -> None:
    """The first commit is that of the takeover itself, the others those of the run."""
    volume_id, operation_id = lab.new_volume(), str(uuid.uuid4())
    lab.die_in_an_attach(volume_id, operation_id)
    lab.driver.forget()
    with lab.cut(number, how):
        report = lab.manager.recover()
    assert report == RecoveryReport(resumed=(operation_id,))
    assert lab.driver.names == ["initialize_connection", "attach_volume"]
    lab.done(operation_id, epoch=2)
    assert "in-use" == lab.manager.get_volume(CONTEXT, volume_id).status


@EVERY_CUT
def test_a_heartbeat_that_is_cut_costs_its_run_nothing(how: Cut, lab: Lab) -> None:
    """The next beat renews the lease, and the run ends as its own."""
    volume_id, operation_id = lab.new_volume(), str(uuid.uuid4())
    gate = Gate()
    lab.driver.on["initialize_connection"] = gate.stop
    call = Call(lab.attach, volume_id, operation_id)
    gate.wait()
    leases = [lab.lease(operation_id)]
    with lab.cut(1, how):
        lab.manager.leases.beat()
    lab.manager.leases.beat()
    leases.append(lab.lease(operation_id))
    gate.opened.set()
    assert "attached" == call.value().attach_status
    assert leases[0] < leases[1]
    lab.done(operation_id)
