"""A database file, a backend and managers on them; each test has its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.hand import Hand
from tests.contract.harms import Place
from tests.contract.lab import HOST_A, INSTANCE_1, Telling
from tests.servers.databases import databases_of
from volflow import RequestContext, Volume, VolumeManager
from volflow.testing import FaultyDriver, MemoryDriver

OpenManager = Callable[..., VolumeManager]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a migrated database that holds nothing."""
    directory = tmp_path_factory.mktemp("empty")
    VolumeManager(f"sqlite:///{directory}/volflow.db", drivers={}, recover=False).close()
    return directory


@pytest.fixture
def context() -> RequestContext:
    return RequestContext(overwrite=False)


@pytest.fixture
def home(tmp_path: Path, empty_database: Path) -> Path:
    """Where this test's database lives."""
    home = tmp_path / "home"
    shutil.copytree(empty_database, home)
    return home


@pytest.fixture
def url(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Iterator[str]:
    """This test's database: a file, or with ``--database`` one of a server's."""
    kind = request.config.getoption("--database")
    if kind == "sqlite":
        yield f"sqlite:///{home}/volflow.db"
        return
    for databases in databases_of(kind, request, tmp_path):
        yield databases.migrated()


@pytest.fixture
def backend() -> MemoryDriver:
    """The storage itself; what the test looks at."""
    return MemoryDriver()


@pytest.fixture
def faulty(backend: MemoryDriver) -> FaultyDriver:
    """Refuses what the test puts into its ``faults``."""
    return FaultyDriver(backend)


@pytest.fixture
def driver(faulty: FaultyDriver) -> Telling:
    """What the core is given: it tells its calls, and may refuse."""
    return Telling(faulty)


@pytest.fixture
def open_manager(url: str, home: Path, driver: Telling) -> Iterator[OpenManager]:
    """Open managers, as many "processes" would; all are closed at the end."""
    opened: list[VolumeManager] = []

    def make(**options: Any) -> VolumeManager:
        given = {"database": url, "drivers": {"lab": driver}, "recover": False, **options}
        if not url.startswith("sqlite"):
            given.setdefault("key_file", home / "volflow.db.key")
        manager = VolumeManager(**given)
        opened.append(manager)
        return manager

    yield make
    for manager in opened:
        manager.close()


@pytest.fixture
def manager(open_manager: OpenManager) -> VolumeManager:
    return open_manager()


@pytest.fixture
def volume(manager: VolumeManager, context: RequestContext, driver: Telling) -> Volume:
    """An available volume of 1 GiB."""
    made = manager.create_volume(context, size_gib=1, backend="lab")
    driver.forget()
    return made


@pytest.fixture
def shared(manager: VolumeManager, context: RequestContext, driver: Telling) -> Volume:
    """An available volume that several hosts may use at once."""
    made = manager.create_volume(context, size_gib=1, backend="lab", multiattach=True)
    driver.forget()
    return made


@pytest.fixture
def attached(
    manager: VolumeManager, context: RequestContext, volume: Volume, driver: Telling
) -> Volume:
    """A volume that host a uses for the first instance."""
    manager.attach_volume(
        context,
        volume.id,
        HOST_A,
        instance_uuid=INSTANCE_1,
        host_name="a",
        mountpoint="/dev/vdb",
    )
    driver.forget()
    return manager.get_volume(context, volume.id)


@pytest.fixture
def hand(home: Path) -> Hand:
    """An operator's, in this test's database."""
    return Hand(home / "volflow.db")


@pytest.fixture
def place(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    hand: Hand,
    attached: Volume,
    driver: Telling,
) -> Place:
    """A volume that host a is attached to, a free one, and those who may harm them."""
    free = manager.create_volume(context, size_gib=1, backend="lab")
    driver.forget()
    return Place(manager, context, backend, hand, attached.id, free.id)
