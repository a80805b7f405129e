"""A page on a manager with a backend in memory, and a reader who may change something or not."""

from __future__ import annotations

import contextlib
import html
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.contract.lab import HOST_A, Scene, scene
from volflow import RequestContext, Volume, VolumeManager, exceptions
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver
from volflow.web.access import Access
from volflow.web.app import make_app
from volflow.web.doors import Doors
from volflow.web.feed import Feed

TOKEN = "a-token-of-some-length"
BASE = "http://127.0.0.1:8400"
UNKNOWN = "99999999-9999-4999-8999-999999999999"


class Place(NamedTuple):
    """A database's directory, and the backend that goes with it."""

    directory: Path
    backend: MemoryDriver


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A migrated database that holds nothing."""
    directory = tmp_path_factory.mktemp("empty")
    opened(directory, {}).close()
    return Place(directory, MemoryDriver())


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A database with volumes that are in every state that an operator may meet."""
    place = Place(tmp_path_factory.mktemp("stocked"), MemoryDriver())
    faulty = FaultyDriver(place.backend)
    with opened(place.directory, {"lab": faulty}) as manager:
        fill(manager, faulty)
    return place


def opened(directory: Path, drivers: dict[str, Any]) -> VolumeManager:
    """A manager whose database does not wait for the disk."""
    url = f"sqlite:///{directory}/volflow.db"
    found = VolumeManager(url, drivers=drivers, recover=False, board="sql:")
    event.listen(found.database.engine, "connect", without_sync)
    found.database.engine.dispose()
    return found


def without_sync(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """This test's own copy, stocked where it asks for the stock."""
    wanted = "stocked" if "stock" in request.fixturenames else "empty"
    source: Place = request.getfixturevalue(wanted)
    shutil.copytree(source.directory, tmp_path / "home")
    return Place(tmp_path / "home", deepcopy(source.backend))


@pytest.fixture
def context() -> RequestContext:
    return RequestContext(overwrite=False)


@pytest.fixture
def backend(place: Place) -> MemoryDriver:
    return place.backend


@pytest.fixture
def faulty(backend: MemoryDriver) -> FaultyDriver:
    return FaultyDriver(backend)


@pytest.fixture
def manager(place: Place, faulty: FaultyDriver) -> Iterator[VolumeManager]:
    with opened(place.directory, {"lab": faulty}) as found:
        yield found


class Backends:
    """Opens the manager, and keeps which drivers were asked for."""

    def __init__(self, manager: VolumeManager) -> None:
        self.manager = manager
        self.asked: list[Collection[str] | None] = []

    def __call__(self, backends: Collection[str] | None) -> Any:
        self.asked.append(backends)
        return nullcontext(self.manager)


@pytest.fixture
def acting(manager: VolumeManager) -> Backends:
    return Backends(manager)


@pytest.fixture
def app(manager: VolumeManager, acting: Backends) -> Starlette:
    """The application; its feed is closed, since a stream would not end."""
    feed = Feed(manager.changes)
    feed.close()
    return make_app(Doors(manager, acting), Access(TOKEN), feed)


@pytest.fixture
def reader(app: Starlette) -> Iterator[TestClient]:
    """Somebody without the token."""
    with TestClient(app, BASE, follow_redirects=False) as client:
        yield client


@pytest.fixture
def operator(app: Starlette) -> Iterator[TestClient]:
    """Somebody who has signed in."""
    with TestClient(app, BASE, follow_redirects=False) as client:
        assert 303 == client.get("/", params={"token": TOKEN}).status_code
        yield client


def fill(manager: VolumeManager, faulty: FaultyDriver) -> None:
    """Make volumes whose names say what they are."""
    context = RequestContext(overwrite=False)
    made = {
        name: manager.create_volume(context, size_gib=1, backend="lab", name=name).id
        for name in ("free", "used", "waits", "undone", "ails", "died", "queued", "broken")
    }

    def attach(name: str, *faults: Fault) -> None:
        faulty.faults += faults
        with contextlib.suppress(exceptions.VolflowError, Crash):
            manager.attach_volume(
                context, made[name], HOST_A, host_name="a", mountpoint="/dev/vdb"
            )
        faulty.faults.clear()

    refused = exceptions.ConnectionFailed("no way in")
    attach("used")
    manager.detach_volume(context, made["used"])
    attach("used")
    manager.reserve_volume(context, made["waits"])
    manager.initialize_connection(context, made["waits"], HOST_A)
    attach("undone", Fault("initialize_connection", "after", refused))
    attach(
        "ails",
        Fault("initialize_connection", "after", refused),
        Fault("remove_export", "before", exceptions.ExportFailed("no way out"), times=None),
    )
    attach("died", Fault("create_export", "after", Crash))
    manager.submit_attach(context, made["queued"], HOST_A)
    faulty.faults.append(Fault("delete_volume", "before", exceptions.DriverError("held")))
    with contextlib.suppress(exceptions.VolflowError):
        manager.delete_volume(context, made["broken"])
    faulty.faults.clear()


@pytest.fixture
def stock(manager: VolumeManager, context: RequestContext) -> dict[str, Volume]:
    """The volumes that are in every state, by what they are."""
    return {str(v.name): v for v in manager.list_volumes(context)}


@pytest.fixture
def owner(stock: dict[str, Volume]) -> Callable[[str], str]:
    """``owner(name)``: the id of the operation that owns a volume."""

    def find(name: str) -> str:
        found = stock[name].operation_id
        assert found is not None
        return found

    return find


@pytest.fixture
def now_there(manager: VolumeManager, backend: MemoryDriver) -> Callable[[], Scene]:
    """Everything that a refused request may not have changed."""
    return lambda: scene(manager, backend)


def said(page: str) -> str:
    """What a page says, without its tags."""
    text = re.sub(r"(?s)<(script|style)[ >].*?</\1>", " ", page)
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", text).split()))


def sentence(page: str) -> str:
    """The sentence of an error page."""
    found = re.search(r'(?s)<p class="verdict">.*?</span> <span>(.*?)</span></p>', page)
    assert found, page
    return html.unescape(found[1])


def word(client: TestClient, path: str) -> str:
    """What a form of a page carries."""
    page = client.get(path)
    assert 200 == page.status_code, page.text
    found = re.search(r'name="form_word" value="([0-9a-f]+)"', page.text)
    assert found, page.text
    return found[1]
