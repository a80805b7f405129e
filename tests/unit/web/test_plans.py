"""No route looks at more where there is more: neither plans nor work grow with the rows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from benchmarks.web import fill, routes
from tests.unit.web.conftest import BASE, TOKEN, Place, opened
from volflow import VolumeManager
from volflow.persistence import search
from volflow.web.access import Access
from volflow.web.app import make_app
from volflow.web.doors import Doors

pytestmark = pytest.mark.xdist_group("web plans")

SIZES = ((3000, 300), (12000, 1200))
"""Operations and volumes; the smaller one fills a page of each route, too."""
EXAMINED = 100
GROWTH = 1.25
"""Trees of indexes are a level deeper, and texts of numbers are longer."""

STEP = 100


class Work:
    """The statements that ran, and how many instructions SQLite's machine took, in steps."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, Any]] = []
        self.steps = 0


@contextmanager
def watched(manager: VolumeManager) -> Iterator[Work]:
    """See what SQLite does; each connection is made anew."""
    work = Work()

    def count() -> int:
        work.steps += 1
        return 0

    def connected(connection: sqlite3.Connection, record: object) -> None:
        connection.set_progress_handler(count, STEP)

    def executed(
        connection: Any, cursor: Any, statement: str, given: Any, context: Any, many: bool
    ) -> None:
        work.statements.append((statement, given))

    engine = manager.database.engine
    event.listen(engine, "connect", connected)
    event.listen(engine, "before_cursor_execute", executed)
    engine.dispose()
    yield work
    event.remove(engine, "connect", connected)
    event.remove(engine, "before_cursor_execute", executed)
    engine.dispose()


@pytest.fixture(scope="module")
def filled(empty: Place, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Databases of two sizes."""
    found = []
    for operations, volumes in SIZES:
        path = tmp_path_factory.mktemp("filled") / "volflow.db"
        for file in empty.directory.iterdir():
            if file.is_file():
                (path.parent / file.name).write_bytes(file.read_bytes())
        fill(path, operations, volumes)
        found.append(path)
    return found


def asked(path: Path) -> tuple[dict[str, Work], VolumeManager]:
    """Ask every route once to warm up, and once to be watched."""
    manager = opened(path.parent, {})
    app = make_app(Doors(manager, lambda backends: nullcontext(manager)), Access(TOKEN))
    found: dict[str, Work] = {}
    with TestClient(app, BASE) as client:
        for name, url in routes(path).items():
            assert 200 == client.get(url).status_code
            with watched(manager) as work:
                client.get(url)
            found[name] = work
    manager.changes()
    with watched(manager) as found["changes"]:
        manager.changes(manager.changes().mark)
    return found, manager


@pytest.fixture(scope="module")
def works(filled: list[Path]) -> Iterator[tuple[list[dict[str, Work]], VolumeManager]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "EXAMINED", EXAMINED)
        patch.setattr(search, "COUNTED", EXAMINED)
        found = [asked(path) for path in filled]
    yield [works for works, _ in found], found[-1][1]
    for _, manager in found:
        manager.close()


TABLES = "operations|flows|events|attachments|volumes"
SCAN = re.compile(rf"SCAN ({TABLES})\b(?!.* USING (COVERING )?INDEX)")
SORT = "USE TEMP B-TREE FOR ORDER BY"


def plan(manager: VolumeManager, statement: str, given: Any) -> list[str]:
    with manager.database.read() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
        return [row[3] for row in rows]


def test_no_statement_of_a_route_scans_a_table_or_sorts_one(
    works: tuple[list[dict[str, Work]], VolumeManager],
) -> None:
    found, manager = works
    seen = {s: given for work in found[-1].values() for s, given in work.statements}
    selects = {s: given for s, given in seen.items() if s.lstrip().startswith("SELECT")}
    assert len(selects) > 20
    for statement, given in selects.items():
        for line in plan(manager, statement, given):
            assert not SCAN.search(line), f"{line}: {statement}"
        if " operations" in statement or " events" in statement:
            assert SORT not in plan(manager, statement, given) or " IN " in statement, statement


def test_no_route_works_more_where_there_are_more_rows(
    works: tuple[list[dict[str, Work]], VolumeManager],
) -> None:
    few, many = works[0]
    assert few.keys() == many.keys()
    assert len(few) > 20
    for name, work in few.items():
        assert len(work.statements) == len(many[name].statements), name
        assert many[name].steps <= work.steps * GROWTH + 10, (name, work.steps, many[name].steps)


def test_a_scan_would_be_found(works: tuple[list[dict[str, Work]], VolumeManager]) -> None:
    """Without it a test that looks at nothing would pass."""
    _, manager = works
    lines = plan(manager, "SELECT count(*) FROM operations WHERE phase = 'x'", ())
    assert any(map(SCAN.search, lines))
    assert SORT in plan(manager, "SELECT id FROM operations ORDER BY phase", ())
    with watched(manager) as work, manager.database.read() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM operations WHERE phase = 'x'")
    assert work.steps > 100
