"""Deaths at random moments under load: of workers, of tgtd, of PostgreSQL, and of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RequireBinary
from tests.crash.processes import until
from tests.servers.tgtd import Initiator
from tests.soak.lab import POSTGRESQL, Lab, running_lab
from volflow import Attachment, VolumeManager
from volflow.drivers.file import FileDriver
from volflow.testing.scenarios import CONTEXT
from volflow.testing.soak import Figures

pytestmark = [
    pytest.mark.slow,
    # SQLAlchemy's, where a server dies while the watcher of the soak reads.
    pytest.mark.filterwarnings("ignore:transaction already deassociated"),
]
HELD_PREFIX = "iqn.2010-10.org.example:held-"


@pytest.fixture
def open_lab(
    require_binary: RequireBinary, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Any]:
    """Makes a lab with a tgtd, and a database: ``sqlite`` or ``postgresql``."""
    fsync = not request.config.getoption("--no-fsync")
    with ExitStack() as stack:
        yield lambda database: stack.enter_context(
            running_lab(require_binary, database, tmp_path, fsync)
        )


def soak(lab: Lab, **plan: Any) -> Figures:
    """A short soak, without the troubles that are not named."""
    quiet = {"kill_seconds": None, "stop_seconds": None, "volumes": 8}
    figures = lab.soak(**{**quiet, **plan}).run()
    assert [] == figures.violations
    assert figures.samples > 0
    assert figures.settled_after is not None
    assert figures.operations.get("attach: succeeded", 0) > 0
    return figures


@pytest.mark.parametrize("database", ["sqlite", POSTGRESQL])
def test_workers_killed_at_random_leave_nothing_behind(database: str, open_lab: Any) -> None:
    """When one after the other dies, the others and their successors finish all operations."""
    figures = soak(open_lab(database), seconds=10, kill_seconds=1.5)
    assert figures.deaths >= 3
    assert figures.answers_repeated > 0


def test_a_killed_database_server_loses_nothing(open_lab: Any) -> None:
    """When PostgreSQL dies under load and recovers, so do all operations."""
    figures = soak(open_lab(POSTGRESQL), seconds=12, restart_seconds={POSTGRESQL: 4}, seed=2)
    assert figures.restarts[POSTGRESQL] >= 1


@pytest.mark.parametrize("database", ["sqlite", POSTGRESQL])
def test_a_short_soak_breaks_no_guarantee(database: str, open_lab: Any) -> None:
    """Kills, stops and restarts together."""
    restarts = {"tgtd": 8.0} | ({POSTGRESQL: 10.0} if database == POSTGRESQL else {})
    figures = soak(
        open_lab(database),
        seconds=25,
        kill_seconds=4,
        stop_seconds=7,
        restart_seconds=restarts,
        volumes=12,
    )
    assert figures.deaths >= 2
    assert figures.stops >= 1
    assert sum(figures.restarts.values()) >= 1


def test_what_is_left_on_the_target_is_found(open_lab: Any) -> None:
    """When an account belongs to no target, and when a target is no volume's."""
    lab: Lab = open_lab("sqlite")
    assert [] == lab.leaks()
    lab.tgtd.adm("--mode", "account", "--op", "new", "--user", "loose", "--password", "secret")
    name = f"{lab.tgtd.target().iqn_prefix}no-volume"
    lab.tgtd.adm("--mode", "target", "--op", "new", "--tid", "77", "-T", name)
    assert [
        "G2: the CHAP account loose belongs to no target",
        f"G2: the target {name} is no volume's",
    ] == lab.leaks()


@pytest.fixture
def hosts() -> Iterator[list[Initiator]]:
    """Two hosts with an iSCSI name each."""
    found = [Initiator(f"iqn.1994-05.com.example:{name}") for name in ("alice", "bob")]
    yield found
    for host in found:
        host.log_out()


class Held:
    """Volumes on the same tgtd that stay attached, with data on them."""

    def __init__(self, lab: Lab, hosts: list[Initiator]) -> None:
        target = lab.tgtd.target(iqn_prefix=HELD_PREFIX)
        driver = FileDriver(lab.directory / "held", target)
        self.manager = VolumeManager(
            lab.url,
            drivers={"held": driver},
            key_file=lab.directory / "volflow.key",
            comparison_seconds=0.5,
        )
        self._hosts = {host.name: host for host in hosts}
        self.attachments = [self._attach(host) for host in hosts]
        for attachment in self.attachments:
            self._io(attachment, "write -P 0x5a 0 64k")

    def _attach(self, host: Initiator) -> Attachment:
        volume = self.manager.create_volume(CONTEXT, size_gib=1, backend="held")
        return self.manager.attach_volume(CONTEXT, volume.id, host.connector, host_name=host.name)

    def can_log_in(self, attachment: Attachment) -> bool:
        """Log in with what the host was given at first, and read what it wrote."""
        said = self._io(attachment, "read -P 0x5a 0 64k")
        return "read 65536/65536" in said and "verification failed" not in said

    def is_guarded(self, attachment: Attachment) -> bool:
        """Another password does not open it."""
        host, data = self._of(attachment)
        return "Authentication failure(513)" in host.inquire(data, auth_password="0123456789ab")

    def _io(self, attachment: Attachment, command: str) -> str:
        host, data = self._of(attachment)
        return host.io(data, command)

    def _of(self, attachment: Attachment) -> tuple[Initiator, dict[str, object]]:
        assert attachment.connection_info is not None
        return self._hosts[str(attachment.attached_host)], attachment.connection_info["data"]


def test_hosts_log_in_again_after_the_target_was_killed_under_load(
    open_lab: Any, hosts: list[Initiator]
) -> None:
    """When tgtd dies, it comes back with every attached volume, its data and its credentials."""
    lab: Lab = open_lab(POSTGRESQL)
    held = Held(lab, hosts)
    try:
        assert all(map(held.can_log_in, held.attachments))
        quiet = {"kill_seconds": None, "stop_seconds": None, "volumes": 8}
        running = lab.soak(seconds=10, restart_seconds={"tgtd": 3}, seed=3, **quiet)
        figures = running.run()
        assert figures.restarts["tgtd"] >= 1
        for attachment in held.attachments:
            until(lambda: held.can_log_in(attachment), "the host logs in again")  # noqa: B023
            assert held.is_guarded(attachment)
            again = held.manager.get_attachment(CONTEXT, attachment.id)
            assert attachment.connection_info == again.connection_info
        for attachment in held.attachments:
            held.manager.detach_volume(CONTEXT, attachment.volume_id)
        assert [] == held.manager.reconcile(CONTEXT, "held")
    finally:
        held.manager.close()
    assert [] == [v for v in figures.violations if HELD_PREFIX not in v]
    assert [] == lab.leaks()
