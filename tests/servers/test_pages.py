"""PostgreSQL takes each page from an index: it neither sorts nor reads a table from its beginning.

Its planner is told to do both only where nothing else is left, so that a small table shows what a
large one would suffer from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from tests.contract.test_scale import CALLS
from tests.history import use
from tests.servers.postgresql import PostgresqlServer
from volflow import RequestContext, VolumeManager
from volflow.testing import MemoryDriver

CONTEXT = RequestContext(overwrite=False)
PAGES = [name for name in CALLS if name.startswith(("operations", "volumes", "more", "recover"))]

LISTS: dict[str, Callable[[VolumeManager, str, str], Any]] = {
    **{name: lambda m, v, o, call=CALLS[name]: call(m, CONTEXT, v, o) for name in PAGES},
    "search volumes": lambda m, v, o: m.search_volumes(CONTEXT, limit=5),
    "search more volumes": lambda m, v, o: m.search_volumes(CONTEXT, limit=5, marker=v),
    "search by status": lambda m, v, o: m.search_volumes(CONTEXT, status="available", limit=5),
    "search by backend": lambda m, v, o: m.search_volumes(CONTEXT, backend="lab", limit=5),
    "search operations": lambda m, v, o: m.search_operations(CONTEXT, limit=5),
    "search more operations": lambda m, v, o: m.search_operations(CONTEXT, limit=5, marker=o),
    "search by state": lambda m, v, o: m.search_operations(CONTEXT, state="succeeded", limit=5),
    "search by kind": lambda m, v, o: m.search_operations(CONTEXT, kind="attach", limit=5),
}
GROWING = {"volumes", "attachments", "operations", "events"}


@pytest.fixture
def manager(postgresql_server: PostgresqlServer, tmp_path: Path) -> Iterator[VolumeManager]:
    url = postgresql_server.create_database()
    found = VolumeManager(
        url, {"lab": MemoryDriver()}, key_file=tmp_path / "volflow.key", recover=False
    )
    yield found
    found.close()
    postgresql_server.drop_database(url)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def test_no_page_is_sorted_or_read_from_the_beginning(manager: VolumeManager) -> None:
    volume = [use(manager, CONTEXT, 1, deleted) for deleted in (True, False)][1]
    operation = manager.list_operations(CONTEXT, volume_id=volume)[1].id
    asked: dict[str, dict[str, Any]] = {}

    def hear(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked[statement] = parameters

    event.listen(manager.database.engine, "before_cursor_execute", hear)
    for call in LISTS.values():
        call(manager, volume, operation)
    event.remove(manager.database.engine, "before_cursor_execute", hear)

    assert len(asked) > len(LISTS) / 2
    with manager.database.engine.connect() as connection:
        for setting in ("enable_seqscan", "enable_sort"):
            connection.exec_driver_sql(f"SET {setting} TO off")
        for statement, parameters in asked.items():
            query = f"EXPLAIN (FORMAT JSON) {statement}"
            (found,) = connection.exec_driver_sql(query, parameters).scalars()
            plan = found if isinstance(found, list) else json.loads(found)
            for node in nodes(plan[0]["Plan"]):
                kind, table = node["Node Type"], node.get("Relation Name")
                if kind == "Seq Scan":
                    assert table not in GROWING, statement
                if kind == "Sort":
                    assert "LIMIT" not in statement, statement
